//! Who decides: a majority of a ring's members, or half of an even ring with the oldest among it.
//!
//! Invariant: two quorums of one ring meet. Not here: what they decide.

use crate::ring::{Member, NodeId, Ring};
use crate::rules::{Rule, holds};

/// The oldest of some members: by the epoch that brought it in, then by number.
fn oldest(ring: &Ring) -> Option<&Member> {
    ring.members.iter().min_by_key(|member| (member.since, member.number))
}

/// Whether those members of the ring of whom `has` is true are a quorum. Two members of two can
/// decide, and so can one of them: the older one.
pub fn quorum(ring: &Ring, has: impl Fn(NodeId) -> bool) -> bool {
    let count = ring.members.iter().filter(|member| has(member.id)).count();
    let half = 2 * count == ring.members.len();
    let with_oldest = || oldest(ring).is_some_and(|member| has(member.id));
    2 * count > ring.members.len() || (half && (with_oldest() || !holds(Rule::OldestHalf)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::ring_of;
    use super::*;

    #[test]
    fn two_quorums_meet() {
        for size in 1..=7_u32 {
            let ring = ring_of(&(1..=size).map(u128::from).collect::<Vec<_>>());
            let quorums: Vec<u32> = (0..1 << size)
                .filter(|set| quorum(&ring, |id| set & (1 << (id.0 - 1)) != 0))
                .collect();
            assert!(quorums.contains(&((1 << size) - 1)), "all of {size} can decide");
            for (a, b) in quorums.iter().flat_map(|a| quorums.iter().map(move |b| (a, b))) {
                assert_ne!(a & b, 0, "{a:b} and {b:b} of {size} do not meet");
            }
        }
    }
}
