//! What goes wrong with disks that a node uses: full for a while, failing calls, bits that turn over.
//!
//! Invariant: a full disk has room again by itself, and a call fails once; so a node needs nobody's help
//! with them but a restart. A bit that turned over stays so until its log is found damaged (`amnesia`).
//! Not here: what a power loss takes (`ringdove::storage::MemoryDisk`), old copies (`amnesia`).

use std::time::Duration;

use ringdove::storage::{DiskCall, MemoryDisk};

use crate::happening::Happening;
use crate::world::World;

/// How long a full disk stays full, on average.
const FULL_FOR: Duration = Duration::from_secs(4);

impl World {
    /// A node's disks have no room for another segment, for a while.
    pub(crate) fn fill_disks(&mut self, node: usize) {
        self.nodes[node].full = true;
        for disk in &self.nodes[node].disks {
            disk.set_capacity(disk.used());
        }
        let wait = self.fault_dice.around(FULL_FOR);
        self.plan_in(wait, Happening::Room { node });
    }

    /// Somebody frees space on a node's disks.
    pub(crate) fn make_room(&mut self, node: usize) {
        self.trace.line(self.now, || format!("n{}'s disks have room again", node + 1));
        self.nodes[node].full = false;
        self.nodes[node].disks.iter().for_each(MemoryDisk::make_room);
    }

    /// The next call of one of these kinds fails at one of a node's disks.
    pub(crate) fn fail_next(&mut self, node: usize, calls: &[DiskCall]) {
        let call = self.fault_dice.pick(calls);
        let shard = self.fault_dice.index(self.nodes[node].disks.len());
        let name = node + 1;
        self.trace.line(self.now, || format!("the next {call:?} of n{name}/{shard} will fail"));
        self.nodes[node].disks[shard].fail_next(call);
    }

    /// A bit turns over somewhere in what a node wrote.
    pub(crate) fn turn_a_bit(&mut self, node: usize) {
        let shard = self.fault_dice.index(self.nodes[node].disks.len());
        let disk = &self.nodes[node].disks[shard];
        let written = disk.contents().into_iter().filter_map(|(name, bytes)| {
            let last = bytes.iter().rposition(|byte| *byte != 0)?;
            Some((name, last as u64))
        });
        let written: Vec<_> = written.collect();
        if written.is_empty() {
            return;
        }
        let (file, last) = &written[self.fault_dice.index(written.len())];
        let bit = self.fault_dice.range(0, last * 8 + 7);
        disk.flip(file, bit);
        self.nodes[node].rotten = true;
        self.counts.flips += 1;
        let name = node + 1;
        self.trace.line(self.now, || format!("bit {bit} of n{name}/{shard} {file} turns over"));
        self.excuse();
    }
}
