//! What can be saved of a damaged log: every record that is still whole, in a new log.
//!
//! A batch that is lost may have held anything: newer entries, deletes, clocks. So what is left of a slot
//! is true, and not all. Its clock must go, or it would claim to have replaced what it lost; it becomes
//! the dots of the values left. But what each key had seen stays true too: the clock as of the key's own
//! last record joins its residual context, and so does what the writers of its values had seen, so that nothing replaced
//! comes back. As of *its own record*:
//! a later clock may cover a newer value of the same key, of which the record is lost. A key of which
//! some value cannot be read is dropped whole, for the same reason: what it had seen covers the value.
//!
//! The delete log and the mark go with the clock. Keys that the log named stay, without a value and with
//! all that they had seen: the shard tells of it once more, under a dot of its own, or peers could not be told
//! once clocks are equal (`shard::recovery`). The copy catches up with other owners before it counts for reads.
//!
//! Invariant: the damaged log is only read. Not here: finding that a log is damaged (`recover`), and
//! putting the new one in its place ([`RealDisk`](super::RealDisk)).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use super::batch::{self, ALIGNMENT, NoBatch};
use super::record::{self, BadRecord, Record, Records, Stored, map_delta};
use super::segment::{file_name, number};
use super::{Batch, Body, Disk, HintHead, HintId, Options, Place, Store, StoreError};
use crate::causality::{Actor, Dead, Dot, DotSet, Entry, Resolve, Value};
use crate::key::Key;
use crate::ring::{Slot, Token};
use crate::rules::{Rule, holds};

/// The steps in which a segment is read: one that cannot be is left out.
const STEP_BYTES: u32 = 64 << 10;
/// Entries written in one batch.
const ENTRIES_PER_BATCH: usize = 1024;

/// What was saved, and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Whole batches found.
    pub batches: u64,
    /// Places where at least one batch is missing.
    pub gaps: u64,
    /// Keys saved that have a value.
    pub keys: u64,
    /// Keys left out, because a value of theirs cannot be read.
    pub keys_lost: u64,
    /// Hints saved.
    pub hints: u64,
    /// Hints left out, because a value of theirs cannot be read.
    pub hints_lost: u64,
}

impl fmt::Display for Salvaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Salvaged { batches, gaps, keys, keys_lost, hints, hints_lost } = self;
        write!(
            f,
            "{batches} whole batches with {gaps} gaps between them: {keys} keys and {hints} hints are \
             saved; {keys_lost} keys and {hints_lost} hints have values that cannot be read, and what \
             only the gaps held is not known; other owners may have all of it"
        )
    }
}

/// A key as its last whole record says.
struct Piece {
    entry: Entry<Place>,
    /// The slot's clock at a moment when it was so. `None` while nothing was lost since.
    then: Option<Rc<DotSet>>,
}

type At = (Slot, Token, Key);

/// What was read so far.
#[derive(Default)]
struct Pieces {
    last: Batch,
    link: u32,
    clocks: BTreeMap<Slot, DotSet>,
    keys: BTreeMap<At, Piece>,
    /// Keys with a record since the last gap.
    fresh: BTreeSet<At>,
    /// Whose deletes the delete log named.
    deletes: BTreeMap<(Slot, Dot), At>,
    dead: Dead,
    refused: BTreeSet<Actor>,
    hints: BTreeMap<HintId, HintHead>,
    salvaged: Salvaged,
}

/// Reads what is whole of a log, and writes it as a new one into an empty directory, durably.
pub fn salvage<D: Disk>(from: &mut D, into: D, options: Options) -> Result<Salvaged, StoreError> {
    let mut pieces = Pieces::default();
    let mut segments: Vec<u32> = from.list()?.iter().filter_map(|name| number(name)).collect();
    segments.sort_unstable();
    for segment in segments {
        let bytes = read_what_can_be(from, segment)?;
        pieces.segment(segment, &bytes)?;
    }
    pieces.settle();
    write(from, into, options, pieces)
}

