//! Who had seen whom: the supersession graph of one key.
//!
//! Nodes are the writes that were attempted. There is an edge from u to p if p was sent with the token
//! of a response that showed u. A token may cover a value only if it was shown, or if it had been
//! replaced by a write that saw it and is itself covered; by induction, everything p may
//! replace is in `past(p)`.
//!
//! Is: exact for tokens, whatever is inside them. Is not: a copy of the dots' order, which a broken
//! rule could falsify together with the data.

use std::collections::BTreeMap;

use crate::history::{Basis, History, OpId};

/// A set of a key's writes, by their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Writes(Vec<u64>);

impl Writes {
    fn with_room(writes: usize) -> Self {
        Writes(vec![0; writes.div_ceil(64)])
    }

    fn insert(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn contains(&self, place: usize) -> bool {
        self.0[place / 64] & (1 << (place % 64)) != 0
    }

    fn join(&mut self, other: &Writes) -> bool {
        let mut changed = false;
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            changed |= *theirs & !*mine != 0;
            *mine |= theirs;
        }
        changed
    }
}

/// The graph of one key.
#[derive(Debug)]
pub(crate) struct Graph {
    writes: Vec<OpId>,
    places: BTreeMap<OpId, usize>,
    past: Vec<Writes>,
    sure: Vec<Writes>,
}

/// Follows what each write had seen to the end. An overwrite may have seen writes invoked after it, so
/// one pass in order is not enough.
fn pasts(
    writes: &[OpId],
    places: &BTreeMap<OpId, usize>,
    seen: impl Fn(OpId) -> Vec<OpId>,
) -> Vec<Writes> {
    let mut past: Vec<Writes> = vec![Writes::with_room(writes.len()); writes.len()];
    loop {
        let mut changed = false;
        for (place, op) in writes.iter().enumerate() {
            let mut mine = past[place].clone();
            for seen in seen(*op) {
                let seen = places[&seen];
                mine.insert(seen);
                mine.join(&past[seen]);
            }
            changed |= past[place].join(&mine);
        }
        if !changed {
            return past;
        }
    }
}

impl Graph {
    /// The graph of the key at this place of the history.
    pub(crate) fn of(history: &History, key: usize) -> Self {
        let ops = history.ops.iter().filter(|op| op.key == key && op.is_write());
        let writes: Vec<OpId> = ops.map(|op| op.id).collect();
        let places: BTreeMap<OpId, usize> =
            writes.iter().enumerate().map(|(place, op)| (*op, place)).collect();
        let past = pasts(&writes, &places, |op| history.op(op).seen.clone());
        let sure = pasts(&writes, &places, |op| {
            let op = history.op(op);
            let split = op.basis == Basis::Overwrite && op.dots.len() > 1;
            if split { Vec::new() } else { op.seen.clone() }
        });
        Graph { writes, places, past, sure }
    }

    /// The key's writes, in the order of their invocation.
    pub(crate) fn writes(&self) -> &[OpId] {
        &self.writes
    }

    /// Whether every attempt at `later` had seen `earlier`, itself or through what it saw. Two
    /// attempts at one overwrite each saw what was there at their time, so neither counts here.
    pub(crate) fn saw(&self, later: OpId, earlier: OpId) -> bool {
        self.sure[self.places[&later]].contains(self.places[&earlier])
    }

    /// These writes and all that they had seen.
    pub(crate) fn closure(&self, ops: impl IntoIterator<Item = OpId>) -> Closure<'_> {
        let mut set = Writes::with_room(self.writes.len());
        for op in ops {
            let place = self.places[&op];
            set.insert(place);
            set.join(&self.past[place]);
        }
        Closure { graph: self, set }
    }
}

/// Writes with everything that they had seen.
pub(crate) struct Closure<'a> {
    graph: &'a Graph,
    set: Writes,
}

impl Closure<'_> {
    /// Whether a write is in it.
    pub(crate) fn contains(&self, op: OpId) -> bool {
        self.set.contains(self.graph.places[&op])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::lost::tests::{Story, put};

    #[test]
    fn the_past_follows_what_was_shown() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let b = story.push(put(&[a]));
        let c = story.push(put(&[]));
        let d = story.push(put(&[b]));
        let graph = Graph::of(&story.history, 0);
        assert!(graph.saw(d, a) && graph.saw(d, b) && !graph.saw(d, c) && !graph.saw(a, d));
        let closure = graph.closure([c, b]);
        assert!(closure.contains(a) && closure.contains(c) && !closure.contains(d));
    }
}
