//! What happens to six machines, and who sees all of it.
//!
//! Invariant: everything follows from the seed. The observer takes a ring for chosen when a quorum of the ring before
//! has *told* that it accepted it, or somebody learnt it.

use std::collections::{BTreeMap, BTreeSet};

use ringdove::causality::{Dead, Secret};
use ringdove::control::register::Output;
use ringdove::ring::{
    ClusterId, Epoch, Member, MemberNumber, NodeId, Partition, Ring, Settings, Slot,
};
use ringdove::wire::control::{Ballot, ControlMessage, Mark};

use super::Seen;
use super::machine::{Machine, plan};
use crate::Violation;
use crate::dice::Dice;

/// Machines in all.
pub(super) const MACHINES: usize = 6;
/// Machines that the seed list names: the first.
pub(super) const SEEDS: usize = 3;
/// Steps of a history before it is healed.
const STEPS: u64 = 2500;
/// Rounds that a healed cluster has to decide on one more ring.
const ROUNDS: usize = 40;

/// Whom a message is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    /// Whoever has this id.
    Id(NodeId),
    /// Whoever runs there.
    Place(usize),
}

/// What machines say to each other.
#[derive(Debug, Clone)]
pub(super) enum Saying {
    /// Something about the ring.
    Control(NodeId, ControlMessage),
    /// Who is there? I am at this place, and of this cluster.
    Who(usize, Option<ClusterId>),
    /// This place, this id; and the cluster that it is in, or ready for.
    IAm(usize, NodeId, Option<ClusterId>),
    /// Shall we found this?
    Found(NodeId, Box<Ring>),
    /// I voted for this.
    Vote(NodeId, Box<Ring>),
}

/// Votes for one ring in one attempt: the epoch before, the ballot, the ring's hash.
type Attempt = (ClusterId, Epoch, Ballot, u64);

