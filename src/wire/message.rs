//! Every message of the data plane: the protocol's table of contents.
//!
//! | message | from → to | answered by | if it is lost |
//! |---|---|---|---|
//! | [`Put`](Message::Put), [`Get`](Message::Get) | client → node, or forwarded node → owner | `PutReply`, `GetReply`, `Failure` | the client's deadline; a write's outcome is then unknown |
//! | [`Question`](Message::Question) | client → node | `Answer`, `Failure` | the client asks again |
//! | [`Store`](Message::Store) | coordinator or repair → owner | `Stored`, `Declined` | hint, read repair or slot sync bring it later |
//! | [`KeepHint`](Message::KeepHint) | coordinator → fallback | `Stored`, `Declined` | the fallback does not count |
//! | [`Fetch`](Message::Fetch) | coordinator → owner | `Fetched`, `Declined` | another owner is asked |
//! | [`Summary`](Message::Summary) | owner → owner, each sync round | `SlotHashes` if anything differs | the next round |
//! | [`SlotHashes`](Message::SlotHashes) | owner → owner | `ClocksWanted` for slots that differ | the next round |
//! | [`ClocksWanted`](Message::ClocksWanted) | owner → owner | `Clocks` | the next round |
//! | [`Clocks`](Message::Clocks) | owner → owner | `Ask` for slots of which the answerer had more a round ago | the next round |
//! | [`ClosingWanted`](Message::ClosingWanted) | owner → owner, each sync round while slots are behind the ring's list of dead actors | `Closing`, once what it says is durable | the next round |
//! | [`Closing`](Message::Closing) | owner → owner | nothing | the next round |
//! | [`Ask`](Message::Ask) | owner → owner | `Page` | the next round asks anew |
//! | [`Page`](Message::Page) | owner → owner | the next `Ask`, until the last page | the next round asks anew |
//! | [`Inspect`](Message::Inspect) | node → every member | `Inspected` | the answer says who is missing |
//! | [`Count`](Message::Count) | node → every member | `Counted` | the answer says who is missing |
//!
//! Every message may be lost, doubled, late or out of order; applying a delta twice is harmless.
//! Invariant: a message carries a key within its limits, and a frame names the slot it is about.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Answer, Failure, Level, Question};
use crate::causality::{Delta, Dot, DotSet, Entry, Meta, Value};
use crate::key::Key;
use crate::ring::{Epoch, MemberNumber, Slot, Token};

/// A message with what its frame's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The slot it is about. For messages about no single slot, one that leads to the right shard.
    pub slot: Slot,
    /// The epoch of the sender's ring.
    pub epoch: Epoch,
    /// Chosen by whoever asks; the answer repeats it.
    pub request: u64,
    /// The key's token, so that nobody hashes it again; 0 where there is no key.
    pub token: Token,
    /// What it says.
    pub message: Message,
}

/// Everything that nodes and clients say on the data plane. See the table at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Write or delete one key.
    Put(Put),
    /// How a put ended, unless it failed.
    PutReply(PutReply),
    /// Read one key.
    Get(Get),
    /// What a read found.
    GetReply(GetReply),
    /// The request had no effect, and why.
    Failure(Failure),
    /// Ask about the cluster or a key's history. Its answer may take many nodes.
    Question(Question),
    /// The answer to a question.
    Answer(Answer),

    /// Join this delta into your copy.
    Store(Store),
    /// Keep this delta for an owner that is away.
    KeepHint(KeepHint),
    /// It is on my synced disk.
    Stored,
    /// It is not on my synced disk, and will not be on account of this message.
    Declined(Decline),
    /// Tell me what you have of this key.
    Fetch(Fetch),
    /// What I have of it.
    Fetched(Fetched),

    /// Fingerprints of the partitions that we share.
    Summary(Summary),
    /// Fingerprints of the slots in the partitions that differ.
    SlotHashes(SlotHashes),
    /// Tell me your clocks of these slots.
    ClocksWanted(ClocksWanted),
    /// My clocks.
    Clocks(Clocks),
    /// Tell me what you have of dead actors in these slots.
    ClosingWanted(ClosingWanted),
    /// What I have of them.
    Closing(Closing),
    /// Send me what I lack of this slot.
    Ask(Ask),
    /// Part of a slot.
    Page(Page),

    /// Show everything you have of this key, hints too.
    Inspect(Inspect),
    /// Everything I have of it.
    Inspected(Inspected),
    /// Count and list what you hold.
    Count(Count),
    /// What I hold.
    Counted(Counted),
}

impl Message {
    /// Whether it is part of slot sync: what owners say to each other without anybody asking.
    pub fn is_sync(&self) -> bool {
        matches!(
            self,
            Message::Summary(_)
                | Message::SlotHashes(_)
                | Message::ClocksWanted(_)
                | Message::Clocks(_)
                | Message::ClosingWanted(_)
                | Message::Closing(_)
                | Message::Ask(_)
                | Message::Page(_)
        )
    }
}

