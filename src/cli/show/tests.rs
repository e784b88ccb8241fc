//! Golden tests: what people see, as files under `tests/golden/cli`.
//!
//! `RINGDOVE_GOLDEN=write cargo test golden` writes them anew; read the difference before you
//! commit it. Histories are made by the rules of `causality` themselves, so an explanation can only
//! say what could happen.

use std::path::PathBuf;

use super::*;
use crate::causality::{Actor, Delta, Dot, DotSet, Entry, Meta, Value};
use crate::cli::paint::Paint;
use crate::client::Got;
use crate::key::Key;
use crate::ring::MemberNumber;
use crate::wire::{
    Changed, Explanation, Finding, HintShown, MemberLine, PartitionShown, PlanShown, PlannedLink,
    PlannedMember, ReplicaShown, RingShown, SiblingLine, SiblingList, Source, Status, ValueShown,
};

const WIDTH: usize = 100;

fn golden(name: &str, text: &str) {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "cli", name].iter().collect();
    if std::env::var_os("RINGDOVE_GOLDEN").is_some_and(|value| value == "write") {
        let folder = path.parent().expect("a file in a folder");
        std::fs::create_dir_all(folder).expect("the folder of golden files");
        std::fs::write(&path, text).expect("a golden file written");
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; see the top of this file", path.display()));
    assert_eq!(text, expected, "{name} looks different now");
}

/// One key on five replicas, a to e, of which the first three own it.
struct World {
    replicas: Vec<Replica>,
    minted: u64,
    now_ms: u64,
    missing: Vec<usize>,
}

#[derive(Default)]
struct Replica {
    clock: DotSet,
    entry: Entry<Value>,
    hints: Vec<(usize, Delta<Value>)>,
    counter: u64,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const OWNERS: usize = 3;

impl World {
    fn new() -> Self {
        let replicas = NAMES.map(|_| Replica::default()).into();
        World { replicas, minted: 0, now_ms: 1_794_000_131_120, missing: Vec::new() }
    }

    fn mint(&mut self, via: usize) -> Dot {
        self.minted += 1;
        let replica = &mut self.replicas[via];
        replica.counter += 1;
        Dot::new(Actor::new(via as u16 + 1, 0xa1b2c0 + via as u64), replica.counter)
    }

    fn sees(&self, at: usize) -> DotSet {
        self.replicas[at].entry.context(&self.replicas[at].clock)
    }

    fn spread(&mut self, delta: &Delta<Value>, to: &[usize]) {
        for at in to {
            let Replica { clock, entry, .. } = &mut self.replicas[*at];
            entry.apply(clock, delta.clone());
        }
    }

    /// A write via one node, by a writer who had seen `context`, that reaches these replicas.
    fn put(&mut self, via: usize, text: &str, context: DotSet, to: &[usize]) -> Delta<Value> {
        self.now_ms += 1_234;
        let dot = self.mint(via);
        let meta = Meta {
            operation: u128::from(self.minted),
            stamp: self.now_ms,
            writer: "till-7".to_owned(),
            context: context.clone(),
        };
        let value = Value { meta, bytes: text.as_bytes().to_vec().into() };
        let delta = Delta::put(dot, value, context);
        self.spread(&delta, to);
        delta
    }

    fn delete(&mut self, via: usize, context: DotSet, to: &[usize]) {
        let dot = self.mint(via);
        self.spread(&Delta::delete(dot, context), to);
    }

