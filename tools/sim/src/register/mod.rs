//! Histories of the ring register: as many would-be leaders as there are nodes, and no ring may fork.
//!
//! Six machines found a cluster and change its membership by several members at a time. Messages are lost, doubled,
//! reordered; processes stop and return, with or without what they were just writing; machines are wiped, or restored from
//! old copies, which is known; who was removed is thrown away as soon as it says that it may go. The registers are the
//! real ones ([`ringdove::control::register`]); the founding is played, as simple as it can be. Every fourth history is one of the
//! real founding instead (`founding`). Three checkers:
//!
//! | checker | says |
//! |---|---|
//! | fork | one epoch is one ring, chosen or learnt; nobody sits in two foundings |
//! | vote | founders are unanimous, and vote once |
//! | stuck | once all is healed, and a quorum of the newest ring lives, another epoch can be decided |
//!
//! Invariant: the checkers count votes themselves, and know nothing of the registers' rules. Not here: time, heartbeats
//! and who should lead; a disk that goes back without anybody noticing, which no vote survives.

mod founding;
mod machine;
mod world;

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ringdove::rules::Rule;

use crate::Violation;

/// The rules that these histories are about.
pub const RULES: &[Rule] = &[
    Rule::SyncVotes,
    Rule::Adopt,
    Rule::OldRing,
    Rule::OldestHalf,
    Rule::BallotNonce,
    Rule::CopyIsNew,
    Rule::Unanimous,
    Rule::VoteOnce,
    Rule::Closed,
    Rule::LastOut,
    Rule::Ready,
];

/// What happened in a history, or in many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Histories.
    pub histories: u64,
    /// Histories with a founding.
    pub founded: u64,
    /// Epochs reached.
    pub epochs: u64,
    /// Attempts to decide.
    pub attempts: u64,
    /// Wishes that the register refused to propose: a member was not ready, or too few answered.
    pub refused: u64,
    /// Attempts that took over what somebody else had proposed.
    pub adopted: u64,
    /// Writes lost by a kill.
    pub writes_lost: u64,
    /// Machines wiped or restored from old copies.
    pub disks_back: u64,
    /// Machines thrown away after they were removed.
    pub thrown_away: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.histories += other.histories;
        self.founded += other.founded;
        self.epochs += other.epochs;
        self.attempts += other.attempts;
        self.refused += other.refused;
        self.adopted += other.adopted;
        self.writes_lost += other.writes_lost;
        self.disks_back += other.disks_back;
        self.thrown_away += other.thrown_away;
    }

    /// Whether all of it happened.
    pub fn is_whole(&self) -> bool {
        let Seen { founded, epochs, attempts, refused, adopted, .. } = *self;
        let Seen { writes_lost, disks_back, thrown_away, .. } = *self;
        let counts =
            [founded, epochs, attempts, refused, adopted, writes_lost, disks_back, thrown_away];
        counts.into_iter().all(|count| count > 0)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} histories: {} founded, {} epochs of {} attempts ({} took over another's ring, {} wishes refused), \
             {} writes lost by kills, {} disks wiped or restored, {} removed members thrown away",
            self.histories,
            self.founded,
            self.epochs,
            self.attempts,
            self.adopted,
            self.refused,
            self.writes_lost,
            self.disks_back,
            self.thrown_away
        )
    }
}

/// One history, with one rule switched off or none. A panic of a machine is a violation like any other.
pub fn run(seed: u64, broken: Option<Rule>) -> (Seen, Vec<Violation>) {
    let run = AssertUnwindSafe(|| {
        // The founding is a history of its own kind: one of four.
        let run =
            || if seed % 4 == 3 { founding::run(seed) } else { world::World::new(seed).run() };
        #[cfg(feature = "canaries")]
        if let Some(rule) = broken {
            return ringdove::rules::without(rule, run);
        }
        #[cfg(not(feature = "canaries"))]
        assert!(broken.is_none(), "this build breaks no rules");
        run()
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_else(|| "with no message".to_owned());
        (Seen::default(), vec![Violation::new("panic", what)])
    })
}

/// Histories of these seeds, up to the first that breaks a promise.
pub fn run_seeds(seeds: Range<u64>, broken: Option<Rule>) -> (Seen, Option<(u64, Violation)>) {
    let mut sum = Seen::default();
    for seed in seeds {
        let (seen, violations) = run(seed, broken);
        sum.add(&seen);
        if let Some(first) = violations.into_iter().next() {
            return (sum, Some((seed, first)));
        }
    }
    (sum, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_history_forks_or_gets_stuck() {
        let (seen, failed) = run_seeds(0..300, None);
        assert_eq!(failed, None);
        assert!(seen.is_whole(), "vacuous: {seen}");
    }

    #[test]
    fn a_history_is_its_seed() {
        assert_eq!(run(7, None), run(7, None));
        assert_ne!(run(7, None).0, run(8, None).0);
    }

    /// Seeds that once broke a promise.
    #[test]
    fn what_was_found_once_stays_away() {
        for seed in FOUND {
            assert_eq!(run(*seed, None).1, []);
        }
    }

    const FOUND: &[u64] = &[];
}
