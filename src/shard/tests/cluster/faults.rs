//! What can go wrong with a few nodes: links, lives, disks.
//!
//! Invariant: a fault happens at once, and only when it is called for.

use super::super::differential::Fell;
use super::{Cluster, SEGMENT_BYTES};
use crate::key::Key;
use crate::ring::{MemberNumber, Token};
use crate::shard::Event;
use crate::storage::{MemoryDisk, Options, Store, salvage};

impl Cluster {
    /// Every node in `left` takes every node in `right` for down, and the other way round.
    pub(in crate::shard) fn split(&mut self, left: &[u16], right: &[u16]) {
        for a in left {
            for b in right {
                for pair in [(*a, *b), (*b, *a)] {
                    self.cut.insert(pair);
                    self.down.insert(pair);
                }
            }
        }
        self.tell_views();
    }

    /// `node` takes `other` for down, and nobody else knows.
    pub(in crate::shard) fn suspect(&mut self, node: u16, other: u16) {
        self.down.insert((node, other));
        self.tell_views();
    }

    /// The node stops. All others notice.
    pub(in crate::shard) fn stop(&mut self, node: u16) {
        self.fell(node, Fell::Stopped);
        for ((at, _), place) in &mut self.places {
            if *at == node {
                place.shard = None;
                place.disk.kill();
            }
        }
        for other in self.nodes() {
            self.down.insert((other, node));
        }
        self.tell_views();
    }

    /// The power of a node fails: everything that no sync has covered is lost. It starts again at
    /// once, in a new life, before anybody notices.
    pub(in crate::shard) fn crash(&mut self, node: u16) {
        self.fell(node, Fell::Crashed);
        for ((at, _), place) in &mut self.places {
            if *at == node {
                place.shard = None;
                place.disk.restore(&place.synced);
            }
        }
        self.start(node);
    }

    /// Puts a copy of a node's disks aside, as of the last sync.
    pub(in crate::shard) fn save(&mut self, node: u16, name: &str) {
        for ((at, _), place) in &mut self.places {
            if *at == node {
                place.saved.insert(name.to_owned(), place.synced.copy(0));
            }
        }
        if let Some(watch) = &mut self.watch {
            watch.saved(node);
        }
    }

    /// The node's disks are lost, and the copy takes their place. It starts in a new life. When it is
    /// noticed, the store says that data are missing.
    pub(in crate::shard) fn restore(&mut self, node: u16, name: &str, noticed: bool) {
        self.fell(node, Fell::Restored);
        for ((at, _), place) in &mut self.places {
            if *at == node {
                place.shard = None;
                let saved = place.saved.get(name).expect("a copy was put aside");
                place.disk.restore(saved);
                if noticed {
                    let options = Options { segment_bytes: SEGMENT_BYTES, last_life: None };
                    let (mut store, _) = Store::open(place.disk.clone(), options).expect("sound");
                    store.begin_recovering().expect("room");
                }
                place.synced = place.disk.copy(0);
            }
        }
        self.start(node);
    }

    /// A node's only disk.
    pub(in crate::shard) fn disk(&self, node: u16) -> &MemoryDisk {
        &self.places[&(node, 0)].disk
    }

    /// A node's process is killed, or its power fails; its disk is well again, and it starts in a new life.
    pub(in crate::shard) fn strike(&mut self, node: u16, power: bool) {
        for ((at, _), place) in &mut self.places {
            if *at == node {
                place.shard = None;
                place.disk.heal();
                if power {
                    place.disk.power_loss();
                } else {
                    place.disk.kill();
                }
            }
        }
        self.start(node);
    }

    /// A bit of a key's first value turns over.
    pub(in crate::shard) fn rot(&mut self, node: u16, key: &Key) {
        let slot = Token::of(key).slot();
        let index = self.shard_of(node, slot);
        let entry = self.shard(node, slot).store().entry(slot, key).expect("it has the key");
        let (_, at) = entry.values()[0];
        let place = &self.places[&(node, index)];
        place.disk.flip(&format!("{:08}.seg", at.segment), u64::from(at.offset) * 8);
    }

    /// The batch that brought a key's value is rotten, and what is left of the disk takes its place.
    pub(in crate::shard) fn salvage(&mut self, node: u16, key: &Key) {
        let slot = Token::of(key).slot();
        let index = self.shard_of(node, slot);
        let entry = self.shard(node, slot).store().entry(slot, key).expect("it has the key");
        let (_, at) = entry.values()[0];
        let place = self.places.get_mut(&(node, index)).expect("made with the cluster");
        place.shard = None;
        place.disk.flip(&format!("{:08}.seg", at.segment), u64::from(at.offset) * 8);
        let (spare, options) = (MemoryDisk::new(0), Options::default());
        let options = Options { segment_bytes: SEGMENT_BYTES, ..options };
        salvage(&mut place.disk, spare.clone(), options).expect("memory has room");
        place.disk.restore(&spare);
        place.synced = place.disk.copy(0);
        self.start(node);
    }

    /// Everything works again, and everybody knows.
    pub(in crate::shard) fn heal(&mut self) {
        self.cut.clear();
        self.down.clear();
        self.held.clear();
        self.unsyncing.clear();
        for node in self.nodes() {
            if !self.runs(node) {
                self.start(node);
            }
        }
        self.tell_views();
    }

    /// Everybody takes everybody for up.
    pub(in crate::shard) fn all_up(&mut self) {
        self.down.clear();
        self.tell_views();
    }

    /// The lane between two nodes breaks: what was under way is lost, and both notice.
    pub(in crate::shard) fn break_lane(&mut self, a: u16, b: u16) {
        self.net.retain(|(from, to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
        for (node, other) in [(a, b), (b, a)] {
            for index in 0..self.shards(node) {
                self.step(node, index, Event::LaneLost(MemberNumber(other)));
            }
        }
    }

    /// A node's disk fails.
    pub(in crate::shard) fn poison(&mut self, node: u16) {
        for index in 0..self.shards(node) {
            self.step(node, index, Event::SyncFailed("no such device".into()));
        }
    }
}
