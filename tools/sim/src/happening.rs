//! Everything that is going to happen, in the order of virtual time.
//!
//! Invariant: two things at one time happen in the order in which they were planned, so a run has one
//! order only.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use ringdove::causality::Actor;
use ringdove::ring::MemberNumber;
use ringdove::shard::Origin;
use ringdove::storage::{Batch, MemoryMake, MemorySync, SegmentJob, Ticket};
use ringdove::wire::{Frame, Message};

use crate::history::OpId;

/// One thing that is going to happen. `start` names the process that it is meant for.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A member's frame reaches a node.
    Arrive { from: usize, to: usize, breaks: u32, frame: Box<Frame> },
    /// A client's frame reaches a node.
    Request { node: usize, start: u64, origin: Origin, frame: Box<Frame> },
    /// A node's answer reaches a client.
    Reply { op: OpId, request: u64, frame: Box<Frame> },
    /// A client waits no longer.
    GiveUp { op: OpId, request: u64 },
    /// A client may do something.
    Act { session: usize },
    /// A shard's deadline has come.
    Tick { node: usize, start: u64, shard: usize },
    /// A driver ends its round.
    Flush { node: usize, start: u64, shard: usize },
    /// A sync is done, if the disk lets it.
    Synced { node: usize, start: u64, shard: usize, upto: Batch, handles: Vec<MemorySync> },
    /// A late read is done.
    Read { node: usize, start: u64, shard: usize, ticket: Ticket, result: Result<Vec<u8>, String> },
    /// A node looks who is there.
    Detect { node: usize },
    /// The next segment of a shard's log is made, if the disk lets it.
    Segment { node: usize, start: u64, shard: usize, job: SegmentJob<MemoryMake> },
    /// A node hears that its lane to a member broke.
    LaneLost { node: usize, start: u64, member: MemberNumber },
    /// A shard hears that another one of its node gave up their actor.
    Retire { node: usize, start: u64, shard: usize, old: Actor, new: Actor },
    /// The ring looks at the dead.
    Close,
    /// Some partitions of the ring take a step.
    Move,
    /// A node hears of the newest ring.
    Learn { node: usize },
    /// Something goes wrong, or is mended.
    Fault,
    /// A stopped node goes on.
    Resume { node: usize, start: u64 },
    /// A slow node is itself again.
    Recover { node: usize },
    /// A flapping link goes or comes.
    Flap { a: usize, b: usize, left: u32 },
    /// A full disk has room again.
    Room { node: usize },
}

impl Happening {
    /// Whether it may change what a node holds: the cluster is not quiet before it has happened.
    pub(crate) fn may_write(&self) -> bool {
        match self {
            Happening::Arrive { frame, .. } | Happening::Request { frame, .. } => {
                matches!(frame.message, Message::Put(_) | Message::Store(_) | Message::KeepHint(_))
            }
            _ => false,
        }
    }

    /// The process that it is meant for, if it is meant for one: a stopped one gets it later.
    pub(crate) fn process(&self) -> Option<(usize, Option<u64>)> {
        match self {
            Happening::Arrive { to, .. } => Some((*to, None)),
            Happening::Request { node, start, .. }
            | Happening::Tick { node, start, .. }
            | Happening::Flush { node, start, .. }
            | Happening::Synced { node, start, .. }
            | Happening::Read { node, start, .. }
            | Happening::Segment { node, start, .. }
            | Happening::Retire { node, start, .. }
            | Happening::LaneLost { node, start, .. } => Some((*node, Some(*start))),
            Happening::Reply { .. }
            | Happening::GiveUp { .. }
            | Happening::Act { .. }
            | Happening::Detect { .. }
            | Happening::Close
            | Happening::Move
            | Happening::Learn { .. }
            | Happening::Fault
            | Happening::Resume { .. }
            | Happening::Recover { .. }
            | Happening::Flap { .. }
            | Happening::Room { .. } => None,
        }
    }
}

#[derive(Debug)]
struct Planned {
    at: Duration,
    order: u64,
    happening: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// The heap gives the greatest first: the earliest here.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// The plan of what is to happen.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Planned>,
    planned: u64,
}

impl Agenda {
    /// Plans something.
    pub(crate) fn plan(&mut self, at: Duration, happening: Happening) {
        self.planned += 1;
        self.heap.push(Planned { at, order: self.planned, happening });
    }

    /// When the next thing happens.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|planned| planned.at)
    }

    /// When the last of the frames and disk calls is done that are under way now.
    pub(crate) fn last_under_way(&self) -> Option<Duration> {
        let under_way = |planned: &&Planned| match planned.happening {
            Happening::Arrive { .. }
            | Happening::Request { .. }
            | Happening::Flush { .. }
            | Happening::Synced { .. }
            | Happening::Read { .. }
            | Happening::Segment { .. } => true,
            Happening::Reply { .. }
            | Happening::GiveUp { .. }
            | Happening::Act { .. }
            | Happening::Tick { .. }
            | Happening::Detect { .. }
            | Happening::LaneLost { .. }
            | Happening::Retire { .. }
            | Happening::Close
            | Happening::Move
            | Happening::Learn { .. }
            | Happening::Fault
            | Happening::Resume { .. }
            | Happening::Recover { .. }
            | Happening::Flap { .. }
            | Happening::Room { .. } => false,
        };
        self.heap.iter().filter(under_way).map(|planned| planned.at).max()
    }

    /// The next thing, with its time.
    pub(crate) fn next(&mut self) -> Option<(Duration, Happening)> {
        self.heap.pop().map(|planned| (planned.at, planned.happening))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_orders_and_then_the_plan() {
        let mut agenda = Agenda::default();
        for (at, session) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            agenda.plan(Duration::from_secs(at), Happening::Act { session });
        }
        let mut order = Vec::new();
        while let Some((_, Happening::Act { session })) = agenda.next() {
            order.push(session);
        }
        assert_eq!(order, [1, 3, 0, 2]);
    }
}
