//! The laws of joins on random histories, and one readable script per rule.
//!
//! Scripts live in `tests/scripts/causality`; each tells a story that ends well and names, in its
//! first line, the rule that makes it so. Every script is run a second time with that rule broken:
//! then the story must end otherwise, or the script guards nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::rules::{Rule, holds, without};

/// One replica of one slot: what `shard` keeps in a store, without the store.
#[derive(Clone, Default)]
struct Copy {
    member: u16,
    life: u64,
    minted: u64,
    clock: DotSet,
    entries: BTreeMap<String, Entry<String>>,
}

impl Copy {
    fn new(member: u16) -> Self {
        Copy { member, life: 1, ..Copy::default() }
    }

    fn mint(&mut self) -> Dot {
        self.minted += 1;
        Dot::new(Actor::new(self.member, self.life), self.minted)
    }

    fn apply(&mut self, key: &str, delta: Delta<String>) -> Applied {
        let entry = self.entries.entry(key.to_owned()).or_default();
        let applied = entry.apply(&mut self.clock, delta);
        if entry.is_empty() {
            self.entries.remove(key);
        }
        applied
    }

    fn seen(&self, key: &str) -> Seen<String> {
        self.entries.get(key).map_or_else(
            || Seen::of(&Entry::default(), &self.clock),
            |entry| Seen::of(entry, &self.clock),
        )
    }

    /// Slot sync: everything the peer has, everything it covers, and then its clock.
    fn pull(&mut self, peer: &Copy) {
        let keys: Vec<String> = self.entries.keys().chain(peer.entries.keys()).cloned().collect();
        for key in keys {
            self.apply(&key, peer.seen(&key).into_delta());
        }
        self.clock.union(&peer.clock);
        let clock = &self.clock;
        self.entries.retain(|_, entry| {
            entry.strip(clock);
            !entry.is_empty()
        });
    }

    /// The process ends and starts again from this image of its disk.
    fn start_from(&mut self, disk: &Copy, drawn: u64) {
        let (life, minted) = (disk.life, disk.minted);
        *self = disk.clone();
        (self.life, self.minted) = match (holds(Rule::NewActor), holds(Rule::FreshActor)) {
            (false, _) => (life, minted),
            (true, false) => (life + 1, 0),
            (true, true) => (drawn, 0),
        };
    }

    fn values(&self, key: &str) -> Vec<String> {
        self.seen(key).values.into_iter().map(|(_, value)| value).collect()
    }
}

// ---- scripts ------------------------------------------------------------------------------------

/// Runs a script's commands on replicas named by letters. Commands:
///
/// - `put A x v1 [seen=r] [to=BC] [as=p]`: a write at A, delivered to `to`; what it returns is kept as `p`
/// - `delete A x seen=r [to=BC]`
/// - `deliver p to=B`: the delta of the put kept as `p` arrives (again)
/// - `read AB x [as=r]`: joined answers; the context is kept as `r`
/// - `sync A from=B` · `save A as=old` · `restart A from=old` · `show AB x`
#[derive(Default)]
struct Story {
    copies: BTreeMap<char, Copy>,
    contexts: BTreeMap<String, DotSet>,
    deltas: BTreeMap<String, (String, Delta<String>)>,
    disks: BTreeMap<String, Copy>,
    drawn: u64,
}

impl Story {
    fn copy(&mut self, name: char) -> &mut Copy {
        let member = name as u16 - 'A' as u16 + 1;
        self.copies.entry(name).or_insert_with(|| Copy::new(member))
    }

    fn write(&mut self, at: char, key: &str, value: Option<&str>, args: &Args) -> String {
        let seen = args.get("seen").map_or(DotSet::EMPTY, |name| self.contexts[name].clone());
        let dot = self.copy(at).mint();
        let delta = match value {
            Some(value) => Delta::put(dot, value.to_owned(), seen.clone()),
            None => Delta::delete(dot, seen.clone()),
        };
        for name in std::iter::once(at).chain(args.names("to")) {
            self.copy(name).apply(key, delta.clone());
        }
        if let Some(name) = args.get("as") {
            let copy = self.copy(at);
            let entry = copy.entries.get(key).cloned().unwrap_or_default();
            let returned = entry.context_after_put(&copy.clock, &seen, dot);
            self.contexts.insert(name.to_owned(), returned);
            self.deltas.insert(name.to_owned(), (key.to_owned(), delta));
        }
        String::new()
    }

