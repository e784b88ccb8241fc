//! What a node's drivers count: enough to say what an operation costs in system calls and hand-offs.
//!
//! Invariant: every count only grows. Nearly all are raised by one thread, so that raising is cheap;
//! anybody reads them.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn one(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of one driver and its syncer.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)+
        }

        /// What the drivers of one node have done since it started, added up.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            pub(super) fn add_to(&self, sum: &mut Metrics) {
                $(sum.$name += self.$name.get();)+
            }
        }

        impl Metrics {
            /// What was done between `earlier` and now.
            pub fn since(&self, earlier: &Metrics) -> Metrics {
                Metrics { $($name: self.$name.saturating_sub(earlier.$name),)+ }
            }
        }
    };
}

counters! {
    /// Rounds of the loops; each is one poll of the sockets.
    rounds,
    /// Reads from sockets.
    reads,
    /// Writes to sockets.
    writes,
    /// Bytes read from sockets.
    bytes_in,
    /// Bytes written to sockets.
    bytes_out,
    /// Frames that came in from clients.
    client_frames,
    /// Frames that came in from members.
    lane_frames,
    /// Frames for clients and members.
    frames_out,
    /// Bytes of slot sync for members: fingerprints, clocks, pages of slots.
    sync_bytes_out,
    /// Frames for members that were lost here: no lane, a full one, or a cut link.
    frames_lost,
    /// Batches appended to the logs.
    appends,
    /// Files made durable by the syncers.
    syncs,
    /// Requests and replies handed from one driver to another.
    handoffs,
    /// Times that another thread woke a sleeping driver.
    wakes,
    /// Lanes that broke.
    lanes_lost,
    /// Client connections that were closed for what they sent.
    clients_refused,
}
