//! Reading a log back, and finding its end.
//!
//! The log ends at the first place where the next batch, by number, is not whole. What lies behind
//! that is the *torn tail*: batches that no sync had covered yet, of which the disk kept some
//! sectors and lost others. Unless one of the headers there says that the missing batch was synced:
//! then it is *damage*. (So the very last batches, which no later one vouches for, cannot be told
//! from a torn tail by the log alone.)
//!
//! Mending comes after everything was read: the tail is overwritten with zeros; and the batches that
//! nobody vouches for are written once more and synced, because after a failed sync the system may
//! hold them in memory and believe them written (Rebello et al., *Can Applications Recover from
//! fsync Failures?*, USENIX ATC 2020). For the same reason the zeros may not last if an earlier
//! opening failed to sync them: that an old batch never follows a new one rests on the batches'
//! links alone.
//!
//! Invariant: damage and formats of later releases are errors, and then nothing is modified. After
//! success everything that is in the index is durable. Opening again gives the same index.

use std::collections::VecDeque;
use std::ops::Range;

use super::batch::{self, ALIGNMENT, Header, NoBatch};
use super::damage::Lost;
use super::index::Index;
use super::minted::Minted;
use super::record::{BadRecord, Record, Records, Stored, map_delta};
use super::segment::Segments;
use super::{Batch, Disk, HintHead, StoreError, SyncHandle};
use crate::causality::Resolve;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A log, read back.
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) segments: Segments,
    /// The last batch.
    pub(super) last: Batch,
    /// Its link.
    pub(super) link: u32,
    /// Where the next one goes.
    pub(super) segment: u32,
    /// Where in the segment.
    pub(super) offset: u32,
    /// How many bytes of incomplete batches were cut off.
    pub(super) torn_bytes: u64,
    /// What the process before minted.
    pub(super) minted: Minted,
}

/// Reads, and mends the end.
pub(super) fn recover<D: Disk>(
    disk: &mut D,
    last_life: Option<u64>,
) -> Result<Recovered, StoreError> {
    let segments = Segments::list(disk)?;
    let mut reading = Reading {
        index: Index::new(),
        minted: Minted::of(last_life),
        last: Batch(0),
        link: 0,
        vouched: Batch(0),
        end: End { segment: 1, offset: 0, why: NoBatch::Nothing },
        doubtful: VecDeque::new(),
        torn: Vec::new(),
        vouching: None,
        lost: None,
        whole_behind: 0,
    };
    for segment in 1..=segments.count() {
        let file = segments.get(segment).expect("it is within the count");
        let bytes = disk.read_now(&file.name, 0, file.len)?;
        reading.segment(segment, &file.name, &bytes)?;
    }
    if let Some(vouching) = reading.vouching {
        return Err(reading.damage(vouching));
    }
    mend(disk, &segments, &reading)?;
    let torn_bytes = reading.torn.iter().map(|torn| torn.bytes.len() as u64).sum();
    let Reading { index, minted, last, link, end: End { segment, offset, .. }, .. } = reading;
    Ok(Recovered { index, segments, last, link, segment, offset, torn_bytes, minted })
}

/// What is said of a batch that is not there.
pub(super) fn why(no_batch: &NoBatch) -> String {
    match no_batch {
        NoBatch::Nothing => "there are only zeros".to_owned(),
        NoBatch::Header => "there is no intact header".to_owned(),
        NoBatch::Body(header) => {
            format!("the body of batch {} does not match its checksum", header.batch.0)
        }
        NoBatch::Stray(header) => {
            format!("batch {} is there, which follows another one", header.batch.0)
        }
        NoBatch::Format(format) => format!("it has format {format}"),
    }
}

/// Where the log ends, as far as it was read, and why it does not go on.
struct End {
    segment: u32,
    offset: u32,
    why: NoBatch,
}

/// A run of bytes in a segment.
struct Extent {
    segment: u32,
    bytes: Range<usize>,
}

/// What is known after reading some of the segments.
struct Reading {
    index: Index,
    minted: Minted,
    last: Batch,
    link: u32,
    /// The highest batch that a header says is synced.
    vouched: Batch,
    end: End,
    /// Batches above `vouched`.
    doubtful: VecDeque<(Batch, Extent)>,
    /// What is not zero behind the end.
    torn: Vec<Extent>,
    /// A batch behind the end that says that the one missing there was synced.
    vouching: Option<Batch>,
    /// The one missing there, where it was found and what can be said of it.
    lost: Option<(End, Lost)>,
    /// How many later batches behind the end are whole.
    whole_behind: u64,
}

