//! A few thousand histories of whole clusters, every promise checked on each.
//!
//! The ranges are fixed, so the test either always passes or always fails for one state of the code;
//! `ringdove-sim run` goes further. A failure prints the command that replays it.

use std::ops::Range;

use crate::batch::{Batch, replay_command, run_seeds};
use crate::{Options, Profile, run};

/// Runs a batch and insists that it kept every promise.
fn clean(seeds: Range<u64>, options: Options) -> Batch {
    let batch = run_seeds(seeds, options, 3);
    for failed in &batch.failed {
        eprint!("{failed}");
        eprintln!("  replay: {}", replay_command(failed.seed, options));
    }
    assert!(batch.failed.is_empty(), "{} of {} runs failed", batch.failed.len(), batch.runs);
    batch
}

fn profile(profile: Profile) -> Options {
    Options { profile, ..Options::default() }
}

/// Mixed histories also have to exercise everything that they claim to test.
fn mixed(seeds: Range<u64>) {
    let batch = clean(seeds, Options::default());
    println!("{}", batch.counts);
    let missing = batch.counts.missing();
    assert!(missing.is_empty(), "vacuous: nothing of {missing:?} happened");
    let (runs, moving) = (batch.runs, batch.counts.moving_runs);
    assert!(moving * 10 >= runs * 4, "vacuous: seats moved in {moving} of {runs} histories");
}

#[test]
fn mixed_histories_keep_every_promise() {
    mixed(0..1000);
}

#[test]
fn more_mixed_histories_keep_every_promise() {
    mixed(1_000_000..1_000_800);
}

#[test]
fn histories_with_splits_keep_every_promise() {
    clean(2_000_000..2_000_600, profile(Profile::Splits));
}

#[test]
fn histories_with_crashes_keep_every_promise() {
    clean(3_000_000..3_000_600, profile(Profile::Crashes));
}

#[test]
fn histories_with_restored_disks_keep_every_promise() {
    clean(6_000_000..6_000_500, profile(Profile::Restores));
}

#[test]
fn histories_with_dead_actors_keep_every_promise() {
    let counts = clean(7_000_000..7_000_300, profile(Profile::Closings)).counts;
    let done = [counts.listed, counts.folds, counts.start_overs];
    assert!(
        done.iter().all(|count| *count > 0),
        "vacuous: {done:?} were listed, folded, started over"
    );
}

#[test]
fn histories_with_seats_that_change_hands_keep_every_promise() {
    let counts = clean(0..200, profile(Profile::Ring)).counts;
    let done = [counts.copied, counts.settled, counts.covered, counts.dropped];
    assert!(
        done.iter().all(|count| *count > 0),
        "vacuous: {done:?} were copied, settled, covered, dropped"
    );
}

#[test]
fn histories_over_ordered_lanes_keep_every_promise() {
    clean(4_000_000..4_000_400, profile(Profile::Lanes));
}

#[test]
fn calm_histories_succeed() {
    let batch = clean(5_000_000..5_000_100, profile(Profile::Calm));
    let counts = batch.counts;
    assert_eq!((counts.lost, counts.power_losses, counts.cuts), (0, 0, 0));
    assert_eq!(counts.unknown_writes, 0, "nothing went wrong, so nothing is unknown");
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 0..20 {
        let options = Options { trace: true, ..Options::default() };
        let (once, again) = (run(seed, options), run(seed, options));
        assert!(once.trace.lines().count() > 100, "seed {seed} hardly did anything");
        assert!(once.trace == again.trace, "seed {seed} took another course the second time");
        assert_eq!(once.counts, run(seed, Options::default()).counts, "the trace changed the run");
    }
}

/// Seeds that once broke a promise: `SEED [nodes N] [profile NAME]  # what it found`.
#[test]
fn what_was_found_once_stays_away() {
    for line in include_str!("../seeds.txt").lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(seed) = words.next() else { continue };
        let seed: u64 = seed.parse().expect("a line begins with a seed");
        let mut options = Options::default();
        while let Some(word) = words.next() {
            let value = words.next().expect("a word is followed by its value");
            match word {
                "nodes" => options.nodes = Some(value.parse().expect("a number of nodes")),
                "profile" => {
                    options.profile = clap::ValueEnum::from_str(value, true).expect("a profile");
                }
                other => panic!("{other:?} is no word of this list"),
            }
        }
        clean(seed..seed + 1, options);
    }
}

#[cfg(feature = "canaries")]
#[test]
fn broken_rules_are_noticed() {
    use crate::canaries::{SCRIPTED, catch, limit_of};
    use ringdove::rules::Rule;
    let scripted = |rule: &Rule| SCRIPTED.iter().any(|(other, _)| other == rule);
    let others = Rule::ALL.into_iter().filter(|rule| !scripted(rule));
    let seeds = |rule| 0..limit_of(rule, 400).max(400);
    let unnoticed: Vec<Rule> = others.filter(|rule| catch(*rule, seeds(*rule)).is_none()).collect();
    assert!(unnoticed.is_empty(), "broken and not noticed: {unnoticed:?}");
}
