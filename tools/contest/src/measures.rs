//! What is measured, the same way for all.
//!
//! All nodes know of each other when they start; what they cost and find out is measured after [`WARM`]. Nothing looks into a
//! contestant but [`Contestant::survey`]: after every single thing that happens to a node, or where that takes too long every 50 ms.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::seq::SliceRandom;

use crate::contestant::{Contestant, NOTHING, Seen};
use crate::network::Network;

/// Seconds until things have settled.
const WARM: f64 = 30.0;
/// How long something is waited for, in seconds.
const PATIENCE: f64 = 120.0;

/// How often mistakes are looked for, in seconds: no refutation is so quick.
const GLANCE: f64 = 0.05;

/// After how many seconds something was so; `None` when not within [`PATIENCE`].
pub type Moment = Option<f64>;

fn warm<C: Contestant>(count: usize, seed: u64) -> Network<C> {
    let mut network = Network::new(count, seed);
    network.run(WARM);
    network
}

/// Bytes per second that nodes sent.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub mean: f64,
    /// In which 99 of 100 seconds of a node stay.
    pub most: f64,
    /// The longest datagram.
    pub largest: u64,
}

/// Measures over so many seconds, of which each begins with something.
fn rate<C: Contestant>(
    network: &mut Network<C>,
    seconds: usize,
    mut begin: impl FnMut(&mut Network<C>, usize),
) -> Rate {
    let mut samples = Vec::with_capacity(seconds * network.count());
    network.largest = 0;
    for second in 0..seconds {
        network.sent.fill(0);
        begin(network, second);
        network.run(1.0);
        samples.extend_from_slice(&network.sent);
    }
    samples.sort_unstable();
    let mean = samples.iter().sum::<u64>() as f64 / samples.len() as f64;
    let most = samples[(samples.len() * 99 / 100).min(samples.len() - 1)] as f64;
    Rate { mean, most, largest: network.largest }
}

/// What it costs while nothing happens.
pub fn idle<C: Contestant>(count: usize, seed: u64) -> Rate {
    rate(&mut warm::<C>(count, seed), 60, |_, _| {})
}

/// What it costs while one in a hundred, at least one, dies each minute and is started again three seconds later.
pub fn churn<C: Contestant>(count: usize, seed: u64) -> Rate {
    let mut network = warm::<C>(count, seed);
    let every = 60 / (count / 100).max(1);
    let mut dead = Vec::new();
    rate(&mut network, 120, |network, second| {
        dead.retain(|(place, since)| {
            let back = second >= since + 3;
            if back {
                network.start(*place);
            }
            !back
        });
        if second % every == 0 {
            let place = network.any();
            if network.nodes[place].is_some() {
                network.kill(place);
                dead.push((place, second));
            }
        }
    })
}

/// Each node of a few watched facts: how many others find them true, and when the thresholds were reached.
struct Reach {
    start: Duration,
    holds: Vec<bool>,
    many: usize,
    thresholds: Vec<usize>,
    reached: Vec<Moment>,
}

impl Reach {
    fn new<C: Contestant>(network: &Network<C>, thresholds: &[usize]) -> Self {
        let (holds, thresholds) = (vec![false; network.count()], thresholds.to_vec());
        let reached = vec![None; thresholds.len()];
        Reach { start: network.now, holds, many: 0, thresholds, reached }
    }

    fn note(&mut self, now: Duration, place: usize, holds: bool) {
        match (self.holds[place], holds) {
            (false, true) => self.many += 1,
            (true, false) => self.many -= 1,
            (_, _) => {}
        }
        self.holds[place] = holds;
        for (threshold, reached) in self.thresholds.iter().zip(&mut self.reached) {
            if self.many >= *threshold && reached.is_none() {
                *reached = Some((now - self.start).as_secs_f64());
            }
        }
    }

    fn over(&self) -> bool {
        self.reached.iter().all(Option::is_some)
    }
}

/// From a restart until somebody, half of the others, and all of them know of the new life.
pub fn change<C: Contestant>(count: usize, seed: u64, loss: f64) -> Vec<Moment> {
    change_in(&mut warm::<C>(count, seed), loss)
}

fn change_in<C: Contestant>(network: &mut Network<C>, loss: f64) -> Vec<Moment> {
    network.loss = loss;
    let count = network.count();
    let changed = network.any();
    network.kill(changed);
    let mut reach = Reach::new(network, &[1, (count - 1).div_ceil(2), count - 1]);
    network.start(changed);
    let life = network.lives[changed];
    network.watch(PATIENCE, |now, place, node| {
        if place != changed {
            reach.note(now, place, node.look(changed, count).1 >= life);
        }
        reach.over()
    });
    reach.reached
}

/// From a crash until somebody and all others suspect it at least, and half of them and all hold it for down.
pub fn crash<C: Contestant>(count: usize, seed: u64, loss: f64) -> Vec<Moment> {
    crash_in(&mut warm::<C>(count, seed), loss)
}

