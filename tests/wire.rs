//! The protocol's bytes: frozen vectors, random messages, and everything that is no message.

#[path = "wire/broken.rs"]
mod broken;
#[path = "wire/handshake.rs"]
mod handshake;
#[path = "wire/random.rs"]
mod random;
#[path = "wire/samples.rs"]
mod samples;
#[path = "wire/vectors.rs"]
mod vectors;

use bytes::{Bytes, BytesMut};
use ringdove::wire::control::ControlMessage;
use ringdove::wire::{self, Frame, Greeting, Header, Kind, WireError};

/// Anything that a frame can carry.
#[derive(Debug, Clone, PartialEq)]
pub enum Spoken {
    /// Once the connection is open.
    Message(Frame),
    /// While it opens.
    Greeting(Greeting),
    /// On the connection of two control machines.
    Control(ControlMessage),
}

impl Spoken {
    fn kind(&self) -> Kind {
        match self {
            Spoken::Message(frame) => frame.message.kind(),
            Spoken::Greeting(Greeting::Hello(_)) => Kind::Hello,
            Spoken::Greeting(Greeting::Welcome(_)) => Kind::Welcome,
            Spoken::Greeting(Greeting::Refused(_)) => Kind::Refused,
            Spoken::Control(_) => Kind::Control,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Spoken::Message(frame) => wire::encode(frame, &mut out),
            Spoken::Greeting(greeting) => greeting.encode(&mut out),
            Spoken::Control(message) => message.encode(&mut out),
        }
        .expect("it fits into a frame");
        out
    }
}

/// Reads a frame's body as whichever of the two its kind says.
fn decode(header: Header, body: Bytes) -> Result<Spoken, WireError> {
    match header.kind {
        Kind::Hello | Kind::Welcome | Kind::Refused => {
            Greeting::decode(header, &body).map(Spoken::Greeting)
        }
        Kind::Control => ControlMessage::decode(header, &body).map(Spoken::Control),
        _ => wire::decode(header, body).map(Spoken::Message),
    }
}

/// Reads the one frame that `bytes` hold.
fn read(bytes: &[u8]) -> Result<Option<Spoken>, WireError> {
    let mut buffer = BytesMut::from(bytes);
    let Some((header, body)) = wire::split_raw(&mut buffer)? else { return Ok(None) };
    assert!(buffer.is_empty(), "bytes behind the frame");
    decode(header, body).map(Some)
}
