//! The next steps of all rows that can take one.
//!
//! ```text
//! whole ── Prepare ── Settle ── whole        a seat changes hands, or is gained
//!    └──── Cover ──── whole                  a seat is lost
//! ```
//!
//! Invariant: a step is taken only when the member it depends on has reported that it is done, and if enough owners live for
//! the step after it. Nothing else waits for who is down. Paused, a row ends the step that it cannot stay in.

use std::collections::BTreeMap;

use crate::ring::{Change, Epoch, MemberNumber, Partition, Ring};

use super::wish::{successor, undo};
use super::{Progress, Stage, same};

/// How much may be under way at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Partitions that one member copies at a time.
    pub copies: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { copies: 4 }
    }
}

/// What steps are decided by, besides the ring.
struct Known<'a, F> {
    ring: &'a Ring,
    epoch: Epoch,
    paused: bool,
    leaving: Vec<MemberNumber>,
    progress: &'a Progress,
    lives: F,
    limits: Limits,
    copying: BTreeMap<MemberNumber, usize>,
}

/// The next ring, with every step in it that can be taken now; `None` when none can.
pub fn advance(
    ring: &Ring,
    progress: &Progress,
    lives: impl Fn(MemberNumber) -> bool,
    limits: Limits,
) -> Option<Ring> {
    let mut next = successor(ring);
    let leaving = ring.members.iter().filter(|member| member.leaving).map(|member| member.number);
    let mut copying: BTreeMap<MemberNumber, usize> = BTreeMap::new();
    for incoming in ring.partitions.iter().filter_map(Partition::incoming) {
        *copying.entry(incoming).or_default() += 1;
    }
    let mut known = Known {
        ring,
        epoch: next.epoch,
        paused: ring.paused,
        leaving: leaving.collect(),
        progress,
        lives,
        limits,
        copying,
    };
    next.partitions.iter_mut().for_each(|partition| known.step(partition));
    retire(&mut next, &known.lives);
    let changed = next.partitions != ring.partitions || next.members != ring.members;
    changed.then(|| {
        next.check().expect("a ring's rows step to a ring");
        next
    })
}

