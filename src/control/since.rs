//! Since when rows are on the move as they are: what tells a step that takes its time from one that is stuck.
//!
//! Invariant: a row keeps its moment until it takes a step. Not here: what it waits for (`doctor`).

use std::collections::BTreeMap;

use super::Now;
use crate::ring::{Epoch, Partition, Ring, Slot};

/// Since when rows are as they are, as this node knows it.
#[derive(Debug, Default)]
pub(super) struct Steps(BTreeMap<(Slot, Epoch), Now>);

impl Steps {
    /// A ring is in force.
    pub(super) fn learnt(&mut self, ring: &Ring, now: Now) {
        let before = std::mem::take(&mut self.0);
        let moving =
            |at: &&Partition| at.change.is_some() || at.goal.is_some() || !at.former.is_empty();
        let since = |at: &Partition| {
            let row = (at.first, at.since);
            (row, before.get(&row).copied().unwrap_or(now))
        };
        self.0 = ring.partitions.iter().filter(moving).map(since).collect();
    }

    /// Since when a row is as it is; `None` when it does not change.
    pub(super) fn since(&self, at: &Partition) -> Option<Now> {
        self.0.get(&(at.first, at.since)).copied()
    }
}
