//! The members of a ring, as the others know them: who answers, where, and what it says of itself.
//!
//! | part | what |
//! |---|---|
//! | `known` | what is known of one member |
//! | `claims` | alive, suspect, down, left: merged by one order, refuted by the subject |
//! | `detector` | probes, confirmations, how long an accusation stands |
//! | `inquiry` | relays, doubts, and whom nothing reaches: accusations |
//! | `rumours` | what is still to be passed on |
//! | `sync` | how two members find out where their knowledge differs |
//! | `voice` | what this node says in every datagram |
//! | `view` | what the rest of the node is told |
//!
//! Invariants. Nothing said in an earlier life of a member, or to somebody else, or in another cluster, changes
//! anything. Whoever is no member of the ring in force does not exist; whoever is, is dialled for ever. What
//! this costs while nothing happens does not depend on the number of members. Not here: what follows for reads
//! and writes (`shard`), and what is decided (the ring).

mod claims;
mod detector;
mod inquiry;
mod known;
mod rumours;
mod sync;
#[cfg(test)]
mod tests;
mod view;
mod voice;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use super::{Effect, Moved, Now};
use crate::ring::{Epoch, MemberNumber, NodeId, Ring};
use crate::wire::datagram::Datagram;
use crate::wire::gossip::{BUCKETS, Claim, Head, News};
use claims::Source;
use detector::Detector;
pub(super) use known::Known;
use rumours::Rumours;
use sync::{Sync, bucket};
use view::Shown;
pub(super) use voice::Voice;

/// How often a member is told that it is behind in what it says of itself.
const CORRECTION: Duration = Duration::from_secs(1);

/// Why a datagram changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// Its bytes are not what they should be.
    Malformed,
    /// It comes from another cluster.
    Foreign,
    /// Its sender is not a member.
    Stranger,
    /// It is meant for another node.
    Misdirected,
    /// It is of an earlier life, doubled, or an answer that comes too late.
    Stale,
    /// A second process speaks with the id of a member, or of this node.
    Doubled,
    /// It came before this node could act on it.
    Early,
}

/// The ring in force and what is known of its members.
#[derive(Debug)]
pub(super) struct Membership {
    pub ring: Arc<Ring>,
    pub ring_hash: u64,
    pub me: MemberNumber,
    /// All others.
    pub known: BTreeMap<MemberNumber, Known>,
    /// All, the oldest first.
    by_age: Vec<MemberNumber>,
    /// The latest epoch that any of them ever had.
    newest: Epoch,
    /// Of whose ring the register has not been told since they said something else of it, or came up, or this node has
    /// another ring itself.
    to_compare: BTreeSet<MemberNumber>,
    numbers: BTreeMap<NodeId, MemberNumber>,
    pub voice: Voice,
    detector: Detector,
    rumours: Rumours,
    next_rumours: Now,
    sync: Sync,
    /// Hashes of all that is known, by bucket, and this node's own part.
    prints: [u64; BUCKETS],
    my_print: u64,
    random: ChaCha8Rng,
    /// Whether a member remembers more of this node's logs than they hold.
    rolled_back: bool,
    /// Whether members heard a later life of this node.
    outlived: bool,
    /// Whether something changed that others may want to be told.
    changed: bool,
    next_publish: Now,
    shown: Option<Shown>,
    dialled: Vec<super::Route>,
}

impl Membership {
    /// Begins, by calling a few members.
    ///
    /// # Panics
    /// When this node is no member of the ring.
    pub fn new(
        ring: Ring,
        moved: &[Moved],
        voice: Voice,
        seed: u64,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut membership = Membership {
            ring_hash: ring.hash(),
            me: number_of(&ring, voice.id),
            ring: Arc::new(ring),
            known: BTreeMap::new(),
            by_age: Vec::new(),
            newest: Epoch(0),
            to_compare: BTreeSet::new(),
            numbers: BTreeMap::new(),
            voice,
            detector: Detector::new(now),
            rumours: Rumours::default(),
            next_rumours: now,
            sync: Sync::new(now),
            prints: [0; BUCKETS],
            my_print: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
            rolled_back: false,
            outlived: false,
            changed: true,
            next_publish: now,
            shown: None,
            dialled: Vec::new(),
        };
        membership.voice.told = (membership.ring.epoch, membership.ring_hash);
        membership.take_members(moved, now);
        membership.reassert(0);
        membership.call_first(now, effects);
        membership
    }

    /// Goes over to another ring of the same cluster: newcomers are known of, those who are no members any more
    /// are forgotten, and of the others everything stays known.
    ///
    /// # Panics
    /// When this node is no member of it.
    pub fn adopt(&mut self, ring: Arc<Ring>, now: Now) {
        assert_eq!(ring.cluster, self.ring.cluster, "a ring of another cluster");
        assert_eq!(number_of(&ring, self.voice.id), self.me, "a member keeps its number");
        (self.ring_hash, self.ring) = (ring.hash(), ring);
        self.take_members(&[], now);
        (self.changed, self.next_publish) = (true, now);
    }

