//! Nodes, clients that write and read one key, and a
//! leader that changes the row: one random history from one seed.
//!
//! A replica's state of the key is two sets of writes, *held* and *covered*, as in design 3.2. A write
//! carries the context that its client had read, or none. An owner that lost its disk comes back under a new name,
//! with an old copy as a head start.
//!
//! Judged is every read: its joined answer covers all writes that were acknowledged before it began, and shows
//! none that one of those had seen. Not here: hints, slots, actors; `slot_clock.py` and the simulator have them.

use rand::rngs::ChaCha8Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use crate::rows::{Level, Name, Row, Set, Step, enough, majority};
use crate::rules::Rule;

/// Writes, by number.
type Writes = u128;

/// What a node still has to pull, since it took a seat or somebody beside it lost one.
#[derive(Debug, Clone)]
struct Debt {
    /// The epoch that it dates from: who answers counts if it knew of that epoch.
    epoch: usize,
    /// Each set, and who of it has been pulled from.
    sets: Vec<(Set, Set)>,
    /// Who was in one of the sets and lost its seat by that epoch: what only they have no owner has.
    left: Set,
    /// Who of these was pulled from when it owed nothing itself.
    clean: Set,
}

impl Debt {
    /// Whether enough owners of each set were pulled from.
    fn enough(&self, rule: impl Fn(Rule) -> bool) -> bool {
        let first = self.sets.first().map_or(0, |(set, _)| enough(set.len()));
        self.sets.iter().all(|(set, got)| {
            let wanted = if rule(Rule::OwnLength) { enough(set.len()) } else { first };
            let wanted = if rule(Rule::Enough) { wanted } else { wanted.min(1) };
            got.len() >= wanted
        })
    }

    /// Notes that `from` was pulled from.
    fn pay(&mut self, from: Name, clean: bool) {
        for (set, got) in self.sets.iter_mut().filter(|(set, _)| set.has(from)) {
            *got = got.with(from).and(*set);
        }
        self.clean = if clean { self.clean.with(from) } else { self.clean };
    }
}

#[derive(Debug, Clone)]
struct Node {
    up: bool,
    epoch: usize,
    held: Writes,
    covered: Writes,
    /// Whether it counts at `quorum` where it is an owner.
    counts: bool,
    debts: Vec<Debt>,
    /// Only where [`Rule::Reborn`] is broken: it went back in time, and who has vouched for it since.
    doubt: bool,
    vouched: Set,
}

impl Node {
    fn new(epoch: usize, held: Writes, covered: Writes) -> Node {
        let (debts, vouched) = (vec![], Set::default());
        Node { up: true, epoch, held, covered, counts: false, debts, doubt: false, vouched }
    }

    fn apply(&mut self, held: Writes, covered: Writes) {
        (self.held, self.covered) = join((self.held, self.covered), (held, covered));
    }
}

fn join(a: (Writes, Writes), b: (Writes, Writes)) -> (Writes, Writes) {
    ((a.0 & b.0) | (a.0 & !b.1) | (b.0 & !a.1), a.1 | b.1)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Put,
    Delete,
    Get,
}

#[derive(Debug, Clone)]
struct Operation {
    kind: Kind,
    client: usize,
    epoch: usize,
    /// The writes acknowledged before it began.
    needs: Writes,
    /// What its client had seen.
    seen: Writes,
    /// Whom it has still to reach, first last.
    rest: Vec<Name>,
    answers: usize,
    joined: (Writes, Writes),
    done: bool,
}

/// What a history did, so that a clean one can be told from an empty one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub reads: usize,
    pub moves: usize,
    pub gains: usize,
    pub losses: usize,
    pub retries: usize,
    /// Gains out of a row that was not whole yet.
    pub regained: usize,
    pub drops: usize,
    pub reborn: usize,
}

