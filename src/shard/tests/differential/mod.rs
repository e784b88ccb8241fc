//! The shard beside a small reference, on random histories, step by step.
//!
//! `reference` has the rules of one slot, written from the executable specification and from nothing
//! else; `seat` what one shard of one node has and waits for; `watch` follows every step of every shard,
//! by what it `hears` and what it `says`, and tells where the two part. The histories here do to a few
//! nodes whatever the harness can: writes of every kind and retries, deletes, reads at every level from
//! any node; frames lost, doubled, held and out of order; lanes that break, nodes that are taken for
//! down, syncs that wait, power cuts, stops, old copies of a disk.
//!
//! Invariant: a difference names the history, the step, the node, and what it heard. Not here: what a
//! history must keep as a whole (`chaos`, and the simulator). This finds the step in which a rule was
//! not followed, also when nothing comes of it. Nobody is listed as dead, and no disk rots.

mod hears;
mod reference;
mod says;
mod seat;
mod watch;

pub(in crate::shard) use watch::{Fell, Heard, Watch};

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::cluster::{Cluster, Plan};
use crate::key::Key;
use crate::ring::{Epoch, Token};
use crate::rules::{Rule, without};
use crate::wire::{Basis, Frame, Get, Level, Message, Put};
use watch::Counts;

/// Three keys of one slot and one of another, of the other shard.
const KEYS: [&str; 4] = ["k", "k97223", "k81216", "c"];
/// Steps of a history. Each makes a handful of steps of shards.
const STEPS: usize = 60;
/// How many histories are compared in every run of the tests: a few hundred steps of shards each.
const SEEDS: u64 = 60;

fn keys() -> Vec<Key> {
    KEYS.iter().map(|name| Key::new("default", name.as_bytes()).expect("a key")).collect()
}

struct History {
    rng: ChaCha8Rng,
    cluster: Cluster,
    keys: Vec<Key>,
    requests: u64,
    /// Contexts that clients were given, with the key that each is for.
    contexts: Vec<(usize, Bytes)>,
    asked: BTreeMap<u64, usize>,
    /// The writes so far, with the key of each.
    puts: Vec<(usize, Put)>,
    saved: Vec<u16>,
    /// Whether clients mostly write without having read.
    blind: bool,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shards = if rng.random_bool(0.3) { vec![2, 1, 4, 2] } else { vec![1] };
        let mut plan = Plan { shards, ..Plan::default() };
        plan.config.sync_interval = Duration::from_secs(1);
        plan.config.page_bytes = [200, 400, 1 << 20, 1 << 20][rng.random_range(0..4)];
        plan.config.frame_values_max = [100, 1 << 20, 1 << 20][rng.random_range(0..3)];
        plan.config.delete_log_max = [1, 1 << 18][rng.random_range(0..2)];
        let blind = rng.random_bool(0.3);
        if blind || rng.random_bool(0.3) {
            (plan.config.siblings_max, plan.config.siblings_warn) = (3, 3);
        }
        let mut cluster = Cluster::new(plan);
        cluster.watch(&keys());
        let (contexts, asked) = (Vec::new(), BTreeMap::new());
        let (puts, saved) = (Vec::new(), Vec::new());
        History { rng, cluster, keys: keys(), requests: 0, contexts, asked, puts, saved, blind }
    }

    fn node(&mut self) -> u16 {
        self.rng.random_range(1..=5)
    }

    fn level(&mut self) -> Level {
        let levels = [Level::One, Level::One, Level::Quorum, Level::All, Level::Count(2)];
        levels[self.rng.random_range(0..levels.len())]
    }

    fn request(&mut self, at: usize, message: Message) {
        self.asked.insert(self.requests, at);
        let (node, token) = (self.node(), Token::of(&self.keys[at]));
        let request = self.requests;
        let frame = Frame { slot: token.slot(), epoch: Epoch(1), request, token, message };
        self.cluster.client(node, frame);
    }

    fn write(&mut self, delete: bool) {
        self.requests += 1;
        let at = self.rng.random_range(0..KEYS.len());
        let size = self.rng.random_range(0..90);
        let value = (!delete).then(|| format!("{:<size$}", format!("v{}", self.requests)));
        // Mostly for this key, now and then of another; mostly late ones.
        let fits = |(of, _): &&(usize, Bytes)| *of == at;
        let of_key: Vec<&(usize, Bytes)> =
            self.contexts.iter().rev().filter(fits).take(4).collect();
        let context = match self.rng.random_range(0..24) {
            0 => self.contexts.last(),
            _ if of_key.is_empty() => None,
            _ => Some(of_key[self.rng.random_range(0..of_key.len())]),
        };
        let basis = match (context, self.rng.random_range(0..10)) {
            (_, 0..6) if self.blind => Basis::Blind,
            (_, 0 | 1) => Basis::Overwrite,
            (Some((_, token)), 2..8) => Basis::Context(token.clone()),
            _ => Basis::Blind,
        };
        let put = Put {
            key: self.keys[at].clone(),
            value: value.map(|value| value.into_bytes().into()),
            basis,
            level: self.level(),
            strict: self.rng.random_bool(0.2),
            operation: self.requests.into(),
            again: false,
            writer: "ann".into(),
            timeout_ms: 3_000,
            forwarded: false,
        };
        self.puts.push((at, put.clone()));
        self.request(at, Message::Put(put));
    }

    /// A late write once more, mostly as one that may have been done, through any node.
    fn retry(&mut self) {
        let late = self.puts.len().saturating_sub(4);
        if self.puts.is_empty() {
            return;
        }
        self.requests += 1;
        let (at, mut put) = self.puts[self.rng.random_range(late..self.puts.len())].clone();
        put.again = self.rng.random_bool(0.7);
        if self.rng.random_bool(0.05) {
            // Something else under a name that is taken.
            put.value = Some("other".into());
        }
        self.request(at, Message::Put(put));
    }

    fn read(&mut self) {
        self.requests += 1;
        let at = self.rng.random_range(0..KEYS.len());
        let (key, level) = (self.keys[at].clone(), self.level());
        let get = Get { key, floor: Bytes::new(), level, timeout_ms: 3_000, forwarded: false };
        self.request(at, Message::Get(get));
    }

    fn fault(&mut self) {
        let (a, b) = (self.node(), self.node());
        match self.rng.random_range(0..24) {
            0 | 1 => drop(self.cluster.cut.insert((a, b))),
            2 => self.cluster.break_lane(a, b),
            3 | 4 => drop(self.cluster.held.insert((a, b))),
            5 => self.release(),
            6 => drop(self.cluster.unsyncing.insert(a)),
            7 if self.cluster.runs(a) => self.cluster.crash(a),
            8 => {
                // What is written and not synced is another matter: here it is synced first.
                self.cluster.unsyncing.remove(&a);
                self.cluster.settle();
                self.cluster.stop(a);
            }
            9 => self.cluster.suspect(a, b),
            10 => {
                let all = [1, 2, 3, 4, 5];
                let (left, right) = all.split_at(self.rng.random_range(1..5));
                self.cluster.split(left, right);
            }
            11 => self.cluster.doubling = self.rng.random_bool(0.5),
            12 => self.cluster.shuffle(&mut self.rng),
            13 => {
                self.cluster.save(a, "old");
                self.saved.push(a);
            }
            14 | 20 => {
                let known = self.saved.iter().find(|node| self.cluster.runs(**node)).copied();
                known.into_iter().for_each(|node| self.cluster.restore(node, "old", false));
            }
            15 => self.cluster.drop_held(),
            // The owners on one side, and nobody but fallbacks on the other.
            16 => self.cluster.split(&[1, 2, 3], &[4, 5]),
            17 => {
                let mut all = [1, 2, 3, 4, 5];
                all.shuffle(&mut self.rng);
                self.cluster.split(&all[..2], &all[2..]);
            }
            // Pages wait while their slots are written, or go to a later life.
            18 => self.cluster.held_kind = Some("Page".to_owned()),
            19 => drop(self.cluster.deliver_held()),
            _ => self.cluster.heal(),
        }
    }

    fn release(&mut self) {
        self.cluster.held.clear();
        self.cluster.held_kind = None;
    }

    fn step(&mut self) {
        match self.rng.random_range(0..16) {
            0..5 => self.write(false),
            5 | 15 => self.write(true),
            6..10 => self.read(),
            14 => self.retry(),
            10 => {
                let time = self.rng.random_range(100..3_500);
                self.cluster.wait(Duration::from_millis(time));
            }
            _ => self.fault(),
        }
        // Leaving messages under way now and then lets requests overlap.
        if self.rng.random_bool(0.7) {
            self.cluster.settle();
        }
        let learned = self.asked.iter().filter_map(|(request, at)| {
            let context = match &self.cluster.reply(*request)?.message {
                Message::PutReply(reply) => reply.context.clone(),
                Message::GetReply(reply) => reply.context.clone(),
                _ => Bytes::new(),
            };
            Some((*request, *at, context))
        });
        for (request, at, context) in learned.collect::<Vec<_>>() {
            self.asked.remove(&request);
            if !context.is_empty() {
                self.contexts.push((at, context));
            }
        }
    }
}