fn crash_in<C: Contestant>(network: &mut Network<C>, loss: f64) -> Vec<Moment> {
    network.loss = loss;
    let count = network.count();
    let dead = network.any();
    network.kill(dead);
    let mut suspected = Reach::new(network, &[1, count - 1]);
    let mut down = Reach::new(network, &[(count - 1).div_ceil(2), count - 1]);
    network.watch(PATIENCE, |now, place, node| {
        let (seen, _) = node.look(dead, count);
        suspected.note(now, place, seen != Seen::Alive);
        down.note(now, place, seen == Seen::Down);
        down.over() && suspected.over()
    });
    suspected.reached.into_iter().chain(down.reached).collect()
}

/// In one cluster, one after the other, for clusters that take long to begin with: what 20 idle seconds cost, and with nothing lost
/// how a restart and a crash become known.
pub fn brief<C: Contestant>(count: usize, seed: u64) -> (Rate, Vec<Moment>, Vec<Moment>) {
    let mut network = warm::<C>(count, seed);
    let idle = rate(&mut network, 20, |_, _| {});
    let change = change_in(&mut network, 0.0);
    (idle, change, crash_in(&mut network, 0.0))
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

/// By whom each is held for something now.
struct Held {
    by: Vec<BTreeSet<usize>>,
    times: usize,
}

impl Held {
    fn new(count: usize) -> Self {
        Held { by: vec![BTreeSet::new(); count], times: 0 }
    }

    fn note(&mut self, of: usize, by: usize, holds: bool) {
        if holds {
            self.times += usize::from(self.by[of].is_empty());
            self.by[of].insert(by);
        } else if !self.by[of].is_empty() {
            self.by[of].remove(&by);
        }
    }
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
    let (mut down, mut suspect) = (Held::new(count), Held::new(count));
    let mut all = vec![NOTHING; count];
    let steps = (seconds / GLANCE) as usize;
    let cycle = (block * 2.0 / GLANCE) as usize;
    for step in 0..steps {
        if slow > 0 && step % cycle == 0 {
            (0..slow).for_each(|place| network.hold(place, block));
        }
        network.run(GLANCE);
        // What slow nodes think of others is of interest, too: they tell it.
        for (by, node) in network.nodes.iter().enumerate() {
            all.fill(NOTHING);
            node.iter().for_each(|node| node.survey(&mut all));
            for (of, (seen, _)) in all.iter().enumerate().skip(slow) {
                down.note(of, by, *seen == Seen::Down);
                suspect.note(of, by, *seen != Seen::Alive);
            }
        }
    }
    let hours = (count - slow) as f64 * seconds / 3600.0;
    False { downs: down.times, suspects: suspect.times, hours }
}

/// What a node does that was held up for so many seconds: how many others it holds for down in the minute after, and when it is
/// alive again for all others.
pub fn pause<C: Contestant>(count: usize, seed: u64, seconds: f64) -> (usize, Moment) {
    let mut network = warm::<C>(count, seed);
    let paused = network.any();
    network.hold(paused, seconds);
    network.run(seconds - 0.001);
    let (mut reach, mut down) = (Reach::new(&network, &[count - 1]), Held::new(count));
    for (place, node) in network.nodes.iter().enumerate().filter(|(at, _)| *at != paused) {
        let alive = node.as_ref().is_some_and(|node| node.look(paused, count).0 == Seen::Alive);
        reach.note(network.now, place, alive);
    }
    let mut all = vec![NOTHING; count];
    network.watch(60.0, |now, place, node| {
        if place == paused {
            all.fill(NOTHING);
            node.survey(&mut all);
            all.iter().enumerate().for_each(|(of, it)| down.note(of, place, it.0 == Seen::Down));
        } else {
            reach.note(now, place, node.look(paused, count).0 == Seen::Alive);
        }
        false
    });
    (down.times, reach.reached[0])
}

/// Whether everybody holds everybody for alive, in the latest life.
fn one_view<C: Contestant>(network: &Network<C>) -> bool {
    let mut all = vec![NOTHING; network.count()];
    network.nodes.iter().flatten().all(|node| {
        all.fill(NOTHING);
        node.survey(&mut all);
        let right =
            |((seen, life), latest): (&(Seen, u64), &u64)| *seen == Seen::Alive && life >= latest;
        all.iter().zip(&network.lives).all(right)
    })
}

fn until_one_view<C: Contestant>(network: &mut Network<C>, patience: f64) -> Moment {
    let start = network.now;
    while !one_view(network) {
        if (network.now - start).as_secs_f64() > patience {
            return None;
        }
        network.run(0.1);
    }
    Some((network.now - start).as_secs_f64())
}

/// Two halves do not reach each other for so many seconds: when they have one view again, and what it costs 30 seconds after that
/// they do.
pub fn split<C: Contestant>(count: usize, seed: u64, seconds: f64) -> (Moment, Rate) {
    let mut network = warm::<C>(count, seed);
    network.split = Some(count / 2);
    network.run(seconds);
    network.split = None;
    let healed = until_one_view(&mut network, 1800.0);
    network.run(30.0);
    (healed, rate(&mut network, 10, |_, _| {}))
}

/// All are restarted within so many seconds, one by one, in any order: when there is one view after the last.
pub fn restart<C: Contestant>(count: usize, seed: u64, seconds: f64) -> Moment {
    let mut network = warm::<C>(count, seed);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut network.random);
    for place in order {
        network.kill(place);
        network.run(seconds / count as f64);
        network.start(place);
    }
    until_one_view(&mut network, 600.0)
}
