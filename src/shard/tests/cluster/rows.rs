//! Rings that follow each other, and who has not heard of the newest.
//!
//! Invariant: each ring follows the one before, and holds together.

use std::error::Error;
use std::sync::Arc;

use super::super::steps::step;
use super::Cluster;
use crate::causality::{Actor, Dead};
use crate::ring::steps::Verdict;
use crate::ring::{Epoch, Ring};
use crate::shard::Event;

impl Cluster {
    /// Tells all running nodes that the ring is going to list an actor as dead.
    pub(in crate::shard) fn refuse(&mut self, actor: Actor) {
        let places: Vec<(u16, u16)> = self.places.keys().copied().collect();
        for (node, index) in places {
            self.step(node, index, Event::Refuse(vec![actor]));
        }
    }

    /// Lists an actor as dead if all nodes run and confirm, in a ring that those in `late` do not hear of. Or gives
    /// who does not confirm.
    pub(in crate::shard) fn list_dead(&mut self, actor: Actor, late: &[u16]) -> Result<(), u16> {
        self.verdicts.clear();
        self.refuse(actor);
        self.settle();
        let says = |&(node, index): &(u16, u16)| self.verdicts.get(&(node, index, actor));
        let confirms = |place: &&(u16, u16)| says(place) == Some(&Verdict::MayList);
        if let Some((node, _)) = self.places.keys().find(|place| !confirms(place)) {
            return Err(*node);
        }
        let Ok(dead) = self.ring.dead.and([actor]) else { return Ok(()) };
        self.next_ring(Ring { dead, ..(*self.ring).clone() }, late);
        Ok(())
    }

    /// All partitions take a step, in a ring that those in `late` do not hear of.
    pub(in crate::shard) fn step_rows(
        &mut self,
        words: &[String],
        late: &[u16],
    ) -> Result<(), Box<dyn Error>> {
        let mut next = (*self.ring).clone();
        let epoch = Epoch(next.epoch.0 + 1);
        next.partitions.iter_mut().try_for_each(|partition| step(partition, epoch, words))?;
        self.next_ring(next, late);
        Ok(())
    }

    /// Decides on the next ring.
    fn next_ring(&mut self, next: Ring, late: &[u16]) {
        let (epoch, previous) = (Epoch(self.ring.epoch.0 + 1), self.ring.hash());
        let next = Ring { epoch, previous, ..next };
        next.check().expect("a ring follows a ring");
        for node in late {
            self.behind.entry(*node).or_insert(self.ring.clone());
        }
        self.ring = Arc::new(next);
        self.tell_views();
    }

    /// A node has the newest ring.
    pub(in crate::shard) fn learns(&mut self, node: u16) {
        self.behind.remove(&node);
        self.tell_views();
    }

    /// A node's ring is an older one than the others have, as its disk is, with so many dead actors fewer.
    pub(in crate::shard) fn forget_dead(&mut self, node: u16, fewer: usize) {
        let listed = self.ring.dead.actors();
        let dead = Dead::new(listed[..listed.len() - fewer].to_vec()).expect("each once");
        let epoch = Epoch(self.ring.epoch.0 - fewer as u32);
        self.behind.insert(node, Arc::new(Ring { epoch, dead, ..(*self.ring).clone() }));
    }

    /// All nodes have the newest ring.
    pub(in crate::shard) fn all_learn(&mut self) {
        self.behind.clear();
        self.tell_views();
    }
}
