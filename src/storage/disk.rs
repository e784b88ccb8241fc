//! The few things the store asks of a disk, and the real one.
//!
//! Invariant: all file access of the data plane goes through [`Disk`] and [`Notes`], and only this
//! file does any (but for the page that lies outside the directory, `page`). One process at a time uses a directory. What a call says is durable is so by
//! fsync of the file and, where a name is new, of its directory.
//! Not here: the simulator's disk, which loses, tears, delays and fails on purpose (`memory`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::fields::{Reader, WriteFields};

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
    /// What another thread is handed to make a file.
    type Make: MakeHandle;

    /// The names of all files, in any order.
    fn list(&mut self) -> io::Result<Vec<FileName>>;
    /// A file's length in bytes.
    fn len(&mut self, name: &str) -> io::Result<u64>;
    /// What to hand another thread that is to make a file of `len` zero bytes.
    fn make_handle(&mut self, name: &str, len: u64) -> Self::Make;
    /// Makes such a file now; waits while another thread is making one.
    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.make_handle(name, len).make()
    }
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
    /// Returns when everything written to the file before this handle was made is durable.
    fn sync(&self) -> io::Result<()>;
    /// Whether syncing this handle makes syncing `earlier` needless: it is of the same file, and was
    /// made later.
    fn covers(&self, earlier: &Self) -> bool;
}

/// Makes one file of zeros. Used ahead of need, so that the shard's thread does not wait for it.
pub trait MakeHandle: Send + 'static {
    /// Makes the file, durable with its directory entry when this returns. It must not exist. After an
    /// error it does not, unless the error is [`ErrorKind::AlreadyExists`].
    fn make(&self) -> io::Result<()>;
}

const LOCK_FILE: &str = "lock";
/// The ending of files that are not whole yet. What a crash left of them is removed.
const UNFINISHED: &str = ".new";
const NOTE: &str = ".note";
/// What follows a directory's name in that of the one which is to take its place ...
const SPARE: &str = "salvage";
/// ... and in that of a damaged one which another took the place of.
const DAMAGED: &str = "damaged";

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Why a directory cannot be used. Nothing in it was changed.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error(
        "the directory {dir} is in use by another process (it holds {dir}/lock); stop that \
         process, or use another directory"
    )]
    InUse {
        /// Which directory.
        dir: PathBuf,
    },
    /// The system said no.
    #[error("the directory {dir} cannot be used: {why}")]
    Io {
        /// Which directory.
        dir: PathBuf,
        /// What it said.
        #[source]
        why: io::Error,
    },
}

/// A directory that this process alone uses until the last clone of this is gone.
#[derive(Debug, Clone)]
struct Directory {
    path: PathBuf,
    /// The lock goes when this is closed, also when the process is killed.
    _lock: Arc<File>,
    /// Held while a segment is made: at most one thread makes one at a time.
    making: Arc<Mutex<()>>,
}

impl Directory {
    fn open(path: &Path) -> Result<Self, DirectoryError> {
        let failed = |why| DirectoryError::Io { dir: path.to_owned(), why };
        make_directory(path).map_err(failed)?;
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true);
        let lock = options.open(path.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::InUse { dir: path.to_owned() });
            }
            Err(TryLockError::Error(why)) => return Err(failed(why)),
        }
        let directory =
            Directory { path: path.to_owned(), _lock: Arc::new(lock), making: Arc::default() };
        directory.remove_unfinished().map_err(failed)?;
        Ok(directory)
    }

    fn names(&self) -> io::Result<Vec<FileName>> {
        let names =
            fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(io::Result::transpose).collect()
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for name in self.names()? {
            let ours = |whole: &str| whole.ends_with(".seg") || whole.ends_with(NOTE);
            if name.strip_suffix(UNFINISHED).is_some_and(ours) {
                fs::remove_file(self.path.join(name))?;
            }
        }
        Ok(())
    }

    /// Makes a file whole and durable before it gets its name. Replaces what has the name.
    fn place(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<File> {
        let unfinished = self.path.join(format!("{name}{UNFINISHED}"));
        let placed = (|| {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(true);
            let mut file = options.open(&unfinished)?;
            fill(&mut file)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.path.join(name))?;
            sync_directory(&self.path)?;
            Ok(file)
        })();
        if placed.is_err() {
            // Leaves no half file behind that takes up space; the error that counts is the first.
            let _ = fs::remove_file(&unfinished);
        }
        placed
    }
}

/// Makes a directory, and those it lies in, durably.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Err(_) | Ok(()) => sync_directory(parent),
    }
}

