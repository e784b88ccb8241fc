//! Members know each other's whereabouts, and who answers.

use std::collections::BTreeSet;

use rand::RngExt;
use ringdove::control::{Effect, Event, Ignored};
use ringdove::ring::{MemberNumber, NodeId};
use ringdove::wire::datagram::Datagram;
use ringdove::wire::gossip::{Beat, Claim, Head, Rank};

use super::gossip::{all_up, claims, missed, number, tell};
use super::net::{Net, addr, seconds};

#[test]
fn a_restart_finds_its_place_again() {
    for seed in 0..20 {
        let mut net = Net::cluster(seed, 3);
        assert!(net.run_until(seconds(10.0), Net::settled));
        let before: Vec<_> = (0..3).map(|node| net.ring_of(node)).collect();
        // All at once, then one by one; the seed lists are gone, and not needed.
        for groups in [vec![vec![0, 1, 2]], vec![vec![0], vec![1], vec![2]]] {
            for group in groups {
                group.iter().for_each(|node| net.kill(*node));
                net.run(5.0);
                group.iter().for_each(|node| net.nodes[*node].config.seeds.clear());
                group.iter().for_each(|node| net.start(*node));
                assert!(net.run_until(seconds(4.0), Net::settled), "seed {seed}");
            }
        }
        let after: Vec<_> = (0..3).map(|node| net.ring_of(node)).collect();
        assert_eq!(before, after);
    }
}

#[test]
fn a_member_is_down_when_it_is_silent_and_up_when_it_is_back() {
    for seed in 0..20 {
        let mut net = Net::cluster(seed, 5);
        assert!(net.run_until(seconds(10.0), Net::settled));
        net.kill(4);
        assert!(net.run_until(seconds(2.5), Net::settled), "seed {seed}: found down");
        let status = net.machine(0).status_part();
        assert_eq!(status.health, "degraded");
        assert_eq!((status.members, status.members_up), (5, 4));
        assert_eq!(status.survives, 0);
        assert!(status.sentences.iter().any(|line| line.contains("n5 (10.0.0.5:7400) is down")));
        net.start(4);
        assert!(net.run_until(seconds(2.5), Net::settled), "seed {seed}: found up");
        let status = net.machine(0).status_part();
        assert_eq!((status.health.as_str(), status.survives), ("healthy", 1));
    }
}

#[test]
fn a_link_that_works_one_way_only_does_not_count() {
    let mut net = Net::cluster(9, 3);
    assert!(net.run_until(seconds(10.0), Net::settled));
    net.cut.insert((0, 1));
    net.run(6.0);
    let sees = |net: &Net, from: usize, to: usize| {
        let id = net.machine(to).id();
        let view = net.nodes[from].view.as_ref().expect("founded");
        view.is_up(view.ring.member_by_id(id).expect("a member").number)
    };
    assert!(!sees(&net, 0, 1) && !sees(&net, 1, 0));
    assert!(sees(&net, 0, 2) && sees(&net, 2, 0) && sees(&net, 1, 2) && sees(&net, 2, 1));
    net.cut.clear();
    assert!(net.run_until(seconds(3.0), Net::settled));
}

#[test]
fn a_paused_node_accuses_nobody() {
    for seed in 0..30 {
        let mut net = Net::cluster(seed, 5);
        assert!(net.run_until(seconds(10.0), Net::settled));
        let pause = net.random.random_range(0.3..60.0);
        net.nodes[0].paused = net.now + seconds(pause);
        net.nodes.iter_mut().for_each(|node| node.said.clear());
        net.run(pause - 0.001);
        net.run(2.0);
        assert!(net.settled(), "seed {seed}: back after {pause} s");
        let accused = net.nodes[0].said.iter().any(|line| line.contains("is down"));
        assert!(!accused, "seed {seed}: {:?}", net.nodes[0].said);
        for node in &net.nodes[1..] {
            let accusations = node.said.iter().filter(|line| line.contains("is down")).count();
            assert!(accusations <= 1, "seed {seed}: {:?}", node.said);
        }
    }
}

