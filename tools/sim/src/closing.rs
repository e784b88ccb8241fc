//! Dead actors: what the leader of the ring will decide, decided here by the world itself.
//!
//! Shards tell which lives their clocks name. From time to time some of these are to be listed: first its own
//! member is asked to refuse it, which may say that it is in use; then all others, each when it happens to be
//! asked. Once all have confirmed, at whatever time each did, a new ring lists it, and each node hears of that in its own
//! time, some much later. A node whose disk goes back in time has the ring of that time, too, and is
//! another member for all that it confirmed. Once everything is healed the rest are listed.
//!
//! Invariant: an actor is listed only when every shard of every node said that it may be; the list only grows.
//! Not here: what a shard makes of it (`ringdove::shard`), and the real leader (`ringdove::control`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ringdove::causality::{Actor, DotSet};
use ringdove::ring::steps::Verdict;
use ringdove::ring::{Epoch, Ring, Slot};
use ringdove::shard::Event;

use crate::dice::Dice;
use crate::happening::Happening;
use crate::world::World;

/// How long the ring tries once everything is healed.
const HEALED_EVERY: Duration = Duration::from_millis(100);
/// How long what a shard tells the others of its node takes.
const BETWEEN_SHARDS: Duration = Duration::from_millis(1);
/// How often a node is asked when the ring looks.
const ASKED: f64 = 0.8;
/// How often those that are in use are asked about again.
const ASKED_AGAIN: f64 = 0.02;
/// Actors that are asked about at a time, until everything is healed.
const AT_A_TIME: usize = 3;
/// How often a node hears of a ring late.
const LATE: f64 = 0.2;

/// What the ring knows of lives.
#[derive(Debug)]
pub(crate) struct Closing {
    dice: Dice,
    /// What each shard of each node told that it sees.
    seen: BTreeMap<(usize, usize), Vec<Actor>>,
    /// Those that their own member said to be in use.
    spared: BTreeSet<Actor>,
    /// Whether everything was healed when the ring looked last.
    healed: bool,
    /// Which shards of which nodes can do without whom.
    confirmed: BTreeMap<Actor, BTreeSet<(usize, usize)>>,
}

impl Closing {
    pub(crate) fn new(seed: u64) -> Self {
        Closing {
            dice: Dice::new(seed, "closing"),
            seen: BTreeMap::new(),
            spared: BTreeSet::new(),
            healed: false,
            confirmed: BTreeMap::new(),
        }
    }

    /// A node's process starts: it has told nothing yet.
    pub(crate) fn starts(&mut self, node: usize) {
        self.seen.retain(|(other, _), _| *other != node);
    }

    /// A node's disks do not hold what they did: it has confirmed nothing.
    pub(crate) fn went_back(&mut self, node: usize) {
        for shards in self.confirmed.values_mut() {
            shards.retain(|(other, _)| *other != node);
        }
    }
}

impl World {
    /// Plans when the ring looks at the dead next, if it does in this run.
    pub(crate) fn plan_next_closing(&mut self) {
        if let Some(every) = self.mix.closing {
            let mean = if self.healed { HEALED_EVERY } else { every };
            let wait = self.closing.dice.around(mean);
            self.plan_in(wait, Happening::Close);
        }
    }

    /// The ring goes on with its list, as far as it may.
    pub(crate) fn close(&mut self) {
        self.plan_next_closing();
        // Once all is healed lives hardly end any more, and each is asked about once: to ask is to write.
        let healed = std::mem::replace(&mut self.closing.healed, self.healed);
        if self.healed != healed || !self.healed && self.closing.dice.chance(ASKED_AGAIN) {
            self.closing.spared.clear();
        }
        for actor in self.candidates() {
            self.ask_to_refuse(actor);
        }
        let all: usize = self.nodes.iter().map(|node| node.disks.len()).sum();
        let done = |(_, shards): &(&Actor, &BTreeSet<_>)| shards.len() == all;
        let done: Vec<Actor> =
            self.closing.confirmed.iter().filter(done).map(|(a, _)| *a).collect();
        if !done.is_empty() {
            self.list(done);
        }
    }

    /// Lives that are named by clocks, not listed, and perhaps over.
    fn candidates(&mut self) -> Vec<Actor> {
        let seen: BTreeSet<Actor> = self.closing.seen.values().flatten().copied().collect();
        let open = |actor: &Actor| {
            !self.ring.dead.contains(*actor) && !self.closing.spared.contains(actor)
        };
        let mut open: Vec<Actor> = seen.into_iter().filter(open).collect();
        if !self.healed {
            self.closing.dice.shuffle(&mut open);
            open.truncate(AT_A_TIME);
        }
        open
    }

    /// Asks an actor's own member first, and then all others.
    fn ask_to_refuse(&mut self, actor: Actor) {
        let own = usize::from(actor.member()) - 1;
        let asked: Vec<usize> = if self.confirms(own, actor) {
            (0..self.nodes.len()).filter(|node| !self.confirms(*node, actor)).collect()
        } else {
            vec![own]
        };
        for node in asked {
            if self.nodes[node].answers() && (self.healed || self.closing.dice.chance(ASKED)) {
                self.trace.line(self.now, || format!("n{} is to refuse {actor}", node + 1));
                self.step_all(node, |_| Event::Refuse(vec![actor]));
            }
        }
    }

    fn confirms(&self, node: usize, actor: Actor) -> bool {
        let shards = self.closing.confirmed.get(&actor);
        let confirmed = |shards: &BTreeSet<(usize, usize)>| {
            shards.iter().filter(|(other, _)| *other == node).count()
        };
        shards.map_or(0, confirmed) == self.nodes[node].disks.len()
    }

