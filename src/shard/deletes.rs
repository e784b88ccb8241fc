//! The delete log: what may leave it, and when.
//!
//! A delete leaves no bytes in the entry that it emptied. Owners that have not heard of it are told by
//! the log, dot and key, until all are believed to have it: below this *low-water mark* its line goes,
//! and the slot's mark rises. Nobody need know the truth for that: an owner that turns out to lack
//! what the mark covers (restored, returned, misjudged) is sent the full list of the slot instead. So
//! only cost depends on what is believed here. (DESIGN 3.4; Low-Water Mark.)
//!
//! Invariant: every delete in a slot's clock is in its log or under its mark. Not here: the answers
//! (`page`), the bytes (`storage`).

use std::collections::BTreeMap;

use super::Shard;
use crate::causality::DotSet;
use crate::ring::{MemberNumber, Ring, Slot};
use crate::rules::{Rule, holds};
use crate::storage::Disk;

/// What other owners are believed to have, of slots with deletes in the log.
#[derive(Debug, Default)]
pub(super) struct Deletes {
    heard: BTreeMap<(Slot, MemberNumber), DotSet>,
}

impl<D: Disk> Shard<D> {
    /// A peer told its clock of a slot.
    pub(super) fn heard(&mut self, from: MemberNumber, slot: Slot, clock: &DotSet) {
        if self.store.deletes(slot).next().is_some() {
            self.deletes.heard.insert((slot, from), clock.clone());
        }
    }

    /// The slot starts over: what others have of it is to be heard anew.
    pub(super) fn forget_heard(&mut self, slot: Slot) {
        self.deletes.heard.retain(|(other, _), _| *other != slot);
    }

    /// A peer's clock of a slot is the own one.
    pub(super) fn equal(&mut self, from: MemberNumber, slot: Slot) {
        let clock = self.store.clock(slot).clone();
        self.heard(from, slot, &clock);
    }

    /// A peer's clocks of all slots of a partition and class are the own ones.
    pub(super) fn equal_in(
        &mut self,
        from: MemberNumber,
        ring: &Ring,
        index: usize,
        class: u16,
        classes: u16,
    ) {
        let logged = self.store.slots_with_deletes();
        let meant =
            |slot: &Slot| slot.shard(classes) == class && ring.partition_index(*slot) == index;
        for slot in logged.filter(meant).collect::<Vec<_>>() {
            self.equal(from, slot);
        }
    }

    /// Takes out of the log what all owners are believed to have. Once a round.
    pub(super) fn trim_deletes(&mut self) {
        for slot in self.store.slots_with_deletes().collect::<Vec<_>>() {
            if !holds(Rule::TrimDeletes) {
                break;
            }
            let low = self.low_water(slot);
            self.trim(slot, &low);
        }
        while self.store.delete_count() > self.config.delete_log_max {
            let Some(slot) = self.store.slots_with_deletes().next() else { return };
            let clock = self.store.clock(slot).clone();
            self.trim(slot, &clock);
        }
    }

    /// What all owners of a slot are believed to have.
    fn low_water(&self, slot: Slot) -> DotSet {
        let mut low = self.store.clock(slot).clone();
        let Some(view) = &self.view else { return DotSet::EMPTY };
        for owner in view.ring.row(slot).iter().filter(|owner| **owner != view.me) {
            match self.deletes.heard.get(&(slot, *owner)) {
                Some(theirs) => low = low.meet(theirs),
                None => return DotSet::EMPTY,
            }
        }
        low
    }

    fn trim(&mut self, slot: Slot, low: &DotSet) {
        if !self.store.deletes(slot).any(|(dot, _)| low.contains(dot)) {
            return;
        }
        self.store.stage_mark(slot, low);
        self.staged();
        if self.store.deletes(slot).next().is_none() {
            self.forget_heard(slot);
        }
    }
}
