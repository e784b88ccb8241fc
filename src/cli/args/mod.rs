//! What can be typed: every command, flag and environment variable, with the help that teaches them.
//!
//! Invariant: every flag has an environment variable `RINGDOVE_…`, every command's help ends with an
//! example, and the demo's prompt parses its commands with the very same table.
//! Not here: what the commands do.

mod cluster;
mod data;
mod plan;

use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};
use clap::builder::{FalseyValueParser, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use cluster::{
    BenchArgs, DemoArgs, InspectArgs, MembersArgs, RingArgs, StartArgs, StatusArgs, SyncChoice,
    copy_count, shard_count,
};
pub(crate) use data::{
    BucketArgs, DeleteArgs, ExplainArgs, GetArgs, KeyArgs, MergeKind, PutArgs, ReadArgs,
    ResolveArgs, SiblingsArgs, SiblingsCommand,
};
pub(crate) use plan::{
    AbortArgs, ApplyArgs, ApplyChange, DoctorArgs, ForceArgs, Joins, PauseArgs, PlanArgs,
    PlanChange, ResumeArgs,
};

const ABOUT: &str = "A leaderless key-value store: every node takes reads and writes, also in a \
split.\n\nConcurrent writes of one key are never thrown away silently. They are kept side by side, \
as siblings, and `explain` shows who wrote what, having seen what.";

const EXAMPLES: &str = "\
Start here:
  ringdove demo --tour                   a conflict and its resolution, in a minute
  ringdove demo                          five nodes in one process, and a prompt

A node of your own:
  ringdove start                         listens on 127.0.0.1:7400, keeps ./ringdove-data
  ringdove put greeting hello            in another terminal
  ringdove get greeting
  ringdove status

Exit codes:
  0 ok   1 error   2 usage   3 not found   4 conflict where one value was asked for
  5 level not met (may be partly written)   6 unreachable   7 refused   8 degraded";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ringdove",
    version,
    about = "A leaderless key-value store that keeps concurrent updates and explains them",
    long_about = ABOUT,
    after_help = EXAMPLES,
    styles = styles(),
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    disable_help_subcommand = false
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The node to talk to, HOST:PORT; any node will do. Several, with commas, are tried in order
    #[arg(
        long,
        global = true,
        value_name = "H:P,…",
        env = "RINGDOVE_ENDPOINT",
        hide_env = true,
        value_delimiter = ',',
        default_value = "127.0.0.1:7400",
        help_heading = "Everywhere"
    )]
    pub endpoint: Vec<String>,
    /// Text for people, or JSON for programs (errors too)
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "table|json",
        hide_possible_values = true,
        env = "RINGDOVE_OUTPUT",
        hide_env = true,
        default_value = "table",
        help_heading = "Everywhere"
    )]
    pub output: Format,
    /// How long to wait for an answer. A write that is not answered in time has an unknown outcome
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "RINGDOVE_TIMEOUT",
        hide_env = true,
        default_value = "5s",
        value_parser = positive_duration,
        help_heading = "Everywhere"
    )]
    pub timeout: Duration,
    /// What this client calls itself; kept with every value it writes
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "RINGDOVE_WRITER",
        hide_env = true,
        default_value = "cli",
        value_parser = writer_name,
        help_heading = "Everywhere"
    )]
    pub writer: String,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Plain aligned text.
    Table,
    /// One JSON document per command.
    Json,
}

/// Everything that `ringdove` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster in this process, with a prompt to split, heal, kill and look
    Demo(DemoArgs),
    /// Run a node
    Start(StartArgs),
    /// Read a key: its value alone, raw, on standard output
    Get(GetArgs),
    /// Write a key
    Put(PutArgs),
    /// Delete a key
    Delete(DeleteArgs),
    /// List, show and resolve conflicting values
    Siblings(SiblingsArgs),
    /// Show who wrote a key, when, having seen what, and why its values conflict
    Explain(ExplainArgs),
    /// How the cluster is, in sentences
    Status(StatusArgs),
    /// Who is in the cluster, and in what state
    Members(MembersArgs),
    /// Who owns how much of the key space
    Ring(RingArgs),
    /// What is stuck, why, since when, and what to do
    Doctor(DoctorArgs),
    /// What a change of the ring would come to: shares, copies, risks
    Plan(PlanArgs),
    /// Change the ring: members leave or are replaced, weights and zones
    Apply(ApplyArgs),
    /// Stop changes of owners between two steps
    Pause(PauseArgs),
    /// Let them go on
    Resume(ResumeArgs),
    /// Give up what has not happened yet
    Abort(AbortArgs),
    /// The last resort: go on without a majority that is gone for good
    ForceEpoch(ForceArgs),
    /// Measure: a closed loop of reads and writes, with percentiles
    Bench(BenchArgs),
    /// Dump a segment of a node's log
    Inspect(InspectArgs),
}

/// The parser of switches: an environment variable of `0`, `no`, `off`, `false` or nothing is off.
fn switch() -> FalseyValueParser {
    FalseyValueParser::new()
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like 500ms, 5s or 1m"))?;
    // A client's wait travels as 32 bits of milliseconds.
    if duration < Duration::from_millis(1) || duration.as_millis() > u128::from(u32::MAX) {
        return Err("a time between 1ms and 49 days is needed, like 500ms, 5s or 1m".to_owned());
    }
    Ok(duration)
}

fn writer_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 64 || text.contains(char::is_control) {
        return Err("a writer's name has 1 to 64 bytes and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn styles() -> Styles {
    Styles::styled()
        .header(Style::new().bold())
        .usage(Style::new().bold())
        .literal(AnsiColor::Cyan.on_default())
        .placeholder(Style::new().dimmed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn walk(command: &clap::Command, see: &mut impl FnMut(&clap::Command)) {
        see(command);
        command.get_subcommands().for_each(|sub| walk(sub, see));
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        walk(&Cli::command(), &mut |command| {
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                if matches!(arg.get_id().as_str(), "help" | "version") {
                    continue;
                }
                let env = arg.get_env().and_then(|env| env.to_str()).unwrap_or_default();
                assert!(env.starts_with("RINGDOVE_"), "{} {}", command.get_name(), arg.get_id());
            }
        });
    }

    #[test]
    fn every_command_teaches_by_example_and_documents_its_flags() {
        walk(&Cli::command(), &mut |command| {
            let name = command.get_name();
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains("  ringdove "), "{name} has no example");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name} {} has no help", arg.get_id());
            }
        });
    }

    #[test]
    fn the_examples_parse() {
        walk(&Cli::command(), &mut |command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| line.starts_with("  ringdove ")) {
                // Two spaces end the command and begin what is said of it.
                let typed = line.trim().split("  ").next().unwrap_or_default();
                let typed = typed.split(" <").next().unwrap_or_default();
                let words = crate::cli::words::split(typed).expect("balanced quotes");
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{typed}: {error}");
                }
            }
        });
    }

    #[test]
    fn the_table_is_sound() {
        Cli::command().debug_assert();
    }
}
