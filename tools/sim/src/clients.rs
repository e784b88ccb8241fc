//! The clients: what they ask for, what they remember, what they make of the answers.
//!
//! Invariant: a session has one operation at a time. A token goes only where it may: to its own key.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ringdove::causality::{DotSet, open_context};
use ringdove::key::Key;
use ringdove::ring::{Epoch, Slot};
use ringdove::shard::Origin;
use ringdove::storage::{DiskCall, MemoryDisk};
use ringdove::wire::{self, Frame, Get, GetReply, Level, Message, Put, PutReply, Source};

use crate::checkers::origin_of;
use crate::dice::Dice;
use crate::happening::Happening;
use crate::history::{Basis, History, Kind, Op, OpId, Outcome};
use crate::mix::Workload;
use crate::value::{self, compose};
use crate::world::World;

/// A token, and the writes shown by the response that gave it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    bytes: Bytes,
    shown: Vec<OpId>,
}

/// One client.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The node it likes.
    home: usize,
    /// Whether its reads name a floor, and go to any node.
    guarded: bool,
    /// By key: the tokens it got, oldest first, only the last few.
    tokens: BTreeMap<usize, Vec<Token>>,
}

/// A request that a client waits for.
#[derive(Debug)]
struct Waiting {
    op: OpId,
    node: usize,
    /// Which of the node's processes was asked, and how often it had been stopped before.
    start: u64,
    pauses: u64,
    /// Whether the node owned the key when the request came.
    owner: bool,
}

/// A write as it was sent, to be sent again under its name.
#[derive(Debug, Clone)]
struct Sent {
    basis: wire::Basis,
    strict: bool,
    tries: u32,
}

/// All clients of a run.
#[derive(Debug)]
pub(crate) struct Clients {
    dice: Dice,
    floor_dice: Dice,
    workload: Workload,
    /// The clients.
    pub(crate) sessions: Vec<Session>,
    waiting: BTreeMap<u64, Waiting>,
    sent: BTreeMap<OpId, Sent>,
    floors: BTreeMap<OpId, Bytes>,
    requests: u64,
    issued: usize,
}

/// Tokens that a session remembers for a key.
const TOKENS_KEPT: usize = 4;
/// How often a write is tried again.
const TRIES_MAX: u32 = 4;

impl Clients {
    /// The clients of this seed.
    pub(crate) fn new(seed: u64, workload: &Workload) -> Self {
        let mut dice = Dice::new(seed, "clients");
        let mut floor_dice = Dice::new(seed, "floors");
        let session = |_| Session {
            home: dice.range(0, 1 << 16) as usize,
            guarded: floor_dice.chance(workload.floors),
            ..Session::default()
        };
        let sessions = (0..workload.sessions).map(session).collect();
        Clients {
            dice,
            floor_dice,
            workload: workload.clone(),
            sessions,
            waiting: BTreeMap::new(),
            sent: BTreeMap::new(),
            floors: BTreeMap::new(),
            requests: 0,
            issued: 0,
        }
    }

