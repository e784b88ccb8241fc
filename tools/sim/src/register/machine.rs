//! One machine: a register, the disk under it, and its part in the founding.
//!
//! Invariant: what a machine tells depends on nothing that is not on its disk, as far as the register sees to
//! it; when it stops, only its disk is left. Not here: the network, and who stops whom (`world`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use ringdove::control::ControlState;
use ringdove::control::register::{NotProposed, Output, Register, highest, successor};
use ringdove::ring::{ClusterId, Member, MemberNumber, NodeId, Ring};
use ringdove::wire::control::ControlMessage;

use super::world::{MACHINES, SEEDS, Saying, To, founding_ring};
use crate::dice::Dice;

/// For how many steps an answer is from lately.
const LATELY: u64 = 1500;

/// What a machine has on its disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub state: ControlState,
    /// The founding that it voted for.
    pub founding: Option<Box<Ring>>,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub place: usize,
    pub up: bool,
    /// What is on the disk.
    pub synced: Disk,
    /// What is being written, with its number.
    writing: VecDeque<(u64, Disk)>,
    number: u64,
    /// What the process has.
    founding: Option<Box<Ring>>,
    pub register: Register,
    pub id: NodeId,
    /// Every id that it ever had.
    pub ids: BTreeSet<NodeId>,
    pub copies: Vec<Disk>,
    /// Which members answered when, under which id.
    heard: BTreeMap<NodeId, u64>,
    /// Who said when that it is ready to join.
    ready: BTreeMap<NodeId, u64>,
    /// The id with which each seed answered.
    seen: [Option<NodeId>; SEEDS],
    founding_votes: BTreeMap<ClusterId, BTreeSet<NodeId>>,
    /// What it wants, for the world to carry out.
    pub outbox: Vec<Output>,
    pub sayings: Vec<(To, Saying)>,
}

impl Machine {
    pub fn new(place: usize, dice: &mut Dice) -> Self {
        let disk = Disk { state: new_state(dice), founding: None };
        let register = Register::new(disk.state.id, dice.bits(), disk.state.kept());
        let id = disk.state.id;
        Machine {
            place,
            up: true,
            synced: disk,
            writing: VecDeque::new(),
            number: 0,
            founding: None,
            register,
            id,
            ids: BTreeSet::from([id]),
            copies: Vec::new(),
            heard: BTreeMap::new(),
            ready: BTreeMap::new(),
            seen: [None; SEEDS],
            founding_votes: BTreeMap::new(),
            outbox: Vec::new(),
            sayings: Vec::new(),
        }
    }

    /// The machine is empty again, and somebody new.
    pub fn format(&mut self, dice: &mut Dice) {
        self.synced = Disk { state: new_state(dice), founding: None };
        self.start(dice);
    }

    /// Its disk is a copy of what it was once, and that is known.
    pub fn restore(&mut self, dice: &mut Dice) {
        self.synced = self.copies[dice.index(self.copies.len())].clone();
        let before = self.synced.state.id;
        self.synced.state.reborn(&mut ChaCha8Rng::seed_from_u64(dice.bits()));
        if self.synced.state.id != before {
            self.synced.founding = None;
        }
        self.start(dice);
    }

    /// The process stops. Of what it was writing, some may be on the disk.
    pub fn stop(&mut self, dice: &mut Dice) -> u64 {
        self.up = false;
        let written = dice.index(self.writing.len() + 1);
        if written > 0 {
            self.synced = self.writing[written - 1].1.clone();
        }
        let lost = self.writing.len() - written;
        self.writing.clear();
        lost as u64
    }

    /// A process begins, with what is on the disk.
    pub fn start(&mut self, dice: &mut Dice) {
        self.up = true;
        self.writing.clear();
        self.number = 0;
        self.founding.clone_from(&self.synced.founding);
        self.id = self.synced.state.id;
        self.ids.insert(self.id);
        self.register = Register::new(self.id, dice.bits(), self.synced.state.kept());
        (self.heard, self.ready, self.seen) = (BTreeMap::new(), BTreeMap::new(), [None; SEEDS]);
        self.founding_votes.clear();
        (self.outbox, self.sayings) = (Vec::new(), Vec::new());
    }

