//! Learning: taking over a ring that was decided, and helping others to it.
//!
//! Heartbeats carry the epoch and hash of the ring that a node has; who is behind pulls. Learning ring e+1 closes the
//! instance that decided it: the votes in it are thrown away, and are never needed again.
//!
//! Invariant: rings only go forward; a ring is in force once it is on the synced disk, not before. Two hashes of one
//! epoch raise the alarm, and nothing is changed any more. Not here: deciding.

use std::sync::Arc;

use super::{Fork, Output, Register, Votes, quorum, shown};
use crate::ring::{ClusterId, Epoch, NodeId, Ring};
use crate::rules::{Rule, holds};
use crate::wire::control::{ControlMessage, Mark};

impl Register {
    /// This cluster was founded with this ring, or this node says that it is ready for it.
    ///
    /// # Panics
    /// When this node has a ring, or is bound to another cluster.
    pub fn founded(&mut self, ring: Ring, out: &mut Vec<Output>) {
        assert!(self.kept.ring.is_none(), "a node founds one cluster, once");
        assert!(
            self.kept.bound.is_none_or(|bound| bound == ring.cluster),
            "a node that is bound founds nothing"
        );
        self.learn(ring, out);
    }

    /// Binds this node to a cluster that it wants to join: it takes no other's ring. `false` if it is bound
    /// to another. Only when this is on the disk may the node say that it is ready.
    pub fn bind(&mut self, cluster: ClusterId) -> bool {
        if self.kept.bound.is_none() && self.kept.ring.is_none() {
            self.kept.bound = Some(cluster);
            self.version += 1;
        }
        self.bound() == Some(cluster)
    }

    /// The cluster whose rings this node takes.
    pub fn bound(&self) -> Option<ClusterId> {
        self.mark.map(|mark| mark.cluster).or(self.kept.bound)
    }

    /// Takes over a ring, if it is a later one of this node's cluster and lineage.
    pub(super) fn learn(&mut self, ring: Ring, out: &mut Vec<Output>) -> bool {
        let new = Mark::of(&ring);
        if self.bound().is_some_and(|bound| bound != new.cluster) {
            return false;
        }
        match self.mark {
            None => {
                if ring.member_by_id(self.me).is_none() {
                    return false;
                }
            }
            Some(mine) if new.lineage < mine.lineage => {
                let sentence = format!(
                    "ALARM: a ring {} of the lineage before an operator forced this one was refused; whoever offers \
                     it was on the side that was given up: stop it, and give it an empty directory",
                    shown(new)
                );
                out.push(Output::Say(log::Level::Error, sentence));
                return false;
            }
            Some(mine) if new.lineage > mine.lineage && ring.member_by_id(self.me).is_none() => {
                let sentence = format!(
                    "ALARM: an operator forced a ring {} of this cluster that gives this node up; it keeps {} and \
                     changes nothing: stop it, and give it an empty directory",
                    shown(new),
                    shown(mine)
                );
                out.push(Output::Say(log::Level::Error, sentence));
                return false;
            }
            Some(mine) if new.lineage > mine.lineage && !self.knows_dead(&ring) => {
                let sentence = format!(
                    "ALARM: an operator forced a ring {} of this cluster on a node that did not know of all dead actors \
                     that this one's ring lists; it keeps {} and changes nothing: stop it, and give it an empty directory",
                    shown(new),
                    shown(mine)
                );
                out.push(Output::Say(log::Level::Error, sentence));
                return false;
            }
            Some(mine) if new.lineage == mine.lineage && new.epoch <= mine.epoch => return false,
            Some(_) => {}
        }
        let ring = Arc::new(ring);
        self.kept.ring = Some(Arc::clone(&ring));
        self.kept.votes = Votes::default();
        self.mark = Some(new);
        self.version += 1;
        (self.attempt, self.spreading) = (None, None);
        self.have.retain(|_, have| (have.lineage, have.epoch) >= (new.lineage, new.epoch));
        self.after_sync(Output::Learnt(ring));
        true
    }

    /// Whether a ring lists all dead actors that this node's ring lists: what was folded stays folded.
    fn knows_dead(&self, ring: &Ring) -> bool {
        let mine = self.kept.ring.as_ref().map_or(&[][..], |mine| mine.dead.actors());
        ring.dead.actors().starts_with(mine)
    }

