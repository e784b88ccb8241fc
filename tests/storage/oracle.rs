//! What a store should hold, kept the simple way, and a stream of random changes to both.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ringdove::causality::{Actor, Dead, Delta, Dot, DotSet, Entry, Meta, Value};
use ringdove::key::Key;
use ringdove::ring::{Slot, Token};
use ringdove::storage::{
    Body, Disk, HintId, MemoryDisk, Place, ReadResult, RealDisk, Store, Ticket,
};

/// A key's values and residual context.
type Held = (Vec<(Dot, Value)>, DotSet);

/// All that a store holds, bytes included.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub clocks: BTreeMap<u16, DotSet>,
    pub entries: BTreeMap<(u16, Token, Vec<u8>), Held>,
    pub hints: BTreeMap<HintId, (u16, u16, Vec<u8>, Delta<Value>)>,
    pub deletes: BTreeMap<(u16, Dot), Vec<u8>>,
    pub marks: BTreeMap<u16, DotSet>,
    pub dead: Dead,
    pub refused: BTreeSet<Actor>,
}

/// A disk that may make reads wait.
pub trait TestDisk: Disk {
    /// The reads that are due, with what came of them.
    fn due(&mut self) -> Vec<(Ticket, Result<Vec<u8>, String>)>;
}

impl TestDisk for MemoryDisk {
    fn due(&mut self) -> Vec<(Ticket, Result<Vec<u8>, String>)> {
        self.take_due_reads()
    }
}

impl TestDisk for RealDisk {
    fn due(&mut self) -> Vec<(Ticket, Result<Vec<u8>, String>)> {
        Vec::new()
    }
}

/// Reads a value, and completes the read if the disk made it wait.
pub fn read<D: TestDisk>(store: &mut Store<D>, place: Place) -> Value {
    match store.read(place).expect("readable") {
        ReadResult::Now(value) => value,
        ReadResult::Later(ticket) => {
            let due = store.disk_mut().due();
            assert_eq!(due.len(), 1);
            let (done, bytes) = due.into_iter().next().expect("one read was asked for");
            assert_eq!(done, ticket);
            store.decode(&bytes.expect("read")).expect("a value")
        }
    }
}

/// Everything in a store, by walking and reading it.
pub fn state<D: TestDisk>(store: &mut Store<D>) -> State {
    let mut state = State { dead: store.dead().clone(), ..State::default() };
    state.refused.extend(doomed().filter(|actor| store.refuses(*actor)));
    let slots: Vec<Slot> = store.slots().collect();
    let mut keys = 0;
    for slot in slots {
        state.clocks.insert(slot.number(), store.clock(slot).clone());
        assert_eq!(store.clock_fingerprint(slot), store.clock(slot).fingerprint());
        let walked: Vec<_> = store.walk(slot, None).collect();
        assert!(walked.is_sorted_by(|a, b| a.0 < b.0), "a walk is in (token, key) order");
        for ((token, key), entry) in walked {
            assert_eq!(store.entry(slot, &key).as_ref(), Some(&entry));
            keys += u64::from(!entry.values().is_empty());
            let residual = entry.residual().clone();
            let values = entry.values().iter().map(|(dot, place)| (*dot, read(store, *place)));
            let held = (values.collect(), residual);
            state.entries.insert((slot.number(), token, key.as_bytes().to_vec()), held);
        }
    }
    assert_eq!(store.key_count(), keys);
    for slot in store.slots_with_deletes() {
        let log = store.deletes(slot);
        state.deletes.extend(log.map(|(dot, key)| ((slot.number(), dot), key.as_bytes().to_vec())));
    }
    assert_eq!(store.delete_count(), state.deletes.len() as u64);
    for slot in Slot::all().filter(|slot| !store.mark(*slot).is_empty()) {
        state.marks.insert(slot.number(), store.mark(slot).clone());
    }
    let hints: Vec<_> = store.hints().map(|(id, head)| (id, head.clone())).collect();
    for (id, head) in hints {
        let Delta { values, kept, deleted, context } = head.delta;
        let values = values.into_iter().map(|(dot, place)| (dot, read(store, place))).collect();
        let delta = Delta { values, kept, deleted, context };
        let hint = (head.owed_to, head.slot.number(), head.key.as_bytes().to_vec(), delta);
        state.hints.insert(id, hint);
    }
    state
}