impl Tally {
    pub fn add(&mut self, more: &Tally) {
        let Tally { reads, moves, gains, losses, retries, regained, drops, reborn } = more;
        self.reads += reads;
        self.moves += moves;
        self.gains += gains;
        self.losses += losses;
        self.retries += retries;
        self.regained += regained;
        self.drops += drops;
        self.reborn += reborn;
    }
}

/// How the row may change, and what clients ask for.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub shortest: usize,
    pub longest: usize,
    pub writes: Level,
    pub reads: Level,
}

/// How a history is: what spreads by itself hides what a rule is for.
#[derive(Debug, Clone, Copy)]
struct Temper {
    /// How likely a request does not arrive.
    loss: f64,
    /// How likely an operation goes on to one more owner when it has its level.
    spreads: f64,
    /// How likely a node that could stop or come back is up after that.
    wakes: f64,
    /// How likely a step of nobody's asking tells a node of a newer row.
    tells: f64,
}

/// One history.
pub struct World {
    rng: ChaCha8Rng,
    shape: Shape,
    broken: Option<Rule>,
    /// Who took part at any time; one that lost its disk stays, and is never heard again.
    nodes: Vec<Node>,
    gone: Set,
    rows: Vec<Row>,
    /// Operations that have not ended.
    flying: Vec<usize>,
    operations: Vec<Operation>,
    acknowledged: Writes,
    /// The epoch that each coordinator knows, and what each client has seen.
    coordinators: [usize; 3],
    clients: [Writes; 3],
    backups: Vec<(Name, Node)>,
    temper: Temper,
    pub tally: Tally,
    /// What was wrong first.
    pub bad: Option<String>,
}

