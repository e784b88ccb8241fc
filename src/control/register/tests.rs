//! The register in a few lines each; that it cannot fork is the simulator's to say.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::causality::{Dead, Secret};
use crate::ring::{Member, MemberNumber, Partition, Settings, Slot};

/// A ring of members with these ids, of one age, with one partition.
pub(super) fn ring_of(ids: &[u128]) -> Ring {
    let member = |(place, id): (usize, &u128)| Member {
        number: MemberNumber(place as u16 + 1),
        id: NodeId(*id),
        name: format!("n{id}"),
        addr: ([127, 0, 0, 1], 7000 + place as u16).into(),
        zone: String::new(),
        weight: 1,
        since: Epoch(1),
        leaving: false,
    };
    let first = Slot::new(0).expect("a slot");
    Ring {
        cluster: ClusterId(7),
        epoch: Epoch(1),
        previous: 0,
        members: ids.iter().enumerate().map(member).collect(),
        partitions: vec![Partition::settled(first, vec![MemberNumber(1)])],
        settings: Settings::default(),
        secret: Secret([0; 16]),
        dead: Dead::NONE,
        highest: 0,
        paused: false,
        lineage: 0,
        lost: Vec::new(),
    }
}

fn with(ring: &Ring, id: u128) -> Ring {
    let mut next = successor(ring);
    let number = MemberNumber(highest(ring) + 1);
    let addr = ([127, 0, 0, 1], 7000 + number.0).into();
    let new = Member { number, id: NodeId(id), addr, since: next.epoch, ..ring.members[0].clone() };
    next.members.push(new);
    next
}

/// Machines whose disks are quick and whose messages arrive in order, but for those to and from `away`.
struct Net {
    nodes: Vec<Register>,
    away: BTreeSet<NodeId>,
    queue: VecDeque<(NodeId, NodeId, ControlMessage)>,
    said: Vec<(NodeId, Output)>,
    number: u64,
}

impl Net {
    fn of(ring: &Ring, spare: &[u128]) -> Self {
        let ids = ring.members.iter().map(|member| member.id);
        let kept = Kept { ring: Some(Arc::new(ring.clone())), ..Kept::default() };
        let member = |id: NodeId| Register::new(id, id.0 as u64, kept.clone());
        let mut nodes: Vec<Register> = ids.map(member).collect();
        nodes.extend(spare.iter().map(|id| Register::new(NodeId(*id), 0, Kept::default())));
        Net { nodes, away: BTreeSet::new(), queue: VecDeque::new(), said: Vec::new(), number: 0 }
    }

    fn node(&mut self, id: u128) -> &mut Register {
        self.nodes.iter_mut().find(|node| node.me == NodeId(id)).expect("a node")
    }

    fn carry_out(&mut self, id: NodeId, outputs: Vec<Output>) {
        let mut outputs = VecDeque::from(outputs);
        loop {
            while let Some(output) = outputs.pop_front() {
                match output {
                    Output::Tell(to, message) => self.queue.push_back((id, to, message)),
                    other => self.said.push((id, other)),
                }
            }
            self.number += 1;
            let number = self.number;
            let node = self.node(id.0);
            if !node.unwritten() {
                return;
            }
            let mut more = Vec::new();
            node.handed_out(number);
            node.persisted(number, &mut more);
            outputs.extend(more);
        }
    }

    fn run(&mut self) {
        while let Some((from, to, message)) = self.queue.pop_front() {
            if self.away.contains(&from) || self.away.contains(&to) {
                continue;
            }
            let mut out = Vec::new();
            self.node(to.0).hear(from, message, &mut out);
            self.carry_out(to, out);
        }
    }

    fn propose(&mut self, id: u128, wish: Ring) -> Result<(), NotProposed> {
        let mut out = Vec::new();
        let away = self.away.clone();
        let proposed = self.node(id).propose(wish, |id| !away.contains(&id), &mut out);
        self.carry_out(NodeId(id), out);
        proposed
    }

    fn epoch(&mut self, id: u128) -> u32 {
        self.node(id).ring().map_or(0, |ring| ring.epoch.0)
    }
}

#[test]
fn a_majority_brings_in_who_is_ready() {
    let ring = ring_of(&[1, 2, 3]);
    let mut net = Net::of(&ring, &[4]);
    net.away.insert(NodeId(3));
    assert!(net.node(4).bind(ClusterId(7)) && !net.node(4).bind(ClusterId(8)));
    net.propose(1, with(&ring, 4)).expect("nothing is against it");
    net.run();
    assert_eq!([1, 2, 3, 4].map(|id| net.epoch(id)), [2, 2, 1, 2]);
    assert!(net.said.contains(&(NodeId(1), Output::Done(Epoch(2)))), "three of four have it");
    // Who was away hears of the epoch, and pulls.
    net.away.clear();
    let mark = net.node(2).mark().expect("a ring");
    let mut out = Vec::new();
    net.node(3).heard_of(NodeId(2), mark.epoch, mark.hash, &mut out);
    net.carry_out(NodeId(3), out);
    net.run();
    assert_eq!(net.epoch(3), 2);
}

#[test]
fn nothing_is_decided_without_a_majority_or_with_strangers() {
    let ring = ring_of(&[1, 2, 3]);
    let mut net = Net::of(&ring, &[4]);
    net.away.extend([NodeId(2), NodeId(3)]);
    assert_eq!(net.propose(1, successor(&ring)), Err(NotProposed::NoQuorum));
    net.away = BTreeSet::from([NodeId(4)]);
    assert_eq!(net.propose(1, with(&ring, 4)), Err(NotProposed::NotReady(vec![NodeId(4)])));
    let mut reused = successor(&ring);
    reused.members[2].id = NodeId(9);
    assert!(
        matches!(net.propose(1, reused), Err(NotProposed::NoRing(_))),
        "numbers are not reused"
    );
    net.run();
    assert_eq!(net.epoch(1), 1);
}

