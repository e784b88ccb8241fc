//! Seats that change hands: what a newcomer has pulled, whether it counts, and when an old copy may go.
//!
//! ```text
//! ring says        this node                                        it reports
//! Prepare me       takes writes without a vote, pulls               Copied
//! Settle me        owns; counts for nothing before it has pulled    Settled
//!                  from enough owners that refuse the row before
//! Cover, I own     counts; pulls from who lost the seat, or from     Covered
//!                  enough of the owners before
//! former me        lets the owners pull; when all of them have      Dropped
//!                  durably what is here, drops it
//! ```
//!
//! Whoever knows a newer row refuses writes and reads by an older one: that is the *fence*. So once a newcomer has
//! pulled, after their fences, from `enough` of the owners before, every quorum of theirs is in its copy, and none can
//! form any more. (The rules are those of the model of moves; each has a name in `rules`.)
//!
//! Invariant: what was pulled from whom is in memory and belongs to one step of one row: a restart, and the next step,
//! begin anew. What is reported is durable. Not here: who decides on steps (`control`), the pulling itself (`sync`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::Shard;
use super::event::Effect;
use super::reply::Head;
use super::requests::Request;
use super::sync::{classes, leading_slot};
use super::unsynced::Due;
use crate::ring::steps::{Report, Stage};
use crate::ring::{Change, Epoch, MemberNumber, Partition, Ring, Slot, View};
use crate::rules::{Rule, holds};
use crate::storage::Disk;
use crate::wire::{Clocks, ClocksWanted, Frame, Level, Message, Reason};

/// How many slots' clocks are asked for at once before a copy is dropped. An answer is no longer than a page.
const GOING_PER_ROUND: usize = 1024;

/// What the shard knows of seats that it comes into, or has lost.
#[derive(Debug, Default)]
pub(super) struct Seats {
    ring: Option<Arc<Ring>>,
    coming: BTreeMap<Slot, Coming>,
    /// Slots whose copy is to go.
    going: BTreeMap<Slot, Going>,
    /// What was asked for last, by peer and class, in which turn, and where the next turn begins.
    asked: BTreeMap<(MemberNumber, u16), (u64, Slot)>,
    /// Clocks that are told once they are durable.
    waiting: BTreeMap<u64, (MemberNumber, Head, Epoch, Clocks)>,
    next: u64,
    told: BTreeSet<Report>,
}

/// A slot that this node pulls on account of a step.
#[derive(Debug)]
struct Coming {
    /// The step that it belongs to.
    since: Epoch,
    /// Who told everything it had after it knew of the step.
    from: BTreeSet<MemberNumber>,
    done: bool,
}

impl Coming {
    /// Whether what was pulled is all that the step asks for.
    fn suffices(&self, ring: &Ring, slot: Slot) -> bool {
        let heard = |set: &[MemberNumber]| set.iter().filter(|o| self.from.contains(o)).count();
        let wanted = |set: &[MemberNumber]| if holds(Rule::Enough) { ring.needed(set) } else { 1 };
        let all_of = |set: &[MemberNumber]| heard(set) >= wanted(set);
        let partition = ring.partition(slot);
        match &partition.change {
            Some(Change::Prepare { .. }) => all_of(&partition.row),
            // It was an owner itself, and counted.
            Some(Change::Cover { lost, before }) => {
                self.from.contains(lost) || heard(before) + 1 >= ring.needed(before)
            }
            Some(Change::Settle { before, .. }) => {
                let sets = if holds(Rule::EverySet) { before.len() } else { 1 };
                before.iter().take(sets).all(|set| all_of(set))
            }
            None => false,
        }
    }
}

/// A slot whose copy is to go.
#[derive(Debug)]
struct Going {
    /// When its row changed last: who owns it by another row may have had a copy, and dropped that.
    since: Epoch,
    /// The owners that have durably what is here.
    by: BTreeSet<MemberNumber>,
}

impl<D: Disk> Shard<D> {
    /// Whether this shard has anything to pull before it is done with a step.
    pub(super) fn comes(&self) -> bool {
        self.seats.coming.values().any(|coming| !coming.done)
    }

    /// Whether a copy here is to go, or may be.
    pub(super) fn goes(&self) -> bool {
        !self.seats.going.is_empty()
    }

    /// Owners that have not said whether they have what came back here after it had gone. No step waits for that.
    pub(super) fn stray_peers(&self, view: &View) -> BTreeSet<MemberNumber> {
        let strays = self.seats.going.iter().filter(|(slot, _)| {
            let former = view.ring.partition(**slot).former.contains(&view.me);
            !former && !self.store.clock(**slot).is_empty()
        });
        let peers = strays.flat_map(|(slot, going)| {
            view.ring.row(*slot).iter().copied().filter(|peer| !going.by.contains(peer))
        });
        peers.filter(|peer| view.is_up(*peer)).collect()
    }

