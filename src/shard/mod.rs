//! The data plane of one shard, as a state machine: requests in, replies and messages out.
//!
//! Invariant: [`Shard::step`] is deterministic: same state, same event, same `now`, same effects. It
//! waits for nothing, reads no clock and draws no randomness but from the generator it was given.
//! Not here: sockets, threads, syncing (`server`), what is up and who owns what (`control`; a
//! shard is told through a [`View`]).

//!
//! | file | what |
//! |---|---|
//! | `put`, `get`, `from_hints`, `forward` | coordinating requests; sending them on to an owner |
//! | `operations` | attempts at one operation, found again |
//! | `quorum`, `requests`, `unsynced`, `loads` | what is waited for: acknowledgements, answers, syncs, reads |
//! | `copy`, `tally`, `room` | the own copy, what is known of it without walking it, room on its disk |
//! | `repair`, `hints`, `sync`, `page`, `deletes` | the three ways in which copies become equal |
//! | `recovery` | a copy that lost data, until it has caught up |
//! | `scrub` | values that have rotted on the disk, found and brought back |
//! | `listing` | which lives are over, and whether the ring may list one as dead |
//! | `closing` | dead actors: their dots become one number |
//! | `seats`, `pace` | seats in a row that change hands: who counts, and when an old copy goes; how fast copies are pulled |
//! | `gather`, `inspect` | questions that take all members |

mod closing;
mod config;
mod copy;
mod deletes;
pub mod event;
mod forward;
mod from_hints;
mod gather;
mod get;
mod hints;
mod inspect;
mod listing;
mod loads;
mod metrics;
mod operations;
mod pace;
mod page;
mod put;
mod quorum;
mod recovery;
mod repair;
mod reply;
mod requests;
mod room;
mod scrub;
mod seats;
mod sync;
mod tally;
mod unsynced;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::key::Key;
use crate::ring::{MemberNumber, Slot, Token, View};
use crate::storage::{Disk, Store, StoreError, SyncJob};
use crate::wire::{Decline, Failure, FailureCode, Frame, Message};

use closing::Closing;
use deletes::Deletes;
use hints::Hints;
use listing::Listing;
use loads::Loads;
use operations::Operations;
use pace::Pace;
use recovery::Recovery;
use reply::{Asker, Head};
use requests::{Request, Requests};
use scrub::Scrub;
use seats::Seats;
use sync::Sync;
use tally::Tally;
use unsynced::Unsynced;

pub use config::ShardConfig;
pub use event::{Effect, Event, Gathered, Now, Origin};
pub use metrics::Metrics;

/// What a request is told that was handed to another shard than its key's.
const WRONG_SHARD: &str = "the request was handed to a shard that does not hold the key; nothing \
    was done; this is a mistake of the node, please report it";

/// One shard of one node.
///
/// Its driver steps it with every event, calls [`Shard::flush`] once per round after that, hands
/// the job to the syncer, and tells it [`Event::Synced`] when that is done. It sends
/// [`Event::Tick`] when [`Shard::next_deadline`] has come.
pub struct Shard<D: Disk> {
    store: Store<D>,
    config: ShardConfig,
    rng: ChaCha8Rng,
    now: Now,
    view: Option<View>,
    /// The process's life, or a later one of this shard alone.
    life: u64,
    /// Dots minted in this life, by slot. A fresh actor starts at 0, one that is kept where it was.
    counters: BTreeMap<Slot, u64>,
    requests: Requests,
    unsynced: Unsynced,
    loads: Loads,
    operations: Operations,
    hints: Hints,
    sync: Sync,
    tally: Tally,
    deletes: Deletes,
    recovery: Recovery,
    listing: Listing,
    closing: Closing,
    scrub: Scrub,
    seats: Seats,
    pace: Pace,
    /// Where the next round of stripping residual contexts begins.
    strip_from: Slot,
    metrics: Metrics,
    effects: Vec<Effect>,
}

