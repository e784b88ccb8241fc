//! An explanation as JSON.

use serde::Serialize;

use super::story::Story;
use super::{outlook, reasons, verdict};
use crate::cli::show::{Shape, json_line};
use crate::cli::words::time;
use crate::key::Key;
use crate::wire::{Explanation, ReplicaShown};

/// The explanation as JSON: the story's conclusions, then every replica as it answered.
pub(crate) fn explain_json(key: &Key, explanation: &Explanation) -> String {
    let story = Story::of(explanation);
    let shape = Shape::of(key.key());
    let nodes = |inside: &dyn Fn(&ReplicaShown) -> bool| -> Vec<String> {
        let replicas = explanation.replicas.iter().filter(|replica| inside(replica));
        replicas.map(|replica| replica.name.clone()).collect()
    };
    let values = story.values.iter().map(|told| {
        let dot = &told.shown.dot;
        let head = Shape::of(&told.shown.head);
        ValueJson {
            label: told.label.clone(),
            dot: dot.clone(),
            live: told.live,
            value: head.text().map(str::to_owned),
            value_base64: head.base64().map(str::to_owned),
            bytes: told.shown.len,
            via: told.shown.via.clone(),
            written_by: told.shown.written_by.clone(),
            written_at: time(told.shown.written_at_ms),
            saw: told.saw.iter().map(|at| story.values[*at].shown.dot.clone()).collect(),
            context: told.shown.context.clone(),
            held_by: nodes(&|replica| replica.values.iter().any(|held| held.dot == *dot)),
            replaced_at: nodes(&|replica| replica.replaced.contains(dot)),
            hinted_by: nodes(&|replica| replica.hints.iter().any(|hint| hint.dots.contains(dot))),
        }
    });
    let replicas = explanation.replicas.iter().map(|replica| ReplicaJson {
        name: &replica.name,
        owner: replica.owner,
        clock: &replica.clock,
        residual: &replica.residual,
        holds: replica.values.iter().map(|value| value.dot.as_str()).collect(),
        replaced: &replica.replaced,
        hints: replica
            .hints
            .iter()
            .map(|hint| HintJson { owed_to: &hint.owed_to, dots: &hint.dots })
            .collect(),
    });
    json_line(&ExplainJson {
        bucket: key.bucket(),
        key: shape.text(),
        key_base64: shape.base64(),
        token: &explanation.token,
        slot: explanation.slot,
        owners: story.owners(),
        conflict: story.live_writes() > 1,
        verdict: verdict(key, &story),
        reasons: reasons(&story),
        outlook: outlook(&story),
        values: values.collect(),
        replicas: replicas.collect(),
        missing: &explanation.missing,
    })
}

#[derive(Serialize)]
struct ExplainJson<'a> {
    bucket: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<&'a str>,
    token: &'a str,
    slot: u16,
    owners: Vec<String>,
    conflict: bool,
    verdict: String,
    reasons: Vec<String>,
    outlook: Vec<String>,
    values: Vec<ValueJson>,
    replicas: Vec<ReplicaJson<'a>>,
    missing: &'a [String],
}

#[derive(Serialize)]
struct ValueJson {
    label: String,
    dot: String,
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    bytes: u64,
    via: String,
    written_by: String,
    written_at: String,
    saw: Vec<String>,
    context: String,
    held_by: Vec<String>,
    replaced_at: Vec<String>,
    hinted_by: Vec<String>,
}

#[derive(Serialize)]
struct ReplicaJson<'a> {
    name: &'a str,
    owner: bool,
    clock: &'a str,
    residual: &'a str,
    holds: Vec<&'a str>,
    replaced: &'a [String],
    hints: Vec<HintJson<'a>>,
}

#[derive(Serialize)]
struct HintJson<'a> {
    owed_to: &'a str,
    dots: &'a [String],
}