/// A segment's bytes, with zeros where the disk gives none.
fn read_what_can_be<D: Disk>(disk: &mut D, segment: u32) -> Result<Vec<u8>, StoreError> {
    let name = file_name(segment);
    let len = disk.len(&name)?;
    let mut bytes = Vec::with_capacity(len as usize);
    while (bytes.len() as u64) < len {
        let (at, left) = (bytes.len() as u64, len - bytes.len() as u64);
        let step = left.min(u64::from(STEP_BYTES)) as u32;
        match disk.read_now(&name, at, step) {
            Ok(read) => bytes.extend(read),
            Err(_) => bytes.resize(bytes.len() + step as usize, 0),
        }
    }
    Ok(bytes)
}

impl Pieces {
    fn segment(&mut self, segment: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let mut offset = 0;
        while offset < bytes.len() {
            match batch::read(&bytes[offset..]) {
                Ok((header, body)) => {
                    // One with an earlier number is what a crash left of an abandoned tail.
                    if header.segment == segment && header.batch > self.last {
                        let first = (offset + batch::HEADER_BYTES) as u32;
                        let next = header.batch.0 == self.last.0 + 1;
                        if !next || header.previous != self.link {
                            self.gap();
                        }
                        self.batch(body, segment, first)?;
                        (self.last, self.link) = (header.batch, header.link);
                    }
                    offset += header.stride();
                }
                // Nothing inside a batch is looked at: a client's value may look like anything.
                Err(NoBatch::Body(header) | NoBatch::Stray(header)) => offset += header.stride(),
                Err(NoBatch::Format(format)) => {
                    let what = format!("a batch of format {format}");
                    return Err(foreign(segment, offset, what));
                }
                Err(NoBatch::Nothing | NoBatch::Header) => offset += ALIGNMENT,
            }
        }
        Ok(())
    }

    fn batch(&mut self, body: &[u8], segment: u32, first: u32) -> Result<(), StoreError> {
        let records: Result<Vec<Record>, BadRecord> = Records::new(body, segment, first).collect();
        match records {
            Ok(records) => {
                for record in records {
                    if !self.record(record) {
                        self.gap();
                        return Ok(());
                    }
                }
            }
            Err(BadRecord::Unknown(what)) => return Err(foreign(segment, first as usize, what)),
            Err(BadRecord::Malformed(_)) => {
                self.gap();
                return Ok(());
            }
        }
        self.salvaged.batches += 1;
        Ok(())
    }

    /// Takes a record in. `false` when it counts dead actors of which a gap held the list.
    fn record(&mut self, mut record: Record) -> bool {
        if record.resolve(&self.dead).is_err() {
            return false;
        }
        match record {
            Record::Entry { slot, token, key, dots, deletes, entry } => {
                let clock = self.clocks.entry(slot).or_default();
                dots.iter().for_each(|dot| clock.insert(*dot));
                let at = (slot, token, key);
                let logged = deletes.into_iter().map(|dot| ((slot, dot), at.clone()));
                self.deletes.extend(logged);
                self.fresh.insert(at.clone());
                let entry = entry.map(|_, stored| stored.place());
                self.keys.insert(at, Piece { entry, then: None });
            }
            Record::Clock { slot, clock } => self.clocks.entry(slot).or_default().union(&clock),
            Record::Hint { id, owed_to, slot, key, delta } => {
                let delta = map_delta(delta, Stored::place);
                self.hints.insert(id, HintHead { owed_to, slot, key, delta });
            }
            Record::HintDone { id } => {
                self.hints.remove(&id);
            }
            Record::Mark { slot, mark } => {
                self.deletes.retain(|(other, dot), _| *other != slot || !mark.contains(*dot));
            }
            Record::Dead { before, actors } => match self.dead.and(actors) {
                Ok(longer) if before == self.dead.count() => self.dead = longer,
                Ok(_) | Err(_) => return false,
            },
            Record::Refused { actor } => {
                self.refused.insert(actor);
            }
            Record::StartOver { slot } => self.start_over(slot),
            Record::Recovering { .. } => {}
        }
        true
    }

