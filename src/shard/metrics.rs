//! What a shard counts, for the people who run it.
//!
//! Invariant: `hints_created = hints_delivered + hints_superseded + hints_pending`.

/// Counters since the shard was made, and gauges of what is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Writes that this shard coordinated.
    pub puts: u64,
    /// Reads that this shard coordinated.
    pub gets: u64,
    /// Requests sent on to an owner.
    pub forwards: u64,
    /// Requests refused before any effect.
    pub failures: u64,
    /// Writes whose outcome was told as unknown.
    pub unknowns: u64,
    /// Attempts at a write that went on under the dot of an earlier one.
    pub attempts_found: u64,
    /// Repairs sent after reads, or made on the own copy.
    pub repairs: u64,
    /// Hints kept since the store was opened, those found in it included.
    pub hints_created: u64,
    /// Hints that the member they were owed to has synced.
    pub hints_delivered: u64,
    /// Hints dropped because a later one had seen what they bring, or because what they bring was written by an
    /// actor that is listed as dead: an old copy of the disk had them.
    pub hints_superseded: u64,
    /// Hints kept now.
    pub hints_pending: u64,
    /// Their bytes.
    pub hint_bytes: u64,
    /// Rounds of slot sync begun.
    pub sync_rounds: u64,
    /// Asks for slots sent, one per page.
    pub asks: u64,
    /// Pages sent that listed all of a range, because the asker lacked what the mark covers.
    pub full_pages: u64,
    /// Pages applied.
    pub pages: u64,
    /// Slots brought level with a peer's.
    pub slots_synced: u64,
    /// Stored values read to see whether they can be.
    pub scrubbed: u64,
    /// Values that could not, and were brought from another owner.
    pub healed: u64,
    /// Requests under way.
    pub requests: u64,
    /// Bytes that they hold.
    pub request_bytes: u64,
    /// Keys with siblings.
    pub conflicts: u64,
    /// Slots that count for no read, because synced data went missing and others were not heard since.
    pub recovering: u64,
    /// Slots in which the single dots of dead actors were folded here.
    pub slots_folded: u64,
    /// Slots that started over, empty, because the copy was older than the listing of a dead actor.
    pub slots_started_over: u64,
    /// Slots whose copy was dropped after this node had lost its seat.
    pub slots_dropped: u64,
    /// Own actors given up because some of their dots are lost.
    pub retired: u64,
    /// Dead actors that the ring lists, as far as this shard has heard.
    pub dead_listed: u64,
    /// Deletes that some owner may not have heard of.
    pub deletes_logged: u64,
}
