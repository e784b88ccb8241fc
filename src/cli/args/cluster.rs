//! The commands about nodes and the cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::data::{ReadArgs, WriteArgs};
use super::{positive_duration, switch};

const START_EXAMPLES: &str = "\
Examples:
  ringdove start                                a cluster of one on 127.0.0.1:7400
  ringdove start --listen 127.0.0.1:0           on a port that the system chooses; it is printed
  ringdove start --config ringdove.toml         as a file says

Three peers on one machine, in three terminals:
  export RINGDOVE_SEEDS=127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403     in each
  ringdove start --listen 127.0.0.1:7401 --data d1
  ringdove start --listen 127.0.0.1:7402 --data d2
  ringdove start --listen 127.0.0.1:7403 --data d3

Nodes that are given the same seeds found the cluster together, once all of them are there. A node
without seeds founds a cluster of itself. SIGINT or SIGTERM stops a node gracefully.
RINGDOVE_LOG=info (or debug) shows what it does.

The same from a file, with `ringdove start --config FILE`. Names are those of the flags; a flag or
an environment variable goes before the file, and what nobody says has its default:
  listen = \"10.0.0.1:7400\"
  data = \"/var/lib/ringdove\"
  seeds = [\"10.0.0.1:7400\", \"10.0.0.2:7400\", \"10.0.0.3:7400\"]
  name = \"ann\"
  sync = \"always\"                # or interval (every 100 ms), or os
  [limits]                       # of each shard; what is beyond is refused as overloaded
  requests = 65_536              # under way at once
  request-bytes = 268_435_456    # keys and values that they hold
  hint-bytes = 1_073_741_824     # kept for absent owners";

/// `start`. What is `None` may stand in the file, and has a default otherwise.
#[derive(Debug, Clone, Args)]
#[command(after_help = START_EXAMPLES)]
pub(crate) struct StartArgs {
    /// Where to listen, TCP and UDP; port 0 lets the system choose [default: 127.0.0.1:7400]
    #[arg(long, value_name = "H:P", env = "RINGDOVE_LISTEN", hide_env = true)]
    pub listen: Option<String>,
    /// Where others reach this node, if that is another address than it listens on
    #[arg(long, value_name = "H:P", env = "RINGDOVE_ADVERTISE", hide_env = true)]
    pub advertise: Option<String>,
    /// The directory that holds its data; made if it is not there [default: ringdove-data]
    #[arg(long, value_name = "DIR", env = "RINGDOVE_DATA", hide_env = true)]
    pub data: Option<PathBuf>,
    /// The nodes that found the cluster, the same list for each of them
    #[arg(
        long,
        value_name = "H:P,…",
        env = "RINGDOVE_SEEDS",
        hide_env = true,
        value_delimiter = ','
    )]
    pub seeds: Option<Vec<String>>,
    /// What people call it; its address if nothing is said
    #[arg(long, value_name = "NAME", env = "RINGDOVE_NAME", hide_env = true)]
    pub name: Option<String>,
    /// Where it stands: a rack, a room, a site
    #[arg(long, value_name = "ZONE", env = "RINGDOVE_ZONE", hide_env = true)]
    pub zone: Option<String>,
    /// How many copies the cluster keeps of everything; fixed when it is founded [default: 3]
    #[arg(
        long,
        value_name = "N",
        env = "RINGDOVE_COPIES",
        hide_env = true,
        value_parser = copy_count
    )]
    pub copies: Option<u8>,
    /// How many shards the node has, a power of two; fixed when its directory is made [default: by cores]
    #[arg(
        long,
        value_name = "S",
        env = "RINGDOVE_SHARDS",
        hide_env = true,
        value_parser = shard_count
    )]
    pub shards: Option<u16>,
    /// When writes are synced: before they are acknowledged, now and then, or when the system likes
    /// [default: always]
    #[arg(
        long,
        value_enum,
        value_name = "always|interval|os",
        hide_possible_values = true,
        env = "RINGDOVE_SYNC",
        hide_env = true
    )]
    pub sync: Option<SyncChoice>,
    /// Where the page lies that tells its data from an old copy of them; not beside the data, best in
    /// memory [default: /dev/shm]
    #[arg(long, value_name = "DIR", env = "RINGDOVE_PAGES", hide_env = true)]
    pub pages: Option<PathBuf>,
    /// Its data were put back from an old copy, or lost in part: it joins its cluster anew, and takes the place
    /// of the member it was, with the data it has. A node that notices does so by itself
    #[arg(long, env = "RINGDOVE_RESTORED", hide_env = true)]
    pub restored: bool,
    /// Stay the member that it was, although data are missing: only when all members were put back at once,
    /// so that nobody is left to take it in
    #[arg(long, env = "RINGDOVE_KEEP_ID", hide_env = true)]
    pub keep_id: bool,
    /// Replace a log that is damaged by what can be saved of it, and keep the damaged one beside it; the node
    /// joins its cluster anew, as with --restored
    #[arg(long, env = "RINGDOVE_SALVAGE", hide_env = true)]
    pub salvage: bool,
    /// A file that says any of the above, in TOML; flags and environment variables go before it
    #[arg(long, value_name = "FILE", env = "RINGDOVE_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
}

