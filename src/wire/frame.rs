//! Frames: where one message ends and the next begins, and that it arrived as it was sent.
//!
//! Every message travels behind a header of 32 bytes, little-endian:
//!
//! | at | field | form | what |
//! |---|---|---|---|
//! | 0 | length | u32 | bytes of the body, which follows the header |
//! | 4 | checksum | u32 | CRC-32C of the header from byte 8 on, and the body |
//! | 8 | kind | u8 | see [`Kind`] |
//! | 9 | flags | u8 | 1: a node forwarded it |
//! | 10 | slot | u16 | the slot it is about |
//! | 12 | epoch | u32 | in requests about a key: since when the row is as the sender knows it; else the epoch of its ring |
//! | 16 | request | u64 | chosen by whoever asks; the answer repeats it |
//! | 24 | token | u64 | the key's token, 0 where there is no key |
//!
//! Invariant: a frame with its header has at most [`FRAME_BYTES_MAX`] bytes, which is checked before
//! anything else is believed; no byte of a body is looked at before its checksum was right.
//! Not here: what bodies mean (`codec`), and sockets.

use bytes::{Bytes, BytesMut};

use super::{Frame, Kind, WireError, codec};
use crate::fields::WriteFields;
use crate::ring::{Epoch, Slot, Token};

/// The length of a frame's header.
pub const HEADER_BYTES: usize = 32;
/// The longest frame, header and body: the longest value, its key, and ample room for contexts.
pub const FRAME_BYTES_MAX: usize = 9 * 1024 * 1024;
/// The flag of a request that a node sent on, on behalf of another: it goes no further.
pub const FLAG_FORWARDED: u8 = 1;

const CHECKED_FROM: usize = 8;

/// What stands before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How many bytes of body follow.
    pub length: u32,
    /// The checksum over the rest of the header and the body, as the sender computed it.
    pub checksum: u32,
    /// What the body is.
    pub kind: Kind,
    /// See [`FLAG_FORWARDED`].
    pub flags: u8,
    /// The slot it is about.
    pub slot: Slot,
    /// In `Put`, `Get`, `Store`, `KeepHint` and `Fetch`: the epoch since when the row of the slot is as the sender
    /// knows it. In everything else the epoch of the sender's ring.
    pub epoch: Epoch,
    /// Chosen by whoever asks; the answer repeats it.
    pub request: u64,
    /// The key's token, 0 where there is no key.
    pub token: Token,
}

impl Header {
    /// The header of a frame to be sealed by [`seal`], which fills in length and checksum.
    pub fn new(kind: Kind) -> Self {
        Header {
            length: 0,
            checksum: 0,
            kind,
            flags: 0,
            slot: Slot::new(0).expect("slot 0 exists"),
            epoch: Epoch(0),
            request: 0,
            token: Token(0),
        }
    }

    /// The length of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.length as usize
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.length);
        out.put_u32_le(self.checksum);
        out.put_byte(self.kind.number());
        out.put_byte(self.flags);
        out.put_u16_le(self.slot.number());
        out.put_u32_le(self.epoch.0);
        out.put_u64_le(self.request);
        out.put_u64_le(self.token.0);
    }

    fn take(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        // A length that passes the limit is reported whatever else the bytes say: they are most
        // likely no header at all.
        let length = u32::from_le_bytes(array(bytes, 0));
        let frame_bytes = HEADER_BYTES as u64 + u64::from(length);
        if frame_bytes > FRAME_BYTES_MAX as u64 {
            return Err(WireError::TooLarge { bytes: frame_bytes });
        }
        let kind = Kind::from_number(bytes[8])?;
        let flags = bytes[9];
        if flags & !kind.flags() != 0 {
            return Err(WireError::UnknownFlags { kind, flags });
        }
        let slot = u16::from_le_bytes(array(bytes, 10));
        Ok(Header {
            length,
            checksum: u32::from_le_bytes(array(bytes, 4)),
            kind,
            flags,
            slot: Slot::new(slot).ok_or(WireError::NoSuchSlot(slot))?,
            epoch: Epoch(u32::from_le_bytes(array(bytes, 12))),
            request: u64::from_le_bytes(array(bytes, 16)),
            token: Token(u64::from_le_bytes(array(bytes, 24))),
        })
    }
}

fn array<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

impl Kind {
    /// The flags that its frames may carry.
    fn flags(self) -> u8 {
        match self {
            Kind::Put | Kind::Get => FLAG_FORWARDED,
            Kind::Hello
            | Kind::Welcome
            | Kind::Refused
            | Kind::PutReply
            | Kind::GetReply
            | Kind::Failure
            | Kind::Question
            | Kind::Answer
            | Kind::Store
            | Kind::KeepHint
            | Kind::Stored
            | Kind::Declined
            | Kind::Fetch
            | Kind::Fetched
            | Kind::Summary
            | Kind::SlotHashes
            | Kind::ClocksWanted
            | Kind::Clocks
            | Kind::ClosingWanted
            | Kind::Closing
            | Kind::Ask
            | Kind::Page
            | Kind::Inspect
            | Kind::Inspected
            | Kind::Count
            | Kind::Counted
            | Kind::Control => 0,
        }
    }
}

/// The header at the front of `bytes`, once all of it is there. The body need not be, and nothing
/// of it is checked: good for choosing where a frame goes, not for believing it.
pub fn peek(bytes: &[u8]) -> Result<Option<Header>, WireError> {
    match bytes.first_chunk::<HEADER_BYTES>() {
        Some(header) => Header::take(header).map(Some),
        None => Ok(None),
    }
}

/// Takes the first frame off `buffer`, once all of it is there. Its checksum was right; its body
/// shares the buffer's memory.
pub fn split_raw(buffer: &mut BytesMut) -> Result<Option<(Header, Bytes)>, WireError> {
    let Some(header) = peek(buffer)? else { return Ok(None) };
    if buffer.len() < header.frame_bytes() {
        return Ok(None);
    }
    let found = crc32c::crc32c(&buffer[CHECKED_FROM..header.frame_bytes()]);
    if found != header.checksum {
        return Err(WireError::Checksum { expected: header.checksum, found });
    }
    let frame = buffer.split_to(header.frame_bytes()).freeze();
    Ok(Some((header, frame.slice(HEADER_BYTES..))))
}

/// Takes the first frame off `buffer`, once all of it is there, and reads its message.
///
/// Greetings are out of place here: see [`super::Greeting`].
pub fn split(buffer: &mut BytesMut) -> Result<Option<Frame>, WireError> {
    match split_raw(buffer)? {
        Some((header, body)) => codec::decode(header, body).map(Some),
        None => Ok(None),
    }
}

/// Appends a frame: `header` with its length and checksum filled in, and the body that `put_body`
/// appends. Leaves `out` as it was when that is too much for a frame.
pub fn seal(
    header: Header,
    out: &mut Vec<u8>,
    put_body: impl FnOnce(&mut Vec<u8>),
) -> Result<(), WireError> {
    let start = out.len();
    header.put(out);
    put_body(out);
    let bytes = out.len() - start;
    if bytes > FRAME_BYTES_MAX {
        out.truncate(start);
        return Err(WireError::TooLarge { bytes: bytes as u64 });
    }
    let length = (bytes - HEADER_BYTES) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&out[start + CHECKED_FROM..]);
    out[start + 4..start + CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}
