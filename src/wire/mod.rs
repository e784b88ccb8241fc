//! The protocol: every message, and the only code that knows its bytes.
//!
//! Invariant: every length is checked before anything is allocated by it; whatever the bytes, the
//! worst outcome is an error that names what is wrong. Not here: sockets, and what messages mean.

pub mod datagram;
mod failure;
mod level;
mod message;
mod question;

pub use failure::{Failure, FailureCode};
pub use level::Level;
pub use message::*;
pub use question::*;
