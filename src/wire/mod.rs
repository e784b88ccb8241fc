//! The protocol: every message, and the only code that knows its bytes.
//!
//! Invariant: every length is checked before anything is allocated by it; whatever the bytes, the
//! worst outcome is an error that names what is wrong. Not here: sockets, and what messages mean.
//!
//! A frame's bytes: `frame` (header, limits, checksum), `kind` (the numbers), `codec` (which body is
//! which), `body` (fixed bodies). A connection begins with a `handshake`, then carries messages. What
//! control machines say stands apart: over UDP in [`datagram`], of members in [`gossip`], and over their
//! connections in [`control`].

mod body;
mod codec;
pub mod control;
pub mod datagram;
mod error;
mod failure;
mod frame;
pub mod gossip;
mod handshake;
mod kind;
mod level;
mod message;
mod plan;
mod question;
mod resolve;

pub use codec::{decode, encode};
pub use error::WireError;
pub use failure::{Failure, FailureCode};
pub use frame::{
    FLAG_FORWARDED, FRAME_BYTES_MAX, HEADER_BYTES, Header, peek, seal, split, split_raw,
};
pub use handshake::*;
pub use kind::{Kind, Part, Way};
pub use level::Level;
pub use message::*;
pub use plan::*;
pub use question::*;
