//! What the shard knows of its entries without walking them: how many keys, which have siblings,
//! which have a residual context.
//!
//! Invariant: it says what a walk of the whole store would say. It is filled by one at the start, and
//! told of every change after that.

use std::collections::{BTreeMap, BTreeSet};

use crate::causality::Entry;
use crate::key::Key;
use crate::ring::Slot;
use crate::storage::{Disk, Store};

/// Counts and lists of entries, by slot.
#[derive(Debug, Default)]
pub(super) struct Tally {
    keys: BTreeMap<Slot, u64>,
    siblings: BTreeMap<Slot, BTreeMap<Key, u16>>,
    residues: BTreeMap<Slot, BTreeSet<Key>>,
}

impl Tally {
    /// What a store holds.
    pub(super) fn of<D: Disk>(store: &Store<D>) -> Self {
        let mut tally = Tally::default();
        for slot in store.occupied() {
            for ((_, key), entry) in store.walk(slot, None) {
                tally.changed(slot, &key, 0, &entry);
            }
        }
        tally
    }

    /// A key that had `before` values has this entry now.
    pub(super) fn changed<V>(&mut self, slot: Slot, key: &Key, before: usize, entry: &Entry<V>) {
        let after = entry.values().len();
        let keys = self.keys.entry(slot).or_default();
        *keys = *keys + u64::from(after > 0) - u64::from(before > 0);
        if after > 1 {
            let count = u16::try_from(after).unwrap_or(u16::MAX);
            self.siblings.entry(slot).or_default().insert(key.clone(), count);
        } else if before > 1
            && let Some(keys) = self.siblings.get_mut(&slot)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.siblings.remove(&slot);
            }
        }
        if !entry.residual().is_empty() {
            self.residues.entry(slot).or_default().insert(key.clone());
        } else if let Some(keys) = self.residues.get_mut(&slot) {
            keys.remove(key);
            if keys.is_empty() {
                self.residues.remove(&slot);
            }
        }
    }

    /// All that was held of a slot is gone.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.keys.remove(&slot);
        self.siblings.remove(&slot);
        self.residues.remove(&slot);
    }

    /// How many keys of a slot have a value.
    pub(super) fn keys(&self, slot: Slot) -> u64 {
        self.keys.get(&slot).copied().unwrap_or(0)
    }

    /// The slots with at least one value, ascending.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.keys.iter().filter(|(_, keys)| **keys > 0).map(|(slot, _)| *slot)
    }

    /// How many keys of a slot have siblings.
    pub(super) fn conflicts(&self, slot: Slot) -> u64 {
        self.siblings.get(&slot).map_or(0, |keys| keys.len() as u64)
    }

    /// How many keys have siblings.
    pub(super) fn all_conflicts(&self) -> u64 {
        self.siblings.values().map(|keys| keys.len() as u64).sum()
    }

    /// Keys with siblings and how many values each has, by slot.
    pub(super) fn siblings(&self) -> impl Iterator<Item = (Slot, &Key, u16)> + '_ {
        self.siblings
            .iter()
            .flat_map(|(slot, keys)| keys.iter().map(|(key, count)| (*slot, key, *count)))
    }

    /// Keys with a residual context in slots from `from` on: whole slots, until there are `limit`.
    pub(super) fn residues_from(&self, from: Slot, limit: usize) -> Vec<(Slot, Key)> {
        let mut some = Vec::new();
        for (slot, keys) in self.residues.range(from..) {
            if some.len() >= limit {
                break;
            }
            some.extend(keys.iter().map(|key| (*slot, key.clone())));
        }
        some
    }

    /// The keys of a slot with a residual context.
    pub(super) fn residues_of(&self, slot: Slot) -> Vec<Key> {
        self.residues.get(&slot).into_iter().flatten().cloned().collect()
    }
}
