//! Which lives are over, and when the ring may list them as dead: the member's part, and the leader's.
//!
//! ```text
//!   shards ─ lives that clocks name ─▶ member ─ Lives ─▶ leader
//!                                                          │ of each: is it over?
//!      its own member, if the ring still has it  ◀─ RefuseLives
//!             in use: left alone for a while        ─▶ LivesRefused
//!                                                          │ over: can all do without it?
//!                       every other member       ◀─ RefuseLives
//!                       once that is durable        ─▶ LivesRefused
//!                                                          ▼ all said so
//!                                                   the next ring lists it
//! ```
//!
//! Everything is told and asked again until it is done, so that a message or a leader may be lost at any time. What
//! a member has said stays true: its log says so. Who is down is waited for; a member that is gone for good is
//! taken from the ring by a person's word, and its lives are over with that.
//!
//! Invariant: an actor is listed only after all shards of all members of the ring in force said that it may be. Not
//! here: what a shard does before it says so (`shard::listing`), and after (`shard::closing`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use super::register::Output;
use super::{Control, Effect, Now, Phase};
use crate::causality::Actor;
use crate::ring::steps::{Verdict, list_dead};
use crate::ring::{MemberNumber, NodeId, Ring};
use crate::wire::control::ControlMessage;

/// How often a leader is told of lives that it has not got listed.
const TOLD_AGAIN: Duration = Duration::from_secs(300);
/// How often members are asked that have not answered.
const ASKED_AGAIN: Duration = Duration::from_secs(2);
/// For how long a life that was in use is not asked about again.
const IN_USE: Duration = Duration::from_secs(600);
/// Lives asked about at a time.
const AT_A_TIME: usize = 256;
/// Lives that a leader keeps in mind.
const LIVES_MAX: usize = 16_384;

/// What a node knows of lives that the ring does not list.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Those that the clocks of each of its shards name.
    seen: BTreeMap<u16, Vec<Actor>>,
    /// Which leader, in which of its lives, was told of them last, and when it is told again.
    told: Option<(MemberNumber, u64)>,
    next_told: Now,
    /// Those that it was asked to refuse, by whom, and what its shards have said so far.
    asked: BTreeMap<Actor, (NodeId, BTreeMap<u16, Verdict>)>,
    /// What it has to answer.
    answers: BTreeMap<NodeId, Answers>,
    /// As the leader: those that it was told of.
    lives: BTreeMap<Actor, Life>,
    next_ask: Now,
    /// The last that was asked about when there were too many for one time.
    asked_upto: Option<Actor>,
}

/// What a member says of lives that it is to refuse.
#[derive(Debug, Default)]
struct Answers {
    refused: Vec<Actor>,
    in_use: Vec<Actor>,
}

/// What a leader knows of a life.
#[derive(Debug, Default)]
struct Life {
    /// It is in use, as far as is known until then.
    in_use: Option<Now>,
    /// Members that can do without it, for ever.
    refused_by: BTreeSet<MemberNumber>,
}

impl Control {
    // ---- as a member ---------------------------------------------------------------------------

    /// A shard of this node sees these lives.
    pub(super) fn seen_here(&mut self, shard: u16, actors: Vec<Actor>) {
        self.closing.seen.insert(shard, actors);
        self.closing.next_told = self.me.now;
    }

    /// A leader asks for these lives to be refused.
    pub(super) fn refuse_lives(
        &mut self,
        from: NodeId,
        actors: Vec<Actor>,
        effects: &mut Vec<Effect>,
    ) {
        if self.number_of(from).is_none() {
            return;
        }
        if self.closing.asked.len() > LIVES_MAX {
            self.closing.asked.clear();
        }
        let actors: Vec<Actor> = actors.into_iter().take(AT_A_TIME).collect();
        for actor in &actors {
            self.closing.asked.insert(*actor, (from, BTreeMap::new()));
        }
        effects.push(Effect::Refuse(actors));
    }

    /// A shard of this node says whether lives may be listed.
    pub(super) fn refused_here(&mut self, shard: u16, said: &[(Actor, Verdict)]) {
        said.iter().for_each(|(actor, verdict)| self.verdict_here(shard, *actor, *verdict));
    }

    fn verdict_here(&mut self, shard: u16, actor: Actor, verdict: Verdict) {
        let Some((from, said)) = self.closing.asked.get_mut(&actor) else { return };
        said.insert(shard, verdict);
        let shards = usize::from(self.me.config.shards);
        let all = |verdict: Verdict| said.values().filter(|said| **said == verdict).count();
        let (in_use, refused) = (all(Verdict::Mine) > 0, all(Verdict::MayList) == shards);
        if !in_use && !refused {
            // It is asked again.
            return;
        }
        let answers = self.closing.answers.entry(*from).or_default();
        if in_use { &mut answers.in_use } else { &mut answers.refused }.push(actor);
        self.closing.asked.remove(&actor);
    }

