//! The store of one shard: stage, flush, sync, read, walk.

use std::time::Duration;

use thiserror::Error;

use super::{Disk, FileName, Ticket};
use crate::causality::{Delta, Dot, DotSet, Entry, Value};
use crate::key::Key;
use crate::ring::{Slot, Token};

/// The number of a batch, ascending for the life of the directory, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch(pub u64);

/// Where a value's encoded bytes ([`Value::encode`]) lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The segment's number.
    pub segment: u32,
    /// Offset of the first byte in the segment.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

/// A key's place in its slot's order.
pub type Position = (Token, Key);

/// A value to be stored: new bytes, or those that lie somewhere already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Bytes to append.
    New(Value),
    /// Stored before.
    Kept(Place),
}

/// Names a hint in its shard, for the life of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HintId(pub u64);

/// A hint as the index has it: all but its values' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintHead {
    /// The member (number) that it is owed to.
    pub owed_to: u16,
    /// The key's slot.
    pub slot: Slot,
    /// Whose delta it is.
    pub key: Key,
    /// The delta, with places for values.
    pub delta: Delta<Place>,
}

/// What a read of a value gives.
#[derive(Debug)]
pub enum ReadResult {
    /// The value.
    Now(Value),
    /// It comes later: the bytes of a completed ticket go through [`Store::decode`].
    Later(Ticket),
}

/// What must be synced before batches up to `upto` are durable.
#[derive(Debug)]
pub struct SyncJob<S> {
    /// The last batch that the job makes durable.
    pub upto: Batch,
    /// All of these must be synced.
    pub handles: Vec<S>,
}

/// How the store is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The size of a segment, in bytes.
    pub segment_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 64 << 20 }
    }
}

/// What opening a directory found.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// Batches read.
    pub batches: u64,
    /// Bytes of unsynced, incomplete batches cut off at the end.
    pub torn_bytes: u64,
    /// How long it took, by the caller's clock; filled in by the caller.
    pub took: Duration,
}

/// Why the store cannot do it. What was there before is still there.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk said no.
    #[error("disk: {0}")]
    Io(#[from] std::io::Error),
    /// A batch that was synced is not readable any more.
    #[error("segment {file} is damaged at byte {offset}: {why}")]
    Damaged {
        /// Which file.
        file: FileName,
        /// Where the damaged batch begins.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// An append or a sync failed before: only reads are served until a restart.
    #[error("the store is read-only since an append or a sync failed: {0}")]
    Poisoned(String),
}

/// The log and the index of one shard.
pub struct Store<D: Disk> {
    disk: D,
}

impl<D: Disk> Store<D> {
    /// Opens a directory, new or used, and reads all of it. Cuts a torn tail; refuses damage.
    pub fn open(disk: D, options: Options) -> Result<(Self, Opened), StoreError> {
        let _ = options;
        let _ = Store { disk };
        todo!()
    }

    /// The clock of a slot: every dot applied here.
    pub fn clock(&self, slot: Slot) -> &DotSet {
        let _ = (slot, &self.disk);
        todo!()
    }

    /// A fingerprint of a slot's clock ([`DotSet::fingerprint`], kept until the clock changes). 0 when empty.
    pub fn clock_fingerprint(&self, slot: Slot) -> u64 {
        let _ = slot;
        todo!()
    }

    /// A key's entry.
    pub fn entry(&self, slot: Slot, key: &Key) -> Option<Entry<Place>> {
        let _ = (slot, key);
        todo!()
    }

    /// The entries of a slot in (token, key) order, after a position.
    pub fn walk(
        &self,
        slot: Slot,
        after: Option<&Position>,
    ) -> Box<dyn Iterator<Item = (Position, Entry<Place>)> + '_> {
        let _ = (slot, after);
        todo!()
    }

    /// The slots that have a clock, ascending.
    pub fn slots(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        todo!()
    }

    /// How many keys have at least one value, in all slots.
    pub fn key_count(&self) -> u64 {
        todo!()
    }

    /// The hints not removed yet, oldest first.
    pub fn hints(&self) -> Box<dyn Iterator<Item = (HintId, &HintHead)> + '_> {
        todo!()
    }

    /// One hint.
    pub fn hint(&self, id: HintId) -> Option<&HintHead> {
        let _ = id;
        todo!()
    }

    /// The value at a place.
    pub fn read(&mut self, place: Place) -> Result<ReadResult, StoreError> {
        let _ = place;
        todo!()
    }

    /// The value in the bytes of a completed read.
    pub fn decode(bytes: &[u8]) -> Result<Value, StoreError> {
        let _ = bytes;
        todo!()
    }

    /// Whether writes are refused until a restart.
    pub fn poisoned(&self) -> Option<&str> {
        todo!()
    }

    /// The batch that whatever is staged now will be in.
    pub fn open_batch(&self) -> Batch {
        todo!()
    }

    /// The last batch known to be durable.
    pub fn synced(&self) -> Batch {
        todo!()
    }

    /// Puts an entry in the place of what the key had, and adds `dots` to the slot's clock, together.
    /// An entry without values and residual removes the key.
    pub fn stage_entry(&mut self, slot: Slot, key: &Key, dots: &[Dot], entry: Entry<Body>) {
        let _ = (slot, key, dots, entry);
        todo!()
    }

    /// Joins a clock into the slot's.
    pub fn stage_clock(&mut self, slot: Slot, clock: &DotSet) {
        let _ = (slot, clock);
        todo!()
    }

    /// Keeps a delta for an absent owner.
    pub fn stage_hint(
        &mut self,
        owed_to: u16,
        slot: Slot,
        key: &Key,
        delta: Delta<Value>,
    ) -> HintId {
        let _ = (owed_to, slot, key, delta);
        todo!()
    }

    /// Removes a hint that was delivered.
    pub fn stage_hint_done(&mut self, id: HintId) {
        let _ = id;
        todo!()
    }

    /// Appends what is staged as one batch. `None` when there is nothing. On an error the store is poisoned.
    pub fn flush(&mut self) -> Result<Option<SyncJob<D::Sync>>, StoreError> {
        todo!()
    }

    /// The syncer says that all batches up to this one are durable.
    pub fn on_synced(&mut self, upto: Batch) {
        let _ = upto;
        todo!()
    }

    /// An append or a sync failed: refuse writes from now on.
    pub fn poison(&mut self, why: String) {
        let _ = why;
        todo!()
    }

    /// The disk, for whoever drives it.
    pub fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }
}
