//! A write told as failed has no effect, ever.
//!
//! Is: no dot was minted for it and nobody was shown it. Is not: a rule for unknown outcomes, which
//! may go either way.

use super::{Evidence, Violation};
use crate::history::{Op, Outcome};

/// Failures that had an effect.
pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let history = evidence.history;
    let failed = |op: &Op| op.is_write() && op.outcome == Outcome::Failed;
    let minted = history.ops.iter().filter(|op| failed(op) && !op.dots.is_empty());
    let minted = minted.map(|op| format!("{} was minted", history.describe(op.id)));
    let shown = history.ops.iter().flat_map(|read| {
        let shown = read.shown.iter().filter(|op| failed(history.op(**op)));
        shown.map(|op| format!("{} was shown to {}", history.describe(*op), read.id))
    });
    minted.chain(shown).map(|what| Violation::new("effect of a failure", what)).collect()
}

#[cfg(test)]
mod tests {
    use crate::checkers::lost::tests::{Story, put};
    use crate::history::{Op, Outcome};

    #[test]
    fn a_failure_leaves_no_trace() {
        let mut story = Story::new();
        let a = story.push(Op { outcome: Outcome::Failed, ..put(&[]) });
        assert_eq!(story.objections(&[]), ["effect of a failure"]);
        story.history.op_mut(a).dots.clear();
        assert_eq!(story.objections(&[]), [""; 0]);
    }
}
