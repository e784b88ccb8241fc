//! One shard of one node as the reference has it: its copies, its hints, and what it waits for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::reference::{Change, Dot, Dots, Place, Said, Slot, Values, Written, join, place};
use crate::causality::{self, DotSet, Value};
use crate::key::Key;
use crate::storage::Batch;
use crate::wire::{self, Level};

/// Whom an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client, by its request.
    Client(u64),
    /// A member that sent a client's request on.
    Member(u16, u64),
}

/// A delta kept for an owner that is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) owed_to: u16,
    pub(super) key: Key,
    pub(super) change: Change,
}

/// A write under way.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) asker: Asker,
    /// The request id that its frames carry, once one was seen.
    pub(super) id: Option<u64>,
    pub(super) key: Key,
    pub(super) dot: Dot,
    pub(super) change: Change,
    /// What its writer may hand back.
    pub(super) context: Dots,
    pub(super) siblings: usize,
    pub(super) needed: usize,
    pub(super) strict: bool,
    pub(super) owners: BTreeSet<u16>,
    pub(super) fallbacks: BTreeSet<u16>,
    /// Fallbacks that were asked and whose answer counts.
    pub(super) standing: BTreeSet<u16>,
    /// The batch that it was written with, once that is known, until it is synced.
    pub(super) batch: Option<Batch>,
}

impl Put {
    pub(super) fn met(&self) -> bool {
        let fallbacks = if self.strict { 0 } else { self.fallbacks.len() };
        self.owners.len() + fallbacks >= self.needed
    }
}

/// A read under way.
#[derive(Debug)]
pub(super) struct Get {
    pub(super) asker: Asker,
    pub(super) id: Option<u64>,
    pub(super) key: Key,
    pub(super) needed: usize,
    pub(super) answers: BTreeMap<u16, Said>,
    pub(super) asked: BTreeSet<u16>,
    pub(super) replied: bool,
    pub(super) values: Values,
    pub(super) deadline: Duration,
}

impl Get {
    pub(super) fn joined(&self) -> Said {
        join(self.answers.values())
    }
}

/// An earlier attempt at a write, looked for.
#[derive(Debug)]
pub(super) struct Seek {
    pub(super) asker: Asker,
    pub(super) id: Option<u64>,
    pub(super) put: wire::Put,
    pub(super) asked: BTreeSet<u16>,
    pub(super) until: Duration,
    pub(super) found: Found,
}

/// What is known of an operation.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing of it was seen.
    Nothing,
    /// What an attempt at it wrote.
    Attempt(Change),
    /// Its name is that of another write of the key.
    Another,
}

impl Seek {
    /// Of several attempts the one seen last is gone on with.
    pub(super) fn look<'a>(
        &mut self,
        values: impl IntoIterator<Item = (&'a Dot, &'a Rc<Written>)>,
    ) {
        for (dot, value) in values {
            if value.operation == self.put.operation {
                let same = self.put.value.as_deref() == Some(value.bytes.as_slice());
                self.found =
                    if same { Found::Attempt(as_written(*dot, value)) } else { Found::Another };
            }
        }
    }
}

/// A request sent on to an owner.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) asker: Asker,
    pub(super) id: Option<u64>,
    pub(super) key: Key,
    pub(super) writes: bool,
}

/// A slot being pulled.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) peer: u16,
    pub(super) slot: u16,
    pub(super) nonce: u64,
    pub(super) after: Option<Place>,
    pub(super) began: Option<Dots>,
    pub(super) deadline: Duration,
}

/// What a member waits to hear that it is on the disk.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) to: u16,
    pub(super) request: u64,
    pub(super) batch: Batch,
    /// The change, unless it is a hint.
    pub(super) copy: Option<(u16, Place, Change)>,
}

/// What is on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) slots: BTreeMap<u16, Slot>,
    pub(super) hints: Vec<Hint>,
}

/// How many older hints of a key are looked at when a new one may have seen them.
const SUPERSEDED_LOOK: usize = 16;

/// One shard of one node.
#[derive(Debug, Default)]
pub(super) struct Seat {
    pub(super) member: u16,
    pub(super) life: u64,
    pub(super) now: Image,
    /// What was appended and not synced, by batch.
    pub(super) images: BTreeMap<Batch, Image>,
    pub(super) durable: Image,
    pub(super) saved: Option<Image>,
    // What follows is gone with the process.
    pub(super) up: BTreeSet<u16>,
    pub(super) appended: Batch,
    pub(super) synced: Batch,
    pub(super) counters: BTreeMap<u16, u64>,
    pub(super) heard: BTreeMap<(u16, u16), Dots>,
    pub(super) puts: Vec<Put>,
    pub(super) gets: Vec<Get>,
    pub(super) seeks: Vec<Seek>,
    /// What was coordinated in this life, by operation.
    pub(super) operations: BTreeMap<u128, (Key, Change)>,
    pub(super) forwards: Vec<Forward>,
    pub(super) exchanges: BTreeMap<u64, Exchange>,
    /// Hints on their way, to whom, and until when.
    pub(super) deliveries: BTreeMap<u64, (u16, Hint, Duration)>,
    pub(super) owed: Vec<Owed>,
    pub(super) rounds: BTreeMap<(u16, u16), u64>,
}

