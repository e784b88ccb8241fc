//! What the rest of the node is told of the members.
//!
//! A member is up *for the data plane* while it is claimed to be alive, this node itself does not doubt it, it
//! answers this node directly, and its data lanes are not known to be broken. So a coordinator stops picking a
//! dead replica a second or so before all agree that it is down, and one cut link concerns only the two at its
//! ends.
//!
//! Invariant: what is published changes only when something that it shows has changed. Not here: who is up
//! (`detector`, `claims`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Effect, Moved, Now, Route};
use super::{Known, Membership};
use crate::ring::{Epoch, Liveness as Opinion, MemberNumber, NodeId, Peer, View};
use crate::wire::gossip::Rank;

/// How often at most the rest of the node is told what others say: a view is as long as the ring. What
/// happens to this node itself is told at once.
const PUBLISH: Duration = Duration::from_millis(20);

impl Membership {
    /// When the rest of the node is to be told of what has changed.
    pub(super) fn publish_due(&self) -> Option<Now> {
        self.changed.then_some(self.next_publish)
    }

    /// The server says how a member's data lanes are.
    pub fn lane(&mut self, member: MemberNumber, open: bool) {
        if let Some(known) = self.known.get_mut(&member) {
            known.lane = Some(open);
            (self.changed, self.next_publish) = (true, Duration::ZERO);
        }
    }

    /// Where members are that are not where the ring says, as it is written down.
    pub fn moved(&self) -> Vec<Moved> {
        let elsewhere = |(number, known): (&MemberNumber, &Known)| {
            let listed = self.ring.member(*number).map(|member| member.addr);
            let moved = Moved { id: known.id, addr: known.addr, boot: known.addr_boot() };
            (listed != Some(known.addr)).then_some(moved)
        };
        self.known.iter().filter_map(elsewhere).collect()
    }

    /// The cluster as this node sees it.
    pub fn view(&self) -> View {
        let peer = |known: &Known| {
            let shards = known.essentials.map(|it| it.shards)?;
            let liveness = if known.usable() { Opinion::Up } else { Opinion::Down };
            Some(Peer { liveness, shards })
        };
        let peers = self.known.iter().filter_map(|(number, known)| Some((*number, peer(known)?)));
        View {
            me: self.me,
            ring: std::sync::Arc::clone(&self.ring),
            rolled_back: self.rolled_back,
            peers: peers.collect(),
        }
    }

    /// Tells the rest of the node what changed since it was last told. Whether anything did.
    pub fn publish(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        if !self.changed || now < self.next_publish {
            return false;
        }
        (self.changed, self.next_publish) = (false, now + PUBLISH);
        for (number, known) in &mut self.known {
            let up = known.answers();
            if up != known.up {
                (known.up, known.since) = (up, now);
                self.to_compare.insert(*number);
                effects.push(turn(known, now));
            }
        }
        let route = |(number, known): (&MemberNumber, &Known)| Route {
            member: *number,
            id: known.id,
            addr: known.addr,
        };
        let routes: Vec<Route> = self.known.iter().map(route).collect();
        if routes != self.dialled {
            self.dialled.clone_from(&routes);
            effects.push(Effect::Dial(routes));
        }
        let view = self.view();
        let shown = Shown {
            epoch: self.ring.epoch,
            rolled_back: view.rolled_back,
            peers: view.peers.clone(),
        };
        if self.shown.as_ref() != Some(&shown) {
            self.shown = Some(shown);
            effects.push(Effect::Publish(view));
        }
        true
    }

    /// Members whose ring of this epoch is another one.
    pub fn forks(&self) -> impl Iterator<Item = &Known> {
        self.known.values().filter(|known| self.forked(known.epoch, known.ring))
    }

    pub(super) fn forked(&self, epoch: Epoch, ring: u64) -> bool {
        epoch == self.ring.epoch && ring != self.ring_hash
    }

    /// Members that are up, and which ring they have: those of whom the register is to be told. Whose ring is newer is
    /// not among them: it is pulled first.
    pub fn rings_to_compare(&mut self) -> Vec<(NodeId, Epoch, u64)> {
        let some = std::mem::take(&mut self.to_compare);
        let those = some.iter().filter_map(|number| self.known.get(number));
        let fit = those.filter(|known| known.up && known.epoch <= self.ring.epoch);
        fit.map(|known| (known.id, known.epoch, known.ring)).collect()
    }

    /// A live member that has a newer ring than this node, the newest there is: there it can be had.
    pub fn newer_ring(&self) -> Option<MemberNumber> {
        if self.newest <= self.ring.epoch {
            return None;
        }
        let newer = self.known.iter().filter(|(_, known)| known.epoch > self.ring.epoch);
        let live = newer.filter(|(_, known)| known.answers());
        live.max_by_key(|(_, known)| known.epoch).map(|(number, _)| *number)
    }

    /// The oldest live member in this node's view.
    pub fn leader(&self) -> MemberNumber {
        let live = |number: MemberNumber| {
            let rank = self.known.get(&number).and_then(|known| known.rank());
            number == self.me || rank.is_some_and(|rank| rank <= Rank::Suspect)
        };
        let oldest = self.by_age.iter().copied().find(|number| live(*number));
        oldest.expect("this node itself is live")
    }
}

/// What of a view is compared with the one before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    epoch: Epoch,
    rolled_back: bool,
    peers: BTreeMap<MemberNumber, Peer>,
}

/// A member has come or gone, in a sentence.
fn turn(known: &Known, now: Now) -> Effect {
    let (name, addr) = (&known.name, known.addr);
    if known.up {
        return Effect::Log(log::Level::Info, format!("{name} ({addr}) is up"));
    }
    let heard = known.heard.map(|heard| now.saturating_sub(heard).as_millis());
    let ago = heard.map_or(String::new(), |ago| format!(", this node heard it {ago} ms ago"));
    let why = match known.rank() {
        Some(Rank::Left) => "it was stopped",
        Some(Rank::Alive) if known.unreachable => {
            "it does not answer this node, though others hear it"
        }
        Some(Rank::Alive | Rank::Suspect | Rank::Down) | None => "it does not answer",
    };
    Effect::Log(log::Level::Warn, format!("{name} ({addr}) is down: {why}{ago}"))
}
