//! Nothing comes back that an acknowledged write or delete had seen and so replaced.
//!
//! Is: the final state holds nothing in the past of an acknowledged write. Is not: a rule for reads while
//! things fail (a sloppy read may be stale; `regular` judges quorums), nor for operations tried more
//! than once, whose unseen attempts may surface after a delete, as concurrent values.

use super::{Evidence, Violation};
use crate::history::Outcome;

/// What came back.
pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let history = evidence.history;
    let mut found = Vec::new();
    for (graph, present) in evidence.graphs.iter().zip(&evidence.present) {
        for op in graph.writes().iter().map(|op| history.op(*op)) {
            if op.outcome != Outcome::Ok || op.excused {
                continue;
            }
            for old in present.iter().filter(|old| graph.saw(op.id, **old)) {
                if history.op(*old).dots.len() <= 1 {
                    let (old, new) = (history.describe(*old), history.describe(op.id));
                    found.push(Violation::new("resurrection", format!("{old}; seen by {new}")));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::checkers::lost::tests::{Story, op, put};
    use crate::history::Kind;

    #[test]
    fn what_was_replaced_stays_away() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let b = story.push(put(&[a]));
        let c = story.push(op(Kind::Delete, &[b]));
        assert_eq!(story.objections(&[]), [""; 0]);
        assert_eq!(story.objections(&[b]), ["resurrection"]);
        let d = story.push(put(&[c]));
        assert_eq!(story.objections(&[d]), [""; 0]);
        assert_eq!(story.objections(&[a, d]), ["resurrection"; 3]);
    }
}