impl Reading {
    fn segment(&mut self, segment: u32, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut offset = 0;
        let stop = loop {
            let rest = &bytes[offset..];
            match batch::read(rest) {
                Ok((header, _)) if header.segment != segment => {
                    let why = format!(
                        "batch {} of segment {} is in it; was a file renamed?",
                        header.batch.0, header.segment
                    );
                    return Err(damaged(file, offset, why));
                }
                Ok((header, body)) if self.is_next(header) => {
                    let at = u32::try_from(offset).expect("segments are below 4 GiB");
                    self.batch(header, body, at, file)?;
                    offset += header.stride();
                }
                Ok((header, _)) => break NoBatch::Stray(header),
                Err(NoBatch::Format(format)) => return Err(foreign(file, offset, format)),
                Err(stop) => break stop,
            }
        };
        let head = &bytes[..bytes.len().min(batch::HEADER_BYTES)];
        if offset == 0 && !head.starts_with(&batch::MAGIC) && !is_torn_magic(head) {
            return Err(StoreError::Foreign {
                file: file.to_owned(),
                offset: 0,
                what: "something that is no segment".to_owned(),
            });
        }
        // A segment without the next batch, behind one without it, is not where the log ends.
        if offset > 0 || segment == 1 {
            self.torn.clear();
            self.vouching = None;
            self.whole_behind = 0;
            self.lost = None;
            self.end = End { segment, offset: offset as u32, why: stop.clone() };
        }
        if let NoBatch::Body(header) = stop
            && self.is_next(header)
        {
            let at = End { segment, offset: offset as u32, why: stop };
            self.lost = Some((at, Lost::of(header, &bytes[offset..])));
        }
        self.remains(segment, file, bytes, offset)
    }

    /// What is to be said of a log that ends before a batch which a later one says was synced.
    fn damage(&self, vouching: Batch) -> StoreError {
        let (at, lost) = match &self.lost {
            Some((at, lost)) => (at, format!("; {lost}")),
            None => (&self.end, String::new()),
        };
        let why = format!(
            "batch {missing} should be here: {}; it was synced, as batch {} says{lost}; the {last} \
             batches before it are whole, and {} of those behind it; nothing was changed",
            why(&at.why),
            vouching.0,
            self.whole_behind,
            missing = self.last.0 + 1,
            last = self.last.0,
        );
        damaged(&super::segment::file_name(at.segment), at.offset as usize, why)
    }

    fn is_next(&self, header: Header) -> bool {
        header.batch.0 == self.last.0 + 1 && header.previous == self.link
    }

    fn batch(
        &mut self,
        header: Header,
        body: &[u8],
        offset: u32,
        file: &str,
    ) -> Result<(), StoreError> {
        let first = offset + batch::HEADER_BYTES as u32;
        let mut records = 0;
        for record in Records::new(body, header.segment, first) {
            match record {
                Ok(record) => {
                    self.minted.note(&record);
                    apply(&mut self.index, record).map_err(|why| {
                        let why = format!("batch {}: {why}", header.batch.0);
                        damaged(file, offset as usize, why)
                    })?;
                }
                Err(BadRecord::Malformed(why)) => {
                    let why = format!("batch {}: {why}", header.batch.0);
                    return Err(damaged(file, offset as usize, why));
                }
                Err(BadRecord::Unknown(what)) => {
                    let offset = u64::from(offset);
                    return Err(StoreError::Foreign { file: file.to_owned(), offset, what });
                }
            }
            records += 1;
        }
        if records != header.records {
            let why = format!(
                "batch {} has {records} records and should have {}",
                header.batch.0, header.records
            );
            return Err(damaged(file, offset as usize, why));
        }
        self.last = header.batch;
        self.link = header.link;
        self.vouched = self.vouched.max(header.synced);
        let bytes = offset as usize..offset as usize + header.stride();
        while self.doubtful.front().is_some_and(|(batch, _)| *batch <= self.vouched) {
            self.doubtful.pop_front();
        }
        self.doubtful.push_back((header.batch, Extent { segment: header.segment, bytes }));
        Ok(())
    }