    fn explain(&self) -> Explanation {
        let number = |at: usize| MemberNumber(at as u16 + 1);
        let mut known: Vec<Dot> = Vec::new();
        for replica in &self.replicas {
            known.extend(replica.entry.dots());
            known.extend(replica.hints.iter().flat_map(|(_, delta)| delta.dots()));
        }
        let value = |dot: Dot, value: &Value| ValueShown {
            dot: dot.to_string(),
            via: NAMES[usize::from(dot.actor.member()) - 1].to_owned(),
            written_by: value.meta.writer.clone(),
            operation: format!("{:032x}", value.meta.operation),
            written_at_ms: value.meta.stamp,
            saw: known
                .iter()
                .filter(|other| **other != dot && value.meta.context.contains(**other))
                .map(ToString::to_string)
                .collect(),
            context: value.meta.context.to_string(),
            head: value.bytes.to_vec(),
            len: value.bytes.len() as u64,
        };
        let replica = |(at, replica): (usize, &Replica)| {
            let covered = replica.entry.covered(&replica.clock);
            let mut replaced: Vec<String> = known
                .iter()
                .filter(|dot| covered.contains(**dot) && replica.entry.value(**dot).is_none())
                .map(ToString::to_string)
                .collect();
            replaced.dedup();
            ReplicaShown {
                member: number(at),
                name: NAMES[at].to_owned(),
                owner: at < OWNERS,
                clock: replica.clock.to_string(),
                residual: replica.entry.residual().to_string(),
                values: replica.entry.values().iter().map(|(dot, v)| value(*dot, v)).collect(),
                replaced,
                hints: replica
                    .hints
                    .iter()
                    .map(|(owed_to, delta)| HintShown {
                        owed_to: NAMES[*owed_to].to_owned(),
                        dots: delta.dots().map(|dot| dot.to_string()).collect(),
                        values: delta.values.iter().map(|(dot, v)| value(*dot, v)).collect(),
                    })
                    .collect(),
            }
        };
        let replicas = self.replicas.iter().enumerate();
        Explanation {
            bucket: "default".to_owned(),
            key: "cart/ann".to_owned(),
            token: "49a1000000000000".to_owned(),
            slot: 4712,
            owners: (0..OWNERS).map(number).collect(),
            replicas: replicas.filter(|(at, _)| !self.missing.contains(at)).map(replica).collect(),
            missing: self.missing.iter().map(|at| NAMES[*at].to_owned()).collect(),
            names: NAMES
                .iter()
                .enumerate()
                .map(|(at, name)| (number(at), (*name).into()))
                .collect(),
        }
    }
}

fn key() -> Key {
    Key::new("default", b"cart/ann").expect("a key")
}

fn explained(name: &str, world: &World) {
    golden(name, &explain_text(&key(), &world.explain(), WIDTH, Paint::Plain));
}

fn split() -> World {
    let mut world = World::new();
    world.put(0, "tea", DotSet::EMPTY, &[0, 1, 2]);
    let (left, right) = (world.sees(0), world.sees(2));
    world.put(0, "tea, milk", left, &[0, 1]);
    world.put(2, "tea, bread", right, &[2]);
    world
}

#[test]
fn golden_explain_a_conflict() {
    let mut world = split();
    // While the split lasts nobody on a's side can ask c.
    world.missing = vec![2, 3, 4];
    explained("explain-split.txt", &world);
    world.missing.clear();
    explained("explain-healed.txt", &world);
    let seen = {
        let deltas: Vec<_> = world.replicas[2].entry.values().to_vec();
        for (dot, value) in deltas {
            let context = value.meta.context.clone();
            world.spread(&Delta::put(dot, value, context), &[0, 1]);
        }
        world.sees(0)
    };
    let (dot, value) = world.replicas[0].entry.values()[0].clone();
    let context = value.meta.context.clone();
    world.spread(&Delta::put(dot, value, context), &[2]);
    explained("explain-conflict.txt", &world);
    let text = explain_json(&key(), &world.explain());
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["conflict"], true);
    assert_eq!(json["values"][1]["held_by"], serde_json::json!(["a", "b", "c"]));
    golden("explain-conflict.json", &text);
    world.put(1, "tea, milk, bread", seen, &[0, 1]);
    explained("explain-resolved.txt", &world);
    world.missing = vec![2];
    explained("explain-resolved-c-away.txt", &world);
}

#[test]
fn golden_explain_blind_writes_and_a_clock_behind() {
    let mut world = World::new();
    world.put(0, "one", DotSet::EMPTY, &[0, 1, 2]);
    world.put(1, "two", DotSet::EMPTY, &[0, 1, 2]);
    world.put(4, "three", DotSet::EMPTY, &[0, 1, 2]);
    explained("explain-blind.txt", &world);
    let seen = world.sees(0);
    world.now_ms -= 9_000;
    world.put(0, "all", seen, &[0]);
    explained("explain-clock-behind.txt", &world);
}

#[test]
fn golden_explain_hints_deletes_and_nothing() {
    let mut world = World::new();
    explained("explain-nothing.txt", &world);
    let delta = world.put(3, "kept for others", DotSet::EMPTY, &[]);
    world.replicas[3].hints = vec![(0, delta.clone()), (1, delta.clone())];
    world.missing = vec![0, 1, 2];
    explained("explain-hint-only.txt", &world);
    world.missing.clear();
    world.spread(&delta, &[0, 1, 2]);
    world.replicas[3].hints.clear();
    explained("explain-one-value.txt", &world);
    let seen = world.sees(0);
    world.delete(0, seen, &[0, 1]);
    explained("explain-delete-spreads.txt", &world);
}

