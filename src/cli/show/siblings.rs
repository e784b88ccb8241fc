//! `siblings list` as text and JSON.

use serde::Serialize;

use super::{Shape, json_line};
use crate::cli::columns::columns;
use crate::cli::paint::Paint;
use crate::cli::words::{count, list, quoted};
use crate::key::DEFAULT_BUCKET;
use crate::wire::{SiblingLine, SiblingList};

/// The keys with conflicting values, and how to look at one.
pub(crate) fn siblings_text(answer: &SiblingList, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(first) = answer.keys.first() {
        let mut rows = vec![["BUCKET", "KEY", "VALUES"].map(str::to_owned).to_vec()];
        rows.extend(
            answer.keys.iter().map(|line| {
                vec![line.bucket.clone(), key_text(&line.key), line.siblings.to_string()]
            }),
        );
        text.push_str(&columns(&rows, &[2], |row, _, cell| match row {
            0 => paint.dim(cell),
            _ => cell.to_owned(),
        }));
        text.push('\n');
        let keys = count(answer.keys.len() as u64, "key has", "keys have");
        let more = if answer.more { " and there are more: raise --limit" } else { "" };
        text.push_str(&format!("{keys} conflicting values{more}.\n"));
        text.push_str(&format!("next:  ringdove siblings show {}\n", command_words(first)));
    } else {
        text.push_str("No key has conflicting values.\n");
    }
    if !answer.missing.is_empty() {
        let missing = list(&answer.missing);
        text.push_str(&format!("No answer from {missing}: what only they hold is not listed.\n"));
    }
    text
}

fn key_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}

fn command_words(line: &SiblingLine) -> String {
    let key = quoted(&key_text(&line.key));
    match line.bucket.as_str() {
        DEFAULT_BUCKET => key,
        bucket => format!("{key} -b {bucket}"),
    }
}

/// An array of `{bucket, key, siblings}`; a key that is not text is `key_base64`.
pub(crate) fn siblings_json(answer: &SiblingList) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        bucket: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_base64: Option<&'a str>,
        siblings: u16,
    }
    let shapes: Vec<Shape> = answer.keys.iter().map(|line| Shape::of(&line.key)).collect();
    let lines = answer.keys.iter().zip(&shapes).map(|(line, key)| Line {
        bucket: &line.bucket,
        key: key.text(),
        key_base64: key.base64(),
        siblings: line.siblings,
    });
    json_line(&lines.collect::<Vec<_>>())
}
