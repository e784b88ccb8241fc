//! What a ring must be to come after another.
//!
//! Invariant: nothing that a later ring could not take back is ever reused: numbers of members, the
//! places of dead actors; and a row takes one step of one seat at a time. Not here: whether the change is wise (the planner), and who wants it.

use crate::ring::steps::rows_follow;
use crate::ring::{Epoch, Ring, RingError};

/// The highest member number that a ring or one before it gave.
pub fn highest(ring: &Ring) -> u16 {
    let now = ring.members.iter().map(|member| member.number.0).max().unwrap_or(0);
    now.max(ring.highest)
}

/// The ring that would follow without any change. Whoever plans one begins with this.
pub fn successor(ring: &Ring) -> Ring {
    let (epoch, previous) = (Epoch(ring.epoch.0 + 1), ring.hash());
    Ring { epoch, previous, highest: highest(ring), ..ring.clone() }
}

/// Whether `next` may be the ring after `ring`.
pub fn follows(next: &Ring, ring: &Ring) -> Result<(), RingError> {
    let refuse = |why: &str| Err(RingError(why.to_owned()));
    next.check()?;
    if next.cluster != ring.cluster || next.secret != ring.secret {
        return refuse("it is of another cluster than the one before");
    }
    if next.lineage != ring.lineage {
        return refuse("only an operator begins a new lineage");
    }
    if next.epoch.0 != ring.epoch.0 + 1 || next.previous != ring.hash() {
        return refuse("it does not follow the one before");
    }
    if !next.dead.actors().starts_with(ring.dead.actors()) {
        return refuse("it does not list the dead actors of the one before, in their order");
    }
    if !next.lost.starts_with(&ring.lost) {
        return refuse("it does not list the lost members of the one before, in their order");
    }
    if highest(next) < highest(ring) {
        return refuse("it forgets which member numbers were given");
    }
    for member in &next.members {
        match (ring.member(member.number), ring.member_by_id(member.id)) {
            (Some(old), _) if old.id == member.id && old.since == member.since => {}
            (Some(_), _) => return refuse("a member's number, id and age stay together"),
            (None, Some(_)) => return refuse("a member keeps its number"),
            (None, None) if member.number.0 <= highest(ring) => {
                return refuse("a number that was given once is given again");
            }
            (None, None) if member.since != next.epoch => {
                return refuse("a new member is as old as the ring that brings it in");
            }
            (None, None) => {}
        }
    }
    rows_follow(next, ring)
}
