//! Starting, driving and ending the processes of nodes: what `server` does for real ones.
//!
//! Invariant: as in the real driver, a shard is stepped, then flushed, then its batches are synced one
//! job after the other; nothing is told to be synced before the disk says so.

use std::time::Duration;

use ringdove::shard::Event;
use ringdove::storage::{
    Batch, DiskCall, Life, MemoryDisk, MemoryMake, MemorySync, Options, SegmentJob, StoreError,
    SyncHandle, SyncJob, Ticket,
};

use crate::happening::Happening;
use crate::node::Start;
use crate::world::World;

/// A shard asks for time no sooner than after this: a deadline in the past must not stop the clock.
const TICK_MIN: Duration = Duration::from_micros(50);
/// How long a segment takes to be made, and how long after a failure it is tried again.
const SEGMENT_TAKES: Duration = Duration::from_millis(3);
const SEGMENT_RETRY: Duration = Duration::from_secs(1);

impl World {
    /// Starts a node on its disks as they are.
    pub(crate) fn start(&mut self, node: usize) {
        let start = Start {
            drawn: self.life_dice.bits(),
            seed: self.life_dice.bits(),
            at: self.now,
            config: self.mix.config.clone(),
            options: Options { segment_bytes: self.mix.disks.segment_bytes, last_life: None },
        };
        let again = self.nodes[node].starts > 0;
        let life = match self.nodes[node].start(&start) {
            Ok(life) => life,
            Err(why) => return self.does_not_start(node, &why),
        };
        if std::mem::take(&mut self.nodes[node].rotten) {
            // It reads whole, so what turned over was in its last batches, and they are cut off.
            if !self.nodes[node].recovers() {
                self.unnoticed();
            }
            self.excuse();
        }
        self.closing.starts(node);
        self.counts.restarts += u64::from(again);
        self.counts.lives_kept += u64::from(matches!(life, Life::Kept(_)));
        self.counts.recoveries += u64::from(self.nodes[node].recovers());
        self.trace.line(self.now, || format!("n{} starts, {life:x?}", node + 1));
        let others: Vec<_> = self.ring.members.iter().map(|member| member.number).collect();
        let me = self.number(node);
        self.nodes[node].believes =
            others.into_iter().filter(|other| *other != me).map(|other| (other, false)).collect();
        for shard in 0..self.nodes[node].disks.len() {
            self.make_ahead(node, shard, SEGMENT_TAKES);
        }
        self.publish_view(node);
        self.plan_learning(node);
    }

    /// A store did not open. A disk that fails is tried again later; damage is mended, if there is a
    /// reason for it.
    fn does_not_start(&mut self, node: usize, why: &StoreError) {
        self.trace.line(self.now, || format!("n{} does not start: {why}", node + 1));
        let failed =
            |disk: &MemoryDisk| DiskCall::ALL.iter().any(|call| disk.failed_calls(*call) > 0);
        match why {
            StoreError::Io(_)
                if self.nodes[node].full || self.nodes[node].disks.iter().any(failed) =>
            {
                self.counts.failed_starts += 1;
            }
            StoreError::Damaged { .. } | StoreError::Foreign { .. } if self.nodes[node].rotten => {
                self.mend_logs(node);
                self.start(node);
            }
            StoreError::Io(_)
            | StoreError::Damaged { .. }
            | StoreError::Foreign { .. }
            | StoreError::Rotten(_)
            | StoreError::Poisoned(_) => {
                self.violate("recovery", format!("n{} does not start: {why}", node + 1));
            }
        }
    }

    /// Tells a node's shards what it thinks of the cluster.
    pub(crate) fn publish_view(&mut self, node: usize) {
        let view = self.nodes[node].view(&self.mix.shards);
        self.trace.line(self.now, || {
            let up = view.peers.keys().filter(|peer| view.is_up(**peer));
            let up: Vec<String> = up.map(|peer| format!("n{peer}")).collect();
            format!("n{} sees {}", node + 1, up.join(" "))
        });
        self.step_all(node, |_| Event::View(view.clone()));
    }

