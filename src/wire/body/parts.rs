//! What several messages have in common: keys, dots, values, deltas, entries.
//!
//! | part | form |
//! |---|---|
//! | flag | u8: 0 or 1 |
//! | key | run: [`Key::as_bytes`]; an empty run where there may be none |
//! | dot | actor u64, counter u64 |
//! | dots | count, then dots |
//! | set | [`DotSet::encode`] |
//! | value | [`Value::encode`] |
//! | value or none | flag, then the value where it is 1 |
//! | glimpse | value with its first bytes only, then how many it has u64 |
//! | values | count, then per value: dot; value, value or none, or glimpse |
//! | delta | context set, kept dots, flag and dot of the delete, values |
//! | entry | residual set, values by ascending dot |

use bytes::Bytes;

use super::Fields;
use crate::causality::{Actor, Delta, Dot, DotSet, Entry, Value};
use crate::fields::{Malformed, WriteFields};
use crate::key::Key;
use crate::wire::{GLIMPSE_BYTES_MAX, Glimpse, Level};

/// The least bytes that a dot takes.
const DOT_BYTES: usize = 16;

/// What stands behind a dot: a value, some of it, or word that the receiver has it.
pub(super) trait Held: Sized {
    /// The least bytes that it takes.
    const LEAST: usize;

    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads what [`Held::put`] appended.
    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed>;
}

impl Held for Value {
    /// Format, operation, stamp, an empty writer, an empty context, no bytes.
    const LEAST: usize = 1 + 16 + 8 + 1 + 2 + 1;

    fn put(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Value::decode_shared(&mut fields.reader, fields.whole)
    }
}

impl Held for Option<Value> {
    const LEAST: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        out.put_flag(self.is_some());
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        if fields.flag()? { Held::take(fields).map(Some) } else { Ok(None) }
    }
}

impl Held for Glimpse {
    const LEAST: usize = Value::LEAST + 8;

    fn put(&self, out: &mut Vec<u8>) {
        Value { meta: self.meta.clone(), bytes: self.head.clone() }.encode(out);
        out.put_u64_le(self.len);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let Value { meta, bytes: head } = Held::take(fields)?;
        let len = fields.reader.u64_le()?;
        if head.len() > GLIMPSE_BYTES_MAX || head.len() as u64 > len {
            return Err(Malformed("a glimpse that shows too much"));
        }
        Ok(Glimpse { meta, head, len })
    }
}

/// Appends parts. The counterpart of the methods of [`Fields`].
pub(super) trait WriteParts {
    fn put_flag(&mut self, flag: bool);
    fn put_level(&mut self, level: Level);
    fn put_key(&mut self, key: &Key);
    fn put_key_or_none(&mut self, key: Option<&Key>);
    fn put_dot(&mut self, dot: Dot);
    fn put_dots(&mut self, dots: &[Dot]);
    fn put_values<V: Held>(&mut self, values: &[(Dot, V)]);
    fn put_delta<V: Held>(&mut self, delta: &Delta<V>);
    fn put_entry<V: Held>(&mut self, entry: &Entry<V>);
}

impl WriteParts for Vec<u8> {
    fn put_flag(&mut self, flag: bool) {
        self.put_byte(u8::from(flag));
    }

    fn put_level(&mut self, level: Level) {
        let (form, count) = match level {
            Level::One => (0, 0),
            Level::Quorum => (1, 0),
            Level::All => (2, 0),
            Level::Count(count) => (3, count),
        };
        self.put_byte(form);
        self.put_byte(count);
    }

    fn put_key(&mut self, key: &Key) {
        self.put_run(key.as_bytes());
    }

    fn put_key_or_none(&mut self, key: Option<&Key>) {
        self.put_run(key.map_or(&[], Key::as_bytes));
    }

    fn put_dot(&mut self, dot: Dot) {
        self.put_u64_le(dot.actor.bits());
        self.put_u64_le(dot.counter);
    }

    fn put_dots(&mut self, dots: &[Dot]) {
        self.put_varint(dots.len() as u64);
        dots.iter().for_each(|dot| self.put_dot(*dot));
    }

