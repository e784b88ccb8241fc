//! What slot sync costs: nothing that grows with the data, and little for a small difference.

use std::time::Duration;

use super::cluster::{Cluster, Plan};
use crate::key::Key;
use crate::ring::{Epoch, Token};
use crate::wire::{Basis, Frame, Level, Message, Put};

fn cluster(filled: u32) -> Cluster {
    // Sixteen for each member, as in a ring that was just founded.
    let mut plan = Plan { nodes: 2, row: vec![1, 2], filled, partitions: 32, ..Plan::default() };
    plan.config.sync_interval = Duration::from_secs(1);
    Cluster::new(plan)
}

/// Bytes of slot sync in this time.
fn bytes_in(cluster: &mut Cluster, time: Duration) -> u64 {
    let before = cluster.sync_bytes;
    cluster.wait(time);
    cluster.sync_bytes - before
}

fn put(cluster: &mut Cluster, node: u16, request: u64) {
    let key = Key::new("default", b"one more").expect("a key");
    let token = Token::of(&key);
    let put = Put {
        key,
        value: Some("cake".into()),
        basis: Basis::Blind,
        level: Level::One,
        strict: false,
        operation: request.into(),
        again: false,
        writer: "ann".into(),
        timeout_ms: 1_000,
        forwarded: false,
    };
    let message = Message::Put(put);
    cluster.client(node, Frame { slot: token.slot(), epoch: Epoch(1), request, token, message });
    cluster.settle();
}

#[test]
fn one_key_among_a_million_costs_little_and_none_costs_the_same_as_for_a_thousand() {
    let minute = Duration::from_secs(60);
    let (mut few, mut many) = (cluster(1_000), cluster(1_000_000));
    let slot = Token::of(&Key::new("default", b"one more").expect("a key")).slot();
    let idle = bytes_in(&mut many, minute);
    assert_eq!(
        idle,
        bytes_in(&mut few, minute),
        "idle traffic does not know how much data there is"
    );
    let rounds =
        many.shard(1, slot).metrics().sync_rounds + many.shard(2, slot).metrics().sync_rounds;
    println!("idle: {} bytes a round", idle / rounds);
    assert!(idle / rounds < 64 << 10, "{} bytes a round", idle / rounds);

    many.cut.insert((1, 2));
    put(&mut many, 1, 1);
    many.cut.clear();
    let equal = |cluster: &Cluster| {
        cluster.shard(1, slot).store().clock(slot) == cluster.shard(2, slot).store().clock(slot)
    };
    assert!(!equal(&many));
    let cost = bytes_in(&mut many, minute);
    println!("one key different among a million: {} bytes", cost - idle);
    assert!(equal(&many));
    assert!(cost - idle < 50_000, "{} bytes for one key", cost - idle);
}

#[test]
fn writes_under_way_cause_no_asks() {
    let mut cluster = cluster(0);
    for request in 0..200 {
        // Each is on its way for nearly as long as a round takes, so that clocks nearly always differ.
        cluster.held_kind = Some("Store".to_owned());
        put(&mut cluster, 1, request);
        cluster.wait(Duration::from_millis(400));
        cluster.held_kind = None;
        cluster.settle();
    }
    let slot = Token::of(&Key::new("default", b"one more").expect("a key")).slot();
    let asks = cluster.shard(1, slot).metrics().asks + cluster.shard(2, slot).metrics().asks;
    assert!(cluster.shard(2, slot).metrics().sync_rounds > 20);
    assert_eq!(asks, 0, "nothing was lacking for a whole round");
}
