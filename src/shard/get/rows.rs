//! Reads whose row changes while they are under way, or has an owner that does not count yet.
//!
//! Invariant: only owners of the row as this node knows it count, each by what it said when it was asked by this very step
//! of the row. A read waits for an owner that settles as long as it has time, for that is a matter of a moment and not of
//! a repair. Not here: how it settles (`seats`).

use super::GetRequest;
use crate::ring::{MemberNumber, View};
use crate::shard::Shard;
use crate::shard::requests::Request;
use crate::shard::seats::readers;
use crate::storage::Disk;

impl<D: Disk> Shard<D> {
    /// The row has changed while the read was under way: it begins anew, under another id. What was said by the row before
    /// counts no more, and what is still to come does not either: whoever said it may have lost its seat in between, and
    /// have come into it again.
    pub(in crate::shard) fn get_reseat(&mut self, view: &View, id: u64, mut get: GetRequest) {
        let partition = view.ring.partition(get.token.slot());
        if get.since == partition.since || get.asker.is_none() {
            return self.requests.restore(id, Request::Get(get));
        }
        let id = self.requests.renew(id);
        get.forget_answers();
        (get.since, get.row) = (partition.since, readers(partition));
        get.needed = get.level.needed(partition.row.len());
        self.look_here(&mut get);
        let others = get.row.iter().copied().filter(|owner| *owner != view.me);
        get.spare = others.filter(|owner| view.is_up(*owner)).collect();
        for _ in get.counted()..get.needed {
            self.ask_another(id, &mut get);
        }
        let wake = self.now.elapsed + get.patience;
        self.requests.rearm(id, wake.min(get.deadline));
        self.advance_get(id, get);
    }

    /// An owner has another row than this node. It is asked again, in a while or when this node knows better.
    pub(in crate::shard) fn get_other_row(
        &mut self,
        id: u64,
        mut get: GetRequest,
        from: MemberNumber,
    ) {
        if !get.asked.remove(&from) || get.asker.is_none() {
            return self.get_lost(id, get, from);
        }
        self.ask_again_soon(id, &mut get, from);
        self.ask_another(id, &mut get);
        self.advance_get(id, get);
    }

    /// Whether the read has all it needs once an owner that has answered has settled.
    pub(super) fn may_settle(&self, get: &GetRequest) -> bool {
        let Some(view) = self.view.as_ref().filter(|_| get.asker.is_some()) else { return false };
        let settling = view.ring.partition(get.slot()).settling();
        settling.is_some_and(|(member, _)| get.recovering.contains(&member))
            && get.counted() + 1 >= get.needed
            && self.now.elapsed < get.deadline
    }

    /// Asks the owner that settles again after a while.
    pub(super) fn wait_to_settle(&mut self, id: u64, mut get: GetRequest) {
        let view = self.view.as_ref().expect("admitted only with a ring");
        let settling = view.ring.partition(get.slot()).settling();
        if let Some((member, _)) = settling {
            self.ask_again_soon(id, &mut get, member);
        }
        self.requests.restore(id, Request::Get(get));
    }

    pub(super) fn ask_again_soon(&mut self, id: u64, get: &mut GetRequest, owner: MemberNumber) {
        get.elsewhere.insert(owner);
        let soon = self.now.elapsed + self.config.row_retry;
        self.requests.rearm(id, soon.min(get.deadline));
    }

    /// Has those asked again that had another row, or did not count yet.
    pub(super) fn ask_elsewhere(&mut self, get: &mut GetRequest) {
        let elsewhere = std::mem::take(&mut get.elsewhere);
        let (here, others): (Vec<_>, Vec<_>) =
            elsewhere.into_iter().partition(|owner| self.is_me(*owner));
        if !here.is_empty() && !get.loading {
            self.look_here(get);
        }
        get.spare.extend(others);
    }
}
