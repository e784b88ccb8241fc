//! The rules of one slot, small and slow: what the shard must agree with.
//!
//! Written from the executable specification of causality and not from the code it checks: sets of
//! dots are sets of dots, one by one; entries and logs are maps. Nothing here is fast, and
//! nothing is shared with `causality`, so that a mistake would have to be made twice.
//!
//! Where the store does more than the specification asks for, it says so: pages instead of one
//! answer, and a raised mark that takes lines out of the delete log.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::key::Key;

/// One write event: the actor's bits, and which of its events it is, from 1.
pub(super) type Dot = (u64, u64);

/// A set of dots, one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dots(pub(super) BTreeSet<Dot>);

impl Dots {
    pub(super) fn has(&self, dot: Dot) -> bool {
        self.0.contains(&dot)
    }

    pub(super) fn add(&mut self, dot: Dot) {
        self.0.insert(dot);
    }

    pub(super) fn join(&mut self, other: &Dots) {
        self.0.extend(&other.0);
    }

    pub(super) fn within(&self, other: &Dots) -> bool {
        self.0.is_subset(&other.0)
    }

    fn meet(&self, other: &Dots) -> Dots {
        Dots(self.0.intersection(&other.0).copied().collect())
    }

    /// Per actor the last of the events that are all here from the first on.
    fn bases(&self) -> BTreeMap<u64, u64> {
        let mut bases = BTreeMap::new();
        for (actor, n) in &self.0 {
            let base = bases.entry(*actor).or_insert(0);
            if *n == *base + 1 {
                *base = *n;
            }
        }
        bases
    }

    /// What lies below the bases.
    fn contiguous(&self) -> Dots {
        let bases = self.bases();
        Dots(self.0.iter().copied().filter(|(actor, n)| *n <= bases[actor]).collect())
    }

    /// What is left of a residual context: what lies above the clock's bases.
    fn stripped(&self, clock: &Dots) -> Dots {
        let bases = clock.bases();
        let above = |(actor, n): &Dot| *n > bases.get(actor).copied().unwrap_or(0);
        Dots(self.0.iter().copied().filter(above).collect())
    }
}

/// What is known of one write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) operation: u128,
    /// What its writer had seen.
    pub(super) context: Dots,
}

/// Values by dot.
pub(super) type Values = BTreeMap<Dot, Rc<Written>>;

/// One key at one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) values: Values,
    pub(super) residual: Dots,
}

/// What travels: a put, a delete, or what a read joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) values: Values,
    /// Dots that the receiver is known to hold.
    pub(super) kept: BTreeSet<Dot>,
    pub(super) deleted: Option<Dot>,
    pub(super) context: Dots,
}

impl Change {
    pub(super) fn dots(&self) -> BTreeSet<Dot> {
        self.values.keys().copied().chain(self.deleted).collect()
    }
}

/// What a replica says of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) dots: BTreeSet<Dot>,
    /// Everything known of: what is in it and not live is gone.
    pub(super) covered: Dots,
    /// What a client may hand back.
    pub(super) context: Dots,
}

/// Keys in the order of pages: by token, then by key.
pub(super) type Place = (u64, Key);

/// Part of a slot, for an asker with some clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) clock: Dots,
    pub(super) began: Dots,
    pub(super) after: Option<Place>,
    pub(super) upto: Option<Place>,
    /// Per key the dots, those of them whose values the asker lacks, and the residual context.
    pub(super) entries: BTreeMap<Place, (BTreeSet<Dot>, Values, Dots)>,
    pub(super) deletes: BTreeMap<Dot, Key>,
    pub(super) mark: Option<Dots>,
}

/// One slot at one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) clock: Dots,
    pub(super) entries: BTreeMap<Place, Entry>,
    pub(super) log: BTreeMap<Dot, Key>,
    pub(super) mark: Dots,
}

impl Slot {
    pub(super) fn entry(&self, at: &Place) -> Entry {
        self.entries.get(at).cloned().unwrap_or_default()
    }

