//! How a command ended: the exit codes that scripts rely on.
//!
//! Invariant: a number is never given another meaning.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Ok,
    /// Something went wrong that none of the others names.
    Error,
    /// What was typed is not a command.
    Usage,
    /// The key has no value.
    NotFound,
    /// The key has several values where one was asked for.
    Conflict,
    /// Too few answered for the level asked for. A write may be partly there.
    LevelNotMet,
    /// No endpoint answers.
    Unreachable,
    /// The node refused the request.
    Refused,
    /// The cluster is not healthy (`status --check`).
    Degraded,
}

impl Exit {
    /// The process's exit code.
    pub fn number(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Conflict => 4,
            Exit::LevelNotMet => 5,
            Exit::Unreachable => 6,
            Exit::Refused => 7,
            Exit::Degraded => 8,
        }
    }

    /// The same as words, for the demo's prompt.
    pub fn words(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Error => "error",
            Exit::Usage => "usage",
            Exit::NotFound => "not found",
            Exit::Conflict => "conflict",
            Exit::LevelNotMet => "level not met",
            Exit::Unreachable => "unreachable",
            Exit::Refused => "refused",
            Exit::Degraded => "degraded",
        }
    }

    /// The same as a name, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Error => "error",
            Exit::Usage => "usage",
            Exit::NotFound => "not_found",
            Exit::Conflict => "conflict",
            Exit::LevelNotMet => "level_not_met",
            Exit::Unreachable => "unreachable",
            Exit::Refused => "refused",
            Exit::Degraded => "degraded",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.number())
    }
}
