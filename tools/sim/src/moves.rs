//! Seats that change hands: what the ring will decide, decided here by the world itself.
//!
//! From time to time some partitions take their next step: a seat is prepared for another member, given to it, given on
//! before it settled, settled, taken back; a row gains a seat or loses one; a run of slots is cut. Each node hears of
//! the ring in its own time, some much later. Once everything is healed what was begun is brought to its end.
//!
//! Invariant: a row settles only when the newcomer said so, and who had a seat is forgotten only when it said that it has
//! dropped its copy; everything else may be decided at any moment. Not here: what a shard makes of it
//! (`ringdove::shard`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ringdove::ring::steps::{Report, Stage};
use ringdove::ring::{Change, Epoch, MemberNumber, Partition, Ring, Slot};

use crate::dice::Dice;
use crate::happening::Happening;
use crate::node::place;
use crate::world::World;

/// How often the ring goes on once everything is healed.
const HEALED_EVERY: Duration = Duration::from_millis(100);
/// How often a seat is given to who has not said that it has copied everything.
const PREMATURE: f64 = 0.25;
/// How many partitions take a step in one epoch, at most.
const STEPS_MAX: u64 = 3;

/// What the ring knows of the steps that nodes are done with.
#[derive(Debug)]
pub(crate) struct Moves {
    dice: Dice,
    /// Which shards of a node said so.
    reached: BTreeMap<Report, BTreeSet<usize>>,
}

impl Moves {
    pub(crate) fn new(seed: u64) -> Self {
        Moves { dice: Dice::new(seed, "moves"), reached: BTreeMap::new() }
    }
}

impl World {
    /// Plans when the ring moves on next, if it does in this run.
    pub(crate) fn plan_next_move(&mut self) {
        if let Some(every) = self.mix.moves {
            let mean = if self.healed { HEALED_EVERY } else { every };
            let wait = self.moves.dice.around(mean);
            self.plan_in(wait, Happening::Move);
        }
    }

    /// A shard is done with a step.
    pub(crate) fn note_report(&mut self, node: usize, shard: usize, report: Report) {
        self.trace.line(self.now, || format!("n{}/{shard} {report:?}", node + 1));
        self.moves.reached.entry(report).or_default().insert(shard);
        match report.stage {
            Stage::Covered => self.counts.covered += 1,
            Stage::Copied => self.counts.copied += 1,
            Stage::Settled => self.counts.settled += 1,
            Stage::Dropped => self.counts.dropped += 1,
        }
    }

    /// Whether all shards of a member said so of this partition as it is.
    fn has_reached(&self, member: MemberNumber, partition: &Partition, stage: Stage) -> bool {
        let (first, since) = (partition.first, partition.since);
        let report = Report { first, since, by: member, stage };
        let said = self.moves.reached.get(&report).map_or(0, BTreeSet::len);
        said == usize::from(self.mix.shards[place(member)])
    }

    /// Some partitions take a step.
    pub(crate) fn move_on(&mut self) {
        self.plan_next_move();
        let epoch = Epoch(self.ring.epoch.0 + 1);
        let mut ring = (*self.ring).clone();
        let slots: BTreeSet<Slot> = self.history.keys.iter().map(|place| place.slot).collect();
        let mut busy: Vec<usize> = slots.iter().map(|slot| ring.partition_index(*slot)).collect();
        busy.dedup();
        self.moves.dice.shuffle(&mut busy);
        let most = if self.healed { busy.len() as u64 } else { STEPS_MAX };
        busy.truncate(self.moves.dice.range(1, most.max(1)) as usize);
        let (mut moved, mut whole) = (false, BTreeSet::new());
        for index in &busy {
            if let Some(partition) = self.next_step(&ring.partitions[*index], epoch) {
                if partition.change.is_none() && ring.partitions[*index].change.is_some() {
                    let here = |slot: &&Slot| ring.partition_index(**slot) == *index;
                    whole.extend(slots.iter().filter(here).copied());
                }
                ring.partitions[*index] = partition;
                moved = true;
            }
        }
        moved |= !self.healed && self.moves.dice.chance(0.1) && cut(&mut ring, busy[0]);
        if !moved {
            return;
        }
        (ring.epoch, ring.previous) = (epoch, self.ring.hash());
        if let Err(why) = ring.check() {
            return self.violate("ring", format!("{why}"));
        }
        self.counts.moves += 1;
        let lines: Vec<String> = busy.iter().map(|index| line(&ring, *index)).collect();
        self.trace.line(self.now, || format!("ring {epoch}: {}", lines.join("; ")));
        self.ring = Arc::new(ring);
        for node in 0..self.nodes.len() {
            self.plan_learning(node);
        }
        whole.into_iter().for_each(|slot| self.note_whole(slot));
    }