impl Seat {
    /// A new process on what is on the disk.
    pub(super) fn start(&mut self, life: u64) {
        let Seat { member, now, durable, saved, .. } = std::mem::take(self);
        *self = Seat { member, life, now, durable, saved, ..Seat::default() };
    }

    pub(super) fn slot(&mut self, slot: u16) -> &mut Slot {
        self.now.slots.entry(slot).or_default()
    }

    pub(super) fn mint(&mut self, slot: u16) -> Dot {
        let counter = self.counters.entry(slot).or_default();
        *counter += 1;
        ((u64::from(self.member) << 48) | self.life, *counter)
    }

    /// Who is lost answers nothing any more.
    pub(super) fn lost(&mut self, member: u16) {
        for get in &mut self.gets {
            get.asked.remove(&member);
        }
        for seek in &mut self.seeks {
            seek.asked.remove(&member);
        }
        for put in &mut self.puts {
            put.standing.remove(&member);
        }
        self.exchanges.retain(|_, exchange| exchange.peer != member);
        self.deliveries.retain(|_, (to, _, _)| *to != member);
    }

    /// The same for one request.
    pub(super) fn declined(&mut self, member: u16, id: u64) {
        for get in self.gets.iter_mut().filter(|get| get.id == Some(id)) {
            get.asked.remove(&member);
        }
        for seek in self.seeks.iter_mut().filter(|seek| seek.id == Some(id)) {
            seek.asked.remove(&member);
        }
        for put in self.puts.iter_mut().filter(|put| put.id == Some(id)) {
            put.standing.remove(&member);
        }
        if self.deliveries.get(&id).is_some_and(|(to, _, _)| *to == member) {
            self.deliveries.remove(&id);
        }
    }

    /// What is late is given up.
    pub(super) fn tick(&mut self, now: Duration) {
        for get in self.gets.iter_mut().filter(|get| get.deadline <= now) {
            get.asked.clear();
        }
        for seek in self.seeks.iter_mut().filter(|seek| seek.until <= now) {
            seek.asked.clear();
        }
        self.exchanges.retain(|_, exchange| exchange.deadline > now);
        self.deliveries.retain(|_, (_, _, deadline)| *deadline > now);
    }

    /// All batches up to this one are durable.
    pub(super) fn on_synced(&mut self, upto: Batch, row: &[u16]) {
        let later = self.images.split_off(&Batch(upto.0 + 1));
        if let Some((_, image)) = std::mem::replace(&mut self.images, later).pop_last() {
            self.durable = image;
        }
        self.synced = self.synced.max(upto);
        let owner = row.contains(&self.member);
        for put in self.puts.iter_mut().filter(|put| put.batch.is_some_and(|at| at <= upto)) {
            put.batch = None;
            if owner { &mut put.owners } else { &mut put.fallbacks }.insert(self.member);
        }
    }

    /// A member has on its disk what it was sent with this request. Whether that removes a hint.
    pub(super) fn on_stored(&mut self, from: u16, id: u64, row: &[u16]) -> bool {
        for put in self.puts.iter_mut().filter(|put| put.id == Some(id)) {
            if row.contains(&from) {
                put.owners.insert(from);
            } else if put.standing.remove(&from) {
                put.fallbacks.insert(from);
            }
        }
        if self.deliveries.get(&id).is_none_or(|(to, _, _)| *to != from) {
            return false;
        }
        let Some((_, hint, _)) = self.deliveries.remove(&id) else { return false };
        let at = self.now.hints.iter().position(|kept| *kept == hint);
        at.map(|at| self.now.hints.remove(at)).is_some()
    }

    /// Keeps a hint, unless it is kept already, and drops older ones that its writer had seen. How many.
    pub(super) fn keep(&mut self, hint: Hint) -> usize {
        let of_key = || (0..self.now.hints.len()).filter(|at| self.now.hints[*at].key == hint.key);
        let same = |at: usize| {
            let kept = &self.now.hints[at];
            kept.owed_to == hint.owed_to && kept.change.dots() == hint.change.dots()
        };
        if of_key().rev().take(SUPERSEDED_LOOK).any(same) {
            return 0;
        }
        let seen = |at: &usize| {
            let older = &self.now.hints[*at];
            let all = older.change.dots().into_iter().all(|dot| hint.change.context.has(dot));
            all && older.owed_to == hint.owed_to
        };
        let latest = of_key().rev().take(SUPERSEDED_LOOK);
        let dropped: Vec<usize> = latest.filter(seen).collect();
        for at in &dropped {
            self.now.hints.remove(*at);
        }
        self.now.hints.push(hint);
        dropped.len()
    }

