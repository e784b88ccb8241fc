//! The n-th call of a disk fails in the middle of a slot sync, for every n, until a run ends without
//! reaching the fault: at who asks, and at who answers.
//!
//! After each, once the node was started again: the copies are equal, what was acknowledged is there and can
//! be read, and what was deleted is gone.

use std::time::Duration;

use super::cluster::{Cluster, Plan};
use crate::key::Key;
use crate::ring::{Epoch, Token};
use crate::rules::{Rule, without};
use crate::storage::Fault;
use crate::wire::{Basis, Frame, Get, Level, Message, Outcome, Put};

/// How a run ends that reached the fault.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Crash {
    /// The call fails, others do not; the process goes on, and is killed later.
    FailOnce,
    /// All calls fail from then on, and then the process is killed.
    Kill,
    /// All calls fail from then on, and then the power goes.
    PowerLoss,
}

/// Three keys share a slot, so that it takes several pages; the others have one each.
const KEYS: [&str; 6] = ["k", "k97223", "k81216", "ann", "bob", "eve"];
/// The only owner that is there for everything.
const AHEAD: u16 = 1;
const BEHIND: u16 = 2;

fn key(name: &str) -> Key {
    Key::new("default", name.as_bytes()).expect("a key")
}

struct Run {
    cluster: Cluster,
    requests: u64,
}

impl Run {
    /// Both owners have all keys; then one is cut off, and the other overwrites some and deletes some.
    fn new() -> Self {
        let mut plan = Plan { nodes: 2, row: vec![AHEAD, BEHIND], ..Plan::default() };
        plan.config.sync_interval = Duration::from_millis(200);
        plan.config.page_bytes = 200;
        let mut run = Run { cluster: Cluster::new(plan), requests: 0 };
        for name in KEYS {
            run.write(name, Some("old"));
        }
        run.cluster.split(&[AHEAD], &[BEHIND]);
        for name in KEYS.iter().step_by(2) {
            run.write(name, Some("new"));
        }
        run.write(KEYS[1], None);
        run.write(KEYS[3], None);
        run
    }

    fn expected(name: &str) -> Vec<&'static str> {
        match KEYS.iter().position(|key| *key == name) {
            Some(1 | 3) => vec![],
            Some(at) if at % 2 == 0 => vec!["new"],
            _ => vec!["old"],
        }
    }

    fn ask(&mut self, node: u16, key: Key, message: impl FnOnce(Key, u64) -> Message) -> Message {
        self.requests += 1;
        let (token, request) = (Token::of(&key), self.requests);
        let message = message(key, request);
        let frame = Frame { slot: token.slot(), epoch: Epoch(1), request, token, message };
        self.cluster.client(node, frame);
        self.cluster.settle();
        if self.cluster.reply(request).is_none() {
            self.cluster.wait(Duration::from_secs(2));
        }
        self.cluster.reply(request).expect("an answer").message.clone()
    }

    fn write(&mut self, name: &str, value: Option<&'static str>) {
        let reply = self.ask(AHEAD, key(name), |key, operation| {
            Message::Put(Put {
                key,
                value: value.map(Into::into),
                basis: Basis::Overwrite,
                level: Level::One,
                strict: true,
                operation: operation.into(),
                again: false,
                writer: "ann".into(),
                timeout_ms: 1_000,
                forwarded: false,
            })
        });
        assert!(
            matches!(&reply, Message::PutReply(reply) if reply.outcome == Outcome::Ok),
            "{reply:?}"
        );
    }

    fn read(&mut self, node: u16, name: &str) -> Vec<String> {
        let reply = self.ask(node, key(name), |key, _| {
            let (floor, level) = (bytes::Bytes::new(), Level::All);
            Message::Get(Get { key, floor, level, timeout_ms: 1_000, forwarded: false })
        });
        let Message::GetReply(reply) = reply else { panic!("{name} at n{node}: {reply:?}") };
        let text = |value: &crate::causality::Value| String::from_utf8_lossy(&value.bytes).into();
        reply.values.iter().map(|(_, value)| text(value)).collect()
    }

    /// What everybody is owed once the node that failed was started again.
    fn check(&mut self, why: &str) {
        self.cluster.wait(Duration::from_secs(5));
        for name in KEYS {
            let slot = Token::of(&key(name)).slot();
            let held = |node: u16| {
                let store = self.cluster.shard(node, slot).store();
                let entry = store.entry(slot, &key(name)).unwrap_or_default();
                (entry.dots().collect::<Vec<_>>(), store.clock(slot).clone())
            };
            assert_eq!(held(AHEAD), held(BEHIND), "{why}: {name} is not the same at both");
            let expected = Run::expected(name);
            let residual = |node: u16| {
                let entry = self.cluster.shard(node, slot).store().entry(slot, &key(name));
                entry.is_some_and(|entry| !entry.residual().is_empty())
            };
            assert!(!residual(AHEAD) && !residual(BEHIND), "{why}: {name} leaves bytes behind");
            for node in [AHEAD, BEHIND] {
                assert_eq!(self.read(node, name), expected, "{why}: {name} at n{node}");
            }
        }
    }
}

/// Lets the n-th call of a node's disk fail while the copies become equal. Whether there was one.
fn sync_with_a_failure(node: u16, n: u64, crash: Crash) -> bool {
    let mut run = Run::new();
    let fault = if crash == Crash::FailOnce { Fault::Once } else { Fault::ForEver };
    run.cluster.disk(node).fail_call(n, fault);
    run.cluster.heal();
    run.cluster.wait(Duration::from_secs(3));
    let reached = run.cluster.disk(node).fault_reached();
    run.cluster.strike(node, crash == Crash::PowerLoss);
    run.check(&format!("call {n} at n{node}, {crash:?}"));
    reached
}

#[test]
fn whatever_disk_call_of_a_sync_fails_the_copies_become_equal() {
    for (node, least) in [(BEHIND, 8), (AHEAD, 3)] {
        for crash in [Crash::FailOnce, Crash::Kill, Crash::PowerLoss] {
            let calls = (1..).find(|n| !sync_with_a_failure(node, *n, crash));
            let calls = calls.expect("a sync takes so many calls and no more") - 1;
            println!("{calls} calls at n{node}, {crash:?}");
            assert!(calls >= least, "{calls} calls at n{node} were no sync");
        }
    }
}

#[test]
fn a_clock_adopted_too_early_is_found_out() {
    let early = || {
        without(Rule::AdoptLast, || {
            (1..).find(|n| !sync_with_a_failure(BEHIND, *n, Crash::Kill));
        })
    };
    assert!(std::panic::catch_unwind(early).is_err(), "the loop would not see what is lost");
}
