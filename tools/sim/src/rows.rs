//! Rows whose seats change hands, seen from above: what has to be on which disks the moment it counts.
//!
//! | checker | says |
//! |---|---|
//! | whole | a write that a quorum of owners acknowledged is with a majority of the row, whenever no seat of it settles |
//! | early drop | who lost its seat drops its copy only when every owner has all of it |
//!
//! Both look at disks as of their last sync. A stale read and a lost value may follow much later, or never, because
//! something else happened to mend it; here the mistake itself is seen.
//!
//! Invariant: what is asked for is known from the ring that was decided, from what clients were told, and from disks, not from what
//! shards say that they have done. Not here: disks that lost what they had synced (`amnesia`): from then on nothing is claimed.

use ringdove::causality::{Dot, DotSet};
use ringdove::ring::{Change, MemberNumber, Slot};
use ringdove::storage::{Options, Store};

use crate::history::OpId;
use crate::node::place;
use crate::world::World;

/// A write that a quorum of owners has, as its client was told.
#[derive(Debug, Clone, Copy)]
struct Quorum {
    slot: Slot,
    dot: Dot,
    op: OpId,
}

/// What is known of rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    quorums: Vec<Quorum>,
}

/// A copy whose node has lost its seat.
pub(crate) struct OldCopy {
    slot: Slot,
    clock: DotSet,
    owners: Vec<MemberNumber>,
}

impl World {
    /// A client was told that a quorum of owners has its write.
    pub(crate) fn note_quorum(&mut self, op: OpId, slot: Slot, dot: Dot) {
        if self.mix.moves.is_some() {
            let quorum = Quorum { slot, dot, op };
            self.rows.quorums.push(quorum);
            self.check_whole(slot, &[quorum]);
        }
    }

    /// No seat of a slot's row settles any more.
    pub(crate) fn note_whole(&mut self, slot: Slot) {
        let of_slot = |quorum: &&Quorum| quorum.slot == slot;
        let quorums: Vec<Quorum> = self.rows.quorums.iter().filter(of_slot).copied().collect();
        self.check_whole(slot, &quorums);
    }

    fn check_whole(&mut self, slot: Slot, quorums: &[Quorum]) {
        let partition = self.ring.partition(slot);
        let settles =
            matches!(partition.change, Some(Change::Settle { .. } | Change::Cover { .. }));
        if settles || quorums.is_empty() {
            return;
        }
        let row = partition.row.clone();
        let Some(clocks) = self.durable_clocks(slot, &row) else { return };
        for quorum in quorums {
            let with = clocks.iter().filter(|clock| clock.contains(quorum.dot)).count();
            self.counts.whole += 1;
            if with < row.len() / 2 + 1 {
                let write = self.history.describe(quorum.op);
                let what = format!("{with} of the owners {row:?} of slot {slot} have {write}");
                return self.violate("whole", what);
            }
        }
    }

    /// The clocks that these members have on their disks, as long as no disk has lost any.
    fn durable_clocks(&self, slot: Slot, members: &[MemberNumber]) -> Option<Vec<DotSet>> {
        if self.counts.flips + self.counts.restores > 0 {
            return None;
        }
        let options = Options { segment_bytes: self.mix.disks.segment_bytes, last_life: None };
        let clock = |member: &MemberNumber| {
            let node = &self.nodes[place(*member)];
            let disk = &node.disks[usize::from(slot.shard(node.disks.len() as u16))];
            let (store, _) = Store::open(disk.durable_copy(0), options).ok()?;
            Some(store.clock(slot).clone())
        };
        members.iter().map(clock).collect()
    }

    /// What a shard has a copy of although its node knows that it has no seat.
    pub(crate) fn old_copies(&self, node: usize, shard: usize) -> Vec<OldCopy> {
        if self.mix.moves.is_none() {
            return Vec::new();
        }
        let Some(process) = &self.nodes[node].process else { return Vec::new() };
        let ring = &self.nodes[node].ring;
        let store = process.shards[shard].shard.store();
        let shards = process.shards.len() as u16;
        let mut slots: Vec<Slot> = self.history.keys.iter().map(|key| key.slot).collect();
        slots.dedup();
        let of_shard = |slot: &Slot| usize::from(slot.shard(shards)) == shard;
        let old = slots.into_iter().filter(of_shard).filter_map(|slot| {
            let (partition, clock) = (ring.partition(slot), store.clock(slot));
            let old = !partition.is_sent(self.number(node)) && !clock.is_empty();
            old.then(|| OldCopy { slot, clock: clock.clone(), owners: partition.row.clone() })
        });
        old.collect()
    }

    /// After a step: whether copies that are gone now were covered.
    pub(crate) fn check_drops(&mut self, node: usize, shard: usize, before: Vec<OldCopy>) {
        for OldCopy { slot, clock, owners } in before {
            let Some(process) = &self.nodes[node].process else { return };
            if !process.shards[shard].shard.store().clock(slot).is_empty() {
                continue;
            }
            let Some(clocks) = self.durable_clocks(slot, &owners) else { continue };
            self.counts.drops_checked += 1;
            for (owner, has) in owners.iter().zip(&clocks) {
                if !clock.is_within(has) {
                    let what = format!(
                        "n{} drops {clock} of slot {slot}, and n{owner} has {has} on its disk",
                        node + 1
                    );
                    return self.violate("early drop", what);
                }
            }
        }
    }
}
