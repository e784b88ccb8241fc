//! A few nodes in one process, with every message in the open: delivered at once, held, or lost.
//!
//! Invariant: nothing happens by itself; [`Cluster::settle`] runs until nothing is left to do.

mod faults;
mod rows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use super::differential::{Fell, Heard, Watch};
use super::trace;
use crate::causality::{Actor, Dead, Dot, DotSet, Entry, Secret, Value};
use crate::key::Key;
use crate::ring::steps::Verdict;
use crate::ring::{
    ClusterId, Epoch, Liveness, Member, MemberNumber, NodeId, Partition, Peer, Ring, SLOTS,
    Settings, Slot, Token, View,
};
use crate::shard::{Effect, Event, Now, Origin, Shard, ShardConfig};
use crate::storage::{Batch, Body, MemoryDisk, MemorySync, Options, Store, SyncHandle, SyncJob};
use crate::wire::{self, Frame};

/// A small segment, so that making one costs little.
const SEGMENT_BYTES: u32 = 16 << 10;

/// How a cluster is made.
#[derive(Clone)]
pub(in crate::shard) struct Plan {
    pub(in crate::shard) nodes: u16,
    /// The owners of every slot.
    pub(in crate::shard) row: Vec<u16>,
    /// How many shards each node has; the last number is that of all further nodes.
    pub(in crate::shard) shards: Vec<u16>,
    pub(in crate::shard) config: ShardConfig,
    /// So many keys are on every owner's disk before it first starts.
    pub(in crate::shard) filled: u32,
    /// How many partitions the ring has, all with the same owners.
    pub(in crate::shard) partitions: u16,
}

impl Default for Plan {
    fn default() -> Self {
        let config =
            ShardConfig { sync_interval: Duration::from_secs(1 << 30), ..ShardConfig::default() };
        Plan { nodes: 5, row: vec![1, 2, 3], shards: vec![1], config, filled: 0, partitions: 1 }
    }
}

/// One shard of a node, its disk, and the syncs not done yet.
struct Place {
    shard: Option<Shard<MemoryDisk>>,
    disk: MemoryDisk,
    jobs: Vec<SyncJob<MemorySync>>,
    /// The disk as of the last sync.
    synced: MemoryDisk,
    /// Copies that were put aside, by name.
    saved: BTreeMap<String, MemoryDisk>,
}

pub(in crate::shard) struct Cluster {
    plan: Plan,
    pub(in crate::shard) ring: Arc<Ring>,
    pub(in crate::shard) now: Duration,
    /// The older rings of those who have not heard of the newest.
    behind: BTreeMap<u16, Arc<Ring>>,
    /// How often each node was started: lives are counted, to be read in traces.
    lives: BTreeMap<u16, u64>,
    places: BTreeMap<(u16, u16), Place>,
    /// Who takes whom for being down.
    down: BTreeSet<(u16, u16)>,
    /// Messages from and to these are lost.
    pub(in crate::shard) cut: BTreeSet<(u16, u16)>,
    /// Messages from and to these wait.
    pub(in crate::shard) held: BTreeSet<(u16, u16)>,
    /// Messages of this kind wait, named as in traces.
    pub(in crate::shard) held_kind: Option<String>,
    /// Syncs of these wait.
    pub(in crate::shard) unsyncing: BTreeSet<u16>,
    /// Messages of these are delivered twice.
    pub(in crate::shard) doubling: bool,
    net: VecDeque<(u16, u16, Frame)>,
    pub(in crate::shard) replies: Vec<(Origin, Effect)>,
    /// What shards said last of actors that are to be listed.
    verdicts: BTreeMap<(u16, u16, Actor), Verdict>,
    pub(in crate::shard) trace: Vec<String>,
    /// Bytes of slot sync that were sent.
    pub(in crate::shard) sync_bytes: u64,
    /// Who follows every step with a reference.
    watch: Option<Box<Watch>>,
}

