//! Everything that can happen to a shard, and everything it can want.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::causality::Actor;
use crate::ring::steps::{Report, Verdict};
use crate::ring::{MemberNumber, View};
use crate::storage::{Batch, Ticket};
use crate::wire::Frame;

/// The time, as the edge tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Since some fixed moment of this process's life. Never goes back. All waiting is by this.
    pub elapsed: Duration,
    /// Milliseconds since 1970. May jump; only stamped on values for people to read.
    pub wall_ms: u64,
}

/// Where a client's request came in, and so where its reply goes. Opaque to the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The driver that owns the connection.
    pub driver: u16,
    /// The connection.
    pub connection: u64,
    /// The client's request id, repeated in the reply's frame.
    pub request: u64,
}

/// Everything that can happen to a shard.
#[derive(Debug)]
pub enum Event {
    /// The cluster looks different now.
    View(View),
    /// A client of this node asks for something: `Put`, `Get`, or a `Question` that shards answer.
    ///
    /// `Explain` goes to the shard of the key. `Siblings` and `Status` go to every shard of the
    /// node, each answering for its own class of slots (`slot mod shards`) over all members: the
    /// edge merges the `Answer::Siblings`, and builds the status from the [`Effect::Gathered`].
    Client(Origin, Frame),
    /// A member's frame came in on a data lane.
    Peer(MemberNumber, Frame),
    /// Frames sent to this member since it was last up may be lost: its lane broke.
    LaneLost(MemberNumber),
    /// All batches up to this one are durable.
    Synced(Batch),
    /// A sync, or the append in [`flush`](super::Shard::flush), failed. The store is poisoned.
    SyncFailed(String),
    /// The ring is to list these actors as dead: no write of theirs may be taken in any more. Answered with
    /// [`Effect::Refused`], each time, unless the disk fails.
    Refuse(Vec<Actor>),
    /// Another shard of this node gave up the first actor for the second: this one is to do so, too.
    Retire(Actor, Actor),
    /// A read is done: the bytes, or why not.
    Read(Ticket, Result<Vec<u8>, String>),
    /// Time has passed: deadlines may be due.
    Tick,
}

/// Everything a shard can want.
#[derive(Debug)]
pub enum Effect {
    /// Answer a client of this node.
    Reply(Origin, Frame),
    /// Send a frame to a member's shard (`slot mod shards` there). May be lost.
    Send(MemberNumber, Frame),
    /// What all members hold in this shard's class of slots: the data's part of a `Status`.
    Gathered(Origin, Gathered),
    /// This shard is so far with a seat of this node; the node is when all its shards are. It is durable.
    Report(Report),
    /// The actors that this shard's clocks name and the ring does not list, its own left out. Said when others are
    /// seen than the time before.
    Seen(Vec<Actor>),
    /// Whether the ring may list actors as dead, as far as this shard goes. It is durable.
    Refused(Vec<(Actor, Verdict)>),
    /// This shard gave up the first actor for the second. The node's other shards are to do so, too, by
    /// [`Event::Retire`]: as long as one of them writes as the first, it cannot be listed.
    Retired(Actor, Actor),
}

/// Counts over all members, for one shard's class of slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gathered {
    /// Keys with a value, as the first live owner of each sees it.
    pub keys: u64,
    /// Of these, those with siblings.
    pub conflicts: u64,
    /// Hints not delivered yet.
    pub hints: u64,
    /// Members that lost synced data, and in how many slots they have not caught up.
    pub recovering: BTreeMap<MemberNumber, u64>,
    /// Members that did not answer: what only they hold is missing.
    pub missing: Vec<MemberNumber>,
}
