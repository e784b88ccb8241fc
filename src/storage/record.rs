//! One change to the store, in bytes.
//!
//! Every record begins alike; integers are little-endian, `varint`, `run` (varint length, bytes) and
//! dot sets are those of [`crate::fields`] and [`DotSet::encode`]:
//!
//! | offset | form | what |
//! |---|---|---|
//! | 0 | u8 | kind, see below |
//! | 1 | u32 | how many bytes follow |
//! | 5 | | the fields of its kind |
//!
//! | kind | fields, in order |
//! |---|---|
//! | 1 entry | slot u16 · token u64 · key run · extras varint · dots · [deletes] · residual dot set · values |
//! | 2 gone | slot u16 · token u64 · key run · extras varint · dots · [deletes] |
//! | 3 clock | slot u16 · dot set, joined into the slot's clock |
//! | 4 hint | id varint · owed to u16 · slot u16 · key run · extras varint · deleted (u8 0, or 1 and a dot) · kept dots · context dot set · values |
//! | 5 hint done | id varint |
//! | 6 mark | slot u16 · dot set, joined into the slot's mark; deletes in it leave the delete log |
//! | 7 recovering | u8 1: synced data are missing, the copy is catching up; u8 0: it has |
//! | 8 dead | listed before varint · actors: the ring's list of dead actors goes on with these |
//! | 9 refused | actor u64: deltas with dots of it are not taken any more |
//! | 10 start over | slot u16: its clock, entries, delete log and mark are gone |
//! | 16 checkpoint, 17 footer, 18 policy | set aside for all clocks and the next hint id, for the index part of a sealed segment, and for bucket policies; no release writes them yet |
//!
//! A *dot* is its actor u64 and counter varint. *Dots* are a varint count and that many dots. *Actors* are a
//! varint count and that many u64. No set covers more dead actors than records before it have listed.
//! *Values* are a varint count, then for each its dot and where its bytes are:
//!
//! | form | what |
//! |---|---|
//! | u8 0, u32 length, `length` bytes | here: crc32c (u32) of the rest, then [`Value::encode`]; a [`Place`] names all of it |
//! | u8 1, u32 segment, u32 offset, u32 length | there: stored before |
//!
//! *extras* are bits that say which further fields follow, in the order of the bits (expiry will be
//! one). Bit 0: *deletes*, those of the record's dots that are deletes, as dots.
//!
//! Invariant: what was not written by [`Scribe`] does not decode. A kind or an extra that is not
//! known is refused by name, never skipped: skipping it would lose what a later release wrote.
//! Not here: which records share a batch, and what they do to the index.

use std::fmt;

use super::{Body, HintId, Place};
use crate::causality::{Actor, Dead, Delta, Dot, DotSet, Entry, Resolve, Unresolved, Value};
use crate::fields::{Malformed, Reader, WriteFields};
use crate::key::Key;
use crate::ring::{Slot, Token};

pub(super) const ENTRY: u8 = 1;
pub(super) const GONE: u8 = 2;
pub(super) const CLOCK: u8 = 3;
pub(super) const HINT: u8 = 4;
const HINT_DONE: u8 = 5;
pub(super) const MARK: u8 = 6;
pub(super) const RECOVERING: u8 = 7;
const DEAD: u8 = 8;
const REFUSED: u8 = 9;
const START_OVER: u8 = 10;

const HERE: u8 = 0;
const THERE: u8 = 1;
/// Kind and length.
const HEAD_BYTES: usize = 5;
/// The checksum before a value's bytes.
const VALUE_CRC_BYTES: usize = 4;
/// The extra field with the dots that are deletes.
const DELETES: u64 = 1;

/// Where a value's bytes are, as a record says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// In this record.
    Here(Place),
    /// In an earlier one.
    There(Place),
}

impl Stored {
    pub(super) fn place(self) -> Place {
        match self {
            Stored::Here(place) | Stored::There(place) => place,
        }
    }
}

