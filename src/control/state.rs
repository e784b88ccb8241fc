//! What the control machine is started with: the operator's wishes, and what it wrote down before.
//!
//! Invariant: a node id is used by one directory only; the boot counter, a vote and a ring are on
//! the synced disk before anything that depends on them leaves the machine.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Proposal;
use super::register::{Kept, Votes};
use crate::causality::Secret;
use crate::fields::{Malformed, Reader, WriteFields};
use crate::pack::{pack, unpack};
use crate::ring::{ClusterId, NodeId, Ring};
use crate::rules::{Rule, holds};
use crate::wire::datagram::{MAX_NAME, MAX_SHARDS};

/// The most nodes that found a cluster together.
const MAX_SEEDS: usize = 256;

/// What the operator wishes for this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlConfig {
    /// What people call it: at most 64 bytes, not empty.
    pub name: String,
    /// Where others reach it, TCP and UDP alike.
    pub advertise: SocketAddr,
    /// Where it stands; may be empty.
    pub zone: String,
    /// The seed list, each `host:port`. Empty: this node is a cluster of itself.
    pub seeds: Vec<String>,
    /// How many copies of everything are wanted. All founders must want as many.
    pub copies: u8,
    /// How many shards this node has: a power of two up to 64.
    pub shards: u16,
}

/// Why a node cannot start as it was told to. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ControlConfig {
    /// Refuses what cannot work, and brings the seed list into its one order and spelling.
    pub(super) fn checked(mut self) -> Result<Self, ConfigError> {
        let refuse = |why: String| Err(ConfigError(why));
        if self.name.is_empty() || self.name.len() > MAX_NAME || self.zone.len() > MAX_NAME {
            return refuse(format!(
                "a node's name has 1 to {MAX_NAME} bytes and a zone at most {MAX_NAME}; choose shorter ones"
            ));
        }
        if self.name.chars().chain(self.zone.chars()).any(char::is_control) {
            return refuse("names and zones are without control characters".to_owned());
        }
        if self.copies == 0 {
            return refuse("0 copies would keep nothing; say 1 or more".to_owned());
        }
        if self.shards == 0 || self.shards > MAX_SHARDS || !self.shards.is_power_of_two() {
            return refuse(format!("{} shards: say a power of two up to 64", self.shards));
        }
        for seed in &mut self.seeds {
            *seed = normalized(seed)?;
        }
        self.seeds.sort();
        self.seeds.dedup();
        if self.seeds.len() > MAX_SEEDS {
            return refuse(format!(
                "{} seeds: at most {MAX_SEEDS} nodes found a cluster; the others join it later",
                self.seeds.len()
            ));
        }
        let reachable = !self.advertise.ip().is_unspecified() && self.advertise.port() != 0;
        if !self.seeds.is_empty() && !reachable {
            return refuse(format!(
                "other nodes cannot reach {}; say where they can with --advertise HOST:PORT",
                self.advertise
            ));
        }
        Ok(self)
    }
}

/// A seed in its one spelling: lower case, `host:port`, addresses as Rust prints them.
fn normalized(seed: &str) -> Result<String, ConfigError> {
    let text = seed.trim().to_ascii_lowercase();
    let wrong = || ConfigError(format!("seed {seed:?} is not HOST:PORT, such as 10.0.0.1:7400"));
    if let Ok(addr) = text.parse::<SocketAddr>() {
        let fine = addr.port() != 0 && !addr.ip().is_unspecified();
        return if fine { Ok(addr.to_string()) } else { Err(wrong()) };
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let plain = !host.is_empty() && host.len() <= 253 && host.chars().all(letter);
    if port == 0 || !plain || host.parse::<IpAddr>().is_ok() {
        return Err(wrong());
    }
    Ok(format!("{host}:{port}"))
}

/// What the control machine wrote down. [`ControlState::encode`] gives the bytes of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlState {
    /// The directory's name, for ever, or until it has to give way while its cluster is being founded.
    pub id: NodeId,
    /// Its share of the secret of a cluster that it founds.
    pub share: Secret,
    /// How often it was started: orders its lives.
    pub boot: u64,
    /// The cards that it voted for, once.
    pub vote: Option<Proposal>,
    /// The ring in force, once there is one.
    pub ring: Option<Ring>,
    /// Where members were last seen, if elsewhere than the ring says.
    pub moved: Vec<Moved>,
    /// Its votes for the ring after that one.
    #[serde(default)]
    pub votes: Votes,
    /// The cluster that it said it is ready to join: it takes no other's ring.
    #[serde(default)]
    pub bound: Option<ClusterId>,
    /// Where members of that cluster were when it was one of them itself, under an earlier id.
    #[serde(default)]
    pub contacts: Vec<SocketAddr>,
}

