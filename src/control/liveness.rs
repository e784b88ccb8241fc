//! Who answers: heartbeats between all members of a ring.
//!
//! Every member probes every other about every [`PROBE`] and answers probes. A member is *up* while there was
//! proof within [`SILENCE`] that the link works both ways: an answer to a fresh probe, or a probe that says "I hear
//! you". Otherwise it is down, and is probed all the same, for ever. Probing everybody costs little up to some
//! fifty members; probing a few and spreading the news (SWIM) replaces [`Liveness::probe`] and nothing else.
//!
//! Invariants. Nothing said in an earlier life of a member, or to somebody else, or in another cluster, changes
//! anything. A node that was paused itself accuses nobody: everyone gets the lost time on top. Not here: what
//! follows for reads and writes (`shard`), and what is decided (the ring).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::{Effect, Moved, Now, Route};
use crate::ring::{Epoch, Liveness as Opinion, Member, MemberNumber, NodeId, Peer, Ring, View};
use crate::wire::datagram::{Beat, Datagram};

/// How often a member is probed, with jitter of a fifth.
const PROBE: Duration = Duration::from_millis(500);
/// After how long without proof a member counts as down: three probes and a little.
pub(super) const SILENCE: Duration = Duration::from_millis(1750);
/// How many probes to one member may be unanswered and still be answered: those of [`SILENCE`], and spare.
const OPEN_PROBES: usize = 5;

/// For how long a member's earlier life may be heard after its next one began.
const STRAGGLING: Duration = Duration::from_secs(5);

/// What is known of another member.
#[derive(Debug)]
pub(super) struct Known {
    pub id: NodeId,
    /// Where it was last known to listen.
    pub addr: SocketAddr,
    /// Its latest life: boot counter and process; `None` before it was heard in this life of ours.
    life: Option<(u64, u64)>,
    /// Since when it is heard.
    life_since: Now,
    /// The highest boot counter ever seen of it, with `addr`.
    boot: u64,
    /// When the link was last known to work both ways.
    proof: Option<Now>,
    /// When it was last heard.
    pub heard: Option<Now>,
    pub up: bool,
    /// Since when it is up, or down.
    pub since: Now,
    /// What the server says of its data lanes; `None` before it said anything.
    pub lane: Option<bool>,
    next_probe: Now,
    seq: u64,
    open: VecDeque<(u64, Now)>,
    /// The highest number of its probes: older ones are late or doubled.
    their_seq: u64,
    shards: u16,
    /// What it calls itself now.
    pub name: String,
    pub epoch: Epoch,
    ring: u64,
    /// The highest position of each of its logs, and whether it came back with less.
    log: Vec<u64>,
    log_compared: bool,
    pub rolled_back: bool,
    /// Another process speaks with its id.
    pub doubled: bool,
}

impl Known {
    fn new(member: &Member, moved: &[Moved], now: Now) -> Self {
        let moved = moved.iter().find(|moved| moved.id == member.id);
        Known {
            id: member.id,
            addr: moved.map_or(member.addr, |moved| moved.addr),
            life: None,
            life_since: now,
            boot: moved.map_or(0, |moved| moved.boot),
            proof: None,
            heard: None,
            up: false,
            since: now,
            lane: None,
            next_probe: now,
            seq: 0,
            open: VecDeque::new(),
            their_seq: 0,
            shards: 1,
            name: member.name.clone(),
            epoch: Epoch(0),
            ring: 0,
            log: Vec::new(),
            log_compared: false,
            rolled_back: false,
            doubled: false,
        }
    }

    /// Whether data may be sent there: it answers, and its lanes are not known to be broken.
    pub fn usable(&self) -> bool {
        self.up && self.lane != Some(false)
    }

    /// Whether this beat is of its latest life, or begins a new one.
    fn admits(&mut self, beat: &Beat, now: Now) -> Result<(), Ignored> {
        let life = (beat.boot, beat.life);
        if beat.boot < self.boot {
            // Nothing travels for so long: the earlier life still speaks.
            self.doubled |= self.life.is_some() && now > self.life_since + STRAGGLING;
            return Err(if self.doubled { Ignored::Doubled } else { Ignored::Stale });
        }
        match self.life {
            Some(known) if known == life => {}
            Some(known) if known.0 == beat.boot => {
                self.doubled = true;
                return Err(Ignored::Doubled);
            }
            Some(_) | None => {
                (self.life, self.life_since) = (Some(life), now);
                self.their_seq = 0;
                (self.doubled, self.rolled_back, self.log_compared) = (false, false, false);
            }
        }
        Ok(())
    }

    fn take_in(&mut self, beat: &Beat) {
        self.shards = beat.shards;
        self.name.clone_from(&beat.name);
        (self.epoch, self.ring) = (beat.epoch, beat.ring);
        if !self.log_compared && !beat.log.is_empty() {
            // Only once in a life: later heartbeats may overtake each other.
            self.log_compared = true;
            self.rolled_back = self.log.iter().zip(&beat.log).any(|(known, new)| new < known);
        }
        self.log.resize(self.log.len().max(beat.log.len()), 0);
        for (known, new) in self.log.iter_mut().zip(&beat.log) {
            *known = (*known).max(*new);
        }
    }
}

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

