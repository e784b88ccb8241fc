//! A row of owners that changes, gains and loses seats: the model that the steps of design 3.6 are taken from.
//!
//! One key, one row, random histories (`world.rs`): clients with old rings, nodes that are away, seats given to
//! somebody else before they settled, disks that come back in time. Every read is judged. Each rule (`rules.rs`) can be
//! broken, and is then caught within a stated number of histories.
//!
//! # What it says
//!
//! A row is *whole* when each acknowledged quorum write is with a majority of the row. Majorities meet, so reads are
//! right in a whole row; and the next change may begin in a whole row only, because it counts on it. Of a row with
//! N owners, `maj(N) = N/2 + 1` and `enough(N) = N - maj(N) + 1`.
//!
//! **A move** (N stays): who comes in pulls from enough(N) owners after their fence; the row is whole then.
//!
//! **A gain** (N to N+1): for the reads alone the newcomer need not have pulled from anybody, for `maj(N+1) - 1 + maj(N) > N`.
//! But the row it leaves behind is whole at once only if N is even. If N is odd (1 to 2, 3 to 4) it takes enough(N) = (N+1)/2
//! fenced owners. So the rule is the same as for a move: enough(N). The old owners need nothing, neither when the
//! quorum grows: maj(N+1) of them is no less than maj(N), and meets every old quorum.
//!
//! **A loss** (N to N-1): reads are right at once, by the same inequality. But if N is odd (3 to 2, 5 to 4) the row is *not*
//! whole: a write may have been with the one who left and `maj(N) - 1` others, and the next change, of one
//! seat, loses it. So a loss has a second half. The row *covers*: all its owners count, and no other seat may go or
//! move, until maj(N-1) of them have pulled from who left, after its fence, or from enough(N) of the old row (themselves included). If
//! an owner dies before that, the row may *gain*: the newcomer pulls from enough of the old row and enough of the
//! shorter one, and the row is whole. For even N nothing would be needed; the rule is kept the same.
//!
//! **Retried seats**: `before` holds each set of owners since the last whole row, and who takes the seat pulls
//! from enough of each, *by the length of that set*: they differ by one in a gain. It counts itself in sets that it was in.
//!
//! **`one` and `all`** are no majorities. An owner counts there only after it has pulled from each one that left a
//! seat in its sets (as the sets were then: who comes back is somebody else), and only if that one *owed nothing* itself: pulling from
//! an owner that has not yet pulled from its own predecessor brings nothing of what the predecessor had alone.
//! `model/moves.py` counts pulls whatever the source owes; the histories below catch that.
//!
//! Not here: hints, slots, actors, many keys. The real shards are tested in the simulator.

mod rows;
mod rules;
mod world;

use rows::{Level, Set, enough, majority};
use rules::{RULES, Rule};
use world::{Shape, Tally, World};

const STEPS: usize = 800;

const fn quorum(shortest: usize, longest: usize) -> Shape {
    Shape { shortest, longest, writes: Level::Quorum, reads: Level::Quorum }
}

/// Where a broken rule shows, and within how many histories, counted from seed 0.
fn caught(rule: Rule) -> (Shape, u64) {
    let one_all = Shape { writes: Level::One, reads: Level::All, ..quorum(1, 3) };
    match rule {
        Rule::Fence => (quorum(1, 3), 100),
        Rule::AfterFence => (quorum(1, 3), 20),
        Rule::Enough => (quorum(1, 3), 30),
        Rule::EverySet => (quorum(1, 3), 30),
        Rule::OwnLength => (quorum(2, 3), 2500),
        Rule::Settled => (quorum(1, 3), 10),
        Rule::GainPulls => (quorum(1, 3), 150),
        Rule::Reborn => (quorum(1, 3), 2500),
        Rule::LevelLeft => (one_all, 20),
        Rule::Clean => (one_all, 40),
        Rule::OneSeat => (quorum(1, 3), 20),
        Rule::Cover => (quorum(1, 3), 100),
        Rule::CoverMajority => (quorum(1, 3), 3000),
        Rule::Keeps => (quorum(1, 3), 60),
    }
}

