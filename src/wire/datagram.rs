//! What control machines say to each other over UDP: founding, heartbeats and gossip.
//!
//! | datagram | from → to | answered by | if it is lost |
//! |---|---|---|---|
//! | [`Hello`](Datagram::Hello), `answer: false` | founder → every seed; member → seeds, while a member is down | `Hello`, `answer: true` | the next round |
//! | [`Hello`](Datagram::Hello), `answer: true` | whoever was asked → the asker | nothing | the next round |
//! | [`Probe`](Datagram::Probe) | member → member | `Ack` | another round, with relays |
//! | [`Ack`](Datagram::Ack) | member → the prober | nothing | another round |
//! | [`Ask`](Datagram::Ask) | prober → relay: probe the target for me | `Told` | other relays' answers |
//! | [`Told`](Datagram::Told) | relay → the prober: it answered, or did not | nothing | other relays' answers |
//! | [`Rumours`](Datagram::Rumours) | member → three members, while there are any | nothing | told again by others |
//! | [`Root`](Datagram::Root) | member → one whose fingerprint differs | `Digests` | the next heartbeat that differs |
//! | [`Digests`](Datagram::Digests) | → the sender of the root | `Pull` | the same |
//! | [`Pull`](Datagram::Pull) | → the sender of the digests | `Facts`, as many as it takes, at most 4 | the same |
//! | [`Facts`](Datagram::Facts) | → whoever pulled, or is behind in what it says of itself | nothing | the same |
//!
//! Bytes: magic `RDOV` (4), version 1 (1), zeros (3), crc32c of all that follows (4, little-endian), then the
//! [`Datagram`] as MessagePack with named fields. A reader skips fields that it does not know, so fields can be added.
//!
//! Invariant: a datagram has at most [`MAX_DATAGRAM`] bytes and every answer about as many as its
//! question; whatever the bytes, the worst outcome is [`Malformed`]. Not here: what they mean (`control`).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::gossip::{self, Beat, Digests, Errand, Gossip, Head, Pull, Root};
use crate::causality::Secret;
use crate::fields::{Malformed, Reader, WriteFields};
use crate::pack::{pack, unpack};
use crate::ring::{ClusterId, NodeId};

/// The most bytes of a datagram: fits into every path's packets with room for tunnels' headers.
pub const MAX_DATAGRAM: usize = 1200;
/// The most bytes of a node's name, and of a zone.
pub const MAX_NAME: usize = 64;
/// The most bytes of [`Hello::seeds`].
pub const MAX_SEEDS_SHOWN: usize = 300;
/// The most shards that a node has.
pub const MAX_SHARDS: u16 = 64;

const MAGIC: &[u8; 4] = b"RDOV";
const VERSION: u8 = 1;

/// Everything that control machines say over UDP. See the table at the top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Datagram {
    /// Who I am and how far my founding is.
    Hello(Hello),
    /// I am here; are you?
    Probe(Beat),
    /// I am here too.
    Ack(Beat),
    /// Is that one there? I do not hear it.
    Ask(Errand),
    /// It is, or I do not hear it either.
    Told(Errand),
    /// Pass it on.
    Rumours(Gossip),
    /// We do not know the same; where do we differ?
    Root(Root),
    /// There.
    Digests(Digests),
    /// I have this, and want that.
    Pull(Pull),
    /// Here it is.
    Facts(Gossip),
}

/// What a founder brings to the founding of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Card {
    /// Its node id.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Where others reach it, TCP and UDP alike.
    pub addr: SocketAddr,
    /// Where it stands.
    pub zone: String,
    /// How many copies of everything it wants.
    pub copies: u8,
    /// The hash of its seed list.
    pub seeds: u64,
    /// Its share of the cluster's secret.
    pub share: Secret,
}

