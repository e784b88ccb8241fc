//! A driver's lanes: the connections to the shards of other members that hold the same slots.
//!
//! Between two nodes of S and P shards there are max(S, P) lanes, numbered; slot s travels in lane
//! `s mod max(S, P)`, which ends at shard `lane mod S` here and `lane mod P` there. So a pair of
//! shards has at most one lane, whatever the two counts, and everything about a slot stays in order.
//! The member with the lower node id dials; both send over the one connection.
//!
//! A lane carries everything or is dead: once a frame is lost in it (too much waits, a cut link)
//! it is closed, and the shard is told. Invariant: the shard is told that a member is up only while all
//! lanes between the two are open. Not here: dialling (`dial.rs`) and handshakes (`accept.rs`).

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::connection::{Connection, Role};
use super::driver::Driver;
use super::inbox::NewLane;
use crate::ring::{Liveness, MemberNumber, Slot, View};
use crate::shard::event::Event;
use crate::storage::Disk;
use crate::wire::{self, Frame, Message};

/// How many lanes two nodes of so many shards have between them.
pub(super) fn lane_count(ours: u16, theirs: u16) -> u16 {
    ours.max(theirs)
}

/// The number of the lane between these shards, each given with how many its node has.
pub(super) fn lane_number((ours, of_ours): (u16, u16), (theirs, of_theirs): (u16, u16)) -> u16 {
    if of_ours >= of_theirs { ours } else { theirs }
}

/// The shards that a lane joins: ours and theirs.
pub(super) fn shards_of_lane(number: u16, ours: u16, theirs: u16) -> (u16, u16) {
    (number % ours, number % theirs)
}

/// The lanes of one driver.
#[derive(Debug)]
pub(super) struct Lanes {
    shard: u16,
    shards: u16,
    view: Option<View>,
    peers: BTreeMap<MemberNumber, PeerLanes>,
}

/// The lanes that lead from this shard to one member.
#[derive(Debug)]
struct PeerLanes {
    /// How many lanes there are between the two nodes.
    count: u16,
    /// The connections, by `lane / shards` of this node.
    open: Vec<Option<usize>>,
}

impl Lanes {
    /// No lanes yet, of this shard among so many.
    pub(super) fn new(shard: u16, shards: u16) -> Self {
        Lanes { shard, shards, view: None, peers: BTreeMap::new() }
    }

    /// The view last published.
    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// The connection for this member and slot.
    fn to(&self, member: MemberNumber, slot: Slot) -> Option<usize> {
        let count = self.peers.get(&member)?.count;
        self.open(member, slot.number() % count)
    }

    /// The connection of this member's lane.
    fn open(&self, member: MemberNumber, lane: u16) -> Option<usize> {
        let peer = self.peers.get(&member)?;
        debug_assert_eq!(lane % self.shards, self.shard, "the lane is one of this shard's");
        peer.open[usize::from(lane / self.shards)]
    }

    /// Whether all lanes from this shard to a member are open.
    fn whole(&self, member: MemberNumber) -> bool {
        let peer = self.peers.get(&member);
        peer.is_some_and(|peer| peer.open.iter().all(Option::is_some))
    }

    /// Notes a lane, one of `count` between the two nodes.
    fn opened(&mut self, member: MemberNumber, lane: u16, count: u16, at: usize) {
        let width = usize::from(count / self.shards);
        let peer = self.peers.entry(member);
        let peer = peer.or_insert_with(|| PeerLanes { count, open: vec![None; width] });
        let replaced = peer.open[usize::from(lane / self.shards)].replace(at);
        debug_assert_eq!(replaced, None, "closed before");
    }

    /// Notes that a connection is gone. `false` when another had replaced it.
    fn gone(&mut self, at: usize, member: MemberNumber, lane: u16) -> bool {
        let Some(peer) = self.peers.get_mut(&member) else { return false };
        let place = &mut peer.open[usize::from(lane / self.shards)];
        place.take_if(|open| *open == at).is_some()
    }

    /// The connections to a member.
    fn of(&self, member: MemberNumber) -> Vec<usize> {
        let peer = self.peers.get(&member);
        peer.map(|peer| peer.open.iter().flatten().copied().collect()).unwrap_or_default()
    }

    /// Members in the new view that were up in the old one and are not any more.
    fn fallen(&self, new: &View) -> Vec<MemberNumber> {
        let Some(old) = &self.view else { return Vec::new() };
        let peers = old.peers.keys().filter(|member| old.is_up(**member) && !new.is_up(**member));
        peers.copied().collect()
    }

    /// The view as the shard is to see it: who has no whole lanes is down.
    fn told(&self) -> Option<View> {
        let mut view = self.view.clone()?;
        for (member, peer) in &mut view.peers {
            if !self.whole(*member) {
                peer.liveness = Liveness::Down;
            }
        }
        Some(view)
    }
}

