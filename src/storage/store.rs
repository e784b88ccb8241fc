//! The store of one shard: stage, flush, sync, read, walk.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use thiserror::Error;

use super::index::Index;
use super::minted::Minted;
use super::page::LogEnd;
use super::record::{self, map_delta};
use super::recover::{Recovered, recover};
use super::segment::{Segments, file_name};
use super::staging::Staging;
use super::{Disk, DiskRead, FileName, MakeHandle, SyncHandle, Ticket};
use crate::causality::{Actor, Dead, Delta, Dot, DotSet, Entry, Resolve, Value};
use crate::fields::Malformed;
use crate::key::Key;
use crate::ring::{Slot, Token};

/// Room that is kept for deletes and the like when the disk is full.
const RESERVE_BYTES: u64 = 1 << 20;

/// The number of a batch, ascending for the life of the directory, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch(pub u64);

/// Where a value's stored bytes lie: a checksum, then [`Value::encode`].
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

/// The next segment of a log, to be made on any thread.
#[derive(Debug)]
pub struct SegmentJob<M> {
    number: u32,
    handle: M,
}

impl<M: MakeHandle> SegmentJob<M> {
    /// Makes it. Blocks until it is durable.
    pub fn run(self) -> SegmentMade {
        SegmentMade { number: self.number, result: self.handle.make() }
    }
}

/// What came of a [`SegmentJob`].
#[derive(Debug)]
pub struct SegmentMade {
    number: u32,
    /// Why it could not be made. Nothing is left of it then.
    pub result: io::Result<()>,
}

/// How the store is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The size of a segment, in bytes.
    pub segment_bytes: u32,
    /// The life of the process that used the directory before, if it is known: what it minted is found
    /// out, so that it can go on ([`Store::minted_by`]).
    pub last_life: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 64 << 20, last_life: None }
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
    /// Something that this release cannot read. Nothing was modified.
    #[error(
        "{file} holds, at byte {offset}, {what}, which this release does not know; nothing was \
         changed; use the release that wrote it"
    )]
    Foreign {
        /// Which file.
        file: FileName,
        /// Where in it.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// The bytes of a completed read are not the value that was stored.
    #[error("a stored value is damaged: {0}")]
    Rotten(Malformed),
    /// An append or a sync failed before: only reads are served until a restart.
    #[error("the store is read-only since an append or a sync failed: {0}")]
    Poisoned(String),
}

/// The log and the index of one shard.
pub struct Store<D: Disk> {
    disk: D,
    index: Index,
    segments: Segments,
    staging: Staging,
    segment_bytes: u32,
    /// Of the last batch that was sealed.
    link: u32,
    /// The last batch that was appended.
    appended: Batch,
    minted: Minted,
    synced: Batch,
    poisoned: Option<String>,
    /// Whether the next segment is being made on another thread.
    making: bool,
    /// Why the next segment could not be made, when that was tried last.
    full: Option<String>,
}

impl<D: Disk> Store<D> {
    /// Opens a directory, new or used, and reads all of it. Cuts a torn tail; refuses damage.
    pub fn open(mut disk: D, options: Options) -> Result<(Self, Opened), StoreError> {
        let Recovered { index, segments, last, link, segment, offset, torn_bytes, minted } =
            recover(&mut disk, options.last_life)?;
        let segment_bytes = options.segment_bytes;
        let staging = Staging::new(Batch(last.0 + 1), segment, offset, segment_bytes);
        let store = Store {
            disk,
            index,
            segments,
            staging,
            segment_bytes,
            link,
            appended: last,
            minted,
            synced: last,
            poisoned: None,
            making: false,
            full: None,
        };
        Ok((store, Opened { batches: last.0, torn_bytes, took: Duration::ZERO }))
    }

    /// The clock of a slot: every dot applied here.
    pub fn clock(&self, slot: Slot) -> &DotSet {
        self.index.clock(slot)
    }

    /// A fingerprint of a slot's clock ([`DotSet::fingerprint`], kept until the clock changes). 0 when empty.
    pub fn clock_fingerprint(&self, slot: Slot) -> u64 {
        self.index.clock_fingerprint(slot)
    }

    /// A key's entry.
    pub fn entry(&self, slot: Slot, key: &Key) -> Option<Entry<Place>> {
        self.index.entry(slot, key)
    }