    /// How long a client thinks.
    pub(crate) fn think(&mut self) -> Duration {
        self.dice.around(self.workload.think)
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether everything was asked and answered, or given up.
    pub(crate) fn done(&self) -> bool {
        self.issued >= self.workload.ops && self.idle()
    }

    fn remember(&mut self, session: usize, key: usize, token: Token) {
        if let Some(session) = self.sessions.get_mut(session) {
            let tokens = session.tokens.entry(key).or_default();
            tokens.push(token);
            if tokens.len() > TOKENS_KEPT {
                tokens.remove(0);
            }
        }
    }

    /// What a session's next read of this key must have seen, if it minds.
    fn floor(&self, session: usize, key: usize) -> Option<Token> {
        let session = self.sessions.get(session).filter(|session| session.guarded)?;
        session.tokens.get(&key)?.last().cloned()
    }

    /// Whether a write counts owners only. `None` for a read.
    pub(crate) fn strict(&self, op: OpId) -> Option<bool> {
        self.sent.get(&op).map(|sent| sent.strict)
    }

    /// A token for this key: mostly the session's last, sometimes an older or somebody else's.
    fn choose_token(&mut self, session: usize, key: usize) -> Option<Token> {
        let whose = if self.dice.chance(self.workload.borrowed) {
            self.dice.index(self.sessions.len())
        } else {
            session
        };
        let stale = self.dice.chance(self.workload.stale);
        let tokens = self.sessions[whose].tokens.get(&key).filter(|tokens| !tokens.is_empty())?;
        let at = if stale { self.dice.index(tokens.len()) } else { tokens.len() - 1 };
        Some(tokens[at].clone())
    }
}

impl World {
    /// A client may do something.
    pub(crate) fn act(&mut self, session: usize) {
        let clients = &mut self.clients;
        if self.healed || clients.issued >= clients.workload.ops {
            return;
        }
        let nodes = self.nodes.len();
        let stays = clients.dice.chance(clients.workload.sticky);
        let node =
            if stays { clients.sessions[session].home % nodes } else { clients.dice.index(nodes) };
        if self.nodes[node].process.is_none() {
            // Nobody listens there. Next time it may try another.
            clients.sessions[session].home += 1;
            let wait = clients.think();
            self.plan_in(wait, Happening::Act { session });
            return;
        }
        clients.issued += 1;
        let key = clients.dice.index(self.history.keys.len());
        let level = clients.dice.pick(&clients.workload.levels.clone());
        let kind = clients.dice.weighted(&clients.workload.kinds.clone());
        let token = clients.choose_token(session, key);
        match (kind, token) {
            (1, Some(token)) => self.write(session, key, node, level, Some(token), Basis::Context),
            (2, _) => self.write(session, key, node, level, None, Basis::Blind),
            (3, _) => self.write(session, key, node, level, None, Basis::Overwrite),
            (4, Some(token)) => self.delete(session, key, node, level, Some(token), Basis::Context),
            (5, _) => self.delete(session, key, node, level, None, Basis::Overwrite),
            // Also when there is no token to write with yet.
            (_, _) => match self.clients.floor(session, key) {
                Some(floor) => self.read_above(session, key, node, floor),
                None => {
                    self.read(session, key, node, level);
                }
            },
        }
    }

    /// A read at level one, at any node that runs, that must have seen what the session has.
    fn read_above(&mut self, session: usize, key: usize, node: usize, floor: Token) {
        let any = self.clients.floor_dice.index(self.nodes.len());
        let node = if self.nodes[any].process.is_some() { any } else { node };
        let (kind, basis) = (Kind::Get, Basis::Context);
        let op = self.new_op(session, key, node, Level::One, kind, basis, floor.shown);
        self.counts.floor_reads += 1;
        self.clients.floors.insert(op, floor.bytes);
        self.issue(op);
    }

    fn read(&mut self, session: usize, key: usize, node: usize, level: Level) -> OpId {
        let op = self.new_op(session, key, node, level, Kind::Get, Basis::Blind, Vec::new());
        self.issue(op);
        op
    }

    fn write(
        &mut self,
        session: usize,
        key: usize,
        node: usize,
        level: Level,
        token: Option<Token>,
        basis: Basis,
    ) {
        let seq = self.history.next_id().0;
        let name = self.history.keys[key].name.clone();
        let len = self.clients.dice.range(0, self.clients.workload.value_len as u64) as usize;
        let bytes = compose(&value::Origin { key: name, session, seq }, len);
        self.change(session, key, node, level, Kind::Put(bytes), token, basis);
    }

    fn delete(
        &mut self,
        session: usize,
        key: usize,
        node: usize,
        level: Level,
        token: Option<Token>,
        basis: Basis,
    ) {
        self.change(session, key, node, level, Kind::Delete, token, basis);
    }

    #[allow(clippy::too_many_arguments)]
    fn change(
        &mut self,
        session: usize,
        key: usize,
        node: usize,
        level: Level,
        kind: Kind,
        token: Option<Token>,
        basis: Basis,
    ) {
        let strict = self.clients.dice.chance(self.clients.workload.strict);
        let (sent, seen) = match token {
            Some(token) => (wire::Basis::Context(token.bytes), token.shown),
            None if basis == Basis::Overwrite => (wire::Basis::Overwrite, Vec::new()),
            None => (wire::Basis::Blind, Vec::new()),
        };
        let op = self.new_op(session, key, node, level, kind, basis, seen);
        self.clients.sent.insert(op, Sent { basis: sent, strict, tries: 0 });
        self.issue(op);
    }

    /// Reads a key at all owners, when everything is over.
    pub(crate) fn ask_finally(&mut self, key: usize, node: usize) -> OpId {
        self.read(usize::MAX, key, node, Level::All)
    }

