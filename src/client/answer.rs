//! What a client gets back.

use bytes::Bytes;

use crate::causality::{Dot, Value};
use crate::wire::{GetReply, Outcome, PutReply, Source};

/// A value shorter than this is copied out of the frame that brought it, so that keeping it does not
/// keep its neighbours.
const SHARED_FROM: usize = 16 * 1024;

/// What a read found. No values means not found, which is an answer too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The live values by dot. More than one are siblings: writes that did not know of each other.
    pub values: Vec<(Dot, Value)>,
    /// How many more there are that did not fit into one answer. The context does not cover them:
    /// replace the values shown, then read again.
    pub omitted: u16,
    /// Hand it back with the next write to this key: that write then replaces exactly what is shown.
    pub context: Bytes,
    /// How many owners answered.
    pub answered: u8,
    /// How many were asked for.
    pub needed: u8,
    /// Who said so.
    pub source: Source,
}

impl Got {
    /// Whether the key has no value.
    pub fn is_missing(&self) -> bool {
        self.values.is_empty() && self.omitted == 0
    }

    /// Whether there is more than one value.
    pub fn is_conflict(&self) -> bool {
        self.values.len() + usize::from(self.omitted) > 1
    }

    /// The one value's bytes; `None` when there is none, or a conflict.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self.values.as_slice() {
            [(_, value)] if self.omitted == 0 => Some(&value.bytes),
            _ => None,
        }
    }
}

impl From<GetReply> for Got {
    fn from(reply: GetReply) -> Self {
        let GetReply { mut values, omitted, context, answered, needed, source } = reply;
        for (_, value) in &mut values {
            if value.bytes.len() < SHARED_FROM {
                value.bytes = Bytes::copy_from_slice(&value.bytes);
            }
        }
        Got { values, omitted, context, answered, needed, source }
    }
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutDone {
    /// [`Outcome::Ok`] wherever a request succeeds; [`Outcome::Unknown`] only inside
    /// [`Unknown`](super::Unknown).
    pub outcome: Outcome,
    /// The write's name. `None` only when the outcome is unknown and the node that coordinated it
    /// was lost.
    pub dot: Option<Dot>,
    /// Covers what this write had seen, and this write. Hand it back to replace it.
    pub context: Bytes,
    /// Owners that have it on their synced disks.
    pub owners: u8,
    /// Fallbacks that keep it, synced, for absent owners.
    pub fallbacks: u8,
    /// How many were asked for.
    pub needed: u8,
    /// How many values the key has now, as the coordinator sees it.
    pub siblings: u16,
    /// The client's name for the write.
    pub operation: u128,
}

impl PutDone {
    pub(super) fn of(reply: PutReply, operation: u128) -> Self {
        let PutReply { outcome, dot, context, owners, fallbacks, needed, siblings } = reply;
        PutDone { outcome, dot, context, owners, fallbacks, needed, siblings, operation }
    }
}
