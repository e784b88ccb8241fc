//! A set of dots: a replica's clock of one slot, or a context.
//!
//! Invariant: actors ascend, and none is listed without a counter, or beside a `closed` that covers it.
//! One set has one encoding, so two equal clocks have equal bytes and equal fingerprints.
//! Not here: which dots may be forgotten. A clock only ever grows.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::{Actor, Dead, Dot, Resolve, Runs, Unresolved};
use crate::fields::{Malformed, Reader, WriteFields};
use crate::rules::{Rule, holds};

/// A set of dots: per actor its counters, and every dot of the first `closed` actors of the ring's
/// list of dead actors.
///
/// The counters of one actor are a contiguous *base* and a *cloud* above it, see [`Runs`].
#[derive(Debug, Clone, Default)]
pub struct DotSet {
    rows: Vec<(Actor, Runs)>,
    closed: u32,
    /// The ring's list, or a shorter one that is long enough for `closed`. Part of how the set is asked, not of
    /// what is in it. Empty while `closed` is 0, and until a set that was read from bytes is resolved.
    dead: Dead,
}

impl PartialEq for DotSet {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows && self.closed == other.closed
    }
}

impl Eq for DotSet {}

impl DotSet {
    /// The set with nothing in it.
    pub const EMPTY: DotSet = DotSet { rows: Vec::new(), closed: 0, dead: Dead::NONE };

    /// The set of one dot.
    pub fn of(dot: Dot) -> Self {
        let mut set = DotSet::default();
        set.insert(dot);
        set
    }

    /// Every dot of the first `closed` actors of a list.
    ///
    /// # Panics
    /// When the list has fewer.
    pub fn of_dead(closed: u32, dead: &Dead) -> Self {
        assert!(closed <= dead.count(), "only listed actors are closed");
        let dead = if closed == 0 { Dead::NONE } else { dead.clone() };
        DotSet { rows: Vec::new(), closed, dead }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.closed == 0
    }

    /// The actors with their counters, ascending.
    pub fn rows(&self) -> impl Iterator<Item = (Actor, &Runs)> {
        self.rows.iter().map(|(actor, runs)| (*actor, runs))
    }

    /// How many of the ring's dead actors this set covers wholly.
    pub fn closed(&self) -> u32 {
        self.closed
    }

    /// Whether every dot of an actor is in it, whatever their number.
    pub fn covers_all_of(&self, actor: Actor) -> bool {
        if self.closed == 0 {
            return false;
        }
        assert!(self.closed <= self.dead.count(), "a set is resolved before it is asked");
        self.dead.place(actor).is_some_and(|place| place <= self.closed)
    }

    /// The part of it that is about these actors, and how many it covers wholly.
    pub fn about(&self, wanted: impl Fn(Actor) -> bool) -> DotSet {
        let rows = self.rows.iter().filter(|(actor, _)| wanted(*actor)).cloned().collect();
        DotSet { rows, closed: self.closed, dead: self.dead.clone() }
    }

