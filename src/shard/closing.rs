//! Dead actors: the ring's list of them, and sets of dots that count on it.
//!
//! Invariant: what comes in has its sets resolved with the list that this shard's log knows. What speaks of
//! more dead actors comes from a node with a newer ring: it has no effect, and whoever sent it is told.
//! Not here: who lists an actor.

use super::Shard;
use super::reply::Head;
use crate::causality::{ContextError, DotSet, Resolve, Unresolved, open_context};
use crate::key::Key;
use crate::ring::{MemberNumber, View};
use crate::storage::Disk;
use crate::wire::{Decline, Failure, FailureCode, Frame, Message};

impl<D: Disk> Shard<D> {
    /// The dots that a client's token covers.
    pub(super) fn open(&self, view: &View, key: &Key, token: &[u8]) -> Result<DotSet, Failure> {
        open_context(&view.ring.secret, self.store.dead(), key, token).map_err(|error| {
            let code = match error {
                ContextError::NotOurs | ContextError::Version(_) => FailureCode::BadContext,
                ContextError::Ahead => FailureCode::NotReady,
            };
            Failure::new(code, error.to_string())
        })
    }

    /// Makes the sets of a member's message usable. Without that it is as good as lost, and whoever waits
    /// for it goes on.
    pub(super) fn resolve(&mut self, from: MemberNumber, frame: &mut Frame) -> bool {
        let Err(why) = frame.message.resolve(self.store.dead()) else { return true };
        let (head, kind) = (Head::of(frame), frame.message.kind());
        match why {
            Unresolved::Ahead(_) => log::debug!("a {kind} of member {from} has to wait: {why}"),
            Unresolved::Twice(_) => log::warn!("member {from} sent a {kind} that is none: {why}"),
        }
        match &frame.message {
            Message::Store(_) | Message::KeepHint(_) => {
                self.send(from, head, Message::Declined(Decline::OtherRing));
            }
            Message::Fetched(_) | Message::Page(_) | Message::Inspected(_) => {
                self.on_lost(from, head.request);
            }
            Message::Put(_)
            | Message::PutReply(_)
            | Message::Get(_)
            | Message::GetReply(_)
            | Message::Failure(_)
            | Message::Question(_)
            | Message::Answer(_)
            | Message::Stored
            | Message::Declined(_)
            | Message::Fetch(_)
            | Message::Summary(_)
            | Message::SlotHashes(_)
            | Message::ClocksWanted(_)
            | Message::Clocks(_)
            | Message::Ask(_)
            | Message::Inspect(_)
            | Message::Count(_)
            | Message::Counted(_) => {}
        }
        false
    }

    /// A view has come: takes over what its ring lists beyond what is known.
    pub(super) fn learn_dead(&mut self, view: &View) {
        let (known, listed) = (self.store.dead().actors(), view.ring.dead.actors());
        let Some(more) = listed.strip_prefix(known) else {
            assert!(
                known.starts_with(listed),
                "the ring's list of dead actors only grows at its end"
            );
            return;
        };
        if !more.is_empty() {
            let more = more.to_vec();
            self.store.stage_dead(&more);
            self.staged();
        }
    }
}
