//! Whatever the bytes, the worst outcome is an error that says what is wrong.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use ringdove::causality::{Actor, Dot, DotSet, Meta, Value};
use ringdove::ring::{Epoch, Slot, Token};
use ringdove::wire::control::ControlMessage;
use ringdove::wire::{self, *};

use super::random::frame;
use super::samples::sample;
use super::{Spoken, decode, read};

/// A frame of `kind` around this body, with a checksum that is right.
fn framed(kind: Kind, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header { flags, ..Header::new(kind) };
    wire::seal(header, &mut out, |out| out.extend_from_slice(body)).expect("it fits");
    out
}

fn fixed(kind: Kind) -> bool {
    match kind {
        Kind::Hello
        | Kind::Welcome
        | Kind::Refused
        | Kind::Failure
        | Kind::Question
        | Kind::Answer
        | Kind::Summary
        | Kind::SlotHashes
        | Kind::Count
        | Kind::Control => false,
        Kind::Put
        | Kind::PutReply
        | Kind::Get
        | Kind::GetReply
        | Kind::Store
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
        | Kind::Counted => true,
    }
}

/// Reads a body that may be anything. Fixed bodies have one encoding: what was read encodes to it.
fn read_anything(kind: Kind, body: &[u8]) {
    let bytes = framed(kind, 0, body);
    match read(&bytes) {
        Ok(Some(spoken)) if fixed(kind) => assert_eq!(spoken.encode(), bytes, "{spoken:?}"),
        Ok(Some(_)) => {}
        Ok(None) => panic!("a whole frame was not seen"),
        Err(error) => {
            assert!(error.is_about_body(), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}

fn samples() -> impl Iterator<Item = (Kind, Vec<u8>)> {
    Kind::ALL.iter().map(|&kind| (kind, sample(kind).spoken.encode()))
}

#[test]
fn a_frame_that_is_cut_waits_for_the_rest() {
    for (kind, bytes) in samples() {
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Ok(None), "{kind} cut to {len} bytes");
        }
    }
}

#[test]
fn a_changed_bit_never_passes_for_a_frame() {
    for (kind, bytes) in samples() {
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            // A larger length waits for bytes that do not come, anything else is found out.
            if let Ok(Some(spoken)) = read_one(&changed) {
                panic!("{kind} with bit {bit} changed is {spoken:?}");
            }
        }
    }
}

fn read_one(bytes: &[u8]) -> Result<Option<Spoken>, WireError> {
    let mut buffer = BytesMut::from(bytes);
    let Some((header, body)) = wire::split_raw(&mut buffer)? else { return Ok(None) };
    decode(header, body).map(Some)
}

#[test]
fn a_body_changed_before_it_was_sealed_never_panics() {
    for (kind, bytes) in samples() {
        let body = &bytes[HEADER_BYTES..];
        for len in 0..body.len() {
            read_anything(kind, &body[..len]);
        }
        for bit in 0..body.len() * 8 {
            let mut changed = body.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            read_anything(kind, &changed);
        }
        let mut longer = body.to_vec();
        longer.push(0);
        read_anything(kind, &longer);
    }
}

proptest! {
    #[test]
    fn random_bodies_never_panic(at in 0..Kind::ALL.len(), body in prop::collection::vec(any::<u8>(), 0..300)) {
        read_anything(Kind::ALL[at], &body);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_one(&bytes);
        let _ = wire::peek(&bytes);
    }

    #[test]
    fn random_messages_with_a_random_byte_never_panic(frame in frame(), at: usize, byte: u8) {
        let mut bytes = Spoken::Message(frame).encode();
        let body = bytes.split_off(HEADER_BYTES);
        let mut body = body;
        if !body.is_empty() {
            let at = at % body.len();
            body[at] = byte;
        }
        let kind = Kind::from_number(bytes[8]).expect("a kind");
        read_anything(kind, &body);
    }
}

#[test]
fn a_length_is_refused_before_anything_else_is_looked_at() {
    let mut bytes = [0xff; HEADER_BYTES];
    assert_eq!(
        wire::peek(&bytes),
        Err(WireError::TooLarge { bytes: u64::from(u32::MAX) + HEADER_BYTES as u64 })
    );
    let most = (FRAME_BYTES_MAX - HEADER_BYTES) as u32;
    bytes[..4].copy_from_slice(&(most + 1).to_le_bytes());
    assert!(matches!(wire::peek(&bytes), Err(WireError::TooLarge { .. })));
    bytes[..4].copy_from_slice(&most.to_le_bytes());
    assert_eq!(wire::peek(&bytes), Err(WireError::UnknownKind(0xff)));
    // What somebody with a browser sends.
    assert!(matches!(
        wire::peek(b"GET / HTTP/1.1\r\nHost: localhost:7400\r\n"),
        Err(WireError::TooLarge { .. })
    ));
}

#[test]
fn unknown_kinds_flags_and_slots_are_named() {
    let mut bytes = framed(Kind::Stored, 0, b"");
    bytes[8] = 200;
    assert_eq!(read(&bytes), Err(WireError::UnknownKind(200)));
    bytes[8] = Kind::Stored.number();
    bytes[9] = FLAG_FORWARDED;
    let error = read(&bytes).expect_err("a flag that only requests have");
    assert_eq!(error, WireError::UnknownFlags { kind: Kind::Stored, flags: FLAG_FORWARDED });
    assert!(error.to_string().contains("Stored"));
    bytes[9] = 0;
    bytes[10..12].copy_from_slice(&16384u16.to_le_bytes());
    assert_eq!(read(&bytes), Err(WireError::NoSuchSlot(16384)));
}

