//! A deleted key leaves nothing: no value, no context, no line in a delete log, no hint.
//!
//! Is: keys without a live value, at every node, after the cluster has tidied up (`idle`, which also
//! sees to the delete logs; `convergence` sees to hints and to nodes that own nothing). A context stays
//! only above dots that no owner will ever have, for two reasons: their life has ended, and took with
//! it what it had told nobody; or a fallback had coordinated them, and their hints gave way to later
//! ones. Until that life is closed nobody can know.
//! Is not: a look at the bytes of the log, which only compaction gives back.

use ringdove::causality::{Actor, Dot, DotSet};

use super::lost::took_place;
use super::{Dump, Evidence, Violation};
use crate::counts::Counts;

/// What is left.
pub(super) fn check(evidence: &Evidence<'_>, counts: &mut Counts) -> Vec<Violation> {
    let history = evidence.history;
    let mut found = Vec::new();
    for (key, present) in evidence.present.iter().enumerate() {
        let mut writes = evidence.graphs[key].writes().iter();
        if !present.is_empty() || !writes.any(|op| took_place(history.op(*op))) {
            continue;
        }
        counts.deleted_keys += 1;
        for dump in evidence.dumps {
            let Some(residual) = dump.residuals.get(&key) else { continue };
            let mut actors = residual.rows().map(|(actor, _)| actor);
            if actors.all(|actor| explained(evidence, key, dump, residual, actor)) {
                counts.explained += 1;
            } else {
                let (name, node) = (&history.keys[key].name, dump.node + 1);
                let what = format!("{name} is deleted, and n{node} keeps context {residual}");
                found.push(Violation::new("residue", what));
            }
        }
    }
    found
}

/// Whether there is a reason for what a context covers of an actor.
fn explained(
    evidence: &Evidence<'_>,
    key: usize,
    dump: &Dump,
    residual: &DotSet,
    actor: Actor,
) -> bool {
    if !evidence.actors.contains(&actor) {
        return true;
    }
    let slot = evidence.history.keys[key].slot;
    let clock = dump.clocks.get(&slot);
    let mut missing = (1..=residual.highest(actor)).map(|counter| Dot::new(actor, counter));
    missing.all(|dot| {
        clock.is_some_and(|clock| clock.contains(dot)) || evidence.superseded.contains(&(slot, dot))
    })
}

#[cfg(test)]
mod tests {
    use ringdove::causality::{Actor, Dot, DotSet};

    use crate::checkers::lost::tests::{Story, op, put};
    use crate::history::Kind;

    #[test]
    fn only_the_dead_may_leave_something() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        story.push(op(Kind::Delete, &[a]));
        assert_eq!(story.objections(&[]), [""; 0]);
        story.leave(DotSet::of(Dot::new(Actor::new(1, 7), 2)));
        assert_eq!(story.objections(&[]), [""; 0]);
        story.writes_on(Actor::new(1, 7));
        assert_eq!(story.objections(&[]), ["residue"]);
    }
}
