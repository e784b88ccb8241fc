//! Which rows may come after which.
//!
//! Invariant: whoever keeps to this, and to the reports that steps wait for, keeps to the model of moves. Not
//! here: members and epochs, which are the register's.

use crate::ring::{Change, Partition, Ring, RingError};

use super::same;

/// Whether the rows of `next` may come after those of `ring`.
pub fn rows_follow(next: &Ring, ring: &Ring) -> Result<(), RingError> {
    let refuse = |why: &str, at: &Partition| {
        Err(RingError(format!("the row of the partition at slot {}: {why}", at.first)))
    };
    for old in &ring.partitions {
        if next.partition(old.first).first != old.first {
            return refuse("partitions are cut, never joined", old);
        }
    }
    for (at, new) in next.partitions.iter().enumerate() {
        let old_at = ring.partition_index(new.first);
        let old = &ring.partitions[old_at];
        let cut = next.slots_of(at).count() != ring.slots_of(old_at).count();
        if cut && old.change.is_some() {
            return refuse("it is cut while a seat changes", new);
        }
        if (&new.row, &new.change) == (&old.row, &old.change) {
            if new.since != old.since {
                return refuse("it says that it changed, and did not", new);
            }
        } else if new.since != next.epoch {
            return refuse("it changed, and does not say so", new);
        } else if !is_step(old, new) {
            return refuse("that is no step of one seat", new);
        }
        if lingers_unsaid(next, old, new) {
            return refuse("who had a copy of it is not named any more", new);
        }
    }
    Ok(())
}

/// Whether one step leads from a row to another.
fn is_step(old: &Partition, new: &Partition) -> bool {
    let without = |gone| old.row.iter().copied().filter(|owner| *owner != gone).collect::<Vec<_>>();
    let with = |row: Vec<_>, new| row.into_iter().chain([new]).collect::<Vec<_>>();
    match (&old.change, &new.change) {
        (None | Some(Change::Prepare { .. }), None | Some(Change::Prepare { .. }))
        | (Some(Change::Settle { .. } | Change::Cover { .. }), None) => old.row == new.row,
        (None, Some(Change::Cover { lost, before })) => {
            *before == old.row && same(&without(*lost), &new.row)
        }
        (
            Some(Change::Prepare { incoming, outgoing }),
            Some(Change::Settle { incoming: settles, before }),
        ) => {
            let rest = outgoing.map_or_else(|| old.row.clone(), without);
            incoming == settles
                && *before == [old.row.clone()]
                && same(&with(rest, *incoming), &new.row)
        }
        (
            Some(Change::Settle { incoming, before: earlier }),
            Some(Change::Settle { incoming: settles, before }),
        ) => {
            let sets = earlier.iter().chain([&old.row]);
            !old.row.contains(settles)
                && before.iter().eq(sets)
                && same(&with(without(*incoming), *settles), &new.row)
        }
        (
            Some(Change::Cover { before: longer, .. }),
            Some(Change::Settle { incoming: settles, before }),
        ) => {
            *before == [longer.clone(), old.row.clone()]
                && same(&with(old.row.clone(), *settles), &new.row)
        }
        (None, Some(Change::Settle { .. }))
        | (Some(Change::Settle { .. }), Some(Change::Prepare { .. } | Change::Cover { .. }))
        | (Some(Change::Cover { .. }), Some(Change::Prepare { .. } | Change::Cover { .. }))
        | (Some(Change::Prepare { .. }), Some(Change::Cover { .. })) => false,
    }
}

/// Whether somebody had a copy of a row, has no part in it now, and is not listed as one that lingers.
fn lingers_unsaid(next: &Ring, old: &Partition, new: &Partition) -> bool {
    let had = old.row.iter().copied().chain(old.incoming());
    let mut gone = had.filter(|member| next.member(*member).is_some() && !new.is_sent(*member));
    gone.any(|member| !new.former.contains(&member))
}
