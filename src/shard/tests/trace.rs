//! Messages and replies in words, for scripts.

use std::fmt::Display;

use crate::causality::{Delta, Dot, DotSet, Value};
use crate::ring::MemberNumber;
use crate::ring::steps::Report;
use crate::shard::Effect;
use crate::wire::{Frame, GetReply, Message, Outcome, PutReply, Reason, Source};

/// `n1:2`: the second write of node 1; `n1'3:2` in its third life.
pub(super) fn dot(dot: Dot) -> String {
    let (member, life) = (dot.actor.member(), dot.actor.life());
    let life = if life == 1 { String::new() } else { format!("'{life}") };
    format!("n{member}{life}:{}", dot.counter)
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(" "))
}

/// `{n1:1-3 n2:1}`.
pub(super) fn set(set: &DotSet) -> String {
    let rows = set.rows().map(|(actor, runs)| {
        let name = dot(Dot::new(actor, 0)).trim_end_matches(":0").to_owned();
        let runs = runs.iter().map(|(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        });
        format!("{name}:{}", runs.collect::<Vec<_>>().join(","))
    });
    let closed = (set.closed() > 0).then(|| format!("closed={}", set.closed()));
    format!("{{{}}}", rows.chain(closed).collect::<Vec<_>>().join(" "))
}

fn text(value: &Value) -> String {
    match std::str::from_utf8(&value.bytes) {
        Ok(text) if text.len() <= 20 => format!("{text:?}"),
        _ => format!("{} bytes", value.bytes.len()),
    }
}

fn delta(delta: &Delta<Value>) -> String {
    let mut parts: Vec<String> =
        delta.values.iter().map(|(at, value)| format!("{}={}", dot(*at), text(value))).collect();
    parts.extend(delta.kept.iter().map(|at| format!("{} kept", dot(*at))));
    parts.extend(delta.deleted.map(|at| format!("{} deletes", dot(at))));
    format!("{} having seen {}", list(parts), set(&delta.context))
}

fn name(member: MemberNumber) -> String {
    format!("n{member}")
}

/// A message on its way.
pub(super) fn message(from: u16, to: u16, frame: &Frame, lost: bool) -> String {
    let arrow = if lost { "-x" } else { "->" };
    format!("n{from} {arrow} n{to} {}", said(&frame.message))
}

