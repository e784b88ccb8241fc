//! What people ask about a cluster, and the answers. The shapes of the command line's JSON.
//!
//! Invariant: fields are added, never renamed and never given another meaning.

use serde::{Deserialize, Serialize};

use super::{Changed, PlanShown, Proposed};
use crate::ring::MemberNumber;

/// A question that no single key's data answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Everything that every node has of one key.
    Explain {
        /// The key's bucket.
        bucket: String,
        /// The key.
        #[serde(with = "serde_bytes_vec")]
        key: Vec<u8>,
    },
    /// Keys with siblings.
    Siblings {
        /// Only in this bucket; everywhere when `None`.
        bucket: Option<String>,
        /// At most this many.
        limit: u32,
    },
    /// How the cluster is.
    Status,
    /// Who is in it.
    Members,
    /// Who owns what.
    Ring,
    /// What changes of the ring would come to, all of them at once. Changes nothing.
    Plan {
        /// The changes.
        changes: Vec<Proposed>,
    },
    /// Change the ring, all of it at once. It is decided by a quorum of members, or not at all.
    Change {
        /// The [`PlanShown::basis`] that it was planned from; nothing is changed if it is another one now. Empty
        /// when that does not matter.
        basis: String,
        /// The changes.
        changes: Vec<Proposed>,
    },
    /// Go on with these members alone, without a quorum: the others are gone for good, and are kept out.
    Force {
        /// Names or ids of those that are left; the asked node is one of them.
        left: Vec<String>,
    },
    /// What is stuck, and why.
    Doctor,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Question::Explain`].
    Explain(Explanation),
    /// To [`Question::Siblings`].
    Siblings(SiblingList),
    /// To [`Question::Status`].
    Status(Status),
    /// To [`Question::Members`].
    Members(Vec<MemberLine>),
    /// To [`Question::Ring`].
    Ring(RingShown),
    /// To [`Question::Plan`].
    Plan(PlanShown),
    /// To [`Question::Change`] and [`Question::Force`].
    Changed(Changed),
    /// To the same, when nobody knows in time what came of it: it may have been decided, or may yet be. Why, as a sentence.
    Undecided(String),
    /// To [`Question::Doctor`], the gravest first.
    Doctor(Vec<Finding>),
}

/// Something that is not as it should be, or takes its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `bad`, `waits` or `fine`.
    pub grade: String,
    /// What it is, as a sentence.
    pub what: String,
    /// Milliseconds since it is so, as far as the asked node knows.
    pub since_ms: Option<u64>,
    /// The names of the members that it is about, or waits for.
    pub members: Vec<String>,
    /// What to do about it, as a sentence; empty when nothing is.
    pub next: String,
}

/// Everything that every node has of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The key's bucket.
    pub bucket: String,
    /// The key, base64 where it is not UTF-8.
    pub key: String,
    /// The key's token, as hex.
    pub token: String,
    /// Its slot.
    pub slot: u16,
    /// The members that should hold it.
    pub owners: Vec<MemberNumber>,
    /// What each member that answered has.
    pub replicas: Vec<ReplicaShown>,
    /// Names of members that did not answer.
    pub missing: Vec<String>,
    /// Names of members by number, for reading dots.
    pub names: Vec<(MemberNumber, String)>,
}

/// What one node has of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaShown {
    /// Which member.
    pub member: MemberNumber,
    /// Its name.
    pub name: String,
    /// Whether it owns the key.
    pub owner: bool,
    /// Its clock of the key's slot, as text.
    pub clock: String,
    /// The context of the key that the clock does not cover yet, as text; empty when there is none.
    pub residual: String,
    /// The values it holds.
    pub values: Vec<ValueShown>,
    /// Dots among the values of any node, hints included, that it has applied and no longer holds:
    /// replaced or deleted there.
    pub replaced: Vec<String>,
    /// What it keeps for others.
    pub hints: Vec<HintShown>,
}

/// One value as it is explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueShown {
    /// Its dot, as text.
    pub dot: String,
    /// The name of the node that coordinated the write.
    pub via: String,
    /// What the client called itself.
    pub written_by: String,
    /// The client's name for the write, as hex. Two dots of one operation are two attempts at it.
    pub operation: String,
    /// Milliseconds since 1970 on the coordinator's clock.
    pub written_at_ms: u64,
    /// Dots of other values that its writer had seen, as text.
    pub saw: Vec<String>,
    /// The writer's whole context, as text.
    pub context: String,
    /// The first bytes of the value.
    #[serde(with = "serde_bytes_vec")]
    pub head: Vec<u8>,
    /// How many bytes it has.
    pub len: u64,
}

/// A delta that a node keeps for an absent owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HintShown {
    /// Whom it is owed to.
    pub owed_to: String,
    /// The dots it brings.
    pub dots: Vec<String>,
    /// The values it brings: during a split this may be the only place that has them.
    pub values: Vec<ValueShown>,
}

/// Keys with siblings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiblingList {
    /// Bucket, key, and how many values it has.
    pub keys: Vec<SiblingLine>,
    /// Whether the list was cut at the limit.
    pub more: bool,
    /// Names of members that did not answer: what only they hold is missing.
    pub missing: Vec<String>,
}

/// One key with siblings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SiblingLine {
    /// Its bucket.
    pub bucket: String,
    /// The key.
    #[serde(with = "serde_bytes_vec")]
    pub key: Vec<u8>,
    /// How many values one replica has at most.
    pub siblings: u16,
}

/// How the cluster is, as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's name, as hex; empty while it is being founded.
    pub cluster_id: String,
    /// `healthy`, `degraded` or `unavailable`.
    pub health: String,
    /// The ring's epoch.
    pub epoch: u32,
    /// How many members there are.
    pub members: u32,
    /// How many of them are up: they answer heartbeats, and data can be sent there.
    pub members_up: u32,
    /// How many copies of everything are wanted.
    pub copies: u8,
    /// How many partitions there are.
    pub partitions: u32,
    /// How many of them have all owners up.
    pub partitions_whole: u32,
    /// How many of them have a quorum of owners up, but not all.
    pub partitions_degraded: u32,
    /// How many of them have no quorum of owners up.
    pub partitions_unavailable: u32,
    /// How many more members may fail before some key cannot be read or written at quorum.
    pub survives: u32,
    /// Ring changes under way.
    pub moves: Vec<String>,
    /// Hints not delivered yet, on the nodes that answered.
    pub hints_pending: u64,
    /// Keys with siblings, as the first live owner of each sees it.
    pub conflicts: u64,
    /// Keys with a value, as the first live owner of each sees it.
    pub keys: u64,
    /// Names of members that did not answer.
    pub missing: Vec<String>,
    /// The name of the answering node.
    pub node: String,
    /// What the node waits for before it can serve, as a sentence; empty when it serves.
    pub waiting: String,
    /// Sentences for people: what is wrong, and what to do next.
    pub sentences: Vec<String>,
}

/// One member as `members` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLine {
    /// What people call it.
    pub name: String,
    /// Its node id, as hex.
    pub id: String,
    /// Its address.
    pub addr: String,
    /// Where it stands.
    pub zone: String,
    /// `U` up or `D` down, then `N` normal, `J` joining (not all that it is to own is its own yet), or `L` leaving. Up means
    /// that data can be sent there, too.
    pub state: String,
    /// Whether it drives ring changes now.
    pub leader: bool,
    /// Whether it is the node that answers.
    pub me: bool,
    /// Its number in the ring.
    pub number: u16,
    /// Its share of all copies, in percent.
    pub share_percent: String,
    /// Milliseconds since it was last heard of; `None` for the answering node, or when never.
    pub seen_ms: Option<u64>,
    /// What is wrong with it where its state alone would puzzle, as a sentence; empty otherwise.
    #[serde(default)]
    pub note: String,
}

/// Who owns what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingShown {
    /// The ring's epoch.
    pub epoch: u32,
    /// How many copies are wanted.
    pub copies: u8,
    /// First slot, number of slots, and names of the owners, by ascending slot.
    pub partitions: Vec<PartitionShown>,
    /// Whether an operator has stopped changes of owners between two steps.
    #[serde(default)]
    pub paused: bool,
}

/// One partition of the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionShown {
    /// Its first slot.
    pub first: u16,
    /// How many slots it has.
    pub slots: u16,
    /// The names of its owners.
    pub owners: Vec<String>,
    /// What becomes of it now, in words: who copies it, who settles in it, what is covered. Empty when nothing does.
    #[serde(default)]
    pub change: String,
    /// The names of the owners that it is to have in the end; empty when it has them.
    #[serde(default)]
    pub goal: Vec<String>,
    /// The names of those who had a seat and still keep a copy.
    #[serde(default)]
    pub former: Vec<String>,
    /// The epoch in which it changed last, or took a step; 0 when not since the founding.
    #[serde(default)]
    pub since: u32,
}

/// Bytes as MessagePack's byte string and not as a list of numbers.
mod serde_bytes_vec {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(bytes.to_vec())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