/// A client's write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// What is written.
    pub key: Key,
    /// The new bytes; `None` deletes.
    pub value: Option<Bytes>,
    /// What the client had seen.
    pub basis: Basis,
    /// How many must have it before it counts.
    pub level: Level,
    /// Whether only owners count, not fallbacks.
    pub strict: bool,
    /// The client's name for this write, the same for every attempt.
    pub operation: u128,
    /// Whether there was an attempt before: it is looked for at all owners.
    pub again: bool,
    /// What the client calls itself.
    pub writer: String,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: u32,
    /// Whether a node sent it on: then it goes no further.
    pub forwarded: bool,
}

/// What a write replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// Nothing: it becomes a sibling of whatever is there.
    Blind,
    /// Whatever the coordinator itself can see.
    Overwrite,
    /// What this token covers, and nothing else.
    Context(Bytes),
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As many as asked for have it on their disks.
    Ok,
    /// Too few answered in time. It may have happened, and may yet spread.
    Unknown,
}

/// The answer to a put that had, or may have had, an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutReply {
    /// How it ended.
    pub outcome: Outcome,
    /// The write's name. `None` when the node that sent the request on to an owner lost touch with
    /// it: the outcome is then `Unknown`, and there is no context.
    pub dot: Option<Dot>,
    /// A token that covers what the client had seen, and this write. Empty without a dot.
    pub context: Bytes,
    /// Owners that have it on their synced disks.
    pub owners: u8,
    /// Fallbacks that keep it, synced, for absent owners.
    pub fallbacks: u8,
    /// How many were asked for.
    pub needed: u8,
    /// How many values the key has now, as the coordinator sees it.
    pub siblings: u16,
}

/// A client's read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Get {
    /// What is read.
    pub key: Key,
    /// A token as reads and writes of the key give: the answer must have seen all that it covers.
    /// Empty for a read that takes what is there.
    pub floor: Bytes,
    /// How many must answer.
    pub level: Level,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: u32,
    /// Whether a node sent it on: then it goes no further.
    pub forwarded: bool,
}

/// What a read found. No values means not found, which is an answer too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetReply {
    /// The live values by dot. More than one are siblings.
    pub values: Vec<(Dot, Value)>,
    /// How many more live values there are that did not fit into one frame. The context does not
    /// cover them: replace the values shown, then read again.
    pub omitted: u16,
    /// A token that covers exactly what is shown, and what that had replaced.
    pub context: Bytes,
    /// How many owners answered.
    pub answered: u8,
    /// How many were asked for.
    pub needed: u8,
    /// Who said so.
    pub source: Source,
}

/// Whose word a read's answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Owners of the key.
    Owners,
    /// No owner could be reached: this is what one node keeps for them as hints.
    Hints,
    /// The only owners that could be reached lost synced data, and are catching up: there may be more.
    Recovering,
}

/// Join this delta into your copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Whose delta.
    pub key: Key,
    /// What changes.
    pub delta: Delta<Value>,
    /// Why it is sent. The receiver does the same whatever the reason, but for limits and counts.
    pub reason: Reason,
}

/// Why a delta travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A client writes.
    Write,
    /// A read saw that the receiver has less.
    Repair,
    /// It was kept while the receiver was away.
    Hint,
    /// The receiver pulls the slot, and this did not fit into a page.
    Sync,
}

/// Keep this delta for an owner that is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepHint {
    /// The owner that lacks it.
    pub owed_to: MemberNumber,
    /// Whose delta.
    pub key: Key,
    /// What changes.
    pub delta: Delta<Value>,
}

/// Why a replica did not do what a coordinator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decline {
    /// Too much is under way here.
    Overloaded,
    /// The disk failed to sync: this node only reads until it is restarted.
    ReadOnly,
    /// There is no space for the log to grow.
    Full,
    /// This node does not own the slot.
    NotMine,
    /// The two nodes' rings do not list the same actors as dead, or are about to; or the row of owners is another
    /// one here than the asker thought.
    OtherRing,
    /// What is on the disk cannot be read.
    Damaged,
    /// It is done, and does not count: this owner has not pulled enough from those before it.
    Unsettled,
}

/// Tell me what you have of this key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Which key.
    pub key: Key,
    /// Dots whose values the asker has: they need no bytes.
    pub have: Vec<Dot>,
}

/// What a replica has of a key. With it goes the slot's clock: what is covered and not held is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Whether the replica lost synced data, or is new, and is catching up: then it counts for no read.
    pub recovering: bool,
    /// The slot's clock at the replica.
    pub clock: DotSet,
    /// The entry; a value is `None` where the asker said that it has it.
    pub entry: Entry<Option<Value>>,
}

