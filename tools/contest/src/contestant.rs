//! What a contestant is: one node of a membership protocol, without clock, sockets or randomness of its own.
//!
//! Invariant: all contestants see the same network, faults and seeds, and are asked the same questions.

use std::time::Duration;

/// What a node thinks of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is there, or nothing is known to the contrary.
    Alive,
    /// Perhaps it is not.
    Suspect,
    /// It is not.
    Down,
}

/// What is thought of whom nothing is known, unless the contestant knows better.
pub const NOTHING: (Seen, u64) = (Seen::Down, 0);

/// What passes between two nodes.
#[derive(Debug, Clone)]
pub enum Parcel {
    /// May be lost.
    Datagram(Vec<u8>),
    /// Part of a connection, which the opener numbered.
    Stream {
        /// Who opened it.
        opener: usize,
        /// Its number there.
        conn: u64,
        /// What happened on it.
        what: Stream,
    },
}

/// What happens on a connection.
#[derive(Debug, Clone)]
pub enum Stream {
    /// Whole frames, with their lengths.
    Frames(Vec<u8>),
    /// The other side closed it.
    Close,
    /// It broke, or could not be opened.
    Failed,
}

impl Parcel {
    /// How many bytes it puts on the wire, headers of IP and below left out.
    pub fn bytes(&self) -> u64 {
        match self {
            Parcel::Datagram(bytes) | Parcel::Stream { what: Stream::Frames(bytes), .. } => {
                bytes.len() as u64
            }
            Parcel::Stream { what: Stream::Close | Stream::Failed, .. } => 0,
        }
    }
}

/// One node.
pub trait Contestant {
    /// A node that is one of `count`, in its `life`-th life (1, 2, …), and knows who the others are and where.
    fn start(place: usize, count: usize, life: u64, seed: u64, now: Duration) -> Self;
    /// Something arrived.
    fn deliver(&mut self, now: Duration, from: usize, parcel: Parcel);
    /// Time has passed.
    fn tick(&mut self, now: Duration);
    /// When [`Contestant::tick`] is due.
    fn due(&self) -> Duration;
    /// What is to be sent.
    fn drain(&mut self, out: &mut Vec<(usize, Parcel)>);
    /// What it thinks of all, itself included, and which life of each it knows of: 0 when of none.
    fn survey(&self, all: &mut [(Seen, u64)]);
    /// The same of one.
    fn look(&self, other: usize, count: usize) -> (Seen, u64) {
        let mut all = vec![NOTHING; count];
        self.survey(&mut all);
        all[other]
    }
}

/// Whom a restarted node calls, where its protocol has it announce itself to some by name.
pub fn calls(place: usize, count: usize) -> impl Iterator<Item = usize> {
    (1..=3.min(count - 1)).map(move |step| (place + step * (count / 4).max(1)) % count)
}