/// Actors that may die. Two of them write.
fn doomed() -> impl Iterator<Item = Actor> {
    [(9, 1), (5, 5), (3, 77), (6, 6)].into_iter().map(|(member, life)| Actor::new(member, life))
}

/// Makes the same random changes to a store and to a [`State`], and remembers the state that each
/// batch makes whole.
pub struct Writer {
    rng: ChaCha8Rng,
    pub state: State,
    /// By batch: the state when it and all before it are there. Batch 0 is the empty store.
    pub at: BTreeMap<u64, State>,
    counter: u64,
    largest: usize,
}

impl Writer {
    /// Changes drawn from `seed`, with values of up to `largest` bytes.
    pub fn new(seed: u64, largest: usize) -> Self {
        let at = BTreeMap::from([(0, State::default())]);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Writer { rng, state: State::default(), at, counter: 0, largest }
    }

    /// Goes on from a store that was opened and holds what the batches up to `batch` made.
    pub fn resume(&mut self, batch: u64) {
        self.state = self.at[&batch].clone();
        self.at.retain(|at, _| *at <= batch);
    }

    /// Stages one random change.
    pub fn change(&mut self, store: &mut Store<MemoryDisk>) {
        if self.rng.random_bool(0.1) {
            // Whoever asks for it may stage little after it, or nothing.
            store.keep_together(self.rng.random_range(0..4000));
        }
        match self.rng.random_range(0..12) {
            10 => self.bury(store),
            0..=5 => self.put(store),
            6 => self.remove(store),
            7 => self.adopt(store),
            8 => self.hint(store),
            9 => self.raise_mark(store),
            _ => self.deliver(store),
        }
        self.at.insert(store.open_batch().0, self.state.clone());
    }

    fn key(&mut self) -> (Slot, Key) {
        let slot = Slot::new([0, 7, 16383][self.rng.random_range(0..3)]).expect("a slot");
        let key = format!("key {}", self.rng.random_range(0..6)).into_bytes();
        let key = if self.rng.random_bool(0.2) { key.repeat(9) } else { key };
        (slot, Key::new("default", &key).expect("a key"))
    }

    fn dot(&mut self) -> Dot {
        self.counter += 1;
        Dot::new(Actor::new(self.rng.random_range(1..4), 77), self.counter)
    }

    fn value(&mut self) -> Value {
        let mut bytes = vec![0u8; self.rng.random_range(0..=self.largest)];
        self.rng.fill(&mut bytes[..]);
        let writer = "anna".to_owned();
        let meta = Meta { operation: self.rng.random(), stamp: 5, writer, context: self.context() };
        Value { meta, bytes: bytes.into() }
    }

    fn context(&mut self) -> DotSet {
        if self.rng.random_bool(0.2) {
            let closed = self.rng.random_range(0..=self.state.dead.count());
            return DotSet::of_dead(closed, &self.state.dead);
        }
        let count = self.rng.random_range(0..3);
        let dot = |rng: &mut ChaCha8Rng| Dot::new(Actor::new(9, 1), rng.random_range(1..9));
        (0..count).map(|_| dot(&mut self.rng)).collect()
    }

    fn put(&mut self, store: &mut Store<MemoryDisk>) {
        let (slot, key) = self.key();
        let at = (slot.number(), Token::of(&key), key.as_bytes().to_vec());
        let before = store.entry(slot, &key).unwrap_or_default();
        let (mut held, _) = self.state.entries.remove(&at).unwrap_or_default();
        let mut bodies: Vec<(Dot, Body)> =
            before.values().iter().map(|(dot, place)| (*dot, Body::Kept(*place))).collect();
        if self.rng.random_bool(0.5) || held.len() > 4 {
            held.clear();
            bodies.clear();
        }
        let count = self.rng.random_range(1..3);
        let mut dots = Vec::new();
        for _ in 0..count {
            let (dot, value) = (self.dot(), self.value());
            bodies.push((dot, Body::New(value.clone())));
            held.push((dot, value));
            dots.push(dot);
        }
        held.sort_by_key(|(dot, _)| *dot);
        let residual = self.context();
        store.stage_entry(slot, &key, &dots, &[], Entry::from_parts(bodies, residual.clone()));
        self.state.entries.insert(at, (held, residual));
        let clock = self.state.clocks.entry(slot.number()).or_default();
        dots.iter().for_each(|dot| clock.insert(*dot));
    }

