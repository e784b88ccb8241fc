//! A set of counters, kept as runs: `1..=7, 9..=9, 12..=40`.
//!
//! A replica that hears everything has one run from 1: its *contiguous base*. What lies above a gap
//! is the *cloud*. Keeping both as runs makes the cost follow the gaps, not the counters.
//!
//! Invariant: runs are non-empty, ascending, and neither overlap nor touch; no run holds 0.

use crate::fields::{Malformed, Reader, WriteFields};

/// A set of counters (from 1), as ascending runs that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Runs(Vec<(u64, u64)>);

impl Runs {
    /// All counters from 1 to `last`; empty when `last` is 0.
    pub fn up_to(last: u64) -> Self {
        if last == 0 { Runs::default() } else { Runs(vec![(1, last)]) }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The runs, ascending, as inclusive pairs.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many runs there are: 1 for a replica without gaps.
    pub fn run_count(&self) -> usize {
        self.0.len()
    }

    /// The end of the run that starts at 1: every counter up to it is present. 0 when 1 is missing.
    pub fn base(&self) -> u64 {
        match self.0.first() {
            Some(&(1, last)) => last,
            _ => 0,
        }
    }

    /// The highest counter, or 0.
    pub fn highest(&self) -> u64 {
        self.0.last().map_or(0, |&(_, last)| last)
    }

    /// Whether `counter` is in it.
    pub fn contains(&self, counter: u64) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= counter);
        after > 0 && counter <= self.0[after - 1].1
    }

    /// Adds one counter.
    pub fn insert(&mut self, counter: u64) {
        self.insert_run(counter, counter);
    }

    /// Adds all counters from `first` to `last`, inclusive.
    pub fn insert_run(&mut self, first: u64, last: u64) {
        assert!(
            1 <= first && first <= last,
            "a run of counters starts at 1 or later, and has an end"
        );
        // Everything that overlaps or touches the new run melts into it.
        let from = self.0.partition_point(|&(_, end)| end < first && end + 1 < first);
        let to = self.0.partition_point(|&(start, _)| start <= last || start - 1 == last);
        let merged = match self.0.get(from..to) {
            Some([one]) => (first.min(one.0), last.max(one.1)),
            Some([low, .., high]) => (first.min(low.0), last.max(high.1)),
            _ => (first, last),
        };
        self.0.splice(from..to, [merged]);
    }

    /// Adds everything that is in `other`.
    pub fn union(&mut self, other: &Runs) {
        for (first, last) in other.iter() {
            self.insert_run(first, last);
        }
    }

    /// What is left above `base`.
    pub fn above(&self, base: u64) -> Runs {
        let above = self.iter().filter(|&(_, last)| last > base);
        Runs(above.map(|(first, last)| (first.max(base + 1), last)).collect())
    }

    /// What is in both.
    pub fn meet(&self, other: &Runs) -> Runs {
        let (mut mine, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&(a, a_end)), Some(&(b, b_end))) = (mine.peek(), theirs.peek()) {
            let (first, last) = (a.max(b), a_end.min(b_end));
            if first <= last {
                both.push((first, last));
            }
            if a_end < b_end {
                mine.next()
            } else {
                theirs.next()
            };
        }
        Runs(both)
    }

    /// Whether everything in it is in `other` too.
    pub fn is_within(&self, other: &Runs) -> bool {
        self.iter().all(|(first, last)| {
            let after = other.0.partition_point(|&(start, _)| start <= first);
            after > 0 && last <= other.0[after - 1].1
        })
    }

    /// Appends the encoding: a count, then per run the gap before it and its length less one, all
    /// varints.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        let mut end = 0;
        for (first, last) in self.iter() {
            out.put_varint(first - end);
            out.put_varint(last - first);
            end = last;
        }
    }

    /// Reads what [`Runs::encode`] wrote, and nothing that could not have come from it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count(2)?;
        let mut runs = Vec::with_capacity(count);
        let mut end = 0u64;
        for index in 0..count {
            let gap = reader.varint()?;
            let extent = reader.varint()?;
            if gap < if index == 0 { 1 } else { 2 } {
                return Err(Malformed("runs overlap or touch"));
            }
            let too_large = Malformed("a counter is larger than 64 bits");
            let first = end.checked_add(gap).ok_or(too_large)?;
            end = first.checked_add(extent).ok_or(too_large)?;
            runs.push((first, end));
        }
        Ok(Runs(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn counters() -> impl Strategy<Value = BTreeSet<u64>> {
        prop::collection::btree_set(1..40u64, 0..30)
    }

    fn runs(set: &BTreeSet<u64>) -> Runs {
        let mut runs = Runs::default();
        set.iter().for_each(|&n| runs.insert(n));
        runs
    }

    fn set(runs: &Runs) -> BTreeSet<u64> {
        runs.iter().flat_map(|(first, last)| first..=last).collect()
    }

    fn well_formed(runs: &Runs) -> bool {
        runs.iter().all(|(first, last)| 1 <= first && first <= last)
            && runs.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0)
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(a in counters(), b in counters(), base in 0..45u64, run in (1..40u64, 0..9u64)) {
            let (mut left, right) = (runs(&a), runs(&b));
            prop_assert_eq!(set(&left), a.clone());
            prop_assert_eq!(left.is_within(&right), a.is_subset(&b));
            prop_assert!(well_formed(&left.meet(&right)));
            prop_assert_eq!(set(&left.meet(&right)), a.intersection(&b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(set(&left.above(base)), a.iter().copied().filter(|&n| n > base).collect::<BTreeSet<_>>());
            prop_assert_eq!(left.base(), (1..).take_while(|n| a.contains(n)).last().unwrap_or(0));
            (0..45).for_each(|n| assert_eq!(left.contains(n), a.contains(&n)));
            let mut longer = left.clone();
            longer.insert_run(run.0, run.0 + run.1);
            prop_assert!(well_formed(&longer));
            prop_assert_eq!(set(&longer), a.iter().copied().chain(run.0..=run.0 + run.1).collect::<BTreeSet<_>>());
            left.union(&right);
            prop_assert!(well_formed(&left));
            prop_assert_eq!(set(&left), a.union(&b).copied().collect::<BTreeSet<_>>());
        }

        #[test]
        fn encoding_comes_back(a in counters()) {
            let mut bytes = Vec::new();
            runs(&a).encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Runs::decode(&mut reader), Ok(runs(&a)));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn whatever_decodes_is_well_formed(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(runs) = Runs::decode(&mut Reader::new(&bytes)) {
                prop_assert!(runs.iter().all(|(first, last)| 1 <= first && first <= last));
                prop_assert!(runs.0.windows(2).all(|pair| pair[0].1 < pair[1].0 - 1));
            }
        }
    }

    #[test]
    fn the_largest_counter_is_no_trap() {
        let mut runs = Runs::up_to(u64::MAX - 1);
        runs.insert(u64::MAX);
        assert_eq!((runs.base(), runs.run_count()), (u64::MAX, 1));
        runs.insert(u64::MAX);
        assert!(runs.above(u64::MAX).is_empty());
    }
}
