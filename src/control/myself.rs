//! What a node is, and what it says of itself to those that are no members.
//!
//! Invariant: between its vote and its ring it brings the card that it voted for, whatever it is started with. Not here:
//! what it does (`founding`, and the rest of `control`).

use std::net::SocketAddr;

use super::proposal::seeds_hash;
use super::seeds::Seeds;
use super::{ControlConfig, ControlState, Now};
use crate::wire::datagram::{Card, Datagram, Hello, MAX_SEEDS_SHOWN, Stage};

/// The node, as its control machine knows it.
#[derive(Debug)]
pub(super) struct Myself {
    pub config: ControlConfig,
    pub state: ControlState,
    pub seeds: Seeds,
    /// A random number of this process.
    pub life: u64,
    pub now: Now,
}

impl Myself {
    /// What it brings: the card it has voted for; or, before that and in a cluster, what it was started with.
    pub(super) fn card(&self) -> Card {
        let vote = self.state.vote.as_ref().filter(|_| self.state.ring.is_none());
        vote.and_then(|vote| vote.card(self.state.id)).cloned().unwrap_or_else(|| Card {
            id: self.state.id,
            name: self.config.name.clone(),
            addr: self.config.advertise,
            zone: self.config.zone.clone(),
            copies: self.config.copies,
            seeds: seeds_hash(&self.config.seeds),
            share: self.state.share,
        })
    }

    /// A hello of this node.
    pub(super) fn hello(
        &self,
        answer: bool,
        round: u64,
        at: SocketAddr,
        stage: Stage,
        leader: Option<SocketAddr>,
    ) -> Datagram {
        let mut seeds = self.config.seeds.join(", ");
        if seeds.len() > MAX_SEEDS_SHOWN {
            seeds.truncate(MAX_SEEDS_SHOWN - 4); // seeds are ASCII
            seeds.push_str(" ...");
        }
        let (boot, life, card) = (self.state.boot, self.life, self.card());
        Datagram::Hello(Hello { answer, round, at, boot, life, card, stage, seeds, leader })
    }

    /// Whether this process itself said this.
    pub(super) fn is_me(&self, hello: &Hello) -> bool {
        hello.card.id == self.state.id && hello.life == self.life
    }
}
