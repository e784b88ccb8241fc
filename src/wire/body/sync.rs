//! The pages in which owners catch up with each other.

use super::parts::WriteParts;
use super::{Body, Fields};
use crate::fields::{Malformed, WriteFields};
use crate::wire::{Ask, Page};

/// The least bytes of a key and its entry: a key's run, an empty set, no values.
const ENTRY_BYTES: usize = 4 + 2 + 1;

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
        Ok(Page { nonce, clock, began, after, upto, entries })
    }
}