impl Cluster {
    pub(in crate::shard) fn new(plan: Plan) -> Self {
        let member = |number: u16| Member {
            number: MemberNumber(number),
            id: NodeId(number.into()),
            name: format!("n{number}"),
            addr: ([127, 0, 0, 1], 7400 + number).into(),
            zone: String::new(),
            weight: 1,
            since: Epoch(1),
            leaving: false,
        };
        let row: Vec<MemberNumber> = plan.row.iter().copied().map(MemberNumber).collect();
        let partition = |index: u16| {
            let first = Slot::new(index * (SLOTS / plan.partitions)).expect("a slot");
            Partition::settled(first, row.clone())
        };
        let ring = Ring {
            cluster: ClusterId(1),
            epoch: Epoch(1),
            previous: 0,
            members: (1..=plan.nodes).map(member).collect(),
            partitions: (0..plan.partitions).map(partition).collect(),
            settings: Settings { copies: plan.row.len() as u8, ..Settings::default() },
            secret: Secret([7; 16]),
            dead: Dead::NONE,
            highest: 0,
            paused: false,
            lineage: 0,
            lost: Vec::new(),
        };
        ring.check().expect("a ring");
        let mut cluster = Cluster {
            ring: Arc::new(ring),
            now: Duration::from_secs(1),
            behind: BTreeMap::new(),
            lives: BTreeMap::new(),
            places: BTreeMap::new(),
            down: BTreeSet::new(),
            cut: BTreeSet::new(),
            held: BTreeSet::new(),
            held_kind: None,
            unsyncing: BTreeSet::new(),
            doubling: false,
            net: VecDeque::new(),
            replies: Vec::new(),
            verdicts: BTreeMap::new(),
            trace: Vec::new(),
            sync_bytes: 0,
            watch: None,
            plan,
        };
        for node in cluster.nodes() {
            for index in 0..cluster.shards(node) {
                let disk = MemoryDisk::new(u64::from(node));
                let synced = disk.copy(0);
                let place =
                    Place { shard: None, disk, jobs: Vec::new(), synced, saved: BTreeMap::new() };
                cluster.places.insert((node, index), place);
            }
            cluster.fill(node);
            cluster.start(node);
        }
        cluster.settle();
        cluster
    }

    /// Writes the keys to an owner's disk that are there from the beginning, the same to each.
    fn fill(&mut self, node: u16) {
        if !self.plan.row.contains(&node) {
            return;
        }
        let place = self.places.get_mut(&(node, 0)).expect("made just now");
        let options = Options::default();
        let (mut store, _) = Store::open(place.disk.clone(), options).expect("an empty disk");
        let mut counters: BTreeMap<Slot, u64> = BTreeMap::new();
        for number in 0..self.plan.filled {
            let key = Key::new("default", format!("filled {number}").as_bytes()).expect("a key");
            let slot = Token::of(&key).slot();
            let counter = counters.entry(slot).or_default();
            *counter += 1;
            let dot = Dot::new(Actor::new(1, 0), *counter);
            let value = Value { bytes: "tea".into(), ..Value::default() };
            let entry = Entry::from_parts(vec![(dot, Body::New(value))], DotSet::EMPTY);
            store.stage_entry(slot, &key, &[dot], &[], entry);
            if number % 1_000 == 999 {
                store.flush().expect("room");
            }
        }
        if let Some(job) = store.flush().expect("room") {
            job.handles.iter().for_each(|handle| handle.sync().expect("no fault was asked for"));
        }
        place.synced = place.disk.copy(0);
    }

    pub(in crate::shard) fn nodes(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.plan.nodes
    }

    fn now(&self) -> Now {
        Now { elapsed: self.now, wall_ms: 1_000 + self.now.as_millis() as u64 }
    }

    fn shards(&self, node: u16) -> u16 {
        let shards = &self.plan.shards;
        let of_node = shards.get(usize::from(node) - 1).or(shards.last());
        *of_node.expect("a node has shards")
    }

    fn shard_of(&self, node: u16, slot: Slot) -> u16 {
        slot.shard(self.shards(node))
    }

    pub(in crate::shard) fn shard(&self, node: u16, slot: Slot) -> &Shard<MemoryDisk> {
        let place = &self.places[&(node, self.shard_of(node, slot))];
        place.shard.as_ref().expect("the node runs")
    }

    pub(in crate::shard) fn runs(&self, node: u16) -> bool {
        self.places[&(node, 0)].shard.is_some()
    }

    /// Lets reads of a node's disks complete later than they are asked for.
    pub(in crate::shard) fn delay_reads(&mut self, node: u16) {
        for ((at, _), place) in &mut self.places {
            if *at == node {
                place.disk.delay_reads(1.0);
            }
        }
    }

