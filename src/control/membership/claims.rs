//! What is claimed of members, merged: the larger claim stays.
//!
//! Invariant: what is known after some news does not depend on their order, nor on how often they came (the order of
//! [`Claim`]). Only members of the ring in force are spoken of: a closed world has no ghosts. A claim is
//! passed on only when it changed something here. Nothing that is said of this node's own life stands unrefuted.
//! Not here: who finds whom silent (`detector`).

use super::super::{Effect, Now};
use super::sync::bucket;
use super::{Membership, detector};
use crate::ring::MemberNumber;
use crate::wire::gossip::{Claim, Details, Digest, Essentials, MAX_ACCUSERS, News, Rank, Stamp};

/// How news came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// By a rumour, or from the member itself, or by this node's own judgement: others are to hear it.
    Spreads,
    /// By comparing what two members know: others will hear it so, too.
    Settled,
}

impl Membership {
    /// Takes over what is news of these. Whether anything was.
    pub(super) fn merge_all(
        &mut self,
        now: Now,
        news: Vec<News>,
        source: Source,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let mut any = false;
        for news in news {
            any |= self.merge(now, news, source, effects);
        }
        any
    }

    pub(super) fn merge(
        &mut self,
        now: Now,
        news: News,
        source: Source,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let News { of, claim, accusers, essentials, details } = news;
        if of == self.me {
            return self.hear_of_me(claim, effects);
        }
        let Some(known) = self.known.get_mut(&of) else { return false };
        let learnt = known.learn(essentials, details);
        if learnt {
            self.newest = self.newest.max(known.epoch);
            self.to_compare.insert(of);
        }
        let before = known.claim;
        let larger = before.is_none_or(|before| before < claim);
        let accused = before == Some(claim)
            && claim.rank == Rank::Suspect
            && add_accusers(&mut known.accusers, &accusers);
        if larger {
            known.claim = Some(claim);
            known.lived(claim.boot, now);
            known.accusers.clear();
            if claim.rank == Rank::Suspect {
                add_accusers(&mut known.accusers, &accusers);
            }
        }
        if !(learnt || larger || accused) {
            return false;
        }
        self.reprint(of);
        self.changed = true;
        if larger {
            self.claimed(now, of, before, claim, effects);
        }
        if source == Source::Spreads && (larger || accused) {
            self.rumours.start(of);
        }
        true
    }

    /// What follows from a larger claim.
    fn claimed(
        &mut self,
        now: Now,
        of: MemberNumber,
        before: Option<Claim>,
        claim: Claim,
        effects: &mut Vec<Effect>,
    ) {
        self.detector.suspicions.remove(&of);
        match claim.rank {
            Rank::Alive => {
                let another_life = before.is_none_or(|before| before.boot < claim.boot);
                if let Some(known) = self.known.get_mut(&of)
                    && another_life
                {
                    (known.doubted, known.unreachable) = (false, false);
                }
                self.sign(of);
            }
            Rank::Suspect => {
                self.detector.suspicions.insert(of, now);
                if self.confirms(of) {
                    self.inquire(now, of, effects);
                }
            }
            Rank::Down | Rank::Left => {
                self.detector.inquiries.remove(&of);
                if let Some(known) = self.known.get_mut(&of) {
                    known.doubted = false;
                }
            }
        }
    }

    /// Somebody claims something of this node: what is wrong is refuted.
    fn hear_of_me(&mut self, claim: Claim, effects: &mut Vec<Effect>) -> bool {
        let mine = self.voice.claim();
        if claim <= mine {
            return false;
        }
        if claim.boot > mine.boot || claim.rank == Rank::Left {
            if !self.outlived {
                self.outlived = true;
                effects.push(Effect::Log(log::Level::Error, outlived(claim, mine.boot)));
            }
            return false;
        }
        self.detector.strained(1);
        self.reassert(claim.incarnation.saturating_add(1));
        true
    }

    /// Says louder than anything said so far that this node is there.
    pub(super) fn reassert(&mut self, incarnation: u64) {
        self.voice.incarnation = incarnation;
        self.reprint(self.me);
        self.rumours.start(self.me);
    }

    /// This node itself found a member silent.
    pub(super) fn accuse(&mut self, now: Now, of: MemberNumber, effects: &mut Vec<Effect>) {
        let Some(claim) = self.known.get(&of).and_then(|known| known.claim) else { return };
        if !matches!(claim.rank, Rank::Alive | Rank::Suspect) {
            return;
        }
        let (claim, accusers) = (claim.ranked(Rank::Suspect), vec![self.me]);
        let news = News { of, claim, accusers, essentials: None, details: None };
        self.merge(now, news, Source::Spreads, effects);
        // The accused is told first: it may well be there.
        self.say_rumours(of, effects);
    }

    /// A suspicion was not refuted in time.
    pub(super) fn condemn(&mut self, now: Now, of: MemberNumber, effects: &mut Vec<Effect>) {
        let Some(claim) = self.known.get(&of).and_then(|known| known.claim) else { return };
        let claim = claim.ranked(Rank::Down);
        let news = News { of, claim, accusers: Vec::new(), essentials: None, details: None };
        self.merge(now, news, Source::Spreads, effects);
    }

