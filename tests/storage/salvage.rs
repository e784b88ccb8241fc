//! What is saved of a damaged log is true, and all that its whole batches say.

use std::collections::BTreeSet;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ringdove::causality::{Dot, DotSet, Value};
use ringdove::storage::{MemoryDisk, Salvaged, Store, salvage};

use crate::oracle::{State, Writer, state};
use crate::{SMALL, settle};

type At = (u16, ringdove::ring::Token, Vec<u8>);

/// A log of many batches and what each made whole.
struct Log {
    disk: MemoryDisk,
    writer: Writer,
    last: u64,
}

impl Log {
    fn write(seed: u64) -> Self {
        let disk = MemoryDisk::new(seed);
        let (mut store, _) = Store::open(disk.clone(), SMALL).expect("it is empty");
        let mut writer = Writer::new(seed, 200);
        for _ in 0..80 {
            writer.change(&mut store);
            settle(&mut store);
        }
        let last = store.end().batch.0;
        Log { disk, writer, last }
    }

    /// Segment, first byte and length of each batch, by number.
    fn batches(&self) -> Vec<(String, usize, usize)> {
        let mut found = Vec::new();
        for (name, bytes) in self.disk.contents() {
            let mut at = 0;
            while bytes[at..].starts_with(b"RDov") {
                let body = u32::from_le_bytes(bytes[at + 12..at + 16].try_into().expect("four"));
                let len = (48 + body as usize).next_multiple_of(8);
                found.push((name.clone(), at, len));
                at += len;
            }
        }
        found
    }

    fn state(&self, batch: u64) -> &State {
        self.writer.at.range(..=batch).next_back().expect("batch 0 is the empty store").1
    }

    fn values(&self, batch: u64, at: &At) -> Vec<(Dot, Value)> {
        self.state(batch).entries.get(at).map(|(values, _)| values.clone()).unwrap_or_default()
    }

    /// The last batch that changed a key, and those that brought the values it has since.
    fn history(&self, at: &At) -> (u64, BTreeSet<u64>) {
        let held = |batch: u64| self.state(batch).entries.get(at);
        let changed = |batch: &u64| held(*batch) != held(*batch - 1);
        let last = (1..=self.last).rev().find(changed).expect("it was written once");
        let brought = self.values(last, at).into_iter().map(|(dot, _)| {
            let has = |batch: &u64| self.values(*batch, at).iter().any(|(other, _)| *other == dot);
            (1..=last).find(has).expect("it is there in the end")
        });
        (last, brought.collect())
    }
}

/// Salvages a copy of a log in which one bit of each of these batches is another.
fn salvaged(log: &Log, lost: &BTreeSet<u64>, rng: &mut ChaCha8Rng) -> (State, Salvaged) {
    let mut damaged = log.disk.copy(0);
    let batches = log.batches();
    for batch in lost {
        let (name, at, len) = &batches[*batch as usize - 1];
        damaged.flip(name, rng.random_range(*at as u64 * 8..(*at + *len) as u64 * 8));
    }
    let before = damaged.contents();
    let new = MemoryDisk::new(1);
    let told = salvage(&mut damaged, new.clone(), SMALL).expect("memory has room");
    assert_eq!(damaged.contents(), before, "the damaged log is only read");
    assert!(told.batches <= log.last - lost.len() as u64);
    let (mut store, _) = Store::open(new, SMALL).expect("it is sound");
    assert!(store.recovering(), "it knows that something is missing");
    let state = state(&mut store);
    let with_value = state.entries.values().filter(|(values, _)| !values.is_empty()).count();
    assert_eq!(told.keys, with_value as u64);
    (state, told)
}

