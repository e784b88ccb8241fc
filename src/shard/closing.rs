//! Closing of dead actors: the single dots of a life that is over become one number.
//!
//! Every life that a node ever lived would stay in every clock and token for ever. In the ring's list of
//! dead actors each has a place, and a set of dots says `closed = n` instead of naming what the first n
//! wrote. Two parts make that safe.
//!
//! **Listing**, the ring's part. Before an actor may be listed every shard of every member confirms
//! (`listing`) that it *refuses* it, durably: takes in no delta with a dot of it that it does not have; and
//! that it holds no hint with such a dot. From then on the dots of the actor that any owner will ever have
//! are those that some owner has on its disk.
//!
//! **Folding**, the slot's part, place by place. An owner asks the others which dots of listed actors they
//! have durably, each round of slot sync, and folds the next actor when its own include all of theirs:
//!
//! ```text
//!   ClosingWanted  slots that are behind the ring's list ─▶
//!                  ◀─ Closing  per slot the durable dots of listed actors, once they are durable
//! ```
//!
//! Once one has folded, the others do not: slot sync brings them what they lack, and then the clock that
//! says so.
//!
//! **A copy that went back in time** may bring dots that nobody had when the actor was folded. They stand for
//! what they had replaced, and so does the `closed` of the others: what both replaced would be gone. So it
//! must not be believed, and starts the slot over, empty. How is it told from a copy that lived on and has
//! not folded yet? Every member's log records the refusal before the actor is listed: a log that hears of
//! the listing and has no refusal is older than the listing. (A copy from between the two has no more dots
//! than it reported, which do no harm.) And its ring may have gone back with it: before it has the newer
//! one it cannot know; so what it says is not used by those who know better.
//!
//! **Own gaps.** A slot that starts over keeps its counters, for its dots are out there; some may be lost
//! for good, and every clock would have a gap there, and every entry a residual context, as long as the actor
//! lives. So the shard *retires* it: it goes on under a new life, and so does each other shard of the node, or the
//! actor would be in use and could not be listed. Such a life needs no note on the disk:
//! it is random, so it comes but once; after a restart the process has another, or, when its page is whole,
//! the one before, which no gap, refusal or listing forbids to use, or it is retired again.
//!
//! Invariant: what comes in has its sets resolved with the list that this shard's log knows. What speaks of
//! more dead actors comes from a node with a newer ring: it has no effect, and whoever sent it is told.
//! Not here: what a shard says before an actor is listed (`listing`), and who lists one (`control`).

use std::collections::BTreeMap;

use rand::RngExt;

use super::reply::Head;
use super::requests::Request;
use super::sync::leading_slot;
use super::unsynced::Due;
use super::{Effect, Shard};
use crate::causality::{
    Actor, ContextError, Delta, Dot, DotSet, Resolve, Unresolved, Value, open_context,
};
use crate::key::Key;
use crate::ring::{Epoch, MemberNumber, Slot, View};
use crate::rules::{Rule, holds};
use crate::storage::Disk;
use crate::wire::{
    Closing as Reports, ClosingWanted, Decline, Failure, FailureCode, Frame, Message, Part, Reason,
};

/// Slots asked about in a round with one peer.
const SLOTS_PER_ROUND: usize = 1_024;

/// What the shard remembers between rounds, and of refusals.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// What other owners have of listed actors, of slots that are behind the list.
    reports: BTreeMap<Slot, BTreeMap<MemberNumber, DotSet>>,
    /// The last question to each peer, for one class of slots, and the last slot in it.
    asked: BTreeMap<(MemberNumber, u16), (u64, Slot)>,
    /// Reports that wait until they are durable.
    waiting: BTreeMap<u64, (MemberNumber, Head, Reports)>,
    next: u64,
    /// The newest ring that each member was heard to have.
    epochs: BTreeMap<MemberNumber, Epoch>,
}

impl<D: Disk> Shard<D> {
    /// The actor that this shard writes as. `None` before the first view.
    pub fn actor(&self) -> Option<Actor> {
        self.view.as_ref().map(|view| Actor::new(view.me.0, self.life))
    }

    /// How many dots this shard's actor has minted in a slot, whether or not its copy has them.
    pub fn minted(&self, slot: Slot) -> u64 {
        self.counters.get(&slot).copied().unwrap_or(0)
    }

    // ---- what comes in -----------------------------------------------------------------------

    /// The dots that a client's token covers.
    pub(super) fn open(&self, view: &View, key: &Key, token: &[u8]) -> Result<DotSet, Failure> {
        open_context(&view.ring.secret, self.store.dead(), key, token).map_err(|error| {
            let code = match error {
                ContextError::NotOurs | ContextError::Version(_) => FailureCode::BadContext,
                ContextError::Ahead => FailureCode::NotReady,
            };
            Failure::new(code, error.to_string())
        })
    }

