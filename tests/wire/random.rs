//! Random messages come back as they were sent, and one message has one encoding.

use bytes::{Bytes, BytesMut};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use ringdove::causality::{Actor, Dead, Delta, Dot, DotSet, Entry, Meta, Value};
use ringdove::key::Key;
use ringdove::ring::{Epoch, MemberNumber, SLOTS, Slot, Token};
use ringdove::wire::{self, *};

use super::{Spoken, read};

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn key() -> impl Strategy<Value = Key> {
    ("[a-zA-Z0-9._-]{1,64}", vec(any::<u8>(), 1..100))
        .prop_map(|(bucket, key)| Key::new(&bucket, &key).expect("within the limits"))
}

fn dot() -> impl Strategy<Value = Dot> {
    (any::<u64>(), 1..=u64::MAX)
        .prop_map(|(actor, counter)| Dot::new(Actor::from_bits(actor), counter))
}

/// Dots of few actors with gaps between them, so that runs of every shape come up.
fn set() -> impl Strategy<Value = DotSet> {
    let near = (0..4u64, 1..40u64)
        .prop_map(|(actor, counter)| Dot::new(Actor::from_bits(actor << 60), counter));
    let dots = vec(prop_oneof![9 => near, 1 => dot()], 0..30);
    (dots, prop_oneof![3 => Just(0), 1 => 0..=3u32]).prop_map(|(dots, closed)| {
        let dead = Dead::new((1..=3).map(Actor::from_bits).collect()).expect("each once");
        let mut set: DotSet = dots.into_iter().collect();
        set.union(&DotSet::of_dead(closed, &dead));
        set
    })
}

fn meta() -> impl Strategy<Value = Meta> {
    (any::<u128>(), any::<u64>(), ".{0,20}", set())
        .prop_map(|(operation, stamp, writer, context)| Meta { operation, stamp, writer, context })
}

fn value() -> impl Strategy<Value = Value> {
    (meta(), bytes(200)).prop_map(|(meta, bytes)| Value { meta, bytes })
}

fn glimpse() -> impl Strategy<Value = Glimpse> {
    (meta(), bytes(GLIMPSE_BYTES_MAX + 1), any::<u32>()).prop_map(|(meta, head, more)| {
        let len = head.len() as u64 + u64::from(more);
        Glimpse { meta, head, len }
    })
}

fn delta<V: std::fmt::Debug>(value: impl Strategy<Value = V>) -> impl Strategy<Value = Delta<V>> {
    (vec((dot(), value), 0..4), vec(dot(), 0..4), option::of(dot()), set())
        .prop_map(|(values, kept, deleted, context)| Delta { values, kept, deleted, context })
}

fn entry<V: std::fmt::Debug>(value: impl Strategy<Value = V>) -> impl Strategy<Value = Entry<V>> {
    (btree_map(dot(), value, 0..4), set())
        .prop_map(|(values, residual)| Entry::from_parts(values.into_iter().collect(), residual))
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![
        Just(Level::One),
        Just(Level::Quorum),
        Just(Level::All),
        (1..=u8::MAX).prop_map(Level::Count),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let basis = prop_oneof![
        Just(Basis::Blind),
        Just(Basis::Overwrite),
        bytes(100).prop_map(Basis::Context),
    ];
    let flags = (any::<bool>(), any::<bool>());
    let rest = (any::<u128>(), ".{0,60}", any::<u32>(), any::<bool>(), flags);
    (key(), option::of(bytes(300)), basis, level(), rest).prop_map(
        |(
            key,
            value,
            basis,
            level,
            (operation, writer, timeout_ms, strict, (forwarded, again)),
        )| Put {
            key,
            value,
            basis,
            level,
            strict,
            operation,
            again,
            writer,
            timeout_ms,
            forwarded,
        },
    )
}

fn put_reply() -> impl Strategy<Value = PutReply> {
    let counts = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u16>());
    (any::<bool>(), option::of(dot()), bytes(100), counts).prop_map(
        |(ok, dot, context, (owners, fallbacks, needed, siblings))| PutReply {
            outcome: if ok { Outcome::Ok } else { Outcome::Unknown },
            dot,
            context,
            owners,
            fallbacks,
            needed,
            siblings,
        },
    )
}

fn get_reply() -> impl Strategy<Value = GetReply> {
    let sources = select(vec![Source::Owners, Source::Hints, Source::Recovering]);
    let counts = (any::<u16>(), any::<u8>(), any::<u8>(), sources);
    (vec((dot(), value()), 0..4), bytes(100), counts).prop_map(
        |(values, context, (omitted, answered, needed, source))| GetReply {
            values,
            omitted,
            context,
            answered,
            needed,
            source,
        },
    )
}

