//! A node that plays a script: it accepts, greets, reads requests as they are, and answers as it is told.
//!
//! Invariant: it does nothing that its script does not say, and waits for a client for a bounded time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};

use super::super::*;
use super::PATIENCE;
use crate::ring::{ClusterId, MemberNumber, NodeId};
use crate::wire::{self, Greeting};

/// The node's end of one connection.
pub(super) struct Node {
    socket: TcpStream,
    buffer: BytesMut,
}

impl Node {
    pub(super) fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = listener.accept().expect("a client dials");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Node { socket, buffer: BytesMut::new() }
    }

    /// Accepts, and lets the client in.
    pub(super) fn open(listener: &TcpListener, serving: bool) -> Self {
        let mut node = Node::accept(listener);
        node.hello();
        node.greet(&Greeting::Welcome(welcome(serving)));
        node
    }

    pub(super) fn raw(&mut self) -> Option<(wire::Header, Bytes)> {
        let mut chunk = [0; 64 * 1024];
        loop {
            if let Some(frame) = wire::split_raw(&mut self.buffer).expect("clients send frames") {
                return Some(frame);
            }
            match self.socket.read(&mut chunk).expect("within a minute") {
                0 => return None,
                len => self.buffer.extend_from_slice(&chunk[..len]),
            }
        }
    }

    pub(super) fn hello(&mut self) -> Hello {
        let (header, body) = self.raw().expect("a hello");
        match Greeting::decode(header, &body).expect("a greeting") {
            Greeting::Hello(hello) => hello,
            other => panic!("a client began with {other:?}"),
        }
    }

    pub(super) fn greet(&mut self, greeting: &Greeting) {
        let mut out = Vec::new();
        greeting.encode(&mut out).expect("it fits");
        self.bytes(&out);
    }

    /// The next request.
    pub(super) fn request(&mut self) -> Frame {
        let (header, body) = self.raw().expect("a request");
        wire::decode(header, body).expect("a message")
    }

    pub(super) fn reply(&mut self, to: &Frame, message: Message) {
        let mut out = Vec::new();
        let frame = Frame { request: to.request, message, ..to.clone() };
        wire::encode(&frame, &mut out).expect("it fits");
        self.bytes(&out);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the client reads");
    }

    /// Waits until the client has closed the connection.
    pub(super) fn closed(mut self) {
        assert!(self.raw().is_none(), "a request where none was expected");
    }
}

pub(super) fn welcome(serving: bool) -> Welcome {
    Welcome {
        protocol: 1,
        node: NodeId(7),
        name: "n7".to_owned(),
        cluster: Some(ClusterId(1)),
        member: Some(MemberNumber(7)),
        shards: 1,
        serving,
    }
}

/// Runs a script on a thread; its address, and what joins it.
pub(super) fn node(script: impl FnOnce(TcpListener) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound").to_string();
    (addr, std::thread::spawn(move || script(listener)))
}

/// Runs a script that lets one client in.
pub(super) fn serving(script: impl FnOnce(&mut Node) + Send + 'static) -> (String, JoinHandle<()>) {
    node(|listener| script(&mut Node::open(&listener, true)))
}

/// An endpoint at which nobody listens.
pub(super) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}
