//! `explain`: who wrote what, having seen what; who holds it now; and why values conflict.
//!
//! Invariant: what is said of cause comes from `story`, which looks at dots and contexts only;
//! clock times stand beside it as information.

mod graph;
mod json;
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use self::graph::{Event, draw};
pub(crate) use self::json::explain_json;
use self::story::{Dots, Story, Told};
use super::key_words;
use crate::cli::columns::columns;
use crate::cli::paint::Paint;
use crate::cli::words::{apart, count, day, list, preview, time_of_day, wrapped};
use crate::key::Key;
use crate::wire::{Explanation, ReplicaShown};

/// The explanation as text.
pub(crate) fn explain_text(
    key: &Key,
    explanation: &Explanation,
    width: usize,
    paint: Paint,
) -> String {
    let story = Story::of(explanation);
    let mut text = format!("{}\n", paint.bold(&verdict(key, &story)));
    let _ = writeln!(text, "{}", paint.dim(&place(&story)));
    if !story.values.is_empty() {
        let days: BTreeSet<String> =
            story.values.iter().map(|told| day(told.shown.written_at_ms)).collect();
        let days = list(&days.into_iter().collect::<Vec<_>>());
        let heading = "Who wrote what, having seen what";
        let _ = writeln!(text, "\n{}", paint.bold(heading));
        let about = format!("time runs down; a line means \"had seen\"; clocks as of {days}, UTC");
        let _ = writeln!(text, "{}\n", paint.dim(&about));
        text.push_str(&timeline(&story, width, paint));
    }
    let why = reasons(&story);
    if !why.is_empty() {
        let heading =
            if story.live_writes() > 1 { "Why they conflict" } else { "How that came about" };
        let _ = writeln!(text, "\n{}\n", paint.bold(heading));
        why.iter().for_each(|sentence| text.push_str(&wrapped(sentence, "  ", "  ", width)));
    }
    let _ = writeln!(text, "\n{}\n", paint.bold("Who holds what"));
    text.push_str(&holders(&story, paint));
    let outlook = outlook(&story);
    if !outlook.is_empty() {
        text.push('\n');
        outlook.iter().for_each(|sentence| text.push_str(&wrapped(sentence, "  ", "  ", width)));
    }
    if story.live_writes() > 1 {
        let words = key_words(key);
        let _ =
            writeln!(text, "\n{} ringdove siblings resolve {words} --pick 1", paint.bold("next:"));
        let _ = writeln!(text, "      ringdove siblings resolve {words} --value MERGED");
    }
    text
}

/// The state of the key in one sentence.
fn verdict(key: &Key, story: &Story<'_>) -> String {
    let missing = !story.explanation.missing.is_empty();
    match story.live_writes() {
        0 if story.explanation.replicas.is_empty() => {
            format!("{key}: no member answered, so nothing is known of it.")
        }
        0 if missing => format!("{key} has no value on the members that answered."),
        0 => format!("{key} has no value."),
        1 if missing => format!("{key} has one value on the members that answered."),
        1 => match behind(story).as_slice() {
            [] => format!("{key} has one value, and every owner holds it."),
            lacking => {
                let names: Vec<&str> = lacking.iter().map(|r| r.name.as_str()).collect();
                let verb = if names.len() == 1 { "lacks" } else { "lack" };
                format!("{key} has one value, which {} {verb} still.", list(&names))
            }
        },
        many if missing => {
            format!("{key} has {many} conflicting values on the members that answered.")
        }
        many => format!("{key} has {many} conflicting values."),
    }
}

fn place(story: &Story<'_>) -> String {
    let explanation = story.explanation;
    let answered = explanation.replicas.len();
    let asked = answered + explanation.missing.len();
    format!(
        "slot {} · owned by {} · {answered} of {} answered",
        explanation.slot,
        list(&story.owners()),
        count(asked as u64, "member", "members"),
    )
}

