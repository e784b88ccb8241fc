//! Checking the checkers: each rule switched off in turn must be noticed.
//!
//! Invariant: the table says honestly which rules random histories did not need within the seeds tried.

use std::ops::Range;

use ringdove::rules::Rule;

use crate::{Options, Profile, run};

/// Rules that the random histories of the test do not show to be needed.
pub const NOT_YET: &[Rule] = &[];

/// What became of a run with one rule switched off.
#[derive(Debug, Clone)]
pub struct Caught {
    /// The seed that showed it.
    pub seed: u64,
    /// The checker that objected first.
    pub checker: &'static str,
    /// What it said.
    pub what: String,
}

/// The first of these seeds that shows that `rule` is broken.
pub fn catch(rule: Rule, seeds: Range<u64>) -> Option<Caught> {
    // Half of the runs have disks that go back in time.
    seeds.into_iter().find_map(|seed| {
        let profile = if seed % 2 == 0 { Profile::Mixed } else { Profile::Restores };
        let report = run(seed, Options { broken: Some(rule), profile, ..Options::default() });
        let violation = report.violations.into_iter().next()?;
        Some(Caught { seed, checker: violation.checker, what: violation.what })
    })
}

/// Prints a line for each rule. Whether all were caught.
pub fn table(seeds: Range<u64>) -> bool {
    let mut all = true;
    println!("| rule switched off | caught by | runs needed |");
    println!("|---|---|---|");
    for rule in Rule::ALL {
        match catch(rule, seeds.clone()) {
            Some(caught) => {
                let runs = caught.seed - seeds.start + 1;
                println!("| {rule:?} | {} | {runs} |", caught.checker);
            }
            None => {
                all = false;
                println!("| {rule:?} | not caught | more than {} |", seeds.end - seeds.start);
            }
        }
    }
    all
}
