//! What `start` was told: by flags, by environment variables, by a file, in this order.
//!
//! Invariant: what a file says that is no setting, or no value of one, is an error that names the
//! line; nothing in a file is ignored. Not here: whether a node can start so (`server`).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::args::{StartArgs, SyncChoice, copy_count, shard_count};
use super::exit::Exit;
use super::trouble::Trouble;
use crate::server::{DEFAULT_PORT, Limits, SyncMode};

/// How often data are synced with `sync = interval`.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// No file of settings is longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that `start` wants to know.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    pub listen: String,
    pub advertise: Option<String>,
    pub data: PathBuf,
    pub seeds: Vec<String>,
    pub name: Option<String>,
    pub zone: String,
    pub copies: u8,
    pub shards: Option<u16>,
    pub sync: SyncMode,
    pub pages: Option<PathBuf>,
    pub restored: bool,
    pub keep_id: bool,
    pub salvage: bool,
    pub limits: Limits,
}

/// What a file may say: the flags by their names, and limits.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    advertise: Option<String>,
    data: Option<PathBuf>,
    seeds: Option<Vec<String>>,
    name: Option<String>,
    zone: Option<String>,
    #[serde(default, deserialize_with = "copies")]
    copies: Option<u8>,
    #[serde(default, deserialize_with = "shards")]
    shards: Option<u16>,
    sync: Option<SyncChoice>,
    pages: Option<PathBuf>,
    #[serde(default)]
    limits: FileLimits,
}

/// How much may wait in each shard.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileLimits {
    #[serde(default, deserialize_with = "limit")]
    requests: Option<u64>,
    #[serde(default, deserialize_with = "limit")]
    request_bytes: Option<u64>,
    #[serde(default, deserialize_with = "limit")]
    hint_bytes: Option<u64>,
}

impl Settings {
    /// What was typed and what the file says, if one was named.
    pub(crate) fn of(args: &StartArgs) -> Result<Settings, Trouble> {
        let args = args.clone();
        let file = args.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let usual = Limits::default();
        let here = || format!("127.0.0.1:{DEFAULT_PORT}");
        Ok(Settings {
            listen: args.listen.or(file.listen).unwrap_or_else(here),
            advertise: args.advertise.or(file.advertise),
            data: args.data.or(file.data).unwrap_or_else(|| "ringdove-data".into()),
            seeds: args.seeds.or(file.seeds).unwrap_or_default(),
            name: args.name.or(file.name),
            zone: args.zone.or(file.zone).unwrap_or_default(),
            copies: args.copies.or(file.copies).unwrap_or(3),
            shards: args.shards.or(file.shards),
            sync: match args.sync.or(file.sync).unwrap_or(SyncChoice::Always) {
                SyncChoice::Always => SyncMode::Always,
                SyncChoice::Interval => SyncMode::Interval(SYNC_INTERVAL),
                SyncChoice::Os => SyncMode::Os,
            },
            pages: args.pages.or(file.pages),
            restored: args.restored,
            keep_id: args.keep_id,
            salvage: args.salvage,
            limits: Limits {
                requests: file.limits.requests.map_or(usual.requests, |most| most as usize),
                request_bytes: file.limits.request_bytes.unwrap_or(usual.request_bytes),
                hint_bytes: file.limits.hint_bytes.unwrap_or(usual.hint_bytes),
            },
        })
    }
}

fn read(path: &Path) -> Result<File, Trouble> {
    let unread = |error| Trouble::io(path.display(), &error, "the node did not start");
    let file = std::fs::File::open(path).map_err(unread)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unread)?;
    toml::from_str(&text).map_err(|error| wrong(path, &text, &error))
}

/// Says which line is at fault, and shows it.
fn wrong(path: &Path, text: &str, error: &toml::de::Error) -> Trouble {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = &text.as_bytes()[..at];
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let mut trouble = Trouble::new(
        Exit::Usage,
        format!("{}, line {}: {}", path.display(), line + 1, error.message()),
        "the node did not start",
        "correct the line; `ringdove start --help` shows what a file may say",
    );
    trouble.lines = text.lines().nth(line).map(str::to_owned).into_iter().collect();
    trouble
}

fn copies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    copy_count(&number.to_string()).map(Some).map_err(D::Error::custom)
}