    fn show(&mut self, names: &[char], key: &str) -> String {
        let mut out = String::new();
        for &name in names {
            let values = self.copy(name).values(key);
            writeln!(
                out,
                "{name}: {}",
                if values.is_empty() { "-".into() } else { values.join(" ") }
            )
            .expect("strings take everything");
        }
        out
    }
}

/// A command's arguments by name.
struct Args(BTreeMap<String, String>);

impl Args {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn names(&self, name: &str) -> Vec<char> {
        self.get(name).map_or(Vec::new(), letters)
    }
}

fn letters(list: &str) -> Vec<char> {
    list.chars().collect()
}

impl goldenscript::Runner for Story {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        _context: &goldenscript::Context,
    ) -> Result<String, Box<dyn std::error::Error>> {
        let (mut named, mut plain) = (BTreeMap::new(), Vec::new());
        for argument in &command.args {
            match argument {
                goldenscript::Argument::Positional(value) => plain.push(value.as_str()),
                goldenscript::Argument::KeyValue(key, value) => {
                    named.insert(key.clone(), value.clone());
                }
                other => return Err(format!("unknown kind of argument: {other:?}").into()),
            }
        }
        let args = Args(named);
        let at = plain.first().and_then(|first| first.chars().next()).unwrap_or('A');
        let out = match (command.name.as_str(), plain.as_slice()) {
            ("put", [_, key, value]) => self.write(at, key, Some(value), &args),
            ("delete", [_, key]) => self.write(at, key, None, &args),
            ("deliver", [delta]) => {
                let (key, delta) = self.deltas[*delta].clone();
                args.names("to").into_iter().for_each(|name| {
                    self.copy(name).apply(&key, delta.clone());
                });
                String::new()
            }
            ("read", [names, key]) => {
                let answers: Vec<_> =
                    letters(names).into_iter().map(|n| self.copy(n).seen(key)).collect();
                let joined = join(&answers);
                if let Some(name) = args.get("as") {
                    self.contexts.insert(name.to_owned(), joined.context.clone());
                }
                let values: Vec<_> = joined.values.into_iter().map(|(_, value)| value).collect();
                format!("{names}: {}\n", values.join(" "))
            }
            ("sync", [_]) => {
                let peer = args.names("from")[0];
                let peer = self.copy(peer).clone();
                self.copy(at).pull(&peer);
                String::new()
            }
            ("save", [_]) => {
                let image = self.copy(at).clone();
                self.disks.insert(args.get("as").ok_or("as=")?.to_owned(), image);
                String::new()
            }
            ("restart", [_]) => {
                let disk = self.disks[args.get("from").ok_or("from=")?].clone();
                self.drawn += 1;
                let drawn = 1000 + self.drawn;
                self.copy(at).start_from(&disk, drawn);
                String::new()
            }
            ("show", [names, key]) => self.show(&letters(names), key),
            (other, _) => return Err(format!("no such command or wrong arguments: {other}").into()),
        };
        Ok(out)
    }
}

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/causality").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn ends_as_told(name: &str) -> bool {
    let told = script(name);
    goldenscript::generate(&mut Story::default(), &told).expect("the script runs") == told
}

/// The script that guards each rule kept in this folder (and the two that starts must keep).
const GUARDED: [(Rule, &str); 7] = [
    (Rule::CoveredStaysGone, "a_late_copy_of_a_replaced_value_stays_gone"),
    (Rule::KeepResidual, "an_overtaken_value_stays_gone"),
    (Rule::Contiguous, "a_gap_keeps_the_residual"),
    (Rule::ClosedContext, "a_context_is_causally_closed"),
    (Rule::PutContext, "a_put_returns_only_its_own_dot"),
    (Rule::NewActor, "a_lost_tail_takes_a_new_actor"),
    (Rule::FreshActor, "a_restored_disk_does_not_count_up"),
];

#[test]
fn every_script_ends_as_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/causality");
    let mut count = 0;
    for file in std::fs::read_dir(&dir).expect("the folder is there") {
        let path = file.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.starts_with("# "), "{}: begins with what it shows", path.display());
        // Set UPDATE_GOLDENFILES=1 to write what happened into the script, then review the diff.
        goldenscript::run(&mut Story::default(), &path).expect("the script runs");
        count += 1;
    }
    assert!(count >= GUARDED.len());
}

#[test]
fn every_rule_is_needed_by_its_script() {
    for (rule, name) in GUARDED {
        assert!(ends_as_told(name), "{name}");
        assert!(!without(rule, || ends_as_told(name)), "{name} ends the same without {rule:?}");
    }
}

