//! The ring itself: one epoch's members, rows and settings.
//!
//! Invariant (checked by [`Ring::check`] before any ring is used): partitions ascend from slot 0
//! and cover all slots; a row names distinct members; numbers, ids and addresses are unique.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use thiserror::Error;

use super::{ClusterId, Member, MemberNumber, NodeId, SLOTS, Slot, Token};
use crate::causality::{Dead, Secret};
use crate::pack::pack;

/// The ring's generation number: 1 for the founding ring, one more with every change.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u32);

impl Epoch {
    /// Whether it is the epoch of what has not changed since the founding.
    fn is_founding(&self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A run of consecutive slots with one row of owners. It ends where the next begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// Its first slot.
    pub first: Slot,
    /// The members that should hold it, all equal. The order carries no rank; a place in it is a *seat*.
    pub row: Vec<MemberNumber>,
    /// The epoch of the last change of the row, or of a step of one: fences go by it. Left out of the
    /// bytes while it is 0: since the founding.
    #[serde(default, skip_serializing_if = "Epoch::is_founding")]
    pub since: Epoch,
    /// The seat that is changing hands, if one is. One at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The row that it is to have in the end, where that is another one than now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Vec<MemberNumber>>,
    /// Members that had a seat and still have a copy, from which the owners pull. Each is taken from here
    /// once it said that it has dropped it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<MemberNumber>,
}

impl Partition {
    /// A partition that has had this row for ever.
    pub fn settled(first: Slot, row: Vec<MemberNumber>) -> Self {
        Partition { first, row, since: Epoch(0), change: None, goal: None, former: Vec::new() }
    }

    /// Whether a member has a seat here, had one before a change that is not settled, or is to get one.
    pub fn concerns(&self, member: MemberNumber) -> bool {
        let changes = match &self.change {
            None => false,
            Some(Change::Prepare { incoming, outgoing }) => {
                *incoming == member || *outgoing == Some(member)
            }
            Some(Change::Settle { before, .. }) => before.iter().any(|set| set.contains(&member)),
            Some(Change::Cover { lost, before }) => *lost == member || before.contains(&member),
        };
        changes
            || self.row.contains(&member)
            || self.former.contains(&member)
            || self.goal.as_ref().is_some_and(|goal| goal.contains(&member))
    }

    /// Who copies the partition, and takes writes without a vote.
    pub fn incoming(&self) -> Option<MemberNumber> {
        match &self.change {
            Some(Change::Prepare { incoming, .. }) => Some(*incoming),
            Some(Change::Settle { .. } | Change::Cover { .. }) | None => None,
        }
    }

    /// The owner that may not have settled, and the sets of owners that it has to pull from.
    pub fn settling(&self) -> Option<(MemberNumber, &[Vec<MemberNumber>])> {
        match &self.change {
            Some(Change::Settle { incoming, before }) => Some((*incoming, before)),
            Some(Change::Prepare { .. } | Change::Cover { .. }) | None => None,
        }
    }

    /// Each set of owners since the last row that was settled, this one left out.
    pub fn before(&self) -> &[Vec<MemberNumber>] {
        match &self.change {
            Some(Change::Settle { before, .. }) => before,
            Some(Change::Cover { before, .. }) => std::slice::from_ref(before),
            Some(Change::Prepare { .. }) | None => &[],
        }
    }

    /// Whether writes are sent to a member: to owners, and to who is to be one.
    pub fn is_sent(&self, member: MemberNumber) -> bool {
        self.row.contains(&member) || self.incoming() == Some(member)
    }

    /// Everybody that has a copy, or part of one, each once: owners, who is to be one, and who was.
    pub fn parties(&self) -> Vec<MemberNumber> {
        let before = self.settling().map_or(&[][..], |(_, before)| before);
        let mut parties = self.row.clone();
        let others = self.incoming().into_iter().chain(before.iter().flatten().copied());
        for other in others.chain(self.former.iter().copied()) {
            if !parties.contains(&other) {
                parties.push(other);
            }
        }
        parties
    }
}

/// How many owners of a row of `owners` a newcomer has to pull from, so that no write quorum of that row escapes it, and
/// none can form once so many refuse it: `owners - majority + 1`.
pub fn enough(owners: usize) -> usize {
    owners - (owners / 2 + 1) + 1
}

/// A step on the way from one owner of a seat to the next (design 3.6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Writes go to `incoming` too, which copies what there is. It has no vote, and is no owner yet.
    Prepare {
        /// Who is to have the seat.
        incoming: MemberNumber,
        /// Who has it now, and keeps its vote; `None` when the row gains a seat.
        outgoing: Option<MemberNumber>,
    },
    /// `incoming` is an owner, but counts for nothing before it has pulled from enough fenced owners of
    /// each set in `before`.
    Settle {
        /// Who has the seat.
        incoming: MemberNumber,
        /// Each set of owners since the last row that was settled, oldest first. Who is named here may have
        /// left the cluster.
        before: Vec<Vec<MemberNumber>>,
    },
    /// A seat is gone and nobody has it. All owners count, but no other seat changes before a majority of
    /// them has pulled from `lost`, after its fence, or from enough of `before`: until then a write
    /// may be with fewer than a majority of the row.
    Cover {
        /// Who had the seat, and keeps its copy. It may have left the cluster.
        lost: MemberNumber,
        /// The owners as long as it had.
        before: Vec<MemberNumber>,
    },
}