    /// Members that are up and whose word a step of a row waits for: what they have is to be pulled, or they are to have
    /// what is dropped here.
    pub(super) fn seat_peers(&self, view: &View) -> BTreeSet<MemberNumber> {
        let mut peers = BTreeSet::new();
        for (slot, coming) in self.seats.coming.iter().filter(|(_, coming)| !coming.done) {
            let partition = view.ring.partition(*slot);
            let sets = match &partition.change {
                Some(Change::Settle { before, .. }) => before.clone(),
                Some(Change::Cover { lost, before }) => vec![vec![*lost], before.clone()],
                Some(Change::Prepare { .. }) | None => vec![partition.row.clone()],
            };
            peers.extend(sets.into_iter().flatten().filter(|peer| !coming.from.contains(peer)));
        }
        for (slot, going) in &self.seats.going {
            let partition = view.ring.partition(*slot);
            let waits = partition.former.contains(&view.me) && partition.settling().is_none();
            if waits && !self.store.clock(*slot).is_empty() {
                peers.extend(partition.row.iter().filter(|peer| !going.by.contains(peer)));
            }
        }
        peers.retain(|peer| *peer != view.me && view.is_up(*peer));
        peers
    }

    /// Whether this node has a seat, and counts for nothing yet.
    pub(super) fn unsettled(&self, slot: Slot) -> bool {
        let done = || self.seats.coming.get(&slot).is_some_and(|coming| coming.done);
        self.view.as_ref().is_some_and(|view| {
            let settling = view.ring.partition(slot).settling();
            settling.is_some_and(|(member, _)| member == view.me)
        }) && !done()
            && holds(Rule::SettledCounts)
    }

    /// Whether a write that is stored here counts for nothing.
    pub(super) fn has_no_vote(&self, slot: Slot) -> bool {
        let owns = self.view.as_ref().is_some_and(|view| view.owns(slot));
        (!owns && holds(Rule::SeatFirst)) || self.unsettled(slot)
    }

    /// Whether a request comes from who thinks that a row is another one than it is here.
    pub(super) fn is_of_another_row(&self, frame: &Frame) -> bool {
        let about_votes = match &frame.message {
            Message::Store(store) => store.reason == Reason::Write,
            message => matches!(message, Message::Fetch(_)),
        };
        let since = self.row_since(frame.slot);
        about_votes && (frame.epoch > since || frame.epoch < since && holds(Rule::Fence))
    }

    /// When the row of a slot changed last, or took a step.
    pub(super) fn row_since(&self, slot: Slot) -> Epoch {
        self.view.as_ref().map_or(Epoch(0), |view| view.ring.partition(slot).since)
    }

    /// Whether an owner's answer counts for a request that needs so many. A newcomer vouches for quorums: more than it
    /// has to pull from may have been asked of the owners before it.
    pub(super) fn vouches(
        &self,
        slot: Slot,
        owner: MemberNumber,
        level: Level,
        needed: usize,
    ) -> bool {
        let Some(view) = &self.view else { return false };
        match view.ring.partition(slot).settling() {
            Some((settling, before)) if settling == owner && level != Level::Quorum => {
                before.iter().all(|set| needed <= view.ring.needed(set).max(1))
            }
            Some(_) | None => true,
        }
    }

    /// A view has come: looks at the rows that changed.
    pub(super) fn learn_seats(&mut self, view: &View) {
        if self.seats.ring.as_ref().is_some_and(|known| Arc::ptr_eq(known, &view.ring)) {
            return;
        }
        let mut before = std::mem::take(&mut self.seats.coming);
        let mut going = std::mem::take(&mut self.seats.going);
        for (index, partition) in view.ring.partitions.iter().enumerate() {
            let comes = comes_into(partition, view.me);
            let goes = partition.former.contains(&view.me);
            if !comes && !goes {
                continue;
            }
            let slots: Vec<Slot> =
                view.ring.slots_of(index).filter(|slot| self.mine(*slot)).collect();
            for slot in slots {
                let since = partition.since;
                if comes {
                    let known = before.remove(&slot).filter(|coming| coming.since == since);
                    let new = || Coming { since, from: BTreeSet::new(), done: false };
                    let mut coming = known.unwrap_or_else(new);
                    // Copies that were given up are not waited for, from this ring on.
                    coming.done |= coming.suffices(&view.ring, slot);
                    self.seats.coming.insert(slot, coming);
                } else {
                    self.is_to_go(slot, since, going.remove(&slot));
                }
            }
        }
        let stray = |slot: &Slot| !view.takes(*slot) && !self.seats.going.contains_key(slot);
        for slot in self.store.occupied().filter(stray).collect::<Vec<_>>() {
            self.is_to_go(slot, view.ring.partition(slot).since, going.remove(&slot));
        }
        self.seats.ring = Some(Arc::clone(&view.ring));
        self.seats.told.retain(|told| view.ring.partition(told.first).since == told.since);
        for index in 0..view.ring.partitions.len() {
            self.report_seat(view, index);
        }
    }

