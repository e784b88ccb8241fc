//! Requests that had no effect, and why.
//!
//! Invariant: a failure means *no effect, ever*. A write that may have happened is never told as a
//! failure; it is a `PutReply` with the outcome `Unknown`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What kind of failure it is, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCode {
    /// The request is not one: a limit is passed, a field is wrong.
    Refused,
    /// The context token is not for this key, or was changed.
    BadContext,
    /// Fewer owners (or fallbacks, where they count) can be reached than were asked for.
    LevelNotMet,
    /// Too much is under way; try again later.
    Overloaded,
    /// The key has as many siblings as it may; resolve them first.
    TooManySiblings,
    /// The disk failed to sync; this node only reads until it is restarted.
    ReadOnly,
    /// There is no space for the log to grow; this node takes writes again by itself once there is.
    DiskFull,
    /// What is on the disk cannot be read.
    Damaged,
    /// The node has no ring yet, or is stopping.
    NotReady,
    /// No owner that answered in time had seen all that the read's floor covers.
    NotYet,
}

/// The request had no effect.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    /// What kind, for programs.
    pub code: FailureCode,
    /// What happened, what state is left, what to do.
    pub message: String,
}

impl Failure {
    /// A failure of this kind, told in these words.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }
}
