//! A copy that lost synced data counts for no read before it has caught up.
//!
//! A disk may go back in time: an old copy is put back, an empty one takes its place, what is damaged is
//! left out. Then the node has acknowledged writes that it does not have any more. It takes writes, and
//! counts for them: those are on its disk. But readers that count it might miss what it forgot. So it
//! first hears from other owners of each slot, and pulls what they have: from N - majority + 1 of them,
//! because every quorum of writers that it was in holds one of these; or from all others, because
//! nobody has more than all have together. Owners that catch up themselves count only for the latter.
//! (A quorum of writers, then one of readers: Gifford, *Weighted Voting*, 1979.) While a row changes that goes for each set of
//! owners since the last row that was settled. Who had a seat and lost data has nobody to hear; it
//! vouches for nothing until its copy is not wanted any more.
//!
//! Invariant: the store says that the copy recovers until every slot is through; what was heard from whom
//! is in memory, so a restart asks again. Not here: how it is found out that data are missing (`server`,
//! `control`), the pulling (`sync`).

use std::collections::BTreeMap;

use super::Shard;
use crate::causality::DotSet;
use crate::ring::{Epoch, MemberNumber, Ring, Slot, View, enough};
use crate::rules::{Rule, holds};
use crate::storage::Disk;

/// The slots that have not caught up.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    begun: bool,
    /// Who was heard in this life, and whether it had nothing to catch up with itself.
    slots: BTreeMap<Slot, BTreeMap<MemberNumber, bool>>,
}

impl Recovery {
    /// How many slots there are.
    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// How many there are in a class.
    pub(super) fn count_class(&self, class: u16, classes: u16) -> u64 {
        self.slots.keys().filter(|slot| slot.shard(classes) == class).count() as u64
    }
}

impl<D: Disk> Shard<D> {
    /// Whether any slot has not caught up.
    pub(super) fn recovers(&self) -> bool {
        !self.recovery.slots.is_empty()
    }

    /// Whether any slot of a partition has not.
    pub(super) fn recovers_in(&self, ring: &Ring, index: usize) -> bool {
        let first = ring.partitions[index].first;
        let next = self.recovery.slots.range(first..).next();
        next.is_some_and(|(slot, _)| ring.partition_index(*slot) == index)
    }

    /// Whether the own copy of a slot counts for no read.
    pub(super) fn recovering(&self, slot: Slot) -> bool {
        self.recovery.slots.contains_key(&slot) && holds(Rule::RecoverFirst) || self.unsettled(slot)
    }

    /// Begins when the store or a member says that data are missing, once in a life.
    pub(super) fn recover(&mut self) {
        let Some(view) = self.view.clone() else { return };
        let doubted = self.store.recovering() || view.rolled_back;
        if self.recovery.begun || !doubted {
            return;
        }
        self.recovery.begun = true;
        self.tell_again(&view);
        // Who had a seat pulls no more, but others pull from it: they have to know that it does not have all it had.
        let shared = |slot: &Slot| is_party(&view, *slot) && view.ring.row(*slot) != [view.me];
        let slots = Slot::all().filter(|slot| self.mine(*slot) && shared(slot));
        self.recovery.slots = slots.map(|slot| (slot, BTreeMap::new())).collect();
        log::warn!(
            "shard {}: synced data are missing; {} slots count for no read until other owners were \
             heard",
            self.config.shard,
            self.recovery.len()
        );
        if self.recovers() != self.store.recovering() {
            self.store.stage_recovering(self.recovers());
            self.staged();
        }
    }

    /// A view has come: nothing is to be caught up with where this node has no copy any more.
    pub(super) fn recovery_view(&mut self, view: &View) {
        if !self.recovers() {
            return;
        }
        self.recovery.slots.retain(|slot, _| is_party(view, *slot));
        self.end_recovery();
    }

    fn end_recovery(&mut self) {
        if !self.recovers() {
            log::info!("shard {}: caught up with other owners", self.config.shard);
            self.store.stage_recovering(false);
            self.staged();
        }
    }

    /// Tells the other owners once more what keys had seen that the clock does not know of. After a damaged
    /// log was salvaged no clock may know the dots that once told it, and equal clocks are not compared
    /// further. A new dot that only the mark names makes every owner ask for the full list of the slot.
    fn tell_again(&mut self, view: &View) {
        let owned = |slot: &Slot| self.mine(*slot) && view.owns(*slot);
        let unknown = |slot: &Slot| {
            let clock = self.store.clock(*slot);
            let mut entries = self.store.walk(*slot, None);
            entries.any(|(_, entry)| !entry.residual().is_within(clock))
        };
        let slots: Vec<Slot> = self.store.occupied().filter(owned).filter(unknown).collect();
        for slot in slots.into_iter().filter(|_| holds(Rule::TellAgain)) {
            let dot = DotSet::of(self.mint(slot));
            self.store.stage_clock(slot, &dot);
            self.store.stage_mark(slot, &dot);
            self.staged();
        }
    }

    /// A slot starts over: it catches up like the others, or once more.
    pub(super) fn recover_slot(&mut self, slot: Slot) {
        if self.recovery.begun {
            self.recovery.slots.insert(slot, BTreeMap::new());
        }
    }

    /// All that another owner had of a slot at some moment of this life, when it had the ring of this epoch, is in the
    /// own copy.
    pub(super) fn caught_up(&mut self, slot: Slot, with: MemberNumber, epoch: Epoch) {
        let Some(view) = &self.view else { return };
        let partition = view.ring.partition(slot);
        let class = slot.shard(self.classes_with(with));
        let recovers = self.sync.recovers_too(with, class, partition.first);
        if !recovers {
            self.seat_pulled(slot, with, epoch);
        }
        let Some(view) = &self.view else { return };
        let Some(heard) = self.recovery.slots.get_mut(&slot) else { return };
        let partition = view.ring.partition(slot);
        let settles = partition.settling().is_some_and(|(settling, _)| settling == with);
        heard.insert(with, !recovers && !settles);
        // What a quorum of a row before this one acknowledged may be with nobody else of this one yet.
        let before = partition.before().iter().map(Vec::as_slice);
        let lost = &view.ring.lost;
        let through = |set: &[MemberNumber]| {
            let there = |owner: &&MemberNumber| **owner != view.me && !lost.contains(owner);
            let others = || set.iter().filter(there);
            let whole = others().filter(|owner| heard.get(owner) == Some(&true)).count();
            whole >= enough(set.len()) || others().all(|owner| heard.contains_key(owner))
        };
        if before.chain([partition.row.as_slice()]).all(through) {
            self.recovery.slots.remove(&slot);
            self.end_recovery();
        }
    }

    /// The same, for all slots of a partition that lie in a class.
    pub(super) fn caught_up_in(
        &mut self,
        view: &View,
        index: usize,
        class: u16,
        with: MemberNumber,
        epoch: Epoch,
    ) {
        if !self.recovers() && !self.comes() {
            return;
        }
        let classes = self.classes_with(with);
        for slot in view.ring.slots_of(index).filter(|slot| slot.shard(classes) == class) {
            self.caught_up(slot, with, epoch);
        }
    }
}

/// Whether a node has a copy of a slot, or had one that others pull.
fn is_party(view: &View, slot: Slot) -> bool {
    view.ring.partition(slot).parties().contains(&view.me)
}