#[test]
fn what_is_saved_is_true_and_all_that_whole_batches_say() {
    let (mut kept, mut dropped, mut deleted, mut whole) = (0, 0, 0, 0);
    for seed in 0..150 {
        let log = Log::write(seed);
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let lost: BTreeSet<u64> =
            (0..1 + seed % 4).map(|_| rng.random_range(1..=log.last)).collect();
        let (found, told) = salvaged(&log, &lost, rng);
        let keys: BTreeSet<At> =
            (1..=log.last).flat_map(|b| log.state(b).entries.keys().cloned()).collect();
        let mut clocks = std::collections::BTreeMap::<u16, DotSet>::new();
        for (at, (values, residual)) in &found.entries {
            let once = (0..=log.last).any(|batch| log.values(batch, at) == *values);
            assert!(once, "seed {seed}: {at:?} never was like this");
            let clock = clocks.entry(at.0).or_default();
            values.iter().for_each(|(dot, _)| clock.insert(*dot));
            for (dot, _) in log.values(log.last, at) {
                let held = values.iter().any(|(other, _)| *other == dot);
                assert!(held || !residual.contains(dot), "seed {seed}: {at:?} claims {dot}");
            }
        }
        clocks.retain(|_, clock| !clock.is_empty());
        let claimed = found.clocks.iter().filter(|(_, clock)| !clock.is_empty());
        assert!(claimed.eq(clocks.iter()), "a clock says what is held, and no more");
        // Who lost a part of the list of dead actors can make nothing of what counts on it.
        if told.batches < log.last - lost.len() as u64 {
            continue;
        }
        whole += 1;
        for at in keys {
            let (last, brought) = log.history(&at);
            let values = log.values(last, &at);
            if lost.contains(&last) {
                continue;
            }
            if brought.iter().any(|batch| lost.contains(batch)) {
                // The flipped bit may lie beside the value, which then can still be read.
                let saved = found.entries.get(&at);
                assert!(saved.is_none_or(|(saved, _)| *saved == values), "seed {seed}: {at:?}");
                dropped += u64::from(saved.is_none());
                continue;
            }
            let logged = log.state(last).deletes.values().any(|key| *key == at.2);
            if values.is_empty() && !logged {
                continue;
            }
            let entry = found.entries.get(&at);
            if let Some((saved, residual)) = entry {
                assert_eq!(*saved, values, "seed {seed}: {at:?}");
                // What it had replaced until then, and what it had seen, stays replaced.
                let begun = log.begun(at.0, last);
                for batch in (begun..last).filter(|batch| !lost.contains(batch)) {
                    let replaced = log.values(batch, &at).into_iter().map(|(dot, _)| dot);
                    for dot in replaced.filter(|dot| !values.iter().any(|(v, _)| v == dot)) {
                        let first = log.history_of(&at, dot);
                        assert!(lost.contains(&first) || residual.contains(dot), "{at:?} {dot}");
                    }
                }
                let (_, seen) = log.state(last).entries.get(&at).cloned().unwrap_or_default();
                assert!(seen.is_within(residual));
                kept += u64::from(!values.is_empty());
                deleted += u64::from(values.is_empty());
            } else {
                // A mark that covers its delete may have come later.
                assert!(values.is_empty(), "seed {seed}: {at:?} is gone");
            }
        }
        for (_, owed) in found.hints.iter() {
            assert!(
                (0..=log.last).any(|batch| log
                    .state(batch)
                    .hints
                    .values()
                    .any(|hint| hint == owed))
            );
        }
    }
    assert!(kept > 200 && dropped > 5 && deleted > 20, "{kept} {dropped} {deleted}");
    assert!(whole > 100, "{whole} of 150");
}

impl Log {
    /// The batch that a slot began in, or last began anew in, as of a batch.
    fn begun(&self, slot: u16, batch: u64) -> u64 {
        let clock = |batch: u64| self.state(batch).clocks.get(&slot).cloned().unwrap_or_default();
        let anew = |batch: &u64| !clock(*batch - 1).is_within(&clock(*batch));
        (1..=batch).rev().find(anew).unwrap_or(1)
    }

    /// The batch that brought a dot of a key.
    fn history_of(&self, at: &At, dot: Dot) -> u64 {
        let has = |batch: &u64| self.values(*batch, at).iter().any(|(other, _)| *other == dot);
        (1..=self.last).find(has).expect("it was there once")
    }
}

#[test]
fn a_log_that_is_whole_loses_nothing_but_its_clock() {
    let log = Log::write(7);
    let rng = &mut ChaCha8Rng::seed_from_u64(7);
    let (found, told) = salvaged(&log, &BTreeSet::new(), rng);
    assert_eq!((told.keys_lost, told.hints_lost, told.gaps), (0, 0, 0));
    for (at, (values, residual)) in &log.state(log.last).entries {
        let (saved, seen) = &found.entries[at];
        assert_eq!(saved, values);
        assert!(residual.is_within(seen) && log.state(log.last).clocks[&at.0].is_within(seen));
    }
    let hints = |state: &State| state.hints.values().cloned().collect::<Vec<_>>();
    assert_eq!(hints(&found), hints(log.state(log.last)));
}
