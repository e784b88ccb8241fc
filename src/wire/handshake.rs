//! How a connection begins: who dials, what for, and whether it is let in.
//!
//! | frame | from → to | answered by | if it is lost |
//! |---|---|---|---|
//! | [`Hello`] | whoever dialled → whoever listens, first of all | `Welcome`, `Refused` | the connection is given up |
//! | [`Welcome`] | back | messages, both ways | the connection is given up |
//! | [`Refused`] | back | nothing; the connection closes | the dialler sees a broken connection |
//!
//! All three travel in ordinary frames, MessagePack with named fields: what a later release adds an
//! earlier one skips, so two releases always understand each other well enough to part in words.
//!
//! Invariant: no message travels before both sides agree on the protocol, the cluster, and who the
//! other is. Not here: sockets and deadlines, which are the edge's; authentication, which is TLS's.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::codec::unpack;
use super::frame::{Header, seal};
use super::{Kind, WireError};
use crate::pack::pack_into;
use crate::ring::{ClusterId, MemberNumber, NodeId, Ring};

/// The oldest protocol that this release speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// The newest protocol that this release speaks.
pub const PROTOCOL_MAX: u16 = 1;
/// The longest name of a client or node, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// A connection's first frame, from whoever dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest protocol that the dialler speaks.
    pub protocol_min: u16,
    /// The newest protocol that the dialler speaks.
    pub protocol_max: u16,
    /// What the connection is for.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Requests of a client.
    Client {
        /// What the client calls itself.
        name: String,
    },
    /// Data between one shard of each of two members.
    Lane {
        /// The dialling member.
        from: Caller,
        /// Which of its shards the lane belongs to.
        shard: u16,
        /// How many shards it has.
        shards: u16,
        /// Which shard of the dialled member the lane leads to.
        to_shard: u16,
    },
    /// Talk between the control machines of two nodes, members or not yet.
    Control {
        /// The dialling node.
        from: Caller,
    },
}

/// A node that dials another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Which node dials.
    pub node: NodeId,
    /// Its cluster; `None` while it has none.
    pub cluster: Option<ClusterId>,
    /// Its number in that cluster.
    pub member: Option<MemberNumber>,
    /// Which node it means to reach; `None` where it knows only an address.
    pub to: Option<NodeId>,
}

/// The connection is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol spoken from here on.
    pub protocol: u16,
    /// Which node answers.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Its cluster; `None` while it has none.
    pub cluster: Option<ClusterId>,
    /// Its number in that cluster.
    pub member: Option<MemberNumber>,
    /// How many shards it has.
    pub shards: u16,
    /// Whether it takes requests now: it has a ring and is not stopping.
    pub serving: bool,
}

/// The connection is not opened. It closes now; nothing else happened.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Refused {
    /// Why, for programs.
    pub why: Refusal,
    /// What happened, and what to do.
    pub message: String,
}

impl Refused {
    /// A refusal of this kind, told in these words.
    pub fn new(why: Refusal, message: impl Into<String>) -> Self {
        Refused { why, message: message.into() }
    }
}

/// Why a connection is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The two speak no protocol in common.
    Protocol,
    /// The two belong to different clusters.
    OtherCluster,
    /// The dialler is no member of the ring, or not under this number.
    UnknownMember,
    /// Another node lives at this address than the one that was meant.
    OtherNode,
    /// The lane leads to a shard that does not exist, or that cannot talk to the dialler's.
    NoSuchShard,
    /// It has as many connections as it takes.
    TooMany,
    /// It has no ring yet, or is stopping.
    NotReady,
    /// Something in the hello is not allowed.
    Malformed,
    /// A reason of a later release; its words say more.
    #[serde(other)]
    Other,
}

/// One of the three frames that open a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// The first.
    Hello(Hello),
    /// Its answer.
    Welcome(Welcome),
    /// Its other answer.
    Refused(Refused),
}

