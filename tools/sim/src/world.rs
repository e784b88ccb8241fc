//! One run: a whole cluster, its clients and its troubles, on virtual time.
//!
//! First the safety phase: clients work while things go wrong. Then everything is healed and started,
//! and the liveness phase asks that the cluster becomes quiet within a bounded virtual time. Then every
//! node reads every key at all owners, the disks are dumped, and the checkers judge.
//!
//! Invariant: nothing here depends on anything but the seed and the options: no clock, no
//! thread, no map with a random order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ringdove::causality::Dot;
use ringdove::ring::{MemberNumber, Ring, Slot};
use ringdove::shard::{Effect, Event};
use ringdove::storage::{DiskCall, MemoryDisk};
use ringdove::wire::{Frame, Message};

use crate::Options;
use crate::checkers::{Dump, Evidence, Graph, Violation, difference, judge, unequal};
use crate::clients::Clients;
use crate::closing::Closing;
use crate::counts::Counts;
use crate::dice::Dice;
use crate::floors::Floors;
use crate::happening::{Agenda, Happening};
use crate::history::{History, OpId, Outcome};
use crate::idle::Idle;
use crate::mix::{Mix, Weather};
use crate::moves::Moves;
use crate::network::Network;
use crate::node::{Node, place};
use crate::rows::Rows;
use crate::trace::{Trace, brief};
use crate::watch::Watch;

/// A run does not take more steps than this: a cluster that never comes to rest is a violation.
const STEPS_MAX: u64 = 300_000;
/// How long the cluster may take to become quiet once everything is well.
const QUIET_WITHIN: Duration = Duration::from_secs(180);
/// How often it is asked whether it is quiet.
const QUIET_EVERY: Duration = Duration::from_millis(500);
/// How often a final read is asked again when it is refused.
const FINAL_TRIES: u32 = 5;
/// How long the faults last at most, whatever the clients have left to do.
const SAFETY_MAX: Duration = Duration::from_secs(60);

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Promises that were not kept.
    pub violations: Vec<Violation>,
    /// What was exercised.
    pub counts: Counts,
    /// The trace, if it was asked for.
    pub trace: String,
    /// The history as JSON lines, if it was asked for.
    pub history: String,
    /// Virtual time that passed.
    pub virtual_time: Duration,
    /// Virtual time from healing to quiet.
    pub quiet_after: Duration,
}

/// The cluster and everything around it.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) mix: Mix,
    pub(crate) agenda: Agenda,
    pub(crate) ring: Arc<Ring>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) history: History,
    pub(crate) watch: Watch,
    pub(crate) counts: Counts,
    pub(crate) trace: Trace,
    pub(crate) violations: Vec<Violation>,
    /// Frames planned to arrive that may change something.
    pub(crate) writes_under_way: u64,
    /// Dots that were in hints which gave way to later ones, and so may never reach an owner.
    pub(crate) superseded: BTreeSet<(Slot, Dot)>,
    /// Reads with a floor that are not answered yet.
    pub(crate) floors: Floors,
    /// When disks went back in time without anything noticing.
    pub(crate) silent_restores: Vec<Duration>,
    /// Whether the faults are over.
    pub(crate) healed: bool,
    /// What is overheard of a cluster that has nothing to do.
    pub(crate) idle: Option<Idle>,
    pub(crate) fault_dice: Dice,
    pub(crate) life_dice: Dice,
    pub(crate) disk_dice: Dice,
    pub(crate) detector_dice: Dice,
    pub(crate) closing: Closing,
    pub(crate) moves: Moves,
    pub(crate) rows: Rows,
    effects: Vec<Effect>,
    steps: u64,
    /// The seed, if the history is to be exported.
    exported: Option<u64>,
}

