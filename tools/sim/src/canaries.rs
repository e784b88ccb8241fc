//! Checking the checkers: each rule switched off in turn must be noticed.
//!
//! How soon is a matter of luck, so it is measured in several windows of seeds that do not overlap: in
//! each, runs are made with the rule off until one breaks a promise. The table gives the median.
//!
//! Invariant: the table says honestly which rules random histories did not need within the seeds tried.
//! It is made by one command, and depends on nothing but the code. Not here: the rules and their switch
//! (`ringdove::rules`, in a build with the feature `canaries`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ringdove::rules::Rule;

use crate::{Options, Profile, register, run};

/// Rules whose break random histories meet too rarely. Each has a script of a few lines that ends
/// otherwise without it (`shard::tests::every_rule_is_needed_by_its_script`).
pub const SCRIPTED: &[(Rule, &str)] = &[
    (Rule::Attempts, "two_attempts_are_two_dots_and_one_value"),
    (Rule::AnswerNonce, "a_page_for_an_earlier_life_is_dropped"),
    (Rule::CountOnce, "a_node_counts_once"),
    (Rule::RepairPasses, "repair_passes_the_sibling_limit"),
    (Rule::InheritMark, "who_was_sent_all_takes_over_the_mark"),
    (Rule::AdoptBegan, "a_clock_is_adopted_as_it_was_when_the_exchange_began"),
    (Rule::KeptIsHere, "a_repair_is_for_the_copy_that_was_asked"),
    (Rule::RecoverFirst, "who_lost_data_counts_for_no_read_before_it_caught_up"),
    (Rule::DamagedClock, "a_damaged_log_claims_nothing_that_it_lost"),
    (Rule::SalvageSeen, "a_damaged_log_keeps_what_it_had_seen"),
    (Rule::TellAgain, "a_delete_beside_a_value_is_told_again_too"),
    (Rule::OwnLifeSpared, "a_life_in_use_is_not_listed"),
    (Rule::LifeFence, "a_late_delta_of_a_dead_actor_is_not_taken"),
    (Rule::NoHintsListed, "a_dead_actor_is_listed_when_its_hints_are_delivered"),
    (Rule::CloseCovered, "a_dead_actor_is_folded_by_who_has_all_of_it"),
    (Rule::StartOver, "an_old_copy_with_dots_of_a_dead_actor_starts_over"),
    (Rule::Retire, "a_gap_in_the_own_actor_retires_it"),
    (Rule::RetireTogether, "the_shards_of_a_node_retire_together"),
    (Rule::RingWentBack, "a_copy_whose_ring_went_back_is_not_believed"),
    (Rule::SeatFirst, "who_is_to_have_a_seat_has_no_vote"),
    (Rule::Fence, "an_owner_refuses_requests_of_an_older_row"),
    (Rule::AfterFence, "what_was_pulled_before_the_fence_does_not_count"),
    (Rule::Enough, "a_newcomer_pulls_from_enough_owners"),
    (Rule::EverySet, "a_newcomer_pulls_from_every_set_of_owners"),
    (Rule::DropCovered, "an_old_copy_stays_until_all_owners_have_it"),
];

/// Rules of closing: their histories are of the profile that lists dead actors all the time.
pub const CLOSING: &[Rule] = &[
    Rule::OwnLifeSpared,
    Rule::LifeFence,
    Rule::NoHintsListed,
    Rule::CloseCovered,
    Rule::StartOver,
    Rule::Retire,
    Rule::RetireTogether,
    Rule::RingWentBack,
];

/// Rules of seats that change hands: their histories are of the profile in which they do.
pub const MOVES: &[Rule] = &[
    Rule::SettledCounts,
    Rule::SeatFirst,
    Rule::Fence,
    Rule::AfterFence,
    Rule::Enough,
    Rule::EverySet,
    Rule::DropCovered,
];

/// Rules that random histories hardly ever need: a third of the runs has to do.
const HARDLY_MET: &[Rule] = &[
    Rule::Attempts,
    Rule::AnswerNonce,
    Rule::CountOnce,
    Rule::RepairPasses,
    Rule::InheritMark,
    Rule::AdoptBegan,
    Rule::DamagedClock,
    Rule::SalvageSeen,
    Rule::TellAgain,
    Rule::KeptIsHere,
];

