//! The loop that drives one shard: one thread, its sockets, its inbox, its store.
//!
//! A round: wait for sockets, inbox or a deadline; read what is there into one shared buffer and
//! step the shard for each frame; drain the inbox; fire timers; append once, and hand that to the
//! syncer; write each socket that has something to write once. So the more there is to do, the more
//! shares one append, one write and one sync (*request batch*).
//!
//! Invariant: only this thread touches the shard. Nothing in a round waits but the poll. Nothing leaves
//! before the append, and before the page says so: neither through a socket nor to another driver. Not here: what a
//! frame does (`shard`), clients (`clients.rs`), members (`lanes.rs`), questions over several shards
//! (`gather.rs`), handshakes (`accept.rs`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use mio::{Events, Interest, Poll, Token, Waker};

use super::connection::{BUFFER_BYTES, Connection, Filled, Role, frame_len};
use super::control::ControlBox;
use super::gather::Gathers;
use super::inbox::{Completion, Inbox, Mailbox, Quiet};
use super::lanes::Lanes;
use super::links::Links;
use super::maker::Maker;
use super::metrics::Counters;
use super::slab::Slab;
use super::syncer::{SyncMode, Syncer};
use crate::causality::Actor;
use crate::shard::event::{Effect, Event, Now};
use crate::shard::{Shard, ShardConfig};
use crate::storage::{Batch, Disk, LogEnd, Page, SegmentMade, Store};

/// Reads of one connection in one round, so that the others have their turn.
const READS_A_ROUND: usize = 4;
/// What is taken from the inbox in one round.
const LETTERS_A_ROUND: usize = 4096;
/// How long a connection that was told to go may take to read why.
const LINGER: Duration = Duration::from_secs(5);
const INBOX: Token = Token(usize::MAX);

/// The clock of one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall_ms = wall.map_or(0, |wall| wall.as_millis() as u64);
        Now { elapsed: self.start.elapsed(), wall_ms }
    }
}

/// What a driver needs from the node around it.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// Which driver this is; its shard has the same number.
    pub(super) number: u16,
    /// The inboxes of all drivers of the node, this one's too.
    pub(super) drivers: Arc<[Mailbox]>,
    /// The control machine's.
    pub(super) control: ControlBox,
    /// Which nodes can hear which.
    pub(super) links: Links,
    /// When written data are made durable.
    pub(super) sync: SyncMode,
    /// The node's clock.
    pub(super) clock: Clock,
    /// This driver's counters.
    pub(super) counters: Arc<Counters>,
    /// How far the shard's log is synced.
    pub(super) position: Arc<AtomicU64>,
    /// Where it is told how far the shard's log goes, if anywhere.
    pub(super) page: Option<Page>,
}

/// A poll of sockets, and what wakes it.
pub(super) fn poll() -> io::Result<(Poll, Waker)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), INBOX)?;
    Ok((poll, waker))
}

/// One shard and everything that moves it.
pub(super) struct Driver<D: Disk> {
    pub(super) around: Surroundings,
    pub(super) shard: Shard<D>,
    pub(super) shards: u16,
    pub(super) connections: Slab<Connection>,
    pub(super) lanes: Lanes,
    pub(super) gathers: Gathers,
    pub(super) now: Now,
    /// Whether requests are refused because the node is about to end.
    pub(super) stopping: bool,
    /// Dropped once no client waits for anything.
    pub(super) quiet: Option<Quiet>,
    pub(super) poll: Poll,
    inbox: Inbox,
    syncer: Syncer<D::Sync>,
    maker: Maker<D::Make>,
    buffer: Vec<u8>,
    effects: Vec<Effect>,
    dirty: Vec<usize>,
    /// What other drivers are to be told at the end of the round.
    pub(super) outbox: Vec<(u16, Completion)>,
    /// What the page says of this shard.
    told_end: Option<LogEnd>,
    again: Vec<usize>,
    /// Connections to be closed, and why.
    doomed: Vec<(u64, &'static str)>,
    /// Connections that were told to go, and until when they may stay.
    lingering: std::collections::VecDeque<(Duration, u64)>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Orderly,
    Killed,
}

impl<D: Disk> Driver<D> {
    /// A driver over an open store. Starts its syncer and its maker of segments.
    pub(super) fn new(
        around: Surroundings,
        (poll, inbox): (Poll, Inbox),
        store: Store<D>,
        config: ShardConfig,
    ) -> io::Result<Self> {
        let mailbox = around.drivers[usize::from(around.number)].clone();
        let always = around.sync == SyncMode::Always;
        let position = Arc::clone(&around.position);
        let done = move |synced| match synced {
            Ok(Batch(upto)) => {
                position.store(upto, Ordering::Release);
                if always {
                    mailbox.complete(Completion::Synced(Batch(upto)));
                }
            }
            Err(why) => mailbox.complete(Completion::SyncFailed(why)),
        };
        let name = format!("sync-{}", around.number);
        let counters = Arc::clone(&around.counters);
        let syncer = Syncer::start(name, around.sync, counters, done)?;
        let mailbox = around.drivers[usize::from(around.number)].clone();
        let done = move |made| mailbox.complete(Completion::Segment(made));
        let maker = Maker::start(format!("segments-{}", around.number), done)?;
        let shards = config.shards;
        let told_end = Some(store.end());
        Ok(Driver {
            shard: Shard::new(store, config),
            shards,
            connections: Slab::default(),
            lanes: Lanes::new(around.number, shards),
            gathers: Gathers::default(),
            now: around.clock.now(),
            stopping: false,
            quiet: None,
            poll,
            inbox,
            syncer,
            maker,
            buffer: vec![0; BUFFER_BYTES],
            effects: Vec::new(),
            dirty: Vec::new(),
            outbox: Vec::new(),
            told_end,
            again: Vec::new(),
            doomed: Vec::new(),
            lingering: std::collections::VecDeque::new(),
            end: None,
            around,
        })
    }

