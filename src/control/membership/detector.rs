//! Who answers: probes one after the other, and how long accusations stand.
//!
//! SWIM (Das, Gupta, Motivala 2002) with Lifeguard's awareness of the node's own troubles (Dadgar, Phillips,
//! Currey 2018). Every period one member is probed, in a shuffled order. Who does not answer in time is found
//! out about (`inquiry`), and perhaps suspect after that: the [`COMMITTEE`] whom everybody would pick make sure
//! at once, and the more of them confirm, the sooner it is *down*.
//!
//! In clusters of up to [`SMALL`] everybody is probed every [`CYCLE`], whether down or not; in larger ones one
//! member every [`PERIOD`], and those that are down now and then, for ever.
//!
//! Invariant: a node that was held up accuses nobody of what it missed itself. Every table here is bounded.
//! Not here: what becomes of an accusation (`claims`).

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use siphasher::sip::SipHasher24;

use super::super::{Effect, Now};
use super::inquiry::Inquiry;
use super::voice::About;
use super::{Ignored, Membership};
use crate::ring::MemberNumber;
use crate::wire::gossip::{Beat, MAX_ACCUSERS, Rank};

/// How often a member is probed.
pub(super) const PERIOD: Duration = Duration::from_millis(500);
/// In clusters of up to so many members ...
pub(super) const SMALL: usize = 6;
/// ... everybody is probed so often.
const CYCLE: Duration = Duration::from_secs(1);
/// How many make sure of a suspicion.
pub(super) const COMMITTEE: usize = 5;
/// How many of those that only relays reach are tried again each second.
const RETRIED: usize = 4;
/// How long a suspicion stands at least and at most, on a network that loses nothing.
const SUSPECT_MIN: Duration = Duration::from_millis(2500);
const SUSPECT_MAX: u32 = 6;
/// How strained a node can be.
const STRAIN_MAX: u32 = 8;
/// For how long an answer to a probe counts.
const ANSWERABLE: Duration = Duration::from_millis(1750);
/// How many probes may be unanswered.
const OPEN_MAX: usize = 512;
/// How often members that are down are called, in larger clusters.
const CALL: Duration = Duration::from_secs(1);
/// How many members are told of log positions, and how often one of them.
const WITNESSES: usize = 5;
const WITNESS: Duration = Duration::from_secs(1);
/// How many others are called when a life begins.
const CALLED_FIRST: usize = 3;

/// A probe that may be answered.
#[derive(Debug)]
struct Open {
    to: MemberNumber,
    at: Now,
    /// Whether this node was there all the time since.
    timed: bool,
}

/// A probe on somebody else's behalf.
#[derive(Debug)]
pub(super) struct Sent {
    pub by: MemberNumber,
    pub about: About,
    pub until: Now,
}

#[derive(Debug)]
pub(super) struct Detector {
    /// Those that are probed, in turn.
    pub order: Vec<MemberNumber>,
    next: usize,
    next_probe: Now,
    next_call: Now,
    next_witness: Now,
    /// Whom to tell of log positions, and how many of them do not know the latest.
    witnesses: Vec<MemberNumber>,
    untold: usize,
    seq: u64,
    open: BTreeMap<u64, Open>,
    /// Probes on behalf of others, by number; `inquiry` takes on so many and no more.
    pub errands: BTreeMap<u64, Sent>,
    pub inquiries: BTreeMap<MemberNumber, Inquiry>,
    /// Since when members are suspect.
    pub suspicions: BTreeMap<MemberNumber, Now>,
    /// Lifeguard's local health: 0 is well.
    strain: u32,
    /// Which part of this node's probes only relays could bring through.
    lossy: f64,
    /// Until when nobody is condemned.
    lenient: Now,
}

impl Detector {
    pub fn new(now: Now) -> Self {
        Detector {
            order: Vec::new(),
            next: 0,
            next_probe: now,
            next_call: now + CALL,
            next_witness: now,
            witnesses: Vec::new(),
            untold: 0,
            seq: 0,
            open: BTreeMap::new(),
            errands: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            strain: 0,
            lossy: 0.0,
            lenient: Duration::ZERO,
        }
    }

