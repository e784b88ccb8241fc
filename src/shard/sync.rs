//! Slot sync: owners compare fingerprints of their clocks, then the clocks, and pull what they lack.
//!
//! ```text
//! each round, with the next peer that is up and shares partitions:
//!   Summary       per partition one fingerprint ─▶
//!                 ◀─ SlotHashes  per slot one, for partitions that differ
//!   ClocksWanted  of slots that differ ─▶
//!                 ◀─ Clocks
//!   Ask           for slots of which the peer had more a round ago, and still has ─▶
//!                 ◀─ Page, see `page`
//! ```
//!
//! Whoever asks pulls; the peer pulls in rounds of its own. A slot is pulled only for dots that the
//! peer had one round ago already, so that writes under way cause no traffic. (Goncalves et al.,
//! *DottedDB*, 2017, for clocks instead of Merkle trees.)
//!
//! Invariant: at most one exchange per slot, a bounded number at a time, each given up when it makes
//! no progress. An exchange lives in memory: it ends with the life that began it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use siphasher::sip::SipHasher24;

use super::Shard;
use super::reply::Head;
use super::requests::Request;
use crate::causality::DotSet;
use crate::key::Key;
use crate::ring::{Epoch, MemberNumber, Ring, Slot, View};
use crate::rules::{Rule, holds};
use crate::storage::Disk;
use crate::wire::{Ask, Clocks, ClocksWanted, Message, SlotHashes, Summary};

/// Rounds on account of steps of rows between two others.
const SEAT_ROUNDS: u32 = 4;

/// A slot being pulled from a peer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) peer: MemberNumber,
    pub(super) slot: Slot,
    /// Drawn for this exchange; pages repeat it.
    pub(super) nonce: u64,
    /// Where the last page ended.
    pub(super) after: Option<Key>,
    /// The peer's clock when the exchange began.
    pub(super) began: Option<DotSet>,
    /// The ring that it had then.
    pub(super) epoch: Option<Epoch>,
}

/// What the shard remembers between rounds.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// When the next round begins. `None` before the first view.
    next_round: Option<Duration>,
    /// The peer of the last round.
    last_peer: Option<MemberNumber>,
    /// The peer of the last round on account of a step.
    last_seat_peer: Option<MemberNumber>,
    /// Rounds on account of steps since the last other one.
    seat_rounds: u32,
    /// The ring that `shared` is made from.
    ring: Option<Arc<Ring>>,
    /// Places of the partitions that this node and a peer both own.
    shared: BTreeMap<MemberNumber, Vec<usize>>,
    rounds: BTreeMap<(MemberNumber, u16), Round>,
    /// Slots to be pulled, and from whom.
    queue: BTreeMap<Slot, MemberNumber>,
    /// Slots being pulled.
    under_way: BTreeSet<Slot>,
}

/// The last round with one peer, for one class of slots.
#[derive(Debug, Default)]
struct Round {
    request: u64,
    /// The peer's clocks in the round before, of slots in which it had more, and the ring that it had then.
    clocks_before: BTreeMap<Slot, (Epoch, DotSet)>,
    clocks_now: BTreeMap<Slot, (Epoch, DotSet)>,
    /// The last slot whose clock was told: the next round goes on after it.
    upto: Option<Slot>,
    /// First slots of the partitions in which the peer lost synced data itself, as it said last.
    peer_recovers: BTreeSet<Slot>,
}

impl Sync {
    /// When the next round begins, if there is anybody to have one with: who shares a slot, or is to have what goes.
    pub(super) fn next_round(&self, goes: bool) -> Option<Duration> {
        self.next_round.filter(|_| !self.shared.is_empty() || goes)
    }

    /// Whether slots wait to be pulled for no other reason than that pulling is paced.
    pub(super) fn waits_for_pace(&self) -> bool {
        !self.queue.is_empty() && self.under_way.is_empty()
    }

    /// Whether anything is being pulled, or waits to be.
    pub(super) fn pulls(&self) -> bool {
        !self.queue.is_empty() || !self.under_way.is_empty()
    }