/// Where a member was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The member.
    pub id: NodeId,
    /// Where it said that it can be reached.
    pub addr: SocketAddr,
    /// In which of its lives.
    pub boot: u64,
}

const MAGIC: &[u8; 4] = b"RDCS";
/// Version 2 has votes: a release that knows only 1 would forget them.
const VERSION: u32 = 2;

impl ControlState {
    /// The state of a new data directory. The randomness must be the operating system's.
    pub fn new(random: &mut impl Rng) -> Self {
        ControlState {
            id: NodeId(random.random()),
            share: Secret(random.random()),
            boot: 0,
            vote: None,
            ring: None,
            moved: Vec::new(),
            votes: Votes::default(),
            bound: None,
            contacts: Vec::new(),
        }
    }

    /// Makes this the state of somebody new. A directory that lost synced data, or is a copy, may have forgotten what
    /// its node promised: it is not that member any more. It joins the same cluster, under an id of its own.
    pub fn reborn(&mut self, random: &mut impl Rng) {
        if !holds(Rule::CopyIsNew) {
            return;
        }
        let ring = self.ring.take();
        let bound = ring.as_ref().map(|ring| ring.cluster).or(self.bound);
        let places = ring.iter().flat_map(|ring| ring.members.iter());
        let contacts = places.filter(|member| member.id != self.id).map(|member| member.addr);
        let contacts = contacts.chain(self.contacts.iter().copied()).collect();
        *self = ControlState { boot: self.boot, bound, contacts, ..ControlState::new(random) };
    }

    /// The part that the register goes on from.
    pub fn kept(&self) -> Kept {
        let ring = self.ring.clone().map(Arc::new);
        Kept { ring, votes: self.votes.clone(), bound: self.bound }
    }

    /// Takes over what the register wants kept.
    pub fn keep(&mut self, kept: &Kept) {
        self.ring = kept.ring.as_deref().cloned();
        self.votes.clone_from(&kept.votes);
        self.bound = kept.bound;
    }

    /// The bytes of its file: magic `RDCS`, version (u32), crc32c of the rest (u32), then MessagePack
    /// with named fields; integers little-endian.
    pub fn encode(&self) -> Vec<u8> {
        let body = pack(self);
        let mut bytes = Vec::with_capacity(12 + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(crc32c::crc32c(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    /// The state of these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.take(4)? != MAGIC {
            return Err(Malformed("not a control state"));
        }
        if !(1..=VERSION).contains(&reader.u32_le()?) {
            return Err(Malformed("a control state of another version"));
        }
        if reader.u32_le()? != crc32c::crc32c(reader.rest()) {
            return Err(Malformed("a control state's checksum is wrong"));
        }
        let state: ControlState =
            unpack(reader.rest()).map_err(|_| Malformed("a control state's fields are wrong"))?;
        // A node that has left may have a ring without itself.
        let accepted = state.votes.accepted.as_ref().map(|vote| &*vote.ring);
        if state.ring.iter().chain(accepted).any(|ring| ring.check().is_err()) {
            return Err(Malformed("a control state's ring is none"));
        }
        if state.vote.as_ref().is_some_and(|vote| vote.check().is_err()) {
            return Err(Malformed("a control state's vote is none"));
        }
        Ok(state)
    }
}