/// Where the shard and the reference part in a history, if they do; and what it met.
fn run(seed: u64) -> (Option<String>, Counts) {
    let mut history = History::new(seed);
    for _ in 0..STEPS {
        history.step();
        if history.cluster.watched().difference.is_some() {
            break;
        }
    }
    history.release();
    history.cluster.heal();
    history.cluster.settle();
    history.cluster.wait(Duration::from_secs(4));
    let watch = history.cluster.watched();
    (watch.difference.as_ref().map(|why| format!("seed {seed}: {why}")), watch.counts)
}

#[test]
fn the_shard_does_what_the_reference_does() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        let (difference, met) = run(seed);
        assert!(difference.is_none(), "{}", difference.unwrap_or_default());
        counts.add(&met);
    }
    let seldom: Vec<_> = counts.all().into_iter().filter(|(_, count)| *count == 0).collect();
    assert!(seldom.is_empty(), "never met: {seldom:?} of {:?}", counts.all());
}

/// The rules that these histories lean on: without one of them the reference notices, and soon. (Those that
/// need a rarer order of events have scripts of their own, beside this folder.)
const NOTICED: [Rule; 19] = [
    Rule::Contiguous,
    Rule::ClosedContext,
    Rule::PutContext,
    Rule::KeepResidual,
    Rule::CoveredStaysGone,
    Rule::AdoptLast,
    Rule::Attempts,
    Rule::AckAfterSync,
    Rule::HintAfterAck,
    Rule::HintIsNoCopy,
    Rule::StrictOwners,
    Rule::CountOnce,
    Rule::DeleteLog,
    Rule::Mark,
    Rule::InheritMark,
    Rule::NotListedIsGone,
    Rule::JoinCovers,
    Rule::UnknownIsSaid,
    Rule::SupersedeSeen,
];

#[test]
fn a_broken_rule_is_noticed() {
    for rule in NOTICED {
        let noticed = (0..SEEDS).any(|seed| without(rule, || run(seed).0).is_some());
        assert!(noticed, "nothing differs without {rule:?}");
    }
}