    /// Takes note of who shares which partitions.
    fn learn(&mut self, view: &View) {
        if self.ring.as_ref().is_some_and(|known| Arc::ptr_eq(known, &view.ring)) {
            return;
        }
        self.shared.clear();
        for (index, partition) in view.ring.partitions.iter().enumerate() {
            let parties = partition.parties();
            if parties.contains(&view.me) {
                let others = parties.into_iter().filter(|member| *member != view.me);
                let known = others.filter(|member| view.ring.member(*member).is_some());
                known.for_each(|member| self.shared.entry(member).or_default().push(index));
            }
        }
        self.queue.retain(|slot, peer| view.takes(*slot) && view.share(*slot, *peer));
        self.rounds.retain(|(peer, _), _| self.shared.contains_key(peer));
        self.ring = Some(view.ring.clone());
    }

    /// Whether a peer is catching up itself in the partition that begins there, as it said in the last round of a class.
    pub(super) fn recovers_too(&self, peer: MemberNumber, class: u16, first: Slot) -> bool {
        self.rounds.get(&(peer, class)).is_some_and(|round| round.peer_recovers.contains(&first))
    }
}

/// The one after `last`, in a circle.
fn next_after(last: Option<MemberNumber>, peers: &BTreeSet<MemberNumber>) -> Option<MemberNumber> {
    let later = peers.iter().find(|peer| Some(**peer) > last);
    later.or_else(|| peers.first()).copied()
}

/// The classes of slots that two nodes tell apart: the larger of their shard counts.
pub(super) fn classes(own_shards: u16, view: &View, peer: MemberNumber) -> u16 {
    own_shards.max(view.peers.get(&peer).map_or(1, |peer| peer.shards)).max(1)
}

/// A slot whose frames lead to the shard of this class, at either side.
pub(super) fn leading_slot(class: u16) -> Slot {
    Slot::new(class).expect("there are fewer shards than slots")
}

impl<D: Disk> Shard<D> {
    /// How many classes of slots this node and a peer tell apart.
    pub(super) fn classes_with(&self, peer: MemberNumber) -> u16 {
        self.view.as_ref().map_or(1, |view| classes(self.config.shards, view, peer))
    }

    /// The classes that this shard answers for towards a peer.
    pub(super) fn own_classes(&self, classes: u16) -> impl Iterator<Item = u16> + use<D> {
        let (shard, shards) = (self.config.shard, self.config.shards);
        (0..classes).filter(move |class| class % shards == shard)
    }

    pub(super) fn sync_view(&mut self) {
        let Some(view) = self.view.clone() else { return };
        self.sync.learn(&view);
        if self.sync.next_round.is_none() || !self.seat_peers(&view).is_empty() {
            self.arm_sync();
        }
    }

    /// Sets when the next round begins, unless one begins sooner.
    fn arm_sync(&mut self) {
        let waits = self.view.as_ref().is_some_and(|view| !self.seat_peers(view).is_empty());
        let interval = if waits { self.config.seat_interval } else { self.config.sync_interval };
        let wait = interval / 2 + interval.mul_f64(self.rng.random::<f64>());
        let next = self.now.elapsed + wait;
        self.sync.next_round = Some(self.sync.next_round.map_or(next, |set| set.min(next)));
    }

    /// Begins a round if one is due.
    pub(super) fn sync_tick(&mut self) {
        if self.sync.next_round.is_none_or(|at| at > self.now.elapsed) {
            return;
        }
        self.sync.next_round = None;
        self.arm_sync();
        if !self.disk_takes_pages() {
            return;
        }
        let Some(view) = self.view.clone() else { return };
        self.drop_held_back(&view);
        let Some(peer) = self.round_peer(&view) else { return };
        self.metrics.sync_rounds += 1;
        let classes = classes(self.config.shards, &view, peer);
        for class in self.own_classes(classes) {
            self.begin_round(&view, peer, class, classes);
            self.ask_closing(&view, peer, class, classes);
        }
        self.ask_going(&view, peer);
    }

