//! Counts who has a write on its disk.
//!
//! Invariant: a node counts once, whatever it resends; a strict request counts owners only.
//! Not here: waiting, timers, whom to ask.

use std::collections::BTreeSet;

use crate::ring::MemberNumber;
use crate::rules::{Rule, holds};

/// The acknowledgements of one write.
#[derive(Debug, Clone)]
pub(super) struct Acks {
    needed: usize,
    strict: bool,
    owners: BTreeSet<MemberNumber>,
    fallbacks: BTreeSet<MemberNumber>,
    /// What was counted although it should not have been. Stays 0, but for a canary.
    doubled: usize,
}

impl Acks {
    /// Nobody has it yet; `needed` must.
    pub(super) fn new(needed: usize, strict: bool) -> Self {
        let (owners, fallbacks) = (BTreeSet::new(), BTreeSet::new());
        Acks { needed, strict, owners, fallbacks, doubled: 0 }
    }

    /// An owner has it on its synced disk.
    pub(super) fn owner(&mut self, member: MemberNumber) {
        if !self.owners.insert(member) && !holds(Rule::CountOnce) {
            self.doubled += 1;
        }
    }

    /// A fallback keeps it on its synced disk.
    pub(super) fn fallback(&mut self, member: MemberNumber) {
        self.fallbacks.insert(member);
    }

    /// The row has changed: others count now, and perhaps another number of them.
    pub(super) fn change_row(&mut self, row: &[MemberNumber], needed: usize) {
        self.owners.retain(|owner| row.contains(owner));
        self.needed = needed;
    }

    /// How many owners have it.
    pub(super) fn owners(&self) -> u8 {
        small(self.owners.len() + self.doubled)
    }

    /// How many fallbacks keep it.
    pub(super) fn fallbacks(&self) -> u8 {
        small(self.fallbacks.len())
    }

    /// How many must have it.
    pub(super) fn needed(&self) -> u8 {
        small(self.needed)
    }

    /// Whether as many as asked for have it.
    pub(super) fn met(&self) -> bool {
        let fallbacks_count = !self.strict || !holds(Rule::StrictOwners);
        let fallbacks = if fallbacks_count { self.fallbacks.len() } else { 0 };
        self.owners.len() + self.doubled + fallbacks >= self.needed
    }
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::without;

    const A: MemberNumber = MemberNumber(1);
    const B: MemberNumber = MemberNumber(2);
    const F: MemberNumber = MemberNumber(9);

    #[test]
    fn a_node_counts_once() {
        let twice = || {
            let mut acks = Acks::new(2, false);
            acks.owner(A);
            acks.owner(A);
            acks.met()
        };
        assert!(!twice());
        assert!(without(Rule::CountOnce, twice), "the rule is what keeps it from counting");
    }

    #[test]
    fn strict_counts_owners_only() {
        let with = |strict| {
            let mut acks = Acks::new(2, strict);
            acks.owner(A);
            acks.fallback(F);
            acks.met()
        };
        assert!(with(false));
        assert!(!with(true));
        assert!(without(Rule::StrictOwners, || with(true)));
        let mut acks = Acks::new(2, true);
        acks.owner(A);
        acks.owner(B);
        assert!(acks.met());
    }
}
