//! What a store promises, shown from outside: the same after reopening, whatever the disk does.

mod crash;
mod damage;
mod golden;
mod oracle;

use oracle::{Writer, state};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ringdove::storage::{MemoryDisk, Options, Store, SyncHandle};

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
