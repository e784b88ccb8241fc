//! What a driver does for clients: check what they send, lead it to its shard, lead the reply back.
//!
//! A client's header is not believed: slot and token are computed from the key, and only a node may call a
//! request forwarded. Invariant: a client that sends what is no request is told what is wrong with
//! it and closed; nobody else notices. Not here: what requests do (`shard`).

use bytes::BytesMut;

use super::connection::{Connection, Role};
use super::driver::Driver;
use super::gather::{GATHER, Parts};
use super::inbox::{Completion, Quiet};
use crate::key::{Key, KeyError};
use crate::ring::{Epoch, Token};
use crate::shard::event::{Event, Origin};
use crate::storage::Disk;
use crate::wire::{self, Failure, FailureCode, Frame, Message, Question, WireError};

/// Where a request goes.
enum Way {
    /// To the shard of this key.
    Key(Key),
    /// To all shards of this node, whose parts make the answer.
    Shards(Parts),
    /// To the control machine.
    Control,
}

impl<D: Disk> Driver<D> {
    /// A whole frame came in from a client.
    pub(super) fn client_frame(&mut self, at: usize, mut bytes: BytesMut) {
        self.around.counters.client_frames.one();
        let len = bytes.len();
        // Where the body is at fault the header stands, and the client can be told which request it was.
        let request = wire::peek(&bytes).ok().flatten().map_or(0, |header| header.request);
        let frame = match wire::split(&mut bytes) {
            Ok(Some(frame)) => frame,
            Ok(None) => return self.malformed(at, 0, "a frame is shorter than its header says"),
            Err(error) => {
                let request = if error.is_about_body() { request } else { 0 };
                return self.malformed(at, request, &error.to_string());
            }
        };
        let id = self.connections.id(at);
        let Some(Connection { role: Role::Client(waiting), .. }) = self.connections.get_mut(at)
        else {
            return;
        };
        if !waiting.begin(request, len) {
            let why = format!("request {request} is under way on this connection already");
            return self.malformed(at, request, &why);
        }
        let origin = Origin { driver: self.around.number, connection: id, request };
        if self.stopping {
            let failure = Failure::new(FailureCode::NotReady, "the node is stopping; ask another");
            return self.fail(origin, failure);
        }
        match checked(frame) {
            Ok((frame, way)) => self.lead(origin, frame, way),
            Err(Unfit::Key(error)) => {
                self.fail(origin, Failure::new(FailureCode::Refused, error.to_string()));
            }
            Err(Unfit::Message(kind)) => {
                let error = WireError::OutOfPlace { kind };
                self.malformed(at, request, &error.to_string());
            }
        }
    }

    fn lead(&mut self, origin: Origin, frame: Frame, way: Way) {
        match way {
            Way::Key(_) => {
                let shard = frame.slot.shard(self.shards);
                if shard == self.around.number {
                    return self.step(Event::Client(origin, frame));
                }
                self.around.counters.handoffs.one();
                let other = &self.around.drivers[usize::from(shard)];
                if !other.request(origin, frame) {
                    let words = "too much waits for this key's shard; nothing was done; try later";
                    self.fail(origin, Failure::new(FailureCode::Overloaded, words));
                }
            }
            Way::Shards(parts) => self.gather(origin, frame, parts),
            Way::Control => {
                if !self.around.control.ask(origin, frame) {
                    let words = "too many questions wait; try later";
                    self.fail(origin, Failure::new(FailureCode::Overloaded, words));
                }
            }
        }
    }

    pub(super) fn fail(&mut self, origin: Origin, failure: Failure) {
        self.reply(origin, frame_of(origin.request, Message::Failure(failure)));
    }

