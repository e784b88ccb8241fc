//! The continuity page: what the last process that used a directory wrote, kept outside of it.
//!
//! An old copy of a directory looks like one that a killed process left. So a start may go on under the
//! name (the *life*) of the process before it only if something that is not copied along says that the
//! logs end where that process ended them. The page is that: it lies in memory (on tmpfs), is gone with
//! the boot, and names the very last batch of each shard's log. A driver rewrites its line after every
//! append, before anything that the append holds leaves the process.
//!
//! | offset | form | what |
//! |---|---|---|
//! | 0 | 4 bytes | `RDpg` |
//! | 4 | u16 | format, 1 |
//! | 6 | u16 | number of shards |
//! | 8 | u128 | the directory's id |
//! | 24 | 16 bytes | the boot that it was written in |
//! | 40 | u64 | the life of the process |
//! | 48 | u32 | crc32c of bytes 0..48 |
//! | 64 + 32 k | u64 | shard k: the last batch of its log |
//! | 72 + 32 k | u32 | its link |
//! | 76 + 32 k | u32 | crc32c of bytes 0..48 and the twelve bytes before |
//!
//! Integers are little-endian. A line of zeros is one in doubt.
//!
//! Invariant: one process at a time holds the page of a directory id, so a directory and its copy never
//! run side by side. Whatever else is in it than what this says counts as nothing: then the past is in
//! doubt, which is always safe. Not here: when something leaves (`server::driver`).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Batch;
use crate::causality::Actor;
use crate::fields::WriteFields;
use crate::rules::{Rule, holds};

const MAGIC: [u8; 4] = *b"RDpg";
const FORMAT: u16 = 1;
const HEADER_BYTES: usize = 48;
const LINES_AT: usize = 64;
const LINE_BYTES: usize = 32;
/// What of a line is used.
const LINE_USED: usize = 16;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Where a log ends: its last batch, and the link that tells it from any other of that number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// The number of the last batch; 0 when there is none.
    pub batch: Batch,
    /// Its link.
    pub link: u32,
}

/// What a page says of the process that held it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its life.
    pub life: u64,
    /// Where its logs ended, by shard.
    pub ends: Vec<LogEnd>,
}

/// The life that a process goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Nothing that the last process wrote is missing: it is the same actor that goes on.
    Kept(u64),
    /// The past is in doubt: a new one, to be written down durably before anything is written under it.
    Drawn(u64),
}

impl Life {
    /// Decides it: `last` is the life that the directory names, `page` what its page says, `ends` where
    /// its logs end now, and `draw` gives 48 random bits.
    pub fn after(
        last: Option<u64>,
        page: Option<&Written>,
        ends: &[LogEnd],
        draw: impl FnOnce() -> u64,
    ) -> Life {
        let whole = |life: &u64| page.is_some_and(|page| page.life == *life && page.ends == ends);
        match last {
            Some(life) if whole(&life) || !holds(Rule::NewActor) => Life::Kept(life),
            Some(life) if !holds(Rule::FreshActor) => Life::Drawn(life + 1),
            Some(_) | None => Life::Drawn(draw() & ((1 << Actor::LIFE_BITS) - 1)),
        }
    }

    /// The life.
    pub fn life(self) -> u64 {
        match self {
            Life::Kept(life) | Life::Drawn(life) => life,
        }
    }
}

impl Written {
    /// Whether synced data may be missing from logs that end like this: one of them is shorter than it
    /// was when the process that the page speaks of had written it last.
    pub fn reaches_beyond(&self, ends: &[LogEnd]) -> bool {
        self.ends.iter().zip(ends).any(|(written, end)| written.batch > end.batch)
    }
}

/// Why there is no page.
#[derive(Debug)]
pub enum PageError {
    /// Another process holds it.
    InUse(PathBuf),
    /// It cannot be kept here: the system has no such place, or said no.
    Io(PathBuf, io::Error),
}

/// The page of a directory, held by this process until the last clone is gone.
#[derive(Debug, Clone)]
pub struct Page {
    file: Arc<File>,
    path: PathBuf,
    directory: u128,
    boot: [u8; 16],
    /// The header as it was last written; lines are bound to it.
    header: [u8; HEADER_BYTES],
}

