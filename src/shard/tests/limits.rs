//! Limits, and what scripts tell badly.

use std::time::Duration;

use super::cluster::{Cluster, Plan};
use crate::key::{Key, VALUE_BYTES_MAX};
use crate::ring::{Epoch, Token};
use crate::shard::{Effect, Event, Now, Origin, Shard, ShardConfig};
use crate::storage::{MemoryDisk, Options, Store};
use crate::wire::{Basis, FailureCode, Frame, Level, Message, Put, Question};

fn put(key: &str, bytes: usize) -> Put {
    Put {
        key: Key::new("default", key.as_bytes()).expect("a key"),
        value: Some(vec![b'.'; bytes].into()),
        basis: Basis::Blind,
        level: Level::Quorum,
        strict: false,
        operation: 0,
        again: false,
        writer: String::new(),
        timeout_ms: 1_000,
        forwarded: false,
    }
}

fn frame(request: u64, put: Put) -> Frame {
    let token = Token::of(&put.key);
    Frame { slot: token.slot(), epoch: Epoch(1), request, token, message: Message::Put(put) }
}

fn code(cluster: &Cluster, request: u64) -> Option<FailureCode> {
    match &cluster.reply(request)?.message {
        Message::Failure(failure) => Some(failure.code),
        _ => None,
    }
}

/// What a shard says to a client's frame before it knows any ring.
fn alone(config: ShardConfig, frame: Frame) -> Message {
    let options = Options { segment_bytes: 1 << 16, last_life: None };
    let (store, _) = Store::open(MemoryDisk::new(1), options).expect("an empty disk");
    let (mut shard, mut effects) = (Shard::new(store, config), Vec::new());
    let origin = Origin { driver: 0, connection: 0, request: frame.request };
    shard.step(Now::default(), Event::Client(origin, frame), &mut effects);
    assert_eq!(shard.next_deadline(), None, "nothing waits for anything");
    match effects.remove(0) {
        Effect::Reply(_, frame) => frame.message,
        other => panic!("not a reply: {other:?}"),
    }
}

#[test]
fn without_a_ring_nothing_is_ready() {
    for message in [Message::Put(put("k", 1)), Message::Question(Question::Status)] {
        let frame = Frame { message, ..frame(1, put("k", 1)) };
        match alone(ShardConfig::default(), frame) {
            Message::Failure(failure) => assert_eq!(failure.code, FailureCode::NotReady),
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn a_request_for_another_shard_is_refused() {
    let config = ShardConfig { shard: 0, shards: 2, ..ShardConfig::default() };
    match alone(config, frame(1, put("k", 1))) {
        Message::Failure(failure) => assert_eq!(failure.code, FailureCode::Refused),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn too_much_under_way_is_refused_before_any_effect() {
    let mut plan = Plan::default();
    (plan.config.requests_max, plan.config.request_bytes_max) = (2, 10_000);
    let mut cluster = Cluster::new(plan);
    // Answers of both other owners and of all fallbacks are lost.
    cluster.cut.extend((2..=5).map(|node| (node, 1)));
    for request in 1..=3 {
        cluster.client(1, frame(request, put("k", 10)));
    }
    assert_eq!(code(&cluster, 3), Some(FailureCode::Overloaded));
    cluster.wait(Duration::from_secs(2));
    assert_eq!(code(&cluster, 1), None, "an accepted write is never told as failed");
    cluster.client(1, frame(4, put("k", 10_000)));
    assert_eq!(code(&cluster, 4), Some(FailureCode::Overloaded), "too many bytes");
    cluster.client(1, frame(5, put("k", 100)));
    assert_eq!(code(&cluster, 5), None);
    cluster.wait(Duration::from_secs(2));
    let shard = cluster.shard(1, Token::of(&put("k", 1).key).slot());
    assert_eq!((shard.metrics().requests, shard.metrics().request_bytes), (0, 0));
    assert_eq!(shard.metrics().unknowns, 3);
}

#[test]
fn a_value_that_is_too_large_is_refused() {
    let mut cluster = Cluster::new(Plan::default());
    cluster.client(1, frame(1, put("k", VALUE_BYTES_MAX + 1)));
    assert_eq!(code(&cluster, 1), Some(FailureCode::Refused));
    cluster.client(1, frame(2, Put { writer: "a".repeat(300), ..put("k", 1) }));
    assert_eq!(code(&cluster, 2), Some(FailureCode::Refused));
    let slot = Token::of(&put("k", 1).key).slot();
    assert!(cluster.shard(1, slot).store().clock(slot).is_empty(), "nothing was minted");
}

#[test]
fn a_node_without_room_for_hints_refuses_to_stand_in() {
    let mut plan = Plan::default();
    plan.config.hint_bytes_max = 1_000;
    let mut cluster = Cluster::new(plan);
    cluster.split(&[4], &[1, 2, 3, 5]);
    cluster.client(4, frame(1, Put { level: Level::One, ..put("k", 100) }));
    cluster.settle();
    assert_eq!(code(&cluster, 1), None);
    cluster.client(4, frame(2, Put { level: Level::One, ..put("k", 300) }));
    cluster.settle();
    assert_eq!(code(&cluster, 2), Some(FailureCode::Overloaded));
}
