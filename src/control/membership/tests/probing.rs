//! One node among members that are played by hand: whom it probes and asks, whose word counts, and for how long.

use std::collections::BTreeMap;

use super::*;
use crate::ring::{ClusterId, Member, Settings, found};
use crate::wire::gossip::{Beat, Errand, Essentials, Rank, Stamp};

/// The node under test, number 1 in zone "a", and members that answer unless a test says otherwise.
struct World {
    members: Membership,
    now: Now,
    /// Who does not answer probes.
    silent: BTreeSet<MemberNumber>,
    /// What the node said, to whom, since this was last emptied.
    said: Vec<(MemberNumber, Datagram)>,
}

fn ring_of(zones: &[&str]) -> Ring {
    let member = |(at, zone): (usize, &&str)| Member {
        number: MemberNumber(at as u16 + 1),
        id: NodeId((at as u128 + 1) << 64),
        name: format!("n{}", at + 1),
        addr: ([10, 0, 0, at as u8 + 1], 7400).into(),
        zone: (*zone).to_owned(),
        weight: 1,
        since: Epoch(1),
        leaving: false,
    };
    let members = zones.iter().enumerate().map(member).collect();
    found(ClusterId(1), Secret([0; 16]), members, Settings::default())
}

impl World {
    /// All members are known to be there.
    fn new(seed: u64, zones: &[&str]) -> Self {
        let ring = ring_of(zones);
        let me = &ring.members[0];
        let voice = Voice {
            id: me.id,
            boot: 1,
            life: 1,
            name: me.name.clone(),
            addr: me.addr,
            shards: 1,
            log: Vec::new(),
            incarnation: 0,
            told: (ring.epoch, 0),
            version: 1,
            left: false,
        };
        let others: Vec<MemberNumber> =
            ring.members[1..].iter().map(|member| member.number).collect();
        let mut effects = Vec::new();
        let members = Membership::new(ring, &[], voice, seed, Duration::ZERO, &mut effects);
        let now = Duration::ZERO;
        let mut world = World { members, now, silent: BTreeSet::new(), said: Vec::new() };
        for of in others {
            let stamp = Stamp { boot: 1, version: 1 };
            let addr = world.members.ring.member(of).expect("a member").addr;
            let essentials = Some(Essentials { stamp, addr, shards: 1 });
            let claim = Claim::alive(1, 0);
            let news = News { of, claim, accusers: Vec::new(), essentials, details: None };
            world.hear(of, Datagram::Rumours(Gossip { head: world.head(of), news: vec![news] }));
        }
        world.said.clear();
        world
    }

    fn head(&self, from: MemberNumber) -> Head {
        let ring = &self.members.ring;
        Head {
            cluster: ring.cluster,
            from: ring.member(from).expect("a member").id,
            to: self.members.voice.id,
            boot: 1,
            life: 9,
            incarnation: 0,
            epoch: ring.epoch,
            ring: ring.hash(),
            // As the node's own: nothing is to be compared.
            fingerprint: self.members.fingerprint(),
        }
    }

    /// A member says something.
    fn hear(&mut self, from: MemberNumber, datagram: Datagram) {
        assert_eq!(self.try_hear(from, datagram), Ok(()));
    }