impl<D: Disk> Shard<D> {
    /// The shard that keeps its data in `store`. It does nothing before its first view.
    ///
    /// # Panics
    /// When the configuration makes no sense.
    pub fn new(store: Store<D>, config: ShardConfig) -> Self {
        config.check();
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed ^ config.life.rotate_left(16));
        Shard {
            now: Now::default(),
            view: None,
            life: config.life,
            counters: store.minted_by(config.life),
            requests: Requests::new(rng.random()),
            unsynced: Unsynced::default(),
            loads: Loads::default(),
            operations: Operations::default(),
            hints: Hints::of(&store),
            sync: Sync::default(),
            tally: Tally::of(&store),
            deletes: Deletes::default(),
            recovery: Recovery::default(),
            listing: Listing::default(),
            closing: Closing::default(),
            scrub: Scrub::default(),
            seats: Seats::default(),
            pace: Pace::new(config.copy_rate_least, config.copy_rate_most),
            strip_from: sync::leading_slot(0),
            metrics: Metrics::default(),
            effects: Vec::new(),
            store,
            config,
            rng,
        }
    }

    /// Takes one event in, and adds what the shard wants on account of it.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        debug_assert!(now.elapsed >= self.now.elapsed, "time does not go back");
        self.now = now;
        match event {
            Event::View(view) => self.on_view(view),
            Event::Client(origin, frame) => self.on_client(origin, frame),
            Event::Peer(from, frame) => self.on_peer(from, frame),
            Event::LaneLost(member) => self.on_lane_lost(member),
            Event::Synced(upto) => self.on_synced(upto),
            Event::SyncFailed(why) => self.on_sync_failed(why),
            Event::Refuse(actors) => self.on_refuse(actors),
            Event::Retire(old, new) => self.on_retire(old, new),
            Event::Read(ticket, result) => self.on_read(ticket, result),
            Event::Tick => self.on_tick(),
        }
        effects.append(&mut self.effects);
    }

    /// Appends what was staged since the last flush, as one batch. The driver makes it durable, and
    /// tells with [`Event::Synced`]. On an error it tells [`Event::SyncFailed`] instead, once.
    pub fn flush(&mut self) -> Result<Option<SyncJob<D::Sync>>, StoreError> {
        if self.store.poisoned().is_some() {
            // What was staged before it failed will never be written; nothing new is.
            return Ok(None);
        }
        self.store.flush()
    }

    /// When the next [`Event::Tick`] is due, in terms of [`Now::elapsed`].
    pub fn next_deadline(&self) -> Option<Duration> {
        let view = self.view.as_ref()?;
        let hints = self.hints.next_retry(view, self.now.elapsed);
        let pull = self.sync.waits_for_pace().then(|| self.pace.due());
        let (round, look) = (self.sync.next_round(self.goes()), self.listing.due());
        let next = [self.requests.next_wake(), round, hints, pull, look];
        next.into_iter().flatten().min()
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            hints_created: self.hints.created,
            hints_delivered: self.hints.delivered,
            hints_superseded: self.hints.superseded,
            hints_pending: self.hints.pending(),
            hint_bytes: self.hints.bytes(),
            requests: self.requests.len() as u64,
            request_bytes: self.requests.bytes(),
            conflicts: self.tally.all_conflicts(),
            deletes_logged: self.store.delete_count(),
            recovering: self.recovery.len(),
            dead_listed: self.store.dead().count().into(),
            ..self.metrics
        }
    }

    /// The store, for who checks it from outside.
    pub fn store(&self) -> &Store<D> {
        &self.store
    }

    /// The store, for who drives its disk.
    pub fn store_mut(&mut self) -> &mut Store<D> {
        &mut self.store
    }

    /// The store, when the shard's process ends. Everything in memory is gone.
    pub fn into_store(self) -> Store<D> {
        self.store
    }

    fn on_client(&mut self, origin: Origin, frame: Frame) {
        let (head, asker) = (Head::of(&frame), Asker::Client(origin));
        match frame.message {
            Message::Put(put) => self.on_put(asker, put),
            Message::Get(get) => self.on_get(asker, get),
            Message::Question(question) => self.on_question(origin, head, question),
            Message::PutReply(_)
            | Message::GetReply(_)
            | Message::Failure(_)
            | Message::Answer(_)
            | Message::Store(_)
            | Message::KeepHint(_)
            | Message::Stored
            | Message::Declined(_)
            | Message::Fetch(_)
            | Message::Fetched(_)
            | Message::Summary(_)
            | Message::SlotHashes(_)
            | Message::ClocksWanted(_)
            | Message::Clocks(_)
            | Message::ClosingWanted(_)
            | Message::Closing(_)
            | Message::Ask(_)
            | Message::Page(_)
            | Message::Inspect(_)
            | Message::Inspected(_)
            | Message::Count(_)
            | Message::Counted(_) => {
                let message = "clients send Put, Get and Question, nothing else; nothing was done";
                self.refuse(asker, head.token, FailureCode::Refused, message);
            }
        }
    }

    fn on_peer(&mut self, from: MemberNumber, mut frame: Frame) {
        let head = Head::of(&frame);
        if !self.known(from) || !self.mine(head.slot) || !key_fits(head.slot, &frame.message) {
            log::debug!("shard {}: a misplaced frame of member {from}", self.config.shard);
            return;
        }
        if !self.usable(from, &mut frame) {
            return;
        }
        if self.is_of_another_row(&frame) {
            return self.send(from, head, Message::Declined(Decline::OtherRing));
        }
        match frame.message {
            Message::Put(put) => self.on_put(Asker::Member(from, head.request), put),
            Message::Get(get) => self.on_get(Asker::Member(from, head.request), get),
            answer @ (Message::PutReply(_) | Message::GetReply(_) | Message::Failure(_)) => {
                self.on_forwarded_reply(from, head, answer);
            }
            Message::Store(store) => self.on_store(from, head, store),
            Message::KeepHint(hint) => self.on_keep_hint(from, head, hint),
            Message::Stored => self.on_stored(from, head),
            Message::Declined(Decline::OtherRing) => self.on_other_row(from, head.request),
            Message::Declined(
                Decline::Overloaded
                | Decline::ReadOnly
                | Decline::Full
                | Decline::NotMine
                | Decline::Damaged
                | Decline::Unsettled,
            ) => self.on_lost(from, head.request),
            Message::Fetch(fetch) => self.on_fetch(from, head, fetch),
            Message::Fetched(fetched) => self.on_fetched(from, head, fetched),
            Message::Summary(summary) => self.on_summary(from, head, summary),
            Message::SlotHashes(hashes) => self.on_slot_hashes(from, head, hashes),
            Message::ClocksWanted(wanted) => self.on_clocks_wanted(from, head, wanted),
            Message::Clocks(clocks) => self.on_clocks(from, head, clocks),
            Message::ClosingWanted(wanted) => self.on_closing_wanted(from, head, wanted),
            Message::Closing(reports) => self.on_closing(from, head, reports),
            Message::Ask(ask) => self.on_ask(from, head, ask),
            Message::Page(page) => self.on_page(from, head, page),
            Message::Inspect(inspect) => self.on_inspect(from, head, inspect),
            Message::Inspected(inspected) => self.gather_inspected(head.request, from, inspected),
            Message::Count(count) => self.on_count(from, head, count),
            Message::Counted(counted) => {
                self.gather_counted(head.request, from, head.slot.number(), counted);
            }
            // Clients ask these; between members they mean nothing.
            Message::Question(_) | Message::Answer(_) => {}
        }
    }

    fn on_view(&mut self, view: View) {
        self.learn_dead(&view);
        let before = self.view.replace(view.clone());
        self.recover();
        self.recovery_view(&view);
        self.learn_seats(&view);
        self.sync_view();
        self.rehome_hints(&view);
        self.reseat(&view);
        let Some(before) = before else {
            self.look_for_lives();
            return self.deliver_hints();
        };
        // Who went down will not answer: that is a lane lost, for all that waits.
        let went_down = |number: &MemberNumber| before.is_up(*number) && !self.is_up(*number);
        let lost: Vec<MemberNumber> = before.peers.keys().copied().filter(went_down).collect();
        for member in lost {
            self.on_lane_lost(member);
        }
        self.deliver_hints();
    }

    /// Requests under way whose rows have changed go on with the rows of now.
    fn reseat(&mut self, view: &View) {
        for id in self.requests.ids() {
            match self.requests.take(id) {
                None => {}
                Some(Request::Put(put)) => self.put_reseat(view, id, put),
                Some(Request::Get(get)) => self.get_reseat(view, id, get),
                // The others are not about who owns a row.
                Some(other) => self.requests.restore(id, other),
            }
        }
    }

    /// A member has another ring or row than this node: one of the two will soon hear of the newer one.
    fn on_other_row(&mut self, from: MemberNumber, id: u64) {
        match self.requests.take(id) {
            None => {}
            Some(Request::Put(put)) => self.put_other_row(id, put, from),
            Some(Request::Get(get)) => self.get_other_row(id, get, from),
            Some(other) => {
                self.requests.restore(id, other);
                self.on_lost(from, id);
            }
        }
    }

    /// Frames to a member may be lost: nothing that waits for it waits longer.
    fn on_lane_lost(&mut self, member: MemberNumber) {
        for id in self.requests.ids() {
            self.on_lost(member, id);
        }
    }

    /// A request will not be answered by this member.
    fn on_lost(&mut self, from: MemberNumber, id: u64) {
        match self.requests.take(id) {
            None => {}
            Some(Request::Put(put)) => self.put_lost(id, put, from),
            Some(Request::Get(get)) => self.get_lost(id, get, from),
            Some(Request::Seek(seek)) => self.seek_lost(id, seek, from),
            Some(Request::Forward(forward)) => self.forward_lost(id, forward, from),
            Some(Request::Gather(gather)) => self.gather_lost(id, gather, from),
            Some(Request::Delivery(delivery)) => self.hint_lost(id, delivery, from),
            Some(Request::Exchange(exchange)) => self.exchange_lost(id, exchange, from),
            Some(Request::Heal(heal)) => self.heal_lost(id, heal, from),
        }
    }

    fn on_stored(&mut self, from: MemberNumber, head: Head) {
        match self.requests.take(head.request) {
            None => {}
            Some(Request::Put(put)) => self.put_stored(head.request, put, from),
            Some(Request::Delivery(delivery)) => self.hint_stored(head.request, delivery, from),
            Some(
                other @ (Request::Get(_)
                | Request::Seek(_)
                | Request::Forward(_)
                | Request::Gather(_)
                | Request::Exchange(_)
                | Request::Heal(_)),
            ) => self.requests.restore(head.request, other),
        }
    }

    fn on_fetched(&mut self, from: MemberNumber, head: Head, fetched: crate::wire::Fetched) {
        match self.requests.take(head.request) {
            None => {}
            Some(Request::Get(get)) => self.get_fetched(head.request, get, from, fetched),
            Some(Request::Seek(seek)) => self.seek_fetched(head.request, seek, from, fetched),
            Some(Request::Heal(heal)) => self.heal_fetched(head.request, heal, from, fetched),
            Some(other) => self.requests.restore(head.request, other),
        }
    }

    fn on_forwarded_reply(&mut self, from: MemberNumber, head: Head, answer: Message) {
        match self.requests.take(head.request) {
            None => {}
            Some(Request::Forward(forward)) => {
                self.forward_answered(head.request, forward, from, answer);
            }
            Some(other) => self.requests.restore(head.request, other),
        }
    }

    fn on_tick(&mut self) {
        while let Some(id) = self.requests.due(self.now.elapsed) {
            match self.requests.take(id) {
                None => unreachable!("nothing is worked on between events"),
                Some(Request::Put(put)) => self.put_woke(id, put),
                Some(Request::Get(get)) => self.get_woke(id, get),
                Some(Request::Seek(seek)) => self.end_seek(id, seek),
                Some(Request::Forward(forward)) => self.forward_woke(id, forward),
                Some(Request::Gather(gather)) => self.gather_woke(id, gather),
                Some(Request::Delivery(delivery)) => self.hint_put_off(id, delivery),
                Some(Request::Exchange(exchange)) => self.end_exchange(id, &exchange),
                Some(Request::Heal(heal)) => self.heal_on(id, heal),
            }
            let again = self.requests.due(self.now.elapsed) == Some(id);
            assert!(!again, "a request that woke up sleeps on or ends, or this would never end");
        }
        self.deliver_hints();
        self.sync_tick();
        self.look_for_lives();
        self.pull_more();
    }

    /// Whether there is room for a request about a key, and it came to the right shard.
    fn admit(&self, token: Token, bytes: usize) -> Result<(), Failure> {
        if !self.mine(token.slot()) {
            return Err(Failure::new(FailureCode::Refused, WRONG_SHARD));
        }
        self.admit_work(bytes)
    }

    /// Whether there is a ring, and room for a request that holds so many bytes.
    fn admit_work(&self, bytes: usize) -> Result<(), Failure> {
        if self.view.is_none() {
            let message = "this node is in no ring yet; nothing was done; try again in a moment";
            return Err(Failure::new(FailureCode::NotReady, message));
        }
        let (requests, held) = (self.requests.len(), self.requests.bytes());
        let unsynced = self.unsynced.len();
        if requests >= self.config.requests_max
            || held + bytes as u64 > self.config.request_bytes_max
            || unsynced >= self.config.unsynced_max
        {
            let message = format!(
                "this node has {requests} requests with {held} bytes under way, and {unsynced} \
                 acknowledgements that wait for its disk, which is all it takes; nothing was done; \
                 try again later, or through another node"
            );
            return Err(Failure::new(FailureCode::Overloaded, message));
        }
        Ok(())
    }

    /// Whether a slot lies in this shard.
    fn mine(&self, slot: Slot) -> bool {
        slot.shard(self.config.shards) == self.config.shard
    }

    fn me(&self) -> MemberNumber {
        self.view.as_ref().expect("asked only with a ring").me
    }

    fn is_me(&self, member: MemberNumber) -> bool {
        self.view.as_ref().is_some_and(|view| view.me == member)
    }

    fn is_up(&self, member: MemberNumber) -> bool {
        self.view.as_ref().is_some_and(|view| view.is_up(member))
    }

    /// Whether a frame's sender is another member of the ring.
    fn known(&self, member: MemberNumber) -> bool {
        self.view
            .as_ref()
            .is_some_and(|view| view.me != member && view.ring.member(member).is_some())
    }
}

/// Whether the key in a member's message lies in the slot that its frame names.
fn key_fits(slot: Slot, message: &Message) -> bool {
    let fits = |key: &Key| Token::of(key).slot() == slot;
    match message {
        Message::Put(put) => fits(&put.key),
        Message::Get(get) => fits(&get.key),
        Message::Store(store) => fits(&store.key),
        Message::KeepHint(hint) => fits(&hint.key),
        Message::Fetch(fetch) => fits(&fetch.key),
        Message::Inspect(inspect) => fits(&inspect.key),
        Message::PutReply(_)
        | Message::GetReply(_)
        | Message::Failure(_)
        | Message::Question(_)
        | Message::Answer(_)
        | Message::Stored
        | Message::Declined(_)
        | Message::Fetched(_)
        | Message::Summary(_)
        | Message::SlotHashes(_)
        | Message::ClocksWanted(_)
        | Message::Clocks(_)
        | Message::ClosingWanted(_)
        | Message::Closing(_)
        | Message::Ask(_)
        | Message::Page(_)
        | Message::Inspected(_)
        | Message::Count(_)
        | Message::Counted(_) => true,
    }
}

#[cfg(test)]
mod tests;