    fn take_members(&mut self, moved: &[Moved], now: Now) {
        let ring = Arc::clone(&self.ring);
        let mut before = std::mem::take(&mut self.known);
        let others = ring.members.iter().filter(|member| member.number != self.me);
        self.numbers = others.clone().map(|member| (member.id, member.number)).collect();
        self.known = others
            .map(|member| {
                let known = before.remove(&member.number);
                (member.number, known.unwrap_or_else(|| Known::new(member, moved, now)))
            })
            .collect();
        let mut members = Vec::from_iter(&ring.members);
        members.sort_by_key(|member| (member.since, member.number));
        self.by_age = members.into_iter().map(|member| member.number).collect();
        self.to_compare = self.known.keys().copied().collect();
        self.prints = [0; BUCKETS];
        self.prints[bucket(self.me)] = self.my_print;
        for (of, known) in &self.known {
            self.prints[bucket(*of)] ^= known.print;
        }
        self.reorder();
    }

    /// A datagram came in from there.
    pub fn hear(
        &mut self,
        now: Now,
        at: SocketAddr,
        datagram: Datagram,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Ignored> {
        let Some(head) = datagram.head().copied() else { return Err(Ignored::Malformed) };
        let from = self.admit(now, at, &head, effects)?;
        match datagram {
            Datagram::Hello(_) => return Err(Ignored::Malformed),
            Datagram::Probe(beat) => {
                // What is said of this node is refuted in the answer already.
                let news = beat.news.clone();
                self.merge_all(now, news, Source::Spreads, effects);
                self.probed(now, at, from, &beat, effects)?;
            }
            Datagram::Ack(beat) => {
                self.acked(now, from, &beat, effects)?;
                self.merge_all(now, beat.news, Source::Spreads, effects);
            }
            Datagram::Ask(errand) => {
                self.asked(now, from, &errand, effects);
                self.merge_all(now, errand.news, Source::Spreads, effects);
            }
            Datagram::Told(errand) => {
                self.told_by_relay(from, &errand);
                self.merge_all(now, errand.news, Source::Spreads, effects);
            }
            Datagram::Rumours(gossip) => {
                self.merge_all(now, gossip.news, Source::Spreads, effects);
            }
            Datagram::Root(root) => self.root(now, from, &root, effects),
            Datagram::Digests(digests) => self.digests(from, &digests, effects),
            Datagram::Pull(pull) => self.pull(now, from, pull, effects),
            Datagram::Facts(gossip) => self.facts(now, gossip.news, effects),
        }
        self.compare(now, from, at, &head, effects);
        Ok(())
    }

    /// Who it is that speaks, if it is a member, in its latest life, and to this node.
    fn admit(
        &mut self,
        now: Now,
        at: SocketAddr,
        head: &Head,
        effects: &mut Vec<Effect>,
    ) -> Result<MemberNumber, Ignored> {
        if head.cluster != self.ring.cluster {
            return Err(Ignored::Foreign);
        }
        if head.from == self.voice.id {
            let doubled = head.life != self.voice.life && head.boot >= self.voice.boot;
            return Err(if doubled { Ignored::Doubled } else { Ignored::Misdirected });
        }
        let Some(from) = self.numbers.get(&head.from).copied() else {
            return Err(Ignored::Stranger);
        };
        if head.to != self.voice.id {
            return Err(Ignored::Misdirected);
        }
        let forked = self.forked(head.epoch, head.ring);
        let known = self.known.get_mut(&from).expect("who has a number is known");
        if let Err(why) = known.admits(head, now) {
            if head.boot < known.boot && known.corrected <= now {
                known.corrected = now + CORRECTION;
                self.say_claim(from, at, effects);
            }
            return Err(why);
        }
        if forked && known.ring != head.ring {
            effects.push(Effect::Log(log::Level::Error, fork_alarm(&known.name, head.epoch)));
        }
        if (known.epoch, known.ring) != (head.epoch, head.ring) {
            (known.epoch, known.ring) = (head.epoch, head.ring);
            self.to_compare.insert(from);
        }
        self.newest = self.newest.max(head.epoch);
        let claim = Claim::alive(head.boot, head.incarnation);
        let news = News { of: from, claim, accusers: Vec::new(), essentials: None, details: None };
        self.merge(now, news, Source::Spreads, effects);
        Ok(from)
    }

    /// A member says, outside of heartbeats, in its life number `boot`, that it listens here now. Believed
    /// only of a life that is later than all heard; nothing else is concluded from it.
    pub fn seen_at(
        &mut self,
        now: Now,
        id: NodeId,
        boot: u64,
        addr: SocketAddr,
        effects: &mut Vec<Effect>,
    ) {
        let Some(of) = self.numbers.get(&id).copied() else { return };
        if self.known.get_mut(&of).is_some_and(|known| known.seen_at(boot, addr)) {
            self.changed = true;
            self.call(now, of, effects);
        }
    }
}

fn number_of(ring: &Ring, id: NodeId) -> MemberNumber {
    ring.member_by_id(id).expect("a node uses rings that it is in").number
}

/// The loudest sentence there is.
pub(super) fn fork_alarm(name: &str, epoch: Epoch) -> String {
    format!(
        "ALARM: {name} has another ring of epoch {epoch} than this node. Two rings of one epoch must not be: \
         stop clients, compare `ringdove ring` on both, and keep both data directories"
    )
}
