//! Answers as text and as JSON: pure functions from the answer's type.
//!
//! Invariant: nothing here waits, reads a clock or looks at the terminal, so that golden tests show
//! exactly what people see. Not here: asking.

mod doctor;
mod explain;
mod members;
mod moves;
mod plan;
mod ring;
mod siblings;
mod status;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use doctor::doctor_text;
pub(crate) use explain::{explain_json, explain_text};
pub(crate) use members::members_text;
pub(crate) use moves::{Ahead, bars, changed_text};
pub(crate) use plan::{Volume, plan_text};
pub(crate) use ring::{ring_rows, ring_text};
pub(crate) use siblings::{siblings_json, siblings_text};
pub(crate) use status::status_text;
pub(crate) use values::{Shown, ShownValue, get_json, key_words, put_json, siblings_lines};

/// Compact JSON of an answer on one line.
pub(crate) fn json_line(answer: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string(answer).expect("answers have only plain fields");
    text.push('\n');
    text
}

/// Bytes as JSON shows them: text as it is, everything else as base64 under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Text(String),
    Base64(String),
}

impl Shape {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Shape::Text(text.to_owned()),
            Err(_) => Shape::Base64(data_encoding::BASE64.encode(bytes)),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Shape::Text(text) => Some(text),
            Shape::Base64(_) => None,
        }
    }

    pub(crate) fn base64(&self) -> Option<&str> {
        match self {
            Shape::Text(_) => None,
            Shape::Base64(text) => Some(text),
        }
    }
}
