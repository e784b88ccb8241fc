//! A run of records that takes effect wholly or not at all.
//!
//! | offset | form | what |
//! |---|---|---|
//! | 0 | 4 bytes | `RDov` |
//! | 4 | u16 | format, 1 |
//! | 6 | u16 | flags, 0 |
//! | 8 | u32 | number of the segment that it was written into |
//! | 12 | u32 | length of the body in bytes |
//! | 16 | u64 | number of the batch, from 1, one more than the batch before |
//! | 24 | u64 | highest batch known to be synced when this one was written |
//! | 32 | u32 | number of records in the body |
//! | 36 | u32 | bytes 44..48 of the batch before, 0 for the first: the link between the two |
//! | 40 | u32 | crc32c of bytes 0..40, the body and the zeros after it |
//! | 44 | u32 | crc32c of bytes 0..44 |
//! | 48 | | the body: records, see `record` |
//! | | | zeros up to a multiple of 8 |
//!
//! Integers are little-endian. In every format to come, bytes 0..6 and the header's checksum stay
//! where they are, so that a release can tell "later than I am" from "broken".
//!
//! Invariant: bytes that are not wholly what [`seal`] made are no batch. The header has a checksum
//! of its own, because its claim of what is synced counts even where its body is lost. A batch
//! follows only the very one it was written after: what a crash left of an abandoned tail may come
//! to lie behind a later batch, and its number may fit, but its link does not.
//! Not here: where a log ends and what a bad batch means (`recover`).

use super::Batch;
use crate::fields::{Malformed, Reader, WriteFields};

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 48;
/// Batches begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

pub(super) const MAGIC: [u8; 4] = *b"RDov";
const FORMAT: u16 = 1;
const CRC_AT: usize = 40;
const HEADER_CRC_AT: usize = 44;

/// What a batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The segment it was written into.
    pub(super) segment: u32,
    /// Its number.
    pub(super) batch: Batch,
    /// The highest batch known to be synced when it was written.
    pub(super) synced: Batch,
    /// The [`Header::link`] of the batch before.
    pub(super) previous: u32,
    /// What the batch after it has as `previous`.
    pub(super) link: u32,
    /// How many records it has.
    pub(super) records: u32,
    /// Its body's length in bytes.
    pub(super) body_len: u32,
}

impl Header {
    /// Bytes from this batch's start to the next one's.
    pub(super) fn stride(&self) -> usize {
        (HEADER_BYTES + self.body_len as usize).next_multiple_of(ALIGNMENT)
    }
}

/// Why there is no batch at some place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoBatch {
    /// Nothing but zeros where its header would be, or no room for one.
    Nothing,
    /// Something, but no intact header.
    Header,
    /// An intact header with another body than it was written with.
    Body(Header),
    /// An intact batch, but not the one that follows.
    Stray(Header),
    /// A later release wrote it.
    Format(u16),
}

/// Fills in the header of `bytes`, whose first [`HEADER_BYTES`] are free and whose rest is the body,
/// and pads the end. `header` says all but the body's length and the link, which it gives back.
pub(super) fn seal(bytes: &mut Vec<u8>, header: Header) -> u32 {
    assert!(header.synced < header.batch, "a batch cannot be synced before it is written");
    let body_len = bytes.len() - HEADER_BYTES;
    let mut head = Vec::with_capacity(HEADER_BYTES);
    head.extend_from_slice(&MAGIC);
    head.put_u16_le(FORMAT);
    head.put_u16_le(0);
    head.put_u32_le(header.segment);
    head.put_u32_le(u32::try_from(body_len).expect("a batch is smaller than its segment"));
    head.put_u64_le(header.batch.0);
    head.put_u64_le(header.synced.0);
    head.put_u32_le(header.records);
    head.put_u32_le(header.previous);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    head.put_u32_le(crc32c::crc32c_append(crc32c::crc32c(&head), &bytes[HEADER_BYTES..]));
    let link = crc32c::crc32c(&head);
    head.put_u32_le(link);
    bytes[..HEADER_BYTES].copy_from_slice(&head);
    link
}

/// The header at the front of `bytes`, whatever its body.
pub(super) fn read_header(bytes: &[u8]) -> Result<Header, NoBatch> {
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Err(NoBatch::Nothing) };
    if header.iter().all(|byte| *byte == 0) {
        return Err(NoBatch::Nothing);
    }
    let (sealed, link) = header.split_at(HEADER_CRC_AT);
    let link = u32::from_le_bytes(link.try_into().expect("the header ends with 4 bytes"));
    if !header.starts_with(&MAGIC) || crc32c::crc32c(sealed) != link {
        return Err(NoBatch::Header);
    }
    let (format, flags, header) = fields(sealed, link).expect("the header's length was checked");
    if format != FORMAT || flags != 0 {
        return Err(NoBatch::Format(format));
    }
    if header.synced >= header.batch { Err(NoBatch::Header) } else { Ok(header) }
}

fn fields(sealed: &[u8], link: u32) -> Result<(u16, u16, Header), Malformed> {
    let mut reader = Reader::new(&sealed[MAGIC.len()..]);
    let (format, flags) = (reader.u16_le()?, reader.u16_le()?);
    let (segment, body_len) = (reader.u32_le()?, reader.u32_le()?);
    let (batch, synced) = (Batch(reader.u64_le()?), Batch(reader.u64_le()?));
    let (records, previous) = (reader.u32_le()?, reader.u32_le()?);
    Ok((format, flags, Header { segment, batch, synced, previous, link, records, body_len }))
}

/// The batch at the front of `bytes`: its header and body.
pub(super) fn read(bytes: &[u8]) -> Result<(Header, &[u8]), NoBatch> {
    let header = read_header(bytes)?;
    let Some(padded) = bytes.get(HEADER_BYTES..header.stride()) else {
        return Err(NoBatch::Body(header));
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), padded);
    if crc.to_le_bytes() != bytes[CRC_AT..HEADER_CRC_AT] {
        return Err(NoBatch::Body(header));
    }
    Ok((header, &padded[..header.body_len as usize]))
}