impl Page {
    /// Takes the page of a directory id from where pages are kept; makes it if it is not there.
    pub fn open(pages: &Path, directory: u128) -> Result<Self, PageError> {
        let path = pages.join(format!("ringdove-{directory:032x}.page"));
        let failed = |why| PageError::Io(path.clone(), why);
        let boot = boot_id().map_err(failed)?;
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PageError::InUse(path)),
            Err(TryLockError::Error(why)) => return Err(failed(why)),
        }
        let header = [0; HEADER_BYTES];
        Ok(Page { file: Arc::new(file), path, directory, boot, header })
    }

    /// What the process before this one wrote, if it was in this boot, of so many shards, and left
    /// nothing in doubt.
    pub fn written(&self, shards: u16) -> io::Result<Option<Written>> {
        let len = LINES_AT + LINE_BYTES * usize::from(shards);
        let mut bytes = vec![0; len];
        match self.file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let life = u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes"));
        let header = self.header_of(shards, life);
        if bytes[..HEADER_BYTES] != header
            || bytes[HEADER_BYTES..HEADER_BYTES + 4] != crc32c::crc32c(&header).to_le_bytes()
        {
            return Ok(None);
        }
        let lines = bytes[LINES_AT..].chunks_exact(LINE_BYTES).map(|line| {
            let (said, crc) = line[..LINE_USED].split_at(12);
            let intact = crc == line_crc(&header, said).to_le_bytes();
            intact.then(|| LogEnd {
                batch: Batch(u64::from_le_bytes(said[..8].try_into().expect("eight bytes"))),
                link: u32::from_le_bytes(said[8..].try_into().expect("four bytes")),
            })
        });
        let ends: Option<Vec<LogEnd>> = lines.collect();
        Ok(ends.map(|ends| Written { life, ends }))
    }

    /// Begins the page of this process.
    pub fn begin(&mut self, life: u64, ends: &[LogEnd]) -> io::Result<()> {
        let shards = u16::try_from(ends.len()).expect("a node has at most 64 shards");
        // In doubt until all of it is there.
        self.file.write_all_at(&[0; LINES_AT], 0)?;
        self.file.set_len((LINES_AT + LINE_BYTES * ends.len()) as u64)?;
        self.header = self.header_of(shards, life);
        for (shard, end) in (0..).zip(ends) {
            self.ended(shard, Some(*end))?;
        }
        let mut header = self.header.to_vec();
        header.put_u32_le(crc32c::crc32c(&self.header));
        self.file.write_all_at(&header, 0)
    }

    /// A shard's log ends here now, or with `None`, what left the process may not be in it. After an
    /// error nothing may leave.
    pub fn ended(&self, shard: u16, end: Option<LogEnd>) -> io::Result<()> {
        let mut line = Vec::with_capacity(LINE_USED);
        match end {
            None => line.resize(LINE_USED, 0),
            Some(end) => {
                line.put_u64_le(end.batch.0);
                line.put_u32_le(end.link);
                line.put_u32_le(line_crc(&self.header, &line));
            }
        }
        let at = LINES_AT + LINE_BYTES * usize::from(shard);
        self.file.write_all_at(&line, at as u64)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn header_of(&self, shards: u16, life: u64) -> [u8; HEADER_BYTES] {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.put_u16_le(FORMAT);
        header.put_u16_le(shards);
        header.extend_from_slice(&self.directory.to_le_bytes());
        header.extend_from_slice(&self.boot);
        header.put_u64_le(life);
        header.try_into().expect("the fields are as long as the header")
    }
}

fn line_crc(header: &[u8], said: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), said)
}

/// Which start of the machine this is. Without it, a page on a real disk could outlive the tail of a
/// log that the loss of power took.
fn boot_id() -> io::Result<[u8; 16]> {
    let text = fs::read_to_string(BOOT_ID)?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16).map_err(io::Error::other)?;
    Ok(id.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::without;

    fn end(batch: u64, link: u32) -> LogEnd {
        LogEnd { batch: Batch(batch), link }
    }

    #[test]
    fn a_page_says_what_was_written_last_or_nothing() {
        let pages = tempfile::tempdir().unwrap();
        let mut page = Page::open(pages.path(), 7).unwrap();
        assert_eq!(page.written(2).unwrap(), None, "a new one");
        page.begin(9, &[end(3, 5), end(0, 0)]).unwrap();
        page.ended(1, Some(end(1, 8))).unwrap();
        let other = Page::open(pages.path(), 8).unwrap();
        assert_eq!(other.written(2).unwrap(), None, "another directory's");
        let refused = Page::open(pages.path(), 7);
        assert!(matches!(refused, Err(PageError::InUse(_))), "{refused:?}");
        drop(page);
        let page = Page::open(pages.path(), 7).unwrap();
        let written = Written { life: 9, ends: vec![end(3, 5), end(1, 8)] };
        assert_eq!(page.written(2).unwrap(), Some(written.clone()));
        assert_eq!(page.written(4).unwrap(), None, "of another number of shards");
        let mut later = page.clone();
        later.boot[0] ^= 1;
        assert_eq!(later.written(2).unwrap(), None, "of another boot");

        let whole = fs::read(page.path()).unwrap();
        let used = [0..52, 64..80, 96..112].into_iter().flatten();
        for bit in used.flat_map(|byte| byte * 8..byte * 8 + 8) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            page.file.write_all_at(&flipped, 0).unwrap();
            assert_eq!(page.written(2).unwrap(), None, "bit {bit}");
        }
        page.file.write_all_at(&whole, 0).unwrap();
        assert_eq!(page.written(2).unwrap(), Some(written));
        page.ended(0, None).unwrap();
        assert_eq!(page.written(2).unwrap(), None, "in doubt");
    }

    #[test]
    fn a_life_is_kept_only_by_who_ends_where_it_ended() {
        let ends = [end(3, 5), end(1, 8)];
        let page = Written { life: 9, ends: ends.to_vec() };
        let draw = || u64::MAX;
        let drawn = Life::Drawn((1 << 48) - 1);
        assert_eq!(Life::after(Some(9), Some(&page), &ends, draw), Life::Kept(9));
        assert_eq!(Life::after(None, Some(&page), &ends, draw), drawn, "the directory names none");
        assert_eq!(Life::after(Some(8), Some(&page), &ends, draw), drawn, "... or another");
        assert_eq!(Life::after(Some(9), None, &ends, draw), drawn, "no page: a reboot");
        for other in [end(2, 5), end(4, 5), end(3, 6)] {
            let ends = [other, ends[1]];
            assert_eq!(Life::after(Some(9), Some(&page), &ends, draw), drawn, "an old copy");
        }
        let old = [end(2, 4), ends[1]];
        let broken = without(Rule::NewActor, || Life::after(Some(9), Some(&page), &old, draw));
        assert_eq!(broken, Life::Kept(9));
        let broken = without(Rule::FreshActor, || Life::after(Some(9), Some(&page), &old, draw));
        assert_eq!(broken, Life::Drawn(10));
    }
}
