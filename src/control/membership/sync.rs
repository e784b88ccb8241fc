//! How two members come to know the same: a fingerprint in every datagram, and when it differs, where and what.
//!
//! Fingerprint → hashes of 64 buckets → digests of the members in buckets that differ → what either lacks,
//! where members are before what they are called. While nothing changes this costs nothing but the eight bytes
//! in each heartbeat, however many members there are. It finds what rumours missed, and it is how a newcomer
//! learns everything: each round that brought something is followed by the next at once.
//!
//! Invariant: a node asks for one comparison at a time, and answers only so many; nothing larger than a head goes to
//! an address where the member is not known to listen. Not here: what is news (`claims`).

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use super::super::{Effect, Now};
use super::claims::Source;
use super::{Membership, rumours};
use crate::ring::MemberNumber;
use crate::wire::datagram::Datagram;
use crate::wire::gossip::{self, BUCKETS, Digest, Digests, Gossip, Head, News, Pull, Rank, Root};

/// How often a comparison is asked for while fingerprints differ.
const EVERY: Duration = Duration::from_secs(1);
/// How soon after one that brought something.
const SOON: Duration = Duration::from_millis(50);
/// How often while the rings differ, too: then it is mostly that.
const SELDOM: Duration = Duration::from_secs(5);
/// How many datagrams answer one.
const DIGESTS_MAX: usize = 2;
const FACTS_MAX: usize = 4;
/// The most bytes of a pull that say what is wanted; the rest is for what the sender knows better.
const WANT_MAX: usize = 600;
/// How many datagrams a second are answered.
const ANSWERS: u32 = 200;
/// How often a node tells all that its ring has changed. Those who speak with it know at once.
const DETAILS: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Sync {
    /// When a comparison may next be asked for.
    next: Now,
    /// Who was asked.
    asked: Option<MemberNumber>,
    /// Whether that brought something, so that the next comparison is worth while.
    more: bool,
    /// Since when answers are counted, and how many there were.
    counted: (Now, u32),
    /// When this node may next say something new of itself.
    details: Now,
}

impl Sync {
    pub fn new(now: Now) -> Self {
        Sync { next: now, asked: None, more: false, counted: (now, 0), details: now + DETAILS }
    }

    fn may_answer(&mut self, now: Now) -> bool {
        if now.saturating_sub(self.counted.0) >= EVERY {
            self.counted = (now, 0);
        }
        self.counted.1 += 1;
        self.counted.1 <= ANSWERS
    }
}

pub(super) fn bucket(of: MemberNumber) -> usize {
    usize::from(of.0) % BUCKETS
}

impl Membership {
    fn buckets(&self) -> Vec<u32> {
        self.prints.iter().map(|print| (print ^ (print >> 32)) as u32).collect()
    }

    /// One number for all that is known.
    pub(super) fn fingerprint(&self) -> u64 {
        self.prints.iter().fold(0, |all, print| all ^ print)
    }

    /// A datagram came from a member: does it know what this node knows?
    pub(super) fn compare(
        &mut self,
        now: Now,
        with: MemberNumber,
        at: SocketAddr,
        head: &Head,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.known.get(&with).filter(|known| known.addr == at);
        let fit = known.is_some_and(|known| known.rank() == Some(Rank::Alive));
        if head.fingerprint == self.fingerprint() || now < self.sync.next || !fit {
            return;
        }
        let every = if head.ring == self.ring_hash { EVERY } else { SELDOM };
        self.ask_root(now, with, every, effects);
    }

    fn ask_root(
        &mut self,
        now: Now,
        with: MemberNumber,
        every: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let Some(id) = self.known.get(&with).map(|known| known.id) else { return };
        self.sync.next = now + every.mul_f64(self.random.random_range(0.8..1.2));
        (self.sync.asked, self.sync.more) = (Some(with), false);
        let root = Root { head: self.head(id), buckets: self.buckets() };
        self.say(with, Datagram::Root(root), effects);
    }

    /// Compares once more with whom the last comparison was worth while.
    pub(super) fn compare_again(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.sync.more
            && self.sync.next <= now
            && let Some(with) = self.sync.asked
        {
            self.ask_root(now, with, EVERY, effects);
        }
    }

    /// When there is something to do about comparisons.
    pub(super) fn sync_due(&self) -> Option<Now> {
        self.sync.more.then_some(self.sync.next)
    }