    #[allow(clippy::too_many_arguments)]
    fn new_op(
        &mut self,
        session: usize,
        key: usize,
        node: usize,
        level: Level,
        kind: Kind,
        basis: Basis,
        seen: Vec<OpId>,
    ) -> OpId {
        let id = self.history.next_id();
        self.history.ops.push(Op {
            id,
            session,
            key,
            kind,
            basis,
            seen,
            level,
            node,
            invoked: self.now,
            returned: None,
            outcome: Outcome::Pending,
            shown: Vec::new(),
            owners: 0,
            needed: 0,
            source: Source::Owners,
            dots: Vec::new(),
            may_be_minted: false,
            attempts: Vec::new(),
            excused: false,
        });
        id
    }

    /// The deletes of this key that a node may have coordinated, when it gave one this context: a
    /// delete carries no name of its own. One that has a dot already may have another only if it is
    /// being tried again just now.
    pub(crate) fn deleting(
        &self,
        node: usize,
        key: &Key,
        context: &DotSet,
        doing: Option<OpId>,
    ) -> Vec<OpId> {
        let fits = |op: &&Op| {
            let waits = matches!(op.outcome, Outcome::Pending | Outcome::Unknown);
            let place = &self.history.keys[op.key];
            let same = op.kind == Kind::Delete && place.key == *key && op.node == node;
            let sent = self.clients.sent.get(&op.id).map(|sent| &sent.basis);
            let seen = match sent {
                Some(wire::Basis::Context(token)) => {
                    open_context(&self.ring.secret, &self.ring.dead, key, token)
                        .is_ok_and(|seen| seen == *context)
                }
                Some(wire::Basis::Blind) => context.is_empty(),
                Some(wire::Basis::Overwrite) => true,
                None => false,
            };
            waits && same && (op.dots.is_empty() || doing == Some(op.id)) && seen
        };
        self.history.ops.iter().filter(fits).map(|op| op.id).collect()
    }

    /// Sends an operation to its node, for the first time or again.
    fn issue(&mut self, id: OpId) {
        let clients = &mut self.clients;
        clients.requests += 1;
        let request = clients.requests;
        let op = self.history.op(id);
        let (low, high) = clients.workload.timeout_ms;
        let timeout = if self.healed { 10_000 } else { clients.dice.range(low, high) };
        let place = &self.history.keys[op.key];
        let message = match (&op.kind, clients.sent.get_mut(&id)) {
            (Kind::Put(_) | Kind::Delete, Some(sent)) => {
                sent.tries += 1;
                let value =
                    if let Kind::Put(bytes) = &op.kind { Some(bytes.clone()) } else { None };
                Message::Put(Put {
                    key: place.key.clone(),
                    value,
                    basis: sent.basis.clone(),
                    level: op.level,
                    strict: sent.strict,
                    operation: History::operation(id),
                    again: sent.tries > 1,
                    writer: format!("session {}", op.session),
                    timeout_ms: timeout as u32,
                    forwarded: false,
                })
            }
            _ => Message::Get(Get {
                key: place.key.clone(),
                floor: clients.floors.get(&id).cloned().unwrap_or_default(),
                level: op.level,
                timeout_ms: timeout as u32,
                forwarded: false,
            }),
        };
        let (slot, token, node) = (place.slot, place.token, op.node);
        let frame = Frame { slot, epoch: Epoch(1), request, token, message };
        let (start, pauses) = (self.nodes[node].starts, self.nodes[node].pauses);
        self.clients.waiting.insert(request, Waiting { op: id, node, start, pauses, owner: true });
        self.trace.line(self.now, || format!("invoke {}", self.history.describe(id)));
        let Some(process) = &self.nodes[node].process else { return self.give_up(id, request) };
        let start = process.start;
        let wait = self.clients.dice.micros(50, 2_000);
        let patience = Duration::from_millis(timeout) + self.clients.dice.micros(10_000, 1_000_000);
        let origin = Origin { driver: 0, connection: id.0.into(), request };
        match crate::setup::carried(&frame) {
            Ok(frame) => {
                let frame = Box::new(frame);
                let request = Happening::Request { node, start, origin, frame };
                self.writes_under_way += u64::from(request.may_write());
                self.plan_in(wait, request);
            }
            Err(why) => self.violate("wire", why),
        }
        self.plan_in(patience, Happening::GiveUp { op: id, request });
    }