#[test]
fn loss_of_a_tenth_flaps_nobody() {
    let mut net = Net::cluster(10, 5);
    assert!(net.run_until(seconds(10.0), Net::settled));
    net.weather.loss = 0.1;
    net.nodes.iter_mut().for_each(|node| node.said.clear());
    net.run(120.0);
    let accusations: Vec<&String> = net
        .nodes
        .iter()
        .flat_map(|node| &node.said)
        .filter(|line| line.contains("is down"))
        .collect();
    assert!(accusations.len() <= 2, "{accusations:?}");
}

/// Trap 10. Each side has a leader of its own, and none of them can do anything without a majority.
#[test]
fn splits_heal() {
    for seed in 0..10 {
        let mut net = Net::cluster(seed, 5);
        assert!(net.run_until(seconds(10.0), Net::settled));
        for (a, b) in [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)] {
            net.cut.extend([(a, b), (b, a)]);
        }
        net.run(4.0);
        let [small, large] = [0, 4].map(|node| net.machine(node).status_part());
        assert_eq!((small.health.as_str(), large.health.as_str()), ("unavailable", "unavailable"));
        assert_eq!((small.members_up, large.members_up), (2, 3));
        // Every side has a leader of its own: it drives, and drives nothing without a majority.
        assert_ne!(net.machine(0).leader(), None);
        net.cut.clear();
        assert!(net.run_until(seconds(3.0), Net::settled));
        let leaders: BTreeSet<_> = (0..5).map(|node| net.machine(node).leader()).collect();
        assert_eq!(leaders, BTreeSet::from([Some(MemberNumber(1))]));
    }
}

#[test]
fn a_member_that_moved_is_found_again() {
    let mut net = Net::cluster(11, 3);
    assert!(net.run_until(seconds(10.0), Net::settled));
    net.kill(2);
    net.run(3.0);
    let new = addr(77);
    (net.nodes[2].addr, net.nodes[2].config.advertise) = (new, new);
    net.nodes[2].config.name = "moved".to_owned();
    net.start(2);
    assert!(net.run_until(seconds(3.0), Net::settled));
    assert!(net.nodes[0].routes.iter().any(|route| route.addr == new));
    let lines = net.machine(0).members();
    assert!(lines.iter().any(|line| line.addr == new.to_string() && line.name == "moved"));
    // Who restarts later still knows where it went, although it is silent then.
    net.run(1.0);
    net.kill(2);
    net.kill(0);
    net.start(0);
    net.run(5.0);
    assert!(net.nodes[0].routes.iter().any(|route| route.addr == new));
}

#[test]
fn a_cluster_that_moved_as_a_whole_is_found_through_names() {
    let mut net = Net::new(12);
    net.add_all(3, &[]);
    for (place, node) in net.nodes.iter_mut().enumerate() {
        node.config.seeds = ["a.test:1", "b.test:1", "c.test:1"].map(str::to_owned).to_vec();
        net.names.insert(node.config.seeds[place].clone(), vec![addr(place)]);
    }
    (0..3).for_each(|node| net.start(node));
    assert!(net.run_until(seconds(10.0), Net::settled));
    (0..3).for_each(|node| net.kill(node));
    for place in 0..3 {
        let new = addr(place + 100);
        (net.nodes[place].addr, net.nodes[place].config.advertise) = (new, new);
        let name = net.nodes[place].config.seeds[place].clone();
        net.names.insert(name, vec![new]);
    }
    (0..3).for_each(|node| net.start(node));
    assert!(net.run_until(seconds(20.0), Net::settled));
    net.assert_one_cluster();
}

