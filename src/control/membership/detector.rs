//! Who answers: probes one after the other, relays, and doubts before accusations.
//!
//! SWIM (Das, Gupta, Motivala 2002) with Lifeguard's awareness of the node's own troubles (Dadgar, Phillips,
//! Currey 2018), and two additions. Every period one member is probed, in a shuffled order. Without an answer
//! in the time that its answers usually take, [`RELAYS`] others are asked to try. If nobody reaches it, that is
//! a private *doubt*: two more rounds with other relays. Only then it is *suspect*, and is told so before all
//! others; the [`COMMITTEE`] whom everybody would pick make sure at once, and the more of them confirm, the
//! sooner it is *down*.
//!
//! In clusters of up to [`SMALL`] everybody is probed every [`CYCLE`], whether down or not; in larger ones one
//! member every [`PERIOD`], and those that are down now and then, for ever. A member that only relays reach is
//! alive, and *unreachable* from here: no data is sent there.
//!
//! Invariant: a node that was held up accuses nobody of what it missed itself. Every table here is bounded.
//! Not here: what becomes of an accusation (`claims`).

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use siphasher::sip::SipHasher24;

use super::super::{Effect, Now};
use super::voice::About;
use super::{Ignored, Known, Membership};
use crate::ring::MemberNumber;
use crate::wire::gossip::{Beat, Errand, MAX_ACCUSERS, Rank};

/// How often a member is probed.
pub(super) const PERIOD: Duration = Duration::from_millis(500);
/// In clusters of up to so many members ...
pub(super) const SMALL: usize = 6;
/// ... everybody is probed so often.
const CYCLE: Duration = Duration::from_secs(1);
/// The shortest and the longest time that an answer is waited for before others are asked.
const HASTE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(250);
/// The length of a round of doubt.
const DOUBT: Duration = Duration::from_millis(250);
/// How many others are asked to probe a member.
const RELAYS: usize = 3;
/// How many make sure of a suspicion.
pub(super) const COMMITTEE: usize = 5;
/// After how many rounds without a sign a member is suspect.
const SILENT: u8 = 3;
/// After how long without a sign this node sends it no more data, whatever its own troubles: about two rounds.
const DOUBTED: Duration = Duration::from_millis(660);
/// After how many rounds in which only relays reached it a member is unreachable.
const MISSES: u8 = 6;
/// How many of those are tried again each second.
const RETRIED: usize = 4;
/// How long a suspicion stands at least and at most, on a network that loses nothing.
const SUSPECT_MIN: Duration = Duration::from_millis(2500);
const SUSPECT_MAX: u32 = 6;
/// How strained a node can be.
const STRAIN_MAX: u32 = 8;
/// For how long an answer to a probe counts.
const ANSWERABLE: Duration = Duration::from_millis(1750);
/// How many probes may be unanswered, and how many may be under way for others.
const OPEN_MAX: usize = 512;
const ERRANDS_MAX: usize = 64;
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
struct Sent {
    by: MemberNumber,
    about: About,
    until: Now,
}

/// What is being found out about one member.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// When this round began and ends, or relays are to be asked.
    began: Now,
    until: Now,
    /// Whether relays have been asked in this round.
    asked: bool,
    /// The relays of all rounds, and how many of them are of this one.
    relays: Vec<MemberNumber>,
    of_this_round: usize,
    /// How many said in this round that they hear nothing either.
    nacks: usize,
    /// Whether it was heard in this round, if not by an answer to this node.
    reached: bool,
    /// When this node doubts that it is there; not before the next round, once it does, or heard a sign.
    doubt: Now,
    first: bool,
    silent: u8,
    misses: u8,
    seq: u64,
    /// How many times as long as usual everything takes.
    slowness: u32,
}

impl Inquiry {
    fn due(&self) -> Now {
        self.until.min(self.doubt)
    }
}

#[derive(Debug)]
pub(super) struct Detector {
    order: Vec<MemberNumber>,
    next: usize,
    next_probe: Now,
    next_call: Now,
    next_witness: Now,
    /// Whom to tell of log positions, and how many of them do not know the latest.
    witnesses: Vec<MemberNumber>,
    untold: usize,
    seq: u64,
    open: BTreeMap<u64, Open>,
    errands: BTreeMap<u64, Sent>,
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
    fn slowness(&self) -> u32 {
        self.strain + 1
    }