// ---- laws on random histories --------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Step {
    Read { who: usize, key: usize },
    Write { who: usize, key: usize, blind: bool },
    Delete { who: usize, key: usize },
    Deliver { pick: usize, to: usize },
    Pull { from: usize, to: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..3usize, 0..2usize).prop_map(|(who, key)| Step::Read { who, key }),
        3 => (0..3usize, 0..2usize, prop::bool::weighted(0.2))
            .prop_map(|(who, key, blind)| Step::Write { who, key, blind }),
        1 => (0..3usize, 0..2usize).prop_map(|(who, key)| Step::Delete { who, key }),
        4 => (0..1000usize, 0..3usize).prop_map(|(pick, to)| Step::Deliver { pick, to }),
        1 => (0..3usize, 0..3usize).prop_map(|(from, to)| Step::Pull { from, to }),
    ];
    prop::collection::vec(step, 0..60)
}

const KEYS: [&str; 2] = ["x", "y"];

/// Plays a history on three replicas; client `i` talks to replica `i`. Returns them, and all deltas.
fn play(steps: &[Step]) -> (Vec<Copy>, Vec<(usize, Delta<String>)>) {
    let mut copies: Vec<Copy> = (1..=3).map(Copy::new).collect();
    let mut known = vec![[DotSet::EMPTY, DotSet::EMPTY]; 3];
    let mut deltas: Vec<(usize, Delta<String>)> = Vec::new();
    for step in steps {
        match *step {
            Step::Read { who, key } => known[who][key] = copies[who].seen(KEYS[key]).context,
            Step::Write { who, key, blind } => {
                let seen = if blind { DotSet::EMPTY } else { known[who][key].clone() };
                let dot = copies[who].mint();
                let delta = Delta::put(dot, format!("v{}", deltas.len()), seen);
                copies[who].apply(KEYS[key], delta.clone());
                deltas.push((key, delta));
            }
            Step::Delete { who, key } => {
                let dot = copies[who].mint();
                let delta = Delta::delete(dot, known[who][key].clone());
                copies[who].apply(KEYS[key], delta.clone());
                deltas.push((key, delta));
            }
            Step::Deliver { pick, to } => {
                if let Some((key, delta)) = deltas.get(pick % deltas.len().max(1)).cloned() {
                    copies[to].apply(KEYS[key], delta);
                }
            }
            Step::Pull { from, to } => {
                let peer = copies[from].clone();
                copies[to].pull(&peer);
            }
        }
    }
    (copies, deltas)
}

fn state(copy: &Copy) -> (DotSet, BTreeMap<String, Entry<String>>) {
    (copy.clock.clone(), copy.entries.clone())
}

/// The dead among six actors, in the order in which they are listed.
const DEAD: [u16; 4] = [4, 1, 6, 2];
/// Counters that are minted. Those above are only in sets that cover all of an actor.
const MINTED: u64 = 8;

fn dead() -> Dead {
    Dead::new(DEAD.iter().map(|member| Actor::new(*member, 7)).collect()).expect("each once")
}

fn universe() -> impl Iterator<Item = Dot> {
    (1..=6u16).flat_map(|member| (1..=MINTED + 2).map(move |n| Dot::new(Actor::new(member, 7), n)))
}

