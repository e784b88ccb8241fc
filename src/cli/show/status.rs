//! `status` as text: what an operator needs to know, in the order in which they ask.

use crate::cli::columns::columns;
use crate::cli::paint::Paint;
use crate::cli::words::{count, list};
use crate::wire::Status;

/// The cluster in sentences.
pub(crate) fn status_text(status: &Status, paint: Paint) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut say = |label: &str, text: String| rows.push(vec![label.to_owned(), text]);
    if status.cluster_id.is_empty() {
        say("cluster", "being founded".to_owned());
        say("health", format!("{}: nothing can be read or written yet", health_word(status)));
        if !status.waiting.is_empty() {
            say("waits", status.waiting.clone());
        }
    } else {
        say("cluster", cluster(status));
        say("health", health(status));
        say("survives", survives(status));
        say("data", data(status));
        say("ring", ring(status));
        if !status.waiting.is_empty() {
            say("waits", status.waiting.clone());
        }
    }
    say("asked", asked(status));
    if status.conflicts > 0 {
        say("next", "ringdove siblings list   shows the keys with conflicting values".to_owned());
    }
    let mut text = columns(&rows, &[], |row, column, cell| match (row, column) {
        (_, 0) => paint.bold(cell),
        (1, _) => match status.health.as_str() {
            "healthy" => paint.good(cell),
            "degraded" => paint.warn(cell),
            _ => paint.bad(cell),
        },
        _ => cell.to_owned(),
    });
    if !status.sentences.is_empty() {
        text.push('\n');
        status.sentences.iter().for_each(|sentence| {
            text.push_str(sentence);
            text.push('\n');
        });
    }
    text
}

fn health_word(status: &Status) -> String {
    status.health.to_uppercase()
}

fn cluster(status: &Status) -> String {
    let up = match status.members - status.members_up.min(status.members) {
        0 => "all up".to_owned(),
        down => format!("{} up, {down} down", status.members_up),
    };
    let (members, epoch) = (count(status.members.into(), "member", "members"), status.epoch);
    let copies = count(u64::from(status.copies).min(status.members.into()), "copy", "copies");
    format!("{} · {members}, {up} · {copies} of everything · ring {epoch}", status.cluster_id)
}

fn health(status: &Status) -> String {
    let word = health_word(status);
    if status.partitions_unavailable > 0 {
        format!(
            "{word}: {} of {} partitions have no quorum of owners up; there, only levels below \
             quorum and sloppy writes are served",
            status.partitions_unavailable, status.partitions
        )
    } else if status.partitions_degraded > 0 {
        format!(
            "{word}: every key is readable and writable at quorum; {} of {} partitions lack a copy",
            status.partitions_degraded, status.partitions
        )
    } else {
        format!("{word}: every key is readable and writable, and has all its owners up")
    }
}

fn survives(status: &Status) -> String {
    if status.partitions_unavailable > 0 {
        return "nothing more: some keys are without a quorum already".to_owned();
    }
    match status.survives {
        0 => "no further node failure without losing quorum for some keys".to_owned(),
        more => format!(
            "{} with every key still readable and writable at quorum",
            count(more.into(), "more node failure", "more node failures")
        ),
    }
}

fn data(status: &Status) -> String {
    let keys = count(status.keys, "key", "keys");
    let conflicts = match status.conflicts {
        0 => "none with conflicting values".to_owned(),
        some => format!("{} with conflicting values", count(some, "key", "keys")),
    };
    let hints = match status.hints_pending {
        0 => "no hints waiting".to_owned(),
        some => format!("{} waiting for absent owners", count(some, "hint", "hints")),
    };
    format!("{keys} · {conflicts} · {hints}")
}

fn ring(status: &Status) -> String {
    let partitions = count(status.partitions.into(), "partition", "partitions");
    let moves = match status.moves.as_slice() {
        [] => "no changes under way".to_owned(),
        moves => format!("under way: {}", moves.join("; ")),
    };
    format!("{partitions}, {} whole · {moves}", status.partitions_whole)
}

fn asked(status: &Status) -> String {
    match status.missing.as_slice() {
        [] => format!("node {}; every member answered it", status.node),
        missing => {
            format!("node {}; no answer from {}, so counts may be low", status.node, list(missing))
        }
    }
}