/// A record, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// The key has this entry now, and the clock these dots. No values and no residual: gone.
    /// Of the dots, `deletes` go into the delete log.
    Entry {
        slot: Slot,
        token: Token,
        key: Key,
        dots: Vec<Dot>,
        deletes: Vec<Dot>,
        entry: Entry<Stored>,
    },
    /// The slot's clock covers this too.
    Clock { slot: Slot, clock: DotSet },
    /// A delta is kept for an absent owner.
    Hint { id: HintId, owed_to: u16, slot: Slot, key: Key, delta: Delta<Stored> },
    /// It was delivered.
    HintDone { id: HintId },
    /// The slot's delete log need not name these any more.
    Mark { slot: Slot, mark: DotSet },
    /// Whether the copy is catching up after synced data went missing.
    Recovering { recovering: bool },
    /// The ring's list of dead actors, of which there were `before`, goes on with these.
    Dead { before: u32, actors: Vec<Actor> },
    /// Nothing with a dot of this actor is taken any more.
    Refused { actor: Actor },
    /// The slot begins anew, with nothing.
    StartOver { slot: Slot },
}

impl Resolve for Record {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        match self {
            Record::Entry { entry, .. } => entry.resolve(dead),
            Record::Clock { clock, .. } => clock.resolve(dead),
            Record::Hint { delta, .. } => delta.resolve(dead),
            Record::Mark { mark, .. } => mark.resolve(dead),
            Record::HintDone { .. }
            | Record::Recovering { .. }
            | Record::Dead { .. }
            | Record::Refused { .. }
            | Record::StartOver { .. } => Ok(()),
        }
    }
}

impl Resolve for Stored {
    /// The value's own context is resolved when it is read.
    fn resolve(&mut self, _: &Dead) -> Result<(), Unresolved> {
        Ok(())
    }
}

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadRecord {
    /// They are not what the format says.
    Malformed(Malformed),
    /// A later release wrote them.
    Unknown(String),
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRecord::Malformed(why) => write!(f, "{why}"),
            BadRecord::Unknown(what) => write!(f, "{what}, which this release does not know"),
        }
    }
}

impl From<Malformed> for BadRecord {
    fn from(malformed: Malformed) -> Self {
        BadRecord::Malformed(malformed)
    }
}

/// Where a value's stored bytes lie, counted from the first byte of their record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// Writes one record at the end of a batch's bytes, and notes where its new values went.
pub(super) struct Scribe<'a> {
    out: &'a mut Vec<u8>,
    spots: &'a mut Vec<Spot>,
    start: usize,
}

impl<'a> Scribe<'a> {
    /// Writes at the end of `out`. `spots` is emptied, then gets one spot for each new value, in order.
    pub(super) fn new(out: &'a mut Vec<u8>, spots: &'a mut Vec<Spot>) -> Self {
        spots.clear();
        let start = out.len();
        Scribe { out, spots, start }
    }

    pub(super) fn entry(
        mut self,
        slot: Slot,
        token: Token,
        key: &Key,
        dots: &[Dot],
        deletes: &[Dot],
        entry: &Entry<Body>,
    ) {
        self.begin(if entry.is_empty() { GONE } else { ENTRY });
        self.out.put_u16_le(slot.number());
        self.out.put_u64_le(token.0);
        self.out.put_run(key.as_bytes());
        self.out.put_varint(if deletes.is_empty() { 0 } else { DELETES });
        put_dots(self.out, dots);
        if !deletes.is_empty() {
            put_dots(self.out, deletes);
        }
        if !entry.is_empty() {
            entry.residual().encode(self.out);
            self.out.put_varint(entry.values().len() as u64);
            for (dot, body) in entry.values() {
                put_dot(self.out, *dot);
                match body {
                    Body::New(value) => self.value(value),
                    Body::Kept(place) => put_place(self.out, *place),
                }
            }
        }
        self.end();
    }

    pub(super) fn clock(mut self, slot: Slot, clock: &DotSet) {
        self.begin(CLOCK);
        self.out.put_u16_le(slot.number());
        clock.encode(self.out);
        self.end();
    }

    pub(super) fn hint(
        mut self,
        id: HintId,
        owed_to: u16,
        slot: Slot,
        key: &Key,
        delta: &Delta<Value>,
    ) {
        self.begin(HINT);
        self.out.put_varint(id.0);
        self.out.put_u16_le(owed_to);
        self.out.put_u16_le(slot.number());
        self.out.put_run(key.as_bytes());
        self.out.put_varint(0);
        self.out.put_byte(u8::from(delta.deleted.is_some()));
        delta.deleted.iter().for_each(|dot| put_dot(self.out, *dot));
        put_dots(self.out, &delta.kept);
        delta.context.encode(self.out);
        self.out.put_varint(delta.values.len() as u64);
        for (dot, value) in &delta.values {
            put_dot(self.out, *dot);
            self.value(value);
        }
        self.end();
    }

