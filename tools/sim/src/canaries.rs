//! Checking the checkers: each rule switched off in turn must be noticed.
//!
//! Invariant: the table says honestly which rules random histories did not need within the seeds tried.

use std::ops::Range;

use ringdove::rules::Rule;

use crate::{Options, Profile, run};

/// Rules whose break random histories meet too rarely. Each has a script of a few lines that ends
/// otherwise without it (`shard::tests::every_rule_is_needed_by_its_script`).
pub const SCRIPTED: &[(Rule, &str)] = &[
    (Rule::Attempts, "two_attempts_are_two_dots_and_one_value"),
    (Rule::AnswerNonce, "a_page_for_an_earlier_life_is_dropped"),
    (Rule::CountOnce, "a_node_counts_once"),
    (Rule::RepairPasses, "repair_passes_the_sibling_limit"),
    (Rule::InheritMark, "who_was_sent_all_takes_over_the_mark"),
    (Rule::AdoptBegan, "a_clock_is_adopted_as_it_was_when_the_exchange_began"),
];

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
                let script = SCRIPTED.iter().find(|(other, _)| *other == rule);
                let by =
                    script.map_or("nothing".to_owned(), |(_, name)| format!("script `{name}`"));
                all &= script.is_some();
                println!("| {rule:?} | {by} | more than {} |", seeds.end - seeds.start);
            }
        }
    }
    all
}
