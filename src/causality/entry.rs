//! One key at one replica, and the one way in which it changes.
//!
//! Invariant: every value's dot is in the clock beside it, once applied; a value is dropped only when
//! a context covers its dot, and never comes back: what is not live is covered by the clock or by the
//! residual context. An entry without values and residual is empty and need not exist: the clock
//! is its tombstone.
//! Not here: where entries and clocks are kept (`storage`), who mints dots (`shard`).

use super::{Dead, Dot, DotSet, Resolve, Unresolved};
use crate::rules::{Rule, holds};

/// A key's live values by dot, and the context its slot's clock does not cover yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<V> {
    values: Vec<(Dot, V)>,
    residual: DotSet,
}

/// A change that travels: a put, a delete, or a whole joined entry. Applying it twice, late or in
/// another order ends in the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<V> {
    /// The values it brings. One for a put, none for a delete, any number for a joined entry.
    pub values: Vec<(Dot, V)>,
    /// Dots whose values the sender holds too and knows the receiver to have: they stay as they are.
    pub kept: Vec<Dot>,
    /// The dot of the delete that this is.
    pub deleted: Option<Dot>,
    /// What the writer had seen, or for a joined entry, everything its sender covers.
    pub context: DotSet,
}

impl<V> Delta<V> {
    /// A put of one value by a writer who had seen `context`.
    pub fn put(dot: Dot, value: V, context: DotSet) -> Self {
        Delta { values: vec![(dot, value)], kept: Vec::new(), deleted: None, context }
    }

    /// A delete by a writer who had seen `context`.
    pub fn delete(dot: Dot, context: DotSet) -> Self {
        Delta { values: Vec::new(), kept: Vec::new(), deleted: Some(dot), context }
    }

    /// The dots that applying it adds to the clock.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.values.iter().map(|(dot, _)| *dot).chain(self.deleted)
    }
}

/// What applying a delta did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Dots that the clock did not have before.
    pub dots: Vec<Dot>,
    /// Dots of values that are live now and were not before.
    pub added: Vec<Dot>,
    /// Dots of values that were live and were replaced.
    pub dropped: Vec<Dot>,
    /// Whether the residual context is another than before.
    pub residual_changed: bool,
}

impl Applied {
    /// Whether anything is different from before, so that it must be made durable.
    pub fn changed(&self) -> bool {
        !self.dots.is_empty()
            || !self.added.is_empty()
            || !self.dropped.is_empty()
            || self.residual_changed
    }
}

impl<V> Default for Entry<V> {
    fn default() -> Self {
        Entry { values: Vec::new(), residual: DotSet::EMPTY }
    }
}

impl<V: Resolve> Resolve for Entry<V> {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        self.residual.resolve(dead)?;
        self.values.iter_mut().try_for_each(|(_, value)| value.resolve(dead))
    }
}

impl<V: Resolve> Resolve for Delta<V> {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        self.context.resolve(dead)?;
        self.values.iter_mut().try_for_each(|(_, value)| value.resolve(dead))
    }
}

impl<V> Entry<V> {
    /// An entry as it was stored: values by ascending dot, and its residual context.
    pub fn from_parts(mut values: Vec<(Dot, V)>, residual: DotSet) -> Self {
        values.sort_by_key(|(dot, _)| *dot);
        Entry { values, residual }
    }

    /// The live values, by ascending dot.
    pub fn values(&self) -> &[(Dot, V)] {
        &self.values
    }

    /// The dots of the live values, ascending.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.values.iter().map(|(dot, _)| *dot)
    }

    /// The value named by `dot`, if it is live.
    pub fn value(&self, dot: Dot) -> Option<&V> {
        self.values.binary_search_by_key(&dot, |(dot, _)| *dot).ok().map(|at| &self.values[at].1)
    }

    /// Contexts applied to this key that the clock's contiguous base does not reach yet.
    pub fn residual(&self) -> &DotSet {
        &self.residual
    }

    /// Whether there is nothing left to keep.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.residual.is_empty()
    }

    /// The same entry with every value turned into something else.
    pub fn map<W>(self, mut turn: impl FnMut(Dot, V) -> W) -> Entry<W> {
        let values = self.values.into_iter().map(|(dot, value)| (dot, turn(dot, value)));
        Entry { values: values.collect(), residual: self.residual }
    }

    /// Joins a delta into this entry and its slot's clock.
    ///
    /// Both must be made durable together: a clock that says more than its entries hold would make
    /// peers drop what this replica never had.
    pub fn apply(&mut self, clock: &mut DotSet, delta: Delta<V>) -> Applied {
        let mut applied = Applied::default();
        let brought = |dot: Dot| {
            delta.values.iter().any(|(other, _)| *other == dot) || delta.kept.contains(&dot)
        };
        self.values.retain(|(dot, _)| {
            let drop = delta.context.contains(*dot) && !brought(*dot);
            if drop {
                applied.dropped.push(*dot);
            }
            !drop
        });
        applied.dots.extend(delta.dots().filter(|dot| !clock.contains(*dot)));
        for (dot, value) in delta.values {
            let covered = clock.contains(dot) || self.residual.contains(dot);
            if !covered || (!holds(Rule::CoveredStaysGone) && self.value(dot).is_none()) {
                applied.added.push(dot);
                let at = self.values.partition_point(|(other, _)| *other < dot);
                self.values.insert(at, (dot, value));
            }
            clock.insert(dot);
        }
        if let Some(dot) = delta.deleted {
            clock.insert(dot);
        }
        let before = std::mem::take(&mut self.residual);
        let mut residual = before.clone();
        if holds(Rule::KeepResidual) {
            residual.union(&delta.context);
        }
        self.residual = residual.stripped_by(clock);
        applied.residual_changed = self.residual != before;
        applied
    }

    /// Drops what the clock has come to cover. Whether that changed anything.
    pub fn strip(&mut self, clock: &DotSet) -> bool {
        if self.residual.is_empty() {
            return false;
        }
        let left = self.residual.stripped_by(clock);
        let changed = left != self.residual;
        self.residual = left;
        changed
    }

    /// What a client that was shown all this may hand back: causally closed, so that whoever has a
    /// dot in it has what lies before that dot.
    pub fn context(&self, clock: &DotSet) -> DotSet {
        let mut context = clock.bases();
        if holds(Rule::ClosedContext) {
            context.union(&self.residual);
        }
        for dot in self.dots() {
            context.insert(dot);
        }
        context
    }

    /// What a put returns to its writer: what it was sent, and its own dot. Never more, for a token
    /// must not cover a value that its holder was not shown.
    pub fn context_after_put(&self, clock: &DotSet, sent: &DotSet, dot: Dot) -> DotSet {
        let mut context = if holds(Rule::PutContext) { sent.clone() } else { self.context(clock) };
        context.insert(dot);
        context
    }

    /// Everything this replica knows of for the key: live or replaced.
    pub fn covered(&self, clock: &DotSet) -> DotSet {
        let mut covered = clock.clone();
        covered.union(&self.residual);
        covered
    }
}