#[test]
fn every_broken_rule_is_caught() {
    for rule in RULES {
        let (shape, within) = caught(rule);
        let run = |seed| World::new(seed, shape, Some(rule)).run(STEPS).bad.map(|bad| (seed, bad));
        let found = (0..within).find_map(run);
        println!("{rule:?}: {found:?}");
        assert!(found.is_some(), "{rule:?} is not caught within {within} histories");
    }
}

/// Runs histories that keep the rules, and gives what they did in all.
fn clean(shape: Shape, seeds: std::ops::Range<u64>) -> Tally {
    let mut all = Tally::default();
    for seed in seeds {
        let world = World::new(seed, shape, None).run(STEPS);
        assert_eq!(world.bad, None, "seed {seed} of {shape:?}");
        all.add(&world.tally);
    }
    println!("{shape:?}: {all:?}");
    all
}

#[test]
fn quorum_reads_are_right_in_rows_of_any_length() {
    let shapes = [quorum(1, 3), quorum(2, 3), quorum(3, 4), quorum(2, 4), quorum(3, 5)];
    let mut all = Tally::default();
    shapes.into_iter().for_each(|shape| all.add(&clean(shape, 0..500)));
    let Tally { reads, moves, gains, losses, retries, regained, drops, reborn } = all;
    for (did, least) in [(reads, 10_000), (moves, 3000), (gains, 1000), (losses, 1500)] {
        assert!(did >= least, "too little was done: {all:?}");
    }
    for (did, least) in [(retries, 5000), (regained, 500), (drops, 200), (reborn, 1000)] {
        assert!(did >= least, "too little was done: {all:?}");
    }
}

#[test]
fn all_after_one_and_one_after_all_are_right_too() {
    for (writes, reads) in [(Level::One, Level::All), (Level::All, Level::One)] {
        for shape in [quorum(1, 3), quorum(2, 4)] {
            let all = clean(Shape { writes, reads, ..shape }, 0..500);
            let done = (all.reads, all.gains, all.losses);
            assert!(done.0 >= 300 && done.1 >= 150 && done.2 >= 200, "{all:?}");
        }
    }
}

/// All sets of `count` of the first `of` nodes.
fn sets(of: usize, count: usize) -> impl Iterator<Item = Set> + Clone {
    (0..1_u32 << of).map(Set).filter(move |set| set.len() == count)
}

#[test]
fn the_numbers_are_the_least() {
    // From how many owners a newcomer pulls so that each quorum write is with a majority of the longer row.
    let gain = |len: usize| {
        let whole = |pulled: usize| {
            sets(len, majority(len)).all(|write| {
                let with = |from: Set| write.len() + usize::from(write.and(from).len() > 0);
                sets(len, pulled).all(|from| with(from) >= majority(len + 1))
            })
        };
        (0..=len).find(|pulled| whole(*pulled)).expect("all of them will do")
    };
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(gain), [1, 0, 2, 0, 3, 0, 4]);
    // And so that reads of the longer row are right, no more: nobody.
    for len in 1..8 {
        let meets = |read: Set| sets(len, majority(len)).all(|write| write.and(read).len() > 0);
        let reads = || sets(len + 1, majority(len + 1));
        assert!(reads().all(|read| meets(read.minus(Set::default().with(len as u8)))));
        assert!([0, enough(len)].contains(&gain(len)));
    }
    // How many owners that are left pull from who left, the last, so that the shorter row is whole.
    let loss = |len: usize| {
        let whole = |covered: usize| {
            let left = Set::default().with(len as u8 - 1);
            sets(len, majority(len)).filter(|write| write.and(left).len() > 0).all(|write| {
                let with = |by: Set| write.minus(left).or(by).len();
                sets(len - 1, covered).all(|by| with(by) >= majority(len - 1))
            })
        };
        (0..len).find(|covered| whole(*covered)).expect("all of them will do")
    };
    assert_eq!([2, 3, 4, 5, 6, 7, 8].map(loss), [0, 2, 0, 3, 0, 4, 0]);
}
