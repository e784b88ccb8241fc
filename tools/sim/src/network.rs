//! The links between nodes: which are cut, what a frame meets on its way.
//!
//! A pair of shards has one lane, as on TCP. In ordered weather a lane keeps its order and loses
//! frames only by breaking; in rough weather every frame may be lost, doubled or overtaken, which is
//! more than TCP does, and no more than the message table says a shard must bear. Requests sent on
//! (`Put`) are the one exception: minting is not idempotent before operation ids are looked up, so
//! they may be lost and late but are never doubled, as on TCP.
//!
//! Invariant: what happens to a frame is decided when it is sent, from the network's own dice.
//! Not here: what a frame says, and when the ends hear that a lane broke (`faults`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dice::Dice;
use crate::mix::Weather;

/// The lane from one node's shard to another's.
pub(crate) type Lane = (usize, usize, u16);

/// When copies of a frame arrive, and on which life of the lane.
#[derive(Debug, Default)]
pub(crate) struct Journey {
    /// A time for each copy. Empty: the frame is lost.
    pub(crate) arrivals: Vec<Duration>,
    /// How often the lane had broken when it was sent.
    pub(crate) breaks: u32,
}

/// All links of the cluster.
#[derive(Debug)]
pub(crate) struct Network {
    dice: Dice,
    /// `open[from][to]`.
    open: Vec<Vec<bool>>,
    /// When the last frame of a lane arrives.
    last: BTreeMap<Lane, Duration>,
    /// How often the lanes between two nodes broke, by their places, the smaller first.
    breaks: BTreeMap<(usize, usize), u32>,
    /// How the network behaves now.
    pub(crate) weather: Weather,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Network {
    /// A whole network.
    pub(crate) fn new(seed: u64, nodes: usize, weather: Weather) -> Self {
        Network {
            dice: Dice::new(seed, "network"),
            open: vec![vec![true; nodes]; nodes],
            last: BTreeMap::new(),
            breaks: BTreeMap::new(),
            weather,
        }
    }

    /// Whether frames from one node reach the other.
    pub(crate) fn is_open(&self, from: usize, to: usize) -> bool {
        self.open[from][to]
    }

    /// Cuts or mends one direction.
    pub(crate) fn set_open(&mut self, from: usize, to: usize, open: bool) {
        self.open[from][to] = open;
    }

    /// The pairs with a cut direction, the smaller first.
    pub(crate) fn cut_pairs(&self) -> Vec<(usize, usize)> {
        let nodes = self.open.len();
        let pairs = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
        pairs.filter(|&(a, b)| !self.open[a][b] || !self.open[b][a]).collect()
    }

    /// Breaks the lanes between two nodes: ordered frames under way are gone.
    pub(crate) fn break_lanes(&mut self, a: usize, b: usize) {
        *self.breaks.entry(pair(a, b)).or_default() += 1;
    }

    /// Whether a frame sent when the lanes had broken `breaks` times still arrives.
    pub(crate) fn arrives(&self, from: usize, to: usize, breaks: u32) -> bool {
        !self.weather.ordered || self.breaks.get(&pair(from, to)).copied().unwrap_or(0) == breaks
    }

    /// What happens to a frame that is sent now; `once` if it is not to be doubled.
    pub(crate) fn journey(
        &mut self,
        now: Duration,
        lane: Lane,
        once: bool,
        slowdown: u32,
    ) -> Journey {
        let (from, to, _) = lane;
        let breaks = self.breaks.get(&pair(from, to)).copied().unwrap_or(0);
        let mut journey = Journey { arrivals: Vec::new(), breaks };
        let weather = self.weather;
        if !self.open[from][to] || self.dice.chance(weather.loss) {
            return journey;
        }
        let copies = if self.dice.chance(weather.duplicate) && !once { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.dice.micros(weather.delay.0, weather.delay.1) * slowdown;
            if self.dice.chance(weather.straggle) {
                delay += self.dice.around(weather.straggle_mean);
            }
            let mut arrival = now + delay;
            if weather.ordered {
                let last = self.last.entry(lane).or_default();
                arrival = arrival.max(*last + Duration::from_nanos(1));
                *last = arrival;
            }
            journey.arrivals.push(arrival);
        }
        journey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_keeps_order_until_it_breaks() {
        let mut network = Network::new(1, 2, Weather { delay: (1, 1_000_000), ..Weather::FAIR });
        let mut last = Duration::ZERO;
        for step in 0..200 {
            let journey = network.journey(Duration::from_micros(step), (0, 1, 0), false, 1);
            assert_eq!(journey.arrivals.len(), 1);
            assert!(journey.arrivals[0] > last);
            last = journey.arrivals[0];
            assert!(network.arrives(0, 1, journey.breaks));
        }
        network.break_lanes(1, 0);
        assert!(!network.arrives(0, 1, 0));
    }

    #[test]
    fn a_cut_is_one_way() {
        let mut network = Network::new(1, 2, Weather::FAIR);
        network.set_open(0, 1, false);
        assert!(network.journey(Duration::ZERO, (0, 1, 0), false, 1).arrivals.is_empty());
        assert!(!network.journey(Duration::ZERO, (1, 0, 0), false, 1).arrivals.is_empty());
        assert_eq!(network.cut_pairs(), [(0, 1)]);
    }
}
