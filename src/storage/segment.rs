//! The files of a log, and what was appended to them but is not synced yet.
//!
//! A segment is a file `NNNNNNNN.seg`, numbered from 1 in decimal, without gaps. It is made full of
//! zeros and filled with batches from its start; there is no other header than theirs. What follows
//! its last batch is zeros. Its length is [`Options::segment_bytes`](super::Options), or what its
//! first batch needs if one record alone is larger than that.
//!
//! Invariant: batches follow each other in number across segments; a batch begins where the last
//! one ended or at the start of a later segment.
//! Not here: what is inside a batch (`batch`, `record`), and reading a log back (`recover`).

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use super::{Batch, Disk, FileName, StoreError};

/// The name of a segment's file.
pub(super) fn file_name(segment: u32) -> FileName {
    format!("{segment:08}.seg")
}

/// The number of the segment that a file of this name is, if it is one.
pub(super) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    (number > 0 && file_name(number) == name).then_some(number)
}

/// One segment's file.
#[derive(Debug, Clone)]
pub(super) struct SegmentFile {
    pub(super) name: FileName,
    pub(super) len: u32,
}

/// The segments that exist, by number from 1.
#[derive(Debug, Default)]
pub(super) struct Segments {
    files: Vec<SegmentFile>,
    /// How long the next one is going to be, once that is settled: whoever makes it, it is as long.
    next_len: Option<u32>,
    /// Segments with batches that are not known to be synced, and the last such batch in each.
    dirty: VecDeque<(u32, Batch)>,
}

impl Segments {
    /// The segments in a directory.
    pub(super) fn list<D: Disk>(disk: &mut D) -> Result<Self, StoreError> {
        let mut numbers: Vec<u32> = disk.list()?.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        let mut files = Vec::with_capacity(numbers.len());
        for (expected, number) in (1..).zip(numbers) {
            let name = file_name(expected);
            if number != expected {
                let why = format!("it is missing, but segment {number} is there");
                return Err(StoreError::Damaged { file: name, offset: 0, why });
            }
            let len = u32::try_from(disk.len(&name)?).map_err(|_| StoreError::Foreign {
                file: name.clone(),
                offset: 0,
                what: "a segment of more than 4 GiB".to_owned(),
            })?;
            files.push(SegmentFile { name, len });
        }
        Ok(Segments { files, next_len: None, dirty: VecDeque::new() })
    }

    pub(super) fn count(&self) -> u32 {
        self.files.len() as u32
    }

    pub(super) fn get(&self, segment: u32) -> Option<&SegmentFile> {
        self.files.get((segment as usize).checked_sub(1)?)
    }

    /// How many bytes a segment has or is going to have. `None` while that is open.
    pub(super) fn room(&self, segment: u32) -> Option<u32> {
        let made = self.get(segment).map(|file| file.len);
        made.or_else(|| self.next_len.filter(|_| segment == self.count() + 1))
    }

    /// Settles how long the next segment is going to be, unless that is settled, and names it.
    pub(super) fn next(&mut self, len: u32) -> (FileName, u32) {
        (file_name(self.count() + 1), *self.next_len.get_or_insert(len))
    }

    /// The next segment is made.
    pub(super) fn made(&mut self) {
        let (name, len) = self.next(0);
        assert!(len > 0, "a segment's length is settled before it is made");
        self.files.push(SegmentFile { name, len });
        self.next_len = None;
    }

    /// Makes the next segment now, or finds that another thread has made it meanwhile.
    pub(super) fn create<D: Disk>(&mut self, disk: &mut D, len: u32) -> io::Result<()> {
        let (name, len) = self.next(len);
        match disk.create(&name, u64::from(len)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(error) if disk.len(&name)? != u64::from(len) => return Err(error),
            Ok(()) | Err(_) => self.made(),
        }
        Ok(())
    }

    /// A batch was written to a segment and must be synced.
    pub(super) fn wrote(&mut self, segment: u32, batch: Batch) {
        match self.dirty.back_mut() {
            Some(last) if last.0 == segment => last.1 = batch,
            _ => self.dirty.push_back((segment, batch)),
        }
    }

    /// All batches up to this one are synced.
    pub(super) fn synced(&mut self, upto: Batch) {
        while self.dirty.front().is_some_and(|(_, last)| *last <= upto) {
            self.dirty.pop_front();
        }
    }

    /// What must be synced to make all that was written durable. Every segment with a batch in doubt
    /// is named each time, so that a syncer may skip all jobs but the newest.
    pub(super) fn sync_handles<D: Disk>(&self, disk: &mut D) -> io::Result<Vec<D::Sync>> {
        let names = self.dirty.iter().filter_map(|(segment, _)| self.get(*segment));
        names.map(|file| disk.sync_handle(&file.name)).collect()
    }
}