/// Histories of the register are small: so many times as many are run.
const REGISTER_TIMES: u64 = 20;

/// How many windows of seeds a rule is tried in.
pub const WINDOWS: u64 = 5;
/// From where to where it is between the beginnings of two windows.
const WINDOW_SEEDS: u64 = 100_000;
/// What stands around the table in a page.
const BEGINS: &str = "<!-- canaries: made by the command, not by hand -->\n";
const ENDS: &str = "<!-- /canaries -->";

/// What became of runs with one rule switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    if register::RULES.contains(&rule) {
        let (seed, violation) = register::run_seeds(seeds, Some(rule)).1?;
        return Some(Caught { seed, checker: violation.checker, what: violation.what });
    }
    seeds.into_iter().find_map(|seed| {
        let profile = match seed % 2 {
            _ if CLOSING.contains(&rule) => Profile::Closings,
            _ if MOVES.contains(&rule) => Profile::Ring,
            0 => Profile::Still,
            // Half of the runs have disks that go back in time.
            _ => Profile::Restores,
        };
        let report = run(seed, Options { broken: Some(rule), profile, ..Options::default() });
        let violation = report.violations.into_iter().next()?;
        Some(Caught { seed, checker: violation.checker, what: violation.what })
    })
}

/// What became of one rule in all windows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tried {
    /// How many runs were made in each window, at most.
    limit: u64,
    /// For each window the runs needed, and who noticed. `None` when all its runs kept every promise.
    windows: Vec<Option<(u64, &'static str)>>,
}

impl Tried {
    /// The median of the runs needed, if more than half of the windows had enough of them.
    fn median(&self) -> Option<u64> {
        let mut runs: Vec<u64> =
            self.windows.iter().map(|found| found.map_or(u64::MAX, |(runs, _)| runs)).collect();
        runs.sort_unstable();
        runs.get(runs.len() / 2).copied().filter(|runs| *runs < u64::MAX)
    }

    /// Who noticed, most often first.
    fn checkers(&self) -> Vec<&'static str> {
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for (_, checker) in self.windows.iter().flatten() {
            *counts.entry(checker).or_default() += 1;
        }
        let mut checkers: Vec<_> = counts.into_iter().collect();
        checkers.sort_by_key(|(checker, count)| (usize::MAX - count, *checker));
        checkers.into_iter().map(|(checker, _)| checker).collect()
    }

    fn row(&self, rule: Rule) -> String {
        let mut by: Vec<String> = self.checkers().into_iter().map(str::to_owned).collect();
        let median = self.median();
        if median.is_none() {
            by.extend(script(rule).map(|name| format!("script `{name}`")));
        }
        let runs =
            median.map_or_else(|| format!("more than {}", self.limit), |runs| runs.to_string());
        let caught = self.windows.iter().flatten().count();
        let by = if by.is_empty() { "nothing".to_owned() } else { by.join(", ") };
        format!("| {rule:?} | {by} | {runs} | {caught} of {} |\n", self.windows.len())
    }
}

/// The script that guards a rule.
fn script(rule: Rule) -> Option<&'static str> {
    SCRIPTED.iter().find(|(other, _)| *other == rule).map(|(_, name)| *name)
}

/// How many runs are made for a rule in each window.
pub(crate) fn limit_of(rule: Rule, limit: u64) -> u64 {
    if register::RULES.contains(&rule) {
        limit * REGISTER_TIMES
    } else if HARDLY_MET.contains(&rule) {
        limit.div_ceil(3)
    } else {
        limit
    }
}

