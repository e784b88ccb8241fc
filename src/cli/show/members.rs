//! `members` as text.

use std::time::Duration;

use crate::cli::columns::columns;
use crate::cli::paint::Paint;
use crate::cli::words::{ago, wrapped};
use crate::wire::MemberLine;

/// One row a member, with its two-letter state; the leader is marked.
pub(crate) fn members_text(members: &[MemberLine], width: usize, paint: Paint) -> String {
    if members.is_empty() {
        return "This node is not in a cluster yet. `ringdove status` says whom it waits for.\n"
            .to_owned();
    }
    let mut rows = vec![head(&["ST", "NAME", "ADDRESS", "ZONE", "SHARE", "HEARD", "ID"])];
    let mut sorted: Vec<&MemberLine> = members.iter().collect();
    sorted.sort_by_key(|member| (&member.name, member.number));
    rows.extend(sorted.iter().copied().map(row));
    let table = columns(&rows, &[4], |row, column, cell| match (row, column) {
        (0, _) => paint.dim(cell),
        (_, 0) if cell.starts_with('U') => paint.good(cell),
        (_, 0) => paint.bad(cell),
        _ => cell.to_owned(),
    });
    let notes = sorted.iter().filter(|member| !member.note.is_empty());
    let notes: String = notes.map(|member| wrapped(&member.note, "", "  ", width)).collect();
    let legend = "U up, D down · N normal, J joining, L leaving · * drives ring changes";
    format!("{table}{}\n{notes}", paint.dim(legend))
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn row(member: &MemberLine) -> Vec<String> {
    let heard = match (member.me, member.seen_ms) {
        (true, _) => "answers".to_owned(),
        (false, Some(elapsed)) => format!("{} ago", ago(Duration::from_millis(elapsed))),
        // Before there is a cluster only those are listed who answer.
        (false, None) if member.state == "UJ" => "answers".to_owned(),
        (false, None) => "never".to_owned(),
    };
    let name = if member.leader { format!("{} *", member.name) } else { member.name.clone() };
    let zone = if member.zone.is_empty() { "-" } else { &member.zone };
    let share = member.share_percent.trim_end_matches(['%', ' ']);
    let id = member.id.get(..8).unwrap_or(&member.id);
    vec![
        member.state.clone(),
        name,
        member.addr.clone(),
        zone.to_owned(),
        format!("{share} %"),
        heard,
        id.to_owned(),
    ]
}
