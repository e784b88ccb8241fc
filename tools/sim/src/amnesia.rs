//! Disks that go back in time: old copies, empty ones, damaged ones, and copies run elsewhere.
//!
//! Invariant: a write is excused only when a restore took its last durable copy: no disk, as of its
//! last sync, has its dot in a clock or in a hint any more. Whatever is on one other disk must survive.
//! Not here: what a node makes of such a disk (`process`).

use std::collections::BTreeSet;

use ringdove::causality::Dot;
use ringdove::ring::Slot;
use ringdove::storage::{MemoryDisk, Options, Store, StoreError, salvage};

use crate::node::Original;
use crate::world::World;

/// Old copies kept of a node.
const COPIES_KEPT: usize = 4;
/// How often a restore is from nothing at all.
const WIPED: f64 = 0.25;
/// How often a damaged log is salvaged.
const SALVAGED: f64 = 0.7;
/// How often a restore that nothing notices is told to the node.
const TOLD: f64 = 0.8;

impl World {
    /// Somebody copies a node's directory, running or not.
    pub(crate) fn back_up(&mut self, node: usize) {
        let seed = self.fault_dice.bits();
        let node = &mut self.nodes[node];
        let copy = node.copy(seed);
        node.copies.push(copy);
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
        self.put_back(node, chosen);
        // The page remembers where the logs ended.
        let noticed = self.nodes[node].page.is_some();
        self.went_back(node, noticed);
    }

    /// What is done about logs that do not open for damage: mostly what is whole of them is salvaged. Else
    /// the latest copy takes the place of all, or nothing does, and the operator says so.
    pub(crate) fn mend_logs(&mut self, node: usize) {
        self.counts.damaged_logs += 1;
        self.nodes[node].ever_restored = true;
        self.closing.went_back(node);
        let salvaged = self.fault_dice.chance(SALVAGED) && self.salvage(node);
        if salvaged {
            self.counts.salvages += 1;
        } else {
            let whole = self.nodes[node].copies.iter().rposition(|copy| !copy.rotten);
            self.put_back(node, whole);
            self.nodes[node].restored = true;
        }
        self.excuse();
    }

    /// Puts what is whole of each damaged log in its place. Whether that could be done for all.
    fn salvage(&mut self, node: usize) -> bool {
        let options = Options { segment_bytes: self.mix.disks.segment_bytes, last_life: None };
        for disk in &self.nodes[node].disks {
            match Store::open(disk.copy(0), options) {
                Ok(_) => continue,
                Err(StoreError::Damaged { .. }) => {}
                // The beginning of a segment is rotten: it might be of a later release.
                Err(_) => return false,
            }
            let spare = MemoryDisk::new(0);
            match salvage(&mut disk.copy(0), spare.clone(), options) {
                Ok(saved) => {
                    self.trace.line(self.now, || format!("n{} is salvaged: {saved}", node + 1));
                    disk.restore(&spare);
                }
                Err(_) => return false,
            }
        }
        true
    }

    fn put_back(&mut self, node: usize, chosen: Option<usize>) {
        let node_now = &mut self.nodes[node];
        let copy = chosen.map(|at| node_now.copies.remove(at));
        node_now.put_in_place(copy.as_ref());
        if let (Some(at), Some(copy)) = (chosen, copy) {
            node_now.copies.insert(at, copy);
        }
        let what =
            if chosen.is_none() { "comes back empty" } else { "comes back from an old copy" };
        self.trace.line(self.now, || format!("n{} {what}", node + 1));
        self.counts.restores += 1;
    }

    /// A node's disks hold less than they did. If nothing notices, most operators say what they did.
    fn went_back(&mut self, node: usize, noticed: bool) {
        self.nodes[node].page_knows = noticed;
        self.nodes[node].restored = !noticed && self.fault_dice.chance(TOLD);
        if noticed || self.nodes[node].restored {
            self.closing.went_back(node);
        } else {
            self.unnoticed();
        }
        self.excuse();
    }

    /// A node's page is gone, and with it what it alone knew.
    pub(crate) fn lose_page(&mut self, node: usize) {
        self.nodes[node].page = None;
        if std::mem::take(&mut self.nodes[node].page_knows) {
            self.went_back(node, false);
        }
    }

    /// Disks hold less than they did, and nobody knows.
    pub(crate) fn unnoticed(&mut self) {
        self.counts.silent_restores += 1;
        self.silent_restores.push(self.now);
    }

    /// Somebody starts a copy of a node's directory: first beside it, where its page is held; then on
    /// another machine, where there is no page, while the first one stands still. Or, if that was done
    /// before, the first machine takes its place again.
    pub(crate) fn run_copy(&mut self, node: usize) {
        if let Some(original) = self.nodes[node].original.take() {
            self.kill(node);
            self.trace.line(self.now, || format!("n{} is its first machine again", node + 1));
            self.nodes[node].put_in_place(Some(&original.copy));
            self.nodes[node].page = original.page;
            self.counts.originals_back += 1;
            // Its page fits its disks: it knows nothing of the copy.
            self.went_back(node, false);
        } else {
            // `Page::open` gives nobody a page that a process holds.
            self.counts.clones_refused += u64::from(self.nodes[node].process.is_some());
            self.kill(node);
            self.trace.line(self.now, || format!("a copy of n{} runs elsewhere", node + 1));
            let (copy, page) = (self.nodes[node].copy(0), self.nodes[node].page.take());
            self.nodes[node].original = Some(Original { copy, page });
            self.counts.clones += 1;
            self.lose_page(node);
        }
        self.start(node);
    }

    /// Excuses the writes that no disk has any more.
    pub(crate) fn excuse(&mut self) {
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
