//! The n-th call of the disk fails, for every n, until a run ends without reaching the fault.
//!
//! After each: every batch that was reported synced is there, whole; of the others there is a
//! prefix, in log order; opening again changes nothing, not even if the power goes in between; where
//! a page says that nothing is missing, nothing is missing that left the process; and the store goes
//! on from there.

use std::collections::VecDeque;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ringdove::causality::{Actor, Dot, DotSet};
use ringdove::ring::Slot;
use ringdove::storage::{
    Fault, LogEnd, MemoryDisk, MemorySync, Store, StoreError, SyncHandle, SyncJob,
};

use crate::SMALL;
use crate::oracle::{Writer, state};

/// How a run ends when the chosen call is reached.
#[derive(Debug, Clone, Copy)]
enum Crash {
    /// The call fails, others do not; the process goes on and is killed later.
    FailOnce,
    /// All calls fail from then on; the process is killed later.
    FailForEver,
    /// The process is killed in the middle of the call.
    Kill,
    /// The power goes in the middle of the call.
    PowerLoss,
}

const CRASHES: [Crash; 4] = [Crash::FailOnce, Crash::FailForEver, Crash::Kill, Crash::PowerLoss];

impl Crash {
    fn arm(self, disk: &MemoryDisk, n: u64) {
        let fault = match self {
            Crash::FailOnce => Fault::Once,
            Crash::FailForEver | Crash::Kill | Crash::PowerLoss => Fault::ForEver,
        };
        disk.fail_call(n, fault);
    }

    /// The disk, if the process ends in the very call that fails there.
    fn dies(self, disk: &MemoryDisk) -> Option<&MemoryDisk> {
        match self {
            Crash::FailOnce | Crash::FailForEver => None,
            Crash::Kill | Crash::PowerLoss => Some(disk),
        }
    }

    fn strike(self, disk: &MemoryDisk) {
        disk.heal();
        match self {
            Crash::FailOnce | Crash::FailForEver | Crash::Kill => disk.kill(),
            Crash::PowerLoss => disk.power_loss(),
        }
    }
}

/// What a run left behind.
#[derive(Default)]
struct Run {
    /// The highest batch that was reported synced.
    reported: u64,
    /// What a driver would have told the page last.
    page: Option<LogEnd>,
    /// The highest batch of which something may have left the process.
    left: u64,
}

/// Writes, appends, syncs late and in order; until it is done, the store refuses writes, or the process
/// dies in a call that `dies` lets fail.
fn run(
    store: &mut Store<MemoryDisk>,
    writer: &mut Writer,
    (seed, rounds): (u64, u32),
    dies: Option<&MemoryDisk>,
) -> Run {
    let dead = || dies.is_some_and(MemoryDisk::fault_reached);
    let mut end = Run { page: Some(store.end()), ..Run::default() };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut jobs: VecDeque<SyncJob<_>> = VecDeque::new();
    let mut segment = None;
    for _ in 0..rounds {
        for _ in 0..rng.random_range(0..5) {
            writer.change(store);
        }
        let flushed = store.flush();
        if dead() {
            return Run { reported: store.synced().0, ..end };
        }
        // As a driver does before anything leaves.
        let whole = !store.unwritten() && store.poisoned().is_none();
        end.page = whole.then(|| store.end());
        end.left = store.open_batch().0 - 1;
        match flushed {
            Ok(job) => jobs.extend(job),
            Err(_) => break,
        }
        // Segments are made ahead some time, or an append has to make them; a full disk is no reason
        // to end, but here nothing will ever free it.
        segment = segment.or_else(|| store.segment_job());
        if rng.random_bool(0.4)
            && let Some(job) = segment.take()
        {
            store.on_segment(job.run());
        }
        while !dead() && jobs.len() > rng.random_range(0..4) {
            let job = jobs.pop_front().expect("there is one");
            let synced: Result<Vec<()>, _> = job.handles.iter().map(SyncHandle::sync).collect();
            match synced {
                Ok(_) => store.on_synced(job.upto),
                Err(error) => store.poison(error.to_string()),
            }
        }
        if dead() || store.poisoned().is_some() {
            break;
        }
    }
    Run { reported: store.synced().0, ..end }
}

/// Opens after a crash and checks what is promised. Gives the store and its last batch.
fn check(disk: &MemoryDisk, writer: &Writer, run: &Run) -> (Store<MemoryDisk>, u64) {
    let (mut store, opened) = Store::open(disk.clone(), SMALL).expect("a crash is no damage");
    let (last, reported) = (opened.batches, run.reported);
    if run.page == Some(store.end()) {
        assert!(
            last >= run.left,
            "a dot of batch {} is out there and would be given again",
            run.left
        );
    }
    assert!(last >= reported, "batch {reported} was reported synced, the log ends at {last}");
    assert_eq!(store.synced().0, last);
    assert_eq!(&state(&mut store), &writer.at[&last], "batches 1 to {last}, whole");
    drop(store);
    disk.power_loss();
    let (mut store, again) = Store::open(disk.clone(), SMALL).expect("it opened before");
    assert_eq!(again.batches, last, "opening again finds the same");
    assert_eq!(&state(&mut store), &writer.at[&last]);
    (store, last)
}