    /// Starts a node in a new life.
    pub(in crate::shard) fn start(&mut self, node: u16) {
        let life = self.lives.entry(node).or_default();
        *life += 1;
        let life = *life;
        let shards = self.shards(node);
        for index in 0..shards {
            let config = ShardConfig {
                shard: index,
                shards,
                life,
                seed: u64::from(node),
                ..self.plan.config.clone()
            };
            let place = self.places.get_mut(&(node, index)).expect("made with the cluster");
            let options = Options { segment_bytes: SEGMENT_BYTES, last_life: None };
            let (store, _) = Store::open(place.disk.clone(), options).expect("a sound disk");
            place.jobs.clear();
            let shard = place.shard.insert(Shard::new(store, config));
            if let Some(watch) = &mut self.watch {
                watch.started((node, index), life, shard);
            }
        }
        self.tell_views();
    }

    fn view(&self, node: u16) -> View {
        let others = self.nodes().filter(|other| *other != node);
        let peer = |other: u16| {
            let down = self.down.contains(&(node, other));
            let liveness = if down { Liveness::Down } else { Liveness::Up };
            (MemberNumber(other), Peer { liveness, shards: self.shards(other) })
        };
        View {
            me: MemberNumber(node),
            ring: self.behind.get(&node).unwrap_or(&self.ring).clone(),
            rolled_back: false,
            peers: others.map(peer).collect(),
        }
    }

    fn tell_views(&mut self) {
        let places: Vec<(u16, u16)> = self.places.keys().copied().collect();
        for (node, index) in places {
            let view = self.view(node);
            self.step(node, index, Event::View(view));
        }
    }

    pub(in crate::shard) fn step(&mut self, node: u16, index: u16, event: Event) {
        let now = self.now();
        let place = self.places.get_mut(&(node, index)).expect("made with the cluster");
        let Some(shard) = &mut place.shard else { return };
        let mut effects = Vec::new();
        let heard = self.watch.as_ref().map(|_| Heard::of(&event));
        shard.step(now, event, &mut effects);
        let mut flushed = None;
        match shard.flush() {
            Ok(job) => {
                flushed = job.as_ref().map(|job| job.upto);
                place.jobs.extend(job);
            }
            Err(error) => {
                shard.step(now, Event::SyncFailed(error.to_string()), &mut effects);
            }
        }
        if let (Some(watch), Some(heard)) = (&mut self.watch, heard) {
            watch.stepped((node, index), self.now, heard, &effects, flushed, shard);
        }
        for effect in effects {
            match effect {
                Effect::Send(to, frame) => self.net.push_back((node, to.0, frame)),
                Effect::Reply(origin, _) | Effect::Gathered(origin, _) => {
                    self.trace.push(trace::effect(node, &effect));
                    self.replies.push((origin, effect));
                }
                Effect::Report(_) => self.trace.push(trace::effect(node, &effect)),
                Effect::Seen(_) => {}
                Effect::Retired(old, new) => self.tell_retired((node, index), (old, new)),
                Effect::Refused(said) => {
                    let said = said.into_iter();
                    self.verdicts
                        .extend(said.map(|(actor, verdict)| ((node, index, actor), verdict)));
                }
            }
        }
    }

    /// A shard gave up its actor: the others of its node hear of that.
    fn tell_retired(&mut self, teller: (u16, u16), (old, new): (Actor, Actor)) {
        let places: Vec<(u16, u16)> = self.places.keys().copied().collect();
        let others = places.into_iter().filter(|place| place.0 == teller.0 && *place != teller);
        others.for_each(|(node, index)| self.step(node, index, Event::Retire(old, new)));
    }

    /// Runs until nothing is left to do but what is held.
    pub(in crate::shard) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.deliver_one() && !self.complete_reads() && !self.complete_syncs() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn deliver_one(&mut self) -> bool {
        let Some(at) = self.net.iter().position(|message| !self.is_held(message)) else {
            return false;
        };
        self.deliver_at(at);
        true
    }

    fn is_held(&self, (from, to, frame): &(u16, u16, Frame)) -> bool {
        self.held.contains(&(*from, *to))
            || self
                .held_kind
                .as_ref()
                .is_some_and(|kind| trace::said(&frame.message).starts_with(kind.as_str()))
    }

    /// Delivers the first message that waits.
    pub(in crate::shard) fn deliver_held(&mut self) -> Option<()> {
        let at = self.net.iter().position(|message| self.is_held(message))?;
        self.deliver_at(at);
        Some(())
    }

    /// Loses all messages that wait.
    pub(in crate::shard) fn drop_held(&mut self) {
        let net = std::mem::take(&mut self.net);
        self.net = net.into_iter().filter(|message| !self.is_held(message)).collect();
    }