#[derive(Debug, Clone)]
enum Change {
    Insert(u16, u64),
    Union(Vec<(u16, u64)>),
    Fold(usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let dots = || (1..=6u16, 1..=MINTED);
    let change = prop_oneof![
        6 => dots().prop_map(|(member, counter)| Change::Insert(member, counter)),
        2 => prop::collection::vec(dots(), 0..12).prop_map(Change::Union),
        1 => (0..=DEAD.len()).prop_map(Change::Fold),
    ];
    prop::collection::vec(change, 0..25)
}

/// A set that was made by these changes, and all that should be in it. It folds no more than is listed.
fn made(changes: &[Change], list: &Dead) -> (DotSet, BTreeSet<Dot>) {
    let (mut set, mut all) = (DotSet::EMPTY, BTreeSet::new());
    let dot = |member: u16, counter: u64| Dot::new(Actor::new(member, 7), counter);
    for change in changes {
        match change {
            Change::Insert(member, counter) => {
                set.insert(dot(*member, *counter));
                all.insert(dot(*member, *counter));
            }
            Change::Union(dots) => {
                let dots = dots.iter().map(|(member, counter)| dot(*member, *counter));
                set.union(&dots.clone().collect());
                all.extend(dots);
            }
            Change::Fold(count) => {
                let count = (*count).min(list.actors().len());
                set.union(&DotSet::of_dead(count as u32, list));
                let folded = &list.actors()[..count];
                all.extend(universe().filter(|dot| folded.contains(&dot.actor)));
            }
        }
    }
    (set, all)
}

#[test]
fn an_actor_dies_once() {
    let actor = Actor::new(3, 5);
    assert_eq!(Dead::new(vec![actor, Actor::new(3, 6), actor]), Err(ListedTwice(actor)));
    assert_eq!(dead().and([Actor::new(1, 7)]), Err(ListedTwice(Actor::new(1, 7))));
    let longer = dead().and([actor]).expect("a new one");
    assert_eq!((longer.place(actor), longer.count(), dead().place(actor)), (Some(5), 5, None));
    assert_eq!(Dead::new(Vec::new()).expect("nobody twice"), Dead::NONE);
}

proptest! {
    #[test]
    fn replicas_converge_whatever_the_order(steps in steps(), order in prop::collection::vec(0..1000usize, 60)) {
        let (mut copies, deltas) = play(&steps);
        // One replica hears every delta in an order of its own, some twice; the others pull.
        for pick in order.iter().chain(&(0..deltas.len()).collect::<Vec<_>>()) {
            if let Some((key, delta)) = deltas.get(pick % deltas.len().max(1)).cloned() {
                copies[0].apply(KEYS[key], delta);
            }
        }
        for (from, to) in [(1, 0), (2, 0), (0, 1), (0, 2)] {
            let peer = copies[from].clone();
            copies[to].pull(&peer);
        }
        prop_assert_eq!(state(&copies[0]), state(&copies[1]));
        prop_assert_eq!(state(&copies[0]), state(&copies[2]));
        // All dots are known without gaps now: nothing but live values is left.
        prop_assert!(copies[0].entries.values().all(|entry| entry.residual().is_empty() && !entry.values().is_empty()));
    }

    #[test]
    fn applying_twice_changes_nothing(steps in steps(), to in 0..3usize) {
        let (mut copies, deltas) = play(&steps);
        for (key, delta) in deltas {
            copies[to].apply(KEYS[key], delta.clone());
            let once = state(&copies[to]);
            prop_assert!(!copies[to].apply(KEYS[key], delta).changed());
            prop_assert_eq!(once, state(&copies[to]));
        }
    }

    #[test]
    fn what_is_replaced_never_returns(steps in steps(), order in prop::collection::vec((0..1000usize, 0..3usize), 0..60)) {
        let (mut copies, deltas) = play(&steps);
        for (pick, to) in order {
            let Some((key, delta)) = deltas.get(pick % deltas.len().max(1)).cloned() else { break };
            let before = copies[to].seen(KEYS[key]);
            copies[to].apply(KEYS[key], delta);
            let after = copies[to].seen(KEYS[key]);
            prop_assert!(before.covered.is_within(&after.covered), "what is covered only grows");
            for dot in after.dots() {
                prop_assert!(before.dots().any(|d| d == dot) || !before.covered.contains(dot), "{dot} returned");
            }
        }
    }

    #[test]
    fn joining_answers_obeys_the_laws(steps in steps(), key in 0..2usize) {
        let (copies, _) = play(&steps);
        let seen: Vec<Seen<String>> = copies.iter().map(|copy| copy.seen(KEYS[key])).collect();
        let [a, b, c] = &seen[..] else { unreachable!("three replicas") };
        let two = |x: &Seen<String>, y: &Seen<String>| join(&[x.clone(), y.clone()]);
        prop_assert_eq!(two(a, b), two(b, a));
        prop_assert_eq!(two(&two(a, b), c), two(a, &two(b, c)));
        prop_assert_eq!(two(a, a), a.clone());
        prop_assert!(a.covered.is_within(&two(a, b).covered));
        prop_assert!(two(a, b).dots().collect::<DotSet>().is_within(&two(a, b).context));
    }

    #[test]
    fn sets_of_dots_obey_the_laws(steps in steps()) {
        let (copies, _) = play(&steps);
        let [a, b, c] = [&copies[0].clock, &copies[1].clock, &copies[2].clock];
        let or = |x: &DotSet, y: &DotSet| { let mut z = x.clone(); z.union(y); z };
        prop_assert_eq!(or(a, b), or(b, a));
        prop_assert_eq!(or(&or(a, b), c), or(a, &or(b, c)));
        prop_assert_eq!(&or(a, a), a);
        prop_assert!(a.is_within(&or(a, b)));
        prop_assert_eq!(a.is_within(b) && b.is_within(a), a == b);
        prop_assert!(a.bases().is_within(a));
        let mut bytes = Vec::new();
        a.encode(&mut bytes);
        let mut reader = crate::fields::Reader::new(&bytes);
        prop_assert_eq!(&DotSet::decode(&mut reader).unwrap(), a);
        prop_assert_eq!(reader.finish(), Ok(()));
        prop_assert_eq!(a.fingerprint() == b.fingerprint(), a == b);
    }

    #[test]
    fn sets_with_dead_actors_are_sets(a in changes(), b in changes(), short in 0..=DEAD.len()) {
        let list = Dead::new(dead().actors()[..short].to_vec()).expect("each once");
        // One of the two was made by a node that had heard of fewer.
        let ((x, in_x), (y, in_y)) = (made(&a, &dead()), made(&b, &list));
        let all = || universe().collect::<Vec<Dot>>();
        let dots = |set: &DotSet| all().into_iter().filter(|dot| set.contains(*dot)).collect::<BTreeSet<_>>();
        prop_assert_eq!(&dots(&x), &in_x);
        prop_assert_eq!(&dots(&y), &in_y);
        let mut both = x.clone();
        both.union(&y);
        prop_assert_eq!(dots(&both), in_x.union(&in_y).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(dots(&x.meet(&y)), in_x.intersection(&in_y).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(x.meet(&y), y.meet(&x));
        prop_assert_eq!(x.is_within(&y), in_x.is_subset(&in_y));
        prop_assert!(x.meet(&y).is_within(&x) && x.is_within(&both) && y.is_within(&both));
        prop_assert_eq!(x == y, in_x == in_y);
        prop_assert_eq!(x == y, x.fingerprint() == y.fingerprint());
        let based = all().into_iter().filter(|dot| (1..=dot.counter).all(|n| in_x.contains(&Dot::new(dot.actor, n))));
        prop_assert_eq!(dots(&x.bases()), based.collect::<BTreeSet<_>>());
        // What is stripped lies below a base, and nothing else goes.
        let left = dots(&x.stripped_by(&y));
        let bases = dots(&y.bases());
        prop_assert!(left.is_subset(&in_x) && in_x.difference(&bases).all(|dot| left.contains(dot)));
        prop_assert!(x.closed() > y.closed() || left.intersection(&bases).next().is_none());
        for set in [&x, &y, &both, &x.meet(&y), &x.stripped_by(&y)] {
            let mut bytes = Vec::new();
            set.encode(&mut bytes);
            let mut reader = crate::fields::Reader::new(&bytes);
            let mut read = DotSet::decode(&mut reader).unwrap();
            prop_assert_eq!((&read, reader.finish()), (set, Ok(())));
            let needed = set.closed() as usize;
            if needed > 0 {
                let fewer = Dead::new(dead().actors()[..needed - 1].to_vec()).expect("each once");
                prop_assert_eq!(read.resolve(&fewer), Err(Unresolved::Ahead(set.closed())));
            }
            prop_assert_eq!(read.resolve(&dead()), Ok(()));
            prop_assert_eq!(dots(&read), dots(set));
        }
    }

    #[test]
    fn a_dead_actor_is_covered_or_named_never_both(counter in 1..9u64, closed in 1..=DEAD.len() as u32) {
        for place in 0..DEAD.len() {
            let dot = Dot::new(dead().actors()[place], counter);
            let mut bytes = Vec::new();
            DotSet::of(dot).encode(&mut bytes);
            bytes[0] = closed as u8;
            let mut read = DotSet::decode(&mut crate::fields::Reader::new(&bytes)).expect("well formed");
            let twice = place < closed as usize;
            prop_assert_eq!(read.resolve(&dead()) == Err(Unresolved::Twice(dot.actor)), twice);
        }
    }

    #[test]
    fn a_value_comes_back(operation: u128, stamp: u64, writer in ".{0,20}", body in prop::collection::vec(any::<u8>(), 0..200)) {
        let meta = Meta { operation, stamp, writer, context: DotSet::of(Dot::new(Actor::new(3, 7), 2)) };
        let value = Value { meta, bytes: body.into() };
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        let mut reader = crate::fields::Reader::new(&bytes);
        prop_assert_eq!(Value::decode(&mut reader), Ok(value));
        for cut in 0..bytes.len() {
            prop_assert!(Value::decode(&mut crate::fields::Reader::new(&bytes[..cut])).is_err());
        }
    }
}
