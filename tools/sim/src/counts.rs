//! What a run exercised. A run, or a batch of them, that did not do what it claims is vacuous.
//!
//! Invariant: a count only grows, and only when the thing was seen to happen.

use std::fmt;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident $label:literal,)*) => {
        /// How often each thing happened.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// Each count with its name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$(($label, self.$name),)*]
            }

            /// Adds another run's counts.
            pub fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// Writes that the store acknowledged.
    ok_writes "ok writes",
    /// Writes with an unknown outcome.
    unknown_writes "unknown writes",
    /// Writes refused without effect.
    failed_writes "failed writes",
    /// Reads answered.
    ok_reads "ok reads",
    /// Reads that showed more than one value.
    sibling_reads "reads showing siblings",
    /// Pairs of an acknowledged write and a later read whose quorums meet.
    regular_pairs "write-read pairs held to regularity",
    /// Acknowledged writes that something had replaced in the end.
    replaced "acknowledged writes replaced",
    /// Frames that carried a hint to a fallback.
    hints_kept "hints kept",
    /// Frames that delivered a hint.
    hints_delivered "hints delivered",
    /// Frames that repaired a replica after a read.
    repairs "read repairs",
    /// Sync pages that carried entries.
    sync_pages "sync pages with entries",
    /// Attempts that went on under the dot of an earlier one.
    attempts_found "attempts found again",
    /// Requests forwarded to an owner.
    forwards "forwards",
    /// Reads answered from hints alone.
    hint_reads "reads answered from hints",
    /// Reads that named a floor.
    floor_reads "reads with a floor",
    /// Those that came to an owner which had not seen all of it yet.
    floors_ahead "floors ahead of the node asked",
    /// Those that were answered.
    floors_met "floors met, write by write",
    /// Those that were told to come again later.
    not_yets "reads told not yet",
    /// Shards that could account for hints that they kept and no longer keep.
    books "hint books balanced",
    /// Hints dropped for later ones.
    superseded "hints superseded",
    /// Keys that were deleted in the end.
    deleted_keys "deleted keys searched for residue",
    /// Contexts left there, above dots that no owner will ever have.
    explained "contexts left there for a reason",
    /// Rounds of slot sync with nothing to do.
    idle_rounds "idle rounds overheard",
    /// Bytes sent meanwhile.
    idle_bytes "bytes said meanwhile",
    /// Frames sent.
    frames "frames",
    /// Frames lost, on cut links too.
    lost "frames lost",
    /// Frames doubled.
    doubled "frames doubled",
    /// Links cut, by splits and one-way cuts.
    cuts "links cut",
    /// Times that a flapping link went or came.
    flaps "flaps of a link",
    /// Nodes killed.
    kills "kills",
    /// Nodes that lost power.
    power_losses "power losses",
    /// Nodes started again.
    restarts "restarts",
    /// Starts that went on under the life before.
    lives_kept "lives kept",
    /// Nodes paused.
    pauses "pauses",
    /// Syncs that failed.
    failed_syncs "failed syncs",
    /// Appends that failed.
    failed_appends "failed appends",
    /// Reads that failed.
    failed_reads "failed reads",
    /// Segments that could not be made: the disk was full, or failed.
    segments_refused "segments not made",
    /// Writes and hints declined because a disk was full.
    full_refusals "writes a full disk refused",
    /// Bits that turned over.
    flips "bits turned over",
    /// Answers that said a value could not be read.
    unreadable "values said to be unreadable",
    /// Logs that did not open for damage.
    damaged_logs "nodes with damaged logs",
    /// Of these, those whose logs were salvaged.
    salvages "of these salvaged",
    /// Starts that failed because a disk did.
    failed_starts "starts that a disk failed",
    /// Copies of a running node's directory that were refused.
    clones_refused "copied directories refused",
    /// Copies of a directory that ran on another machine in the node's place.
    clones "copied directories run elsewhere",
    /// Originals that came back after their copy had run.
    originals_back "originals back after their copies",
    /// Disks that went back in time.
    restores "restored or wiped disks",
    /// Of these, those that neither the page nor the operator noticed.
    silent_restores "of these unnoticed",
    /// Starts of nodes that catch up before they count for reads.
    recoveries "starts that catch up first",
    /// Writes whose last copy such a disk took.
    excused "writes excused by that",
    /// Actors in use that were asked to be refused.
    spared "lives in use asked about",
    /// Dead actors that the ring listed.
    listed "dead actors listed",
    /// Slots in which their dots were folded, not counting those that heard of it by slot sync.
    folds "slots folded",
    /// Slots that an old copy started over.
    start_overs "slots started over",
    /// Own actors that a shard gave up.
    retired "actors retired",
    /// Histories in which seats changed hands.
    moving_runs "histories with ring changes",
    /// Rings that moved seats.
    moves "rings that moved seats",
    /// Shards that had copied what they were to take over.
    copied "partitions copied, by shard",
    /// Shards whose seats had settled.
    settled "seats settled, by shard",
    /// Shards that covered for a seat that was gone.
    covered "lost seats covered, by shard",
    /// Shards that dropped what their node had lost the seat of.
    dropped "old copies dropped, by shard",
    /// Acknowledged quorum writes looked for at a majority of a row that nothing settles in.
    whole "quorum writes found with a majority",
    /// Old copies that went, looked for on the disks of all owners.
    drops_checked "old copies found with all owners",
    /// Sync pages that listed all of a slot.
    full_pages "full lists",
    /// Reads of a disk that came later.
    later_reads "late disk reads",
}

impl Counts {
    /// What a batch of mixed runs must have done, or it is vacuous: the names of those at 0. What hardly ever happens
    /// but in the profile made for it is not asked for here, nor what scrubbing is quick to prevent.
    pub fn missing(&self) -> Vec<&'static str> {
        let rare = ["slots started over", "actors retired", "values said to be unreadable"];
        let asked = self.named().into_iter().filter(|(name, _)| !rare.contains(name));
        asked.filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.named() {
            writeln!(f, "{count:>12}  {name}")?;
        }
        Ok(())
    }
}
