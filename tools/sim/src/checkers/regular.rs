//! A read whose owners must overlap a finished write's shows that write, or something that had seen it.
//!
//! Is: each key as a regular register with siblings, for every pair of a write acknowledged by `w`
//! owners and a read invoked afterwards and answered by `r` owners with `w + r` above the row; while seats change
//! hands, for every pair of quorums.
//! Fallbacks count for nothing here. A delete leaves nothing to show, so what any delete that may have
//! taken place before the read returned had seen is excused; so is a write whose last copy a disk
//! took that went back.
//! Is not: a claim across a restore that nothing noticed, for such a disk may count for both;
//! linearizability. Two reads that overlap a write may see it and then not.

use std::time::Duration;

use ringdove::wire::Source;

use super::lost::took_place;
use super::{Evidence, Violation};
use crate::counts::Counts;
use crate::history::{Kind, Op, Outcome, list};

/// Stale quorum reads.
pub(super) fn check(evidence: &Evidence<'_>, counts: &mut Counts) -> Vec<Violation> {
    let history = evidence.history;
    let mut found = Vec::new();
    for read in &history.ops {
        let Some(returned) = read.returned else { continue };
        if read.kind != Kind::Get || read.outcome != Outcome::Ok || read.source != Source::Owners {
            continue;
        }
        let graph = &evidence.graphs[read.key];
        let writes = || graph.writes().iter().map(|op| history.op(*op));
        let deletes = writes().filter(|op| took_place(op) && op.invoked <= returned);
        let known = graph.closure(read.shown.iter().copied().chain(deletes.map(|op| op.id)));
        let promised = |op: &&Op| op.outcome == Outcome::Ok && !op.excused;
        for write in writes().filter(promised) {
            let finished = write.returned.is_some_and(|at| at <= read.invoked);
            if !finished || !overlap(write, read, evidence.row) {
                continue;
            }
            // A disk that went back may have been in the write's quorum, and is in the read's.
            let forgot = |at: &Duration| write.invoked <= *at && *at <= returned;
            if evidence.silent_restores.iter().any(forgot) {
                continue;
            }
            counts.regular_pairs += 1;
            if !known.contains(write.id) {
                let (read_line, write) = (history.describe(read.id), history.describe(write.id));
                let what = format!("{read_line} shows {} and not {write}", list(&read.shown));
                found.push(Violation::new("stale quorum read", what));
            }
        }
    }
    found
}

/// Whether a write and a read have an owner in common: together they are more than the row has, or, where rows
/// change, each is a quorum of the row of its time.
fn overlap(write: &Op, read: &Op, row: Option<usize>) -> bool {
    match row {
        Some(row) => usize::from(write.owners) + usize::from(read.owners) > row,
        None => write.is_quorum() && read.is_quorum(),
    }
}

#[cfg(test)]
mod tests {
    use crate::checkers::lost::tests::{Story, op, put, read};
    use crate::history::{Kind, Op};

    #[test]
    fn meeting_quorums_see_each_other() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        story.push(read(&[a]));
        let b = story.push(put(&[a]));
        story.push(Op { owners: 1, ..read(&[a]) });
        story.push(read(&[b]));
        assert_eq!(story.objections(&[b]), [""; 0]);
        story.push(read(&[a]));
        assert_eq!(story.objections(&[b]), ["stale quorum read"]);
    }

    #[test]
    fn a_delete_excuses_what_it_had_seen_and_nothing_else() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        story.push(op(Kind::Delete, &[a]));
        story.push(read(&[]));
        assert_eq!(story.objections(&[]), [""; 0]);
        let b = story.push(put(&[]));
        story.push(read(&[]));
        assert_eq!(story.objections(&[b]), ["stale quorum read"]);
    }
}
