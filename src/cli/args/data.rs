//! The commands about keys.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{positive_duration, switch};
use crate::key::DEFAULT_BUCKET;
use crate::wire::Level;

/// Names one key.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyArgs {
    /// The key, 1 byte to 4 KiB
    #[arg(value_name = "KEY")]
    pub key: OsString,
    #[command(flatten)]
    pub bucket: BucketArgs,
}

/// Names one bucket.
#[derive(Debug, Clone, Args)]
pub(crate) struct BucketArgs {
    /// The bucket that the key is in: 1 to 64 of a-z A-Z 0-9 . _ -
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "RINGDOVE_BUCKET",
        hide_env = true,
        default_value = DEFAULT_BUCKET
    )]
    pub bucket: String,
}

/// How many must answer a read.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ReadArgs {
    /// How many owners must answer: one, quorum, all or a number
    #[arg(
        short,
        long,
        value_name = "LEVEL",
        env = "RINGDOVE_READ_LEVEL",
        hide_env = true,
        default_value = "quorum"
    )]
    pub read_level: Level,
}

/// How many must have a write.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WriteArgs {
    /// How many must have it on disk before it counts: one, quorum, all or a number
    #[arg(
        short,
        long,
        value_name = "LEVEL",
        env = "RINGDOVE_WRITE_LEVEL",
        hide_env = true,
        default_value = "quorum"
    )]
    pub write_level: Level,
    /// Count owners only, not nodes that keep it for an absent owner
    #[arg(long, env = "RINGDOVE_STRICT", hide_env = true, value_parser = switch())]
    pub strict: bool,
}

/// Whether this is another attempt at a write.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct RetryArgs {
    /// Try a write again whose outcome is unknown, by the operation id that it was told with; all else as
    /// it was. It is never shown twice
    #[arg(
        long,
        value_name = "OPERATION",
        env = "RINGDOVE_RETRY",
        hide_env = true,
        value_parser = operation_id
    )]
    pub retry: Option<u128>,
}

fn operation_id(text: &str) -> Result<u128, String> {
    match u128::from_str_radix(text, 16) {
        Ok(id) if id > 0 => Ok(id),
        Ok(_) | Err(_) => Err("an operation id is up to 32 hexadecimal digits".to_owned()),
    }
}

/// Whether to wait for more than the level of a write.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArgs {
    /// Return only when every owner has it
    #[arg(
        long,
        value_enum,
        value_name = "stable",
        hide_possible_values = true,
        env = "RINGDOVE_WAIT_UNTIL",
        hide_env = true
    )]
    pub wait: Option<WaitUntil>,
    /// How long --wait waits at most; exit with 5 if that is not enough
    #[arg(
        long,
        value_name = "TIME",
        env = "RINGDOVE_WAIT_TIME",
        hide_env = true,
        default_value = "1m",
        value_parser = positive_duration
    )]
    pub wait_time: Duration,
}

impl WaitArgs {
    /// How long to wait until every owner has it, if that was asked for.
    pub(crate) fn stable(&self) -> Option<Duration> {
        self.wait.map(|WaitUntil::Stable| self.wait_time)
    }
}

/// What to wait for after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitUntil {
    /// Every owner has it.
    Stable,
}

const GET_EXAMPLES: &str = "\
Examples:
  ringdove get cart/ann                 the value and nothing else: pipe it anywhere
  ringdove get cart/ann -r all          ask every owner
  ringdove get cart/ann --all           all values, if they conflict
  ringdove get cart/ann -o json         values, dots, and the context to write back with
  ringdove get --lines keys.txt         many: one key a line in, key<TAB>value out, in order

A key with conflicting values exits with 4 and lists them on standard error; no key exits with 3.";

/// `get`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = GET_EXAMPLES,
    override_usage = "ringdove get [OPTIONS] <KEY>\n       \
                      ringdove get [OPTIONS] --lines <FILE|->"
)]
pub(crate) struct GetArgs {
    /// The key, 1 byte to 4 KiB
    #[arg(value_name = "KEY", required_unless_present = "lines", conflicts_with = "lines")]
    pub key: Option<OsString>,
    #[command(flatten)]
    pub bucket: BucketArgs,
    #[command(flatten)]
    pub level: ReadArgs,
    /// Answer only once all is seen that this context covers: a session reads its own writes anywhere
    #[arg(
        long,
        value_name = "CONTEXT",
        env = "RINGDOVE_FLOOR",
        hide_env = true,
        conflicts_with = "lines"
    )]
    pub floor: Option<String>,
    /// Print all values, each on a line, if there are several
    #[arg(long, env = "RINGDOVE_GET_ALL", hide_env = true, value_parser = switch())]
    pub all: bool,
    /// Read many: one key a line, from a file or from standard input
    #[arg(
        long,
        value_name = "FILE|-",
        env = "RINGDOVE_GET_LINES",
        hide_env = true,
        conflicts_with = "all"
    )]
    pub lines: Option<PathBuf>,
    #[command(flatten)]
    pub flight: FlightArgs,
}

