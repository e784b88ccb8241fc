//! What was staged and is not written yet: the open batch, and those that were sealed before it.
//!
//! A record is encoded once, into the open batch's bytes, and its values have their places from then
//! on. So the open batch knows from its first record where in the log it will lie. A record that
//! does not fit into what is left of the segment closes the batch, and opens one in the next.
//!
//! Invariant: places given out are where [`super::Store::flush`] writes the bytes; batches are
//! written in the order of their numbers. Not here: what records say.

use super::batch::{self, ALIGNMENT, HEADER_BYTES, Header};
use super::record::{Scribe, Spot};
use super::segment::Segments;
use super::{Batch, Place};

/// Buffers larger than this are given back after a flush.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// A batch in memory.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) batch: Batch,
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) records: u32,
    /// Room for the header, then the body.
    pub(super) bytes: Vec<u8>,
}

impl Staged {
    fn new(batch: Batch, segment: u32, offset: u32, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(HEADER_BYTES, 0);
        Staged { batch, segment, offset, records: 0, bytes }
    }

    /// How long its segment must be to hold it.
    pub(super) fn end(&self) -> usize {
        self.offset as usize + self.bytes.len().next_multiple_of(ALIGNMENT)
    }

    /// Puts the header in its place, behind the batch of link `previous`. After that the bytes are
    /// ready to be written. Gives the link for the next.
    pub(super) fn seal(&mut self, synced: Batch, previous: u32) -> u32 {
        let Staged { batch, segment, records, .. } = *self;
        let unknown = 0;
        let header =
            Header { segment, batch, synced, previous, link: unknown, records, body_len: unknown };
        batch::seal(&mut self.bytes, header)
    }

    fn bytes_at(&self, place: Place) -> Option<&[u8]> {
        let from = place.offset.checked_sub(self.offset)? as usize;
        let bytes = self.bytes.get(from..from + place.len as usize);
        bytes.filter(|_| self.segment == place.segment)
    }
}

/// The batches that wait to be written.
#[derive(Debug)]
pub(super) struct Staging {
    /// Full ones, in order, all before `open`.
    sealed: Vec<Staged>,
    open: Staged,
    spots: Vec<Spot>,
    places: Vec<Place>,
    segment_bytes: u32,
}

impl Staging {
    /// The next batch goes to this place in the log.
    pub(super) fn new(batch: Batch, segment: u32, offset: u32, segment_bytes: u32) -> Self {
        Staging {
            sealed: Vec::new(),
            open: Staged::new(batch, segment, offset, Vec::new()),
            spots: Vec::new(),
            places: Vec::new(),
            segment_bytes,
        }
    }

    /// The batch that the last staged record is in, or the next one will be.
    pub(super) fn open_batch(&self) -> Batch {
        self.open.batch
    }