    /// The entries of a slot in (token, key) order, after a position.
    pub fn walk(
        &self,
        slot: Slot,
        after: Option<&Position>,
    ) -> Box<dyn Iterator<Item = (Position, Entry<Place>)> + '_> {
        Box::new(self.index.walk(slot, after))
    }

    /// The slots that have a clock, ascending.
    pub fn slots(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.index.slots())
    }

    /// The slots that have a clock or a key, ascending.
    pub fn occupied(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.index.occupied())
    }

    /// The deletes of a slot that peers may not have heard of: each one's dot and key, by dot.
    pub fn deletes(&self, slot: Slot) -> Box<dyn Iterator<Item = (Dot, Key)> + '_> {
        Box::new(self.index.deletes(slot))
    }

    /// Dots of a slot whose deletes the delete log may not name: a peer that lacks one of them must
    /// be sent the whole list of the slot's entries.
    pub fn mark(&self, slot: Slot) -> &DotSet {
        self.index.mark(slot)
    }

    /// How many deletes the log names, in all slots.
    pub fn delete_count(&self) -> u64 {
        self.index.delete_count()
    }

    /// The slots with deletes in the log, ascending.
    pub fn slots_with_deletes(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.index.slots_with_deletes())
    }

    /// Whether synced data went missing from this log, and its copy has not caught up since.
    pub fn recovering(&self) -> bool {
        self.index.recovering()
    }

    /// How many keys have at least one value, in all slots.
    pub fn key_count(&self) -> u64 {
        self.index.key_count()
    }

    /// The hints not removed yet, oldest first.
    pub fn hints(&self) -> Box<dyn Iterator<Item = (HintId, &HintHead)> + '_> {
        Box::new(self.index.hints())
    }

    /// One hint.
    pub fn hint(&self, id: HintId) -> Option<&HintHead> {
        self.index.hint(id)
    }

    /// The value at a place. What is staged or written is read, synced or not.
    pub fn read(&mut self, place: Place) -> Result<ReadResult, StoreError> {
        if let Some(bytes) = self.staging.bytes_at(place) {
            return Ok(ReadResult::Now(self.decode(bytes)?));
        }
        let Some(file) = self.segments.get(place.segment) else {
            let (file, offset) = (file_name(place.segment), u64::from(place.offset));
            let why = "a value is said to lie there, and there is no such file".to_owned();
            return Err(StoreError::Damaged { file, offset, why });
        };
        match self.disk.read(&file.name, u64::from(place.offset), place.len)? {
            DiskRead::Later(ticket) => Ok(ReadResult::Later(ticket)),
            DiskRead::Now(bytes) => match self.value(&bytes) {
                Ok(value) => Ok(ReadResult::Now(value)),
                Err(why) => Err(StoreError::Damaged {
                    file: file.name.clone(),
                    offset: u64::from(place.offset),
                    why: why.to_string(),
                }),
            },
        }
    }

    /// The value in the bytes of a completed read.
    pub fn decode(&self, bytes: &[u8]) -> Result<Value, StoreError> {
        self.value(bytes).map_err(StoreError::Rotten)
    }

    fn value(&self, bytes: &[u8]) -> Result<Value, Malformed> {
        let mut value = record::decode_value(bytes)?;
        value
            .resolve(self.index.dead())
            .map_err(|_| Malformed("the value's context covers dead actors that are not listed"))?;
        Ok(value)
    }

    /// The ring's list of dead actors, as far as this store was told of it.
    pub fn dead(&self) -> &Dead {
        self.index.dead()
    }

    /// Whether nothing with a dot of this actor is taken any more, although it is not listed yet.
    pub fn refuses(&self, actor: Actor) -> bool {
        self.index.refuses(actor)
    }

    /// Whether writes are refused until a restart.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// The batch that what was staged last is in. Ask after staging: a record that does not fit into
    /// what is left of a segment opens another batch.
    pub fn open_batch(&self) -> Batch {
        self.staging.open_batch()
    }

    /// The last batch known to be durable.
    pub fn synced(&self) -> Batch {
        self.synced
    }

    /// Where the log ends.
    pub fn end(&self) -> LogEnd {
        LogEnd { batch: self.appended, link: self.link }
    }

    /// The highest counter that actors of this life had reached in each slot when the log was opened,
    /// whether or not what they wrote is still there. Empty unless it is [`Options::last_life`].
    pub fn minted_by(&self, life: u64) -> BTreeMap<Slot, u64> {
        self.minted.by(life)
    }

    /// Makes sure that what is staged next, up to `bytes` in the log, shares one batch. Without it, a
    /// record that does not fit into what is left of a segment opens another batch. More than a
    /// segment holds cannot be kept together.
    pub fn keep_together(&mut self, bytes: u64) {
        self.staging.keep_together(&self.segments, bytes);
    }

    /// Puts an entry in the place of what the key had, and adds `dots` to the slot's clock, together.
    /// An entry without values and residual removes the key. Those of the dots that are `deletes` go
    /// into the delete log, until a mark covers them.
    pub fn stage_entry(
        &mut self,
        slot: Slot,
        key: &Key,
        dots: &[Dot],
        deletes: &[Dot],
        entry: Entry<Body>,
    ) {
        debug_assert!(deletes.iter().all(|dot| dots.contains(dot)), "a delete is a new dot");
        let token = Token::of(key);
        let places = self.staging.add(&self.segments, |scribe| {
            scribe.entry(slot, token, key, dots, deletes, &entry);
        });
        let mut new = places.iter().copied();
        let entry = entry.map(|_, body| match body {
            Body::New(_) => new.next().expect("every new value was given a place"),
            Body::Kept(place) => place,
        });
        self.index.put_entry(slot, token, key, dots, deletes, entry);
    }

    /// Joins a clock into the slot's.
    pub fn stage_clock(&mut self, slot: Slot, clock: &DotSet) {
        self.staging.add(&self.segments, |scribe| scribe.clock(slot, clock));
        self.index.join_clock(slot, clock);
    }

    /// Joins a set of dots into the slot's mark: the delete log need not name them any more.
    pub fn stage_mark(&mut self, slot: Slot, mark: &DotSet) {
        self.staging.add(&self.segments, |scribe| scribe.mark(slot, mark));
        self.index.raise_mark(slot, mark);
    }

    /// Synced data are missing from this log, or the copy has caught up with other owners.
    pub fn stage_recovering(&mut self, recovering: bool) {
        self.staging.add(&self.segments, |scribe| scribe.recovering(recovering));
        self.index.set_recovering(recovering);
    }

    /// Writes down durably that synced data are missing, before anything is served. Blocks.
    pub fn begin_recovering(&mut self) -> Result<(), StoreError> {
        if self.recovering() {
            return Ok(());
        }
        self.stage_recovering(true);
        self.make_durable()
    }

    /// Appends what is staged and makes it durable, before anything is served. Blocks.
    pub fn make_durable(&mut self) -> Result<(), StoreError> {
        let job = self.flush()?;
        if self.unwritten() {
            let why = self.full.clone().unwrap_or_default();
            return Err(StoreError::Io(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        if let Some(job) = job {
            job.handles.iter().try_for_each(SyncHandle::sync)?;
            self.on_synced(job.upto);
        }
        Ok(())
    }

    /// The ring's list of dead actors goes on with these. No set may cover more of them before.
    ///
    /// # Panics
    /// When one of them is listed already.
    pub fn stage_dead(&mut self, actors: &[Actor]) {
        let before = self.index.dead();
        let longer = before.and(actors.iter().copied()).expect("an actor is listed once");
        let before = before.count();
        self.staging.add(&self.segments, |scribe| scribe.dead(before, actors));
        self.index.list_dead(longer);
    }

    /// Nothing with a dot of this actor is taken any more.
    pub fn stage_refused(&mut self, actor: Actor) {
        self.staging.add(&self.segments, |scribe| scribe.refused(actor));
        self.index.refuse(actor);
    }

    /// Drops all that is known of a slot: its clock, entries, delete log and mark.
    pub fn stage_start_over(&mut self, slot: Slot) {
        self.staging.add(&self.segments, |scribe| scribe.start_over(slot));
        self.index.start_over(slot);
    }

    /// Keeps a delta for an absent owner.
    pub fn stage_hint(
        &mut self,
        owed_to: u16,
        slot: Slot,
        key: &Key,
        delta: Delta<Value>,
    ) -> HintId {
        let id = self.index.next_hint();
        let places =
            self.staging.add(&self.segments, |scribe| scribe.hint(id, owed_to, slot, key, &delta));
        let mut new = places.iter().copied();
        let delta = map_delta(delta, |_| new.next().expect("every value was given a place"));
        self.index.put_hint(id, HintHead { owed_to, slot, key: key.clone(), delta });
        id
    }

    /// Removes a hint that was delivered.
    pub fn stage_hint_done(&mut self, id: HintId) {
        self.staging.add(&self.segments, |scribe| scribe.hint_done(id));
        self.index.remove_hint(id);
    }

    /// Appends what is staged, each batch with one write: as one batch, or as several if it reaches
    /// into another segment. `None` when there is nothing, or no room on the disk: what there is no
    /// room for stays staged ([`Store::unwritten`]), and is appended once there is. On an error the
    /// store is poisoned.
    pub fn flush(&mut self) -> Result<Option<SyncJob<D::Sync>>, StoreError> {
        if let Some(why) = &self.poisoned {
            return Err(StoreError::Poisoned(why.clone()));
        }
        if !self.staging.close() {
            return Ok(None);
        }
        self.append().map_err(|error| {
            self.poison(format!("appending to the log: {error}"));
            StoreError::Io(error)
        })
    }

    fn append(&mut self) -> io::Result<Option<SyncJob<D::Sync>>> {
        let (mut written, mut upto) = (0, self.synced);
        let last = self.staging.last_closed();
        for segment in self.segments.count() + 1..=last {
            let len = self.staging.len_of(segment);
            if self.full.is_some() {
                break;
            }
            // Whoever makes segments ahead was overtaken.
            if let Err(error) = self.segments.create(&mut self.disk, len) {
                self.full = Some(error.to_string());
            }
        }
        for staged in self.staging.closed_mut() {
            let Some(file) = self.segments.get(staged.segment) else { break };
            self.link = staged.seal(self.synced, self.link);
            self.disk.write(&file.name, u64::from(staged.offset), &staged.bytes)?;
            self.segments.wrote(staged.segment, staged.batch);
            (upto, self.appended) = (staged.batch, staged.batch);
            written += 1;
        }
        if written == 0 {
            return Ok(None);
        }
        self.staging.written(written);
        let handles = self.segments.sync_handles(&mut self.disk)?;
        Ok(Some(SyncJob { upto, handles }))
    }

    /// The next segment, when it is time to have it made; once, until [`Store::on_segment`] says what
    /// came of it. Before it is needed, so that no append waits for it.
    pub fn segment_job(&mut self) -> Option<SegmentJob<D::Make>> {
        if self.making || self.poisoned.is_some() || !self.staging.wants_segment(&self.segments) {
            return None;
        }
        self.making = true;
        let number = self.segments.count() + 1;
        let (name, len) = self.segments.next(self.staging.len_of(number));
        Some(SegmentJob { number, handle: self.disk.make_handle(&name, u64::from(len)) })
    }

    /// What came of a segment to be made. After a failure the same one can be asked for again, and
    /// until it is there the store takes only what fits into those it has.
    pub fn on_segment(&mut self, made: SegmentMade) {
        self.making = false;
        if made.number <= self.segments.count() {
            // An append could not wait for it, and made it.
            return;
        }
        match made.result {
            Ok(()) => {
                self.segments.made();
                self.full = None;
            }
            Err(error) => self.full = Some(error.to_string()),
        }
    }

    /// Why there is no room for `bytes` more, if that is so. What is staged all the same waits until
    /// there is.
    pub fn full(&self, bytes: u64) -> Option<&str> {
        self.full.as_deref().filter(|_| !self.staging.fits(&self.segments, bytes))
    }

    /// How many bytes [`Store::full`] should be asked for in addition by whoever stores new values, so
    /// that there is room left for what takes little and frees much: deletes, hints delivered.
    pub fn reserve(&self) -> u64 {
        RESERVE_BYTES.min(u64::from(self.segment_bytes) / 8)
    }

    /// Whether anything is staged that is not appended.
    pub fn unwritten(&self) -> bool {
        !self.staging.is_empty()
    }

    /// The syncer says that all batches up to this one are durable.
    pub fn on_synced(&mut self, upto: Batch) {
        assert!(upto < self.staging.open_batch(), "only what was appended can be synced");
        self.synced = self.synced.max(upto);
        self.segments.synced(self.synced);
    }

    /// An append or a sync failed: refuse writes from now on. The first reason stays.
    pub fn poison(&mut self, why: String) {
        self.poisoned.get_or_insert(why);
    }

    /// The disk, for whoever drives it.
    pub fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }
}
