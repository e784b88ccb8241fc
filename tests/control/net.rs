//! Clusters of control machines on a network, disks and time that follow from a seed.
//!
//! Every run checks, at every step, what must never be: two rings of one cluster and epoch, a node id that
//! votes twice, a ring that is used without the written vote of everybody in it, a datagram that
//! is too long.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ringdove::causality::{Actor, Secret};
use ringdove::control::{Control, ControlConfig, ControlState, Effect, Event, Outcome, Route};
use ringdove::ring::{
    ClusterId, Epoch, Member, MemberNumber, NodeId, Partition, Ring, Settings, Slot, View, found,
};
use ringdove::wire::control::ControlMessage;
use ringdove::wire::datagram::{Datagram, MAX_DATAGRAM};
use ringdove::wire::gossip::Head;
use ringdove::wire::split_raw;
use siphasher::sip::SipHasher24;

/// Virtual time between events that are not delayed on purpose.
pub const STEP: Duration = Duration::from_micros(50);

pub fn addr(node: usize) -> SocketAddr {
    let number = node as u16 + 1;
    ([10, 0, (number >> 8) as u8, number as u8], 7400).into()
}

pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// What the network and disks do to whatever passes through them.
#[derive(Debug, Clone)]
pub struct Weather {
    pub loss: f64,
    pub double: f64,
    pub delay: Duration,
    pub disk: Duration,
}

impl Weather {
    pub fn fine() -> Self {
        let (delay, disk) = (Duration::from_millis(2), Duration::from_millis(3));
        Weather { loss: 0.0, double: 0.0, delay, disk }
    }

