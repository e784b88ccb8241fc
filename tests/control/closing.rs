//! Lives that are over, from the shards that see them to the ring's list of dead actors.

use std::collections::BTreeSet;

use ringdove::causality::Actor;
use ringdove::control::{Ask, Event};
use ringdove::ring::Ring;
use ringdove::ring::steps::Verdict;
use ringdove::wire::Proposed;

use super::net::{Net, seconds};

fn members(seed: u64, count: usize) -> Net {
    let mut net = Net::cluster(seed, count);
    assert!(net.run_until(seconds(10.0), Net::settled));
    net
}

fn ring(net: &Net, place: usize) -> &Ring {
    &net.nodes[place].view.as_ref().expect("a member").ring
}

/// A life of the member at a place.
fn life(net: &Net, place: usize, life: u64) -> Actor {
    Actor::new(net.nodes[place].view.as_ref().expect("a member").me.0, life)
}

/// What the shards behind the machines are like.
#[derive(Default)]
struct Shards {
    /// Lives that the second shard of their member goes on under.
    in_use: BTreeSet<Actor>,
    /// Nodes where a shard holds a hint, and of which life.
    hints: BTreeSet<(usize, Actor)>,
    /// All that was ever to be refused, and where.
    asked: BTreeSet<(usize, Actor)>,
}

impl Shards {
    fn in_use(lives: impl IntoIterator<Item = Actor>) -> Self {
        Shards { in_use: lives.into_iter().collect(), ..Shards::default() }
    }

    /// All nodes run on for so many seconds, and their shards answer what they are asked.
    fn run(&mut self, net: &mut Net, seconds: usize) {
        for _ in 0..4 * seconds {
            for place in 0..net.nodes.len() {
                self.answer(net, place);
            }
            net.run(0.25);
        }
    }

    fn answer(&mut self, net: &mut Net, place: usize) {
        for actor in std::mem::take(&mut net.nodes[place].refused) {
            self.asked.insert((place, actor));
            let own = life(net, place, 0).member() == actor.member();
            let second = if self.hints.contains(&(place, actor)) {
                Verdict::NotYet
            } else if own && self.in_use.contains(&actor) {
                Verdict::Mine
            } else {
                Verdict::MayList
            };
            net.step(place, Event::Refused(0, vec![(actor, Verdict::MayList)]));
            net.step(place, Event::Refused(1, vec![(actor, second)]));
        }
    }
}

/// A member leaves, and the others go on without it.
fn leave(net: &mut Net, name: &str) {
    let left = ring(net, 0).members.len() - 1;
    let leave = Proposed::Leave { member: name.to_owned(), lost: false };
    net.step(0, Event::Asked(1, Ask::Change { basis: String::new(), changes: vec![leave] }));
    for _ in 0..200 {
        net.run(0.5);
        super::changes::shards_report(net);
        if ring(net, 0).members.len() == left {
            return;
        }
    }
    panic!("{name} does not leave: {:?}", net.machine(0).doctor());
}

/// The second shard of a node sees these.
fn sees(net: &mut Net, place: usize, lives: &[Actor]) {
    net.step(place, Event::Seen(1, lives.to_vec()));
}

fn listed(net: &Net, place: usize) -> BTreeSet<Actor> {
    ring(net, place).dead.actors().iter().copied().collect()
}

#[test]
fn lives_are_listed_that_are_over_and_no_others() {
    let mut net = members(500, 3);
    let (old, new) = (life(&net, 1, 10), life(&net, 1, 11));
    let mut shards = Shards::in_use([new]);
    for place in [0, 2] {
        sees(&mut net, place, &[old, new]);
    }
    sees(&mut net, 1, &[old]);
    shards.run(&mut net, 10);
    for place in 0..3 {
        assert_eq!(listed(&net, place), BTreeSet::from([old]), "n{}", place + 1);
    }
    let elsewhere = shards.asked.iter().filter(|(place, actor)| *place != 1 && *actor == new);
    assert_eq!(elsewhere.count(), 0, "nobody else is asked to refuse a life in use");
}

#[test]
fn nothing_is_listed_before_every_member_can_do_without_it() {
    let mut net = members(501, 4);
    let old = life(&net, 1, 10);
    let mut shards = Shards { hints: BTreeSet::from([(3, old)]), ..Shards::default() };
    sees(&mut net, 0, &[old]);
    shards.run(&mut net, 30);
    assert_eq!(listed(&net, 0), BTreeSet::new(), "n4 holds a hint");
    shards.hints.clear();
    shards.run(&mut net, 10);
    assert_eq!(listed(&net, 0), BTreeSet::from([old]));
}

#[test]
fn who_is_down_is_waited_for_and_doctor_names_it() {
    let mut net = members(502, 3);
    let old: Vec<Actor> = (0..20).map(|it| life(&net, 1, 10 + it)).collect();
    let mut shards = Shards::default();
    net.kill(2);
    sees(&mut net, 0, &old);
    shards.run(&mut net, 60);
    assert_eq!(listed(&net, 0), BTreeSet::new());
    let findings = net.machine(0).doctor();
    let lives = findings.iter().find(|finding| finding.what.contains("lives of members are over"));
    let lives = lives.expect("a finding about lives");
    // As many may be in use as that member has shards.
    assert!(lives.what.starts_with("18 "), "{lives:?}");
    assert_eq!((lives.grade.as_str(), lives.members.as_slice()), ("bad", &["n3".to_owned()][..]));
    net.start(2);
    shards.run(&mut net, 15);
    assert_eq!(listed(&net, 0), old.iter().copied().collect());
    assert_eq!(net.machine(0).doctor(), []);
}