    fn remove(&mut self, store: &mut Store<MemoryDisk>) {
        let (slot, key) = self.key();
        let dot = self.dot();
        let logged = self.rng.random_bool(0.7);
        let deletes = if logged { vec![dot] } else { Vec::new() };
        store.stage_entry(slot, &key, &[dot], &deletes, Entry::default());
        if logged {
            self.state.deletes.insert((slot.number(), dot), key.as_bytes().to_vec());
        }
        let at = (slot.number(), Token::of(&key), key.as_bytes().to_vec());
        self.state.entries.remove(&at);
        self.state.clocks.entry(slot.number()).or_default().insert(dot);
    }

    fn adopt(&mut self, store: &mut Store<MemoryDisk>) {
        let (slot, _) = self.key();
        let mut clock = self.context();
        clock.insert(Dot::new(Actor::new(8, 8), self.rng.random_range(1..100)));
        if self.rng.random_bool(0.5) {
            // A peer's clock that covers all that was written here.
            clock.union(self.state.clocks.entry(slot.number()).or_default());
        }
        store.stage_clock(slot, &clock);
        self.state.clocks.entry(slot.number()).or_default().union(&clock);
    }

    /// Something of what is done about dead actors.
    fn bury(&mut self, store: &mut Store<MemoryDisk>) {
        let (slot, _) = self.key();
        let number = slot.number();
        let next: Vec<Actor> =
            doomed().filter(|actor| !self.state.dead.contains(*actor)).take(1).collect();
        match self.rng.random_range(0..8) {
            0..=1 => {
                let next = next.last().copied().unwrap_or(Actor::new(7, 7));
                store.stage_refused(next);
                self.state.refused.extend(doomed().filter(|actor| *actor == next));
            }
            2 => {
                store.stage_dead(&next);
                self.state.refused.retain(|actor| !next.contains(actor));
                self.state.dead = self.state.dead.and(next).expect("each once");
            }
            3 => {
                store.stage_start_over(slot);
                self.state.entries.retain(|(slot, _, _), _| *slot != number);
                self.state.deletes.retain(|(slot, _), _| *slot != number);
                self.state.clocks.remove(&number);
                self.state.marks.remove(&number);
            }
            _ => {
                let folded = DotSet::of_dead(self.state.dead.count(), &self.state.dead);
                if !folded.is_empty() {
                    store.stage_clock(slot, &folded);
                    self.state.clocks.entry(number).or_default().union(&folded);
                }
            }
        }
    }

    fn raise_mark(&mut self, store: &mut Store<MemoryDisk>) {
        let (slot, _) = self.key();
        let number = slot.number();
        let logged = self.state.deletes.keys().filter(|(other, _)| *other == number);
        let mark: DotSet = logged.map(|(_, dot)| *dot).step_by(2).collect();
        if mark.is_empty() {
            return;
        }
        store.stage_mark(slot, &mark);
        let marked = |slot: u16, dot: Dot| slot == number && mark.contains(dot);
        self.state.deletes.retain(|(slot, dot), _| !marked(*slot, *dot));
        self.state.marks.entry(number).or_default().union(&mark);
    }

    fn hint(&mut self, store: &mut Store<MemoryDisk>) {
        let (slot, key) = self.key();
        let dot = self.dot();
        let delta = if self.rng.random_bool(0.3) {
            Delta::delete(dot, self.context())
        } else {
            Delta::put(dot, self.value(), self.context())
        };
        let id = store.stage_hint(3, slot, &key, delta.clone());
        let hint = (3, slot.number(), key.as_bytes().to_vec(), delta);
        assert!(self.state.hints.insert(id, hint).is_none(), "an id is given once");
    }

    fn deliver(&mut self, store: &mut Store<MemoryDisk>) {
        let Some(id) = self.state.hints.keys().next().copied() else { return };
        store.stage_hint_done(id);
        self.state.hints.remove(&id);
    }
}