/// `dir.ending`.
fn beside(dir: &Path, ending: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A directory of a real file system.
#[derive(Debug)]
pub struct RealDisk {
    directory: Directory,
    files: BTreeMap<FileName, Arc<File>>,
}

/// Runs `fdatasync` on one file.
#[derive(Debug)]
pub struct RealSync(Arc<File>);

/// Fills one file with zeros, and syncs it and its name.
#[derive(Debug)]
pub struct RealMake {
    directory: Directory,
    name: FileName,
    len: u64,
}

impl RealDisk {
    /// Takes a directory for this process alone; makes it if it is not there.
    pub fn open(dir: &Path) -> Result<Self, DirectoryError> {
        Ok(RealDisk { directory: Directory::open(dir)?, files: BTreeMap::new() })
    }

    /// An empty directory beside `dir`, for what [`RealDisk::replace`] puts in its place. What is left of
    /// an earlier one is removed.
    pub fn open_spare(dir: &Path) -> Result<Self, DirectoryError> {
        let spare = beside(dir, SPARE);
        if spare.is_dir() {
            fs::remove_dir_all(&spare)
                .map_err(|why| DirectoryError::Io { dir: spare.clone(), why })?;
        }
        Self::open(&spare)
    }

    /// Puts the spare in the place of `dir`, which is kept beside it. Gives where. Neither may be open.
    /// When a crash comes between, [`RealDisk::finish_replacing`] ends it.
    pub fn replace(dir: &Path) -> io::Result<PathBuf> {
        let mut names = (1..).map(|number| beside(dir, &format!("{DAMAGED}-{number}")));
        let kept = names.find(|name| !name.exists()).expect("numbers do not end");
        fs::rename(dir, &kept)?;
        fs::rename(beside(dir, SPARE), dir)?;
        sync_directory(dir.parent().unwrap_or(Path::new(".")))?;
        Ok(kept)
    }

    /// Ends what [`RealDisk::replace`] began: without `dir` its spare is whole.
    pub fn finish_replacing(dir: &Path) -> io::Result<()> {
        let spare = beside(dir, SPARE);
        if dir.exists() || !spare.is_dir() || !beside(dir, &format!("{DAMAGED}-1")).exists() {
            return Ok(());
        }
        fs::rename(spare, dir)?;
        sync_directory(dir.parent().unwrap_or(Path::new(".")))
    }

    /// The documents that lie beside the segments.
    pub fn notes(&self) -> Notes {
        Notes { directory: self.directory.clone() }
    }

    fn file(&mut self, name: &str) -> io::Result<&Arc<File>> {
        if !self.files.contains_key(name) {
            let path = self.directory.path.join(name);
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            self.files.insert(name.to_owned(), Arc::new(file));
        }
        Ok(&self.files[name])
    }
}

impl Disk for RealDisk {
    type Sync = RealSync;
    type Make = RealMake;

    fn list(&mut self) -> io::Result<Vec<FileName>> {
        self.directory.names()
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.file(name)?.metadata()?.len())
    }

    fn make_handle(&mut self, name: &str, len: u64) -> RealMake {
        RealMake { directory: self.directory.clone(), name: name.to_owned(), len }
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, offset)
    }

    fn read(&mut self, name: &str, offset: u64, len: u32) -> io::Result<DiskRead> {
        self.read_now(name, offset, len).map(DiskRead::Now)
    }

    fn read_now(&mut self, name: &str, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize];
        self.file(name)?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn sync_handle(&mut self, name: &str) -> io::Result<RealSync> {
        self.file(name).map(|file| RealSync(Arc::clone(file)))
    }
}

impl SyncHandle for RealSync {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn covers(&self, earlier: &Self) -> bool {
        Arc::ptr_eq(&self.0, &earlier.0)
    }
}

