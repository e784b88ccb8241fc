//! What clients say, and what they are told.

use bytes::Bytes;

use super::parts::WriteParts;
use super::{Body, Fields};
use crate::fields::{Malformed, WriteFields};
use crate::wire::{Basis, Get, GetReply, NAME_BYTES_MAX, Outcome, Put, PutReply, Source};

const STRICT: u8 = 1;
const HAS_VALUE: u8 = 2;
const OVERWRITE: u8 = 4;
const HAS_CONTEXT: u8 = 8;
const AGAIN: u8 = 16;

/// | field | form |
/// |---|---|
/// | level | form u8: 0 one, 1 quorum, 2 all, 3 a number; then the number u8, else 0 |
/// | options | u8: 1 strict, 2 has a value (else it deletes), 4 overwrite, 8 has a context (neither: blind), 16 again |
/// | timeout_ms | u32 |
/// | operation | u128 |
/// | writer | run, UTF-8, at most [`NAME_BYTES_MAX`] |
/// | key | run |
/// | context | run, only with option 8 |
/// | value | the rest, only with option 2 |
///
/// `forwarded` is a flag of the header, so that forwarding leaves the body as it is.
impl Body for Put {
    fn put(&self, out: &mut Vec<u8>) {
        let context = match &self.basis {
            Basis::Blind | Basis::Overwrite => None,
            Basis::Context(token) => Some(token),
        };
        let option = |bit: u8, on: bool| if on { bit } else { 0 };
        let options = option(STRICT, self.strict)
            | option(HAS_VALUE, self.value.is_some())
            | option(OVERWRITE, self.basis == Basis::Overwrite)
            | option(HAS_CONTEXT, context.is_some())
            | option(AGAIN, self.again);
        out.put_level(self.level);
        out.put_byte(options);
        out.put_u32_le(self.timeout_ms);
        out.put_u128_le(self.operation);
        out.put_run(self.writer.as_bytes());
        out.put_key(&self.key);
        if let Some(token) = context {
            out.put_run(token);
        }
        if let Some(value) = &self.value {
            out.extend_from_slice(value);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let level = fields.level()?;
        let options = fields.reader.byte()?;
        let timeout_ms = fields.reader.u32_le()?;
        let operation = fields.reader.u128_le()?;
        let writer = fields.reader.text()?;
        if writer.len() > NAME_BYTES_MAX {
            return Err(Malformed("a writer's name is longer than 256 bytes"));
        }
        let writer = writer.to_owned();
        let key = fields.key()?;
        let basis = match options & !(STRICT | HAS_VALUE | AGAIN) {
            0 => Basis::Blind,
            OVERWRITE => Basis::Overwrite,
            HAS_CONTEXT => Basis::Context(fields.copied_run()?),
            _ => return Err(Malformed("options of a put that do not go together")),
        };
        let value = if options & HAS_VALUE != 0 { Some(fields.rest()) } else { None };
        let (strict, again) = (options & STRICT != 0, options & AGAIN != 0);
        let forwarded = false;
        Ok(Put {
            key,
            value,
            basis,
            level,
            strict,
            operation,
            again,
            writer,
            timeout_ms,
            forwarded,
        })
    }
}

/// | field | form |
/// |---|---|
/// | outcome | u8: 0 ok, 1 unknown |
/// | owners, fallbacks, needed | u8 each |
/// | siblings | u16 |
/// | dot | flag, then a dot where it is 1 |
/// | context | the rest |
impl Body for PutReply {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_byte(match self.outcome {
            Outcome::Ok => 0,
            Outcome::Unknown => 1,
        });
        out.put_byte(self.owners);
        out.put_byte(self.fallbacks);
        out.put_byte(self.needed);
        out.put_u16_le(self.siblings);
        out.put_flag(self.dot.is_some());
        if let Some(dot) = self.dot {
            out.put_dot(dot);
        }
        out.extend_from_slice(&self.context);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let outcome = match fields.reader.byte()? {
            0 => Outcome::Ok,
            1 => Outcome::Unknown,
            _ => return Err(Malformed("an outcome that is none")),
        };
        let owners = fields.reader.byte()?;
        let fallbacks = fields.reader.byte()?;
        let needed = fields.reader.byte()?;
        let siblings = fields.reader.u16_le()?;
        let dot = if fields.flag()? { Some(fields.dot()?) } else { None };
        let context = Bytes::copy_from_slice(&fields.rest());
        Ok(PutReply { outcome, dot, context, owners, fallbacks, needed, siblings })
    }
}

/// | field | form |
/// |---|---|
/// | level | as in a put |
/// | timeout_ms | u32 |
/// | floor | run |
/// | key | the rest |
///
/// `forwarded` is a flag of the header.
impl Body for Get {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_level(self.level);
        out.put_u32_le(self.timeout_ms);
        out.put_run(&self.floor);
        out.extend_from_slice(self.key.as_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let level = fields.level()?;
        let timeout_ms = fields.reader.u32_le()?;
        let floor = Bytes::copy_from_slice(fields.reader.run()?);
        let key = fields.key_to_the_end()?;
        Ok(Get { key, floor, level, timeout_ms, forwarded: false })
    }
}

/// | field | form |
/// |---|---|
/// | answered, needed | u8 each |
/// | omitted | u16 |
/// | source | u8: 0 owners, 1 hints, 2 recovering |
/// | context | run |
/// | values | values |
impl Body for GetReply {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_byte(self.answered);
        out.put_byte(self.needed);
        out.put_u16_le(self.omitted);
        out.put_byte(match self.source {
            Source::Owners => 0,
            Source::Hints => 1,
            Source::Recovering => 2,
        });
        out.put_run(&self.context);
        out.put_values(&self.values);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let answered = fields.reader.byte()?;
        let needed = fields.reader.byte()?;
        let omitted = fields.reader.u16_le()?;
        let source = match fields.reader.byte()? {
            0 => Source::Owners,
            1 => Source::Hints,
            2 => Source::Recovering,
            _ => return Err(Malformed("a source that is none")),
        };
        let context = fields.copied_run()?;
        let values = fields.values()?;
        Ok(GetReply { values, omitted, context, answered, needed, source })
    }
}