pub(super) struct World {
    dice: Dice,
    now: u64,
    tags: u32,
    net: Vec<(To, Saying)>,
    machines: Vec<Machine>,
    calm: bool,
    /// Rings that were proposed, by hash, and the latest attempt of each.
    proposed: BTreeMap<u64, (Ring, Ballot)>,
    votes: BTreeMap<Attempt, BTreeSet<NodeId>>,
    chosen: BTreeMap<(ClusterId, Epoch), Ring>,
    newest: Option<Ring>,
    /// The ring that each id used last, in this life of it or an earlier one.
    used: BTreeMap<NodeId, Mark>,
    /// Ids whose disks are gone.
    lost: BTreeSet<NodeId>,
    /// Ids that nobody ever had.
    ghosts: BTreeSet<NodeId>,
    bad: Vec<Violation>,
    seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "register");
        let machines = (0..MACHINES).map(|place| Machine::new(place, &mut dice)).collect();
        World {
            dice,
            now: 0,
            tags: 1,
            net: Vec::new(),
            machines,
            calm: false,
            proposed: BTreeMap::new(),
            votes: BTreeMap::new(),
            chosen: BTreeMap::new(),
            newest: None,
            used: BTreeMap::new(),
            lost: BTreeSet::new(),
            ghosts: BTreeSet::new(),
            bad: Vec::new(),
            seen: Seen { histories: 1, ..Seen::default() },
        }
    }

    pub fn run(mut self) -> (Seen, Vec<Violation>) {
        while self.now < STEPS && self.bad.is_empty() {
            self.now += 1;
            self.step();
        }
        if self.bad.is_empty() {
            self.heal();
        }
        self.seen.epochs = self.newest.as_ref().map_or(0, |ring| u64::from(ring.epoch.0));
        self.seen.founded = u64::from(self.newest.is_some());
        (self.seen, self.bad)
    }

    // -- what happens -----------------------------------------------------------------------------------

    fn step(&mut self) {
        let at = self.dice.index(MACHINES);
        let weights = [0.81, 0.04, 0.04, 0.04, 0.015, 0.025, 0.005, 0.015, 0.0035, 0.002];
        match self.dice.weighted(&weights) {
            0 if !self.net.is_empty() => {
                let message = self.dice.index(self.net.len());
                self.deliver(message);
            }
            1 => {
                self.machines[at].sync();
                self.settle(at);
            }
            2 if self.machines[at].up => {
                self.machines[at].hello();
                self.settle(at);
            }
            3 if self.machines[at].up && (self.leads(at) || self.dice.chance(0.3)) => {
                self.propose(at, true);
            }
            4 if self.machines[at].up => self.stop(at),
            5 => self.come_back(at),
            6 => {
                let copy = self.machines[at].synced.clone();
                self.machines[at].copies.push(copy);
            }
            7 => (0..MACHINES).for_each(|place| self.throw_away(place)),
            8 if !self.machines[at].copies.is_empty() => {
                self.lost.insert(self.machines[at].synced.state.id);
                self.machines[at].restore(&mut self.dice);
                self.seen.disks_back += 1;
            }
            9 => {
                self.lost.insert(self.machines[at].synced.state.id);
                self.machines[at].format(&mut self.dice);
                self.seen.disks_back += 1;
            }
            _ => {}
        }
    }

    fn stop(&mut self, at: usize) {
        self.seen.writes_lost += self.machines[at].stop(&mut self.dice);
    }

    /// A machine returns, or is killed and started again at once.
    fn come_back(&mut self, at: usize) {
        if self.machines[at].up {
            if !self.dice.chance(0.3) {
                return;
            }
            self.stop(at);
        }
        self.machines[at].start(&mut self.dice);
        if let Some(ring) = self.machines[at].ring().cloned() {
            self.uses(self.machines[at].id, &ring);
        }
        if self.leads(at) && self.dice.chance(0.5) {
            self.propose(at, true);
        }
    }

    /// Whoever was removed and may go is switched off for good; an empty machine takes its place.
    fn throw_away(&mut self, at: usize) {
        let machine = &self.machines[at];
        if !machine.up || !machine.register.may_go() {
            return;
        }
        let id = machine.id;
        let named = self.chosen.values().any(|ring| ring.member_by_id(id).is_some());
        let needed = self.newest.as_ref().is_some_and(|ring| ring.member_by_id(id).is_some());
        if !named || needed {
            // Withdrawn after it had said that it is ready: a fault.
            self.lost.insert(id);
        }
        self.seen.thrown_away += 1;
        self.machines[at].format(&mut self.dice);
    }

    fn deliver(&mut self, message: usize) {
        let (to, saying) = self.net.remove(message);
        let at = match to {
            To::Place(place) => Some(place),
            To::Id(id) => self.machines.iter().position(|machine| machine.up && machine.id == id),
        };
        let Some(at) = at.filter(|at| self.machines[*at].up) else { return };
        self.machines[at].hear(self.now, saying);
        if self.machines[at].must_give_way() {
            self.machines[at].format(&mut self.dice);
        }
        self.settle(at);
    }

    /// Carries out what a machine wants. Its disk is mostly quick.
    fn settle(&mut self, at: usize) {
        loop {
            self.machines[at].save();
            if self.calm || self.dice.chance(0.6) {
                self.machines[at].sync();
            }
            let outputs = std::mem::take(&mut self.machines[at].outbox);
            let sayings = std::mem::take(&mut self.machines[at].sayings);
            let done = outputs.is_empty() && sayings.is_empty();
            let from = self.machines[at].id;
            outputs.into_iter().for_each(|output| self.carry_out(from, output));
            sayings.into_iter().for_each(|(to, saying)| self.send(to, saying));
            if done {
                return;
            }
        }
    }

    fn carry_out(&mut self, from: NodeId, output: Output) {
        match output {
            Output::Tell(to, message) => {
                self.observe(from, &message);
                self.send(To::Id(to), Saying::Control(from, message));
            }
            Output::Learnt(ring) => {
                self.learnt(&ring);
                self.uses(from, &ring);
            }
            Output::Done(_) | Output::Say(..) => {}
        }
    }

    fn send(&mut self, to: To, saying: Saying) {
        let doubled = !self.calm && self.dice.chance(0.1);
        if self.calm || !self.dice.chance(0.1) {
            if doubled {
                self.net.push((to, saying.clone()));
            }
            self.net.push((to, saying));
        }
    }

    // -- leading ----------------------------------------------------------------------------------------

    /// Whether it is the oldest member that lives.
    fn leads(&self, at: usize) -> bool {
        let machine = &self.machines[at];
        let Some(ring) = machine.ring() else { return false };
        let lives = |id| self.machines.iter().any(|other| other.up && other.id == id);
        let living = ring.members.iter().filter(|member| lives(member.id));
        living.min_by_key(|member| (member.since, member.number)).map(|member| member.id)
            == Some(machine.id)
    }

    /// Some members go, some nodes that said they are ready come in: several at once.
    fn propose(&mut self, at: usize, change: bool) {
        let machine = &self.machines[at];
        let Some(ring) = machine.ring().cloned() else { return };
        if ring.member_by_id(machine.id).is_none() {
            return;
        }
        self.tags += 1;
        let (mut gone, mut new) = (BTreeSet::new(), Vec::new());
        if change {
            let mut members: Vec<NodeId> = ring.members.iter().map(|member| member.id).collect();
            self.dice.shuffle(&mut members);
            let some = self.dice.index(members.len().min(3) + 1);
            gone.extend(members.into_iter().take(some));
            new = machine
                .ready_lately(self.now)
                .filter(|id| ring.member_by_id(*id).is_none())
                .collect();
            self.dice.shuffle(&mut new);
            new.truncate(self.dice.index(4));
            if self.dice.chance(0.1) {
                let ghost = NodeId(u128::from(self.dice.bits()));
                self.ghosts.insert(ghost);
                new.push(ghost);
            }
        }
        let wish = plan(&ring, &gone, &new, self.tags);
        if self.machines[at].propose(self.now, wish) {
            self.seen.attempts += 1;
        } else {
            self.seen.refused += 1;
        }
        self.settle(at);
    }

    // -- the observer -------------------------------------------------------------------------------------

    fn observe(&mut self, from: NodeId, message: &ControlMessage) {
        match message {
            ControlMessage::Accept { vote, .. } => {
                let (ring, ballot) = (Ring::clone(&vote.ring), vote.ballot);
                let before = self.proposed.insert(ring.hash(), (ring, ballot));
                if before.is_some_and(|(_, before)| before != ballot) {
                    self.seen.adopted += 1;
                }
            }
            ControlMessage::Accepted { after, ballot, ring } => {
                self.accepted(from, *after, *ballot, *ring);
            }
            ControlMessage::Prepare { .. }
            | ControlMessage::Promise { .. }
            | ControlMessage::Refused { .. }
            | ControlMessage::Pull { .. }
            | ControlMessage::Ring(_)
            | ControlMessage::Have(_)
            | ControlMessage::Reports(_)
            | ControlMessage::Lives(_)
            | ControlMessage::RefuseLives(_)
            | ControlMessage::LivesRefused { .. }
            | ControlMessage::Change(_)
            | ControlMessage::Changed(..) => {}
        }
    }

    fn accepted(&mut self, who: NodeId, after: Mark, ballot: Ballot, hash: u64) {
        let voters = self.votes.entry((after.cluster, after.epoch, ballot, hash)).or_default();
        voters.insert(who);
        let Some(before) = self.chosen.get(&(after.cluster, after.epoch)) else { return };
        if quorum(before, voters)
            && let Some((ring, _)) = self.proposed.get(&hash).cloned()
        {
            self.learnt(&ring);
        }
    }

    fn learnt(&mut self, ring: &Ring) {
        let key = (ring.cluster, ring.epoch);
        if ring.epoch == Epoch(1) {
            // A founder sits in one founding only.
            let sits = |other: &Ring| {
                other.members.iter().any(|member| ring.member_by_id(member.id).is_some())
            };
            let others = self.chosen.values().filter(|other| other.epoch == Epoch(1));
            let mut others = others.filter(|other| other.cluster != ring.cluster);
            if let Some(other) = others.find(|other| sits(other)) {
                let what = format!("{} and {} both founded", shown(other), shown(ring));
                self.bad.push(Violation::new("fork", what));
            }
        }
        let first = self.chosen.entry(key).or_insert_with(|| ring.clone());
        if first != ring {
            let what = format!("{} and {}", shown(first), shown(ring));
            self.bad.push(Violation::new("fork", what));
        }
        let known = |id: &NodeId| self.machines.iter().any(|machine| machine.ids.contains(id));
        if let Some(ghost) = ring.members.iter().find(|member| !known(&member.id)) {
            let what = format!("{} names {:?}, whom nobody ever heard", shown(ring), ghost.id);
            self.bad.push(Violation::new("ids", what));
        }
        if self.newest.as_ref().is_none_or(|newest| ring.epoch > newest.epoch) {
            self.newest = Some(ring.clone());
        }
    }

    /// A node goes by this ring from now on: never by an older one than before, nor by another cluster's.
    fn uses(&mut self, id: NodeId, ring: &Ring) {
        let mark = Mark::of(ring);
        let before = self.used.insert(id, mark);
        let back = |before: &Mark| before.cluster != mark.cluster || before.epoch > mark.epoch;
        if let Some(before) = before.filter(back) {
            let what = format!("{id:?} went by {before:?}, and goes by {mark:?}");
            self.bad.push(Violation::new("epochs", what));
        }
    }

    // -- the end --------------------------------------------------------------------------------------------

    /// No more faults; the oldest living member drives, as everybody else would let it.
    fn heal(&mut self) {
        self.net.clear();
        self.calm = true;
        for at in 0..MACHINES {
            if !self.machines[at].up {
                self.machines[at].start(&mut self.dice);
            }
            self.settle(at);
        }
        let Some(before) = self.newest.clone() else { return };
        for _ in 0..ROUNDS {
            for at in 0..MACHINES {
                self.machines[at].hello();
                self.settle(at);
            }
            self.deliver_all();
            for at in 0..MACHINES {
                let mine = self.machines[at].ring().map(|ring| ring.cluster);
                if mine == Some(before.cluster) && self.leads(at) {
                    self.propose(at, false);
                }
            }
            self.deliver_all();
            if !self.bad.is_empty() || self.newest.as_ref().is_some_and(|r| r.epoch > before.epoch)
            {
                return;
            }
        }
        self.judge(&before);
    }

    fn deliver_all(&mut self) {
        while !self.net.is_empty() {
            self.deliver(0);
        }
    }

    /// Nothing more was decided. Whether that is anybody's fault.
    fn judge(&mut self, before: &Ring) {
        let living: BTreeSet<NodeId> = self.machines.iter().map(|machine| machine.id).collect();
        let knows = |machine: &&Machine| machine.ring() == Some(before);
        let knowing = self.machines.iter().filter(knows).map(|machine| machine.id).collect();
        if let Some(previous) = self.chosen.get(&(before.cluster, Epoch(before.epoch.0 - 1))) {
            let left = previous.members.iter().map(|member| member.id);
            let left = left.filter(|id| !self.lost.contains(id)).collect();
            if !quorum(before, &knowing) && !quorum(previous, &left) {
                return; // too many disks were lost at once
            }
        }
        let ghosts =
            before.members.iter().filter(|member| self.ghosts.contains(&member.id)).count();
        if quorum(before, &living) || ghosts > 0 {
            let what =
                format!("{} can decide nothing, though it lives; {ghosts} ghosts", shown(before));
            self.bad.push(Violation::new("stuck", what));
        }
    }
}

