//! Changes of the ring that people ask a node for: from there to the leader, and the outcome back.
//!
//! Whoever is asked tells the leader, again and again until it hears the outcome or the asker's patience is over. The leader
//! grants one wish after the other, before anything else that it drives, and remembers outcomes for a while, so that
//! being told twice grants once. A leader that dies takes its list with it: the next one is told. What was decided already
//! changes nothing when it is wished again, and the answer says so.
//!
//! Invariant: every asker is answered exactly once; "decided" is said of a ring that is on this node's synced disk; both
//! lists are bounded. Not here: what a change comes to (`planning`), and how it is decided (`register`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::RngExt;

use super::event::{Ask, Outcome};
use super::planning::{basis, wishes};
use super::register::Output;
use super::{Control, Effect, Now, Phase};
use crate::ring::steps::{Refused, Wish, wish};
use crate::ring::{Epoch, NodeId, Ring};
use crate::wire::control::{ControlMessage, Wanted};
use crate::wire::{Changed, Proposed};

/// How long somebody who asks is kept waiting.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a leader is told that has not said what came of it.
const AGAIN: Duration = Duration::from_secs(1);
/// Changes that may wait here, and as many again at the leader.
const WAITING: usize = 64;
/// Outcomes that a leader remembers.
const REMEMBERED: usize = 256;

/// What a leader says of a change.
type Verdict = Result<Changed, String>;

/// Changes under way.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Those that this node was asked for, by its own number for them.
    asked: BTreeMap<u64, Asked>,
    /// Those that this node is to drive, in the order in which it was told.
    wanted: VecDeque<Driven>,
    /// Who waits for a forced epoch to be on the disk.
    forced: Vec<(u64, Epoch)>,
    /// What came of those before.
    ended: VecDeque<(NodeId, u64, Verdict)>,
}

#[derive(Debug)]
struct Asked {
    /// Who waits.
    waits: u64,
    wanted: Wanted,
    until: Now,
    next_told: Now,
}

#[derive(Debug)]
struct Driven {
    from: NodeId,
    wanted: Wanted,
    /// The hash of the ring that it would make, once that was proposed.
    proposed: Option<u64>,
    until: Now,
}

impl Control {
    /// Somebody asks this node for something.
    pub(super) fn asked(&mut self, waits: u64, ask: Ask, effects: &mut Vec<Effect>) {
        let begun = match (&self.phase, ask) {
            (Phase::Member(_), Ask::Change { basis, changes }) => {
                self.take_change(waits, basis, changes, effects)
            }
            (Phase::Member(_), Ask::Force { left }) => {
                self.force(&left, effects).map(|epoch| self.asking.forced.push((waits, epoch)))
            }
            (Phase::New | Phase::Booting | Phase::Founding(_) | Phase::Left(_), _) => {
                Err("this node is in no cluster, so nothing was changed: ask one that is"
                    .to_owned())
            }
        };
        if let Err(why) = begun {
            effects.push(Effect::Answer(waits, Outcome::Refused(why)));
        }
    }

    /// Takes a change on, if it can be one.
    fn take_change(
        &mut self,
        waits: u64,
        basis: String,
        changes: Vec<Proposed>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let ring = self.register.ring().ok_or("there is no ring yet")?;
        self.reasonable(&wishes(ring, &changes, true)?)?;
        if self.asking.asked.len() >= WAITING {
            return Err("too many changes are asked for at once; ask again later".to_owned());
        }
        let number = self.random.random();
        let (until, next_told) = (self.me.now + PATIENCE, self.me.now);
        let wanted = Wanted { number, basis, changes };
        self.asking.asked.insert(number, Asked { waits, wanted, until, next_told });
        self.see_to_asked(effects);
        Ok(())
    }

