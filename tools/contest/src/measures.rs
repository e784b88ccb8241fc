//! What is measured, the same way for all.
//!
//! All nodes know of each other when they start; what they cost and find out is measured after [`WARM`].

use std::collections::BTreeSet;

use crate::contestant::{Contestant, Seen};
use crate::network::Network;

/// Seconds until things have settled.
const WARM: f64 = 30.0;
/// How finely time is measured, in seconds.
const STEP: f64 = 0.02;

fn warm<C: Contestant>(count: usize, seed: u64) -> Network<C> {
    let mut network = Network::new(count, seed);
    network.run(WARM);
    network
}

/// Bytes per second and node over so many seconds, while nothing happens, and the largest datagram.
pub fn idle<C: Contestant>(count: usize, seed: u64, seconds: f64) -> (f64, u64) {
    let mut network = warm::<C>(count, seed);
    (network.bytes, network.largest) = (0, 0);
    network.run(seconds);
    (network.bytes as f64 / seconds / count as f64, network.largest)
}

/// Bytes per second and node while one in a hundred restarts each minute, at least one of them.
pub fn churn<C: Contestant>(count: usize, seed: u64, minutes: usize) -> f64 {
    let mut network = warm::<C>(count, seed);
    network.bytes = 0;
    let restarts = (count / 100).max(1);
    for _ in 0..minutes * restarts {
        let place = network.any();
        network.kill(place);
        network.run(3.0);
        network.start(place);
        network.run(60.0 / restarts as f64 - 3.0);
    }
    network.bytes as f64 / (60 * minutes) as f64 / count as f64
}

/// Seconds from a restart until half and until all of the others know of the new life; `None` when not within a minute.
pub fn change<C: Contestant>(count: usize, seed: u64, loss: f64) -> [Option<f64>; 2] {
    let mut network = warm::<C>(count, seed);
    network.loss = loss;
    let place = network.any();
    network.kill(place);
    network.start(place);
    let life = network.lives[place];
    let knows = |node: &C| node.look(place).1 >= life;
    let thresholds = [(count - 1) / 2, count - 1];
    reach(&mut network, place, thresholds, knows)
}

/// Seconds from a crash until somebody suspects it, half of the others hold it for down, and all do.
pub fn crash<C: Contestant>(count: usize, seed: u64, loss: f64) -> [Option<f64>; 3] {
    let mut network = warm::<C>(count, seed);
    network.loss = loss;
    let place = network.any();
    network.kill(place);
    let thresholds = [(count - 1).div_ceil(2), count - 1];
    let start = network.now;
    let mut first = None;
    let mut reached = [None; 2];
    while (network.now - start).as_secs_f64() < 90.0 && reached[1].is_none() {
        network.run(STEP);
        let after = (network.now - start).as_secs_f64();
        let seen = |node: &C| node.look(place).0;
        let others = network.nodes.iter().flatten().map(seen);
        let mut down = 0;
        for seen in others {
            first = first.or((seen != Seen::Alive).then_some(after));
            down += usize::from(seen == Seen::Down);
        }
        for (reached, threshold) in reached.iter_mut().zip(thresholds) {
            *reached = reached.or((down >= threshold).then_some(after));
        }
    }
    [first, reached[0], reached[1]]
}

fn reach<C: Contestant>(
    network: &mut Network<C>,
    except: usize,
    thresholds: [usize; 2],
    knows: impl Fn(&C) -> bool,
) -> [Option<f64>; 2] {
    let start = network.now;
    let mut reached = [None; 2];
    while (network.now - start).as_secs_f64() < 60.0 && reached[1].is_none() {
        network.run(STEP);
        let after = (network.now - start).as_secs_f64();
        let others = network.nodes.iter().enumerate().filter(|(at, _)| *at != except);
        let count = others.filter(|(_, node)| node.as_ref().is_some_and(&knows)).count();
        for (reached, threshold) in reached.iter_mut().zip(thresholds) {
            *reached = reached.or((count >= threshold).then_some(after));
        }
    }
    reached
}

/// What went wrong while nobody died.
#[derive(Debug, Clone, Copy, Default)]
pub struct False {
    /// How often a healthy node came to be held for down by anybody.
    pub downs: usize,
    /// How often one came to be suspected.
    pub suspects: usize,
    /// How long all healthy nodes ran, together.
    pub hours: f64,
}

/// Runs for so many seconds while datagrams are lost and the first `slow` nodes are held up for `block` seconds of every
/// twice as many.
pub fn mistakes<C: Contestant>(
    count: usize,
    seed: u64,
    loss: f64,
    (slow, block): (usize, f64),
    seconds: f64,
) -> False {
    let mut network = warm::<C>(count, seed);
    network.loss = loss;
    let mut wrong: [BTreeSet<usize>; 2] = Default::default();
    let mut result = False { hours: (count - slow) as f64 * seconds / 3600.0, ..False::default() };
    let mut next_block = 0.0;
    for step in 0..(seconds / 0.5) as usize {
        if slow > 0 && step as f64 * 0.5 >= next_block {
            (0..slow).for_each(|place| network.hold(place, block));
            next_block += block * 2.0;
        }
        network.run(0.5);
        let mut now: [BTreeSet<usize>; 2] = Default::default();
        for of in slow..count {
            // What slow nodes think of others is of interest, too: they tell it.
            for node in network.nodes.iter().flatten() {
                match node.look(of).0 {
                    Seen::Alive => {}
                    Seen::Suspect => drop(now[1].insert(of)),
                    Seen::Down => drop(now[0].insert(of)),
                }
            }
        }
        result.downs += now[0].difference(&wrong[0]).count();
        result.suspects += now[1].difference(&wrong[1]).count();
        wrong = now;
    }
    result
}
