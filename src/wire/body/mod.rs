//! The bodies of messages, byte by byte. Each message's format stands as a table at its `impl Body`.
//!
//! All integers are little-endian; a *run* is a varint length and that many bytes; a *count* is a
//! varint. A value's bytes come last and in one piece, so that what a client encoded once is
//! forwarded and logged without being taken apart.
//!
//! Invariant: one message has one encoding, and reading refuses any other; values keep their bytes
//! in the frame that brought them, all else is copied out of it.
//! Not here: MessagePack bodies (`codec`), headers (`frame`).

mod copy;
mod inspect;
mod parts;
mod request;
mod sync;

use bytes::Bytes;

use crate::fields::{Malformed, Reader};

/// A message with a fixed body.
pub(super) trait Body: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads what [`Body::put`] appended. Bytes left over are the caller's to refuse.
    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed>;
}

/// A body that is being read.
pub(super) struct Fields<'a> {
    whole: &'a Bytes,
    reader: Reader<'a>,
}

impl<'a> Fields<'a> {
    fn new(whole: &'a Bytes) -> Self {
        Fields { whole, reader: Reader::new(whole) }
    }

    /// Everything that was not read yet, shared with the frame.
    fn rest(&mut self) -> Bytes {
        let rest = self.reader.rest();
        self.reader = Reader::new(&[]);
        self.whole.slice_ref(rest)
    }
}

/// Reads a whole body.
pub(super) fn take<T: Body>(whole: &Bytes) -> Result<T, Malformed> {
    let mut fields = Fields::new(whole);
    let message = T::take(&mut fields)?;
    fields.reader.finish()?;
    Ok(message)
}