/// What this node says of itself in every heartbeat.
#[derive(Debug)]
pub(super) struct Voice {
    pub id: NodeId,
    pub boot: u64,
    pub life: u64,
    pub name: String,
    pub addr: SocketAddr,
    pub shards: u16,
    pub log: Vec<u64>,
}

/// The ring in force and who of its members answers.
#[derive(Debug)]
pub(super) struct Liveness {
    pub ring: Arc<Ring>,
    pub ring_hash: u64,
    pub me: MemberNumber,
    pub known: BTreeMap<MemberNumber, Known>,
    pub voice: Voice,
    /// Whether a member remembers more of this node's logs than they hold.
    rolled_back: bool,
    published: Option<(bool, BTreeMap<MemberNumber, Peer>)>,
    dialled: Vec<Route>,
}

impl Liveness {
    /// # Panics
    /// When this node is no member of the ring.
    pub fn new(ring: Ring, moved: &[Moved], voice: Voice, now: Now) -> Self {
        let me = ring.member_by_id(voice.id).expect("a node uses rings that it is in").number;
        let others = ring.members.iter().filter(|member| member.number != me);
        let known = others.map(|member| (member.number, Known::new(member, moved, now))).collect();
        let (rolled_back, published, dialled) = (false, None, Vec::new());
        Liveness {
            ring_hash: ring.hash(),
            ring: Arc::new(ring),
            me,
            known,
            voice,
            rolled_back,
            published,
            dialled,
        }
    }

    fn beat(&self, to: NodeId, seq: u64, hears_you: bool) -> Beat {
        Beat {
            seq,
            cluster: self.ring.cluster,
            from: self.voice.id,
            to,
            boot: self.voice.boot,
            life: self.voice.life,
            hears_you,
            epoch: self.ring.epoch,
            ring: self.ring_hash,
            shards: self.voice.shards,
            name: self.voice.name.clone(),
            addr: self.voice.addr,
            log: self.voice.log.clone(),
            rolled_back: self
                .ring
                .member_by_id(to)
                .and_then(|member| self.known.get(&member.number))
                .is_some_and(|known| known.rolled_back),
        }
    }

    /// Probes whom it is time to probe.
    pub fn probe(&mut self, now: Now, rng: &mut ChaCha8Rng, effects: &mut Vec<Effect>) {
        let due: Vec<MemberNumber> = self
            .known
            .iter()
            .filter(|(_, known)| known.next_probe <= now)
            .map(|(n, _)| *n)
            .collect();
        for number in due {
            let known = self.known.get_mut(&number).expect("just listed");
            known.next_probe = now + PROBE.mul_f64(rng.random_range(0.8..1.2));
            known.seq += 1;
            known.open.push_back((known.seq, now));
            if known.open.len() > OPEN_PROBES {
                known.open.pop_front();
            }
            let hears = known.heard.is_some_and(|heard| now.saturating_sub(heard) <= SILENCE);
            let (id, seq, addr) = (known.id, known.seq, known.addr);
            let probe = Datagram::Probe(self.beat(id, seq, hears));
            effects.push(Effect::Datagram(addr, probe.encode()));
        }
    }

