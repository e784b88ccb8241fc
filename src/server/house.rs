//! What all tasks and threads of one node share: who it is, and where its parts are reached.
//!
//! Invariant: the id is the one on the synced disk, the ring the one last published.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::control::ControlBox;
use super::inbox::Mailbox;
use super::links::Links;
use crate::ring::{NodeId, Ring};
use crate::wire::{Caller, Hello, Host, Refused, Welcome};

/// What all parts of one node share.
#[derive(Debug)]
pub(super) struct House {
    /// What people call the node.
    pub(super) name: String,
    /// Where others reach it.
    pub(super) advertise: SocketAddr,
    /// How many shards it has.
    pub(super) shards: u16,
    /// Which nodes of this process hear which.
    pub(super) links: Links,
    /// Its drivers' inboxes.
    pub(super) drivers: Arc<[Mailbox]>,
    /// Its control machine's.
    pub(super) control: ControlBox,
    /// Clients connected.
    pub(super) clients: Arc<AtomicUsize>,
    /// Handshakes under way.
    pub(super) halfway: Arc<AtomicUsize>,
    /// Whether it lets nobody in any more.
    pub(super) closed: AtomicBool,
    /// Who it is.
    pub(super) identity: Mutex<Identity>,
}

/// Who a node is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Its id. May change until its first cluster is founded.
    pub(super) id: NodeId,
    /// Its ring, once there is one.
    pub(super) ring: Option<Arc<Ring>>,
}

impl House {
    fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id is this now.
    pub(super) fn set_id(&self, id: NodeId) {
        self.identity().id = id;
    }

    /// The ring is this now.
    pub(super) fn set_ring(&self, ring: Arc<Ring>) {
        self.identity().ring = Some(ring);
    }

    /// The node's id.
    pub(super) fn id(&self) -> NodeId {
        self.identity().id
    }

    /// The node's ring.
    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        self.identity().ring.clone()
    }

    /// What the node says of itself when it dials `to`.
    pub(super) fn caller(&self, to: NodeId) -> Caller {
        let Identity { id, ring } = self.identity().clone();
        let member = ring.as_ref().and_then(|ring| ring.member_by_id(id));
        Caller {
            node: id,
            cluster: ring.as_ref().map(|ring| ring.cluster),
            member: member.map(|member| member.number),
            to: Some(to),
        }
    }

    /// Decides on a hello.
    pub(super) fn answer(&self, hello: &Hello) -> Result<Welcome, Refused> {
        let Identity { id, ring } = self.identity().clone();
        let host = Host {
            node: id,
            name: &self.name,
            ring: ring.as_deref(),
            shards: self.shards,
            open: !self.closed.load(Ordering::Acquire),
        };
        host.answer(hello)
    }

    /// Whether a member can be heard here, as far as the links say.
    pub(super) fn hears(&self, from: NodeId) -> bool {
        let ring = self.ring();
        let member = ring.as_ref().and_then(|ring| ring.member_by_id(from));
        member.is_none_or(|member| self.links.open(member.addr, self.advertise))
    }
}
