//! What waits for a batch to be durable: acknowledgements to peers, and own copies that may count.
//!
//! Invariant: nothing is acknowledged before everything staged up to that moment is synced. A delta
//! that changed nothing waits too: what it would have changed may itself be in a batch not synced.

use std::collections::BTreeMap;

use super::Shard;
use super::reply::Head;
use crate::ring::MemberNumber;
use crate::ring::steps::Report;
use crate::rules::{Rule, holds};
use crate::storage::{Batch, Disk};
use crate::wire::{Decline, Message};

/// What happens when a batch is durable.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// A member is told that what it sent is stored.
    Stored(MemberNumber, Head),
    /// The same, and it is a vote.
    Voted(MemberNumber, Head),
    /// The own copy, or own hint, of the put with this request id counts.
    Own(u64),
    /// A peer is told what is here of dead actors.
    Closing(u64),
    /// The node is told whether actors may be listed as dead.
    Refused(u64),
    /// A peer that is to drop its copy is told the clocks here.
    Clocks(u64),
    /// The node is told how far a seat of its is.
    Report(Report),
}

/// What waits, by the batch that it waits for.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    waiting: BTreeMap<Batch, Vec<Due>>,
    count: usize,
    /// The batch of whatever was staged last.
    last_staged: Batch,
}

impl Unsynced {
    /// How many acknowledgements wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn take_upto(&mut self, upto: Batch) -> Vec<Due> {
        let later = self.waiting.split_off(&Batch(upto.0 + 1));
        let ripe = std::mem::replace(&mut self.waiting, later);
        let ripe: Vec<Due> = ripe.into_values().flatten().collect();
        self.count -= ripe.len();
        ripe
    }
}

impl<D: Disk> Shard<D> {
    /// To be called whenever something is staged.
    pub(super) fn staged(&mut self) {
        self.unsynced.last_staged = self.store.open_batch();
    }

    /// Does `due` once everything staged so far is durable, which may be now.
    pub(super) fn when_synced(&mut self, due: Due) {
        let batch = self.unsynced.last_staged;
        if batch <= self.store.synced() || !holds(Rule::AckAfterSync) {
            return self.durable(due);
        }
        self.unsynced.waiting.entry(batch).or_default().push(due);
        self.unsynced.count += 1;
    }

    pub(super) fn on_synced(&mut self, upto: Batch) {
        self.store.on_synced(upto);
        for due in self.unsynced.take_upto(self.store.synced()) {
            self.durable(due);
        }
    }

    /// Nothing that waits will ever be durable in this life: whoever waits for it is told.
    pub(super) fn on_sync_failed(&mut self, why: String) {
        log::error!(
            "shard {}: writes are refused until a restart: {why}; what was acknowledged is safe",
            self.config.shard
        );
        self.store.poison(why);
        for due in self.unsynced.take_upto(Batch(u64::MAX - 1)) {
            match due {
                Due::Stored(member, head) | Due::Voted(member, head) => {
                    self.send(member, head, Message::Declined(Decline::ReadOnly));
                }
                Due::Own(id) => self.put_own_failed(id),
                Due::Closing(id) => self.report_closing(id, false),
                Due::Refused(id) => self.answer_refused(id, false),
                Due::Clocks(id) => self.clocks_durable(id, false),
                Due::Report(_) => {}
            }
        }
    }

    fn durable(&mut self, due: Due) {
        match due {
            Due::Stored(member, head) => self.send(member, head, Message::Stored),
            // It has the delta, and may not have what the owners before it acknowledged; or it has no vote at all,
            // and the coordinator may come to think that it has before it hears this.
            Due::Voted(member, head) if self.has_no_vote(head.slot) => {
                self.send(member, head, Message::Declined(Decline::Unsettled));
            }
            Due::Voted(member, head) => self.send(member, head, Message::Stored),
            Due::Own(id) => self.put_own_synced(id),
            Due::Closing(id) => self.report_closing(id, true),
            Due::Refused(id) => self.answer_refused(id, true),
            Due::Clocks(id) => self.clocks_durable(id, true),
            Due::Report(report) => self.seat_reported(report),
        }
    }
}
