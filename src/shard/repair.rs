//! Deltas that come in from peers, and those that a read sends to owners that had less.
//!
//! A repair is one delta: the joined answer, with bytes for the values that the owner lacks and
//! `kept` for those that it said it has. When the lacking values do not fit into one frame, each is
//! sent as it was once written, with the context of its own writer: that is a delta which the owner
//! missed and nothing else, so any of them may be lost without the others meaning too much. Parts of
//! the joined delta would not do: its context covers what the lost part was to bring.
//!
//! Invariant: `kept` names only dots that the receiver said it has; a copy that has not got them any more,
//! because its disk went back since, does not use the repair. Repair passes whatever the sibling limit says.

use std::collections::BTreeMap;

use super::Shard;
use super::get::as_written;
use super::loads::{Then, Values};
use super::reply::Head;
use super::unsynced::Due;
use crate::causality::{Delta, Dot, Entry, Seen, Value, join};
use crate::key::Key;
use crate::ring::{MemberNumber, Token};
use crate::rules::{Rule, holds};
use crate::storage::{Disk, Place};
use crate::wire::{Decline, Message, Reason, Store};

/// Owners to be repaired, once the values that they lack are loaded.
#[derive(Debug)]
pub(super) struct Mend {
    token: Token,
    key: Key,
    joined: Seen<()>,
    answers: BTreeMap<MemberNumber, Seen<()>>,
    /// Bytes that are here already.
    values: Values,
}

impl<D: Disk> Shard<D> {
    /// A member sends a delta: a write, a repair, or a hint that it kept.
    pub(super) fn on_store(&mut self, from: MemberNumber, head: Head, store: Store) {
        let Store { key, delta, reason } = store;
        if let Some(decline) = self.may_not_store(head, &key, &delta, reason) {
            return self.send(from, head, Message::Declined(decline));
        }
        if !self.has_kept(head, &key, &delta) && holds(Rule::KeptIsHere) {
            // Nobody waits for a repair; another read sends one that fits.
            log::debug!("a repair of member {from} leaves out what is not here");
            return;
        }
        match reason {
            Reason::Repair if !holds(Rule::RepairPasses) && self.is_full(head, &key) => {
                return self.send(from, head, Message::Declined(Decline::Overloaded));
            }
            Reason::Write | Reason::Repair | Reason::Hint | Reason::Sync => {}
        }
        self.apply(head.slot, &key, delta);
        let voted = reason == Reason::Write;
        self.when_synced(if voted { Due::Voted(from, head) } else { Due::Stored(from, head) });
    }

    fn may_not_store(
        &self,
        head: Head,
        key: &Key,
        delta: &Delta<Value>,
        reason: Reason,
    ) -> Option<Decline> {
        if !self.view.as_ref().is_some_and(|view| view.takes(head.slot)) {
            Some(Decline::NotMine)
        } else if self.is_refused(head.slot, key, delta, reason) {
            Some(Decline::OtherRing)
        } else if self.unsynced.len() >= self.config.unsynced_max {
            Some(Decline::Overloaded)
        } else {
            self.disk_declines(key, delta)
        }
    }

    /// Whether all that a delta leaves out is or was here.
    fn has_kept(&self, head: Head, key: &Key, delta: &Delta<Value>) -> bool {
        let clock = self.store.clock(head.slot);
        let own = || self.copy_of(head.slot, key);
        let here = |dot: &Dot| clock.contains(*dot) || own().residual().contains(*dot);
        delta.kept.iter().all(here)
    }

    fn is_full(&self, head: Head, key: &Key) -> bool {
        self.copy_of(head.slot, key).values().len() >= self.config.siblings_max
    }

    /// After a read: brings every owner that answered with less up to what all said together.
    pub(super) fn repair(
        &mut self,
        token: Token,
        key: Key,
        mut answers: BTreeMap<MemberNumber, Seen<()>>,
        own: Entry<Place>,
        values: Values,
    ) {
        let joined = join(&answers.values().cloned().collect::<Vec<_>>());
        answers.retain(|_, seen| !seen.dots().eq(joined.dots()));
        if answers.is_empty() || self.loads.len() >= self.config.loads_max {
            return;
        }
        // Own bytes are loaded only for values that somebody lacks.
        let lacking = |dot: Dot| answers.values().any(|seen| !seen.dots().any(|has| has == dot));
        let wanted = own.values().iter().copied().filter(|(dot, _)| {
            joined.dots().any(|live| live == *dot) && lacking(*dot) && !values.contains_key(dot)
        });
        let wanted: Vec<(Dot, Place)> = wanted.collect();
        self.load(wanted, Then::Mend(Mend { token, key, joined, answers, values }));
    }

    /// The values are there: sends the repairs.
    pub(super) fn mend(&mut self, mend: Mend, loaded: Values) {
        let Mend { token, key, joined, answers, mut values } = mend;
        values.extend(loaded);
        for (member, seen) in answers {
            for delta in self.repairs(&joined, &seen, &values) {
                self.metrics.repairs += 1;
                if self.is_me(member) {
                    if !self.view.as_ref().is_some_and(|view| view.takes(token.slot())) {
                        // The seat was lost meanwhile: what is here stays as it is.
                        continue;
                    }
                    let refused = self.is_refused(token.slot(), &key, &delta, Reason::Repair);
                    if !refused && self.disk_declines(&key, &delta).is_none() {
                        self.apply(token.slot(), &key, delta);
                    }
                } else {
                    let store = Store { key: key.clone(), delta, reason: Reason::Repair };
                    let id = self.requests.draw();
                    self.send(member, Head::key(token, id), Message::Store(store));
                }
            }
        }
    }

    /// The deltas that bring a replica which answered `seen` up to `joined`.
    fn repairs(&self, joined: &Seen<()>, seen: &Seen<()>, values: &Values) -> Vec<Delta<Value>> {
        let (kept, lacking): (Vec<Dot>, Vec<Dot>) =
            joined.dots().partition(|dot| seen.dots().any(|has| has == *dot));
        let found: Vec<(Dot, Value)> =
            lacking.iter().filter_map(|dot| Some((*dot, values.get(dot)?.clone()))).collect();
        let bytes: u64 = found.iter().map(|(_, value)| value.bytes.len() as u64).sum();
        let whole = found.len() == lacking.len();
        if whole && (bytes <= self.config.frame_values_max || found.len() == 1) {
            let context = joined.covered.clone();
            return vec![Delta { values: found, kept, deleted: None, context }];
        }
        found.into_iter().map(|(dot, value)| as_written(dot, value)).collect()
    }
}
