//! An error as people and programs are told it: what happened, what state is left, what to do.
//!
//! Invariant: every error says all three. Not here: which errors there are; the commands say that.

use std::fmt::Write as _;
use std::io;
use std::ops::{Deref, DerefMut};

use serde::Serialize;

use super::exit::Exit;
use super::paint::Paint;
use crate::key::KeyError;

/// Why a command did not do what was asked. In a box, so that results stay small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble(Box<Parts>);

/// What an error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The exit code.
    pub exit: Exit,
    /// What happened, without a full stop.
    pub what: String,
    /// What state is left.
    pub state: String,
    /// What to do next. A command to type stands on a line of its own.
    pub next: String,
    /// The node's own code, where the node said it.
    pub detail: Option<String>,
    /// Further lines for people, printed between what happened and the state.
    pub lines: Vec<String>,
}

impl Trouble {
    pub(crate) fn new(
        exit: Exit,
        what: impl Into<String>,
        state: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Trouble(Box::new(Parts {
            exit,
            what: what.into(),
            state: state.into(),
            next: next.into(),
            detail: None,
            lines: Vec::new(),
        }))
    }

    /// What was typed cannot be right.
    pub(crate) fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Trouble::new(Exit::Usage, what, "nothing was sent", next)
    }

    /// Something on this machine failed: a file, a pipe.
    pub(crate) fn io(what: impl std::fmt::Display, error: &io::Error, state: &str) -> Self {
        Trouble::new(
            Exit::Error,
            format!("{what}: {error}"),
            state,
            "check that it exists and that you may use it",
        )
    }

    /// The text for standard error.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let mut text = format!("{} {}\n", paint.bad("error:"), self.what);
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "{} {}", paint.bold("state:"), self.state);
        let next = self.next.replace('\n', "\n       ");
        let _ = writeln!(text, "{} {next}", paint.bold("next: "));
        text
    }

    /// The object for standard error under `-o json`.
    pub(crate) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Outer<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'a str,
            exit: u8,
            message: &'a str,
            state: &'a str,
            next: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
        }
        let inner = Inner {
            code: self.exit.code(),
            exit: self.exit.number(),
            message: &self.what,
            state: &self.state,
            next: &self.next,
            detail: self.detail.as_deref(),
        };
        let mut text = serde_json::to_string(&Outer { error: inner }).expect("only strings");
        text.push('\n');
        text
    }
}

impl Deref for Trouble {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Trouble {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl From<KeyError> for Trouble {
    fn from(error: KeyError) -> Self {
        let next = match &error {
            KeyError::Empty | KeyError::TooLong(_) => "use a key of 1 to 4096 bytes",
            KeyError::Bucket(_) => "name another bucket with -b, or leave it out for `default`",
        };
        Trouble::usage(error.to_string(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_happened_what_is_left_and_what_to_do() {
        let trouble = Trouble::new(
            Exit::LevelNotMet,
            "2 were needed, 1 answered",
            "it may be partly written",
            "read it:\nringdove get k",
        );
        let text = trouble.text(Paint::Plain);
        let expected = "error: 2 were needed, 1 answered\nstate: it may be partly written\n\
                        next:  read it:\n       ringdove get k\n";
        assert_eq!(text, expected);
        let json: serde_json::Value = serde_json::from_str(&trouble.json()).expect("JSON");
        assert_eq!(json["error"]["code"], "level_not_met");
        assert_eq!(json["error"]["exit"], 5);
        assert_eq!(json["error"]["state"], "it may be partly written");
    }
}