#[test]
fn another_clusters_heartbeats_change_nothing() {
    let mut net = Net::cluster(13, 2);
    assert!(net.run_until(seconds(10.0), Net::settled));
    // Another cluster, that believes its second member to be where ours is.
    let mut other = Net::cluster(14, 2);
    assert!(other.run_until(seconds(10.0), Net::settled));
    other.kill(1);
    let before = net.machine(1).members();
    let mut strays = Vec::new();
    for _ in 0..40 {
        let mut effects = Vec::new();
        let now = other.now - other.nodes[0].born + seconds(0.7);
        other.now += seconds(0.7);
        let machine = other.nodes[0].machine.as_mut().expect("running");
        machine.step(now, Event::Tick, &mut effects);
        strays.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Datagram(_, bytes) => Some(bytes),
            _ => None,
        }));
    }
    assert!(strays.len() >= 10);
    let heard = net.nodes[1].said.len();
    for bytes in &strays {
        net.step(1, Event::Datagram(addr(50), bytes.clone()));
    }
    let foreign = net.machine(1).ignored().get(&Ignored::Foreign).copied().unwrap_or_default();
    assert!(foreign >= 10, "{foreign}");
    assert_eq!(net.nodes[1].said.len(), heard + 1, "said once");
    let after = net.machine(1).members();
    let names = |lines: &[ringdove::wire::MemberLine]| -> Vec<(String, String)> {
        lines.iter().map(|line| (line.id.clone(), line.addr.clone())).collect()
    };
    assert_eq!(names(&before), names(&after));
    let status = net.machine(1).status_part();
    assert!(status.sentences.iter().any(|line| line.contains("another cluster")));
}

/// Trap 9. Two processes with one id and one boot counter: others take the first for it, and count what the second says.
#[test]
fn a_copied_directory_is_noticed() {
    // The copy was made while the node ran, or before its life began: then both count the same.
    for before in [0, 1] {
        let mut net = Net::cluster(15, 3);
        assert!(net.run_until(seconds(10.0), Net::settled));
        let clone = net.add(&[0, 1, 2]);
        net.nodes[clone].disk = net.nodes[2].disk.clone();
        net.nodes[clone].disk.boot -= before;
        net.start(clone);
        net.run(10.0);
        let noticed = |net: &Net, node: usize| {
            net.machine(node).ignored().get(&Ignored::Doubled).is_some_and(|count| *count > 0)
        };
        assert!(noticed(&net, 0) && noticed(&net, 1), "{before} lives before");
    }
}

/// The next probe from one node to another, taken off the wire.
fn probe(net: &mut Net, from: usize, to: usize) -> Beat {
    let target = net.nodes[to].addr;
    for _ in 0..10 {
        let node = &mut net.nodes[from];
        let machine = node.machine.as_mut().expect("running");
        let due = machine.next_deadline().max(net.now - node.born);
        net.now = node.born + due;
        let mut effects = Vec::new();
        machine.step(due, Event::Tick, &mut effects);
        let sent = effects.into_iter().find_map(|effect| match effect {
            Effect::Datagram(addr, bytes) if addr == target => Datagram::decode(&bytes).ok(),
            _ => None,
        });
        if let Some(Datagram::Probe(beat)) = sent {
            return beat;
        }
    }
    panic!("no probe");
}

#[test]
fn two_rings_of_one_epoch_are_an_alarm() {
    let mut net = Net::cluster(17, 3);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let beat = probe(&mut net, 1, 0);
    let head = Head { ring: beat.head.ring ^ 1, ..beat.head };
    let forked = Beat { head, ..beat };
    for seq in 0..3 {
        let beat = Beat { seq: forked.seq + seq, ..forked.clone() };
        net.step(0, Event::Datagram(addr(1), Datagram::Probe(beat).encode()));
    }
    let alarms = net.nodes[0].said.iter().filter(|line| line.contains("ALARM")).count();
    assert_eq!(alarms, 1, "{:?}", net.nodes[0].said);
    let status = net.machine(0).status_part();
    assert!(status.sentences[0].contains("ALARM: n2 has another ring"), "{status:?}");
    // Nobody changes the ring any more, also when that member has been silent for long.
    net.kill(1);
    for waits in [0.3, 20.0] {
        net.run(waits);
        let sentences = net.machine(0).status_part().sentences;
        let nobody_leads = |line: &String| line.contains("for two rings of one epoch were seen");
        assert!(sentences.iter().any(nobody_leads), "{waits} s: {sentences:?}");
    }
}

