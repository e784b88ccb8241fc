//! The waiting list: everything that waits for an answer, by request id, each with its next deadline.
//!
//! Invariant: a waiting request has exactly one wake-up, and ids start at a random number in every
//! life, so that an answer to a request of an earlier life finds nothing here.
//! Not here: what the requests wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::forward::Forward;
use super::gather::Gather;
use super::get::GetRequest;
use super::hints::Delivery;
use super::operations::Seek;
use super::put::PutRequest;
use super::scrub::Heal;
use super::sync::Exchange;

/// Something that waits.
#[derive(Debug)]
pub(super) enum Request {
    /// A write that this shard coordinates.
    Put(PutRequest),
    /// A read that this shard coordinates.
    Get(GetRequest),
    /// A write of which an earlier attempt is looked for.
    Seek(Seek),
    /// A client's request sent on to an owner.
    Forward(Forward),
    /// A question put to all members.
    Gather(Gather),
    /// A hint on its way to the member that it is owed to.
    Delivery(Delivery),
    /// A slot being pulled from a peer.
    Exchange(Exchange),
    /// Rotten values being brought from another owner.
    Heal(Heal),
}

#[derive(Debug)]
struct Waiting {
    wake: Duration,
    bytes: u64,
    /// `None` while the request is being worked on.
    request: Option<Request>,
}

/// The waiting list.
#[derive(Debug)]
pub(super) struct Requests {
    waiting: BTreeMap<u64, Waiting>,
    wakes: BTreeSet<(Duration, u64)>,
    next: u64,
    bytes: u64,
}

impl Requests {
    /// An empty list whose first id is `first`.
    pub(super) fn new(first: u64) -> Self {
        Requests { waiting: BTreeMap::new(), wakes: BTreeSet::new(), next: first, bytes: 0 }
    }

    /// An id that was not given before in this life.
    pub(super) fn draw(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Puts a request on the list, under an id that was drawn.
    pub(super) fn insert(&mut self, id: u64, wake: Duration, bytes: u64, request: Request) {
        let waiting = Waiting { wake, bytes, request: Some(request) };
        let before = self.waiting.insert(id, waiting);
        assert!(before.is_none(), "a request id is given once");
        self.wakes.insert((wake, id));
        self.bytes += bytes;
    }

    /// Takes a request out to work on it. Its place is kept until [`Requests::restore`] or
    /// [`Requests::remove`].
    pub(super) fn take(&mut self, id: u64) -> Option<Request> {
        self.waiting.get_mut(&id)?.request.take()
    }

    /// Puts a request back that was taken.
    pub(super) fn restore(&mut self, id: u64, request: Request) {
        let waiting = self.waiting.get_mut(&id).expect("a request that was taken keeps its place");
        debug_assert!(waiting.request.is_none(), "a request is worked on once at a time");
        waiting.request = Some(request);
    }

    /// Gives a request that was taken another id: what answers the old one finds nobody.
    pub(super) fn renew(&mut self, id: u64) -> u64 {
        let waiting = self.waiting.remove(&id).expect("a request that was taken keeps its place");
        let new = self.draw();
        self.wakes.remove(&(waiting.wake, id));
        self.wakes.insert((waiting.wake, new));
        self.waiting.insert(new, waiting);
        new
    }

    /// Ends a request.
    pub(super) fn remove(&mut self, id: u64) {
        if let Some(waiting) = self.waiting.remove(&id) {
            self.wakes.remove(&(waiting.wake, id));
            self.bytes -= waiting.bytes;
        }
    }

    /// Changes when a request wakes up next.
    pub(super) fn rearm(&mut self, id: u64, wake: Duration) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            self.wakes.remove(&(waiting.wake, id));
            waiting.wake = wake;
            self.wakes.insert((wake, id));
        }
    }

    /// Counts more bytes that a request holds.
    pub(super) fn grow(&mut self, id: u64, bytes: u64) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.bytes += bytes;
            self.bytes += bytes;
        }
    }

    /// A request whose wake-up has come, if there is one. It must be rearmed or removed.
    pub(super) fn due(&self, now: Duration) -> Option<u64> {
        self.wakes.first().filter(|(wake, _)| *wake <= now).map(|(_, id)| *id)
    }

    /// When the next request wakes up.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.wakes.first().map(|(wake, _)| *wake)
    }

    /// Whether any that is not being worked on is such a one.
    pub(super) fn any(&self, is: impl Fn(&Request) -> bool) -> bool {
        self.waiting.values().filter_map(|waiting| waiting.request.as_ref()).any(is)
    }

    /// All ids, oldest first.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.waiting.keys().copied().collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many bytes they hold.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
