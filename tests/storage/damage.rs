//! Bits that flip, files that go missing, and what a later release may have written.

use std::collections::BTreeMap;

use ringdove::causality::{Actor, Dot, DotSet};
use ringdove::ring::Slot;
use ringdove::storage::{Disk, FileName, MemoryDisk, Store, StoreError};

use crate::oracle::{Writer, state};
use crate::{SMALL, settle};

type Files = BTreeMap<FileName, Vec<u8>>;

const FIRST: &str = "00000001.seg";

/// Offsets of the batches in the first segment.
fn batches(disk: &MemoryDisk) -> Vec<usize> {
    let bytes = &disk.contents()[FIRST];
    (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"RDov")).collect()
}

/// A log of several batches, each synced before the next; the last is vouched for by none.
fn written(seed: u64) -> (MemoryDisk, Writer) {
    let disk = MemoryDisk::new(seed);
    let (mut store, _) = Store::open(disk.clone(), SMALL).expect("it is empty");
    let mut writer = Writer::new(seed, 20);
    for _ in 0..9 {
        writer.change(&mut store);
        settle(&mut store);
    }
    assert_eq!(disk.contents().len(), 1, "it fits into one segment");
    (disk, writer)
}

fn open(disk: &MemoryDisk) -> Result<(Store<MemoryDisk>, u64), StoreError> {
    Store::open(disk.clone(), SMALL).map(|(store, opened)| (store, opened.batches))
}

#[test]
fn every_bit_that_flips_in_a_synced_batch_is_damage_and_nothing_is_touched() {
    let (disk, _) = written(1);
    let starts = batches(&disk);
    let last = *starts.last().expect("there are some");
    assert!(starts.len() > 5);
    for bit in 0..last as u64 * 8 {
        disk.flip(FIRST, bit);
        let before = disk.contents();
        match open(&disk).map(|_| ()) {
            Err(StoreError::Damaged { file, offset, .. }) => {
                let batch = starts.iter().rev().find(|start| **start as u64 * 8 <= bit);
                assert_eq!((file.as_str(), Some(&(offset as usize))), (FIRST, batch));
            }
            // Without its first four bytes it could be anybody's file.
            Err(StoreError::Foreign { .. }) if bit < 32 => {}
            other => panic!("bit {bit} flipped: {other:?}"),
        }
        assert_eq!(disk.contents(), before);
        disk.flip(FIRST, bit);
    }
    open(&disk).expect("all is well again");
}

#[test]
fn damage_is_told_with_what_was_lost_and_what_was_not() {
    let disk = MemoryDisk::new(0);
    let (mut store, _) = Store::open(disk.clone(), SMALL).expect("it is empty");
    let dots = |counter| DotSet::of(Dot::new(Actor::new(1, 1), counter));
    for counter in 1..=300 {
        for number in [7, 77] {
            store.stage_clock(Slot::new(number).expect("a slot"), &dots(counter));
        }
        settle(&mut store);
    }
    let second = "00000002.seg";
    let bytes = &disk.contents()[second];
    let first = u64::from_le_bytes(bytes[16..24].try_into().expect("eight"));
    let told = |disk: &MemoryDisk| open(disk).map(|_| ()).expect_err("it is damaged").to_string();
    // The last byte of the first batch's body, which leaves its records' heads alone.
    let body = u32::from_le_bytes(bytes[12..16].try_into().expect("four"));
    disk.flip(second, (48 + u64::from(body) - 1) * 8);
    let body_lost = told(&disk);
    assert_eq!(
        body_lost,
        format!(
            "segment {second} is damaged at byte 0: batch {first} should be here: the body of batch \
             {first} does not match its checksum; it was synced, as batch 300 says; it brought 2 \
             records, as far as can be told of slots 7 77; the {} batches before it are whole, and \
             {} of those behind it; nothing was changed",
            first - 1,
            300 - first
        )
    );
    // And the length of its second record, so that the first alone makes sense.
    disk.flip(second, (48 + u64::from(body) / 2 + 2) * 8);
    assert!(told(&disk).contains("of slots 7, of which some cannot be told any more"));
}