/// How far a node is with founding its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// It has not voted.
    Gathering,
    /// It has voted, durably, and will never vote for anything else.
    Voted {
        /// The hash of the cards that it voted for.
        proposal: u64,
        /// The hash of the ring that it makes of them.
        ring: u64,
    },
    /// It has voted for what can no longer come true, and is about to take a new id. Its vote does not count.
    Doubting,
    /// It is bound to a cluster, durably, and wants to be taken in: it joins no other.
    Ready {
        /// The cluster.
        cluster: ClusterId,
    },
    /// It is in a cluster.
    Founded {
        /// The cluster.
        cluster: ClusterId,
        /// The hash of the cards that its founders voted for.
        proposal: u64,
        /// The hash of the founding ring.
        ring: u64,
    },
}

/// Who a node is and how far its founding is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Whether it answers another.
    pub answer: bool,
    /// The asker's number for this round of questions; the answer repeats it.
    pub round: u64,
    /// The address that the question went to; the answer repeats it, so that who listens there is known.
    pub at: SocketAddr,
    /// The sender's boot counter.
    pub boot: u64,
    /// A random number of the sender's process.
    pub life: u64,
    /// What it brings.
    pub card: Card,
    /// How far it is.
    pub stage: Stage,
    /// The beginning of its seed list, for people to read.
    pub seeds: String,
    /// Where the member listens that takes newcomers in, if the sender is in a cluster and not that member itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<SocketAddr>,
}

impl Datagram {
    /// Its bytes.
    ///
    /// # Panics
    /// When a text or list in it passes its limit: whoever fills one in checks.
    pub fn encode(&self) -> Vec<u8> {
        let body = pack(self);
        let mut bytes = Vec::with_capacity(12 + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        bytes.put_u32_le(crc32c::crc32c(&body));
        bytes.extend_from_slice(&body);
        assert!(bytes.len() <= MAX_DATAGRAM, "a datagram of {} bytes", bytes.len());
        bytes
    }

    /// The datagram of these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_DATAGRAM {
            return Err(Malformed("a datagram is too long"));
        }
        let mut reader = Reader::new(bytes);
        if reader.take(4)? != MAGIC {
            return Err(Malformed("not a datagram of this protocol"));
        }
        if reader.take(4)? != [VERSION, 0, 0, 0] {
            return Err(Malformed("a datagram of another version"));
        }
        if reader.u32_le()? != crc32c::crc32c(reader.rest()) {
            return Err(Malformed("a datagram's checksum is wrong"));
        }
        let datagram: Datagram =
            unpack(reader.rest()).map_err(|_| Malformed("a datagram's fields are wrong"))?;
        datagram.check()?;
        Ok(datagram)
    }

    fn check(&self) -> Result<(), Malformed> {
        match self {
            Datagram::Hello(hello) => {
                let card = &hello.card;
                if card.name.len() > MAX_NAME || card.zone.len() > MAX_NAME {
                    return Err(Malformed("a name or zone is too long"));
                }
                if hello.seeds.len() > MAX_SEEDS_SHOWN {
                    return Err(Malformed("a seed list is too long"));
                }
                if card.copies == 0 {
                    return Err(Malformed("at least one copy is wanted"));
                }
                Ok(())
            }
            Datagram::Probe(beat) | Datagram::Ack(beat) => gossip::check_beat(beat),
            Datagram::Ask(errand) | Datagram::Told(errand) => gossip::check_news(&errand.news),
            Datagram::Rumours(gossip) | Datagram::Facts(gossip) => gossip::check_news(&gossip.news),
            Datagram::Root(root) => gossip::check_root(root),
            // A datagram holds no more of them than it should.
            Datagram::Digests(_) => Ok(()),
            Datagram::Pull(pull) => gossip::check_news(&pull.news),
        }
    }

    /// From whom to whom, if it is about members.
    pub fn head(&self) -> Option<&Head> {
        match self {
            Datagram::Hello(_) => None,
            Datagram::Probe(beat) | Datagram::Ack(beat) => Some(&beat.head),
            Datagram::Ask(errand) | Datagram::Told(errand) => Some(&errand.head),
            Datagram::Rumours(gossip) | Datagram::Facts(gossip) => Some(&gossip.head),
            Datagram::Root(root) => Some(&root.head),
            Datagram::Digests(digests) => Some(&digests.head),
            Datagram::Pull(pull) => Some(&pull.head),
        }
    }
}
