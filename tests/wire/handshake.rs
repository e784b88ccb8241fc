//! Who is let in, and in which words the others are turned away.

use ringdove::causality::Secret;
use ringdove::ring::{ClusterId, Epoch, Member, MemberNumber, NodeId, Ring, Settings, found};
use ringdove::wire::*;

const CLUSTER: ClusterId = ClusterId(0xc1);

fn ring() -> Ring {
    let member = |number: u16| Member {
        number: MemberNumber(number),
        id: NodeId(u128::from(number)),
        name: format!("n{number}"),
        addr: ([127, 0, 0, 1], 7400 + number).into(),
        zone: String::new(),
        weight: 1,
        since: Epoch(1),
        leaving: false,
    };
    found(CLUSTER, Secret([0; 16]), (1..=3).map(member).collect(), Settings::default())
}

fn host(ring: Option<&Ring>) -> Host<'_> {
    Host { node: NodeId(2), name: "n2", ring, shards: 2, open: true }
}

fn caller() -> Caller {
    Caller {
        node: NodeId(1),
        cluster: Some(CLUSTER),
        member: Some(MemberNumber(1)),
        to: Some(NodeId(2)),
    }
}

fn lane(from: Caller) -> Hello {
    Hello::new(Purpose::Lane { from, shard: 1, shards: 4, to_shard: 1 })
}

fn client() -> Hello {
    Hello::new(Purpose::Client { name: "till-3".to_owned() })
}

/// Why the node with a ring refuses, checking that the words name what has to be known.
fn refusal(hello: &Hello, words: &[&str]) -> Refusal {
    let refused = host(Some(&ring())).answer(hello).expect_err("it is refused");
    for word in words {
        assert!(refused.message.contains(word), "{:?} does not say {word:?}", refused.message);
    }
    refused.why
}

#[test]
fn members_and_clients_are_let_in() {
    let ring = ring();
    for hello in [lane(caller()), client(), Hello::new(Purpose::Control { from: caller() })] {
        let welcome = host(Some(&ring)).answer(&hello).expect("let in");
        assert_eq!(welcome.check(&hello), Ok(()));
        assert_eq!(
            welcome,
            Welcome {
                protocol: PROTOCOL_MAX,
                node: NodeId(2),
                name: "n2".to_owned(),
                cluster: Some(CLUSTER),
                member: Some(MemberNumber(2)),
                shards: 2,
                serving: true,
            }
        );
    }
}

#[test]
fn a_node_without_a_ring_talks_but_carries_no_data() {
    let nobody = Caller { node: NodeId(9), cluster: None, member: None, to: None };
    for hello in [client(), Hello::new(Purpose::Control { from: nobody })] {
        let welcome = host(None).answer(&hello).expect("let in");
        assert!(!welcome.serving);
        assert_eq!((welcome.cluster, welcome.member), (None, None));
    }
    let refused = host(None).answer(&lane(caller())).expect_err("no lane");
    assert_eq!(refused.why, Refusal::NotReady);
    let ring = ring();
    let stopping = Host { open: false, ..host(Some(&ring)) };
    assert_eq!(stopping.answer(&lane(caller())).expect_err("no lane").why, Refusal::NotReady);
    assert!(!stopping.answer(&client()).expect("let in").serving);
}

#[test]
fn a_protocol_in_common_is_found_or_missed_in_words() {
    let ring = ring();
    let offer = |protocol_min, protocol_max| Hello { protocol_min, protocol_max, ..client() };
    let newer = offer(PROTOCOL_MAX, PROTOCOL_MAX + 7);
    assert_eq!(host(Some(&ring)).answer(&newer).expect("let in").protocol, PROTOCOL_MAX);
    let words = ["n2", "1 to 1", "8 to 9"];
    assert_eq!(refusal(&offer(8, 9), &words), Refusal::Protocol);
    assert_eq!(refusal(&offer(0, 0), &[]), Refusal::Protocol);
    assert_eq!(refusal(&offer(9, 1), &[]), Refusal::Protocol);
}

