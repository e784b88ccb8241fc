//! What `doctor` found, as text: what, since when, what to do.

use std::time::Duration;

use crate::cli::paint::Paint;
use crate::cli::words::{ago, wrapped};
use crate::wire::Finding;

/// One paragraph for each finding, the gravest first.
pub(crate) fn doctor_text(findings: &[Finding], width: usize, paint: Paint) -> String {
    if findings.is_empty() {
        return "Nothing is stuck: every member answers, and no row is on the move.\n".to_owned();
    }
    findings.iter().map(|finding| paragraph(finding, width, paint)).collect()
}

fn paragraph(finding: &Finding, width: usize, paint: Paint) -> String {
    let since = finding.since_ms.map(|ms| format!(" For {}.", ago(Duration::from_millis(ms))));
    let sentence = format!("{}{}", finding.what, since.unwrap_or_default());
    let (mark, painted) = match finding.grade.as_str() {
        "bad" => ("!!", paint.bad("!!")),
        _ => ("..", paint.dim("..")),
    };
    let what = wrapped(&format!("{mark} {sentence}"), "", "   ", width);
    let what = what.replacen(mark, &painted, 1);
    if finding.next.is_empty() {
        return what;
    }
    what + &wrapped(&finding.next, "   > ", "     ", width)
}