    /// Looks through what lies behind the last batch of a segment.
    fn remains(
        &mut self,
        segment: u32,
        file: &str,
        bytes: &[u8],
        end: usize,
    ) -> Result<(), StoreError> {
        let rest = &bytes[end..];
        let Some(first) = rest.iter().position(|byte| *byte != 0) else { return Ok(()) };
        let last = rest.iter().rposition(|byte| *byte != 0).unwrap_or(first);
        self.torn.push(Extent { segment, bytes: end + first..end + last + 1 });
        let mut offset = end + first / ALIGNMENT * ALIGNMENT;
        while offset <= end + last {
            match batch::read_header(&bytes[offset..]) {
                Ok(header) if header.segment == segment => {
                    if header.batch > self.last {
                        self.whole_behind += u64::from(batch::read(&bytes[offset..]).is_ok());
                        if header.synced > self.last {
                            self.vouching = Some(header.batch);
                        }
                    }
                    // Nothing inside a batch is looked at: a client's value may look like anything.
                    offset += header.stride();
                }
                Err(NoBatch::Format(format)) => return Err(foreign(file, offset, format)),
                Ok(_) | Err(_) => offset += ALIGNMENT,
            }
        }
        Ok(())
    }
}

/// Applies a record that was read back, unless it does not go with those before it.
fn apply(index: &mut Index, mut record: Record) -> Result<(), String> {
    record.resolve(index.dead()).map_err(|why| why.to_string())?;
    match record {
        Record::Entry { slot, token, key, dots, deletes, entry } => {
            let entry = entry.map(|_, stored| stored.place());
            index.put_entry(slot, token, &key, &dots, &deletes, entry);
        }
        Record::Clock { slot, clock } => index.join_clock(slot, &clock),
        Record::Hint { id, owed_to, slot, key, delta } => {
            let delta = map_delta(delta, Stored::place);
            index.put_hint(id, HintHead { owed_to, slot, key, delta });
        }
        Record::HintDone { id } => index.remove_hint(id),
        Record::Mark { slot, mark } => index.raise_mark(slot, &mark),
        Record::Recovering { recovering } => index.set_recovering(recovering),
        Record::Dead { before, actors } => {
            if before != index.dead().count() {
                let listed = index.dead().count();
                return Err(format!("{before} dead actors should be listed, and {listed} are"));
            }
            let longer = index.dead().and(actors).map_err(|twice| twice.to_string())?;
            index.list_dead(longer);
        }
        Record::Refused { actor } => index.refuse(actor),
        Record::StartOver { slot } => index.start_over(slot),
    }
    Ok(())
}

/// Makes what was read durable, and what was not read zero.
fn mend<D: Disk>(disk: &mut D, segments: &Segments, reading: &Reading) -> Result<(), StoreError> {
    let name = |extent: &Extent| {
        segments.get(extent.segment).expect("it was read from there").name.as_str()
    };
    let mut touched: Vec<&str> = Vec::new();
    let doubtful: Vec<&Extent> = reading.doubtful.iter().map(|(_, extent)| extent).collect();
    for run in doubtful.chunk_by(|a, b| a.segment == b.segment) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let (from, len) = (first.bytes.start, last.bytes.end - first.bytes.start);
        let bytes = disk.read_now(name(first), from as u64, len as u32)?;
        disk.write(name(first), from as u64, &bytes)?;
        touched.push(name(first));
    }
    for extent in &reading.torn {
        for from in extent.bytes.clone().step_by(ZEROS.len()) {
            let len = ZEROS.len().min(extent.bytes.end - from);
            disk.write(name(extent), from as u64, &ZEROS[..len])?;
        }
        touched.push(name(extent));
    }
    touched.dedup();
    for name in touched {
        disk.sync_handle(name)?.sync()?;
    }
    Ok(())
}

/// Whether a segment begins as a batch does, but for bytes that are zero: of an append that failed, or of the
/// zeros that were to take the place of one.
fn is_torn_magic(head: &[u8]) -> bool {
    head.iter().zip(batch::MAGIC).all(|(byte, magic)| *byte == 0 || *byte == magic)
}

fn damaged(file: &str, offset: usize, why: String) -> StoreError {
    StoreError::Damaged { file: file.to_owned(), offset: offset as u64, why }
}

fn foreign(file: &str, offset: usize, format: u16) -> StoreError {
    let what = format!("a batch of format {format}");
    StoreError::Foreign { file: file.to_owned(), offset: offset as u64, what }
}