    fn find(&self, actor: Actor) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&actor, |row| row.0)
    }

    fn runs(&self, actor: Actor) -> Option<&Runs> {
        self.find(actor).ok().map(|at| &self.rows[at].1)
    }

    fn runs_mut(&mut self, actor: Actor) -> &mut Runs {
        let at = self.find(actor).unwrap_or_else(|at| {
            self.rows.insert(at, (actor, Runs::default()));
            at
        });
        &mut self.rows[at].1
    }

    /// Whether `dot` is in it.
    pub fn contains(&self, dot: Dot) -> bool {
        self.runs(dot.actor).is_some_and(|runs| runs.contains(dot.counter))
            || self.covers_all_of(dot.actor)
    }

    /// Every counter of `actor` up to this one is in it. 0 when the first is missing.
    pub fn base(&self, actor: Actor) -> u64 {
        self.runs(actor).map_or(0, Runs::base)
    }

    /// The highest counter of `actor` in it, or 0.
    pub fn highest(&self, actor: Actor) -> u64 {
        self.runs(actor).map_or(0, Runs::highest)
    }

    /// Adds one dot.
    pub fn insert(&mut self, dot: Dot) {
        if !self.covers_all_of(dot.actor) {
            self.runs_mut(dot.actor).insert(dot.counter);
        }
    }

    /// Adds everything that is in `other`.
    pub fn union(&mut self, other: &DotSet) {
        if other.closed > self.closed {
            (self.closed, self.dead) = (other.closed, other.dead.clone());
            let mut rows = std::mem::take(&mut self.rows);
            rows.retain(|(actor, _)| !self.covers_all_of(*actor));
            self.rows = rows;
        }
        for (actor, runs) in other.rows() {
            if !self.covers_all_of(actor) {
                self.runs_mut(actor).union(runs);
            }
        }
    }

    /// What is in both: the low-water mark of two clocks.
    pub fn meet(&self, other: &DotSet) -> DotSet {
        let (less, more) = if self.closed < other.closed { (self, other) } else { (other, self) };
        let mut both = DotSet::EMPTY;
        (both.closed, both.dead) = (less.closed, less.dead.clone());
        // Of an actor that one covers wholly the other has some dots, or covers it too.
        both.rows.extend(less.rows().filter_map(|(actor, runs)| {
            let theirs = match more.runs(actor) {
                Some(theirs) => runs.meet(theirs),
                None if more.covers_all_of(actor) => runs.clone(),
                None => return None,
            };
            (!theirs.is_empty()).then_some((actor, theirs))
        }));
        both
    }

    /// The contiguous bases alone: what a causally closed context may take from a clock.
    pub fn bases(&self) -> DotSet {
        let bases = self.rows().filter(|(_, runs)| runs.base() > 0);
        DotSet {
            rows: bases.map(|(actor, runs)| (actor, Runs::up_to(runs.base()))).collect(),
            closed: self.closed,
            dead: self.dead.clone(),
        }
    }

    /// What is left of this residual context once everything below `clock`'s contiguous base is
    /// stripped. A dot in the clock's *cloud* must stay: dots below it are unknown still, and the
    /// values they name may be the very ones this context covers.
    pub fn stripped_by(&self, clock: &DotSet) -> DotSet {
        let open = self.rows().filter(|(actor, _)| !clock.covers_all_of(*actor));
        let left = open.map(|(actor, runs)| {
            let left = if holds(Rule::Contiguous) {
                runs.above(clock.base(actor))
            } else {
                runs.above(clock.highest(actor))
            };
            (actor, left)
        });
        let rows = left.filter(|(_, runs)| !runs.is_empty()).collect();
        if self.closed > clock.closed {
            DotSet { rows, closed: self.closed, dead: self.dead.clone() }
        } else {
            DotSet { rows, ..DotSet::EMPTY }
        }
    }

    /// Whether everything in it is in `other` too.
    pub fn is_within(&self, other: &DotSet) -> bool {
        let within = |(actor, runs): (Actor, &Runs)| match other.runs(actor) {
            Some(theirs) => runs.is_within(theirs),
            None => other.covers_all_of(actor),
        };
        self.closed <= other.closed && self.rows().all(within)
    }

    /// A 64-bit fingerprint of the set. Equal sets have equal fingerprints on every machine.
    pub fn fingerprint(&self) -> u64 {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        let mut hasher = SipHasher24::new();
        hasher.write(&bytes);
        hasher.finish()
    }

    /// Appends the encoding:
    ///
    /// | field | form | what |
    /// |---|---|---|
    /// | closed | varint | how many of the ring's dead actors are covered wholly |
    /// | rows | varint | how many actors follow |
    /// | per row: actor | u64 | ascending |
    /// | per row: counters | [`Runs::encode`] | at least one run |
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.closed));
        out.put_varint(self.rows.len() as u64);
        for (actor, runs) in self.rows() {
            out.put_u64_le(actor.bits());
            runs.encode(out);
        }
    }

    /// Reads what [`DotSet::encode`] wrote, and nothing that could not have come from it. One that covers
    /// dead actors must be resolved before it is used: see [`Resolve`].
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let closed = u32::try_from(reader.varint()?)
            .map_err(|_| Malformed("more closed actors than there can be"))?;
        let count = reader.count(11)?;
        let mut rows: Vec<(Actor, Runs)> = Vec::with_capacity(count);
        for _ in 0..count {
            let actor = Actor::from_bits(reader.u64_le()?);
            let runs = Runs::decode(reader)?;
            if runs.is_empty() {
                return Err(Malformed("an actor without a counter"));
            }
            if rows.last().is_some_and(|(before, _)| *before >= actor) {
                return Err(Malformed("actors out of order"));
            }
            rows.push((actor, runs));
        }
        Ok(DotSet { rows, closed, dead: Dead::NONE })
    }
}

impl Resolve for DotSet {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        if self.closed == 0 {
            return Ok(());
        }
        if self.closed > dead.count() {
            return Err(Unresolved::Ahead(self.closed));
        }
        self.dead = dead.clone();
        match self.rows.iter().find(|(actor, _)| self.covers_all_of(*actor)) {
            Some((actor, _)) => Err(Unresolved::Twice(*actor)),
            None => Ok(()),
        }
    }
}

impl FromIterator<Dot> for DotSet {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut set = DotSet::default();
        dots.into_iter().for_each(|dot| set.insert(dot));
        set
    }
}

impl fmt::Display for DotSet {
    /// `{1~00a1b2:1-7,9 2~00c3d4:1 closed=3}`; `{}` when empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (actor, runs)) in self.rows().enumerate() {
            write!(f, "{}{actor}:", if index > 0 { " " } else { "" })?;
            for (index, (first, last)) in runs.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                if first == last {
                    write!(f, "{comma}{first}")?
                } else {
                    write!(f, "{comma}{first}-{last}")?
                }
            }
        }
        if self.closed > 0 {
            let space = if self.rows.is_empty() { "" } else { " " };
            write!(f, "{space}closed={}", self.closed)?;
        }
        f.write_str("}")
    }
}
