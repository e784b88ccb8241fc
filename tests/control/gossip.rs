//! Gossip at scale and in bad weather: the traps that other systems fell into, each a test.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::RngExt;
use ringdove::control::Event;
use ringdove::ring::{Epoch, MemberNumber};
use ringdove::wire::datagram::Datagram;
use ringdove::wire::gossip::{
    BUCKETS, Beat, Claim, Details, Digest, Digests, Errand, Essentials, Gossip, Head, News, Pull,
    Rank, Root, Stamp, fit,
};

use super::net::{Net, addr, seconds};

pub fn all_up(net: &Net) -> bool {
    let running: BTreeSet<MemberNumber> = running(net).map(number).collect();
    running_views(net).all(|seen| seen == running)
}

pub fn running(net: &Net) -> impl Iterator<Item = usize> + '_ {
    (0..net.nodes.len()).filter(|place| net.nodes[*place].machine.is_some())
}

pub fn running_views(net: &Net) -> impl Iterator<Item = BTreeSet<MemberNumber>> + '_ {
    running(net).map(|place| net.seen(place))
}

pub fn number(place: usize) -> MemberNumber {
    MemberNumber(place as u16 + 1)
}

/// What a member says in its head to another, in the life that it is in.
pub fn head(net: &Net, from: usize, to: usize) -> Head {
    Head { to: net.nodes[to].disk.id, ..net.heads[&from] }
}

/// A member says this to another.
pub fn tell(net: &mut Net, from: usize, to: usize, news: Vec<News>) {
    let gossip = Gossip { head: head(net, from, to), news };
    net.step(to, Event::Datagram(addr(from), Datagram::Rumours(gossip).encode()));
}

pub fn claims(of: usize, claim: Claim) -> News {
    News { of: number(of), claim, accusers: Vec::new(), essentials: None, details: None }
}

/// Bytes per second and node.
pub fn rate(net: &mut Net, length: f64) -> f64 {
    let before = net.sent.0;
    net.run(length);
    let nodes = running(net).count() as f64;
    (net.sent.0 - before) as f64 / length / nodes
}

/// Who is missed by whom, and what is said of that.
pub fn missed(net: &Net) -> Vec<String> {
    let running: BTreeSet<MemberNumber> = running(net).map(number).collect();
    let missed = |place: usize| running.difference(&net.seen(place)).copied().collect::<Vec<_>>();
    let line = |place: usize| {
        let last = net.nodes[place].said.iter().rev().take(3).collect::<Vec<_>>();
        format!("n{} misses {:?}, said {last:?}", place + 1, missed(place))
    };
    (0..net.nodes.len()).filter(|place| !missed(*place).is_empty()).map(line).collect()
}

pub fn downs(net: &Net, place: usize) -> usize {
    net.nodes[place].said.iter().filter(|line| line.contains("is down")).count()
}

#[test]
fn everybody_learns_everything_and_then_it_is_quiet() {
    for count in [2, 3, 7, 10, 100] {
        let mut net = Net::members(count as u64, count, count);
        assert!(net.run_slices(5.0, all_up), "{count} members");
        net.run(10.0);
        let names = net.machine(0).members();
        assert!(names.iter().enumerate().all(|(at, line)| line.name == format!("n{}", at + 1)));
        let rate = rate(&mut net, 20.0);
        println!("{count} members: {rate:.0} B/s per node when idle");
        // Up to six members everybody is probed every second; then it does not grow any more.
        assert!(rate < 800.0, "{count} members: {rate} B/s");
    }
}

