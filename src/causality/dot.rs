//! The name of one write event.
//!
//! Invariant: no two events of a slot ever carry the same dot. It rests on [`Actor`]s being drawn
//! afresh whenever a node's past is in doubt, and on counters being contiguous within one actor.
//! Not here: who draws actors (the server, at every start) and who counts (the shard).

use std::fmt;

use serde::{Deserialize, Serialize};

/// One life of one node, as a writer: a member number that the ring gives once, and 48 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor(u64);

impl Actor {
    /// The number of random bits that tell the lives of one member apart.
    pub const LIFE_BITS: u32 = 48;

    /// The actor of `member` in the life named by the low 48 bits of `life`.
    pub fn new(member: u16, life: u64) -> Self {
        Actor((u64::from(member) << Self::LIFE_BITS) | (life & ((1 << Self::LIFE_BITS) - 1)))
    }

    /// The actor whose number this is. The inverse of [`Actor::bits`].
    pub fn from_bits(bits: u64) -> Self {
        Actor(bits)
    }

    /// The 64 bits that travel and are stored.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The member that writes or wrote under this name.
    pub fn member(self) -> u16 {
        (self.0 >> Self::LIFE_BITS) as u16
    }

    /// The random part.
    pub fn life(self) -> u64 {
        self.0 & ((1 << Self::LIFE_BITS) - 1)
    }
}

impl fmt::Display for Actor {
    /// `3~00a1b2`: the member, and enough of the life to tell two apart at a glance.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{:06x}", self.member(), self.life() & 0xff_ffff)
    }
}

/// One write event: the `counter`-th of `actor` in its slot, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Whose event it is.
    pub actor: Actor,
    /// Which of its events in the slot, from 1, without gaps.
    pub counter: u64,
}

impl Dot {
    /// The `counter`-th event of `actor`.
    pub fn new(actor: Actor, counter: u64) -> Self {
        Dot { actor, counter }
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actor, self.counter)
    }
}
