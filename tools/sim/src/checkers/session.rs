//! A read with a floor shows all that the floor covers, or what had seen and replaced it.
//!
//! The floor is the token of the session's last answer about the key, so this gives a session its own
//! writes, and reads that do not go back, at any node and at level one. That writes follow what their
//! session had read and written is the token's work: see `antichain`.
//!
//! Is: each read with a floor against the writes shown by the answer that gave the token. Deletes leave
//! nothing to show, so what any delete that may have taken place before the read returned had seen
//! counts as shown. Holds across restores, too: who forgot must say "not yet".
//! Is not: a claim about sessions without floors, or about a write whose last disk is gone once its actor
//! is listed as dead: then nobody misses it any more, and a floor that covers it is met by everybody.

use super::lost::took_place;
use super::{Evidence, Violation};
use crate::counts::Counts;
use crate::history::{Basis, Kind, Op, OpId, Outcome, list};

/// Reads that had not seen what their session had.
pub(super) fn check(evidence: &Evidence<'_>, counts: &mut Counts) -> Vec<Violation> {
    let history = evidence.history;
    let mut found = Vec::new();
    for read in &history.ops {
        let Some(returned) = read.returned.filter(|_| read.outcome == Outcome::Ok) else {
            continue;
        };
        if read.kind != Kind::Get || read.basis != Basis::Context {
            continue;
        }
        let graph = &evidence.graphs[read.key];
        let writes = graph.writes().iter().map(|op| history.op(*op));
        let deletes = writes.filter(|op| took_place(op) && op.invoked <= returned);
        let known = graph.closure(read.shown.iter().copied().chain(deletes.map(|op| op.id)));
        counts.floors_met += read.seen.len() as u64;
        let closed = |op: &Op| op.dots.iter().all(|dot| evidence.dead.contains(dot.actor));
        let gone = |op: &OpId| history.op(*op).excused && closed(history.op(*op));
        for missing in read.seen.iter().filter(|op| !known.contains(**op) && !gone(op)) {
            let (line, shown) = (history.describe(read.id), list(&read.shown));
            let missing = history.describe(*missing);
            let what = format!("{line} shows {shown} and not {missing}");
            found.push(Violation::new("session", what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::checkers::lost::tests::{Story, op, put, read};
    use crate::history::{Basis, Kind, Op, OpId};
    use ringdove::causality::Actor;

    fn read_above(floor: &[OpId], shown: &[OpId]) -> Op {
        Op { basis: Basis::Context, seen: floor.to_vec(), owners: 1, ..read(shown) }
    }

    #[test]
    fn a_session_does_not_go_back() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let b = story.push(put(&[a]));
        story.push(Op { owners: 1, ..read(&[a]) });
        story.push(read_above(&[a], &[a]));
        story.push(read_above(&[a], &[b]));
        assert_eq!(story.objections(&[b]), [""; 0]);
        story.push(read_above(&[b], &[a]));
        assert_eq!(story.objections(&[b]), ["session"]);
    }

    #[test]
    fn a_write_whose_last_disk_is_gone_is_missed_until_its_actor_is_closed() {
        let mut story = Story::new();
        let a = story.push(Op { excused: true, ..put(&[]) });
        story.push(read_above(&[a], &[]));
        assert_eq!(story.objections(&[]), ["session"]);
        story.list(Actor::new(1, 1));
        assert_eq!(story.objections(&[]), [""; 0]);
        let b = story.push(put(&[]));
        story.push(read_above(&[b], &[]));
        assert!(story.objections(&[]).contains(&"session"), "it was not lost with a disk");
    }

    #[test]
    fn a_delete_counts_as_shown() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let d = story.push(op(Kind::Delete, &[a]));
        story.push(read_above(&[a], &[]));
        story.push(read_above(&[a, d], &[]));
        assert_eq!(story.objections(&[]), [""; 0]);
    }
}
