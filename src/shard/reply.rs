//! Who gets an answer, and how it is framed.
//!
//! Invariant: every request that came in is answered at most once, to where it came from.

use super::Shard;
use super::event::{Effect, Origin};
use crate::ring::{Epoch, MemberNumber, Slot, Token};
use crate::storage::Disk;
use crate::wire::{Failure, FailureCode, Frame, Kind, Message};

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The slot.
    pub(super) slot: Slot,
    /// The key's token, or 0.
    pub(super) token: Token,
    /// The request id of whoever asks.
    pub(super) request: u64,
    /// The epoch of a frame that came in, 0 of one that is made here.
    pub(super) epoch: Epoch,
}

impl Head {
    /// The header of a frame that came in.
    pub(super) fn of(frame: &Frame) -> Self {
        Head { slot: frame.slot, token: frame.token, request: frame.request, epoch: frame.epoch }
    }

    /// The header of a frame about a key.
    pub(super) fn key(token: Token, request: u64) -> Self {
        Head { slot: token.slot(), token, request, epoch: Epoch(0) }
    }

    /// The header of a frame about a slot.
    pub(super) fn slot(slot: Slot, request: u64) -> Self {
        Head { slot, token: Token(0), request, epoch: Epoch(0) }
    }
}

/// Whom a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client of this node.
    Client(Origin),
    /// A member that sent a client's request on.
    Member(MemberNumber, u64),
}

impl<D: Disk> Shard<D> {
    pub(super) fn epoch(&self) -> Epoch {
        self.view.as_ref().map_or(Epoch(0), |view| view.ring.epoch)
    }

    /// Sends a message to a member's shard.
    pub(super) fn send(&mut self, to: MemberNumber, head: Head, message: Message) {
        debug_assert!(
            self.view.as_ref().is_none_or(|view| view.me != to),
            "nobody writes to itself"
        );
        let Head { slot, token, request, epoch: _ } = head;
        // Requests about a row name the row that they mean, everything else the ring.
        let about_row = matches!(
            message.kind(),
            Kind::Put | Kind::Get | Kind::Store | Kind::KeepHint | Kind::Fetch
        );
        let epoch = if about_row { self.row_since(slot) } else { self.epoch() };
        let frame = Frame { slot, epoch, request, token, message };
        self.effects.push(Effect::Send(to, frame));
    }

    /// Answers whoever asked.
    pub(super) fn reply(&mut self, asker: Asker, token: Token, message: Message) {
        match asker {
            Asker::Member(member, request) => self.send(member, Head::key(token, request), message),
            Asker::Client(origin) => {
                let (slot, request) = (token.slot(), origin.request);
                let frame = Frame { slot, epoch: self.epoch(), request, token, message };
                self.effects.push(Effect::Reply(origin, frame));
            }
        }
    }

    /// Tells whoever asked that the request had no effect.
    pub(super) fn refuse(
        &mut self,
        asker: Asker,
        token: Token,
        code: FailureCode,
        message: impl Into<String>,
    ) {
        self.metrics.failures += 1;
        self.reply(asker, token, Message::Failure(Failure::new(code, message)));
    }
}
