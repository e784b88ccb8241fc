//! Which lives are over: what a shard sees of them, and whether it can do without one.
//!
//! Everybody's clocks name the actors whose dots they hold, and contexts that are left of keys name others. Now and
//! then a shard tells its node which of them the ring does not list ([`Effect::Seen`]); whether a life is over only its own member can say, or nobody
//! any more once that member is gone. Before the ring lists one, each shard is asked twice or more
//! ([`Event::Refuse`](super::Event::Refuse)), until it says that the life may be listed. It says so once all is durable that
//! the answer rests on: the refusal, and the end of the last hint.
//!
//! ```text
//!   Refuse actors ─▶ it writes as that actor itself                          Mine
//!                    it holds a hint of it, which is still to be delivered    NotYet
//!                    neither: from now on it takes in no write of it          MayList
//! ```
//!
//! Invariant: a shard that said `MayList` says so for ever, whatever comes in and however often it starts, as long as
//! its disk does not go back: no write of the actor is taken in any more, as a copy or as a hint. (What others held
//! already comes in until it is listed, by their hints, and for ever by slot sync.) Not here: what follows once it
//! is listed (`closing`), and who asks (`control::closing`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::sync::leading_slot;
use super::unsynced::Due;
use super::{Effect, Shard};
use crate::causality::{Actor, DotSet};
use crate::ring::Slot;
use crate::ring::steps::Verdict;
use crate::rules::{Rule, holds};
use crate::storage::Disk;

/// Clocks and contexts looked through at a time, and those of one slot.
const SETS_PER_LOOK: usize = 1_024;
/// Actors told of at a time. Once some of them are listed there is room for more.
const SEEN_MAX: usize = 4_096;

/// The walk over all clocks.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// When it goes on. `None` before the first view.
    next: Option<Duration>,
    /// The slot where it goes on.
    at: Option<Slot>,
    /// What this walk saw so far.
    seen: BTreeSet<Actor>,
    /// What the walk before saw, as it was told.
    told: BTreeSet<Actor>,
    /// Answers that wait until they are durable.
    answers: BTreeMap<u64, Vec<(Actor, Verdict)>>,
    next_answer: u64,
}

impl Listing {
    /// When the walk goes on.
    pub(super) fn due(&self) -> Option<Duration> {
        self.next
    }
}

impl<D: Disk> Shard<D> {
    /// Looks through some more clocks for actors that the ring does not list.
    pub(super) fn look_for_lives(&mut self) {
        let now = self.now.elapsed;
        if self.listing.next.is_some_and(|next| next > now) {
            return;
        }
        self.listing.next = Some(now + self.config.lives_interval);
        let (Some(own), dead) = (self.actor(), self.store.dead().clone()) else { return };
        let from = self.listing.at.take().unwrap_or(leading_slot(0));
        let others = |set: &DotSet| -> Vec<Actor> {
            let actors = set.rows().map(|(actor, _)| actor);
            actors.filter(|actor| *actor != own && !dead.contains(*actor)).collect()
        };
        let mut looked = 0;
        for slot in self.store.slots().skip_while(|slot| *slot < from) {
            if looked >= SETS_PER_LOOK {
                self.listing.at = Some(slot);
                return;
            }
            looked += 1;
            self.listing.seen.extend(others(self.store.clock(slot)));
            // What is left of a deleted key may name dots that no clock will ever have.
            for key in self.tally.residues_of(slot) {
                looked += 1;
                let entry = self.store.entry(slot, &key);
                self.listing.seen.extend(entry.iter().flat_map(|entry| others(entry.residual())));
            }
        }
        let mut seen = std::mem::take(&mut self.listing.seen);
        while seen.len() > SEEN_MAX {
            seen.pop_last();
        }
        if seen != self.listing.told {
            self.effects.push(Effect::Seen(seen.iter().copied().collect()));
            self.listing.told = seen;
        }
        self.fold_alone();
    }

    /// The ring is to list these actors as dead: takes in no write of them any more, unless one is its own.
    pub(super) fn on_refuse(&mut self, actors: Vec<Actor>) {
        if self.store.poisoned().is_some() {
            // Nothing will be durable in this life.
            let not_yet = actors.into_iter().map(|actor| (actor, Verdict::NotYet));
            return self.effects.push(Effect::Refused(not_yet.collect()));
        }
        let spared = |actor: Actor| self.actor() == Some(actor) && holds(Rule::OwnLifeSpared);
        let known = |actor| self.store.refuses(actor) || self.store.dead().contains(actor);
        let new = actors.iter().copied().filter(|actor| !known(*actor) && !spared(*actor));
        for actor in new.collect::<Vec<_>>() {
            self.store.stage_refused(actor);
            self.staged();
        }
        let verdicts = actors.into_iter().map(|actor| (actor, self.verdict(actor))).collect();
        self.listing.next_answer += 1;
        let id = self.listing.next_answer;
        self.listing.answers.insert(id, verdicts);
        self.when_synced(Due::Refused(id));
    }

    /// What was said to a question is durable, or never will be.
    pub(super) fn answer_refused(&mut self, id: u64, durable: bool) {
        if let Some(verdicts) = self.listing.answers.remove(&id)
            && durable
        {
            self.effects.push(Effect::Refused(verdicts));
        }
    }

    /// Whether the ring may list an actor as dead, as far as this shard goes, once all that is staged is durable.
    fn verdict(&self, actor: Actor) -> Verdict {
        let own = self.actor();
        if own == Some(actor) && holds(Rule::OwnLifeSpared) {
            return Verdict::Mine;
        }
        let refused = self.store.refuses(actor) || self.store.dead().contains(actor);
        let hinted = self.hints.any_of(actor) && holds(Rule::NoHintsListed);
        if own.is_some() && refused && !hinted { Verdict::MayList } else { Verdict::NotYet }
    }
}