/// When writes reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyncChoice {
    /// Before they are acknowledged. The only one that survives a power cut.
    Always,
    /// Several times a second.
    Interval,
    /// When the operating system likes.
    Os,
}

/// How many copies there may be of everything.
pub(crate) fn copy_count(text: &str) -> Result<u8, String> {
    match text.parse::<u8>() {
        Ok(count) if (1..=7).contains(&count) => Ok(count),
        _ => Err("a number from 1 to 7 is needed".to_owned()),
    }
}

/// How many shards a node may have.
pub(crate) fn shard_count(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(count) if count.is_power_of_two() && count <= 64 => Ok(count),
        _ => Err("a power of two from 1 to 64 is needed".to_owned()),
    }
}

const STATUS_EXAMPLES: &str = "\
Examples:
  ringdove status
  ringdove status --check            exits with 8 unless the cluster is healthy
  ringdove status --wait 30s         waits for that; also for a node that is not there yet
  ringdove status -o json";

/// `status`
#[derive(Debug, Clone, Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Exit with 8 unless the cluster is healthy
    #[arg(long, env = "RINGDOVE_CHECK", hide_env = true, value_parser = switch())]
    pub check: bool,
    /// Wait until each endpoint says that the cluster is healthy, at most this long; exit with 8 if
    /// one does not
    #[arg(
        long,
        value_name = "TIME",
        env = "RINGDOVE_WAIT",
        hide_env = true,
        value_parser = positive_duration
    )]
    pub wait: Option<Duration>,
}

const MEMBERS_EXAMPLES: &str = "\
Examples:
  ringdove members
  ringdove members -o json

States: U up or D down, as the asked node sees it; then N normal, J joining, L leaving. Up means that
a member answers heartbeats and that data can be sent there.";

/// `members`
#[derive(Debug, Clone, Args)]
#[command(after_help = MEMBERS_EXAMPLES)]
pub(crate) struct MembersArgs {}

const RING_EXAMPLES: &str = "\
Examples:
  ringdove ring                      one screen, however large the cluster
  ringdove ring --all                every partition with its owners";

