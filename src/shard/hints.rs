//! Deltas kept for owners that are away, and their delivery.
//!
//! Invariant: a hint is removed only when the member that it is owed to has it on its synced disk, or
//! when a later hint for the same member had seen everything that it brings;
//! `created = delivered + superseded + pending`. A fallback's own copy is not touched. Full means
//! that a hint is declined, never that one is dropped.
//! Not here: who is asked to keep a hint (`put`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Shard;
use super::loads::{Then, Values};
use super::reply::Head;
use super::requests::Request;
use super::unsynced::Due;
use crate::causality::{Actor, Delta, Dot, DotSet, Entry, Value};
use crate::key::Key;
use crate::ring::{MemberNumber, Slot, Token, View};
use crate::rules::{Rule, holds};
use crate::storage::{Disk, HintHead, HintId, Place, Store as Log};
use crate::wire::{Decline, Failure, FailureCode, KeepHint, Message, Put, Reason, Store};

/// Bytes that a hint is counted with besides its key and values.
const HINT_OVERHEAD: u64 = 128;
/// How many older hints of a key are looked at when a new one may have seen them.
const SUPERSEDED_LOOK: usize = 16;

/// A hint on its way to the member that it is owed to.
#[derive(Debug)]
pub(super) struct Delivery {
    to: MemberNumber,
    hint: HintId,
}

/// What the hints for a key say together.
#[derive(Debug, Default)]
pub(super) struct Hinted {
    /// Live values by dot.
    pub(super) values: Vec<(Dot, Place)>,
    /// What a client that is shown them may hand back.
    pub(super) context: DotSet,
}

/// The hints of one shard, by member and by key. Heads and values are in the store.
#[derive(Debug, Default)]
pub(super) struct Hints {
    by_member: BTreeMap<MemberNumber, Owed>,
    by_key: BTreeMap<Key, BTreeSet<HintId>>,
    by_slot: BTreeMap<Slot, u64>,
    /// How many have a dot of each actor.
    by_actor: BTreeMap<Actor, u64>,
    heirs: BTreeMap<HintId, Heirs>,
    bytes: u64,
    count: u64,
    pub(super) created: u64,
    pub(super) delivered: u64,
    pub(super) superseded: u64,
}

/// Owners that a hint has to be brought to because the member that it was owed to has lost its seat. Whose
/// copy it stands for is not known any more, so each gets it.
type Heirs = VecDeque<MemberNumber>;

/// What one member is owed.
#[derive(Debug, Default)]
struct Owed {
    /// Not on their way, oldest first.
    idle: BTreeSet<HintId>,
    in_flight: BTreeSet<HintId>,
    /// Leave the member alone until then.
    not_before: Duration,
}

impl Hints {
    /// The hints found in a store.
    pub(super) fn of<D: Disk>(store: &Log<D>) -> Self {
        let mut hints = Hints::default();
        for (id, head) in store.hints() {
            hints.add(id, head);
        }
        hints
    }

    fn add(&mut self, id: HintId, head: &HintHead) {
        self.by_member.entry(MemberNumber(head.owed_to)).or_default().idle.insert(id);
        self.by_key.entry(head.key.clone()).or_default().insert(id);
        *self.by_slot.entry(head.slot).or_default() += 1;
        for actor in actors(head) {
            *self.by_actor.entry(actor).or_default() += 1;
        }
        self.bytes += size_of(head);
        self.count += 1;
        self.created += 1;
    }

    /// Who is to have a hint next.
    fn addressee(&self, id: HintId, head: &HintHead) -> MemberNumber {
        let heir = self.heirs.get(&id).and_then(|heirs| heirs.front().copied());
        heir.unwrap_or(MemberNumber(head.owed_to))
    }

    /// Others are to have a hint, one after the other.
    fn leave_to(&mut self, id: HintId, head: &HintHead, heirs: Heirs) {
        let before = self.addressee(id, head);
        if let Some(owed) = self.by_member.get_mut(&before) {
            owed.idle.remove(&id);
            owed.in_flight.remove(&id);
        }
        self.heirs.insert(id, heirs);
        let now = self.addressee(id, head);
        self.by_member.entry(now).or_default().idle.insert(id);
    }

