//! Nothing acknowledged is lost, unless something that had seen it replaced it.
//!
//! Is: every put with outcome `ok` is present in the end, or in the past of a write that is, or in the
//! past of a delete that took place.
//! Is not: a claim about unknown outcomes. A write that vanished cannot excuse another's loss: it
//! is neither present nor a delete.

use super::{Evidence, Violation};
use crate::counts::Counts;
use crate::history::{Kind, Op, Outcome, list};

/// A delete that may have happened: acknowledged, or at least minted.
pub(super) fn took_place(op: &Op) -> bool {
    let minted = !op.dots.is_empty() || op.may_be_minted;
    op.kind == Kind::Delete && (op.outcome == Outcome::Ok || minted)
}

/// What is lost.
pub(super) fn check(evidence: &Evidence<'_>, counts: &mut Counts) -> Vec<Violation> {
    let history = evidence.history;
    let mut found = Vec::new();
    for (graph, present) in evidence.graphs.iter().zip(&evidence.present) {
        let deletes = graph.writes().iter().copied().filter(|op| took_place(history.op(*op)));
        let live = graph.closure(present.iter().copied().chain(deletes));
        let writes = graph.writes().iter().map(|op| history.op(*op));
        let promised = |op: &&Op| op.is_put() && op.outcome == Outcome::Ok && !op.excused;
        for op in writes.filter(promised) {
            counts.replaced += u64::from(!present.contains(&op.id));
            if !live.contains(op.id) {
                let present = list(present);
                let what = format!("{}; present {present}", history.describe(op.id));
                found.push(Violation::new("lost", what));
            }
        }
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use bytes::Bytes;
    use ringdove::causality::{Actor, Dead, Dot, DotSet};
    use ringdove::key::Key;
    use ringdove::ring::Token;
    use ringdove::wire::{Level, Source};

    use super::*;
    use crate::checkers::{Dump, Graph, judge};
    use crate::history::{Basis, History, KeyPlace, OpId};

    /// A history written by hand, on one key.
    pub(in crate::checkers) struct Story {
        pub(in crate::checkers) history: History,
        dump: Dump,
        actors: BTreeSet<Actor>,
        dead: Dead,
    }

    pub(in crate::checkers) fn op(kind: Kind, seen: &[OpId]) -> Op {
        Op {
            id: OpId(0),
            session: 0,
            key: 0,
            kind,
            basis: Basis::Context,
            seen: seen.to_vec(),
            level: Level::Quorum,
            node: 0,
            invoked: Duration::ZERO,
            returned: None,
            outcome: Outcome::Ok,
            shown: Vec::new(),
            owners: 2,
            needed: 2,
            source: Source::Owners,
            dots: Vec::new(),
            may_be_minted: false,
            attempts: Vec::new(),
            excused: false,
        }
    }

    pub(in crate::checkers) fn put(seen: &[OpId]) -> Op {
        op(Kind::Put(Bytes::new()), seen)
    }

    pub(in crate::checkers) fn read(shown: &[OpId]) -> Op {
        Op { shown: shown.to_vec(), ..op(Kind::Get, &[]) }
    }

    impl Story {
        pub(in crate::checkers) fn new() -> Self {
            let key = Key::new("default", b"k").expect("a key");
            let token = Token::of(&key);
            let place = KeyPlace { name: "k".into(), token, slot: token.slot(), key };
            let history = History { keys: vec![place], ops: Vec::new() };
            let (dump, actors) = (Dump::default(), BTreeSet::new());
            Story { history, dump, actors, dead: Dead::NONE }
        }

        /// The ring lists this actor as dead.
        pub(in crate::checkers) fn list(&mut self, actor: Actor) {
            self.dead = self.dead.and([actor]).expect("listed once");
        }

        /// A context is left at the key in the end.
        pub(in crate::checkers) fn leave(&mut self, residual: DotSet) {
            self.dump.residuals.insert(0, residual);
        }

        /// Somebody writes in the end.
        pub(in crate::checkers) fn writes_on(&mut self, actor: Actor) {
            self.actors.insert(actor);
        }

        /// Adds an operation that takes a second; returns its name.
        pub(in crate::checkers) fn push(&mut self, op: Op) -> OpId {
            let id = self.history.next_id();
            let invoked = Duration::from_secs(2 * u64::from(id.0));
            let returned = (op.outcome == Outcome::Ok).then_some(invoked + Duration::from_secs(1));
            let dots = vec![Dot::new(Actor::new(1, 1), u64::from(id.0) + 1)];
            self.history.ops.push(Op { id, invoked, returned, dots, ..op });
            id
        }

        /// The names of the checkers that object when these writes are present in the end.
        pub(in crate::checkers) fn objections(&self, present: &[OpId]) -> Vec<&'static str> {
            let evidence = Evidence {
                history: &self.history,
                dumps: std::slice::from_ref(&self.dump),
                actors: self.actors.clone(),
                dead: &self.dead,
                present: vec![present.iter().copied().collect()],
                graphs: vec![Graph::of(&self.history, 0)],
                superseded: &BTreeSet::new(),
                silent_restores: &[],
                final_reads: &[],
                row: Some(3),
            };
            judge(&evidence, &mut Counts::default()).iter().map(|found| found.checker).collect()
        }
    }

    #[test]
    fn an_acknowledged_write_needs_an_heir() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let b = story.push(put(&[a]));
        let c = story.push(put(&[]));
        assert_eq!(story.objections(&[b, c]), [""; 0]);
        assert_eq!(story.objections(&[b]), ["lost"]);
        assert_eq!(story.objections(&[c]), ["lost", "lost"]);
    }

    #[test]
    fn an_unknown_write_may_vanish_but_excuses_nothing() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let b = story.push(Op { outcome: Outcome::Unknown, ..put(&[a]) });
        assert_eq!(story.objections(&[a]), [""; 0]);
        assert_eq!(story.objections(&[b]), [""; 0]);
        assert_eq!(story.objections(&[]), ["lost"]);
    }

    #[test]
    fn a_delete_is_an_heir() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let _ = story.push(op(Kind::Delete, &[a]));
        assert_eq!(story.objections(&[]), [""; 0]);
    }
}
