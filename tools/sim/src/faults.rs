//! What goes wrong, and when.
//!
//! Invariant: every fault is one that the promises cover. What they exclude is not done (Byzantine
//! members), or excused (a restore that takes the last disk of a write, see `amnesia`).

use std::collections::VecDeque;
use std::time::Duration;

use ringdove::storage::DiskCall;

use crate::happening::Happening;
use crate::mix::Fault;
use crate::world::World;

/// How often a flapping link goes and comes, at most and on average.
const FLAPS_MAX: u64 = 12;
const FLAP_EVERY: Duration = Duration::from_millis(150);

impl World {
    /// Plans when something goes wrong next.
    pub(crate) fn plan_next_fault(&mut self) {
        let wait = self.fault_dice.around(self.mix.fault_every);
        self.plan_in(wait, Happening::Fault);
    }

    /// Something goes wrong, or is mended.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let fault = Fault::ALL[self.fault_dice.weighted(&self.mix.faults)];
        let node = self.fault_dice.index(self.nodes.len());
        self.trace.line(self.now, || format!("fault {fault:?}"));
        match fault {
            Fault::Split => self.split(),
            Fault::OneWay => self.cut_some_ways(),
            Fault::Isolate => self.isolate(node),
            Fault::Heal => self.heal_network(),
            Fault::Kill => {
                self.counts.kills += u64::from(self.nodes[node].process.is_some());
                self.kill(node);
            }
            Fault::Power => self.lose_power(node),
            Fault::Blackout => (0..self.nodes.len()).for_each(|node| {
                self.lose_power(node);
                if let Some(original) = &mut self.nodes[node].original {
                    original.page = None;
                }
            }),
            Fault::Restart => self.restart_one(),
            Fault::Pause => self.pause(node),
            Fault::Slow => {
                self.nodes[node].slowdown = self.fault_dice.pick(&[5, 20, 100]);
                let wait = self.fault_dice.around(Duration::from_secs(2));
                self.plan_in(wait, Happening::Recover { node });
            }
            Fault::Lanes => {
                let other = self.another(node);
                self.lose_lane(node, other);
            }
            Fault::Clock => {
                let hour_ms = 3_600_000;
                let skew = self.fault_dice.range(0, 2 * hour_ms) as i64 - hour_ms as i64;
                self.nodes[node].wall_skew_ms += skew;
            }
            Fault::Slander => {
                let other = self.another(node);
                let until = self.now + self.fault_dice.around(Duration::from_secs(1));
                let other = self.number(other);
                self.nodes[node].slander.insert(other, until);
            }
            Fault::SyncFails => self.fail_next(node, &[DiskCall::Sync]),
            Fault::BackUp => self.back_up(node),
            Fault::Restore => self.restore(node),
            Fault::Flap => {
                let other = self.another(node);
                let left = self.fault_dice.range(2, FLAPS_MAX) as u32;
                self.flap(node, other, left);
            }
            Fault::Full => self.fill_disks(node),
            Fault::Io => self.fail_next(node, &[DiskCall::Write, DiskCall::Read, DiskCall::Make]),
            Fault::Rot => self.turn_a_bit(node),
            Fault::Clone => self.run_copy(node),
        }
        self.plan_next_fault();
    }

    fn another(&mut self, node: usize) -> usize {
        (node + 1 + self.fault_dice.index(self.nodes.len() - 1)) % self.nodes.len()
    }

    fn cut(&mut self, from: usize, to: usize) {
        if self.network.is_open(from, to) {
            self.network.set_open(from, to, false);
            self.counts.cuts += 1;
            self.trace.line(self.now, || format!("n{} no longer reaches n{}", from + 1, to + 1));
        }
    }

    fn split(&mut self) {
        let nodes = self.nodes.len();
        let mut order: Vec<usize> = (0..nodes).collect();
        self.fault_dice.shuffle(&mut order);
        let size = self.fault_dice.range(1, nodes as u64 - 1) as usize;
        let (one, other) = order.split_at(size);
        for a in one {
            for b in other {
                self.cut(*a, *b);
                self.cut(*b, *a);
            }
        }
    }

    fn cut_some_ways(&mut self) {
        for _ in 0..self.fault_dice.range(1, 3) {
            let from = self.fault_dice.index(self.nodes.len());
            let to = self.another(from);
            self.cut(from, to);
        }
    }

    fn isolate(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// All links work again; the lanes over those that did not have broken meanwhile.
    pub(crate) fn heal_network(&mut self) {
        for (a, b) in self.network.cut_pairs() {
            self.network.set_open(a, b, true);
            self.network.set_open(b, a, true);
            self.lose_lane(a, b);
        }
    }

    /// A link goes, or comes again; a few times more.
    pub(crate) fn flap(&mut self, a: usize, b: usize, left: u32) {
        if self.healed {
            return;
        }
        let open = !self.network.is_open(a, b);
        self.network.set_open(a, b, open);
        if self.fault_dice.chance(0.5) {
            self.network.set_open(b, a, open);
        }
        self.counts.flaps += 1;
        let what = if open { "comes" } else { "goes" };
        self.trace.line(self.now, || format!("the link from n{} to n{} {what}", a + 1, b + 1));
        if open {
            self.lose_lane(a, b);
        }
        if left > 1 {
            let wait = self.fault_dice.around(FLAP_EVERY);
            self.plan_in(wait, Happening::Flap { a, b, left: left - 1 });
        }
    }

    fn lose_power(&mut self, node: usize) {
        self.counts.power_losses += u64::from(self.nodes[node].process.is_some());
        self.kill(node);
        self.trace.line(self.now, || format!("n{} loses power", node + 1));
        for disk in &self.nodes[node].disks {
            disk.power_loss();
        }
        self.lose_page(node);
    }

    fn restart_one(&mut self) {
        let stuck =
            (0..self.nodes.len()).filter(|node| self.is_poisoned(*node)).collect::<Vec<_>>();
        stuck.into_iter().for_each(|node| self.kill(node));
        let down = (0..self.nodes.len()).filter(|node| self.nodes[*node].process.is_none());
        let down: Vec<usize> = down.collect();
        if !down.is_empty() {
            let node = self.fault_dice.pick(&down);
            self.start(node);
        }
    }

    fn pause(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.paused.is_some() {
            return;
        }
        process.paused = Some(VecDeque::new());
        let start = process.start;
        self.nodes[node].pauses += 1;
        self.counts.pauses += 1;
        self.trace.line(self.now, || format!("n{} is stopped", node + 1));
        let wait = self.fault_dice.around(Duration::from_secs(2));
        self.plan_in(wait, Happening::Resume { node, start });
    }
}
