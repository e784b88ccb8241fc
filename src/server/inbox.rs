//! A driver's inbox: everything that reaches a shard other than through its own sockets, in one
//! queue (the *singular update queue*), so that one thread alone touches the shard.
//!
//! Invariant: a request may be refused for want of room, a completion never is. The queue of
//! completions is bounded by what they complete: a reply answers a request that its driver counted
//! when it came in, a syncer has one report under way, sockets are limited where they are
//! accepted, what the ring is to list is asked every few seconds, a few hundred at a time, a shard gives up its actor
//! at most once a view; and of views only the newest is kept.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::metrics::Counters;
use crate::causality::Actor;
use crate::ring::{MemberNumber, View};
use crate::shard::event::{Gathered, Origin};
use crate::storage::{Batch, SegmentMade};
use crate::wire::Frame;

/// Requests from other drivers that may wait for this one.
const REQUESTS: usize = 8 * 1024;

/// What ends something that was under way, or changes what the driver drives.
#[derive(Debug)]
pub(super) enum Completion {
    /// The answer to a request that came in at this driver.
    Reply(Origin, Box<Frame>),
    /// All batches up to this one are durable.
    Synced(Batch),
    /// A sync failed.
    SyncFailed(String),
    /// The ring is to list these actors as dead.
    Refuse(Vec<Actor>),
    /// Another shard of this node gave up the first actor for the second.
    Retire(Actor, Actor),
    /// What came of a segment that was to be made.
    Segment(SegmentMade),
    /// A shard's part of a status that was asked for at this driver.
    Gathered(Origin, Gathered),
    /// A client has shaken hands.
    Client(TcpStream, Permit),
    /// A member has shaken hands for one of this shard's lanes.
    Lane(NewLane),
    /// Take no more requests, and drop this once all that were taken are answered.
    Stop(Quiet),
    /// Make everything durable, then end.
    End,
    /// End at once, as if the process had been killed.
    Kill,
}

/// A connection to a member's shard, fresh from its handshake.
#[derive(Debug)]
pub(super) struct NewLane {
    /// Whose.
    pub(super) member: MemberNumber,
    /// Which of the lanes between the two nodes.
    pub(super) number: u16,
    /// How many shards the member has.
    pub(super) shards: u16,
    /// The connection.
    pub(super) socket: TcpStream,
    /// Dropped with the lane: so whoever dialled it learns that it is gone.
    pub(super) alive: Option<Alive>,
}

/// Dropped by a driver that stops once its clients wait for nothing any more.
pub(super) type Quiet = crossbeam_channel::Sender<std::convert::Infallible>;

/// One place among the connections of a kind that a node serves; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Permit {
    /// A place among `limit`, if one is free.
    pub(super) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let permit = Permit(Arc::clone(taken));
        // Counted first, so that two who come at once cannot both take the last place.
        (taken.fetch_add(1, Ordering::AcqRel) < limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Held while a lane lives. Nothing is ever sent through it; the other end sees it go.
pub(super) type Alive = async_channel::Sender<std::convert::Infallible>;

/// Everybody else's end of a driver's inbox.
#[derive(Debug, Clone)]
pub(super) struct Mailbox {
    requests: Sender<(Origin, Frame)>,
    completions: Sender<Completion>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    view: Mutex<Option<View>>,
    /// Whether the driver was woken since it last looked.
    woken: AtomicBool,
    waker: mio::Waker,
    counters: Arc<Counters>,
}

/// The driver's own end.
#[derive(Debug)]
pub(super) struct Inbox {
    requests: Receiver<(Origin, Frame)>,
    completions: Receiver<Completion>,
    shared: Arc<Shared>,
}

/// An inbox whose driver `waker` wakes, and the mailbox that leads to it.
pub(super) fn inbox(waker: mio::Waker, counters: Arc<Counters>) -> (Mailbox, Inbox) {
    let (requests, requests_in) = crossbeam_channel::bounded(REQUESTS);
    let (completions, completions_in) = crossbeam_channel::unbounded();
    let woken = AtomicBool::new(false);
    let shared = Arc::new(Shared { view: Mutex::new(None), woken, waker, counters });
    let inbox =
        Inbox { requests: requests_in, completions: completions_in, shared: Arc::clone(&shared) };
    (Mailbox { requests, completions, shared }, inbox)
}

impl Mailbox {
    /// Hands over a client's request. `false` when there is no room for it.
    #[must_use]
    pub(super) fn request(&self, origin: Origin, frame: Frame) -> bool {
        let taken = self.requests.try_send((origin, frame)).is_ok();
        if taken {
            self.wake();
        }
        taken
    }

    /// Hands over a completion. A driver that has ended needs it no more.
    pub(super) fn complete(&self, completion: Completion) {
        if self.completions.send(completion).is_ok() {
            self.wake();
        }
    }

    /// Publishes a view in the place of any that the driver has not seen yet.
    pub(super) fn publish(&self, view: View) {
        *self.shared.view.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
        self.wake();
    }

    /// Makes the driver look into its inbox.
    pub(super) fn wake(&self) {
        if self.shared.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shared.counters.wakes.one();
        if let Err(error) = self.shared.waker.wake() {
            log::error!("cannot wake a driver: {error}");
        }
    }
}

impl Inbox {
    /// To be called before looking: what is handed over from now on wakes the driver again.
    pub(super) fn rearm(&self) {
        // A swap, not a store: it acquires what was handed over before the flag was last raised.
        self.shared.woken.swap(false, Ordering::AcqRel);
    }

    /// The newest view, once.
    pub(super) fn view(&self) -> Option<View> {
        self.shared.view.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The next completion.
    pub(super) fn completion(&self) -> Option<Completion> {
        self.completions.try_recv().ok()
    }

    /// The next request of another driver.
    pub(super) fn request(&self) -> Option<(Origin, Frame)> {
        self.requests.try_recv().ok()
    }
}