    /// Drives the shard until the node stops.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        // The first segment of a new log, while nobody waits for it.
        self.make_ahead();
        let end = loop {
            self.wait(&mut events)?;
            self.round(&events)?;
            if let Some(end) = self.end {
                break end;
            }
        };
        match end {
            End::Orderly => self.syncer.finish(),
            End::Killed => self.syncer.abandon(),
        }
        self.maker.end();
        Ok(())
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let busy = !(self.again.is_empty() && self.doomed.is_empty() && self.dirty.is_empty());
        let until = if busy { Some(Duration::ZERO) } else { self.next_deadline() };
        let elapsed = self.around.clock.now().elapsed;
        let timeout = until.map(|until| until.saturating_sub(elapsed));
        self.around.counters.rounds.one();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let lingering = self.lingering.front().map(|(until, _)| *until);
        let maker = self.maker.next_deadline();
        [self.shard.next_deadline(), self.gathers.next_deadline(), lingering, maker]
            .into_iter()
            .flatten()
            .min()
    }

    fn round(&mut self, events: &Events) -> io::Result<()> {
        self.now = self.around.clock.now();
        for at in std::mem::take(&mut self.again) {
            if let Some(connection) = self.connections.get_mut(at) {
                connection.again = false;
                self.readable(at, true);
            }
        }
        for event in events {
            let Token(at) = event.token();
            if event.token() == INBOX || self.connections.get_mut(at).is_none() {
                continue;
            }
            if event.is_writable() {
                self.writable(at);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.readable(at, event.is_read_closed() || event.is_error());
            }
        }
        self.drain_inbox();
        self.fire_timers();
        self.close_doomed();
        self.append();
        self.make_ahead();
        self.tell_end()?;
        for (driver, completion) in self.outbox.drain(..) {
            self.around.drivers[usize::from(driver)].complete(completion);
        }
        self.write_dirty();
        Ok(())
    }

    fn fire_timers(&mut self) {
        if self.shard.next_deadline().is_some_and(|due| due <= self.now.elapsed) {
            self.step(Event::Tick);
        }
        self.close_overdue_gathers();
        while let Some(&(due, id)) = self.lingering.front()
            && due <= self.now.elapsed
        {
            self.lingering.pop_front();
            if let Some(at) = self.connections.at(id) {
                self.close(at, "it did not close in time");
            }
        }
    }

    /// Appends what the round staged, and sees to it that the disk has it.
    fn append(&mut self) {
        // Without waiting for syncs, being told "synced" may stage more: a second append takes it.
        for _ in 0..2 {
            match self.shard.flush() {
                Ok(None) => return,
                Ok(Some(job)) => {
                    self.around.counters.appends.one();
                    let upto = job.upto;
                    self.syncer.hand(job);
                    if self.around.sync == SyncMode::Always {
                        return;
                    }
                    self.step(Event::Synced(upto));
                }
                Err(error) => {
                    log::error!("shard {}: {error}; it only reads now", self.around.number);
                    return self.step(Event::SyncFailed(error.to_string()));
                }
            }
        }
    }