    pub fn strained(&mut self, more: u32) {
        self.strain = (self.strain + more).min(STRAIN_MAX);
    }

    /// Everything takes so many times as long for a node that has troubles itself.
    pub fn slowness(&self) -> u32 {
        self.strain + 1
    }

    pub fn lossy_now(&mut self, sample: f64) {
        self.lossy += (sample - self.lossy) / 16.0;
    }

    /// A member is no more.
    fn forget(&mut self, of: MemberNumber) {
        self.inquiries.remove(&of);
        self.suspicions.remove(&of);
        self.order.retain(|other| *other != of);
    }

    /// This node was away for so long.
    fn shift(&mut self, away: Duration, now: Now) {
        self.lenient = now + PERIOD * 2;
        self.next_probe += away;
        for open in self.open.values_mut() {
            (open.at, open.timed) = ((open.at + away).min(now), false);
        }
        self.errands.values_mut().for_each(|sent| sent.until += away);
        self.inquiries.values_mut().for_each(|inquiry| inquiry.shift(away));
        self.suspicions.values_mut().for_each(|since| *since = (*since + away).min(now));
    }
}

/// Who is picked for a member by everybody alike: those with the lowest of these (rendezvous hashing).
pub(super) fn rendezvous(of: MemberNumber, other: MemberNumber) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(b"member");
    hasher.write_u16(of.0.to_le());
    hasher.write_u16(other.0.to_le());
    hasher.finish()
}

impl Membership {
    fn small(&self) -> bool {
        self.ring.members.len() <= SMALL
    }

    /// How often somebody is probed.
    fn interval(&mut self) -> Duration {
        let others = self.known.len().max(1) as u32;
        let interval = if self.small() {
            PERIOD.min(CYCLE / others)
        } else {
            PERIOD * self.detector.slowness()
        };
        interval.mul_f64(self.random.random_range(0.9..1.1))
    }

    /// The members are other ones: newcomers come at random places, so that they are not probed all at once.
    pub(super) fn reorder(&mut self) {
        let gone = self.detector.order.iter().filter(|of| !self.known.contains_key(of));
        for of in Vec::from_iter(gone.copied()) {
            self.detector.forget(of);
            self.rumours.end(of);
        }
        let order = &mut self.detector.order;
        let known: std::collections::BTreeSet<_> = order.iter().copied().collect();
        for of in self.known.keys().filter(|of| !known.contains(of)) {
            order.insert(self.random.random_range(0..=order.len()), *of);
        }
        let mut witnesses = Vec::from_iter(self.known.keys().copied());
        witnesses.sort_by_key(|other| rendezvous(self.me, *other));
        witnesses.truncate(WITNESSES);
        (self.detector.witnesses, self.detector.untold) = (witnesses, WITNESSES);
    }

    /// Calls those who know most of this node's earlier lives, and a few others: their answers differ in their
    /// fingerprints from what this node knows, and the rest follows from that.
    pub(super) fn call_first(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut called = self.detector.witnesses.clone();
        for _ in 0..CALLED_FIRST.min(self.detector.order.len()) {
            let at = self.random.random_range(0..self.detector.order.len());
            called.push(self.detector.order[at]);
        }
        called.sort_unstable();
        called.dedup();
        called.into_iter().for_each(|of| self.call(now, of, effects));
    }

    /// Logs are synced further than the witnesses know.
    pub fn log_position(&mut self, now: Now, positions: Vec<u64>, effects: &mut Vec<Effect>) {
        let first = self.voice.log.is_empty() && !positions.is_empty();
        if self.voice.log != positions {
            self.voice.log = positions;
            self.detector.untold = self.detector.witnesses.len();
        }
        if first {
            self.call_first(now, effects);
        }
    }

    /// Probes a member. Nothing follows if it does not answer.
    pub(super) fn call(&mut self, now: Now, to: MemberNumber, effects: &mut Vec<Effect>) {
        self.probe(now, to, effects);
    }

