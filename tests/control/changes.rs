//! Changes of the ring that people ask for, from the node that is asked to rows at rest.

use ringdove::control::{Ask, Event, Outcome};
use ringdove::ring::steps::{Report, Stage};
use ringdove::ring::{Change, Epoch, MemberNumber, Partition, Ring};
use ringdove::wire::{Changed, Proposed};

use super::net::{Net, seconds};

/// What the shards of a member would report of rows that change, once they have done their part.
fn reports(ring: &Ring, me: MemberNumber) -> Vec<Report> {
    let mut reports = Vec::new();
    for partition in &ring.partitions {
        let stage = match &partition.change {
            Some(Change::Prepare { incoming, .. }) => (*incoming == me).then_some(Stage::Copied),
            Some(Change::Settle { incoming, .. }) => (*incoming == me).then_some(Stage::Settled),
            Some(Change::Cover { .. }) => partition.row.contains(&me).then_some(Stage::Covered),
            None => None,
        };
        let dropped = partition.former.contains(&me).then_some(Stage::Dropped);
        let (first, since) = (partition.first, partition.since);
        let report = |stage| Report { first, since, by: me, stage };
        reports.extend(stage.into_iter().chain(dropped).map(report));
    }
    reports
}

/// All shards of all members that run do their part of every step.
pub fn shards_report(net: &mut Net) {
    for place in 0..net.nodes.len() {
        let node = &net.nodes[place];
        let (Some(view), Some(_)) = (&node.view, &node.machine) else { continue };
        for report in reports(&view.ring, view.me) {
            // Each of the two shards reports.
            net.step(place, Event::Reported(0, report));
            net.step(place, Event::Reported(1, report));
        }
    }
}

/// Whether no row of a ring changes.
pub fn rests(ring: &Ring) -> bool {
    let rests = |at: &Partition| at.change.is_none() && at.goal.is_none() && at.former.is_empty();
    ring.partitions.iter().all(rests)
}

fn ring(net: &Net, place: usize) -> &Ring {
    &net.nodes[place].view.as_ref().expect("a member").ring
}

/// Lets rows go on until they rest in the view of a node.
fn settle(net: &mut Net, place: usize) {
    for _ in 0..400 {
        if rests(ring(net, place)) {
            return;
        }
        shards_report(net);
        net.run(0.5);
    }
    panic!("rows do not come to rest: {:?}", net.machine(place).doctor());
}

/// Asks a node, and waits for the answer.
fn ask(net: &mut Net, place: usize, ask: Ask) -> Result<Changed, String> {
    match outcome(net, place, ask) {
        Outcome::Decided(changed) => Ok(changed),
        Outcome::Refused(why) => Err(why),
        Outcome::Undecided(why) => Err(format!("undecided: {why}")),
    }
}

fn outcome(net: &mut Net, place: usize, ask: Ask) -> Outcome {
    let waits = net.nodes[place].answers.len() as u64 + 1;
    net.step(place, Event::Asked(waits, ask));
    assert!(net.run_until(seconds(6.0), |net| net.nodes[place].answers.contains_key(&waits)));
    net.nodes[place].answers[&waits].clone()
}

fn change(net: &mut Net, place: usize, changes: &[Proposed]) -> Result<Changed, String> {
    ask(net, place, Ask::Change { basis: String::new(), changes: changes.to_vec() })
}

fn leave(name: &str, lost: bool) -> Proposed {
    Proposed::Leave { member: name.to_owned(), lost }
}

fn five(seed: u64) -> Net {
    let mut net = Net::cluster(seed, 5);
    assert!(net.run_until(seconds(10.0), Net::settled));
    net
}

/// The number of a member, as the first node sees it.
fn number(net: &Net, name: &str) -> MemberNumber {
    let members = &ring(net, 0).members;
    members.iter().find(|member| member.name == name).expect("a member").number
}

/// Copies of everything by member, in slots.
fn held(ring: &Ring, number: MemberNumber) -> usize {
    let rows = (0..ring.partitions.len()).filter(|at| ring.partitions[*at].row.contains(&number));
    rows.map(|at| ring.slots_of(at).count()).sum()
}

#[test]
fn whoever_is_asked_a_member_gives_all_away_and_leaves() {
    for asked in 0..5 {
        let mut net = five(30 + asked as u64);
        let changed = change(&mut net, asked, &[leave("n4", false)]).expect("decided");
        assert!(changed.changed && changed.epoch == 2 && changed.partitions > 0, "{changed:?}");
        let line = net.machine(asked).members().into_iter().find(|line| line.name == "n4");
        assert_eq!(line.map(|line| line.state).as_deref(), Some("UL"));
        // Asked once more, nothing is different.
        let again = change(&mut net, (asked + 1) % 5, &[leave("n4", false)]).expect("granted");
        assert!(!again.changed, "{again:?}");
        // Who has left sees no ring any more.
        let place = if asked == 3 { 0 } else { asked };
        assert!(net.run_until(seconds(5.0), |net| ring(net, place).epoch >= Epoch(2)));
        settle(&mut net, place);
        assert!(net.run_until(seconds(10.0), |net| ring(net, place).members.len() == 4));
        let ring = ring(&net, place);
        for member in &ring.members {
            let (held, ideal) = (held(ring, member.number), 16384 * 3 / 4);
            assert!(held.abs_diff(ideal) * 50 < ideal, "{held} slots of {ideal}");
        }
    }
}

