//! Clients that speak nonsense, or more than a node takes: they are told, and nobody else notices.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::BytesMut;
use ringdove::client::Client;
use ringdove::ring::{Epoch, Token};
use ringdove::wire::{
    self, FailureCode, Frame, Get, Greeting, Hello, Level, Message, Purpose, Refusal,
};

use super::{Cluster, PATIENCE, get, key, put, values};

/// A client by hand.
struct Raw {
    stream: TcpStream,
    read: BytesMut,
}

impl Raw {
    fn dial(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw { stream, read: BytesMut::new() }
    }

    fn connect(addr: SocketAddr) -> Self {
        let mut raw = Raw::dial(addr);
        let hello = Hello::new(Purpose::Client { name: "by hand".to_owned() });
        let mut bytes = Vec::new();
        Greeting::Hello(hello).encode(&mut bytes).unwrap();
        raw.stream.write_all(&bytes).unwrap();
        assert!(matches!(raw.greeting(), Greeting::Welcome(_)));
        raw
    }

    /// More bytes; `false` at the end.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        let read = self.stream.read(&mut bytes).unwrap();
        self.read.extend_from_slice(&bytes[..read]);
        read > 0
    }

    fn greeting(&mut self) -> Greeting {
        loop {
            if let Some((header, body)) = wire::split_raw(&mut self.read).unwrap() {
                return Greeting::decode(header, &body).unwrap();
            }
            assert!(self.fill(), "closed without a greeting");
        }
    }

    /// The next frame; `None` at the end.
    fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = wire::split(&mut self.read).unwrap() {
                return Some(frame);
            }
            if !self.fill() {
                assert!(self.read.is_empty(), "closed in the middle of a frame");
                return None;
            }
        }
    }
}

fn encoded(request: u64, message: Message) -> Vec<u8> {
    // Slot, epoch and token of a client are not believed: these are wrong.
    let (token, epoch) = (Token(u64::MAX), Epoch(77));
    let frame = Frame { slot: token.slot(), epoch, request, token, message };
    let mut bytes = Vec::new();
    wire::encode(&frame, &mut bytes).unwrap();
    bytes
}

fn get_frame(request: u64, name: &str) -> Vec<u8> {
    let get = Get {
        key: key(name),
        floor: bytes::Bytes::new(),
        level: Level::One,
        timeout_ms: 0,
        forwarded: true,
    };
    encoded(request, Message::Get(get))
}

fn put_frame(client: &Client, request: u64, name: &str) -> Vec<u8> {
    encoded(request, client.put(&key(name), "v").into_message())
}

#[test]
fn whoever_sends_nonsense_is_told_and_closed_and_nobody_else_notices() {
    let cluster = Cluster::start(&[2]);
    let client = cluster.client(0);
    put(&client, "k", "v", Level::Quorum);

    let mut http = Raw::dial(cluster.addrs[0]);
    http.stream.write_all(b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n").unwrap();
    let Greeting::Refused(refused) = http.greeting() else { panic!("not refused") };
    assert_eq!(refused.why, Refusal::Malformed);
    assert!(!http.fill(), "closed");

    let mut corrupt = get_frame(9, "k");
    corrupt[20] ^= 1;
    // The first of the two waits for its sync when the second comes.
    let twice = [put_frame(&client, 9, "k"), put_frame(&client, 9, "k")].concat();
    for (nonsense, words) in [
        (vec![0xff; 100], "at most"),
        (corrupt, "checksum"),
        (encoded(9, Message::Stored), "out of place"),
        (twice, "under way"),
    ] {
        let mut raw = Raw::connect(cluster.addrs[0]);
        raw.stream.write_all(&nonsense).unwrap();
        // What follows is not looked at any more.
        raw.stream.write_all(&get_frame(10, "k")).unwrap();
        let mut failures = Vec::new();
        while let Some(frame) = raw.frame() {
            match frame.message {
                Message::Failure(failure) => failures.push(failure),
                Message::PutReply(_) => assert_eq!(frame.request, 9),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(failures.len(), 1, "{words}");
        assert_eq!(failures[0].code, FailureCode::Refused);
        assert!(failures[0].message.contains(words), "{}", failures[0].message);
    }
    assert_eq!(values(&get(&client, "k", Level::Quorum).unwrap()), ["v"]);
    let metrics = cluster.nodes[0].as_ref().unwrap().metrics();
    assert_eq!(metrics.clients_refused, 4);
}

#[test]
fn more_requests_than_may_be_under_way_are_answered_all_the_same() {
    let cluster = Cluster::start(&[2]);
    put(&cluster.client(0), "k", &"v".repeat(1000), Level::Quorum);
    let mut raw = Raw::connect(cluster.addrs[0]);
    let requests = 20_000;
    let mut writing = raw.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for request in 0..requests {
            writing.write_all(&get_frame(request, "k")).unwrap();
        }
    });
    let mut answered = BTreeSet::new();
    while answered.len() < requests as usize {
        let frame = raw.frame().unwrap();
        let Message::GetReply(reply) = frame.message else { panic!("{:?}", frame.message) };
        assert_eq!(reply.values[0].1.bytes.len(), 1000);
        assert!(answered.insert(frame.request), "answered twice");
    }
    writer.join().unwrap();
}
