//! Requests as they are put together: `client.put(&key, value).level(Level::All).await`.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::{Client, ClientError, Got, PutDone};
use crate::wire::{Basis, Get, Level, Message, Put};

/// A boxed future that may move between threads.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A read about to be sent; await it.
#[derive(Debug, Clone)]
#[must_use = "it is sent when it is awaited"]
pub struct GetRequest<'a> {
    pub(super) client: &'a Client,
    pub(super) get: Get,
}

impl<'a> GetRequest<'a> {
    /// How many owners must answer; a quorum unless told otherwise.
    pub fn level(mut self, level: Level) -> Self {
        self.get.level = level;
        self
    }

    /// The answer must have seen all that this token covers, as a read or write of the key gave it: so
    /// a session reads what it wrote and read before, from any node, at level one too. At level all
    /// each owner must have seen it, and not just all of them together. The node waits for that as
    /// long as the request may take, then refuses with
    /// [`FailureCode::NotYet`](crate::wire::FailureCode::NotYet).
    pub fn floor(mut self, context: impl Into<Bytes>) -> Self {
        self.get.floor = context.into();
        self
    }

    /// How long the node may take; the client's own unless told otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.get.timeout_ms = millis(timeout);
        self
    }

    /// The message that this is, for [`Client::start`].
    pub fn into_message(self) -> Message {
        Message::Get(self.get)
    }

    /// Sends it and waits for the answer. The same as awaiting the request.
    pub async fn send(self) -> Result<Got, ClientError> {
        let client = self.client;
        match client.submit(self.into_message()).await? {
            Message::GetReply(reply) => Ok(reply.into()),
            other => Err(ClientError::Protocol(format!("it answered a get with {}", other.kind()))),
        }
    }
}

impl<'a> IntoFuture for GetRequest<'a> {
    type Output = Result<Got, ClientError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A write or delete about to be sent; await it.
#[derive(Debug, Clone)]
#[must_use = "it is sent when it is awaited"]
pub struct PutRequest<'a> {
    pub(super) client: &'a Client,
    pub(super) put: Put,
}

impl<'a> PutRequest<'a> {
    /// How many must have it on their disks; a quorum unless told otherwise.
    pub fn level(mut self, level: Level) -> Self {
        self.put.level = level;
        self
    }

    /// Only owners count, not fallbacks that keep it for them. Strict writes at quorum are what
    /// strict reads at quorum are sure to see.
    pub fn strict(mut self) -> Self {
        self.put.strict = true;
        self
    }

    /// Replaces exactly what this context covers: what the client was shown when it got it.
    pub fn context(self, context: impl Into<Bytes>) -> Self {
        self.basis(Basis::Context(context.into()))
    }

    /// Replaces nothing: it becomes a sibling of whatever is there.
    pub fn blind(self) -> Self {
        self.basis(Basis::Blind)
    }

    /// What it replaces. Unless told otherwise a write overwrites whatever its coordinator can see.
    pub fn basis(mut self, basis: Basis) -> Self {
        self.put.basis = basis;
        self
    }

    /// Another attempt at the write of this name, whose outcome is unknown: what it wrote is looked for
    /// first, and written again under the same dot. It must be the same write in all else.
    pub fn retry(self, operation: u128) -> Self {
        self.operation(operation).again()
    }

    /// Another attempt at the same request, see [`PutRequest::retry`].
    pub fn again(mut self) -> Self {
        self.put.again = true;
        self
    }

    /// The write's name, under which it may be tried again. Drawn at random otherwise.
    pub fn operation(mut self, operation: u128) -> Self {
        self.put.operation = operation;
        self
    }

    /// How long the node may take; the client's own unless told otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.put.timeout_ms = millis(timeout);
        self
    }

    /// The message that this is, for [`Client::start`].
    pub fn into_message(self) -> Message {
        Message::Put(self.put)
    }

    /// Sends it and waits for the answer. The same as awaiting the request.
    pub async fn send(self) -> Result<PutDone, ClientError> {
        let client = self.client;
        let operation = self.put.operation;
        let repeatable = self.put.basis != Basis::Overwrite;
        match client.submit(self.into_message()).await? {
            Message::PutReply(reply) => Ok(PutDone::of(reply, operation)),
            other => {
                let why = format!("the node answered a put with {}", other.kind());
                Err(super::unknown(operation, repeatable, why, None))
            }
        }
    }
}

impl<'a> IntoFuture for PutRequest<'a> {
    type Output = Result<PutDone, ClientError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A wait as it travels: whole milliseconds, at least one, at most seven weeks.
pub(super) fn millis(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1)
}
