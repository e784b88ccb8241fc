//! What changes of the ring would come to, asked before anybody decides on them.
//!
//! Invariant: the answer follows from this member's ring and its view of who is up; nothing is changed and nobody is
//! asked. A wish that cannot be granted is refused in a sentence. Not here: deciding.

use std::collections::BTreeMap;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::{Control, Phase};
use crate::pack::pack;
use crate::ring::planner::heading_for;
use crate::ring::preview::{Link, Share, preview};
use crate::ring::steps::{Newcomer, Wish, wish};
use crate::ring::{Change, MemberNumber, NodeId, Partition, Ring};
use crate::wire::{PlanShown, PlannedLink, PlannedMember, Proposed};

/// How many changes are planned at once.
const MOST: usize = 1000;

impl Control {
    /// What these changes, all at once, would come to; or why they cannot be made.
    pub fn plan_shown(&self, proposed: &[Proposed]) -> Result<PlanShown, String> {
        let Phase::Member(members) = &self.phase else {
            return Err("there is no ring yet: nothing can be planned".to_owned());
        };
        let ring = &*members.ring;
        let wished =
            wish(ring, &wishes(ring, proposed, false)?).map_err(|refused| refused.to_string())?;
        let up = |number| number == members.me || members.known.get(&number).is_some_and(|k| k.up);
        Ok(shown(ring, &wished, up))
    }
}

/// The wishes that are proposed. In a plan who would join is nobody yet, and is called `new-1` and so on; `decided` says
/// that this is no plan.
pub(super) fn wishes(
    ring: &Ring,
    proposed: &[Proposed],
    decided: bool,
) -> Result<Vec<Wish>, String> {
    if proposed.len() > MOST {
        return Err(format!("at most {MOST} changes are made at once: name fewer"));
    }
    if proposed.is_empty() {
        return Err("nothing is to be changed: name a change".to_owned());
    }
    let mut wishes = Vec::new();
    let mut joined: u16 = 0;
    let given = ring.members.iter().map(|member| member.number.0).max().unwrap_or(0);
    let mut newcomer = |zone: String, weight: u32| {
        joined = joined.saturating_add(1);
        let number = MemberNumber(given.max(ring.highest).saturating_add(joined));
        let id = NodeId(u128::MAX - u128::from(joined));
        let addr = ([0, 0, 0, 0], 0).into();
        (number, Wish::Admit(Newcomer { id, name: format!("new-{joined}"), addr, zone, weight }))
    };
    for one in proposed {
        match one {
            Proposed::Join { .. } if decided => {
                let why =
                    "nodes join by themselves: start one with the address of a member as its seed";
                return Err(why.to_owned());
            }
            Proposed::Join { zone, weight } => wishes.push(newcomer(zone.clone(), *weight).1),
            Proposed::Leave { member, lost: false } => {
                wishes.push(Wish::Leave(find(ring, member)?));
            }
            Proposed::Leave { member, lost: true } => {
                wishes.push(Wish::Lost(find(ring, member)?));
            }
            Proposed::Replace { member, zone, with, lost } => {
                let old = find(ring, member)?;
                let new = match with {
                    Some(with) => find(ring, with)?,
                    None if decided => {
                        let why = "name the member that takes its place: start a node with the address of a member as its \
                                   seed, and it becomes one";
                        return Err(why.to_owned());
                    }
                    None => {
                        let own =
                            || ring.member(old).map(|old| old.zone.clone()).unwrap_or_default();
                        let (new, admit) = newcomer(zone.clone().unwrap_or_else(own), 1);
                        wishes.push(admit);
                        new
                    }
                };
                wishes.push(Wish::Replace { old, new });
                wishes.extend(lost.then_some(Wish::Lost(old)));
            }
            Proposed::Weight { member, weight } => {
                wishes.push(Wish::Weight(find(ring, member)?, *weight));
            }
            Proposed::Zone { member, zone } => {
                wishes.push(Wish::Zone(find(ring, member)?, zone.clone()));
            }
            Proposed::Rebalance => wishes.push(Wish::Rebalance),
            Proposed::Manual(manual) => wishes.push(Wish::Manual(*manual)),
            Proposed::Pause => wishes.push(Wish::Pause),
            Proposed::Resume => wishes.push(Wish::Resume),
            Proposed::Abort => wishes.push(Wish::Abort),
        }
    }
    Ok(wishes)
}

/// What plans are made from, in a few digits: members with their shares, and where rows are heading. Steps on the way
/// there do not change it.
pub(super) fn basis(ring: &Ring) -> String {
    let members: Vec<_> =
        ring.members.iter().map(|m| (m.id, &m.zone, m.weight, m.leaving)).collect();
    let row = |partition: &Partition| {
        let mut row = partition.goal.clone().unwrap_or_else(|| heading_for(partition));
        row.sort_unstable();
        (partition.first, row)
    };
    let rows: Vec<_> = ring.partitions.iter().map(row).collect();
    let mut hasher = SipHasher24::new();
    hasher.write(&pack(&(members, rows, &ring.settings, ring.paused)));
    format!("{:08x}", hasher.finish() as u32)
}