    /// Tells the leader what this node was asked for, and those who asked long enough ago that nothing is known.
    pub(super) fn see_to_asked(&mut self, effects: &mut Vec<Effect>) {
        let now = self.me.now;
        let over: Vec<u64> = self
            .asking
            .asked
            .iter()
            .filter(|(_, asked)| now >= asked.until)
            .map(|(at, _)| *at)
            .collect();
        for number in over {
            let why = self.undecided();
            self.answer(number, Outcome::Undecided(why), effects);
        }
        let Phase::Member(members) = &self.phase else { return };
        let leader = members.leader();
        let Some(leader) = members.ring.member(leader).map(|member| member.id) else { return };
        let due = self.asking.asked.values_mut().filter(|asked| now >= asked.next_told);
        let told: Vec<Wanted> = due
            .map(|asked| {
                asked.next_told = now + AGAIN;
                asked.wanted.clone()
            })
            .collect();
        for wanted in told {
            if leader == self.me.state.id {
                self.hear_wanted(leader, wanted, effects);
            } else {
                let message = ControlMessage::Change(wanted);
                self.carry_out(vec![Output::Tell(leader, message)], effects);
            }
        }
    }

    /// Why a change is not decided yet, and what may come of it.
    fn undecided(&self) -> String {
        let why = match self.leading() {
            Ok(_) => "it was not decided in time".to_owned(),
            Err(why) => format!("nobody leads: {}", why.sentence()),
        };
        format!("it is not known yet what comes of it, for {why}")
    }

    /// A member, perhaps this one, wants a change decided.
    pub(super) fn hear_wanted(&mut self, from: NodeId, wanted: Wanted, effects: &mut Vec<Effect>) {
        let ended = self
            .asking
            .ended
            .iter()
            .find(|(by, number, _)| (*by, *number) == (from, wanted.number));
        if let Some((_, number, outcome)) = ended.cloned() {
            return self.tell_outcome(from, number, outcome, effects);
        }
        let waits = self
            .asking
            .wanted
            .iter()
            .any(|one| (one.from, one.wanted.number) == (from, wanted.number));
        if !waits && self.asking.wanted.len() < WAITING {
            let until = self.me.now + PATIENCE;
            self.asking.wanted.push_back(Driven { from, wanted, proposed: None, until });
            self.look_now();
        }
    }

    /// The leader says what came of a change.
    pub(super) fn hear_outcome(
        &mut self,
        number: u64,
        outcome: Verdict,
        effects: &mut Vec<Effect>,
    ) {
        // The ring itself may be on its way yet: it is said once it is here.
        let here = |epoch| self.register.ring().is_some_and(|ring| ring.epoch.0 >= epoch);
        if outcome.as_ref().is_ok_and(|changed| !here(changed.epoch)) {
            return;
        }
        let outcome = match outcome {
            Ok(changed) => Outcome::Decided(changed),
            Err(why) => Outcome::Refused(why),
        };
        self.answer(number, outcome, effects);
    }

    fn answer(&mut self, number: u64, outcome: Outcome, effects: &mut Vec<Effect>) {
        if let Some(asked) = self.asking.asked.remove(&number) {
            effects.push(Effect::Answer(asked.waits, outcome));
        }
    }

    fn tell_outcome(
        &mut self,
        to: NodeId,
        number: u64,
        outcome: Verdict,
        effects: &mut Vec<Effect>,
    ) {
        if to == self.me.state.id {
            self.hear_outcome(number, outcome, effects);
        } else {
            let message = ControlMessage::Changed(number, outcome);
            self.carry_out(vec![Output::Tell(to, message)], effects);
        }
    }

    /// The next ring with the first change granted that is wanted, as the leader proposes it. Changes that cannot be
    /// granted, or that change nothing, end here.
    pub(super) fn wanted_ring(&mut self, ring: &Ring, effects: &mut Vec<Effect>) -> Option<Ring> {
        while let Some(first) = self.asking.wanted.front() {
            if self.me.now >= first.until {
                self.asking.wanted.pop_front();
                continue;
            }
            match grant(ring, &first.wanted) {
                Ok(Some(next)) => {
                    let hash = next.hash();
                    self.asking.wanted[0].proposed = Some(hash);
                    return Some(next);
                }
                Ok(None) => self.end_first(Ok(changed(ring, false)), effects),
                Err(why) => self.end_first(Err(why), effects),
            }
        }
        None
    }

