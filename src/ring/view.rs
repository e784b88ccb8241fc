//! What the shards know of the cluster: a ring, and a guess at who answers now.
//!
//! The control machine publishes a new view whenever either changes; shards keep the last one they were given.
//! Invariant: the ring part is decided and the same everywhere; the liveness part is this node's
//! own opinion, good for choosing whom to ask and for nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{MemberNumber, Ring, Slot};

/// What this node thinks of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It answers heartbeats and its data lanes are open.
    Up,
    /// It does not, for now.
    Down,
}

/// What a shard has to know of another member to talk to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Whether it seems to be there.
    pub liveness: Liveness,
    /// How many shards it has: a slot lies in its shard `slot mod shards`.
    pub shards: u16,
}

/// A snapshot of the cluster as one node sees it. Immutable; a change is a new view.
#[derive(Debug, Clone)]
pub struct View {
    /// This node's number.
    pub me: MemberNumber,
    /// The ring in force.
    pub ring: Arc<Ring>,
    /// Whether a member remembers more of this node's logs than they hold: synced data are missing.
    pub rolled_back: bool,
    /// Every other member. One that is missing has never been heard of, and is down.
    pub peers: BTreeMap<MemberNumber, Peer>,
}

impl View {
    /// Whether this node owns a slot.
    pub fn owns(&self, slot: Slot) -> bool {
        self.ring.row(slot).contains(&self.me)
    }

    /// Whether a slot has an owner that answers and may not have settled yet.
    pub fn settles(&self, slot: Slot) -> bool {
        let settling = self.ring.partition(slot).settling();
        settling.is_some_and(|(member, _)| member == self.me || self.is_up(member))
    }

    /// Whether writes of a slot are sent to this node: it owns it, or is to own it.
    pub fn takes(&self, slot: Slot) -> bool {
        self.ring.partition(slot).is_sent(self.me)
    }

    /// Whether this node and another one both have a copy of a slot, or part of one.
    pub fn share(&self, slot: Slot, other: MemberNumber) -> bool {
        let parties = self.ring.partition(slot).parties();
        parties.contains(&self.me) && parties.contains(&other)
    }

    /// Whether a member seems to be there. This node itself always is.
    pub fn is_up(&self, member: MemberNumber) -> bool {
        member == self.me
            || self.peers.get(&member).is_some_and(|peer| peer.liveness == Liveness::Up)
    }
}
