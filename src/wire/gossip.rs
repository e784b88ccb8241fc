//! What members tell each other of members: claims, whereabouts, and the datagrams that carry them.
//!
//! | value | who may raise it | told how |
//! |---|---|---|
//! | [`Claim`] | anybody, by the order of claims; the subject refutes | rumours, and anti-entropy |
//! | [`Essentials`] | the subject, by [`Stamp`] | with rumours of a new life, and anti-entropy |
//! | [`Details`] | the subject, by [`Stamp`] | anti-entropy, after all essentials |
//!
//! Members are named by their numbers, which a ring gives once and never again; the [`Head`] says which cluster
//! and which ring they are of. What is sent often ([`Head`], [`News`], [`Digest`]) is packed as arrays, without
//! names: it is fixed, and what comes later is a new named field of a datagram.
//!
//! Invariant: claims of one member are totally ordered, so that merging them (the larger stays) is commutative,
//! associative and idempotent. Not here: who says what when (`control`).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::datagram::{MAX_DATAGRAM, MAX_NAME, MAX_SHARDS};
use crate::fields::Malformed;
use crate::ring::{ClusterId, Epoch, MemberNumber, NodeId};

/// The most accusers that a suspicion is told with: the first, and the confirmers that still shorten it.
pub const MAX_ACCUSERS: usize = 4;
/// Into how many buckets members are sorted, by number, when two members compare what they know.
pub const BUCKETS: usize = 64;
/// The most bytes of a head with everything around it: what is left of a datagram is for its body.
pub const HEAD_BYTES: usize = 150;

/// What is thought of a member's life. The later ones weigh more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Rank {
    /// It was heard, by somebody.
    Alive,
    /// Somebody hears it no more, nor did those whom it asked.
    Suspect,
    /// It did not refute that in time.
    Down,
    /// It said itself that it stops.
    Left,
}

impl From<Rank> for u8 {
    fn from(rank: Rank) -> u8 {
        rank as u8
    }
}

impl TryFrom<u8> for Rank {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        let all = [Rank::Alive, Rank::Suspect, Rank::Down, Rank::Left];
        all.get(usize::from(number)).copied().ok_or("no rank of a claim")
    }
}

/// What is claimed of a member. The larger claim wins: a later life over any earlier one; in one life the
/// subject's own refutation (a higher incarnation) over what was said of the incarnation before; and
/// [`Rank::Left`] over everything that is said of that life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "(u64, u64, Rank)", from = "(u64, u64, Rank)")]
pub struct Claim {
    /// The boot counter of the life that it is about.
    pub boot: u64,
    /// How often the subject has refuted in that life.
    pub incarnation: u64,
    /// What is thought of it.
    pub rank: Rank,
}

impl Claim {
    /// That this life is there.
    pub fn alive(boot: u64, incarnation: u64) -> Self {
        Claim { boot, incarnation, rank: Rank::Alive }
    }

    /// The same of another rank.
    pub fn ranked(self, rank: Rank) -> Self {
        Claim { rank, ..self }
    }

    fn weight(&self) -> (u64, bool, u64, Rank) {
        (self.boot, self.rank == Rank::Left, self.incarnation, self.rank)
    }
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.weight().cmp(&other.weight())
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Claim> for (u64, u64, Rank) {
    fn from(claim: Claim) -> Self {
        (claim.boot, claim.incarnation, claim.rank)
    }
}

impl From<(u64, u64, Rank)> for Claim {
    fn from((boot, incarnation, rank): (u64, u64, Rank)) -> Self {
        Claim { boot, incarnation, rank }
    }
}

/// Which of two things that a member said of itself is the later one: its life, then a count within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The boot counter of the life that said it.
    pub boot: u64,
    /// The how-manieth it was.
    pub version: u64,
}

/// What one must know of a member to send it anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "(u64, u64, SocketAddr, u16)", from = "(u64, u64, SocketAddr, u16)")]
pub struct Essentials {
    /// When it said so.
    pub stamp: Stamp,
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many shards it has.
    pub shards: u16,
}

impl From<Essentials> for (u64, u64, SocketAddr, u16) {
    fn from(it: Essentials) -> Self {
        (it.stamp.boot, it.stamp.version, it.addr, it.shards)
    }
}

impl From<(u64, u64, SocketAddr, u16)> for Essentials {
    fn from((boot, version, addr, shards): (u64, u64, SocketAddr, u16)) -> Self {
        Essentials { stamp: Stamp { boot, version }, addr, shards }
    }
}

