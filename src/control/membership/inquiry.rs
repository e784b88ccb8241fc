//! Finding out about one member that does not answer: relays, and doubts before an accusation.
//!
//! Without an answer in the time that its answers usually take, [`RELAYS`] others are asked to try (SWIM, section
//! 3.1). If nobody reaches it, that is a private *doubt*: two more rounds with other relays. Only then it is
//! *suspect*, and is told so before all others. A member that only relays reach is alive, and *unreachable* from
//! here: no data is sent there.
//!
//! ```text
//!   probe ── late ──▶ relays ── nothing ──▶ round 2 ──▶ round 3 ──▶ accused
//!     │                 │ reached
//!     ▼ an answer       ▼ again, up to six rounds ──▶ unreachable, and not asked about any more
//!    done
//! ```
//!
//! Invariant: nobody is accused who was heard of, from anybody, in the last round. Not here: who is probed when, and
//! what its answer means (`detector`).

use std::time::Duration;

use rand::RngExt;

use super::super::{Effect, Now};
use super::detector::{PERIOD, Sent};
use super::voice::About;
use super::{Known, Membership};
use crate::ring::MemberNumber;
use crate::wire::gossip::Errand;

/// The shortest and the longest time that an answer is waited for before others are asked.
const HASTE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(250);
/// The length of a round of doubt.
const DOUBT: Duration = Duration::from_millis(250);
/// How many others are asked to probe a member.
const RELAYS: usize = 3;
/// After how many rounds without a sign a member is suspect.
const SILENT: u8 = 3;
/// After how long without a sign this node sends it no more data, whatever its own troubles: about two rounds.
const DOUBTED: Duration = Duration::from_millis(660);
/// After how many rounds in which only relays reached it a member is unreachable.
const MISSES: u8 = 6;
/// How many probes may be under way for others.
const ERRANDS_MAX: usize = 64;

/// What is being found out about one member.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// When this round began and ends, or relays are to be asked.
    began: Now,
    until: Now,
    /// Whether relays have been asked in this round.
    asked: bool,
    /// The relays of all rounds, and how many of them are of this one.
    relays: Vec<MemberNumber>,
    of_this_round: usize,
    /// How many said in this round that they hear nothing either.
    nacks: usize,
    /// Whether it was heard in this round, if not by an answer to this node.
    reached: bool,
    /// When this node doubts that it is there; not before the next round, once it does, or heard a sign.
    doubt: Now,
    first: bool,
    silent: u8,
    misses: u8,
    seq: u64,
    /// How many times as long as usual everything takes.
    slowness: u32,
}

impl Inquiry {
    /// When there is something to do about it.
    pub(super) fn due(&self) -> Now {
        self.until.min(self.doubt)
    }

    /// Whether the wait for an answer is over.
    pub(super) fn is_late(&self, now: Now) -> bool {
        self.until <= now
    }

    /// Whether the first probe is not late yet.
    pub(super) fn needed_nobody(&self) -> bool {
        self.first && !self.asked
    }

    /// This node was away for so long.
    pub(super) fn shift(&mut self, away: Duration) {
        self.began += away;
        self.until += away;
        self.doubt = self.doubt.saturating_add(away);
    }
}

impl Membership {
    /// Finds out whether a member is there, unless that is being done.
    pub(super) fn inquire(&mut self, now: Now, of: MemberNumber, effects: &mut Vec<Effect>) {
        if self.detector.inquiries.contains_key(&of) {
            return;
        }
        let Some(known) = self.known.get(&of) else { return };
        let late = known.round_trip.late().unwrap_or(PATIENCE).clamp(HASTE, PATIENCE);
        let seq = self.probe(now, of, effects);
        let slowness = self.detector.slowness();
        let inquiry = Inquiry {
            began: now,
            until: now + late * slowness,
            asked: false,
            relays: Vec::new(),
            of_this_round: 0,
            nacks: 0,
            reached: false,
            doubt: now + DOUBTED,
            first: true,
            silent: 0,
            misses: 0,
            seq,
            slowness,
        };
        self.detector.inquiries.insert(of, inquiry);
    }

    /// A round, or the wait for an answer in it, is over.
    pub(super) fn go_on_asking(&mut self, now: Now, of: MemberNumber, effects: &mut Vec<Effect>) {
        let Some(inquiry) = self.detector.inquiries.get_mut(&of) else { return };
        if !inquiry.asked {
            let late = inquiry.until.saturating_sub(inquiry.began);
            let rest = (PERIOD * inquiry.slowness).saturating_sub(late);
            inquiry.until = now + rest.mul_f64(0.8).max(HASTE);
            return self.ask_relays(of, effects);
        }
        inquiry.misses += 1;
        let unheard = inquiry.of_this_round.saturating_sub(inquiry.nacks);
        let (reached, first) = (inquiry.reached, inquiry.first);
        inquiry.silent = if reached { 0 } else { inquiry.silent + 1 };
        let (silent, misses) = (inquiry.silent, inquiry.misses);
        if reached && first {
            self.detector.lossy_now(1.0);
        } else if !reached && first && unheard > 0 {
            // Those who were asked are silent, too: perhaps it is this node that hears nothing.
            self.detector.strained(1);
        }
        let Some(known) = self.known.get_mut(&of) else { return };
        let unreachable = known.unreachable || misses >= MISSES;
        self.changed |= reached && unreachable != known.unreachable;
        if silent >= SILENT {
            self.detector.inquiries.remove(&of);
            known.doubted = false;
            return self.accuse(now, of, effects);
        }
        if reached && unreachable {
            known.unreachable = true;
            self.detector.inquiries.remove(&of);
            return;
        }
        self.ask_again(now, of, effects);
    }