/// What all members agree on besides who owns what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// How many copies of everything are wanted.
    pub copies: u8,
    /// Whether rows wait for an operator when a node joins. Left out of the bytes while they do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { copies: 3, manual: false }
    }
}

/// One epoch: who is in the cluster and who owns what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ring {
    /// The cluster's name.
    pub cluster: ClusterId,
    /// Which ring this is of all that the cluster ever has.
    pub epoch: Epoch,
    /// The hash of the ring before, 0 for the first.
    pub previous: u64,
    /// The members, by ascending number.
    pub members: Vec<Member>,
    /// The partitions, by ascending first slot.
    pub partitions: Vec<Partition>,
    /// What else is agreed.
    pub settings: Settings,
    /// What context tokens are authenticated with.
    pub secret: Secret,
    /// Actors that will never write again. A later ring lists these first, in this order, and then more.
    /// Left out of the bytes while it is empty.
    #[serde(default, skip_serializing_if = "Dead::is_empty")]
    pub dead: Dead,
    /// The highest member number that was ever given, if its member has left: none is given twice.
    /// Left out of the bytes while it is 0: the highest member's is the highest ever.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub highest: u16,
    /// Whether the operator has stopped changes of rows between two steps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// How often an operator forced an epoch without a quorum: who was on the other side is of another
    /// lineage, and kept out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lineage: u16,
    /// Members whose copies an operator has given up, some of whom may have left: nobody waits for what only they had.
    /// In the order in which they were given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<MemberNumber>,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// Why a ring is not one. Whoever offered it is wrong; the ring in use stays.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a ring: {0}")]
pub struct RingError(pub String);

impl Ring {
    /// The partition that a slot lies in.
    pub fn partition(&self, slot: Slot) -> &Partition {
        &self.partitions[self.partition_index(slot)]
    }

    /// The place of a slot's partition among [`Ring::partitions`].
    pub fn partition_index(&self, slot: Slot) -> usize {
        self.partitions.partition_point(|partition| partition.first <= slot) - 1
    }

    /// The slots of the partition at `index`.
    pub fn slots_of(&self, index: usize) -> impl Iterator<Item = Slot> + use<> {
        let first = self.partitions[index].first.number();
        let end = self.partitions.get(index + 1).map_or(SLOTS, |next| next.first.number());
        (first..end).filter_map(Slot::new)
    }

    /// The members that should hold a slot.
    pub fn row(&self, slot: Slot) -> &[MemberNumber] {
        &self.partition(slot).row
    }

    /// The other members in the order in which they stand in for absent owners of a key: by
    /// rendezvous hash (Thaler, Ravishankar 1998), so that every coordinator picks the same ones.
    pub fn fallbacks(&self, token: Token) -> Vec<MemberNumber> {
        let row = self.row(token.slot());
        let others = self.members.iter().map(|member| member.number);
        let mut others: Vec<_> = others.filter(|number| !row.contains(number)).collect();
        others.sort_by_key(|number| (rendezvous(token.slot(), *number), *number));
        others
    }

    /// How many of a set of owners a newcomer has to pull from: [`enough`] of them, or all that are not lost where
    /// those are fewer.
    pub fn needed(&self, owners: &[MemberNumber]) -> usize {
        let left = owners.iter().filter(|owner| !self.lost.contains(owner)).count();
        enough(owners.len()).min(left)
    }