    /// Begins to write what has changed.
    pub fn save(&mut self) {
        if self.register.unwritten() {
            self.write();
        }
    }

    fn write(&mut self) {
        let latest = self.writing.back().map_or(&self.synced, |(_, disk)| disk);
        let mut disk = Disk { state: latest.state.clone(), founding: self.founding.clone() };
        disk.state.keep(self.register.kept());
        self.number += 1;
        self.register.handed_out(self.number);
        self.writing.push_back((self.number, disk));
    }

    /// All that is being written is on the disk.
    pub fn sync(&mut self) {
        if let Some((number, disk)) = self.writing.pop_back() {
            self.writing.clear();
            self.synced = disk;
            self.register.persisted(number, &mut self.outbox);
        }
    }

    pub fn ring(&self) -> Option<&Ring> {
        self.register.ring().map(|ring| &**ring)
    }

    pub fn hear(&mut self, now: u64, saying: Saying) {
        match saying {
            Saying::Control(from, message) => {
                if self.ring().is_some_and(|ring| ring.member_by_id(from).is_some()) {
                    self.heard.insert(from, now);
                }
                self.register.hear(from, message, &mut self.outbox);
            }
            Saying::Who(place, cluster) => self.on_who(place, cluster),
            Saying::IAm(place, id, cluster) => self.on_i_am(now, place, id, cluster),
            Saying::Found(from, ring) => self.on_found(from, ring),
            Saying::Vote(from, ring) => self.on_founding_vote(from, *ring),
        }
    }

    // -- founding and joining: a seed list is places; the ring that it founds is ids -------------------

    pub fn hello(&mut self) {
        let mine = self.ring().map(|ring| ring.cluster);
        let asked = if mine.is_none() { SEEDS } else { MACHINES };
        let ask = |place| (To::Place(place), Saying::Who(self.place, mine));
        self.sayings.extend((0..asked).map(ask));
    }

    fn on_who(&mut self, asker: usize, cluster: Option<ClusterId>) {
        if let Some(cluster) = cluster.filter(|_| self.founding.is_none()) {
            self.register.bind(cluster);
            self.save();
            self.sync();
        }
        if let Some(ring) = self.ring() {
            let ring = ControlMessage::Ring(Box::new(ring.clone()));
            self.sayings.push((To::Place(asker), Saying::Control(self.id, ring)));
        }
        // Who was a member, and is none any more, is not ready for anything.
        let left = self.ring().is_some_and(|ring| ring.member_by_id(self.id).is_none());
        let i_am = Saying::IAm(self.place, self.id, self.register.bound().filter(|_| !left));
        self.sayings.push((To::Place(asker), i_am));
    }

    fn on_i_am(&mut self, now: u64, place: usize, id: NodeId, cluster: Option<ClusterId>) {
        if let Some(ring) = self.ring() {
            let (mine, is_member) = (ring.cluster, ring.member_by_id(id).is_some());
            if is_member {
                // Who knows dials the members: one may know no seed of ours.
                self.register.show_ring(id, &mut self.outbox);
            }
            if cluster == Some(mine) {
                let said = if is_member { &mut self.heard } else { &mut self.ready };
                said.insert(id, now);
            }
            return;
        }
        if place >= SEEDS || self.place >= SEEDS {
            return;
        }
        self.seen[place] = Some(id);
        let Some(ids) = self.seen.into_iter().collect::<Option<Vec<_>>>() else { return };
        let ring = founding_ring(&ids);
        if self.founding.as_ref().is_some_and(|voted| **voted != ring) {
            return; // see `must_give_way`
        }
        let found = |id| (To::Id(id), Saying::Found(self.id, Box::new(ring.clone())));
        self.sayings.extend(ids.into_iter().map(found));
    }