/// Everything that travels between clients and nodes.
fn request() -> impl Strategy<Value = Message> {
    let floor = vec(any::<u8>(), 0..9).prop_map(Bytes::from);
    let get = (key(), floor, level(), any::<u32>(), any::<bool>()).prop_map(
        |(key, floor, level, timeout_ms, forwarded)| Get {
            key,
            floor,
            level,
            timeout_ms,
            forwarded,
        },
    );
    let question = prop_oneof![
        ("[a-z]{1,9}", vec(any::<u8>(), 0..40))
            .prop_map(|(bucket, key)| Question::Explain { bucket, key }),
        (option::of("[a-z]{1,9}"), any::<u32>())
            .prop_map(|(bucket, limit)| Question::Siblings { bucket, limit }),
        Just(Question::Status),
        Just(Question::Members),
        Just(Question::Ring),
        vec(proposed(), 0..4).prop_map(|changes| Question::Plan { changes }),
        (".{0,9}", vec(proposed(), 0..4))
            .prop_map(|(basis, changes)| Question::Change { basis, changes }),
        vec(".{0,9}", 0..4).prop_map(|left| Question::Force { left }),
        Just(Question::Doctor),
    ];
    let line = ("[a-z]{1,9}", vec(any::<u8>(), 0..40), any::<u16>())
        .prop_map(|(bucket, key, siblings)| SiblingLine { bucket, key, siblings });
    let answer = (vec(line, 0..4), any::<bool>(), vec(".{0,9}", 0..3))
        .prop_map(|(keys, more, missing)| Answer::Siblings(SiblingList { keys, more, missing }));
    let code = prop_oneof![
        Just(FailureCode::Refused),
        Just(FailureCode::BadContext),
        Just(FailureCode::LevelNotMet),
        Just(FailureCode::Overloaded),
        Just(FailureCode::TooManySiblings),
        Just(FailureCode::ReadOnly),
        Just(FailureCode::DiskFull),
        Just(FailureCode::Damaged),
        Just(FailureCode::NotReady),
    ];
    prop_oneof![
        put().prop_map(Message::Put),
        put_reply().prop_map(Message::PutReply),
        get.prop_map(Message::Get),
        get_reply().prop_map(Message::GetReply),
        question.prop_map(Message::Question),
        answer.prop_map(Message::Answer),
        (code, ".{0,80}").prop_map(|(code, words)| Message::Failure(Failure::new(code, words))),
    ]
}

/// A change of the ring that is asked about.
fn proposed() -> impl Strategy<Value = Proposed> {
    prop_oneof![
        (".{0,9}", any::<u32>()).prop_map(|(zone, weight)| Proposed::Join { zone, weight }),
        (".{0,9}", any::<bool>()).prop_map(|(member, lost)| Proposed::Leave { member, lost }),
        (".{0,9}", option::of(".{0,9}"), option::of(".{0,9}"), any::<bool>())
            .prop_map(|(member, zone, with, lost)| Proposed::Replace { member, zone, with, lost }),
        any::<bool>().prop_map(Proposed::Manual),
        select(vec![Proposed::Rebalance, Proposed::Pause, Proposed::Resume, Proposed::Abort]),
        (".{0,9}", any::<u32>()).prop_map(|(member, weight)| Proposed::Weight { member, weight }),
        (".{0,9}", ".{0,9}").prop_map(|(member, zone)| Proposed::Zone { member, zone }),
    ]
}

/// What members say to each other of single keys.
fn copy() -> impl Strategy<Value = Message> {
    let reason = select(vec![Reason::Write, Reason::Repair, Reason::Hint, Reason::Sync]);
    let store = (key(), delta(value()), reason).prop_map(|(key, delta, reason)| Store {
        key,
        delta,
        reason,
    });
    let hint = (any::<u16>(), key(), delta(value())).prop_map(|(owed_to, key, delta)| KeepHint {
        owed_to: MemberNumber(owed_to),
        key,
        delta,
    });
    let decline = prop_oneof![
        Just(Decline::Overloaded),
        Just(Decline::ReadOnly),
        Just(Decline::Full),
        Just(Decline::NotMine),
        Just(Decline::OtherRing),
        Just(Decline::Damaged),
        Just(Decline::Unsettled),
    ];
    let hints = vec((any::<u16>().prop_map(MemberNumber), delta(glimpse())), 0..3);
    let inspected = (set(), entry(glimpse()), hints).prop_map(|(clock, entry, hints)| Inspected {
        clock,
        entry,
        hints,
    });
    prop_oneof![
        store.prop_map(Message::Store),
        hint.prop_map(Message::KeepHint),
        Just(Message::Stored),
        decline.prop_map(Message::Declined),
        (key(), vec(dot(), 0..9)).prop_map(|(key, have)| Message::Fetch(Fetch { key, have })),
        (any::<bool>(), set(), entry(option::of(value()))).prop_map(
            |(recovering, clock, entry)| Message::Fetched(Fetched { recovering, clock, entry })
        ),
        key().prop_map(|key| Message::Inspect(Inspect { key })),
        inspected.prop_map(Message::Inspected),
    ]
}