    pub(super) fn hint_done(mut self, id: HintId) {
        self.begin(HINT_DONE);
        self.out.put_varint(id.0);
        self.end();
    }

    pub(super) fn mark(mut self, slot: Slot, mark: &DotSet) {
        self.begin(MARK);
        self.out.put_u16_le(slot.number());
        mark.encode(self.out);
        self.end();
    }

    pub(super) fn recovering(mut self, recovering: bool) {
        self.begin(RECOVERING);
        self.out.put_byte(u8::from(recovering));
        self.end();
    }

    pub(super) fn dead(mut self, before: u32, actors: &[Actor]) {
        self.begin(DEAD);
        self.out.put_varint(before.into());
        self.out.put_varint(actors.len() as u64);
        actors.iter().for_each(|actor| self.out.put_u64_le(actor.bits()));
        self.end();
    }

    pub(super) fn refused(mut self, actor: Actor) {
        self.begin(REFUSED);
        self.out.put_u64_le(actor.bits());
        self.end();
    }

    pub(super) fn start_over(mut self, slot: Slot) {
        self.begin(START_OVER);
        self.out.put_u16_le(slot.number());
        self.end();
    }

    fn begin(&mut self, kind: u8) {
        self.out.put_byte(kind);
        self.out.put_u32_le(0);
    }

    fn end(self) {
        let len = (self.out.len() - self.start - HEAD_BYTES) as u32;
        patch_u32(self.out, self.start + 1, len);
    }

    fn value(&mut self, value: &Value) {
        self.out.put_byte(HERE);
        let length_at = self.out.len();
        self.out.put_u32_le(0);
        let at = self.out.len();
        self.out.put_u32_le(0);
        value.encode(self.out);
        let crc = crc32c::crc32c(&self.out[at + VALUE_CRC_BYTES..]);
        let len = (self.out.len() - at) as u32;
        patch_u32(self.out, length_at, len);
        patch_u32(self.out, at, crc);
        self.spots.push(Spot { offset: (at - self.start) as u32, len });
    }
}

fn patch_u32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_dot(out: &mut Vec<u8>, dot: Dot) {
    out.put_u64_le(dot.actor.bits());
    out.put_varint(dot.counter);
}

fn put_dots(out: &mut Vec<u8>, dots: &[Dot]) {
    out.put_varint(dots.len() as u64);
    dots.iter().for_each(|dot| put_dot(out, *dot));
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    out.put_byte(THERE);
    out.put_u32_le(place.segment);
    out.put_u32_le(place.offset);
    out.put_u32_le(place.len);
}

