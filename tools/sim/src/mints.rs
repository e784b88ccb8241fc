//! Who minted which dot, and what it could see: noted from outside, as shards are stepped.
//!
//! Most writes are minted in the step that their request comes in. Some wait: for an earlier attempt that is
//! looked for, or for another node that was to coordinate them and does not. Invariant: every dot belongs to one
//! operation, and what an overwrite had seen is what its coordinator had just before. Not here: what is
//! made of it (`checkers`).

use std::collections::BTreeSet;

use ringdove::causality::{Dot, DotSet};
use ringdove::ring::Slot;
use ringdove::shard::Event;
use ringdove::storage::{HintHead, Place};
use ringdove::wire::{Frame, Message};

use crate::history::{Basis, Kind, Op, OpId, Outcome};
use crate::world::World;

/// Whether a write may be minted on account of an event that is not its request.
pub(crate) fn may_mint_late(event: &Event) -> bool {
    match event {
        Event::Peer(_, frame) => {
            // A failure: who was to coordinate does not, and this node may have come to own the key meanwhile.
            let Frame { message, .. } = frame;
            matches!(message, Message::Fetched(_) | Message::Declined(_) | Message::Failure(_))
        }
        Event::Read(..) | Event::Tick | Event::LaneLost(_) | Event::View(_) => true,
        Event::Client(..)
        | Event::Refuse(_)
        | Event::Retire(..)
        | Event::Synced(_)
        | Event::SyncFailed(_) => false,
    }
}

/// What could be seen of a key just before a write may have been minted.
pub(crate) struct Glimpse {
    /// What the event asks for.
    pub(crate) op: OpId,
    slot: Slot,
    /// The live dots at this node.
    visible: Vec<Dot>,
    /// The last counter that the shard minted there.
    highest: u64,
}

/// A delete that may be minted yet.
fn awaited_delete(op: &Op) -> bool {
    let waits = matches!(op.outcome, Outcome::Pending | Outcome::Unknown);
    op.kind == Kind::Delete && waits && op.dots.is_empty()
}

/// What could be seen of a key that a delete waits for, before it may be minted late.
pub(crate) struct LateGlimpse {
    key: usize,
    slot: Slot,
    visible: Vec<Dot>,
    highest: u64,
}

impl World {
    /// Looks at a key before an event that may mint a dot for it.
    pub(crate) fn before_mint(&self, node: usize, shard: usize, event: &Event) -> Option<Glimpse> {
        let (Event::Client(_, frame) | Event::Peer(_, frame)) = event else { return None };
        let Frame { slot, message: Message::Put(put), .. } = frame else { return None };
        let op = self.history.by_operation(put.operation)?;
        let process = self.nodes[node].process.as_ref()?;
        let store = process.shards[shard].shard.store();
        let entry = store.entry(*slot, &put.key);
        let visible: Vec<Dot> = entry.iter().flat_map(|entry| entry.dots()).collect();
        let highest = process.shards[shard].shard.minted(*slot);
        Some(Glimpse { op, slot: *slot, visible, highest })
    }

    /// Notes the dots that a step minted, and what an overwrite could see.
    pub(crate) fn after_mint(&mut self, node: usize, shard: usize, before: Glimpse) {
        let Some(process) = &self.nodes[node].process else { return };
        let store = process.shards[shard].shard.store();
        let actor = process.shards[shard].shard.actor().unwrap_or(process.actor);
        let highest = store.clock(before.slot).highest(actor);
        let minted = before.highest + 1..=highest;
        if minted.is_empty() {
            return;
        }
        for dot in minted.map(|counter| Dot::new(actor, counter)) {
            self.watch.minted(&mut self.history, before.slot, dot, before.op);
        }
        if self.history.op(before.op).basis == Basis::Overwrite {
            let seen = before.visible.iter().filter_map(|dot| self.watch.op(before.slot, *dot));
            let seen: Vec<OpId> = seen.filter(|op| *op != before.op).collect();
            let op = self.history.op_mut(before.op);
            op.seen.extend(seen.iter().copied());
            let dots = (before.highest + 1..=highest).map(|counter| Dot::new(actor, counter));
            op.attempts.extend(dots.map(|dot| (dot, seen.clone())));
        }
    }

    /// Looks at the keys that deletes wait for.
    pub(crate) fn before_late_deletes(&self, node: usize, shard: usize) -> Vec<LateGlimpse> {
        let Some(process) = &self.nodes[node].process else { return Vec::new() };
        let (shards, running) = (process.shards.len() as u16, &process.shards[shard].shard);
        let keys: BTreeSet<usize> =
            self.history.ops.iter().filter(|op| awaited_delete(op)).map(|op| op.key).collect();
        let glimpse = |key: usize| {
            let at = &self.history.keys[key];
            let entry = running.store().entry(at.slot, &at.key);
            let visible = entry.iter().flat_map(|entry| entry.dots()).collect();
            LateGlimpse { key, slot: at.slot, visible, highest: running.minted(at.slot) }
        };
        let here = |key: &usize| usize::from(self.history.keys[*key].slot.shard(shards)) == shard;
        keys.into_iter().filter(here).map(glimpse).collect()
    }