/// `ring`
#[derive(Debug, Clone, Args)]
#[command(after_help = RING_EXAMPLES)]
pub(crate) struct RingArgs {
    /// List every partition with its owners
    #[arg(long, env = "RINGDOVE_RING_ALL", hide_env = true, value_parser = switch())]
    pub all: bool,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  ringdove bench
  ringdove bench --connections 8 --in-flight 32 --read-share 0.9 --seconds 30
  ringdove bench --value-bytes 4096 -w all -o json

A closed loop: each connection keeps as many requests under way as --in-flight says and sends the
next when one is answered. Latency is what a client waits. It writes to the bucket `bench` unless
another is named, and leaves its keys there.";

/// `bench`
#[derive(Debug, Clone, Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct BenchArgs {
    /// How many connections; spread over the endpoints
    #[arg(
        long,
        value_name = "N",
        env = "RINGDOVE_BENCH_CONNECTIONS",
        hide_env = true,
        default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub connections: u16,
    /// How many requests each connection keeps under way
    #[arg(
        long,
        value_name = "N",
        env = "RINGDOVE_BENCH_IN_FLIGHT",
        hide_env = true,
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub in_flight: u16,
    /// Which part of the requests are reads, from 0 to 1
    #[arg(
        long,
        value_name = "SHARE",
        env = "RINGDOVE_BENCH_READ_SHARE",
        hide_env = true,
        default_value_t = 0.5,
        value_parser = share
    )]
    pub read_share: f64,
    /// How many bytes a value has
    #[arg(
        long,
        value_name = "BYTES",
        env = "RINGDOVE_BENCH_VALUE_BYTES",
        hide_env = true,
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=crate::key::VALUE_BYTES_MAX as i64)
    )]
    pub value_bytes: u32,
    /// How many different keys there are, chosen evenly
    #[arg(
        long,
        value_name = "N",
        env = "RINGDOVE_BENCH_KEYS",
        hide_env = true,
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub keys: u64,
    /// How long to measure, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        env = "RINGDOVE_BENCH_SECONDS",
        hide_env = true,
        default_value = "10",
        value_parser = seconds
    )]
    pub seconds: Duration,
    /// The seed of the choice of keys; the same seed asks for the same keys
    #[arg(
        long,
        value_name = "SEED",
        env = "RINGDOVE_BENCH_SEED",
        hide_env = true,
        default_value_t = 1
    )]
    pub seed: u64,
    /// The bucket that it works in
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "RINGDOVE_BENCH_BUCKET",
        hide_env = true,
        default_value = "bench"
    )]
    pub bucket: String,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub write: WriteArgs,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 (only writes) to 1 (only reads) is needed".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) => Err("more than 0 and at most 86400 seconds are needed".to_owned()),
        Err(_) => positive_duration(text),
    }
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  ringdove inspect ringdove-data/shard-0/00000001.seg

Reads the file as it is and changes nothing; the node may be running or not.";

/// `inspect`
#[derive(Debug, Clone, Args)]
#[command(after_help = INSPECT_EXAMPLES, override_usage = "ringdove inspect [OPTIONS] <FILE>")]
pub(crate) struct InspectArgs {
    /// A segment in a node's data directory
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

const DEMO_EXAMPLES: &str = "\
Examples:
  ringdove demo --tour                  a conflict and its resolution, in a minute
  ringdove demo                         five nodes and a prompt; `help` lists what it knows
  ringdove demo --nodes 3 < script      the same, from a file

The nodes are real: each has its own sockets on 127.0.0.1 and its own directory. Only the wires
between them can be cut. Everything is removed at the end.";

/// `demo`
#[derive(Debug, Clone, Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub(crate) struct DemoArgs {
    /// How many nodes; they are called a, b, c, …
    #[arg(
        long,
        value_name = "N",
        env = "RINGDOVE_DEMO_NODES",
        hide_env = true,
        default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..=26)
    )]
    pub nodes: u16,
    /// Walk through a conflict, step by step, and end
    #[arg(long, env = "RINGDOVE_DEMO_TOUR", hide_env = true, value_parser = switch())]
    pub tour: bool,
    /// Exit with 1 if a command of the script failed
    #[arg(long, env = "RINGDOVE_DEMO_STRICT", hide_env = true, value_parser = switch())]
    pub strict: bool,
}
