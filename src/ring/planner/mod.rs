//! Which rows a ring should have: the planner of design 3.1 and 5.
//!
//! From a ring, whose members say what they wish (weight, zone, leaving), to a target for every partition. First the
//! largest partitions are cut until there are [`PARTITIONS_PER_MEMBER`] for each member that stays; a cut is metadata. Then
//! seats of leaving members, seats too many and seats that stand in a zone twice are given up, missing
//! seats are given to who lacks most, and passed on along paths while they are free; what is still uneven is evened out seat
//! by seat, from who has too much to who has too little, so that nothing moves twice. A row is chosen by itself, not by walking along tokens, which makes
//! this simple: the idea of an explicit table is Garage's layout's and Dynamo's (SOSP 2007, 6.2, strategy 3).
//!
//! Invariant: pure and deterministic; a row names distinct members that stay, as many as copies are wanted and there are
//! members; no zone stands in a row more often than it must. A partition with a change under way is not cut, and its
//! target follows from what it is changing to. Not here: the steps on the way (`steps`), and who is up: nothing
//! moves because a member is merely down.

mod balance;
mod draft;
mod pass;
mod quota;
#[cfg(test)]
mod tests;

use super::{MemberNumber, PARTITIONS_PER_MEMBER, Ring, SLOTS, Slot};

pub use self::draft::heading_for;

use self::draft::Draft;
use self::quota::Quota;

/// What the planner wants a ring to become.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Every partition after the cuts, by ascending first slot.
    pub partitions: Vec<Planned>,
    /// The slots that each member should hold, by ascending number of all members; no whole numbers.
    pub ideal: Vec<f64>,
    /// How often a zone has to stand in a row: 1 where all owners of a row can be in different zones.
    pub zone_repeats: usize,
}

/// One partition as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its first slot.
    pub first: Slot,
    /// How many slots it has.
    pub slots: u16,
    /// Its owners in the end. Who stays keeps its seat; who is new stands where the one stood that goes.
    pub row: Vec<MemberNumber>,
}

/// The target for a ring, or `None` when nobody in it is to stay.
pub fn plan(ring: &Ring) -> Option<Target> {
    let quota = Quota::of(ring)?;
    let staying = quota.slots.iter().filter(|slots| **slots > 0.0).count();
    let mut draft = Draft::of(ring, &quota);
    draft.cut(staying.saturating_mul(PARTITIONS_PER_MEMBER).min(usize::from(SLOTS)));
    draft.give_up();
    draft.fill();
    let most = staying.saturating_mul(balance::MOST_PER_MEMBER).min(usize::from(SLOTS));
    draft.pass_on(most);
    draft.even_out(most);
    let partitions = draft.planned(ring);
    Some(Target { partitions, zone_repeats: quota.zone_repeats, ideal: quota.slots })
}
