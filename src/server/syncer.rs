//! The thread that waits for the disk, so that the shard's thread never does.
//!
//! While one sync runs, jobs handed over merge into one: that is group commit, and why the waiting
//! jobs are bounded whatever the rate. Invariant: a batch is reported durable only after a sync
//! that began after the batch was appended; after a failure nothing is ever reported again.
//! Not here: what a batch is, and who waits for it (`storage`, `shard`).

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::metrics::Counters;
use crate::storage::{Batch, SyncHandle, SyncJob};

/// When written data are made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Before a write is acknowledged. What is acknowledged survives the loss of power.
    #[default]
    Always,
    /// Every so often. Acknowledged means *written*: a killed process loses nothing, a machine that
    /// loses power loses at most what this interval wrote.
    Interval(Duration),
    /// When the operating system likes. Acknowledged means *written*, as above, without a bound.
    Os,
}

/// The driver's end of a syncer.
#[derive(Debug)]
pub(super) struct Syncer<S: SyncHandle> {
    desk: Arc<Desk<S>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Desk<S> {
    state: Mutex<State<S>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<S> {
    waiting: Option<SyncJob<S>>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Sync what waits, then end.
    Finish,
    /// End without another sync.
    Abandon,
}

impl<S: SyncHandle> Desk<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: SyncHandle> Syncer<S> {
    /// Starts a syncer that tells `done` what has become durable, or why nothing will any more.
    pub(super) fn start(
        name: String,
        mode: SyncMode,
        counters: Arc<Counters>,
        done: impl Fn(Result<Batch, String>) + Send + 'static,
    ) -> io::Result<Self> {
        let pace = match mode {
            SyncMode::Always => Some(Duration::ZERO),
            SyncMode::Interval(pace) => Some(pace),
            SyncMode::Os => None,
        };
        let state = Mutex::new(State { waiting: None, end: None });
        let desk = Arc::new(Desk { state, changed: Condvar::new() });
        let thread = match pace {
            None => None,
            Some(pace) => {
                let desk = Arc::clone(&desk);
                let work = move || work(&desk, pace, &counters, done);
                Some(std::thread::Builder::new().name(name).spawn(work)?)
            }
        };
        Ok(Syncer { desk, thread })
    }

    /// Asks for a job to be done, together with whatever waits already.
    pub(super) fn hand(&self, job: SyncJob<S>) {
        if self.thread.is_none() {
            return;
        }
        let mut state = self.desk.lock();
        state.waiting = Some(match state.waiting.take() {
            None => job,
            Some(waiting) => merge(waiting, job),
        });
        drop(state);
        self.desk.changed.notify_one();
    }

    /// Does what waits, then ends the thread. Blocks until then.
    pub(super) fn finish(self) {
        self.end(End::Finish);
    }

    /// Ends the thread without another sync. Blocks while one is running.
    pub(super) fn abandon(self) {
        self.end(End::Abandon);
    }

    fn end(mut self, how: End) {
        self.desk.lock().end = Some(how);
        self.desk.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("a syncer thread panicked");
        }
    }
}

fn merge<S: SyncHandle>(mut waiting: SyncJob<S>, job: SyncJob<S>) -> SyncJob<S> {
    waiting.upto = waiting.upto.max(job.upto);
    waiting.handles.retain(|earlier| !job.handles.iter().any(|later| later.covers(earlier)));
    waiting.handles.extend(job.handles);
    waiting
}

fn work<S: SyncHandle>(
    desk: &Desk<S>,
    pace: Duration,
    counters: &Counters,
    done: impl Fn(Result<Batch, String>),
) {
    let mut last = Instant::now();
    while let Some(job) = next(desk, last + pace) {
        last = Instant::now();
        for handle in &job.handles {
            counters.syncs.one();
            if let Err(error) = handle.sync() {
                // Never retried: after a failed sync nobody knows what the disk holds.
                return done(Err(error.to_string()));
            }
        }
        done(Ok(job.upto));
    }
}

/// The next job, not before `due`; `None` when it is time to end.
fn next<S: SyncHandle>(desk: &Desk<S>, due: Instant) -> Option<SyncJob<S>> {
    let mut state = desk.lock();
    loop {
        match state.end {
            Some(End::Abandon) => return None,
            Some(End::Finish) => return state.waiting.take(),
            None => {}
        }
        let wait = due.saturating_duration_since(Instant::now());
        if state.waiting.is_some() && wait.is_zero() {
            return state.waiting.take();
        }
        state = if state.waiting.is_some() {
            let woken = desk.changed.wait_timeout(state, wait);
            woken.unwrap_or_else(PoisonError::into_inner).0
        } else {
            desk.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

    /// A file that says when a sync begins, and ends it when told how.
    struct File {
        name: u8,
        begun: Sender<u8>,
        end: Receiver<io::Result<()>>,
    }

    impl SyncHandle for File {
        fn sync(&self) -> io::Result<()> {
            self.begun.send(self.name).map_err(io::Error::other)?;
            self.end.recv().map_err(io::Error::other)?
        }

        fn covers(&self, earlier: &Self) -> bool {
            self.name == earlier.name
        }
    }

    struct Bench {
        syncer: Syncer<File>,
        begun: (Sender<u8>, Receiver<u8>),
        end: (Sender<io::Result<()>>, Receiver<io::Result<()>>),
        done: Receiver<Result<Batch, String>>,
    }

    impl Bench {
        fn new() -> Self {
            let (told, done) = unbounded();
            let tell = move |synced| told.send(synced).unwrap();
            let counters = Arc::new(Counters::default());
            let syncer = Syncer::start("s".to_owned(), SyncMode::Always, counters, tell).unwrap();
            // No room: a sync begins only when the test looks.
            Bench { syncer, begun: bounded(0), end: unbounded(), done }
        }

        fn hand(&self, upto: u64, files: &[u8]) {
            let (begun, end) = (&self.begun.0, &self.end.1);
            let file = |name: &u8| File { name: *name, begun: begun.clone(), end: end.clone() };
            let handles = files.iter().map(file).collect();
            self.syncer.hand(SyncJob { upto: Batch(upto), handles });
        }

        fn next_sync(&self, result: io::Result<()>) -> u8 {
            let name = self.begun.1.recv().unwrap();
            self.end.0.send(result).unwrap();
            name
        }
    }

    #[test]
    fn what_comes_during_a_sync_shares_the_next() {
        let bench = Bench::new();
        bench.hand(1, &[7]);
        assert_eq!(bench.begun.1.recv(), Ok(7), "the first sync runs");
        bench.hand(2, &[7]);
        bench.hand(3, &[7, 8]);
        bench.hand(4, &[8]);
        assert!(bench.done.is_empty(), "nothing is durable yet");
        bench.end.0.send(Ok(())).unwrap();
        assert_eq!(bench.done.recv(), Ok(Ok(Batch(1))));
        assert_eq!([bench.next_sync(Ok(())), bench.next_sync(Ok(()))], [7, 8]);
        assert_eq!(bench.done.recv(), Ok(Ok(Batch(4))));
        bench.syncer.finish();
        assert!(bench.done.recv().is_err(), "and that was all");
    }

    #[test]
    fn after_a_failure_nothing_is_ever_called_durable() {
        let bench = Bench::new();
        bench.hand(1, &[7]);
        bench.next_sync(Err(io::Error::other("bad sector")));
        assert_eq!(bench.done.recv(), Ok(Err("bad sector".to_owned())));
        bench.hand(2, &[7]);
        bench.syncer.finish();
        assert!(bench.done.recv().is_err());
        assert!(bench.begun.1.is_empty());
    }
}