    /// What the hints for a key say together.
    pub(super) fn hinted(&self, key: &Key) -> (Values, Dots) {
        let (mut slot, mut context, at) = (Slot::default(), Dots::default(), place(key));
        for hint in self.now.hints.iter().filter(|hint| hint.key == *key) {
            context.join(&hint.change.context);
            context.0.extend(hint.change.dots());
            slot.apply(&at, &hint.change);
        }
        (slot.entry(&at).values, context)
    }
}

/// Reads that are over, with what each owner that had less is to be sent.
pub(super) type Repairs = VecDeque<(u16, Key, Change)>;

/// What a read that is over sends to those that had less. A value that nobody gave the bytes of
/// cannot be sent; then the others go one by one, as they were written, and so they do when they are
/// too large together.
pub(super) fn repairs(get: &Get, room: u64, out: &mut Repairs) {
    let joined = get.joined();
    for (member, answer) in get.answers.iter().filter(|(_, answer)| answer.dots != joined.dots) {
        let (kept, lacking): (BTreeSet<Dot>, BTreeSet<Dot>) =
            joined.dots.iter().partition(|dot| answer.dots.contains(dot));
        let found: Values = lacking
            .iter()
            .filter_map(|dot| Some((*dot, Rc::clone(get.values.get(dot)?))))
            .collect();
        let bytes: u64 = found.values().map(|value| value.bytes.len() as u64).sum();
        if found.len() == lacking.len() && (bytes <= room || found.len() == 1) {
            let context = joined.covered.clone();
            let change = Change { values: found, kept, deleted: None, context };
            out.push_back((*member, get.key.clone(), change));
            continue;
        }
        for (dot, value) in found {
            out.push_back((*member, get.key.clone(), as_written(dot, &value)));
        }
    }
}

/// The change that says again what was written.
pub(super) fn as_written(dot: Dot, value: &Rc<Written>) -> Change {
    let values = Values::from([(dot, Rc::clone(value))]);
    let context = value.context.clone();
    Change { values, kept: BTreeSet::new(), deleted: None, context }
}

/// How many answers a level needs of a row.
pub(super) fn needed(level: Level, row: usize) -> usize {
    match level {
        Level::One => 1,
        Level::Quorum => row / 2 + 1,
        Level::All => row,
        Level::Count(count) => count.into(),
    }
}

// -- At the border: the shard's types as the reference's -------------------------------------------

pub(super) fn dots(set: &DotSet) -> Dots {
    let mut all = BTreeSet::new();
    for (actor, runs) in set.rows() {
        for (first, last) in runs.iter() {
            all.extend((first..=last).map(|n| (actor.bits(), n)));
        }
    }
    Dots(all)
}

pub(super) fn dot(dot: causality::Dot) -> Dot {
    (dot.actor.bits(), dot.counter)
}

pub(super) fn written(value: &Value) -> Rc<Written> {
    let Value { meta, bytes } = value;
    let context = dots(&meta.context);
    Rc::new(Written { bytes: bytes.to_vec(), operation: meta.operation, context })
}

pub(super) fn change(delta: &causality::Delta<Value>) -> Change {
    Change {
        values: delta.values.iter().map(|(at, value)| (dot(*at), written(value))).collect(),
        kept: delta.kept.iter().copied().map(dot).collect(),
        deleted: delta.deleted.map(dot),
        context: dots(&delta.context),
    }
}

pub(super) fn page(page: &wire::Page) -> super::reference::Page {
    let entry = |(key, entry): &(Key, causality::Entry<Option<Value>>)| {
        let live = entry.dots().map(dot).collect();
        let brought = entry.values().iter();
        let brought = brought.filter_map(|(at, value)| Some((dot(*at), written(value.as_ref()?))));
        (place(key), (live, brought.collect(), dots(entry.residual())))
    };
    super::reference::Page {
        clock: dots(&page.clock),
        began: dots(&page.began),
        after: page.after.as_ref().map(place),
        upto: page.upto.as_ref().map(place),
        entries: page.entries.iter().map(entry).collect(),
        deletes: page.deletes.iter().map(|(at, key)| (dot(*at), key.clone())).collect(),
        mark: page.mark.as_ref().map(dots),
    }
}