/// The value in the bytes that a [`Place`] names.
pub(super) fn decode_value(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader::new(bytes);
    let crc = reader.u32_le()?;
    if crc32c::crc32c(reader.rest()) != crc {
        return Err(Malformed("the value does not match its checksum"));
    }
    let value = Value::decode(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Reads the records of one batch's body, in order. After an error it ends.
pub(super) struct Records<'a> {
    reader: Reader<'a>,
    segment: u32,
    /// Offset in the segment of the body's end: positions are counted back from it.
    end: u32,
    failed: bool,
}

impl<'a> Records<'a> {
    /// The records of `body`, which begins at `offset` of segment `segment`.
    pub(super) fn new(body: &'a [u8], segment: u32, offset: u32) -> Self {
        let end = offset + body.len() as u32;
        Records { reader: Reader::new(body), segment, end, failed: false }
    }

    fn record(&mut self) -> Result<Record, BadRecord> {
        let kind = self.reader.byte()?;
        let len = self.reader.u32_le()? as usize;
        let mut fields = Fields {
            segment: self.segment,
            reader: Reader::new(self.reader.take(len)?),
            end: self.end - self.reader.rest().len() as u32,
        };
        let record = match kind {
            ENTRY | GONE => fields.entry(kind)?,
            CLOCK => {
                Record::Clock { slot: fields.slot()?, clock: DotSet::decode(&mut fields.reader)? }
            }
            HINT => fields.hint()?,
            HINT_DONE => Record::HintDone { id: HintId(fields.reader.varint()?) },
            MARK => {
                Record::Mark { slot: fields.slot()?, mark: DotSet::decode(&mut fields.reader)? }
            }
            RECOVERING => match fields.reader.byte()? {
                0 => Record::Recovering { recovering: false },
                1 => Record::Recovering { recovering: true },
                _ => return Err(Malformed("a copy is catching up or it is not").into()),
            },
            DEAD => fields.dead()?,
            REFUSED => Record::Refused { actor: Actor::from_bits(fields.reader.u64_le()?) },
            START_OVER => Record::StartOver { slot: fields.slot()? },
            other => return Err(BadRecord::Unknown(format!("a record of kind {other}"))),
        };
        fields.reader.finish()?;
        Ok(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.rest().is_empty() {
            return None;
        }
        let record = self.record();
        self.failed = record.is_err();
        Some(record)
    }
}

/// The fields of one record.
struct Fields<'a> {
    reader: Reader<'a>,
    segment: u32,
    end: u32,
}

impl Fields<'_> {
    fn entry(&mut self, kind: u8) -> Result<Record, BadRecord> {
        let slot = self.slot()?;
        let token = Token(self.reader.u64_le()?);
        let key = self.key()?;
        let extras = self.extras(DELETES)?;
        let dots = self.dots()?;
        let deletes = if extras & DELETES != 0 { self.dots()? } else { Vec::new() };
        if deletes.iter().any(|dot| !dots.contains(dot)) {
            return Err(Malformed("a delete is none of the record's dots").into());
        }
        let entry = if kind == ENTRY {
            let residual = DotSet::decode(&mut self.reader)?;
            Entry::from_parts(self.values()?, residual)
        } else {
            Entry::default()
        };
        Ok(Record::Entry { slot, token, key, dots, deletes, entry })
    }

    fn hint(&mut self) -> Result<Record, BadRecord> {
        let id = HintId(self.reader.varint()?);
        let owed_to = self.reader.u16_le()?;
        let slot = self.slot()?;
        let key = self.key()?;
        self.extras(0)?;
        let deleted = match self.reader.byte()? {
            0 => None,
            1 => Some(self.dot()?),
            _ => return Err(Malformed("a delete is there or it is not").into()),
        };
        let kept = self.dots()?;
        let context = DotSet::decode(&mut self.reader)?;
        let delta = Delta { values: self.values()?, kept, deleted, context };
        Ok(Record::Hint { id, owed_to, slot, key, delta })
    }

    fn dead(&mut self) -> Result<Record, Malformed> {
        let before = u32::try_from(self.reader.varint()?)
            .map_err(|_| Malformed("more dead actors than there can be"))?;
        let count = self.reader.count(8)?;
        let actors = (0..count).map(|_| Ok(Actor::from_bits(self.reader.u64_le()?)));
        Ok(Record::Dead { before, actors: actors.collect::<Result<_, Malformed>>()? })
    }

    fn slot(&mut self) -> Result<Slot, Malformed> {
        Slot::new(self.reader.u16_le()?).ok_or(Malformed("a slot that there is not"))
    }

    fn key(&mut self) -> Result<Key, Malformed> {
        Key::from_bytes(self.reader.run()?.to_vec().into())
            .map_err(|_| Malformed("a key that is none"))
    }

    fn extras(&mut self, known: u64) -> Result<u64, BadRecord> {
        match self.reader.varint()? {
            bits if bits & !known == 0 => Ok(bits),
            bits => Err(BadRecord::Unknown(format!("a record with extra fields {bits:#x}"))),
        }
    }

    fn dot(&mut self) -> Result<Dot, Malformed> {
        let actor = Actor::from_bits(self.reader.u64_le()?);
        match self.reader.varint()? {
            0 => Err(Malformed("a dot without a counter")),
            counter => Ok(Dot::new(actor, counter)),
        }
    }

    fn dots(&mut self) -> Result<Vec<Dot>, Malformed> {
        let count = self.reader.count(9)?;
        (0..count).map(|_| self.dot()).collect()
    }

    fn values(&mut self) -> Result<Vec<(Dot, Stored)>, BadRecord> {
        let count = self.reader.count(14)?;
        (0..count).map(|_| Ok((self.dot()?, self.stored()?))).collect()
    }

    fn stored(&mut self) -> Result<Stored, BadRecord> {
        match self.reader.byte()? {
            HERE => {
                let len = self.reader.u32_le()?;
                let offset = self.offset();
                self.reader.take(len as usize)?;
                Ok(Stored::Here(Place { segment: self.segment, offset, len }))
            }
            THERE => {
                let segment = self.reader.u32_le()?;
                let place =
                    Place { segment, offset: self.reader.u32_le()?, len: self.reader.u32_le()? };
                let earlier = segment < self.segment
                    || segment == self.segment
                        && place.offset.checked_add(place.len).is_some_and(|end| end < self.end);
                if segment == 0 || !earlier {
                    return Err(Malformed("a value is said to lie where nothing was yet").into());
                }
                Ok(Stored::There(place))
            }
            other => Err(BadRecord::Unknown(format!("a value stored in way {other}"))),
        }
    }

    fn offset(&self) -> u32 {
        self.end - self.reader.rest().len() as u32
    }
}

