//! Nodes join a cluster that exists, whoever fails meanwhile, and there is one ring of each epoch.

use std::collections::BTreeSet;

use rand::RngExt;
use ringdove::control::Event;
use ringdove::control::register::{highest, successor};
use ringdove::ring::{Epoch, Member};
use ringdove::wire::control::ControlMessage;

use super::changes::{rests, shards_report};
use super::net::{Net, Weather, seconds};

/// Whether all of these nodes have one ring, with so many members.
fn agree(net: &Net, places: &[usize], members: usize) -> bool {
    let rings: BTreeSet<_> = places.iter().map(|place| net.ring_of(*place)).collect();
    let view = net.nodes[places[0]].view.as_ref();
    rings.len() == 1 && view.is_some_and(|view| view.ring.members.len() == members)
}

fn leader(net: &Net) -> usize {
    let oldest = |member: &&Member| {
        net.nodes.iter().any(|node| node.machine.as_ref().is_some_and(|one| one.id() == member.id))
    };
    let view = net.nodes.iter().find_map(|node| node.view.as_ref()).expect("a cluster");
    let members = view.ring.members.iter().filter(oldest);
    let first = members.min_by_key(|member| (member.since, member.number)).expect("somebody runs");
    let is_first =
        |node: &super::net::Node| node.machine.as_ref().is_some_and(|one| one.id() == first.id);
    net.nodes.iter().position(is_first).expect("it runs")
}

#[test]
fn a_node_whose_seeds_are_in_a_cluster_joins_it() {
    let mut net = Net::cluster(1, 3);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let late = net.add(&[1]);
    net.start(late);
    assert!(net.run_until(seconds(10.0), |net| agree(net, &[0, 1, 2, 3], 4)));
    let ring = &net.nodes[late].view.as_ref().expect("a member").ring;
    let new = ring.member_by_id(net.machine(late).id()).expect("it is named");
    assert_eq!((new.number.0, new.since, new.name.as_str()), (4, Epoch(2), "n4"));
    assert!(net.run_until(seconds(10.0), Net::settled));
    // Here nobody copies anything, so that the newcomer has not all that it is to own.
    let states: Vec<String> = net.machine(0).members().into_iter().map(|line| line.state).collect();
    assert_eq!(states, ["UN", "UN", "UN", "UJ"]);
    // It is one of them for good.
    net.kill(late);
    net.start(late);
    assert!(net.run_until(seconds(10.0), Net::settled));
    assert!(agree(&net, &[0, 1, 2, 3], 4));
}

#[test]
fn many_join_at_once_and_a_lone_node_grows() {
    let mut net = Net::new(2);
    net.add(&[]);
    for _ in 0..5 {
        net.add(&[0]);
    }
    (0..6).for_each(|place| net.start(place));
    let all: Vec<usize> = (0..6).collect();
    assert!(net.run_until(seconds(60.0), |net| agree(net, &all, 6)));
    let numbers: BTreeSet<u16> = net.nodes[0]
        .view
        .as_ref()
        .expect("a ring")
        .ring
        .members
        .iter()
        .map(|m| m.number.0)
        .collect();
    assert_eq!(numbers, (1..=6).collect());
}

#[test]
fn nobody_joins_without_a_majority_and_status_says_so() {
    let mut net = Net::cluster(3, 3);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let left = leader(&net);
    (0..3).filter(|place| *place != left).for_each(|place| net.kill(place));
    let late = net.add(&[left]);
    net.start(late);
    net.run(60.0);
    assert!(net.nodes[late].view.is_none());
    assert!(net.waiting(late).contains("ready to join cluster"), "{}", net.waiting(late));
    let sentences = net.machine(left).status_part().sentences;
    let nobody = |line: &String| line.contains("Nobody leads") && line.contains("too few members");
    assert!(sentences.iter().any(nobody), "{sentences:?}");
    let back = (0..3).find(|place| *place != left).expect("another");
    net.start(back);
    assert!(net.run_until(seconds(30.0), |net| agree(net, &[left, back, late], 4)));
}

/// A node that told one cluster that it is ready takes part in no other, whatever its seeds say now.
#[test]
fn who_is_bound_stays_bound() {
    let mut net = Net::cluster(4, 3);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let other = net.add(&[]);
    net.start(other);
    assert!(net.run_until(seconds(5.0), |net| net.ring_of(other).is_some()));
    let late = net.add(&[0]);
    (0..2).for_each(|place| net.kill(place));
    net.start(0);
    net.kill(2);
    net.start(late);
    net.run(5.0);
    assert!(net.waiting(late).contains("ready to join cluster"), "{}", net.waiting(late));
    net.kill(late);
    net.nodes[late].config.seeds = vec![net.nodes[other].addr.to_string()];
    net.start(late);
    net.run(30.0);
    assert!(net.nodes[late].view.is_none(), "it joined a second cluster");
}