impl<D: Disk> Driver<D> {
    /// The control machine has published a view.
    pub(super) fn on_view(&mut self, view: View) {
        let fallen = self.lanes.fallen(&view);
        self.lanes.view = Some(view);
        for member in fallen {
            // It does not answer heartbeats. What its connections still hold may arrive in an hour or
            // never, and would hold up what is sent after it is back: better a new connection.
            for at in self.lanes.of(member) {
                self.close(at, "the member does not answer");
            }
        }
        self.tell_view();
    }

    fn tell_view(&mut self) {
        if let Some(view) = self.lanes.told() {
            self.step(Event::View(view));
        }
    }

    /// A lane has shaken hands.
    pub(super) fn on_new_lane(&mut self, lane: NewLane) {
        let (member, number) = (lane.member, lane.number);
        let count = lane_count(self.shards, lane.shards);
        let known = self.lanes.peers.get(&member).map_or(count, |peer| peer.count);
        if number % self.shards != self.around.number || number >= count || known != count {
            // The number of shards belongs to a directory for ever, and so to the node's id.
            log::warn!("member {member} offers lane {number} of {count}, which is none; dropped");
            return;
        }
        if let Some(old) = self.lanes.open(member, number) {
            self.close(old, "a newer connection replaces it");
        }
        let shards = lane.shards;
        let Some(at) = self.add(Connection::lane(lane)) else { return };
        self.lanes.opened(member, number, count, at);
        self.around.control.lane_opened(member, number, shards);
        log::debug!("lane {number} to member {member} is open");
        self.tell_view();
    }

    /// A lane's connection is closed.
    pub(super) fn on_lane_gone(&mut self, at: usize, member: MemberNumber, lane: u16, why: &str) {
        if !self.lanes.gone(at, member, lane) {
            return;
        }
        self.around.counters.lanes_lost.one();
        log::info!("lane {lane} to member {member} broke: {why}");
        self.around.control.lane_lost(member, lane);
        self.step(Event::LaneLost(member));
        self.tell_view();
    }

    /// Sends a frame to a member's shard, or loses it.
    pub(super) fn send(&mut self, member: MemberNumber, frame: Frame) {
        let Some(at) = self.lanes.to(member, frame.slot) else {
            return self.around.counters.frames_lost.one();
        };
        if !self.passes(at, member, Way::To) {
            return self.around.counters.frames_lost.one();
        }
        let Some(connection) = self.connections.get_mut(at) else { return };
        if connection.full() {
            self.around.counters.frames_lost.one();
            return self.doom(at, "too much waits to be sent");
        }
        match connection.queue(&frame) {
            Ok(bytes) => {
                self.around.counters.frames_out.one();
                if frame.message.is_sync() {
                    self.around.counters.sync_bytes_out.add(bytes);
                }
                self.mark_dirty(at);
            }
            Err(error) => {
                self.around.counters.frames_lost.one();
                log::error!("a frame for member {member} is lost: {error}");
            }
        }
    }

    /// A whole frame came in on a lane.
    pub(super) fn lane_frame(&mut self, at: usize, member: MemberNumber, mut frame: BytesMut) {
        self.around.counters.lane_frames.one();
        if !self.passes(at, member, Way::From) {
            return self.around.counters.frames_lost.one();
        }
        let frame = match wire::split(&mut frame) {
            Ok(Some(frame)) => frame,
            Ok(None) => return self.close(at, "a frame is shorter than its header says"),
            Err(error) => return self.close(at, &error.to_string()),
        };
        if frame.slot.shard(self.shards) != self.around.number {
            return self.close(at, "a frame is about a slot of another lane");
        }
        if matches!(frame.message, Message::Question(_) | Message::Answer(_)) {
            return self.close(at, "a member sent what only clients ask");
        }
        self.step(Event::Peer(member, frame));
    }

    /// Whether a frame gets through. One that does not spoils its lane, and once the link is open
    /// again the spoilt lane breaks; until then a cut tells nobody.
    fn passes(&mut self, at: usize, member: MemberNumber, way: Way) -> bool {
        let hears = self.hears(member, way);
        let Some(Connection { role: Role::Lane(lane), .. }) = self.connections.get_mut(at) else {
            return false;
        };
        if hears && lane.lossy {
            self.doom(at, "frames were lost in it");
            return false;
        }
        lane.lossy |= !hears;
        hears
    }

    /// Whether frames to or from a member get through, as far as the links say.
    fn hears(&self, member: MemberNumber, way: Way) -> bool {
        if self.around.links.all_open() {
            return true;
        }
        let Some(view) = &self.lanes.view else { return true };
        let addr = |member| view.ring.member(member).map(|member| member.addr);
        match (addr(view.me), addr(member), way) {
            (Some(me), Some(peer), Way::To) => self.around.links.open(me, peer),
            (Some(me), Some(peer), Way::From) => self.around.links.open(peer, me),
            (None, _, _) | (_, None, _) => true,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Way {
    To,
    From,
}
