//! What founders vote on: their cards, and the ring that follows from them.
//!
//! Invariant: the same cards make the same proposal, hash and ring everywhere, in whatever order they came.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher128};

use crate::causality::Secret;
use crate::fields::Malformed;
use crate::pack::pack;
use crate::ring::{ClusterId, Epoch, Member, MemberNumber, NodeId, Ring, Settings, found};
use crate::wire::datagram::Card;

/// The cards of all founders, by ascending id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    cards: Vec<Card>,
}

impl Proposal {
    /// The proposal of these cards.
    ///
    /// # Panics
    /// When there are none, two of one id, or they differ in their seed list or copies: whoever
    /// gathers them checks.
    pub(super) fn new(mut cards: Vec<Card>) -> Self {
        cards.sort_unstable_by_key(|card| card.id);
        let proposal = Proposal { cards };
        proposal.check().expect("whoever gathers cards checks them");
        proposal
    }

    /// Whether it is a proposal at all: what comes from a file may not be.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let Some(first) = self.cards.first() else { return Err(Malformed("no founders")) };
        if !self.cards.is_sorted_by(|a, b| a.id < b.id) {
            return Err(Malformed("founders are not in the order of distinct ids"));
        }
        let agree = |card: &Card| card.seeds == first.seeds && card.copies == first.copies;
        if first.copies == 0 || !self.cards.iter().all(agree) {
            return Err(Malformed("founders do not agree on seeds and copies"));
        }
        Ok(())
    }

    /// The founders.
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// The card of this founder.
    pub(super) fn card(&self, id: NodeId) -> Option<&Card> {
        self.cards.iter().find(|card| card.id == id)
    }

    /// The hash of everything in it: what is voted for.
    pub fn hash(&self) -> u64 {
        let mut hasher = SipHasher24::new();
        hasher.write(b"proposal");
        hasher.write(&pack(self));
        hasher.finish()
    }

    /// The cluster's name: the hash of its founders' ids.
    pub(super) fn cluster(&self) -> ClusterId {
        let mut hasher = SipHasher24::new();
        hasher.write(b"cluster");
        for card in &self.cards {
            hasher.write(&card.id.0.to_le_bytes());
        }
        ClusterId(hasher.finish())
    }

    /// The cluster's secret: the hash of all shares.
    fn secret(&self) -> Secret {
        let mut hasher = SipHasher128::new();
        hasher.write(b"secret");
        for card in &self.cards {
            hasher.write(&card.share.0);
        }
        Secret(hasher.finish128().as_u128().to_le_bytes())
    }

    /// The founding ring: members numbered from 1 in the order of their ids.
    pub fn ring(&self) -> Ring {
        let member = |(index, card): (usize, &Card)| Member {
            number: MemberNumber(index as u16 + 1),
            id: card.id,
            name: card.name.clone(),
            addr: card.addr,
            zone: card.zone.clone(),
            weight: 1,
            since: Epoch(1),
            leaving: false,
        };
        let members = self.cards.iter().enumerate().map(member).collect();
        let settings = Settings { copies: self.cards[0].copies, ..Settings::default() };
        found(self.cluster(), self.secret(), members, settings)
    }
}

/// The hash of a seed list in its one order and spelling.
pub(super) fn seeds_hash(seeds: &[String]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(b"seeds");
    for seed in seeds {
        hasher.write(seed.as_bytes());
        hasher.write_u8(0);
    }
    hasher.finish()
}
