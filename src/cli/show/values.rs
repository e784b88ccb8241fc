//! What `get`, `put` and `siblings show` found, as text and JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::{Shape, json_line};
use crate::cli::paint::Paint;
use crate::cli::words;
use crate::client::{Got, PutDone};
use crate::key::{DEFAULT_BUCKET, Key};
use crate::wire::{Outcome, Source};

/// A key's live values in the order in which they are numbered for people: by stamp, then by dot.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub values: Vec<ShownValue>,
}

/// One live value.
#[derive(Debug, Clone)]
pub(crate) struct ShownValue {
    pub dot: String,
    pub member: u16,
    pub written_by: String,
    pub written_at_ms: u64,
    pub bytes: Bytes,
}

impl Shown {
    pub(crate) fn of(reply: &Got) -> Self {
        let value = |(dot, value): &(crate::causality::Dot, crate::causality::Value)| ShownValue {
            dot: dot.to_string(),
            member: dot.actor.member(),
            written_by: value.meta.writer.clone(),
            written_at_ms: value.meta.stamp,
            bytes: value.bytes.clone(),
        };
        let mut sorted: Vec<_> = reply.values.iter().collect();
        sorted.sort_by_key(|(dot, value)| (value.meta.stamp, *dot));
        Shown { values: sorted.into_iter().map(value).collect() }
    }
}

/// The key as a command takes it: quoted, with its bucket if it has one.
pub(crate) fn key_words(key: &Key) -> String {
    let text = match std::str::from_utf8(key.key()) {
        Ok(text) if !text.contains(char::is_control) => words::quoted(text),
        _ => format!("$'{}'", key.key().escape_ascii()),
    };
    match key.bucket() {
        DEFAULT_BUCKET => text,
        bucket => format!("{text} -b {bucket}"),
    }
}

/// Two lines for each value: what it is, and where it is from. `names` tells members by number.
pub(crate) fn siblings_lines(
    shown: &Shown,
    names: &BTreeMap<u16, String>,
    width: usize,
    paint: Paint,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, value) in shown.values.iter().enumerate() {
        let label = paint.nth(index, &format!("#{}", index + 1));
        let preview = words::preview(&value.bytes, value.bytes.len() as u64, width);
        lines.push(format!("{label}  {preview}"));
        let via = match names.get(&value.member) {
            Some(name) => name.clone(),
            None => format!("member {}", value.member),
        };
        let at = words::time(value.written_at_ms);
        let from = format!("written by {} via {via} at {at} · dot {}", value.written_by, value.dot);
        lines.push(format!("    {}", paint.dim(&from)));
    }
    lines
}

#[derive(Serialize)]
struct GetJson<'a> {
    bucket: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<&'a str>,
    context: String,
    values: Vec<ValueJson>,
    omitted: u16,
    answered: u8,
    needed: u8,
    source: Source,
}

#[derive(Serialize)]
struct ValueJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    dot: String,
    written_at: String,
    written_by: String,
}

/// `{bucket, key, context, values: [{value | value_base64, dot, written_at, written_by}], …}`.
pub(crate) fn get_json(key: &Key, reply: &Got) -> String {
    let values = Shown::of(reply).values.into_iter().map(|shown| {
        let shape = Shape::of(&shown.bytes);
        ValueJson {
            value: shape.text().map(str::to_owned),
            value_base64: shape.base64().map(str::to_owned),
            dot: shown.dot,
            written_at: words::time(shown.written_at_ms),
            written_by: shown.written_by,
        }
    });
    let shape = Shape::of(key.key());
    json_line(&GetJson {
        bucket: key.bucket(),
        key: shape.text(),
        key_base64: shape.base64(),
        context: data_encoding::BASE64URL_NOPAD.encode(&reply.context),
        values: values.collect(),
        omitted: reply.omitted,
        answered: reply.answered,
        needed: reply.needed,
        source: reply.source,
    })
}

/// `{outcome, dot, context, acks: {owners, fallbacks}, siblings, stable}`; the dot is null if it is
/// unknown, and whether every owner has it is said where that was waited for.
pub(crate) fn put_json(reply: &PutDone, stable: Option<bool>) -> String {
    #[derive(Serialize)]
    struct PutJson {
        outcome: Outcome,
        dot: Option<String>,
        context: String,
        acks: Acks,
        needed: u8,
        siblings: u16,
        /// To try it again under.
        #[serde(skip_serializing_if = "Option::is_none")]
        operation: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stable: Option<bool>,
    }
    #[derive(Serialize)]
    struct Acks {
        owners: u8,
        fallbacks: u8,
    }
    json_line(&PutJson {
        outcome: reply.outcome,
        dot: reply.dot.map(|dot| dot.to_string()),
        context: data_encoding::BASE64URL_NOPAD.encode(&reply.context),
        acks: Acks { owners: reply.owners, fallbacks: reply.fallbacks },
        needed: reply.needed,
        siblings: reply.siblings,
        operation: (reply.outcome == Outcome::Unknown).then(|| format!("{:x}", reply.operation)),
        stable,
    })
}