    /// Makes the sets of a member's message usable. `false` when it must not be used: then it is as good
    /// as lost, and whoever waits for it goes on.
    pub(super) fn usable(&mut self, from: MemberNumber, frame: &mut Frame) -> bool {
        let (head, kind) = (Head::of(frame), frame.message.kind());
        let newest = self.closing.epochs.entry(from).or_default();
        *newest = frame.epoch.max(*newest);
        match frame.message.resolve(self.store.dead()) {
            Ok(()) if self.is_outdated(from, frame) => {
                log::debug!("a {kind} of member {from} is not used: its ring went back");
            }
            Ok(()) => return true,
            Err(why @ Unresolved::Ahead(_)) => {
                log::debug!("a {kind} of member {from} is not used: {why}");
            }
            Err(why @ Unresolved::Twice(_)) => {
                log::warn!("member {from} sent a {kind} that is none: {why}");
            }
        }
        match kind.part() {
            Part::Brings => self.send(from, head, Message::Declined(Decline::OtherRing)),
            Part::Answers => self.on_lost(from, head.request),
            // Who asks in vain asks again.
            Part::Asks => {}
        }
        false
    }

    /// Whether a message says what a copy holds that does not know how far the ring is: its sender was heard
    /// to have a newer ring, or names dots that could be folded only because it knew they were listed.
    fn is_outdated(&self, from: MemberNumber, frame: &Frame) -> bool {
        let clock = if let Message::Fetched(fetched) = &frame.message {
            &fetched.clock
        } else if let Message::Page(page) = &frame.message {
            &page.clock
        } else {
            return false;
        };
        let went_back = self.closing.epochs.get(&from).is_some_and(|newest| frame.epoch < *newest);
        let own = self.store.clock(frame.slot);
        let folded = || clock.rows().any(|(actor, _)| own.covers_all_of(actor));
        (went_back || frame.epoch < self.epoch() && folded()) && holds(Rule::RingWentBack)
    }

    /// Whether a delta has a dot of an actor that is refused or listed, and that was not joined here before. (A dot
    /// that is only covered by `closed` may be one that no owner had: what its delta replaced is still there.)
    /// Hints are taken until the actor is listed: they must be gone before. Slot sync goes on: it makes copies
    /// equal.
    pub(super) fn is_refused(
        &self,
        slot: Slot,
        key: &Key,
        delta: &Delta<Value>,
        reason: Reason,
    ) -> bool {
        let (refused, listed) = match reason {
            Reason::Write | Reason::Repair => (true, true),
            Reason::Hint => (false, true),
            Reason::Sync => (false, false),
        };
        let dead = self.store.dead();
        let over =
            |actor: Actor| refused && self.store.refuses(actor) || listed && dead.contains(actor);
        let clock = self.store.clock(slot);
        let joined = |dot: Dot| {
            let named = clock.contains(dot) && !clock.covers_all_of(dot.actor);
            named || self.copy_of(slot, key).value(dot).is_some()
        };
        let stray = |dot: Dot| over(dot.actor) && !joined(dot);
        delta.dots().any(stray) && holds(Rule::LifeFence)
    }

    /// Whether a delta has a dot of an actor that is refused or listed, known here or not: no hint of it is kept any more.
    pub(super) fn is_over(&self, delta: &Delta<Value>) -> bool {
        let dead = self.store.dead();
        let over = |dot: Dot| self.store.refuses(dot.actor) || dead.contains(dot.actor);
        delta.dots().any(over) && holds(Rule::LifeFence)
    }

    // ---- the list ------------------------------------------------------------------------------

    /// A view has come: takes over what its ring lists beyond what is known.
    pub(super) fn learn_dead(&mut self, view: &View) {
        if self.view.is_none() {
            // What says that they were delivered may be in a part of the log that was lost.
            let known = self.store.dead().actors().to_vec();
            self.drop_hints_of(&known);
        }
        let (known, listed) = (self.store.dead().actors(), view.ring.dead.actors());
        let Some(more) = listed.strip_prefix(known) else {
            assert!(
                known.starts_with(listed),
                "the ring's list of dead actors only grows at its end"
            );
            return self.retire_if_over(view);
        };
        if !more.is_empty() {
            let more = more.to_vec();
            self.start_over_if_older(&more);
            self.store.stage_dead(&more);
            self.staged();
            // What a peer had read before it refused them may still be on its way.
            self.end_exchanges(|_| true);
            self.drop_hints_of(&more);
            // What was heard before does not speak of these.
            self.closing.reports.clear();
            self.closing.asked.clear();
        }
        self.retire_if_over(view);
    }