    /// Whom the round that begins is with: whoever a step waits for, and now and then the next of all in turn.
    fn round_peer(&mut self, view: &View) -> Option<MemberNumber> {
        let waited_for = self.seat_peers(view);
        if !waited_for.is_empty() && self.sync.seat_rounds < SEAT_ROUNDS {
            self.sync.seat_rounds += 1;
            self.sync.last_seat_peer = next_after(self.sync.last_seat_peer, &waited_for);
            return self.sync.last_seat_peer;
        }
        self.sync.seat_rounds = 0;
        self.strip_some();
        self.trim_deletes();
        self.scrub_some();
        let mut peers = self.stray_peers(view);
        peers.extend(self.sync.shared.keys().copied().filter(|member| view.is_up(*member)));
        self.sync.last_peer = next_after(self.sync.last_peer, &peers);
        self.sync.last_peer
    }

    fn begin_round(&mut self, view: &View, peer: MemberNumber, class: u16, classes: u16) {
        let request = self.requests.draw();
        let round = self.sync.rounds.entry((peer, class)).or_default();
        round.request = request;
        round.clocks_before = std::mem::take(&mut round.clocks_now);
        let fingerprints = self.partition_fingerprints(&view.ring, class, classes);
        let shared = self.sync.shared.get(&peer).into_iter().flatten();
        // Who had a seat only lets others pull.
        let pulled = shared.filter(|index| view.ring.partitions[**index].is_sent(view.me));
        let partitions = pulled.map(|index| {
            let fingerprint = fingerprints.get(index).copied().unwrap_or(0);
            (view.ring.partitions[*index].first, fingerprint)
        });
        let partitions: Vec<_> = partitions.collect();
        if partitions.is_empty() {
            return;
        }
        let recovering = self.recovers() || self.comes();
        let summary = Summary { class, classes, partitions, recovering };
        self.send(peer, Head::slot(leading_slot(class), request), Message::Summary(summary));
    }

    /// For each partition a hash of the clocks of its slots of one class. Partitions without any are
    /// left out, and count as 0.
    fn partition_fingerprints(
        &self,
        ring: &Ring,
        class: u16,
        classes: u16,
    ) -> BTreeMap<usize, u64> {
        let mut hashers: BTreeMap<usize, SipHasher24> = BTreeMap::new();
        for slot in self.store.slots().filter(|slot| slot.shard(classes) == class) {
            let hasher = hashers.entry(ring.partition_index(slot)).or_default();
            hasher.write_u16(slot.number().to_le());
            hasher.write_u64(self.store.clock_fingerprint(slot).to_le());
        }
        hashers.into_iter().map(|(index, hasher)| (index, hasher.finish())).collect()
    }