/// How many requests of one command are under way at once.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FlightArgs {
    /// With --lines: how many requests may be under way at once
    #[arg(
        long,
        value_name = "N",
        env = "RINGDOVE_IN_FLIGHT",
        hide_env = true,
        default_value_t = 128,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub in_flight: u16,
}

const PUT_EXAMPLES: &str = "\
Examples:
  ringdove put greeting hello
  ringdove put photo - < dove.jpg                  the value from standard input
  ringdove put cart/ann '[\"tea\"]' -w all --strict  on the disks of all its owners
  ringdove put cart/ann '[\"tea\"]' --context AQAB   replaces what was read, nothing else
  ringdove put cart/ann '[\"tea\"]' --blind          replaces nothing: a sibling of what is there
  ringdove put cart/ann '[\"tea\"]' --wait stable     returns when every owner has it
  ringdove put --lines words.tsv                   many: one key<TAB>value a line

Without --context or --blind, put overwrites what the node that takes the write can see. A write
that it cannot see, because of a split, is not replaced: both are kept. `get -o json` gives the
context that --context takes.";

/// `put`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = PUT_EXAMPLES,
    override_usage = "ringdove put [OPTIONS] <KEY> <VALUE|->\n       \
                      ringdove put [OPTIONS] --lines <FILE|->"
)]
pub(crate) struct PutArgs {
    /// The key, 1 byte to 4 KiB
    #[arg(value_name = "KEY", required_unless_present = "lines", conflicts_with = "lines")]
    pub key: Option<OsString>,
    /// The value, up to 8 MiB; `-` reads standard input
    #[arg(
        value_name = "VALUE|-",
        required_unless_present = "lines",
        conflicts_with = "lines",
        allow_negative_numbers = true
    )]
    pub value: Option<OsString>,
    #[command(flatten)]
    pub bucket: BucketArgs,
    #[command(flatten)]
    pub level: WriteArgs,
    /// Replace what this context covers, and nothing else (from `get -o json` or a put)
    #[arg(
        long,
        value_name = "CONTEXT",
        env = "RINGDOVE_CONTEXT",
        hide_env = true,
        conflicts_with_all = ["blind", "lines"]
    )]
    pub context: Option<String>,
    /// Replace nothing: the value becomes a sibling of whatever is there
    #[arg(long, env = "RINGDOVE_BLIND", hide_env = true, value_parser = switch())]
    pub blind: bool,
    #[command(flatten)]
    pub retry: RetryArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Write many: one key<TAB>value a line, from a file or from standard input
    #[arg(
        long,
        value_name = "FILE|-",
        env = "RINGDOVE_PUT_LINES",
        hide_env = true,
        conflicts_with = "wait"
    )]
    pub lines: Option<PathBuf>,
    #[command(flatten)]
    pub flight: FlightArgs,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  ringdove delete cart/ann
  ringdove delete cart/ann --context AQAB   deletes what was read, nothing else
  ringdove delete cart/ann --wait stable    returns when every owner has it

Without --context, delete removes what the node that takes it can see. A write on the far side of a
split survives it, and shows again when the split heals. With --wait stable it is done at its level
first; then every owner is waited for, also one that is down. If they take longer than --wait-time,
the command exits with 5 and names them; the delete is done all the same.";

/// `delete`
#[derive(Debug, Clone, Args)]
#[command(after_help = DELETE_EXAMPLES, override_usage = "ringdove delete [OPTIONS] <KEY>")]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub level: WriteArgs,
    /// Delete what this context covers, and nothing else
    #[arg(long, value_name = "CONTEXT", env = "RINGDOVE_CONTEXT", hide_env = true)]
    pub context: Option<String>,
    #[command(flatten)]
    pub retry: RetryArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
}

const SIBLINGS_EXAMPLES: &str = "\
Examples:
  ringdove siblings list                          which keys have conflicting values
  ringdove siblings show cart/ann                 the values, numbered
  ringdove siblings resolve cart/ann --pick 2     keep one of them
  ringdove siblings resolve cart/ann --edit       merge them by hand
  ringdove siblings resolve cart/ann --value '[\"tea\",\"milk\"]'

Writes that had not seen each other are kept side by side until somebody who has seen them all
writes again. `ringdove explain KEY` shows how it came about.";