    fn deliver_at(&mut self, at: usize) {
        let (from, to, frame) = self.net.remove(at).expect("it was found there");
        let lost = self.cut.contains(&(from, to)) || !self.runs(to);
        self.trace.push(trace::message(from, to, &frame, lost));
        if frame.message.is_sync() {
            let mut bytes = Vec::new();
            wire::encode(&frame, &mut bytes).expect("it fits into a frame");
            self.sync_bytes += bytes.len() as u64;
        }
        if !lost {
            let index = self.shard_of(to, frame.slot);
            for _ in 0..if self.doubling { 2 } else { 1 } {
                self.step(to, index, Event::Peer(MemberNumber(from), frame.clone()));
            }
        }
    }

    fn complete_reads(&mut self) -> bool {
        let mut any = false;
        let places: Vec<(u16, u16)> = self.places.keys().copied().collect();
        for (node, index) in places {
            for (ticket, result) in self.places[&(node, index)].disk.take_due_reads() {
                self.step(node, index, Event::Read(ticket, result));
                any = true;
            }
        }
        any
    }

    fn complete_syncs(&mut self) -> bool {
        let mut any = false;
        let places: Vec<(u16, u16)> = self.places.keys().copied().collect();
        for (node, index) in places {
            if !self.unsyncing.contains(&node) {
                any |= self.sync(node, index);
            }
        }
        any
    }

    fn sync(&mut self, node: u16, index: u16) -> bool {
        let place = self.places.get_mut(&(node, index)).expect("made with the cluster");
        let mut upto: Option<Batch> = None;
        let mut failed = None;
        for job in place.jobs.drain(..) {
            match job.handles.iter().try_for_each(SyncHandle::sync) {
                Ok(()) => upto = upto.max(Some(job.upto)),
                Err(error) => failed = Some(error.to_string()),
            }
        }
        if let Some(why) = failed {
            self.step(node, index, Event::SyncFailed(why));
            return true;
        }
        let Some(upto) = upto else { return false };
        place.synced = place.disk.copy(0);
        self.step(node, index, Event::Synced(upto));
        true
    }

    /// A client of `node` sends a request. The request id is its origin's.
    pub(in crate::shard) fn client(&mut self, node: u16, frame: Frame) {
        let index = self.shard_of(node, frame.slot);
        let origin = Origin { driver: 0, connection: 1, request: frame.request };
        self.step(node, index, Event::Client(origin, frame));
    }

    /// The last reply to a client's request.
    pub(in crate::shard) fn reply(&self, request: u64) -> Option<&Frame> {
        self.replies.iter().rev().find_map(|(origin, effect)| match effect {
            Effect::Reply(_, frame) if origin.request == request => Some(frame),
            Effect::Reply(..)
            | Effect::Send(..)
            | Effect::Gathered(..)
            | Effect::Report(_)
            | Effect::Seen(_)
            | Effect::Retired(..)
            | Effect::Refused(..) => None,
        })
    }

    /// Lets time pass, and everything that falls due in it happen.
    pub(in crate::shard) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            let shards = self.places.values().filter_map(|place| place.shard.as_ref());
            let next = shards.filter_map(Shard::next_deadline).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            let places: Vec<(u16, u16)> = self.places.keys().copied().collect();
            for (node, index) in places {
                let due = |shard: &Shard<MemoryDisk>| {
                    shard.next_deadline().is_some_and(|at| at <= self.now)
                };
                if self.places[&(node, index)].shard.as_ref().is_some_and(due) {
                    self.step(node, index, Event::Tick);
                }
            }
            self.settle();
        }
        panic!("time stands still");
    }

    /// From now on every step is followed with a reference, for these keys.
    pub(in crate::shard) fn watch(&mut self, keys: &[Key]) {
        let shards = self.nodes().map(|node| (node, self.shards(node))).collect();
        let (row, config) = (self.plan.row.clone(), self.plan.config.clone());
        let mut watch = Watch::new(self.ring.clone(), config, row, shards, keys);
        for ((node, index), place) in &self.places {
            let shard = place.shard.as_ref().expect("the node runs");
            watch.started((*node, *index), self.lives[node], shard);
        }
        self.watch = Some(Box::new(watch));
        self.tell_views();
    }

    /// The reference that follows.
    pub(in crate::shard) fn watched(&self) -> &Watch {
        self.watch.as_ref().expect("it is watched")
    }

    fn fell(&mut self, node: u16, how: Fell) {
        if let Some(watch) = &mut self.watch {
            watch.fell(node, how);
        }
    }

    /// Puts the messages under way into any order.
    pub(in crate::shard) fn shuffle(&mut self, rng: &mut ChaCha8Rng) {
        self.net.make_contiguous().shuffle(rng);
    }
}
