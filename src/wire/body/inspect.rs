//! What `explain` and `siblings list` gather from every node.

use super::parts::WriteParts;
use super::{Body, Fields};
use crate::fields::{Malformed, WriteFields};
use crate::ring::MemberNumber;
use crate::wire::{Counted, Inspect, Inspected};

/// The least bytes of a hint: whom it is owed to, an empty set, no dots, a flag, no values.
const HINT_BYTES: usize = 2 + 2 + 1 + 1 + 1;
/// The least bytes of a key and its number of siblings.
const SIBLING_BYTES: usize = 4 + 2;

/// | field | form |
/// |---|---|
/// | key | the rest |
impl Body for Inspect {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key.as_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Inspect { key: fields.key_to_the_end()? })
    }
}

/// | field | form |
/// |---|---|
/// | clock | set |
/// | entry | entry, with glimpses |
/// | hints | count, then per hint: owed_to u16, delta with glimpses |
impl Body for Inspected {
    fn put(&self, out: &mut Vec<u8>) {
        self.clock.encode(out);
        out.put_entry(&self.entry);
        out.put_varint(self.hints.len() as u64);
        for (owed_to, delta) in &self.hints {
            out.put_u16_le(owed_to.0);
            out.put_delta(delta);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let clock = fields.set()?;
        let entry = fields.entry()?;
        let count = fields.reader.count(HINT_BYTES)?;
        let hints =
            (0..count).map(|_| Ok((MemberNumber(fields.reader.u16_le()?), fields.delta()?)));
        let hints = hints.collect::<Result<_, Malformed>>()?;
        Ok(Inspected { clock, entry, hints })
    }
}

/// | field | form |
/// |---|---|
/// | keys, conflicts, hints, recovering | u64 each |
/// | more | flag |
/// | siblings | count, then per key: key, how many u16 |
impl Body for Counted {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.keys);
        out.put_u64_le(self.conflicts);
        out.put_u64_le(self.hints);
        out.put_u64_le(self.recovering);
        out.put_flag(self.more);
        out.put_varint(self.siblings.len() as u64);
        for (key, siblings) in &self.siblings {
            out.put_key(key);
            out.put_u16_le(*siblings);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let keys = fields.reader.u64_le()?;
        let conflicts = fields.reader.u64_le()?;
        let hints = fields.reader.u64_le()?;
        let recovering = fields.reader.u64_le()?;
        let more = fields.flag()?;
        let count = fields.reader.count(SIBLING_BYTES)?;
        let siblings = (0..count).map(|_| Ok((fields.key()?, fields.reader.u16_le()?)));
        let siblings = siblings.collect::<Result<_, Malformed>>()?;
        Ok(Counted { keys, conflicts, hints, recovering, siblings, more })
    }
}