/// The member of this name or id.
pub(super) fn find(ring: &Ring, called: &str) -> Result<MemberNumber, String> {
    let by_id = called.parse().ok().and_then(|id| ring.member_by_id(id));
    let named: Vec<_> = ring.members.iter().filter(|member| member.name == called).collect();
    match (by_id, named.as_slice()) {
        (Some(member), _) => Ok(member.number),
        (None, [member]) => Ok(member.number),
        (None, []) => Err(format!("no member is called {called}: see `ringdove members`")),
        (None, [_, _, ..]) => Err(format!(
            "{} members are called {called}: name one by its id, as `ringdove members -o json` shows it",
            named.len()
        )),
    }
}

/// What rows are in the middle of, by member, and how much waits: for people.
pub(super) fn moves(ring: &Ring) -> Vec<String> {
    let [mut copies, mut settles] = [BTreeMap::new(), BTreeMap::new()];
    let (mut covers, mut waits, mut kept) = (0_usize, 0_usize, 0_usize);
    for partition in &ring.partitions {
        match &partition.change {
            Some(Change::Prepare { incoming, .. }) => *copies.entry(*incoming).or_insert(0) += 1,
            Some(Change::Settle { incoming, .. }) => *settles.entry(*incoming).or_insert(0) += 1,
            Some(Change::Cover { .. }) => covers += 1,
            None if partition.goal.is_some() => waits += 1,
            None => kept += usize::from(!partition.former.is_empty()),
        }
    }
    let name = |number| ring.member(number).map_or("?", |member| member.name.as_str());
    let by_member = |counts: BTreeMap<MemberNumber, usize>, does: &str| {
        let line = |(number, count)| format!("{} {does} {}", name(number), partitions(count));
        counts.into_iter().map(line).collect::<Vec<_>>()
    };
    let mut moves = by_member(copies, "copies");
    moves.extend(by_member(settles, "settles in"));
    let others = [
        (covers, "the owners cover a seat that is gone"),
        (
            waits,
            if ring.paused { "waiting, for changes are paused" } else { "waiting for their turn" },
        ),
        (kept, "who left still keeps a copy"),
    ];
    let some = others.into_iter().filter(|(count, _)| *count > 0);
    moves.extend(some.map(|(count, what)| format!("{}: {what}", partitions(count))));
    moves
}

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") }
}

fn shown(ring: &Ring, wished: &Ring, lives: impl Fn(MemberNumber) -> bool) -> PlanShown {
    let preview = preview(ring, wished, lives);
    let either = |number| wished.member(number).or_else(|| ring.member(number));
    let name = |number| either(number).map(|member| member.name.clone()).unwrap_or_default();
    let member = |share: &Share| {
        let member = either(share.member);
        let joins = ring.member(share.member).is_none();
        let fate = if share.leaves {
            "leaves"
        } else if joins {
            "joins"
        } else {
            "stays"
        };
        PlannedMember {
            name: name(share.member),
            zone: member.map(|member| member.zone.clone()).unwrap_or_default(),
            weight: member.map_or(0, |member| member.weight),
            fate: fate.to_owned(),
            slots: share.before,
            slots_after: share.after,
            copies: share.copies,
            sends: share.sends,
        }
    };
    let link = |link: &Link| {
        let (from, to) = (name(link.from), name(link.to));
        PlannedLink { from, to, slots: link.slots }
    };
    let under_way = ring.partitions.iter().filter(|partition| partition.change.is_some()).count();
    PlanShown {
        epoch: ring.epoch.0,
        copies: ring.settings.copies,
        members: preview.members.iter().map(member).collect(),
        links: preview.links.iter().map(link).collect(),
        partitions: preview.partitions.0 as u32,
        partitions_after: preview.partitions.1 as u32,
        rows: preview.rows as u32,
        rows_at_risk: preview.at_risk as u32,
        zones_shared: preview.zones_shared as u32,
        under_way: under_way as u32,
        basis: basis(ring),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::Secret;
    use crate::ring::steps::{Limits, Progress, advance};
    use crate::ring::{ClusterId, Epoch, Member, Settings, found};

    #[test]
    fn what_moves_is_said_by_member() {
        let member = |number: u16| Member {
            number: MemberNumber(number),
            id: NodeId(u128::from(number)),
            name: format!("n{number}"),
            addr: ([127, 0, 0, 1], 7400).into(),
            zone: String::new(),
            weight: 1,
            since: Epoch(1),
            leaving: false,
        };
        let members = (1..=4).map(member).collect();
        let ring = found(ClusterId(1), Secret([0; 16]), members, Settings::default());
        assert_eq!(moves(&ring), Vec::<String>::new());
        let ring = wish(&ring, &[Wish::Leave(MemberNumber(1))]).expect("granted");
        assert_eq!(moves(&ring), ["48 partitions: waiting for their turn"]);
        let mut ring = advance(&ring, &Progress::default(), |_| true, Limits { copies: 1 })
            .expect("everybody begins");
        let said = moves(&ring);
        assert_eq!(said[..2], ["n2 copies 1 partition", "n3 copies 1 partition"], "{said:?}");
        assert_eq!(said.last().map(String::as_str), Some("45 partitions: waiting for their turn"));
        ring.paused = true;
        assert!(moves(&ring).join("; ").contains("changes are paused"));
    }
}
