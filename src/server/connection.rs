//! One socket of a driver: bytes in, whole frames out, and the bytes that wait to be written.
//!
//! Invariant: frames leave in the order in which they were queued, each whole or not at all; the
//! bytes of an incomplete frame are kept in memory only as they arrive, whatever length its header
//! promises. Not here: what frames mean, and who may send which.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::inbox::{Alive, NewLane, Permit};
use super::metrics::Counters;
use crate::ring::MemberNumber;
use crate::wire::{self, Frame, WireError};

/// What a driver reads into; frames up to this size are parsed where they were read.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;
/// Requests of one client that may be under way; with more it is not read.
const CLIENT_REQUESTS: usize = 256;
/// Bytes of one client's requests, or of replies that it has not read, that may be under way.
const CLIENT_BYTES: usize = 16 << 20;
/// Bytes that may wait for one lane. With more, the member counts as absent.
const LANE_BYTES: usize = 32 << 20;
/// A buffer that grew beyond this is given back once it is empty.
const KEEP_BYTES: usize = 1 << 20;

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Role {
    /// A client, and what it waits for.
    Client(Waiting),
    /// A member's shard.
    Lane(Lane),
}

/// A lane's place among the lanes.
#[derive(Debug)]
pub(super) struct Lane {
    /// Whose.
    pub(super) member: MemberNumber,
    /// Which.
    pub(super) number: u16,
    /// Whether frames were lost in it: then it only waits to be closed.
    pub(super) lossy: bool,
    /// Dropped with the connection; whoever dialled waits for that.
    _alive: Option<Alive>,
}

/// What one client waits for.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The bytes of each request under way.
    requests: HashMap<u64, usize>,
    bytes: usize,
    /// Its place among the clients of the node.
    _permit: Permit,
}

impl Waiting {
    /// Counts a request. `false` when one of this id is under way.
    pub(super) fn begin(&mut self, request: u64, bytes: usize) -> bool {
        if self.requests.contains_key(&request) {
            return false;
        }
        self.requests.insert(request, bytes);
        self.bytes += bytes;
        true
    }

    /// Discounts a request. `false` when it is not under way.
    pub(super) fn end(&mut self, request: u64) -> bool {
        let bytes = self.requests.remove(&request);
        self.bytes -= bytes.unwrap_or(0);
        bytes.is_some()
    }

    /// How many requests are under way.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// This many bytes stand at the front of the buffer; `more` may be there to read.
    Bytes {
        /// How many.
        len: usize,
        /// Whether the socket may have more.
        more: bool,
    },
    /// A large frame is complete in the connection's own memory: see [`Connection::large`].
    Large,
    /// Nothing new for now.
    Nothing,
    /// The other end has closed.
    Closed,
}

/// One socket of a driver.
#[derive(Debug)]
pub(super) struct Connection {
    /// The socket, non-blocking.
    pub(super) socket: TcpStream,
    /// Who is there.
    pub(super) role: Role,
    /// Bytes read and not yet parsed.
    rest: Vec<u8>,
    /// Bytes to write; those before `sent` are written.
    out: Vec<u8>,
    sent: usize,
    /// Nothing more is taken from it, and when all is written the connection closes.
    pub(super) closing: bool,
    /// All was written to a closing connection; what the other end still sends is thrown away until
    /// it closes, too. (Closing over unread bytes would reset the connection, and the other end
    /// might never read why.)
    pub(super) lingers: bool,
    /// Whether it was left unread for want of room.
    pub(super) stalled: bool,
    /// Whether it is on the driver's list of connections to write.
    pub(super) dirty: bool,
    /// Whether it is on the driver's list of connections to read again.
    pub(super) again: bool,
}

impl Connection {
    /// A client's connection.
    pub(super) fn client(socket: std::net::TcpStream, permit: Permit) -> Self {
        let waiting = Waiting { requests: HashMap::new(), bytes: 0, _permit: permit };
        Connection::new(socket, Role::Client(waiting))
    }

    /// A member's connection.
    pub(super) fn lane(lane: NewLane) -> Self {
        let NewLane { member, number, alive, .. } = lane;
        let role = Lane { member, number, lossy: false, _alive: alive };
        Connection::new(lane.socket, Role::Lane(role))
    }