/// What is good to know of a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "(u64, u64, String, Epoch, u64)", from = "(u64, u64, String, Epoch, u64)")]
pub struct Details {
    /// When it said so.
    pub stamp: Stamp,
    /// What people call it.
    pub name: String,
    /// The epoch of its ring, a while ago: datagrams say it as it is.
    pub epoch: Epoch,
    /// The hash of that ring.
    pub ring: u64,
}

impl From<Details> for (u64, u64, String, Epoch, u64) {
    fn from(it: Details) -> Self {
        (it.stamp.boot, it.stamp.version, it.name, it.epoch, it.ring)
    }
}

impl From<(u64, u64, String, Epoch, u64)> for Details {
    fn from((boot, version, name, epoch, ring): (u64, u64, String, Epoch, u64)) -> Self {
        Details { stamp: Stamp { boot, version }, name, epoch, ring }
    }
}

/// What is told of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "PackedNews", from = "PackedNews")]
pub struct News {
    /// Of whom.
    pub of: MemberNumber,
    /// What is claimed.
    pub claim: Claim,
    /// Of a suspicion: who found it silent.
    pub accusers: Vec<MemberNumber>,
    /// Where it is, if that may be news.
    pub essentials: Option<Essentials>,
    /// What else it said of itself, if that may be news.
    pub details: Option<Details>,
}

type PackedNews = (MemberNumber, Claim, Vec<MemberNumber>, Option<Essentials>, Option<Details>);

impl From<News> for PackedNews {
    fn from(it: News) -> Self {
        (it.of, it.claim, it.accusers, it.essentials, it.details)
    }
}

impl From<PackedNews> for News {
    fn from((of, claim, accusers, essentials, details): PackedNews) -> Self {
        News { of, claim, accusers, essentials, details }
    }
}

/// The bytes of a number in MessagePack.
fn bytes_of(number: u64) -> usize {
    match number {
        0..0x80 => 1,
        0x80..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}

fn bytes_of_stamp(stamp: Stamp) -> usize {
    bytes_of(stamp.boot) + bytes_of(stamp.version)
}

impl News {
    /// At most so many bytes.
    pub fn bytes(&self) -> usize {
        let claim = 2 + bytes_of(self.claim.boot) + bytes_of(self.claim.incarnation);
        let essentials = self.essentials.map_or(1, |it| {
            let addr = if it.addr.is_ipv4() { 17 } else { 43 };
            1 + bytes_of_stamp(it.stamp) + addr + 3
        });
        let details = self
            .details
            .as_ref()
            .map_or(1, |it| 1 + bytes_of_stamp(it.stamp) + 2 + it.name.len() + 5 + 9);
        1 + 3 + claim + 1 + 3 * self.accusers.len() + essentials + details
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.accusers.len() > MAX_ACCUSERS {
            return Err(Malformed("more accusers than are told"));
        }
        if let Some(it) = &self.essentials
            && (it.shards == 0 || it.shards > MAX_SHARDS || !it.shards.is_power_of_two())
        {
            return Err(Malformed("the number of shards is no power of two up to 64"));
        }
        if self.details.as_ref().is_some_and(|it| it.name.len() > MAX_NAME) {
            return Err(Malformed("a name is too long"));
        }
        Ok(())
    }
}

/// How much of a member somebody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "PackedDigest", from = "PackedDigest")]
pub struct Digest {
    /// Of whom.
    pub of: MemberNumber,
    /// What is claimed; `None` when it was never heard of.
    pub claim: Option<Claim>,
    /// Which of its [`Essentials`] are known.
    pub essentials: Stamp,
    /// Which of its [`Details`] are known.
    pub details: Stamp,
}

type PackedDigest = (MemberNumber, Option<Claim>, u64, u64, u64, u64);

impl From<Digest> for PackedDigest {
    fn from(it: Digest) -> Self {
        let (essentials, details) = (it.essentials, it.details);
        let (boot, version) = (details.boot, details.version);
        (it.of, it.claim, essentials.boot, essentials.version, boot, version)
    }
}

impl From<PackedDigest> for Digest {
    fn from((of, claim, a, b, c, d): PackedDigest) -> Self {
        let essentials = Stamp { boot: a, version: b };
        Digest { of, claim, essentials, details: Stamp { boot: c, version: d } }
    }
}

impl Digest {
    /// At most so many bytes.
    pub fn bytes(&self) -> usize {
        let claim = self.claim.map_or(1, |it| 2 + bytes_of(it.boot) + bytes_of(it.incarnation));
        1 + 3 + claim + bytes_of_stamp(self.essentials) + bytes_of_stamp(self.details)
    }
}

/// Who speaks to whom, and what of the sender everybody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "PackedHead", from = "PackedHead")]
pub struct Head {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Whom it is meant for: another that listens there now ignores it.
    pub to: NodeId,
    /// The sender's boot counter.
    pub boot: u64,
    /// A random number of the sender's process.
    pub life: u64,
    /// How often the sender has refuted in this life.
    pub incarnation: u64,
    /// The epoch of the sender's ring.
    pub epoch: Epoch,
    /// The hash of that ring.
    pub ring: u64,
    /// A hash of everything that the sender knows of members: two that are equal have nothing to tell.
    pub fingerprint: u64,
}

type PackedHead = (ClusterId, NodeId, NodeId, u64, u64, u64, Epoch, u64, u64);

impl From<Head> for PackedHead {
    fn from(it: Head) -> Self {
        let Head { cluster, from, to, boot, life, incarnation, epoch, ring, fingerprint } = it;
        (cluster, from, to, boot, life, incarnation, epoch, ring, fingerprint)
    }
}

impl From<PackedHead> for Head {
    fn from(packed: PackedHead) -> Self {
        let (cluster, from, to, boot, life, incarnation, epoch, ring, fingerprint) = packed;
        Head { cluster, from, to, boot, life, incarnation, epoch, ring, fingerprint }
    }
}

/// A heartbeat: a probe or its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// From whom to whom.
    pub head: Head,
    /// The prober's number for this probe; the answer repeats it. A process numbers its probes upwards.
    pub seq: u64,
    /// How far each of the sender's shards' logs is synced.
    pub log: Vec<u64>,
    /// Whether the sender remembers more of the receiver's logs than they held when its life began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolled_back: bool,
    /// Rumours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub news: Vec<News>,
}

