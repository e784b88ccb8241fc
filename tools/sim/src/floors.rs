//! Reads with a floor, seen from above: whether the node asked had seen enough.
//!
//! Invariant: "not yet" is only said by an owner that had not seen all of the floor itself when it was
//! woken to say so. Not here: what such reads show (`checkers::session`), and that they end
//! (`clients`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringdove::causality::{DotSet, open_context};
use ringdove::key::Key;
use ringdove::ring::Slot;
use ringdove::shard::Origin;
use ringdove::wire::{FailureCode, Frame, Message};

use crate::history::OpId;
use crate::world::World;

/// Reads with a floor that no node has answered yet.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    open: BTreeMap<OpId, Open>,
    /// Of these, what the node had seen in full before it took the step that it is in.
    met: BTreeSet<OpId>,
}

#[derive(Debug)]
struct Open {
    node: usize,
    /// Whether the node owned the key when the read came: who does not sends it on, and passes on the answer.
    owner: bool,
    slot: Slot,
    key: Key,
    floor: Bytes,
}

impl World {
    /// A client's read comes to a node.
    pub(crate) fn note_floor(&mut self, node: usize, origin: Origin, frame: &Frame) {
        let Message::Get(get) = &frame.message else { return };
        let Ok(floor) = open_context(&self.ring.secret, &self.ring.dead, &get.key, &get.floor)
        else {
            return;
        };
        let covered = self.covered(node, frame.slot, &get.key);
        let ahead = covered.is_some_and(|covered| !floor.is_within(&covered));
        self.counts.floors_ahead += u64::from(ahead);
        if !floor.is_empty() {
            let (key, floor) = (get.key.clone(), get.floor.clone());
            let owner = self.nodes[node].ring.row(frame.slot).contains(&self.number(node));
            let open = Open { node, owner, slot: frame.slot, key, floor };
            self.floors.open.insert(OpId(origin.connection as u32), open);
        }
    }

    /// A node is about to take a step: one request that ends in it may bring another its floor too late.
    pub(crate) fn note_floors_met(&mut self, node: usize) {
        if self.floors.open.is_empty() {
            return;
        }
        let here = self.floors.open.iter().filter(|(_, open)| open.node == node && open.owner);
        let met = here.filter(|(_, open)| {
            // By the list of dead actors of now, as what the node has seen.
            let floor = open_context(&self.ring.secret, &self.ring.dead, &open.key, &open.floor);
            let covered = self.covered(node, open.slot, &open.key);
            floor.is_ok_and(|floor| covered.is_some_and(|covered| floor.is_within(&covered)))
        });
        self.floors.met = met.map(|(op, _)| *op).collect();
    }

    /// A node answers a client.
    pub(crate) fn check_not_yet(&mut self, node: usize, origin: Origin, frame: &Frame) {
        let op = OpId(origin.connection as u32);
        let open = self.floors.open.remove(&op);
        let Message::Failure(failure) = &frame.message else { return };
        if failure.code != FailureCode::NotYet {
            return;
        }
        let line = self.history.describe(op);
        if open.is_none() {
            self.violate("session", format!("{line} has no floor, and is told not yet"));
        } else if self.floors.met.contains(&op) {
            let what = format!("{line} is told not yet, and n{} had seen all of it", node + 1);
            self.violate("session", what);
        }
    }

    /// Everything that an owner has seen of a key. `None` of a node that is none.
    fn covered(&self, node: usize, slot: Slot, key: &Key) -> Option<DotSet> {
        let owner = self.nodes[node].ring.row(slot).contains(&self.number(node));
        let process = self.nodes[node].process.as_ref().filter(|_| owner)?;
        let shard = usize::from(slot.shard(process.shards.len() as u16));
        let store = process.shards[shard].shard.store();
        let mut covered = store.clock(slot).clone();
        if let Some(entry) = store.entry(slot, key) {
            covered.union(entry.residual());
        }
        Some(covered)
    }
}
