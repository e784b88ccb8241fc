//! The `ringdove` command.
#![allow(dead_code, unused_imports, reason = "the commands that use it come next")]

mod args;
mod columns;
mod exit;
mod paint;
mod show;
mod trouble;
mod words;

pub use args::Cli;
pub use exit::Exit;
