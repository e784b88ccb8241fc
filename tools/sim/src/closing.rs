//! Dead actors: what the ring will decide, decided here by the world itself.
//!
//! From time to time some lives that are over are to be listed. All nodes are told to refuse them; when all run
//! and confirm, a new ring lists them, and each node hears of it in its own time, some much later. A node whose
//! disk goes back in time has the ring of that time, too. Once everything is healed the rest are listed.
//!
//! Invariant: an actor is listed only when every shard of every node said that it may be; the list only grows.
//! Not here: what a shard makes of it (`ringdove::shard`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ringdove::causality::Actor;
use ringdove::ring::{Epoch, Ring, Slot};
use ringdove::shard::Event;

use crate::dice::Dice;
use crate::happening::Happening;
use crate::world::World;

/// How long the ring tries once everything is healed.
const HEALED_EVERY: Duration = Duration::from_millis(100);
/// How often a try is given up, and other actors are chosen.
const GIVEN_UP: f64 = 0.1;
/// How often a node hears of a ring late.
const LATE: f64 = 0.2;

/// What the ring is about to do.
#[derive(Debug)]
pub(crate) struct Closing {
    dice: Dice,
    /// Actors that all are told to refuse.
    doomed: Vec<Actor>,
}

impl Closing {
    pub(crate) fn new(seed: u64) -> Self {
        Closing { dice: Dice::new(seed, "closing"), doomed: Vec::new() }
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
        if !self.nodes.iter().all(|node| node.answers()) {
            return;
        }
        if self.closing.doomed.is_empty() {
            self.doom();
        } else if self.closing.doomed.iter().all(|actor| self.may_list(*actor)) {
            self.list();
        } else if !self.healed && self.closing.dice.chance(GIVEN_UP) {
            self.closing.doomed.clear();
        } else {
            self.tell_to_refuse();
        }
    }

    /// Lives that wrote, are over, and are not listed.
    fn over(&self) -> Vec<Actor> {
        let wrote: BTreeSet<Actor> = self.watch.dots().map(|(_, dot)| dot.actor).collect();
        let live: BTreeSet<Actor> = self.nodes.iter().flat_map(|node| node.actors()).collect();
        let over = wrote.difference(&live).copied();
        over.filter(|actor| !self.ring.dead.contains(*actor)).collect()
    }

    fn doom(&mut self) {
        let mut over = self.over();
        if over.is_empty() {
            return;
        }
        self.closing.dice.shuffle(&mut over);
        let some = self.closing.dice.range(1, 3) as usize;
        over.truncate(if self.healed { over.len() } else { some });
        self.closing.doomed = over;
        self.tell_to_refuse();
    }

    fn tell_to_refuse(&mut self) {
        for actor in self.closing.doomed.clone() {
            self.trace.line(self.now, || format!("all are to refuse {actor}"));
            for node in 0..self.nodes.len() {
                self.step_all(node, |_| Event::Refuse(actor));
            }
        }
    }

    fn may_list(&self, actor: Actor) -> bool {
        let mut processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        processes.all(|process| process.shards.iter().all(|one| one.shard.may_list(actor)))
    }

    fn list(&mut self) {
        let doomed = std::mem::take(&mut self.closing.doomed);
        self.counts.listed += doomed.len() as u64;
        let dead = self.ring.dead.and(doomed).expect("those listed are not chosen again");
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
        if let Some(actor) = self.over().first() {
            return Some(format!("unclosed: {actor} is not listed"));
        }
        let listed = self.ring.dead.count();
        for dump in self.dumps() {
            let open = |(_, clock): &(&Slot, &ringdove::causality::DotSet)| clock.closed() < listed;
            if let Some((slot, clock)) = dump.clocks.iter().find(open) {
                let name = dump.node + 1;
                let what = format!("unclosed: n{name} has clock {clock} of slot {slot}");
                return Some(format!("{what}, and {listed} are listed"));
            }
        }
        None
    }
}