    /// Ends a node's process at once. What was written stays written.
    pub(crate) fn kill(&mut self, node: usize) {
        self.close_books(node);
        if !self.nodes[node].end_process() {
            return;
        }
        self.trace.line(self.now, || format!("n{} is killed", node + 1));
        for other in 0..self.nodes.len() {
            if other != node {
                self.lose_lane(node, other);
            }
        }
        self.clients_lose(node);
    }

    /// Whether the process of a node can account for its hints.
    pub(crate) fn close_books(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        for (index, running) in process.shards.iter().enumerate() {
            let metrics = running.shard.metrics();
            let kept = running.shard.store().hints().count() as u64;
            let gone = metrics.hints_delivered + metrics.hints_superseded;
            self.counts.books += u64::from(gone > 0);
            self.counts.superseded += metrics.hints_superseded;
            if metrics.hints_created != gone + kept || metrics.hints_pending != kept {
                let what =
                    format!("n{}/{index} keeps {kept} hints, and says {metrics:?}", node + 1);
                return self.violate("hint books", what);
            }
        }
    }

    /// Breaks the lanes between two nodes, and lets both hear of it.
    pub(crate) fn lose_lane(&mut self, a: usize, b: usize) {
        self.network.break_lanes(a, b);
        for (node, other) in [(a, b), (b, a)] {
            let Some(process) = &self.nodes[node].process else { continue };
            let start = process.start;
            let member = self.number(other);
            let wait = self.fault_dice.micros(0, 20_000);
            self.plan_in(wait, Happening::LaneLost { node, start, member });
        }
    }

    /// Lets a stopped node go on with all that waited for it.
    pub(crate) fn resume(&mut self, node: usize, start: u64) {
        if !self.nodes[node].runs(start) {
            return;
        }
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(waiting) = process.paused.take() else { return };
        for happening in waiting {
            self.writes_under_way += u64::from(happening.may_write());
            self.plan_in(Duration::ZERO, happening);
        }
        self.nodes[node].pauses += 1;
        self.trace.line(self.now, || format!("n{} goes on", node + 1));
    }

    /// Whether one of a node's stores refuses writes.
    pub(crate) fn is_poisoned(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.is_some_and(|process| process.shards.iter().any(|running| running.poisoned))
    }

    /// After a step: a flush, a tick, and late reads are on the way.
    pub(crate) fn after_step(&mut self, node: usize, shard: usize) {
        let slowdown = self.nodes[node].slowdown;
        let Some(process) = &mut self.nodes[node].process else { return };
        let (start, since) = (process.start, process.since);
        let running = &mut process.shards[shard];
        if !running.flush_due {
            running.flush_due = true;
            let wait = self.disk_dice.micros(0, self.mix.disks.gather) * slowdown;
            self.agenda.plan(self.now + wait, Happening::Flush { node, start, shard });
        }
        if let Some(deadline) = running.shard.next_deadline() {
            let at = (since + deadline).max(self.now + TICK_MIN);
            if running.tick_at.is_none_or(|planned| at < planned) {
                running.tick_at = Some(at);
                self.agenda.plan(at, Happening::Tick { node, start, shard });
            }
        }
        if self.mix.disks.later > 0.0 {
            let (low, high) = self.mix.disks.read;
            for (ticket, result) in self.nodes[node].disks[shard].take_due_reads() {
                self.counts.later_reads += 1;
                let wait = self.disk_dice.micros(low, high) * slowdown;
                let read = Happening::Read { node, start, shard, ticket, result };
                self.agenda.plan(self.now + wait, read);
            }
        }
    }

    /// A shard's deadline has come.
    pub(crate) fn tick(&mut self, node: usize, shard: usize) {
        let now = self.now;
        if let Some(process) = &mut self.nodes[node].process {
            let planned = &mut process.shards[shard].tick_at;
            if planned.is_some_and(|at| at <= now) {
                *planned = None;
            }
        }
        self.step(node, shard, Event::Tick);
    }

    /// A driver ends its round.
    pub(crate) fn flush(&mut self, node: usize, shard: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let running = &mut process.shards[shard];
        running.flush_due = false;
        let flushed = running.shard.flush();
        self.make_ahead(node, shard, SEGMENT_TAKES);
        self.take_flushed(node, shard, flushed);
    }