    pub(super) fn probe(&mut self, now: Now, to: MemberNumber, effects: &mut Vec<Effect>) -> u64 {
        self.detector.seq += 1;
        let seq = self.detector.seq;
        self.detector.open.insert(seq, Open { to, at: now, timed: true });
        if self.detector.open.len() > OPEN_MAX {
            self.detector.open.pop_first();
        }
        self.say_probe(to, seq, effects);
        seq
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.clean(now, effects);
        let due = self.detector.inquiries.iter().filter(|(_, inquiry)| inquiry.due() <= now);
        for (of, over) in Vec::from_iter(due.map(|(of, inquiry)| (*of, inquiry.is_late(now)))) {
            self.doubt(now, of);
            if over {
                self.go_on_asking(now, of, effects);
            }
        }
        let suspects = Vec::from_iter(self.detector.suspicions.keys().copied());
        for of in suspects {
            if self.condemned_at(of).is_some_and(|at| at <= now) {
                self.condemn(now, of, effects);
            }
        }
        if !self.known.is_empty() && self.detector.next_probe <= now {
            self.detector.next_probe = now + self.interval();
            self.probe_next(now, effects);
        }
        if self.detector.next_call <= now {
            self.detector.next_call = now + CALL;
            self.call_somebody_down(now, effects);
            self.call_the_unreachable(now, effects);
        }
        if self.detector.untold > 0 && self.detector.next_witness <= now {
            self.detector.next_witness = now + WITNESS;
            self.detector.untold -= 1;
            if let Some(witness) = self.detector.witnesses.get(self.detector.untold).copied()
                && !self.small()
            {
                self.call(now, witness, effects);
            }
        }
        self.tell_rumours(now, effects);
        self.compare_again(now, effects);
    }

    /// When [`Membership::tick`] has something to do; `None` when alone.
    pub fn due(&self) -> Option<Now> {
        if self.known.is_empty() {
            return None;
        }
        let detector = &self.detector;
        let condemned = detector.suspicions.keys().filter_map(|of| self.condemned_at(*of));
        let inquiries = detector.inquiries.values().map(Inquiry::due);
        let errands = detector.errands.values().map(|sent| sent.until);
        let rumours = (!self.rumours.is_empty()).then_some(self.next_rumours);
        let witness = (detector.untold > 0).then_some(detector.next_witness);
        let next = [detector.next_probe, detector.next_call];
        let rest = rumours
            .into_iter()
            .chain(witness)
            .chain(next)
            .chain(self.details_due())
            .chain(self.sync_due())
            .chain(self.publish_due());
        condemned.chain(inquiries).chain(errands).chain(rest).min()
    }

    /// Probes that cannot be answered any more, and errands that took too long.
    fn clean(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let old = |open: &Open| now.saturating_sub(open.at) > ANSWERABLE;
        while self.detector.open.first_entry().is_some_and(|first| old(first.get())) {
            self.detector.open.pop_first();
        }
        let late = self.detector.errands.iter().filter(|(_, sent)| sent.until <= now);
        for seq in Vec::from_iter(late.map(|(seq, _)| *seq)) {
            if let Some(sent) = self.detector.errands.remove(&seq) {
                self.say_told(sent.by, About { answered: false, ..sent.about }, effects);
            }
        }
    }

    fn probe_next(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let small = self.small();
        for _ in 0..self.detector.order.len() {
            if self.detector.next >= self.detector.order.len() {
                self.detector.next = 0;
                self.detector.order.shuffle(&mut self.random);
            }
            let of = self.detector.order[self.detector.next];
            self.detector.next += 1;
            let rank = self.known.get(&of).and_then(|known| known.rank());
            let being = self.detector.inquiries.contains_key(&of);
            match rank {
                Some(Rank::Alive | Rank::Suspect) if being => {}
                Some(Rank::Alive | Rank::Suspect) => return self.inquire(now, of, effects),
                None => return self.call(now, of, effects),
                Some(Rank::Down | Rank::Left) if small => return self.call(now, of, effects),
                Some(Rank::Down | Rank::Left) => {}
            }
        }
    }