/// A delta with its values turned into something else.
pub(super) fn map_delta<V, W>(delta: Delta<V>, mut turn: impl FnMut(V) -> W) -> Delta<W> {
    let Delta { values, kept, deleted, context } = delta;
    let values = values.into_iter().map(|(dot, value)| (dot, turn(value))).collect();
    Delta { values, kept, deleted, context }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records(body: &[u8]) -> Vec<Result<Record, BadRecord>> {
        Records::new(body, 2, 100).collect()
    }

    fn sample() -> Vec<u8> {
        let (mut out, mut spots) = (Vec::new(), Vec::new());
        let key = Key::new("cart", b"ann").unwrap();
        let dot = Dot::new(Actor::new(1, 2), 300);
        let slot = Slot::new(77).unwrap();
        let kept = Place { segment: 1, offset: 9, len: 70 };
        let values = vec![(dot, Body::New(Value::default())), (dot, Body::Kept(kept))];
        let entry = Entry::from_parts(values, DotSet::of(dot));
        let scribe = Scribe::new(&mut out, &mut spots);
        scribe.entry(slot, Token::of(&key), &key, &[dot], &[dot], &entry);
        let delta = Delta::put(dot, Value::default(), DotSet::of(dot));
        Scribe::new(&mut out, &mut spots).hint(HintId(900), 3, slot, &key, &delta);
        Scribe::new(&mut out, &mut spots).clock(slot, &DotSet::of(dot));
        Scribe::new(&mut out, &mut spots).hint_done(HintId(1));
        Scribe::new(&mut out, &mut spots).mark(slot, &DotSet::of(dot));
        Scribe::new(&mut out, &mut spots).recovering(true);
        Scribe::new(&mut out, &mut spots).dead(1, &[dot.actor, Actor::new(4, 4)]);
        Scribe::new(&mut out, &mut spots).refused(dot.actor);
        Scribe::new(&mut out, &mut spots).start_over(slot);
        out
    }

    #[test]
    fn a_value_lies_where_its_place_says() {
        let body = sample();
        let records = records(&body);
        assert_eq!(records.len(), 9);
        let Ok(Record::Entry { entry, .. }) = &records[0] else { panic!("{:?}", records[0]) };
        let [(_, Stored::Here(place)), (_, Stored::There(_))] = entry.values() else {
            panic!("{entry:?}")
        };
        let at = place.offset as usize - 100;
        let value = decode_value(&body[at..at + place.len as usize]).unwrap();
        assert_eq!((place.segment, value), (2, Value::default()));
    }

    #[test]
    fn a_cut_record_is_none() {
        let body = sample();
        for len in 0..body.len() {
            let cut = records(&body[..len]);
            let whole = cut.iter().filter(|record| record.is_ok()).count();
            assert!(whole < 9 && cut.len() <= whole + 1);
        }
    }

    #[test]
    fn a_place_that_nothing_was_written_to_yet_is_refused() {
        for (segment, offset) in [(0, 1), (3, 1), (2, 5000), (2, u32::MAX)] {
            let (mut out, mut spots) = (Vec::new(), Vec::new());
            let key = Key::new("b", b"k").unwrap();
            let dot = Dot::new(Actor::new(1, 2), 3);
            let values = vec![(dot, Body::Kept(Place { segment, offset, len: 70 }))];
            let entry = Entry::from_parts(values, DotSet::EMPTY);
            let scribe = Scribe::new(&mut out, &mut spots);
            scribe.entry(Slot::new(1).unwrap(), Token::of(&key), &key, &[], &[], &entry);
            assert!(records(&out)[0].is_err(), "{segment}:{offset}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fall(body in prop::collection::vec(any::<u8>(), 0..200)) {
            records(&body);
        }

        #[test]
        fn nor_do_records_with_a_byte_changed(at in 0..400usize, byte: u8) {
            let mut body = sample();
            let at = at % body.len();
            body[at] = byte;
            records(&body);
        }
    }
}
