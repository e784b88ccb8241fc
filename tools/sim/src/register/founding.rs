//! Foundings: whole control machines that are to become one cluster, whatever goes wrong meanwhile.
//!
//! Three to five machines are started with one seed list. Datagrams are lost, doubled and late, links cut one way,
//! processes killed while they write, paused, and started anew as something slightly else; disks are slow, and wiped. Two checkers:
//! `vote`: an id votes once, and a ring is used only when all founders' votes for it are or were on their disks; `fork`: nobody sits
//! in two foundings, and the first epoch of a cluster is one ring.
//!
//! Invariant: everything follows from the seed. Not here: that the machines come to an end once all is healed
//! (`tests/control`), and later rings (`world`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use ringdove::control::{Control, ControlConfig, ControlState, Effect, Event, Proposal};
use ringdove::ring::{ClusterId, Epoch, NodeId, Ring};

use super::Seen;
use crate::Violation;
use crate::dice::Dice;

/// Virtual time of a history.
const LENGTH: Duration = Duration::from_secs(15);
/// The least that anything takes.
const LEAST: Duration = Duration::from_micros(50);

/// What happens to one life of a machine.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Datagram { at: usize, from: SocketAddr, bytes: Vec<u8> },
    Persisted { at: usize, life: u64, number: u64 },
    Tick { at: usize, life: u64 },
    Blow,
}

struct Node {
    disk: ControlState,
    writing: Vec<(u64, ControlState)>,
    machine: Option<Control>,
    life: u64,
    born: Duration,
    paused: Duration,
    zone: u64,
}

struct Founders {
    dice: Dice,
    now: Duration,
    order: u64,
    queue: BinaryHeap<Reverse<(Duration, u64, Item)>>,
    nodes: Vec<Node>,
    cut: BTreeSet<(usize, usize)>,
    /// How bad the network and the disks are.
    loss: f64,
    delay: Duration,
    disk: Duration,
    rings: BTreeMap<(ClusterId, Epoch), Ring>,
    /// All votes that ever were on a disk.
    votes: BTreeMap<NodeId, u64>,
    bad: Vec<Violation>,
    seen: Seen,
}

/// One history of a founding.
pub(super) fn run(seed: u64) -> (Seen, Vec<Violation>) {
    let mut dice = Dice::new(seed, "founding");
    let count = dice.range(3, 5) as usize;
    let nodes = (0..count).map(|_| Node {
        disk: new_state(&mut dice),
        writing: Vec::new(),
        machine: None,
        life: 0,
        born: Duration::ZERO,
        paused: Duration::ZERO,
        zone: 0,
    });
    let nodes = nodes.collect();
    let mut founders = Founders {
        dice,
        now: Duration::ZERO,
        order: 0,
        queue: BinaryHeap::new(),
        nodes,
        cut: BTreeSet::new(),
        loss: 0.0,
        delay: Duration::from_millis(2),
        disk: Duration::from_millis(3),
        rings: BTreeMap::new(),
        votes: BTreeMap::new(),
        bad: Vec::new(),
        seen: Seen::default(),
    };
    founders.weather();
    (0..count).for_each(|at| founders.start(at));
    founders.later(LEAST, Item::Blow);
    founders.play();
    founders.seen.histories = 1;
    founders.seen.founded = u64::from(!founders.rings.is_empty());
    (founders.seen, founders.bad)
}

fn addr(at: usize) -> SocketAddr {
    ([10, 0, 0, at as u8 + 1], 7400).into()
}

fn new_state(dice: &mut Dice) -> ControlState {
    ControlState::new(&mut ChaCha8Rng::seed_from_u64(dice.bits()))
}

impl Founders {
    fn play(&mut self) {
        while self.now < LENGTH && self.bad.is_empty() {
            let Some(Reverse((at, _, item))) = self.queue.pop() else { return };
            self.now = self.now.max(at);
            self.happen(item);
        }
    }

    fn later(&mut self, after: Duration, item: Item) {
        self.order += 1;
        self.queue.push(Reverse((self.now + after.max(LEAST), self.order, item)));
    }

    fn weather(&mut self) {
        self.loss = self.dice.pick(&[0.0, 0.1, 0.4]);
        self.delay = Duration::from_millis(self.dice.pick(&[2, 50, 800]));
        self.disk = Duration::from_millis(self.dice.pick(&[3, 100, 2000]));
    }

    fn start(&mut self, at: usize) {
        let count = self.nodes.len();
        let node = &mut self.nodes[at];
        let config = ControlConfig {
            name: format!("n{at}"),
            advertise: addr(at),
            zone: format!("z{}", node.zone),
            seeds: (0..count).map(|seed| addr(seed).to_string()).collect(),
            copies: 3,
            shards: 1,
        };
        let machine = Control::new(config, node.disk.clone(), self.dice.bits());
        node.machine = Some(machine.expect("a fine configuration"));
        (node.life, node.born, node.paused) = (node.life + 1, self.now, Duration::ZERO);
        self.step(at, Event::Tick);
    }

    fn kill(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.machine = None;
        let written = self.dice.index(node.writing.len() + 1);
        self.seen.writes_lost += (node.writing.len() - written) as u64;
        let writing = std::mem::take(&mut node.writing);
        if let Some((_, state)) = writing.into_iter().take(written).next_back() {
            node.disk = state;
        }
        self.note_vote(at);
    }