#[test]
fn a_heartbeat_counts_once_and_in_its_time() {
    let mut net = Net::cluster(18, 2);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let beat = probe(&mut net, 1, 0);
    let silent = net.nodes[1].view.as_ref().expect("founded").me;
    net.kill(1);
    let bytes = Datagram::Probe(beat.clone()).encode();
    for _ in 0..50 {
        net.step(0, Event::Datagram(addr(1), bytes.clone()));
        let ack = Datagram::Ack(Beat { seq: 1, ..beat.clone() }).encode();
        net.step(0, Event::Datagram(addr(1), ack));
        net.run(0.2);
    }
    assert!(net.settled(), "what was said once keeps nobody alive");
    assert_eq!(net.machine(0).claim(silent).map(|claim| claim.rank), Some(Rank::Down));
    // Nor does what was said to somebody else.
    let head = Head { to: NodeId(5), ..beat.head };
    let other = Beat { seq: beat.seq + 1, head, ..beat };
    net.step(0, Event::Datagram(addr(1), Datagram::Probe(other).encode()));
    assert!(net.settled());
    assert_eq!(net.machine(0).ignored().get(&Ignored::Misdirected), Some(&1));
}

#[test]
fn a_member_without_lanes_is_of_no_use_and_that_is_said() {
    let mut net = Net::cluster(19, 3);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let me = net.nodes[0].view.as_ref().expect("founded").me;
    let other = if me == MemberNumber(1) { MemberNumber(2) } else { MemberNumber(1) };
    let usable = |net: &Net| net.nodes[0].view.as_ref().is_some_and(|view| view.is_up(other));
    net.step(0, Event::Lane(other, false));
    assert!(!usable(&net));
    let status = net.machine(0).status_part();
    assert_eq!((status.health.as_str(), status.members_up), ("degraded", 2));
    assert!(status.sentences.iter().any(|line| line.contains("data connections are not open")));
    let members = net.machine(0).members();
    let line = members.iter().find(|member| member.number == other.0).expect("a member");
    assert_eq!(line.state, "DN");
    assert!(line.note.contains("answers heartbeats, but"), "{}", line.note);
    assert!(members.iter().all(|member| member.state == "UN" || member.number == other.0));
    net.step(0, Event::Lane(other, true));
    assert!(usable(&net));
    assert_eq!(net.machine(0).status_part().health, "healthy");
}

/// Trap 9. A disk that is an older copy of itself is told so by those who heard more of it.
#[test]
fn a_disk_that_went_back_is_noticed() {
    let mut net = Net::cluster(20, 2);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let shorter = |net: &Net| {
        let sentences = net.machine(0).status_part().sentences;
        sentences.iter().any(|line| line.contains("n2 came back with a shorter log"))
    };
    for (positions, expected) in
        [([100, 7], false), ([100, 9], false), ([100, 8], true), ([101, 9], false)]
    {
        net.step(1, Event::LogPosition(positions.to_vec()));
        net.run(1.0);
        net.kill(1);
        net.start(1);
        net.step(1, Event::LogPosition(positions.to_vec()));
        net.run(2.0);
        assert_eq!(shorter(&net), expected, "{positions:?}");
        // It is told, and its shards with it.
        let view = net.nodes[1].view.as_ref().expect("founded");
        assert_eq!(view.rolled_back, expected, "{positions:?}");
        assert!(!net.nodes[0].view.as_ref().expect("founded").rolled_back);
    }
}

/// Trap 9. Who is said to have stopped, and runs, says so, and is back as soon as it is restarted: in a life that has ended
/// nobody comes back, whatever is said of it, or by it.
#[test]
fn who_is_said_to_have_stopped_is_back_with_its_next_life() {
    let mut net = Net::members(21, 5, 5);
    assert!(net.run_slices(5.0, all_up));
    let boot = net.nodes[1].disk.boot;
    let left = Claim { boot, incarnation: 0, rank: Rank::Left };
    tell(&mut net, 2, 0, vec![claims(1, left)]);
    net.run(20.0);
    for place in [0, 2, 3, 4] {
        assert_eq!(net.machine(place).claim(number(1)).map(|it| it.rank), Some(Rank::Left));
        assert!(!net.seen(place).contains(&number(1)), "n{}", place + 1);
    }
    let said = net.nodes[1].said.iter();
    let said = Vec::from_iter(said.filter(|line| line.contains("until it is restarted")));
    assert_eq!(said.len(), 1, "{:?}", net.nodes[1].said);
    net.kill(1);
    net.start(1);
    assert!(net.run_slices(3.0, all_up), "{:?}", missed(&net));
}
