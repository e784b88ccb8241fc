//! Who is in the cluster, who answers, and the founding of it, as a state machine: datagrams and
//! time in, datagrams, views and things to write down out.
//!
//! Three truths are kept apart. *Liveness* is what members find of each other, by heartbeats and gossip
//! (`membership`), and may change any time. The *ring* is decided once per epoch; the first one by the
//! unanimous vote of all nodes named in one seed list. *Hints* (who answers just now) are the shards' affair.
//!
//! A life: the boot counter is written down; then, without a ring, the node is *founding*; with one,
//! just founded or from the disk, it is a *member*: the view is published and heartbeats begin.
//!
//! Each later ring is decided by a majority of the members of the one before (`register`); the oldest member that lives drives that
//! (`deciding`). A node whose seeds are in a cluster already joins it; one that the ring names no more has left.
//!
//! The same leader has lives that are over listed in the ring (`closing`), once every member can do without them.
//!
//! Invariant: [`Control::step`] is deterministic: it waits for nothing, reads no clock and draws no
//! randomness but from the generator it was given. There is one ring per cluster and epoch. A node
//! never makes itself a cluster because time has passed. Not here: sockets, DNS, files (`server`),
//! and the data plane (`shard`), which is told through a [`View`].

mod asking;
mod closing;
mod deciding;
mod doctor;
mod event;
mod founding;
mod membership;
mod myself;
mod obstacles;
mod planning;
mod proposal;
pub mod register;
mod seeds;
mod since;
mod state;
mod status;

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher128};

pub use event::{Ask, Effect, Event, Now, Outcome, Route};
pub use membership::Ignored;
pub use proposal::Proposal;
pub use state::{ConfigError, ControlConfig, ControlState, Moved};

use crate::causality::Secret;
use crate::ring::{MemberNumber, NodeId, Ring, View};
use crate::wire::datagram::{Datagram, Hello, Stage};
use crate::wire::gossip::Claim;
use asking::Asking;
use closing::Closing;
use deciding::Deciding;
use founding::{Decision, Founding, Pending};
use membership::{Membership, Voice};
use myself::Myself;
use register::{Kept, Register};
use seeds::Seeds;

/// Being told the time later than this after it was due means that this node was paused.
const PAUSE: Duration = Duration::from_millis(500);
/// When nothing at all is due, this is.
const IDLE: Duration = Duration::from_secs(1);
/// How often seeds are asked where members are that are down.
const CALL: Duration = Duration::from_secs(5);

/// Where in its life the machine is.
#[derive(Debug)]
enum Phase {
    /// No event yet.
    New,
    /// The boot counter is being written down. Nothing is sent.
    Booting,
    /// There is no ring yet.
    Founding(Founding),
    /// There is one.
    Member(Box<Membership>),
    /// There is one, without this node: it has left.
    Left(Arc<Ring>),
}

/// The control machine of one node.
#[derive(Debug)]
pub struct Control {
    me: Myself,
    random: ChaCha8Rng,
    phase: Phase,
    due: Now,
    log: Vec<u64>,
    next_call: Now,
    /// The number of the last state that was handed out to be written down.
    saved: u64,
    /// The number of the state without which nothing goes on.
    awaited: Option<u64>,
    /// Why the awaited state could not be written.
    broken: Option<String>,
    /// The last thing it said that it waits for.
    said: String,
    ignored: BTreeMap<Ignored, u64>,
    /// What this node tells founders that come late: the founding vote and its ring, hashed.
    founded: (u64, u64),
    register: Register,
    deciding: Deciding,
    asking: Asking,
    closing: Closing,
    /// Whether this life ended in order.
    stopped: bool,
}