    /// Tells the page where the log ends, before anything of this round leaves: a dot that somebody else
    /// may know is in the log, or the page says that it may not be. An error ends the driver, so that
    /// nothing leaves.
    fn tell_end(&mut self) -> io::Result<()> {
        let store = self.shard.store();
        let whole = !store.unwritten() && store.poisoned().is_none();
        let end = whole.then(|| store.end());
        if let Some(page) = &self.around.page
            && end != self.told_end
        {
            let failed = |error| io::Error::other(format!("{}: {error}", page.path().display()));
            page.ended(self.around.number, end).map_err(failed)?;
            self.told_end = end;
        }
        Ok(())
    }

    /// Has the next segment made when it is time for that.
    fn make_ahead(&mut self) {
        if self.maker.ready(self.now.elapsed)
            && let Some(job) = self.shard.store_mut().segment_job()
        {
            self.maker.hand(job);
        }
    }

    fn on_segment(&mut self, made: SegmentMade) {
        match &made.result {
            Ok(()) => self.maker.succeeded(),
            Err(error) => {
                let (number, again) = (self.around.number, self.maker.failed(self.now.elapsed));
                log::error!(
                    "shard {number}: the next segment of the log cannot be made: {error}; writes \
                     are refused once the last one is full; tried again in {again:?}"
                );
            }
        }
        self.shard.store_mut().on_segment(made);
    }