    /// Adds the record that `write` writes. Gives the places of its new values, in order.
    pub(super) fn add(&mut self, segments: &Segments, write: impl FnOnce(Scribe<'_>)) -> &[Place] {
        let mut start = self.open.bytes.len();
        write(Scribe::new(&mut self.open.bytes, &mut self.spots));
        let room = segments.room(self.open.segment).unwrap_or(self.segment_bytes);
        // A record that is alone at the start of a segment not made yet gets a segment of its size.
        let alone = self.open.records == 0 && self.open.offset == 0;
        let may_grow = alone && segments.room(self.open.segment).is_none();
        if self.open.end() > room as usize && !may_grow {
            start = self.move_last_record(start);
        }
        assert!(self.open.end() <= u32::MAX as usize, "one record cannot be larger than 4 GiB");
        self.open.records += 1;
        let Staged { segment, offset, .. } = self.open;
        let base = offset + start as u32;
        let place = |spot: &Spot| Place { segment, offset: base + spot.offset, len: spot.len };
        self.places.clear();
        self.places.extend(self.spots.iter().map(place));
        &self.places
    }

    /// Begins a batch in the next segment unless `bytes` more fit into the open one where it is.
    pub(super) fn keep_together(&mut self, segments: &Segments, bytes: u64) {
        let room = segments.room(self.open.segment).unwrap_or(self.segment_bytes);
        let fits = (self.open.end() + ALIGNMENT) as u64 + bytes <= u64::from(room);
        let helps = (HEADER_BYTES + ALIGNMENT) as u64 + bytes <= u64::from(self.segment_bytes);
        if !fits && helps {
            self.move_last_record(self.open.bytes.len());
        }
    }

    /// Takes the record that begins at `start` out of the open batch, and into one at the start of
    /// the next segment. Gives where it begins now.
    fn move_last_record(&mut self, start: usize) -> usize {
        if self.open.records == 0 {
            // Nothing else is in the batch, so all of it goes.
            self.open.segment += 1;
            self.open.offset = 0;
            return start;
        }
        let next = Batch(self.open.batch.0 + 1);
        let next = Staged::new(next, self.open.segment + 1, 0, Vec::new());
        let full = std::mem::replace(&mut self.open, next);
        self.sealed.push(full);
        let full = self.sealed.last_mut().expect("it was pushed just now");
        self.open.bytes.extend_from_slice(&full.bytes[start..]);
        full.bytes.truncate(start);
        HEADER_BYTES
    }

    /// Closes the open batch if anything is in it. Whether any batch waits to be written.
    pub(super) fn close(&mut self) -> bool {
        if self.open.records > 0 {
            let next = Batch(self.open.batch.0 + 1);
            let next = Staged::new(next, self.open.segment, self.open.end() as u32, Vec::new());
            self.sealed.push(std::mem::replace(&mut self.open, next));
        }
        !self.sealed.is_empty()
    }

    /// The last segment that a closed batch goes to; 0 without one.
    pub(super) fn last_closed(&self) -> u32 {
        self.sealed.last().map_or(0, |staged| staged.segment)
    }

    /// The closed batches, oldest first.
    pub(super) fn closed_mut(&mut self) -> impl Iterator<Item = &mut Staged> {
        self.sealed.iter_mut()
    }

    /// How long a segment that is not made yet must be to hold what is staged for it.
    pub(super) fn len_of(&self, segment: u32) -> u32 {
        let staged = self.sealed.iter().chain([&self.open]).filter(|one| one.segment == segment);
        let end = staged.map(Staged::end).max().unwrap_or(0);
        self.segment_bytes.max(u32::try_from(end).expect("checked when it was staged"))
    }

    /// Whether it is time to have the next segment made: there is none after the one that is being
    /// filled, and that one is half full.
    pub(super) fn wants_segment(&self, segments: &Segments) -> bool {
        let Some(file) = segments.get(self.open.segment) else { return true };
        segments.get(self.open.segment + 1).is_none() && self.open.end() > file.len as usize / 2
    }

    /// Whether `bytes` more can be staged and then appended to segments that are made.
    pub(super) fn fits(&self, segments: &Segments, bytes: u64) -> bool {
        let Some(file) = segments.get(self.open.segment) else { return false };
        let here = (self.open.end() + ALIGNMENT) as u64 + bytes <= u64::from(file.len);
        let there = (HEADER_BYTES + ALIGNMENT) as u64 + bytes;
        let next = segments.get(self.open.segment + 1);
        here || next.is_some_and(|file| there <= u64::from(file.len))
    }

    /// Whether anything waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open.records == 0
    }

    /// The first `count` closed batches are written. Their largest buffer is used again.
    pub(super) fn written(&mut self, count: usize) {
        let buffers = self.sealed.drain(..count).map(|staged| staged.bytes);
        let kept = buffers.filter(|bytes| bytes.capacity() <= BUFFER_KEPT_BYTES);
        if let Some(buffer) = kept.max_by_key(Vec::capacity) {
            let Staged { batch, segment, offset, records, .. } = self.open;
            assert_eq!(records, 0, "nothing is staged between closing and writing");
            self.open = Staged::new(batch, segment, offset, buffer);
        }
    }

    /// The bytes at a place that is not written yet.
    pub(super) fn bytes_at(&self, place: Place) -> Option<&[u8]> {
        let open = self.open.bytes_at(place);
        open.or_else(|| self.sealed.iter().find_map(|staged| staged.bytes_at(place)))
    }
}