impl<F: Fn(MemberNumber) -> bool> Known<'_, F> {
    fn step(&mut self, partition: &mut Partition) {
        let now = partition.clone();
        partition.former.retain(|former| !self.progress.has(&now, *former, Stage::Dropped));
        match &now.change {
            None => self.start(partition),
            Some(Change::Prepare { incoming, outgoing }) => {
                self.switch(partition, *incoming, *outgoing);
            }
            Some(Change::Settle { incoming, before }) => self.settle(partition, *incoming, before),
            Some(Change::Cover { before, .. }) => self.cover(partition, before),
        }
    }

    /// How many of a row have to live for a newcomer to settle in it.
    fn needed(&self, row: &[MemberNumber]) -> usize {
        self.ring.needed(row)
    }

    fn living(&self, row: &[MemberNumber]) -> usize {
        row.iter().filter(|owner| (self.lives)(**owner)).count()
    }

    /// Who is to come into a row, lives, and has room to copy it.
    fn newcomer(&self, partition: &Partition) -> Option<MemberNumber> {
        let mut goal = partition.goal.iter().flatten().copied();
        goal.find(|member| {
            let copying = self.copying.get(member).copied().unwrap_or(0);
            !partition.row.contains(member)
                && (self.lives)(*member)
                && !self.leaving.contains(member)
                && copying < self.limits.copies
        })
    }

    /// Begins with the next seat on the way to the goal: one that changes hands or is gained before one that is lost.
    fn start(&mut self, partition: &mut Partition) {
        let Some(goal) = partition.goal.clone() else {
            return;
        };
        if same(&goal, &partition.row) {
            partition.goal = None;
            return;
        }
        if self.paused {
            return;
        }
        let row = partition.row.clone();
        let lacks = goal.iter().any(|member| !row.contains(member));
        // The dead go first: with them the row has one more failure behind it.
        let mut goes: Vec<MemberNumber> =
            row.iter().copied().filter(|owner| !goal.contains(owner)).collect();
        goes.sort_by_key(|owner| (self.lives)(*owner));
        let outgoing = goes.first().copied();
        if lacks {
            let Some(incoming) = self.newcomer(partition) else {
                return;
            };
            if self.living(&row) == 0 && self.needed(&row) > 0 {
                return;
            }
            let gains = row.len() < goal.len();
            let outgoing = if gains { None } else { outgoing };
            partition.former.retain(|former| *former != incoming);
            partition.change = Some(Change::Prepare { incoming, outgoing });
            partition.since = self.epoch;
            *self.copying.entry(incoming).or_default() += 1;
        } else if let Some(lost) = outgoing {
            let rest: Vec<MemberNumber> =
                row.iter().copied().filter(|owner| *owner != lost).collect();
            if self.living(&rest) < rest.len() / 2 + 1 {
                return;
            }
            partition.row = rest;
            partition.former.push(lost);
            partition.change = Some(Change::Cover { lost, before: row });
            partition.since = self.epoch;
        }
    }

    fn switch(
        &mut self,
        partition: &mut Partition,
        incoming: MemberNumber,
        outgoing: Option<MemberNumber>,
    ) {
        if self.leaving.contains(&incoming) {
            undo(partition, self.epoch);
            return;
        }
        let copied = self.progress.has(partition, incoming, Stage::Copied);
        let settles = self.living(&partition.row) >= self.needed(&partition.row);
        if self.paused || !copied || !settles || !(self.lives)(incoming) {
            return;
        }
        let before = vec![partition.row.clone()];
        match outgoing {
            Some(outgoing) => {
                replace(&mut partition.row, outgoing, incoming);
                partition.former.push(outgoing);
            }
            None => partition.row.push(incoming),
        }
        partition.change = Some(Change::Settle { incoming, before });
        partition.since = self.epoch;
    }

    fn settle(
        &mut self,
        partition: &mut Partition,
        incoming: MemberNumber,
        before: &[Vec<MemberNumber>],
    ) {
        if self.progress.has(partition, incoming, Stage::Settled) {
            (partition.change, partition.since) = (None, self.epoch);
            return;
        }
        // One that is merely down is waited for: the row has its quorum without it. One that is to leave is not.
        let gone = self.leaving.contains(&incoming) && !(self.lives)(incoming);
        if let Some(other) = self.newcomer(partition).filter(|_| gone) {
            let mut before = before.to_vec();
            before.push(partition.row.clone());
            replace(&mut partition.row, incoming, other);
            partition.former.retain(|former| *former != other);
            partition.former.push(incoming);
            partition.change = Some(Change::Settle { incoming: other, before });
            partition.since = self.epoch;
        }
    }

    fn cover(&mut self, partition: &mut Partition, before: &[MemberNumber]) {
        let covered = |owner: &&MemberNumber| self.progress.has(partition, **owner, Stage::Covered);
        let majority = partition.row.len() / 2 + 1;
        if partition.row.iter().filter(covered).count() >= majority {
            (partition.change, partition.since) = (None, self.epoch);
            return;
        }
        // An owner is gone for good, and too few are left to cover: the row gains who takes its place.
        let stays = |owner: &&MemberNumber| (self.lives)(**owner) || !self.leaving.contains(owner);
        let few = partition.row.iter().filter(stays).count() < majority;
        if let Some(incoming) = self.newcomer(partition).filter(|_| few) {
            let before = vec![before.to_vec(), partition.row.clone()];
            partition.row.push(incoming);
            partition.former.retain(|former| *former != incoming);
            partition.change = Some(Change::Settle { incoming, before });
            partition.since = self.epoch;
        }
    }
}

fn replace(row: &mut [MemberNumber], old: MemberNumber, new: MemberNumber) {
    row.iter_mut().filter(|owner| **owner == old).for_each(|owner| *owner = new);
}

/// Lets members go that are to leave and own nothing. One that does not live is not waited for to drop what it
/// had: rows are whole without it.
fn retire(next: &mut Ring, lives: &impl Fn(MemberNumber) -> bool) {
    let mut busy: Vec<MemberNumber> = Vec::new();
    for partition in &next.partitions {
        busy.extend(partition.parties());
        busy.extend(partition.goal.iter().flatten());
        if let Some(Change::Cover { before, .. }) = &partition.change {
            busy.extend(before);
        }
    }
    let mut former: Vec<MemberNumber> = Vec::new();
    for partition in &next.partitions {
        former.extend(partition.former.iter().filter(|_| partition.change.is_none()));
    }
    let lingers_only = |number: MemberNumber| {
        !lives(number)
            && former.iter().filter(|one| **one == number).count()
                == busy.iter().filter(|one| **one == number).count()
    };
    let goes = |number: MemberNumber| !busy.contains(&number) || lingers_only(number);
    let gone: Vec<MemberNumber> = next
        .members
        .iter()
        .filter(|member| member.leaving && goes(member.number))
        .map(|member| member.number)
        .collect();
    next.members.retain(|member| !gone.contains(&member.number));
    for partition in &mut next.partitions {
        partition.former.retain(|former| !gone.contains(former));
    }
}
