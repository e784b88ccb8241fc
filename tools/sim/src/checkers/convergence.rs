//! Once everything is healed, owners end equal, nobody else keeps anything, and every node reads the same.
//!
//! Is: equal clocks and equal live dots at all owners of a slot; no clock and no hint left
//! anywhere else; final reads at all owners, from every node, that show exactly what the owners hold.
//! Is not: a comparison of residual contexts, which may differ for dots that died with their writer.

use std::collections::BTreeSet;

use ringdove::causality::DotSet;

use super::{Dump, Evidence, Violation};
use crate::history::{History, OpId, Outcome, list};

/// The first thing that keeps the cluster from being quiet, if anything does.
pub(crate) fn difference(dumps: &[Dump]) -> Option<String> {
    for dump in dumps {
        let name = dump.node + 1;
        if dump.hints > 0 {
            return Some(format!("n{name} keeps {} hints", dump.hints));
        }
        if let Some((slot, clock)) = dump.clocks.iter().find(|(slot, _)| !dump.owns.contains(slot))
        {
            return Some(format!(
                "n{name} has clock {clock} of slot {slot}, which it does not own"
            ));
        }
    }
    let slots: BTreeSet<_> = dumps.iter().flat_map(|dump| dump.owns.iter().copied()).collect();
    for slot in slots {
        let mut owners = dumps.iter().filter(|dump| dump.owns.contains(&slot));
        let Some(first) = owners.next() else { continue };
        for other in owners {
            let (a, b) = (first.clocks.get(&slot), other.clocks.get(&slot));
            if a != b {
                let show = |clock: Option<&DotSet>| {
                    clock.map_or_else(|| "{}".to_owned(), ToString::to_string)
                };
                let (at, and) = (first.node + 1, other.node + 1);
                let (a, b) = (show(a), show(b));
                return Some(format!("slot {slot}: clock {a} at n{at}, {b} at n{and}"));
            }
        }
    }
    None
}

/// Keys that owners with equal clocks hold differently. Asked before anybody reads: a read would
/// repair them.
pub(crate) fn unequal(history: &History, dumps: &[Dump]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (key, place) in history.keys.iter().enumerate() {
        let mut owners = dumps.iter().filter(|dump| dump.owns.contains(&place.slot));
        let Some(first) = owners.next() else { continue };
        for other in owners {
            let (a, b) = (first.entries.get(&key), other.entries.get(&key));
            if a != b {
                let (name, at, and) = (&place.name, first.node + 1, other.node + 1);
                let what = format!("{name}: {a:?} at n{at}, {b:?} at n{and}");
                found.push(Violation::new("convergence", what));
            }
        }
    }
    found
}

/// What did not become equal.
pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let violation = |what| Violation::new("convergence", what);
    let mut found: Vec<Violation> = difference(evidence.dumps).map(violation).into_iter().collect();
    let history = evidence.history;
    found.extend(unequal(history, evidence.dumps));
    for read in evidence.final_reads.iter().map(|id| history.op(*id)) {
        let shown: BTreeSet<OpId> = read.shown.iter().copied().collect();
        let present = &evidence.present[read.key];
        if read.outcome != Outcome::Ok {
            found.push(violation(format!("final read {} failed", history.describe(read.id))));
        } else if shown != *present {
            let (line, shown) = (history.describe(read.id), list(&read.shown));
            let present = list(present);
            found
                .push(violation(format!("final read {line} shows {shown}, owners hold {present}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use ringdove::causality::{Actor, Dot};
    use ringdove::ring::Slot;

    use super::*;

    fn dump(node: usize, owns: bool, clock: DotSet) -> Dump {
        let slot = Slot::new(5).expect("a slot");
        Dump {
            node,
            owns: owns.then_some(slot).into_iter().collect(),
            clocks: (!clock.is_empty()).then_some((slot, clock)).into_iter().collect(),
            ..Dump::default()
        }
    }

    #[test]
    fn tells_what_is_not_equal_yet() {
        let one = DotSet::of(Dot::new(Actor::new(1, 1), 1));
        let equal = [dump(0, true, one.clone()), dump(1, true, one.clone())];
        assert_eq!(difference(&equal), None);
        assert!(difference(&[dump(0, true, one.clone()), dump(1, true, DotSet::EMPTY)]).is_some());
        assert!(difference(&[dump(0, true, one.clone()), dump(1, false, one)]).is_some());
        assert!(difference(&[Dump { hints: 1, ..dump(0, true, DotSet::EMPTY) }]).is_some());
    }
}