    fn remove(&mut self, id: HintId, head: &HintHead) {
        let owed_to = self.addressee(id, head);
        self.heirs.remove(&id);
        if let Some(owed) = self.by_member.get_mut(&owed_to) {
            owed.idle.remove(&id);
            owed.in_flight.remove(&id);
        }
        if let Some(ids) = self.by_key.get_mut(&head.key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_key.remove(&head.key);
            }
        }
        if let Some(count) = self.by_slot.get_mut(&head.slot) {
            *count -= 1;
            if *count == 0 {
                self.by_slot.remove(&head.slot);
            }
        }
        for actor in actors(head) {
            if let Some(count) = self.by_actor.get_mut(&actor) {
                *count -= 1;
                if *count == 0 {
                    self.by_actor.remove(&actor);
                }
            }
        }
        self.bytes -= size_of(head);
        self.count -= 1;
    }

    /// Whether any has a dot of an actor.
    pub(super) fn any_of(&self, actor: Actor) -> bool {
        self.by_actor.contains_key(&actor)
    }

    /// How many there are for slots of one class.
    pub(super) fn count_class(&self, class: u16, classes: u16) -> u64 {
        let of_class = self.by_slot.iter().filter(|(slot, _)| slot.shard(classes) == class);
        of_class.map(|(_, count)| count).sum()
    }

    /// How many there are.
    pub(super) fn pending(&self) -> u64 {
        self.count
    }

    /// How many bytes they are counted with.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When a member that declined may be tried again.
    pub(super) fn next_retry(&self, view: &View, now: Duration) -> Option<Duration> {
        self.by_member
            .iter()
            .filter(|(member, owed)| view.is_up(**member) && !owed.idle.is_empty())
            .map(|(_, owed)| owed.not_before)
            .filter(|at| *at > now)
            .min()
    }
}

impl<D: Disk> Shard<D> {
    /// A coordinator asks this node to keep a delta for an owner that is away.
    pub(super) fn on_keep_hint(&mut self, from: MemberNumber, head: Head, hint: KeepHint) {
        let KeepHint { owed_to, key, delta } = hint;
        if let Some(decline) = self.may_not_keep(head.slot, owed_to, &key, &delta) {
            return self.send(from, head, Message::Declined(decline));
        }
        if holds(Rule::HintIsNoCopy) {
            self.keep_hint(owed_to, head.slot, &key, delta);
        } else {
            self.apply(head.slot, &key, delta);
        }
        self.when_synced(Due::Stored(from, head));
        self.deliver_to(owed_to);
    }

    fn may_not_keep(
        &self,
        slot: Slot,
        owed_to: MemberNumber,
        key: &Key,
        delta: &Delta<Value>,
    ) -> Option<Decline> {
        let mine = |view: &View| !view.owns(slot) && view.ring.row(slot).contains(&owed_to);
        if !self.view.as_ref().is_some_and(mine) {
            Some(Decline::NotMine)
        } else if self.is_over(delta) {
            Some(Decline::OtherRing)
        } else if self.hints.bytes + hint_bytes(key, delta) > self.config.hint_bytes_max
            || self.unsynced.len() >= self.config.unsynced_max
        {
            Some(Decline::Overloaded)
        } else {
            self.disk_declines(key, delta)
        }
    }

    /// Whether this node may keep a write as a hint for each of `owners`.
    pub(super) fn check_hint_room(&self, owners: usize, put: &Put) -> Result<(), Failure> {
        let value = put.value.as_ref().map_or(0, bytes::Bytes::len);
        let each = HINT_OVERHEAD + (put.key.as_bytes().len() + value) as u64;
        if self.hints.bytes + each * owners as u64 <= self.config.hint_bytes_max {
            return Ok(());
        }
        Err(Failure::new(
            FailureCode::Overloaded,
            format!(
                "no owner of the key can be reached, and this node has no room to keep the write \
                 for them: it keeps {} bytes of hints already; nothing was written; try another \
                 node",
                self.hints.bytes
            ),
        ))
    }

    /// Keeps a delta for an owner that is away.
    pub(super) fn keep_hint(
        &mut self,
        owed_to: MemberNumber,
        slot: Slot,
        key: &Key,
        delta: Delta<Value>,
    ) {
        debug_assert!(!self.is_me(owed_to), "nobody owes itself");
        if self.keeps_already(owed_to, key, &delta) {
            return;
        }
        self.supersede(owed_to, key, &delta.context);
        let id = self.store.stage_hint(owed_to.0, slot, key, delta);
        self.staged();
        let head = self.store.hint(id).expect("it was staged just now");
        self.hints.add(id, head);
    }

    /// Whether this very delta is kept for the member: its frame came twice, or the write was tried again.
    fn keeps_already(&self, owed_to: MemberNumber, key: &Key, delta: &Delta<Value>) -> bool {
        let ids = self.hints.by_key.get(key).into_iter().flatten().rev().take(SUPERSEDED_LOOK);
        let mut heads = ids.filter_map(|id| self.store.hint(*id));
        heads.any(|head| head.owed_to == owed_to.0 && head.delta.dots().eq(delta.dots()))
    }

