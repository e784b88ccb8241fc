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

use super::register::{Output, quorum};
use super::since::Steps;
use super::{Control, Effect, Now, Phase};
use crate::ring::steps::{Limits, Newcomer, Progress, Refused, Report, Wish, advance, wish};
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
    next_told: Now,
    /// What members have reported of rows that change.
    progress: Progress,
    /// Since when rows are as they are.
    pub(super) steps: Steps,
    /// What some of this node's shards have reported, and which.
    partly: BTreeMap<Report, BTreeSet<u16>>,
    next_look: Now,
    joiners: BTreeMap<NodeId, Joiner>,
}

impl NoLeader {
    /// The same as the end of a sentence.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            NoLeader::Forked => {
                "two rings of one epoch were seen, which an operator has to look into"
            }
            NoLeader::Waiting => {
                "the oldest member that answers waits whether an older one comes back"
            }
            NoLeader::NoQuorum => "too few members answer to decide anything",
        }
    }
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
        match message {
            ControlMessage::Reports(reports) => {
                let by = self.register.ring().and_then(|ring| ring.member_by_id(from));
                let by = by.map(|member| member.number);
                let own: Vec<Report> =
                    reports.into_iter().filter(|report| Some(report.by) == by).collect();
                self.reported(&own);
            }
            ControlMessage::Change(wanted) => {
                if self.register.ring().is_some_and(|ring| ring.member_by_id(from).is_some()) {
                    self.hear_wanted(from, wanted, effects);
                }
            }
            ControlMessage::Changed(number, outcome) => self.hear_outcome(number, outcome, effects),
            ControlMessage::Lives(actors) => self.note_lives(from, actors),
            ControlMessage::RefuseLives(actors) => self.refuse_lives(from, actors, effects),
            ControlMessage::LivesRefused { refused, in_use } => {
                self.note_refused(from, &refused, &in_use);
            }
            ControlMessage::Prepare { .. }
            | ControlMessage::Promise { .. }
            | ControlMessage::Accept { .. }
            | ControlMessage::Accepted { .. }
            | ControlMessage::Refused { .. }
            | ControlMessage::Pull { .. }
            | ControlMessage::Ring(_)
            | ControlMessage::Have(_) => {
                let mut out = Vec::new();
                self.register.hear(from, message, &mut out);
                self.carry_out(out, effects);
            }
        }
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
        self.deciding.progress.keep(ring);
        self.listed(ring);
        self.deciding.steps.learnt(ring, self.me.now);
        self.deciding.partly.retain(|report, _| report.speaks_of(ring));
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
        self.wanted_decided(ring, effects);
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
        self.tell_leader(effects);
        self.see_to_asked(effects);
        self.see_to_lives(effects);
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

    /// Heartbeats say which ring each member has: a newer one is pulled, again and again, from one member at a time; of the
    /// others the register is told whenever something about them has changed.
    fn compare_rings(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Member(members) = &mut self.phase else { return };
        let (now, mut out) = (self.me.now, Vec::new());
        for (id, epoch, ring) in members.rings_to_compare() {
            self.register.heard_of(id, epoch, ring, &mut out);
        }
        let newer = members.newer_ring().and_then(|number| members.known.get(&number));
        if let Some(known) = newer.filter(|_| now >= self.deciding.next_pull) {
            self.deciding.next_pull = now + PULL;
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

    /// The next ring as the leader wishes it: who is ready comes in, with rows planned anew; or else rows take the steps
    /// that members reported to be ready for, and who was to leave and has nothing left goes; or else lives that are over
    /// are listed.
    fn wish(&self, ring: &Ring) -> Result<Option<Ring>, Refused> {
        let Phase::Member(members) = &self.phase else { return Ok(None) };
        let up = |number| number == members.me || members.known.get(&number).is_some_and(|k| k.up);
        let new = self.ready().filter(|card| ring.member_by_id(card.id).is_none());
        let wishes: Vec<Wish> = new.filter_map(|card| comes(ring, card, up)).collect();
        if !wishes.is_empty() {
            return wish(ring, &wishes).map(Some);
        }
        let next = advance(ring, &self.deciding.progress, up, Limits::default());
        Ok(next.or_else(|| self.list_more(ring)))
    }

    /// One of this node's shards says how far a row is.
    pub(super) fn reported_here(&mut self, shard: u16, report: Report) {
        if !self.register.ring().is_some_and(|ring| report.speaks_of(ring)) {
            return;
        }
        let said = self.deciding.partly.entry(report).or_default();
        said.insert(shard);
        if said.len() == usize::from(self.me.config.shards) {
            self.deciding.partly.remove(&report);
            self.deciding.next_told = self.me.now;
            self.reported(&[report]);
        }
    }

    /// This node, or another member, says how far rows are. What a leader is to know is told to whoever leads, again
    /// and again, until the row has gone on.
    fn reported(&mut self, reports: &[Report]) {
        let Some(ring) = self.register.ring() else { return };
        reports.iter().for_each(|report| self.deciding.progress.note(ring, *report));
        self.deciding.next_look = self.me.now;
    }

    /// Has this node look at once whether there is something to do about the ring.
    pub(super) fn look_now(&mut self) {
        self.deciding.next_look = self.me.now;
    }

    /// Tells the leader what this node's shards have reported.
    fn tell_leader(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Member(members) = &self.phase else { return };
        let leader = members.known.get(&members.leader()).map(|known| known.id);
        let mine = self.deciding.progress.of(members.me);
        if let Some(leader) =
            leader.filter(|_| !mine.is_empty() && self.me.now >= self.deciding.next_told)
        {
            self.deciding.next_told = self.me.now + PULL;
            let told = Output::Tell(leader, ControlMessage::Reports(mine));
            self.carry_out(vec![told], effects);
        }
    }

    /// Proposes the next ring, if there is something to change.
    fn drive(&mut self, effects: &mut Vec<Effect>) {
        let Some(ring) = self.register.ring().cloned() else { return };
        let wanted = self.wanted_ring(&ring, effects);
        let wish = match wanted.map_or_else(|| self.wish(&ring), |wanted| Ok(Some(wanted))) {
            Ok(Some(wish)) => wish,
            Ok(None) => return,
            Err(why) => {
                self.deciding.next_attempt = self.me.now + READY;
                return effects.push(Effect::Log(log::Level::Error, why.to_string()));
            }
        };
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

/// How a node comes in that is ready. One of the name and the address of a member is what became of that: its directory was
/// wiped, or is an old copy. It takes that one's place, once that one is known to be down.
fn comes(ring: &Ring, card: &Card, up: impl Fn(MemberNumber) -> bool) -> Option<Wish> {
    let new = newcomer(card);
    let same = |member: &&Member| (&member.name, member.addr) == (&card.name, card.addr);
    match ring.members.iter().filter(same).max_by_key(|member| member.number) {
        None => Some(Wish::Admit(new)),
        Some(old) if up(old.number) => None,
        Some(old) => Some(Wish::Succeed { old: old.number, new }),
    }
}

fn newcomer(card: &Card) -> Newcomer {
    Newcomer {
        id: card.id,
        name: card.name.clone(),
        addr: card.addr,
        zone: card.zone.clone(),
        weight: 1,
    }
}

/// What is different, in words.
fn change(old: &Ring, new: &Ring) -> String {
    let names = |some: &Ring, others: &Ring| {
        let some = some.members.iter().filter(|member| others.member_by_id(member.id).is_none());
        some.map(|member| member.name.clone()).collect::<Vec<_>>().join(", ")
    };
    let (come, gone) = (names(new, old), names(old, new));
    match (come.is_empty(), gone.is_empty()) {
        (true, true) if new.dead.count() > old.dead.count() => {
            let more = new.dead.count() - old.dead.count();
            format!(
                "epoch {}: {more} more {} over",
                new.epoch,
                if more == 1 { "life is" } else { "lives are" }
            )
        }
        (true, true) => format!("epoch {}: other rows", new.epoch),
        (false, true) => format!("epoch {}: {come} joins", new.epoch),
        (true, false) => format!("epoch {}: {gone} leaves", new.epoch),
        (false, false) => format!("epoch {}: {come} joins, {gone} leaves", new.epoch),
    }
}