    // ---- copies that went back in time -----------------------------------------------------------

    /// Starts over what this copy holds of actors that it never refused, and that are listed all the same.
    fn start_over_if_older(&mut self, listed: &[Actor]) {
        let never: Vec<Actor> =
            listed.iter().copied().filter(|actor| !self.store.refuses(*actor)).collect();
        if never.is_empty() || !holds(Rule::StartOver) {
            return;
        }
        let holds_some = |slot: &Slot| {
            let clock = self.store.clock(*slot);
            never.iter().any(|actor| clock.highest(*actor) > 0)
        };
        let slots: Vec<Slot> = self.store.slots().filter(holds_some).collect();
        if slots.is_empty() {
            return;
        }
        log::warn!(
            "shard {}: this copy is older than the ring's list of dead actors; {} slots with dots of \
             theirs start over, empty, and are pulled from the other owners",
            self.config.shard,
            slots.len()
        );
        if !self.store.recovering() {
            self.store.stage_recovering(true);
            self.staged();
        }
        for slot in slots {
            self.start_over(slot);
        }
    }

    fn start_over(&mut self, slot: Slot) {
        self.forget_slot(slot);
        self.recover_slot(slot);
        self.metrics.slots_started_over += 1;
    }

    /// Drops all that is known of a slot. The counters of the own actor stay: its dots are out there.
    pub(super) fn forget_slot(&mut self, slot: Slot) {
        self.end_exchanges(|other| other == slot);
        self.end_reads(slot);
        self.store.stage_start_over(slot);
        self.staged();
        self.tally.forget(slot);
        self.forget_heard(slot);
        self.closing.reports.remove(&slot);
    }

    /// Ends the exchanges about some slots: an answer belongs to the copy that asked.
    fn end_exchanges(&mut self, about: impl Fn(Slot) -> bool) {
        for id in self.requests.ids() {
            match self.requests.take(id) {
                Some(Request::Exchange(exchange)) if about(exchange.slot) => {
                    self.end_exchange(id, &exchange);
                }
                Some(other) => self.requests.restore(id, other),
                None => {}
            }
        }
    }

    /// Goes on under a new life where the own actor has a gap, or is not to be used any more.
    fn retire_if_over(&mut self, view: &View) {
        let own = Actor::new(view.me.0, self.life);
        let over = self.store.refuses(own) || self.store.dead().contains(own);
        let gap = |(slot, counter): (&Slot, &u64)| {
            view.owns(*slot) && *counter > self.store.clock(*slot).base(own)
        };
        let gaps = !self.store.dead().is_empty() && self.counters.iter().any(gap);
        let gaps = gaps && holds(Rule::Retire);
        if !over && !gaps {
            return;
        }
        let new = Actor::new(view.me.0, self.rng.random::<u64>() & ((1 << Actor::LIFE_BITS) - 1));
        self.retire(own, new);
        self.effects.push(Effect::Retired(own, new));
    }

    /// Another shard of this node gave up its actor: it is to be listed, and so nobody may go on under it.
    pub(super) fn on_retire(&mut self, old: Actor, new: Actor) {
        if old.life() == self.life && holds(Rule::RetireTogether) {
            self.retire(old, new);
        }
    }

    /// Goes on under a new life.
    fn retire(&mut self, old: Actor, new: Actor) {
        self.life = new.life();
        self.counters.clear();
        self.metrics.retired += 1;
        log::info!("shard {}: goes on as {new}, for {old} is over", self.config.shard);
    }

    // ---- folding -----------------------------------------------------------------------------------

    /// Asks a peer what it has of listed actors, for slots that are behind the list.
    pub(super) fn ask_closing(
        &mut self,
        view: &View,
        peer: MemberNumber,
        class: u16,
        classes: u16,
    ) {
        let listed = self.store.dead().count();
        if listed == 0 {
            return;
        }
        let upto = self.closing.asked.get(&(peer, class)).map(|(_, upto)| *upto);
        let behind = |slot: &Slot| {
            slot.shard(classes) == class
                && view.takes(*slot)
                && view.share(*slot, peer)
                && self.store.clock(*slot).closed() < listed
        };
        let mut slots: Vec<Slot> = self.store.slots().filter(behind).collect();
        slots.sort_by_key(|slot| (Some(*slot) <= upto, *slot));
        slots.truncate(SLOTS_PER_ROUND);
        if let Some(last) = slots.last().copied() {
            let request = self.requests.draw();
            self.closing.asked.insert((peer, class), (request, last));
            let wanted = Message::ClosingWanted(ClosingWanted { slots });
            self.send(peer, Head::slot(leading_slot(class), request), wanted);
        }
    }

