//! What people wish of a ring, and the goals that follow.
//!
//! Invariant: a wish that cannot be granted is refused and says why; nothing is granted in part.

use std::net::SocketAddr;

use thiserror::Error;

use crate::causality::Actor;
use crate::ring::planner::{heading_for, plan};
use crate::ring::{Change, Epoch, Member, MemberNumber, NodeId, Partition, Ring};

use super::same;

/// A node that is to become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Its data directory's name.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Where others reach it.
    pub addr: SocketAddr,
    /// Where it stands; empty where that is not said.
    pub zone: String,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
}

/// Something that is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A node comes in.
    Admit(Newcomer),
    /// A node comes in and takes the place of a member, with its weight.
    Succeed {
        /// Who leaves. It is down.
        old: MemberNumber,
        /// Who comes.
        new: Newcomer,
    },
    /// A member gives up all its seats, and leaves when it has none. It may be down.
    Leave(MemberNumber),
    /// A member leaves, and another one takes its weight. The other one has been admitted before.
    Replace {
        /// Who leaves. It may be down.
        old: MemberNumber,
        /// Who comes.
        new: MemberNumber,
    },
    /// A member's share is another one.
    Weight(MemberNumber, u32),
    /// A member stands somewhere else.
    Zone(MemberNumber, String),
    /// A member is gone for good, and so is what only its copies had: nobody waits for them. It leaves, too.
    Lost(MemberNumber),
    /// Rows are planned anew.
    Rebalance,
    /// Whether rows wait for an operator when a node joins.
    Manual(bool),
    /// Rows take no step that can wait.
    Pause,
    /// They go on.
    Resume,
    /// Everything is given up that has not happened yet: rows that are prepared go back, goals are dropped, and
    /// who was to leave stays, unless it is lost. Seats that have changed hands stay changed.
    Abort,
}

/// Why a wish is not granted. The ring stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}; the ring stays as it is: {next}")]
pub struct Refused {
    /// What is in the way.
    pub what: String,
    /// What can be done.
    pub next: String,
}

fn refused<T>(what: impl Into<String>, next: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { what: what.into(), next: next.into() })
}

/// The next ring with all these wishes granted, and goals that follow from them.
pub fn wish(ring: &Ring, wishes: &[Wish]) -> Result<Ring, Refused> {
    let mut next = successor(ring);
    for wish in wishes {
        grant(&mut next, wish)?;
    }
    if next.members.iter().all(|member| member.leaving) {
        return refused("nobody would be left", "let one member stay, or stop the cluster");
    }
    // What was granted before changes nothing when it is wished again.
    let same = (&next.members, &next.settings) == (&ring.members, &ring.settings);
    let asked = |wish: &Wish| matches!(wish, Wish::Rebalance | Wish::Abort);
    let anew = !same || wishes.iter().any(asked);
    if anew && wishes.iter().any(|wish| plans(wish, &next)) {
        set_goals(&mut next);
    }
    match next.check() {
        Ok(()) => Ok(next),
        Err(why) => refused(why.to_string(), "look at `ringdove ring` and try again"),
    }
}

/// Whether rows are planned anew on account of a wish.
fn plans(wish: &Wish, next: &Ring) -> bool {
    match wish {
        // To stop or to go on changes no goal.
        Wish::Pause | Wish::Resume => false,
        // To give up leaves none, but for members that are lost.
        Wish::Abort => next.members.iter().any(|member| member.leaving),
        Wish::Admit(_) | Wish::Manual(_) => !next.settings.manual,
        Wish::Leave(_)
        | Wish::Succeed { .. }
        | Wish::Replace { .. }
        | Wish::Weight(..)
        | Wish::Zone(..)
        | Wish::Lost(_)
        | Wish::Rebalance => true,
    }
}

/// The ring that would follow without any change.
pub(super) fn successor(ring: &Ring) -> Ring {
    let given = ring.members.iter().map(|member| member.number.0).max().unwrap_or(0);
    let (epoch, previous) = (Epoch(ring.epoch.0 + 1), ring.hash());
    Ring { epoch, previous, highest: given.max(ring.highest), ..ring.clone() }
}

/// The ring that lists these actors as dead, too; `None` when it lists one of them already.
pub fn list_dead(ring: &Ring, over: &[Actor]) -> Option<Ring> {
    let dead = ring.dead.and(over.iter().copied()).ok()?;
    Some(Ring { dead, ..successor(ring) })
}

