//! How far rows are that change owners: what was decided, and bars by member.
//!
//! Invariant: a bar is full when the member owns all that it is to own, and keeps nothing that it is not to own.

use std::collections::BTreeMap;

use crate::cli::paint::Paint;
use crate::cli::words::{count, grouped};
use crate::wire::{Changed, PartitionShown, RingShown};

/// How many characters a bar has.
const BAR: usize = 30;
/// How many members are drawn; those with most ahead of them are.
const MEMBERS: usize = 20;

/// What a change came to.
pub(crate) fn changed_text(changed: &Changed) -> String {
    let Changed { epoch, changed, partitions } = changed;
    let decided = if *changed {
        format!("Decided: the ring is at epoch {epoch}.")
    } else {
        format!("It is so already, and the ring stays at epoch {epoch}.")
    };
    let rows = match partitions {
        0 => "No partition changes owners.".to_owned(),
        some => format!(
            "{} to change owners: `ringdove status` says how far that is.",
            count((*some).into(), "partition is", "partitions are")
        ),
    };
    format!("{decided} {rows}\n")
}

/// What members have ahead of them, in slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// Seats to get, and copies to drop, by the member's name.
    members: BTreeMap<String, u32>,
    /// Partitions that are not yet as they are to be.
    partitions: u32,
}

impl Ahead {
    /// What a ring says of it.
    pub(crate) fn of(ring: &RingShown) -> Self {
        let mut ahead = Ahead::default();
        for partition in ring.partitions.iter().filter(|at| !rests(at)) {
            ahead.partitions += 1;
            let goal = if partition.goal.is_empty() { &partition.owners } else { &partition.goal };
            let comes = goal.iter().filter(|name| !partition.owners.contains(name));
            let goes = partition.owners.iter().filter(|name| !goal.contains(name));
            for name in comes.chain(goes).chain(&partition.former) {
                *ahead.members.entry(name.clone()).or_default() += u32::from(partition.slots);
            }
        }
        ahead
    }

    /// Takes in what lay ahead at another time, where that is more.
    pub(crate) fn widen(&mut self, other: &Ahead) {
        self.partitions = self.partitions.max(other.partitions);
        for (name, slots) in &other.members {
            let known = self.members.entry(name.clone()).or_default();
            *known = (*known).max(*slots);
        }
    }

    /// Whether nothing lies ahead.
    pub(crate) fn is_over(&self) -> bool {
        self.partitions == 0
    }
}

fn rests(at: &PartitionShown) -> bool {
    at.change.is_empty() && at.goal.is_empty() && at.former.is_empty()
}

/// One bar for all partitions, and one for each member that gets or gives.
pub(crate) fn bars(
    all: &Ahead,
    now: &Ahead,
    epoch: u32,
    width: usize,
    paint: Paint,
) -> Vec<String> {
    let mut members: Vec<(&String, u32)> =
        all.members.iter().map(|(name, most)| (name, *most)).collect();
    members.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let hidden = members.len().saturating_sub(MEMBERS);
    members.truncate(MEMBERS);
    members.sort();
    let label =
        members.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("all".len());
    let label = label.min(width / 3);
    let line = |name: &str, most: u32, left: u32, unit: &str| {
        let name: String = name.chars().take(label).collect();
        let pad = " ".repeat(label - name.chars().count());
        let done = most.saturating_sub(left);
        format!(
            "{name}{pad} {} {} of {} {unit}",
            bar(done, most, paint),
            grouped(done.into()),
            grouped(most.into())
        )
    };
    let mut lines = vec![format!(
        "{} · epoch {epoch}",
        line("all", all.partitions, now.partitions, "partitions")
    )];
    let ahead = |name: &String| now.members.get(name).copied().unwrap_or(0);
    lines.extend(members.iter().map(|(name, most)| line(name, *most, ahead(name), "slots")));
    if hidden > 0 {
        lines.push(format!(
            "… and {}",
            count(hidden as u64, "member with less", "members with less")
        ));
    }
    lines
}

fn bar(done: u32, most: u32, paint: Paint) -> String {
    let filled = if most == 0 { BAR } else { done as usize * BAR / most as usize };
    format!("[{}{}]", paint.good(&"#".repeat(filled)), paint.dim(&".".repeat(BAR - filled)))
}
