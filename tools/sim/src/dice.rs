//! Everything random in a run, from one seed.
//!
//! Each concern (network, faults, clients, disks, …) throws its own dice, so that taking one fault
//! away leaves the others' draws as they were: that is what makes a failing seed easy to thin out.
//!
//! Invariant: the same seed and the same questions give the same answers, on every machine.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

/// A stream of random answers, named by a seed and a concern.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The dice of one concern in the run of this seed.
    pub(crate) fn new(seed: u64, concern: &str) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let name = concern.as_bytes();
        assert!(name.len() <= 24, "a concern's name fits beside the seed");
        key[8..8 + name.len()].copy_from_slice(name);
        Dice(ChaCha8Rng::from_seed(key))
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.0.random_bool(probability.min(1.0))
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// A place in something of this length, which is not empty.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// The place of one of these weights, each as likely as it is heavy. They are not all 0.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut at = self.0.random_range(0.0..weights.iter().sum::<f64>());
        for (index, weight) in weights.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        weights.len() - 1
    }

    /// A time from `low` to `high`, in microseconds.
    pub(crate) fn micros(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.range(low, high))
    }

    /// A time that is mostly short and sometimes long: exponential with this mean.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        let unit: f64 = self.0.random_range(f64::EPSILON..1.0);
        Duration::from_micros((mean.as_micros() as f64 * -unit.ln()) as u64)
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Puts them in any order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_and_a_concern_name_one_stream() {
        let draw = |seed, concern| {
            let mut dice = Dice::new(seed, concern);
            (0..8).map(|_| dice.bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "network"), draw(1, "network"));
        assert_ne!(draw(1, "network"), draw(1, "faults"));
        assert_ne!(draw(1, "network"), draw(2, "network"));
    }
}