    /// A peer wants to know what is here of listed actors. What is told is durable first.
    pub(super) fn on_closing_wanted(
        &mut self,
        from: MemberNumber,
        head: Head,
        wanted: ClosingWanted,
    ) {
        let Some(view) = self.view.clone() else { return };
        if self.unsynced.len() >= self.config.unsynced_max {
            return;
        }
        let mut room = self.config.page_bytes;
        let mut reports = Vec::new();
        for slot in wanted.slots.into_iter().take(SLOTS_PER_ROUND) {
            if !self.mine(slot) || !view.share(slot, from) {
                continue;
            }
            let dead = self.store.dead();
            let report = self.store.clock(slot).about(|actor| dead.contains(actor));
            let bytes = super::page::set_bytes(&report);
            if bytes > room && !reports.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            reports.push((slot, report));
        }
        self.closing.next += 1;
        let id = self.closing.next;
        let listed = self.store.dead().count();
        self.closing.waiting.insert(id, (from, head, Reports { listed, reports }));
        self.when_synced(Due::Closing(id));
    }

    /// What a report says is durable now, or never will be.
    pub(super) fn report_closing(&mut self, id: u64, durable: bool) {
        if let Some((to, head, reports)) = self.closing.waiting.remove(&id)
            && durable
        {
            self.send(to, head, Message::Closing(reports));
        }
    }

    /// What a peer has of listed actors: perhaps some can be folded now.
    pub(super) fn on_closing(&mut self, from: MemberNumber, head: Head, reports: Reports) {
        let Some(view) = self.view.clone() else { return };
        let asked = self.closing.asked.get(&(from, head.slot.number())).map(|(id, _)| *id);
        // It speaks of the actors that it knew to be listed, and of no others.
        if asked != Some(head.request) || reports.listed < self.store.dead().count() {
            return;
        }
        for (slot, report) in reports.reports {
            if self.mine(slot) && view.takes(slot) && view.share(slot, from) {
                self.closing.reports.entry(slot).or_default().insert(from, report);
                self.fold_what_is_covered(&view, slot);
            }
        }
    }

    /// Folds the next listed actors of a slot, as far as the own copy has what every owner has of them.
    fn fold_what_is_covered(&mut self, view: &View, slot: Slot) {
        let own = self.store.clock(slot);
        let none = BTreeMap::new();
        let reports = self.closing.reports.get(&slot).unwrap_or(&none);
        let covered = |actor: &Actor| {
            reports.values().all(|theirs| theirs.about(|other| other == *actor).is_within(own))
        };
        // Who comes, and who has not dropped what it had, may have what no owner has yet.
        let parties = view.ring.partition(slot).parties();
        let mut others = parties.iter().filter(|owner| **owner != view.me);
        let all = others.all(|owner| reports.contains_key(owner));
        // Of those that another has folded it does not know the dots any more: slot sync brings them.
        let first = reports.values().all(|theirs| theirs.closed() <= own.closed());
        let (dead, closed) = (self.store.dead(), own.closed());
        let open = &dead.actors()[closed as usize..];
        let folded = if !holds(Rule::CloseCovered) {
            open.len()
        } else if all && first {
            open.iter().take_while(|actor| covered(actor)).count()
        } else {
            0
        };
        if folded > 0 {
            let fold = DotSet::of_dead(closed + folded as u32, dead);
            self.fold(slot, &fold);
        }
    }

    /// Folds what nobody else has a copy of, and so nobody reports.
    pub(super) fn fold_alone(&mut self) {
        let Some(view) = self.view.clone() else { return };
        let listed = self.store.dead().count();
        let alone = |slot: &Slot| {
            self.store.clock(*slot).closed() < listed
                && view.ring.partition(*slot).parties() == [view.me]
        };
        for slot in self.store.slots().filter(alone).collect::<Vec<_>>() {
            self.fold_what_is_covered(&view, slot);
        }
    }

    fn fold(&mut self, slot: Slot, fold: &DotSet) {
        self.adopt(slot, fold);
        // Who is behind the mark is sent a full list, so it rises only where it can forget something.
        if self.store.mark(slot).rows().any(|(actor, _)| fold.covers_all_of(actor)) {
            self.store.stage_mark(slot, fold);
            self.staged();
        }
        for key in self.tally.residues_of(slot) {
            self.strip(slot, &key);
        }
        self.closing.reports.remove(&slot);
        self.metrics.slots_folded += 1;
    }
}