    /// Drops older hints for the same member and key whose dots the writer of a new one had seen:
    /// a context is causally closed, so it covers all that they replaced, too.
    fn supersede(&mut self, owed_to: MemberNumber, key: &Key, context: &DotSet) {
        let Some(ids) = self.hints.by_key.get(key) else { return };
        let seen = |id: &HintId| {
            self.store.hint(*id).is_some_and(|head| {
                let all_seen = head.delta.dots().all(|dot| context.contains(dot));
                head.owed_to == owed_to.0 && (all_seen || !holds(Rule::SupersedeSeen))
            })
        };
        let latest = ids.iter().rev().take(SUPERSEDED_LOOK).copied();
        for id in latest.filter(seen).collect::<Vec<_>>() {
            self.remove_hint(id);
            self.hints.superseded += 1;
        }
    }

    /// Drops hints for what actors wrote that are listed as dead. All were delivered before they were listed: only an
    /// old copy of a disk still has any, or a salvaged one.
    pub(super) fn drop_hints_of(&mut self, dead: &[Actor]) {
        let of_theirs = |head: &HintHead| head.delta.dots().any(|dot| dead.contains(&dot.actor));
        let hints = self.store.hints().filter(|(_, head)| of_theirs(head));
        for id in hints.map(|(id, _)| id).collect::<Vec<_>>() {
            self.remove_hint(id);
            self.hints.superseded += 1;
        }
    }

    fn remove_hint(&mut self, id: HintId) {
        if let Some(head) = self.store.hint(id).cloned() {
            self.hints.remove(id, &head);
            self.store.stage_hint_done(id);
            self.staged();
        }
    }

    /// Whether anything is kept for a key.
    pub(super) fn has_hints(&self, key: &Key) -> bool {
        self.hints.by_key.contains_key(key)
    }

    /// The hints kept for a key.
    pub(super) fn hints_for(&self, key: &Key) -> Vec<HintHead> {
        let ids = self.hints.by_key.get(key);
        ids.into_iter().flatten().filter_map(|id| self.store.hint(*id)).cloned().collect()
    }

    /// What the hints for a key say together: each is a delta, joined as a replica would.
    pub(super) fn hinted(&self, key: &Key) -> Hinted {
        let (mut entry, mut clock, mut context) = (Entry::default(), DotSet::EMPTY, DotSet::EMPTY);
        for head in self.hints_for(key) {
            context.union(&head.delta.context);
            head.delta.dots().for_each(|dot| context.insert(dot));
            entry.apply(&mut clock, head.delta);
        }
        Hinted { values: entry.values().to_vec(), context }
    }

    /// Sends hints to every member that is up, as many as may be under way.
    pub(super) fn deliver_hints(&mut self) {
        let members: Vec<MemberNumber> = self.hints.by_member.keys().copied().collect();
        for member in members {
            self.deliver_to(member);
        }
    }

    fn deliver_to(&mut self, member: MemberNumber) {
        if !self.view.as_ref().is_some_and(|view| view.is_up(member)) {
            return;
        }
        while let Some(id) = self.next_hint(member) {
            let request = self.requests.draw();
            let delivery = Delivery { to: member, hint: id };
            let wake = self.now.elapsed + self.config.hint_timeout;
            self.requests.insert(request, wake, 0, Request::Delivery(delivery));
            let head = self.store.hint(id).expect("the index lists hints of the store");
            let wanted = head.delta.values.clone();
            self.load(wanted, Then::Deliver(request));
        }
    }

    /// Takes the oldest hint that is not on its way, if another may be.
    fn next_hint(&mut self, member: MemberNumber) -> Option<HintId> {
        let owed = self.hints.by_member.get_mut(&member)?;
        let room = owed.in_flight.len() < self.config.hints_in_flight_max;
        if !room || self.now.elapsed < owed.not_before {
            return None;
        }
        let id = owed.idle.pop_first()?;
        owed.in_flight.insert(id);
        Some(id)
    }

    /// The ring has changed: hints of members that lost their seats are left to the owners of now.
    pub(super) fn rehome_hints(&mut self, view: &View) {
        let wanting: Vec<(HintId, HintHead, Heirs)> = self
            .store
            .hints()
            .filter_map(|(id, head)| {
                let partition = view.ring.partition(head.slot);
                let seated = partition.is_sent(MemberNumber(head.owed_to));
                let heirs = self.hints.heirs.get(&id);
                let owns = |heir: &MemberNumber| partition.row.contains(heir);
                if seated && heirs.is_none() || heirs.is_some_and(|heirs| heirs.iter().all(owns)) {
                    return None;
                }
                let heirs = if seated {
                    Heirs::from([MemberNumber(head.owed_to)])
                } else {
                    partition.row.iter().copied().collect()
                };
                Some((id, head.clone(), heirs))
            })
            .collect();
        for (id, head, heirs) in wanting {
            self.hints.leave_to(id, &head, heirs);
        }
    }