    /// There is a sign of somebody's life that is not an answer to this node.
    pub(super) fn sign(&mut self, of: MemberNumber) {
        let Some(inquiry) = self.detector.inquiries.get_mut(&of) else { return };
        (inquiry.reached, inquiry.doubt) = (true, Duration::MAX);
        if let Some(known) = self.known.get_mut(&of) {
            self.changed |= std::mem::take(&mut known.doubted);
        }
    }

    pub(super) fn doubt(&mut self, now: Now, of: MemberNumber) {
        let Some(inquiry) = self.detector.inquiries.get_mut(&of) else { return };
        if inquiry.doubt <= now {
            inquiry.doubt = Duration::MAX;
            if let Some(known) = self.known.get_mut(&of) {
                (known.doubted, self.changed) = (true, true);
            }
        }
    }

    fn ask_again(&mut self, now: Now, of: MemberNumber, effects: &mut Vec<Effect>) {
        let relays = self.known.len().saturating_sub(1).min(RELAYS);
        let mut seq = self.probe(now, of, effects);
        // Where there are few to ask, more is tried from here.
        for _ in relays..RELAYS {
            seq = self.probe(now, of, effects);
        }
        let Some(inquiry) = self.detector.inquiries.get_mut(&of) else { return };
        if inquiry.doubt == Duration::MAX {
            inquiry.doubt = now + DOUBTED;
        }
        (inquiry.began, inquiry.until) = (now, now + DOUBT * inquiry.slowness);
        (inquiry.seq, inquiry.nacks, inquiry.reached, inquiry.first) = (seq, 0, false, false);
        self.ask_relays(of, effects);
    }

    fn ask_relays(&mut self, target: MemberNumber, effects: &mut Vec<Effect>) {
        let Some(inquiry) = self.detector.inquiries.get(&target) else { return };
        let relays = self.pick_relays(target, &inquiry.relays.clone());
        let Some(inquiry) = self.detector.inquiries.get_mut(&target) else { return };
        (inquiry.asked, inquiry.of_this_round) = (true, relays.len());
        inquiry.relays.extend(&relays);
        let about = About { seq: inquiry.seq, target, answered: false };
        relays.into_iter().for_each(|relay| self.say_ask(relay, about, effects));
    }

    /// Others that this node hears: rather such as were not asked yet, and rather in other zones.
    fn pick_relays(&mut self, target: MemberNumber, asked: &[MemberNumber]) -> Vec<MemberNumber> {
        let len = self.detector.order.len();
        let tries = if len <= 32 { len } else { RELAYS * 8 };
        let start = self.random.random_range(0..len.max(1));
        let mut picked: Vec<MemberNumber> = Vec::new();
        for step in 0..tries {
            let at =
                if len <= 32 { (start + step) % len } else { self.random.random_range(0..len) };
            let of = self.detector.order[at];
            let fit = self.known.get(&of).is_some_and(Known::answers);
            if fit && of != target && !picked.contains(&of) {
                picked.push(of);
            }
        }
        let zone = |of: MemberNumber| self.ring.member(of).map(|member| &member.zone);
        let mine = zone(self.me);
        picked.sort_by_key(|of| (asked.contains(of), zone(*of) == mine));
        picked.truncate(RELAYS);
        picked
    }

    /// Another asks for a probe on its behalf.
    pub(super) fn asked(
        &mut self,
        now: Now,
        by: MemberNumber,
        errand: &Errand,
        effects: &mut Vec<Effect>,
    ) {
        let Some(known) = self.known.get(&errand.target) else { return };
        if self.detector.errands.len() >= ERRANDS_MAX {
            return;
        }
        let late = known.round_trip.late().unwrap_or(PATIENCE).clamp(HASTE, PATIENCE);
        let seq = self.probe(now, errand.target, effects);
        let about = About { seq: errand.seq, target: errand.target, answered: false };
        self.detector.errands.insert(seq, Sent { by, about, until: now + late.mul_f64(0.8) });
    }

    /// A relay says whether the target answered.
    pub(super) fn told_by_relay(&mut self, by: MemberNumber, errand: &Errand) {
        let Some(inquiry) = self.detector.inquiries.get_mut(&errand.target) else { return };
        if !inquiry.relays.contains(&by) {
            return;
        }
        if errand.answered {
            self.sign(errand.target);
        } else if errand.seq == inquiry.seq {
            inquiry.nacks += 1;
        }
    }
}
