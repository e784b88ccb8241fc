//! What this node says: of itself, and as the sender of every datagram.
//!
//! Log positions ride in heartbeats alone and move no fingerprint: each heartbeat brings the receiver up to
//! date, and a few *witnesses* (see `detector`) are told within seconds. They are asked first when a life
//! begins, so a disk that went back is noticed by one who knows.
//!
//! Invariant: whatever is sent to a member of whom something else is claimed than that it is alive carries the
//! claim, so it hears of its accusation from everybody, and before everybody else. No datagram is longer than
//! [`MAX_DATAGRAM`]. Not here: when something is said (`detector`, `sync`).

use std::net::SocketAddr;

use rand::seq::SliceRandom;

use super::super::Effect;
use super::{Membership, rumours};
use crate::ring::{Epoch, MemberNumber, NodeId};
use crate::wire::datagram::{Datagram, MAX_DATAGRAM};
use crate::wire::gossip::{
    Beat, Claim, Details, Digest, Errand, Essentials, Gossip, HEAD_BYTES, Head, News, Rank, Stamp,
};

/// What this node says of itself.
#[derive(Debug)]
pub(in crate::control) struct Voice {
    pub id: NodeId,
    pub boot: u64,
    pub life: u64,
    pub name: String,
    pub addr: SocketAddr,
    pub shards: u16,
    /// How far each shard's log is synced.
    pub log: Vec<u64>,
    /// How often it refuted what was claimed of this life.
    pub incarnation: u64,
    /// Which ring it said to have, and the how-manieth time that it said anything.
    pub told: (Epoch, u64),
    pub version: u64,
    /// Whether this life ends here, by its own will.
    pub left: bool,
}

impl Voice {
    pub fn claim(&self) -> Claim {
        let claim = Claim::alive(self.boot, self.incarnation);
        if self.left { claim.ranked(Rank::Left) } else { claim }
    }

    pub fn essentials(&self) -> Essentials {
        let stamp = Stamp { boot: self.boot, version: 1 };
        Essentials { stamp, addr: self.addr, shards: self.shards }
    }

    pub fn details(&self) -> Details {
        let stamp = Stamp { boot: self.boot, version: self.version };
        Details { stamp, name: self.name.clone(), epoch: self.told.0, ring: self.told.1 }
    }

    pub fn digest(&self, of: MemberNumber) -> Digest {
        let (essentials, details) = (self.essentials().stamp, self.details().stamp);
        Digest { of, claim: Some(self.claim()), essentials, details }
    }
}

impl Membership {
    pub(super) fn head(&self, to: NodeId) -> Head {
        Head {
            cluster: self.ring.cluster,
            from: self.voice.id,
            to,
            boot: self.voice.boot,
            life: self.voice.life,
            incarnation: self.voice.incarnation,
            epoch: self.ring.epoch,
            ring: self.ring_hash,
            fingerprint: self.fingerprint(),
        }
    }

    /// What a rumour says of a member: the claim, and where it is if it is there. Who speaks says all of itself.
    fn rumour(&self, of: MemberNumber) -> Option<News> {
        if of == self.me {
            let (claim, accusers) = (self.voice.claim(), Vec::new());
            let essentials = Some(self.voice.essentials());
            return Some(News {
                of,
                claim,
                accusers,
                essentials,
                details: Some(self.voice.details()),
            });
        }
        let known = self.known.get(&of)?;
        let claim = known.claim?;
        let there = claim.rank == Rank::Alive;
        let essentials = known.essentials.filter(|it| there && it.stamp.boot == claim.boot);
        Some(News { of, claim, accusers: known.accusers.clone(), essentials, details: None })
    }

    /// Rumours for a member, and before them what it should hear of itself, beside so many other bytes.
    fn news_for(&mut self, to: MemberNumber, beside: usize) -> Vec<News> {
        let mut room = MAX_DATAGRAM - HEAD_BYTES - beside;
        let accused = self.known.get(&to).and_then(|known| known.rank()) != Some(Rank::Alive);
        let mut news = Vec::from_iter(self.rumour(to).filter(|_| accused));
        room -= news.iter().map(News::bytes).sum::<usize>();
        let mut rumours = std::mem::take(&mut self.rumours);
        let limit = rumours::limit(self.ring.members.len());
        news.extend(rumours.take(room, limit, |of| self.rumour(of).filter(|_| of != to)));
        self.rumours = rumours;
        news
    }