    /// The member of this number.
    pub fn member(&self, number: MemberNumber) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&number, |member| member.number).ok()?;
        self.members.get(at)
    }

    /// The member of this id.
    pub fn member_by_id(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// A hash of everything in it: two nodes with one epoch and two hashes are a fork.
    pub fn hash(&self) -> u64 {
        let bytes = pack(self);
        let mut hasher = SipHasher24::new();
        hasher.write(&bytes);
        hasher.finish()
    }

    /// Whether it is a ring at all. Nothing uses one that this refuses.
    pub fn check(&self) -> Result<(), RingError> {
        let refuse = |why: &str| Err(RingError(why.to_owned()));
        if self.members.is_empty() || self.members.len() > usize::from(u16::MAX) {
            return refuse("it needs 1 to 65535 members");
        }
        if !self.members.is_sorted_by(|a, b| a.number < b.number) {
            return refuse("member numbers must ascend");
        }
        let mut ids: Vec<_> = self.members.iter().map(|member| member.id).collect();
        ids.sort_unstable();
        if !ids.is_sorted_by(|a, b| a < b) {
            return refuse("two members have one id");
        }
        if self.partitions.first().map(|partition| partition.first.number()) != Some(0) {
            return refuse("the first partition must begin at slot 0");
        }
        if !self.partitions.is_sorted_by(|a, b| a.first < b.first) {
            return refuse("partitions must ascend");
        }
        for partition in &self.partitions {
            let mut row = partition.row.clone();
            row.sort_unstable();
            row.dedup();
            if row.is_empty() || row.len() != partition.row.len() {
                return refuse("a row needs distinct owners");
            }
            if row.iter().any(|number| self.member(*number).is_none()) {
                return refuse("a row names somebody who is no member");
            }
            self.check_change(partition)?;
        }
        if self.settings.copies == 0 { refuse("at least one copy is wanted") } else { Ok(()) }
    }
}

impl Ring {
    /// Whether the step that a partition is in can be one.
    fn check_change(&self, partition: &Partition) -> Result<(), RingError> {
        let refuse = |why: &str| Err(RingError(why.to_owned()));
        let member = |number: &MemberNumber| self.member(*number).is_some();
        let distinct = |set: &[MemberNumber]| {
            let mut sorted = set.to_vec();
            sorted.sort_unstable();
            !set.is_empty() && sorted.is_sorted_by(|a, b| a < b)
        };
        if partition.since > self.epoch {
            return refuse("a row has changed in a later epoch than the ring's");
        }
        match &partition.change {
            None => {}
            Some(Change::Prepare { incoming, outgoing }) => {
                if !member(incoming) || partition.row.contains(incoming) {
                    return refuse("who comes in is a member that has no seat in the row");
                }
                if outgoing.is_some_and(|outgoing| !partition.row.contains(&outgoing)) {
                    return refuse("who goes out has a seat in the row");
                }
            }
            Some(Change::Settle { incoming, before }) => {
                if !partition.row.contains(incoming) {
                    return refuse("who settles has a seat in the row");
                }
                if before.is_empty() || !before.iter().all(|set| distinct(set)) {
                    return refuse("who settles follows sets of distinct owners");
                }
            }
            Some(Change::Cover { lost, before }) => {
                let rest = || before.iter().filter(|owner| *owner != lost);
                let one_fewer = before.len() == partition.row.len() + 1 && before.contains(lost);
                if !distinct(before) || !one_fewer || !rest().all(|o| partition.row.contains(o)) {
                    return refuse("a lost seat leaves the owners before, less one");
                }
            }
        }
        let lingers = |number: &MemberNumber| member(number) && !partition.is_sent(*number);
        if !partition.former.is_empty() && !distinct(&partition.former)
            || !partition.former.iter().all(lingers)
        {
            return refuse("who had a seat is a member that has none now");
        }
        match &partition.goal {
            Some(goal) if !distinct(goal) || !goal.iter().all(member) => {
                refuse("a row's goal names distinct members")
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn rendezvous(slot: Slot, member: MemberNumber) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write_u16(slot.number().to_le());
    hasher.write_u16(member.0.to_le());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::Actor;
    use crate::pack::{pack, unpack};
    use crate::ring::found;

    #[test]
    fn the_dead_are_part_of_a_ring_and_of_its_hash() {
        let member = Member {
            number: MemberNumber(1),
            id: NodeId(1),
            name: "n1".into(),
            addr: ([127, 0, 0, 1], 7400).into(),
            zone: String::new(),
            weight: 1,
            since: Epoch(1),
            leaving: false,
        };
        let first = found(ClusterId(1), Secret([0; 16]), vec![member], Settings::default());
        let dead = Dead::new(vec![Actor::new(2, 9), Actor::new(1, 5)]).expect("each once");
        let second = Ring { epoch: Epoch(2), previous: first.hash(), dead, ..first.clone() };
        assert_ne!(Ring { dead: Dead::NONE, ..second.clone() }.hash(), second.hash());
        for ring in [&first, &second] {
            let read: Ring = unpack(&pack(ring)).expect("a ring");
            assert_eq!((&read, read.hash()), (ring, ring.hash()));
            assert_eq!(read.check(), Ok(()));
        }
        let twice = pack(&vec![Actor::new(2, 9); 2]);
        assert!(unpack::<Dead>(&twice).is_err(), "an actor is listed once");
    }
}
