//! More of the traps that other systems fell into: ghosts, clocks, copies, second clusters, and merges that depend on the order.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rand::RngExt;
use rand::seq::SliceRandom;
use ringdove::control::Event;
use ringdove::control::register::{highest, successor};
use ringdove::ring::MemberNumber;
use ringdove::wire::control::ControlMessage;
use ringdove::wire::datagram::Datagram;
use ringdove::wire::gossip::{Claim, News, Rank};

use super::gossip::{
    all_up, any_news, claims, downs, missed, number, placed_and_named, rate, running, tell,
    tell_facts, three_of,
};
use super::net::{Net, seconds};

/// Trap 1, ghosts: members that died and were removed come back with peers that lag behind, or never go. Of 20 members three die
/// and one is cut off; others join; then the dead are removed. Nobody ever lists anybody who is in no ring, and within five seconds
/// of its hearing of the new ring nobody lists who was removed, for ever, whatever is still said of them, and by them.
#[test]
fn ghosts() {
    let (count, cut_off, dead) = (20, 16, [17, 18, 19]);
    let mut net = Net::members(1, count, count);
    assert!(net.run_slices(5.0, all_up));
    for other in (0..count).filter(|other| *other != cut_off) {
        net.cut.extend([(other, cut_off), (cut_off, other)]);
    }
    for place in dead {
        net.kill(place);
        let apart = net.random.random_range(0.1..4.0);
        net.run(apart);
        let late = net.add(&[0, 1]);
        net.start(late);
    }
    let epoch = |net: &Net, place: usize| net.nodes[place].view.as_ref().map(|it| it.ring.epoch);
    let members = |net: &Net, place: usize| {
        net.nodes[place].view.as_ref().map_or(0, |view| view.ring.members.len())
    };
    let all_in = |net: &Net| (0..cut_off).chain(20..23).all(|place| members(net, place) == 23);
    assert!(net.run_slices(60.0, all_in), "the newcomers are in");
    let old = net.nodes[0].view.as_ref().expect("a member").ring.clone();
    let mut next = successor(&old);
    next.members.retain(|member| !dead.map(number).contains(&member.number));
    next.highest = highest(&old);
    // What moves in the only row is of no interest here.
    next.partitions.clone_from(&net.given.as_ref().expect("a ring").partitions);
    next.check().expect("a ring");
    let from = net.machine(1).id();
    net.step(0, Event::Told(from, Box::new(ControlMessage::Ring(Box::new(next.clone())))));
    let removed = |net: &Net, place: usize| {
        let lines = net.machine(place).members();
        let lists = |dead: usize| lines.iter().any(|line| line.number == number(dead).0);
        !dead.into_iter().any(lists)
    };
    let others: Vec<usize> = (0..cut_off).chain(20..23).collect();
    assert!(net.run_slices(5.0, |net| others.iter().all(|place| removed(net, *place))));
    for round in 0..60 {
        if round == 30 {
            // It still holds them for members: alive at first, and for long.
            net.cut.clear();
        }
        if round == 40 {
            net.start(dead[0]);
        }
        for of in dead {
            let boot = net.nodes[of].disk.boot;
            let rank = if round % 2 == 0 { Rank::Alive } else { Rank::Down };
            let claim = Claim { boot, incarnation: round, rank };
            let to = others[net.random.random_range(0..others.len())];
            let from = others[net.random.random_range(0..others.len())];
            if from != to {
                tell(&mut net, from, to, vec![claims(of, claim)]);
            }
        }
        net.run(1.0);
        for place in others.iter().copied() {
            assert!(removed(&net, place), "n{} lists a ghost in round {round}", place + 1);
        }
    }
    assert!(epoch(&net, cut_off) >= Some(next.epoch));
    assert!(removed(&net, cut_off));
}

/// Trap 6, clocks: what one node's clock says is nobody else's affair, and where it begins changes nothing at all.
#[test]
fn clock_chaos() {
    let run = |years: [u64; 5]| {
        let mut net = Net::new(6);
        net.add_all(5, &[0, 1, 2, 3, 4]);
        for (node, years) in net.nodes.iter_mut().zip(years) {
            node.skew = Duration::from_secs(years * 365 * 86_400);
        }
        (0..5).for_each(|place| net.start(place));
        assert!(net.run_until(seconds(10.0), Net::settled));
        net.weather.loss = 0.1;
        net.run(30.0);
        net.kill(3);
        net.run(10.0);
        net.start(3);
        net.run(10.0);
        net.talk
    };
    let right = run([0; 5]);
    for years in [[0, 1, 2, 3, 4], [10, 0, 10, 0, 48_501], [30; 5]] {
        assert_eq!(run(years), right, "{years:?}");
    }
    // Clocks that jump: ahead, that is a pause; back, the time stands still for them. Nobody is down for long.
    let mut net = Net::members(6, 10, 10);
    net.nodes.iter_mut().for_each(|node| node.skew = seconds(1000.0));
    assert!(net.run_slices(5.0, all_up));
    for round in 0..20 {
        let place = net.random.random_range(0..10);
        let jump = seconds(net.random.random_range(0.1..30.0));
        let ahead = net.random.random_bool(0.5);
        let skew = &mut net.nodes[place].skew;
        *skew = if ahead { *skew + jump } else { skew.saturating_sub(jump / 10) };
        net.nodes.iter_mut().for_each(|node| node.said.clear());
        net.run(5.0);
        assert!(net.run_slices(3.0, all_up), "round {round}: {:?}", missed(&net));
        assert!(!ahead || downs(&net, place) == 0, "{:?}", net.nodes[place].said);
    }
}