impl World {
    /// The world of a seed, with all nodes started.
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let mix = Mix::draw(seed, options.nodes, options.profile);
        let ring = Arc::new(crate::setup::ring(&mix));
        let history = History { keys: crate::setup::keys(seed, &mix.workload), ops: Vec::new() };
        let mut world = World {
            now: Duration::ZERO,
            agenda: Agenda::default(),
            nodes: crate::setup::nodes(seed, &mix, &ring),
            network: Network::new(seed, mix.shards.len(), mix.weather),
            clients: Clients::new(seed, &mix.workload),
            history,
            watch: Watch::default(),
            counts: Counts::default(),
            trace: Trace::new(options.trace),
            violations: Vec::new(),
            writes_under_way: 0,
            superseded: BTreeSet::new(),
            floors: Floors::default(),
            silent_restores: Vec::new(),
            healed: false,
            idle: None,
            fault_dice: Dice::new(seed, "faults"),
            life_dice: Dice::new(seed, "lives"),
            disk_dice: Dice::new(seed, "disks"),
            detector_dice: Dice::new(seed, "detectors"),
            closing: Closing::new(seed),
            moves: Moves::new(seed),
            rows: Rows::default(),
            effects: Vec::new(),
            steps: 0,
            exported: options.export.then_some(seed),
            ring,
            mix,
        };
        world.trace.line(world.now, || format!("seed {seed} {:?}", world.mix));
        world
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Report {
        self.begin();
        self.run_until(SAFETY_MAX, |world| world.clients.done());
        self.heal_everything();
        let healed_at = self.now;
        self.settle();
        let quiet_after = self.now - healed_at;
        if self.goes_on() {
            self.violations = unequal(&self.history, &self.dumps());
        }
        if self.goes_on() {
            self.rest();
        }
        let final_reads = if self.goes_on() { self.read_everything() } else { Vec::new() };
        (0..self.nodes.len()).for_each(|node| self.close_books(node));
        self.judge(&final_reads);
        self.counts.moving_runs += u64::from(self.counts.settled > 0);
        for disk in self.nodes.iter().flat_map(|node| &node.disks) {
            self.counts.failed_appends += disk.failed_calls(DiskCall::Write);
            self.counts.failed_reads += disk.failed_calls(DiskCall::Read);
        }
        Report {
            history: self.exported.map(|seed| self.export(seed)).unwrap_or_default(),
            violations: self.violations,
            counts: self.counts,
            virtual_time: self.now,
            quiet_after,
            trace: self.trace.into_text(),
        }
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
            self.plan_in(Duration::ZERO, Happening::Detect { node });
        }
        for session in 0..self.clients.sessions.len() {
            let wait = Duration::from_millis(50) + self.clients.think();
            self.plan_in(wait, Happening::Act { session });
        }
        if self.mix.faults.iter().any(|weight| *weight > 0.0) {
            self.plan_next_fault();
        }
        self.plan_next_closing();
        self.plan_next_move();
    }

    pub(crate) fn plan_in(&mut self, wait: Duration, happening: Happening) {
        self.agenda.plan(self.now + wait, happening);
    }

    /// Lets things happen until `done`, or until that time.
    pub(crate) fn run_until(&mut self, until: Duration, done: impl Fn(&World) -> bool) {
        while self.goes_on() && !done(self) {
            match self.agenda.next_at() {
                Some(at) if at <= until => {}
                Some(_) | None => {
                    self.now = self.now.max(until);
                    return;
                }
            }
            let Some((at, happening)) = self.agenda.next() else { return };
            self.writes_under_way -= u64::from(happening.may_write());
            self.now = self.now.max(at);
            self.steps += 1;
            if self.steps > STEPS_MAX {
                self.violate("rest", format!("no rest after {STEPS_MAX} steps"));
                return;
            }
            self.happen(happening);
        }
    }

    /// Whether no promise was broken so far.
    pub(crate) fn goes_on(&self) -> bool {
        self.violations.is_empty() && self.watch.violations.is_empty()
    }

    pub(crate) fn violate(&mut self, checker: &'static str, what: String) {
        self.violations.push(Violation::new(checker, what));
    }

    fn settle(&mut self) {
        let deadline = self.now + QUIET_WITHIN;
        let mut why = String::new();
        while self.now < deadline && self.goes_on() {
            let until = self.now + QUIET_EVERY;
            self.run_until(until, |_| false);
            match self.restlessness() {
                None => return,
                Some(reason) => why = reason,
            }
        }
        if self.goes_on() {
            let named = ["unclosed", "unmoved"].into_iter().find(|name| why.starts_with(name));
            let checker = named.unwrap_or("convergence");
            self.violate(checker, format!("not quiet after {QUIET_WITHIN:?}: {why}"));
        }
    }

    fn restlessness(&mut self) -> Option<String> {
        if !self.clients.idle() {
            return Some("a client waits".to_owned());
        }
        if self.writes_under_way > 0 {
            return Some(format!("{} writes are under way", self.writes_under_way));
        }
        for node in self.nodes.iter() {
            for running in node.process.iter().flat_map(|process| &process.shards) {
                let requests = running.shard.metrics().requests;
                if requests > 0 {
                    return Some(format!("{requests} requests wait at n{}", node.number));
                }
                if running.shard.store().recovering() {
                    return Some(format!("n{} catches up", node.number));
                }
                if running.syncing || running.unsynced.is_some() {
                    return Some(format!("n{} syncs", node.number));
                }
            }
        }
        difference(&self.dumps()).or_else(|| self.unclosed()).or_else(|| self.unmoved())
    }

    /// Reads every key at all owners from every node, one read after the other. A node with small
    /// limits may be busy with its own repairs, so a refused read is asked again.
    fn read_everything(&mut self) -> Vec<OpId> {
        let mut reads = Vec::new();
        for key in 0..self.history.keys.len() {
            for node in 0..self.nodes.len() {
                let mut read = self.ask_finally(key, node);
                for _ in 0..FINAL_TRIES {
                    self.run_until(self.now + Duration::from_secs(20), |world| {
                        world.clients.idle()
                    });
                    if self.history.op(read).outcome == Outcome::Ok {
                        break;
                    }
                    self.run_until(self.now + Duration::from_secs(1), |_| false);
                    read = self.ask_finally(key, node);
                }
                reads.push(read);
            }
        }
        reads
    }

    fn judge(&mut self, final_reads: &[OpId]) {
        self.violations.append(&mut self.watch.violations);
        if !self.violations.is_empty() {
            return;
        }
        let shards = self.nodes.iter().flat_map(|node| &node.process).flat_map(|p| &p.shards);
        self.counts.attempts_found +=
            shards.map(|running| running.shard.metrics().attempts_found).sum::<u64>();
        let dumps = self.dumps();
        let mut present: Vec<BTreeSet<OpId>> = vec![BTreeSet::new(); self.history.keys.len()];
        for dump in &dumps {
            for (key, dots) in &dump.entries {
                let slot = self.history.keys[*key].slot;
                for dot in dots {
                    match self.watch.op(slot, *dot) {
                        Some(op) if self.history.op(op).key == *key => {
                            present[*key].insert(op);
                        }
                        _ => {
                            let name = &self.history.keys[*key].name;
                            let what = format!("n{} holds {dot} of {name}", dump.node + 1);
                            self.violations.push(Violation::new("phantom", what));
                        }
                    }
                }
            }
        }
        let keys = self.history.keys.len();
        let evidence = Evidence {
            history: &self.history,
            dumps: &dumps,
            present,
            graphs: (0..keys).map(|key| Graph::of(&self.history, key)).collect(),
            final_reads,
            superseded: &self.superseded,
            silent_restores: &self.silent_restores,
            actors: self.nodes.iter().flat_map(Node::actors).collect(),
            dead: &self.ring.dead,
            row: self
                .mix
                .moves
                .is_none()
                .then_some(usize::from(self.mix.copies).min(self.nodes.len())),
        };
        let found = judge(&evidence, &mut self.counts);
        self.violations.extend(found);
    }

    /// What every running node holds of the run's keys.
    pub(crate) fn dumps(&self) -> Vec<Dump> {
        let slots: BTreeSet<Slot> = self.history.keys.iter().map(|place| place.slot).collect();
        let dump = |(place, node): (usize, &Node)| {
            let mut dump = Dump { node: place, ..Dump::default() };
            let Some(process) = &node.process else { return dump };
            let store = |slot: Slot| {
                process.shards[usize::from(slot.shard(process.shards.len() as u16))].shard.store()
            };
            for slot in &slots {
                if self.ring.row(*slot).contains(&node.number) {
                    dump.owns.insert(*slot);
                }
                let clock = store(*slot).clock(*slot);
                if !clock.is_empty() {
                    dump.clocks.insert(*slot, clock.clone());
                }
            }
            for (index, key) in self.history.keys.iter().enumerate() {
                let entry = store(key.slot).entry(key.slot, &key.key);
                let dots: Vec<_> = entry.iter().flat_map(|entry| entry.dots()).collect();
                if !dots.is_empty() {
                    dump.entries.insert(index, dots);
                }
                if let Some(left) = entry.map(|entry| entry.residual().clone())
                    && !left.is_empty()
                {
                    dump.residuals.insert(index, left);
                }
            }
            dump.hints = process.shards.iter().map(|run| run.shard.store().hints().count()).sum();
            dump
        };
        self.nodes.iter().enumerate().map(dump).collect()
    }
}

