//! Rings that grow, shrink and lose members, driven to their goals by members that report in any order.

use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::causality::Secret;
use crate::ring::{Change, ClusterId, Member, NodeId, Settings, enough, found};

fn newcomer(number: u16) -> Newcomer {
    Newcomer {
        id: NodeId(u128::from(number)),
        name: format!("n{number}"),
        addr: ([127, 0, 0, 1], number).into(),
        zone: String::new(),
        weight: 1,
    }
}

fn ring_of(count: u16, copies: u8) -> Ring {
    let member = |number: u16| {
        let Newcomer { id, name, addr, zone, weight } = newcomer(number);
        let (number, since) = (MemberNumber(number), Epoch(1));
        Member { number, id, name, addr, zone, weight, since, leaving: false }
    };
    let members = (1..=count).map(member).collect();
    found(ClusterId(1), Secret([0; 16]), members, Settings { copies, ..Settings::default() })
}

/// What members that live would report about a ring's rows now.
fn reports(ring: &Ring, lives: &[MemberNumber]) -> Vec<Report> {
    let mut reports = vec![];
    for partition in &ring.partitions {
        let up = |set: &[MemberNumber]| set.iter().filter(|owner| lives.contains(owner)).count();
        let mut say = |by: &MemberNumber, stage| {
            if lives.contains(by) {
                let (first, since) = (partition.first, partition.since);
                reports.push(Report { first, since, by: *by, stage });
            }
        };
        match &partition.change {
            None => partition.former.iter().for_each(|former| say(former, Stage::Dropped)),
            Some(Change::Prepare { incoming, .. }) if up(&partition.row) > 0 => {
                say(incoming, Stage::Copied);
            }
            Some(Change::Prepare { .. }) => {}
            Some(Change::Settle { incoming, before }) => {
                if before.iter().all(|set| up(set) >= enough(set.len())) {
                    say(incoming, Stage::Settled);
                }
            }
            Some(Change::Cover { lost, before }) => {
                if lives.contains(lost) || up(before) >= enough(before.len()) {
                    partition.row.iter().for_each(|owner| say(owner, Stage::Covered));
                }
            }
        }
    }
    reports
}

fn legal(next: &Ring, ring: &Ring) {
    assert_eq!(next.check(), Ok(()));
    assert_eq!(rows_follow(next, ring), Ok(()));
    assert_eq!((next.epoch.0, next.previous), (ring.epoch.0 + 1, ring.hash()));
}

/// Lets members report at random until nothing steps any more; the epochs that it took.
fn drive(ring: &mut Ring, down: &[MemberNumber], rng: &mut ChaCha8Rng) -> usize {
    let (mut progress, mut epochs, mut idle) = (Progress::default(), 0, 0);
    while idle < 20 {
        let lives: Vec<MemberNumber> = ring.members.iter().map(|member| member.number).collect();
        let lives: Vec<MemberNumber> =
            lives.into_iter().filter(|number| !down.contains(number)).collect();
        let all = reports(ring, &lives);
        let some = rng.random_range(0..=all.len());
        all.sample(rng, some).for_each(|report| progress.note(ring, *report));
        let next = advance(ring, &progress, |number| lives.contains(&number), Limits::default());
        idle += 1;
        if let Some(next) = next {
            legal(&next, ring);
            (*ring, idle, epochs) = (next, 0, epochs + 1);
            progress.keep(ring);
        }
        assert!(epochs < 5000, "it goes on for ever");
    }
    epochs
}

fn arrived(ring: &Ring) -> bool {
    let mut rows = ring.partitions.iter();
    rows.all(|row| row.change.is_none() && row.goal.is_none() && row.former.is_empty())
}

#[test]
fn random_wishes_come_true_with_members_down() {
    let mut epochs = 0;
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let copies = rng.random_range(1..=4);
        let mut ring = ring_of(rng.random_range(1..=7), copies);
        let mut number = ring.members.len() as u16;
        for _ in 0..5 {
            let numbers: Vec<MemberNumber> = ring.members.iter().map(|m| m.number).collect();
            let some = *numbers.choose(&mut rng).expect("members");
            number += 1;
            // Only a member that is to leave for good is down, and only where the others have a quorum without it.
            let few = usize::from(copies).min(numbers.len()) < 3;
            let dies = !few && rng.random_bool(0.5);
            let wishes = match rng.random_range(0..4) {
                0 => vec![Wish::Admit(newcomer(number))],
                1 if numbers.len() > 1 => vec![Wish::Leave(some)],
                2 => {
                    let new = MemberNumber(ring.highest.max(numbers[numbers.len() - 1].0) + 1);
                    vec![Wish::Admit(newcomer(number)), Wish::Replace { old: some, new }]
                }
                _ => vec![Wish::Weight(some, rng.random_range(1..=3))],
            };
            let leaves = wishes.iter().any(|w| matches!(w, Wish::Leave(_) | Wish::Replace { .. }));
            let next = wish(&ring, &wishes).expect("a wish that can be granted");
            legal(&next, &ring);
            ring = next;
            let down = if leaves && dies { vec![some] } else { vec![] };
            epochs += drive(&mut ring, &down, &mut rng);
            assert!(arrived(&ring), "seed {seed}, {down:?} down: {:?}", ring.partitions);
            assert!(
                !ring.members.iter().any(|member| member.leaving),
                "seed {seed}: who leaves has left"
            );
            let len = usize::from(copies).min(ring.members.len());
            assert!(ring.partitions.iter().all(|partition| partition.row.len() == len));
        }
    }
    println!("{epochs} epochs");
}