/// What members say to each other of whole slots.
fn sync() -> impl Strategy<Value = Message> {
    let slot = || (0..SLOTS).prop_map(|number| Slot::new(number).expect("below the last"));
    let partitions = vec((slot(), any::<u64>()), 0..9);
    let summary = (any::<u16>(), any::<u16>(), partitions, any::<bool>()).prop_map(
        |(class, classes, partitions, recovering)| Summary {
            class,
            classes,
            partitions,
            recovering,
        },
    );
    let equal = (vec(slot(), 0..9), vec(slot(), 0..9));
    let slots = vec((slot(), any::<u64>()), 0..9);
    let hashes = (slots, vec(slot(), 0..9), any::<u16>(), equal).prop_map(
        |(slots, partitions, class, (equal, recovering))| SlotHashes {
            slots,
            partitions,
            class,
            classes: 64,
            equal,
            recovering,
        },
    );
    let ask = (any::<u64>(), set(), option::of(key()), option::of(set()))
        .prop_map(|(nonce, clock, after, began)| Ask { nonce, clock, after, began });
    let entries = vec((key(), entry(option::of(value()))), 0..4);
    let deletes = vec((dot(), key()), 0..4);
    let range = (option::of(key()), option::of(key()));
    let page = (any::<u64>(), set(), set(), range, entries, deletes, option::of(set())).prop_map(
        |(nonce, clock, began, (after, upto), entries, deletes, mark)| Page {
            nonce,
            clock,
            began,
            after,
            upto,
            entries,
            deletes,
            mark,
        },
    );
    let wanted = vec(slot(), 0..9).prop_map(|slots| ClocksWanted { slots });
    let clocks = vec((slot(), set()), 0..9).prop_map(|clocks| Clocks { clocks });
    let count = (any::<u16>(), any::<u16>(), option::of("[a-z]{1,9}"), any::<u32>())
        .prop_map(|(class, classes, bucket, limit)| Count { class, classes, bucket, limit });
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>());
    let counted = (numbers, vec((key(), any::<u16>()), 0..4)).prop_map(
        |((keys, conflicts, hints, recovering, more), siblings)| Counted {
            keys,
            conflicts,
            hints,
            recovering,
            siblings,
            more,
        },
    );
    prop_oneof![
        summary.prop_map(Message::Summary),
        hashes.prop_map(Message::SlotHashes),
        wanted.prop_map(Message::ClocksWanted),
        clocks.prop_map(Message::Clocks),
        vec(slot(), 0..9).prop_map(|slots| Message::ClosingWanted(ClosingWanted { slots })),
        (any::<u32>(), vec((slot(), set()), 0..9))
            .prop_map(|(listed, reports)| Message::Closing(Closing { listed, reports })),
        ask.prop_map(Message::Ask),
        page.prop_map(Message::Page),
        count.prop_map(Message::Count),
        counted.prop_map(Message::Counted),
    ]
}

pub fn frame() -> impl Strategy<Value = Frame> {
    let message = prop_oneof![request(), copy(), sync()];
    (0..SLOTS, any::<u32>(), any::<u64>(), any::<u64>(), message).prop_map(
        |(slot, epoch, request, token, message)| Frame {
            slot: Slot::new(slot).expect("below the last"),
            epoch: Epoch(epoch),
            request,
            token: Token(token),
            message,
        },
    )
}

proptest! {
    #[test]
    fn a_random_message_comes_back(frame in frame()) {
        let sent = Spoken::Message(frame);
        prop_assert_eq!(read(&sent.encode()), Ok(Some(sent)));
    }

    #[test]
    fn frames_come_apart_where_they_were_joined(
        frames in vec(frame(), 1..5),
        cuts in vec(1..200usize, 1..20),
    ) {
        let mut stream = Vec::new();
        for frame in &frames {
            wire::encode(frame, &mut stream).expect("it fits");
        }
        // However the network cuts the stream, the same frames come out.
        let (mut buffer, mut found, mut cuts) = (BytesMut::new(), Vec::new(), cuts.iter().cycle());
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let len = rest.len().min(*cuts.next().expect("a cycle"));
            buffer.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
            while let Some(frame) = wire::split(&mut buffer).expect("frames") {
                found.push(frame);
            }
        }
        prop_assert_eq!(found, frames);
        prop_assert!(buffer.is_empty());
    }
}
