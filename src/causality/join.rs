//! What several replicas say of one key together.
//!
//! Invariant: a value survives unless another answer covers its dot without holding it. The joined
//! context covers exactly what the answers' contexts do, so it is causally closed as they are.

use super::{Delta, Dot, DotSet, Entry};
use crate::rules::{Rule, holds};

/// One replica's answer for one key, or several answers joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<V> {
    /// The live values, by ascending dot.
    pub values: Vec<(Dot, V)>,
    /// Everything known of: what is in it and not in `values` has been replaced.
    pub covered: DotSet,
    /// What a client that is shown the values may hand back.
    pub context: DotSet,
}

impl<V> Default for Seen<V> {
    /// What a replica says that knows nothing.
    fn default() -> Self {
        Seen { values: Vec::new(), covered: DotSet::EMPTY, context: DotSet::EMPTY }
    }
}

impl<V: Clone> Seen<V> {
    /// What this entry says, beside its slot's clock.
    pub fn of(entry: &Entry<V>, clock: &DotSet) -> Self {
        Seen {
            values: entry.values().to_vec(),
            covered: entry.covered(clock),
            context: entry.context(clock),
        }
    }

    /// The dots of the live values, ascending.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.values.iter().map(|(dot, _)| *dot)
    }

    /// Joins another answer into this one.
    pub fn join(&mut self, other: &Seen<V>) {
        let theirs = |dot: Dot| other.values.binary_search_by_key(&dot, |(dot, _)| *dot).is_ok();
        let mut values: Vec<(Dot, V)> = self
            .values
            .iter()
            .filter(|(dot, _)| {
                theirs(*dot) || !other.covered.contains(*dot) || !holds(Rule::JoinCovers)
            })
            .cloned()
            .collect();
        let held: Vec<Dot> = self.dots().collect();
        for (dot, value) in &other.values {
            if held.binary_search(dot).is_err() && !self.covered.contains(*dot) {
                values.push((*dot, value.clone()));
            }
        }
        values.sort_by_key(|(dot, _)| *dot);
        self.values = values;
        self.covered.union(&other.covered);
        self.context.union(&other.context);
    }

    /// The delta that brings a replica up to this answer: all values, and all they replaced.
    pub fn into_delta(self) -> Delta<V> {
        Delta { values: self.values, kept: Vec::new(), deleted: None, context: self.covered }
    }
}

/// Joins the answers of several replicas. No answer at all says nothing at all.
pub fn join<V: Clone>(answers: &[Seen<V>]) -> Seen<V> {
    let mut answers = answers.iter();
    let mut joined = answers.next().cloned().unwrap_or_default();
    answers.for_each(|answer| joined.join(answer));
    joined
}