    /// A client's request comes to a node.
    pub(crate) fn note_arrival(&mut self, node: usize, request: u64, slot: Slot) {
        let owner = self.nodes[node].ring.row(slot).contains(&self.number(node));
        if let Some(waiting) = self.clients.waiting.get_mut(&request) {
            waiting.owner = owner;
        }
    }

    /// A node answers a client: the answer is on its way.
    pub(crate) fn deliver_reply(&mut self, origin: Origin, frame: Frame) {
        if frame.request != origin.request {
            let what = format!("request {} is answered as {}", origin.request, frame.request);
            return self.violate("replies", what);
        }
        let wait = self.clients.dice.micros(50, 2_000);
        let op = OpId(origin.connection as u32);
        match crate::setup::carried(&frame) {
            Ok(frame) => {
                let frame = Box::new(frame);
                self.plan_in(wait, Happening::Reply { op, request: origin.request, frame });
            }
            Err(why) => self.violate("wire", why),
        }
    }

    /// The connections to a node break: whoever waits for it learns nothing more.
    pub(crate) fn clients_lose(&mut self, node: usize) {
        let lost = self.clients.waiting.iter().filter(|(_, waiting)| waiting.node == node);
        let lost: Vec<(u64, OpId)> =
            lost.map(|(request, waiting)| (*request, waiting.op)).collect();
        for (request, op) in lost {
            let wait = self.clients.dice.micros(0, 50_000);
            self.plan_in(wait, Happening::GiveUp { op, request });
        }
    }

    /// A client waits no longer.
    pub(crate) fn give_up(&mut self, op: OpId, request: u64) {
        if let Some(waiting) = self.clients.waiting.remove(&request) {
            self.trace.line(self.now, || format!("{op} is given up"));
            self.bounded(&waiting);
            self.ended(op, Outcome::Unknown);
        }
    }

    /// Who waited for a node that ran all the while had an answer in time.
    fn bounded(&mut self, waiting: &Waiting) {
        let Waiting { op, node, start, pauses, owner } = *waiting;
        let node = &self.nodes[node];
        let ran = node.runs(start) && node.answers() && node.pauses == pauses;
        // What is read from hints waits for the disk as long as that takes, if it makes reads wait at all.
        let one = self.history.op(op).level == wire::Level::One;
        let hints = self.mix.disks.later > 0.0 && !owner && one;
        if ran && !hints && self.history.op(op).kind == Kind::Get {
            let line = self.history.describe(op);
            self.violate("bounded reads", format!("{line} was not answered"));
        }
    }

    /// An answer reaches its client.
    pub(crate) fn hear(&mut self, op: OpId, request: u64, frame: Frame) {
        if self.clients.waiting.remove(&request).is_none() {
            return;
        }
        match frame.message {
            Message::PutReply(reply) => self.hear_put(op, &reply),
            Message::GetReply(reply) => self.hear_get(op, &reply),
            Message::Failure(failure) => {
                use ringdove::wire::FailureCode::*;
                match failure.code {
                    DiskFull => self.counts.full_refusals += 1,
                    Damaged if self.some_value_rots() => self.counts.unreadable += 1,
                    Refused | BadContext | Damaged => {
                        let line = self.history.describe(op);
                        self.violate("refusal", format!("{line}: {}", failure.message));
                    }
                    NotYet => self.counts.not_yets += 1,
                    LevelNotMet | Overloaded | TooManySiblings | ReadOnly | NotReady => {}
                }
                self.ended(op, Outcome::Failed);
            }
            other => self.violate("replies", format!("{op} is answered with {other:?}")),
        }
    }

    /// Whether there is a reason for a value not to be readable.
    fn some_value_rots(&self) -> bool {
        let failed = |disk: &MemoryDisk| disk.failed_calls(DiskCall::Read) > 0;
        self.counts.flips > 0 || self.nodes.iter().any(|node| node.disks.iter().any(failed))
    }

