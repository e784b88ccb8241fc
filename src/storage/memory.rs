//! A disk in memory that loses, tears, delays and fails on purpose, all from one seed.
//!
//! Every file has what readers see and what is durable; between the two lie the writes that no sync has
//! covered. A power loss settles each sector of 512 bytes on its own: any number of the writes to
//! it, in their order, may have reached it. A kill of the process loses nothing that was written.
//! A failed sync does what Linux does: the writes it was for are never written again, and yet
//! readers see them until the power goes.
//!
//! Clones share the disk, so a simulator can hold it while a store comes and goes.
//!
//! Invariant: same seed and same calls, same outcome. What a successful sync covered is lost by no
//! fault but [`MemoryDisk::flip`].
//! Not here: time. A [`MemorySync`] is called, and [`MemoryDisk::take_due_reads`] asked, when the
//! simulator says so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::{Disk, DiskRead, FileName, MakeHandle, SyncHandle, Ticket};

/// What a disk writes wholly or not at all.
const SECTOR_BYTES: usize = 512;

/// What happens to a call that was chosen to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, the next ones do not. A failed write may have written a part.
    Once,
    /// It and all later ones fail, until [`MemoryDisk::heal`].
    ForEver,
}

/// A kind of call that can be chosen to fail, see [`MemoryDisk::fail_next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskCall {
    /// Bytes are written to a file.
    Write,
    /// Bytes of a file are read, now or later, or the files are looked at.
    Read,
    /// A file is synced.
    Sync,
    /// A file is made.
    Make,
}

impl DiskCall {
    /// Every kind.
    pub const ALL: [DiskCall; 4] =
        [DiskCall::Write, DiskCall::Read, DiskCall::Sync, DiskCall::Make];
}

/// A directory of files in memory.
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    shared: Arc<Mutex<Shared>>,
}

/// Makes durable what had been written to one file when this was made.
#[derive(Debug)]
pub struct MemorySync {
    shared: Arc<Mutex<Shared>>,
    file: FileName,
    /// Writes before this number are meant.
    before: u64,
}

/// Makes one file of zeros.
#[derive(Debug)]
pub struct MemoryMake {
    shared: Arc<Mutex<Shared>>,
    file: FileName,
    len: u64,
}

#[derive(Debug, Clone, Default)]
struct File {
    /// What readers see.
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Writes that no sync has covered, in order.
    unsynced: Vec<Write>,
}

#[derive(Debug, Clone)]
struct Write {
    number: u64,
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    files: BTreeMap<FileName, File>,
    rng: ChaCha8Rng,
    writes: u64,
    tickets: u64,
    /// Reads promised for later.
    waiting: Vec<(Ticket, FileName, u64, u32)>,
    later: f64,
    calls: u64,
    fault: Option<(u64, Fault)>,
    /// Kinds whose next call fails.
    armed: BTreeSet<DiskCall>,
    /// Calls that failed because they were armed, by kind.
    disarmed: BTreeMap<DiskCall, u64>,
    /// How many bytes all files together may have.
    capacity: Option<u64>,
}

impl Shared {
    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let missing = || io::Error::new(ErrorKind::NotFound, format!("no file {name}"));
        self.files.get_mut(name).ok_or_else(missing)
    }

    /// Counts a call, and whether it is to fail.
    fn call(&mut self, call: DiskCall) -> io::Result<()> {
        self.count()?;
        self.disarm(call)
    }

    /// Whether the next call fails, whatever it is.
    fn count(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.fault {
            Some((at, Fault::Once)) if self.calls == at => Err(injected()),
            Some((at, Fault::ForEver)) if self.calls >= at => Err(injected()),
            Some(_) | None => Ok(()),
        }
    }

    /// Fails if this kind of call was armed.
    fn disarm(&mut self, call: DiskCall) -> io::Result<()> {
        if self.armed.remove(&call) {
            *self.disarmed.entry(call).or_default() += 1;
            return Err(injected());
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.seen.len() as u64).sum()
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let number = self.writes;
        self.writes += 1;
        let file = self.file(name)?;
        let offset = offset as usize;
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= file.seen.len());
        let Some(end) = end else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a write past the file's end"));
        };
        file.seen[offset..end].copy_from_slice(bytes);
        file.unsynced.push(Write { number, offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn read(&mut self, name: &str, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let file = self.file(name)?;
        let end = offset.saturating_add(u64::from(len));
        let range = offset.min(usize::MAX as u64) as usize..end.min(usize::MAX as u64) as usize;
        let bytes = file.seen.get(range).map(<[u8]>::to_vec);
        bytes.ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "a read past the file's end"))
    }

    /// Ends the doubt about the writes before number `before`: those to a sector reach it in order,
    /// up to some point that `keep` draws from 0..=count.
    fn settle(
        &mut self,
        name: &str,
        before: u64,
        mut keep: impl FnMut(&mut ChaCha8Rng, usize) -> usize,
    ) {
        let Shared { files, rng, .. } = self;
        let Some(file) = files.get_mut(name) else { return };
        let meant = file.unsynced.partition_point(|write| write.number < before);
        let writes: Vec<Write> = file.unsynced.drain(..meant).collect();
        let mut sectors: BTreeMap<usize, Vec<&Write>> = BTreeMap::new();
        for write in writes.iter().filter(|write| !write.bytes.is_empty()) {
            let last = (write.offset + write.bytes.len() - 1) / SECTOR_BYTES;
            for sector in write.offset / SECTOR_BYTES..=last {
                sectors.entry(sector).or_default().push(write);
            }
        }
        for (sector, writes) in sectors {
            let kept = keep(rng, writes.len());
            let (from, to) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
            for write in writes.into_iter().take(kept) {
                let from = from.max(write.offset);
                let to = to.min(write.offset + write.bytes.len());
                file.durable[from..to]
                    .copy_from_slice(&write.bytes[from - write.offset..to - write.offset]);
            }
        }
    }
}

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