    fn take_flushed(
        &mut self,
        node: usize,
        shard: usize,
        flushed: Result<Option<SyncJob<MemorySync>>, StoreError>,
    ) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let running = &mut process.shards[shard];
        match flushed {
            Ok(None) => {}
            Ok(Some(job)) => {
                match &mut running.unsynced {
                    Some(waiting) => {
                        waiting.upto = job.upto;
                        waiting.handles.extend(job.handles);
                    }
                    none => *none = Some(job),
                }
                self.sync_next(node, shard);
            }
            Err(why) => {
                if !running.poisoned {
                    running.poisoned = true;
                    self.step(node, shard, Event::SyncFailed(why.to_string()));
                }
            }
        }
    }

    /// Has a shard's next segment made when it is time for that.
    fn make_ahead(&mut self, node: usize, shard: usize, wait: Duration) {
        let slowdown = self.nodes[node].slowdown;
        let Some(process) = &mut self.nodes[node].process else { return };
        let start = process.start;
        if let Some(job) = process.shards[shard].shard.store_mut().segment_job() {
            self.plan_in(wait * slowdown, Happening::Segment { node, start, shard, job });
        }
    }

    /// A segment is made, if the disk lets it; if not, it is tried again later.
    pub(crate) fn segment_made(&mut self, node: usize, shard: usize, job: SegmentJob<MemoryMake>) {
        let made = job.run();
        let wait = if made.result.is_ok() { SEGMENT_TAKES } else { SEGMENT_RETRY };
        self.counts.segments_refused += u64::from(made.result.is_err());
        let Some(process) = &mut self.nodes[node].process else { return };
        let store = process.shards[shard].shard.store_mut();
        let waited_for = store.full(0).is_some();
        store.on_segment(made);
        self.make_ahead(node, shard, wait);
        if waited_for {
            self.flush(node, shard);
        }
    }

    fn sync_next(&mut self, node: usize, shard: usize) {
        let slowdown = self.nodes[node].slowdown;
        let Some(process) = &mut self.nodes[node].process else { return };
        let start = process.start;
        let running = &mut process.shards[shard];
        if running.syncing {
            return;
        }
        if let Some(job) = running.unsynced.take() {
            running.syncing = true;
            let (low, high) = self.mix.disks.sync;
            let wait = self.disk_dice.micros(low, high) * slowdown;
            let (upto, handles) = (job.upto, job.handles);
            self.plan_in(wait, Happening::Synced { node, start, shard, upto, handles });
        }
    }

    /// A sync is done, if the disk lets it.
    pub(crate) fn synced(
        &mut self,
        node: usize,
        shard: usize,
        upto: Batch,
        handles: &[MemorySync],
    ) {
        let result = handles.iter().try_for_each(SyncHandle::sync);
        let Some(process) = &mut self.nodes[node].process else { return };
        let running = &mut process.shards[shard];
        running.syncing = false;
        match result {
            Ok(()) if running.poisoned => {}
            Ok(()) => {
                let name = node + 1;
                self.trace.line(self.now, || format!("n{name}/{shard} synced up to {}", upto.0));
                let mut excuse = std::mem::take(&mut running.excuse_due);
                if excuse && running.unsynced.is_some() {
                    (running.excuse_due, excuse) = (true, false);
                }
                self.step(node, shard, Event::Synced(upto));
                if excuse {
                    self.excuse();
                }
            }
            Err(why) => {
                running.poisoned = true;
                self.counts.failed_syncs += 1;
                self.trace.line(self.now, || format!("n{}/{shard} sync fails", node + 1));
                self.step(node, shard, Event::SyncFailed(why.to_string()));
            }
        }
        self.sync_next(node, shard);
    }

    /// A late read is done.
    pub(crate) fn read_done(
        &mut self,
        node: usize,
        shard: usize,
        ticket: Ticket,
        result: Result<Vec<u8>, String>,
    ) {
        self.step(node, shard, Event::Read(ticket, result));
    }
}
