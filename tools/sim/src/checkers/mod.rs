//! The promises, each as a checker over what clients saw and what disks hold in the end.
//!
//! | checker | says |
//! |---|---|
//! | [`lost`] | an acknowledged write is there, or replaced by a write that had seen it |
//! | [`resurrection`] | nothing is there that an acknowledged write had replaced |
//! | [`phantom`] | whatever is shown was written, to that key, unchanged |
//! | [`effect`] | a write told as failed has no effect, ever |
//! | [`convergence`] | owners end equal, nobody else keeps anything, every node reads the same |
//! | [`antichain`] | values shown beside each other are concurrent |
//! | [`regular`] | a read whose quorum meets a write's shows it, or what replaced it |
//! | [`session`] | a read with a floor shows what the floor covers, or what replaced it |
//! | [`residue`] | a deleted key leaves nothing |
//! | `watch` | a dot names one event |
//! | `idle` | equal copies become tidy, and then silent |
//! | `floors`, `clients` | "not yet" is true, and every read ends |
//! | `process` | every hint is accounted for |
//!
//! Invariant: a checker knows the clients' history and the final state, not the rules that are meant
//! to bring it about, so that a wrong rule cannot excuse itself.

mod antichain;
mod convergence;
mod effect;
mod graph;
mod lost;
mod phantom;
mod regular;
mod residue;
mod resurrection;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ringdove::causality::{Actor, Dead, Dot, DotSet};
use ringdove::ring::Slot;

pub(crate) use convergence::{difference, unequal};
pub(crate) use graph::Graph;
pub(crate) use phantom::origin_of;

use crate::counts::Counts;
use crate::history::{History, OpId};

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

impl Violation {
    /// A violation that this checker saw.
    pub(crate) fn new(checker: &'static str, what: impl Into<String>) -> Self {
        Violation { checker, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// What one node holds of the run's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dump {
    /// The node's place.
    pub(crate) node: usize,
    /// The run's slots that it owns.
    pub(crate) owns: BTreeSet<Slot>,
    /// The clock of each slot that has one.
    pub(crate) clocks: BTreeMap<Slot, DotSet>,
    /// The live dots of each key that has any, by its place in the history.
    pub(crate) entries: BTreeMap<usize, Vec<Dot>>,
    /// The residual context of each key that has one.
    pub(crate) residuals: BTreeMap<usize, DotSet>,
    /// Hints not delivered yet.
    pub(crate) hints: usize,
}

/// What the checkers judge.
pub(crate) struct Evidence<'a> {
    /// What clients did and saw.
    pub(crate) history: &'a History,
    /// What nodes hold in the end.
    pub(crate) dumps: &'a [Dump],
    /// Per key the writes present in the end, at any owner.
    pub(crate) present: Vec<BTreeSet<OpId>>,
    /// Per key who had seen whom.
    pub(crate) graphs: Vec<Graph>,
    /// The reads at all owners, from every node, after everything was healed.
    pub(crate) final_reads: &'a [OpId],
    /// Dots of hints that gave way to later ones.
    pub(crate) superseded: &'a BTreeSet<(Slot, Dot)>,
    /// When disks went back in time without anything noticing.
    pub(crate) silent_restores: &'a [Duration],
    /// Who writes in the end.
    pub(crate) actors: BTreeSet<Actor>,
    /// Who was listed as dead by then.
    pub(crate) dead: &'a Dead,
    /// How many owners a slot has, if it has as many all the time.
    pub(crate) row: Option<usize>,
}

/// Runs every checker.
pub(crate) fn judge(evidence: &Evidence<'_>, counts: &mut Counts) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(effect::check(evidence));
    found.extend(lost::check(evidence, counts));
    found.extend(resurrection::check(evidence));
    found.extend(convergence::check(evidence));
    found.extend(antichain::check(evidence));
    found.extend(regular::check(evidence, counts));
    found.extend(session::check(evidence, counts));
    found.extend(residue::check(evidence, counts));
    found
}