    /// All that a peer had of a slot, when it knew of this epoch's ring, is in the own copy.
    pub(super) fn seat_pulled(&mut self, slot: Slot, from: MemberNumber, epoch: Epoch) {
        let Some(coming) = self.seats.coming.get_mut(&slot) else { return };
        let fenced = epoch >= coming.since || !holds(Rule::AfterFence);
        if coming.done || !fenced {
            return;
        }
        let Some(view) = self.view.clone() else { return };
        coming.from.insert(from);
        if coming.suffices(&view.ring, slot) {
            coming.done = true;
            // Slots are pulled in order: mostly another one is left, and that is seen at once.
            let index = view.ring.partition_index(slot);
            let after = (Bound::Excluded(slot), Bound::Unbounded);
            let next = self.seats.coming.range(after).next();
            let next = next.filter(|(next, _)| view.ring.partition_index(**next) == index);
            if next.is_none_or(|(_, next)| next.done) {
                self.report_seat(&view, index);
            }
        }
    }

    /// Says how far this node's seat in a partition is, once that is durable. Each shard says it.
    fn report_seat(&mut self, view: &View, index: usize) {
        let partition = &view.ring.partitions[index];
        let mut slots = view.ring.slots_of(index).filter(|slot| self.mine(*slot));
        let stage = if comes_into(partition, view.me) {
            let done = |slot: Slot| self.seats.coming.get(&slot).is_some_and(|coming| coming.done);
            let stage = match &partition.change {
                Some(Change::Prepare { .. }) | None => Stage::Copied,
                Some(Change::Settle { .. }) => Stage::Settled,
                Some(Change::Cover { .. }) => Stage::Covered,
            };
            slots.all(done).then_some(stage)
        } else if partition.former.contains(&view.me) {
            slots.all(|slot| self.store.clock(slot).is_empty()).then_some(Stage::Dropped)
        } else {
            None
        };
        if let Some(stage) = stage {
            let (first, since) = (partition.first, partition.since);
            let report = Report { first, since, by: view.me, stage };
            if self.seats.told.insert(report) {
                self.when_synced(Due::Report(report));
            }
        }
    }

    /// It is durable, if the ring still is where it was.
    pub(super) fn seat_reported(&mut self, report: Report) {
        if self.row_since(report.first) == report.since {
            self.effects.push(Effect::Report(report));
        }
    }

    // ---- copies that go ---------------------------------------------------------------------------

    /// What is here of a slot is to go: its row lost this node, or a log that was mended brought it back after it had gone.
    fn is_to_go(&mut self, slot: Slot, since: Epoch, known: Option<Going>) {
        self.forget_what_nobody_pulls(slot);
        let known = known.filter(|going| going.since == since);
        let new = || Going { since, by: BTreeSet::new() };
        self.seats.going.insert(slot, known.unwrap_or_else(new));
    }

    /// A salvaged log may have left contexts without a clock. Nobody pulls those, so nobody waits for them either.
    fn forget_what_nobody_pulls(&mut self, slot: Slot) {
        if self.store.clock(slot).is_empty() && self.store.walk(slot, None).next().is_some() {
            self.forget_slot(slot);
        }
    }

    /// Drops copies that something worked on when the last owner said that it has all of them.
    pub(super) fn drop_held_back(&mut self, view: &View) {
        let held_back = |(slot, going): &(&Slot, &Going)| {
            let row = view.ring.row(**slot);
            row.iter().all(|owner| going.by.contains(owner)) && !self.store.clock(**slot).is_empty()
        };
        let held_back = self.seats.going.iter().filter(held_back).map(|(slot, _)| *slot);
        for slot in held_back.collect::<Vec<_>>() {
            self.drop_if_covered(view, slot);
        }
    }

