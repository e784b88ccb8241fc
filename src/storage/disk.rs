//! The few things the store asks of a disk.
//!
//! Invariant: all file access of the data plane goes through [`Disk`]; this file holds the real one. The
//! simulator has another, which loses, tears, delays and fails on purpose.

use std::io;

/// The name of a file inside a shard's directory. No separators.
pub type FileName = String;

/// Names a read that is not done yet. Unique for the life of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a read gives: the bytes, or the promise of a completion.
#[derive(Debug)]
pub enum DiskRead {
    /// Here they are.
    Now(Vec<u8>),
    /// They come later, with this ticket, as an event to the shard.
    Later(Ticket),
}

/// One directory of files, as the store uses it. All calls but [`Disk::read`] return when they are done.
pub trait Disk {
    /// What the syncer is handed to make a file's contents durable, from another thread.
    type Sync: SyncHandle;

    /// The names of all files, in any order.
    fn list(&mut self) -> io::Result<Vec<FileName>>;
    /// A file's length in bytes.
    fn len(&mut self, name: &str) -> io::Result<u64>;
    /// Makes a file of `len` zero bytes, durable with its directory entry when this returns. It must not exist.
    fn create(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// Overwrites bytes. Durable only after a sync.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads exactly `len` bytes.
    fn read(&mut self, name: &str, offset: u64, len: u32) -> io::Result<DiskRead>;
    /// Reads exactly `len` bytes, now. For recovery and tools.
    fn read_now(&mut self, name: &str, offset: u64, len: u32) -> io::Result<Vec<u8>>;
    /// What to hand the syncer to make everything written to the file so far durable.
    fn sync_handle(&mut self, name: &str) -> io::Result<Self::Sync>;
}

/// Makes one file's contents durable. Used by the syncer, never by the shard's thread.
pub trait SyncHandle: Send + 'static {
    /// Returns when everything written to the file before the call is durable.
    fn sync(&self) -> io::Result<()>;
}