impl Greeting {
    /// Appends its frame.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Greeting::Hello(hello) => {
                seal(Header::new(Kind::Hello), out, |out| pack_into(hello, out))
            }
            Greeting::Welcome(welcome) => {
                seal(Header::new(Kind::Welcome), out, |out| pack_into(welcome, out))
            }
            Greeting::Refused(refused) => {
                seal(Header::new(Kind::Refused), out, |out| pack_into(refused, out))
            }
        }
    }

    /// Reads the greeting of a frame that [`super::split_raw`] took off a buffer. A message is out of
    /// place here.
    pub fn decode(header: Header, body: &Bytes) -> Result<Self, WireError> {
        let kind = header.kind;
        match kind {
            Kind::Hello => unpack(kind, body).map(Greeting::Hello),
            Kind::Welcome => unpack(kind, body).map(Greeting::Welcome),
            Kind::Refused => unpack(kind, body).map(Greeting::Refused),
            Kind::Put
            | Kind::PutReply
            | Kind::Get
            | Kind::GetReply
            | Kind::Failure
            | Kind::Question
            | Kind::Answer
            | Kind::Store
            | Kind::KeepHint
            | Kind::Stored
            | Kind::Declined
            | Kind::Fetch
            | Kind::Fetched
            | Kind::Summary
            | Kind::SlotHashes
            | Kind::ClocksWanted
            | Kind::Clocks
            | Kind::ClosingWanted
            | Kind::Closing
            | Kind::Ask
            | Kind::Page
            | Kind::Inspect
            | Kind::Inspected
            | Kind::Count
            | Kind::Counted
            | Kind::Control => Err(WireError::OutOfPlace { kind }),
        }
    }
}

impl Hello {
    /// A hello of this release.
    pub fn new(purpose: Purpose) -> Self {
        Hello { protocol_min: PROTOCOL_MIN, protocol_max: PROTOCOL_MAX, purpose }
    }
}

/// What a node says of itself when somebody dials it.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Its id.
    pub node: NodeId,
    /// What people call it.
    pub name: &'a str,
    /// Its ring, once it has one.
    pub ring: Option<&'a Ring>,
    /// How many shards it has.
    pub shards: u16,
    /// Whether it is not stopping.
    pub open: bool,
}

