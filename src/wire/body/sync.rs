//! How owners catch up with each other: clocks, and pages of slots.

use super::parts::WriteParts;
use super::{Body, Fields};
use crate::fields::{Malformed, WriteFields};
use crate::ring::Slot;
use crate::wire::{Ask, Clocks, ClocksWanted, Closing, ClosingWanted, Page};

/// The least bytes of a key and its entry: a key's run, an empty set, no values.
const ENTRY_BYTES: usize = 4 + 2 + 1;
/// The least bytes of a dot and a key.
const DELETE_BYTES: usize = 16 + 4;
/// The bytes of a slot's number.
const SLOT_BYTES: usize = 2;

fn slot(fields: &mut Fields<'_>) -> Result<Slot, Malformed> {
    Slot::new(fields.reader.u16_le()?).ok_or(Malformed("a slot that there is not"))
}

/// | field | form |
/// |---|---|
/// | slots | count, then u16 each |
impl Body for ClocksWanted {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_varint(self.slots.len() as u64);
        self.slots.iter().for_each(|slot| out.put_u16_le(slot.number()));
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let count = fields.reader.count(SLOT_BYTES)?;
        let slots = (0..count).map(|_| slot(fields)).collect::<Result<_, _>>()?;
        Ok(ClocksWanted { slots })
    }
}

/// | field | form |
/// |---|---|
/// | clocks | count, then per clock: slot u16, set |
impl Body for Clocks {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_varint(self.clocks.len() as u64);
        for (slot, clock) in &self.clocks {
            out.put_u16_le(slot.number());
            clock.encode(out);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let count = fields.reader.count(SLOT_BYTES + 2)?;
        let clocks = (0..count).map(|_| Ok((slot(fields)?, fields.set()?)));
        Ok(Clocks { clocks: clocks.collect::<Result<_, Malformed>>()? })
    }
}

/// | field | form |
/// |---|---|
/// | slots | count, then u16 each |
impl Body for ClosingWanted {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_varint(self.slots.len() as u64);
        self.slots.iter().for_each(|slot| out.put_u16_le(slot.number()));
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let count = fields.reader.count(SLOT_BYTES)?;
        let slots = (0..count).map(|_| slot(fields)).collect::<Result<_, _>>()?;
        Ok(ClosingWanted { slots })
    }
}

/// | field | form |
/// |---|---|
/// | listed | u32 |
/// | reports | count, then per report: slot u16, set |
impl Body for Closing {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.listed);
        out.put_varint(self.reports.len() as u64);
        for (slot, report) in &self.reports {
            out.put_u16_le(slot.number());
            report.encode(out);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let listed = fields.reader.u32_le()?;
        let count = fields.reader.count(SLOT_BYTES + 2)?;
        let reports = (0..count).map(|_| Ok((slot(fields)?, fields.set()?)));
        Ok(Closing { listed, reports: reports.collect::<Result<_, Malformed>>()? })
    }
}

/// | field | form |
/// |---|---|
/// | nonce | u64 |
/// | clock | set |
/// | after | key, or an empty run at the slot's beginning |
/// | began | flag, then a set where it is 1 |
impl Body for Ask {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.nonce);
        self.clock.encode(out);
        out.put_key_or_none(self.after.as_ref());
        out.put_flag(self.began.is_some());
        if let Some(began) = &self.began {
            began.encode(out);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let nonce = fields.reader.u64_le()?;
        let clock = fields.set()?;
        let after = fields.key_or_none()?;
        let began = if fields.flag()? { Some(fields.set()?) } else { None };
        Ok(Ask { nonce, clock, after, began })
    }
}

/// | field | form |
/// |---|---|
/// | nonce | u64 |
/// | clock, began | set each |
/// | after | key, or an empty run at the slot's beginning |
/// | upto | key, or an empty run at the slot's end |
/// | entries | count, then per entry: key, entry with values or none |
/// | deletes | count, then per delete: dot, key |
/// | mark | flag, then a set where it is 1 |
impl Body for Page {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.nonce);
        self.clock.encode(out);
        self.began.encode(out);
        out.put_key_or_none(self.after.as_ref());
        out.put_key_or_none(self.upto.as_ref());
        out.put_varint(self.entries.len() as u64);
        for (key, entry) in &self.entries {
            out.put_key(key);
            out.put_entry(entry);
        }
        out.put_varint(self.deletes.len() as u64);
        for (dot, key) in &self.deletes {
            out.put_dot(*dot);
            out.put_key(key);
        }
        out.put_flag(self.mark.is_some());
        if let Some(mark) = &self.mark {
            mark.encode(out);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let nonce = fields.reader.u64_le()?;
        let clock = fields.set()?;
        let began = fields.set()?;
        let after = fields.key_or_none()?;
        let upto = fields.key_or_none()?;
        let count = fields.reader.count(ENTRY_BYTES)?;
        let entries = (0..count).map(|_| Ok((fields.key()?, fields.entry()?)));
        let entries = entries.collect::<Result<_, Malformed>>()?;
        let count = fields.reader.count(DELETE_BYTES)?;
        let deletes = (0..count).map(|_| Ok((fields.dot()?, fields.key()?)));
        let deletes = deletes.collect::<Result<_, Malformed>>()?;
        let mark = if fields.flag()? { Some(fields.set()?) } else { None };
        Ok(Page { nonce, clock, began, after, upto, entries, deletes, mark })
    }
}