#[test]
fn what_was_not_switched_is_aborted_and_the_rest_settles() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut ring = ring_of(4, 3);
    ring = wish(&ring, &[Wish::Leave(MemberNumber(2))]).expect("granted");
    let lives = [1, 2, 3, 4].map(MemberNumber);
    let mut progress = Progress::default();
    for _ in 0..2 {
        ring = advance(&ring, &progress, |_| true, Limits::default()).expect("a step");
        reports(&ring, &lives).into_iter().for_each(|report| progress.note(&ring, report));
    }
    let settles = |ring: &Ring| ring.partitions.iter().filter(|p| p.settling().is_some()).count();
    assert!(settles(&ring) > 0, "some rows were switched");
    let next = wish(&ring, &[Wish::Abort]).expect("granted");
    legal(&next, &ring);
    assert_eq!(settles(&next), settles(&ring), "what has happened stays");
    assert!(next.partitions.iter().all(|p| p.incoming().is_none() && p.goal.is_none()));
    ring = next;
    drive(&mut ring, &[], &mut rng);
    assert!(arrived(&ring) && ring.members.len() == 4);
}

#[test]
fn paused_rows_begin_nothing_and_end_what_they_cannot_stay_in() {
    let mut ring = wish(&ring_of(3, 3), &[Wish::Admit(newcomer(4)), Wish::Pause]).expect("granted");
    assert!(ring.paused && ring.partitions.iter().any(|partition| partition.goal.is_some()));
    assert_eq!(advance(&ring, &Progress::default(), |_| true, Limits::default()), None);
    ring = wish(&ring, &[Wish::Resume]).expect("granted");
    let next = advance(&ring, &Progress::default(), |_| true, Limits::default()).expect("a step");
    legal(&next, &ring);
    let copies = next.partitions.iter().filter(|p| p.incoming() == Some(MemberNumber(4))).count();
    assert_eq!(copies, Limits::default().copies, "as many at once as are allowed");
}

#[test]
fn a_newcomer_that_dies_while_it_settles_is_replaced_when_it_is_to_leave() {
    let mut ring = wish(&ring_of(5, 3), &[]).expect("granted");
    let row = ring.partitions[0].row.clone();
    let others: Vec<MemberNumber> =
        (1..=5).map(MemberNumber).filter(|number| !row.contains(number)).collect();
    let before = vec![row.clone()];
    let settling = [others[0], row[1], row[2]].to_vec();
    ring.partitions[0].row = settling.clone();
    ring.partitions[0].change = Some(Change::Settle { incoming: others[0], before });
    ring.partitions[0].since = ring.epoch;
    ring.partitions[0].former = vec![row[0]];
    ring.check().expect("a ring");
    let lives = |number: MemberNumber| number != others[0];
    // It is merely down: it is waited for.
    let none = advance(&ring, &Progress::default(), lives, Limits::default());
    assert!(none.is_none_or(|next| next.partitions[0] == ring.partitions[0]));
    let ring = wish(&ring, &[Wish::Leave(others[0])]).expect("granted");
    let next = advance(&ring, &Progress::default(), lives, Limits::default()).expect("a step");
    legal(&next, &ring);
    let Some(Change::Settle { incoming, before }) = &next.partitions[0].change else {
        panic!("{:?}", next.partitions[0])
    };
    assert!(*incoming != others[0] && *before == [row, settling], "{before:?}");
}

#[test]
fn rows_that_skip_a_step_are_refused() {
    let ring = wish(&ring_of(5, 3), &[]).expect("granted");
    let row = ring.partitions[0].row.clone();
    let other = (1..=5).map(MemberNumber).find(|number| !row.contains(number)).expect("two");
    let base = wish(&ring, &[]).expect("granted");
    let refuse = |edit: &dyn Fn(&mut Partition), why: &str| {
        let mut next = base.clone();
        edit(&mut next.partitions[0]);
        let said = rows_follow(&next, &ring).expect_err("refused").to_string();
        assert!(said.contains(why), "{said}");
    };
    assert_eq!(rows_follow(&base, &ring), Ok(()));
    refuse(&|p| p.since = base.epoch, "did not");
    refuse(&|p| p.row[0] = other, "does not say so");
    refuse(&|p| (p.row[0], p.since) = (other, base.epoch), "no step");
    let settle = Change::Settle { incoming: other, before: vec![row.clone()] };
    refuse(
        &|p| (p.row[0], p.since, p.change) = (other, base.epoch, Some(settle.clone())),
        "no step",
    );
    let lost = || Some(Change::Cover { lost: row[0], before: row.clone() });
    refuse(
        &|p| (p.row, p.since, p.change) = (row[1..].to_vec(), base.epoch, lost()),
        "not named any more",
    );
    let mut joined = base.clone();
    joined.partitions.remove(1);
    assert!(rows_follow(&joined, &ring).is_err());
}

#[test]
fn wishes_that_cannot_be_granted_say_why() {
    let ring = ring_of(1, 3);
    let said = |wishes: &[Wish]| wish(&ring, wishes).expect_err("refused").to_string();
    assert!(said(&[Wish::Leave(MemberNumber(1))]).contains("nobody would be left"));
    assert!(said(&[Wish::Leave(MemberNumber(9))]).contains("no member 9"));
    assert!(said(&[Wish::Weight(MemberNumber(1), 0)]).contains("at least 1"));
    assert!(said(&[Wish::Admit(newcomer(1))]).contains("already"));
}
