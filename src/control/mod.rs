//! Who is in the cluster, who answers, and the founding of it, as a state machine: datagrams and
//! time in, datagrams, views and things to write down out.
//!
//! Three truths are kept apart. *Liveness* is this node's own opinion, from heartbeats, and may change
//! its mind any time. The *ring* is decided once per epoch; the first one by the unanimous vote of all
//! nodes named in one seed list. *Hints* (who answers just now) are the shards' affair.
//!
//! Invariant: [`Control::step`] is deterministic: it waits for nothing, reads no clock and draws no
//! randomness but from the generator it was given. There is one ring per cluster and epoch. A node
//! never makes itself a cluster because time has passed. Not here: sockets, DNS, files (`server`),
//! and the data plane (`shard`), which is told through a [`View`](crate::ring::View).

mod event;
mod proposal;
mod state;

pub use event::{Effect, Event, Now, Route};
pub use proposal::Proposal;
pub use state::{ConfigError, ControlConfig, ControlState, Moved};

use crate::ring::{MemberNumber, View};
use crate::wire::{MemberLine, RingShown, Status};

/// The control machine of one node.
pub struct Control {}

impl Control {
    /// A machine that goes on from what it wrote down before, or from [`ControlState::new`]. It
    /// sends nothing before its first [`Effect::Persist`] is done.
    pub fn new(
        _config: ControlConfig,
        _state: ControlState,
        _seed: u64,
    ) -> Result<Self, ConfigError> {
        todo!()
    }

    /// Something happened. What follows from it is appended to `effects`.
    pub fn step(&mut self, _now: Now, _event: Event, _effects: &mut Vec<Effect>) {
        todo!()
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Now {
        todo!()
    }

    /// The view last published, once there is a ring.
    pub fn view(&self) -> Option<View> {
        todo!()
    }

    /// Who drives ring changes, in this node's own view; `None` while there is no ring.
    pub fn leader(&self) -> Option<MemberNumber> {
        todo!()
    }

    /// Who is in the cluster.
    pub fn members(&self) -> Vec<MemberLine> {
        todo!()
    }

    /// Who owns what.
    pub fn ring_shown(&self) -> RingShown {
        todo!()
    }

    /// How the cluster is: everything but what the shards count (keys, conflicts, hints).
    pub fn status_part(&self) -> Status {
        todo!()
    }
}
