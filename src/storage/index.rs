//! What a shard knows without reading its disk: clocks, entries by place, hints.
//!
//! Invariant: the index is what the records say, applied in log order, whether they were staged a
//! moment ago or read back at the start: both go through the same few functions here. Per slot the
//! entries are ordered by (token, key), which is the order in which owners page through a slot.
//! Not here: bytes of values, and what is durable.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::ops::Bound;

use bytes::Bytes;

use super::{HintHead, HintId, Place, Position};
use crate::causality::{Actor, Dead, Dot, DotSet, Entry};
use crate::key::Key;
use crate::ring::{SLOTS, Slot, Token};

/// Keys up to this many bytes (with their bucket) lie in the index itself.
const INLINE_BYTES: usize = 22;

/// A key's bytes in 24 bytes: short ones in place, longer ones on the heap.
#[derive(Clone)]
enum PackedKey {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
}

const _: () = assert!(size_of::<PackedKey>() == 24);

impl PackedKey {
    fn new(key: &[u8]) -> Self {
        if key.len() > INLINE_BYTES {
            return PackedKey::Heap(key.into());
        }
        let mut bytes = [0; INLINE_BYTES];
        bytes[..key.len()].copy_from_slice(key);
        PackedKey::Inline { len: key.len() as u8, bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            PackedKey::Inline { len, bytes } => &bytes[..usize::from(*len)],
            PackedKey::Heap(bytes) => bytes,
        }
    }

    fn unpack(&self) -> Key {
        Key::from_bytes(Bytes::copy_from_slice(self.as_bytes())).expect("it was a key when packed")
    }
}

/// A key's place in its slot's order.
#[derive(Clone)]
struct IndexKey {
    token: Token,
    key: PackedKey,
}

impl IndexKey {
    fn new(token: Token, key: &Key) -> Self {
        IndexKey { token, key: PackedKey::new(key.as_bytes()) }
    }
}

impl Ord for IndexKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.token.cmp(&other.token).then_with(|| self.key.as_bytes().cmp(other.key.as_bytes()))
    }
}

impl PartialOrd for IndexKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for IndexKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for IndexKey {}

/// A key's entry in 32 bytes while it has one value and no residual, as most have.
enum Held {
    One(Dot, Place),
    Other(Box<Entry<Place>>),
}

const _: () = assert!(size_of::<Held>() == 32);

impl Held {
    fn new(entry: Entry<Place>) -> Self {
        match entry.values() {
            [(dot, place)] if entry.residual().is_empty() => Held::One(*dot, *place),
            _ => Held::Other(Box::new(entry)),
        }
    }

    fn entry(&self) -> Entry<Place> {
        match self {
            Held::One(dot, place) => Entry::from_parts(vec![(*dot, *place)], DotSet::EMPTY),
            Held::Other(entry) => entry.as_ref().clone(),
        }
    }

    fn has_values(&self) -> bool {
        match self {
            Held::One(..) => true,
            Held::Other(entry) => !entry.values().is_empty(),
        }
    }
}

/// One slot: its clock and its keys.
#[derive(Default)]
struct SlotIndex {
    clock: DotSet,
    /// The clock's fingerprint, until the clock changes.
    fingerprint: Cell<Option<u64>>,
    keys: BTreeMap<IndexKey, Held>,
    /// The delete log: what peers that lack a dot must be told.
    deletes: BTreeMap<Dot, PackedKey>,
    /// Dots whose deletes the log may not name.
    mark: DotSet,
}

/// The clocks, entries, delete logs and hints of one shard.
pub(super) struct Index {
    /// By slot number. Empty until a slot is first touched.
    slots: Vec<Option<Box<SlotIndex>>>,
    hints: BTreeMap<HintId, HintHead>,
    next_hint: HintId,
    key_count: u64,
    /// Slots with a delete log, and how long it is.
    delete_counts: BTreeMap<Slot, u64>,
    /// Whether synced data went missing, and the copy has not caught up since.
    recovering: bool,
    /// The ring's list of dead actors, as far as it was heard of.
    dead: Dead,
    /// Actors not listed yet, of which nothing is taken any more.
    refused: BTreeSet<Actor>,
}