fn grant(next: &mut Ring, wish: &Wish) -> Result<(), Refused> {
    match wish {
        Wish::Admit(newcomer) => admit(next, newcomer),
        Wish::Succeed { old, new } => {
            admit(next, new)?;
            let new = MemberNumber(next.highest);
            grant(next, &Wish::Replace { old: *old, new })
        }
        Wish::Leave(number) => {
            member(next, *number)?.leaving = true;
            undo_for(next, *number);
            Ok(())
        }
        Wish::Replace { old, new } => {
            let weight = member(next, *old)?.weight;
            let successor = member(next, *new)?;
            if old == new || successor.leaving {
                let what = format!("member {new} cannot take the place of member {old}");
                return refused(what, "name a member that stays");
            }
            successor.weight = weight;
            grant(next, &Wish::Leave(*old))
        }
        Wish::Weight(number, 0) => refused(
            format!("member {number} would have a weight of 0"),
            "give it at least 1, or let it leave",
        ),
        Wish::Weight(number, weight) => {
            member(next, *number)?.weight = *weight;
            Ok(())
        }
        Wish::Zone(number, zone) => {
            member(next, *number)?.zone.clone_from(zone);
            Ok(())
        }
        Wish::Lost(number) => {
            grant(next, &Wish::Leave(*number))?;
            if !next.lost.contains(number) {
                next.lost.push(*number);
            }
            Ok(())
        }
        Wish::Rebalance => Ok(()),
        Wish::Manual(manual) => {
            next.settings.manual = *manual;
            Ok(())
        }
        Wish::Pause => {
            next.paused = true;
            Ok(())
        }
        Wish::Resume => {
            next.paused = false;
            Ok(())
        }
        Wish::Abort => {
            let lost = &next.lost;
            let stays = |member: &mut Member| member.leaving = lost.contains(&member.number);
            next.members.iter_mut().for_each(stays);
            let epoch = next.epoch;
            for partition in &mut next.partitions {
                partition.goal = None;
                undo(partition, epoch);
            }
            Ok(())
        }
    }
}

fn member(ring: &mut Ring, number: MemberNumber) -> Result<&mut Member, Refused> {
    match ring.members.iter_mut().find(|member| member.number == number) {
        Some(member) => Ok(member),
        None => refused(format!("there is no member {number}"), "see `ringdove members`"),
    }
}

fn admit(next: &mut Ring, newcomer: &Newcomer) -> Result<(), Refused> {
    if let Some(member) = next.member_by_id(newcomer.id) {
        let what = format!("node {} is member {} already", newcomer.id, member.number);
        return refused(what, "nothing is to be done");
    }
    let Some(number) = next.highest.checked_add(1) else {
        return refused("all 65535 member numbers have been given", "found a new cluster");
    };
    next.highest = number;
    next.members.push(Member {
        number: MemberNumber(number),
        id: newcomer.id,
        name: newcomer.name.clone(),
        addr: newcomer.addr,
        zone: newcomer.zone.clone(),
        weight: newcomer.weight.max(1),
        since: next.epoch,
        leaving: false,
    });
    Ok(())
}

/// Takes back what was prepared for a member that is to leave.
fn undo_for(next: &mut Ring, leaving: MemberNumber) {
    let epoch = next.epoch;
    for partition in &mut next.partitions {
        if partition.incoming() == Some(leaving) {
            undo(partition, epoch);
        }
    }
}

/// Takes back what is prepared. Who was to come in may have a part of a copy.
pub(super) fn undo(partition: &mut Partition, epoch: Epoch) {
    if let Some(Change::Prepare { incoming, .. }) = partition.change {
        (partition.change, partition.since) = (None, epoch);
        partition.former.push(incoming);
    }
}

/// Cuts partitions as planned, and gives each the goal that it is planned to have.
fn set_goals(next: &mut Ring) {
    let Some(target) = plan(next) else { return };
    let planned = target.partitions.into_iter().map(|planned| {
        let now = next.partition(planned.first);
        let arrives = same(&heading_for(now), &planned.row);
        let goal = if arrives { None } else { Some(planned.row) };
        Partition { first: planned.first, goal, ..now.clone() }
    });
    next.partitions = planned.collect();
}