/// Leaders are killed at every moment of a join; disks are slow and messages lost. `Net` objects to two rings of one epoch,
/// and to rings that are used before they are on the disk.
#[test]
fn a_join_survives_the_loss_of_leaders() {
    let mut joined_in_storm = 0;
    for seed in 0..24 {
        let mut net = Net::cluster(seed, 3);
        assert!(net.run_until(seconds(10.0), Net::settled), "seed {seed}");
        net.weather = Weather::foul(&mut net.random);
        let late = net.add(&[0, 1, 2]);
        net.start(late);
        for _ in 0..6 {
            let moment = net.random.random_range(0.1..9.0);
            net.run(moment);
            let leads = leader(&net);
            net.kill(leads);
            let moment = net.random.random_range(0.1..4.0);
            net.run(moment);
            net.start(leads);
        }
        joined_in_storm += u32::from(net.nodes[late].view.is_some());
        net.weather = Weather::fine();
        let all = [0, 1, 2, late];
        let joined = net.run_until(seconds(60.0), |net| agree(net, &all, 4));
        assert!(joined, "seed {seed}: {}", net.waiting(late));
        assert!(net.run_until(seconds(20.0), Net::settled), "seed {seed}");
    }
    assert!(joined_in_storm > 5, "{joined_in_storm} joined in the storm");
}

/// The leader takes rows from step to step as members report, and whoever leads next goes on where it stopped.
#[test]
fn rows_go_to_a_newcomer_as_members_report() {
    let mut net = Net::cluster(6, 3);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let late = net.add(&[0, 1, 2]);
    net.start(late);
    assert!(net.run_until(seconds(20.0), |net| agree(net, &[0, 1, 2, 3], 4)));
    let done = |net: &Net| rests(&net.nodes[late].view.as_ref().expect("a member").ring);
    let mut killed = None;
    for round in 0..400 {
        if done(&net) {
            break;
        }
        shards_report(&mut net);
        net.run(0.5);
        match (round, killed) {
            (8, _) => {
                let leads = leader(&net);
                net.kill(leads);
                killed = Some(leads);
            }
            (40, Some(leads)) => net.start(leads),
            _ => {}
        }
    }
    assert!(done(&net), "rows do not come to rest");
    assert!(net.run_until(seconds(20.0), |net| agree(net, &[0, 1, 2, 3], 4)));
    let ring = &net.nodes[0].view.as_ref().expect("a member").ring;
    let number = ring.member_by_id(net.machine(late).id()).expect("a member").number;
    let held = |at: &usize| ring.partitions[*at].row.contains(&number);
    let slots: usize =
        (0..ring.partitions.len()).filter(held).map(|at| ring.slots_of(at).count()).sum();
    let ideal = 16384 * 3 / 4;
    assert!(slots.abs_diff(ideal) * 50 < ideal, "{slots} slots of {ideal}");
    assert!(ring.epoch > Epoch(10), "many steps: {}", ring.epoch);
}

/// Whoever the ring names no more serves nothing, and stays up until the others can do without it.
#[test]
fn who_is_left_out_says_when_it_may_go() {
    let mut net = Net::cluster(5, 4);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let leaver = 2;
    let old = net.nodes[0].view.as_ref().expect("a member").ring.clone();
    let number = old.member_by_id(net.machine(leaver).id()).expect("a member").number;
    let mut next = successor(&old);
    next.members.retain(|member| member.number != number);
    next.highest = highest(&old);
    let other = next.members[0].number;
    for partition in &mut next.partitions {
        let at = partition.row.iter().position(|owner| *owner == number);
        let spare = next.members.iter().map(|member| member.number);
        let spare = spare.clone().find(|number| !partition.row.contains(number)).unwrap_or(other);
        at.into_iter().for_each(|at| partition.row[at] = spare);
    }
    next.check().expect("a ring");
    // It hears first, and nobody else has the ring yet.
    let ring = |from| Event::Told(from, Box::new(ControlMessage::Ring(Box::new(next.clone()))));
    let from = net.machine(0).id();
    for place in [0, 1, 3] {
        net.cut.insert((leaver, place));
        net.cut.insert((place, leaver));
    }
    net.step(leaver, ring(from));
    net.run(5.0);
    assert!(net.waiting(leaver).contains("must stay up"), "{}", net.waiting(leaver));
    // A restart forgets nothing.
    net.kill(leaver);
    net.start(leaver);
    net.cut.clear();
    assert!(net.run_until(seconds(10.0), |net| net.waiting(leaver).contains("must stay up")));
    net.step(0, ring(from));
    assert!(net.run_until(seconds(10.0), |net| agree(net, &[0, 1, 3], 3)), "gossip tells of it");
    let may_go = |net: &Net| net.waiting(leaver).contains("may be stopped for good");
    assert!(net.run_until(seconds(10.0), may_go), "{}", net.waiting(leaver));
    assert!(net.machine(leaver).view().is_none());
}
