//! The ring as one member of the cluster keeps it up to date: pulling rings that others have, and, as the leader,
//! driving changes.
//!
//! The leader is nobody's choice: it is the oldest member that lives, in this node's own view. It waits a while, so that a
//! node that is away for a moment is not taken for dead, and asks for fresh proof of a majority, for without one nothing can
//! be decided. Two leaders cost duplicated work, never two rings: that is the register's affair.
//!
//! Invariant: a ring is used once it is on the synced disk, not before. Nobody is taken in who has not said lately,
//! under that id, that it is ready. Data never waits for anything here. Not here: votes (`register`), and
//! how rows move (the planner).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use super::register::{Output, highest, quorum, successor};
use super::{Control, Effect, Now, Phase};
use crate::ring::{Member, MemberNumber, NodeId, Ring};
use crate::wire::control::ControlMessage;
use crate::wire::datagram::{Card, Hello, Stage};

/// For how long a member must have been the oldest that lives before it leads, if an older one is down.
const GRACE: Duration = Duration::from_secs(5);
/// The same for the oldest of all, which only has to see who is there.
const SETTLING: Duration = Duration::from_secs(1);
/// How many seconds an attempt may take before the next, at least and at most: disks may be slow, so each
/// has twice the time of the one before, up to so many doublings.
const RETRY: (f64, f64) = (0.5, 2.0);
const RETRY_DOUBLED: u32 = 4;
/// How long somebody is ready to join after it said so.
const READY: Duration = Duration::from_secs(3);
/// How often somebody is asked for its ring.
const PULL: Duration = Duration::from_secs(1);
/// How often a member looks whether there is something to do about the ring.
const LOOK: Duration = Duration::from_millis(250);
/// Nodes that may be ready at once; more wait their turn.
const JOINERS: usize = 256;

/// Somebody who is ready to join.
#[derive(Debug)]
struct Joiner {
    card: Card,
    said: Now,
}

/// What a member has in mind about rings, besides its register.
#[derive(Debug, Default)]
pub(super) struct Deciding {
    /// Since when it is the oldest member that lives.
    oldest_since: Option<Now>,
    next_attempt: Now,
    /// Attempts since the ring last changed.
    attempts: u32,
    next_pull: Now,
    next_look: Now,
    joiners: BTreeMap<NodeId, Joiner>,
}

/// Why nobody may drive ring changes, as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLeader {
    /// Too few members answer: nothing can be decided.
    NoQuorum,
    /// The oldest that lives waits whether an older one comes back.
    Waiting,
    /// Two rings of one epoch were seen.
    Forked,
}

impl Control {
    /// Something that the other control machine said on its connection.
    pub(super) fn told(
        &mut self,
        from: NodeId,
        message: ControlMessage,
        effects: &mut Vec<Effect>,
    ) {
        match &self.phase {
            Phase::New | Phase::Booting => return,
            Phase::Founding(_) | Phase::Member(_) | Phase::Left(_) => {}
        }
        let mut out = Vec::new();
        self.register.hear(from, message, &mut out);
        self.carry_out(out, effects);
    }