/// What happens to nodes, and what they do about it.
impl World {
    fn happen(&mut self, happening: Happening) {
        if let Some((node, start)) = happening.process() {
            match &mut self.nodes[node].process {
                Some(process) if start.is_none_or(|start| start == process.start) => {
                    if let Some(waiting) = &mut process.paused {
                        waiting.push_back(happening);
                        return;
                    }
                }
                // Its process is gone, and so is what was meant for it.
                _ => return,
            }
        }
        match happening {
            Happening::Arrive { from, to, breaks, frame } => {
                if self.network.arrives(from, to, breaks) {
                    self.arrive(from, to, *frame);
                }
            }
            Happening::Request { node, origin, frame, .. } => {
                let shard = frame.slot.shard(self.mix.shards[node]);
                self.trace.line(self.now, || format!("client → n{} {}", node + 1, brief(&frame)));
                self.note_floor(node, origin, &frame);
                self.note_arrival(node, origin.request, frame.slot);
                self.step(node, usize::from(shard), Event::Client(origin, *frame));
            }
            Happening::Reply { op, request, frame } => self.hear(op, request, *frame),
            Happening::GiveUp { op, request } => self.give_up(op, request),
            Happening::Act { session } => self.act(session),
            Happening::Tick { node, shard, .. } => self.tick(node, shard),
            Happening::Flush { node, shard, .. } => self.flush(node, shard),
            Happening::Synced { node, shard, upto, handles, .. } => {
                self.synced(node, shard, upto, &handles);
            }
            Happening::Read { node, shard, ticket, result, .. } => {
                self.read_done(node, shard, ticket, result);
            }
            Happening::Segment { node, shard, job, .. } => self.segment_made(node, shard, job),
            Happening::Detect { node } => self.detect(node),
            Happening::LaneLost { node, member, .. } => {
                self.trace.line(self.now, || format!("n{} lost its lane to n{member}", node + 1));
                self.step_all(node, |_| Event::LaneLost(member));
            }
            Happening::Retire { node, shard, old, new, .. } => {
                self.hear_retired(node, shard, (old, new));
            }
            Happening::Close => self.close(),
            Happening::Move => self.move_on(),
            Happening::Learn { node } => self.learn(node),
            Happening::Fault => self.fault(),
            Happening::Resume { node, start } => self.resume(node, start),
            Happening::Recover { node } => self.nodes[node].slowdown = 1,
            Happening::Flap { a, b, left } => self.flap(a, b, left),
            Happening::Room { node } => self.make_room(node),
        }
    }

