//! What a change of the ring would come to, before anybody decides on it.
//!
//! Invariant: it follows from two rings and from who lives now, and changes nothing. It counts slots and seats; what
//! they are in bytes and seconds follows from how large a slot is and how fast members copy. Not here: how
//! it looks.

use std::collections::BTreeMap;

use super::planner::heading_for;
use super::{MemberNumber, Ring, Slot};

/// What would become of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Every member of either ring, by ascending number.
    pub members: Vec<Share>,
    /// Who would copy from whom, by ascending numbers.
    pub links: Vec<Link>,
    /// Partitions now and then: a cut moves nothing.
    pub partitions: (usize, usize),
    /// Partitions of which a seat would change.
    pub rows: usize,
    /// Of these, how many have so few living owners that one failure more, while they change, stops quorums.
    pub at_risk: usize,
    /// Rows in which a zone stands more than once in the end.
    pub zones_shared: usize,
}

/// What a member holds, in slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which member.
    pub member: MemberNumber,
    /// What it holds now.
    pub before: u32,
    /// What it would hold.
    pub after: u32,
    /// What it would copy from others.
    pub copies: u32,
    /// What it would send to others.
    pub sends: u32,
    /// Whether it would leave the cluster.
    pub leaves: bool,
}

/// What one member would copy from another, as far as that can be said: it pulls from whoever is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Who sends.
    pub from: MemberNumber,
    /// Who copies.
    pub to: MemberNumber,
    /// How many slots.
    pub slots: u32,
}

impl Preview {
    /// The slots that would be copied in all.
    pub fn slots(&self) -> u64 {
        self.links.iter().map(|link| u64::from(link.slots)).sum()
    }

    /// The most that one member would copy or send: copying takes as long as that does.
    pub fn busiest(&self) -> u32 {
        self.members.iter().map(|share| share.copies.max(share.sends)).max().unwrap_or(0)
    }
}

/// What it takes to get from `ring` to the goals of `wished`, which follows it.
pub fn preview(ring: &Ring, wished: &Ring, lives: impl Fn(MemberNumber) -> bool) -> Preview {
    let mut shares: BTreeMap<MemberNumber, Share> = BTreeMap::new();
    for member in ring.members.iter().chain(&wished.members) {
        let leaves = wished.member(member.number).is_none_or(|member| member.leaving);
        let (member, before, after, copies, sends) = (member.number, 0, 0, 0, 0);
        shares.insert(member, Share { member, before, after, copies, sends, leaves });
    }
    let mut links: BTreeMap<(MemberNumber, MemberNumber), u32> = BTreeMap::new();
    let (mut rows, mut at_risk, mut zones_shared) = (0, 0, 0);
    for (at, partition) in wished.partitions.iter().enumerate() {
        let slots = wished.slots_of(at).count() as u32;
        let row = ring.row(partition.first);
        let end = partition.goal.clone().unwrap_or_else(|| heading_for(partition));
        let mut add = |members: &[MemberNumber], field: fn(&mut Share) -> &mut u32| {
            for member in members {
                shares.get_mut(member).into_iter().for_each(|share| *field(share) += slots);
            }
        };
        add(row, |share| &mut share.before);
        add(&end, |share| &mut share.after);
        zones_shared += usize::from(shares_zone(wished, &end));
        let comes: Vec<MemberNumber> =
            end.iter().copied().filter(|owner| !row.contains(owner)).collect();
        let goes = || row.iter().copied().filter(|owner| !end.contains(owner));
        if comes.is_empty() && goes().next().is_none() {
            continue;
        }
        rows += 1;
        let living = row.iter().filter(|owner| lives(**owner)).count();
        at_risk += usize::from(living <= row.len() / 2 + 1);
        for to in comes {
            let Some(from) = source(&shares, row, goes(), &lives, partition.first) else {
                continue;
            };
            *links.entry((from, to)).or_default() += slots;
            let both = [(from, true), (to, false)];
            for (member, is_source) in both {
                let share = shares.get_mut(&member).expect("links are between members");
                *(if is_source { &mut share.sends } else { &mut share.copies }) += slots;
            }
        }
    }
    let link = |((from, to), slots)| Link { from, to, slots };
    Preview {
        members: shares.into_values().collect(),
        links: links.into_iter().map(link).collect(),
        partitions: (ring.partitions.len(), wished.partitions.len()),
        rows,
        at_risk,
        zones_shared,
    }
}