    /// An heir of a hint has it. Whether it was the last.
    fn inherited(&mut self, id: HintId) -> bool {
        let Some(head) = self.store.hint(id).cloned() else { return true };
        let Some(mut heirs) = self.hints.heirs.get(&id).cloned() else { return true };
        heirs.pop_front();
        if heirs.is_empty() {
            return true;
        }
        self.hints.leave_to(id, &head, heirs);
        false
    }

    /// The values of a hint are there: sends it.
    pub(super) fn deliver(&mut self, request: u64, mut values: Values, whole: bool) {
        let Some(taken) = self.requests.take(request) else { return };
        let Request::Delivery(delivery) = taken else {
            return self.requests.restore(request, taken);
        };
        let Some(head) = self.store.hint(delivery.hint).cloned() else {
            return self.requests.remove(request);
        };
        if !whole {
            return self.hint_put_off(request, delivery);
        }
        let HintHead { slot, key, delta, .. } = head;
        let Delta { values: places, kept, deleted, context } = delta;
        let values = places.into_iter().filter_map(|(dot, _)| Some((dot, values.remove(&dot)?)));
        let delta = Delta { values: values.collect(), kept, deleted, context };
        let token = Token::of(&key);
        debug_assert_eq!(token.slot(), slot, "a hint's slot is its key's");
        if self.is_me(delivery.to) {
            // This node has come to own the slot. What is staged first is durable first.
            self.requests.remove(request);
            if !self.is_refused(slot, &key, &delta, Reason::Hint) {
                self.apply(slot, &key, delta);
            }
            return self.hint_done(&delivery);
        }
        let store = Store { key, delta, reason: Reason::Hint };
        self.send(delivery.to, Head::key(token, request), Message::Store(store));
        if holds(Rule::HintAfterAck) {
            self.requests.restore(request, Request::Delivery(delivery));
        } else {
            self.requests.remove(request);
            self.remove_hint(delivery.hint);
        }
    }

    /// The member has it on its synced disk.
    pub(super) fn hint_stored(&mut self, request: u64, delivery: Delivery, from: MemberNumber) {
        if from != delivery.to {
            return self.requests.restore(request, Request::Delivery(delivery));
        }
        self.requests.remove(request);
        self.hint_done(&delivery);
    }

    fn hint_done(&mut self, delivery: &Delivery) {
        let kept = self.store.hint(delivery.hint).is_some() && self.store.poisoned().is_none();
        if kept && self.inherited(delivery.hint) {
            self.remove_hint(delivery.hint);
            self.hints.delivered += 1;
        }
        self.deliver_to(delivery.to);
    }

    /// The member declined, is lost, or did not answer in time: later, then.
    pub(super) fn hint_put_off(&mut self, request: u64, delivery: Delivery) {
        self.requests.remove(request);
        let not_before = self.now.elapsed + self.config.hint_retry;
        if let Some(owed) = self.hints.by_member.get_mut(&delivery.to) {
            owed.not_before = not_before;
            if owed.in_flight.remove(&delivery.hint) {
                owed.idle.insert(delivery.hint);
            }
        }
    }

    /// The lane to the member broke.
    pub(super) fn hint_lost(&mut self, request: u64, delivery: Delivery, from: MemberNumber) {
        if from == delivery.to {
            self.hint_put_off(request, delivery);
        } else {
            self.requests.restore(request, Request::Delivery(delivery));
        }
    }
}

/// The actors of a hint's dots, each once.
fn actors(head: &HintHead) -> BTreeSet<Actor> {
    head.delta.dots().map(|dot| dot.actor).collect()
}

fn hint_bytes(key: &Key, delta: &Delta<Value>) -> u64 {
    let values = delta.values.iter().map(|(_, value)| value.bytes.len() as u64);
    HINT_OVERHEAD + key.as_bytes().len() as u64 + values.sum::<u64>()
}

fn size_of(head: &HintHead) -> u64 {
    let values = head.delta.values.iter().map(|(_, place)| u64::from(place.len));
    HINT_OVERHEAD + head.key.as_bytes().len() as u64 + values.sum::<u64>()
}
