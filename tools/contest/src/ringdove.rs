//! Ringdove's control machine as a contestant. Its disk is written at once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use ringdove::causality::Secret;
use ringdove::control::{Control, ControlConfig, ControlState, Effect, Event};
use ringdove::ring::{
    ClusterId, Epoch, Member, MemberNumber, NodeId, Partition, Ring, Settings, Slot, found,
};
use ringdove::wire::gossip::Rank;

use crate::contestant::{Contestant, Parcel, Seen};

/// A control machine and what it wants.
pub struct Ringdove {
    control: Control,
    out: Vec<(usize, Parcel)>,
    born: Duration,
    me: usize,
    life: u64,
}

/// Where a node listens.
pub fn addr(place: usize) -> SocketAddr {
    ([10, 0, (place >> 8) as u8, place as u8], 7400).into()
}

/// Which node listens there.
pub fn place(addr: SocketAddr) -> usize {
    match addr {
        SocketAddr::V4(addr) => {
            let [_, _, high, low] = addr.ip().octets();
            usize::from(high) << 8 | usize::from(low)
        }
        SocketAddr::V6(_) => usize::MAX,
    }
}

fn id(place: usize) -> NodeId {
    NodeId((place as u128 + 1) << 96)
}

fn ring(count: usize) -> Ring {
    let member = |place: usize| Member {
        number: MemberNumber(place as u16 + 1),
        id: id(place),
        name: format!("node-{place:04}"),
        addr: addr(place),
        zone: String::new(),
        weight: 1,
        since: Epoch(1),
        leaving: false,
    };
    let members: Vec<Member> = (0..count).map(member).collect();
    let first = members[..1].to_vec();
    let ring = found(ClusterId(1), Secret([7; 16]), first, Settings::default());
    // Rows play no part here: one partition does.
    let row = members.iter().take(3).map(|member| member.number).collect();
    let partitions = Slot::new(0).map(|slot| Partition::settled(slot, row)).into_iter().collect();
    Ring { members, partitions, ..ring }
}

impl Ringdove {
    fn step(&mut self, now: Duration, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            self.control.step(now.saturating_sub(self.born), event, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Datagram(to, bytes) => {
                        self.out.push((place(to), Parcel::Datagram(bytes)));
                    }
                    Effect::Persist(number, _) => events.push_back(Event::Persisted(number)),
                    // Lanes, names and people play no part here.
                    _ => {}
                }
            }
        }
    }
}

impl Contestant for Ringdove {
    fn start(place: usize, count: usize, life: u64, seed: u64, now: Duration) -> Self {
        let config = ControlConfig {
            name: format!("node-{place:04}"),
            advertise: addr(place),
            zone: String::new(),
            seeds: Vec::new(),
            copies: 3,
            shards: 2,
        };
        let mut state = ControlState::new(&mut ChaCha8Rng::seed_from_u64(seed));
        (state.id, state.boot, state.ring) = (id(place), life - 1, Some(ring(count)));
        let control = Control::new(config, state, seed).expect("a fine configuration");
        let mut node = Ringdove { control, out: Vec::new(), born: now, me: place, life };
        node.step(now, Event::Tick);
        node.step(now, Event::LogPosition(vec![1_000_000, 1_000_000]));
        node
    }

    fn deliver(&mut self, now: Duration, from: usize, parcel: Parcel) {
        if let Parcel::Datagram(bytes) = parcel {
            self.step(now, Event::Datagram(addr(from), bytes));
        }
    }

    fn tick(&mut self, now: Duration) {
        self.step(now, Event::Tick);
    }

    fn due(&self) -> Duration {
        self.born + self.control.next_deadline()
    }

    fn drain(&mut self, out: &mut Vec<(usize, Parcel)>) {
        out.append(&mut self.out);
    }

    fn survey(&self, all: &mut [(Seen, u64)]) {
        for (other, seen) in all.iter_mut().enumerate() {
            *seen = self.look(other, 0);
        }
    }

    fn look(&self, other: usize, _count: usize) -> (Seen, u64) {
        if other == self.me {
            return (Seen::Alive, self.life);
        }
        match self.control.claim(MemberNumber(other as u16 + 1)) {
            // Not heard of yet, in this life.
            None => (Seen::Alive, 0),
            Some(claim) => {
                let seen = match claim.rank {
                    Rank::Alive => Seen::Alive,
                    Rank::Suspect => Seen::Suspect,
                    Rank::Down | Rank::Left => Seen::Down,
                };
                (seen, claim.boot)
            }
        }
    }
}