#[test]
fn strangers_are_told_why() {
    let from = Caller { cluster: Some(ClusterId(0xc2)), ..caller() };
    let words = ["00000000000000c1", "00000000000000c2"];
    assert_eq!(refusal(&lane(from.clone()), &words), Refusal::OtherCluster);
    assert_eq!(refusal(&Hello::new(Purpose::Control { from }), &words), Refusal::OtherCluster);

    let from = Caller { to: Some(NodeId(3)), ..caller() };
    assert_eq!(refusal(&lane(from), &["n2", "was meant"]), Refusal::OtherNode);
    let from = Caller { node: NodeId(2), member: Some(MemberNumber(2)), ..caller() };
    assert_eq!(refusal(&lane(from), &["copy"]), Refusal::OtherNode);

    let from = Caller { node: NodeId(7), ..caller() };
    assert_eq!(refusal(&lane(from), &["no member", "epoch 1"]), Refusal::UnknownMember);
    let from = Caller { member: Some(MemberNumber(3)), ..caller() };
    assert_eq!(refusal(&lane(from), &["member 1", "member 3"]), Refusal::UnknownMember);
}

#[test]
fn a_lane_joins_shards_that_share_slots() {
    let to = |shard, shards, to_shard| {
        let hello = Hello::new(Purpose::Lane { from: caller(), shard, shards, to_shard });
        host(Some(&ring())).answer(&hello).map_err(|refused| refused.why)
    };
    // Shard 3 of 4 holds slots 3, 7, 11 …, all of which are odd: shard 1 of 2.
    assert!(to(3, 4, 1).is_ok());
    assert!(to(0, 1, 1).is_ok());
    for (shard, shards, to_shard) in [(3, 4, 0), (4, 4, 0), (0, 4, 2), (0, 3, 0), (0, 0, 0)] {
        assert_eq!(to(shard, shards, to_shard), Err(Refusal::NoSuchShard), "{shard}/{shards}");
    }
}

#[test]
fn a_long_name_is_refused() {
    let name = "x".repeat(NAME_BYTES_MAX + 1);
    let hello = Hello::new(Purpose::Client { name });
    assert_eq!(refusal(&hello, &["257", "256"]), Refusal::Malformed);
}

#[test]
fn the_dialler_checks_who_answered() {
    let ring = ring();
    let hello = lane(caller());
    let welcome = host(Some(&ring)).answer(&hello).expect("let in");
    let why = |welcome: Welcome| welcome.check(&hello).map_err(|refused| refused.why);
    assert_eq!(why(Welcome { node: NodeId(5), ..welcome.clone() }), Err(Refusal::OtherNode));
    let other = Some(ClusterId(0xc2));
    assert_eq!(why(Welcome { cluster: other, ..welcome.clone() }), Err(Refusal::OtherCluster));
    assert_eq!(why(Welcome { protocol: 9, ..welcome.clone() }), Err(Refusal::Protocol));
    assert_eq!(why(welcome), Ok(()));
}

#[test]
fn a_later_release_may_say_more() {
    // A hello with a field, and a refusal with a reason, that this release does not know.
    let hello = b"\x84\xacprotocol_min\x01\xacprotocol_max\x02\xa5extra\x07\xa7purpose\x81\xa6Client\x82\xa4name\xa1x\xa4more\xc3";
    let mut out = Vec::new();
    seal(Header::new(Kind::Hello), &mut out, |out| out.extend_from_slice(hello)).expect("it fits");
    let Some(super::Spoken::Greeting(Greeting::Hello(hello))) =
        super::read(&out).expect("it can be read")
    else {
        panic!("a hello")
    };
    assert_eq!(hello.purpose, Purpose::Client { name: "x".to_owned() });

    let refused = b"\x82\xa3why\xabWrongSeason\xa7message\xaecome in winter";
    let mut out = Vec::new();
    seal(Header::new(Kind::Refused), &mut out, |out| out.extend_from_slice(refused))
        .expect("it fits");
    let Some(super::Spoken::Greeting(Greeting::Refused(refused))) =
        super::read(&out).expect("it can be read")
    else {
        panic!("a refusal")
    };
    assert_eq!(refused, Refused::new(Refusal::Other, "come in winter"));
}
