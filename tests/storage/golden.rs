//! The format, held still: a segment in words, and a directory that every later release must open.

use std::path::Path;

use ringdove::causality::{Actor, Delta, Dot, DotSet, Entry, Meta, Value};
use ringdove::key::Key;
use ringdove::ring::{Slot, Token};
use ringdove::storage::{Body, MemoryDisk, Options, RealDisk, Store, SyncHandle, dump};

use crate::oracle::{State, state};
use crate::settle;

/// Small, so that the fixture has two segments in one kilobyte each.
const TINY: Options = Options { segment_bytes: 1024, last_life: None };

fn dot(member: u16, counter: u64) -> Dot {
    Dot::new(Actor::new(member, 0x51), counter)
}

fn value(bytes: &[u8], context: DotSet) -> Value {
    let meta = Meta { operation: 0xabcd, stamp: 1_700_000_000_000, writer: "ann".into(), context };
    Value { meta, bytes: bytes.to_vec().into() }
}

/// Records of all kinds, in five batches.
fn write(store: &mut Store<MemoryDisk>) {
    let put = |bytes: &[u8]| Body::New(value(bytes, DotSet::EMPTY));
    let entry = |values| Entry::from_parts(values, DotSet::EMPTY);
    let tea = Key::new("default", b"tea").expect("a key");
    let odd = Key::new("cart", b"\x00\xffodd").expect("a key");
    let (slot, odd_slot) = (Token::of(&tea).slot(), Token::of(&odd).slot());
    store.stage_entry(slot, &tea, &[dot(1, 1)], &[], entry(vec![(dot(1, 1), put(b"green"))]));
    store.stage_entry(odd_slot, &odd, &[dot(2, 1)], &[], entry(vec![(dot(2, 1), put(b"\n"))]));
    settle(store);
    let [(first, place)] = *store.entry(slot, &tea).expect("it was put").values() else {
        panic!("one value was put")
    };
    let both = vec![(first, Body::Kept(place)), (dot(2, 7), put(&[b'x'; 40]))];
    let residual = DotSet::of(dot(3, 9));
    store.stage_entry(slot, &tea, &[dot(2, 7)], &[], Entry::from_parts(both, residual));
    store.stage_entry(odd_slot, &odd, &[dot(1, 4), dot(2, 2)], &[], Entry::default());
    store.stage_clock(Slot::new(9).expect("a slot"), &[dot(1, 1), dot(1, 2)].into_iter().collect());
    settle(store);
    let delta = Delta::put(dot(1, 5), value(b"milk", DotSet::of(dot(1, 4))), DotSet::of(dot(1, 4)));
    let first = store.stage_hint(2, slot, &tea, delta);
    store.stage_hint(3, odd_slot, &odd, Delta::delete(dot(1, 6), DotSet::of(dot(1, 5))));
    store.stage_hint_done(first);
    settle(store);
    store.stage_entry(slot, &tea, &[dot(1, 8)], &[], entry(vec![(dot(1, 8), put(&[b'y'; 500]))]));
    store.stage_clock(Slot::new(9).expect("a slot"), &DotSet::of(dot(1, 4)));
    settle(store);
    store.stage_refused(dot(3, 1).actor);
    store.stage_refused(dot(4, 1).actor);
    store.stage_dead(&[dot(3, 1).actor, dot(5, 1).actor]);
    let folded = DotSet::of_dead(2, store.dead());
    store.stage_clock(slot, &folded);
    store.stage_start_over(Slot::new(9).expect("a slot"));
    settle(store);
}

fn written() -> (MemoryDisk, State) {
    let disk = MemoryDisk::new(0);
    let (mut store, _) = Store::open(disk.clone(), TINY).expect("it is empty");
    write(&mut store);
    let state = state(&mut store);
    (disk, state)
}

/// Compares with a file beside the tests. `RINGDOVE_BLESS=1` writes it anew.
fn golden(path: &str, found: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path);
    if std::env::var_os("RINGDOVE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it lies somewhere")).expect("a directory");
        std::fs::write(&path, found).expect("it can be written");
    }
    let kept = std::fs::read(&path).expect("the file is part of the repository");
    let (kept, found) = (String::from_utf8_lossy(&kept), String::from_utf8_lossy(found));
    assert_eq!(found, kept, "{}", path.display());
}

#[test]
fn all_records_in_words() {
    let (disk, _) = written();
    let mut words = Vec::new();
    for (name, bytes) in disk.contents() {
        dump(&name, &bytes, &mut words).expect("memory has room");
    }
    golden("fixtures/storage-v1.dump", &words);
}

#[test]
fn a_torn_segment_in_words() {
    let (disk, _) = written();
    let (name, mut bytes) = disk.contents().pop_first().expect("the first segment");
    let second = (8..).step_by(8).find(|at| bytes[*at..].starts_with(b"RDov")).expect("a batch");
    bytes[second + 60] ^= 1;
    let mut words = Vec::new();
    dump(&name, &bytes, &mut words).expect("memory has room");
    let words = String::from_utf8(words).expect("text");
    let torn = format!("@{second} ");
    let line = words.lines().find(|line| line.starts_with(&torn)).expect("it is accounted for");
    let why = "bytes that are no batch: the body of batch 2 does not match its checksum";
    assert!(line.ends_with(why), "{line}");
    assert!(words.contains(" batch 3 of segment 1"), "what follows is shown:\n{words}");
}

#[test]
fn a_directory_of_format_1_opens() {
    let (disk, expected) = written();
    let mut files = disk.contents();
    // Bytes are written as they were, or this release writes another format.
    for (name, bytes) in &files {
        golden(&format!("fixtures/storage-v1/{name}"), bytes);
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/storage-v1");
    let dir = tempfile::tempdir().expect("a directory");
    for file in std::fs::read_dir(kept).expect("the fixture") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), dir.path().join(file.file_name())).expect("a copy");
        files.remove(file.file_name().to_str().expect("a name"));
    }
    assert!(files.is_empty(), "the fixture has all segments");
    let disk = RealDisk::open(dir.path()).expect("nobody else has it");
    let (mut store, opened) = Store::open(disk, TINY).expect("it opens");
    assert_eq!((opened.batches, opened.torn_bytes), (5, 0));
    assert_eq!(state(&mut store), expected);
}

#[test]
fn a_real_directory_is_the_same_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = Key::new("default", b"big").expect("a key");
    let slot = Token::of(&key).slot();
    let big = value(&vec![7; ringdove::key::VALUE_BYTES_MAX], DotSet::EMPTY);
    let mut before = None;
    for life in 1..=3 {
        let disk = RealDisk::open(dir.path()).expect("nobody else has it");
        // A value of 8 MiB is larger than the segments asked for here.
        let (mut store, opened) = Store::open(disk, TINY).expect("it opens");
        assert_eq!((opened.batches, opened.torn_bytes), (life - 1, 0));
        if let Some(before) = &before {
            assert_eq!(&state(&mut store), before);
        }
        let values = vec![(dot(1, life), Body::New(big.clone()))];
        store.stage_entry(
            slot,
            &key,
            &[dot(1, life)],
            &[],
            Entry::from_parts(values, DotSet::EMPTY),
        );
        let job = store.flush().expect("there is room").expect("something was staged");
        job.handles.iter().for_each(|handle| handle.sync().expect("it can be synced"));
        store.on_synced(job.upto);
        before = Some(state(&mut store));
    }
}
