//! foca as a contestant: plain SWIM, with its settings for a local network.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, Config, Foca, Identity, Member, NoCustomBroadcast, PostcardCodec, State,
    Timer,
};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Parcel, Seen, calls};

/// An address, and which life it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    ip: [u8; 4],
    port: u16,
    life: u16,
}

impl Id {
    fn new(place: usize, life: u64) -> Self {
        Id { ip: [10, 0, (place >> 8) as u8, place as u8], port: 7400, life: life as u16 }
    }

    fn place(&self) -> usize {
        usize::from(self.ip[2]) << 8 | usize::from(self.ip[3])
    }
}

impl Identity for Id {
    type Addr = [u8; 4];

    fn renew(&self) -> Option<Self> {
        Some(Id { life: self.life.wrapping_add(1), ..self.clone() })
    }

    fn addr(&self) -> [u8; 4] {
        self.ip
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.life > other.life
    }
}

/// A foca, its timers and what it wants.
pub struct Swim {
    foca: Foca<Id, PostcardCodec, ChaCha8Rng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Id>,
    timers: BTreeMap<(Duration, u64), Timer<Id>>,
    order: u64,
    out: Vec<(usize, Bytes)>,
}

impl Swim {
    fn settle(&mut self, now: Duration) {
        while let Some((to, bytes)) = self.runtime.to_send() {
            self.out.push((to.place(), bytes));
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.order += 1;
            self.timers.insert((now + after, self.order), timer);
        }
        while self.runtime.to_notify().is_some() {}
    }
}

impl Contestant for Swim {
    fn start(place: usize, count: usize, life: u64, seed: u64, now: Duration) -> Self {
        let size = NonZeroU32::new(count as u32).expect("some nodes");
        let (random, me) = (ChaCha8Rng::seed_from_u64(seed), Id::new(place, life));
        let foca = Foca::new(me, Config::new_lan(size), random, PostcardCodec);
        let (runtime, timers) = (AccumulatingRuntime::new(), BTreeMap::new());
        let mut node = Swim { foca, runtime, timers, order: 0, out: Vec::new() };
        // All others as they were when the cluster began; a restarted one announces itself to three of them.
        let others = (0..count).filter(|other| *other != place);
        let members = others.map(|other| Member::alive(Id::new(other, 1)));
        // What it says of its own mistakes is for people: the network goes on.
        let _ = node.foca.apply_many(members, false, &mut node.runtime);
        if life > 1 {
            for other in calls(place, count) {
                let _ = node.foca.announce(Id::new(other, 1), &mut node.runtime);
            }
        }
        node.settle(now);
        node
    }

    fn deliver(&mut self, now: Duration, _from: usize, parcel: Parcel) {
        if let Parcel::Datagram(bytes) = parcel {
            let _ = self.foca.handle_data(&bytes, &mut self.runtime);
            self.settle(now);
        }
    }

    fn tick(&mut self, now: Duration) {
        let later = self.timers.split_off(&(now + Duration::from_nanos(1), 0));
        let mut due: Vec<Timer<Id>> =
            std::mem::replace(&mut self.timers, later).into_values().collect();
        // foca asks for timers of one moment in its own order.
        due.sort_unstable();
        for timer in due {
            let _ = self.foca.handle_timer(timer, &mut self.runtime);
        }
        self.settle(now);
    }

    fn due(&self) -> Duration {
        self.timers.first_key_value().map_or(Duration::MAX, |((at, _), _)| *at)
    }

    fn drain(&mut self, out: &mut Vec<(usize, Parcel)>) {
        out.extend(self.out.drain(..).map(|(to, bytes)| (to, Parcel::Datagram(bytes.to_vec()))));
    }

    fn survey(&self, all: &mut [(Seen, u64)]) {
        let me = self.foca.identity().clone();
        all[me.place()] = (Seen::Alive, u64::from(me.life));
        for member in self.foca.iter_membership_state() {
            let (place, life) = (member.id().place(), u64::from(member.id().life));
            // Of one place there may be several lives: the latest counts.
            if place < all.len() && place != me.place() && life >= all[place].1 {
                let seen = match member.state() {
                    State::Alive => Seen::Alive,
                    State::Suspect => Seen::Suspect,
                    State::Down => Seen::Down,
                };
                all[place] = (seen, life);
            }
        }
    }
}