    fn try_hear(&mut self, from: MemberNumber, datagram: Datagram) -> Result<(), Ignored> {
        let addr = self.members.ring.member(from).expect("a member").addr;
        let mut effects = Vec::new();
        let heard = self.members.hear(self.now, addr, datagram, &mut effects);
        self.carry_out(effects);
        heard
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let Effect::Datagram(addr, bytes) = effect else { continue };
            let ring = Arc::clone(&self.members.ring);
            let to = ring.members.iter().find(|member| member.addr == addr).expect("a member");
            let datagram = Datagram::decode(&bytes).expect("the node's own words");
            self.said.push((to.number, datagram.clone()));
            if let Datagram::Probe(beat) = datagram
                && !self.silent.contains(&to.number)
            {
                self.answer(to.number, beat.seq);
            }
        }
    }

    /// A member answers a probe.
    fn answer(&mut self, from: MemberNumber, seq: u64) {
        let head = self.head(from);
        let beat = Beat { head, seq, log: Vec::new(), rolled_back: false, news: Vec::new() };
        self.hear(from, Datagram::Ack(beat));
    }

    /// A member says whether another answered.
    fn tell(&mut self, by: MemberNumber, target: MemberNumber, seq: u64, answered: bool) {
        let head = self.head(by);
        let errand = Errand { head, seq, target, answered, news: Vec::new() };
        self.hear(by, Datagram::Told(errand));
    }

    /// Lets time pass until then, or until this is so.
    fn run(&mut self, length: f64, mut until: impl FnMut(&World) -> bool) {
        let end = self.now + Duration::from_secs_f64(length);
        while !until(self) && self.now < end {
            self.now = self.members.due().map_or(end, |due| due.clamp(self.now, end));
            let mut effects = Vec::new();
            self.members.tick(self.now, &mut effects);
            self.members.publish(self.now, &mut effects);
            self.carry_out(effects);
        }
    }

    /// Whom the node has asked to try a member, with the number of the probe.
    fn asked(&self, target: MemberNumber) -> Vec<(MemberNumber, u64)> {
        let asked = self.said.iter().filter_map(|(to, datagram)| match datagram {
            Datagram::Ask(errand) if errand.target == target => Some((*to, errand.seq)),
            _ => None,
        });
        asked.collect()
    }

    fn rank(&self, of: MemberNumber) -> Option<Rank> {
        self.members.known[&of].rank()
    }
}

const ELEVEN: [&str; 11] = ["a", "a", "a", "a", "a", "a", "b", "b", "b", "a", "a"];

/// Three others are asked to try a silent member: rather in other zones, and in each round such as were not asked before.
#[test]
fn relays_are_fresh_and_rather_elsewhere() {
    let target = MemberNumber(11);
    for seed in 0..20 {
        let mut world = World::new(seed, &ELEVEN);
        world.silent.insert(target);
        world.run(60.0, |world| world.asked(target).len() >= 9);
        let asked: Vec<u16> = world.asked(target).iter().map(|(relay, _)| relay.0).collect();
        let first: BTreeSet<u16> = asked[..3].iter().copied().collect();
        assert_eq!(first, BTreeSet::from([7, 8, 9]), "seed {seed}: in the other zone: {asked:?}");
        let all: BTreeSet<u16> = asked[..9].iter().copied().collect();
        assert_eq!(all.len(), 9, "seed {seed}: others in each round: {asked:?}");
        assert!(!all.contains(&target.0) && !all.contains(&1), "seed {seed}: {asked:?}");
    }
}

/// That a member lives is believed of a relay that was asked, and of nobody else.
#[test]
fn only_who_was_asked_can_vouch() {
    let (target, seed) = (MemberNumber(11), 3);
    let zones = vec!["a"; 60];
    for vouched in [true, false] {
        let mut world = World::new(seed, &zones);
        world.silent.insert(target);
        world.run(60.0, |world| !world.asked(target).is_empty());
        let mut told = 0;
        for _ in 0..100 {
            let asked = world.asked(target);
            let relays: BTreeSet<MemberNumber> = asked.iter().map(|(relay, _)| *relay).collect();
            let (last, seq) = *asked.last().expect("somebody is asked");
            let others = (2..=60).map(MemberNumber).filter(|other| *other != target);
            let other = others.rev().find(|other| !relays.contains(other));
            let by = if vouched { last } else { other.expect("some were never asked") };
            world.tell(by, target, seq, true);
            told += 1;
            world.run(0.05, |_| false);
        }
        assert!(told > 3, "somebody vouched");
        let accused = world.rank(target) != Some(Rank::Alive);
        assert_eq!(accused, !vouched, "vouched by who was asked: {vouched}");
    }
}

