//! kinship as a contestant: SWIM with Lifeguard and streams, with its settings for a local network, without encryption.

use std::collections::BTreeMap;
use std::time::Duration;

use kinship_core::{
    Command, Config, Identity, Instant, Node, Security, State, StreamEvent, StreamId, Transmit,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::contestant::{Contestant, Parcel, Seen, Stream, calls};
use crate::ringdove::{addr, place as place_at};

/// A kinship node and its connections.
pub struct Lifeguard {
    node: Node,
    me: usize,
    out: Vec<(usize, Parcel)>,
    /// Whom connections that this node opened lead to.
    opened: BTreeMap<u64, usize>,
    /// Connections that others opened, by who and their number there, and back.
    accepted: BTreeMap<(usize, u64), u64>,
    openers: BTreeMap<u64, (usize, u64)>,
}

fn instant(now: Duration) -> Instant {
    Instant::from_nanos(now.as_nanos() as u64)
}

fn name(place: usize) -> String {
    format!("node-{place:04}")
}

/// The frames in these bytes, without their lengths.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = (u32::from_be_bytes(*length) as usize).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

impl Lifeguard {
    fn settle(&mut self) {
        while self.node.poll_event().is_some() {}
        while let Some(transmit) = self.node.poll_transmit() {
            match transmit {
                Transmit::Datagram { to, payload } => {
                    self.out.push((place_at(to), Parcel::Datagram(payload)));
                }
                Transmit::Connect { conn, to } => {
                    self.opened.insert(conn.to_raw(), place_at(to));
                }
                Transmit::Stream { conn, frame } => self.send(conn, Stream::Frames(frame)),
                Transmit::Close { conn } => self.send(conn, Stream::Close),
            }
        }
    }

    fn send(&mut self, id: StreamId, what: Stream) {
        let raw = id.to_raw();
        if id.is_inbound() {
            if let Some((opener, conn)) = self.openers.get(&raw).copied() {
                self.out.push((opener, Parcel::Stream { opener, conn, what }));
            }
        } else if let Some(to) = self.opened.get(&raw).copied() {
            self.out.push((to, Parcel::Stream { opener: self.me, conn: raw, what }));
        }
    }
}

impl Contestant for Lifeguard {
    fn start(place: usize, count: usize, life: u64, seed: u64, now: Duration) -> Self {
        let identity =
            Identity::new(name(place), addr(place)).expect("a fine name").with_epoch(life);
        let config = Config::lan(Security::InsecurePlaintext);
        let key: [u8; 32] = ChaCha8Rng::seed_from_u64(seed).random();
        let node =
            Node::new(config, identity, instant(now), seed, &key).expect("a fine configuration");
        let (opened, accepted, openers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut it = Lifeguard { node, me: place, out: Vec::new(), opened, accepted, openers };
        for other in (0..count).filter(|other| *other != place) {
            it.node.add_member(instant(now), &name(other), addr(other)).expect("room for all");
        }
        if life > 1 {
            let seeds = calls(place, count).map(addr).collect();
            it.node.command(instant(now), Command::Join { seeds });
        }
        it.settle();
        it
    }

    fn deliver(&mut self, now: Duration, from: usize, parcel: Parcel) {
        match parcel {
            Parcel::Datagram(bytes) => {
                self.node.handle_datagram(instant(now), addr(from), &bytes);
            }
            Parcel::Stream { opener, conn, what } => {
                let id = if opener == self.me {
                    StreamId::from_raw(conn)
                } else {
                    let next = self.accepted.len() as u64;
                    let raw = *self
                        .accepted
                        .entry((opener, conn))
                        .or_insert_with(|| StreamId::inbound(next).to_raw());
                    self.openers.insert(raw, (opener, conn));
                    StreamId::from_raw(raw)
                };
                match what {
                    Stream::Frames(bytes) => {
                        for frame in frames(&bytes) {
                            let event = StreamEvent::Frame(frame);
                            self.node.handle_stream(instant(now), id, event);
                        }
                    }
                    Stream::Close => self.node.handle_stream(instant(now), id, StreamEvent::Closed),
                    Stream::Failed => {
                        self.node.handle_stream(instant(now), id, StreamEvent::Failed)
                    }
                }
            }
        }
        self.settle();
    }

    fn tick(&mut self, now: Duration) {
        self.node.handle_timeout(instant(now));
        self.settle();
    }

    fn due(&self) -> Duration {
        let due = self.node.poll_timeout();
        due.map_or(Duration::MAX, |at| Duration::from_nanos(at.as_nanos()))
    }

    fn drain(&mut self, out: &mut Vec<(usize, Parcel)>) {
        out.append(&mut self.out);
    }

    fn survey(&self, all: &mut [(Seen, u64)]) {
        for member in self.node.all_members() {
            let seen = match member.state {
                State::Alive => Seen::Alive,
                State::Suspect => Seen::Suspect,
                State::Dead | State::Left => Seen::Down,
            };
            if let Some(it) = all.get_mut(place_at(member.addr)) {
                *it = (seen, member.epoch);
            }
        }
    }
}