    pub(super) fn root(
        &mut self,
        now: Now,
        from: MemberNumber,
        root: &Root,
        effects: &mut Vec<Effect>,
    ) {
        if !self.sync.may_answer(now) {
            return;
        }
        let own = self.buckets();
        let differ = |of: &MemberNumber| own[bucket(*of)] != root.buckets[bucket(*of)];
        let mut of = Vec::from_iter(self.known.keys().copied().chain([self.me]).filter(differ));
        if of.is_empty() {
            return;
        }
        // What does not fit now has as good a chance the next time; whole buckets are done with soonest.
        of.sort_unstable_by_key(|of| (bucket(*of), *of));
        let start = self.random.random_range(0..of.len());
        of.rotate_left(start);
        let mut digests = Vec::from_iter(of.into_iter().filter_map(|of| self.digest(of)));
        for _ in 0..DIGESTS_MAX {
            let digests = gossip::fit(&mut digests, 0, Digest::bytes);
            if !digests.is_empty() {
                let digests = Digests { head: self.head(root.head.from), digests };
                self.say(from, Datagram::Digests(digests), effects);
            }
        }
    }

    pub(super) fn digests(
        &mut self,
        from: MemberNumber,
        digests: &Digests,
        effects: &mut Vec<Effect>,
    ) {
        if self.sync.asked != Some(from) {
            return;
        }
        let (mut want, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        for theirs in &digests.digests {
            let Some(own) = self.digest(theirs.of) else { continue };
            let later = own.essentials < theirs.essentials || own.details < theirs.details;
            if own.claim < theirs.claim || later {
                want.push(own);
            }
            let (more, rest) = self.newer(theirs);
            first.extend(more);
            second.extend(rest);
        }
        let mut room = WANT_MAX;
        want.retain(|digest| {
            let fits = digest.bytes() <= room;
            room -= if fits { digest.bytes() } else { 0 };
            fits
        });
        first.append(&mut second);
        let news = gossip::fit(&mut first, 10 + WANT_MAX - room, News::bytes);
        if !want.is_empty() || !news.is_empty() {
            let pull = Pull { head: self.head(digests.head.from), want, news };
            self.say(from, Datagram::Pull(pull), effects);
        }
    }

    pub(super) fn pull(
        &mut self,
        now: Now,
        from: MemberNumber,
        pull: Pull,
        effects: &mut Vec<Effect>,
    ) {
        if !self.sync.may_answer(now) {
            return;
        }
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for wanted in &pull.want {
            let (more, rest) = self.newer(wanted);
            first.extend(more);
            second.extend(rest);
        }
        self.facts(now, pull.news, effects);
        first.append(&mut second);
        for _ in 0..FACTS_MAX {
            let news = gossip::fit(&mut first, 0, News::bytes);
            if !news.is_empty() {
                let facts = Gossip { head: self.head(pull.head.from), news };
                self.say(from, Datagram::Facts(facts), effects);
            }
        }
    }

    /// What came of a comparison.
    pub(super) fn facts(&mut self, now: Now, news: Vec<News>, effects: &mut Vec<Effect>) {
        if self.merge_all(now, news, Source::Settled, effects) {
            self.sync.next = self.sync.next.min(now + SOON);
            self.sync.more = true;
        }
    }

    /// Tells a few members the rumours of the moment.
    pub(super) fn tell_rumours(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.say_new_details(now);
        if self.rumours.is_empty() || now < self.next_rumours {
            return;
        }
        self.next_rumours = now + rumours::EVERY;
        let of_rank = |there: fn(Option<Rank>) -> bool| {
            let those = self.known.iter().filter(|(_, known)| there(known.rank()));
            Vec::from_iter(those.map(|(of, _)| *of))
        };
        let mut order = of_rank(|rank| matches!(rank, Some(Rank::Alive | Rank::Suspect)));
        if order.is_empty() {
            // Nobody was heard yet: whoever it hits.
            order = of_rank(|rank| rank.is_none());
        }
        if order.is_empty() {
            return;
        }
        let mut told = Vec::new();
        for _ in 0..rumours::TOLD.min(order.len()) {
            let mut at = self.random.random_range(0..order.len());
            while told.contains(&at) {
                at = (at + 1) % order.len();
            }
            told.push(at);
        }
        for at in told {
            self.say_rumours(order[at], effects);
        }
    }

    /// When this node has something new to say of itself.
    pub(super) fn details_due(&self) -> Option<Now> {
        let said = self.voice.told == (self.ring.epoch, self.ring_hash);
        (!said).then_some(self.sync.details)
    }

    /// What changes now and then is said only so often: it moves everybody's fingerprint.
    fn say_new_details(&mut self, now: Now) {
        if self.details_due().is_some_and(|due| due <= now) {
            self.sync.details = now + DETAILS;
            self.voice.told = (self.ring.epoch, self.ring_hash);
            self.voice.version += 1;
            self.reprint(self.me);
        }
    }
}