    /// Notes what deletes could see that may have been minted long after they came in: no write is known to have the
    /// new dot.
    pub(crate) fn note_late_deletes(&mut self, node: usize, shard: usize, late: Vec<LateGlimpse>) {
        for LateGlimpse { key, slot, visible, highest } in late {
            let Some(process) = &self.nodes[node].process else { return };
            let running = &process.shards[shard].shard;
            let actor = running.actor().unwrap_or(process.actor);
            let minted =
                (highest + 1..=running.minted(slot)).map(|counter| Dot::new(actor, counter));
            let unknown: Vec<Dot> =
                minted.filter(|dot| self.watch.op(slot, *dot).is_none()).collect();
            for dot in unknown {
                self.note_late_delete(key, slot, dot, &visible);
            }
        }
    }

    /// The dot may be a delete's; whose it is only the reply tells.
    fn note_late_delete(&mut self, key: usize, slot: Slot, dot: Dot, visible: &[Dot]) {
        let fits = |op: &&Op| awaited_delete(op) && op.key == key;
        let may_be: Vec<OpId> = self.history.ops.iter().filter(fits).map(|op| op.id).collect();
        let seen: Vec<OpId> =
            visible.iter().filter_map(|other| self.watch.op(slot, *other)).collect();
        for op in &may_be {
            let op = self.history.op_mut(*op);
            op.may_be_minted = true;
            if op.basis == Basis::Overwrite {
                op.seen.extend(seen.iter().copied());
                op.attempts.push((dot, seen.clone()));
            }
        }
    }

    /// Notes the dots of writes that were minted long after they came in, because an earlier attempt was
    /// looked for first.
    pub(crate) fn note_late_mints(&mut self, node: usize, shard: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        let actor = process.shards[shard].shard.actor().unwrap_or(process.actor);
        let shards = process.shards.len() as u16;
        let store = process.shards[shard].shard.store();
        let mut late = Vec::new();
        for at in self.history.keys.iter().filter(|at| usize::from(at.slot.shard(shards)) == shard)
        {
            let entry = store.entry(at.slot, &at.key).unwrap_or_default();
            let new = |(dot, _): &&(Dot, Place)| {
                dot.actor == actor && self.watch.op(at.slot, *dot).is_none()
            };
            late.extend(
                entry.values().iter().filter(new).map(|(dot, place)| (at.slot, *dot, *place)),
            );
        }
        for (slot, dot, place) in late {
            let Some(value) = self.nodes[node].staged_value(shard, place) else { continue };
            let Some(op) = self.history.by_operation(value.meta.operation) else { continue };
            self.note_seen(slot, dot, op, &value.meta.context);
            self.watch.minted(&mut self.history, slot, dot, op);
        }
    }

    /// Notes the dots of new hints that a node made as a coordinator, on account of the request
    /// `doing`, or of one that came in long before, when all owners were tried.
    pub(crate) fn note_hints(&mut self, node: usize, shard: usize, doing: Option<OpId>) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let actor = process.shards[shard].shard.actor().unwrap_or(process.actor);
        let running = &mut process.shards[shard];
        let metrics = running.shard.metrics();
        let (created, superseded) = (metrics.hints_created, metrics.hints_superseded);
        let before = std::mem::replace(&mut running.hints_noted, (created, superseded));
        if before == (created, superseded) {
            return;
        }
        let store = running.shard.store();
        let dots = |(_, hint): (_, &HintHead)| {
            hint.delta.dots().map(|dot| (hint.slot, dot)).collect::<Vec<_>>()
        };
        let hinted = store.hints().flat_map(dots).collect();
        let hinted_before = std::mem::replace(&mut running.hinted, hinted);
        if superseded > before.1 {
            // Some of them may have been delivered meanwhile: then owners have them.
            self.superseded.extend(hinted_before.difference(&running.hinted));
        }
        if created == before.0 {
            return;
        }
        let own = |hint: &HintHead| hint.delta.dots().any(|dot| dot.actor == actor);
        let hints: Vec<HintHead> =
            store.hints().map(|(_, hint)| hint).filter(|hint| own(hint)).cloned().collect();
        for HintHead { slot, key, delta, .. } in hints {
            for (dot, place) in &delta.values {
                if self.watch.op(slot, *dot).is_none() {
                    let value = self.nodes[node].staged_value(shard, *place);
                    let op =
                        value.and_then(|value| self.history.by_operation(value.meta.operation));
                    let Some(op) = op else { continue };
                    self.note_seen(slot, *dot, op, &delta.context);
                    self.watch.minted(&mut self.history, slot, *dot, op);
                }
            }
            if let Some(dot) = delta.deleted.filter(|dot| self.watch.op(slot, *dot).is_none()) {
                let mut may_be = self.deleting(node, &key, &delta.context, doing);
                if let Some(op) = doing.filter(|op| may_be.contains(op)) {
                    may_be = vec![op];
                }
                for op in &may_be {
                    self.note_seen(slot, dot, *op, &delta.context);
                    self.history.op_mut(*op).may_be_minted = true;
                }
                // Of two that are alike only the reply tells which it was.
                if let [op] = may_be[..] {
                    self.watch.minted(&mut self.history, slot, dot, op);
                }
            }
        }
    }

    /// Notes what an overwrite that was coordinated from hints had seen.
    fn note_seen(&mut self, slot: Slot, dot: Dot, op: OpId, context: &DotSet) {
        if self.history.op(op).basis != Basis::Overwrite {
            return;
        }
        let key = self.history.op(op).key;
        let covered = self.watch.covered(slot, context).into_iter();
        let seen = covered.filter(|other| *other != op && self.history.op(*other).key == key);
        let seen: Vec<OpId> = seen.collect();
        let op = self.history.op_mut(op);
        op.seen.extend(seen.iter().copied());
        op.attempts.push((dot, seen));
    }
}
