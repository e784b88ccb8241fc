//! How far a process had counted, found out by the one that goes on under its name.
//!
//! Invariant: above every dot of that life that any record of the log has brought, also those in hints
//! that were delivered and removed since, which no clock and no index names any more. (So whoever drops
//! records of a log must keep this number.) Not here: whether going on is allowed (`page`).

use std::collections::BTreeMap;

use super::record::Record;
use crate::causality::{Actor, Dot};
use crate::ring::Slot;

/// The highest counters of one life, by slot.
#[derive(Debug)]
pub(super) struct Minted {
    life: Option<u64>,
    highest: BTreeMap<Slot, u64>,
}

impl Minted {
    /// Nothing yet of this life.
    pub(super) fn of(life: Option<u64>) -> Self {
        Minted { life, highest: BTreeMap::new() }
    }

    /// Takes in what a record says.
    pub(super) fn note(&mut self, record: &Record) {
        if self.life.is_none() {
            return;
        }
        match record {
            Record::Entry { slot, dots, .. } => self.dots(*slot, dots.iter().copied()),
            Record::Clock { slot, clock } | Record::Mark { slot, mark: clock } => {
                let highest = |actor: Actor| Dot::new(actor, clock.highest(actor));
                self.dots(*slot, clock.rows().map(|(actor, _)| highest(actor)));
            }
            Record::Hint { slot, delta, .. } => self.dots(*slot, delta.dots()),
            Record::HintDone { .. }
            | Record::Recovering { .. }
            | Record::Dead { .. }
            | Record::Refused { .. }
            | Record::StartOver { .. } => {}
        }
    }

    fn dots(&mut self, slot: Slot, dots: impl Iterator<Item = Dot>) {
        for dot in dots.filter(|dot| Some(dot.actor.life()) == self.life) {
            let highest = self.highest.entry(slot).or_default();
            *highest = dot.counter.max(*highest);
        }
    }

    /// What is known of a life: nothing unless it is the one that was asked for.
    pub(super) fn by(&self, life: u64) -> BTreeMap<Slot, u64> {
        if self.life == Some(life) { self.highest.clone() } else { BTreeMap::new() }
    }
}
