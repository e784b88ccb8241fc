//! The log is the store: entry heads and hints in checksummed, all-or-nothing batches.
//!
//! One directory per shard holds segments, append-only files of batches. A [`Store`] keeps in memory, per slot, the
//! clock and an index ordered by (token, key) that says where each value's bytes lie. What is staged takes effect at
//! once for readers in this process, is appended by [`Store::flush`], and is durable when the
//! syncer reports the batch's [`SyncJob`] done. (Bitcask, Sheehy and Smith 2010, for the index in
//! memory; the write-ahead log is never written twice.)
//!
#![doc = include_str!("format.md")]
//!
//! Invariant: after a crash the store holds every synced batch whole, then a prefix of the later
//! ones, and nothing else. A clock and the entries beside it change in one batch.
//! Not here: what a delta does to an entry (`causality`, called by `shard`), and who waits for a sync.

mod batch;
mod damage;
mod disk;
mod dump;
mod index;
mod memory;
mod minted;
mod page;
mod record;
mod recover;
mod salvage;
mod segment;
mod staging;
mod store;

pub use disk::{
    DirectoryError, Disk, DiskRead, FileName, MakeHandle, Notes, RealDisk, RealMake, RealSync,
    SyncHandle, Ticket,
};
pub use dump::dump;
pub use memory::{DiskCall, Fault, MemoryDisk, MemoryMake, MemorySync};
pub use page::{Life, LogEnd, Page, PageError, Written};
pub use salvage::{Salvaged, salvage};
pub use store::{
    Batch, Body, HintHead, HintId, Opened, Options, Place, Position, ReadResult, SegmentJob,
    SegmentMade, Store, StoreError, SyncJob,
};