    /// Values, everything covered, and a context that is causally closed.
    pub(super) fn read(&self, at: &Place) -> Said {
        let entry = self.entry(at);
        said(&self.clock, &entry.residual, entry.values.keys().copied().collect())
    }

    /// Joins a change. Everything that any replica learns of a key comes this way.
    pub(super) fn apply(&mut self, at: &Place, change: &Change) {
        let mut entry = self.entry(at);
        let Change { values, kept, deleted, context } = change;
        entry
            .values
            .retain(|dot, _| !context.has(*dot) || values.contains_key(dot) || kept.contains(dot));
        for (dot, value) in values {
            if !self.clock.has(*dot) && !entry.residual.has(*dot) {
                entry.values.insert(*dot, Rc::clone(value));
            }
            self.clock.add(*dot);
        }
        if let Some(dot) = deleted {
            if !self.clock.has(*dot) {
                self.log.insert(*dot, at.1.clone());
            }
            self.clock.add(*dot);
        }
        entry.residual.join(context);
        self.entries.insert(at.clone(), entry);
        self.strip(at);
    }

    /// Drops what the clock's bases have come to cover; an entry with nothing in it is none.
    pub(super) fn strip(&mut self, at: &Place) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.residual = entry.residual.stripped(&self.clock);
        if *entry == Entry::default() {
            self.entries.remove(at);
        }
    }

    pub(super) fn strip_all(&mut self) {
        for at in self.entries.keys().cloned().collect::<Vec<_>>() {
            self.strip(&at);
        }
    }

    /// What an asker with this clock may be missing, after one place up to another.
    pub(super) fn answer(
        &self,
        theirs: &Dots,
        began: Option<&Dots>,
        (after, upto): (Option<&Place>, Option<&Place>),
    ) -> Page {
        let everything = !self.mark.within(theirs);
        let within =
            |at: &Place| after.is_none_or(|after| at > after) && upto.is_none_or(|upto| at <= upto);
        let places: BTreeMap<&Key, &Place> = self.entries.keys().map(|at| (&at.1, at)).collect();
        let mut entries = BTreeMap::new();
        let mut deletes = BTreeMap::new();
        for (dot, key) in self.log.iter().filter(|(dot, _)| !theirs.has(**dot)) {
            let at = places.get(key).map_or_else(|| place(key), |at| (*at).clone());
            if within(&at) {
                deletes.insert(*dot, key.clone());
                entries.insert(at, Default::default());
            }
        }
        for (at, entry) in self.entries.iter().filter(|(at, _)| within(at)) {
            let lacking = entry.values.iter().filter(|(dot, _)| !theirs.has(**dot));
            let lacking: Values = lacking.map(|(dot, value)| (*dot, Rc::clone(value))).collect();
            let unsettled = !entry.residual.0.is_empty();
            if everything || unsettled || !lacking.is_empty() || entries.contains_key(at) {
                let dots = entry.values.keys().copied().collect();
                entries.insert(at.clone(), (dots, lacking, entry.residual.clone()));
            }
        }
        Page {
            clock: self.clock.clone(),
            began: began.unwrap_or(&self.clock).clone(),
            after: after.cloned(),
            upto: upto.cloned(),
            entries,
            deletes,
            mark: everything.then(|| self.mark.clone()),
        }
    }

    /// Joins a page: all of it, and then, with the last, the clock that the sender had at first.
    pub(super) fn absorb(&mut self, page: &Page) {
        let last = page.upto.is_none();
        // Then the sender's clock is adopted at once, and need not go into residual contexts.
        let whole = last && page.after.is_none() && page.began == page.clock;
        let mut listed = page.entries.clone();
        if page.mark.is_some() {
            // What a full list does not name is gone.
            for at in self.entries.keys().filter(|at| page.covers(at)) {
                listed.entry(at.clone()).or_default();
            }
        }
        for (at, (dots, values, residual)) in &listed {
            let mut entry = self.entry(at);
            let mut covered = page.clock.clone();
            covered.join(residual);
            entry.values.retain(|dot, _| !covered.has(*dot) || dots.contains(dot));
            for (dot, value) in values {
                if !self.clock.has(*dot) && !entry.residual.has(*dot) {
                    entry.values.insert(*dot, Rc::clone(value));
                }
                self.clock.add(*dot);
            }
            for (dot, key) in page.deletes.iter().filter(|(_, key)| **key == at.1) {
                if !self.clock.has(*dot) {
                    self.log.insert(*dot, key.clone());
                }
                self.clock.add(*dot);
            }
            entry.residual.join(if whole { residual } else { &covered });
            self.entries.insert(at.clone(), entry);
            self.strip(at);
        }
        if let Some(mark) = &page.mark {
            self.raise(mark);
        }
        if last {
            self.clock.join(&page.began);
            self.strip_all();
        }
    }

    /// Whether a page would leave out a value that this replica does not know of.
    pub(super) fn lacks_for(&self, page: &Page) -> bool {
        page.entries.iter().any(|(at, (dots, values, _))| {
            let own = self.entry(at);
            dots.iter().any(|dot| {
                !values.contains_key(dot) && !self.clock.has(*dot) && !own.residual.has(*dot)
            })
        })
    }

    /// The mark rises, if it does, and takes lines out of the log.
    pub(super) fn raise(&mut self, mark: &Dots) {
        if !mark.within(&self.mark) {
            self.mark.join(mark);
            self.log.retain(|dot, _| !self.mark.has(*dot));
        }
    }

    /// Takes out of the log what lies below this, if anything does, and raises the mark.
    pub(super) fn trim(&mut self, low: &Dots) {
        if self.log.keys().any(|dot| low.has(*dot)) {
            self.mark.join(low);
            self.log.retain(|dot, _| !self.mark.has(*dot));
        }
    }

    /// What all owners are believed to have; `None` for one that was not heard.
    pub(super) fn low_water<'a>(&self, heard: impl Iterator<Item = Option<&'a Dots>>) -> Dots {
        let mut low = self.clock.clone();
        for theirs in heard {
            low = theirs.map_or_else(Dots::default, |theirs| low.meet(theirs));
        }
        low
    }
}

