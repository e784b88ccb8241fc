//! Where the demo's lines come from: an editor on a terminal, plain lines from anything else.

use std::io::BufRead;

use clap::CommandFactory;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::super::args::Cli;
use super::super::trouble::Trouble;
use super::verb::VERBS;

/// What came from the prompt.
pub(super) enum Said {
    /// A line.
    Line(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// There is no more.
    End,
}

/// A source of lines.
pub(super) enum Prompt {
    /// A terminal, with history and completion.
    Editor(Box<Editor<Completion, MemHistory>>),
    /// A file or a pipe.
    Lines(std::io::Lines<std::io::StdinLock<'static>>),
}

impl Prompt {
    pub(super) fn new(terminal: bool) -> Result<Self, Trouble> {
        if !terminal {
            return Ok(Prompt::Lines(std::io::stdin().lock().lines()));
        }
        let mut editor =
            Editor::with_history(Config::default(), MemHistory::new()).map_err(|e| failed(&e))?;
        editor.set_helper(Some(Completion::new()));
        Ok(Prompt::Editor(Box::new(editor)))
    }

    pub(super) fn read(&mut self, prompt: &str) -> Result<Said, Trouble> {
        match self {
            Prompt::Lines(lines) => match lines.next() {
                None => Ok(Said::End),
                Some(Ok(line)) => Ok(Said::Line(line)),
                Some(Err(error)) => {
                    let what = "the commands cannot be read further";
                    Err(Trouble::io(what, &error, "everything before was done"))
                }
            },
            Prompt::Editor(editor) => match editor.readline(prompt) {
                Ok(line) => {
                    // A line that cannot be remembered is a line all the same.
                    let _ = editor.add_history_entry(&line);
                    Ok(Said::Line(line))
                }
                Err(ReadlineError::Interrupted) => Ok(Said::Interrupted),
                Err(ReadlineError::Eof) => Ok(Said::End),
                Err(error) => Err(failed(&error)),
            },
        }
    }
}

fn failed(error: &ReadlineError) -> Trouble {
    let error = std::io::Error::other(error.to_string());
    Trouble::io("the terminal cannot be read", &error, "everything before was done")
}

/// Completes the first word.
pub(super) struct Completion {
    words: Vec<String>,
}

impl Completion {
    fn new() -> Self {
        let command = Cli::command();
        let commands = command.get_subcommands().map(|command| command.get_name().to_owned());
        let here = |name: &String| !matches!(name.as_str(), "start" | "demo");
        let mut words: Vec<String> = commands.filter(here).collect();
        words.extend(VERBS.map(str::to_owned));
        words.sort();
        words.dedup();
        Completion { words }
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..at];
        if typed.contains(char::is_whitespace) {
            return Ok((at, Vec::new()));
        }
        let fitting = self.words.iter().filter(|word| word.starts_with(typed));
        Ok((0, fitting.map(|word| format!("{word} ")).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}