impl Host<'_> {
    /// Decides on a hello. The whole of what lets a connection in.
    pub fn answer(&self, hello: &Hello) -> Result<Welcome, Refused> {
        let protocol = self.protocol(hello)?;
        match &hello.purpose {
            Purpose::Client { name } => check_name(name)?,
            Purpose::Control { from } => {
                self.check_meant(from)?;
                self.check_cluster(from)?;
            }
            Purpose::Lane { from, shard, shards, to_shard } => {
                self.check_meant(from)?;
                self.check_cluster(from)?;
                self.check_member(from)?;
                self.check_shards(*shard, *shards, *to_shard)?;
            }
        }
        let member = self.ring.and_then(|ring| ring.member_by_id(self.node));
        Ok(Welcome {
            protocol,
            node: self.node,
            name: self.name.to_owned(),
            cluster: self.ring.map(|ring| ring.cluster),
            member: member.map(|member| member.number),
            shards: self.shards,
            serving: self.open && member.is_some(),
        })
    }

    fn protocol(&self, hello: &Hello) -> Result<u16, Refused> {
        let protocol = hello.protocol_max.min(PROTOCOL_MAX);
        if protocol >= hello.protocol_min.max(PROTOCOL_MIN) {
            return Ok(protocol);
        }
        let words = format!(
            "{} speaks protocols {PROTOCOL_MIN} to {PROTOCOL_MAX}, the caller {} to {}; \
             bring the older of the two to a newer release",
            self.name, hello.protocol_min, hello.protocol_max
        );
        Err(Refused::new(Refusal::Protocol, words))
    }

    fn check_meant(&self, from: &Caller) -> Result<(), Refused> {
        match from.to {
            Some(meant) if meant != self.node => {
                let words = format!(
                    "this is node {} ({}), and node {meant} was meant; \
                     an address in the configuration is wrong, or a data directory was replaced",
                    self.node, self.name
                );
                Err(Refused::new(Refusal::OtherNode, words))
            }
            _ if from.node == self.node => {
                let words = format!(
                    "the caller has this node's own id {}; \
                     its data directory is a copy, and two nodes never share one",
                    self.node
                );
                Err(Refused::new(Refusal::OtherNode, words))
            }
            _ => Ok(()),
        }
    }

    fn check_cluster(&self, from: &Caller) -> Result<(), Refused> {
        match (self.ring, from.cluster) {
            (Some(ring), Some(theirs)) if ring.cluster != theirs => {
                let words = format!(
                    "{} belongs to cluster {}, the caller to cluster {theirs}; \
                     nodes of two clusters never share data: check addresses and seeds",
                    self.name, ring.cluster
                );
                Err(Refused::new(Refusal::OtherCluster, words))
            }
            _ => Ok(()),
        }
    }

    fn check_member(&self, from: &Caller) -> Result<(), Refused> {
        let Some(ring) = self.ring.filter(|_| self.open) else {
            let words = format!("{} has no ring yet, or is stopping; try again later", self.name);
            return Err(Refused::new(Refusal::NotReady, words));
        };
        let known = ring.member_by_id(from.node);
        if known.is_some_and(|member| Some(member.number) == from.member) {
            return Ok(());
        }
        let words = match known {
            Some(member) => format!(
                "{} knows the calling node {} as member {}, and it calls itself {}",
                self.name,
                from.node,
                member.number,
                from.member.map_or("none".to_owned(), |number| format!("member {number}"))
            ),
            None => format!(
                "the calling node {} is no member of the ring that {} has (epoch {}); \
                 it may have been removed, or this node has yet to hear of it",
                from.node, self.name, ring.epoch
            ),
        };
        Err(Refused::new(Refusal::UnknownMember, words))
    }

    fn check_shards(&self, shard: u16, shards: u16, to_shard: u16) -> Result<(), Refused> {
        let ours = self.shards;
        // Slots of a shard are those with `slot mod shards == shard`, so that two shards share any
        // at all only where they agree on the smaller modulus.
        let shared = shards.min(ours).max(1);
        let exist = shards.is_power_of_two() && shard < shards && to_shard < ours;
        if exist && shard % shared == to_shard % shared {
            return Ok(());
        }
        let words = format!(
            "a lane from shard {shard} of {shards} to shard {to_shard} of {ours} shares no slot"
        );
        Err(Refused::new(Refusal::NoSuchShard, words))
    }
}

impl Welcome {
    /// What the dialler makes of the answer: whether it is the node that was meant, in the cluster
    /// that was meant.
    pub fn check(&self, hello: &Hello) -> Result<(), Refused> {
        if self.protocol < hello.protocol_min || self.protocol > hello.protocol_max {
            let words =
                format!("{} chose protocol {}, which was not offered", self.name, self.protocol);
            return Err(Refused::new(Refusal::Protocol, words));
        }
        let (Purpose::Lane { from, .. } | Purpose::Control { from }) = &hello.purpose else {
            return Ok(());
        };
        if from.to.is_some_and(|meant| meant != self.node) {
            let words = format!("node {} ({}) answered, another was meant", self.node, self.name);
            return Err(Refused::new(Refusal::OtherNode, words));
        }
        match (from.cluster, self.cluster) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                let words = format!("{} belongs to cluster {theirs}, not to {ours}", self.name);
                Err(Refused::new(Refusal::OtherCluster, words))
            }
            _ => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), Refused> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let words = format!(
        "the client's name has {} bytes, and a name has at most {NAME_BYTES_MAX}",
        name.len()
    );
    Err(Refused::new(Refusal::Malformed, words))
}
