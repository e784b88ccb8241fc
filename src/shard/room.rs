//! Whether the own disk can take something now.
//!
//! Invariant: asked before anything is staged, so that a write which finds no room has no effect. What
//! takes little and frees much (deletes, delivered hints) may also use the store's reserve.
//! Not here: how much room there is (`storage`), and what a request may hold in memory (`mod`).

use super::Shard;
use crate::causality::{Delta, Value};
use crate::key::Key;
use crate::storage::Disk;
use crate::wire::{Decline, Failure, FailureCode};

/// What a record takes besides its key and values, when its contexts are small.
const RECORD_BYTES: u64 = 512;

impl<D: Disk> Shard<D> {
    /// Whether a client's write that takes so many bytes for its key and values may be staged.
    pub(super) fn check_disk(&self, bytes: u64, brings_values: bool) -> Result<(), Failure> {
        if let Some(why) = self.store.poisoned() {
            let message = format!(
                "this node only reads until it is restarted, because its disk failed: {why}; \
                 nothing was written; write through another node"
            );
            return Err(Failure::new(FailureCode::ReadOnly, message));
        }
        if let Some(why) = self.full(bytes, brings_values) {
            let message = format!(
                "this node's disk has no room for its log to grow: {why}; nothing was written; it \
                 reads on, and takes writes again by itself soon after there is space; free some, \
                 or write through another node"
            );
            return Err(Failure::new(FailureCode::DiskFull, message));
        }
        Ok(())
    }

    /// Why the own disk cannot take a member's delta, if that is so.
    pub(super) fn disk_declines(&self, key: &Key, delta: &Delta<Value>) -> Option<Decline> {
        if self.store.poisoned().is_some() {
            return Some(Decline::ReadOnly);
        }
        let values = delta.values.iter().map(|(_, value)| value.bytes.len() as u64);
        let bytes = key.as_bytes().len() as u64 + values.sum::<u64>();
        self.full(bytes, !delta.values.is_empty()).map(|_| Decline::Full)
    }

    /// Whether the own disk can take the next page of a slot.
    pub(super) fn disk_takes_pages(&self) -> bool {
        self.store.poisoned().is_none() && self.full(self.config.page_bytes, true).is_none()
    }

    fn full(&self, bytes: u64, brings_values: bool) -> Option<&str> {
        let reserve = if brings_values { self.store.reserve() } else { 0 };
        self.store.full(RECORD_BYTES + bytes + reserve)
    }
}
