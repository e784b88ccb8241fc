//! One network for all contestants: time, delays, losses, and nodes that are slow or gone, from one seed.
//!
//! Connections lose nothing: what a datagram would lose takes 200 ms longer. Who is gone refuses them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::contestant::{Contestant, Parcel, Stream};

/// One way takes up to so long.
const DELAY: Duration = Duration::from_millis(1);
const RESEND: Duration = Duration::from_millis(200);

/// So many nodes and what is between them.
pub struct Network<C> {
    pub now: Duration,
    pub nodes: Vec<Option<C>>,
    pub lives: Vec<u64>,
    /// Which part of all datagrams is lost.
    pub loss: f64,
    /// All bytes sent, and the most of one datagram.
    pub bytes: u64,
    pub largest: u64,
    /// Until when a node is held up: what reaches it waits, and so do its timers.
    held: Vec<Duration>,
    random: ChaCha8Rng,
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
            bytes: 0,
            largest: 0,
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
        self.bytes += parcel.bytes();
        let mut delay = DELAY.mul_f64(self.random.random_range(0.1..1.0));
        match &parcel {
            Parcel::Datagram(bytes) => {
                self.largest = self.largest.max(bytes.len() as u64);
                if self.loss > 0.0 && self.random.random_bool(self.loss) {
                    return;
                }
            }
            Parcel::Stream { opener, conn, .. } => {
                // The first packets of a connection, and then each of this one.
                while self.loss > 0.0 && self.random.random_bool(self.loss) {
                    delay += RESEND;
                }
                if self.nodes[to].is_none() && *opener == from {
                    let what = Stream::Failed;
                    let refused = Parcel::Stream { opener: *opener, conn: *conn, what };
                    return self.put(self.now + delay * 2, from, Some((to, refused)));
                }
            }
        }
        self.put(self.now + delay, to, Some((from, parcel)));
    }

    /// Runs for so many seconds.
    pub fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while let Some(Reverse(next)) = self.queue.peek() {
            if next.at > end {
                break;
            }
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.now = self.now.max(next.at);
            self.happen(next);
        }
        self.now = end;
    }

    fn happen(&mut self, entry: Entry) {
        let place = entry.node;
        if self.held[place] > self.now {
            let at = self.held[place];
            self.queue.push(Reverse(Entry { at, ..entry }));
            return;
        }
        let ends = entry.life != self.lives[place];
        let Some(node) = &mut self.nodes[place] else { return };
        match entry.what {
            Some((from, parcel)) => node.deliver(self.now, from, parcel),
            // Something came first, and was followed by a tick of its own.
            None if ends || node.due() > self.now => return,
            None => node.tick(self.now),
        }
        self.settle(place);
    }
}