    fn lossy_now(&mut self, sample: f64) {
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
        for inquiry in self.inquiries.values_mut() {
            inquiry.began += away;
            inquiry.until += away;
            inquiry.doubt = inquiry.doubt.saturating_add(away);
        }
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

    fn probe(&mut self, now: Now, to: MemberNumber, effects: &mut Vec<Effect>) -> u64 {
        self.detector.seq += 1;
        let seq = self.detector.seq;
        self.detector.open.insert(seq, Open { to, at: now, timed: true });
        if self.detector.open.len() > OPEN_MAX {
            self.detector.open.pop_first();
        }
        self.say_probe(to, seq, effects);
        seq
    }

    /// Finds out whether a member is there, unless that is being done.
    pub(super) fn inquire(&mut self, now: Now, of: MemberNumber, effects: &mut Vec<Effect>) {
        if self.detector.inquiries.contains_key(&of) {
            return;
        }
        let Some(known) = self.known.get(&of) else { return };
        let late = known.round_trip.late().unwrap_or(PATIENCE).clamp(HASTE, PATIENCE);
        let seq = self.probe(now, of, effects);
        let slowness = self.detector.slowness();
        let inquiry = Inquiry {
            began: now,
            until: now + late * slowness,
            asked: false,
            relays: Vec::new(),
            of_this_round: 0,
            nacks: 0,
            reached: false,
            doubt: now + DOUBTED,
            first: true,
            silent: 0,
            misses: 0,
            seq,
            slowness,
        };
        self.detector.inquiries.insert(of, inquiry);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.clean(now, effects);
        let due = self.detector.inquiries.iter().filter(|(_, inquiry)| inquiry.due() <= now);
        for (of, over) in Vec::from_iter(due.map(|(of, inquiry)| (*of, inquiry.until <= now))) {
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
                shuffle(&mut self.detector.order, &mut self.random);
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
        shuffle(&mut cut, &mut self.random);
        cut.truncate(RETRIED);
        cut.into_iter().for_each(|of| self.call(now, of, effects));
    }

    /// A round, or the wait for an answer in it, is over.
    fn go_on_asking(&mut self, now: Now, of: MemberNumber, effects: &mut Vec<Effect>) {
        let Some(inquiry) = self.detector.inquiries.get_mut(&of) else { return };
        if !inquiry.asked {
            let late = inquiry.until.saturating_sub(inquiry.began);
            let rest = (PERIOD * inquiry.slowness).saturating_sub(late);
            inquiry.until = now + rest.mul_f64(0.8).max(HASTE);
            return self.ask_relays(of, effects);
        }
        inquiry.misses += 1;
        let unheard = inquiry.of_this_round.saturating_sub(inquiry.nacks);
        let (reached, first) = (inquiry.reached, inquiry.first);
        inquiry.silent = if reached { 0 } else { inquiry.silent + 1 };
        let (silent, misses) = (inquiry.silent, inquiry.misses);
        if reached && first {
            self.detector.lossy_now(1.0);
        } else if !reached && first && unheard > 0 {
            // Those who were asked are silent, too: perhaps it is this node that hears nothing.
            self.detector.strained(1);
        }
        let Some(known) = self.known.get_mut(&of) else { return };
        let unreachable = known.unreachable || misses >= MISSES;
        self.changed |= reached && unreachable != known.unreachable;
        if silent >= SILENT {
            self.detector.inquiries.remove(&of);
            known.doubted = false;
            return self.accuse(now, of, effects);
        }
        if reached && unreachable {
            known.unreachable = true;
            self.detector.inquiries.remove(&of);
            return;
        }
        self.ask_again(now, of, effects);
    }

    /// There is a sign of somebody's life that is not an answer to this node.
    pub(super) fn sign(&mut self, of: MemberNumber) {
        let Some(inquiry) = self.detector.inquiries.get_mut(&of) else { return };
        (inquiry.reached, inquiry.doubt) = (true, Duration::MAX);
        if let Some(known) = self.known.get_mut(&of) {
            self.changed |= std::mem::take(&mut known.doubted);
        }
    }

    fn doubt(&mut self, now: Now, of: MemberNumber) {
        let Some(inquiry) = self.detector.inquiries.get_mut(&of) else { return };
        if inquiry.doubt <= now {
            inquiry.doubt = Duration::MAX;
            if let Some(known) = self.known.get_mut(&of) {
                (known.doubted, self.changed) = (true, true);
            }
        }
    }

    fn ask_again(&mut self, now: Now, of: MemberNumber, effects: &mut Vec<Effect>) {
        let relays = self.known.len().saturating_sub(1).min(RELAYS);
        let mut seq = self.probe(now, of, effects);
        // Where there are few to ask, more is tried from here.
        for _ in relays..RELAYS {
            seq = self.probe(now, of, effects);
        }
        let Some(inquiry) = self.detector.inquiries.get_mut(&of) else { return };
        if inquiry.doubt == Duration::MAX {
            inquiry.doubt = now + DOUBTED;
        }
        (inquiry.began, inquiry.until) = (now, now + DOUBT * inquiry.slowness);
        (inquiry.seq, inquiry.nacks, inquiry.reached, inquiry.first) = (seq, 0, false, false);
        self.ask_relays(of, effects);
    }

    fn ask_relays(&mut self, target: MemberNumber, effects: &mut Vec<Effect>) {
        let Some(inquiry) = self.detector.inquiries.get(&target) else { return };
        let relays = self.pick_relays(target, &inquiry.relays.clone());
        let Some(inquiry) = self.detector.inquiries.get_mut(&target) else { return };
        (inquiry.asked, inquiry.of_this_round) = (true, relays.len());
        inquiry.relays.extend(&relays);
        let about = About { seq: inquiry.seq, target, answered: false };
        relays.into_iter().for_each(|relay| self.say_ask(relay, about, effects));
    }

    /// Others that this node hears: rather such as were not asked yet, and rather in other zones.
    fn pick_relays(&mut self, target: MemberNumber, asked: &[MemberNumber]) -> Vec<MemberNumber> {
        let len = self.detector.order.len();
        let tries = if len <= 32 { len } else { RELAYS * 8 };
        let start = self.random.random_range(0..len.max(1));
        let mut picked: Vec<MemberNumber> = Vec::new();
        for step in 0..tries {
            let at =
                if len <= 32 { (start + step) % len } else { self.random.random_range(0..len) };
            let of = self.detector.order[at];
            let fit = self.known.get(&of).is_some_and(Known::answers);
            if fit && of != target && !picked.contains(&of) {
                picked.push(of);
            }
        }
        let zone = |of: MemberNumber| self.ring.member(of).map(|member| &member.zone);
        let mine = zone(self.me);
        picked.sort_by_key(|of| (asked.contains(of), zone(*of) == mine));
        picked.truncate(RELAYS);
        picked
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
            && inquiry.first
            && !inquiry.asked
        {
            self.detector.strain = self.detector.strain.saturating_sub(1);
            self.detector.lossy_now(0.0);
        }
        Ok(())
    }

    /// Another asks for a probe on its behalf.
    pub(super) fn asked(
        &mut self,
        now: Now,
        by: MemberNumber,
        errand: &Errand,
        effects: &mut Vec<Effect>,
    ) {
        let Some(known) = self.known.get(&errand.target) else { return };
        if self.detector.errands.len() >= ERRANDS_MAX {
            return;
        }
        let late = known.round_trip.late().unwrap_or(PATIENCE).clamp(HASTE, PATIENCE);
        let seq = self.probe(now, errand.target, effects);
        let about = About { seq: errand.seq, target: errand.target, answered: false };
        self.detector.errands.insert(seq, Sent { by, about, until: now + late.mul_f64(0.8) });
    }

    /// A relay says whether the target answered.
    pub(super) fn told_by_relay(&mut self, by: MemberNumber, errand: &Errand) {
        let Some(inquiry) = self.detector.inquiries.get_mut(&errand.target) else { return };
        if !inquiry.relays.contains(&by) {
            return;
        }
        if errand.answered {
            self.sign(errand.target);
        } else if errand.seq == inquiry.seq {
            inquiry.nacks += 1;
        }
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

pub(super) fn shuffle<T>(order: &mut [T], random: &mut rand::rngs::ChaCha8Rng) {
    for last in (1..order.len()).rev() {
        order.swap(last, random.random_range(0..=last));
    }
}