impl Control {
    /// A machine that goes on from what it wrote down before, or from [`ControlState::new`]. It
    /// sends nothing before its first [`Effect::Persist`] is done. The seed should be the operating
    /// system's randomness, or the simulator's.
    pub fn new(config: ControlConfig, state: ControlState, seed: u64) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let founded = state.vote.as_ref().map_or((0, 0), |vote| (vote.hash(), vote.ring().hash()));
        let life = random.random();
        let register = Register::new(state.id, life, state.kept());
        Ok(Control {
            me: Myself {
                life,
                seeds: Seeds::new(&config.seeds),
                config,
                state,
                now: Duration::ZERO,
            },
            random,
            phase: Phase::New,
            due: Duration::ZERO,
            log: Vec::new(),
            next_call: Duration::ZERO,
            saved: 0,
            awaited: None,
            broken: None,
            said: String::new(),
            ignored: BTreeMap::new(),
            founded,
            register,
            deciding: Deciding::default(),
            asking: Asking::default(),
            closing: Closing::default(),
            stopped: false,
        })
    }

    /// Something happened. What follows from it is appended to `effects`.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        if self.stopped {
            self.due = now.max(self.due) + IDLE;
            return;
        }
        self.tell_time(now, effects);
        match event {
            Event::Tick => {}
            Event::Datagram(from, bytes) => self.datagram(from, &bytes, effects),
            Event::Persisted(number) => self.persisted(number, effects),
            Event::PersistFailed(number, why) => self.persist_failed(number, why, effects),
            Event::Resolved(seed, addrs) => self.me.seeds.resolved(&seed, addrs),
            Event::Lane(member, open) => {
                if let Phase::Member(members) = &mut self.phase {
                    members.lane(member, open);
                }
            }
            Event::Reported(shard, report) => self.reported_here(shard, report),
            Event::Seen(shard, actors) => self.seen_here(shard, actors),
            Event::Refused(shard, said) => self.refused_here(shard, &said),
            Event::Asked(waits, ask) => self.asked(waits, ask, effects),
            Event::Told(from, message) => self.told(from, *message, effects),
            Event::LogPosition(positions) => {
                if let Phase::Member(members) = &mut self.phase {
                    members.log_position(self.me.now, positions.clone(), effects);
                }
                self.log = positions;
            }
            Event::Stop => return self.stop(effects),
        }
        self.go_on(effects);
        self.due = self.deadline();
    }

    /// Says goodbye. Who is no member has nobody to say it to.
    fn stop(&mut self, effects: &mut Vec<Effect>) {
        if let Phase::Member(members) = &mut self.phase {
            members.leave(effects);
        }
        self.stopped = true;
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Now {
        self.due
    }

    /// This node's id. It can change while a cluster is being founded, never afterwards.
    pub fn id(&self) -> NodeId {
        self.me.state.id
    }

    /// The cluster as this node sees it, once there is a ring.
    pub fn view(&self) -> Option<View> {
        match &self.phase {
            Phase::Member(members) => Some(members.view()),
            Phase::New | Phase::Booting | Phase::Founding(_) | Phase::Left(_) => None,
        }
    }

    /// Who drives ring changes, in this node's own view: the oldest member that is up; `None`
    /// while there is no ring.
    pub fn leader(&self) -> Option<MemberNumber> {
        match &self.phase {
            Phase::Member(members) => Some(members.leader()),
            Phase::New | Phase::Booting | Phase::Founding(_) | Phase::Left(_) => None,
        }
    }

    /// What is claimed of another member; `None` when nobody has told anything of it, or there is no ring.
    pub fn claim(&self, member: MemberNumber) -> Option<Claim> {
        match &self.phase {
            Phase::Member(members) => members.known.get(&member)?.claim,
            Phase::New | Phase::Booting | Phase::Founding(_) | Phase::Left(_) => None,
        }
    }

    /// How many datagrams changed nothing, by why.
    pub fn ignored(&self) -> &BTreeMap<Ignored, u64> {
        &self.ignored
    }

    fn tell_time(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.me.now = self.me.now.max(now);
        let late = self.me.now.saturating_sub(self.due);
        if let Phase::Member(members) = &mut self.phase
            && late > PAUSE
        {
            members.paused(late, self.me.now);
            let sentence = format!(
                "this node was held up for {} ms; others get as much longer to answer",
                late.as_millis()
            );
            effects.push(Effect::Log(log::Level::Warn, sentence));
        }
    }

    /// Hands the state out to be written down; `awaited` when nothing goes on without it.
    fn persist(&mut self, awaited: bool, effects: &mut Vec<Effect>) {
        self.saved += 1;
        self.me.state.keep(self.register.kept());
        self.register.handed_out(self.saved);
        if awaited {
            self.awaited = Some(self.saved);
        }
        effects.push(Effect::Persist(self.saved, Box::new(self.me.state.clone())));
    }

    fn persisted(&mut self, number: u64, effects: &mut Vec<Effect>) {
        self.go_on_from(number, effects);
        let mut out = Vec::new();
        self.register.persisted(number, &mut out);
        self.carry_out(out, effects);
    }

    /// What was awaited is on the disk.
    fn go_on_from(&mut self, number: u64, effects: &mut Vec<Effect>) {
        if self.broken.is_some() || self.awaited.is_none_or(|awaited| number < awaited) {
            return;
        }
        self.awaited = None;
        match &mut self.phase {
            Phase::New | Phase::Member(_) | Phase::Left(_) => {}
            Phase::Booting => self.booted(effects),
            Phase::Founding(founding) => match founding.pending {
                Pending::Nothing => {}
                Pending::Bound => founding.pending = Pending::Nothing,
                Pending::Vote => founding.voted(&self.me.state, self.me.now),
                Pending::NewId => {
                    self.phase = Phase::Founding(Founding::new(&self.me.state, self.me.now))
                }
                Pending::Ring => self.become_member(effects),
            },
        }
    }

    fn persist_failed(&mut self, number: u64, why: String, effects: &mut Vec<Effect>) {
        let sentence =
            format!("the control state cannot be written: {why}; see to the disk, then restart");
        effects.push(Effect::Log(log::Level::Error, sentence.clone()));
        if self.awaited.is_some_and(|awaited| awaited <= number) {
            self.broken = Some(sentence);
        }
    }

    fn booted(&mut self, effects: &mut Vec<Effect>) {
        if let Some(ring) = self.register.ring().cloned() {
            match ring.member_by_id(self.me.state.id) {
                Some(_) => self.become_member(effects),
                None => self.leave(&ring, effects),
            }
            return;
        }
        let mut founding = Founding::new(&self.me.state, self.me.now);
        let alone = self.me.config.seeds.is_empty() && self.me.state.bound.is_none();
        if alone && self.me.state.vote.is_none() {
            founding.pending = Pending::Vote;
            self.me.state.vote = Some(Proposal::new(vec![self.me.card()]));
            self.persist(true, effects);
        }
        self.phase = Phase::Founding(founding);
    }

    fn become_member(&mut self, effects: &mut Vec<Effect>) {
        let ring = self.me.state.ring.clone().expect("a member has a ring");
        if let Some(vote) = &self.me.state.vote {
            self.founded = (vote.hash(), vote.ring().hash());
        }
        let sentence = format!(
            "member of cluster {}, epoch {}, with {} members",
            ring.cluster,
            ring.epoch,
            ring.members.len()
        );
        effects.push(Effect::Log(log::Level::Info, sentence));
        let voice = Voice {
            id: self.me.state.id,
            boot: self.me.state.boot,
            life: self.me.life,
            name: self.me.config.name.clone(),
            addr: self.me.config.advertise,
            shards: self.me.config.shards,
            log: self.log.clone(),
            incarnation: 0,
            told: (ring.epoch, 0),
            version: 1,
            left: false,
        };
        self.next_call = self.me.now + CALL;
        let (moved, seed) = (&self.me.state.moved, self.random.random());
        self.deciding.steps.learnt(&ring, self.me.now);
        let members = Membership::new(ring, moved, voice, seed, self.me.now, effects);
        self.phase = Phase::Member(Box::new(members));
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8], effects: &mut Vec<Effect>) {
        let heard = match (Datagram::decode(bytes), &mut self.phase) {
            (Err(_), _) => Err(Ignored::Malformed),
            (Ok(_), Phase::New | Phase::Booting) => Err(Ignored::Early),
            (Ok(Datagram::Hello(hello)), _) => {
                self.hear_joiner(&hello, effects);
                self.hello(from, hello, effects);
                Ok(())
            }
            (Ok(_), Phase::Founding(_) | Phase::Left(_)) => Err(Ignored::Early),
            (Ok(datagram), Phase::Member(members)) => {
                members.hear(self.me.now, from, datagram, effects)
            }
        };
        if let Err(why) = heard {
            let count = self.ignored.entry(why).or_default();
            *count += 1;
            if *count == 1
                && let Some((level, sentence)) = status::first_ignored(why, from)
            {
                effects.push(Effect::Log(level, sentence));
            }
        }
    }

    fn hello(&mut self, from: SocketAddr, hello: Hello, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::New | Phase::Booting | Phase::Left(_) => {}
            Phase::Founding(founding) => founding.hear(&self.me, from, hello, effects),
            Phase::Member(members) => {
                if !hello.answer && hello.card.id != self.me.state.id {
                    let (proposal, ring) = self.founded;
                    let stage = Stage::Founded { cluster: members.ring.cluster, proposal, ring };
                    let leader = members.known.get(&members.leader()).map(|known| known.addr);
                    let answer = self.me.hello(true, hello.round, hello.at, stage, leader);
                    effects.push(Effect::Datagram(from, answer.encode()));
                }
                let (id, boot, addr) = (hello.card.id, hello.boot, hello.card.addr);
                members.seen_at(self.me.now, id, boot, addr, effects);
            }
        }
    }

    /// Does all that is due.
    fn go_on(&mut self, effects: &mut Vec<Effect>) {
        match &self.phase {
            Phase::New => {
                self.me.state.boot += 1;
                self.persist(true, effects);
                self.phase = Phase::Booting;
            }
            Phase::Booting => {}
            Phase::Founding(_) => self.go_on_founding(effects),
            Phase::Member(_) => {
                self.go_on_member(effects);
                self.decide(effects);
            }
            Phase::Left(_) => {
                self.see_to_asked(effects);
                self.go_on_left(effects);
            }
        }
    }

    fn go_on_founding(&mut self, effects: &mut Vec<Effect>) {
        self.me.seeds.look_up(self.me.now, effects);
        let Phase::Founding(founding) = &mut self.phase else { return };
        let asking = founding.due(&self.me).is_some_and(|due| self.me.now >= due);
        match founding.decide(&self.me) {
            Decision::Wait => {}
            Decision::Vote(proposal) => {
                founding.pending = Pending::Vote;
                self.me.state.vote = Some(proposal);
                self.persist(true, effects);
            }
            Decision::Found => {
                founding.pending = Pending::Ring;
                let vote = self.me.state.vote.as_ref().expect("who founds has voted");
                self.register.founded(vote.ring(), &mut Vec::new());
                self.persist(true, effects);
            }
            Decision::Join(cluster) => {
                founding.pending = Pending::Bound;
                self.register.bind(cluster);
                self.persist(true, effects);
            }
            Decision::GiveWay => {
                founding.pending = Pending::NewId;
                self.give_way(effects);
            }
        }
        let Phase::Founding(founding) = &mut self.phase else { return };
        founding.ask(&self.me, &mut self.random, effects);
        if asking {
            let waiting = founding.waiting(&self.me);
            if waiting != self.said {
                effects.push(Effect::Log(log::Level::Info, format!("founding: {waiting}")));
                self.said = waiting;
            }
        }
    }

    /// Takes a new id: the old one has voted for what cannot come true.
    fn give_way(&mut self, effects: &mut Vec<Effect>) {
        let old = self.me.state.id;
        let mut hasher = SipHasher128::new();
        hasher.write(b"new id");
        hasher.write(&old.0.to_le_bytes());
        hasher.write(&self.random.random::<u128>().to_le_bytes());
        self.me.state.id = NodeId(hasher.finish128().as_u128());
        self.me.state.share = Secret(self.random.random());
        self.me.state.vote = None;
        self.register = Register::new(self.me.state.id, self.me.life, Kept::default());
        let sentence = format!(
            "node id {old} voted for founders of whom one has changed; going on as {}",
            self.me.state.id
        );
        effects.push(Effect::Log(log::Level::Warn, sentence));
        self.persist(true, effects);
    }

    fn go_on_member(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Member(members) = &mut self.phase else { return };
        members.tick(self.me.now, effects);
        let changed = members.publish(self.me.now, effects);
        let anyone_down = || members.known.values().any(|known| !known.up);
        if self.me.now >= self.next_call {
            self.next_call = self.me.now + CALL;
            if anyone_down() {
                self.call_seeds(effects);
            }
        }
        let Phase::Member(members) = &mut self.phase else { return };
        let moved = if changed { members.moved() } else { return };
        if moved != self.me.state.moved {
            self.me.state.moved = moved;
            self.persist(false, effects);
        }
    }

    /// Somebody is down: perhaps a seed is where it went, or it is where a seed's name leads now.
    fn call_seeds(&mut self, effects: &mut Vec<Effect>) {
        self.me.seeds.look_up(self.me.now, effects);
        let Phase::Member(members) = &self.phase else { return };
        let (proposal, ring) = self.founded;
        let stage = Stage::Founded { cluster: members.ring.cluster, proposal, ring };
        for addr in self.me.seeds.addrs() {
            if addr != self.me.config.advertise {
                let call = self.me.hello(false, 0, addr, stage, None);
                effects.push(Effect::Datagram(addr, call.encode()));
            }
        }
    }

    fn deadline(&self) -> Now {
        let idle = self.me.now + IDLE;
        match &self.phase {
            Phase::New | Phase::Booting | Phase::Left(_) => idle,
            Phase::Founding(founding) => {
                let seeds = self.me.seeds.due().unwrap_or(idle);
                idle.min(founding.due(&self.me).unwrap_or(idle)).min(seeds)
            }
            Phase::Member(members) => idle.min(members.due().unwrap_or(idle)),
        }
    }
}
