//! The first ring of a cluster.
//!
//! Invariant: all founders, given the same members, compute the same table; every member has the
//! same number of seats; every row names distinct members, as many as there are copies or members.

use super::{ClusterId, Epoch, Member, MemberNumber, Partition, Ring, SLOTS, Settings, Slot};
use crate::causality::{Dead, Secret};

/// How many partitions there are for each member: enough that shares are even and a newcomer can
/// take a little from everybody, few enough that the table stays small.
pub const PARTITIONS_PER_MEMBER: usize = 16;

/// The founding ring of these members, in epoch 1. Zones and weights have no say yet.
///
/// # Panics
/// When `members` is empty or not in the ascending order of their numbers.
pub fn found(cluster: ClusterId, secret: Secret, members: Vec<Member>, settings: Settings) -> Ring {
    assert!(!members.is_empty(), "a ring needs members");
    let count = (members.len() * PARTITIONS_PER_MEMBER).min(usize::from(SLOTS));
    let mut first = 0;
    let partitions = (0..count).map(|index| {
        let row = row(index, &members, usize::from(settings.copies));
        let partition = Partition::settled(Slot::new(first).expect("below the last slot"), row);
        first += slots(index, count, members.len());
        partition
    });
    let partitions = partitions.collect();
    let (epoch, previous, dead) = (Epoch(1), 0, Dead::NONE);
    let (highest, paused, lineage) = (0, false, 0);
    let ring = Ring {
        cluster,
        epoch,
        previous,
        members,
        partitions,
        settings,
        lost: Vec::new(),
        secret,
        dead,
        highest,
        paused,
        lineage,
    };
    ring.check().expect("the founding table is a ring");
    ring
}

/// How many slots partition `index` of `count` has. What division leaves over goes, one slot each, to the partitions of
/// whole rounds, in which every member has equally many seats, and then evenly over one more round.
fn slots(index: usize, count: usize, members: usize) -> u16 {
    let (least, over) = (usize::from(SLOTS) / count, usize::from(SLOTS) % count);
    let (round, place) = (index / members, index % members);
    let (whole, rest) = (over / members, over % members);
    let spread = (place + 1) * rest / members > place * rest / members;
    (least + usize::from(round < whole || (round == whole && spread))) as u16
}

/// The owners of partition `index`: in each round of as many partitions as there are members, seat k
/// goes round the members once, at a distance from seat 0 that changes from round to round, so that
/// a member shares rows with many others.
fn row(index: usize, members: &[Member], copies: usize) -> Vec<MemberNumber> {
    let (round, place, size) = (index / members.len(), index % members.len(), members.len());
    let copies = copies.min(size);
    let mut distances: Vec<usize> = vec![0];
    // Distances step by 1 + round, skipping those taken; with `size` values there are always enough.
    let mut distance = 0;
    while distances.len() < copies {
        distance = (distance + 1 + round) % size;
        while distances.contains(&distance) {
            distance = (distance + 1) % size;
        }
        distances.push(distance);
    }
    distances.into_iter().map(|distance| members[(place + distance) % size].number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::NodeId;
    use std::collections::BTreeMap;

    fn members(count: u16) -> Vec<Member> {
        let member = |number: u16| Member {
            number: MemberNumber(number),
            id: NodeId(u128::from(number)),
            name: format!("n{number}"),
            addr: ([127, 0, 0, 1], 7400 + number).into(),
            zone: String::new(),
            weight: 1,
            since: Epoch(1),
            leaving: false,
        };
        (1..=count).map(member).collect()
    }

    #[test]
    fn shares_are_even_and_owners_distinct() {
        for count in [1, 2, 3, 4, 5, 7, 16, 33, 100] {
            let ring = found(ClusterId(1), Secret([0; 16]), members(count), Settings::default());
            assert_eq!(ring.partitions.len(), usize::from(count) * PARTITIONS_PER_MEMBER);
            let mut slots: BTreeMap<MemberNumber, usize> = BTreeMap::new();
            for slot in Slot::all() {
                let row = ring.row(slot);
                assert_eq!(row.len(), usize::from(count.min(3)));
                row.iter().for_each(|owner| *slots.entry(*owner).or_default() += 1);
            }
            let ideal = f64::from(SLOTS) * f64::from(count.min(3)) / f64::from(count);
            for held in slots.values() {
                assert!((*held as f64 - ideal).abs() / ideal < 0.01, "{held} slots, ideal {ideal}");
            }
        }
    }

    #[test]
    fn a_member_shares_rows_with_many_others() {
        let ring = found(ClusterId(1), Secret([0; 16]), members(9), Settings::default());
        let first = MemberNumber(1);
        let mut partners: Vec<_> = ring
            .partitions
            .iter()
            .filter(|p| p.row.contains(&first))
            .flat_map(|p| p.row.clone())
            .collect();
        partners.sort_unstable();
        partners.dedup();
        assert_eq!(partners.len(), 9);
    }
}