#[test]
fn a_dead_replica_is_avoided_within_seconds_and_all_agree_soon() {
    for count in [3, 4, 5, 7, 10, 30] {
        let mut times = Vec::new();
        for seed in 0..20 {
            let mut net = Net::members(seed, count, count);
            assert!(net.run_slices(5.0, all_up));
            let calm = net.random.random_range(3.0..5.0);
            net.run(calm);
            net.kill(count - 1);
            let start = net.now;
            let gone = |net: &Net| running_views(net).all(|seen| seen.len() == count - 1);
            assert!(net.run_slices(8.0, gone), "{count} members, seed {seed}");
            times.push((net.now - start).as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{count} members: avoided by all after {:.2} s, at most {:.2} s",
            times[10], times[19]
        );
        assert!(
            times[10] < 2.0 && times[19] < if count > 10 { 5.0 } else { 3.5 },
            "{count} members: {times:?}"
        );
    }
}

/// Everybody holds a member for down soon after it died: the more confirm that it is silent, the sooner.
#[test]
fn all_agree_soon_that_a_dead_member_is_down() {
    for count in [3, 10, 30] {
        for seed in 0..3 {
            let mut net = Net::members(seed, count, count);
            assert!(net.run_slices(5.0, all_up));
            net.run(5.0);
            let start = net.now;
            net.kill(count - 1);
            let is_down = |net: &Net| {
                let claim = |place: usize| net.machine(place).claim(number(count - 1));
                (0..count - 1).all(|it| claim(it).is_some_and(|claim| claim.rank == Rank::Down))
            };
            assert!(net.run_slices(7.0, is_down), "{count} members, seed {seed}");
            println!("{count} members: down after {:.2} s", (net.now - start).as_secs_f64());
        }
    }
}

/// Who hears that a member is suspect makes sure at once, if it is one of a few; the others leave it to them.
#[test]
fn a_few_make_sure_of_a_suspicion() {
    let (count, suspect) = (30, 7);
    let mut net = Net::members(9, count, count);
    assert!(net.run_slices(5.0, all_up));
    net.run(5.0);
    let boot = net.nodes[suspect].disk.boot;
    let claim = Claim { boot, incarnation: 0, rank: Rank::Suspect };
    // Nobody is told that it is wrong.
    net.cut.extend((0..count).flat_map(|other| [(other, suspect), (suspect, other)]));
    net.probed.clear();
    for to in (0..count).filter(|to| *to != suspect) {
        let from = if to == 0 { 1 } else { 0 };
        tell(&mut net, from, to, vec![claims(suspect, claim)]);
    }
    let asked = net.probed.keys().filter(|(_, target)| *target == suspect).count();
    // One of them may have been about to, anyway.
    assert!((5..8).contains(&asked), "{asked} of {count} make sure");
}

/// How many others a member probes in so many seconds.
fn probes(net: &mut Net, place: usize, length: f64) -> usize {
    net.probed.clear();
    net.run(length);
    net.probed.keys().filter(|(from, _)| *from == place).count()
}

/// Who has troubles itself takes its time with others, and for a while only: after others missed it, and after it was held up.
#[test]
fn who_has_troubles_takes_its_time() {
    for paused in [false, true] {
        let count = 40;
        let mut net = Net::members(11, count, count);
        assert!(net.run_slices(5.0, all_up));
        net.run(5.0);
        let usual = probes(&mut net, 0, 4.0);
        if paused {
            net.nodes[0].paused = net.now + seconds(4.5);
            net.run(4.5);
        }
        for incarnation in 0..if paused { 0 } else { 8 } {
            let boot = net.nodes[0].disk.boot;
            let claim = Claim { boot, incarnation, rank: Rank::Suspect };
            tell(&mut net, 1, 0, vec![claims(0, claim)]);
        }
        let careful = probes(&mut net, 0, 4.0);
        assert!(careful * 2 <= usual, "{careful} probes instead of {usual}; paused: {paused}");
        net.run(60.0);
        let again = probes(&mut net, 0, 4.0);
        assert!(again * 4 >= usual * 3, "{again} probes instead of {usual}; paused: {paused}");
    }
}

/// Who hears nobody suspects itself first: it condemns nobody, and the others go on as if it said nothing.
#[test]
fn a_deaf_node_condemns_nobody() {
    let count = 10;
    let mut net = Net::members(12, count, count);
    assert!(net.run_slices(5.0, all_up));
    net.run(5.0);
    net.cut.extend((1..count).map(|other| (other, 0)));
    for _ in 0..600 {
        net.run(0.1);
        for (place, of) in (1..count).flat_map(|place| (1..count).map(move |of| (place, of))) {
            let claim = net.machine(place).claim(number(of));
            assert!(claim.is_none_or(|it| it.rank != Rank::Down), "n{} at {:?}", of + 1, net.now);
        }
    }
    net.cut.clear();
    assert!(net.run_slices(5.0, all_up), "{:?}", missed(&net));
}

/// Trap 15. With few members everybody is probed by everybody, in turn: nobody is left out by chance.
#[test]
fn small_clusters_probe_everybody() {
    for count in 2..=6 {
        let mut net = Net::members(count as u64, count, count);
        assert!(net.run_slices(5.0, all_up));
        net.probed.clear();
        let start = net.now;
        net.run(20.0);
        assert_eq!(net.probed.len(), count * (count - 1), "every pair");
        let gaps =
            net.probed.values().map(|(last, gap)| (*gap - start.min(*gap)).max(net.now - *last));
        let longest = gaps.max().expect("pairs");
        assert!(longest < seconds(2.6), "{count} members: {longest:?} without a probe");
    }
}

/// Trap 2. A restart wins over everything that was said of the life before, also over what is said late.
#[test]
fn mass_restart() {
    let count = 60;
    let mut net = Net::members(1, count, count);
    assert!(net.run_slices(5.0, all_up));
    net.weather.loss = 0.3;
    let boots: Vec<u64> = net.nodes.iter().map(|node| node.disk.boot).collect();
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, net.random.random_range(0..=last));
    }
    for place in &order {
        net.kill(*place);
        net.run(0.02);
        net.start(*place);
        net.run(0.02);
        // What was on its way all the time: each is down, as of its life before.
        let (from, to) = (net.random.random_range(0..count), net.random.random_range(0..count));
        if from != to && net.machine(from).view().is_some() && net.nodes[to].machine.is_some() {
            let down = |of: usize| {
                claims(of, Claim { boot: boots[of], incarnation: 100, rank: Rank::Down })
            };
            let news = fit(
                &mut (0..count)
                    .filter(|of| net.nodes[*of].disk.boot > boots[*of])
                    .map(down)
                    .collect(),
                0,
                News::bytes,
            );
            tell(&mut net, from, to, news);
        }
    }
    let start = net.now;
    net.run(4.0);
    net.weather.loss = 0.0;
    assert!(net.run_slices(2.0, all_up), "{:?}", missed(&net));
    println!(
        "all are up {:.2} s after the last of {count} was started",
        (net.now - start).as_secs_f64()
    );
}