#[test]
fn a_dead_member_is_replaced_by_one_that_joined() {
    let mut net = five(40);
    net.kill(4);
    let late = net.add(&[0, 1]);
    net.start(late);
    let joined = |net: &Net| net.nodes[late].view.is_some();
    assert!(net.run_until(seconds(20.0), joined));
    let replace = Proposed::Replace {
        member: "n5".to_owned(),
        zone: None,
        with: Some("n6".to_owned()),
        lost: false,
    };
    change(&mut net, late, &[replace]).expect("decided");
    settle(&mut net, 0);
    assert!(net.run_until(seconds(10.0), |net| ring(net, 0).members.len() == 5));
    assert!(ring(&net, 0).members.iter().all(|member| member.name != "n5"));
}

#[test]
fn rows_wait_while_changes_are_paused_and_go_back_when_they_are_given_up() {
    let mut net = five(41);
    change(&mut net, 2, &[leave("n2", false)]).expect("decided");
    change(&mut net, 3, &[Proposed::Pause]).expect("decided");
    for _ in 0..20 {
        shards_report(&mut net);
        net.run(0.5);
    }
    let paused = ring(&net, 0).clone();
    let unsettled = |at: &&Partition| at.settling().is_some();
    assert_eq!(paused.partitions.iter().filter(unsettled).count(), 0, "steps are ended");
    assert!(paused.partitions.iter().any(|at| at.goal.is_some()));
    let waits = net.machine(3).doctor();
    assert!(
        waits.iter().any(|finding| finding.what.contains("an operator has paused")),
        "{waits:?}"
    );
    let status = net.machine(3).status_part();
    assert!(status.moves.join(" ").contains("changes are paused"), "{:?}", status.moves);

    let stays = number(&net, "n2");
    change(&mut net, 0, &[Proposed::Abort]).expect("decided");
    change(&mut net, 0, &[Proposed::Resume]).expect("decided");
    settle(&mut net, 0);
    let ring = ring(&net, 0);
    assert_eq!(ring.members.len(), 5);
    assert!(held(ring, stays) > 0, "it keeps what had not changed hands");
}

#[test]
fn a_plan_that_does_not_hold_any_more_is_not_applied() {
    let mut net = five(42);
    let plan = net.machine(1).plan_shown(&[leave("n1", false)]).expect("a plan");
    change(&mut net, 3, &[Proposed::Weight { member: "n2".to_owned(), weight: 3 }])
        .expect("decided");
    let planned = Ask::Change { basis: plan.basis, changes: vec![leave("n1", false)] };
    let why = ask(&mut net, 1, planned).expect_err("another ring");
    assert!(why.contains("look at the plan again"), "{why}");
    // Steps of rows leave a plan as it is.
    let plan = net.machine(1).plan_shown(&[leave("n1", false)]).expect("a plan");
    let before = ring(&net, 1).epoch;
    shards_report(&mut net);
    assert!(net.run_until(seconds(10.0), |net| ring(net, 1).epoch > before));
    let planned = Ask::Change { basis: plan.basis, changes: vec![leave("n1", false)] };
    assert!(ask(&mut net, 1, planned).expect("it holds").changed);
}

#[test]
fn what_cannot_be_changed_is_refused_in_a_sentence() {
    let mut net = five(43);
    for (changes, what) in [
        (vec![leave("n9", false)], "no member is called n9"),
        (vec![leave("n1", true)], "n1 answers"),
        (vec![Proposed::Weight { member: "n1".to_owned(), weight: 0 }], "weight of 0"),
        (vec![Proposed::Join { zone: String::new(), weight: 1 }], "join by themselves"),
        ((1..=5).map(|n| leave(&format!("n{n}"), false)).collect(), "nobody would be left"),
        (Vec::new(), "name a change"),
    ] {
        let why = change(&mut net, 0, &changes).expect_err(what);
        assert!(why.contains(what), "{why}");
        assert_eq!(ring(&net, 0).epoch, Epoch(1));
    }
}

#[test]
fn without_a_majority_who_asks_is_told_that_nothing_is_known_yet() {
    let mut net = five(44);
    [2, 3, 4].into_iter().for_each(|place| net.kill(place));
    net.run(20.0);
    let why = change(&mut net, 0, &[leave("n5", false)]).expect_err("nobody decides");
    assert!(why.contains("too few members answer") && why.starts_with("undecided"), "{why}");
    let findings = net.machine(0).doctor();
    assert_eq!(findings.iter().filter(|finding| finding.grade == "bad").count(), 4, "{findings:?}");
}