#[test]
fn every_bit_that_flips_in_the_tail_cuts_it() {
    let (disk, writer) = written(2);
    let starts = batches(&disk);
    let (count, last) = (starts.len() as u64, *starts.last().expect("there are some"));
    let bytes = &disk.contents()[FIRST];
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
    for bit in last as u64 * 8..(end as u64 + 1) * 8 {
        let disk = disk.copy(bit);
        disk.flip(FIRST, bit);
        let (mut store, opened) = Store::open(disk.clone(), SMALL).expect("the tail is cut");
        assert_eq!(opened.batches, count - 1, "bit {bit}");
        assert!(opened.torn_bytes > 0);
        assert_eq!(state(&mut store), writer.at[&(count - 1)]);
        assert!(disk.contents()[FIRST][last..].iter().all(|byte| *byte == 0), "it is zeros now");
    }
}

#[test]
fn a_flipped_bit_never_reaches_a_reader() {
    let (disk, _) = written(3);
    let (mut store, _) = open(&disk).expect("nothing is wrong");
    let places: Vec<_> = store
        .slots()
        .flat_map(|slot| store.walk(slot, None).collect::<Vec<_>>())
        .flat_map(|(_, entry)| entry.values().to_vec())
        .map(|(_, place)| place)
        .collect();
    assert!(places.len() > 3);
    for place in places {
        for bit in u64::from(place.offset) * 8..u64::from(place.offset + place.len) * 8 {
            disk.flip(FIRST, bit);
            let refused = store.read(place);
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
            disk.flip(FIRST, bit);
        }
    }
}

#[test]
fn a_segment_that_is_missing_or_another_is_damage() {
    let disk = MemoryDisk::new(1);
    let (mut store, _) = Store::open(disk.clone(), SMALL).expect("it is empty");
    let mut writer = Writer::new(1, 400);
    for _ in 0..60 {
        writer.change(&mut store);
        settle(&mut store);
    }
    assert!(disk.contents().len() > 3);
    drop(store);
    let whole = disk.contents();
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = whole.clone();
        change(&mut files);
        let mut disk = MemoryDisk::new(0);
        for (name, bytes) in &files {
            disk.create(name, bytes.len() as u64).expect("there is room");
            disk.write(name, 0, bytes).expect("it fits");
        }
        let opened = open(&disk).map(|(_, batches)| batches);
        assert!(opened.is_ok() || disk.contents() == files, "nothing was touched");
        opened
    };
    let second = "00000002.seg";
    assert!(with(&|_| ()).is_ok());
    let missing = with(&|files| drop(files.remove(second))).expect_err("a gap");
    assert!(matches!(&missing, StoreError::Damaged { file, .. } if file == second), "{missing}");
    let renamed = with(&|files| {
        let third = files["00000003.seg"].clone();
        files.insert(second.to_owned(), third);
    });
    assert!(matches!(renamed, Err(StoreError::Damaged { .. })), "{renamed:?}");
    let emptied = with(&|files| files.get_mut(second).expect("it is there").fill(0));
    assert!(matches!(emptied, Err(StoreError::Damaged { .. })), "{emptied:?}");
    let foreign = with(&|files| {
        let next = format!("{:08}.seg", files.len() + 1);
        files.insert(next, b"my thesis, the only copy".to_vec());
    });
    assert!(matches!(foreign, Err(StoreError::Foreign { .. })), "{foreign:?}");
    let beside = with(&|files| drop(files.insert("thesis.txt".to_owned(), vec![1, 2, 3])));
    assert!(beside.is_ok(), "other files are nobody's business");
}

#[test]
fn what_a_later_release_wrote_is_refused_by_name() {
    let (disk, _) = written(4);
    let start = batches(&disk)[2];
    let patch = |at: usize, byte: u8| {
        let mut bytes = disk.contents()[FIRST].clone();
        bytes[start + at] = byte;
        reseal(&mut bytes[start..]);
        let mut disk = MemoryDisk::new(0);
        disk.create(FIRST, bytes.len() as u64).expect("there is room");
        disk.write(FIRST, 0, &bytes).expect("it fits");
        let refused = open(&disk).map(|_| ()).expect_err("it is not understood").to_string();
        assert_eq!(disk.contents()[FIRST], bytes, "nothing was touched");
        refused
    };
    let format = patch(4, 2);
    assert!(format.contains("a batch of format 2, which this release does not know"), "{format}");
    let kind = patch(48, 18);
    assert!(kind.contains("a record of kind 18, which this release does not know"), "{kind}");
}

/// Gives a batch the checksums of what it says now.
fn reseal(bytes: &mut [u8]) {
    let body = u32::from_le_bytes(bytes[12..16].try_into().expect("four")) as usize;
    let end = (48 + body).next_multiple_of(8);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..40]), &bytes[48..end]);
    bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..44]);
    bytes[44..48].copy_from_slice(&crc.to_le_bytes());
}