    /// Does what the register wants, and has its new state written down.
    pub(super) fn carry_out(&mut self, outputs: Vec<Output>, effects: &mut Vec<Effect>) {
        let mut outputs = VecDeque::from(outputs);
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Tell(to, message) if to == self.me.state.id => {
                    let mut more = Vec::new();
                    self.register.hear(to, message, &mut more);
                    outputs.extend(more);
                }
                Output::Tell(to, message) => {
                    let at = self.address(to);
                    effects.push(Effect::Tell { to, at, message: Box::new(message) });
                }
                Output::Learnt(ring) => self.learnt(&ring, effects),
                Output::Done(epoch) => {
                    let text = format!("a quorum of the members of epoch {epoch} has it");
                    effects.push(Effect::Log(log::Level::Info, text));
                }
                Output::Say(level, text) => effects.push(Effect::Log(level, text)),
            }
        }
        if self.register.unwritten() {
            self.persist(false, effects);
        }
    }

    /// Where somebody can be reached, if that is known.
    fn address(&self, id: NodeId) -> Option<SocketAddr> {
        let seen = match &self.phase {
            Phase::Member(members) => members.known.values().find(|known| known.id == id),
            Phase::New | Phase::Booting | Phase::Founding(_) | Phase::Left(_) => None,
        };
        let listed = || self.register.ring().and_then(|ring| ring.member_by_id(id));
        let joiner = || self.deciding.joiners.get(&id).map(|joiner| joiner.card.addr);
        seen.map(|known| known.addr).or_else(|| listed().map(|member| member.addr)).or_else(joiner)
    }

    /// A ring is on the disk, and from now on in force.
    fn learnt(&mut self, ring: &Arc<Ring>, effects: &mut Vec<Effect>) {
        self.deciding.joiners.retain(|id, _| ring.member_by_id(*id).is_none());
        (self.deciding.attempts, self.deciding.next_attempt) = (0, self.me.now);
        self.deciding.next_look = self.me.now;
        match &mut self.phase {
            Phase::New | Phase::Booting | Phase::Left(_) => {}
            Phase::Founding(_) => self.become_member(effects),
            Phase::Member(members) if members.ring.epoch >= ring.epoch => {}
            Phase::Member(members) => {
                let sentence = change(&members.ring, ring);
                effects.push(Effect::Log(log::Level::Info, sentence));
                if ring.member_by_id(self.me.state.id).is_none() {
                    self.leave(ring, effects);
                } else {
                    members.adopt(Arc::clone(ring), self.me.now);
                }
            }
        }
    }

    /// The ring does not name this node any more.
    pub(super) fn leave(&mut self, ring: &Arc<Ring>, effects: &mut Vec<Effect>) {
        let sentence = format!(
            "epoch {} of cluster {} goes on without this node; it serves nothing any more",
            ring.epoch, ring.cluster
        );
        effects.push(Effect::Log(log::Level::Warn, sentence));
        effects.push(Effect::Dial(Vec::new()));
        self.next_call = self.me.now;
        self.phase = Phase::Left(Arc::clone(ring));
    }

    /// Who has left asks whether the others can do without it.
    pub(super) fn go_on_left(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Left(ring) = &self.phase else { return };
        if self.me.now < self.next_call || self.register.may_go() {
            return;
        }
        self.next_call = self.me.now + PULL;
        let mut out = Vec::new();
        ring.members.iter().for_each(|member| self.register.pull(member.id, &mut out));
        self.carry_out(out, effects);
    }

    /// What somebody who has left waits for.
    pub(super) fn left(&self, ring: &Ring) -> String {
        let (epoch, cluster) = (ring.epoch, ring.cluster);
        if self.register.may_go() {
            format!(
                "this node has left cluster {cluster} with epoch {epoch}, which goes on without it: it may be stopped \
                 for good"
            )
        } else {
            format!(
                "this node has left cluster {cluster} with epoch {epoch}; it must stay up until most of the others \
                 have that epoch on their disks"
            )
        }
    }

    /// Somebody who is no member says how it is. If it is ready to join, that is remembered; if it has been
    /// taken in already, it is brought the ring.
    pub(super) fn hear_joiner(&mut self, hello: &Hello, effects: &mut Vec<Effect>) {
        let (Some(ring), Stage::Ready { cluster }) = (self.register.ring(), hello.stage) else {
            return;
        };
        let card = &hello.card;
        if ring.cluster != cluster || card.id == self.me.state.id {
            return;
        }
        let is_member = ring.member_by_id(card.id).is_some();
        let room = self.deciding.joiners.len() < JOINERS;
        if room || self.deciding.joiners.contains_key(&card.id) {
            let joiner = Joiner { card: card.clone(), said: self.me.now };
            self.deciding.joiners.insert(card.id, joiner);
        }
        if is_member {
            let mut out = Vec::new();
            self.register.show_ring(card.id, &mut out);
            self.carry_out(out, effects);
        }
    }

    /// Catches up with others' rings, and drives changes if this node leads.
    pub(super) fn decide(&mut self, effects: &mut Vec<Effect>) {
        let now = self.me.now;
        if now < self.deciding.next_look {
            return;
        }
        self.deciding.next_look = now + LOOK;
        self.deciding.joiners.retain(|_, joiner| now.saturating_sub(joiner.said) <= READY);
        self.compare_rings(effects);
        let Phase::Member(members) = &self.phase else { return };
        if members.leader() != members.me {
            self.deciding.oldest_since = None;
        } else if self.deciding.oldest_since.is_none() {
            self.deciding.oldest_since = Some(now);
        }
        let mine = members.leader() == members.me && now >= self.deciding.next_attempt;
        if mine && self.leading() == Ok(members.me) {
            self.drive(effects);
        }
    }

    /// Heartbeats say which ring each member has: a newer one is pulled.
    fn compare_rings(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Member(members) = &self.phase else { return };
        let (now, newer, mut out) = (self.me.now, members.newer_ring(), Vec::new());
        for (number, known) in members.known.iter().filter(|(_, known)| known.up) {
            let ahead = known.epoch > members.ring.epoch;
            if ahead && (newer != Some(*number) || now < self.deciding.next_pull) {
                continue;
            }
            if ahead {
                self.deciding.next_pull = now + PULL;
            }
            self.register.heard_of(known.id, known.epoch, known.ring, &mut out);
        }
        if !out.is_empty() {
            self.carry_out(out, effects);
        }
    }

    /// Who drives ring changes, or why nobody does, as this node sees it.
    pub(super) fn leading(&self) -> Result<MemberNumber, NoLeader> {
        let Phase::Member(members) = &self.phase else { return Err(NoLeader::NoQuorum) };
        let living = self.living();
        let leader = members.leader();
        if self.register.fork().is_some() {
            return Err(NoLeader::Forked);
        }
        if !quorum(&members.ring, |id| living.contains(&id)) {
            return Err(NoLeader::NoQuorum);
        }
        if leader != members.me {
            return Ok(leader);
        }
        let oldest = members.ring.members.iter().min_by_key(|m| (m.since, m.number));
        let is_oldest = oldest.is_some_and(|member| member.number == leader);
        let wait = if is_oldest { SETTLING } else { GRACE };
        let since = self.deciding.oldest_since;
        if since.is_some_and(|since| self.me.now >= since + wait) {
            Ok(leader)
        } else {
            Err(NoLeader::Waiting)
        }
    }

    /// Who answered lately, under that id: members that are up, and who is ready to join.
    fn living(&self) -> BTreeSet<NodeId> {
        let Phase::Member(members) = &self.phase else { return BTreeSet::new() };
        let up = members.known.values().filter(|known| known.up).map(|known| known.id);
        up.chain(self.ready().map(|card| card.id)).chain([self.me.state.id]).collect()
    }

    /// Who is ready to join.
    fn ready(&self) -> impl Iterator<Item = &Card> {
        let lately = |joiner: &&Joiner| self.me.now.saturating_sub(joiner.said) <= READY;
        self.deciding.joiners.values().filter(lately).map(|joiner| &joiner.card)
    }

    /// Proposes the next ring, if there is something to change.
    fn drive(&mut self, effects: &mut Vec<Effect>) {
        let Some(ring) = self.register.ring().cloned() else { return };
        let ready: Vec<&Card> = self.ready().collect();
        let Some(wish) = wish(&ring, &ready) else { return };
        let wait = self.random.random_range(RETRY.0..RETRY.1);
        let wait = wait * f64::from(1 << self.deciding.attempts.min(RETRY_DOUBLED));
        self.deciding.attempts += 1;
        self.deciding.next_attempt = self.me.now + Duration::from_secs_f64(wait);
        let sentence = format!("proposing epoch {}: {}", wish.epoch, change(&ring, &wish));
        effects.push(Effect::Log(log::Level::Info, sentence));
        let (living, mut out) = (self.living(), Vec::new());
        if let Err(why) = self.register.propose(wish, |id| living.contains(&id), &mut out) {
            effects.push(Effect::Log(log::Level::Warn, format!("the ring stays as it is: {why}")));
        }
        self.carry_out(out, effects);
    }
}