    /// Asks an owner for its clocks of slots whose copy here is to go.
    pub(super) fn ask_going(&mut self, view: &View, peer: MemberNumber) {
        let classes = classes(self.config.shards, view, peer);
        for class in self.own_classes(classes) {
            let from = self.seats.asked.get(&(peer, class)).map_or(leading_slot(0), |(_, at)| *at);
            let wanted = |(slot, going): &(&Slot, &Going)| {
                slot.shard(classes) == class
                    && !going.by.contains(&peer)
                    && view.ring.row(**slot).contains(&peer)
                    && view.ring.partition(**slot).settling().is_none()
                    && !self.store.clock(**slot).is_empty()
            };
            let after = self.seats.going.range(from..).chain(self.seats.going.range(..from));
            let slots: Vec<Slot> =
                after.filter(wanted).map(|(slot, _)| *slot).take(GOING_PER_ROUND).collect();
            let Some(last) = slots.last().copied() else { continue };
            let request = self.requests.draw();
            let next = Slot::new(last.number() + 1).unwrap_or(leading_slot(0));
            self.seats.asked.insert((peer, class), (request, next));
            let wanted = Message::ClocksWanted(ClocksWanted { slots });
            self.send(peer, Head::slot(leading_slot(class), request), wanted);
        }
    }

    /// Tells clocks once they are durable: the asker drops what they cover.
    pub(super) fn send_clocks_durable(&mut self, to: MemberNumber, head: Head, clocks: Clocks) {
        if self.unsynced.len() >= self.config.unsynced_max {
            return;
        }
        self.seats.next += 1;
        let epoch = self.epoch();
        self.seats.waiting.insert(self.seats.next, (to, head, epoch, clocks));
        self.when_synced(Due::Clocks(self.seats.next));
    }

    /// They are durable now, or never will be.
    pub(super) fn clocks_durable(&mut self, id: u64, durable: bool) {
        // Under a newer ring they would pass for told after its fence.
        if let Some((to, head, epoch, clocks)) = self.seats.waiting.remove(&id)
            && durable
            && epoch == self.epoch()
        {
            self.send(to, head, Message::Clocks(clocks));
        }
    }

    /// What an owner has, durably, of slots whose copy here is to go. Whether it was asked for on that account.
    pub(super) fn on_going_clocks(
        &mut self,
        from: MemberNumber,
        head: Head,
        clocks: &Clocks,
    ) -> bool {
        let Some(view) = self.view.clone() else { return false };
        let asked = self.seats.asked.get(&(from, head.slot.number())).map(|(id, _)| *id);
        if asked != Some(head.request) {
            return false;
        }
        for (slot, clock) in &clocks.clocks {
            let covered = self.store.clock(*slot).is_within(clock) || !holds(Rule::DropCovered);
            let going = self.seats.going.get_mut(slot);
            // A peer to which this node is about to come in again tells what is not durable yet.
            if let Some(going) = going.filter(|_| covered && head.epoch == view.ring.epoch) {
                going.by.insert(from);
                self.drop_if_covered(&view, *slot);
            }
        }
        true
    }

    /// Drops the copy of a slot when all its owners have what is here, and nothing here works on it.
    fn drop_if_covered(&mut self, view: &View, slot: Slot) {
        let partition = view.ring.partition(slot);
        let by = &self.seats.going[&slot].by;
        let all = partition.row.iter().all(|owner| by.contains(owner));
        if !all || partition.settling().is_some() || self.works_on(slot) {
            return;
        }
        log::debug!("slot {slot}: the copy is dropped, for its owners have all of it");
        self.forget_slot(slot);
        self.metrics.slots_dropped += 1;
        self.report_seat(view, view.ring.partition_index(slot));
    }

    /// Whether a request that is not over needs the copy of a slot.
    fn works_on(&mut self, slot: Slot) -> bool {
        self.requests.any(|request| match request {
            Request::Put(put) => put.slot() == slot,
            Request::Get(get) => get.slot() == slot,
            Request::Exchange(exchange) => exchange.slot == slot,
            Request::Seek(_)
            | Request::Forward(_)
            | Request::Gather(_)
            | Request::Delivery(_)
            | Request::Heal(_) => false,
        })
    }
}

/// Whose answers to a read count: the owners'.
pub(super) fn readers(partition: &Partition) -> Vec<MemberNumber> {
    partition.row.iter().copied().chain(seated_early(partition)).collect()
}

/// Whether it is a member's business to answer reads.
pub(super) fn reads_from(partition: &Partition, member: MemberNumber) -> bool {
    partition.row.contains(&member) || seated_early(partition) == Some(member)
}

/// Who would count too soon: nobody, but for a canary.
fn seated_early(partition: &Partition) -> Option<MemberNumber> {
    partition.incoming().filter(|_| !holds(Rule::SeatFirst))
}

/// Whether a member has to pull a partition on account of its step: it copies it, settles in it, or covers for
/// a seat that is gone.
fn comes_into(partition: &Partition, member: MemberNumber) -> bool {
    match &partition.change {
        Some(Change::Prepare { incoming, .. } | Change::Settle { incoming, .. }) => {
            *incoming == member
        }
        Some(Change::Cover { .. }) => partition.row.contains(&member),
        None => false,
    }
}
