//! From one ring to the next: what people wish, and the steps that rows take towards it.
//!
//! [`wish`] takes in what is to change and sets goals; [`advance`] takes rows step by step to their goals, as members
//! report how far they are; [`rows_follow`] says whether rows of one ring may come after those of another. The steps and
//! their numbers are those of the model in `tests/moves`.
//!
//! Invariant: every function is pure, and what it gives is a ring that passes [`Ring::check`] and [`rows_follow`]. A
//! seat of a row changes only while no other seat of it does. Not here: which rows are wanted
//! (`planner`), and who decides (`control`).

mod advance;
mod follows;
#[cfg(test)]
mod tests;
mod wish;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Epoch, MemberNumber, Partition, Ring, Slot};

pub use advance::{Limits, advance};
pub use follows::rows_follow;
pub use wish::{Newcomer, Refused, Wish, list_dead, wish};

/// What a member has done about its seat in a row, or about the seat of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// It has copied what the owners had: they may give it the seat.
    Copied,
    /// It has pulled from enough owners of each set before it: it counts.
    Settled,
    /// It has pulled from who lost its seat, or from enough owners of the longer row.
    Covered,
    /// It had a seat, and has nothing of the partition any more.
    Dropped,
}

/// A member's word on a row. It holds while the row stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Report {
    /// The first slot of the partition.
    pub first: Slot,
    /// When the row changed last, or took a step, as the member knew it.
    pub since: Epoch,
    /// Who says so.
    pub by: MemberNumber,
    /// What it has done.
    pub stage: Stage,
}

impl Report {
    /// Whether a ring's row is still the one that this speaks of.
    pub fn speaks_of(&self, ring: &Ring) -> bool {
        let partition = ring.partition(self.first);
        (partition.first, partition.since) == (self.first, self.since)
    }
}

/// What a shard says of an actor that is to be listed as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It writes as this actor: it must not be listed.
    Mine,
    /// It refuses it, but not durably yet, or it holds hints of it.
    NotYet,
    /// It can do without it, for ever.
    MayList,
}

/// What members have reported. At most a few reports for each row that changes.
#[derive(Debug, Clone, Default)]
pub struct Progress(BTreeSet<Report>);

impl Progress {
    /// Takes a report in, if it speaks of the ring's row as it is.
    pub fn note(&mut self, ring: &Ring, report: Report) {
        if report.speaks_of(ring) {
            self.0.insert(report);
        }
    }

    /// What a member has reported.
    pub fn of(&self, by: MemberNumber) -> Vec<Report> {
        self.0.iter().filter(|report| report.by == by).copied().collect()
    }

    /// Forgets what does not speak of this ring's rows.
    pub fn keep(&mut self, ring: &Ring) {
        self.0.retain(|report| report.speaks_of(ring));
    }

    /// Whether a member has reported a stage of a row as it is.
    pub fn has(&self, partition: &Partition, by: MemberNumber, stage: Stage) -> bool {
        self.0.contains(&Report { first: partition.first, since: partition.since, by, stage })
    }
}

/// Whether two rows have the same owners, in whatever seats.
fn same(a: &[MemberNumber], b: &[MemberNumber]) -> bool {
    a.len() == b.len() && a.iter().all(|owner| b.contains(owner))
}
