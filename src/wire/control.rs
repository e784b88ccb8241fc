//! What control machines say to each other over their own connection: how the next ring is decided and spread.
//!
//! | message | from → to | answered by | if it is lost |
//! |---|---|---|---|
//! | [`Prepare`](ControlMessage::Prepare) | leader → members of the ring in force | `Promise`, `Refused`, `Ring`, `Pull` | the leader tries again |
//! | [`Promise`](ControlMessage::Promise) | member → leader, synced | `Accept`, once a quorum promised | the leader tries again |
//! | [`Accept`](ControlMessage::Accept) | leader → members of the ring in force | `Accepted`, `Refused`, `Ring`, `Pull` | the leader tries again |
//! | [`Accepted`](ControlMessage::Accepted) | member → leader, synced | `Ring`, once a quorum accepted | the leader tries again |
//! | [`Refused`](ControlMessage::Refused) | member → leader | nothing | the leader tries again |
//! | [`Pull`](ControlMessage::Pull) | who is behind → who is ahead | `Ring` | the next heartbeat tells the difference again |
//! | [`Ring`](ControlMessage::Ring) | who is ahead → who is behind | `Have`, synced | the next heartbeat tells the difference again |
//! | [`Have`](ControlMessage::Have) | who learnt → who told | nothing | heartbeats tell it too |
//! | [`Reports`](ControlMessage::Reports) | member → leader | nothing | told again until the rows have gone on |
//! | [`Lives`](ControlMessage::Lives) | member → leader | nothing | told again until they are listed |
//! | [`RefuseLives`](ControlMessage::RefuseLives) | leader → member | `LivesRefused`, synced | asked again |
//! | [`LivesRefused`](ControlMessage::LivesRefused) | member → leader | nothing | asked again |
//! | [`Change`](ControlMessage::Change) | who was asked for a change → leader | `Changed`, once it is decided or refused | told again until then |
//! | [`Changed`](ControlMessage::Changed) | leader → who was asked | nothing | the change is told again |
//!
//! Each travels in a frame of the kind `Control`, as MessagePack with named fields. The connection's handshake says who
//! speaks. Invariant: a ring that [`Ring::check`] refuses does not leave the decoder. Not here: what
//! messages mean (`control::register`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::unpack;
use super::frame::{Header, seal};
use super::{Changed, Kind, Proposed, WireError};
use crate::causality::Actor;
use crate::pack::pack_into;
use crate::ring::steps::Report;
use crate::ring::{ClusterId, Epoch, NodeId, Ring};

/// The name of an attempt to decide: the higher one wins. No two attempts, of whatever node and life,
/// have one name (Lamport 1998, "The Part-Time Parliament", section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Counted up from the highest round that its proposer has seen.
    pub round: u64,
    /// The proposer.
    pub node: NodeId,
    /// A random number of the proposer's process.
    pub life: u64,
}

/// Which ring is meant: what decides on the ring after it is the instance of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Its cluster.
    pub cluster: ClusterId,
    /// How often an operator had forced an epoch.
    pub lineage: u16,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its hash.
    pub hash: u64,
}

impl Mark {
    /// The mark of a ring.
    pub fn of(ring: &Ring) -> Self {
        Mark { cluster: ring.cluster, lineage: ring.lineage, epoch: ring.epoch, hash: ring.hash() }
    }
}

/// What an acceptor last said yes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// In which attempt.
    pub ballot: Ballot,
    /// The next ring, if a quorum says so.
    pub ring: Box<Ring>,
}

