//! A row of owners and the steps that it can be in, with the numbers that make the steps safe.
//!
//! Not here: who learns of a row when, and what travels (`world.rs`).

/// A node, by its place in [`crate::world::World::nodes`]. One that lost its disk is a new node.
pub type Name = u8;

/// A set of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set(pub u32);

impl Set {
    pub fn first(count: usize) -> Set {
        Set((1 << count) - 1)
    }
    pub fn has(self, name: Name) -> bool {
        self.0 & (1 << name) != 0
    }
    pub fn with(self, name: Name) -> Set {
        Set(self.0 | (1 << name))
    }
    pub fn without(self, name: Name) -> Set {
        Set(self.0 & !(1 << name))
    }
    pub fn and(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }
    pub fn or(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }
    pub fn minus(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }
    pub fn covers(self, other: Set) -> bool {
        other.minus(self).0 == 0
    }
    pub fn names(self) -> impl Iterator<Item = Name> {
        (0..32).filter(move |name| self.has(*name))
    }
}

/// How many owners make a majority of a row.
pub fn majority(len: usize) -> usize {
    len / 2 + 1
}

/// From how many fenced owners of a set one must have pulled to hold every write that a majority of it
/// acknowledged: one more than a majority leaves out.
pub fn enough(len: usize) -> usize {
    len - majority(len) + 1
}

/// What a row is in the middle of.
#[derive(Debug, Clone)]
pub enum Step {
    /// Nothing. *Whole*: each acknowledged write is with a majority of the row, by name.
    Whole,
    /// Writes go to `incoming` too, which has no vote.
    Prepare { incoming: Name, outgoing: Option<Name> },
    /// `incoming` is in the row, and counts after it has pulled from enough of each set in `before`.
    Settle { incoming: Name, before: Vec<Set> },
    /// `lost` has lost its seat and nobody has it. All in the row count, but the row is not whole
    /// before a majority of it holds what `lost` held.
    Cover { lost: Name, before: Set },
}

/// A row in one epoch.
#[derive(Debug, Clone)]
pub struct Row {
    pub owners: Set,
    pub step: Step,
}

impl Row {
    pub fn whole(owners: Set) -> Row {
        Row { owners, step: Step::Whole }
    }

    /// Each set of owners since the last whole row, this one left out.
    pub fn before(&self) -> Vec<Set> {
        match &self.step {
            Step::Whole | Step::Prepare { .. } => vec![],
            Step::Settle { before, .. } => before.clone(),
            Step::Cover { before, .. } => vec![*before],
        }
    }

    pub fn incoming(&self) -> Option<Name> {
        match self.step {
            Step::Prepare { incoming, .. } | Step::Settle { incoming, .. } => Some(incoming),
            Step::Whole | Step::Cover { .. } => None,
        }
    }
}

/// A level of acknowledgements or answers, as a client names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    One,
    Quorum,
    All,
}

impl Level {
    pub fn of(self, len: usize) -> usize {
        match self {
            Level::One => 1,
            Level::Quorum => majority(len),
            Level::All => len,
        }
    }
}
