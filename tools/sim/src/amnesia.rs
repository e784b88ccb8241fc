//! Disks that go back in time: old copies, and empty ones.
//!
//! Invariant: a write is excused only when a restore took its last durable copy: no disk, as of its
//! last sync, has its dot in a clock or in a hint any more. Whatever is on one other disk must survive.
//! Not here: what a node makes of such a disk (`process`).

use std::collections::BTreeSet;

use ringdove::causality::Dot;
use ringdove::ring::Slot;
use ringdove::storage::{MemoryDisk, Options, Store};

use crate::node::Copy;
use crate::world::World;

/// Old copies kept of a node.
const COPIES_KEPT: usize = 4;
/// How often a restore is from nothing at all.
const WIPED: f64 = 0.25;
/// How often a restore that nothing notices is told to the node.
const TOLD: f64 = 0.8;

impl World {
    /// Somebody copies a node's directory, running or not.
    pub(crate) fn back_up(&mut self, node: usize) {
        let seed = self.fault_dice.bits();
        let node = &mut self.nodes[node];
        let disks = node.disks.iter().map(|disk| disk.copy(seed)).collect();
        node.copies.push(Copy { disks, last_life: node.last_life });
        if node.copies.len() > COPIES_KEPT {
            node.copies.remove(1);
        }
    }

    /// An old copy, or nothing, takes the place of a node's disks while it is down. It starts later.
    pub(crate) fn restore(&mut self, node: usize) {
        self.kill(node);
        let copies = self.nodes[node].copies.len();
        let wiped = copies == 0 || self.fault_dice.chance(WIPED);
        let chosen = if wiped { None } else { Some(self.fault_dice.index(copies)) };
        let seed = self.fault_dice.bits();
        let node_now = &mut self.nodes[node];
        for (at, disk) in node_now.disks.iter().enumerate() {
            match chosen {
                Some(copy) => disk.restore(&node_now.copies[copy].disks[at]),
                None => disk.restore(&MemoryDisk::new(seed)),
            }
        }
        node_now.last_life = chosen.and_then(|copy| node_now.copies[copy].last_life);
        let what = if wiped { "comes back empty" } else { "comes back from an old copy" };
        self.trace.line(self.now, || format!("n{} {what}", node + 1));
        self.counts.restores += 1;
        // The page remembers where the logs ended, or else most operators say what they did.
        let noticed = self.nodes[node].page.is_some();
        self.nodes[node].restored = !noticed && self.fault_dice.chance(TOLD);
        if !noticed && !self.nodes[node].restored {
            self.counts.silent_restores += 1;
            self.silent_restores.push(self.now);
        }
        self.excuse();
    }

    /// Excuses the writes that no disk has any more.
    fn excuse(&mut self) {
        let mut durable: BTreeSet<(Slot, Dot)> = BTreeSet::new();
        let minted: Vec<(Slot, Dot)> = self.watch.dots().collect();
        for disk in self.nodes.iter().flat_map(|node| &node.disks) {
            let segment_bytes = self.mix.disks.segment_bytes;
            let options = Options { segment_bytes, last_life: None };
            let Ok((store, _)) = Store::open(disk.durable_copy(0), options) else { continue };
            let has = |(slot, dot): &(Slot, Dot)| store.clock(*slot).contains(*dot);
            durable.extend(minted.iter().copied().filter(has));
            for (_, hint) in store.hints() {
                durable.extend(hint.delta.dots().map(|dot| (hint.slot, dot)));
            }
        }
        for op in &mut self.history.ops {
            let slot = self.history.keys[op.key].slot;
            let gone = |dot: &Dot| !durable.contains(&(slot, *dot));
            if !op.excused && !op.dots.is_empty() && op.dots.iter().all(gone) {
                op.excused = true;
                self.counts.excused += 1;
            }
        }
    }
}