    fn put_values<V: Held>(&mut self, values: &[(Dot, V)]) {
        self.put_varint(values.len() as u64);
        for (dot, value) in values {
            self.put_dot(*dot);
            value.put(self);
        }
    }

    fn put_delta<V: Held>(&mut self, delta: &Delta<V>) {
        delta.context.encode(self);
        self.put_dots(&delta.kept);
        self.put_flag(delta.deleted.is_some());
        if let Some(dot) = delta.deleted {
            self.put_dot(dot);
        }
        self.put_values(&delta.values);
    }

    fn put_entry<V: Held>(&mut self, entry: &Entry<V>) {
        entry.residual().encode(self);
        self.put_values(entry.values());
    }
}

impl Fields<'_> {
    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag that is neither 0 nor 1")),
        }
    }

    pub(super) fn level(&mut self) -> Result<Level, Malformed> {
        match (self.reader.byte()?, self.reader.byte()?) {
            (0, 0) => Ok(Level::One),
            (1, 0) => Ok(Level::Quorum),
            (2, 0) => Ok(Level::All),
            (3, count) if count > 0 => Ok(Level::Count(count)),
            _ => Err(Malformed("a level that is none")),
        }
    }

    /// A run, in memory of its own.
    pub(super) fn copied_run(&mut self) -> Result<Bytes, Malformed> {
        Ok(Bytes::copy_from_slice(self.reader.run()?))
    }

    /// A key, in memory of its own: keys stay in indexes long after their frames, and a slice would
    /// keep the whole frame alive.
    pub(super) fn key(&mut self) -> Result<Key, Malformed> {
        key(self.reader.run()?)
    }

    /// A key that fills what is left.
    pub(super) fn key_to_the_end(&mut self) -> Result<Key, Malformed> {
        let rest = self.reader.rest().len();
        key(self.reader.take(rest)?)
    }

    pub(super) fn key_or_none(&mut self) -> Result<Option<Key>, Malformed> {
        match self.reader.run()? {
            [] => Ok(None),
            bytes => key(bytes).map(Some),
        }
    }

    pub(super) fn dot(&mut self) -> Result<Dot, Malformed> {
        let actor = Actor::from_bits(self.reader.u64_le()?);
        match self.reader.u64_le()? {
            0 => Err(Malformed("a dot counts from 1")),
            counter => Ok(Dot::new(actor, counter)),
        }
    }

    pub(super) fn dots(&mut self) -> Result<Vec<Dot>, Malformed> {
        let count = self.reader.count(DOT_BYTES)?;
        (0..count).map(|_| self.dot()).collect()
    }

    pub(super) fn set(&mut self) -> Result<DotSet, Malformed> {
        DotSet::decode(&mut self.reader)
    }

    pub(super) fn values<V: Held>(&mut self) -> Result<Vec<(Dot, V)>, Malformed> {
        let count = self.reader.count(DOT_BYTES + V::LEAST)?;
        (0..count).map(|_| Ok((self.dot()?, V::take(self)?))).collect()
    }

    pub(super) fn delta<V: Held>(&mut self) -> Result<Delta<V>, Malformed> {
        let context = self.set()?;
        let kept = self.dots()?;
        let deleted = if self.flag()? { Some(self.dot()?) } else { None };
        let values = self.values()?;
        Ok(Delta { values, kept, deleted, context })
    }

    pub(super) fn entry<V: Held>(&mut self) -> Result<Entry<V>, Malformed> {
        let residual = self.set()?;
        let values: Vec<(Dot, V)> = self.values()?;
        if values.is_sorted_by(|(a, _), (b, _)| a < b) {
            Ok(Entry::from_parts(values, residual))
        } else {
            Err(Malformed("an entry's values are out of order"))
        }
    }
}

fn key(bytes: &[u8]) -> Result<Key, Malformed> {
    Key::from_bytes(Bytes::copy_from_slice(bytes))
        .map_err(|_| Malformed("a key that is none: its bucket's name or its length is wrong"))
}
