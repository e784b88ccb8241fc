//! The members of a ring, by the three names they have.
//!
//! Invariant: a [`NodeId`] is made once, with a data directory, and never reused; a
//! [`MemberNumber`] is given once by a ring and never given again. Names and addresses are mere
//! values, which may change.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Epoch;

/// What a data directory is called, for ever: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u128);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}..", self.0 >> 96)
    }
}

impl FromStr for NodeId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(NodeId)
    }
}

/// What a cluster is called: a hash of its founders' ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A member's short name inside one cluster: rows and actors are written with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberNumber(pub u16);

impl fmt::Display for MemberNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A node that the ring counts as its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its short name in this cluster.
    pub number: MemberNumber,
    /// Its data directory's name.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Where others reach it, TCP and UDP alike.
    pub addr: SocketAddr,
    /// Where it stands: owners of a row should not share one.
    pub zone: String,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
    /// The epoch that brought it in. The oldest live member drives ring changes.
    pub since: Epoch,
    /// Whether it is to hold nothing, and to leave once it does. Left out of the bytes while it stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}