    fn note_vote(&mut self, at: usize) {
        let state = &self.nodes[at].disk;
        let Some(vote) = state.vote.as_ref().map(Proposal::hash) else { return };
        if *self.votes.entry(state.id).or_insert(vote) != vote {
            let what = format!("{} voted for two foundings", state.id);
            self.bad.push(Violation::new("vote", what));
        }
    }

    fn happen(&mut self, item: Item) {
        let at = match &item {
            Item::Blow => return self.blow(),
            Item::Datagram { at, .. } => *at,
            Item::Persisted { at, life, .. } | Item::Tick { at, life } => {
                if self.nodes[*at].life != *life {
                    return;
                }
                *at
            }
        };
        let node = &mut self.nodes[at];
        let Some(machine) = &node.machine else { return };
        if node.paused > self.now {
            let wait = node.paused - self.now;
            return self.later(wait, item);
        }
        let event = match item {
            Item::Datagram { from, bytes, .. } => Event::Datagram(from, bytes),
            Item::Persisted { number, .. } => {
                let last = node.writing.iter().rposition(|(written, _)| *written <= number);
                if let Some(last) = last {
                    let (_, state) = node.writing.swap_remove(last);
                    node.disk = state;
                    node.writing.retain(|(written, _)| *written > number);
                }
                self.note_vote(at);
                Event::Persisted(number)
            }
            Item::Tick { .. } if machine.next_deadline() > self.now - node.born => return,
            Item::Tick { .. } | Item::Blow => Event::Tick,
        };
        self.step(at, event);
    }

    fn step(&mut self, at: usize, event: Event) {
        let node = &mut self.nodes[at];
        let Some(machine) = &mut node.machine else { return };
        let (mut effects, now, life) = (Vec::new(), self.now - node.born, node.life);
        machine.step(now, event, &mut effects);
        let due = machine.next_deadline().saturating_sub(now);
        self.later(due, Item::Tick { at, life });
        effects.into_iter().for_each(|effect| self.carry_out(at, life, effect));
    }

    fn carry_out(&mut self, at: usize, life: u64, effect: Effect) {
        match effect {
            Effect::Datagram(to, bytes) => self.send(at, to, &bytes),
            Effect::Persist(number, state) => {
                self.nodes[at].writing.push((number, *state));
                let after = self.dice.around(self.disk);
                self.later(after, Item::Persisted { at, life, number });
            }
            Effect::Publish(view) => self.founded(at, &view.ring),
            // Later rings are another history's affair, and seeds are addresses here.
            Effect::Tell { .. }
            | Effect::Resolve(_)
            | Effect::Dial(_)
            | Effect::Refuse(_)
            | Effect::Answer(..)
            | Effect::Log(..) => {}
        }
    }

    fn send(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) {
        let Some(at) = (0..self.nodes.len()).find(|at| addr(*at) == to) else { return };
        if self.cut.contains(&(from, at)) {
            return;
        }
        for _ in 0..1 + usize::from(self.dice.chance(0.1)) {
            if at == from || !self.dice.chance(self.loss) {
                let after = self.dice.around(self.delay);
                let (from, bytes) = (addr(from), bytes.to_vec());
                self.later(after, Item::Datagram { at, from, bytes });
            }
        }
    }

    fn founded(&mut self, at: usize, ring: &Ring) {
        if ring.epoch != Epoch(1) {
            return;
        }
        let vote = self.nodes[at].disk.vote.as_ref().map(Proposal::hash);
        let silent = ring.members.iter().find(|member| self.votes.get(&member.id).copied() != vote);
        if let Some(member) = silent {
            let what =
                format!("cluster {} was founded without the vote of {}", ring.cluster, member.id);
            self.bad.push(Violation::new("vote", what));
        }
        let first = self.rings.entry((ring.cluster, ring.epoch)).or_insert_with(|| ring.clone());
        if first != ring {
            let what = format!("two rings found cluster {}", ring.cluster);
            self.bad.push(Violation::new("fork", what));
        }
        let sits = |other: &&Ring| {
            other.cluster != ring.cluster
                && other.members.iter().any(|member| ring.member_by_id(member.id).is_some())
        };
        if let Some(other) = self.rings.values().find(sits) {
            let what = format!("a founder sits in clusters {} and {}", other.cluster, ring.cluster);
            self.bad.push(Violation::new("fork", what));
        }
    }

    fn blow(&mut self) {
        let (at, other) = (self.dice.index(self.nodes.len()), self.dice.index(self.nodes.len()));
        match self.dice.range(0, 9) {
            0..=2 => {
                self.kill(at);
                // What was voted for must stand, whatever the node is called now.
                self.nodes[at].zone += u64::from(self.dice.chance(0.3));
                self.start(at);
            }
            3..=4 => {
                self.kill(at);
                self.nodes[at].disk = new_state(&mut self.dice);
                self.seen.disks_back += 1;
                self.start(at);
            }
            5 => self.nodes[at].paused = self.now + self.dice.micros(100_000, 6_000_000),
            6..=7 if at != other => {
                self.cut.insert((at, other));
            }
            8 => self.cut.clear(),
            _ => self.weather(),
        }
        let after = self.dice.around(Duration::from_millis(1500));
        self.later(after, Item::Blow);
    }
}