pub fn split(net: &mut Net, left: usize) {
    for a in 0..left {
        for b in left..net.nodes.len() {
            net.cut.extend([(a, b), (b, a)]);
        }
    }
}

/// Trap 3. However long a split lasts, nobody is given up.
#[test]
fn long_split() {
    for restarted in [false, true] {
        let count = 12;
        let mut net = Net::members(3, count, count);
        assert!(net.run_slices(5.0, all_up));
        split(&mut net, count / 2);
        net.run(1800.0);
        assert!((0..count).all(|place| net.seen(place).len() == count / 2));
        if restarted {
            (0..count / 2).for_each(|place| net.kill(place));
            (0..count / 2).for_each(|place| net.start(place));
            net.run(10.0);
        }
        net.cut.clear();
        let start = net.now;
        assert!(net.run_slices(15.0, all_up), "restarted: {restarted}");
        println!("one view {:.2} s after 30 minutes of split", (net.now - start).as_secs_f64());
        net.run(30.0);
        assert!(rate(&mut net, 10.0) < 800.0);
    }
}

/// Trap 3. Halves of a larger cluster find each other, all of them.
#[test]
fn a_split_of_sixty_heals() {
    let count = 60;
    let mut net = Net::members(4, count, count);
    assert!(net.run_slices(5.0, all_up));
    split(&mut net, count / 2);
    net.run(60.0);
    assert!((0..count).all(|place| net.seen(place).len() == count / 2));
    net.cut.clear();
    let start = net.now;
    assert!(net.run_slices(15.0, all_up), "{:?}", missed(&net));
    println!("one view after {:.2} s", (net.now - start).as_secs_f64());
    net.run(20.0);
    assert!(rate(&mut net, 10.0) < 800.0, "quiet again");
}