/// Fingerprints of the clocks of the partitions that two owners share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Slots with `slot mod classes == class` are meant: those of one shard at either side.
    pub class: u16,
    /// The larger of the two nodes' shard counts.
    pub classes: u16,
    /// First slot of the partition, and the fingerprint of its clocks.
    pub partitions: Vec<(Slot, u64)>,
    /// Whether the sender lost synced data: it wants an answer also when nothing differs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovering: bool,
}

/// Fingerprints of the clocks of single slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotHashes {
    /// Slot and fingerprint of its clock. A slot of the partitions that is missing has an empty clock.
    pub slots: Vec<(Slot, u64)>,
    /// First slots of the partitions that these are all the slots of.
    pub partitions: Vec<Slot>,
    /// As in [`Summary`].
    pub class: u16,
    /// As in [`Summary`].
    pub classes: u16,
    /// First slots of the partitions that are equal, told to who lost synced data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equal: Vec<Slot>,
    /// First slots of the partitions in which the sender lost synced data itself and has not caught up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovering: Vec<Slot>,
}

/// Send me what I lack of the frame's slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Drawn at random for this exchange; an answer without it is dropped.
    pub nonce: u64,
    /// What the asker has applied.
    pub clock: DotSet,
    /// Where the last page ended: (token, key) order. `None` for the first.
    pub after: Option<Key>,
    /// The answerer's clock when the exchange began. `None` for the first page.
    pub began: Option<DotSet>,
}

/// Tell me your clocks of these slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClocksWanted {
    /// Which slots, all of one shard at either side.
    pub slots: Vec<Slot>,
}

/// Clocks of slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clocks {
    /// Slot and clock. A slot that was asked for and is missing did not fit.
    pub clocks: Vec<(Slot, DotSet)>,
}

/// Tell me what you have of dead actors in these slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosingWanted {
    /// Which slots, all of one shard at either side.
    pub slots: Vec<Slot>,
}

/// What a copy has of dead actors, durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// How many dead actors the sender knows to be listed.
    pub listed: u32,
    /// Slot, and the part of its clock that is about listed actors. A slot that was asked for and is missing did
    /// not fit.
    pub reports: Vec<(Slot, DotSet)>,
}

/// What an asker lacks of a slot, after `after` up to `upto`, in (token, key) order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The asker's.
    pub nonce: u64,
    /// The answerer's clock now: what it covers of a listed key and does not list there is gone.
    pub clock: DotSet,
    /// The answerer's clock when the exchange began: adopted after the last page.
    pub began: DotSet,
    /// Where the page starts: `None` at the slot's beginning.
    pub after: Option<Key>,
    /// Where the page ends: `None` at the slot's end, which makes it the last.
    pub upto: Option<Key>,
    /// Entries of which the asker lacks something, or that are not settled; a value is `None` where the
    /// asker's clock has its dot. A key without values is gone.
    pub entries: Vec<(Key, Entry<Option<Value>>)>,
    /// Deletes that the asker lacks. Their keys are among the entries.
    pub deletes: Vec<(Dot, Key)>,
    /// The answerer's mark, when the asker's clock does not cover it: the answerer may have forgotten
    /// deletes that the asker lacks. Then the entries are *all* entries of the range, and what is not
    /// listed is gone.
    pub mark: Option<DotSet>,
}

/// Show everything you have of this key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspect {
    /// Which key.
    pub key: Key,
}

/// Everything one node has of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The slot's clock there.
    pub clock: DotSet,
    /// The entry there.
    pub entry: Entry<Glimpse>,
    /// What it keeps for others: whom each is owed to.
    pub hints: Vec<(MemberNumber, Delta<Glimpse>)>,
}

/// What people need to see of a value: everything but most of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    /// Who wrote it, when, having seen what.
    pub meta: Meta,
    /// Its first bytes, at most [`GLIMPSE_BYTES_MAX`].
    pub head: Bytes,
    /// How many bytes it has.
    pub len: u64,
}

/// How many of a value's bytes are in a [`Glimpse`].
pub const GLIMPSE_BYTES_MAX: usize = 256;

/// Count what you hold, and list keys with siblings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Slots with `slot mod classes == class` are meant.
    pub class: u16,
    /// The larger of the two nodes' shard counts.
    pub classes: u16,
    /// Only this bucket; all when `None`.
    pub bucket: Option<String>,
    /// List at most this many keys.
    pub limit: u32,
}

/// What one shard holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Keys with at least one value, in the slots of which this member is the first live owner.
    pub keys: u64,
    /// Of these, those with siblings.
    pub conflicts: u64,
    /// Hints not delivered yet.
    pub hints: u64,
    /// Slots in which the member lost synced data and has not caught up.
    pub recovering: u64,
    /// Keys with siblings and how many each has, in key order, at most as many as asked for.
    pub siblings: Vec<(Key, u16)>,
    /// Whether there are more than that.
    pub more: bool,
}
