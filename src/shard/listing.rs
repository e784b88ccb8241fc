//! Which lives are over: what a shard sees of them, and whether it can do without one.
//!
//! Everybody's clocks name the actors whose dots they hold. Now and then a shard tells its node which of them
//! the ring does not list ([`Effect::Seen`]); whether a life is over only its own member can say, or nobody
//! any more once that member is gone. Before the ring lists one, each shard is asked twice or more
//! ([`Event::Refuse`](super::Event::Refuse)), until it says that the life may be listed:
//!
//! ```text
//!   Refuse actor ─▶ it writes as that actor itself            Mine
//!                   from now on it takes in nothing of it     NotYet, until that is durable
//!                   and has delivered all hints of it         MayList
//! ```
//!
//! Invariant: a shard that said `MayList` says so for ever, whatever comes in and however often it starts, as long as
//! its disk does not go back: nothing of the actor is taken in any more, be it as a hint. Not here: what
//! follows once it is listed (`closing`), and who asks (`control::closing`).

use std::collections::BTreeSet;
use std::time::Duration;

use super::sync::leading_slot;
use super::{Effect, Shard};
use crate::causality::{Actor, Dot};
use crate::ring::Slot;
use crate::ring::steps::Verdict;
use crate::rules::{Rule, holds};
use crate::storage::Disk;

/// Clocks looked through at a time.
const SLOTS_PER_LOOK: usize = 1_024;
/// Actors told of at a time. Once some of them are listed there is room for more.
const SEEN_MAX: usize = 1_024;

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
        for (count, slot) in self.store.slots().skip_while(|slot| *slot < from).enumerate() {
            if count == SLOTS_PER_LOOK {
                self.listing.at = Some(slot);
                return;
            }
            let actors = self.store.clock(slot).rows().map(|(actor, _)| actor);
            let others = actors.filter(|actor| *actor != own && !dead.contains(*actor));
            self.listing.seen.extend(others);
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

    /// The ring is going to list this actor as dead: takes in nothing of it any more, unless it is its own.
    pub(super) fn on_refuse(&mut self, actor: Actor) {
        let known = self.store.refuses(actor) || self.store.dead().contains(actor);
        let own = self.actor() == Some(actor);
        if !known && (!own || !holds(Rule::OwnLifeSpared)) {
            self.store.stage_refused(actor);
            self.staged();
            self.closing.refused.insert(actor, self.store.open_batch());
        }
        self.effects.push(Effect::Refused(actor, self.verdict(actor)));
    }

    /// Whether the ring may list an actor as dead, as far as this shard goes.
    fn verdict(&self, actor: Actor) -> Verdict {
        let own = self.actor();
        if own == Some(actor) && holds(Rule::OwnLifeSpared) {
            return Verdict::Mine;
        }
        let staged = self.closing.refused.get(&actor);
        let durable = staged.is_none_or(|batch| *batch <= self.store.synced());
        let refused = self.store.refuses(actor) && durable;
        let of_it = |dot: Dot| dot.actor == actor;
        let mut hints = self.store.hints();
        let hinted = hints.any(|(_, hint)| hint.delta.dots().any(of_it));
        let without = self.store.poisoned().is_none()
            && own.is_some()
            && (refused || self.store.dead().contains(actor))
            && !(hinted && holds(Rule::NoHintsListed));
        if without { Verdict::MayList } else { Verdict::NotYet }
    }
}
