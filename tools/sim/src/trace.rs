//! What happened in a run, one line per event, for people.
//!
//! Invariant: the same seed gives the same lines, byte for byte. Nothing is formatted unless somebody
//! wants to read it.

use std::fmt::Write;
use std::time::Duration;

use ringdove::causality::{Delta, Value};
use ringdove::wire::{Basis, Frame, Message};

/// The lines so far, if anybody reads them.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Option<String>,
}

impl Trace {
    /// A trace that keeps its lines, or one that drops them.
    pub(crate) fn new(kept: bool) -> Self {
        Trace { lines: kept.then(String::new) }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, now: Duration, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{:>13.6} {}", now.as_secs_f64(), text());
        }
    }

    /// All lines, each ended by a newline.
    pub(crate) fn into_text(self) -> String {
        self.lines.unwrap_or_default()
    }
}

/// A frame in a few words.
pub(crate) fn brief(frame: &Frame) -> String {
    format!("slot {} #{:x} {}", frame.slot, frame.request, said(&frame.message))
}

fn said(message: &Message) -> String {
    match message {
        Message::Put(put) => {
            let basis = match &put.basis {
                Basis::Blind => "blind",
                Basis::Overwrite => "overwrite",
                Basis::Context(_) => "context",
            };
            let verb = if put.value.is_some() { "put" } else { "delete" };
            let strict = if put.strict { "strict" } else { "sloppy" };
            let forwarded = if put.forwarded { " forwarded" } else { "" };
            let (key, level, operation) = (&put.key, put.level, put.operation);
            format!("{verb} {key} {basis} level {level} {strict} operation {operation}{forwarded}")
        }
        Message::PutReply(reply) => {
            let dot = reply.dot.map_or_else(|| "unknown".to_owned(), |dot| dot.to_string());
            let (outcome, needed) = (reply.outcome, reply.needed);
            let (owners, fallbacks) = (reply.owners, reply.fallbacks);
            format!(
                "put-reply {outcome:?} dot {dot} owners {owners} fallbacks {fallbacks} of {needed}"
            )
        }
        Message::Get(get) => {
            let forwarded = if get.forwarded { " forwarded" } else { "" };
            format!("get {} level {}{forwarded}", get.key, get.level)
        }
        Message::GetReply(reply) => format!(
            "get-reply {} answered {} of {} by {:?}",
            values(&reply.values),
            reply.answered,
            reply.needed,
            reply.source
        ),
        Message::Failure(failure) => format!("failure {:?}: {}", failure.code, failure.message),
        Message::Store(store) => {
            format!("store {} {:?} {}", store.key, store.reason, delta(&store.delta))
        }
        Message::KeepHint(hint) => {
            format!("keep-hint {} for n{} {}", hint.key, hint.owed_to, delta(&hint.delta))
        }
        Message::Stored => "stored".to_owned(),
        Message::Declined(why) => format!("declined {why:?}"),
        Message::Fetch(fetch) => format!("fetch {} have {}", fetch.key, dots(&fetch.have)),
        Message::Fetched(fetched) => {
            let held: Vec<_> = fetched.entry.dots().collect();
            let residual = fetched.entry.residual();
            format!("fetched clock {} values {} residual {residual}", fetched.clock, dots(&held))
        }
        Message::Summary(summary) => {
            let (class, classes) = (summary.class, summary.classes);
            format!("summary class {class}/{classes} partitions {}", summary.partitions.len())
        }
        Message::SlotHashes(hashes) => {
            let (class, classes) = (hashes.class, hashes.classes);
            format!("slot-hashes class {class}/{classes} slots {}", hashes.slots.len())
        }
        Message::ClocksWanted(wanted) => format!("clocks-wanted {}", wanted.slots.len()),
        Message::ClosingWanted(wanted) => format!("closing-wanted {}", wanted.slots.len()),
        Message::Closing(closing) => {
            let reports: Vec<String> =
                closing.reports.iter().map(|(slot, report)| format!("{slot} {report}")).collect();
            format!("closing of {} listed: {}", closing.listed, reports.join(" "))
        }
        Message::Clocks(clocks) => {
            let clocks = clocks.clocks.iter().map(|(slot, clock)| format!("{slot} {clock}"));
            format!("clocks {}", clocks.collect::<Vec<_>>().join(", "))
        }
        Message::Ask(ask) => format!("ask {:x} clock {}", ask.nonce, ask.clock),
        Message::Page(page) => {
            let entries = page.entries.iter().map(|(key, entry)| {
                let held: Vec<_> = entry.dots().collect();
                format!("{key}={} residual {}", dots(&held), entry.residual())
            });
            let entries = entries.collect::<Vec<_>>().join(", ");
            let (nonce, clock, began) = (page.nonce, &page.clock, &page.began);
            let last = if page.upto.is_none() { " last" } else { "" };
            let deletes = page.deletes.iter().map(|(dot, key)| format!(" {dot} deletes {key}"));
            let deletes: String = deletes.collect();
            let mark =
                page.mark.as_ref().map_or(String::new(), |mark| format!(" full, mark {mark}"));
            format!("page {nonce:x} clock {clock} began {began}{last} [{entries}]{deletes}{mark}")
        }
        Message::Question(_) => "question".to_owned(),
        Message::Answer(_) => "answer".to_owned(),
        Message::Inspect(inspect) => format!("inspect {}", inspect.key),
        Message::Inspected(_) => "inspected".to_owned(),
        Message::Count(_) => "count".to_owned(),
        Message::Counted(_) => "counted".to_owned(),
    }
}

fn dots(dots: &[ringdove::causality::Dot]) -> String {
    let names: Vec<String> = dots.iter().map(ToString::to_string).collect();
    format!("[{}]", names.join(" "))
}

fn values(values: &[(ringdove::causality::Dot, Value)]) -> String {
    let shown = values.iter().map(|(dot, value)| format!("{dot}=op{}", value.meta.operation - 1));
    format!("[{}]", shown.collect::<Vec<_>>().join(" "))
}

fn delta(delta: &Delta<Value>) -> String {
    let mut text = values(&delta.values);
    if !delta.kept.is_empty() {
        text.push_str(&format!(" kept {}", dots(&delta.kept)));
    }
    if let Some(dot) = delta.deleted {
        text.push_str(&format!(" deleted {dot}"));
    }
    text.push_str(&format!(" context {}", delta.context));
    text
}