/// Trap 5. Contradictions end in one state, and then nobody speaks of them any more.
#[test]
fn quiesce() {
    let count = 20;
    let mut net = Net::members(5, count, count);
    assert!(net.run_slices(5.0, all_up));
    net.run(5.0);
    let idle = rate(&mut net, 10.0);
    let boot = |net: &Net, of: usize| net.nodes[of].disk.boot;
    for round in 0..10 {
        // Two tell the opposite of each other, of members that are there, and of who never was.
        for of in 3..8 {
            let claim = Claim { boot: boot(&net, of), incarnation: round, rank: Rank::Down };
            tell(&mut net, 0, 1, vec![claims(of, claim), claims(999, claim)]);
            let claim = claim.ranked(Rank::Alive);
            tell(&mut net, 1, 0, vec![claims(of, claim)]);
        }
        net.run(0.1);
    }
    assert!(net.run_slices(10.0, all_up), "everybody refuted");
    net.run(5.0);
    // Old claims, over and over: nobody passes them on.
    let (start, before) = (net.now, net.sent.0);
    while net.now < start + seconds(10.0) {
        let old = |of: usize| claims(of, Claim { boot: 0, incarnation: 3, rank: Rank::Down });
        tell(&mut net, 2, 9, (3..8).map(old).collect());
        net.run(0.1);
    }
    let busy = (net.sent.0 - before) as f64 / 10.0 / count as f64;
    assert!(busy < idle * 1.2, "{busy} B/s per node, {idle} when idle");
    assert!(all_up(&net));
    assert!(net.nodes.iter().all(|node| !node.said.iter().any(|line| line.contains("n1000"))));
}

/// Trap 7. Who was paused, however long, accuses nobody of what it missed, and is back at once.
#[test]
fn pause_sweep() {
    for (seed, length) in [0.2, 0.6, 0.9, 1.1, 2.0, 5.0, 20.0, 60.0].into_iter().enumerate() {
        let count = 20;
        let mut net = Net::members(seed as u64, count, count);
        assert!(net.run_slices(5.0, all_up));
        net.run(5.0);
        net.nodes.iter_mut().for_each(|node| node.said.clear());
        let paused = 1 + seed % 3;
        (0..paused).for_each(|place| net.nodes[place].paused = net.now + seconds(length));
        net.run(length);
        let start = net.now;
        assert!(net.run_slices(3.0, all_up), "{length} s of pause");
        println!("{length} s of pause: all up after {:.2} s", (net.now - start).as_secs_f64());
        net.run(5.0);
        assert!(all_up(&net));
        // They may well hear from others that another one was paused, too.
        let others: Vec<String> = (0..paused).map(|place| format!("n{} ", place + 1)).collect();
        let accused = |line: &&String| {
            line.contains("is down") && !others.iter().any(|other| line.starts_with(other))
        };
        let said = net.nodes[..paused].iter().flat_map(|it| &it.said);
        let accused: Vec<_> = said.filter(accused).collect();
        assert!(accused.is_empty(), "{length} s: {accused:?}");
        let most = (paused..count).map(|place| downs(&net, place)).max();
        assert!(most <= Some(paused), "{length} s: {most:?}");
    }
}

