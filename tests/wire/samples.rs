//! One message of every kind, with the fields of its body by name and length.

use bytes::Bytes;
use ringdove::causality::{Actor, Dead, Delta, Dot, DotSet, Entry, Meta, Secret, Value};
use ringdove::key::Key;
use ringdove::ring::{
    ClusterId, Epoch, Member, MemberNumber, NodeId, Partition, Ring, Settings, Slot, Token,
};
use ringdove::wire::control::{Ballot, ControlMessage, Mark, Vote};
use ringdove::wire::*;

use super::Spoken;

/// A message, and how its body is to be read. No fields: it is MessagePack.
pub struct Sample {
    pub spoken: Spoken,
    pub fields: Vec<(&'static str, usize)>,
}

fn key() -> Key {
    Key::new("cart", b"ann").expect("a key")
}

fn dot(member: u16, counter: u64) -> Dot {
    Dot::new(Actor::new(member, 0x0a0b_0c0d_0e0f), counter)
}

fn set(dots: &[Dot]) -> DotSet {
    dots.iter().copied().collect()
}

fn value(bytes: &'static [u8]) -> Value {
    let meta = Meta {
        operation: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        stamp: 1_700_000_000_000,
        writer: "till-3".to_owned(),
        context: set(&[dot(1, 1)]),
    };
    Value { meta, bytes: Bytes::from_static(bytes) }
}

fn glimpse() -> Glimpse {
    let Value { meta, bytes } = value(b"tea");
    Glimpse { meta, head: bytes, len: 70_000 }
}

fn delta() -> Delta<Value> {
    Delta {
        values: vec![(dot(2, 4), value(b"tea"))],
        kept: vec![dot(1, 3)],
        deleted: Some(dot(1, 7)),
        context: set(&[dot(1, 1), dot(1, 2)]),
    }
}

fn entry() -> Entry<Option<Value>> {
    let values = vec![(dot(1, 3), None), (dot(2, 4), Some(value(b"tea")))];
    Entry::from_parts(values, set(&[dot(1, 2)]))
}

fn caller() -> Caller {
    Caller {
        node: NodeId(0xa1),
        cluster: Some(ClusterId(0xc1)),
        member: Some(MemberNumber(1)),
        to: Some(NodeId(0xa2)),
    }
}

const VALUE: usize = 1 + 16 + 8 + 7 + (2 + 11) + 4;
const KEY: usize = 1 + 8;
/// A set of one actor with one run of counters.
const SET: usize = 2 + 8 + 3;
const DELTA: usize = SET + (1 + 16) + (1 + 16) + (1 + 16 + VALUE);
const ENTRY: usize = SET + 1 + (16 + 1) + (16 + 1 + VALUE);

/// A vote for the second ring of a cluster of one.
fn vote() -> ControlMessage {
    let member = |number: u16| Member {
        number: MemberNumber(number),
        id: NodeId(0xa0 + u128::from(number)),
        name: format!("n{number}"),
        addr: ([10, 0, 0, 1], 7400 + number).into(),
        zone: "east".to_owned(),
        weight: 1,
        since: Epoch(u32::from(number)),
        leaving: false,
    };
    let ring = Ring {
        cluster: ClusterId(0xc1),
        epoch: Epoch(2),
        previous: 0xbeef,
        members: vec![member(1), member(2)],
        partitions: vec![Partition::settled(slot(0), vec![MemberNumber(1)])],
        settings: Settings { copies: 3, manual: false },
        secret: Secret([7; 16]),
        dead: Dead::NONE,
        highest: 0,
        paused: false,
        lineage: 0,
        lost: Vec::new(),
    };
    let after = Mark { cluster: ring.cluster, lineage: 0, epoch: Epoch(1), hash: 0xbeef };
    let ballot = Ballot { round: 3, node: NodeId(0xa1), life: 0xfeed };
    let accepted = Some(Vote { ballot: Ballot { round: 2, ..ballot }, ring: Box::new(ring) });
    ControlMessage::Promise { after, ballot, accepted }
}

/// The sample of each kind. A new kind does not compile before it has one.
pub fn sample(kind: Kind) -> Sample {
    let greeting = |greeting| Sample { spoken: Spoken::Greeting(greeting), fields: Vec::new() };
    let pack = |message| message_sample(message, &[]);
    match kind {
        Kind::Hello => greeting(Greeting::Hello(Hello::new(Purpose::Lane {
            from: caller(),
            shard: 3,
            shards: 4,
            to_shard: 1,
        }))),
        Kind::Welcome => greeting(Greeting::Welcome(Welcome {
            protocol: 1,
            node: NodeId(0xa2),
            name: "blue".to_owned(),
            cluster: Some(ClusterId(0xc1)),
            member: Some(MemberNumber(2)),
            shards: 2,
            serving: true,
        })),
        Kind::Refused => {
            greeting(Greeting::Refused(Refused::new(Refusal::OtherCluster, "no, because")))
        }
        Kind::Failure => pack(Message::Failure(Failure::new(FailureCode::LevelNotMet, "why"))),
        Kind::Question => pack(Message::Question(Question::Explain {
            bucket: "cart".to_owned(),
            key: b"ann".to_vec(),
        })),
        Kind::Answer => pack(Message::Answer(Answer::Siblings(SiblingList {
            keys: vec![SiblingLine {
                bucket: "cart".to_owned(),
                key: b"ann".to_vec(),
                siblings: 2,
            }],
            more: false,
            missing: vec!["blue".to_owned()],
        }))),
        Kind::Summary => pack(Message::Summary(Summary {
            class: 1,
            classes: 2,
            partitions: vec![(slot(1024), 0x1122_3344_5566_7788)],
            recovering: false,
        })),
        Kind::SlotHashes => pack(Message::SlotHashes(SlotHashes {
            slots: vec![(slot(1025), 7)],
            partitions: vec![slot(1024)],
            class: 1,
            classes: 2,
            equal: vec![slot(2048)],
            recovering: vec![slot(2048)],
        })),
        Kind::Count => pack(Message::Count(Count {
            class: 0,
            classes: 1,
            bucket: Some("cart".to_owned()),
            limit: 100,
        })),
        Kind::Control => Sample { spoken: Spoken::Control(vote()), fields: Vec::new() },
        Kind::Put | Kind::PutReply | Kind::Get | Kind::GetReply => request_sample(kind),
        Kind::Store
        | Kind::KeepHint
        | Kind::Stored
        | Kind::Declined
        | Kind::Fetch
        | Kind::Fetched
        | Kind::ClocksWanted
        | Kind::Clocks
        | Kind::ClosingWanted
        | Kind::Closing
        | Kind::Ask
        | Kind::Page
        | Kind::Inspect
        | Kind::Inspected
        | Kind::Counted => lane_sample(kind),
    }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("a slot")
}

fn message_sample(message: Message, fields: &[(&'static str, usize)]) -> Sample {
    let token = Token(0x0123_4567_89ab_cdef);
    let slot = token.slot();
    let frame = Frame { slot, epoch: Epoch(5), request: 0x99, token, message };
    Sample { spoken: Spoken::Message(frame), fields: fields.to_vec() }
}

fn request_sample(kind: Kind) -> Sample {
    match kind {
        Kind::Put => message_sample(
            Message::Put(Put {
                key: key(),
                value: Some(Bytes::from_static(b"green tea")),
                basis: Basis::Context(Bytes::from_static(b"token")),
                level: Level::Count(2),
                strict: true,
                operation: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
                again: false,
                writer: "till-3".to_owned(),
                timeout_ms: 5000,
                forwarded: true,
            }),
            &[
                ("level: a number, 2", 2),
                ("options: strict, has a value, has a context", 1),
                ("timeout_ms", 4),
                ("operation", 16),
                ("writer", 7),
                ("key", KEY),
                ("context", 6),
                ("value", 9),
            ],
        ),
        Kind::PutReply => message_sample(
            Message::PutReply(PutReply {
                outcome: Outcome::Unknown,
                dot: Some(dot(2, 4)),
                context: Bytes::from_static(b"token"),
                owners: 1,
                fallbacks: 2,
                needed: 3,
                siblings: 4,
            }),
            &[
                ("outcome: unknown", 1),
                ("owners", 1),
                ("fallbacks", 1),
                ("needed", 1),
                ("siblings", 2),
                ("has a dot", 1),
                ("dot", 16),
                ("context", 5),
            ],
        ),
        Kind::Get => message_sample(
            Message::Get(Get {
                key: key(),
                floor: Bytes::from_static(b"seen"),
                level: Level::Quorum,
                timeout_ms: 5000,
                forwarded: false,
            }),
            &[("level: quorum", 2), ("timeout_ms", 4), ("floor", 5), ("key", 8)],
        ),
        _ => message_sample(
            Message::GetReply(GetReply {
                values: vec![(dot(2, 4), value(b"tea")), (dot(1, 3), value(b"pie"))],
                omitted: 1,
                context: Bytes::from_static(b"token"),
                answered: 2,
                needed: 2,
                source: Source::Hints,
            }),
            &[
                ("answered", 1),
                ("needed", 1),
                ("omitted", 2),
                ("source: hints", 1),
                ("context", 6),
                ("how many values", 1),
                ("dot", 16),
                ("value", VALUE),
                ("dot", 16),
                ("value", VALUE),
            ],
        ),
    }
}

fn lane_sample(kind: Kind) -> Sample {
    let clock = set(&[dot(1, 1), dot(1, 2), dot(2, 4)]);
    // Two actors, one run each.
    const CLOCK: usize = 2 + 11 + 11;
    match kind {
        Kind::Store => message_sample(
            Message::Store(Store { key: key(), delta: delta(), reason: Reason::Repair }),
            &[("reason: repair", 1), ("key", KEY), ("delta", DELTA)],
        ),
        Kind::KeepHint => message_sample(
            Message::KeepHint(KeepHint { owed_to: MemberNumber(3), key: key(), delta: delta() }),
            &[("owed_to", 2), ("key", KEY), ("delta", DELTA)],
        ),
        Kind::Stored => message_sample(Message::Stored, &[("", 0)]),
        Kind::Declined => {
            message_sample(Message::Declined(Decline::NotMine), &[("why: not mine", 1)])
        }
        Kind::Fetch => message_sample(
            Message::Fetch(Fetch { key: key(), have: vec![dot(1, 3), dot(2, 4)] }),
            &[("key", KEY), ("how many dots", 1), ("dot", 16), ("dot", 16)],
        ),
        Kind::Fetched => message_sample(
            Message::Fetched(Fetched { recovering: true, clock, entry: entry() }),
            &[("recovering", 1), ("clock", CLOCK), ("entry", ENTRY)],
        ),
        Kind::Ask => message_sample(
            Message::Ask(Ask {
                nonce: 0xfeed,
                clock: clock.clone(),
                after: Some(key()),
                began: Some(clock),
            }),
            &[("nonce", 8), ("clock", CLOCK), ("after", KEY), ("has began", 1), ("began", CLOCK)],
        ),
        Kind::Page => message_sample(
            Message::Page(Page {
                nonce: 0xfeed,
                clock: clock.clone(),
                began: set(&[dot(1, 1)]),
                after: None,
                upto: Some(key()),
                entries: vec![(key(), entry())],
                deletes: vec![(dot(2, 4), key())],
                mark: Some(set(&[dot(1, 1)])),
            }),
            &[
                ("nonce", 8),
                ("clock", CLOCK),
                ("began", SET),
                ("after: the slot's beginning", 1),
                ("upto", KEY),
                ("how many entries", 1),
                ("key", KEY),
                ("entry", ENTRY),
                ("how many deletes", 1),
                ("dot", 16),
                ("key", KEY),
                ("has mark", 1),
                ("mark", SET),
            ],
        ),
        Kind::ClocksWanted => message_sample(
            Message::ClocksWanted(ClocksWanted { slots: vec![slot(7), slot(300)] }),
            &[("how many slots", 1), ("slot", 2), ("slot", 2)],
        ),
        Kind::Clocks => message_sample(
            Message::Clocks(Clocks { clocks: vec![(slot(7), set(&[dot(1, 1)]))] }),
            &[("how many clocks", 1), ("slot", 2), ("clock", SET)],
        ),
        Kind::ClosingWanted => message_sample(
            Message::ClosingWanted(ClosingWanted { slots: vec![slot(7), slot(300)] }),
            &[("how many slots", 1), ("slot", 2), ("slot", 2)],
        ),
        Kind::Closing => {
            let dead = Dead::new(vec![dot(5, 1).actor, dot(1, 1).actor]).expect("each once");
            let mut report = DotSet::of_dead(1, &dead);
            report.insert(dot(1, 1));
            message_sample(
                Message::Closing(Closing { listed: 2, reports: vec![(slot(7), report)] }),
                &[("listed", 4), ("how many reports", 1), ("slot", 2), ("report", SET)],
            )
        }
        Kind::Inspect => message_sample(Message::Inspect(Inspect { key: key() }), &[("key", 8)]),
        Kind::Inspected => {
            let held = Entry::from_parts(vec![(dot(2, 4), glimpse())], DotSet::EMPTY);
            let hint = Delta::put(dot(1, 3), glimpse(), DotSet::EMPTY);
            message_sample(
                Message::Inspected(Inspected {
                    clock,
                    entry: held,
                    hints: vec![(MemberNumber(3), hint)],
                }),
                &[
                    ("clock", CLOCK),
                    ("entry: residual", 2),
                    ("how many values", 1),
                    ("dot", 16),
                    ("glimpse", VALUE + 8),
                    ("how many hints", 1),
                    ("owed_to", 2),
                    ("delta: context", 2),
                    ("kept dots", 1),
                    ("is a delete", 1),
                    ("how many values", 1),
                    ("dot", 16),
                    ("glimpse", VALUE + 8),
                ],
            )
        }
        _ => message_sample(
            Message::Counted(Counted {
                keys: 10,
                conflicts: 3,
                hints: 2,
                recovering: 4,
                siblings: vec![(key(), 2)],
                more: true,
            }),
            &[
                ("keys", 8),
                ("conflicts", 8),
                ("hints", 8),
                ("recovering", 8),
                ("more", 1),
                ("how many keys", 1),
                ("key", KEY),
                ("siblings", 2),
            ],
        ),
    }
}