    /// With many down somebody is called every second; with few, now and then.
    fn call_somebody_down(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let is_down = |of: &&MemberNumber| {
            let rank = self.known.get(of).and_then(|known| known.rank());
            matches!(rank, Some(Rank::Down | Rank::Left))
        };
        let down = Vec::from_iter(self.detector.order.iter().filter(is_down).copied());
        let alive = self.detector.order.len() - down.len();
        let often = (down.len() as f64 / (alive + 1) as f64).min(1.0);
        if !down.is_empty() && !self.small() && self.random.random_bool(often) {
            let of = down[self.random.random_range(0..down.len())];
            self.call(now, of, effects);
        }
    }

    /// The way there may be free again long before it is their turn.
    fn call_the_unreachable(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let cut = self.known.iter().filter(|(_, known)| known.unreachable);
        let mut cut = Vec::from_iter(cut.map(|(of, _)| *of));
        cut.shuffle(&mut self.random);
        cut.truncate(RETRIED);
        cut.into_iter().for_each(|of| self.call(now, of, effects));
    }

    /// Probes are answered at once.
    pub(super) fn probed(
        &mut self,
        now: Now,
        at: SocketAddr,
        from: MemberNumber,
        beat: &Beat,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Ignored> {
        let Some(known) = self.known.get_mut(&from) else { return Err(Ignored::Stranger) };
        if !known.counts(beat.seq) {
            return Err(Ignored::Stale);
        }
        known.take_in(beat, now);
        // It speaks, whether or not it hears.
        self.sign(from);
        self.say_ack(from, at, beat.seq, effects);
        Ok(())
    }

    pub(super) fn acked(
        &mut self,
        now: Now,
        from: MemberNumber,
        beat: &Beat,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Ignored> {
        let asked = self.detector.open.get(&beat.seq);
        let counts = |open: &&Open| open.to == from && now.saturating_sub(open.at) <= ANSWERABLE;
        let Some(open) = asked.filter(counts) else { return Err(Ignored::Stale) };
        let (took, timed) = (now.saturating_sub(open.at), open.timed);
        self.detector.open.remove(&beat.seq);
        let Some(known) = self.known.get_mut(&from) else { return Err(Ignored::Stranger) };
        known.take_in(beat, now);
        if timed {
            known.round_trip.sample(took);
        }
        self.changed |= known.unreachable || known.doubted;
        (known.unreachable, known.doubted) = (false, false);
        // Only the answer to a probe of this life is surely about this life.
        self.changed |= beat.rolled_back && !self.rolled_back;
        self.rolled_back |= beat.rolled_back;
        if let Some(sent) = self.detector.errands.remove(&beat.seq) {
            self.say_told(sent.by, About { answered: true, ..sent.about }, effects);
        }
        if let Some(inquiry) = self.detector.inquiries.remove(&from)
            && inquiry.needed_nobody()
        {
            self.detector.strain = self.detector.strain.saturating_sub(1);
            self.detector.lossy_now(0.0);
        }
        Ok(())
    }

    /// When a suspect is down if it has not refuted by then: the sooner, the more agree.
    fn condemned_at(&self, of: MemberNumber) -> Option<Now> {
        let since = self.detector.suspicions.get(&of)?;
        let accusers = self.known.get(&of)?.accusers.len();
        // Confirmations that can be had, and that shorten the time.
        let most = self.known.len().saturating_sub(1).min(MAX_ACCUSERS - 1) as f64;
        let confirmed = (accusers.saturating_sub(1) as f64).min(most);
        let least = SUSPECT_MIN.mul_f64(1.0 + 4.0 * self.detector.lossy);
        let longest = least * SUSPECT_MAX;
        let part = if most > 0.0 { (confirmed + 1.0).ln() / (most + 1.0).ln() } else { 1.0 };
        let time = longest - (longest - least).mul_f64(part);
        Some((*since + time * self.detector.slowness()).max(self.detector.lenient))
    }

    /// This node itself was away for so long: nobody is accused of silence in that time. Should others have missed it, it
    /// hears that in the first answer.
    pub fn paused(&mut self, away: Duration, now: Now) {
        self.detector.shift(away, now);
        if away >= PERIOD * 2 {
            self.detector.strained((away.div_duration_f64(PERIOD * 2) as u32).min(STRAIN_MAX / 2));
        }
    }
}
