//! Voting: a node's word, given once and kept.
//!
//! Invariant: a node votes only about the ring after the one it has; it breaks no promise; a vote is on
//! the synced disk before it is told. Not here: counting votes (`proposer`).

use std::cmp::Ordering;

use super::{Output, Register, follows, shown};
use crate::ring::NodeId;
use crate::rules::{Rule, holds};
use crate::wire::control::{Ballot, ControlMessage, Mark, Vote};

impl Register {
    /// Whether this node votes in the instance after that ring now. If not, `from` is told what it lacks, or asked for
    /// what this node lacks.
    fn votes_after(&mut self, from: NodeId, after: Mark, out: &mut Vec<Output>) -> bool {
        let Some(mine) = self.mark.filter(|mine| mine.cluster == after.cluster) else {
            return false;
        };
        match (after.lineage, after.epoch).cmp(&(mine.lineage, mine.epoch)) {
            Ordering::Equal if after.hash != mine.hash => {
                self.alarm(from, after, out);
                false
            }
            Ordering::Equal => self.fork.is_none(),
            Ordering::Less if holds(Rule::Closed) || after.lineage < mine.lineage => {
                self.show_ring(from, out);
                false
            }
            Ordering::Less => true,
            Ordering::Greater => {
                self.pull(from, out);
                false
            }
        }
    }

    /// Whether a promise given before forbids this ballot. If so `from` is told.
    fn forbidden(&self, from: NodeId, after: Mark, ballot: Ballot, out: &mut Vec<Output>) -> bool {
        match self.kept.votes.promised {
            Some(promised) if ballot < promised => {
                let refused = ControlMessage::Refused { after, ballot, promised };
                out.push(Output::Tell(from, refused));
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn on_prepare(
        &mut self,
        from: NodeId,
        after: Mark,
        ballot: Ballot,
        out: &mut Vec<Output>,
    ) {
        if !self.votes_after(from, after, out) || self.forbidden(from, after, ballot, out) {
            return;
        }
        self.kept.votes.promised = Some(ballot);
        self.version += 1;
        let accepted = self.kept.votes.accepted.clone();
        self.vote(Output::Tell(from, ControlMessage::Promise { after, ballot, accepted }), out);
    }

    pub(super) fn on_accept(
        &mut self,
        from: NodeId,
        after: Mark,
        vote: Vote,
        out: &mut Vec<Output>,
    ) {
        let ballot = vote.ballot;
        if !self.votes_after(from, after, out) || self.forbidden(from, after, ballot, out) {
            return;
        }
        let mine = self.kept.ring.as_ref().expect("who votes has a ring");
        if let Err(error) = follows(&vote.ring, mine) {
            let next = shown(Mark::of(&vote.ring));
            let sentence =
                format!("{from} proposes a ring {next} that cannot be the next: {error}");
            out.push(Output::Say(log::Level::Error, sentence));
            return;
        }
        let ring = vote.ring.hash();
        (self.kept.votes.promised, self.kept.votes.accepted) = (Some(ballot), Some(vote));
        self.version += 1;
        self.vote(Output::Tell(from, ControlMessage::Accepted { after, ballot, ring }), out);
    }

    /// Tells a vote, once it is on the disk.
    fn vote(&mut self, told: Output, out: &mut Vec<Output>) {
        if holds(Rule::SyncVotes) {
            self.after_sync(told);
        } else {
            out.push(told);
        }
    }
}