#[test]
fn what_may_be_chosen_already_is_proposed_again() {
    let ring = ring_of(&[1, 2, 3]);
    let mut net = Net::of(&ring, &[4, 5]);
    net.propose(1, with(&ring, 4)).expect("nothing is against it");
    // 1 hears of no acceptance, though 1 and 2 accept.
    while let Some((from, to, message)) = net.queue.pop_front() {
        if matches!(message, ControlMessage::Accepted { .. }) || to == NodeId(3) {
            continue;
        }
        let mut out = Vec::new();
        net.node(to.0).hear(from, message, &mut out);
        net.carry_out(to, out);
    }
    net.away.insert(NodeId(1));
    net.propose(3, with(&ring, 5)).expect("nothing is against it");
    net.run();
    // 3 lost its first attempt against 2's promise, or adopted at once.
    net.propose(3, with(&ring, 5)).ok();
    net.run();
    let ring = net.node(3).ring().expect("a ring").clone();
    assert_eq!(ring.epoch, Epoch(2));
    assert!(ring.member_by_id(NodeId(4)).is_some() && ring.member_by_id(NodeId(5)).is_none());
}

#[test]
fn nothing_is_told_before_it_is_on_the_disk() {
    let ring = ring_of(&[1, 2, 3]);
    let mut net = Net::of(&ring, &[]);
    let after = net.node(2).mark().expect("a ring");
    let ballot = Ballot { round: 1, node: NodeId(1), life: 1 };
    let mut out = Vec::new();
    net.node(2).hear(NodeId(1), ControlMessage::Prepare { after, ballot }, &mut out);
    assert_eq!(out, []);
    assert!(net.node(2).unwritten());
    net.node(2).handed_out(4);
    net.node(2).persisted(3, &mut out);
    assert_eq!(out, []);
    net.node(2).persisted(4, &mut out);
    let promise = ControlMessage::Promise { after, ballot, accepted: None };
    assert_eq!(out, [Output::Tell(NodeId(1), promise)]);
}

#[test]
fn who_is_left_out_may_go_when_the_others_have_the_ring() {
    let ring = ring_of(&[1, 2, 3]);
    let mut net = Net::of(&ring, &[]);
    let mut wish = successor(&ring);
    wish.members.pop();
    wish.highest = 3;
    net.propose(3, wish).expect("it may propose its own leaving");
    let mut was_kept = false;
    while let Some((from, to, message)) = net.queue.pop_front() {
        let mut out = Vec::new();
        net.node(to.0).hear(from, message, &mut out);
        net.carry_out(to, out);
        let knows = net.epoch(3) == 2;
        was_kept |= knows && !net.node(3).may_go();
    }
    assert!(was_kept && net.node(3).may_go() && !net.node(1).may_go());
}

#[test]
fn two_rings_of_one_epoch_stop_everything() {
    let ring = ring_of(&[1, 2, 3]);
    let mut net = Net::of(&ring, &[]);
    let mut out = Vec::new();
    let other = Mark { hash: 99, ..net.node(1).mark().expect("a ring") };
    net.node(1).hear(NodeId(2), ControlMessage::Have(other), &mut out);
    assert!(matches!(&out[..], [Output::Say(log::Level::Error, text)] if text.contains("ALARM")));
    assert_eq!(net.node(1).fork().map(|fork| fork.other), Some(other));
    assert!(matches!(net.propose(1, successor(&ring)), Err(NotProposed::Forked(_))));
    net.away.insert(NodeId(3));
    net.propose(2, successor(&ring)).expect("it has not heard");
    net.run();
    assert_eq!(net.epoch(2), 1, "1 votes no more");
}

#[test]
fn a_forced_epoch_keeps_the_other_side_out() {
    let ring = ring_of(&[1, 2, 3, 4, 5]);
    let mut net = Net::of(&ring, &[]);
    net.away.extend([3, 4, 5].map(NodeId));
    let mut out = Vec::new();
    let left = BTreeSet::from([NodeId(1), NodeId(2)]);
    assert_eq!(net.node(3).force(&left, &mut out), Err(ForceError::NotLeft));
    let epoch = net.node(1).force(&left, &mut out).expect("both are members");
    net.carry_out(NodeId(1), out);
    net.run();
    assert_eq!((net.epoch(1), net.epoch(2)), (epoch.0, epoch.0));
    // The side that was given up goes on, and comes back.
    net.away = BTreeSet::from([NodeId(1), NodeId(2)]);
    net.propose(3, successor(&ring)).expect("three of five live");
    net.run();
    assert_eq!(net.epoch(5), 2);
    net.away.clear();
    let (old, new) = (net.node(5).mark().expect("a ring"), net.node(2).mark().expect("a ring"));
    for (to, from, mark) in [(5, 2, new), (2, 5, old)] {
        let mut out = Vec::new();
        net.node(to).heard_of(NodeId(from), mark.epoch, mark.hash, &mut out);
        net.carry_out(NodeId(to), out);
    }
    let wish = successor(net.node(4).ring().expect("a ring"));
    net.propose(4, wish).expect("it answers 3 and 5");
    net.run();
    assert_eq!((net.epoch(5), net.epoch(2)), (3, epoch.0));
    let alarm = |(id, said): &(NodeId, Output)| matches!(said, Output::Say(log::Level::Error, text) if id.0 > 2 && text.contains("gives this node up"));
    assert!(net.said.iter().any(alarm));
    let wish = successor(net.node(1).ring().expect("a ring"));
    net.propose(1, wish).expect("both live");
    net.run();
    assert_eq!(net.epoch(2), epoch.0 + 1);
}
