//! From messages to frames and back.
//!
//! What every put and get needs has a fixed body (`body`); what people ask now and then, and what is
//! compared once a round, is MessagePack with named fields, so that fields can be added.
//!
//! Invariant: `decode(encode(frame)) == frame`, and whatever the bytes, the worst outcome is an
//! error that names what is wrong. Memory taken while decoding is bounded by the frame's own length
//! (a small multiple of it; for MessagePack at most 1 MiB more per level of nesting).

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::body::{self, Body};
use super::frame::{FLAG_FORWARDED, Header, seal};
use super::{Frame, Get, Kind, Message, Put, WireError};
use crate::fields::Malformed;
use crate::pack::pack_into;

/// Appends a frame.
///
/// Fails only when the message is too long for a frame, and leaves `out` as it was then. A read of
/// many large siblings may be: answer it with a failure that says so.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) -> Result<(), WireError> {
    let forwarded = matches!(
        &frame.message,
        Message::Put(Put { forwarded: true, .. }) | Message::Get(Get { forwarded: true, .. })
    );
    let header = Header {
        flags: if forwarded { FLAG_FORWARDED } else { 0 },
        slot: frame.slot,
        epoch: frame.epoch,
        request: frame.request,
        token: frame.token,
        ..Header::new(frame.message.kind())
    };
    seal(header, out, |out| put_message(&frame.message, out))
}

/// Reads the message of a frame that [`super::split_raw`] took off a buffer.
pub fn decode(header: Header, body: Bytes) -> Result<Frame, WireError> {
    Ok(Frame {
        slot: header.slot,
        epoch: header.epoch,
        request: header.request,
        token: header.token,
        message: take_message(header, &body)?,
    })
}

fn put_message(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::Put(put) => put.put(out),
        Message::PutReply(reply) => reply.put(out),
        Message::Get(get) => get.put(out),
        Message::GetReply(reply) => reply.put(out),
        Message::Failure(failure) => pack_into(failure, out),
        Message::Question(question) => pack_into(question, out),
        Message::Answer(answer) => pack_into(answer, out),
        Message::Store(store) => store.put(out),
        Message::KeepHint(hint) => hint.put(out),
        Message::Stored => {}
        Message::Declined(why) => why.put(out),
        Message::Fetch(fetch) => fetch.put(out),
        Message::Fetched(fetched) => fetched.put(out),
        Message::Summary(summary) => pack_into(summary, out),
        Message::SlotHashes(hashes) => pack_into(hashes, out),
        Message::ClocksWanted(wanted) => wanted.put(out),
        Message::Clocks(clocks) => clocks.put(out),
        Message::ClosingWanted(wanted) => wanted.put(out),
        Message::Closing(closing) => closing.put(out),
        Message::Ask(ask) => ask.put(out),
        Message::Page(page) => page.put(out),
        Message::Inspect(inspect) => inspect.put(out),
        Message::Inspected(inspected) => inspected.put(out),
        Message::Count(count) => pack_into(count, out),
        Message::Counted(counted) => counted.put(out),
    }
}

fn take_message(header: Header, body: &Bytes) -> Result<Message, WireError> {
    let kind = header.kind;
    let forwarded = header.flags & FLAG_FORWARDED != 0;
    Ok(match kind {
        Kind::Hello | Kind::Welcome | Kind::Refused | Kind::Control => {
            return Err(WireError::OutOfPlace { kind });
        }
        Kind::Put => Message::Put(Put { forwarded, ..fixed(kind, body)? }),
        Kind::PutReply => Message::PutReply(fixed(kind, body)?),
        Kind::Get => Message::Get(Get { forwarded, ..fixed(kind, body)? }),
        Kind::GetReply => Message::GetReply(fixed(kind, body)?),
        Kind::Failure => Message::Failure(unpack(kind, body)?),
        Kind::Question => Message::Question(unpack(kind, body)?),
        Kind::Answer => Message::Answer(unpack(kind, body)?),
        Kind::Store => Message::Store(fixed(kind, body)?),
        Kind::KeepHint => Message::KeepHint(fixed(kind, body)?),
        Kind::Stored if body.is_empty() => Message::Stored,
        Kind::Stored => {
            return Err(WireError::Body {
                kind,
                why: Malformed("it has no body, and here is one"),
            });
        }
        Kind::Declined => Message::Declined(fixed(kind, body)?),
        Kind::Fetch => Message::Fetch(fixed(kind, body)?),
        Kind::Fetched => Message::Fetched(fixed(kind, body)?),
        Kind::Summary => Message::Summary(unpack(kind, body)?),
        Kind::SlotHashes => Message::SlotHashes(unpack(kind, body)?),
        Kind::ClocksWanted => Message::ClocksWanted(fixed(kind, body)?),
        Kind::Clocks => Message::Clocks(fixed(kind, body)?),
        Kind::ClosingWanted => Message::ClosingWanted(fixed(kind, body)?),
        Kind::Closing => Message::Closing(fixed(kind, body)?),
        Kind::Ask => Message::Ask(fixed(kind, body)?),
        Kind::Page => Message::Page(fixed(kind, body)?),
        Kind::Inspect => Message::Inspect(fixed(kind, body)?),
        Kind::Inspected => Message::Inspected(fixed(kind, body)?),
        Kind::Count => Message::Count(unpack(kind, body)?),
        Kind::Counted => Message::Counted(fixed(kind, body)?),
    })
}

fn fixed<T: Body>(kind: Kind, bytes: &Bytes) -> Result<T, WireError> {
    body::take(bytes).map_err(|why| WireError::Body { kind, why })
}

/// Reads MessagePack that fills the body.
pub(super) fn unpack<T: DeserializeOwned>(kind: Kind, body: &[u8]) -> Result<T, WireError> {
    crate::pack::unpack(body).map_err(|why| WireError::Pack { kind, why })
}