#[test]
fn whoever_leads_next_goes_on() {
    let mut net = members(503, 3);
    let old = life(&net, 1, 10);
    let mut shards = Shards::default();
    for place in 0..3 {
        sees(&mut net, place, &[old]);
    }
    // Two have answered, of whom one leads; the third has not.
    for _ in 0..8 {
        net.run(0.25);
        shards.answer(&mut net, 0);
        shards.answer(&mut net, 1);
    }
    assert_eq!(listed(&net, 0), BTreeSet::new());
    let leads = net.machine(1).leader().expect("a leader");
    let place = (0..3).find(|place| net.nodes[*place].view.as_ref().expect("one").me == leads);
    let place = place.expect("one of the three");
    // It leaves for good, which only its successor can decide; and what it was told is gone with it.
    let name = ring(&net, place).member(leads).expect("a member").name.clone();
    net.kill(place);
    let other = (place + 1) % 3;
    let leave = Proposed::Leave { member: name, lost: true };
    net.run(8.0);
    net.step(other, Event::Asked(1, Ask::Change { basis: String::new(), changes: vec![leave] }));
    for _ in 0..100 {
        shards.run(&mut net, 1);
        super::changes::shards_report(&mut net);
    }
    assert_eq!(ring(&net, other).members.len(), 2);
    assert_eq!(listed(&net, other), BTreeSet::from([old]));
}

#[test]
fn a_new_life_has_those_before_it_looked_at_again() {
    let mut net = members(504, 3);
    let (first, second) = (life(&net, 2, 10), life(&net, 2, 11));
    let mut shards = Shards::in_use([first]);
    sees(&mut net, 0, &[first]);
    shards.run(&mut net, 10);
    assert_eq!(listed(&net, 0), BTreeSet::new());
    shards.in_use = BTreeSet::from([second]);
    sees(&mut net, 0, &[first, second]);
    shards.run(&mut net, 10);
    assert_eq!(listed(&net, 0), BTreeSet::from([first]));
}

#[test]
fn lives_of_members_that_are_gone_are_over_and_unknown_members_are_not_gone() {
    let mut net = members(505, 4);
    let gone = life(&net, 3, 10);
    let later = Actor::new(900, 10);
    leave(&mut net, "n4");
    let mut shards = Shards::default();
    sees(&mut net, 0, &[gone, later]);
    shards.run(&mut net, 10);
    assert_eq!(listed(&net, 1), BTreeSet::from([gone]));
    // It may be a member of a ring that this one has not heard of.
    assert_eq!(shards.asked.iter().filter(|(_, actor)| *actor == later).count(), 0);
}

#[test]
fn a_life_that_was_in_use_is_over_when_its_member_is_gone() {
    let mut net = members(507, 4);
    let some = life(&net, 3, 10);
    let mut shards = Shards::in_use([some]);
    sees(&mut net, 0, &[some]);
    shards.run(&mut net, 10);
    assert_eq!(shards.asked, BTreeSet::from([(3, some)]));
    leave(&mut net, "n4");
    shards.run(&mut net, 10);
    assert_eq!(listed(&net, 1), BTreeSet::from([some]));
}

#[test]
fn a_life_that_was_in_use_is_over_once_its_member_says_so() {
    let mut net = members(508, 3);
    let some = life(&net, 2, 10);
    let mut shards = Shards::in_use([some]);
    sees(&mut net, 0, &[some]);
    shards.run(&mut net, 10);
    // It goes on under another name, and has not written anything that a clock would show.
    shards.in_use.clear();
    shards.run(&mut net, 60);
    assert_eq!(listed(&net, 1), BTreeSet::new(), "it was in use a moment ago");
    shards.run(&mut net, 700);
    assert_eq!(listed(&net, 1), BTreeSet::from([some]));
}

#[test]
fn strangers_list_nobody() {
    use ringdove::ring::NodeId;
    use ringdove::wire::control::ControlMessage;
    let mut net = members(506, 3);
    let (some, other) = (life(&net, 1, 10), life(&net, 1, 11));
    let mut shards = Shards { hints: BTreeSet::from([(2, some)]), ..Shards::default() };
    sees(&mut net, 0, &[some]);
    shards.run(&mut net, 10);
    // Only n3 has not confirmed that the first may be listed.
    let third = ring(&net, 2).member(net.nodes[2].view.as_ref().expect("one").me).expect("n3").id;
    for place in 0..3 {
        for message in [
            ControlMessage::Lives(vec![other]),
            ControlMessage::RefuseLives(vec![other]),
            ControlMessage::LivesRefused { refused: vec![some], in_use: Vec::new() },
        ] {
            net.step(place, Event::Told(NodeId(77), Box::new(message)));
        }
    }
    shards.run(&mut net, 10);
    assert_eq!(listed(&net, 0), BTreeSet::new());
    assert!(shards.asked.iter().all(|(_, actor)| *actor == some), "{:?}", shards.asked);
    // A member's word is another matter.
    let message = ControlMessage::LivesRefused { refused: vec![some], in_use: Vec::new() };
    for place in 0..3 {
        net.step(place, Event::Told(third, Box::new(message.clone())));
    }
    shards.run(&mut net, 10);
    assert_eq!(listed(&net, 0), BTreeSet::from([some]));
}
