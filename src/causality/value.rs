//! A value as it is kept: the client's bytes, and what people want to know of them later.
//!
//! | field | form | what |
//! |---|---|---|
//! | format | u8 | 1 |
//! | operation | u128 | the client's name for the request, the same for every attempt |
//! | stamp | u64 | milliseconds since 1970 at the coordinator, for people; orders nothing |
//! | writer | varint length, UTF-8 | what the client calls itself |
//! | context | [`DotSet::encode`] | what the writer had seen |
//! | bytes | varint length, bytes | the value |
//!
//! Invariant: nothing here takes part in causality; the dot beside the value does.

use bytes::Bytes;

use super::{Dead, DotSet, Resolve, Unresolved};
use crate::fields::{Malformed, Reader, WriteFields};

const FORMAT: u8 = 1;

/// What is known of a write besides its dot and its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The client's name for the request, the same for every attempt at it.
    pub operation: u128,
    /// Milliseconds since 1970 on the coordinator's clock. For people; it orders nothing.
    pub stamp: u64,
    /// What the client calls itself.
    pub writer: String,
    /// What the writer had seen.
    pub context: DotSet,
}

/// A value with what is known of its writing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Value {
    /// Who wrote it, when, having seen what.
    pub meta: Meta,
    /// The client's bytes, untouched.
    pub bytes: Bytes,
}

impl Value {
    /// Appends the encoding in the table above.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_byte(FORMAT);
        out.put_u128_le(self.meta.operation);
        out.put_u64_le(self.meta.stamp);
        out.put_run(self.meta.writer.as_bytes());
        self.meta.context.encode(out);
        out.put_run(&self.bytes);
    }

    /// Reads what [`Value::encode`] wrote from the reader's front. The bytes are copied.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let meta = Meta::decode(reader)?;
        let bytes = Bytes::copy_from_slice(reader.run()?);
        Ok(Value { meta, bytes })
    }

    /// The same, but the value's bytes stay where they are: a part of `whole`, which `reader` reads.
    pub fn decode_shared(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Self, Malformed> {
        let meta = Meta::decode(reader)?;
        let bytes = whole.slice_ref(reader.run()?);
        Ok(Value { meta, bytes })
    }
}

impl Meta {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.byte()? != FORMAT {
            return Err(Malformed("a value of a later format"));
        }
        let operation = reader.u128_le()?;
        let stamp = reader.u64_le()?;
        let writer = reader.text()?.to_owned();
        let context = DotSet::decode(reader)?;
        Ok(Meta { operation, stamp, writer, context })
    }
}

impl Resolve for Value {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        self.meta.resolve(dead)
    }
}

impl Resolve for Meta {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        self.context.resolve(dead)
    }
}