impl Page {
    fn covers(&self, at: &Place) -> bool {
        self.after.as_ref().is_none_or(|after| at > after)
            && self.upto.as_ref().is_none_or(|upto| at <= upto)
    }
}

/// Where a key stands in its slot.
pub(super) fn place(key: &Key) -> Place {
    (crate::ring::Token::of(key).0, key.clone())
}

/// What somebody says who has these dots live, beside this clock and residual context.
pub(super) fn said(clock: &Dots, residual: &Dots, dots: BTreeSet<Dot>) -> Said {
    let mut covered = clock.clone();
    covered.join(residual);
    let mut context = clock.contiguous();
    context.join(residual);
    context.0.extend(&dots);
    Said { dots, covered, context }
}

/// What several replicas say together: a value survives unless another answer covers its dot without
/// holding it.
pub(super) fn join<'a>(answers: impl IntoIterator<Item = &'a Said>) -> Said {
    let mut joined: Option<Said> = None;
    for answer in answers {
        let Some(before) = &mut joined else {
            joined = Some(answer.clone());
            continue;
        };
        let dots = before.dots.union(&answer.dots).copied();
        let survives = |dot: &Dot| {
            let (mine, theirs) = (before.dots.contains(dot), answer.dots.contains(dot));
            (mine || !before.covered.has(*dot)) && (theirs || !answer.covered.has(*dot))
        };
        before.dots = dots.filter(survives).collect::<BTreeSet<Dot>>();
        before.covered.join(&answer.covered);
        before.context.join(&answer.context);
    }
    joined.unwrap_or_default()
}