    /// Leads a reply to the driver that the request came in at, and from there to its client.
    pub(super) fn reply(&mut self, origin: Origin, frame: Frame) {
        if origin.driver != self.around.number {
            self.around.counters.handoffs.one();
            return self.outbox.push((origin.driver, Completion::Reply(origin, Box::new(frame))));
        }
        if origin.connection == GATHER {
            return self.gather_reply(origin, frame.message);
        }
        // A client that has closed meanwhile wants no reply.
        let Some(at) = self.connections.at(origin.connection) else { return };
        let Some(connection) = self.connections.get_mut(at) else { return };
        let Role::Client(waiting) = &mut connection.role else { return };
        let expected = waiting.end(origin.request);
        debug_assert!(expected, "a request has one reply");
        if let Err(error) = connection.queue(&Frame { request: origin.request, ..frame }) {
            let words = format!("the answer does not fit into a frame: {error}");
            let failure = Message::Failure(Failure::new(FailureCode::Refused, words));
            let queued = connection.queue(&frame_of(origin.request, failure));
            debug_assert!(queued.is_ok(), "a few words fit into a frame");
        }
        self.around.counters.frames_out.one();
        self.mark_dirty(at);
        self.resume(at);
        self.report_quiet();
    }

    /// Tells whoever sent what is no frame what is wrong, and closes. A member is just closed.
    pub(super) fn malformed(&mut self, at: usize, request: u64, why: &str) {
        let Some(connection) = self.connections.get_mut(at) else { return };
        if matches!(connection.role, Role::Lane(_)) {
            return self.close(at, why);
        }
        self.around.counters.clients_refused.one();
        let words = format!("{why}; this request had no effect, and the connection closes");
        let failure = Failure::new(FailureCode::Refused, words);
        let queued = connection.queue(&frame_of(request, Message::Failure(failure)));
        debug_assert!(queued.is_ok(), "a few words fit into a frame");
        self.dismiss(at);
    }

    /// Requests are refused from now on.
    pub(super) fn on_stop(&mut self, quiet: Quiet) {
        self.stopping = true;
        self.quiet = Some(quiet);
        self.report_quiet();
    }

    /// When stopping, tells whoever waits for it once no client waits for anything.
    pub(super) fn report_quiet(&mut self) {
        if self.quiet.is_none() {
            return;
        }
        let waits = |connection: &Connection| match &connection.role {
            Role::Client(waiting) => waiting.len() > 0,
            Role::Lane(_) => false,
        };
        if !self.connections.iter().any(waits) {
            self.quiet = None;
        }
    }
}

/// Why a frame of a client is not taken.
enum Unfit {
    /// The key that it names is none.
    Key(KeyError),
    /// It is nothing that clients send.
    Message(wire::Kind),
}

/// The request with everything computed that a client could get wrong, and where it goes.
fn checked(mut frame: Frame) -> Result<(Frame, Way), Unfit> {
    let way = match &mut frame.message {
        Message::Put(put) => {
            put.forwarded = false;
            Way::Key(put.key.clone())
        }
        Message::Get(get) => {
            get.forwarded = false;
            Way::Key(get.key.clone())
        }
        Message::Question(question) => match question {
            Question::Explain { bucket, key } => {
                Way::Key(Key::new(bucket, key).map_err(Unfit::Key)?)
            }
            Question::Siblings { limit, .. } => Way::Shards(Parts::siblings(*limit)),
            Question::Status => Way::Shards(Parts::status()),
            Question::Members
            | Question::Ring
            | Question::Plan { .. }
            | Question::Change { .. }
            | Question::Force { .. }
            | Question::Doctor => Way::Control,
        },
        other => return Err(Unfit::Message(other.kind())),
    };
    frame.epoch = Epoch(0);
    frame.token = match &way {
        Way::Key(key) => Token::of(key),
        Way::Shards(_) | Way::Control => Token(0),
    };
    frame.slot = frame.token.slot();
    Ok((frame, way))
}

/// A frame about no slot in particular.
pub(super) fn frame_of(request: u64, message: Message) -> Frame {
    let token = Token(0);
    Frame { slot: token.slot(), epoch: Epoch(0), request, token, message }
}