/// Whether these are a quorum of that ring, counted without the register's help.
fn quorum(ring: &Ring, ids: &BTreeSet<NodeId>) -> bool {
    let count = ring.members.iter().filter(|member| ids.contains(&member.id)).count();
    let oldest = ring.members.iter().min_by_key(|member| (member.since, member.number));
    let with_oldest = oldest.is_some_and(|member| ids.contains(&member.id));
    2 * count > ring.members.len() || (2 * count == ring.members.len() && with_oldest)
}

fn shown(ring: &Ring) -> String {
    let ids: Vec<String> = ring.members.iter().map(|member| format!("{:?}", member.id)).collect();
    format!("epoch {} of {} ({})", ring.epoch, ids.join(" "), ring.members[0].weight)
}

/// The ring that these nodes found.
pub(super) fn founding_ring(ids: &[NodeId]) -> Ring {
    let mix = |sum: u64, id: &NodeId| sum.wrapping_mul(0x0100_0000_01b3) ^ id.0 as u64;
    let member = |(place, id): (usize, &NodeId)| Member {
        number: MemberNumber(place as u16 + 1),
        id: *id,
        name: "machine".to_owned(),
        addr: ([127, 0, 0, 1], place as u16 + 1).into(),
        zone: String::new(),
        weight: 1,
        since: Epoch(1),
        leaving: false,
    };
    let first = Slot::new(0).expect("there is a slot 0");
    Ring {
        cluster: ClusterId(ids.iter().fold(1, mix)),
        epoch: Epoch(1),
        previous: 0,
        members: ids.iter().enumerate().map(member).collect(),
        partitions: vec![Partition::settled(
            first,
            vec![MemberNumber(ids[0].0 as u16 % SEEDS as u16 + 1)],
        )],
        settings: Settings::default(),
        secret: Secret([0; 16]),
        dead: Dead::NONE,
        highest: 0,
        paused: false,
        lineage: 0,
        lost: Vec::new(),
    }
}
