//! The operator's last resort: the next ring without a quorum.
//!
//! When a majority of a ring's members is gone for good, nobody can decide on the next ring any more. An operator who
//! knows that they are gone, and that no second half lives somewhere, forces an epoch among those left. The new ring
//! is of a new *lineage*: whoever knows it refuses the rings of the lineage before, loudly, so the half that was
//! given up cannot come back and act as if nothing had happened.
//!
//! Invariant: this is the only way to a ring without a quorum, and never taken by the node itself. Not here: what the
//! rows that lost owners do about it (they have fewer owners until they are given new ones).

use std::collections::BTreeSet;

use thiserror::Error;

use super::{Output, Register, highest};
use crate::ring::{Epoch, MemberNumber, NodeId, Partition, Ring};
use crate::wire::control::ControlMessage;

/// How far a forced epoch goes ahead: further than the side that was given up ever gets.
const AHEAD: u32 = 1_000_000;

/// Why nothing was forced. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ForceError {
    /// There is no ring to begin with.
    #[error("this node has no ring")]
    NoRing,
    /// Somebody named is no member, or this node itself is not named.
    #[error("the members left must be members of the ring, and this node one of them")]
    NotLeft,
    /// It was forced too often.
    #[error("no more epochs can be forced")]
    TooOften,
}

impl Register {
    /// The next ring is that of these members, whoever else there was. It is told to them.
    pub fn force(
        &mut self,
        left: &BTreeSet<NodeId>,
        out: &mut Vec<Output>,
    ) -> Result<Epoch, ForceError> {
        let Some(ring) = self.kept.ring.clone() else { return Err(ForceError::NoRing) };
        let known = left.iter().all(|id| ring.member_by_id(*id).is_some());
        if !known || !left.contains(&self.me) || ring.member_by_id(self.me).is_none() {
            return Err(ForceError::NotLeft);
        }
        let epoch = ring.epoch.0.checked_add(AHEAD).ok_or(ForceError::TooOften)?;
        let lineage = ring.lineage.checked_add(1).ok_or(ForceError::TooOften)?;
        let next = among(&ring, left, Epoch(epoch), lineage);
        let sentence = format!(
            "an operator forced epoch {epoch} with {} of {} members; the others are given up",
            next.members.len(),
            ring.members.len()
        );
        out.push(Output::Say(log::Level::Error, sentence));
        self.fork = None;
        self.learn(next.clone(), out);
        for id in left.iter().filter(|id| **id != self.me) {
            out.push(Output::Tell(*id, ControlMessage::Ring(Box::new(next.clone()))));
        }
        Ok(Epoch(epoch))
    }
}

/// The ring of those left. A row keeps its owners that are left; one without any is given to all that its
/// copies suffice for.
fn among(ring: &Ring, left: &BTreeSet<NodeId>, epoch: Epoch, lineage: u16) -> Ring {
    let members: Vec<_> =
        ring.members.iter().filter(|member| left.contains(&member.id)).cloned().collect();
    let here = |number: &MemberNumber| members.iter().any(|member| member.number == *number);
    let copies = usize::from(ring.settings.copies);
    let partition = |(index, old): (usize, &Partition)| {
        let row: Vec<_> = old.row.iter().copied().filter(here).collect();
        if row == old.row && old.change.is_none() && old.goal.is_none() {
            let former = old.former.iter().copied().filter(here).collect();
            return Partition { former, ..old.clone() };
        }
        let places =
            (0..members.len()).map(|place| members[(index + place) % members.len()].number);
        let row = if row.is_empty() { places.take(copies).collect() } else { row };
        // Whoever else has a copy, or a part of one, lets the owners pull before it drops that.
        let lingers = |number: &MemberNumber| here(number) && !row.contains(number);
        let former = old.parties().into_iter().filter(lingers).collect();
        Partition { since: epoch, former, ..Partition::settled(old.first, row) }
    };
    let partitions = ring.partitions.iter().enumerate().map(partition).collect();
    let (previous, highest) = (ring.hash(), highest(ring));
    Ring { epoch, previous, members, partitions, highest, lineage, ..ring.clone() }
}
