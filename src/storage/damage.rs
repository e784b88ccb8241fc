//! What can be said of a batch that cannot be read any more, so that people know what they lost.
//!
//! Invariant: nothing here is believed by the store; it is only told. Not here: what is damage (`recover`).

use std::collections::BTreeSet;
use std::fmt;

use super::batch::{HEADER_BYTES, Header};
use super::record::{CLOCK, ENTRY, GONE, HINT, MARK};
use crate::fields::{Malformed, Reader};
use crate::ring::Slot;

/// How many slots are named.
const SLOTS_SHOWN: usize = 16;

/// A batch that was synced and is not whole.
#[derive(Debug)]
pub(super) struct Lost {
    records: u32,
    /// The slots of its records, where their heads still make sense.
    slots: BTreeSet<u16>,
    /// Whether the head of every record did.
    all: bool,
}

impl Lost {
    /// Looks at a batch whose header is intact and whose body is not.
    pub(super) fn of(header: Header, bytes: &[u8]) -> Self {
        let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let body = &body[..body.len().min(header.body_len as usize)];
        let mut lost = Lost { records: header.records, slots: BTreeSet::new(), all: false };
        let mut reader = Reader::new(body);
        for _ in 0..header.records {
            match head(&mut reader) {
                Ok(slot) => lost.slots.extend(slot.map(Slot::number)),
                Err(_) => return lost,
            }
        }
        lost.all = reader.rest().is_empty();
        lost
    }
}

/// Skips a record; gives its slot if it has one.
fn head(reader: &mut Reader<'_>) -> Result<Option<Slot>, Malformed> {
    let kind = reader.byte()?;
    let len = reader.u32_le()? as usize;
    let mut fields = Reader::new(reader.take(len)?);
    if kind == HINT {
        fields.varint()?;
        fields.u16_le()?;
    }
    match kind {
        ENTRY | GONE | CLOCK | HINT | MARK => {
            let slot = Slot::new(fields.u16_le()?);
            slot.map(Some).ok_or(Malformed("a slot that there is not"))
        }
        _ => Ok(None),
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { records, slots, all } = self;
        write!(f, "it brought {records} records")?;
        if !slots.is_empty() {
            let shown = slots.iter().take(SLOTS_SHOWN).map(u16::to_string).collect::<Vec<_>>();
            write!(f, ", as far as can be told of slots {}", shown.join(" "))?;
            if slots.len() > SLOTS_SHOWN {
                write!(f, " and {} more", slots.len() - SLOTS_SHOWN)?;
            }
        }
        if *all { Ok(()) } else { write!(f, ", of which some cannot be told any more") }
    }
}