    fn beat(&mut self, to: MemberNumber, seq: u64) -> Option<Beat> {
        let known = self.known.get(&to)?;
        let (id, rolled_back) = (known.id, known.rolled_back);
        let log = self.voice.log.clone();
        let news = self.news_for(to, 40 + 9 * log.len());
        Some(Beat { head: self.head(id), seq, log, rolled_back, news })
    }

    pub(super) fn say_probe(&mut self, to: MemberNumber, seq: u64, effects: &mut Vec<Effect>) {
        let Some(beat) = self.beat(to, seq) else { return };
        self.say(to, Datagram::Probe(beat), effects);
    }

    /// An answer goes where the question came from.
    pub(super) fn say_ack(
        &mut self,
        to: MemberNumber,
        at: SocketAddr,
        seq: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(beat) = self.beat(to, seq) else { return };
        effects.push(Effect::Datagram(at, Datagram::Ack(beat).encode()));
    }

    fn errand(&mut self, to: MemberNumber, about: About) -> Option<Errand> {
        let id = self.known.get(&to)?.id;
        let news = self.news_for(to, 40);
        let About { seq, target, answered } = about;
        Some(Errand { head: self.head(id), seq, target, answered, news })
    }

    pub(super) fn say_ask(&mut self, to: MemberNumber, about: About, effects: &mut Vec<Effect>) {
        let Some(errand) = self.errand(to, about) else { return };
        self.say(to, Datagram::Ask(errand), effects);
    }

    pub(super) fn say_told(&mut self, to: MemberNumber, about: About, effects: &mut Vec<Effect>) {
        let Some(errand) = self.errand(to, about) else { return };
        self.say(to, Datagram::Told(errand), effects);
    }

    pub(super) fn say_rumours(&mut self, to: MemberNumber, effects: &mut Vec<Effect>) {
        let Some(id) = self.known.get(&to).map(|known| known.id) else { return };
        let news = self.news_for(to, 0);
        if !news.is_empty() {
            let gossip = Gossip { head: self.head(id), news };
            self.say(to, Datagram::Rumours(gossip), effects);
        }
    }

    /// Tells a member, there, what is claimed of it.
    pub(super) fn say_claim(
        &mut self,
        to: MemberNumber,
        at: SocketAddr,
        effects: &mut Vec<Effect>,
    ) {
        let Some(id) = self.known.get(&to).map(|known| known.id) else { return };
        let news = Vec::from_iter(self.rumour(to));
        let gossip = Gossip { head: self.head(id), news };
        effects.push(Effect::Datagram(at, Datagram::Facts(gossip).encode()));
    }

    /// Says to as many as a rumour is told to that this life ends here: nobody has to find that out. They pass it on.
    pub fn leave(&mut self, effects: &mut Vec<Effect>) {
        self.voice.left = true;
        let (claim, accusers) = (self.voice.claim(), Vec::new());
        let news = News { of: self.me, claim, accusers, essentials: None, details: None };
        let there = self.known.iter().filter(|(_, known)| known.rank() == Some(Rank::Alive));
        let mut told = Vec::from_iter(there.map(|(of, known)| (*of, known.id)));
        told.shuffle(&mut self.random);
        told.truncate(rumours::TOLD * rumours::limit(self.ring.members.len()) as usize);
        for (to, id) in told {
            let gossip = Gossip { head: self.head(id), news: vec![news.clone()] };
            self.say(to, Datagram::Rumours(gossip), effects);
        }
    }

    pub(super) fn say(&self, to: MemberNumber, datagram: Datagram, effects: &mut Vec<Effect>) {
        if let Some(known) = self.known.get(&to) {
            effects.push(Effect::Datagram(known.addr, datagram.encode()));
        }
    }
}

/// What an errand is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub seq: u64,
    pub target: MemberNumber,
    pub answered: bool,
}
