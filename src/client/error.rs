//! What can go wrong for a client, told so that people and programs know what state is left.
//!
//! Invariant: every error but [`ClientError::Unknown`] and [`ClientError::NotStable`] means that nothing
//! was written, now or later.

use std::time::Duration;

use thiserror::Error;

use super::PutDone;
use crate::wire::{Failure, FailureCode};

/// Why a request did not get the answer that was asked for.
///
/// It reads as three parts: what happened, what state is left, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}; {}; {}", self.what(), self.state(), self.next())]
pub enum ClientError {
    /// No endpoint let this client in. Nothing was sent.
    Unreachable {
        /// Every endpoint that was tried, and why it was to no avail.
        tried: Vec<Tried>,
    },
    /// The node refused the request. It had no effect and will have none.
    Refused(Failure),
    /// The request is none; it was not sent.
    Invalid(String),
    /// A write may or may not have happened, and may yet spread.
    Unknown(Box<Unknown>),
    /// A write is done, at the level that was asked for, and not every owner has it yet.
    NotStable(Box<NotStable>),
    /// No answer to a read or a question came in time, or the write could not even be sent in time.
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke under a read or a question, again and again.
    Broken(String),
    /// The other side does not keep to the protocol. What was asked changes nothing.
    Protocol(String),
}

/// An endpoint, and why it was to no avail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// `host:port` as it was given.
    pub endpoint: String,
    /// What happened there.
    pub why: String,
}

/// What is known of a write whose outcome is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The write's name: a retry under the same one never loses it and never shows two.
    pub operation: u128,
    /// What happened.
    pub why: String,
    /// What the node told of it, if it told anything: who has it so far.
    pub reply: Option<PutDone>,
    /// Whether a retry under the same name is harmless. An overwrite replaces whatever is there when
    /// it arrives, also what came after the first attempt.
    pub repeatable: bool,
}

/// What is known of a write that is done and that not every owner has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStable {
    /// How the write ended.
    pub done: PutDone,
    /// How long every owner was waited for.
    pub after: Duration,
    /// The names of the owners that do not answer, or have not applied it. Empty when nobody could
    /// say, or when what they lack is something else that the write had seen.
    pub lacking: Vec<String>,
    /// How the last look ended.
    pub why: String,
}

impl ClientError {
    /// Whether the write may have happened.
    pub fn may_have_applied(&self) -> bool {
        matches!(self, ClientError::Unknown(_) | ClientError::NotStable(_))
    }

    /// Whether the same request may well succeed later, or at another node, and does no harm there.
    pub fn retryable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. }
            | ClientError::Timeout { .. }
            | ClientError::Broken(_) => true,
            ClientError::Unknown(unknown) => unknown.repeatable,
            ClientError::Refused(failure) => match failure.code {
                FailureCode::LevelNotMet
                | FailureCode::Overloaded
                | FailureCode::ReadOnly
                | FailureCode::DiskFull
                | FailureCode::NotReady
                | FailureCode::NotYet => true,
                FailureCode::Refused
                | FailureCode::BadContext
                | FailureCode::TooManySiblings
                | FailureCode::Damaged => false,
            },
            // It is done; what is left to do is to wait.
            ClientError::NotStable(_) | ClientError::Invalid(_) | ClientError::Protocol(_) => false,
        }
    }

    /// What happened.
    pub fn what(&self) -> String {
        match self {
            ClientError::Unreachable { tried } => {
                let tried =
                    tried.iter().map(|Tried { endpoint, why }| format!("{endpoint} ({why})"));
                format!("no node could be reached: {}", tried.collect::<Vec<_>>().join(", "))
            }
            ClientError::Refused(failure) => failure.message.clone(),
            ClientError::Invalid(why) => why.clone(),
            ClientError::Unknown(unknown) => unknown.why.clone(),
            ClientError::NotStable(unstable) => match unstable.lacking.as_slice() {
                [] => format!(
                    "not every owner had seen within {:?} all that the write had: {}",
                    unstable.after, unstable.why
                ),
                names => format!(
                    "not every owner has it after {:?}; it is not known to be at {}",
                    unstable.after,
                    names.join(" and ")
                ),
            },
            ClientError::Timeout { after } => format!("no answer within {after:?}"),
            ClientError::Broken(why) => why.clone(),
            ClientError::Protocol(why) => format!("the node does not keep to the protocol: {why}"),
        }
    }

    /// What state is left.
    pub fn state(&self) -> &'static str {
        match self {
            ClientError::Unreachable { .. } | ClientError::Invalid(_) => "nothing was sent",
            ClientError::Refused(_) => "the request had no effect",
            ClientError::Unknown(_) => "the write may have happened, and may yet spread",
            ClientError::NotStable(_) => {
                "the write is done at the level that was asked for, and spreads by itself"
            }
            ClientError::Timeout { .. } | ClientError::Broken(_) | ClientError::Protocol(_) => {
                "nothing was changed"
            }
        }
    }

    /// What to do.
    pub fn next(&self) -> &'static str {
        match self {
            ClientError::Unreachable { .. } => {
                "check the addresses, and that a node listens at one of them"
            }
            ClientError::Refused(failure) => next_after(failure.code),
            ClientError::Invalid(_) => "correct the request",
            ClientError::Unknown(unknown) if unknown.repeatable => {
                "read the key, or try again under the same operation id, which never shows the write twice"
            }
            ClientError::Unknown(_) => {
                "read the key; repeating an overwrite may replace what came after it"
            }
            ClientError::NotStable(_) => {
                "wait until these owners are back, then read at level all with the write's context as floor"
            }
            ClientError::Timeout { .. } => "try again, or ask for a lower level",
            ClientError::Broken(_) => "try again",
            ClientError::Protocol(_) => "check that both sides are of compatible releases",
        }
    }
}

fn next_after(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Refused => "correct the request",
        FailureCode::BadContext | FailureCode::TooManySiblings => {
            "read the key, and write with the context that comes with it"
        }
        FailureCode::NotYet => "try again, ask more owners, or give it more time",
        FailureCode::LevelNotMet => "wait until more nodes are up, or ask for a lower level",
        FailureCode::Overloaded | FailureCode::NotReady => {
            "try again in a moment, or at another node"
        }
        FailureCode::DiskFull => "free space on this node's disk, or write at another node",
        FailureCode::ReadOnly => "write at another node, and have this one's disk looked after",
        FailureCode::Damaged => "read at another node, and have this one's disk looked after",
    }
}
