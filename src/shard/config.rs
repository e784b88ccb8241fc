//! The limits and intervals of a shard, one row each.
//!
//! Invariant: everything that can grow has a limit here. Not here: limits of keys and values
//! (`key`), and of connections and lanes (`server`).

use std::time::Duration;

/// What a shard is told when it is made. `ShardConfig { life, seed, ..Default::default() }` is a
/// whole node's only shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardConfig {
    /// Which of the node's shards this is: it holds the slots with `slot mod shards == shard`.
    pub shard: u16,
    /// How many shards the node has, a power of two.
    pub shards: u16,
    /// 48 random bits, drawn afresh at every start: with the member's number, the actor of all
    /// dots that this process mints.
    pub life: u64,
    /// Where all randomness comes from. Mixed with `life`.
    pub seed: u64,

    /// A request without a timeout waits this long.
    pub timeout_default: Duration,
    /// No request waits longer than this.
    pub timeout_max: Duration,
    /// A late node is given up, and another asked, after the timeout divided by this.
    pub patience_divisor: u32,
    /// Questions about the cluster wait this long for members.
    pub question_timeout: Duration,

    /// Requests under way, of all kinds. More are refused as overloaded.
    pub requests_max: usize,
    /// Bytes of keys and values that requests under way hold. More are refused as overloaded.
    pub request_bytes_max: u64,
    /// Acknowledgements that wait for a sync. More are declined as overloaded.
    pub unsynced_max: usize,
    /// Reads of the disk under way for requests of peers. More are declined as overloaded.
    pub loads_max: usize,

    /// A key with this many values is worth a warning.
    pub siblings_warn: usize,
    /// Client writes that would leave a key with more values than this are refused.
    pub siblings_max: usize,
    /// The longest name that a client may give itself, in bytes.
    pub writer_bytes_max: usize,
    /// Values in one frame have at most this many bytes together, unless it is a single value.
    pub frame_values_max: u64,

    /// Writes remembered, so that another attempt at one goes on under its dot.
    pub operations_max: usize,
    /// Bytes of their keys and values.
    pub operation_bytes_max: u64,

    /// Bytes of hints kept for absent owners. More are declined as overloaded.
    pub hint_bytes_max: u64,
    /// Hints on their way to one member at a time.
    pub hints_in_flight_max: usize,
    /// A hint that is not acknowledged in this time is sent again.
    pub hint_timeout: Duration,
    /// A member that declined a hint is left alone for this long.
    pub hint_retry: Duration,
    /// An owner that has another row than this node is asked again after this long.
    pub row_retry: Duration,

    /// The mean time between two rounds of slot sync. Each is drawn between half and one and a half.
    pub sync_interval: Duration,
    /// The same while a step of a row waits for what this node pulls or drops: such rounds are with whom it waits for.
    pub seat_interval: Duration,
    /// Clocks of slots compared in a round with one peer.
    pub clocks_max: usize,
    /// Deletes kept in the log for owners that may not have heard of them. Beyond that the oldest
    /// slots are trimmed: whoever lacks one of their deletes is sent a full list.
    pub delete_log_max: u64,
    /// Slots pulled at a time.
    pub asks_max: usize,
    /// An exchange about a slot that makes no progress in this time is given up until another round.
    pub ask_timeout: Duration,
    /// The aim for a page, in bytes. One entry may make it larger.
    pub page_bytes: u64,
    /// Bytes a second that are pulled from peers: at least, though clients wait longer for it,
    pub copy_rate_least: u64,
    /// and at most.
    pub copy_rate_most: u64,
    /// Keys looked at per round for residual contexts that the clock has come to cover.
    pub strips_per_round: usize,

    /// How often all stored values are read, to find what has rotted.
    pub scrub_interval: Duration,
    /// Bytes of them read per round of slot sync.
    pub scrub_bytes: u64,

    /// The time between two looks at a part of the clocks for lives that the ring does not list.
    pub lives_interval: Duration,

    /// Keys listed in one answer.
    pub list_max: u32,
    /// Bytes of keys listed in one answer.
    pub list_bytes_max: usize,
    /// Bytes of values read to explain one key. Values beyond that are shown by their dots alone.
    pub look_bytes_max: u64,
}

impl Default for ShardConfig {
    fn default() -> Self {
        ShardConfig {
            shard: 0,
            shards: 1,
            life: 0,
            seed: 0,
            timeout_default: Duration::from_secs(5),
            timeout_max: Duration::from_secs(60),
            patience_divisor: 3,
            question_timeout: Duration::from_secs(2),
            requests_max: 65_536,
            request_bytes_max: 256 << 20,
            unsynced_max: 65_536,
            loads_max: 4_096,
            siblings_warn: 16,
            siblings_max: 128,
            writer_bytes_max: 256,
            frame_values_max: (8 << 20) + (256 << 10),
            operations_max: 4_096,
            operation_bytes_max: 8 << 20,
            hint_bytes_max: 1 << 30,
            hints_in_flight_max: 64,
            hint_timeout: Duration::from_secs(5),
            hint_retry: Duration::from_secs(1),
            row_retry: Duration::from_millis(100),
            sync_interval: Duration::from_secs(1),
            seat_interval: Duration::from_millis(200),
            clocks_max: 4_096,
            delete_log_max: 1 << 18,
            asks_max: 8,
            ask_timeout: Duration::from_secs(5),
            page_bytes: 1 << 20,
            copy_rate_least: 1 << 20,
            copy_rate_most: 128 << 20,
            strips_per_round: 4_096,
            scrub_interval: Duration::from_secs(24 * 3600),
            scrub_bytes: 1 << 20,
            lives_interval: Duration::from_secs(1),
            list_max: 10_000,
            list_bytes_max: 4 << 20,
            look_bytes_max: 64 << 20,
        }
    }
}

impl ShardConfig {
    /// How long a request waits that asks for `timeout_ms`; 0 asks for the default.
    pub(super) fn timeout(&self, timeout_ms: u32) -> Duration {
        match timeout_ms {
            0 => self.timeout_default,
            ms => Duration::from_millis(ms.into()).min(self.timeout_max),
        }
    }

    /// Panics when a row makes no sense.
    pub(super) fn check(&self) {
        assert!(self.shards.is_power_of_two(), "a node's shards are a power of two");
        assert!(self.shard < self.shards, "a shard is one of the node's shards");
        assert!(self.patience_divisor > 0, "patience is a part of the timeout");
        assert!(self.siblings_warn <= self.siblings_max, "a warning comes before the limit");
    }
}