    /// Tells whoever leads what this node's shards see, and answers what was asked.
    fn speak_of_lives(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Member(members) = &self.phase else { return };
        let (leader, ring) = (members.leader(), &members.ring);
        let mut told = Vec::new();
        for (to, Answers { refused, in_use }) in std::mem::take(&mut self.closing.answers) {
            told.push((to, ControlMessage::LivesRefused { refused, in_use }));
        }
        let again = self.me.now >= self.closing.next_told;
        let boot = members.known.get(&leader).map_or(0, |known| known.boot);
        if again || self.closing.told != Some((leader, boot)) {
            self.closing.told = Some((leader, boot));
            self.closing.next_told = self.me.now + TOLD_AGAIN;
            let seen: BTreeSet<Actor> = self.closing.seen.values().flatten().copied().collect();
            let seen: Vec<Actor> =
                seen.into_iter().filter(|actor| !ring.dead.contains(*actor)).collect();
            let to = ring.member(leader).map(|member| member.id);
            if let Some(to) = to.filter(|_| !seen.is_empty()) {
                told.push((to, ControlMessage::Lives(seen)));
            }
        }
        self.tell_of_lives(told, effects);
    }

    /// Says something to members, of whom this node may be one.
    fn tell_of_lives(&mut self, told: Vec<(NodeId, ControlMessage)>, effects: &mut Vec<Effect>) {
        let me = self.me.state.id;
        let (own, others): (Vec<_>, Vec<_>) = told.into_iter().partition(|(to, _)| *to == me);
        own.into_iter().for_each(|(_, message)| self.told(me, message, effects));
        let others = others.into_iter().map(|(to, message)| Output::Tell(to, message));
        self.carry_out(others.collect(), effects);
    }

    // ---- as the leader --------------------------------------------------------------------------

    /// The number of a member; `None` when that is none of this ring, or this node is none.
    fn number_of(&self, id: NodeId) -> Option<MemberNumber> {
        let Phase::Member(members) = &self.phase else { return None };
        members.ring.member_by_id(id).map(|member| member.number)
    }

    /// A member's clocks name these.
    pub(super) fn note_lives(&mut self, from: NodeId, actors: Vec<Actor>) {
        if self.number_of(from).is_none() {
            return;
        }
        let Phase::Member(members) = &self.phase else { return };
        let listed = &members.ring.dead;
        for actor in actors {
            let lives = &mut self.closing.lives;
            if listed.contains(actor) || lives.contains_key(&actor) || lives.len() == LIVES_MAX {
                continue;
            }
            // Where somebody has a new life, another of it may be over.
            let same = |other: &Actor| other.member() == actor.member();
            let others = lives.iter_mut().filter(|(other, _)| same(other));
            others.for_each(|(_, life)| life.in_use = None);
            lives.insert(actor, Life::default());
            self.closing.next_ask = self.me.now;
        }
    }

    /// A member can do without some, and lives others.
    pub(super) fn note_refused(&mut self, from: NodeId, refused: &[Actor], in_use: &[Actor]) {
        let Some(by) = self.number_of(from) else { return };
        for actor in refused {
            let Some(life) = self.closing.lives.get_mut(actor) else { continue };
            if life.refused_by.insert(by) && by.0 == actor.member() {
                // It is over for good: now the others are asked.
                life.in_use = None;
                self.closing.next_ask = self.me.now;
            }
        }
        for actor in in_use {
            if let Some(life) = self.closing.lives.get_mut(actor) {
                life.in_use = Some(self.me.now + IN_USE);
            }
        }
    }

    /// Asks members to refuse what may be over, if all are there: as long as one is not, nothing can be listed.
    fn ask_about_lives(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Member(members) = &self.phase else { return };
        if self.me.now < self.closing.next_ask {
            return;
        }
        self.closing.next_ask = self.me.now + ASKED_AGAIN;
        let (me, ring, now) = (members.me, &members.ring, self.me.now);
        let open: Vec<(Actor, &Life)> = self.lives_in_turn(ring, now).collect();
        let up = |number| number == me || members.known.get(&number).is_some_and(|it| it.up);
        if open.is_empty() || !ring.members.iter().all(|member| up(member.number)) {
            return;
        }
        let (mut asked, mut upto) = (Vec::new(), None);
        for member in &ring.members {
            let asks = |(actor, life): &&(Actor, &Life)| life.asks(*actor, member.number, ring);
            let some = open.iter().filter(asks).map(|(actor, _)| *actor);
            let some: Vec<Actor> = some.take(AT_A_TIME).collect();
            if some.len() == AT_A_TIME {
                upto = some.last().copied();
            }
            if !some.is_empty() {
                asked.push((member.id, ControlMessage::RefuseLives(some)));
            }
        }
        self.closing.asked_upto = upto;
        self.tell_of_lives(asked, effects);
    }