    pub fn foul(random: &mut ChaCha8Rng) -> Self {
        Weather {
            loss: random.random_range(0.0..0.4),
            double: random.random_range(0.0..0.3),
            delay: Duration::from_millis(random.random_range(1..400)),
            disk: Duration::from_millis(random.random_range(1..3000)),
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    Deliver { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    Told { to: SocketAddr, from: NodeId, bytes: Vec<u8> },
    Persisted { node: usize, life: u64, number: u64 },
    Resolved { node: usize, life: u64, seed: String },
    Tick { node: usize, life: u64 },
}

/// One machine with its disk, and what it told the rest of its node.
pub struct Node {
    pub config: ControlConfig,
    pub addr: SocketAddr,
    pub disk: ControlState,
    /// States handed out and not yet on the disk, by number.
    pub writing: Vec<(u64, ControlState)>,
    pub machine: Option<Control>,
    pub life: u64,
    pub born: Duration,
    /// How far its clock is ahead of the time of its life.
    pub skew: Duration,
    pub paused: Duration,
    pub view: Option<View>,
    pub routes: Vec<Route>,
    pub said: Vec<String>,
    /// Lives that its shards were told to refuse, and have not answered.
    pub refused: Vec<Actor>,
    /// What came of what was asked, by the number of who waits.
    pub answers: BTreeMap<u64, Outcome>,
}

pub struct Net {
    pub random: ChaCha8Rng,
    pub now: Duration,
    pub nodes: Vec<Node>,
    pub weather: Weather,
    pub names: BTreeMap<String, Vec<SocketAddr>>,
    /// One-way cuts, by place in `nodes`.
    pub cut: BTreeSet<(usize, usize)>,
    /// Links that take this much longer, by place in `nodes`.
    pub slow: BTreeMap<(usize, usize), Duration>,
    pub queue: BinaryHeap<Reverse<(Duration, u64, Item)>>,
    pub order: u64,
    /// All votes ever on a disk.
    pub votes: BTreeMap<NodeId, u64>,
    pub rings: BTreeMap<(ClusterId, Epoch), u64>,
    /// The ring that everybody was given, if they did not found one.
    pub given: Option<Ring>,
    /// Where nodes listen.
    pub places: BTreeMap<SocketAddr, usize>,
    /// Datagrams that never arrive, besides.
    pub lost: fn(&Datagram) -> bool,
    /// Who probed whom last, and the longest that it took to do so again.
    pub probed: BTreeMap<(usize, usize), (Duration, Duration)>,
    /// What everybody said last of itself.
    pub heads: BTreeMap<usize, Head>,
    /// How many bytes were sent, and in how many datagrams.
    pub sent: (u64, u64),
    /// A hash of all that was ever sent, from whom, to whom and when.
    pub talk: u64,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Net {
            random: ChaCha8Rng::seed_from_u64(seed),
            now: Duration::ZERO,
            nodes: Vec::new(),
            weather: Weather::fine(),
            names: BTreeMap::new(),
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            queue: BinaryHeap::new(),
            order: 0,
            votes: BTreeMap::new(),
            rings: BTreeMap::new(),
            given: None,
            places: BTreeMap::new(),
            lost: |_| false,
            probed: BTreeMap::new(),
            heads: BTreeMap::new(),
            sent: (0, 0),
            talk: 0,
        }
    }

    /// Adds a node that is not started yet; `seeds` are places of nodes.
    pub fn add(&mut self, seeds: &[usize]) -> usize {
        let place = self.nodes.len();
        let config = ControlConfig {
            name: format!("n{}", place + 1),
            advertise: addr(place),
            zone: String::new(),
            seeds: seeds.iter().map(|seed| addr(*seed).to_string()).collect(),
            copies: 3,
            shards: 2,
        };
        let disk = ControlState::new(&mut self.random);
        let (machine, view, writing, said) = (None, None, Vec::new(), Vec::new());
        let (life, born, paused) = (0, Duration::ZERO, Duration::ZERO);
        let (addr, routes) = (addr(place), Vec::new());
        self.nodes.push(Node {
            config,
            addr,
            disk,
            writing,
            machine,
            life,
            born,
            skew: Duration::ZERO,
            paused,
            view,
            routes,
            said,
            refused: Vec::new(),
            answers: BTreeMap::new(),
        });
        place
    }

    pub fn add_all(&mut self, count: usize, seeds: &[usize]) {
        for _ in 0..count {
            self.add(seeds);
        }
    }

    /// A net of so many founders, all started.
    pub fn cluster(seed: u64, count: usize) -> Self {
        let mut net = Net::new(seed);
        let all: Vec<usize> = (0..count).collect();
        net.add_all(count, &all);
        all.iter().for_each(|node| net.start(*node));
        net
    }

    /// A net of so many members, all started: of a ring that they did not found, but were given. The first `running` of
    /// them exist; the others do not.
    pub fn members(seed: u64, count: usize, running: usize) -> Self {
        let mut net = Net::new(seed);
        net.add_all(running, &[]);
        let member = |place: usize| {
            let id = net.nodes.get(place).map_or(NodeId(1 << 100 | place as u128), |it| it.disk.id);
            let (number, name) = (MemberNumber(place as u16 + 1), format!("n{}", place + 1));
            let (addr, zone, since) = (addr(place), String::new(), Epoch(1));
            Member { number, id, name, addr, zone, weight: 1, since, leaving: false }
        };
        // One partition does: nothing here looks at rows.
        let row = (1..=count.min(3)).map(|n| MemberNumber(n as u16)).collect();
        let members: Vec<Member> = (0..count).map(member).collect();
        let settings = Settings::default();
        let ring = Ring {
            partitions: vec![Partition::settled(Slot::all().next().expect("slot 0"), row)],
            ..found(ClusterId(7), Secret([1; 16]), members[..1].to_vec(), settings)
        };
        let ring = Ring { members, ..ring };
        ring.check().expect("a ring");
        net.nodes.iter_mut().for_each(|node| node.disk.ring = Some(ring.clone()));
        net.given = Some(ring);
        (0..running).for_each(|place| net.start(place));
        net
    }

    /// Runs for so long, or until `done`, which is looked at now and then.
    pub fn run_slices(&mut self, length: f64, done: impl Fn(&Net) -> bool) -> bool {
        let end = self.now + seconds(length);
        while !done(self) {
            if self.now >= end {
                return false;
            }
            self.run(0.05);
        }
        true
    }

    /// Whom a node sees as up, itself included.
    pub fn seen(&self, place: usize) -> BTreeSet<MemberNumber> {
        let Some(view) = self.nodes[place].view.as_ref() else { return BTreeSet::new() };
        let numbers = view.ring.members.iter().map(|member| member.number);
        numbers.filter(|number| view.is_up(*number)).collect()
    }

    pub fn later(&mut self, after: Duration, item: Item) {
        self.order += 1;
        self.queue.push(Reverse((self.now + after, self.order, item)));
    }

    pub fn start(&mut self, place: usize) {
        let seed = self.random.random();
        let node = &mut self.nodes[place];
        assert!(node.machine.is_none(), "started twice");
        let machine = Control::new(node.config.clone(), node.disk.clone(), seed);
        node.machine = Some(machine.expect("a fine configuration"));
        node.life += 1;
        (node.born, node.view) = (self.now, None);
        node.paused = Duration::ZERO;
        self.step(place, Event::Tick);
    }

    /// Stops a node in order.
    pub fn stop(&mut self, place: usize) {
        self.step(place, Event::Stop);
        self.kill(place);
    }

    /// What a node's clock says.
    fn clock(&self, place: usize) -> Duration {
        self.now - self.nodes[place].born + self.nodes[place].skew
    }

    /// Kills a node. Of the states that were being written some prefix has reached the disk.
    pub fn kill(&mut self, place: usize) {
        let written = self.random.random_range(0..=self.nodes[place].writing.len());
        let node = &mut self.nodes[place];
        node.machine = None;
        let writing = std::mem::take(&mut node.writing);
        if let Some((_, state)) = writing.into_iter().take(written).next_back() {
            node.disk = state;
        }
        let disk = node.disk.clone();
        self.note_vote(&disk);
    }

    /// Kills a node and takes its directory away.
    pub fn wipe(&mut self, place: usize) {
        self.kill(place);
        self.nodes[place].disk = ControlState::new(&mut self.random);
    }

    pub fn note_vote(&mut self, state: &ControlState) {
        if let Some(vote) = &state.vote {
            let before = self.votes.insert(state.id, vote.hash());
            assert!(before.is_none_or(|before| before == vote.hash()), "{} voted twice", state.id);
        }
    }

    pub fn step(&mut self, place: usize, event: Event) {
        let now = self.clock(place);
        let node = &mut self.nodes[place];
        let Some(machine) = &mut node.machine else { return };
        let mut effects = Vec::new();
        machine.step(now, event, &mut effects);
        let due = machine.next_deadline();
        assert!(due > now, "a machine that is always due");
        let life = node.life;
        self.later(due - now, Item::Tick { node: place, life });
        for effect in effects {
            self.effect(place, effect);
        }
    }

    pub fn effect(&mut self, place: usize, effect: Effect) {
        let life = self.nodes[place].life;
        match effect {
            Effect::Datagram(to, bytes) => self.send(place, to, bytes),
            Effect::Persist(number, state) => {
                // What the file holds comes back from the file.
                let state = ControlState::decode(&state.encode()).expect("own bytes");
                self.nodes[place].writing.push((number, state));
                let after = self.weather.disk.mul_f64(self.random.random_range(0.0..1.0)) + STEP;
                self.later(after, Item::Persisted { node: place, life, number });
            }
            Effect::Tell { to, at, message } => self.tell(place, to, at, &message),
            Effect::Resolve(seed) => {
                self.later(STEP, Item::Resolved { node: place, life, seed });
            }
            Effect::Publish(view) => self.published(place, view),
            Effect::Dial(routes) => self.nodes[place].routes = routes,
            Effect::Refuse(actors) => self.nodes[place].refused.extend(actors),
            Effect::Answer(waits, outcome) => {
                let before = self.nodes[place].answers.insert(waits, outcome);
                assert_eq!(before, None, "answered twice");
            }
            Effect::Log(_, sentence) => self.nodes[place].said.push(sentence),
        }
    }

    /// Who listens there.
    pub fn place_of(&mut self, addr: SocketAddr) -> Option<usize> {
        let listens = |place: &usize| self.nodes[*place].addr == addr;
        let known = self.places.get(&addr).copied().filter(listens);
        let place = known.or_else(|| self.nodes.iter().position(|node| node.addr == addr));
        self.places.extend(place.map(|place| (addr, place)));
        place
    }

    pub fn published(&mut self, place: usize, view: View) {
        if self.given.is_some() {
            self.nodes[place].view = Some(view);
            return;
        }
        let ring = &view.ring;
        ring.check().expect("published rings are rings");
        let hash = *self.rings.entry((ring.cluster, ring.epoch)).or_insert(ring.hash());
        assert_eq!(hash, ring.hash(), "two rings of {} epoch {}", ring.cluster, ring.epoch);
        let node = &self.nodes[place];
        assert_eq!(node.disk.ring.as_ref(), Some(&**ring), "used before it was on the disk");
        if ring.epoch == Epoch(1) {
            let vote = node.disk.vote.as_ref().expect("no founding without a vote").hash();
            for member in &ring.members {
                assert_eq!(self.votes.get(&member.id), Some(&vote), "founded without a vote");
            }
        }
        self.nodes[place].view = Some(view);
    }

    /// Says something on a control connection. It may break, and nobody listens there but who is meant.
    fn tell(&mut self, from: usize, to: NodeId, at: Option<SocketAddr>, message: &ControlMessage) {
        let is_meant = |node: &Node| node.machine.as_ref().is_some_and(|one| one.id() == to);
        let known =
            at.is_none_or(|at| self.nodes.iter().any(|node| node.addr == at && is_meant(node)));
        let target = self.nodes.iter().position(is_meant).filter(|_| known);
        let Some(target) = target.filter(|target| {
            !self.cut.contains(&(from, *target)) && !self.cut.contains(&(*target, from))
        }) else {
            return;
        };
        if self.random.random_bool(self.weather.loss / 2.0) {
            return;
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes).expect("it fits into a frame");
        let slow = self.slow.get(&(from, target)).copied().unwrap_or_default();
        let delay = self.weather.delay.mul_f64(self.random.random_range(0.0..1.0)) + STEP + slow;
        let (from, to) = (self.machine(from).id(), self.nodes[target].addr);
        self.later(delay, Item::Told { to, from, bytes });
    }

    pub fn send(&mut self, from: usize, to: SocketAddr, bytes: Vec<u8>) {
        assert!(bytes.len() <= MAX_DATAGRAM, "{} bytes", bytes.len());
        self.sent = (self.sent.0 + bytes.len() as u64, self.sent.1 + 1);
        let mut hasher = SipHasher24::new();
        hasher.write(&bytes);
        hasher.write(format!("{} {:?} {from} {to}", self.talk, self.now).as_bytes());
        self.talk = hasher.finish();
        let datagram = Datagram::decode(&bytes).expect("own bytes");
        self.heads.extend(datagram.head().map(|head| (from, *head)));
        if (self.lost)(&datagram) {
            return;
        }
        let target = self.place_of(to);
        if let (Datagram::Probe(_), Some(target)) = (&datagram, target) {
            let (last, longest) = self.probed.get(&(from, target)).copied().unwrap_or_default();
            self.probed.insert((from, target), (self.now, longest.max(self.now - last)));
        }
        let own = target == Some(from);
        if target.is_some_and(|target| self.cut.contains(&(from, target))) {
            return;
        }
        let slow = target.and_then(|target| self.slow.get(&(from, target))).copied();
        let from = self.nodes[from].addr;
        let copies = 1 + usize::from(self.random.random_bool(self.weather.double));
        for _ in 0..copies {
            if own || !self.random.random_bool(self.weather.loss) {
                let delay = self.weather.delay.mul_f64(self.random.random_range(0.0..1.0)) + STEP;
                let delay = delay + slow.unwrap_or_default();
                self.later(delay, Item::Deliver { to, from, bytes: bytes.clone() });
            }
        }
    }

    /// Runs for so long, or until `done`.
    pub fn run_until(&mut self, length: Duration, mut done: impl FnMut(&Net) -> bool) -> bool {
        let end = self.now + length;
        while !done(self) {
            let Some(Reverse((at, ..))) = self.queue.peek() else { break };
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, item))) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            self.happen(item);
        }
        let done = done(self);
        if !done {
            self.now = end;
        }
        done
    }

    pub fn run(&mut self, length: f64) {
        self.run_until(seconds(length), |_| false);
    }

    pub fn happen(&mut self, item: Item) {
        let place = match &item {
            Item::Deliver { to, .. } | Item::Told { to, .. } => self.place_of(*to),
            Item::Persisted { node, life, .. }
            | Item::Resolved { node, life, .. }
            | Item::Tick { node, life } => (self.nodes[*node].life == *life).then_some(*node),
        };
        let Some(place) = place.filter(|place| self.nodes[*place].machine.is_some()) else {
            return;
        };
        if self.nodes[place].paused > self.now {
            let wait = self.nodes[place].paused - self.now;
            return self.later(wait, item);
        }
        let event = match item {
            Item::Deliver { from, bytes, .. } => Event::Datagram(from, bytes),
            Item::Told { from, bytes, .. } => {
                let mut bytes = bytes::BytesMut::from(&bytes[..]);
                let (header, body) = split_raw(&mut bytes).expect("own bytes").expect("a frame");
                let message = ControlMessage::decode(header, &body).expect("own bytes");
                Event::Told(from, Box::new(message))
            }
            Item::Persisted { number, .. } => {
                let node = &mut self.nodes[place];
                let (done, writing) = std::mem::take(&mut node.writing)
                    .into_iter()
                    .partition(|(written, _)| *written <= number);
                node.writing = writing;
                let done: Vec<(u64, ControlState)> = done;
                if let Some((_, state)) = done.into_iter().next_back() {
                    node.disk = state;
                }
                let disk = node.disk.clone();
                self.note_vote(&disk);
                Event::Persisted(number)
            }
            Item::Resolved { seed, .. } => {
                let addrs = self.names.get(&seed).cloned().unwrap_or_default();
                Event::Resolved(seed, addrs)
            }
            Item::Tick { .. } => {
                let due = self.nodes[place].machine.as_ref().map(Control::next_deadline);
                if due.is_some_and(|due| due > self.clock(place)) {
                    return; // something else came first, and was followed by a tick of its own
                }
                Event::Tick
            }
        };
        self.step(place, event);
    }

    pub fn machine(&self, place: usize) -> &Control {
        self.nodes[place].machine.as_ref().expect("a running node")
    }

    pub fn ring_of(&self, place: usize) -> Option<(ClusterId, u64)> {
        let view = self.nodes[place].view.as_ref()?;
        Some((view.ring.cluster, view.ring.hash()))
    }

    /// Whether all members that run see all others that run as up, and the rest as down.
    pub fn settled_members(&self) -> bool {
        let running: BTreeSet<NodeId> =
            self.nodes.iter().filter_map(|node| node.machine.as_ref()).map(Control::id).collect();
        self.nodes.iter().filter(|node| node.machine.is_some()).all(|node| {
            node.view.as_ref().is_none_or(|view| {
                let right = |member: &ringdove::ring::Member| {
                    view.is_up(member.number) == running.contains(&member.id)
                };
                view.ring.members.iter().all(right)
            })
        })
    }

    /// Whether all nodes that run are members and see all others that run as up, and the rest as down.
    pub fn settled(&self) -> bool {
        let running = self.nodes.iter().filter(|node| node.machine.is_some());
        running.into_iter().all(|node| node.view.is_some()) && self.settled_members()
    }

    /// Whether everybody has the one ring, or waits to be taken in.
    pub fn decided(&self) -> bool {
        let rings: BTreeSet<_> =
            (0..self.nodes.len()).filter_map(|place| self.ring_of(place)).collect();
        let waits = |place| {
            let waiting = self.waiting(place);
            waiting.contains("already belongs") || waiting.contains("ready to join")
        };
        rings.len() == 1
            && (0..self.nodes.len()).all(|place| self.ring_of(place).is_some() || waits(place))
    }

    pub fn assert_one_cluster(&self) {
        let rings: BTreeSet<_> = (0..self.nodes.len()).map(|place| self.ring_of(place)).collect();
        assert!(rings.len() == 1 && !rings.contains(&None), "rings {rings:?}");
    }

    pub fn waiting(&self, place: usize) -> String {
        self.machine(place).status_part().waiting
    }
}