    fn start_over(&mut self, slot: Slot) {
        self.clocks.remove(&slot);
        self.keys.retain(|(other, ..), _| *other != slot);
        self.fresh.retain(|(other, ..)| *other != slot);
        self.deletes.retain(|(other, _), _| *other != slot);
    }

    fn gap(&mut self) {
        self.salvaged.gaps += 1;
        self.settle();
    }

    /// What was recorded since the last gap was as it is now, with the clocks that are here now.
    fn settle(&mut self) {
        let mut clocks: BTreeMap<Slot, Rc<DotSet>> = BTreeMap::new();
        for at in std::mem::take(&mut self.fresh) {
            let known = &self.clocks;
            let clock = clocks
                .entry(at.0)
                .or_insert_with(|| Rc::new(known.get(&at.0).cloned().unwrap_or_default()));
            let piece = self.keys.get_mut(&at).expect("what is fresh is there");
            piece.then = Some(Rc::clone(clock));
        }
    }
}

fn write<D: Disk>(
    from: &mut D,
    into: D,
    options: Options,
    pieces: Pieces,
) -> Result<Salvaged, StoreError> {
    let Pieces { clocks, keys, deletes, dead, refused, hints, mut salvaged, .. } = pieces;
    let deleted: BTreeSet<At> = deletes.into_values().collect();
    let (mut store, opened) = Store::open(into, options)?;
    assert_eq!(opened.batches, 0, "what is saved goes into an empty directory");
    store.stage_recovering(true);
    if !dead.is_empty() {
        store.stage_dead(dead.actors());
    }
    for actor in refused.into_iter().filter(|actor| !dead.contains(*actor)) {
        store.stage_refused(actor);
    }
    for (count, (at, piece)) in keys.into_iter().enumerate() {
        if piece.entry.is_empty() && !deleted.contains(&at) {
            continue;
        }
        let (slot, _, key) = at;
        let Some(values) = values(from, &dead, piece.entry.values()) else {
            salvaged.keys_lost += 1;
            continue;
        };
        salvaged.keys += u64::from(!values.is_empty());
        let mut residual = piece.entry.residual().clone();
        if holds(Rule::SalvageSeen) {
            residual.union(piece.then.as_deref().unwrap_or(&DotSet::EMPTY));
            // The records that told the clock may be lost, too. A value replaced all that its writer had seen.
            values.iter().for_each(|(_, value)| residual.union(&value.meta.context));
        }
        let dots: Vec<_> = values.iter().map(|(dot, _)| *dot).collect();
        let values = values.into_iter().map(|(dot, value)| (dot, Body::New(value))).collect();
        store.stage_entry(slot, &key, &dots, &[], Entry::from_parts(values, residual));
        if count % ENTRIES_PER_BATCH == 0 {
            store.make_durable()?;
        }
    }
    if !holds(Rule::DamagedClock) {
        clocks.iter().for_each(|(slot, clock)| store.stage_clock(*slot, clock));
    }
    for hint in hints.into_values() {
        let HintHead { owed_to, slot, key, delta } = hint;
        let Some(values) = values(from, &dead, &delta.values) else {
            salvaged.hints_lost += 1;
            continue;
        };
        let mut values = values.into_iter().map(|(_, value)| value);
        let delta = map_delta(delta, |_| values.next().expect("as many as there were places"));
        store.stage_hint(owed_to, slot, &key, delta);
        salvaged.hints += 1;
    }
    store.make_durable()?;
    Ok(salvaged)
}

/// The values at these places, if all of them can be read, also by who knows no more of dead actors.
fn values<D: Disk>(
    disk: &mut D,
    dead: &Dead,
    places: &[(Dot, Place)],
) -> Option<Vec<(Dot, Value)>> {
    let read = |(dot, place): &(_, Place)| {
        let bytes = disk.read_now(&file_name(place.segment), place.offset.into(), place.len);
        let mut value = record::decode_value(&bytes.ok()?).ok()?;
        value.resolve(dead).ok()?;
        Some((*dot, value))
    };
    places.iter().map(read).collect()
}

fn foreign(segment: u32, offset: usize, what: String) -> StoreError {
    StoreError::Foreign { file: file_name(segment), offset: offset as u64, what }
}
