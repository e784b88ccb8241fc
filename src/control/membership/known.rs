//! What is known of one other member.
//!
//! Invariant: nothing said in an earlier life of a member changes what is known of it; what it said of itself
//! is replaced only by what it said later. Not here: what follows from it (`detector`, `view`), and what others
//! claim (`claims`).

use std::net::SocketAddr;
use std::time::Duration;

use super::super::{Moved, Now};
use super::Ignored;
use crate::ring::{Epoch, Member, MemberNumber, NodeId};
use crate::wire::gossip::{Beat, Claim, Details, Digest, Essentials, Head, Rank, Stamp};

/// For how long a member's earlier life may be heard after its next one began.
const STRAGGLING: Duration = Duration::from_secs(5);

/// What is known of another member.
#[derive(Debug)]
pub(in crate::control) struct Known {
    pub id: NodeId,
    /// Where it was last known to listen.
    pub addr: SocketAddr,
    /// In which of its lives it listened there.
    addr_boot: u64,
    /// What is claimed of it; `None` when nobody has told anything since this node started.
    pub claim: Option<Claim>,
    /// Who found it silent, while it is suspect.
    pub accusers: Vec<MemberNumber>,
    pub essentials: Option<Essentials>,
    pub details: Option<Details>,
    /// Its part of the fingerprint.
    pub print: u64,
    /// Its latest life that was heard: boot counter and process.
    life: Option<(u64, u64)>,
    /// Since when a later life than the ones before is known of.
    life_since: Now,
    /// The highest boot counter ever known of.
    pub boot: u64,
    /// When it was last heard.
    pub heard: Option<Now>,
    /// Whether this node, or someone for it, has asked in vain for a while, and has not told anybody yet.
    pub doubted: bool,
    /// Whether others hear it, and this node does not.
    pub unreachable: bool,
    /// Whether it was there when the rest of the node was last told.
    pub up: bool,
    /// Since when it is up, or down.
    pub since: Now,
    /// What the server says of its data lanes; `None` before it said anything.
    pub lane: Option<bool>,
    pub round_trip: RoundTrip,
    /// The highest number of its probes: older ones are late or doubled.
    their_seq: u64,
    /// What it calls itself now.
    pub name: String,
    pub epoch: Epoch,
    pub ring: u64,
    /// The highest position of each of its logs, and whether it came back with less.
    log: Vec<u64>,
    log_compared: bool,
    pub rolled_back: bool,
    /// Another process speaks with its id.
    pub doubled: bool,
    /// When it may next be told that it is behind in what it says of itself.
    pub corrected: Now,
}

impl Known {
    pub fn new(member: &Member, moved: &[Moved], now: Now) -> Self {
        let moved = moved.iter().find(|moved| moved.id == member.id);
        let boot = moved.map_or(0, |moved| moved.boot);
        Known {
            id: member.id,
            addr: moved.map_or(member.addr, |moved| moved.addr),
            addr_boot: boot,
            claim: None,
            accusers: Vec::new(),
            essentials: None,
            details: None,
            print: 0,
            life: None,
            life_since: now,
            boot,
            heard: None,
            doubted: false,
            unreachable: false,
            up: false,
            since: now,
            lane: None,
            round_trip: RoundTrip::default(),
            their_seq: 0,
            name: member.name.clone(),
            epoch: Epoch(0),
            ring: 0,
            log: Vec::new(),
            log_compared: false,
            rolled_back: false,
            doubled: false,
            corrected: now,
        }
    }

    pub fn rank(&self) -> Option<Rank> {
        self.claim.map(|claim| claim.rank)
    }

    /// Whether it answers, as far as this node knows.
    pub fn answers(&self) -> bool {
        let alive = self.rank() == Some(Rank::Alive) && self.essentials.is_some();
        alive && !self.doubted && !self.unreachable
    }

    /// Whether data may be sent there: it answers, and its lanes are not known to be broken.
    pub fn usable(&self) -> bool {
        self.up && self.lane != Some(false)
    }