static NO_CLOCK: DotSet = DotSet::EMPTY;

impl Index {
    pub(super) fn new() -> Self {
        let mut slots = Vec::new();
        slots.resize_with(usize::from(SLOTS), || None);
        Index {
            slots,
            hints: BTreeMap::new(),
            next_hint: HintId(1),
            key_count: 0,
            delete_counts: BTreeMap::new(),
            recovering: false,
            dead: Dead::NONE,
            refused: BTreeSet::new(),
        }
    }

    pub(super) fn dead(&self) -> &Dead {
        &self.dead
    }

    pub(super) fn refuses(&self, actor: Actor) -> bool {
        self.refused.contains(&actor)
    }

    /// The ring's list is this now.
    pub(super) fn list_dead(&mut self, dead: Dead) {
        self.refused.retain(|actor| !dead.contains(*actor));
        self.dead = dead;
    }

    /// Nothing with a dot of this actor is taken any more.
    pub(super) fn refuse(&mut self, actor: Actor) {
        self.refused.insert(actor);
    }

    /// The slot begins anew, with nothing.
    pub(super) fn start_over(&mut self, slot: Slot) {
        let Some(before) = self.slots[usize::from(slot.number())].take() else { return };
        self.key_count -= before.keys.values().filter(|held| held.has_values()).count() as u64;
        self.delete_counts.remove(&slot);
    }

    fn slot(&self, slot: Slot) -> Option<&SlotIndex> {
        self.slots[usize::from(slot.number())].as_deref()
    }

    fn slot_mut(&mut self, slot: Slot) -> &mut SlotIndex {
        self.slots[usize::from(slot.number())].get_or_insert_default()
    }

    pub(super) fn clock(&self, slot: Slot) -> &DotSet {
        self.slot(slot).map_or(&NO_CLOCK, |slot| &slot.clock)
    }

    pub(super) fn clock_fingerprint(&self, slot: Slot) -> u64 {
        let Some(slot) = self.slot(slot) else { return 0 };
        if slot.clock.is_empty() {
            return 0;
        }
        let fingerprint = slot.fingerprint.get().unwrap_or_else(|| slot.clock.fingerprint());
        slot.fingerprint.set(Some(fingerprint));
        fingerprint
    }

    pub(super) fn entry(&self, slot: Slot, key: &Key) -> Option<Entry<Place>> {
        let keys = &self.slot(slot)?.keys;
        keys.get(&IndexKey::new(Token::of(key), key)).map(Held::entry)
    }