#[test]
fn golden_explain_two_attempts_and_many_siblings() {
    let mut world = World::new();
    let mut delta = world.put(0, "paid", DotSet::EMPTY, &[0, 1, 2]);
    delta.values[0].0 = world.mint(1);
    delta.values[0].1.meta.stamp += 700;
    world.spread(&delta, &[0, 1, 2]);
    explained("explain-two-attempts.txt", &world);
    for nth in 0..10 {
        world.put(nth % 3, &format!("order {nth}"), DotSet::EMPTY, &[0, 1, 2]);
    }
    explained("explain-many.txt", &world);
}

fn member(at: usize, state: &str) -> MemberLine {
    MemberLine {
        name: NAMES[at].to_owned(),
        id: format!("{:032x}", 0x1234_5678_u128 << (96 - 4 * at)),
        addr: format!("127.0.0.1:{}", 7401 + at),
        zone: if at == 0 { "cellar".to_owned() } else { String::new() },
        state: state.to_owned(),
        leader: at == 0,
        me: at == 1,
        number: at as u16 + 1,
        share_percent: "60.0".to_owned(),
        seen_ms: (at != 1).then_some(420 * (at as u64 * at as u64 * 30 + 1)),
        note: String::new(),
    }
}

/// What a plan by the real planner looks like: n4 joins three, or whatever `edit` makes of that.
/// What is said to do a plan.
const APPLY: &str = "To do it: ringdove apply --plan 3f9ac201 leave n3";

fn plan_of(edit: impl Fn(&mut PlanShown)) -> PlanShown {
    let member = |name: &str, fate: &str, slots, slots_after, copies, sends| PlannedMember {
        name: name.to_owned(),
        zone: if name == "n1" { "cellar".to_owned() } else { String::new() },
        weight: 1,
        fate: fate.to_owned(),
        slots,
        slots_after,
        copies,
        sends,
    };
    let link =
        |from: &str, slots| PlannedLink { from: from.to_owned(), to: "n4".to_owned(), slots };
    let mut plan = PlanShown {
        epoch: 7,
        copies: 3,
        members: vec![
            member("n1", "stays", 16384, 12288, 0, 4096),
            member("n2", "stays", 16384, 12288, 0, 4096),
            member("n3", "stays", 16384, 12288, 0, 4096),
            member("n4", "joins", 0, 12288, 12288, 0),
        ],
        links: vec![link("n1", 4096), link("n2", 4096), link("n3", 4096)],
        partitions: 48,
        partitions_after: 64,
        rows: 48,
        rows_at_risk: 0,
        zones_shared: 0,
        under_way: 0,
        basis: "3f9ac201".to_owned(),
    };
    edit(&mut plan);
    plan
}

#[test]
fn golden_plan() {
    let unknown = Volume { bytes: None, per_second: 50_000_000 };
    golden("plan-join.txt", &plan_text(&plan_of(|_| ()), unknown, APPLY, WIDTH, Paint::Plain));
    let known = Volume { bytes: Some(120_000_000_000), ..unknown };
    let risky = plan_of(|plan| {
        plan.members[0].fate = "leaves".to_owned();
        (plan.rows_at_risk, plan.zones_shared, plan.under_way) = (48, 1, 2);
    });
    golden("plan-risks.txt", &plan_text(&risky, known, APPLY, WIDTH, Paint::Plain));
    golden("plan.json", &json_line(&risky));
    let many = plan_of(|plan| {
        let (member, link) = (plan.members[1].clone(), plan.links[0].clone());
        plan.members.extend((5..300).map(|at| PlannedMember {
            name: format!("n{at}"),
            sends: at,
            ..member.clone()
        }));
        let more =
            (5..300).map(|at| PlannedLink { from: format!("n{at}"), slots: at, ..link.clone() });
        plan.links.extend(more);
    });
    golden("plan-300.txt", &plan_text(&many, unknown, APPLY, WIDTH, Paint::Plain));
    let nothing = plan_of(|plan| {
        plan.links.clear();
        (plan.rows, plan.partitions_after) = (0, 48);
        plan.members.truncate(3);
        plan.members.iter_mut().for_each(|m| (m.slots_after, m.sends) = (m.slots, 0));
    });
    golden("plan-nothing.txt", &plan_text(&nothing, unknown, APPLY, WIDTH, Paint::Plain));
}