fn shards<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    shard_count(&number.to_string()).map(Some).map_err(D::Error::custom)
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match u64::try_from(i64::deserialize(deserializer)?) {
        Ok(most @ 1..) => Ok(Some(most)),
        Ok(0) | Err(_) => Err(D::Error::custom("a limit is at least 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::{CommandFactory, Parser};

    fn settings(typed: &[&str], file: &str) -> Result<Settings, Trouble> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ringdove.toml");
        std::fs::write(&path, file).expect("written");
        let path = path.to_str().expect("UTF-8");
        let typed = [&["ringdove", "start", "--config", path], typed].concat();
        let cli = Cli::try_parse_from(typed).expect("flags");
        let Command::Start(args) = cli.command else { panic!("start was typed") };
        Settings::of(&args)
    }

    #[test]
    fn a_file_may_say_everything_and_flags_go_before_it() {
        let file = r#"
            listen = "10.0.0.1:1"
            advertise = "10.0.0.1:2"
            data = "d"
            seeds = ["a:1", "b"]
            name = "ann"
            zone = "cellar"
            copies = 5
            shards = 4
            sync = "interval"
            pages = "p"
            [limits]
            requests = 7
            request-bytes = 8
            hint-bytes = 9
        "#;
        let told = Settings {
            listen: "10.0.0.1:1".to_owned(),
            advertise: Some("10.0.0.1:2".to_owned()),
            data: "d".into(),
            seeds: vec!["a:1".to_owned(), "b".to_owned()],
            name: Some("ann".to_owned()),
            zone: "cellar".to_owned(),
            copies: 5,
            shards: Some(4),
            sync: SyncMode::Interval(SYNC_INTERVAL),
            pages: Some("p".into()),
            restored: false,
            keep_id: false,
            salvage: false,
            limits: Limits { requests: 7, request_bytes: 8, hint_bytes: 9 },
        };
        assert_eq!(settings(&[], file).expect("well formed"), told);
        let typed = ["--listen", "x", "--seeds", "c", "--copies", "1", "--sync", "os"];
        let changed = Settings {
            listen: "x".to_owned(),
            seeds: vec!["c".to_owned()],
            copies: 1,
            sync: SyncMode::Os,
            ..told
        };
        assert_eq!(settings(&typed, file).expect("well formed"), changed);
        let usual = settings(&[], "").expect("nothing is fine");
        assert_eq!((usual.listen.as_str(), usual.copies), ("127.0.0.1:7400", 3));
        assert_eq!((usual.sync, usual.limits), (SyncMode::Always, Limits::default()));
    }

    #[test]
    fn the_file_in_the_help_is_one() {
        let cli = Cli::command();
        let help = cli.find_subcommand("start").and_then(|start| start.get_after_help());
        let help = help.expect("examples").to_string();
        let file = help.split_once("has its default:\n").expect("an example of a file").1;
        let read = settings(&[], file).expect("it is well formed");
        assert_eq!((read.seeds.len(), read.name.as_deref()), (3, Some("ann")));
        assert_eq!(read.limits, Limits::default());
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_its_line() {
        let cases = [
            ("name = \"a\"\nlisen = \"b\"", "line 2: unknown field `lisen`"),
            ("[limits]\n\nbytes = 3", "line 3: unknown field `bytes`"),
            ("name = 7", "line 1: invalid type: integer `7`, expected a string"),
            ("\n\nseeds = \"a:1\"", "line 3: invalid type: string \"a:1\", expected a sequence"),
            ("copies = 8", "line 1: a number from 1 to 7 is needed"),
            ("zone = \"z\"\nshards = 3", "line 2: a power of two from 1 to 64 is needed"),
            ("sync = \"often\"", "line 1: unknown variant `often`, expected one of"),
            ("[limits]\nrequests = 0", "line 2: a limit is at least 1"),
            ("name = \"a\"\nname = \"b\"", "line 2: duplicate key"),
            ("zone\nname", "line 1: "),
        ];
        for (file, expected) in cases {
            let trouble = settings(&[], file).expect_err(expected);
            assert!(trouble.what.contains(expected), "{expected}: {}", trouble.what);
            assert_eq!((trouble.exit, trouble.lines.len()), (Exit::Usage, 1), "{expected}");
        }
    }
}
