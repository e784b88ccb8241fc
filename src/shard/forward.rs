//! Requests that came to a node which owns none of the key's row: an owner is asked to coordinate.
//!
//! Invariant: a write goes to a second owner only when the first certainly did nothing: it said so
//! with a `Failure`. When touch is lost after sending, the outcome is `Unknown`, without a dot. Reads
//! go on to the next owner at once, for they have no effect.
//! When no owner can be reached, a sloppy write is kept here as hints and a read at level one is
//! answered from them.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::Shard;
use super::reply::{Asker, Head};
use super::requests::Request;
use crate::ring::{MemberNumber, Token};
use crate::storage::Disk;
use crate::wire::{Failure, FailureCode, Get, Level, Message, Outcome, Put, PutReply};

/// A client's request sent on to an owner.
#[derive(Debug)]
pub(super) struct Forward {
    asker: Asker,
    token: Token,
    what: What,
    /// Owners asked whose answer may still come.
    asked: BTreeSet<MemberNumber>,
    /// Owners not asked yet.
    spare: VecDeque<MemberNumber>,
    deadline: Duration,
    patience: Duration,
    /// Why the last owner did nothing.
    failure: Option<Failure>,
}

#[derive(Debug)]
enum What {
    Put(Put),
    Get(Get),
}

impl<D: Disk> Shard<D> {
    /// A client's write of a key that this node does not own.
    pub(super) fn forward_put(&mut self, asker: Asker, put: Put) {
        let (token, timeout_ms) = (Token::of(&put.key), put.timeout_ms);
        let bytes = put.value.as_ref().map_or(0, Bytes::len) + put.key.as_bytes().len();
        self.forward(asker, token, What::Put(put), timeout_ms, bytes as u64);
    }

    /// A client's read of a key that this node does not own.
    pub(super) fn forward_get(&mut self, asker: Asker, get: Get) {
        let (token, timeout_ms) = (Token::of(&get.key), get.timeout_ms);
        let bytes = get.key.as_bytes().len() as u64;
        self.forward(asker, token, What::Get(get), timeout_ms, bytes);
    }

    fn forward(&mut self, asker: Asker, token: Token, what: What, timeout_ms: u32, bytes: u64) {
        let view = self.view.as_ref().expect("admitted only with a ring");
        let row = view.ring.row(token.slot()).iter().copied();
        let timeout = self.config.timeout(timeout_ms);
        let patience = timeout / self.config.patience_divisor;
        let forward = Forward {
            asker,
            token,
            what,
            asked: BTreeSet::new(),
            spare: row.filter(|owner| view.is_up(*owner)).collect(),
            deadline: self.now.elapsed + timeout,
            patience,
            failure: None,
        };
        self.metrics.forwards += 1;
        let id = self.requests.draw();
        let wake = self.now.elapsed + patience;
        self.requests.insert(id, wake, bytes, Request::Forward(forward));
        if let Some(Request::Forward(forward)) = self.requests.take(id) {
            self.next_owner(id, forward);
        }
    }

    /// Sends the request to the next owner that is up, or ends without one.
    fn next_owner(&mut self, id: u64, mut forward: Forward) {
        while let Some(owner) = forward.spare.pop_front() {
            if self.view.as_ref().is_some_and(|view| view.is_up(owner)) {
                let message = self.sent_on(&forward);
                self.send(owner, Head::key(forward.token, id), message);
                forward.asked.insert(owner);
                self.requests.restore(id, Request::Forward(forward));
                return;
            }
        }
        if forward.asked.is_empty() {
            self.without_owners(id, forward);
        } else {
            self.requests.restore(id, Request::Forward(forward));
        }
    }

    /// The request as an owner gets it. It must answer a little before this node's own deadline.
    fn sent_on(&self, forward: &Forward) -> Message {
        let left = forward.deadline.saturating_sub(self.now.elapsed) * 9 / 10;
        let timeout_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        match &forward.what {
            What::Put(put) => Message::Put(Put { timeout_ms, forwarded: true, ..put.clone() }),
            What::Get(get) => Message::Get(Get { timeout_ms, forwarded: true, ..get.clone() }),
        }
    }