/// `siblings`
#[derive(Debug, Clone, Args)]
#[command(after_help = SIBLINGS_EXAMPLES, arg_required_else_help = true)]
pub(crate) struct SiblingsArgs {
    #[command(subcommand)]
    pub command: SiblingsCommand,
}

/// What to do about siblings.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SiblingsCommand {
    /// Keys with conflicting values
    #[command(after_help = "\
Examples:
  ringdove siblings list
  ringdove siblings list -b carts --limit 10 -o json")]
    List {
        /// Only keys in this bucket
        #[arg(short, long, value_name = "NAME", env = "RINGDOVE_BUCKET", hide_env = true)]
        bucket: Option<String>,
        /// List at most this many
        #[arg(
            long,
            value_name = "N",
            env = "RINGDOVE_LIMIT",
            hide_env = true,
            default_value_t = 100,
            value_parser = clap::value_parser!(u32).range(1..=100_000)
        )]
        limit: u32,
    },
    /// The conflicting values of one key, numbered
    #[command(
        after_help = "\
Examples:
  ringdove siblings show cart/ann
  ringdove siblings show cart/ann -o json",
        override_usage = "ringdove siblings show [OPTIONS] <KEY>"
    )]
    Show {
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        level: ReadArgs,
    },
    /// Replace the conflicting values of one key by one value
    #[command(after_help = RESOLVE_EXAMPLES, override_usage = RESOLVE_USAGE)]
    Resolve(ResolveArgs),
}

const RESOLVE_USAGE: &str = "\
ringdove siblings resolve [OPTIONS] <KEY> --pick <N|DOT>
       ringdove siblings resolve [OPTIONS] <KEY> --value <VALUE|->
       ringdove siblings resolve [OPTIONS] <KEY> --merge json-union [--base <FILE>]
       ringdove siblings resolve [OPTIONS] <KEY> --edit [--base <FILE>]";

const RESOLVE_EXAMPLES: &str = "\
Examples:
  ringdove siblings resolve cart/ann --pick 1
  ringdove siblings resolve cart/ann --value '[\"tea\",\"milk\"]'
  ringdove siblings resolve cart/ann --value - < merged.json
  ringdove siblings resolve cart/ann --merge json-union
  ringdove siblings resolve cart/ann --edit --base before.txt

It replaces exactly the values that it read. One that is written meanwhile stays, as a sibling, and
the command exits with 4.

--merge json-union merges objects member by member and unites lists, each element once. Where values
differ and nothing says which is right it tells the places and writes nothing (exit code 4).

--edit opens $VISUAL or $EDITOR on the values, in blocks as merge tools know them. Nothing is written
while a marker is left, when the file is left as it was or empty, or when the editor fails.

Both are three-way merges where the common ancestor is known: then what only one value changed or
removed is taken. A replaced value is dropped, so it is known only while a node that was away still
holds it, and if it has at most 256 bytes, or from --base. Without it nothing counts as removed.";

/// `siblings resolve`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).args(["pick", "value", "merge", "edit"]))]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub write: WriteArgs,
    /// Keep the value with this number (as `siblings show` numbers them), or with this dot
    #[arg(long, value_name = "N|DOT", env = "RINGDOVE_PICK", hide_env = true)]
    pub pick: Option<String>,
    /// Write this value instead of them; `-` reads standard input
    #[arg(
        long,
        value_name = "VALUE|-",
        env = "RINGDOVE_VALUE",
        hide_env = true,
        allow_hyphen_values = true
    )]
    pub value: Option<OsString>,
    /// Merge them: json-union keeps whatever any of them has
    #[arg(
        long,
        value_enum,
        value_name = "json-union",
        hide_possible_values = true,
        env = "RINGDOVE_MERGE",
        hide_env = true
    )]
    pub merge: Option<MergeKind>,
    /// Merge them by hand, in an editor
    #[arg(long, env = "RINGDOVE_EDIT", hide_env = true, value_parser = switch())]
    pub edit: bool,
    /// With --merge or --edit: the value that they all came from, in a file
    #[arg(
        long,
        value_name = "FILE",
        env = "RINGDOVE_BASE",
        hide_env = true,
        conflicts_with_all = ["pick", "value"]
    )]
    pub base: Option<PathBuf>,
}

/// How values are merged without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MergeKind {
    /// The union of JSON values.
    JsonUnion,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  ringdove explain cart/ann
  ringdove explain cart/ann -o json

Asks every member what it has of the key. Lines in the drawing mean \"had seen\"; clock times are
shown beside them and decide nothing.";

/// `explain`
#[derive(Debug, Clone, Args)]
#[command(after_help = EXPLAIN_EXAMPLES, override_usage = "ringdove explain [OPTIONS] <KEY>")]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub key: KeyArgs,
}
