//! The history of a run as JSON lines, so that others can check it with tools of their own.
//!
//! Invariant: it says what clients did and were told, in the order of invocation, and beside that only
//! what is marked as seen from above. The fields are documented in the README.
//! Not here: verdicts.

use std::fmt::Write;
use std::time::Duration;

use ringdove::wire::Source;
use serde_json::{Value, json};

use crate::history::{Basis, Kind, Op, OpId, Outcome};
use crate::world::World;

/// The version of the form.
const FORMAT: u32 = 1;

impl World {
    /// All of the history: a line about the run, then a line for each operation.
    pub(crate) fn export(&self, seed: u64) -> String {
        let keys = self.history.keys.iter().map(|place| {
            let owners: Vec<u16> = self.ring.row(place.slot).iter().map(|owner| owner.0).collect();
            json!({ "key": place.name, "slot": place.slot.number(), "owners": owners })
        });
        let run = json!({
            "format": FORMAT,
            "seed": seed,
            "nodes": self.nodes.len(),
            "copies": self.mix.copies,
            "keys": keys.collect::<Vec<_>>(),
            "silent_restores": self.silent_restores.iter().map(micros).collect::<Vec<_>>(),
        });
        let mut lines = format!("{run}\n");
        for op in &self.history.ops {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{}", self.line(op));
        }
        lines
    }

    fn line(&self, op: &Op) -> Value {
        let session = (op.session < self.clients.sessions.len()).then_some(op.session);
        let (kind, value) = match &op.kind {
            Kind::Put(bytes) => ("put", Some(String::from_utf8_lossy(bytes))),
            Kind::Delete => ("delete", None),
            Kind::Get => ("get", None),
        };
        let basis = match (op.is_write(), op.basis) {
            (true, Basis::Blind) => Some("blind"),
            (true, Basis::Overwrite) => Some("overwrite"),
            (_, Basis::Context) => Some("context"),
            (false, _) => None,
        };
        let outcome = match op.outcome {
            Outcome::Pending => "pending",
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        };
        let source = match op.source {
            Source::Owners => "owners",
            Source::Hints => "hints",
            Source::Recovering => "recovering",
        };
        let read = !op.is_write() && op.outcome == Outcome::Ok;
        json!({
            "op": op.id.0,
            "session": session,
            "key": self.history.keys[op.key].name,
            "kind": kind,
            "value": value,
            "basis": basis,
            "seen": ids(&op.seen),
            "level": op.level.to_string(),
            "strict": self.clients.strict(op.id),
            "node": self.number(op.node).0,
            "invoked": micros(&op.invoked),
            "returned": op.returned.as_ref().map(micros),
            "outcome": outcome,
            "shown": read.then(|| ids(&op.shown)),
            "owners": op.owners,
            "source": read.then_some(source),
            "dots": op.dots.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "excused": op.excused,
        })
    }
}

fn ids(ops: &[OpId]) -> Vec<u32> {
    ops.iter().map(|op| op.0).collect()
}

fn micros(time: &Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::{Options, run};

    fn numbers(list: &Value) -> Vec<u64> {
        list.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
    }

    /// What an outsider can say with nothing but the lines: the put acknowledged and not found.
    fn lost(ops: &[Value], key: &str) -> Vec<u64> {
        let of_key = || ops.iter().filter(|op| op["key"] == key);
        let shown =
            of_key().filter(|op| op["session"].is_null()).flat_map(|op| numbers(&op["shown"]));
        let happened = |op: &&Value| op["outcome"] == "ok" || op["dots"] != serde_json::json!([]);
        let deletes = of_key().filter(|op| op["kind"] == "delete").filter(happened);
        let mut open: Vec<u64> = shown.chain(deletes.filter_map(|op| op["op"].as_u64())).collect();
        let mut known = BTreeSet::new();
        while let Some(op) = open.pop() {
            if known.insert(op) {
                open.extend(numbers(&ops[op as usize]["seen"]));
            }
        }
        let promised = of_key().filter(|op| op["kind"] == "put" && op["outcome"] == "ok");
        let kept = promised.filter(|op| op["excused"] == false).filter_map(|op| op["op"].as_u64());
        kept.filter(|op| !known.contains(op)).collect()
    }

    #[test]
    fn a_history_can_be_checked_by_others() {
        let mut promised = 0;
        for seed in [1, 7, 12] {
            let report = run(seed, Options { export: true, ..Options::default() });
            let lines = report.history.lines().map(serde_json::from_str);
            let mut lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("each line parses");
            let head = lines.remove(0);
            assert_eq!((&head["format"], &head["seed"]), (&Value::from(1), &Value::from(seed)));
            for (number, op) in lines.iter().enumerate() {
                assert_eq!(op["op"].as_u64(), Some(number as u64), "in the order of invocation");
                for shown in numbers(&op["shown"]) {
                    let shown = &lines[shown as usize];
                    assert_eq!((&shown["kind"], &shown["key"]), (&Value::from("put"), &op["key"]));
                    assert!(shown["invoked"].as_u64() <= op["returned"].as_u64());
                }
            }
            let keys = head["keys"].as_array().expect("the keys").iter();
            for key in keys.filter_map(|key| key["key"].as_str()) {
                assert_eq!(lost(&lines, key), [0; 0], "seed {seed}, key {key}");
            }
            let ok = |op: &&Value| op["kind"] == "put" && op["outcome"] == "ok";
            promised += lines.iter().filter(ok).count();
            // The outsider's check can fail: without what the last reads showed, something is lost.
            let blind: Vec<Value> =
                lines.into_iter().filter(|op| !op["session"].is_null()).collect();
            let names = head["keys"].as_array().expect("the keys").iter();
            let mut names = names.filter_map(|key| key["key"].as_str());
            assert!(names.any(|key| !lost(&blind, key).is_empty()), "seed {seed}");
        }
        assert!(promised > 30, "{promised} writes are too few to say anything");
    }
}