#[test]
fn golden_members() {
    let states = ["UN", "UN", "DN", "UJ", "UL"];
    let mut members: Vec<_> = states.iter().enumerate().map(|(at, s)| member(at, s)).collect();
    members[4].seen_ms = None;
    members[2].note =
        "c (127.0.0.1:7403) answers heartbeats, but its data connections are not open: \
                       they are being dialled. If this lasts, can TCP pass?"
            .to_owned();
    golden("members.txt", &members_text(&members, WIDTH, Paint::Plain));
    let json: serde_json::Value = serde_json::from_str(&json_line(&members)).expect("JSON");
    for field in ["name", "id", "addr", "zone", "state", "leader"] {
        assert!(json[0].get(field).is_some(), "{field}");
    }
}

#[test]
fn golden_status() {
    let mut status = Status {
        cluster_id: "6a1f00c2b7e4d913".to_owned(),
        health: "healthy".to_owned(),
        epoch: 1,
        members: 5,
        members_up: 5,
        copies: 3,
        partitions: 80,
        partitions_whole: 80,
        partitions_degraded: 0,
        partitions_unavailable: 0,
        survives: 1,
        moves: Vec::new(),
        hints_pending: 0,
        conflicts: 0,
        keys: 1_204,
        missing: Vec::new(),
        node: "a".to_owned(),
        waiting: String::new(),
        sentences: says(&[
            "Healthy: all owners of all 80 partitions answer, so every key can be read and written.",
            "Any 1 more member may fail, and reads and writes at quorum go on.",
        ]),
    };
    golden("status-healthy.txt", &status_text(&status, WIDTH, Paint::Plain));
    let json: serde_json::Value = serde_json::from_str(&json_line(&status)).expect("JSON");
    for field in
        "cluster_id health epoch members partitions moves hints_pending conflicts".split(' ')
    {
        assert!(json.get(field).is_some(), "{field}");
    }
    status.health = "degraded".to_owned();
    (status.members_up, status.survives) = (4, 0);
    (status.partitions_whole, status.partitions_degraded) = (32, 48);
    (status.hints_pending, status.conflicts) = (17, 1);
    status.missing = vec!["c".to_owned()];
    status.sentences = says(&[
        "Degraded: 48 of 80 partitions miss an owner. All have a quorum, so every key can be read and \
         written; the absent get what they missed when they are back.",
        "c (127.0.0.1:7403) is down: it last answered 44 s ago. If its process runs, look at the \
         network between here and there; if not, start it again on its data directory.",
    ]);
    golden("status-degraded.txt", &status_text(&status, WIDTH, Paint::Plain));
    status.health = "unavailable".to_owned();
    (status.members_up, status.partitions_degraded, status.partitions_unavailable) = (2, 24, 56);
    status.missing = ["c", "d", "e"].map(str::to_owned).to_vec();
    status.sentences = says(&[
        "ALARM: c has another ring of epoch 1 than this node.",
        "Unavailable: 56 of 80 partitions have no quorum of owners.",
    ]);
    golden("status-unavailable.txt", &status_text(&status, WIDTH, Paint::Plain));
    status.cluster_id.clear();
    status.sentences = says(&[
        "Unavailable: this node is in no cluster yet and serves nothing: waiting for 127.0.0.1:7402 \
         (no answer yet).",
    ]);
    (status.conflicts, status.missing) = (0, Vec::new());
    golden("status-founding.txt", &status_text(&status, WIDTH, Paint::Plain));
}

fn says(sentences: &[&str]) -> Vec<String> {
    sentences.iter().map(ToString::to_string).collect()
}

#[test]
fn golden_ring_on_the_move() {
    let ring = moving();
    golden("ring-moving.txt", &ring_text(&ring, Paint::Plain));
    golden(
        "ring-moving-all.txt",
        &ring_rows(&RingShown { partitions: ring.partitions[..8].to_vec(), ..ring }),
    );
}

/// Five members, of whom the last gets what it is to own, and somebody leaves.
fn moving() -> RingShown {
    let mut ring = ring(5);
    let names = |some: &[&str]| some.iter().map(ToString::to_string).collect::<Vec<_>>();
    let partitions = &mut ring.partitions;
    partitions[0].change = "e copies it, to take the seat of a".to_owned();
    partitions[0].goal = names(&["e", "b", "c"]);
    partitions[1].goal = names(&["e", "c", "d"]);
    partitions[2].former = names(&["a"]);
    (ring.epoch, ring.paused) = (31, true);
    ring
}