#[test]
fn every_call_of_a_write_sequence_may_fail() {
    let mut kept = 0;
    for crash in CRASHES {
        for seed in 0..2 {
            let mut n = 1;
            loop {
                let disk = MemoryDisk::new(seed * 1000 + n);
                let mut writer = Writer::new(seed, 400);
                crash.arm(&disk, n);
                let run_once = match Store::open(disk.clone(), SMALL) {
                    Err(_) => Run::default(),
                    Ok((mut store, _)) => {
                        let end = run(&mut store, &mut writer, (seed, 25), crash.dies(&disk));
                        kept += u64::from(end.page == Some(store.end()));
                        let waits = store.unwritten() && store.poisoned().is_none();
                        if waits && matches!(crash, Crash::FailOnce) {
                            assert_eq!(state(&mut store), writer.state, "it is read all the same");
                        }
                        if let (Some(_), Crash::FailOnce) = (store.poisoned(), crash) {
                            let refused = store.flush();
                            assert!(matches!(refused, Err(StoreError::Poisoned(_))), "{refused:?}");
                            assert_eq!(state(&mut store), writer.state, "reads go on");
                        }
                        end
                    }
                };
                if !disk.fault_reached() {
                    break;
                }
                crash.strike(&disk);
                let (mut store, last) = check(&disk, &writer, &run_once);
                writer.resume(last);
                let end = run(&mut store, &mut writer, (seed + 1, 8), None);
                drop(store);
                disk.power_loss();
                check(&disk, &writer, &Run { page: None, ..end });
                n += 1;
            }
            assert!(n > 30, "only {n} calls were tried: {crash:?} {seed}");
        }
    }
    assert!(kept > 30, "only {kept} runs ended with nothing in doubt");
}

#[test]
fn every_call_of_a_recovery_may_fail() {
    let mut torn = 0;
    for (first, crash) in (0..).step_by(12).zip(CRASHES) {
        for seed in first..first + 12 {
            let mut n = 1;
            loop {
                let disk = MemoryDisk::new(seed);
                let mut writer = Writer::new(seed, 400);
                let (mut store, _) = Store::open(disk.clone(), SMALL).expect("it is empty");
                let mut end = run(&mut store, &mut writer, (seed, 12), None);
                for _ in 0..6 {
                    writer.change(&mut store);
                    append(&mut store);
                }
                (end.page, end.left) = (Some(store.end()), store.open_batch().0 - 1);
                drop(store);
                if seed % 2 == 0 {
                    disk.power_loss()
                } else {
                    disk.kill()
                }
                crash.arm(&disk, n);
                let opened = Store::open(disk.clone(), SMALL);
                if !disk.fault_reached() {
                    torn += u64::from(opened.expect("nothing failed").1.torn_bytes > 0);
                    break;
                }
                assert!(opened.is_err(), "an error is not passed over");
                crash.strike(&disk);
                check(&disk, &writer, &end);
                n += 1;
            }
            assert!(n > 4, "only {n} calls were tried: {crash:?} {seed}");
        }
    }
    assert!(torn > 6, "only {torn} of the logs had a torn tail");
}

/// Stages a change that makes a batch of always the same size.
fn same_size(store: &mut Store<MemoryDisk>, counter: u64) {
    let slot = Slot::new(5).expect("a slot");
    store.stage_clock(slot, &DotSet::of(Dot::new(Actor::new(1, 1), counter)));
}

fn append(store: &mut Store<MemoryDisk>) -> Option<SyncJob<MemorySync>> {
    store.flush().expect("it can be appended")
}

/// An opening overwrites a torn tail with zeros and fails to sync them, so they do not last. Then a
/// batch takes the place of the first lost one, and ends just where the second begins.
#[test]
fn an_abandoned_batch_never_follows_a_new_one() {
    let mut met = 0;
    for seed in 0..200 {
        let disk = MemoryDisk::new(seed);
        let (mut store, _) = Store::open(disk.clone(), SMALL).expect("it is empty");
        for counter in [1, 20, 30, 40, 50, 60, 70, 80, 90] {
            same_size(&mut store, counter);
            append(&mut store);
        }
        drop(store);
        disk.power_loss();
        // The call that fails is the sync that ends the opening.
        let calls = disk.calls();
        let twin = disk.copy(seed);
        Store::open(twin.clone(), SMALL).expect("a crash is no damage");
        disk.fail_call(twin.calls(), Fault::Once);
        let refused = Store::open(disk.clone(), SMALL);
        assert!(refused.is_err() && disk.calls() > calls);
        disk.heal();
        let (mut store, opened) = Store::open(disk.clone(), SMALL).expect("a crash is no damage");
        same_size(&mut store, 99);
        let job = append(&mut store).expect("something was staged");
        job.handles.iter().for_each(|handle| handle.sync().expect("it can be synced"));
        drop(store);
        disk.power_loss();
        let (store, again) = Store::open(disk.clone(), SMALL).expect("a crash is no damage");
        assert_eq!(again.batches, opened.batches + 1, "seed {seed}");
        let clock = store.clock(Slot::new(5).expect("a slot"));
        assert!(clock.contains(Dot::new(Actor::new(1, 1), 99)));
        met += u64::from(again.torn_bytes > 0);
    }
    assert!(met > 5, "only {met} abandoned batches came to lie behind a new one");
}
