//! What a store promises, shown from outside: the same after reopening, whatever the disk does.

mod crash;
mod damage;
mod golden;
mod oracle;

use oracle::{Writer, state};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ringdove::causality::{Actor, Dot, DotSet};
use ringdove::ring::Slot;
use ringdove::storage::{MemoryDisk, Options, Place, ReadResult, Store, SyncHandle};

const SMALL: Options = Options { segment_bytes: 4096 };

fn open(disk: &MemoryDisk) -> (Store<MemoryDisk>, u64) {
    let (store, opened) = Store::open(disk.clone(), SMALL).expect("it opens");
    (store, opened.batches)
}

/// Appends and syncs what is staged.
fn settle(store: &mut Store<MemoryDisk>) {
    if let Some(job) = store.flush().expect("it can be appended") {
        job.handles.iter().for_each(|handle| handle.sync().expect("it can be synced"));
        store.on_synced(job.upto);
    }
}

#[test]
fn a_reopened_store_is_the_same_store() {
    for seed in 0..40 {
        let disk = MemoryDisk::new(seed);
        disk.delay_reads(0.3);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut writer = Writer::new(seed, if seed % 8 == 0 { 9000 } else { 200 });
        let (mut store, _) = open(&disk);
        for _ in 0..300 {
            match rng.random_range(0..20) {
                0..=13 => writer.change(&mut store),
                14..=17 => settle(&mut store),
                18 => assert_eq!(state(&mut store), writer.state),
                _ => {
                    settle(&mut store);
                    let last = store.synced().0;
                    drop(store);
                    let batches;
                    (store, batches) = open(&disk);
                    assert_eq!(batches, last);
                    assert_eq!(state(&mut store), writer.state, "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn what_is_kept_together_shares_a_batch() {
    let disk = MemoryDisk::new(0);
    let (mut store, _) = open(&disk);
    let slot = Slot::new(1).expect("a slot");
    for counter in 1..=300 {
        store.keep_together(300);
        let batch = store.open_batch();
        for member in 1..=6 {
            store.stage_clock(slot, &DotSet::of(Dot::new(Actor::new(member, 1), counter)));
        }
        assert_eq!(store.open_batch(), batch);
        if counter % 50 == 0 {
            settle(&mut store);
        }
    }
    assert!(disk.contents().len() > 5, "segments were filled on the way");
    let clock = store.clock(slot).clone();
    drop(store);
    assert_eq!(open(&disk).0.clock(slot), &clock);
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_reading() {
    let disk = MemoryDisk::new(0);
    disk.set_capacity(3 * 4096);
    let (mut store, _) = open(&disk);
    let mut writer = Writer::new(3, 900);
    let refused = (0..100).find_map(|_| {
        writer.change(&mut store);
        store.flush().err()
    });
    let refused = refused.expect("the disk is full some time").to_string();
    assert_eq!(refused, "disk: no space left on the disk");
    assert_eq!(state(&mut store), writer.state, "all that was staged can be read");
    let why = store.flush().expect_err("it stays refused").to_string();
    assert!(why.contains("read-only") && why.contains("no space left"), "{why}");
    drop(store);
    disk.heal();
    let (mut store, batches) = open(&disk);
    assert_eq!(state(&mut store), writer.at[&batches]);
    writer.resume(batches);
    writer.change(&mut store);
    settle(&mut store);
    assert_eq!(state(&mut store), writer.state);
}

#[test]
fn reads_that_come_later_give_what_was_stored_then() {
    let disk = MemoryDisk::new(0);
    disk.delay_reads(1.0);
    let (mut store, _) = open(&disk);
    let mut writer = Writer::new(5, 300);
    (0..10).for_each(|_| writer.change(&mut store));
    let places = |store: &Store<MemoryDisk>| -> Vec<Place> {
        let slots: Vec<Slot> = store.slots().collect();
        let entries = slots.into_iter().flat_map(|slot| store.walk(slot, None));
        entries.flat_map(|(_, entry)| entry.values().to_vec()).map(|(_, place)| place).collect()
    };
    let places = places(&store);
    assert!(places.len() > 2);
    let mut staged = Vec::new();
    for place in &places {
        match store.read(*place).expect("it is in memory") {
            ReadResult::Now(value) => staged.push(value),
            ReadResult::Later(_) => panic!("what is not written yet needs no disk"),
        }
    }
    settle(&mut store);
    for (place, staged) in places.into_iter().zip(staged) {
        let ReadResult::Later(ticket) = store.read(place).expect("it is asked for") else {
            panic!("this disk makes every read wait")
        };
        // The log goes on in between.
        writer.change(&mut store);
        settle(&mut store);
        let due = disk.take_due_reads();
        let [(done, Ok(bytes))] = &due[..] else { panic!("one read is due: {due:?}") };
        assert_eq!(*done, ticket);
        assert_eq!(Store::<MemoryDisk>::decode(bytes).expect("a value"), staged);
        let mut flipped = bytes.clone();
        flipped[4] ^= 1;
        assert!(Store::<MemoryDisk>::decode(&flipped).is_err());
    }
}
