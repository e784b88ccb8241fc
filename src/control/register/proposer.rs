//! Proposing: asking the members of the ring in force for the next one.
//!
//! An attempt has a ballot that no other attempt has. Once a quorum has promised to vote for nothing older, it proposes
//! what the highest vote among these promises was for, since that may be chosen already; only if there was none, its own
//! wish. A quorum that accepts has chosen. Losing, or hearing nothing, costs another attempt.
//!
//! Invariant: one attempt proposes one ring. Not here: when to try again (the leader).

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{Fork, Output, Register, follows, quorum, shown};
use crate::ring::{NodeId, Ring, RingError};
use crate::rules::{Rule, holds};
use crate::wire::control::{Ballot, ControlMessage, Mark, Vote};

/// An attempt to have the next ring decided.
#[derive(Debug)]
pub(super) struct Attempt {
    after: Mark,
    ballot: Ballot,
    wish: Box<Ring>,
    /// Who promised, and what it had voted for.
    promises: BTreeMap<NodeId, Option<Vote>>,
    /// What is proposed, once a quorum promised, and its hash.
    proposed: Option<(Box<Ring>, u64)>,
    accepted: BTreeSet<NodeId>,
    /// Somebody promised a higher ballot.
    beaten: bool,
}

/// Why a wish was not proposed. Nothing happened.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum NotProposed {
    /// This node has no ring, or the ring does not name it.
    #[error("this node is no member of the ring, and only members decide on the next one")]
    NoMember,
    /// Two rings of one epoch were seen.
    #[error("two rings of epoch {} were seen; nothing is changed before an operator decides", .0.mine.epoch)]
    Forked(Fork),
    /// It cannot come after the ring in force.
    #[error("{0}")]
    NoRing(#[from] RingError),
    /// These nodes have not said lately that they are ready to join.
    #[error("{} new members have not said lately that they are ready to join", .0.len())]
    NotReady(Vec<NodeId>),
    /// Too few members of the new ring answer: it could decide nothing any more.
    #[error("too few members of the new ring answer, and without them it could never change again")]
    NoQuorum,
}

impl Register {
    /// Tries to make `wish` the next ring, instead of whatever was tried before. `lately` says who answered lately,
    /// under that id. What is decided may be another ring: see [`Output::Learnt`].
    pub fn propose(
        &mut self,
        wish: Ring,
        lately: impl Fn(NodeId) -> bool,
        out: &mut Vec<Output>,
    ) -> Result<(), NotProposed> {
        let ring = self.kept.ring.clone().filter(|ring| ring.member_by_id(self.me).is_some());
        let (Some(ring), Some(after)) = (ring, self.mark) else {
            return Err(NotProposed::NoMember);
        };
        if let Some(fork) = self.fork {
            return Err(NotProposed::Forked(fork));
        }
        follows(&wish, &ring)?;
        if holds(Rule::Ready) {
            let answers = |id| id == self.me || lately(id);
            let new = wish.members.iter().filter(|member| ring.member_by_id(member.id).is_none());
            let silent: Vec<_> = new.map(|member| member.id).filter(|id| !answers(*id)).collect();
            if !silent.is_empty() {
                return Err(NotProposed::NotReady(silent));
            }
            if !quorum(&wish, answers) {
                return Err(NotProposed::NoQuorum);
            }
        }
        let promised = self.kept.votes.promised.filter(|_| holds(Rule::BallotNonce));
        self.round = self.round.max(promised.map_or(0, |ballot| ballot.round)) + 1;
        let ballot = Ballot { round: self.round, node: self.me, life: self.life };
        for member in &ring.members {
            out.push(Output::Tell(member.id, ControlMessage::Prepare { after, ballot }));
        }
        self.attempt = Some(Attempt {
            after,
            ballot,
            wish: Box::new(wish),
            promises: BTreeMap::new(),
            proposed: None,
            accepted: BTreeSet::new(),
            beaten: false,
        });
        Ok(())
    }

    /// Whether an attempt is under way that nobody has beaten.
    pub fn is_trying(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| !attempt.beaten)
    }

    pub(super) fn on_promise(
        &mut self,
        from: NodeId,
        after: Mark,
        ballot: Ballot,
        accepted: Option<Vote>,
        out: &mut Vec<Output>,
    ) {
        let (Some(ring), Some(attempt)) = (&self.kept.ring, &mut self.attempt) else { return };
        if (attempt.after, attempt.ballot) != (after, ballot) || attempt.proposed.is_some() {
            return;
        }
        attempt.promises.insert(from, accepted);
        if !quorum(ring, |id| attempt.promises.contains_key(&id)) {
            return;
        }
        let votes = attempt.promises.values().flatten();
        let highest = votes.max_by_key(|vote| vote.ballot).filter(|_| holds(Rule::Adopt));
        let next = highest.map_or(&attempt.wish, |vote| &vote.ring).clone();
        attempt.proposed = Some((next.clone(), next.hash()));
        for member in &ring.members {
            let vote = Vote { ballot, ring: next.clone() };
            out.push(Output::Tell(member.id, ControlMessage::Accept { after, vote }));
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        from: NodeId,
        after: Mark,
        ballot: Ballot,
        hash: u64,
        out: &mut Vec<Output>,
    ) {
        let (Some(ring), Some(attempt)) = (&self.kept.ring, &mut self.attempt) else { return };
        if (attempt.after, attempt.ballot) != (after, ballot) {
            return;
        }
        let Some((next, proposed)) = &attempt.proposed else { return };
        if *proposed != hash {
            return;
        }
        attempt.accepted.insert(from);
        let electorate: &Ring = if holds(Rule::OldRing) { ring } else { next };
        if quorum(electorate, |id| attempt.accepted.contains(&id)) {
            let (next, before) = (next.clone(), ring.clone());
            self.chosen(*next, &before, out);
        }
    }

    /// The attempt succeeded: who was in and who is in is told, and who is out.
    fn chosen(&mut self, next: Ring, before: &Ring, out: &mut Vec<Output>) {
        let epoch = next.epoch;
        let now = next.members.iter().map(|member| member.id);
        let told: BTreeSet<NodeId> =
            before.members.iter().map(|member| member.id).chain(now).collect();
        self.learn(next.clone(), out);
        self.spreading = Some(epoch);
        for id in told.into_iter().filter(|id| *id != self.me) {
            out.push(Output::Tell(id, ControlMessage::Ring(Box::new(next.clone()))));
        }
    }

    pub(super) fn on_refused(
        &mut self,
        from: NodeId,
        after: Mark,
        ballot: Ballot,
        promised: Ballot,
        out: &mut Vec<Output>,
    ) {
        self.round = self.round.max(promised.round);
        if let Some(attempt) = &mut self.attempt
            && (attempt.after, attempt.ballot) == (after, ballot)
            && attempt.proposed.is_none()
            && !attempt.beaten
        {
            attempt.beaten = true;
            let sentence = format!(
                "another attempt to decide the ring after {} goes first, says {from:?}",
                shown(after)
            );
            out.push(Output::Say(log::Level::Debug, sentence));
        }
    }
}