#[test]
fn a_row_whose_owners_are_mostly_gone_for_good_goes_on_when_that_is_said() {
    let mut net = five(45);
    net.run(1.0);
    [3, 4].into_iter().for_each(|place| net.kill(place));
    net.run(20.0);
    change(&mut net, 0, &[leave("n4", false), leave("n5", false)]).expect("decided");
    for _ in 0..60 {
        // Only who can hear enough owners reports; here that is not looked at, for the leader looks, too.
        shards_report(&mut net);
        net.run(0.5);
    }
    assert!(!rests(ring(&net, 0)), "rows with two owners down wait");
    let findings = net.machine(1).doctor();
    let stuck = findings.iter().find(|finding| finding.what.contains("cannot go on"));
    let stuck = stuck.unwrap_or_else(|| panic!("{findings:?}"));
    assert!(stuck.next.contains("apply leave n4 n5 --lost"), "{stuck:?}");
    assert!(stuck.since_ms.is_some_and(|ms| ms > 5_000), "{stuck:?}");

    let gone = ["n4", "n5"].map(|name| number(&net, name));
    change(&mut net, 2, &[leave("n4", true), leave("n5", true)]).expect("decided");
    settle(&mut net, 0);
    assert!(net.run_until(seconds(10.0), |net| ring(net, 0).members.len() == 3));
    assert_eq!(ring(&net, 0).lost, gone);
    assert_eq!(net.machine(0).doctor(), []);
}

#[test]
fn a_majority_that_is_gone_for_good_is_gone_on_without() {
    let mut net = five(46);
    [0, 1, 2].into_iter().for_each(|place| net.kill(place));
    net.run(20.0);
    let force = |left: &[&str]| Ask::Force { left: left.iter().map(ToString::to_string).collect() };
    let why = ask(&mut net, 3, force(&["n5"])).expect_err("it is not among those left itself");
    assert!(why.contains("nothing was forced"), "{why}");
    let forced = ask(&mut net, 3, force(&["n4", "n5"])).expect("forced");
    assert!(forced.epoch > 1_000_000, "{forced:?}");
    assert!(net.run_until(seconds(10.0), |net| ring(net, 4).members.len() == 2));
    // The two decide again, and who was given up is kept out.
    change(&mut net, 4, &[Proposed::Weight { member: "n4".to_owned(), weight: 2 }])
        .expect("decided");
    net.start(0);
    net.run(20.0);
    assert_eq!(ring(&net, 3).members.len(), 2);
    assert_eq!(ring(&net, 4).members.len(), 2);
}

#[test]
fn who_joins_by_hand_owns_nothing_until_rows_are_planned_anew() {
    let mut net = five(47);
    change(&mut net, 1, &[Proposed::Manual(true)]).expect("decided");
    let late = net.add(&[0, 1]);
    net.start(late);
    assert!(net.run_until(seconds(20.0), |net| net.nodes[late].view.is_some()));
    net.run(10.0);
    assert!(rests(ring(&net, late)));
    let new = number(&net, "n6");
    assert_eq!(held(ring(&net, late), new), 0);
    let plan = net.machine(late).plan_shown(&[Proposed::Rebalance]).expect("a plan");
    assert!(plan.rows > 0);
    let planned = Ask::Change { basis: plan.basis, changes: vec![Proposed::Rebalance] };
    ask(&mut net, late, planned).expect("decided");
    settle(&mut net, late);
    assert!(held(ring(&net, late), new) * 2 > 16384 * 3 / 6);
}

/// A wiped directory is a node that nobody knows, where somebody was, under the same name.
#[test]
fn a_wiped_directory_takes_the_place_of_what_it_was() {
    let mut net = five(48);
    change(&mut net, 1, &[Proposed::Weight { member: "n5".to_owned(), weight: 2 }])
        .expect("decided");
    settle(&mut net, 0);
    let old = number(&net, "n5");
    net.kill(4);
    let late = net.add(&[0, 1]);
    let (addr, name) = (net.nodes[4].addr, net.nodes[4].config.name.clone());
    net.nodes[4].addr = net.nodes[late].addr;
    (net.nodes[late].addr, net.nodes[late].config.advertise) = (addr, addr);
    net.nodes[late].config.name = name;
    net.start(late);
    let comes = |net: &Net| net.nodes[late].view.is_some();
    assert!(net.run_until(seconds(30.0), comes));
    settle(&mut net, late);
    assert!(net.run_until(seconds(10.0), |net| ring(net, late).members.len() == 5));
    let ring = ring(&net, late);
    let new = ring.member_by_id(net.machine(late).id()).expect("a member");
    assert_eq!((ring.member(old), new.weight, new.number.0), (None, 2, 6));
    // It had two of six parts of three copies, and so has it again.
    assert!(held(ring, new.number).abs_diff(16384) < 500, "{}", held(ring, new.number));
}