fn timeline(story: &Story<'_>, width: usize, paint: Paint) -> String {
    // What no member has a value of any more is drawn once, above everything.
    let past = story.values.iter().any(|told| told.parents.is_empty() && !told.earlier.is_empty());
    let shift = usize::from(past);
    let mut events = Vec::new();
    if past {
        let mut all = Dots::default();
        story.values.iter().for_each(|told| all.add(&told.earlier));
        let slot = story.explanation.slot;
        let text =
            vec![format!("earlier writes in slot {slot}: {}", story.named(&all.to_string()))];
        events.push(Event { parents: Vec::new(), reaches_bottom: false, mark: '○', text });
    }
    for told in &story.values {
        let mut parents: Vec<usize> = told.parents.iter().map(|parent| parent + shift).collect();
        if past && parents.is_empty() && !told.earlier.is_empty() {
            parents.push(0);
        }
        events.push(Event {
            parents,
            reaches_bottom: told.live,
            mark: if told.live { '●' } else { '○' },
            text: beside(story, told, width),
        });
    }
    let rows = draw(&events, &bottom(story));
    let lanes = rows.iter().map(|row| row.lines.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let padding = " ".repeat(lanes - row.lines.chars().count());
        let told = row.event.and_then(|at| at.checked_sub(shift)).map(|at| &story.values[at]);
        let said = match told {
            Some(told) => painted(told, &row.text, paint),
            None => row.text.clone(),
        };
        let line = format!("  {}{padding}   {said}", paint.nth(0, &row.lines));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn painted(told: &Told<'_>, line: &str, paint: Paint) -> String {
    match line.strip_prefix(&told.label) {
        Some(rest) if told.live => format!("{}{rest}", paint.bold(&told.label)),
        Some(rest) => paint.dim(&format!("{}{rest}", told.label)),
        None => paint.dim(line),
    }
}

/// What is said beside a value's mark: what it is; who wrote it; what its writer had seen.
fn beside(story: &Story<'_>, told: &Told<'_>, width: usize) -> Vec<String> {
    let shown = told.shown;
    let value = preview(&shown.head, shown.len, width.saturating_sub(30).max(20));
    let indent = " ".repeat(told.label.chars().count() + 2);
    let mut lines = vec![
        format!("{}  {value}", told.label),
        format!(
            "{indent}{} wrote it via {} at {} as {}",
            shown.written_by,
            shown.via,
            time_of_day(shown.written_at_ms),
            story.named(&shown.dot),
        ),
        format!("{indent}having seen {}", seen(story, told)),
    ];
    if let Some(first) = told.attempt_of {
        let first = &story.values[first].label;
        lines.push(format!("{indent}a second attempt at the same write as {first}"));
    }
    lines
}

/// What a value's writer had seen, in words.
fn seen(story: &Story<'_>, told: &Told<'_>) -> String {
    let mut parts = story.labels(&told.saw);
    if !told.earlier.is_empty() {
        parts.push(format!("earlier {}", story.named(&told.earlier.to_string())));
    }
    if parts.is_empty() { "nothing".to_owned() } else { list(&parts) }
}

fn bottom(story: &Story<'_>) -> String {
    match story.live_writes() {
        0 => "no value".to_owned(),
        1 => "one value".to_owned(),
        many => format!("{many} values: nobody has written having seen them all"),
    }
}

/// Why the key is as it is, in sentences.
fn reasons(story: &Story<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    let live = story.live();
    if story.live_writes() > 1 {
        match live.as_slice() {
            [one, other] => sentences.push(two(one, other)),
            many => sentences.push(format!(
                "Of {} to {}, no writer had seen any of the others when writing.",
                many[0].label,
                many[many.len() - 1].label
            )),
        }
        sentences.extend(common_past(story, &live));
        sentences.extend(blind(story));
        sentences.push(
            "None replaces another, so all are kept until somebody who has seen them writes again."
                .to_owned(),
        );
        sentences.extend(stamps(&live));
    }
    sentences.extend(gone(story));
    sentences.extend(clocks_apart(story));
    sentences
}

fn two(one: &Told<'_>, other: &Told<'_>) -> String {
    format!(
        "{} (written via {}) and {} (written via {}) were written independently: the writer of {} \
         had not seen {}, and the writer of {} had not seen {}.",
        one.label,
        one.shown.via,
        other.label,
        other.shown.via,
        one.label,
        other.label,
        other.label,
        one.label
    )
}

/// What all writers of the live values had seen.
fn common_past(story: &Story<'_>, live: &[&Told<'_>]) -> Option<String> {
    let (first, others) = live.split_first()?;
    let mut earlier = first.earlier.clone();
    let mut saw: BTreeSet<usize> = first.saw.iter().copied().collect();
    for told in others {
        earlier = earlier.and(&told.earlier);
        saw.retain(|at| told.saw.contains(at));
    }
    let mut parts = story.labels(&saw);
    if !earlier.is_empty() {
        parts.push(format!("what came before, {}", story.named(&earlier.to_string())));
    }
    let all = if live.len() == 2 { "Both" } else { "All" };
    (!parts.is_empty()).then(|| format!("{all} had seen {}.", list(&parts)))
}

/// Values whose writers had seen nothing at all.
fn blind(story: &Story<'_>) -> Option<String> {
    let blind = |told: &&Told<'_>| told.live && told.saw.is_empty() && told.earlier.is_empty();
    let values: Vec<usize> =
        story.numbered().into_iter().filter(|at| blind(&&story.values[*at])).collect();
    let (verb, it, each) = match values.len() {
        0 => return None,
        1 => ("was", "it replaces", "a node"),
        _ => ("were each", "they replace", "nodes"),
    };
    Some(format!(
        "{} {verb} written having seen nothing, blind or through {each} without anything of the \
         slot yet, so {it} nothing.",
        list(&story.labels(&values))
    ))
}

/// What the clocks say, and that they have no say.
fn stamps(live: &[&Told<'_>]) -> Option<String> {
    let (first, last) = (live.first()?, live.last()?);
    let gap = last.shown.written_at_ms - first.shown.written_at_ms;
    Some(match gap {
        0 => "By the nodes' clocks they are of the same millisecond; clocks decide nothing here."
            .to_owned(),
        gap => format!(
            "By the nodes' clocks {} is {} older than {}; clocks decide nothing here.",
            first.label,
            apart(gap),
            last.label
        ),
    })
}

/// Values that somebody still holds although they are replaced, together where the cause is the same.
fn gone(story: &Story<'_>) -> Vec<String> {
    type Cause = (Vec<usize>, Vec<String>);
    let mut causes: Vec<(Cause, Vec<usize>)> = Vec::new();
    for (at, told) in story.values.iter().enumerate().filter(|(_, told)| !told.live) {
        let seen = |other: &usize| story.values[*other].saw.contains(&at);
        let later: Vec<usize> = (0..story.values.len()).filter(seen).collect();
        let dot = &told.shown.dot;
        let names = |inside: &dyn Fn(&ReplicaShown) -> bool| -> Vec<String> {
            let replicas = story.explanation.replicas.iter().filter(|replica| inside(replica));
            replicas.map(|replica| replica.name.clone()).collect()
        };
        let nodes = if later.is_empty() {
            names(&|replica| replica.replaced.contains(dot))
        } else {
            names(&|replica| replica.values.iter().any(|value| value.dot == *dot))
        };
        match causes.iter_mut().find(|(cause, _)| *cause == (later.clone(), nodes.clone())) {
            Some((_, values)) => values.push(at),
            None => causes.push(((later, nodes), vec![at])),
        }
    }
    let mut sentences = Vec::new();
    for ((later, nodes), values) in causes {
        let labels = list(&story.labels(&values));
        let (is, it) = if values.len() == 1 { ("is", "it") } else { ("are", "them") };
        let nodes_named = list(&nodes);
        sentences.push(if later.is_empty() {
            format!(
                "{labels} {is} gone at {nodes_named}: deleted there, or replaced by a write of \
                 which no value is left. Copies elsewhere go as soon as they hear of that."
            )
        } else {
            let by = list(&story.labels(&later));
            let hold = if nodes.len() == 1 { "holds" } else { "hold" };
            let still = match nodes.as_slice() {
                [] => "Only a hint brings".to_owned(),
                _ => format!("{nodes_named} {hold}"),
            };
            format!(
                "{labels} {is} replaced by {by}, whose writer had seen {it}. {still} {it} still."
            )
        });
    }
    sentences
}

/// A value that is stamped earlier than one its writer had seen shows that clocks differ: for each
/// pair of nodes, by how much at least.
fn clocks_apart(story: &Story<'_>) -> Vec<String> {
    let mut worst: BTreeMap<(&str, &str), (u64, &Told<'_>, &Told<'_>)> = BTreeMap::new();
    for told in &story.values {
        for seen in told.saw.iter().map(|at| &story.values[*at]) {
            let behind = seen.shown.written_at_ms.saturating_sub(told.shown.written_at_ms);
            let pair = (told.shown.via.as_str(), seen.shown.via.as_str());
            if behind > worst.get(&pair).map_or(0, |(most, _, _)| *most) {
                worst.insert(pair, (behind, told, seen));
            }
        }
    }
    let sentence = |((via, other), (behind, told, seen)): (_, (u64, &Told<'_>, &Told<'_>))| {
        let clocks = if via == other {
            format!("The clock of {via} was set back by at least {}", apart(behind))
        } else {
            format!("The clock of {via} is at least {} behind that of {other}", apart(behind))
        };
        format!(
            "{clocks}: {} is stamped before {}, which its writer had seen. The order drawn above is \
             the true one.",
            told.label, seen.label
        )
    };
    worst.into_iter().map(sentence).collect()
}

fn holders(story: &Story<'_>, paint: Paint) -> String {
    let clock = format!("CLOCK OF SLOT {}", story.explanation.slot);
    let mut rows = vec![
        ["NODE", "ROLE", "HOLDS", "LACKS", "REPLACED", "KEEPS FOR OTHERS", &clock]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut replicas: Vec<&ReplicaShown> = story.explanation.replicas.iter().collect();
    replicas.sort_by_key(|replica| (!replica.owner, &replica.name));
    let interesting = |replica: &&&ReplicaShown| {
        replica.owner || !replica.hints.is_empty() || !replica.values.is_empty()
    };
    rows.extend(replicas.iter().filter(interesting).map(|replica| holder(story, replica)));
    let owners: BTreeSet<String> = story.owners().into_iter().collect();
    for name in story.missing() {
        let role = if owners.contains(&name) { "owner" } else { "no owner" };
        rows.push(vec![name, role.to_owned(), "(no answer)".to_owned()]);
    }
    // Columns in which nobody has anything are left out.
    let used: Vec<usize> = (0..rows[0].len())
        .filter(|column| {
            *column < 3 || rows[1..].iter().any(|row| row.get(*column).is_some_and(|c| c != "-"))
        })
        .collect();
    let kept = |row: Vec<String>| {
        let cells = row.into_iter().enumerate().filter(|(column, _)| used.contains(column));
        cells.map(|(_, cell)| cell).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(kept).collect();
    let table = columns(&rows, &[], |row, _, cell| match row {
        0 => paint.dim(cell),
        _ if cell == "(no answer)" => paint.bad(cell),
        _ => cell.to_owned(),
    });
    table.lines().map(|line| format!("  {line}\n")).collect()
}

fn holder(story: &Story<'_>, replica: &ReplicaShown) -> Vec<String> {
    let labels = |values: Vec<usize>| match story.labels(&values) {
        labels if labels.is_empty() => "-".to_owned(),
        labels => labels.join(" "),
    };
    let lacks = if replica.owner { labels(story.lacked_by(replica)) } else { "-".to_owned() };
    let mut clock = story.named(&replica.clock);
    if !replica.residual.is_empty() && replica.residual != "{}" {
        let _ = write!(clock, " and, for this key, {}", story.named(&replica.residual));
    }
    vec![
        replica.name.clone(),
        if replica.owner { "owner" } else { "stand-in" }.to_owned(),
        labels(story.held_by(replica)),
        lacks,
        labels(story.replaced_at(replica)),
        hints(story, replica),
        clock,
    ]
}

/// What a node keeps for others: `#1 for d and e`.
fn hints(story: &Story<'_>, replica: &ReplicaShown) -> String {
    let mut owed: Vec<(String, Vec<&str>)> = Vec::new();
    for hint in &replica.hints {
        let label = |dot: &String| match story.values.iter().find(|told| told.shown.dot == *dot) {
            Some(told) => told.label.clone(),
            None => format!("{} (a delete, or replaced since)", story.named(dot)),
        };
        let what = hint.dots.iter().map(label).collect::<Vec<_>>().join(" ");
        match owed.iter_mut().find(|(other, _)| *other == what) {
            Some((_, whom)) => whom.push(&hint.owed_to),
            None => owed.push((what, vec![&hint.owed_to])),
        }
    }
    let parts: Vec<String> =
        owed.iter().map(|(what, whom)| format!("{what} for {}", list(whom))).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join("; ") }
}

/// The owners that answered and lack a live value.
fn behind<'s>(story: &'s Story<'_>) -> Vec<&'s ReplicaShown> {
    let replicas = story.explanation.replicas.iter().filter(|replica| replica.owner);
    replicas.filter(|replica| !story.lacked_by(replica).is_empty()).collect()
}

/// What is still to come: repair, hints, members that were not heard.
fn outlook(story: &Story<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut lacking: Vec<(Vec<usize>, Vec<&str>)> = Vec::new();
    for replica in behind(story) {
        let lacked = story.lacked_by(replica);
        match lacking.iter_mut().find(|(other, _)| *other == lacked) {
            Some((_, names)) => names.push(&replica.name),
            None => lacking.push((lacked, vec![&replica.name])),
        }
    }
    for (lacked, names) in lacking {
        let verb = if names.len() == 1 { "lacks" } else { "lack" };
        let (names, lacked) = (list(&names), list(&story.labels(&lacked)));
        sentences.push(format!(
            "{names} {verb} {lacked} still: a hint, the repair of a read, or slot sync brings it."
        ));
    }
    if !story.explanation.missing.is_empty() {
        let missing = list(&story.missing());
        sentences.push(format!("No answer from {missing}: what only they hold is not shown here."));
    }
    sentences
}