    /// Brings a member's part of the fingerprint up to date.
    pub(super) fn reprint(&mut self, of: MemberNumber) {
        if of == self.me {
            let new = print(&self.voice.digest(of));
            self.prints[bucket(of)] ^= self.my_print ^ new;
            self.my_print = new;
        } else if let Some(known) = self.known.get_mut(&of) {
            let new = print(&known.digest(of));
            self.prints[bucket(of)] ^= known.print ^ new;
            known.print = new;
        }
    }

    /// What somebody whose knowledge of a member is this does not know: first where it is, then what else.
    pub(super) fn newer(&self, than: &Digest) -> (Option<News>, Option<News>) {
        let own = self.digest(than.of);
        let Some((own, claim)) = own.and_then(|own| own.claim.map(|claim| (own, claim))) else {
            return (None, None);
        };
        let (essentials, details) = self.told(than.of);
        let essentials = essentials.filter(|_| than.essentials < own.essentials);
        let details = details.filter(|_| than.details < own.details);
        let accusers = self.known.get(&than.of).map(|known| known.accusers.clone());
        let accusers = accusers.unwrap_or_default();
        let first = News { of: than.of, claim, accusers, essentials, details: None };
        let second =
            details.map(|it| News { essentials: None, details: Some(it), ..first.clone() });
        let some = than.claim < Some(claim) || first.essentials.is_some();
        (some.then_some(first), second)
    }

    fn told(&self, of: MemberNumber) -> (Option<Essentials>, Option<Details>) {
        if of == self.me {
            return (Some(self.voice.essentials()), Some(self.voice.details()));
        }
        let known = self.known.get(&of);
        (known.and_then(|it| it.essentials), known.and_then(|it| it.details.clone()))
    }

    /// How much this node knows of a member of its ring.
    pub(super) fn digest(&self, of: MemberNumber) -> Option<Digest> {
        if of == self.me {
            return Some(self.voice.digest(of));
        }
        self.known.get(&of).map(|known| known.digest(of))
    }

    /// Whether this node is to make sure of a suspicion: it is among the few that everybody would pick.
    fn confirms(&self, suspect: MemberNumber) -> bool {
        let accused = self.known.get(&suspect).is_some_and(|it| it.accusers.contains(&self.me));
        let mine = detector::rendezvous(suspect, self.me);
        let alive = self.known.iter().filter(|(_, known)| known.rank() == Some(Rank::Alive));
        let before = alive.filter(|(other, _)| detector::rendezvous(suspect, **other) < mine);
        !accused && before.take(detector::COMMITTEE).count() < detector::COMMITTEE
    }
}

/// Whether any of these is new.
fn add_accusers(known: &mut Vec<MemberNumber>, more: &[MemberNumber]) -> bool {
    let before = known.len();
    for accuser in more {
        if known.len() < MAX_ACCUSERS && !known.contains(accuser) {
            known.push(*accuser);
        }
    }
    known.len() > before
}

/// A number that differs, almost surely, when anything in a digest does; 0 when nothing is known.
pub(super) fn print(digest: &Digest) -> u64 {
    let Some(claim) = digest.claim else { return 0 };
    let Stamp { boot, version } = digest.essentials;
    let words = [
        u64::from(digest.of.0),
        claim.boot,
        claim.incarnation,
        claim.rank as u64,
        boot,
        version,
        digest.details.boot,
        digest.details.version,
    ];
    words.into_iter().fold(0, |hash, word| mix(hash ^ mix(word)))
}

/// The last step of splitmix64 (Steele, Lea, Flood 2014).
fn mix(word: u64) -> u64 {
    let mut x = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What it means that members have heard more of this node than it can refute: who left comes back in a later life only.
fn outlived(claim: Claim, mine: u64) -> String {
    let why = "its data directory is an older copy, or a second process runs on another copy";
    if claim.boot > mine {
        let claimed = claim.boot;
        format!(
            "members have heard life {claimed} of this node, and this is life {mine}: {why}. They ignore what this one \
             says"
        )
    } else {
        format!(
            "members have heard that this node was stopped, and it runs in that life, {mine}: {why}, and was stopped. \
             They do without this one until it is restarted"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim() -> impl Strategy<Value = Claim> {
        let rank = prop::sample::select(vec![Rank::Alive, Rank::Suspect, Rank::Down, Rank::Left]);
        (0u64..3, 0u64..3, rank).prop_map(Claim::from)
    }

    proptest! {
        #[test]
        fn merging_is_commutative_associative_and_idempotent(a in claim(), b in claim(), c in claim()) {
            prop_assert_eq!(a.max(b), b.max(a));
            prop_assert_eq!(a.max(b).max(c), a.max(b.max(c)));
            prop_assert_eq!(a.max(a), a);
            prop_assert_eq!(a == b, a.cmp(&b).is_eq(), "equal weight is the same claim");
        }

        #[test]
        fn lives_and_refutations_win(a in claim(), b in claim()) {
            prop_assert!(a < Claim::alive(a.boot + 1, 0), "a restart beats whatever was said before");
            if a.rank != Rank::Left {
                prop_assert!(a < Claim::alive(a.boot, a.incarnation + 1), "the same life refutes");
            }
            if a.rank == Rank::Left && b.rank != Rank::Left && b.boot == a.boot {
                prop_assert!(b < a, "who left has left, for this life");
            }
            let of = MemberNumber(1);
            let digest =
                |claim| Digest { of, claim: Some(claim), essentials: Stamp::default(), details: Stamp::default() };
            prop_assert_eq!(print(&digest(a)) == print(&digest(b)), a == b);
        }
    }
}