#[test]
fn golden_progress() {
    let (mut all, now) = (Ahead::default(), Ahead::of(&moving()));
    let mut before = moving();
    for partition in &mut before.partitions[..12] {
        partition.goal = partition.owners.iter().rev().skip(1).cloned().collect();
    }
    all.widen(&Ahead::of(&before));
    assert!(!now.is_over() && Ahead::of(&ring(5)).is_over());
    let lines = bars(&all, &now, 31, WIDTH, Paint::Plain).join("\n") + "\n";
    golden("progress.txt", &lines);
    let changed = |changed, partitions| changed_text(&Changed { epoch: 7, changed, partitions });
    golden("changed.txt", &[changed(true, 48), changed(true, 0), changed(false, 1)].concat());
}

#[test]
fn golden_doctor() {
    let finding = |grade: &str, what: &str, since_ms, next: &str| Finding {
        grade: grade.to_owned(),
        what: what.to_owned(),
        since_ms,
        members: vec!["d".to_owned()],
        next: next.to_owned(),
    };
    let findings = [
        finding(
            "bad",
            "3 partitions cannot go on: d, which is to own them, does not answer.",
            Some(312_000),
            "Start d again; if it is gone for good, `ringdove apply leave d`.",
        ),
        finding("waits", "e copies 4 partitions.", Some(2_300), ""),
    ];
    golden("doctor.txt", &doctor_text(&findings, WIDTH, Paint::Plain));
    golden("doctor-well.txt", &doctor_text(&[], WIDTH, Paint::Plain));
    golden("doctor.json", &json_line(&findings));
}

fn ring(members: usize) -> RingShown {
    let name = |at: usize| if members > 26 { format!("n{at:03}") } else { NAMES[at].to_owned() };
    let count = members * 16;
    let first = |index: usize| index * 16_384 / count;
    let partitions = (0..count).map(|index| PartitionShown {
        first: first(index) as u16,
        slots: (first(index + 1) - first(index)) as u16,
        owners: (0..3.min(members)).map(|seat| name((index + seat) % members)).collect(),
        change: String::new(),
        goal: Vec::new(),
        former: Vec::new(),
        since: 0,
    });
    RingShown { epoch: 1, copies: 3, partitions: partitions.collect(), paused: false }
}

#[test]
fn golden_ring_fits_one_screen() {
    golden("ring-1.txt", &ring_text(&ring(1), Paint::Plain));
    golden("ring-5.txt", &ring_text(&ring(5), Paint::Plain));
    golden("ring-5-all.txt", &ring_rows(&ring(5)));
    let large = ring_text(&ring(300), Paint::Plain);
    assert!(large.lines().count() <= 25, "{large}");
    golden("ring-300.txt", &large);
}

#[test]
fn golden_siblings() {
    let line = |key: &[u8], siblings| SiblingLine {
        bucket: "carts".to_owned(),
        key: key.to_vec(),
        siblings,
    };
    let mut answer = SiblingList {
        keys: vec![line(b"ann's", 2), line(&[0xff, b'x'], 4)],
        more: true,
        missing: vec!["d".to_owned(), "e".to_owned()],
    };
    golden("siblings-list.txt", &siblings_text(&answer, Paint::Plain));
    golden("siblings-list.json", &siblings_json(&answer));
    answer = SiblingList::default();
    golden("siblings-none.txt", &siblings_text(&answer, Paint::Plain));
    assert_eq!(siblings_json(&answer), "[]\n");
}

#[test]
fn golden_values() {
    let mut world = split();
    world.put(3, "\u{1}\u{2}binary", DotSet::EMPTY, &[2]);
    let values: Vec<_> =
        world.replicas.iter().flat_map(|replica| replica.entry.values().to_vec()).collect();
    let mut reply = Got {
        values: values[1..].to_vec(),
        omitted: 0,
        context: vec![1, 2, 255].into(),
        answered: 2,
        needed: 2,
        source: Source::Owners,
    };
    reply.values[0].1.bytes = vec![0xff, 0xfe].into();
    let names = [(3, "c".to_owned())].into();
    let text = siblings_lines(&Shown::of(&reply), &names, 60, Paint::Plain).join("\n") + "\n";
    golden("siblings-show.txt", &text);
    golden("get.json", &get_json(&key(), &reply));
}
