//! The simulated failure detector: late, and sometimes wrong.
//!
//! Invariant: it says what a heartbeat would, to the shards only through their view.
//! Not here: the real detector (`ringdove::control`), whose own simulation is another matter.

use ringdove::shard::Event;

use crate::happening::Happening;
use crate::node::place;
use crate::world::World;

impl World {
    /// A node looks who is there, and tells its shards what changed.
    pub(crate) fn detect(&mut self, node: usize) {
        let wait = self.mix.detect_every / 2 + self.detector_dice.around(self.mix.detect_every / 2);
        self.plan_in(wait, Happening::Detect { node });
        if !self.nodes[node].answers() {
            return;
        }
        let mistake = if self.healed { 0.0 } else { self.mix.mistake };
        let members: Vec<_> = self.nodes[node].believes.keys().copied().collect();
        let mut changed = false;
        for member in members {
            let other = place(member);
            let heard = self.nodes[other].answers()
                && self.network.is_open(node, other)
                && self.network.is_open(other, node);
            let slandered =
                self.nodes[node].slander.get(&member).is_some_and(|until| self.now < *until);
            let up = heard != self.detector_dice.chance(mistake) && !slandered;
            let before = self.nodes[node].believes.insert(member, up);
            changed |= before != Some(up);
            if before == Some(true) && !up {
                self.step_all(node, |_| Event::LaneLost(member));
            }
        }
        if changed {
            self.publish_view(node);
        }
    }
}