    /// No owner can be reached, or all that can did nothing.
    fn without_owners(&mut self, id: u64, forward: Forward) {
        self.requests.remove(id);
        let Forward { asker, token, what, failure, .. } = forward;
        match what {
            What::Put(put) if !put.strict => self.coordinate(asker, put),
            What::Get(get) if get.level == Level::One && self.has_hints(&get.key) => {
                self.get_from_hints(asker, get);
            }
            What::Put(Put { level, .. }) | What::Get(Get { level, .. }) => {
                let none = || {
                    let message = format!(
                        "level {level} needs owners of the key, and this node reaches none; \
                         nothing was done; try another node, or again when an owner is back"
                    );
                    Failure::new(FailureCode::LevelNotMet, message)
                };
                let Failure { code, message } = failure.unwrap_or_else(none);
                self.refuse(asker, token, code, message);
            }
        }
    }

    /// An owner answered.
    pub(super) fn forward_answered(
        &mut self,
        id: u64,
        mut forward: Forward,
        from: MemberNumber,
        message: Message,
    ) {
        if !forward.asked.remove(&from) {
            return self.requests.restore(id, Request::Forward(forward));
        }
        match message {
            // It did nothing, for a reason that another owner may not have.
            Message::Failure(failure) if another_may_do(failure.code) => {
                forward.failure = Some(failure);
                self.next_owner(id, forward);
            }
            answer => {
                self.requests.remove(id);
                self.reply(forward.asker, forward.token, answer);
            }
        }
    }

    /// Touch with a member was lost.
    pub(super) fn forward_lost(&mut self, id: u64, mut forward: Forward, from: MemberNumber) {
        if !forward.asked.remove(&from) {
            return self.requests.restore(id, Request::Forward(forward));
        }
        match forward.what {
            What::Put(_) => self.forward_unknown(id, forward),
            What::Get(_) => self.next_owner(id, forward),
        }
    }

    /// Patience or all time is over.
    pub(super) fn forward_woke(&mut self, id: u64, mut forward: Forward) {
        let over = self.now.elapsed >= forward.deadline;
        match forward.what {
            What::Put(_) if over => self.forward_unknown(id, forward),
            What::Get(_) if over => {
                forward.failure = Some(Failure::new(
                    FailureCode::LevelNotMet,
                    "no owner of the key answered in time; a read changes nothing; try again",
                ));
                self.without_owners(id, forward);
            }
            What::Put(_) => {
                self.requests.rearm(id, forward.deadline);
                self.requests.restore(id, Request::Forward(forward));
            }
            What::Get(_) => {
                let wake = (self.now.elapsed + forward.patience).min(forward.deadline);
                self.requests.rearm(id, wake);
                self.next_owner(id, forward);
            }
        }
    }

    /// An owner may have done it, and nobody will say so any more.
    fn forward_unknown(&mut self, id: u64, forward: Forward) {
        self.requests.remove(id);
        self.metrics.unknowns += 1;
        let What::Put(put) = forward.what else { return };
        let row = self.view.as_ref().map_or(0, |view| view.ring.row(forward.token.slot()).len());
        let reply = PutReply {
            outcome: Outcome::Unknown,
            dot: None,
            context: Bytes::new(),
            owners: 0,
            fallbacks: 0,
            needed: u8::try_from(put.level.needed(row)).unwrap_or(u8::MAX),
            siblings: 0,
        };
        self.reply(forward.asker, forward.token, Message::PutReply(reply));
    }
}

/// Whether a failure speaks of the node and not of the request.
fn another_may_do(code: FailureCode) -> bool {
    match code {
        FailureCode::NotReady
        | FailureCode::Overloaded
        | FailureCode::ReadOnly
        | FailureCode::DiskFull
        | FailureCode::Damaged
        | FailureCode::NotYet => true,
        FailureCode::Refused
        | FailureCode::BadContext
        | FailureCode::LevelNotMet
        | FailureCode::TooManySiblings => false,
    }
}