    fn arrive(&mut self, from: usize, to: usize, frame: Frame) {
        let shard = frame.slot.shard(self.mix.shards[to]);
        self.trace.line(self.now, || format!("n{} → n{} {}", from + 1, to + 1, brief(&frame)));
        self.step(to, usize::from(shard), Event::Peer(self.nodes[from].number, frame));
    }

    /// Steps every shard of a node.
    pub(crate) fn step_all(&mut self, node: usize, event: impl Fn(usize) -> Event) {
        for shard in 0..self.nodes[node].disks.len() {
            self.step(node, shard, event(shard));
        }
    }

    /// Steps a shard, and carries out what it wants.
    pub(crate) fn step(&mut self, node: usize, shard: usize, event: Event) {
        let now = self.nodes[node].now(self.now);
        let glimpse = self.before_mint(node, shard, &event);
        self.note_floors_met(node);
        let old_copies = self.old_copies(node, shard);
        let may_mint_late = crate::mints::may_mint_late(&event);
        let late = if may_mint_late { self.before_late_deletes(node, shard) } else { Vec::new() };
        let Some(process) = &mut self.nodes[node].process else { return };
        let mut effects = std::mem::take(&mut self.effects);
        process.shards[shard].shard.step(now, event, &mut effects);
        let doing = glimpse.as_ref().map(|glimpse| glimpse.op);
        if let Some(glimpse) = glimpse {
            self.after_mint(node, shard, glimpse);
        } else if may_mint_late {
            self.note_late_mints(node, shard);
        }
        // Before its frames are seen: they name the dots, too.
        self.note_hints(node, shard, doing);
        self.note_late_deletes(node, shard, late);
        self.note_closing(node, shard);
        self.check_drops(node, shard, old_copies);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(member, frame) => self.send(node, place(member), frame),
                Effect::Reply(origin, frame) => self.reply(node, origin, frame),
                Effect::Gathered(..) => {}
                Effect::Report(report) => self.note_report(node, shard, report),
                Effect::Seen(actors) => self.note_seen_lives(node, shard, actors),
                Effect::Refused(said) => self.note_verdicts((node, shard), &said),
                Effect::Retired(old, new) => self.tell_retired(node, shard, (old, new)),
            }
        }
        self.effects = effects;
        self.after_step(node, shard);
    }

    fn send(&mut self, from: usize, to: usize, frame: Frame) {
        self.watch.frame(&mut self.history, &mut self.counts, &frame);
        self.overhear(from, to, &frame);
        if from == to || to >= self.nodes.len() {
            self.violate(
                "effects",
                format!("n{} sends to n{}: {}", from + 1, to + 1, brief(&frame)),
            );
            return;
        }
        let shard = frame.slot.shard(self.mix.shards[to]);
        let slowdown = self.nodes[from].slowdown;
        let once = matches!(frame.message, Message::Put(_));
        let journey = self.network.journey(self.now, (from, to, shard), once, slowdown);
        self.counts.lost += u64::from(journey.arrivals.is_empty());
        self.counts.doubled += u64::from(journey.arrivals.len() > 1);
        if journey.arrivals.is_empty() {
            self.trace
                .line(self.now, || format!("n{} ✗ n{} lost {}", from + 1, to + 1, brief(&frame)));
        }
        for at in journey.arrivals {
            match crate::setup::carried(&frame) {
                Ok(frame) => {
                    let (breaks, frame) = (journey.breaks, Box::new(frame));
                    let arrival = Happening::Arrive { from, to, breaks, frame };
                    self.writes_under_way += u64::from(arrival.may_write());
                    self.agenda.plan(at, arrival);
                }
                Err(why) => self.violate("wire", format!("{} {why}", brief(&frame))),
            }
        }
    }

    fn reply(&mut self, node: usize, origin: ringdove::shard::Origin, frame: Frame) {
        self.trace.line(self.now, || format!("n{} → client {}", node + 1, brief(&frame)));
        if matches!(frame.message, Message::Put(_) | Message::Get(_) | Message::Store(_)) {
            self.violate("effects", format!("n{} replies with {}", node + 1, brief(&frame)));
        }
        self.check_not_yet(node, origin, &frame);
        self.deliver_reply(origin, frame);
    }

    /// Mends everything, and starts everybody.
    fn heal_everything(&mut self) {
        self.trace.line(self.now, || "everything is healed".to_owned());
        self.healed = true;
        self.heal_network();
        self.network.weather = Weather::FAIR;
        for node in 0..self.nodes.len() {
            self.nodes[node].slander.clear();
            self.nodes[node].slowdown = 1;
            self.nodes[node].full = false;
            self.nodes[node].disks.iter().for_each(MemoryDisk::heal);
            let start = self.nodes[node].process.as_ref().map(|process| process.start);
            if let Some(start) = start {
                self.resume(node, start);
            }
            if self.mix.restart_all || self.is_poisoned(node) || self.nodes[node].rotten {
                self.kill(node);
            }
            if self.nodes[node].process.is_none() {
                self.start(node);
            }
        }
    }

    /// A member's number by place.
    pub(crate) fn number(&self, node: usize) -> MemberNumber {
        self.nodes[node].number
    }
}