    /// A heartbeat came in: what it proves, and the answer if it asks for one.
    pub fn hear(
        &mut self,
        now: Now,
        from: SocketAddr,
        beat: &Beat,
        ack: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Ignored> {
        if beat.cluster != self.ring.cluster {
            return Err(Ignored::Foreign);
        }
        if beat.from == self.voice.id {
            let doubled = beat.life != self.voice.life && beat.boot >= self.voice.boot;
            return Err(if doubled { Ignored::Doubled } else { Ignored::Misdirected });
        }
        let Some(number) = self.ring.member_by_id(beat.from).map(|member| member.number) else {
            return Err(Ignored::Stranger);
        };
        if beat.to != self.voice.id {
            return Err(Ignored::Misdirected);
        }
        let known = self.known.get_mut(&number).expect("every other member is known");
        known.admits(beat, now)?;
        if ack {
            let Some(place) = known.open.iter().position(|(seq, _)| *seq == beat.seq) else {
                return Err(Ignored::Stale);
            };
            let (_, asked) = known.open.remove(place).expect("just found");
            if now.saturating_sub(asked) > SILENCE {
                return Err(Ignored::Stale);
            }
        } else if beat.seq <= known.their_seq {
            return Err(Ignored::Stale);
        } else {
            known.their_seq = beat.seq;
        }
        let forked = beat.epoch == self.ring.epoch && beat.ring != self.ring_hash;
        if forked && known.ring != beat.ring {
            effects.push(Effect::Log(log::Level::Error, fork_alarm(&beat.name, beat.epoch)));
        }
        known.take_in(beat);
        // Only the answer to a probe of this life is surely about this life.
        self.rolled_back |= ack && beat.rolled_back;
        (known.addr, known.boot) = (beat.addr, beat.boot);
        known.heard = Some(now);
        if ack || beat.hears_you {
            known.proof = Some(now);
            if !known.up {
                (known.up, known.since) = (true, now);
                let sentence = format!("{} ({}) is up", known.name, known.addr);
                effects.push(Effect::Log(log::Level::Info, sentence));
            }
        }
        if !ack {
            let answer = Datagram::Ack(self.beat(beat.from, beat.seq, true));
            effects.push(Effect::Datagram(from, answer.encode()));
        }
        Ok(())
    }

    /// A member says, outside of heartbeats, in its life number `boot`, that it listens here now. Believed
    /// only of a life that is later than all heard; nothing else is concluded from it.
    pub fn seen_at(&mut self, id: NodeId, boot: u64, addr: SocketAddr) {
        let Some(number) = self.ring.member_by_id(id).map(|member| member.number) else { return };
        let Some(known) = self.known.get_mut(&number) else { return };
        let later = known.boot < boot || (known.life.is_none() && known.boot == boot);
        if later && known.addr != addr {
            (known.addr, known.next_probe) = (addr, Duration::ZERO);
        }
    }

    /// Marks those down who have been silent too long.
    pub fn judge(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for known in self.known.values_mut().filter(|known| known.up) {
            let proof = known.proof.expect("who is up has proved it");
            if now.saturating_sub(proof) > SILENCE {
                (known.up, known.since) = (false, now);
                let sentence = format!(
                    "{} ({}) is down: no heartbeat for {} ms",
                    known.name,
                    known.addr,
                    now.saturating_sub(proof).as_millis()
                );
                effects.push(Effect::Log(log::Level::Warn, sentence));
            }
        }
    }

    /// This node itself was away for so long: nobody is accused of silence in that time.
    pub fn paused(&mut self, away: Duration, now: Now) {
        for known in self.known.values_mut() {
            known.proof = known.proof.map(|proof| (proof + away).min(now));
        }
    }

    /// The server says how a member's data lanes are.
    pub fn lane(&mut self, member: MemberNumber, open: bool) {
        if let Some(known) = self.known.get_mut(&member) {
            known.lane = Some(open);
        }
    }

    /// When [`Liveness::probe`] or [`Liveness::judge`] has something to do; `None` when alone.
    pub fn due(&self) -> Option<Now> {
        let silence = |known: &Known| {
            let proof = known.proof.filter(|_| known.up);
            proof.map(|proof| proof + SILENCE + Duration::from_millis(1))
        };
        let each =
            |known: &Known| silence(known).map_or(known.next_probe, |at| at.min(known.next_probe));
        self.known.values().map(each).min()
    }

    /// Where members are that are not where the ring says, as it is written down.
    pub fn moved(&self) -> Vec<Moved> {
        let elsewhere = |(number, known): (&MemberNumber, &Known)| {
            let listed = self.ring.member(*number).map(|member| member.addr);
            let moved = Moved { id: known.id, addr: known.addr, boot: known.boot };
            (listed != Some(known.addr)).then_some(moved)
        };
        self.known.iter().filter_map(elsewhere).collect()
    }

    /// The cluster as this node sees it.
    pub fn view(&self) -> View {
        let peer = |known: &Known| Peer {
            liveness: if known.usable() { Opinion::Up } else { Opinion::Down },
            shards: known.shards,
        };
        let heard = self.known.iter().filter(|(_, known)| known.life.is_some());
        let peers = heard.map(|(number, known)| (*number, peer(known))).collect();
        let rolled_back = self.rolled_back;
        View { me: self.me, ring: Arc::clone(&self.ring), rolled_back, peers }
    }

    /// Tells the rest of the node what changed since it was last told.
    pub fn publish(&mut self, effects: &mut Vec<Effect>) {
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
        let now = (view.rolled_back, &view.peers);
        if self.published.as_ref().map(|(rolled_back, peers)| (*rolled_back, peers)) != Some(now) {
            self.published = Some((view.rolled_back, view.peers.clone()));
            effects.push(Effect::Publish(view));
        }
    }

    /// Members whose ring of this epoch is another one.
    pub fn forks(&self) -> impl Iterator<Item = &Known> {
        let forked = |known: &&Known| {
            known.epoch == self.ring.epoch && known.ring != self.ring_hash && known.life.is_some()
        };
        self.known.values().filter(forked)
    }

    /// The oldest live member in this node's view.
    pub fn leader(&self) -> MemberNumber {
        let live = |member: &&Member| {
            member.number == self.me || self.known.get(&member.number).is_some_and(|known| known.up)
        };
        let oldest = self.ring.members.iter().filter(live).min_by_key(|m| (m.since, m.number));
        oldest.expect("this node itself is live").number
    }
}

/// The loudest sentence there is.
pub(super) fn fork_alarm(name: &str, epoch: Epoch) -> String {
    format!(
        "ALARM: {name} has another ring of epoch {epoch} than this node. Two rings of one epoch must not be: \
         stop clients, compare `ringdove ring` on both, and keep both data directories"
    )
}
