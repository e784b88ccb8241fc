//! `status` as text: what is wrong and what to do, then the figures.

use crate::cli::columns::columns;
use crate::cli::paint::Paint;
use crate::cli::words::{count, list, wrapped};
use crate::wire::Status;

/// The cluster in sentences, and a few rows of figures.
pub(crate) fn status_text(status: &Status, width: usize, paint: Paint) -> String {
    let mut text = String::new();
    for sentence in &status.sentences {
        text.push_str(&headed(&wrapped(sentence, "", "  ", width), status, paint));
    }
    text.push('\n');
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut say = |label: &str, text: String| rows.push(vec![label.to_owned(), text]);
    if !status.cluster_id.is_empty() {
        say("cluster", cluster(status));
        say("ring", ring(status));
        say("data", data(status));
    }
    say("asked", asked(status));
    text + &columns(&rows, &[], |_, column, cell| match column {
        0 => paint.bold(cell),
        _ => cell.to_owned(),
    })
}

/// The sentence about health begins with a word that is to be seen from afar.
fn headed(sentence: &str, status: &Status, paint: Paint) -> String {
    let word = sentence.split_once(':').filter(|(word, _)| word.to_lowercase() == status.health);
    let Some((word, rest)) = word else { return sentence.to_owned() };
    let word = word.to_uppercase();
    let word = match status.health.as_str() {
        "healthy" => paint.good(&word),
        "degraded" => paint.warn(&word),
        _ => paint.bad(&word),
    };
    format!("{word}:{rest}")
}

fn cluster(status: &Status) -> String {
    let up = match status.members - status.members_up.min(status.members) {
        0 => "all up".to_owned(),
        down => format!("{} up, {down} down", status.members_up),
    };
    let members = count(status.members.into(), "member", "members");
    let copies = count(u64::from(status.copies).min(status.members.into()), "copy", "copies");
    format!("{} · {members}, {up} · {copies} of everything", status.cluster_id)
}

fn ring(status: &Status) -> String {
    let partitions = count(status.partitions.into(), "partition", "partitions");
    let moves = match status.moves.as_slice() {
        [] => "no changes under way".to_owned(),
        moves => format!("under way: {}", moves.join("; ")),
    };
    let (epoch, whole) = (status.epoch, status.partitions_whole);
    format!("epoch {epoch} · {partitions}, {whole} with all owners up · {moves}")
}

fn data(status: &Status) -> String {
    let keys = count(status.keys, "key", "keys");
    let conflicts = match status.conflicts {
        0 => "none in conflict".to_owned(),
        some => format!("{some} in conflict"),
    };
    let hints = match status.hints_pending {
        0 => "no hints waiting".to_owned(),
        some => format!("{} waiting", count(some, "hint", "hints")),
    };
    format!("{keys}, {conflicts} · {hints}")
}

fn asked(status: &Status) -> String {
    match status.missing.as_slice() {
        [] if status.cluster_id.is_empty() => status.node.clone(),
        [] => format!("{}; every member answered it", status.node),
        missing => {
            format!("{}; no answer from {}, so counts may be low", status.node, list(missing))
        }
    }
}