/// Trap 8. Addresses are values: they are swapped, reused and taken over, and each member is found where it is.
#[test]
fn addr_chaos() {
    let count = 8;
    for seed in 0..6 {
        let mut net = Net::members(seed, count, count);
        assert!(net.run_slices(5.0, all_up));
        let mut free: Vec<_> = (50..54).map(addr).collect();
        for _ in 0..12 {
            let (a, b) = (net.random.random_range(0..count), net.random.random_range(0..count));
            let moving: BTreeSet<usize> = BTreeSet::from([a, b]);
            moving.iter().for_each(|place| net.kill(*place));
            net.run(0.7);
            if a == b {
                // Elsewhere; what it leaves behind is used again.
                let new = free.remove(0);
                free.push(net.nodes[a].addr);
                (net.nodes[a].addr, net.nodes[a].config.advertise) = (new, new);
            } else {
                let [first, second] = [net.nodes[a].addr, net.nodes[b].addr];
                (net.nodes[a].addr, net.nodes[a].config.advertise) = (second, second);
                (net.nodes[b].addr, net.nodes[b].config.advertise) = (first, first);
            }
            moving.iter().for_each(|place| net.start(*place));
            net.run(0.5);
        }
        assert!(net.run_slices(8.0, all_up), "seed {seed}");
        for place in 0..count {
            let lines = net.machine(place).members();
            let right = |(at, line): (usize, &ringdove::wire::MemberLine)| {
                line.addr == net.nodes[at].addr.to_string()
            };
            assert!(lines.iter().enumerate().all(right), "seed {seed}: {lines:?}");
        }
    }
}

/// Losses alone take nobody down.
#[test]
fn loss_is_no_death() {
    for (loss, most) in [(0.1, 8), (0.3, usize::MAX)] {
        let count = 20;
        let mut net = Net::members(6, count, count);
        assert!(net.run_slices(5.0, all_up));
        net.weather.loss = loss;
        net.nodes.iter_mut().for_each(|node| node.said.clear());
        for _ in 0..1500 {
            net.run(0.2);
            for place in 0..count {
                let claim = |of: usize| net.machine(place).claim(number(of));
                let down = |of: &usize| claim(*of).is_some_and(|it| it.rank == Rank::Down);
                assert_eq!((0..count).find(down), None, "of {loss}");
            }
        }
        let said: usize = (0..count).map(|place| downs(&net, place)).sum();
        let hours = count as f64 * 300.0 / 3600.0;
        println!("{loss} lost: avoided {said} times in {hours:.1} node-hours, never down");
        assert!(said <= most, "{said}");
    }
}

/// A member says all this to another.
pub fn tell_facts(net: &mut Net, from: usize, to: usize, mut news: Vec<News>) {
    while !news.is_empty() {
        let gossip = Gossip { head: head(net, from, to), news: fit(&mut news, 0, News::bytes) };
        let from = net.nodes[from].addr;
        net.step(to, Event::Datagram(from, Datagram::Facts(gossip).encode()));
    }
}

/// Three of so many members run, and know each other. One of them knows all of the others, as a long life would have taught it:
/// a name of 64 bytes of each, and an address that is not in the ring.
pub fn three_of(seed: u64, count: usize) -> Net {
    let running = 3;
    let mut net = Net::members(seed, count, running);
    net.run(2.0);
    let name = "n".repeat(60);
    let full = |of: usize| {
        let (stamp, epoch) = (Stamp { boot: 3, version: 9 }, Epoch(1));
        let details = Details { stamp, name: format!("{name}{of:04}"), epoch, ring: 7 };
        let essentials = Essentials { stamp, addr: addr(of + count), shards: 4 };
        News {
            essentials: Some(essentials),
            details: Some(details),
            ..claims(of, Claim::alive(3, 2).ranked(Rank::Down))
        }
    };
    tell_facts(&mut net, 1, 0, (running..count).map(full).collect());
    let boots: Vec<u64> = net.nodes.iter().map(|node| node.disk.boot).collect();
    for (to, of) in [(1, 0), (2, 0), (0, 1), (0, 2)] {
        let stamp = Stamp { boot: boots[of], version: 1 };
        let essentials = Some(Essentials { stamp, addr: addr(of), shards: 2 });
        let claim = Claim::alive(boots[of], 0);
        let from = 3 - to - of;
        tell(&mut net, from, to, vec![News { essentials, ..claims(of, claim) }]);
    }
    net
}

/// Of how many members a node knows where they are, and what they are called, in such a net.
pub fn placed_and_named(net: &Net, place: usize) -> (usize, usize) {
    let lines = net.machine(place).members();
    let elsewhere = |number: usize| addr(number - 1 + lines.len()).to_string();
    let placed = lines.iter().filter(|line| line.addr == elsewhere(usize::from(line.number)));
    (placed.count(), lines.iter().filter(|line| line.name.len() == 64).count())
}

