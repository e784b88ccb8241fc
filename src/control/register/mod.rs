//! The ring register: who may decide the next ring, and why it cannot fork.
//!
//! Ring e+1 is chosen by one instance of single-decree Paxos (Lamport 1998) among the members of ring e. Any member may
//! *propose*; all members *accept*; who hears that a ring was chosen *learns* it, and with it that the instance is closed:
//! its votes are thrown away, and whoever asks for one more is answered with the ring. Each ring names
//! who decides on the next, so there is no joint consensus and no log.
//!
//! Invariants.
//! - One epoch of one lineage is one ring. Two quorums of ring e meet, in a node that keeps its word.
//! - What a node says binds it over restarts: a promise, an acceptance, a ring is on the synced disk before it is told
//!   ([`Output`]s wait for [`Register::persisted`]).
//! - A node is bound to one cluster at most, from the moment when it says that it is ready to join, and takes no
//!   other cluster's ring.
//!
//! Two leaders cost duplicated work, never two rings. Without a quorum there is no next ring; the one in force
//! stays. Not here: who should propose and when (the leader, `control`), what a good next ring is (the planner), the
//! founding ring (`control::founding`), time, and how messages travel.

mod acceptor;
mod follows;
mod force;
mod learner;
mod proposer;
mod quorum;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use follows::{follows, highest, successor};
pub use force::ForceError;
pub use proposer::NotProposed;
pub use quorum::quorum;

use crate::ring::{ClusterId, Epoch, NodeId, Ring};
use crate::rules::{Rule, holds};
use crate::wire::control::{Ballot, ControlMessage, Mark, Vote};
use proposer::Attempt;

/// What a node must not forget of the instance after its ring. Learning a ring empties it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// It votes for nothing older than this.
    pub promised: Option<Ballot>,
    /// What it voted for last.
    pub accepted: Option<Vote>,
}

/// What the register keeps on the disk, apart from who the node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The last ring it learnt.
    pub ring: Option<Arc<Ring>>,
    /// Its votes for the ring after it.
    pub votes: Votes,
    /// The cluster that it told that it is ready to join.
    pub bound: Option<ClusterId>,
}

/// What the register wants. Each leaves only when all that it depends on is on the disk.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Say this to that node; it may be this one. May be lost.
    Tell(NodeId, ControlMessage),
    /// This ring is in force.
    Learnt(Arc<Ring>),
    /// A quorum of the ring of this epoch, which this node proposed, has it.
    Done(Epoch),
    /// Tell people.
    Say(log::Level, String),
}

/// Two rings of one epoch: the loudest thing there is. Changes of the ring stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// The ring that this node has.
    pub mine: Mark,
    /// The other.
    pub other: Mark,
    /// Who has it.
    pub who: NodeId,
}

/// The register as one node holds it.
#[derive(Debug)]
pub struct Register {
    me: NodeId,
    /// A random number of this process.
    life: u64,
    kept: Kept,
    /// The mark of the ring that is kept.
    mark: Option<Mark>,
    /// Counts the changes of what is kept.
    version: u64,
    /// Which version each number stands for that was handed out to be written, and is not yet.
    handed: VecDeque<(u64, u64)>,
    /// The last version that is on the disk.
    durable: u64,
    /// What waits for a version to be on the disk.
    held: VecDeque<(u64, Output)>,
    /// The attempt to decide that this node drives.
    attempt: Option<Attempt>,
    /// The highest round seen, in whatever ballot.
    round: u64,
    /// Who is known to have which ring on the disk: the latest of each node.
    have: BTreeMap<NodeId, Mark>,
    /// The epoch that this node got chosen, until a quorum of its ring has it.
    spreading: Option<Epoch>,
    fork: Option<Fork>,
}

impl Register {
    /// The register of node `me`, going on from what it kept. `life` is a random number of the process.
    pub fn new(me: NodeId, life: u64, kept: Kept) -> Self {
        let mark = kept.ring.as_deref().map(Mark::of);
        let promised = kept.votes.promised.map_or(0, |ballot| ballot.round);
        let nonce = holds(Rule::BallotNonce);
        Register {
            me,
            life: if nonce { life } else { 0 },
            mark,
            version: 0,
            handed: VecDeque::new(),
            durable: 0,
            held: VecDeque::new(),
            attempt: None,
            round: if nonce { promised } else { 0 },
            have: mark.map(|mark| (me, mark)).into_iter().collect(),
            spreading: None,
            fork: None,
            kept,
        }
    }

    /// What is to be on the disk.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The ring that this node has, if it has one. It may not be on the disk yet: see [`Output::Learnt`].
    pub fn ring(&self) -> Option<&Arc<Ring>> {
        self.kept.ring.as_ref()
    }

    /// The mark of [`Register::ring`].
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// The fork that was seen, if one was.
    pub fn fork(&self) -> Option<&Fork> {
        self.fork.as_ref()
    }

    /// Whether what is kept differs from what was handed out last.
    pub fn unwritten(&self) -> bool {
        self.handed.back().map_or(self.durable, |(_, version)| *version) < self.version
    }

    /// What is kept is being written down under this number. Numbers ascend.
    pub fn handed_out(&mut self, number: u64) {
        self.handed.push_back((number, self.version));
    }

    /// All that was handed out under this number or an earlier one is on the synced disk.
    pub fn persisted(&mut self, number: u64, out: &mut Vec<Output>) {
        while let Some((first, version)) = self.handed.front().copied()
            && first <= number
        {
            self.handed.pop_front();
            self.durable = version;
        }
        self.flush(out);
    }

    /// Lets go what waits for nothing any more.
    fn flush(&mut self, out: &mut Vec<Output>) {
        while self.held.front().is_some_and(|(at, _)| *at <= self.durable) {
            let (_, output) = self.held.pop_front().expect("just looked at");
            let learnt = matches!(output, Output::Learnt(_));
            out.push(output);
            if learnt && let Some(mark) = self.mark {
                self.on_have(self.me, mark, out);
            }
        }
    }

    /// What comes of what somebody said.
    pub fn hear(&mut self, from: NodeId, message: ControlMessage, out: &mut Vec<Output>) {
        match message {
            ControlMessage::Prepare { after, ballot } => {
                self.on_prepare(from, after, ballot, out);
            }
            ControlMessage::Promise { after, ballot, accepted } => {
                self.on_promise(from, after, ballot, accepted, out);
            }
            ControlMessage::Accept { after, vote } => self.on_accept(from, after, vote, out),
            ControlMessage::Accepted { after, ballot, ring } => {
                self.on_accepted(from, after, ballot, ring, out);
            }
            ControlMessage::Refused { after, ballot, promised } => {
                self.on_refused(from, after, ballot, promised, out);
            }
            ControlMessage::Pull { cluster, mine } => self.on_pull(from, cluster, mine, out),
            ControlMessage::Ring(ring) => self.on_ring(from, *ring, out),
            ControlMessage::Have(mark) => self.on_have(from, mark, out),
            // The leader's, not the register's.
            ControlMessage::Reports(_)
            | ControlMessage::Lives(_)
            | ControlMessage::RefuseLives(_)
            | ControlMessage::LivesRefused { .. }
            | ControlMessage::Change(_)
            | ControlMessage::Changed(..) => {}
        }
    }

    /// What is kept has changed, and `output` depends on it.
    fn after_sync(&mut self, output: Output) {
        self.held.push_back((self.version, output));
    }
}

/// Sentences about rings name them so.
fn shown(mark: Mark) -> String {
    format!("epoch {} ({:016x})", mark.epoch, mark.hash)
}
