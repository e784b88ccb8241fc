//! Random histories on a few nodes: everything fails, then everything heals, then it is checked.
//!
//! Nothing acknowledged is lost, unless a write that had seen it replaced it; nothing comes back that
//! an acknowledged write had seen; nothing that failed is there; dots are unique; copies are equal; no
//! hint and no request is left. (The simulator does this at length; this is the short form that
//! stands beside the code.)

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::cluster::{Cluster, Plan};
use crate::causality::{Dead, Dot, DotSet, open_context};
use crate::key::Key;
use crate::ring::{Epoch, Token};
use crate::wire::{Basis, Frame, Get, Level, Message, Outcome, Put};

/// Three keys of one slot and one of another, of the other shard.
const KEYS: [&str; 4] = ["k", "k97223", "k81216", "c"];

/// Enough to meet every fault often, few enough for every run of the tests.
const SEEDS: u64 = 12;

/// A write and what became of it.
struct Written {
    key: Key,
    value: Option<String>,
    seen: DotSet,
}

struct History {
    rng: ChaCha8Rng,
    cluster: Cluster,
    requests: u64,
    written: BTreeMap<u64, Written>,
    contexts: BTreeMap<String, bytes::Bytes>,
    checked: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut plan = Plan { shards: vec![2, 1, 4, 2], ..Plan::default() };
        plan.config.sync_interval = Duration::from_secs(1);
        plan.config.page_bytes = [200, 400, 1 << 20][seed as usize % 3];
        plan.config.frame_values_max = [100, 1 << 20][seed as usize % 2];
        let cluster = Cluster::new(plan);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (written, contexts) = (BTreeMap::new(), BTreeMap::new());
        History { rng, cluster, requests: 0, written, contexts, checked: 0 }
    }

    fn node(&mut self) -> u16 {
        self.rng.random_range(1..=5)
    }

    fn pick_key(&mut self) -> Key {
        let name = KEYS[self.rng.random_range(0..KEYS.len())];
        Key::new("default", name.as_bytes()).expect("a key")
    }

    fn level(&mut self) -> Level {
        [Level::One, Level::Quorum, Level::Quorum, Level::All][self.rng.random_range(0..4)]
    }

    fn request(&mut self, token: Token, message: Message) {
        let node = self.node();
        let frame =
            Frame { slot: token.slot(), epoch: Epoch(1), request: self.requests, token, message };
        self.cluster.client(node, frame);
    }

    fn write(&mut self, delete: bool) {
        self.requests += 1;
        let (key, level) = (self.pick_key(), self.level());
        let size = self.rng.random_range(0..90);
        let value = (!delete).then(|| format!("{:<size$}", format!("v{}", self.requests)));
        let name = format!("{key}");
        let token = self.contexts.get(&name).filter(|_| delete || self.rng.random_bool(0.6));
        let token = token.cloned();
        let seen = token.as_ref().map_or(DotSet::EMPTY, |token| {
            open_context(&self.cluster.ring.secret, &Dead::NONE, &key, token)
                .expect("it was given out")
        });
        let written = Written { key: key.clone(), value: value.clone(), seen };
        self.written.insert(self.requests, written);
        let put = Put {
            value: value.map(|value| value.into_bytes().into()),
            basis: token.map_or(Basis::Blind, Basis::Context),
            level,
            strict: self.rng.random_bool(0.2),
            operation: self.requests.into(),
            again: false,
            writer: "chaos".into(),
            timeout_ms: 3_000,
            forwarded: false,
            key,
        };
        self.request(Token::of(&put.key), Message::Put(put));
    }

    fn read(&mut self) {
        self.requests += 1;
        let (key, level) = (self.pick_key(), self.level());
        let get =
            Get { key, floor: bytes::Bytes::new(), level, timeout_ms: 3_000, forwarded: false };
        self.request(Token::of(&get.key), Message::Get(get));
    }

    fn fault(&mut self) {
        let (a, b) = (self.node(), self.node());
        match self.rng.random_range(0..12) {
            0 | 1 => drop(self.cluster.cut.insert((a, b))),
            2 => self.cluster.break_lane(a, b),
            3 => drop(self.cluster.held.insert((a, b))),
            4 => drop(self.cluster.unsyncing.insert(a)),
            5 if self.cluster.runs(a) => self.cluster.crash(a),
            6 => self.cluster.stop(a),
            7 => self.cluster.suspect(a, b),
            8 => self.cluster.doubling = self.rng.random_bool(0.5),
            9 => self.cluster.delay_reads(a),
            _ => self.cluster.heal(),
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..10) {
            0..4 => self.write(false),
            4 => self.write(true),
            5 | 6 => self.read(),
            7 => {
                let time = self.rng.random_range(100..2_500);
                self.cluster.wait(Duration::from_millis(time));
            }
            _ => self.fault(),
        }
        // Leaving messages under way now and then lets requests overlap.
        if self.rng.random_bool(0.7) {
            self.cluster.settle();
            self.learn_contexts();
        }
    }

    fn learn_contexts(&mut self) {
        let Some(frame) = self.cluster.reply(self.requests).cloned() else { return };
        let key = self.written.get(&self.requests).map(|written| format!("{}", written.key));
        match (frame.message, key) {
            (Message::PutReply(reply), Some(key)) if reply.dot.is_some() => {
                self.contexts.insert(key, reply.context);
            }
            (Message::GetReply(reply), _) => {
                // Which key it was is in the token.
                for name in KEYS {
                    let key = Key::new("default", name.as_bytes()).expect("a key");
                    if open_context(&self.cluster.ring.secret, &Dead::NONE, &key, &reply.context)
                        .is_ok()
                    {
                        self.contexts.insert(name.to_owned(), reply.context.clone());
                    }
                }
            }
            _ => {}
        }
    }

    fn live(&mut self, node: u16, key: &Key) -> Vec<Dot> {
        let slot = Token::of(key).slot();
        let store = self.cluster.shard(node, slot).store();
        store.entry(slot, key).map_or(Vec::new(), |entry| entry.dots().collect())
    }

    /// What was told as failed is nowhere.
    fn check_failed(&mut self, seed: u64) {
        for name in KEYS {
            self.requests += 1;
            let key = Key::new("default", name.as_bytes()).expect("a key");
            let get = Get {
                key,
                floor: bytes::Bytes::new(),
                level: Level::All,
                timeout_ms: 3_000,
                forwarded: false,
            };
            self.request(Token::of(&get.key), Message::Get(get));
            self.cluster.settle();
            self.cluster.wait(Duration::from_secs(4));
            let reply = self.cluster.reply(self.requests).map(|frame| &frame.message);
            let Some(Message::GetReply(reply)) = reply else {
                panic!("seed {seed}: {name} cannot be read: {reply:?}");
            };
            for (dot, value) in &reply.values {
                let request = value.meta.operation as u64;
                let told = self.cluster.reply(request).map(|frame| &frame.message);
                assert!(
                    !matches!(told, Some(Message::Failure(_))),
                    "seed {seed}: request {request} failed, and yet {name} has {dot}"
                );
            }
        }
    }

    fn check(&mut self, seed: u64) {
        self.cluster.doubling = false;
        self.cluster.heal();
        self.cluster.settle();
        self.cluster.wait(Duration::from_secs(30));
        let mut dots: BTreeMap<Dot, u64> = BTreeMap::new();
        for name in KEYS {
            let key = Key::new("default", name.as_bytes()).expect("a key");
            let slot = Token::of(&key).slot();
            let live = self.live(1, &key);
            for node in [2, 3] {
                let other = self.live(node, &key);
                assert_eq!(live, other, "seed {seed}: {name} differs at n{node}");
                let clock = |node| self.cluster.shard(node, slot).store().clock(slot).clone();
                assert_eq!(clock(1), clock(node), "seed {seed}: clocks differ at n{node}");
            }
        }
        let requests: Vec<u64> = self.written.keys().copied().collect();
        for request in requests {
            let Some(frame) = self.cluster.reply(request).cloned() else { continue };
            let Message::PutReply(reply) = frame.message else { continue };
            let Some(dot) = reply.dot else { continue };
            let twin = dots.insert(dot, request);
            let other_key = twin.is_some_and(|twin| {
                Token::of(&self.written[&twin].key).slot()
                    == Token::of(&self.written[&request].key).slot()
            });
            assert!(!other_key, "seed {seed}: dot {dot} was given twice");
            let key = self.written[&request].key.clone();
            let live = self.live(1, &key);
            if reply.outcome != Outcome::Ok {
                continue;
            }
            self.checked += 1;
            let written = &self.written[&request];
            let back = live.iter().find(|live| written.seen.contains(**live));
            assert_eq!(back, None, "seed {seed}: {key} is back, and request {request} had seen it");
            let replaced = self.written.values().any(|w| w.key == key && w.seen.contains(dot));
            assert!(
                written.value.is_none() || live.contains(&dot) || replaced,
                "seed {seed}: request {request}, {key} {dot}, was acknowledged and is lost"
            );
        }
        self.check_failed(seed);
        for node in self.cluster.nodes() {
            for name in KEYS {
                let key = Key::new("default", name.as_bytes()).expect("a key");
                let metrics = self.cluster.shard(node, Token::of(&key).slot()).metrics();
                assert_eq!(metrics.hints_pending, 0, "seed {seed}: hints are left at n{node}");
                assert_eq!(metrics.requests, 0, "seed {seed}: requests are left at n{node}");
                assert_eq!(metrics.request_bytes, 0, "seed {seed}: bytes are left at n{node}");
                assert_eq!(
                    metrics.hints_created,
                    metrics.hints_delivered + metrics.hints_superseded,
                    "seed {seed}: hints of n{node} do not add up"
                );
            }
        }
    }
}

fn run(seed: u64) -> (usize, Vec<String>) {
    let mut history = History::new(seed);
    for _ in 0..80 {
        history.step();
    }
    history.check(seed);
    (history.checked, history.cluster.trace)
}

#[test]
fn random_histories_end_well() {
    let checked: usize = (0..SEEDS).map(|seed| run(seed).0).sum();
    assert!(checked > 300, "only {checked} acknowledged writes were checked");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    assert_eq!(run(7).1, run(7).1);
}
