//! Reads with a floor, seen from above: whether the node asked had seen enough.
//!
//! Invariant: "not yet" is only said by an owner that has not seen all of the floor itself. Not here:
//! what such reads show (`checkers::session`), and that they end (`clients`).

use ringdove::causality::{DotSet, open_context};
use ringdove::ring::Slot;
use ringdove::shard::Origin;
use ringdove::wire::{FailureCode, Frame, Message};

use crate::history::OpId;
use crate::world::World;

impl World {
    /// A client's read comes to a node.
    pub(crate) fn note_floor(&mut self, node: usize, frame: &Frame) {
        let Message::Get(get) = &frame.message else { return };
        let Ok(floor) = open_context(&self.ring.secret, &self.ring.dead, &get.key, &get.floor)
        else {
            return;
        };
        let covered = self.covered(node, frame.slot, &get.key);
        let ahead = covered.is_some_and(|covered| !floor.is_within(&covered));
        self.counts.floors_ahead += u64::from(ahead);
    }

    /// A node answers a client.
    pub(crate) fn check_not_yet(&mut self, node: usize, origin: Origin, frame: &Frame) {
        let Message::Failure(failure) = &frame.message else { return };
        if failure.code != FailureCode::NotYet {
            return;
        }
        let op = OpId(origin.connection as u32);
        let place = self.history.keys[self.history.op(op).key].clone();
        let floor = self.clients.floor_of(op);
        let floor =
            floor.map(|floor| open_context(&self.ring.secret, &self.ring.dead, &place.key, floor));
        let Some(Ok(floor)) = floor else {
            let line = self.history.describe(op);
            return self.violate("session", format!("{line} has no floor, and is told not yet"));
        };
        if let Some(covered) = self.covered(node, place.slot, &place.key)
            && floor.is_within(&covered)
        {
            let line = self.history.describe(op);
            let what = format!("{line} is told not yet, and n{} covers {floor}", node + 1);
            self.violate("session", what);
        }
    }

    /// Everything that an owner has seen of a key. `None` of a node that is none.
    fn covered(&self, node: usize, slot: Slot, key: &ringdove::key::Key) -> Option<DotSet> {
        let owner = self.ring.row(slot).contains(&self.number(node));
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