    /// In which life it has the address that is known.
    pub fn addr_boot(&self) -> u64 {
        self.addr_boot
    }

    /// Whether this is of its latest life, or begins a new one.
    pub fn admits(&mut self, head: &Head, now: Now) -> Result<(), Ignored> {
        if head.boot < self.boot {
            // Nothing travels for so long: the earlier life still speaks.
            self.doubled |= self.life.is_some() && now > self.life_since + STRAGGLING;
            return Err(if self.doubled { Ignored::Doubled } else { Ignored::Stale });
        }
        let life = (head.boot, head.life);
        match self.life {
            Some(known) if known == life => {}
            Some(known) if known.0 == head.boot => {
                self.doubled = true;
                return Err(Ignored::Doubled);
            }
            Some(_) | None => {
                (self.life, self.life_since) = (Some(life), now);
                self.their_seq = 0;
                (self.doubled, self.rolled_back, self.log_compared) = (false, false, false);
            }
        }
        self.lived(head.boot, now);
        Ok(())
    }

    /// It has come to this life: nothing of an earlier one counts any more.
    pub fn lived(&mut self, boot: u64, now: Now) {
        if self.boot < boot {
            self.boot = boot;
            if self.life.is_some_and(|life| life.0 < boot) {
                self.life_since = now;
            }
        }
    }

    /// Whether a probe of this number is a new one.
    pub fn counts(&mut self, seq: u64) -> bool {
        let counts = self.their_seq < seq;
        self.their_seq = self.their_seq.max(seq);
        counts
    }

    /// What only it can say of itself, and says in every heartbeat.
    pub fn take_in(&mut self, beat: &Beat, now: Now) {
        self.heard = Some(now);
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

    /// Takes over what it said of itself, if that is later than what is known. Whether it was.
    pub fn learn(&mut self, essentials: Option<Essentials>, details: Option<Details>) -> bool {
        let mut news = false;
        if let Some(new) = essentials
            && self.essentials.is_none_or(|old| old.stamp < new.stamp)
        {
            news = true;
            self.essentials = Some(new);
            self.moves(new.stamp.boot, new.addr);
        }
        if let Some(new) = details
            && self.details.as_ref().is_none_or(|old| old.stamp < new.stamp)
        {
            news = true;
            self.name.clone_from(&new.name);
            if self.epoch < new.epoch {
                (self.epoch, self.ring) = (new.epoch, new.ring);
            }
            self.details = Some(new);
        }
        news
    }

    fn moves(&mut self, boot: u64, addr: SocketAddr) {
        if self.addr_boot <= boot {
            (self.addr, self.addr_boot) = (addr, boot);
        }
    }

    /// It says, outside of heartbeats, in its life number `boot`, that it listens here now. Believed only
    /// of a life that is later than all heard. Whether that is elsewhere.
    pub fn seen_at(&mut self, boot: u64, addr: SocketAddr) -> bool {
        let later = self.boot < boot || (self.claim.is_none() && self.boot == boot);
        let elsewhere = later && self.addr != addr;
        if elsewhere {
            self.addr = addr;
        }
        elsewhere
    }

    pub fn digest(&self, of: MemberNumber) -> Digest {
        Digest {
            of,
            claim: self.claim,
            essentials: self.essentials.map_or(Stamp::default(), |it| it.stamp),
            details: self.details.as_ref().map_or(Stamp::default(), |it| it.stamp),
        }
    }
}

/// How long answers take, after Jacobson 1988.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::control) struct RoundTrip {
    mean: Option<Duration>,
    deviation: Duration,
}

impl RoundTrip {
    pub fn sample(&mut self, took: Duration) {
        match self.mean {
            None => (self.mean, self.deviation) = (Some(took), took / 2),
            Some(mean) => {
                self.deviation = (self.deviation * 3 + mean.abs_diff(took)) / 4;
                self.mean = Some((mean * 7 + took) / 8);
            }
        }
    }

    /// After how long an answer is late; `None` before there was one.
    pub fn late(&self) -> Option<Duration> {
        self.mean.map(|mean| mean + self.deviation * 4)
    }
}