    /// Whether what this founder voted for cannot come true: another founder was wiped halfway. Nothing was served yet,
    /// so it begins again, as somebody new.
    pub fn must_give_way(&self) -> bool {
        let Some(ids) = self.seen.into_iter().collect::<Option<Vec<_>>>() else { return false };
        let voted = self.founding.as_ref().filter(|_| self.ring().is_none());
        voted.is_some_and(|voted| **voted != founding_ring(&ids))
    }

    fn on_found(&mut self, from: NodeId, ring: Box<Ring>) {
        if self.ring().is_some() {
            return self.register.show_ring(from, &mut self.outbox);
        }
        let voted = self.founding.as_ref().is_some_and(|voted| *voted != ring);
        if voted || self.register.bound().is_some() {
            return;
        }
        self.founding = Some(ring.clone());
        self.write();
        self.sync();
        self.sayings.push((To::Id(from), Saying::Vote(self.id, ring)));
    }

    fn on_founding_vote(&mut self, from: NodeId, ring: Ring) {
        if self.ring().is_some() || self.register.bound().is_some() {
            return;
        }
        let votes = self.founding_votes.entry(ring.cluster).or_default();
        votes.insert(from);
        if ring.members.iter().all(|member| votes.contains(&member.id)) {
            self.register.founded(ring, &mut self.outbox);
        }
    }

    // -- leading ----------------------------------------------------------------------------------------

    /// Who answered lately, or said that it is ready to join.
    pub fn answered_lately(&self, now: u64) -> BTreeSet<NodeId> {
        let lately = |at: u64| now.saturating_sub(at) <= LATELY;
        let heard = self.heard.iter().filter(|(_, at)| lately(**at)).map(|(id, _)| *id);
        heard.chain(self.ready_lately(now)).collect()
    }

    /// Who said lately that it is ready to join.
    pub fn ready_lately(&self, now: u64) -> impl Iterator<Item = NodeId> + '_ {
        let lately = move |at: u64| now.saturating_sub(at) <= LATELY;
        self.ready.iter().filter(move |(_, at)| lately(**at)).map(|(id, _)| *id)
    }

    /// Proposes the ring that `plan` makes of the one in force; `false` when the register refuses.
    pub fn propose(&mut self, now: u64, wish: Ring) -> bool {
        let lately = self.answered_lately(now);
        let proposed = self.register.propose(wish, |id| lately.contains(&id), &mut self.outbox);
        match proposed {
            Ok(()) => true,
            Err(NotProposed::NotReady(_) | NotProposed::NoQuorum) => false,
            Err(NotProposed::NoMember | NotProposed::Forked(_)) => false,
            Err(why @ NotProposed::NoRing(_)) => panic!("the plan is no ring: {why}"),
        }
    }
}

fn new_state(dice: &mut Dice) -> ControlState {
    ControlState::new(&mut ChaCha8Rng::seed_from_u64(dice.bits()))
}

/// The ring after this one, without some members and with some nodes. Rows are not what this is about: the one there is
/// stays, and so does who is in it.
pub(super) fn plan(ring: &Ring, gone: &BTreeSet<NodeId>, new: &[NodeId], tag: u32) -> Ring {
    let mut next = successor(ring);
    let row = &ring.partitions[0].row;
    next.members.retain(|member| !gone.contains(&member.id) || row.contains(&member.number));
    next.highest = highest(ring);
    let first = (highest(ring) + 1)..;
    for (number, id) in first.zip(new) {
        let number = MemberNumber(number);
        let addr = ([127, 0, 0, 1], number.0).into();
        let like = ring.members[0].clone();
        let since = next.epoch;
        next.members.push(Member { number, id: *id, addr, since, ..like });
    }
    // Two plans are never the same by accident.
    next.members[0].weight = tag;
    next
}
