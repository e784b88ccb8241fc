//! Values shown beside each other are concurrent: none had seen another.
//!
//! Is: a check of every response that shows two values or more. Is not: a bound on their number; blind
//! writers make as many as they like. Operations tried more than once are left out: an attempt
//! nobody saw is a write of its own.

use super::{Evidence, Violation};
use crate::history::OpId;

/// False siblings.
pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let history = evidence.history;
    let mut found = Vec::new();
    for read in history.ops.iter().filter(|op| op.shown.len() > 1) {
        let graph = &evidence.graphs[read.key];
        let once = |op: &&OpId| history.op(**op).dots.len() <= 1;
        for old in read.shown.iter().filter(once) {
            for new in read.shown.iter().filter(|new| graph.saw(**new, *old)) {
                let (old, new) = (history.describe(*old), history.describe(*new));
                let what = format!("{} shows {old} beside {new}, which had seen it", read.id);
                found.push(Violation::new("antichain", what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::checkers::lost::tests::{Story, put, read};

    #[test]
    fn siblings_have_not_seen_each_other() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let b = story.push(put(&[a]));
        let c = story.push(put(&[]));
        story.push(read(&[b, c]));
        assert_eq!(story.objections(&[b, c]), [""; 0]);
        story.push(read(&[a, b, c]));
        assert_eq!(story.objections(&[b, c]), ["antichain"]);
    }
}