/// One member probes another on a third one's behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// From whom to whom.
    pub head: Head,
    /// The number of the probe that it is about, as the one numbered it who asked; the answer repeats it.
    pub seq: u64,
    /// Who is to be probed.
    pub target: MemberNumber,
    /// Of an answer: whether the target answered. "No" is an answer, too: it shows that the way here works.
    pub answered: bool,
    /// Rumours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub news: Vec<News>,
}

/// Rumours, or the answer to a [`Pull`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// From whom to whom.
    pub head: Head,
    /// What is told.
    pub news: Vec<News>,
}

/// A hash of each bucket of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// From whom to whom.
    pub head: Head,
    /// One for each of the [`BUCKETS`].
    pub buckets: Vec<u32>,
}

/// How much is known of the members of buckets that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// From whom to whom.
    pub head: Head,
    /// As many as fit.
    pub digests: Vec<Digest>,
}

/// Of whom the sender wants to know more, and what it knows better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// From whom to whom.
    pub head: Head,
    /// Of whom, and what the sender knows of them.
    pub want: Vec<Digest>,
    /// What the sender knows better.
    pub news: Vec<News>,
}

pub(super) fn check_news(news: &[News]) -> Result<(), Malformed> {
    news.iter().try_for_each(News::check)
}

pub(super) fn check_beat(beat: &Beat) -> Result<(), Malformed> {
    if beat.log.len() > usize::from(MAX_SHARDS) {
        return Err(Malformed("more log positions than shards can be"));
    }
    check_news(&beat.news)
}

pub(super) fn check_root(root: &Root) -> Result<(), Malformed> {
    if root.buckets.len() == BUCKETS {
        Ok(())
    } else {
        Err(Malformed("not one hash for each bucket"))
    }
}

/// Takes from the front what fits into a datagram beside a head and so many bytes.
pub fn fit<T>(items: &mut Vec<T>, beside: usize, bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let mut room = MAX_DATAGRAM - HEAD_BYTES - beside;
    let fits = |item: &&T| {
        let bytes = bytes(item);
        let fits = bytes <= room;
        room -= if fits { bytes } else { 0 };
        fits
    };
    let count = items.iter().take_while(fits).count();
    let rest = items.split_off(count);
    std::mem::replace(items, rest)
}