/// Everything that control machines say over their connection. See the table at the top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlMessage {
    /// Vote for nothing older than this, and tell me what you voted for already.
    Prepare {
        /// The ring that I have.
        after: Mark,
        /// My attempt.
        ballot: Ballot,
    },
    /// I will not.
    Promise {
        /// The ring that both have.
        after: Mark,
        /// The attempt.
        ballot: Ballot,
        /// What I voted for last.
        accepted: Option<Vote>,
    },
    /// Vote for this ring.
    Accept {
        /// The ring that I have.
        after: Mark,
        /// My attempt, and the ring that should follow.
        vote: Vote,
    },
    /// I did.
    Accepted {
        /// The ring that both have.
        after: Mark,
        /// The attempt.
        ballot: Ballot,
        /// The hash of what I voted for.
        ring: u64,
    },
    /// Not in this attempt: I promised a higher one.
    Refused {
        /// The ring that both have.
        after: Mark,
        /// The attempt that was refused.
        ballot: Ballot,
        /// The one that I promised.
        promised: Ballot,
    },
    /// You seem to have a later ring of this cluster than mine; `None` when I have none.
    Pull {
        /// The cluster.
        cluster: ClusterId,
        /// The ring that I have.
        mine: Option<Mark>,
    },
    /// This ring was decided.
    Ring(Box<Ring>),
    /// I have this ring on my synced disk.
    Have(Mark),
    /// My shards are so far with the rows that change.
    Reports(Vec<Report>),
    /// My clocks name these lives, and the ring does not list them.
    Lives(Vec<Actor>),
    /// Take in nothing of these lives any more, unless you live one of them.
    RefuseLives(Vec<Actor>),
    /// What all my shards say to that.
    LivesRefused {
        /// They can do without these, for ever: it is on my synced disk.
        refused: Vec<Actor>,
        /// One of them lives these.
        in_use: Vec<Actor>,
    },
    /// Somebody asked me for this change: have it decided.
    Change(Wanted),
    /// What came of the change of this number: it is decided, or refused and why.
    Changed(u64, Result<Changed, String>),
}

/// A change that somebody asked a member for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The member's own number for it.
    pub number: u64,
    /// What it was planned from, if that matters: see [`PlanShown::basis`](super::PlanShown::basis).
    pub basis: String,
    /// All of it, to be granted at once.
    pub changes: Vec<Proposed>,
}

impl ControlMessage {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            ControlMessage::Prepare { .. } => "Prepare",
            ControlMessage::Promise { .. } => "Promise",
            ControlMessage::Accept { .. } => "Accept",
            ControlMessage::Accepted { .. } => "Accepted",
            ControlMessage::Refused { .. } => "Refused",
            ControlMessage::Pull { .. } => "Pull",
            ControlMessage::Ring(_) => "Ring",
            ControlMessage::Have(_) => "Have",
            ControlMessage::Reports(_) => "Reports",
            ControlMessage::Lives(_) => "Lives",
            ControlMessage::RefuseLives(_) => "RefuseLives",
            ControlMessage::LivesRefused { .. } => "LivesRefused",
            ControlMessage::Change(_) => "Change",
            ControlMessage::Changed(..) => "Changed",
        }
    }

    /// The ring that it brings.
    fn ring(&self) -> Option<&Ring> {
        match self {
            ControlMessage::Promise { accepted: Some(vote), .. }
            | ControlMessage::Accept { vote, .. } => Some(&vote.ring),
            ControlMessage::Ring(ring) => Some(ring),
            ControlMessage::Prepare { .. }
            | ControlMessage::Promise { accepted: None, .. }
            | ControlMessage::Accepted { .. }
            | ControlMessage::Refused { .. }
            | ControlMessage::Pull { .. }
            | ControlMessage::Have(_)
            | ControlMessage::Reports(_)
            | ControlMessage::Lives(_)
            | ControlMessage::RefuseLives(_)
            | ControlMessage::LivesRefused { .. }
            | ControlMessage::Change(_)
            | ControlMessage::Changed(..) => None,
        }
    }

    /// Appends its frame.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        seal(Header::new(Kind::Control), out, |out| pack_into(self, out))
    }

    /// Reads the message of a frame that [`super::split_raw`] took off a buffer.
    pub fn decode(header: Header, body: &Bytes) -> Result<Self, WireError> {
        let kind = header.kind;
        if kind != Kind::Control {
            return Err(WireError::OutOfPlace { kind });
        }
        let message: ControlMessage = unpack(kind, body)?;
        match message.ring().map(Ring::check) {
            Some(Err(error)) => Err(WireError::Pack { kind, why: error.to_string() }),
            Some(Ok(())) | None => Ok(message),
        }
    }
}
