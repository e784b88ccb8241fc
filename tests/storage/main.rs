//! What a store promises, shown from outside: the same after reopening, whatever the disk does.

mod crash;
mod damage;
mod golden;
mod oracle;
mod salvage;

use oracle::{Writer, state};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ringdove::causality::{Actor, Delta, Dot, DotSet, Entry, Value};
use ringdove::key::Key;
use ringdove::ring::Slot;
use ringdove::storage::{Body, MemoryDisk, Options, Place, ReadResult, Store, SyncHandle};

const SMALL: Options = Options { segment_bytes: 4096, last_life: None };

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

/// Has the next segment made if it is time for that. Whether that worked.
fn make_ahead(store: &mut Store<MemoryDisk>) -> bool {
    let Some(job) = store.segment_job() else { return true };
    assert!(store.segment_job().is_none(), "one at a time");
    let made = job.run();
    let worked = made.result.is_ok();
    store.on_segment(made);
    worked
}

#[test]
fn a_segment_made_ahead_is_never_waited_for() {
    let disk = MemoryDisk::new(0);
    let (mut store, _) = open(&disk);
    let slot = Slot::new(1).expect("a slot");
    assert!(make_ahead(&mut store));
    for counter in 1..=600 {
        store.stage_clock(slot, &DotSet::of(Dot::new(Actor::new(1, 1), counter)));
        let before = disk.contents().len();
        settle(&mut store);
        assert_eq!(disk.contents().len(), before, "an append makes no file");
        assert!(make_ahead(&mut store));
    }
    assert!(disk.contents().len() > 6, "segments were filled on the way");
    let clock = store.clock(slot).clone();
    drop(store);
    assert_eq!(open(&disk).0.clock(slot), &clock);
}

#[test]
fn a_kept_life_counts_above_all_that_it_ever_wrote() {
    let disk = MemoryDisk::new(0);
    let (mut store, _) = open(&disk);
    let [slot, other] = [1, 2].map(|number| Slot::new(number).expect("a slot"));
    let key = Key::new("default", b"k").expect("a key");
    let (life, before) = (77, 76);
    let dot = |life: u64, counter| Dot::new(Actor::new(3, life), counter);
    store.stage_entry(slot, &key, &[dot(life, 5), dot(before, 9)], &[], Entry::default());
    // Minted as a fallback: in no clock here, and delivered since.
    let hint = store.stage_hint(4, other, &key, Delta::delete(dot(life, 8), DotSet::EMPTY));
    store.stage_hint_done(hint);
    settle(&mut store);
    let end = store.end();
    drop(store);
    let options = Options { last_life: Some(life), ..SMALL };
    let (mut store, _) = Store::open(disk.clone(), options).expect("it opens");
    assert_eq!(store.end(), end, "opening changes nothing that a page says");
    assert_eq!(store.minted_by(life), [(slot, 5), (other, 8)].into());
    assert!(store.minted_by(before).is_empty(), "nobody may go on under another life");
    store.stage_clock(slot, &DotSet::of(dot(life, 6)));
    settle(&mut store);
    assert_ne!(store.end(), end);
}

#[test]
fn a_full_disk_says_so_before_anything_is_staged_and_recovers_by_itself() {
    let disk = MemoryDisk::new(0);
    disk.set_capacity(3 * 4096 + 100);
    let (mut store, _) = open(&disk);
    let slot = Slot::new(1).expect("a slot");
    let put = |store: &mut Store<MemoryDisk>, counter: u64| {
        let key = Key::new("default", format!("k{counter}").as_bytes()).expect("a key");
        let dot = Dot::new(Actor::new(1, 1), counter);
        let value = Value { bytes: vec![b'x'; 300].into(), ..Value::default() };
        let entry = Entry::from_parts(vec![(dot, Body::New(value))], DotSet::EMPTY);
        store.stage_entry(slot, &key, &[dot], &[], entry);
    };
    let (mut written, mut refused) = (0, None);
    while refused.is_none() && written < 200 {
        make_ahead(&mut store);
        refused = store.full(500).map(str::to_owned);
        if refused.is_none() {
            written += 1;
            put(&mut store, written);
        }
        settle(&mut store);
        assert!(!store.unwritten() && store.poisoned().is_none());
    }
    assert_eq!(refused.as_deref(), Some("no space left on the disk"));
    assert!(written > 20, "only {written} fit into three segments");
    let full = state(&mut store);
    assert_eq!(full.entries.len() as u64, written, "reads go on");
    assert!(store.full(10).is_none(), "the rest of the last segment takes what is small");
    assert!(!make_ahead(&mut store), "tried again, in vain");
    drop(store);
    let (mut store, _) = open(&disk);
    assert_eq!(state(&mut store), full, "a full disk is opened and read");
    disk.heal();
    assert!(make_ahead(&mut store) && store.full(500).is_none(), "nobody restarted it");
    put(&mut store, written + 1);
    settle(&mut store);
    let after = state(&mut store);
    drop(store);
    assert_eq!(state(&mut open(&disk).0), after);
}

#[test]
fn what_was_staged_without_room_waits_for_it_and_is_written_then() {
    let disk = MemoryDisk::new(0);
    disk.set_capacity(2 * 4096 + 100);
    let (mut store, _) = open(&disk);
    let mut writer = Writer::new(4, 900);
    let mut appended = 0;
    for _ in 0..60 {
        // Nobody asks whether there is room.
        writer.change(&mut store);
        make_ahead(&mut store);
        let last = store.open_batch().0;
        settle(&mut store);
        if !store.unwritten() {
            appended = last;
        }
        assert_eq!(store.poisoned(), None, "nothing of it was written, so nothing is in doubt");
    }
    assert!(store.unwritten() && store.full(0).is_some());
    assert!(store.synced().0 >= appended && appended > 3);
    assert_eq!(state(&mut store), writer.state, "all that was staged can be read");
    let killed = disk.copy(1);
    let (mut reopened, batches) = open(&killed);
    assert_eq!(state(&mut reopened), writer.at[&batches], "what waited is gone, in order");
    disk.heal();
    assert!(make_ahead(&mut store));
    settle(&mut store);
    assert!(!store.unwritten());
    assert_eq!(state(&mut store), writer.state);
    drop(store);
    assert_eq!(state(&mut open(&disk).0), writer.state);
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
        assert_eq!(store.decode(bytes).expect("a value"), staged);
        let mut flipped = bytes.clone();
        flipped[4] ^= 1;
        assert!(store.decode(&flipped).is_err());
    }
}