    fn new(socket: std::net::TcpStream, role: Role) -> Self {
        Connection {
            socket: TcpStream::from_std(socket),
            role,
            rest: Vec::new(),
            out: Vec::new(),
            sent: 0,
            closing: false,
            lingers: false,
            stalled: false,
            dirty: false,
            again: false,
        }
    }

    /// Whether it is to be left unread for now.
    pub(super) fn paused(&self) -> bool {
        match &self.role {
            _ if self.closing => !self.lingers,
            Role::Client(waiting) => {
                waiting.requests.len() >= CLIENT_REQUESTS
                    || waiting.bytes >= CLIENT_BYTES
                    || self.unsent() >= CLIENT_BYTES
            }
            Role::Lane(_) => false,
        }
    }

    /// Reads once. `buffer` has [`BUFFER_BYTES`].
    pub(super) fn fill(&mut self, buffer: &mut [u8], counters: &Counters) -> io::Result<Filled> {
        debug_assert_eq!(buffer.len(), BUFFER_BYTES);
        if let Some(whole) = self.large_frame() {
            return self.fill_large(whole, counters);
        }
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        self.rest.clear();
        if kept == buffer.len() {
            return Ok(Filled::Bytes { len: kept, more: true });
        }
        counters.reads.one();
        match self.socket.read(&mut buffer[kept..]) {
            Ok(0) => Ok(Filled::Closed),
            Ok(read) => {
                counters.bytes_in.add(read as u64);
                let len = kept + read;
                Ok(Filled::Bytes { len, more: len == buffer.len() })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && kept == 0 => Ok(Filled::Nothing),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Ok(Filled::Bytes { len: kept, more: false })
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                Ok(Filled::Bytes { len: kept, more: true })
            }
            Err(error) => Err(error),
        }
    }

    /// The size of the frame that `rest` begins with, if it does not fit into the buffer.
    fn large_frame(&self) -> Option<usize> {
        // What is no frame is found out where frames are taken.
        let whole = frame_len(&self.rest).ok().flatten();
        whole.filter(|whole| *whole > BUFFER_BYTES)
    }

    fn fill_large(&mut self, whole: usize, counters: &Counters) -> io::Result<Filled> {
        let have = self.rest.len();
        // Doubling: a header alone is no reason to set megabytes aside.
        let room = whole.min(have * 2);
        self.rest.resize(room, 0);
        counters.reads.one();
        let read = self.socket.read(&mut self.rest[have..]);
        self.rest.truncate(have + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Ok(Filled::Closed),
            Ok(read) => {
                counters.bytes_in.add(read as u64);
                let done = self.rest.len() == whole;
                Ok(if done { Filled::Large } else { Filled::Bytes { len: 0, more: true } })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Filled::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                Ok(Filled::Bytes { len: 0, more: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the large frame that is complete.
    pub(super) fn large(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    /// Keeps bytes that were read and not parsed.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Queues a frame, and gives its length. Fails, with nothing queued, when it is too large for one.
    pub(super) fn queue(&mut self, frame: &Frame) -> Result<u64, WireError> {
        let before = self.out.len();
        wire::encode(frame, &mut self.out)?;
        Ok((self.out.len() - before) as u64)
    }

    /// Whether a lane has no room for more.
    pub(super) fn full(&self) -> bool {
        self.unsent() >= LANE_BYTES
    }

    /// Ends a closing connection's own side.
    pub(super) fn say_goodbye(&mut self) {
        self.lingers = true;
        self.rest = Vec::new();
        if let Err(error) = self.socket.shutdown(std::net::Shutdown::Write) {
            log::debug!("cannot shut a connection down: {error}");
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn write(&mut self, counters: &Counters) -> io::Result<()> {
        while self.sent < self.out.len() {
            counters.writes.one();
            match self.socket.write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    counters.bytes_out.add(written as u64);
                    self.sent += written;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.out.len() {
            self.sent = 0;
            self.out.clear();
            self.out.shrink_to(KEEP_BYTES);
        } else if self.sent > KEEP_BYTES {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}

/// The size of the frame that begins here, once enough of it is there to tell.
pub(super) fn frame_len(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    Ok(wire::peek(bytes)?.map(|header| header.frame_bytes()))
}