    pub(super) fn walk(
        &self,
        slot: Slot,
        after: Option<&Position>,
    ) -> impl Iterator<Item = (Position, Entry<Place>)> + '_ {
        let after = match after {
            Some((token, key)) => Bound::Excluded(IndexKey::new(*token, key)),
            None => Bound::Unbounded,
        };
        let keys = self.slot(slot).map(|slot| slot.keys.range((after, Bound::Unbounded)));
        keys.into_iter().flatten().map(|(at, held)| ((at.token, at.key.unpack()), held.entry()))
    }

    /// The slots that have a clock, ascending.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().zip(Slot::all()).filter_map(|(slot, number)| {
            slot.as_deref().filter(|slot| !slot.clock.is_empty()).map(|_| number)
        })
    }

    /// The slots that have a clock or a key, ascending.
    pub(super) fn occupied(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().zip(Slot::all()).filter_map(|(slot, number)| {
            let held = |slot: &&SlotIndex| !slot.clock.is_empty() || !slot.keys.is_empty();
            slot.as_deref().filter(held).map(|_| number)
        })
    }

    pub(super) fn deletes(&self, slot: Slot) -> impl Iterator<Item = (Dot, Key)> + '_ {
        let log = self.slot(slot).map(|slot| slot.deletes.iter());
        log.into_iter().flatten().map(|(dot, key)| (*dot, key.unpack()))
    }

    pub(super) fn mark(&self, slot: Slot) -> &DotSet {
        self.slot(slot).map_or(&NO_CLOCK, |slot| &slot.mark)
    }

    pub(super) fn delete_count(&self) -> u64 {
        self.delete_counts.values().sum()
    }

    pub(super) fn slots_with_deletes(&self) -> impl Iterator<Item = Slot> + '_ {
        self.delete_counts.keys().copied()
    }

    pub(super) fn recovering(&self) -> bool {
        self.recovering
    }

    pub(super) fn set_recovering(&mut self, recovering: bool) {
        self.recovering = recovering;
    }

    pub(super) fn key_count(&self) -> u64 {
        self.key_count
    }

    pub(super) fn hints(&self) -> impl Iterator<Item = (HintId, &HintHead)> + '_ {
        self.hints.iter().map(|(id, head)| (*id, head))
    }

    pub(super) fn hint(&self, id: HintId) -> Option<&HintHead> {
        self.hints.get(&id)
    }

    /// The id of the next hint. No id is ever given twice.
    pub(super) fn next_hint(&self) -> HintId {
        self.next_hint
    }

    /// The key has this entry now, and the slot's clock these dots too.
    pub(super) fn put_entry(
        &mut self,
        slot: Slot,
        token: Token,
        key: &Key,
        dots: &[Dot],
        deletes: &[Dot],
        entry: Entry<Place>,
    ) {
        let number = slot;
        let slot = self.slot_mut(number);
        for dot in deletes {
            slot.deletes.insert(*dot, PackedKey::new(key.as_bytes()));
        }
        let logged = slot.deletes.len() as u64;
        if !dots.is_empty() {
            dots.iter().for_each(|dot| slot.clock.insert(*dot));
            slot.fingerprint.set(None);
        }
        let at = IndexKey::new(token, key);
        let counts_now = !entry.values().is_empty();
        let counted_before = match slot.keys.entry(at) {
            btree_map::Entry::Occupied(held) if entry.is_empty() => held.remove().has_values(),
            btree_map::Entry::Occupied(mut held) => held.insert(Held::new(entry)).has_values(),
            btree_map::Entry::Vacant(_) if entry.is_empty() => false,
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Held::new(entry));
                false
            }
        };
        self.key_count = self.key_count + u64::from(counts_now) - u64::from(counted_before);
        if !deletes.is_empty() {
            self.delete_counts.insert(number, logged);
        }
    }

    /// The slot's clock covers this too.
    pub(super) fn join_clock(&mut self, slot: Slot, clock: &DotSet) {
        let slot = self.slot_mut(slot);
        slot.clock.union(clock);
        slot.fingerprint.set(None);
    }

    /// The delete log need not name these dots any more.
    pub(super) fn raise_mark(&mut self, slot: Slot, mark: &DotSet) {
        let number = slot;
        let slot = self.slot_mut(number);
        slot.mark.union(mark);
        let SlotIndex { deletes, mark, .. } = slot;
        deletes.retain(|dot, _| !mark.contains(*dot));
        match deletes.len() as u64 {
            0 => self.delete_counts.remove(&number),
            left => self.delete_counts.insert(number, left),
        };
    }

    pub(super) fn put_hint(&mut self, id: HintId, head: HintHead) {
        self.next_hint = self.next_hint.max(HintId(id.0 + 1));
        self.hints.insert(id, head);
    }

    pub(super) fn remove_hint(&mut self, id: HintId) {
        self.next_hint = self.next_hint.max(HintId(id.0 + 1));
        self.hints.remove(&id);
    }
}