    fn slot_hashes<'a>(
        &'a self,
        ring: &'a Ring,
        index: usize,
        class: u16,
        classes: u16,
    ) -> impl Iterator<Item = (Slot, u64)> + 'a {
        let slots = ring.slots_of(index).filter(move |slot| slot.shard(classes) == class);
        let hashed = slots.map(|slot| (slot, self.store.clock_fingerprint(slot)));
        hashed.filter(|(_, fingerprint)| *fingerprint != 0)
    }

    /// The place of the partition that begins at `first`, if `from` and this node both have a copy of it.
    fn shared_with(&self, from: MemberNumber, view: &View, first: Slot) -> Option<usize> {
        let index = view.ring.partition_index(first);
        let partition = &view.ring.partitions[index];
        (partition.first == first && view.share(first, from)).then_some(index)
    }

    /// A peer begins a round: says which slots differ where partitions do.
    pub(super) fn on_summary(&mut self, from: MemberNumber, head: Head, summary: Summary) {
        let Some(view) = self.view.clone() else { return };
        let Summary { class, classes, partitions: theirs, recovering } = summary;
        if !self.answers_for(class, classes) {
            return;
        }
        let own = self.partition_fingerprints(&view.ring, class, classes);
        let (mut slots, mut partitions) = (Vec::new(), Vec::new());
        let (mut equal, mut lacking) = (Vec::new(), Vec::new());
        for (first, fingerprint) in theirs {
            let Some(index) = self.shared_with(from, &view, first) else { continue };
            lacking.extend(self.recovers_in(&view.ring, index).then_some(first));
            let same = own.get(&index).copied().unwrap_or(0) == fingerprint;
            if same && holds(Rule::EqualIsQuiet) {
                self.equal_in(from, &view.ring, index, class, classes);
                equal.extend(recovering.then_some(first));
            } else {
                slots.extend(self.slot_hashes(&view.ring, index, class, classes));
                partitions.push(first);
            }
        }
        if !partitions.is_empty() || !equal.is_empty() {
            let recovering = lacking;
            let hashes = SlotHashes { slots, partitions, class, classes, equal, recovering };
            self.send(from, head, Message::SlotHashes(hashes));
        }
    }

    /// Whether a class of slots lies in this shard wholly.
    pub(super) fn answers_for(&self, class: u16, classes: u16) -> bool {
        classes.is_power_of_two()
            && classes >= self.config.shards
            && class < classes
            && class % self.config.shards == self.config.shard
    }

    /// The peer says which slots it has: of those that differ its clocks are asked for.
    pub(super) fn on_slot_hashes(&mut self, from: MemberNumber, head: Head, hashes: SlotHashes) {
        let Some(view) = self.view.clone() else { return };
        let SlotHashes { slots, partitions, class, classes, equal, recovering } = hashes;
        let theirs: BTreeMap<Slot, u64> = slots.into_iter().collect();
        let answers_for = self.answers_for(class, classes);
        let Some(round) = self.sync.rounds.get_mut(&(from, class)) else { return };
        if !answers_for || round.request != head.request {
            return;
        }
        round.peer_recovers = recovering.into_iter().collect();
        for first in equal.into_iter().filter(|_| head.epoch == view.ring.epoch) {
            if let Some(index) = self.shared_with(from, &view, first) {
                self.caught_up_in(&view, index, class, from, head.epoch);
            }
        }
        // A peer with another ring may mean another partition by the same first slot.
        let same_ring = head.epoch == view.ring.epoch;
        let mut differ = Vec::new();
        let shared = partitions.iter().filter_map(|first| self.shared_with(from, &view, *first));
        for index in shared.collect::<Vec<_>>() {
            for slot in view.ring.slots_of(index).filter(|slot| slot.shard(classes) == class) {
                let theirs = theirs.get(&slot).copied().unwrap_or(0);
                let equal = theirs == self.store.clock_fingerprint(slot);
                // There is nothing to pull from a peer that has nothing.
                if !equal && theirs != 0 {
                    differ.push(slot);
                    continue;
                }
                if !same_ring {
                    continue;
                }
                if equal {
                    self.equal(from, slot);
                }
                self.caught_up(slot, from, head.epoch);
            }
        }
        let Some(round) = self.sync.rounds.get_mut(&(from, class)) else { return };
        if differ.is_empty() {
            return;
        }
        // First those looked at a round ago, then the others in turn.
        let again = |slot: &Slot| round.clocks_before.contains_key(slot);
        differ.sort_by_key(|slot| (!again(slot), Some(*slot) <= round.upto, *slot));
        differ.truncate(self.config.clocks_max);
        self.send(from, head, Message::ClocksWanted(ClocksWanted { slots: differ }));
    }

    /// A peer wants to know how far slots are here.
    pub(super) fn on_clocks_wanted(
        &mut self,
        from: MemberNumber,
        head: Head,
        wanted: ClocksWanted,
    ) {
        let Some(view) = self.view.clone() else { return };
        let mut room = self.config.page_bytes;
        let (mut clocks, mut durable) = (Vec::new(), false);
        for slot in wanted.slots.into_iter().take(self.config.clocks_max) {
            // An owner also tells who had a copy once, and has it back: it is to go again.
            if !self.mine(slot) || !view.share(slot, from) && !view.owns(slot) {
                continue;
            }
            durable |= !view.ring.partition(slot).is_sent(from);
            let clock = self.store.clock(slot).clone();
            let bytes = super::page::set_bytes(&clock);
            if bytes > room && !clocks.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            clocks.push((slot, clock));
        }
        if durable {
            self.send_clocks_durable(from, head, Clocks { clocks });
        } else {
            self.send(from, head, Message::Clocks(Clocks { clocks }));
        }
    }

    /// How far the peer is: slots are pulled in which it had more a round ago than is here now.
    pub(super) fn on_clocks(&mut self, from: MemberNumber, head: Head, clocks: Clocks) {
        if self.on_going_clocks(from, head, &clocks) {
            return;
        }
        let class = head.slot.number();
        let known = self.sync.rounds.get(&(from, class)).map(|round| round.request);
        if known != Some(head.request) {
            return;
        }
        for (slot, clock) in clocks.clocks {
            if !self.mine(slot) {
                continue;
            }
            self.heard(from, slot, &clock);
            let own = self.store.clock(slot);
            let Sync { rounds, queue, under_way, .. } = &mut self.sync;
            let round = rounds.get_mut(&(from, class)).expect("it was there just now");
            round.upto = Some(slot);
            let before = round.clocks_before.get(&slot);
            let had_more = before.is_some_and(|(_, before)| !before.is_within(own));
            let has_more = !clock.is_within(own);
            // All that it has now is here, or all that it had then.
            let then = before.filter(|_| !had_more).map(|(epoch, _)| *epoch);
            let level = if has_more { then } else { Some(head.epoch) };
            if had_more && !under_way.contains(&slot) {
                queue.entry(slot).or_insert(from);
            } else if has_more {
                round.clocks_now.insert(slot, (head.epoch, clock));
            }
            if let Some(epoch) = level {
                self.caught_up(slot, from, epoch);
            }
        }
        self.pull_more();
    }

    /// Begins exchanges for queued slots, as many as may be under way.
    pub(super) fn pull_more(&mut self) {
        while self.sync.under_way.len() < self.config.asks_max && !self.sync.queue.is_empty() {
            if !self.pace.may_pull(self.now.elapsed) {
                return;
            }
            let Some((slot, peer)) = self.sync.queue.pop_first() else { return };
            let up = self.view.as_ref().is_some_and(|view| view.is_up(peer));
            if !up || !self.disk_takes_pages() {
                continue;
            }
            self.sync.under_way.insert(slot);
            let nonce = self.rng.random();
            let exchange = Exchange { peer, slot, nonce, after: None, began: None, epoch: None };
            let id = self.requests.draw();
            let wake = self.now.elapsed + self.config.ask_timeout;
            self.ask(id, &exchange);
            self.requests.insert(id, wake, 0, Request::Exchange(exchange));
        }
    }

    fn ask(&mut self, id: u64, exchange: &Exchange) {
        let ask = Ask {
            nonce: exchange.nonce,
            clock: self.store.clock(exchange.slot).clone(),
            after: exchange.after.clone(),
            began: exchange.began.clone(),
        };
        self.metrics.asks += 1;
        self.send(exchange.peer, Head::slot(exchange.slot, id), Message::Ask(ask));
    }

    /// A page was applied and there are more.
    pub(super) fn ask_on(&mut self, id: u64, exchange: Exchange) {
        self.ask(id, &exchange);
        self.requests.rearm(id, self.now.elapsed + self.config.ask_timeout);
        self.requests.restore(id, Request::Exchange(exchange));
    }

    /// An exchange is done, or given up until another round.
    pub(super) fn end_exchange(&mut self, id: u64, exchange: &Exchange) {
        self.requests.remove(id);
        self.sync.under_way.remove(&exchange.slot);
        self.pull_more();
    }

    /// The lane to a member broke.
    pub(super) fn exchange_lost(&mut self, id: u64, exchange: Exchange, from: MemberNumber) {
        if exchange.peer == from {
            self.end_exchange(id, &exchange);
        } else {
            self.requests.restore(id, Request::Exchange(exchange));
        }
    }
}