impl MemoryDisk {
    /// An empty disk whose every whim follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            files: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            writes: 0,
            tickets: 0,
            waiting: Vec::new(),
            later: 0.0,
            calls: 0,
            fault: None,
            armed: BTreeSet::new(),
            disarmed: BTreeMap::new(),
            capacity: None,
        };
        MemoryDisk { shared: Arc::new(Mutex::new(shared)) }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Answers reads with a ticket instead of bytes, with this probability.
    pub fn delay_reads(&self, probability: f64) {
        self.shared().later = probability;
    }

    /// Completes the reads that were promised, in random order: tickets and what came of them.
    pub fn take_due_reads(&self) -> Vec<(Ticket, Result<Vec<u8>, String>)> {
        let mut shared = self.shared();
        let mut waiting = std::mem::take(&mut shared.waiting);
        let mut due = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let at = shared.rng.random_range(0..waiting.len());
            let (ticket, name, offset, len) = waiting.swap_remove(at);
            let bytes = shared.disarm(DiskCall::Read);
            let bytes = bytes.and_then(|()| shared.read(&name, offset, len));
            due.push((ticket, bytes.map_err(|error| error.to_string())));
        }
        due
    }

    /// How many calls there were, syncs included.
    pub fn calls(&self) -> u64 {
        self.shared().calls
    }

    /// Lets the `n`-th call from now on fail, counted from 1; syncs count too.
    pub fn fail_call(&self, n: u64, fault: Fault) {
        let mut shared = self.shared();
        shared.fault = Some((shared.calls + n, fault));
    }

    /// Whether the call that was to fail has been reached.
    pub fn fault_reached(&self) -> bool {
        let shared = self.shared();
        shared.fault.is_some_and(|(at, _)| shared.calls >= at)
    }

    /// Lets the next call of this kind fail. A read that was promised for later fails when it is due.
    pub fn fail_next(&self, call: DiskCall) {
        self.shared().armed.insert(call);
    }

    /// How many calls of this kind failed because of [`MemoryDisk::fail_next`].
    pub fn failed_calls(&self, call: DiskCall) -> u64 {
        self.shared().disarmed.get(&call).copied().unwrap_or(0)
    }

    /// Injects no more faults, and lifts the limit on space.
    pub fn heal(&self) {
        let mut shared = self.shared();
        shared.fault = None;
        shared.armed.clear();
        shared.capacity = None;
    }

    /// Lifts the limit on space: somebody made room.
    pub fn make_room(&self) {
        self.shared().capacity = None;
    }

    /// How many bytes all files together have.
    pub fn used(&self) -> u64 {
        self.shared().used()
    }

    /// Lets the disk be full when all files together have this many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.shared().capacity = Some(bytes);
    }

    /// The process is killed: its reads will never be answered, everything written stays.
    pub fn kill(&self) {
        self.shared().waiting.clear();
    }

    /// The power fails: of what no sync has covered, any sectors may be lost, some or all.
    pub fn power_loss(&self) {
        let mut shared = self.shared();
        shared.waiting.clear();
        let share = match shared.rng.random_range(0..4) {
            0 => 0.0,
            1 => 1.0,
            _ => shared.rng.random_range(0.0..1.0),
        };
        let names: Vec<FileName> = shared.files.keys().cloned().collect();
        for name in names {
            shared.settle(&name, u64::MAX, |rng, count| {
                (0..count).filter(|_| rng.random_bool(share)).count()
            });
        }
        for file in shared.files.values_mut() {
            file.seen.clone_from(&file.durable);
        }
    }

    /// Flips one bit, in what is seen and in what is durable.
    pub fn flip(&self, name: &str, bit: u64) {
        let mut shared = self.shared();
        let at = (bit / 8) as usize;
        if let Ok(file) = shared.file(name) {
            file.seen[at] ^= 1 << (bit % 8);
            file.durable[at] ^= 1 << (bit % 8);
        }
    }

    /// A copy of what readers see now, all of it durable, on a disk of its own.
    pub fn copy(&self, seed: u64) -> MemoryDisk {
        let copy = MemoryDisk::new(seed);
        for (name, file) in &self.shared().files {
            let seen = file.seen.clone();
            let file = File { durable: seen.clone(), seen, unsynced: Vec::new() };
            copy.shared().files.insert(name.clone(), file);
        }
        copy
    }

    /// A copy of what would be left if the power failed now and every doubt went the wrong way.
    pub fn durable_copy(&self, seed: u64) -> MemoryDisk {
        let copy = MemoryDisk::new(seed);
        for (name, file) in &self.shared().files {
            let durable = file.durable.clone();
            let file = File { seen: durable.clone(), durable, unsynced: Vec::new() };
            copy.shared().files.insert(name.clone(), file);
        }
        copy
    }

    /// Throws everything away and puts a copy of another disk's files in its place: a restored backup.
    pub fn restore(&self, other: &MemoryDisk) {
        let files = other.copy(0).shared().files.clone();
        let mut shared = self.shared();
        shared.waiting.clear();
        shared.files = files;
    }

    /// The names of all files, and what readers see in them.
    pub fn contents(&self) -> BTreeMap<FileName, Vec<u8>> {
        self.shared().files.iter().map(|(name, file)| (name.clone(), file.seen.clone())).collect()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for MemoryDisk {
    type Sync = MemorySync;
    type Make = MemoryMake;

    fn list(&mut self) -> io::Result<Vec<FileName>> {
        let mut shared = self.shared();
        shared.call(DiskCall::Read)?;
        Ok(shared.files.keys().cloned().collect())
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        let mut shared = self.shared();
        shared.call(DiskCall::Read)?;
        Ok(shared.file(name)?.seen.len() as u64)
    }

    fn make_handle(&mut self, name: &str, len: u64) -> MemoryMake {
        MemoryMake { shared: Arc::clone(&self.shared), file: name.to_owned(), len }
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut shared = self.shared();
        if let Err(fault) = shared.call(DiskCall::Write) {
            let part = shared.rng.random_range(0..=bytes.len());
            shared.write(name, offset, &bytes[..part])?;
            return Err(fault);
        }
        shared.write(name, offset, bytes)
    }

    fn read(&mut self, name: &str, offset: u64, len: u32) -> io::Result<DiskRead> {
        let mut shared = self.shared();
        let later = shared.later;
        let later = later > 0.0 && shared.rng.random_bool(later);
        if later {
            shared.count()?;
            shared.tickets += 1;
            let ticket = Ticket(shared.tickets);
            shared.waiting.push((ticket, name.to_owned(), offset, len));
            return Ok(DiskRead::Later(ticket));
        }
        shared.call(DiskCall::Read)?;
        shared.read(name, offset, len).map(DiskRead::Now)
    }

    fn read_now(&mut self, name: &str, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let mut shared = self.shared();
        shared.call(DiskCall::Read)?;
        shared.read(name, offset, len)
    }

    fn sync_handle(&mut self, name: &str) -> io::Result<MemorySync> {
        let before = self.shared().writes;
        Ok(MemorySync { shared: Arc::clone(&self.shared), file: name.to_owned(), before })
    }
}

impl MakeHandle for MemoryMake {
    fn make(&self) -> io::Result<()> {
        let mut shared = lock(&self.shared);
        shared.call(DiskCall::Make)?;
        if shared.files.contains_key(&self.file) {
            let why = format!("there is a file {}", self.file);
            return Err(io::Error::new(ErrorKind::AlreadyExists, why));
        }
        let used = shared.used();
        if shared.capacity.is_some_and(|capacity| used.saturating_add(self.len) > capacity) {
            return Err(io::Error::new(ErrorKind::StorageFull, "no space left on the disk"));
        }
        let zeros = || vec![0; self.len as usize];
        let file = File { seen: zeros(), durable: zeros(), unsynced: Vec::new() };
        shared.files.insert(self.file.clone(), file);
        Ok(())
    }
}

impl SyncHandle for MemorySync {
    fn sync(&self) -> io::Result<()> {
        let mut shared = lock(&self.shared);
        if let Err(fault) = shared.call(DiskCall::Sync) {
            shared.settle(&self.file, self.before, |rng, count| rng.random_range(0..=count));
            return Err(fault);
        }
        let file = shared.file(&self.file)?;
        let meant = file.unsynced.partition_point(|write| write.number < self.before);
        for write in file.unsynced.drain(..meant) {
            file.durable[write.offset..write.offset + write.bytes.len()]
                .copy_from_slice(&write.bytes);
        }
        Ok(())
    }

    fn covers(&self, earlier: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &earlier.shared)
            && self.file == earlier.file
            && self.before >= earlier.before
    }
}