    pub(super) fn on_ring(&mut self, from: NodeId, ring: Ring, out: &mut Vec<Output>) {
        let mark = Mark::of(&ring);
        let same_epoch = self.mark.is_some_and(|mine| {
            (mine.cluster, mine.lineage, mine.epoch) == (mark.cluster, mark.lineage, mark.epoch)
        });
        if same_epoch && self.mark != Some(mark) {
            return self.alarm(from, mark, out);
        }
        if (same_epoch || self.learn(ring, out)) && from != self.me {
            self.after_sync(Output::Tell(from, ControlMessage::Have(mark)));
            self.flush(out);
        }
    }

    /// A member's heartbeat says which ring it has.
    pub fn heard_of(&mut self, from: NodeId, epoch: Epoch, hash: u64, out: &mut Vec<Output>) {
        let Some(mine) = self.mark else { return };
        if epoch > mine.epoch {
            self.pull(from, out);
        } else if epoch == mine.epoch && hash != mine.hash {
            // Whoever listens to heartbeats has told people.
            self.suspend(from, Mark { hash, ..mine });
        } else if epoch == mine.epoch {
            self.on_have(from, mine, out);
        }
    }

    /// Asks `from` for its ring.
    pub fn pull(&self, from: NodeId, out: &mut Vec<Output>) {
        if let Some(cluster) = self.bound() {
            out.push(Output::Tell(from, ControlMessage::Pull { cluster, mine: self.mark }));
        }
    }

    /// Brings `to` the ring that this node has.
    pub fn show_ring(&self, to: NodeId, out: &mut Vec<Output>) {
        if let Some(ring) = &self.kept.ring {
            let ring = Box::new(Ring::clone(ring));
            out.push(Output::Tell(to, ControlMessage::Ring(ring)));
        }
    }

    pub(super) fn on_pull(
        &mut self,
        from: NodeId,
        cluster: ClusterId,
        theirs: Option<Mark>,
        out: &mut Vec<Output>,
    ) {
        let Some(mine) = self.mark.filter(|mine| mine.cluster == cluster) else { return };
        match theirs {
            Some(theirs) if theirs == mine => {
                self.on_have(from, theirs, out);
                self.after_sync(Output::Tell(from, ControlMessage::Have(mine)));
                self.flush(out);
            }
            Some(theirs) if (theirs.lineage, theirs.epoch) == (mine.lineage, mine.epoch) => {
                self.alarm(from, theirs, out);
            }
            // Also to who is of an earlier lineage, or ahead: it decides what that means.
            Some(_) | None => self.show_ring(from, out),
        }
    }

    pub(super) fn on_have(&mut self, from: NodeId, theirs: Mark, out: &mut Vec<Output>) {
        let Some(mine) = self.mark.filter(|mine| mine.cluster == theirs.cluster) else { return };
        let at = |mark: Mark| (mark.lineage, mark.epoch);
        if at(theirs) == at(mine) && theirs.hash != mine.hash {
            return self.alarm(from, theirs, out);
        }
        if at(theirs) < at(mine) || self.have.get(&from).is_some_and(|have| at(*have) > at(theirs))
        {
            return;
        }
        self.have.insert(from, theirs);
        if self.spreading.is_some() && self.is_active() {
            out.extend(self.spreading.take().map(Output::Done));
        }
    }

    /// Whether a quorum of the ring that this node has is known to have it, or a later one, on the disk: the next
    /// ring can be decided without anybody else.
    pub fn is_active(&self) -> bool {
        let Some(ring) = &self.kept.ring else { return false };
        quorum(ring, |id| self.have.contains_key(&id))
    }

    /// Whether this node may be switched off for good: the ring that it has does not name it, and can go on
    /// without it.
    pub fn may_go(&self) -> bool {
        let Some(ring) = &self.kept.ring else { return false };
        ring.member_by_id(self.me).is_none() && (self.is_active() || !holds(Rule::LastOut))
    }

    /// Two rings of one epoch: tells people.
    pub(super) fn alarm(&mut self, who: NodeId, other: Mark, out: &mut Vec<Output>) {
        if let Some(Fork { mine, .. }) = self.suspend(who, other) {
            let sentence = format!(
                "ALARM: {who} has the ring {} and this node {}. Two rings of one epoch must not be: the ring is not \
                 changed any more; stop clients, compare `ringdove ring` on both, and keep both data directories",
                shown(other),
                shown(mine)
            );
            out.push(Output::Say(log::Level::Error, sentence));
        }
    }

    /// Two rings of one epoch: nothing is changed any more. The fork, if it is news.
    fn suspend(&mut self, who: NodeId, other: Mark) -> Option<Fork> {
        let mine = self.mark?;
        if self.fork.is_some() {
            return None;
        }
        self.attempt = None;
        self.fork = Some(Fork { mine, other, who });
        self.fork
    }
}