impl World {
    pub fn new(seed: u64, shape: Shape, broken: Option<Rule>) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let first = rng.random_range(shape.shortest..=shape.longest);
        let mut one = |of: [f64; 2]| *of.choose(&mut rng).expect("two");
        let (loss, spreads) = (one([0.05, 0.4]), one([0.0, 0.4]));
        let temper = Temper { loss, spreads, wakes: one([0.6, 0.95]), tells: one([0.1, 0.9]) };
        let mut nodes = vec![Node::new(0, 0, 0); shape.longest + 3];
        nodes[..first].iter_mut().for_each(|node| node.counts = true);
        World {
            rng,
            shape,
            broken,
            nodes,
            gone: Set::default(),
            rows: vec![Row::whole(Set::first(first))],
            flying: vec![],
            operations: vec![],
            acknowledged: 0,
            coordinators: [0; 3],
            clients: [0; 3],
            backups: vec![],
            temper,
            tally: Tally::default(),
            bad: None,
        }
    }

    /// Runs the history to its end, or to the first read that is wrong.
    pub fn run(mut self, steps: usize) -> World {
        for _ in 0..steps {
            self.step();
            if self.bad.is_some() {
                break;
            }
        }
        self
    }

    fn rule(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    fn latest(&self) -> usize {
        self.rows.len() - 1
    }

    fn step(&mut self) {
        match self.rng.random_range(0..1000) {
            0..160 => self.begin(),
            160..560 => self.go_on(),
            560..600 => self.hear(),
            600..780 => self.pull(),
            780..810 => {
                let node = self.anybody();
                self.nodes[usize::from(node)].up = self.rng.random_bool(self.temper.wakes);
            }
            810..930 => self.lead(),
            930..945 => {
                let name = self.anybody();
                self.backups.push((name, self.nodes[usize::from(name)].clone()));
            }
            945..950 => self.roll_back(),
            950..970 => self.vouch(),
            _ => self.drop_copy(),
        }
    }

    /// A node that has not gone for good.
    fn anybody(&mut self) -> Name {
        let names: Vec<Name> =
            (0..self.nodes.len() as Name).filter(|name| !self.gone.has(*name)).collect();
        *names.choose(&mut self.rng).expect("more nodes than can go")
    }

    fn node(&mut self, name: Name) -> Option<&mut Node> {
        let node = &mut self.nodes[usize::from(name)];
        (!self.gone.has(name) && node.up).then_some(node)
    }

    // Requests.

    fn begin(&mut self) {
        if self.operations.len() == 128 || self.flying.len() == 6 {
            return;
        }
        let client = self.rng.random_range(0..3);
        if self.rng.random_bool(0.5) {
            let known = self.coordinators[client];
            let latest = self.latest();
            let oldest = if self.rng.random_bool(0.5) { latest } else { known };
            self.coordinators[client] = self.rng.random_range(oldest..=latest);
        }
        let kind = match self.rng.random_range(0..6) {
            0..2 => Kind::Put,
            2 => Kind::Delete,
            _ => Kind::Get,
        };
        let seen = if self.rng.random_bool(0.7) { self.clients[client] } else { 0 };
        let epoch = self.coordinators[client];
        let row = &self.rows[epoch];
        let asked = row.incoming().map_or(row.owners, |incoming| row.owners.with(incoming));
        let mut rest: Vec<Name> = asked.names().collect();
        rest.shuffle(&mut self.rng);
        self.flying.push(self.operations.len());
        let (needs, joined) = (self.acknowledged, (0, 0));
        let (answers, done) = (0, false);
        let operation = Operation { kind, client, epoch, needs, seen, rest, answers, joined, done };
        self.operations.push(operation);
    }

    /// Lets some operation reach one more node, or give up.
    fn go_on(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.flying.len());
        let operation = self.flying[at];
        let goes_on = !self.operations[operation].done || self.rng.random_bool(self.temper.spreads);
        match self.operations[operation].rest.pop().filter(|_| goes_on) {
            Some(to) => self.reach(to, operation),
            None => drop(self.flying.swap_remove(at)),
        }
    }

    fn reach(&mut self, to: Name, operation: usize) {
        let Operation { kind, epoch, seen, done, joined, .. } = self.operations[operation].clone();
        if self.node(to).is_none() || self.rng.random_bool(self.temper.loss) {
            return;
        }
        self.learn(to, epoch);
        let fence = self.rule(Rule::Fence);
        let node = &mut self.nodes[usize::from(to)];
        if node.epoch > epoch && fence {
            return;
        }
        let dot = 1 << operation;
        match kind {
            Kind::Put => node.apply(dot, dot | seen),
            Kind::Delete => node.apply(0, dot | seen),
            Kind::Get if done => node.apply(joined.0, joined.1),
            Kind::Get => {}
        }
        let state = (node.held, node.covered);
        let level = if kind == Kind::Get { self.shape.reads } else { self.shape.writes };
        if self.counts(to, epoch, level) && !done {
            self.answer(operation, state, level);
        }
    }

    /// Whether an owner counts, in this epoch and at this level.
    fn counts(&self, name: Name, epoch: usize, level: Level) -> bool {
        let (node, row) = (&self.nodes[usize::from(name)], &self.rows[epoch]);
        if node.doubt || !row.owners.has(name) {
            return false;
        }
        if !self.rule(Rule::Settled) {
            return true;
        }
        let gains = match &row.step {
            Step::Settle { incoming, before } => {
                *incoming == name && before[0].len() < row.owners.len()
            }
            Step::Whole | Step::Prepare { .. } | Step::Cover { .. } => false,
        };
        if gains && !self.rule(Rule::GainPulls) {
            return true;
        }
        let other = self.shape.writes != Level::Quorum && self.rule(Rule::LevelLeft);
        node.counts && (level == Level::Quorum || !other || self.owes_nothing(name))
    }

    /// Whether a node has what everybody had who left the row beside it.
    fn owes_nothing(&self, name: Name) -> bool {
        self.nodes[usize::from(name)].debts.iter().all(|debt| debt.clean.covers(debt.left))
    }

    fn answer(&mut self, operation: usize, state: (Writes, Writes), level: Level) {
        let asked = &mut self.operations[operation];
        asked.joined = if asked.answers == 0 { state } else { join(asked.joined, state) };
        asked.answers += 1;
        let Operation { kind, client, epoch, needs, answers, joined, .. } = asked.clone();
        let owners = self.rows[epoch].owners;
        if answers < level.of(owners.len()) {
            return;
        }
        asked.done = true;
        if kind != Kind::Get {
            self.acknowledged |= 1 << operation;
            return;
        }
        // What it found repairs whom it has reached, as far as this history lets things spread.
        asked.rest = owners.names().collect();
        self.tally.reads += 1;
        self.judge(operation, needs, joined);
        self.clients[client] = joined.1;
    }

    fn judge(&mut self, read: usize, needs: Writes, joined: (Writes, Writes)) {
        let missing = needs & !joined.1;
        let replaced = (0..128).filter(|write| needs & (1 << write) != 0);
        let replaced = replaced.fold(0, |all, write| all | self.operations[write].seen);
        let (epoch, back) = (self.operations[read].epoch, replaced & joined.0);
        if missing != 0 {
            self.bad = Some(format!("read {read} in epoch {epoch} misses {missing:b}"));
        } else if back != 0 {
            self.bad = Some(format!("read {read} in epoch {epoch} shows replaced {back:b}"));
        }
    }

    // What nodes know of the row.

    fn hear(&mut self) {
        let (name, latest) = (self.anybody(), self.latest());
        if !self.rng.random_bool(self.temper.tells) {
            return;
        }
        let Some(node) = self.node(name) else { return };
        if node.epoch < latest {
            let known = node.epoch;
            let epoch = self.rng.random_range(known + 1..=latest);
            self.learn(name, epoch);
        }
    }

    fn learn(&mut self, name: Name, epoch: usize) {
        let every = self.rule(Rule::EverySet);
        let node = &mut self.nodes[usize::from(name)];
        while node.epoch < epoch {
            node.epoch += 1;
            let row = &self.rows[node.epoch];
            if !row.owners.has(name) {
                node.counts = false;
                continue;
            }
            let owes = |sets: &[Set]| {
                let own = Set::default().with(name);
                let pairs = sets.iter().map(|set| (*set, own.and(*set))).collect();
                let left = sets.iter().copied().fold(Set::default(), Set::or).minus(row.owners);
                Debt { epoch: node.epoch, sets: pairs, left, clean: own }
            };
            match &row.step {
                Step::Settle { incoming, before } if *incoming == name => {
                    let before = if every { &before[..] } else { &before[..1] };
                    node.counts = false;
                    node.debts.push(owes(before));
                }
                Step::Cover { before, .. } => node.debts.push(owes(&[*before])),
                // That the row is whole, or goes on from there, says that whoever is in it had settled.
                Step::Whole | Step::Prepare { .. } => node.counts = true,
                Step::Settle { .. } => {}
            }
        }
    }

    fn pull(&mut self) {
        let comes = |name: &Name| {
            let node = &self.nodes[usize::from(*name)];
            let row = &self.rows[node.epoch];
            row.incoming() == Some(*name) || (row.owners.has(*name) && !node.debts.is_empty())
        };
        let names: Vec<Name> = (0..self.nodes.len() as Name).filter(comes).collect();
        let Some(name) = names.choose(&mut self.rng).copied() else { return };
        let latest = self.latest();
        if self.node(name).is_some() && self.rng.random_bool(0.3) {
            self.learn(name, latest);
        }
        let Some(node) = self.node(name).cloned() else { return };
        let sets = node.debts.iter().flat_map(|debt| &debt.sets).map(|(set, _)| *set);
        let from = sets.fold(self.rows[node.epoch].owners, Set::or);
        let from: Vec<Name> = from.without(name).names().collect();
        let Some(from) = from.choose(&mut self.rng).copied() else { return };
        let Some(source) = self.node(from).cloned() else { return };
        let clean = !self.rule(Rule::Clean) || self.owes_nothing(from);
        let (after, rule) = (self.rule(Rule::AfterFence), |rule| self.broken != Some(rule));
        let node = &mut self.nodes[usize::from(name)];
        node.apply(source.held, source.covered);
        if source.doubt {
            return;
        }
        for debt in node.debts.iter_mut().filter(|debt| source.epoch >= debt.epoch || !after) {
            debt.pay(from, clean);
        }
        let owner = self.rows[node.epoch].owners.has(name);
        node.counts |= owner && node.debts.last().is_some_and(|debt| debt.enough(rule));
    }

    // The row.

    fn lead(&mut self) {
        let row = self.rows[self.latest()].clone();
        let spare: Vec<Name> = (0..self.nodes.len() as Name)
            .filter(|name| !self.gone.has(*name) && !row.owners.has(*name))
            .collect();
        let spare = *spare.choose(&mut self.rng).expect("more nodes than seats");
        let next = match &row.step {
            Step::Whole => self.start(&row, spare),
            Step::Prepare { incoming, outgoing } => self.switch(&row, *incoming, *outgoing),
            Step::Settle { incoming, before } => self.settle(&row, *incoming, before, spare),
            Step::Cover { lost, before } => self.cover(&row, *lost, *before, spare),
        };
        self.rows.extend(next);
    }

    /// Begins a change: a move, a gain or a loss, of a gone owner first.
    fn start(&mut self, row: &Row, spare: Name) -> Option<Row> {
        let len = row.owners.len();
        let gone = row.owners.and(self.gone).names().next();
        let owners: Vec<Name> = row.owners.names().collect();
        let out = gone.or_else(|| owners.choose(&mut self.rng).copied())?;
        let (shorter, longer) = (len > self.shape.shortest, len < self.shape.longest);
        let prepare = |outgoing| {
            Some(Row { owners: row.owners, step: Step::Prepare { incoming: spare, outgoing } })
        };
        match self.rng.random_range(0..3) {
            0 if shorter => {
                self.tally.losses += 1;
                let step = Step::Cover { lost: out, before: row.owners };
                Some(Row { owners: row.owners.without(out), step })
            }
            1 if longer => prepare(None),
            _ => prepare(Some(out)),
        }
    }

    fn switch(&mut self, row: &Row, incoming: Name, outgoing: Option<Name>) -> Option<Row> {
        if self.rng.random_bool(0.6) {
            *(if outgoing.is_some() { &mut self.tally.moves } else { &mut self.tally.gains }) += 1;
            let owners = outgoing.map_or(row.owners, |out| row.owners.without(out)).with(incoming);
            Some(Row { owners, step: Step::Settle { incoming, before: vec![row.owners] } })
        } else {
            self.rng.random_bool(0.2).then(|| Row::whole(row.owners))
        }
    }

    fn settle(&mut self, row: &Row, incoming: Name, before: &[Set], spare: Name) -> Option<Row> {
        let latest = self.latest();
        let node = &self.nodes[usize::from(incoming)];
        let settled = !self.gone.has(incoming) && node.epoch == latest && node.counts;
        if settled && self.rng.random_bool(0.7) {
            return Some(Row::whole(row.owners));
        }
        if !self.rule(Rule::OneSeat) && self.rng.random_bool(0.2) {
            return self.start(row, spare);
        }
        (before.len() < 5 && self.rng.random_bool(0.06)).then(|| {
            self.tally.retries += 1;
            let before = before.iter().copied().chain([row.owners]).collect();
            let owners = row.owners.without(incoming).with(spare);
            Row { owners, step: Step::Settle { incoming: spare, before } }
        })
    }

    fn cover(&mut self, row: &Row, lost: Name, before: Set, spare: Name) -> Option<Row> {
        let latest = self.latest();
        let covered = |name: &Name| {
            let node = &self.nodes[usize::from(*name)];
            let debt = node.debts.iter().find(|debt| debt.epoch == latest);
            let from_lost = |debt: &Debt| debt.sets[0].1.has(lost);
            !self.gone.has(*name)
                && debt.is_some_and(|debt| from_lost(debt) || debt.enough(|rule| self.rule(rule)))
        };
        let covered = row.owners.names().filter(covered).count();
        let wanted = if self.rule(Rule::CoverMajority) { majority(row.owners.len()) } else { 1 };
        let wanted = if self.rule(Rule::Cover) { wanted } else { 0 };
        if covered >= wanted && self.rng.random_bool(0.7) {
            return Some(Row::whole(row.owners));
        }
        self.rng.random_bool(0.1).then(|| {
            self.tally.regained += 1;
            let step = Step::Settle { incoming: spare, before: vec![before, row.owners] };
            Row { owners: row.owners.with(spare), step }
        })
    }

    /// Who is no owner drops its copy once the row is whole and somebody in it covers that copy.
    fn drop_copy(&mut self) {
        let name = self.anybody();
        let Some(node) = self.node(name).cloned() else { return };
        let row = &self.rows[node.epoch];
        if row.owners.has(name) || row.incoming() == Some(name) || node.covered == 0 {
            return;
        }
        let covers = |other: &Name| {
            let other = &self.nodes[usize::from(*other)];
            other.epoch >= node.epoch && node.covered & !other.covered == 0
        };
        let heirs: Vec<Name> = row.owners.minus(self.gone).names().filter(covers).collect();
        let whole = matches!(row.step, Step::Whole) && !heirs.is_empty();
        if self.rule(Rule::Keeps) && !whole {
            return;
        }
        self.tally.drops += 1;
        let clean = !self.rule(Rule::Clean) || self.owes_nothing(name);
        let node = &mut self.nodes[usize::from(name)];
        // What it owed it still owes: it cannot speak for who left before it.
        (node.held, node.covered) = (0, 0);
        for heir in heirs {
            let heir = &mut self.nodes[usize::from(heir)];
            heir.debts.iter_mut().for_each(|debt| debt.pay(name, clean));
        }
    }

    // Disks.

    /// An owner comes back with an old copy of its disk. At most one at a time: a quorum of two stands one lost disk.
    fn roll_back(&mut self) {
        let Some((name, old)) = self.backups.choose(&mut self.rng).cloned() else { return };
        let row = &self.rows[self.latest()];
        let sets: Vec<Set> = row.before().into_iter().chain([row.owners]).collect();
        let doubted = |name: Name| self.nodes[usize::from(name)].doubt;
        let lost = |set: &Set| set.len() < 2 || set.names().any(|n| self.gone.has(n) || doubted(n));
        if self.tally.reborn == 3 || !row.owners.has(name) || sets.iter().any(lost) {
            return;
        }
        self.tally.reborn += 1;
        if self.rule(Rule::Reborn) {
            self.gone = self.gone.with(name);
            self.nodes.push(Node::new(old.epoch, old.held, old.covered));
        } else {
            let node = Node { doubt: true, vouched: Set::default(), ..old };
            self.nodes[usize::from(name)] = node;
        }
    }

    /// Only where a node keeps its name after it went back: it pulls from enough others, and counts again.
    fn vouch(&mut self) {
        let name = self.anybody();
        let Some(node) = self.node(name).cloned() else { return };
        let owners = self.rows[node.epoch].owners;
        let others: Vec<Name> = owners.without(name).names().collect();
        let Some(from) = others.choose(&mut self.rng).copied() else { return };
        let Some(source) = self.node(from).cloned() else { return };
        if !node.doubt || source.doubt {
            return;
        }
        if source.epoch > node.epoch {
            self.learn(name, source.epoch);
            self.nodes[usize::from(name)].vouched = Set::default();
        }
        let owners = self.rows[self.nodes[usize::from(name)].epoch].owners;
        let node = &mut self.nodes[usize::from(name)];
        node.apply(source.held, source.covered);
        node.vouched = node.vouched.with(from);
        let wanted = enough(owners.len()).min(owners.without(name).len());
        node.doubt = node.vouched.and(owners).len() < wanted;
    }
}