/// Trap 4. Nothing grows with the cluster but the number of datagrams: the rest of the net checks their lengths.
#[test]
fn size_5000() {
    let count = 5000;
    let mut net = three_of(7, count);
    let knows = |net: &Net, place: usize| placed_and_named(net, place) == (count - 3, count - 3);
    assert!(knows(&net, 0));
    let (start, before) = (net.now, net.sent.1);
    let all = |net: &Net| knows(net, 1) && knows(net, 2);
    assert!(net.run_slices(60.0, all));
    let datagrams = net.sent.1 - before;
    println!(
        "5000 members known after {:.1} s and {datagrams} datagrams",
        (net.now - start).as_secs_f64()
    );
    assert!(datagrams < 5000, "{datagrams} datagrams");
}

pub fn any_news() -> impl Strategy<Value = News> {
    let stamp = || (0u64..4, any::<u64>()).prop_map(|(boot, version)| Stamp { boot, version });
    let rank = prop::sample::select(vec![Rank::Alive, Rank::Suspect, Rank::Down, Rank::Left]);
    let number = || (0u16..8).prop_map(MemberNumber);
    let high = prop::sample::select(vec![0, 1, u64::MAX - 1, u64::MAX]);
    let claim = (0u64..3, high, rank).prop_map(|(boot, incarnation, rank)| Claim {
        boot,
        incarnation,
        rank,
    });
    let essentials = prop::option::of((stamp(), 0usize..9).prop_map(|(stamp, at)| Essentials {
        stamp,
        addr: addr(at),
        shards: 1 << (at % 7),
    }));
    let details = prop::option::of((stamp(), "[a-z]{0,20}").prop_map(|(stamp, name)| Details {
        stamp,
        name,
        epoch: Epoch(9),
        ring: 3,
    }));
    let accusers = prop::collection::vec(number(), 0..4);
    (number(), claim, accusers, essentials, details).prop_map(
        |(of, claim, accusers, essentials, details)| News {
            of,
            claim,
            accusers,
            essentials,
            details,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Traps 13 and 17. Whatever a member says in the right form, others go on: no panic, no endless talk, no long datagram.
    #[test]
    fn hostile_members(
        news in prop::collection::vec(any_news(), 0..12),
        kind in 0u8..9,
        seq in any::<u64>(),
        target in 0u16..8,
    ) {
        let mut net = Net::members(8, 4, 4);
        prop_assert!(net.run_slices(5.0, all_up));
        let (head, target) = (head(&net, 3, 0), MemberNumber(target));
        let digests: Vec<Digest> = news
            .iter()
            .map(|it| Digest {
                of: it.of,
                claim: Some(it.claim),
                essentials: it.essentials.map_or(Stamp::default(), |it| it.stamp),
                details: Stamp { boot: seq, version: seq },
            })
            .collect();
        let errand = Errand { head, seq, target, answered: seq.is_multiple_of(2), news: news.clone() };
        let beat = Beat { head, seq, log: vec![seq; 3], rolled_back: false, news: news.clone() };
        let buckets = vec![seq as u32; BUCKETS];
        let datagram = match kind {
            0 => Datagram::Probe(beat),
            1 => Datagram::Ack(beat),
            2 => Datagram::Ask(errand),
            3 => Datagram::Told(errand),
            4 => Datagram::Rumours(Gossip { head, news }),
            5 => Datagram::Root(Root { head, buckets }),
            6 => Datagram::Digests(Digests { head, digests }),
            7 => Datagram::Pull(Pull { head, want: digests, news: Vec::new() }),
            _ => Datagram::Facts(Gossip { head, news }),
        };
        for _ in 0..3 {
            net.step(0, Event::Datagram(addr(3), datagram.encode()));
            net.run(0.2);
        }
        let before = net.sent.1;
        net.run(5.0);
        prop_assert!(net.sent.1 - before < 5 * 4 * 60, "{} datagrams", net.sent.1 - before);
    }
}
