//! Many seeds, one after the other.
//!
//! Invariant: a batch is judged by what it exercised too: one that never did what it claims to test
//! is vacuous, and that is a failure.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::{Counts, Options, Violation, run};

/// How many violations of a run are shown; the rest say the same, mostly.
const VIOLATIONS_SHOWN: usize = 4;

/// A seed whose run broke a promise.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Which seed.
    pub seed: u64,
    /// What was not kept.
    pub violations: Vec<Violation>,
}

/// What a batch came to.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Runs made.
    pub runs: u64,
    /// Runs that broke a promise.
    pub failed: Vec<Failed>,
    /// What all runs exercised.
    pub counts: Counts,
    /// Virtual time of all runs.
    pub virtual_time: Duration,
    /// The longest that a healed cluster took to become quiet.
    pub slowest_quiet: Duration,
}

/// Runs these seeds, until this many have failed.
pub fn run_seeds(seeds: Range<u64>, options: Options, failures_max: usize) -> Batch {
    let mut batch = Batch::default();
    for seed in seeds {
        let report = run(seed, options);
        batch.runs += 1;
        batch.counts.add(&report.counts);
        batch.virtual_time += report.virtual_time;
        batch.slowest_quiet = batch.slowest_quiet.max(report.quiet_after);
        if !report.violations.is_empty() {
            batch.failed.push(Failed { seed, violations: report.violations });
            if batch.failed.len() >= failures_max {
                break;
            }
        }
    }
    batch
}

/// The command that replays a seed.
pub fn replay_command(seed: u64, options: Options) -> String {
    let nodes = options.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"));
    let profile = match options.profile {
        crate::Profile::Mixed => String::new(),
        other => format!(" --profile {}", format!("{other:?}").to_lowercase()),
    };
    format!("cargo run -p ringdove-sim -- replay {seed}{nodes}{profile}")
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} violations", self.seed, self.violations.len())?;
        let mut some = self.violations.iter().take(VIOLATIONS_SHOWN);
        some.try_for_each(|violation| writeln!(f, "  {violation}"))
    }
}
