//! One network for all contestants: time, delays, losses, and nodes that are slow or gone, from one seed.
//!
//! A datagram takes 0.1 to 1 ms, or is lost. Connections keep the order and lose nothing: what a datagram would lose takes 200 ms
//! longer. Who is gone refuses them; across a split they fail after ten seconds. Bytes are those that the protocol hands to UDP
//! and TCP; what these add is left out, also the packets that open and close a connection.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::contestant::{Contestant, Parcel, Stream};

/// One way takes up to so long.
const DELAY: Duration = Duration::from_millis(1);
const RESEND: Duration = Duration::from_millis(200);
/// When a connection across a split is given up.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// So many nodes and what is between them.
pub struct Network<C> {
    pub now: Duration,
    pub nodes: Vec<Option<C>>,
    pub lives: Vec<u64>,
    /// Which part of all datagrams is lost.
    pub loss: f64,
    /// The first so many and the others do not reach each other.
    pub split: Option<usize>,
    /// The bytes that each sent, and the most of one datagram.
    pub sent: Vec<u64>,
    pub largest: u64,
    /// When the last that was said on a connection, by either side, arrives.
    said: BTreeMap<(usize, u64, usize), Duration>,
    /// Until when a node is held up: what reaches it waits, and so do its timers.
    held: Vec<Duration>,
    pub random: ChaCha8Rng,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

struct Entry {
    at: Duration,
    order: u64,
    node: usize,
    life: u64,
    what: Option<(usize, Parcel)>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<C: Contestant> Network<C> {
    /// All start within a second.
    pub fn new(count: usize, seed: u64) -> Self {
        let mut network = Network {
            now: Duration::ZERO,
            nodes: (0..count).map(|_| None).collect(),
            lives: vec![0; count],
            loss: 0.0,
            split: None,
            sent: vec![0; count],
            largest: 0,
            said: BTreeMap::new(),
            held: vec![Duration::ZERO; count],
            random: ChaCha8Rng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            order: 0,
        };
        for place in 0..count {
            network.run(1.0 / count as f64);
            network.start(place);
        }
        network
    }

    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// One of them, by chance.
    pub fn any(&mut self) -> usize {
        self.random.random_range(0..self.count())
    }

    /// Ends a node's life.
    pub fn kill(&mut self, place: usize) {
        self.nodes[place] = None;
    }

    /// Begins a node's next life.
    pub fn start(&mut self, place: usize) {
        self.lives[place] += 1;
        let seed = self.random.random();
        let node = C::start(place, self.count(), self.lives[place], seed, self.now);
        self.nodes[place] = Some(node);
        self.settle(place);
    }

    /// A node does nothing for so long; what it missed reaches it then.
    pub fn hold(&mut self, place: usize, seconds: f64) {
        self.held[place] = self.now + Duration::from_secs_f64(seconds);
    }

    fn put(&mut self, at: Duration, node: usize, what: Option<(usize, Parcel)>) {
        self.order += 1;
        let (order, life) = (self.order, self.lives[node]);
        self.queue.push(Reverse(Entry { at, order, node, life, what }));
    }

    fn settle(&mut self, place: usize) {
        let Some(node) = &mut self.nodes[place] else { return };
        let (mut out, due) = (Vec::new(), node.due());
        node.drain(&mut out);
        if due < Duration::MAX {
            let at = due.max(self.now + Duration::from_nanos(1));
            self.put(at, place, None);
        }
        for (to, parcel) in out {
            self.send(place, to, parcel);
        }
    }

    fn send(&mut self, from: usize, to: usize, parcel: Parcel) {
        if to >= self.count() {
            return;
        }
        self.sent[from] += parcel.bytes();
        let delay = DELAY.mul_f64(self.random.random_range(0.1..1.0));
        let cut = self.split.is_some_and(|left| (from < left) != (to < left));
        match &parcel {
            Parcel::Datagram(bytes) => {
                self.largest = self.largest.max(bytes.len() as u64);
                if !cut && !self.loses() {
                    self.put(self.now + delay, to, Some((from, parcel)));
                }
            }
            Parcel::Stream { opener, conn, .. } => {
                let (opener, conn) = (*opener, *conn);
                let gone = self.nodes[to].is_none();
                if opener == from && (cut || gone) {
                    let after = if cut { GIVEN_UP } else { delay * 2 };
                    let failed = Parcel::Stream { opener, conn, what: Stream::Failed };
                    return self.put(self.now + after, from, Some((to, failed)));
                }
                if !cut {
                    self.say(delay, (opener, conn, from), to, parcel);
                }
            }
        }
    }

    fn loses(&mut self) -> bool {
        self.loss > 0.0 && self.random.random_bool(self.loss)
    }

    /// On a connection what was said first arrives first.
    fn say(&mut self, delay: Duration, on: (usize, u64, usize), to: usize, parcel: Parcel) {
        let mut at = self.now + delay;
        while self.loses() {
            at += RESEND;
        }
        at = at.max(self.said.get(&on).copied().unwrap_or_default());
        if matches!(parcel, Parcel::Stream { what: Stream::Close, .. }) {
            self.said.remove(&on);
        } else {
            self.said.insert(on, at);
        }
        self.put(at, to, Some((on.2, parcel)));
    }

    /// Runs for so many seconds.
    pub fn run(&mut self, seconds: f64) {
        self.watch(seconds, |_, _, _| false);
    }

    /// Runs for so many seconds, or until `seen`, which is shown every node after everything that happens to it, says that it is
    /// enough. Whether it did.
    pub fn watch(
        &mut self,
        seconds: f64,
        mut seen: impl FnMut(Duration, usize, &C) -> bool,
    ) -> bool {
        let end = self.now + Duration::from_secs_f64(seconds);
        while let Some(Reverse(next)) = self.queue.peek() {
            if next.at > end {
                break;
            }
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.now = self.now.max(next.at);
            let place = next.node;
            if self.happen(next)
                && let Some(node) = &self.nodes[place]
                && seen(self.now, place, node)
            {
                return true;
            }
        }
        self.now = end;
        false
    }

    /// Whether anything came of it.
    fn happen(&mut self, entry: Entry) -> bool {
        let place = entry.node;
        if self.held[place] > self.now {
            let at = self.held[place];
            self.queue.push(Reverse(Entry { at, ..entry }));
            return false;
        }
        let ends = entry.life != self.lives[place];
        let Some(node) = &mut self.nodes[place] else { return false };
        match entry.what {
            Some((from, parcel)) => node.deliver(self.now, from, parcel),
            // Something came first, and was followed by a tick of its own.
            None if ends || node.due() > self.now => return false,
            None => node.tick(self.now),
        }
        self.settle(place);
        true
    }
}