/// Trap 7, pauses: a suspicion that stood when a node was held up has as long to be refuted as if it had not been.
#[test]
fn a_suspicion_does_not_ripen_in_a_pause() {
    let (count, suspect) = (10, 5);
    let mut net = Net::members(7, count, count);
    assert!(net.run_slices(5.0, all_up));
    // It hears of the suspicion, and then nothing for a long time: not that it was refuted.
    let links = (1..count).flat_map(|other| [(0, other), (other, 0)]);
    net.cut.extend(links);
    let boot = net.nodes[suspect].disk.boot;
    let claim = Claim { boot, incarnation: 9, rank: Rank::Suspect };
    tell(&mut net, 1, 0, vec![claims(suspect, claim)]);
    net.nodes[0].paused = net.now + seconds(100.0);
    net.run(99.999);
    for _ in 0..300 {
        net.run(0.01);
        let claim = net.machine(0).claim(number(suspect));
        assert!(claim.is_none_or(|claim| claim.rank != Rank::Down), "condemned unheard");
    }
    net.cut.clear();
    assert!(net.run_slices(3.0, all_up), "{:?}", missed(&net));
}

/// Trap 7, pauses: what was almost certain before a pause is not the first thing that is said after it: first is heard what was
/// said meanwhile.
#[test]
fn nobody_is_condemned_right_after_a_pause() {
    let (count, suspect) = (10, 5);
    let begin = || {
        let mut net = Net::members(7, count, count);
        assert!(net.run_slices(5.0, all_up));
        net.cut.extend((1..count).flat_map(|other| [(0, other), (other, 0)]));
        let boot = net.nodes[suspect].disk.boot;
        let claim = Claim { boot, incarnation: 9, rank: Rank::Suspect };
        tell(&mut net, 1, 0, vec![claims(suspect, claim)]);
        net
    };
    let is_down = |net: &Net| {
        net.machine(0).claim(number(suspect)).is_some_and(|claim| claim.rank == Rank::Down)
    };
    let mut net = begin();
    assert!(net.run_until(seconds(300.0), is_down), "who is not refuted is down");
    let ripe = net.now;
    // The same once more, but it is held up just before that.
    let mut net = begin();
    net.run((ripe - net.now).as_secs_f64() - 0.01);
    net.nodes[0].paused = net.now + seconds(100.0);
    net.run(99.999);
    net.cut.clear();
    assert!(!net.run_until(seconds(3.0), is_down), "condemned unheard");
    assert!(net.run_slices(3.0, all_up), "{:?}", missed(&net));
}

/// Trap 7, pauses: nobody is avoided because an answer came while this node was held up.
#[test]
fn answers_that_came_in_a_pause_count() {
    for seed in 0..20 {
        let count = 10;
        let mut net = Net::members(seed, count, count);
        net.weather.delay = seconds(0.2);
        assert!(net.run_slices(10.0, all_up));
        net.run(5.0);
        net.nodes.iter_mut().for_each(|node| node.said.clear());
        let length = net.random.random_range(1.0..1.7);
        net.nodes[0].paused = net.now + seconds(length);
        net.run(length + 0.3);
        assert_eq!(downs(&net, 0), 0, "seed {seed}: {:?}", net.nodes[0].said);
    }
}

/// Trap 14, second clusters: nodes that start while they do not reach each other are one cluster in the end, or none, however
/// long that takes.
#[test]
fn no_second_cluster() {
    for groups in [vec![0..1, 1..2, 2..3, 3..4, 4..5], vec![0..2, 2..5], vec![0..4, 4..5]] {
        let mut net = Net::new(14);
        net.add_all(5, &[0, 1, 2, 3, 4]);
        for (a, b) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))) {
            if !groups.iter().any(|group| group.contains(&a) && group.contains(&b)) {
                net.cut.insert((a, b));
            }
        }
        (0..5).for_each(|place| net.start(place));
        net.run(600.0);
        assert!((0..5).all(|place| net.ring_of(place).is_none()), "{groups:?}");
        net.cut.clear();
        assert!(net.run_until(seconds(30.0), Net::settled), "{groups:?}");
        net.assert_one_cluster();
    }
}

/// Trap 16, hot soft state: what changes a thousand times a second moves nobody's fingerprint, and costs nothing.
#[test]
fn hot_soft_state() {
    for count in [3, 10] {
        let mut net = Net::members(16, count, count);
        assert!(net.run_slices(5.0, all_up));
        net.run(5.0);
        let (start, before) = (net.now, net.sent.0);
        for position in 0..10_000 {
            for place in 0..count {
                net.step(place, Event::LogPosition(vec![position, position]));
            }
            net.run(0.001);
        }
        let spent = (net.sent.0 - before) as f64 / (net.now - start).as_secs_f64() / count as f64;
        assert!(spent < 900.0, "{count} members: {spent} B/s per node");
    }
}