#[test]
fn a_count_or_length_larger_than_what_follows_is_refused() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    // Behind a key (Fetch), behind an empty clock and residual (Fetched): how many, and nothing more.
    let key = [8, 4, b'c', b'a', b'r', b't', b'a', b'n', b'n'];
    let bodies = [
        (Kind::Fetch, [&key[..], &huge].concat()),
        (Kind::Fetched, [&[0, 0, 0, 0][..], &huge].concat()),
        (Kind::Fetched, [&[0][..], &huge].concat()),
        (Kind::Fetch, huge.to_vec()),
        (Kind::Counted, [&[0; 25][..], &huge].concat()),
        (Kind::GetReply, [&[0; 6][..], &huge].concat()),
    ];
    for (kind, body) in bodies {
        let error = read(&framed(kind, 0, &body)).expect_err("more than there is");
        assert!(matches!(error, WireError::Body { .. }), "{kind}: {error}");
    }
    // MessagePack: an array of 2^32 - 1 partitions, and text as long.
    let partitions = b"\x83\xa5class\x00\xa7classes\x01\xaapartitions\xdd\xff\xff\xff\xff";
    assert!(matches!(read(&framed(Kind::Summary, 0, partitions)), Err(WireError::Pack { .. })));
    let text = b"\x82\xa4code\xa7Refused\xa7message\xdb\xff\xff\xff\xff";
    assert!(matches!(read(&framed(Kind::Failure, 0, text)), Err(WireError::Pack { .. })));
}

#[test]
fn deep_nesting_ends_in_an_error() {
    for opening in [0x91u8, 0x81] {
        let body = vec![opening; 1_000_000];
        for kind in [Kind::Question, Kind::Answer, Kind::Hello] {
            assert!(matches!(read(&framed(kind, 0, &body)), Err(WireError::Pack { .. })));
        }
    }
}

#[test]
fn what_no_frame_can_hold_is_not_sent() {
    let value = Value { meta: Meta::default(), bytes: Bytes::from(vec![7; 5 << 20]) };
    let dot = |counter| Dot::new(Actor::new(1, 1), counter);
    let reply = GetReply {
        values: vec![(dot(1), value.clone()), (dot(2), value)],
        omitted: 0,
        context: Bytes::new(),
        answered: 1,
        needed: 1,
        source: Source::Owners,
    };
    let slot = Slot::new(0).expect("a slot");
    let message = Message::GetReply(reply);
    let frame = Frame { slot, epoch: Epoch(1), request: 1, token: Token(0), message };
    let mut out = b"what was there".to_vec();
    assert!(matches!(wire::encode(&frame, &mut out), Err(WireError::TooLarge { .. })));
    assert_eq!(out, b"what was there");
}

#[test]
fn greetings_and_messages_do_not_stand_in_for_each_other() {
    for (kind, bytes) in samples() {
        let mut buffer = BytesMut::from(&bytes[..]);
        let (header, body) = wire::split_raw(&mut buffer).expect("a frame").expect("whole");
        let greets = matches!(kind.way(), Way::Opening | Way::Opened);
        let controls = kind.way() == Way::Control;
        let unless = |fits: bool| (!fits).then_some(WireError::OutOfPlace { kind });
        assert_eq!(wire::decode(header, body.clone()).err(), unless(!greets && !controls));
        assert_eq!(Greeting::decode(header, &body).err(), unless(greets));
        assert_eq!(ControlMessage::decode(header, &body).err(), unless(controls));
    }
}

#[test]
fn a_values_bytes_stay_where_the_frame_has_them() {
    let bytes = sample(Kind::Put).spoken.encode();
    let mut buffer = BytesMut::from(&bytes[..]);
    let (header, body) = wire::split_raw(&mut buffer).expect("a frame").expect("whole");
    let frame = wire::decode(header, body.clone()).expect("a put");
    let Message::Put(Put { value: Some(value), .. }) = frame.message else { panic!("a put") };
    assert_eq!(value.as_ptr(), body[body.len() - value.len()..].as_ptr());

    let bytes = sample(Kind::Store).spoken.encode();
    let mut buffer = BytesMut::from(&bytes[..]);
    let (header, body) = wire::split_raw(&mut buffer).expect("a frame").expect("whole");
    let frame = wire::decode(header, body.clone()).expect("a store");
    let Message::Store(store) = frame.message else { panic!("a store") };
    let value = &store.delta.values[0].1.bytes;
    assert_eq!(value.as_ptr(), body[body.len() - value.len()..].as_ptr());
}

#[test]
fn an_entry_tells_its_values_in_one_order() {
    let dot = |counter: u64| [[0u8; 8], counter.to_le_bytes()].concat();
    let none = [0u8];
    let entry = |first, second| {
        let residual = DotSet::EMPTY;
        let mut body = vec![0];
        residual.encode(&mut body);
        residual.encode(&mut body);
        body.push(2);
        body.extend([&dot(first)[..], &none, &dot(second), &none].concat());
        read(&framed(Kind::Fetched, 0, &body))
    };
    assert!(entry(1, 2).is_ok());
    assert!(entry(2, 1).is_err());
    assert!(entry(1, 1).is_err());
    assert!(entry(0, 1).is_err(), "dots count from 1");
}