/// From whom a row is copied: from who goes, if it lives, else from the living owner that sends least so far.
fn source(
    shares: &BTreeMap<MemberNumber, Share>,
    row: &[MemberNumber],
    mut goes: impl Iterator<Item = MemberNumber>,
    lives: impl Fn(MemberNumber) -> bool,
    first: Slot,
) -> Option<MemberNumber> {
    let sends = |owner: &MemberNumber| shares.get(owner).map_or(0, |share| share.sends);
    let living = row.iter().copied().filter(|owner| lives(*owner));
    let turn = |owner: &MemberNumber| owner.0.wrapping_add(first.number());
    goes.find(|owner| lives(*owner))
        .or_else(|| living.min_by_key(|owner| (sends(owner), turn(owner))))
}

fn shares_zone(ring: &Ring, row: &[MemberNumber]) -> bool {
    let zone = |owner: &MemberNumber| ring.member(*owner).map_or("", |member| &member.zone);
    let mut zones: Vec<&str> = row.iter().map(zone).filter(|zone| !zone.is_empty()).collect();
    let named = zones.len();
    zones.sort_unstable();
    zones.dedup();
    zones.len() < named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::Secret;
    use crate::ring::steps::{Newcomer, Wish, wish};
    use crate::ring::{ClusterId, Epoch, Member, NodeId, SLOTS, Settings, found};

    fn ring(zones: [&str; 4]) -> Ring {
        let member = |(at, zone): (usize, &&str)| Member {
            number: MemberNumber(at as u16 + 1),
            id: NodeId(at as u128 + 1),
            name: format!("n{}", at + 1),
            addr: ([127, 0, 0, 1], 7400).into(),
            zone: (*zone).to_owned(),
            weight: 1,
            since: Epoch(1),
            leaving: false,
        };
        let members = zones.iter().enumerate().map(member).collect();
        found(ClusterId(1), Secret([0; 16]), members, Settings::default())
    }

    #[test]
    fn a_newcomer_takes_its_share_from_all() {
        let ring = ring([""; 4]);
        let (id, addr) = (NodeId(5), ([127, 0, 0, 1], 7405).into());
        let newcomer = Newcomer { id, name: "n5".into(), addr, zone: String::new(), weight: 1 };
        let wished = wish(&ring, &[Wish::Admit(newcomer)]).expect("granted");
        let shown = preview(&ring, &wished, |_| true);
        let after: u32 = shown.members.iter().map(|share| share.after).sum();
        assert_eq!(after, 3 * u32::from(SLOTS));
        let new = &shown.members[4];
        assert_eq!((new.before, new.copies, new.sends), (0, new.after, 0));
        assert!((9700..=9960).contains(&new.after), "{new:?}");
        assert_eq!(shown.slots(), u64::from(new.copies), "nothing else moves");
        assert_eq!(shown.links.len(), 4, "everybody sends a part");
        assert_eq!(shown.busiest(), new.copies);
        assert_eq!(shown.at_risk, 0);
        // With one owner away, its rows would not stand another failure.
        let away = preview(&ring, &wished, |number| number != MemberNumber(1));
        assert!(away.at_risk > 0 && away.links.iter().all(|link| link.from != MemberNumber(1)));
    }

    #[test]
    fn a_zone_that_would_be_shared_is_counted() {
        let ring = ring(["a", "b", "c", "c"]);
        let wished = wish(&ring, &[Wish::Leave(MemberNumber(1))]).expect("granted");
        let shown = preview(&ring, &wished, |_| true);
        assert_eq!(shown.zones_shared, wished.partitions.len());
        assert!(shown.members[0].leaves && shown.members[0].after == 0);
        assert_eq!(shown.rows, wished.partitions.iter().filter(|p| p.goal.is_some()).count());
    }
}
