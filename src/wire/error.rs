//! What can be wrong with bytes from the network.

use thiserror::Error;

use super::frame::FRAME_BYTES_MAX;
use super::{Kind, Way};
use crate::fields::Malformed;

/// Bytes that are no frame of this protocol, or a message that no frame can hold.
///
/// Nothing was changed on account of them. After an error on receiving, close the connection: where
/// the next frame starts, or what else the other side gets wrong, cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The frame is longer than any frame may be. On receiving, this is also what the first bytes of
    /// another protocol look like.
    #[error(
        "a frame of {bytes} bytes, and a frame has at most {FRAME_BYTES_MAX}; \
         or it is not this protocol at all"
    )]
    TooLarge {
        /// What its header says, or what its message would need.
        bytes: u64,
    },
    /// What came is not what was sent.
    #[error("a frame's checksum is {found:08x} and its header says {expected:08x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// A kind of frame that this release does not know.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// A flag that this release does not know, or that this kind does not have.
    #[error("a frame of kind {kind} with the unknown flags {flags:#04x}")]
    UnknownFlags {
        /// The frame's kind.
        kind: Kind,
        /// All its flags.
        flags: u8,
    },
    /// A slot that does not exist.
    #[error("a frame about slot {0}, and there are 16384 from 0")]
    NoSuchSlot(u16),
    /// A body that is not what its kind says.
    #[error("a frame of kind {kind} with a body that is none: {why}")]
    Body {
        /// The frame's kind.
        kind: Kind,
        /// What is wrong with it.
        why: Malformed,
    },
    /// A MessagePack body that is not what its kind says.
    #[error("a frame of kind {kind} with a body that is none: {why}")]
    Pack {
        /// The frame's kind.
        kind: Kind,
        /// What is wrong with it.
        why: String,
    },
    /// A frame that has no place here: a greeting later on, or a message before the greeting.
    #[error("a frame of kind {kind}, which belongs to the way {:?}, is out of place here", .kind.way())]
    OutOfPlace {
        /// The frame's kind.
        kind: Kind,
    },
}

impl WireError {
    /// Whether the frame's header can be believed, so that an answer may be sent before closing.
    pub fn is_about_body(&self) -> bool {
        match self {
            WireError::Body { .. } | WireError::Pack { .. } | WireError::OutOfPlace { .. } => true,
            WireError::TooLarge { .. }
            | WireError::Checksum { .. }
            | WireError::UnknownKind(_)
            | WireError::UnknownFlags { .. }
            | WireError::NoSuchSlot(_) => false,
        }
    }
}

impl Kind {
    /// Refuses what does not travel this way.
    pub fn must_go(self, allowed: &[Way]) -> Result<(), WireError> {
        if allowed.contains(&self.way()) {
            Ok(())
        } else {
            Err(WireError::OutOfPlace { kind: self })
        }
    }
}
