//! What a cluster does that has nothing to do: it tidies up, and then it says very little.
//!
//! Invariant: once copies are equal, everything that deletes left is gone within a bounded time. After
//! that nothing is asked, sent or stored any more; a round of slot sync says one fingerprint for each
//! shared partition, and no answer comes. Not here: when copies are equal (`world`).

use std::time::Duration;

use ringdove::causality::DotSet;
use ringdove::key::Key;
use ringdove::ring::Slot;
use ringdove::storage::{LogEnd, MemoryDisk, Store};
use ringdove::wire::{Frame, Message, encode};

use crate::trace::brief;
use crate::world::World;

/// How long tidying up may take.
const TIDY_WITHIN: Duration = Duration::from_secs(180);
/// How often it is asked whether it is done.
const TIDY_EVERY: Duration = Duration::from_millis(500);
/// What a round may say for each class of slots. A cluster of 16384 slots and 500 members has
/// fewer partitions per pair than would fill it.
const ROUND_BYTES_MAX: u64 = 4 << 10;

/// What was overheard.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    bytes: u64,
    /// The first frame that was more than the beginning of a round.
    talk: Option<String>,
}

/// What a shard had done and written so far, but for beginning rounds.
#[derive(Debug, PartialEq, Eq)]
struct Ledger {
    end: LogEnd,
    asks: u64,
    pages: u64,
    synced: u64,
    repairs: u64,
    hints: u64,
}

impl World {
    /// Lets the cluster tidy up, and then listens for a while.
    pub(crate) fn rest(&mut self) {
        self.tidy();
        if self.goes_on() {
            self.listen();
        }
    }

    fn tidy(&mut self) {
        // What was under way when everything was healed may still be answered.
        let stragglers = self.agenda.last_under_way().unwrap_or_default();
        let deadline = self.now.max(stragglers) + TIDY_WITHIN;
        while self.goes_on() {
            self.run_until(self.now + TIDY_EVERY, |_| false);
            let why = self.residue();
            match why {
                None if self.now > stragglers + TIDY_EVERY => return,
                Some(why) if self.now > deadline && self.goes_on() => {
                    return self.violate("residue", format!("after {TIDY_WITHIN:?} {why}"));
                }
                None | Some(_) => {}
            }
        }
    }

    /// Something that is left and need not be.
    fn residue(&self) -> Option<String> {
        for node in &self.nodes {
            if node.ring.epoch < self.ring.epoch {
                return Some(format!("n{} has not heard of the newest ring", node.number));
            }
            for running in node.process.iter().flat_map(|process| &process.shards) {
                let logged = running.shard.metrics().deletes_logged;
                if logged > 0 {
                    return Some(format!("n{} keeps {logged} deletes in the log", node.number));
                }
                let store = running.shard.store();
                if store.unwritten() {
                    return Some(format!("n{} has something to write", node.number));
                }
                let left = store.slots().find_map(|slot| strippable(store, slot));
                if let Some((key, residual)) = left {
                    return Some(format!("n{} keeps context {residual} at {key}", node.number));
                }
            }
        }
        None
    }

    fn ledgers(&self) -> (u64, Vec<Ledger>) {
        let (mut rounds, mut ledgers) = (0, Vec::new());
        for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
            for running in &process.shards {
                let metrics = running.shard.metrics();
                rounds += metrics.sync_rounds;
                ledgers.push(Ledger {
                    end: running.shard.store().end(),
                    asks: metrics.asks,
                    pages: metrics.pages + metrics.full_pages,
                    synced: metrics.slots_synced,
                    repairs: metrics.repairs,
                    hints: metrics.hints_created + metrics.hints_delivered,
                });
            }
        }
        (rounds, ledgers)
    }

    /// Long enough for a round with every peer.
    fn listen(&mut self) {
        let (rounds, before) = self.ledgers();
        self.idle = Some(Idle::default());
        let cycle = self.mix.config.sync_interval * 3 / 2 * self.nodes.len() as u32;
        self.run_until(self.now + cycle, |_| false);
        let Some(idle) = self.idle.take() else { return };
        let (rounds_then, after) = self.ledgers();
        let rounds = rounds_then - rounds;
        self.counts.idle_rounds += rounds;
        self.counts.idle_bytes += idle.bytes;
        let classes = u64::from(self.mix.shards.iter().copied().max().unwrap_or(1));
        let changed = before.iter().zip(&after).find(|(before, after)| before != after);
        if let Some(talk) = idle.talk {
            self.violate("silence", format!("copies are equal, and {talk}"));
        } else if let Some((before, after)) = changed {
            self.violate("silence", format!("copies are equal, and {before:?} is now {after:?}"));
        } else if idle.bytes > rounds * classes * ROUND_BYTES_MAX {
            let what = format!("{rounds} idle rounds take {} bytes", idle.bytes);
            self.violate("silence", what);
        }
    }

    /// A frame is sent: while somebody listens, it should be the beginning of a round.
    pub(crate) fn overhear(&mut self, from: usize, to: usize, frame: &Frame) {
        let Some(idle) = &mut self.idle else { return };
        let mut bytes = Vec::new();
        if encode(frame, &mut bytes).is_ok() {
            idle.bytes += bytes.len() as u64;
        }
        if !matches!(frame.message, Message::Summary(_)) && idle.talk.is_none() {
            idle.talk = Some(format!("n{} sends n{} {}", from + 1, to + 1, brief(frame)));
        }
    }
}

/// A key of a slot with a context that its clock covers.
fn strippable(store: &Store<MemoryDisk>, slot: Slot) -> Option<(Key, DotSet)> {
    let clock = store.clock(slot);
    let covered = |residual: &DotSet| residual.stripped_by(clock) != *residual;
    let mut keys = store.walk(slot, None);
    let found = keys.find(|(_, entry)| covered(entry.residual()));
    found.map(|((_, key), entry)| (key, entry.residual().clone()))
}