    /// A shard told which lives its clocks name.
    pub(crate) fn note_seen_lives(&mut self, node: usize, shard: usize, actors: Vec<Actor>) {
        for actor in &actors {
            if !self.closing.seen.values().flatten().any(|other| other == actor) {
                // Where somebody has a new life, another of it may be over.
                self.closing.spared.retain(|other| other.member() != actor.member());
            }
        }
        self.closing.seen.insert((node, shard), actors);
    }

    /// A shard said whether the ring may list actors.
    pub(crate) fn note_verdicts(&mut self, at: (usize, usize), said: &[(Actor, Verdict)]) {
        said.iter().for_each(|(actor, verdict)| self.note_verdict(at, *actor, *verdict));
    }

    fn note_verdict(&mut self, at: (usize, usize), actor: Actor, verdict: Verdict) {
        match verdict {
            Verdict::Mine => {
                self.counts.spared += 1;
                self.closing.confirmed.remove(&actor);
                self.closing.spared.insert(actor);
            }
            Verdict::NotYet => {}
            Verdict::MayList => {
                self.closing.confirmed.entry(actor).or_default().insert(at);
            }
        }
    }

    fn list(&mut self, done: Vec<Actor>) {
        self.closing.confirmed.retain(|actor, _| !done.contains(actor));
        self.counts.listed += done.len() as u64;
        let dead = self.ring.dead.and(done).expect("those listed are not asked about again");
        let (epoch, previous) = (Epoch(self.ring.epoch.0 + 1), self.ring.hash());
        let ring = Ring { epoch, previous, dead, ..(*self.ring).clone() };
        self.trace.line(self.now, || format!("ring {epoch} lists {:?}", ring.dead.actors()));
        self.ring = Arc::new(ring);
        for node in 0..self.nodes.len() {
            self.plan_learning(node);
        }
    }

    /// Plans when a node hears of the newest ring.
    pub(crate) fn plan_learning(&mut self, node: usize) {
        let late = !self.healed && self.closing.dice.chance(LATE);
        let mean = Duration::from_millis(if late { 8_000 } else { 300 });
        let wait = self.closing.dice.around(mean);
        self.plan_in(wait, Happening::Learn { node });
    }

    /// A node hears of the newest ring.
    pub(crate) fn learn(&mut self, node: usize) {
        if !self.nodes[node].answers() {
            return self.plan_learning(node);
        }
        if self.nodes[node].ring.epoch < self.ring.epoch {
            self.nodes[node].ring = Arc::clone(&self.ring);
            let epoch = self.ring.epoch;
            self.trace.line(self.now, || format!("n{} hears of ring {epoch}", node + 1));
            self.publish_view(node);
        }
    }

    /// A shard gave up its actor: the others of its node hear of that, each a little later.
    pub(crate) fn tell_retired(&mut self, node: usize, shard: usize, (old, new): (Actor, Actor)) {
        let Some(start) = self.nodes[node].process.as_ref().map(|process| process.start) else {
            return;
        };
        self.closing.spared.remove(&old);
        for other in (0..self.nodes[node].disks.len()).filter(|other| *other != shard) {
            let wait = self.closing.dice.around(BETWEEN_SHARDS);
            self.plan_in(wait, Happening::Retire { node, start, shard: other, old, new });
        }
    }

    /// A shard hears that another one gave up their actor: that may be asked about again.
    pub(crate) fn hear_retired(&mut self, node: usize, shard: usize, (old, new): (Actor, Actor)) {
        self.step(node, shard, Event::Retire(old, new));
        self.closing.spared.remove(&old);
    }

    /// After a step: whether slots started over, and were folded.
    pub(crate) fn note_closing(&mut self, node: usize, shard: usize) {
        let restored = self.nodes[node].ever_restored;
        let Some(process) = &mut self.nodes[node].process else { return };
        let running = &mut process.shards[shard];
        let metrics = running.shard.metrics();
        let (folded, over) = (metrics.slots_folded, metrics.slots_started_over);
        self.counts.folds += folded - running.folded;
        self.counts.retired += metrics.retired - running.retired;
        (running.folded, running.retired) = (folded, metrics.retired);
        if over > running.started_over {
            self.counts.start_overs += over - running.started_over;
            running.started_over = over;
            running.excuse_due = true;
            if !restored {
                let what = format!("n{} starts over, and its disk never went back", node + 1);
                self.violate("start over", what);
            }
        }
    }

    /// What keeps the dead from being closed everywhere, if anything does.
    pub(crate) fn unclosed(&self) -> Option<String> {
        self.mix.closing?;
        let live: BTreeSet<Actor> = self.nodes.iter().flat_map(|node| node.actors()).collect();
        let listed = self.ring.dead.count();
        for dump in self.dumps() {
            let over = |clock: &DotSet| {
                let mut actors = clock.rows().map(|(actor, _)| actor);
                actors.any(|actor| !live.contains(&actor) && !self.ring.dead.contains(actor))
            };
            if let Some((key, left)) = dump.residuals.iter().find(|(_, left)| over(left)) {
                let (name, node) = (&self.history.keys[*key].name, dump.node + 1);
                return Some(format!("unclosed: n{node} keeps context {left} of {name}"));
            }
            let open = |(_, clock): &(&Slot, &DotSet)| clock.closed() < listed || over(clock);
            if let Some((slot, clock)) = dump.clocks.iter().find(open) {
                let name = dump.node + 1;
                let what = format!("unclosed: n{name} has clock {clock} of slot {slot}");
                return Some(format!("{what}, and {listed} are listed"));
            }
        }
        None
    }
}
