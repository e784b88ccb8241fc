//! The thread that makes a shard's segments ahead of need, so that no append waits for zeros.
//!
//! Not the syncer's thread: filling a segment takes as long as many syncs. When one cannot be made,
//! because the disk is full, it is tried again, less and less often, until it works.
//!
//! Invariant: one segment is under way at a time. Not here: when one is wanted, and what is refused
//! while there is none (`storage`, `shard`).

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::storage::{MakeHandle, SegmentJob, SegmentMade};

/// After the first failure it is tried again so much later.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// A try on a full disk writes what space is left, and gives it back; so not too often.
const RETRY_MAX: Duration = Duration::from_secs(16);

/// The driver's end of a maker.
#[derive(Debug)]
pub(super) struct Maker<M> {
    jobs: Sender<SegmentJob<M>>,
    thread: JoinHandle<()>,
    retry_at: Option<Duration>,
    failures: u32,
}

impl<M: MakeHandle> Maker<M> {
    /// Starts a maker that tells `done` what came of each segment.
    pub(super) fn start(
        name: String,
        done: impl Fn(SegmentMade) + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, jobs_in) = bounded::<SegmentJob<M>>(1);
        let work = move || jobs_in.into_iter().map(SegmentJob::run).for_each(done);
        let thread = std::thread::Builder::new().name(name).spawn(work)?;
        Ok(Maker { jobs, thread, retry_at: None, failures: 0 })
    }

    /// Whether a segment may be asked for now.
    pub(super) fn ready(&mut self, now: Duration) -> bool {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        self.retry_at.is_none()
    }

    /// When one may be asked for that could not be made before.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.retry_at
    }

    /// Has a segment made.
    pub(super) fn hand(&mut self, job: SegmentJob<M>) {
        // There is one at a time, so there is room; and the thread lives as long as this.
        if self.jobs.try_send(job).is_err() {
            log::error!("the thread that makes segments is gone");
        }
    }

    /// The last one was made.
    pub(super) fn succeeded(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            log::info!("there is space on the disk again: writes are taken");
        }
    }

    /// The last one could not be made. Gives when it is tried again.
    pub(super) fn failed(&mut self, now: Duration) -> Duration {
        let wait = RETRY_MAX.min(RETRY_MIN * 2_u32.saturating_pow(self.failures));
        self.failures += 1;
        self.retry_at = Some(now + wait);
        wait
    }

    /// Ends the thread. Blocks while a segment is being made.
    pub(super) fn end(self) {
        drop(self.jobs);
        if self.thread.join().is_err() {
            log::error!("a thread that makes segments panicked");
        }
    }
}