impl MakeHandle for RealMake {
    fn make(&self) -> io::Result<()> {
        let _one_at_a_time = self.directory.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.directory.path.join(&self.name).try_exists()? {
            let why = format!("there is a file {}", self.name);
            return Err(io::Error::new(ErrorKind::AlreadyExists, why));
        }
        // Zeros are written, not promised: a sync into blocks that were never written is slower.
        self.directory.place(&self.name, |file| {
            let mut left = self.len;
            while left > 0 {
                let step = left.min(ZEROS.len() as u64);
                file.write_all(&ZEROS[..step as usize])?;
                left -= step;
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Small named documents in a directory: who a node is, what it voted. Each is replaced as a whole.
///
/// | offset | form | what |
/// |---|---|---|
/// | 0 | 4 bytes | `RDno` |
/// | 4 | u16 | format, 1 |
/// | 6 | u16 | 0 |
/// | 8 | u32 | length of the document |
/// | 12 | u32 | crc32c of bytes 0..12 and the document |
/// | 16 | | the document |
///
/// Invariant: after a crash a document is what one [`Notes::save`] wrote, whole.
#[derive(Debug, Clone)]
pub struct Notes {
    directory: Directory,
}

impl Notes {
    const MAGIC: [u8; 4] = *b"RDno";
    const FORMAT: u16 = 1;
    const HEADER_BYTES: usize = 16;
    const CRC_AT: usize = 12;

    /// Takes a directory for this process alone; makes it if it is not there. For the notes beside
    /// segments use [`RealDisk::notes`].
    pub fn open(dir: &Path) -> Result<Self, DirectoryError> {
        Ok(Notes { directory: Directory::open(dir)? })
    }

    /// Where the documents lie.
    pub fn dir(&self) -> &Path {
        &self.directory.path
    }

    /// The document of this name. `None` if none was ever saved.
    pub fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.directory.path.join(note_file(name));
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let refuse = |why: &str| {
            let why = format!(
                "{} {why}; nothing was changed; put back a copy of it, or move it away if you \
                 know that it is not needed",
                path.display()
            );
            io::Error::new(ErrorKind::InvalidData, why)
        };
        let Some((header, document)) = bytes.split_at_checked(Self::HEADER_BYTES) else {
            return Err(refuse("is cut short"));
        };
        if !header.starts_with(&Self::MAGIC) {
            return Err(refuse("is not a note of this program"));
        }
        let mut fields = Reader::new(&header[Self::MAGIC.len()..]);
        let mut field = || fields.u32_le().map_err(|_| refuse("is cut short"));
        let (format, len, crc) = (field()?, field()?, field()?);
        if format != u32::from(Self::FORMAT) {
            return Err(refuse("was written by a later release, which can read it"));
        }
        if len as usize != document.len() || crc != note_crc(&header[..Self::CRC_AT], document) {
            return Err(refuse("is damaged: it does not match its checksum"));
        }
        Ok(Some(document.to_vec()))
    }

    /// Replaces the document of this name, durably. After an error the one before may still be there.
    pub fn save(&self, name: &str, document: &[u8]) -> io::Result<()> {
        let len = u32::try_from(document.len())
            .map_err(|_| io::Error::new(ErrorKind::InvalidInput, "a note of more than 4 GiB"))?;
        let mut bytes = Vec::with_capacity(Self::HEADER_BYTES + document.len());
        bytes.extend_from_slice(&Self::MAGIC);
        bytes.put_u16_le(Self::FORMAT);
        bytes.put_u16_le(0);
        bytes.put_u32_le(len);
        bytes.put_u32_le(note_crc(&bytes, document));
        bytes.extend_from_slice(document);
        self.directory.place(&note_file(name), |file| file.write_all(&bytes))?;
        Ok(())
    }
}

fn note_file(name: &str) -> FileName {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    assert!(!name.is_empty() && name.bytes().all(plain), "{name:?} is not a note's name");
    format!("{name}{NOTE}")
}

fn note_crc(header: &[u8], document: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_the_error_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = RealDisk::open(&path).unwrap();
        let notes = first.notes();
        let refused = RealDisk::open(&path).unwrap_err().to_string();
        assert!(refused.contains("in use by another process"), "{refused}");
        assert!(refused.contains(path.to_str().unwrap()), "{refused}");
        drop(first);
        assert!(Notes::open(&path).is_err(), "notes hold the directory too");
        drop(notes);
        RealDisk::open(&path).unwrap();
    }

    #[test]
    fn a_new_file_is_all_zeros_and_never_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::open(dir.path()).unwrap();
        let len = ZEROS.len() as u64 + 7;
        disk.create("x", len).unwrap();
        assert_eq!(disk.len("x").unwrap(), len);
        assert!(disk.read_now("x", 0, len as u32).unwrap().iter().all(|byte| *byte == 0));
        assert_eq!(disk.create("x", 3).unwrap_err().kind(), ErrorKind::AlreadyExists);
        disk.write("x", 5, b"abc").unwrap();
        disk.sync_handle("x").unwrap().sync().unwrap();
        assert_eq!(disk.read_now("x", 4, 5).unwrap(), b"\0abc\0");
        assert!(disk.read_now("x", len - 1, 2).is_err());
    }

    #[test]
    fn a_note_is_whole_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::open(dir.path()).unwrap();
        assert_eq!(notes.load("identity").unwrap(), None);
        notes.save("identity", b"first").unwrap();
        notes.save("identity", b"second").unwrap();
        assert_eq!(notes.load("identity").unwrap().as_deref(), Some(&b"second"[..]));
        let path = dir.path().join("identity.note");
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            assert_eq!(notes.load("identity").unwrap_err().kind(), ErrorKind::InvalidData);
        }
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(notes.load("identity").unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn what_a_crash_left_unfinished_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("00000002.seg.new"), b"half").unwrap();
        fs::write(dir.path().join("thesis.new"), b"not ours").unwrap();
        let mut disk = RealDisk::open(dir.path()).unwrap();
        let mut names = disk.list().unwrap();
        names.sort_unstable();
        assert_eq!(names, [LOCK_FILE, "thesis.new"]);
        disk.create("00000002.seg", 8).unwrap();
    }
}