    /// A partition as it is after its next step, if it takes one.
    fn next_step(&mut self, partition: &Partition, epoch: Epoch) -> Option<Partition> {
        let mut next = Partition { since: epoch, ..partition.clone() };
        match &partition.change {
            Some(Change::Settle { incoming, .. }) => {
                if self.has_reached(*incoming, partition, Stage::Settled) {
                    next.change = None;
                    return Some(next);
                }
                let give_on = !self.healed && self.moves.dice.chance(0.15);
                give_on.then(|| self.give_on(partition, next))?
            }
            Some(Change::Cover { before, .. }) => {
                let covers =
                    |owner: &&MemberNumber| self.has_reached(**owner, partition, Stage::Covered);
                if partition.row.iter().filter(covers).count() > partition.row.len() / 2 {
                    next.change = None;
                    return Some(next);
                }
                let gain = !self.healed && self.moves.dice.chance(0.1);
                gain.then(|| self.gain_at_once(partition, before.clone(), next))?
            }
            Some(Change::Prepare { incoming, outgoing }) => {
                let copied = self.has_reached(*incoming, partition, Stage::Copied);
                if copied || !self.healed && self.moves.dice.chance(PREMATURE) {
                    return Some(switch(partition, next, *incoming, *outgoing));
                }
                let abort = !self.healed && self.moves.dice.chance(0.1);
                abort.then(|| {
                    next.change = None;
                    next.former.push(*incoming);
                    next
                })
            }
            None => {
                let gone =
                    |member: &MemberNumber| self.has_reached(*member, partition, Stage::Dropped);
                let left = partition.former.iter().copied().filter(|member| !gone(member));
                let left: Vec<MemberNumber> = left.collect();
                if left.len() < partition.former.len() {
                    // No seat changes hands: nobody refuses anybody on account of it.
                    return Some(Partition { former: left, ..partition.clone() });
                }
                if self.healed { None } else { self.begin_move(partition, next) }
            }
        }
    }

    /// A member that has no seat in the row.
    fn outsider(&mut self, partition: &Partition) -> Option<MemberNumber> {
        let members = self.ring.members.iter().map(|member| member.number);
        let others: Vec<MemberNumber> =
            members.filter(|member| !partition.is_sent(*member)).collect();
        (!others.is_empty()).then(|| others[self.moves.dice.index(others.len())])
    }

    /// The seat is given to yet another member before the first has settled.
    fn give_on(&mut self, partition: &Partition, mut next: Partition) -> Option<Partition> {
        let (settling, before) = partition.settling()?;
        let incoming = self.outsider(partition)?;
        let mut before = before.to_vec();
        before.push(partition.row.clone());
        next.row.iter_mut().filter(|owner| **owner == settling).for_each(|owner| *owner = incoming);
        next.former.retain(|member| *member != incoming);
        next.former.push(settling);
        next.change = Some(Change::Settle { incoming, before });
        Some(next)
    }

    /// A row that has lost a seat gains one, before it covers what the one who lost it may have had alone.
    fn gain_at_once(
        &mut self,
        partition: &Partition,
        before: Vec<MemberNumber>,
        mut next: Partition,
    ) -> Option<Partition> {
        let incoming = self.outsider(partition)?;
        next.row.push(incoming);
        next.former.retain(|member| *member != incoming);
        let before = vec![before, partition.row.clone()];
        next.change = Some(Change::Settle { incoming, before });
        Some(next)
    }

    fn begin_move(&mut self, partition: &Partition, mut next: Partition) -> Option<Partition> {
        let copies = usize::from(self.mix.copies);
        if partition.row.len() > copies && self.moves.dice.chance(0.5) {
            let out = next.row.remove(self.moves.dice.index(partition.row.len()));
            next.former.push(out);
            next.change = Some(Change::Cover { lost: out, before: partition.row.clone() });
            return Some(next);
        }
        let incoming = self.outsider(partition)?;
        let gain = partition.row.len() <= copies && self.moves.dice.chance(0.3);
        let outgoing = (!gain).then(|| partition.row[self.moves.dice.index(partition.row.len())]);
        next.former.retain(|member| *member != incoming);
        next.change = Some(Change::Prepare { incoming, outgoing });
        Some(next)
    }

    /// What keeps the ring from coming to rest, if anything does.
    pub(crate) fn unmoved(&self) -> Option<String> {
        self.mix.moves?;
        let moving = |index: &usize| {
            let partition = &self.ring.partitions[*index];
            partition.change.is_some() || !partition.former.is_empty()
        };
        if let Some(index) = (0..self.ring.partitions.len()).find(moving) {
            return Some(format!("unmoved: {}", line(&self.ring, index)));
        }
        let behind = self.nodes.iter().find(|node| node.ring.epoch < self.ring.epoch);
        behind.map(|node| format!("unmoved: n{} has ring {}", node.number, node.ring.epoch))
    }
}

/// The seat changes hands: from now on the newcomer is an owner, that has not settled.
fn switch(
    partition: &Partition,
    mut next: Partition,
    incoming: MemberNumber,
    outgoing: Option<MemberNumber>,
) -> Partition {
    match outgoing {
        Some(outgoing) => {
            next.row.iter_mut().filter(|o| **o == outgoing).for_each(|o| *o = incoming);
            next.former.push(outgoing);
        }
        None => next.row.push(incoming),
    }
    next.change = Some(Change::Settle { incoming, before: vec![partition.row.clone()] });
    next
}

/// Cuts a partition that nothing moves in. Whether it could.
fn cut(ring: &mut Ring, index: usize) -> bool {
    let partition = &ring.partitions[index];
    let slots: Vec<Slot> = ring.slots_of(index).collect();
    if partition.change.is_some() || !partition.former.is_empty() || slots.len() < 2 {
        return false;
    }
    let second = Partition { first: slots[slots.len() / 2], ..partition.clone() };
    ring.partitions.insert(index + 1, second);
    true
}

/// A partition in a line.
fn line(ring: &Ring, index: usize) -> String {
    let partition = &ring.partitions[index];
    let names = |members: &[MemberNumber]| {
        members.iter().map(|member| format!("n{member}")).collect::<Vec<_>>().join(" ")
    };
    let change = partition.change.as_ref().map_or(String::new(), |change| format!(" {change:?}"));
    let former = names(&partition.former);
    let former = if former.is_empty() { former } else { format!(" former {former}") };
    format!("{} [{}]{change}{former}", partition.first, names(&partition.row))
}