pub(super) fn said(message: &Message) -> String {
    match message {
        Message::Put(put) => {
            let kind = if put.value.is_some() { "Put" } else { "Put (delete)" };
            format!("{kind} {} level={}", put.key, put.level)
        }
        Message::Get(get) => format!("Get {} level={}", get.key, get.level),
        Message::PutReply(reply) => put_reply(reply),
        Message::GetReply(reply) => get_reply(reply),
        Message::Failure(failure) => format!("failed ({:?}): {failure}", failure.code),
        Message::Question(question) => format!("{question:?}"),
        Message::Answer(answer) => format!("{answer:?}"),
        Message::Store(store) => {
            let reason = match store.reason {
                Reason::Write => "write",
                Reason::Repair => "repair",
                Reason::Hint => "hint",
                Reason::Sync => "sync",
            };
            format!("Store ({reason}) {} {}", store.key, delta(&store.delta))
        }
        Message::KeepHint(hint) => {
            format!("KeepHint for {} {} {}", name(hint.owed_to), hint.key, delta(&hint.delta))
        }
        Message::Stored => "Stored".into(),
        Message::Declined(why) => format!("Declined ({why:?})"),
        Message::Fetch(fetch) => {
            format!("Fetch {} have={}", fetch.key, list(fetch.have.iter().map(|at| dot(*at))))
        }
        Message::Fetched(fetched) => {
            let values = fetched.entry.values().iter().map(|(at, value)| match value {
                Some(value) => format!("{}={}", dot(*at), text(value)),
                None => dot(*at),
            });
            format!("Fetched {} clock={}", list(values), set(&fetched.clock))
        }
        Message::Summary(summary) => format!("Summary of {} partitions", summary.partitions.len()),
        Message::SlotHashes(hashes) => format!("SlotHashes of {} slots", hashes.slots.len()),
        Message::ClocksWanted(wanted) => format!("ClocksWanted of {} slots", wanted.slots.len()),
        Message::Clocks(clocks) => {
            let clocks = clocks.clocks.iter().map(|(_, clock)| set(clock));
            format!("Clocks {}", list(clocks))
        }
        Message::ClosingWanted(wanted) => format!("ClosingWanted of {} slots", wanted.slots.len()),
        Message::Closing(closing) => {
            let reports = closing.reports.iter().map(|(_, report)| set(report));
            format!("Closing listed={} {}", closing.listed, list(reports))
        }
        Message::Ask(ask) => {
            let after = ask.after.as_ref().map_or(String::new(), |after| format!(" after {after}"));
            format!("Ask clock={}{after}", set(&ask.clock))
        }
        Message::Page(page) => {
            let entries = page.entries.iter().map(|(key, entry)| {
                let values = entry.values().iter().map(|(at, value)| match value {
                    Some(value) => format!("{}={}", dot(*at), text(value)),
                    None => dot(*at),
                });
                format!("{key}{}", list(values))
            });
            let upto = page.upto.as_ref().map_or("the end".to_owned(), |key| key.to_string());
            let (entries, clock) = (list(entries), set(&page.clock));
            let deletes = page.deletes.iter().map(|(at, key)| format!("{}={key}", dot(*at)));
            let deletes = if page.deletes.is_empty() {
                String::new()
            } else {
                format!(" deletes={}", list(deletes))
            };
            let mark = page
                .mark
                .as_ref()
                .map_or(String::new(), |mark| format!(" full mark={}", set(mark)));
            let began = set(&page.began);
            format!("Page upto {upto} {entries}{deletes} clock={clock} began={began}{mark}")
        }
        Message::Inspect(inspect) => format!("Inspect {}", inspect.key),
        Message::Inspected(_) => "Inspected".into(),
        Message::Count(_) => "Count".into(),
        Message::Counted(counted) => {
            format!(
                "Counted keys={} conflicts={} hints={}",
                counted.keys, counted.conflicts, counted.hints
            )
        }
    }
}

fn put_reply(reply: &PutReply) -> String {
    let outcome = match reply.outcome {
        Outcome::Ok => "ok",
        Outcome::Unknown => "unknown",
    };
    let named = reply.dot.map_or("?".to_owned(), dot);
    format!(
        "{outcome} {named} owners={} fallbacks={} needed={} siblings={}",
        reply.owners, reply.fallbacks, reply.needed, reply.siblings
    )
}

fn get_reply(reply: &GetReply) -> String {
    let values = reply.values.iter().map(|(at, value)| format!("{}={}", dot(*at), text(value)));
    let source = match reply.source {
        Source::Owners => "",
        Source::Hints => " from hints",
        Source::Recovering => " from who is catching up",
    };
    let omitted =
        if reply.omitted > 0 { format!(" and {} more", reply.omitted) } else { String::new() };
    format!(
        "values {}{omitted} answered={} needed={}{source}",
        list(values),
        reply.answered,
        reply.needed
    )
}

/// What a client is told.
pub(super) fn effect(node: u16, effect: &Effect) -> String {
    match effect {
        Effect::Reply(_, frame) => format!("n{node} => client {}", said(&frame.message)),
        Effect::Send(to, frame) => message(node, to.0, frame, false),
        Effect::Report(report) => {
            let Report { first, since, stage, by: _ } = report;
            format!("n{node} => node {stage:?} partition {first} since epoch {since}")
        }
        Effect::Retired(old, new) => format!("n{node} => node gives up {old} for {new}"),
        Effect::Seen(actors) => format!("n{node} => node sees {}", list(actors.iter())),
        Effect::Refused(said) => format!("n{node} => node {said:?}"),
        Effect::Gathered(_, gathered) => format!(
            "n{node} => node keys={} conflicts={} hints={} missing={}{}",
            gathered.keys,
            gathered.conflicts,
            gathered.hints,
            list(gathered.missing.iter().map(|member| name(*member))),
            gathered
                .recovering
                .iter()
                .map(|(member, slots)| format!(" {} catches up in {slots} slots", name(*member)))
                .collect::<String>()
        ),
    }
}
