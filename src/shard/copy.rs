//! The node's own copy of its slots: causality on top of the store.
//!
//! Invariant: an entry and its slot's clock change in one step, so in one batch. Everything that
//! reaches the own copy comes through [`Shard::apply`], or, when a whole slot is adopted, through
//! [`Shard::put_entry`].
//! Not here: who sends deltas and why.

use super::Shard;
use crate::causality::{Actor, Applied, Delta, Dot, DotSet, Entry, Value};
use crate::key::Key;
use crate::ring::Slot;
use crate::rules::{Rule, holds};
use crate::storage::{Body, Disk, Place, ReadResult};

impl<D: Disk> Shard<D> {
    /// The own entry of a key, empty when there is none.
    pub(super) fn copy_of(&self, slot: Slot, key: &Key) -> Entry<Place> {
        self.store.entry(slot, key).unwrap_or_default()
    }

    /// The next dot of this shard's actor in a slot. Never the same twice.
    pub(super) fn mint(&mut self, slot: Slot) -> Dot {
        let view = self.view.as_ref().expect("nothing is minted before there is a ring");
        let counter = self.counters.entry(slot).or_default();
        *counter += 1;
        Dot::new(Actor::new(view.me.0, self.life), *counter)
    }

    /// Joins a delta into the own copy, and stages the change if there is one.
    pub(super) fn apply(&mut self, slot: Slot, key: &Key, delta: Delta<Value>) -> Applied {
        let before = self.copy_of(slot, key);
        let count = before.values().len();
        let mut clock = self.store.clock(slot).clone();
        let mut entry = before.map(|_, place| Body::Kept(place));
        let deleted = delta.deleted;
        let applied = entry.apply(&mut clock, bodies(delta));
        if !holds(Rule::Attempts) {
            entry = self.one_attempt_each(entry);
        }
        if applied.changed() {
            let deletes: Vec<Dot> =
                deleted.filter(|dot| applied.dots.contains(dot)).into_iter().collect();
            self.put_entry(slot, key, count, &applied.dots, &deletes, entry);
        }
        applied
    }

    /// What replicas must not do: of two attempts at one operation, keep only the first.
    fn one_attempt_each(&mut self, entry: Entry<Body>) -> Entry<Body> {
        let mut operations = std::collections::BTreeSet::new();
        let mut values = entry.values().to_vec();
        values.retain(|(_, body)| match body {
            Body::New(value) => operations.insert(value.meta.operation),
            Body::Kept(place) => match self.store.read(*place) {
                Ok(ReadResult::Now(value)) => operations.insert(value.meta.operation),
                Ok(ReadResult::Later(_)) | Err(_) => true,
            },
        });
        Entry::from_parts(values, entry.residual().clone())
    }

    /// Puts an entry in the place of one that had `before` values, and adds `dots` to the clock, of
    /// which `deletes` go into the delete log.
    pub(super) fn put_entry(
        &mut self,
        slot: Slot,
        key: &Key,
        before: usize,
        dots: &[Dot],
        deletes: &[Dot],
        entry: Entry<Body>,
    ) {
        let after = entry.values().len();
        if after > self.config.siblings_warn && after > before {
            log::warn!(
                "key {key} has {after} values that nobody has reconciled; at {} client writes \
                 that add to them are refused; `siblings show` lists them",
                self.config.siblings_max
            );
        }
        self.tally.changed(slot, key, before, &entry);
        let deletes = if holds(Rule::DeleteLog) { deletes } else { &[] };
        self.store.stage_entry(slot, key, dots, deletes, entry);
        self.staged();
    }

    /// Joins a peer's clock into the own one, once all its entries are applied.
    pub(super) fn adopt(&mut self, slot: Slot, clock: &DotSet) {
        self.store.stage_clock(slot, clock);
        self.staged();
    }

    /// Drops what the clock has come to cover of a key's residual context.
    pub(super) fn strip(&mut self, slot: Slot, key: &Key) {
        let before = self.copy_of(slot, key);
        let count = before.values().len();
        let mut entry = before.map(|_, place| Body::Kept(place));
        if holds(Rule::StripResidual) && entry.strip(self.store.clock(slot)) {
            self.put_entry(slot, key, count, &[], &[], entry);
        }
    }

    /// Strips a few keys, going round all that have a residual context: a clock also grows by the
    /// writes of other keys.
    pub(super) fn strip_some(&mut self) {
        let some = self.tally.residues_from(self.strip_from, self.config.strips_per_round);
        let next = some.last().and_then(|(slot, _)| Slot::new(slot.number() + 1));
        self.strip_from = next.unwrap_or(super::sync::leading_slot(0));
        for (slot, key) in some {
            self.strip(slot, &key);
        }
    }
}

/// The same delta, as the store takes it.
pub(super) fn bodies(delta: Delta<Value>) -> Delta<Body> {
    let Delta { values, kept, deleted, context } = delta;
    let values = values.into_iter().map(|(dot, value)| (dot, Body::New(value))).collect();
    Delta { values, kept, deleted, context }
}
