//! The eye above the cluster: it sees every frame and every dump, and knows which dot is which write.
//!
//! Invariant: one slot and dot name one event, ever. Seeing two is a violation at once, long before
//! anything is lost by it.
//! Is: the checker *dots are unique*, and the book of which operation minted which dots.
//! Is not: a judge of what clients see (`checkers`).

use std::collections::BTreeMap;

use ringdove::causality::{Delta, Dot, DotSet, Value};
use ringdove::key::Key;
use ringdove::ring::Slot;
use ringdove::wire::{Decline, Frame, Message, Reason};

use crate::checkers::Violation;
use crate::counts::Counts;
use crate::history::{History, OpId};

/// What a dot was seen to name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// A value: whose, and a checksum of everything in it.
    Value { key: Key, crc: u32 },
    /// A delete.
    Delete { key: Key },
}

/// Everything seen so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    events: BTreeMap<(Slot, Dot), Event>,
    ops: BTreeMap<(Slot, Dot), OpId>,
    /// What is wrong already.
    pub(crate) violations: Vec<Violation>,
}

impl Watch {
    /// The operation that a dot was minted for, if that was seen.
    pub(crate) fn op(&self, slot: Slot, dot: Dot) -> Option<OpId> {
        self.ops.get(&(slot, dot)).copied()
    }

    /// Every dot that was minted for an operation.
    pub(crate) fn dots(&self) -> impl Iterator<Item = (Slot, Dot)> + '_ {
        self.ops.keys().copied()
    }

    /// The operations whose dots in a slot are in this context.
    pub(crate) fn covered(&self, slot: Slot, context: &DotSet) -> Vec<OpId> {
        let of_slot = self.ops.iter().filter(|((other, _), _)| *other == slot);
        of_slot.filter(|((_, dot), _)| context.contains(*dot)).map(|(_, op)| *op).collect()
    }

    /// Notes that a dot was minted for an operation.
    pub(crate) fn minted(&mut self, history: &mut History, slot: Slot, dot: Dot, op: OpId) {
        match self.ops.insert((slot, dot), op) {
            None => history.op_mut(op).dots.push(dot),
            Some(before) if before == op => {}
            Some(before) => {
                let (before, op) = (history.describe(before), history.describe(op));
                let what = format!("slot {slot} dot {dot} names {before} and {op}");
                self.violations.push(Violation::new("dots unique", what));
            }
        }
    }

    /// Looks at a value beside its dot.
    pub(crate) fn value(
        &mut self,
        history: &mut History,
        slot: Slot,
        key: &Key,
        dot: Dot,
        value: &Value,
    ) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        self.event(slot, dot, Event::Value { key: key.clone(), crc: crc32c::crc32c(&bytes) });
        match history.by_operation(value.meta.operation) {
            Some(op) => self.minted(history, slot, dot, op),
            None => {
                let what = format!("dot {dot} of {key} names an operation nobody asked for");
                self.violations.push(Violation::new("phantom", what));
            }
        }
    }

    fn event(&mut self, slot: Slot, dot: Dot, event: Event) {
        let known = self.events.entry((slot, dot)).or_insert_with(|| event.clone());
        if *known != event {
            let what = format!("slot {slot} dot {dot} is {known:?} and {event:?}");
            self.violations.push(Violation::new("dots unique", what));
        }
    }

    fn delta(&mut self, history: &mut History, slot: Slot, key: &Key, delta: &Delta<Value>) {
        for (dot, value) in &delta.values {
            self.value(history, slot, key, *dot, value);
        }
        if let Some(dot) = delta.deleted {
            self.event(slot, dot, Event::Delete { key: key.clone() });
        }
    }

    /// Looks at a frame on its way.
    pub(crate) fn frame(&mut self, history: &mut History, counts: &mut Counts, frame: &Frame) {
        counts.frames += 1;
        let slot = frame.slot;
        match &frame.message {
            Message::Store(store) => {
                match store.reason {
                    Reason::Write | Reason::Sync => {}
                    Reason::Repair => counts.repairs += 1,
                    Reason::Hint => counts.hints_delivered += 1,
                }
                self.delta(history, slot, &store.key, &store.delta);
            }
            Message::KeepHint(hint) => {
                counts.hints_kept += 1;
                self.delta(history, slot, &hint.key, &hint.delta);
            }
            Message::Page(page) => {
                counts.sync_pages += u64::from(!page.entries.is_empty());
                counts.full_pages += u64::from(page.mark.is_some());
                for (key, entry) in &page.entries {
                    for (dot, value) in entry.values() {
                        if let Some(value) = value {
                            self.value(history, slot, key, *dot, value);
                        }
                    }
                }
            }
            Message::Put(put) => counts.forwards += u64::from(put.forwarded),
            Message::Get(get) => counts.forwards += u64::from(get.forwarded),
            Message::Declined(Decline::Full) => counts.full_refusals += 1,
            Message::Declined(Decline::Damaged) => counts.unreadable += 1,
            Message::Declined(_)
            | Message::PutReply(_)
            | Message::GetReply(_)
            | Message::Failure(_)
            | Message::Question(_)
            | Message::Answer(_)
            | Message::Stored
            | Message::Fetch(_)
            | Message::Fetched(_)
            | Message::Summary(_)
            | Message::SlotHashes(_)
            | Message::ClocksWanted(_)
            | Message::Clocks(_)
            | Message::ClosingWanted(_)
            | Message::Closing(_)
            | Message::Ask(_)
            | Message::Inspect(_)
            | Message::Inspected(_)
            | Message::Count(_)
            | Message::Counted(_) => {}
        }
    }
}