/// The next ring as the leader wishes it: who is ready comes in, and who was told to leave and owns nothing any
/// more goes. `None` when nothing is to be changed.
fn wish(ring: &Ring, ready: &[&Card]) -> Option<Ring> {
    let mut next = successor(ring);
    let owns = |number: MemberNumber| {
        let mut rows = ring.partitions.iter();
        rows.any(|partition| partition.concerns(number))
    };
    next.members.retain(|member| !member.leaving || owns(member.number));
    let first = u32::from(highest(ring)) + 1;
    let new = ready.iter().filter(|card| ring.member_by_id(card.id).is_none());
    for (number, card) in (first..=u32::from(u16::MAX)).zip(new) {
        next.members.push(Member {
            number: MemberNumber(number as u16),
            id: card.id,
            name: card.name.clone(),
            addr: card.addr,
            zone: card.zone.clone(),
            weight: 1,
            since: next.epoch,
            leaving: false,
        });
    }
    if highest(&next) < highest(ring) {
        next.highest = highest(ring);
    }
    (next.members != ring.members && !next.members.is_empty()).then_some(next)
}

/// What is different, in words.
fn change(old: &Ring, new: &Ring) -> String {
    let names = |some: &Ring, others: &Ring| {
        let some = some.members.iter().filter(|member| others.member_by_id(member.id).is_none());
        some.map(|member| member.name.clone()).collect::<Vec<_>>().join(", ")
    };
    let (come, gone) = (names(new, old), names(old, new));
    match (come.is_empty(), gone.is_empty()) {
        (true, true) => format!("epoch {}: other rows", new.epoch),
        (false, true) => format!("epoch {}: {come} joins", new.epoch),
        (true, false) => format!("epoch {}: {gone} leaves", new.epoch),
        (false, false) => format!("epoch {}: {come} joins, {gone} leaves", new.epoch),
    }
}
