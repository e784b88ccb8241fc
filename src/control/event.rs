//! Everything that can happen to the control machine, and everything it can want.
//!
//! Time is a [`Duration`] since some fixed moment of this process's life. It never goes back; there
//! is no wall clock here.

use std::net::SocketAddr;
use std::time::Duration;

use super::ControlState;
use crate::causality::Actor;
use crate::ring::steps::{Report, Verdict};
use crate::ring::{MemberNumber, NodeId, View};
use crate::wire::control::ControlMessage;
use crate::wire::{Changed, Proposed};

/// The time, as the edge tells it: since some fixed moment of this process's life.
pub type Now = Duration;

/// Everything that can happen to the control machine.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time has passed: deadlines may be due. The first event of a life, too.
    Tick,
    /// These bytes came in on the UDP socket, from there.
    Datagram(SocketAddr, Vec<u8>),
    /// The state of this number ([`Effect::Persist`]) is on the synced disk.
    Persisted(u64),
    /// The state of this number could not be written, and why. Not to be tried again.
    PersistFailed(u64, String),
    /// This seed's addresses; none when its name could not be resolved.
    Resolved(String, Vec<SocketAddr>),
    /// All data lanes to this member are open (`true`), or one of them broke (`false`).
    Lane(MemberNumber, bool),
    /// Another node's control machine said this on its connection.
    Told(NodeId, Box<ControlMessage>),
    /// This shard is so far with a row that changes. The node is when all its shards are.
    Reported(u16, Report),
    /// This shard's clocks name these lives, and the ring does not list them.
    Seen(u16, Vec<Actor>),
    /// Whether the ring may list lives, as far as this shard goes.
    Refused(u16, Vec<(Actor, Verdict)>),
    /// Somebody asks this node for something that takes a while, and waits under this number for [`Effect::Answer`].
    Asked(u64, Ask),
    /// How far each shard's log is synced. Never goes back, not even over restarts, unless the disk did.
    LogPosition(Vec<u64>),
    /// The process stops in order: others are told, and nothing is done afterwards.
    Stop,
}

/// Everything the control machine can want.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send these bytes there over UDP. May be lost.
    Datagram(SocketAddr, Vec<u8>),
    /// Say this on the control connection to that node; if there is none, dial it there. May be lost.
    Tell {
        /// The node.
        to: NodeId,
        /// Where it listens, if that is known.
        at: Option<SocketAddr>,
        /// What to say.
        message: Box<ControlMessage>,
    },
    /// Replace the state on the disk by this one, sync it, then say [`Event::Persisted`] with this
    /// number. Numbers ascend; a later state stands for all before it.
    Persist(u64, Box<ControlState>),
    /// Look up the addresses of this seed (`host:port`), then say [`Event::Resolved`].
    Resolve(String),
    /// Give this view to every shard.
    Publish(View),
    /// Keep data lanes to exactly these members at these addresses; dial for ever.
    Dial(Vec<Route>),
    /// Tell every shard to refuse these lives, and what each says to it ([`Event::Refused`]).
    Refuse(Vec<Actor>),
    /// Answer who waits under this number.
    Answer(u64, Outcome),
    /// Tell people.
    Log(log::Level, String),
}

/// What came of something that people asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is decided, and on this node's disk.
    Decided(Changed),
    /// Nothing was changed, nor will be; why, as a sentence.
    Refused(String),
    /// Nobody knows in time: it may have been decided, or may yet be. Why, as a sentence.
    Undecided(String),
}

/// What people ask for that a quorum decides, or nobody but them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// All these changes at once, if `basis` is empty or what they were planned from still holds.
    Change {
        /// See [`PlanShown::basis`](crate::wire::PlanShown::basis).
        basis: String,
        /// What is to change.
        changes: Vec<Proposed>,
    },
    /// The next ring is that of these members alone.
    Force {
        /// Their names or ids.
        left: Vec<String>,
    },
}

/// Where a member's data lanes lead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The member.
    pub member: MemberNumber,
    /// Who must be there: the handshake checks it.
    pub id: NodeId,
    /// Where it was last known to listen.
    pub addr: SocketAddr,
}