/// Relays that say "no answer here either" show that the way to them works: the silence is not this node's own trouble. If
/// they are silent, too, it may be, and the node becomes slower to judge.
#[test]
fn a_no_spares_the_node_doubts_of_itself() {
    let target = MemberNumber(11);
    for nacked in [true, false] {
        let mut world = World::new(5, &ELEVEN);
        world.silent.insert(target);
        world.run(60.0, |world| world.asked(target).len() == 3);
        for (relay, seq) in world.asked(target) {
            if nacked {
                world.tell(relay, target, seq, false);
            }
        }
        let before = world.members.detector.slowness();
        world.run(60.0, |world| world.asked(target).len() > 3);
        let after = world.members.detector.slowness();
        assert_eq!(after > before, !nacked, "nacked: {nacked}, {before} then {after}");
    }
}

/// An answer that comes after its time changes nothing.
#[test]
fn an_answer_counts_for_a_while_only() {
    let target = MemberNumber(4);
    let probed = |world: &World| {
        world.said.iter().rev().find_map(|(to, datagram)| match datagram {
            Datagram::Probe(beat) if *to == target => Some(beat.seq),
            _ => None,
        })
    };
    for (wait, counts) in [(1.6, true), (1.9, false)] {
        let mut world = World::new(8, &ELEVEN);
        world.silent.insert(target);
        world.run(60.0, |world| probed(world).is_some());
        let seq = probed(&world).expect("it is probed");
        // Nothing else happens meanwhile: not even what is too old is cleared.
        world.now += Duration::from_secs_f64(wait);
        let head = world.head(target);
        let beat = Beat { head, seq, log: Vec::new(), rolled_back: false, news: Vec::new() };
        let heard = world.try_hear(target, Datagram::Ack(beat));
        assert_eq!(heard.is_ok(), counts, "{wait} s later: {heard:?}");
    }
}

/// Each member is probed once in a turn, in an order that is another one each time.
#[test]
fn the_order_of_probes_changes_from_turn_to_turn() {
    let mut world = World::new(13, &ELEVEN);
    let probes = |world: &World| -> Vec<u16> {
        let probes = world.said.iter().filter(|(_, said)| matches!(said, Datagram::Probe(_)));
        probes.map(|(to, _)| to.0).collect()
    };
    world.run(60.0, |world| probes(world).len() >= 40);
    let probes = probes(&world);
    // The first turn begins in the order of the founding; a call of a witness may come between.
    let turns: Vec<&[u16]> = probes.chunks(10).collect();
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    probes[..40].iter().for_each(|of| *counts.entry(*of).or_default() += 1);
    assert!(counts.len() == 10 && counts.values().all(|count| (3..=5).contains(count)));
    assert!(turns[1] != turns[2] && turns[2] != turns[3], "{turns:?}");
}

/// How far the logs of a node are is told to a few, the same ones in every life, within seconds: it will be them who notice that
/// the disk went back.
#[test]
fn witnesses_hear_within_seconds_how_far_the_logs_are() {
    let zones = vec!["a"; 60];
    let mut world = World::new(21, &zones);
    world.run(3.0, |_| false);
    let mut witnesses: Vec<MemberNumber> = (2..=60).map(MemberNumber).collect();
    witnesses.sort_by_key(|other| super::super::detector::rendezvous(MemberNumber(1), *other));
    world.members.log_position(world.now, vec![5], &mut Vec::new());
    world.run(6.0, |_| false);
    world.said.clear();
    world.members.log_position(world.now, vec![7], &mut Vec::new());
    world.run(6.0, |_| false);
    let told = |of: &MemberNumber| {
        world
            .said
            .iter()
            .any(|(to, said)| matches!(said, Datagram::Probe(beat) if to == of && beat.log == [7]))
    };
    assert!(witnesses[..5].iter().all(told), "{:?}", &witnesses[..5]);
    assert!(witnesses.iter().filter(|of| told(of)).count() < 30, "not everybody");
}