    /// Lives that may be over, beginning after those that were asked about last, so that none waits for others for ever.
    fn lives_in_turn<'a>(
        &'a self,
        ring: &'a Ring,
        now: Now,
    ) -> impl Iterator<Item = (Actor, &'a Life)> {
        let lives = &self.closing.lives;
        let upto = self.closing.asked_upto.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.closing.asked_upto.into_iter().flat_map(|upto| lives.range(..=upto));
        let all = lives.range((upto, Bound::Unbounded)).chain(rest);
        let open = move |(actor, life): &(&Actor, &Life)| {
            is_gone(ring, MemberNumber(actor.member()))
                || life.in_use.is_none_or(|until| until <= now)
        };
        all.filter(open).map(|(actor, life)| (*actor, life))
    }

    /// What there is to do about lives.
    pub(super) fn see_to_lives(&mut self, effects: &mut Vec<Effect>) {
        self.speak_of_lives(effects);
        let Phase::Member(members) = &self.phase else { return };
        if self.leading() == Ok(members.me) {
            self.ask_about_lives(effects);
        }
    }

    /// The ring after this one, if it can list more of the dead.
    pub(super) fn list_more(&self, ring: &Ring) -> Option<Ring> {
        let all = |life: &Life| {
            ring.members.iter().all(|member| life.refused_by.contains(&member.number))
        };
        let over = self.closing.lives.iter().filter(|(_, life)| all(life));
        let over: Vec<Actor> = over.map(|(actor, _)| *actor).collect();
        if over.is_empty() { None } else { list_dead(ring, &over) }
    }

    /// A ring is in force.
    pub(super) fn listed(&mut self, ring: &Ring) {
        self.closing.lives.retain(|actor, _| !ring.dead.contains(*actor));
        self.closing.asked.retain(|actor, _| !ring.dead.contains(*actor));
    }

    /// How many lives this node's clocks name that are over, and that the ring does not list: at least.
    pub(super) fn unlisted(&self) -> usize {
        let Phase::Member(members) = &self.phase else { return 0 };
        let mut by_member: BTreeMap<MemberNumber, BTreeSet<Actor>> = BTreeMap::new();
        for actor in self.closing.seen.values().flatten() {
            if !members.ring.dead.contains(*actor) {
                by_member.entry(MemberNumber(actor.member())).or_default().insert(*actor);
            }
        }
        // Each of a member's shards may write under a name of its own, and leaves out only that.
        let shards = |number: &MemberNumber| {
            let known = members.known.get(number).and_then(|known| known.essentials);
            known.map_or(1, |essentials| usize::from(essentials.shards))
        };
        let over = |(number, lives): (&MemberNumber, &BTreeSet<Actor>)| {
            let in_use = if *number == members.me {
                usize::from(self.me.config.shards) - 1
            } else if is_gone(&members.ring, *number) {
                0
            } else {
                shards(number)
            };
            lives.len().saturating_sub(in_use)
        };
        by_member.iter().map(over).sum()
    }

    /// Who has not confirmed, of lives that are over, as far as this node was told: only a leader is.
    pub(super) fn unconfirmed(&self) -> BTreeSet<MemberNumber> {
        let Phase::Member(members) = &self.phase else { return BTreeSet::new() };
        let ring = &members.ring;
        let over = |(actor, life): &(&Actor, &Life)| {
            let own = MemberNumber(actor.member());
            is_gone(ring, own) || life.refused_by.contains(&own)
        };
        let all = ring.members.iter().map(|member| member.number);
        let over: Vec<&Life> =
            self.closing.lives.iter().filter(over).map(|(_, life)| life).collect();
        all.filter(|number| over.iter().any(|life| !life.refused_by.contains(number))).collect()
    }
}

/// Whether a ring or one before it had a member that is none any more. Who has a number that none of them gave may be
/// a member of a ring that is not known here yet.
fn is_gone(ring: &Ring, number: MemberNumber) -> bool {
    let given = ring.members.last().map_or(0, |last| last.number.0).max(ring.highest);
    ring.member(number).is_none() && number.0 <= given
}

impl Life {
    /// Whether a member is to be asked to refuse it: its own first.
    fn asks(&self, actor: Actor, member: MemberNumber, ring: &Ring) -> bool {
        let own = MemberNumber(actor.member());
        let over = own == member || is_gone(ring, own) || self.refused_by.contains(&own);
        over && !self.refused_by.contains(&member)
    }
}