    fn hear_put(&mut self, id: OpId, reply: &PutReply) {
        let (key, session) = (self.history.op(id).key, self.history.op(id).session);
        let slot = self.history.keys[key].slot;
        if let Some(dot) = reply.dot {
            self.watch.minted(&mut self.history, slot, dot, id);
        }
        if !reply.context.is_empty() {
            let op = self.history.op(id);
            // The token of an overwrite covers what the attempt that answers had seen, not the others.
            let attempt = op.attempts.iter().find(|(dot, _)| Some(*dot) == reply.dot);
            let mut shown = attempt.map_or(&op.seen, |(_, seen)| seen).clone();
            shown.push(id);
            self.clients.remember(session, key, Token { bytes: reply.context.clone(), shown });
        }
        match reply.outcome {
            wire::Outcome::Ok => {
                let strict = self.clients.sent.get(&id).is_some_and(|sent| sent.strict);
                let (row, needed) = self.asked_of(id, slot, reply.needed);
                let fallbacks = if strict { 0 } else { usize::from(reply.fallbacks) };
                let owners = usize::from(reply.owners);
                if reply.dot.is_none() || owners + fallbacks < needed || owners + fallbacks > row {
                    let line = self.history.describe(id);
                    self.violate("level", format!("{line} is ok with {reply:?}"));
                }
                self.history.op_mut(id).owners = reply.owners;
                self.history.op_mut(id).needed = reply.needed;
                self.ended(id, Outcome::Ok);
                if let Some(dot) = reply.dot.filter(|_| self.history.op(id).is_quorum()) {
                    self.note_quorum(id, slot, dot);
                }
            }
            wire::Outcome::Unknown => self.ended(id, Outcome::Unknown),
        }
    }

    fn hear_get(&mut self, id: OpId, reply: &GetReply) {
        let (key, session) = (self.history.op(id).key, self.history.op(id).session);
        let slot = self.history.keys[key].slot;
        let mut shown = Vec::new();
        for (dot, value) in &reply.values {
            let place = self.history.keys[key].key.clone();
            self.watch.value(&mut self.history, slot, &place, *dot, value);
            match origin_of(&self.history, key, value) {
                Ok(op) => shown.push(op),
                Err(violation) => self.violations.push(violation),
            }
        }
        shown.sort_unstable();
        if shown.windows(2).any(|two| two[0] == two[1]) {
            let line = self.history.describe(id);
            self.violate("one value per operation", format!("{line} shows {shown:?}"));
        }
        self.counts.sibling_reads += u64::from(shown.len() > 1);
        self.counts.hint_reads += u64::from(reply.source == Source::Hints);
        let token = Token { bytes: reply.context.clone(), shown: shown.clone() };
        self.clients.remember(session, key, token);
        let op = self.history.op_mut(id);
        op.shown = shown;
        op.owners = reply.answered;
        op.needed = reply.needed;
        op.source = reply.source;
        self.ended(id, Outcome::Ok);
    }

    /// How many owners the key has, and how many had to have the write. While rows change only the node that
    /// coordinated knows.
    fn asked_of(&self, id: OpId, slot: ringdove::ring::Slot, needed: u8) -> (usize, usize) {
        if self.mix.moves.is_some() {
            return (usize::from(self.mix.copies) + 1, usize::from(needed).max(1));
        }
        let row = self.ring.row(slot).len();
        (row, self.history.op(id).level.needed(row))
    }

    /// An attempt ended; the session goes on, or tries again.
    fn ended(&mut self, id: OpId, outcome: Outcome) {
        let now = self.now;
        let op = self.history.op_mut(id);
        // A later attempt may fail where an earlier one had an effect.
        if !(op.outcome == Outcome::Unknown && outcome == Outcome::Failed) {
            op.outcome = outcome;
            op.returned = matches!(outcome, Outcome::Ok | Outcome::Failed).then_some(now);
        }
        let (session, write) = (op.session, op.is_write());
        let counted = match (write, outcome) {
            (true, Outcome::Ok) => Some(&mut self.counts.ok_writes),
            (true, Outcome::Failed) => Some(&mut self.counts.failed_writes),
            (true, Outcome::Unknown) => Some(&mut self.counts.unknown_writes),
            (false, Outcome::Ok) => Some(&mut self.counts.ok_reads),
            (_, _) => None,
        };
        if let Some(count) = counted {
            *count += 1;
        }
        self.trace.line(self.now, || {
            let shown = crate::history::list(&self.history.op(id).shown);
            format!("{id} ends {outcome:?} {shown}")
        });
        let clients = &mut self.clients;
        if session >= clients.sessions.len() {
            return;
        }
        let tries = clients.sent.get(&id).map_or(TRIES_MAX, |sent| sent.tries);
        let again = write && outcome == Outcome::Unknown && tries < TRIES_MAX && !self.healed;
        if again && clients.dice.chance(clients.workload.retry) {
            self.history.op_mut(id).node = clients.dice.index(self.nodes.len());
            return self.issue(id);
        }
        let wait = self.clients.think();
        self.plan_in(wait, Happening::Act { session });
    }
}