    /// Steps the shard and carries out what it wants.
    pub(super) fn step(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.effects);
        self.shard.step(self.now, event, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(member, frame) => self.send(member, frame),
                Effect::Reply(origin, frame) => self.reply(origin, frame),
                Effect::Gathered(origin, gathered) => self.gathered(origin, gathered),
                Effect::Report(report) => self.around.control.reported(self.around.number, report),
                Effect::Seen(actors) => self.around.control.seen(self.around.number, actors),
                Effect::Refused(said) => self.around.control.refused(self.around.number, said),
                Effect::Retired(old, new) => self.tell_retired(old, new),
            }
        }
        // `reply` and `send` queue bytes and never step, so nobody else took the buffer meanwhile.
        debug_assert!(self.effects.is_empty());
        self.effects = effects;
    }

    /// Tells the node's other shards that this one gave up its actor.
    fn tell_retired(&mut self, old: Actor, new: Actor) {
        let drivers = 0..self.around.drivers.len() as u16;
        let others = drivers.filter(|driver| *driver != self.around.number);
        self.outbox.extend(others.map(|driver| (driver, Completion::Retire(old, new))));
    }

    fn drain_inbox(&mut self) {
        self.inbox.rearm();
        if let Some(view) = self.inbox.view() {
            self.on_view(view);
        }
        let mut room = LETTERS_A_ROUND;
        while room > 0
            && let Some(completion) = self.inbox.completion()
        {
            self.complete(completion);
            room -= 1;
        }
        while room > 0
            && let Some((origin, frame)) = self.inbox.request()
        {
            self.step(Event::Client(origin, frame));
            room -= 1;
        }
        if room == 0 {
            // Sockets have their turn, then the rest.
            self.around.drivers[usize::from(self.around.number)].wake();
        }
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Reply(origin, frame) => self.reply(origin, *frame),
            Completion::Gathered(origin, gathered) => self.gathered(origin, gathered),
            Completion::Synced(upto) => self.step(Event::Synced(upto)),
            Completion::SyncFailed(why) => {
                log::error!("shard {}: sync failed: {why}; it only reads now", self.around.number);
                self.step(Event::SyncFailed(why));
            }
            Completion::Segment(made) => self.on_segment(made),
            Completion::Refuse(actors) => self.step(Event::Refuse(actors)),
            Completion::Retire(old, new) => self.step(Event::Retire(old, new)),
            Completion::Client(socket, permit) => {
                self.add(Connection::client(socket, permit));
            }
            Completion::Lane(lane) => self.on_new_lane(lane),
            Completion::Stop(quiet) => self.on_stop(quiet),
            Completion::End => self.end = self.end.or(Some(End::Orderly)),
            Completion::Kill => self.end = Some(End::Killed),
        }
    }

    /// Takes a connection in, to be read in the next round. `None` when it cannot be polled.
    pub(super) fn add(&mut self, mut connection: Connection) -> Option<usize> {
        let at = self.connections.next();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut connection.socket, Token(at), interest) {
            log::error!("a new connection cannot be polled, and is closed: {error}");
            return None;
        }
        let placed = self.connections.insert(connection);
        debug_assert_eq!(placed, at);
        self.read_again(at);
        Some(at)
    }

    /// Closes a connection, but not before the shard's step that found it wanting has ended.
    pub(super) fn doom(&mut self, at: usize, why: &'static str) {
        self.doomed.push((self.connections.id(at), why));
    }

    /// Reads a connection in the next round, whether or not its socket says so.
    pub(super) fn read_again(&mut self, at: usize) {
        if let Some(connection) = self.connections.get_mut(at)
            && !std::mem::replace(&mut connection.again, true)
        {
            self.again.push(at);
        }
    }

    /// Takes nothing more from a connection; it goes when what is queued has been read, or when its
    /// time is over.
    pub(super) fn dismiss(&mut self, at: usize) {
        let Some(connection) = self.connections.get_mut(at) else { return };
        connection.closing = true;
        self.lingering.push_back((self.now.elapsed + LINGER, self.connections.id(at)));
        self.mark_dirty(at);
    }

    /// Writes a connection at the end of the round.
    pub(super) fn mark_dirty(&mut self, at: usize) {
        if let Some(connection) = self.connections.get_mut(at)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(at);
        }
    }

    /// Reads a connection: once, or with `dry` until nothing is left (in either case not for ever).
    fn readable(&mut self, at: usize, dry: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for turn in 0.. {
            let Some(connection) = self.connections.get_mut(at) else { break };
            if connection.paused() {
                connection.stalled = true;
                break;
            }
            if turn == READS_A_ROUND {
                self.read_again(at);
                break;
            }
            match connection.fill(&mut buffer, &self.around.counters) {
                Ok(Filled::Bytes { len, more }) => {
                    self.frames(at, &buffer[..len]);
                    if !more && !dry {
                        break;
                    }
                }
                Ok(Filled::Large) => {
                    let frame = Bytes::from(connection.large());
                    self.frame(at, frame.into());
                }
                Ok(Filled::Nothing) => break,
                Ok(Filled::Closed) => self.close(at, "the other end closed it"),
                Err(error) => self.close(at, &error.to_string()),
            }
        }
        self.buffer = buffer;
    }

    /// Takes the frames that are complete, as many as may be under way, and keeps the rest.
    fn frames(&mut self, at: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(connection) = self.connections.get_mut(at) else { return };
            if connection.closing {
                return;
            }
            let len = match frame_len(bytes) {
                _ if connection.paused() => None,
                Ok(len) => len.filter(|len| *len <= bytes.len()),
                Err(malformed) => return self.malformed(at, 0, &malformed.to_string()),
            };
            let Some(len) = len else { return connection.keep(bytes) };
            let (frame, rest) = bytes.split_at(len);
            self.frame(at, BytesMut::from(frame));
            bytes = rest;
        }
    }

    fn frame(&mut self, at: usize, frame: BytesMut) {
        match self.connections.get_mut(at).map(|connection| &connection.role) {
            Some(Role::Client(_)) => self.client_frame(at, frame),
            Some(Role::Lane(lane)) => {
                let member = lane.member;
                self.lane_frame(at, member, frame);
            }
            None => {}
        }
    }

    fn writable(&mut self, at: usize) {
        if self.connections.get_mut(at).is_some_and(|connection| connection.unsent() > 0) {
            self.mark_dirty(at);
        }
    }

    fn write_dirty(&mut self) {
        for at in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.connections.get_mut(at) else { continue };
            connection.dirty = false;
            if let Err(error) = connection.write(&self.around.counters) {
                // Closing it steps the shard, and what that wants must not leave in this round.
                log::debug!("a connection cannot be written to: {error}");
                self.doom(at, "it could not be written to");
                continue;
            }
            if connection.closing && connection.unsent() == 0 && !connection.lingers {
                connection.say_goodbye();
                self.read_again(at);
            } else {
                self.resume(at);
            }
        }
    }

    /// Reads a connection again that was left unread and has room now.
    pub(super) fn resume(&mut self, at: usize) {
        let Some(connection) = self.connections.get_mut(at) else { return };
        if connection.stalled && !connection.paused() {
            connection.stalled = false;
            self.read_again(at);
        }
    }

    /// Closes a connection. What it waited for has nowhere to go any more.
    pub(super) fn close(&mut self, at: usize, why: &str) {
        let Some(connection) = self.connections.remove(at) else { return };
        match &connection.role {
            Role::Client(_) => log::debug!("a client's connection is closed: {why}"),
            Role::Lane(lane) => {
                let (member, number) = (lane.member, lane.number);
                self.on_lane_gone(at, member, number, why);
            }
        }
        self.report_quiet();
    }

    fn close_doomed(&mut self) {
        for (id, why) in std::mem::take(&mut self.doomed) {
            if let Some(at) = self.connections.at(id) {
                self.close(at, why);
            }
        }
    }
}
