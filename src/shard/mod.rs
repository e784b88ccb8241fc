//! The data plane of one shard, as a state machine: requests in, replies and messages out.
//!
//! Invariant: [`Shard::step`] is deterministic: same state, same event, same `now`, same effects. It
//! waits for nothing, reads no clock and draws no randomness but from the generator it was given.
//! Not here: sockets, threads, syncing (`server`), what is up and who owns what (`control`; a
//! shard is told through a [`View`]).

mod config;
pub mod event;
mod metrics;

use std::time::Duration;

use crate::ring::View;
use crate::storage::{Disk, Store, StoreError, SyncJob};

pub use config::ShardConfig;
pub use event::{Effect, Event, Gathered, Now, Origin};
pub use metrics::Metrics;

/// One shard of one node.
///
/// Its driver steps it with every event, calls [`Shard::flush`] once per round after that, hands
/// the job to the syncer, and tells it [`Event::Synced`] when that is done. It sends
/// [`Event::Tick`] when [`Shard::next_deadline`] has come.
pub struct Shard<D: Disk> {
    store: Store<D>,
    config: ShardConfig,
    now: Now,
    view: Option<View>,
    metrics: Metrics,
}

impl<D: Disk> Shard<D> {
    /// The shard that keeps its data in `store`. It does nothing before its first view.
    ///
    /// # Panics
    /// When the configuration makes no sense.
    pub fn new(store: Store<D>, config: ShardConfig) -> Self {
        config.check();
        Shard { store, config, now: Now::default(), view: None, metrics: Metrics::default() }
    }

    /// Takes one event in, and adds what the shard wants on account of it.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        self.now = now;
        if let Event::View(view) = event {
            self.view = Some(view);
        }
        let _ = (effects, &self.config, self.now, &self.view);
    }

    /// Appends what was staged since the last flush, as one batch. The driver makes it durable, and
    /// tells with [`Event::Synced`]. On an error it tells [`Event::SyncFailed`] instead.
    pub fn flush(&mut self) -> Result<Option<SyncJob<D::Sync>>, StoreError> {
        self.store.flush()
    }

    /// When the next [`Event::Tick`] is due, in terms of [`Now::elapsed`].
    pub fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// The store, for who checks it from outside.
    pub fn store(&self) -> &Store<D> {
        &self.store
    }

    /// The store, for who drives its disk.
    pub fn store_mut(&mut self) -> &mut Store<D> {
        &mut self.store
    }

    /// The store, when the shard's process ends. Everything in memory is gone.
    pub fn into_store(self) -> Store<D> {
        self.store
    }
}