/// The table of all rules, and whether each of them was noticed. Takes all cores. The rows of rules that are not in
/// `only`, where it names any, are those of `page`.
pub fn table(limit: u64, only: &[Rule], page: &str) -> (String, bool) {
    let wanted = |at: &usize| only.is_empty() || only.contains(&Rule::ALL[*at]);
    let rules: Vec<usize> = (0..Rule::ALL.len()).filter(wanted).collect();
    let in_window = |window| rules.iter().map(move |at| (*at, window));
    let jobs: Vec<(usize, u64)> = (0..WINDOWS).flat_map(in_window).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some((at, window)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let first = window * WINDOW_SEEDS;
            let rule = Rule::ALL[*at];
            let caught = catch(rule, first..first + limit_of(rule, limit));
            let found = caught.map(|caught| (caught.seed - first + 1, caught.checker));
            if let Ok(mut done) = done.lock() {
                done.insert((*at, *window), found);
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, |threads| threads.get());
        (0..threads).for_each(|_| {
            scope.spawn(work);
        });
    });
    let limits = Rule::ALL.into_iter().map(|rule| limit_of(rule, limit));
    let mut tried: Vec<Tried> = limits.map(|limit| Tried { limit, windows: Vec::new() }).collect();
    for ((at, _), found) in done.into_inner().unwrap_or_default() {
        tried[at].windows.push(found);
    }
    let mut text =
        String::from("| rule switched off | caught by | runs needed, median | windows |\n");
    text.push_str("|---|---|---|---|\n");
    let mut all = true;
    for ((at, rule), tried) in Rule::ALL.into_iter().enumerate().zip(&tried) {
        if !rules.contains(&at) {
            let begin = format!("| {rule:?} |");
            let row = page.lines().find(|line| line.starts_with(&begin));
            row.into_iter().for_each(|row| {
                let _ = writeln!(text, "{row}");
            });
            continue;
        }
        text.push_str(&tried.row(rule));
        all &= tried.median().is_some() || script(rule).is_some();
    }
    let _ = writeln!(
        text,
        "\n{WINDOWS} windows of at most {limit} runs each ({} for a rule hardly met, {} small histories for one of the \
         ring register), beginning at every {WINDOW_SEEDS}th seed.",
        limit.div_ceil(3),
        limit * REGISTER_TIMES
    );
    (text, all)
}

/// A page with this table in its place, or `None` when it has no place for one.
pub fn with_table(page: &str, table: &str) -> Option<String> {
    let from = page.find(BEGINS)? + BEGINS.len();
    let to = from + page[from..].find(ENDS)?;
    Some(format!("{}{table}{}", &page[..from], &page[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts_what_was_not_caught_as_more() {
        let tried = |runs: [u64; 5]| Tried {
            limit: 300,
            windows: runs.map(|runs| (runs > 0).then_some((runs, "lost"))).to_vec(),
        };
        assert_eq!(tried([9, 1, 4, 300, 2]).median(), Some(4));
        assert_eq!(tried([9, 0, 4, 0, 2]).median(), Some(9));
        assert_eq!(tried([9, 0, 4, 0, 0]).median(), None);
        let row = tried([0, 0, 7, 0, 0]).row(Rule::CountOnce);
        let told = "| CountOnce | lost, script `a_node_counts_once` | more than 300 | 1 of 5 |\n";
        assert_eq!(row, told);
    }

    #[test]
    fn a_table_goes_where_the_page_wants_it() {
        let page = format!("before\n{BEGINS}old\n{ENDS}\nafter\n");
        let new = with_table(&page, "new\n").expect("there is a place");
        assert_eq!(new, format!("before\n{BEGINS}new\n{ENDS}\nafter\n"));
        assert_eq!(with_table("nothing here", "new\n"), None);
    }

    /// Every script named here is run with its rule broken, by the shard's own tests.
    #[test]
    fn scripted_rules_have_their_scripts() {
        let guarded = include_str!("../../../src/shard/tests/mod.rs");
        for (rule, name) in SCRIPTED {
            let line = format!("(Rule::{rule:?}, \"{name}\")");
            assert!(guarded.contains(&line), "the shard's tests do not say {line}");
        }
    }

    #[test]
    fn the_page_tells_every_rule() {
        let page = include_str!("../README.md");
        let from = page.find(BEGINS).expect("the table's place") + BEGINS.len();
        let table = &page[from..from + page[from..].find(ENDS).expect("the place's end")];
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(rows.len(), Rule::ALL.len(), "make the table anew: canaries --write");
        for (rule, row) in Rule::ALL.into_iter().zip(rows) {
            assert!(row.starts_with(&format!("| {rule:?} |")), "{row:?} is not about {rule:?}");
            assert!(!row.contains("| nothing |"), "{row}");
        }
    }
}