    /// A ring is in force: perhaps the one that was wanted, or forced.
    pub(super) fn wanted_decided(&mut self, ring: &Ring, effects: &mut Vec<Effect>) {
        for (waits, epoch) in std::mem::take(&mut self.asking.forced) {
            if epoch <= ring.epoch {
                effects.push(Effect::Answer(waits, Outcome::Decided(changed(ring, true))));
            } else {
                self.asking.forced.push((waits, epoch));
            }
        }
        let first = self.asking.wanted.front();
        if first.is_some_and(|first| first.proposed == Some(ring.hash())) {
            self.end_first(Ok(changed(ring, true)), effects);
        }
    }

    fn end_first(&mut self, outcome: Verdict, effects: &mut Vec<Effect>) {
        let Some(first) = self.asking.wanted.pop_front() else { return };
        if self.asking.ended.len() == REMEMBERED {
            self.asking.ended.pop_front();
        }
        self.asking.ended.push_back((first.from, first.wanted.number, outcome.clone()));
        self.tell_outcome(first.from, first.wanted.number, outcome, effects);
    }

    /// Goes on with some members alone, without a quorum.
    fn force(&mut self, left: &[String], effects: &mut Vec<Effect>) -> Result<Epoch, String> {
        let Some(ring) = self.register.ring().cloned() else {
            return Err("there is no ring yet: nothing can be forced".to_owned());
        };
        let find = |called: &String| super::planning::find(&ring, called);
        let left = left.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let left = ring.members.iter().filter(|member| left.contains(&member.number));
        let left = left.map(|member| member.id).collect();
        let mut out = Vec::new();
        let forced = self.register.force(&left, &mut out);
        self.carry_out(out, effects);
        forced.map_err(|why| format!("nothing was forced: {why}"))
    }

    /// Lost is only who does not answer.
    fn reasonable(&self, wishes: &[Wish]) -> Result<(), String> {
        let Phase::Member(members) = &self.phase else { return Ok(()) };
        for wish in wishes {
            let Wish::Lost(number) = wish else { continue };
            let up =
                *number == members.me || members.known.get(number).is_some_and(|known| known.up);
            if up {
                let name = members.ring.member(*number).map_or("?", |member| member.name.as_str());
                return Err(format!(
                    "{name} answers, so its copies are not lost; nothing was changed: let it leave without --lost, or stop \
                     it for good first"
                ));
            }
        }
        Ok(())
    }
}

/// The ring after this one with a change granted; `None` when that changes nothing.
fn grant(ring: &Ring, wanted: &Wanted) -> Result<Option<Ring>, String> {
    let now = basis(ring);
    if !wanted.basis.is_empty() && wanted.basis != now {
        return Err(format!(
            "the ring has changed since that was planned (the plan was {}, it would be {now} now), perhaps by this very \
             request, if it was made before; nothing else was changed: look at the plan again",
            wanted.basis
        ));
    }
    let next = wish(ring, &wishes(ring, &wanted.changes, true)?)
        .map_err(|why: Refused| why.to_string())?;
    let same =
        Ring { epoch: ring.epoch, previous: ring.previous, highest: ring.highest, ..next.clone() }
            == *ring;
    Ok((!same).then_some(next))
}

/// What came of a change, in figures.
fn changed(ring: &Ring, changed: bool) -> Changed {
    let moves =
        ring.partitions.iter().filter(|at| at.change.is_some() || at.goal.is_some()).count();
    Changed { epoch: ring.epoch.0, changed, partitions: moves as u32 }
}