/// Who stops in order says so: it is not looked for, and missed at once.
#[test]
fn who_stops_in_order_is_missed_at_once() {
    for (count, within) in [(2, 0.1), (3, 0.1), (10, 0.3), (60, 1.0)] {
        for loss in [0.0, 0.2] {
            let mut net = Net::members(count as u64, count, count);
            assert!(net.run_slices(5.0, all_up));
            net.run(3.0);
            net.weather.loss = loss;
            let last = count - 1;
            net.stop(last);
            let left = |net: &Net, place: usize| {
                net.machine(place).claim(number(last)).is_some_and(|it| it.rank == Rank::Left)
            };
            let within = if loss > 0.0 { within + 3.0 } else { within };
            assert!(
                net.run_slices(within, all_up),
                "{count} members, {loss} lost: {:?}",
                missed(&net)
            );
            assert!((0..last).all(|place| left(&net, place)), "{count} members, {loss} lost");
            let status = net.machine(0).status_part().sentences;
            assert!(status.iter().any(|line| line.contains("it was stopped")), "{status:?}");
            net.weather.loss = 0.0;
            net.run(3.0);
            assert_eq!(running(&net).count(), last);
            assert!((0..last).all(|place| left(&net, place)), "nothing else is found out");
            net.start(last);
            assert!(net.run_slices(4.0, all_up), "{count} members: {:?}", missed(&net));
        }
    }
}

/// What one node knows after some news, of everybody but those who were told.
fn knowledge(net: &Net, place: usize) -> Vec<(Option<Claim>, String, String)> {
    let lines = net.machine(place).members();
    let others = lines.iter().filter(|line| line.number > 2);
    let line = |line: &ringdove::wire::MemberLine| {
        let claim = net.machine(place).claim(MemberNumber(line.number));
        (claim, line.addr.clone(), line.name.clone())
    };
    others.map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Trap 12, anti-entropy: what is known after some news depends neither on their order nor on how often they came; and who
    /// differs, for whatever reason, comes to know the same by comparing.
    #[test]
    fn anti_entropy(news in prop::collection::vec(any_news(), 1..30), seed in any::<u64>()) {
        // Of those who run only what they can refute: they alone say where they are, and that they leave.
        let refutable = |news: &News| {
            let News { of, claim, .. } = news;
            of.0 > 3 || claim.boot == 0 || (claim.boot == 1 && claim.rank != Rank::Left && claim.incarnation < u64::MAX)
        };
        let strip = |news: News| match news.of.0 {
            ..=3 => News { essentials: None, details: None, ..news },
            _ => news,
        };
        let news = Vec::from_iter(news.into_iter().filter(refutable).map(strip));
        let mut net = Net::members(seed, 8, 3);
        prop_assert!(net.run_slices(5.0, all_up));
        net.lost = |_| true;
        let mut both = [news.clone(), news];
        let more = both[1].clone();
        both[1].extend(more);
        both[1].shuffle(&mut net.random);
        for (to, news) in both.into_iter().enumerate() {
            tell_facts(&mut net, 2, to, news);
        }
        prop_assert_eq!(knowledge(&net, 0), knowledge(&net, 1));
        net.lost = |_| false;
        net.run(20.0);
        let prints: BTreeSet<u64> = (0..3).map(|place| net.heads[&place].fingerprint).collect();
        prop_assert_eq!(prints.len(), 1, "they know the same");
    }
}

/// Trap 12, essentials before bulk: where members are is known long before what they are called, when both do not fit, whether
/// who knows less asks or who knows more tells.
#[test]
fn essentials_before_bulk() {
    let count = 300;
    for only_told in [false, true] {
        let mut net = three_of(12, count);
        if only_told {
            net.lost = |datagram| matches!(datagram, Datagram::Facts(_));
        }
        let most = |net: &Net| placed_and_named(net, 1).0 * 4 > count * 3;
        assert!(net.run_slices(60.0, most), "only told: {only_told}");
        let (placed, named) = placed_and_named(&net, 1);
        println!("{placed} placed, {named} named after {:?}", net.now);
        assert!(
            named * 5 < placed * 4,
            "{named} names, and {placed} addresses; only told: {only_told}"
        );
        let all = |net: &Net| placed_and_named(net, 1) == (count - 3, count - 3);
        assert!(net.run_slices(60.0, all), "only told: {only_told}");
    }
}

/// Trap 5, storms: all come back at once, which is the most that there can be to say, and then it is quiet.
#[test]
fn a_crowd_that_restarts_is_quiet_again() {
    let count = 40;
    let mut net = Net::members(11, count, count);
    assert!(net.run_slices(5.0, all_up));
    (0..count).for_each(|place| net.kill(place));
    net.run(5.0);
    (0..count).for_each(|place| net.start(place));
    assert!(net.run_slices(5.0, all_up), "{:?}", missed(&net));
    net.run(15.0);
    assert!(rate(&mut net, 10.0) < 800.0);
}
