//! Stories of a few nodes, told in scripts; and tests of what scripts tell badly.
//!
//! Scripts live in `tests/scripts/shard`; each begins with what it shows. A script that guards a rule
//! is run a second time with that rule broken: then it must end otherwise, or it guards nothing.

mod chaos;
mod cluster;
mod cost;
mod differential;
mod failures;
mod limits;
mod steps;
mod story;
mod trace;

use std::path::{Path, PathBuf};

use crate::rules::{Rule, without};

use story::Story;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/shard")
}

fn ends_as_told(name: &str) -> bool {
    let path = folder().join(name);
    let told = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    goldenscript::generate(&mut Story::default(), &told).expect("the script runs") == told
}

/// The script that guards each rule kept in this folder.
const GUARDED: [(Rule, &str); 34] = [
    (Rule::PutContext, "a_put_returns_only_what_its_writer_saw"),
    (Rule::Attempts, "two_attempts_are_two_dots_and_one_value"),
    (Rule::AdoptLast, "a_clock_is_adopted_with_the_last_page"),
    (Rule::AnswerNonce, "a_page_for_an_earlier_life_is_dropped"),
    (Rule::AckAfterSync, "an_acknowledgement_waits_for_the_sync"),
    (Rule::HintAfterAck, "a_hint_stays_until_its_owner_has_it"),
    (Rule::HintIsNoCopy, "a_fallback_keeps_hints_and_no_copy"),
    (Rule::StrictOwners, "a_strict_write_counts_owners_only"),
    (Rule::CountOnce, "a_node_counts_once"),
    (Rule::RepairPasses, "repair_passes_the_sibling_limit"),
    (Rule::DeleteLog, "a_delete_is_told_by_the_log"),
    (Rule::Mark, "who_lacks_what_the_mark_covers_is_sent_all"),
    (Rule::AdoptBegan, "a_clock_is_adopted_as_it_was_when_the_exchange_began"),
    (Rule::InheritMark, "who_was_sent_all_takes_over_the_mark"),
    (Rule::DamagedClock, "a_damaged_log_claims_nothing_that_it_lost"),
    (Rule::SalvageSeen, "a_damaged_log_keeps_what_it_had_seen"),
    (Rule::TellAgain, "a_delete_that_only_a_damaged_log_told_is_told_again"),
    (Rule::TellAgain, "a_delete_beside_a_value_is_told_again_too"),
    (Rule::KeptIsHere, "a_repair_is_for_the_copy_that_was_asked"),
    (Rule::RecoverFirst, "who_lost_data_counts_for_no_read_before_it_caught_up"),
    (Rule::CloseCovered, "a_dead_actor_is_folded_by_who_has_all_of_it"),
    (Rule::OwnLifeSpared, "a_life_in_use_is_not_listed"),
    (Rule::LifeFence, "a_late_delta_of_a_dead_actor_is_not_taken"),
    (Rule::NoHintsListed, "a_dead_actor_is_listed_when_its_hints_are_delivered"),
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

#[test]
fn every_script_ends_as_told() {
    let mut count = 0;
    for file in std::fs::read_dir(folder()).expect("the folder is there") {
        let path = file.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.starts_with("# "), "{}: begins with what it shows", path.display());
        // Set UPDATE_GOLDENFILES=1 to write what happened into the script, then review the diff.
        goldenscript::run(&mut Story::default(), &path).expect("the script runs");
        count += 1;
    }
    assert!(count >= GUARDED.len());
}

#[test]
fn every_rule_is_needed_by_its_script() {
    for (rule, name) in GUARDED {
        assert!(ends_as_told(name), "{name}");
        assert!(!without(rule, || ends_as_told(name)), "{name} ends the same without {rule:?}");
    }
}
