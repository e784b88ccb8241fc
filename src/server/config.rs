//! What a node is started with, and why it may not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::links::Links;
use super::syncer::SyncMode;
use crate::control::ConfigError;
use crate::shard::ShardConfig;
use crate::storage::{DirectoryError, Options, StoreError};

/// The port of nodes and clients that name none.
pub const DEFAULT_PORT: u16 = 7400;

/// What a node is started with.
///
/// ```
/// use ringdove::server::NodeConfig;
///
/// let config = NodeConfig { copies: 1, ..NodeConfig::new("data/here") };
/// assert_eq!(config.listen.port(), 7400);
/// ```
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where it listens, TCP and UDP alike. Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Where others reach it, if elsewhere than where it listens.
    pub advertise: Option<SocketAddr>,
    /// Its data directory; made if it is not there.
    pub data: PathBuf,
    /// `host:port` of the nodes that found the cluster together, the same list at all of them. With none the
    /// node is a cluster of itself. A directory that has a cluster keeps it, whatever is said here.
    pub seeds: Vec<String>,
    /// What people call it; its address when `None`.
    pub name: Option<String>,
    /// Where it stands; may be empty.
    pub zone: String,
    /// How many copies of everything are wanted. All founders must say the same.
    pub copies: u8,
    /// How many shards a new directory gets, a power of two up to 64; `None` for one below 8 cores and
    /// a quarter of the cores, at most 16, from there. An old directory keeps what it has.
    pub shards: Option<u16>,
    /// When written data are made durable.
    pub sync: SyncMode,
    /// How much may wait in each shard.
    pub limits: Limits,
    /// The size of a segment of a log, in bytes. A shard takes up two of them before it has any data
    /// to speak of.
    pub segment_bytes: u32,
    /// Where the page lies that tells a directory as it was left from an old copy of it. It must
    /// not be copied or restored along with the directory; best a file system in memory. `None` for
    /// `/dev/shm`, or for no page at all where there is none: then every start counts as one from an old
    /// copy, which is safe and lets clocks grow.
    pub pages: Option<PathBuf>,
    /// Whether its data were put back from an old copy or lost in part. Then it joins its cluster anew, under another id,
    /// and takes the place of the member it was; so it does when it notices.
    pub restored: bool,
    /// Whether the node stays the member that it was although synced data are missing. Only right when all members were
    /// put back at once, so that nobody is left to take it in.
    pub keep_id: bool,
    /// Whether a log that is damaged is replaced by what can be saved of it; the damaged one is kept beside
    /// it. Without this a node with a damaged log does not start.
    pub salvage: bool,
    /// Which nodes of this process can hear which.
    pub links: Links,
}

/// How much may wait in each shard of a node. What goes beyond is refused as overloaded, before it has
/// any effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests under way, of all kinds.
    pub requests: usize,
    /// Bytes of keys and values that they hold.
    pub request_bytes: u64,
    /// Bytes of hints kept for absent owners.
    pub hint_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let shard = ShardConfig::default();
        Limits {
            requests: shard.requests_max,
            request_bytes: shard.request_bytes_max,
            hint_bytes: shard.hint_bytes_max,
        }
    }
}

impl NodeConfig {
    /// A node of its own on the default port of the loopback interface, with its data there.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        NodeConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)),
            advertise: None,
            data: data.into(),
            seeds: Vec::new(),
            name: None,
            zone: String::new(),
            copies: 3,
            shards: None,
            sync: SyncMode::Always,
            limits: Limits::default(),
            segment_bytes: Options::default().segment_bytes,
            pages: None,
            restored: false,
            keep_id: false,
            salvage: false,
            links: Links::new(),
        }
    }
}

/// Why a node did not start. Unless it says otherwise, nothing was changed.
#[derive(Debug, Error)]
pub enum StartError {
    /// What it was told cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory, or a shard's in it, cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Another process runs on a copy of the directory.
    #[error(
        "another process holds {page}, the page of the directory {dir}: it runs on a copy of it, or \
         this is the copy; the two are one node and must not run side by side; stop the other one, or \
         start with an empty directory, which gets its data from its peers"
    )]
    CopyInUse {
        /// Which directory.
        dir: PathBuf,
        /// What the other process holds.
        page: PathBuf,
    },
    /// The page outside the data directory cannot be read or written.
    #[error("the page {page} cannot be kept: {why}; name another place for it with --pages")]
    Page {
        /// Where it should be.
        page: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// The notes in the data directory cannot be read or written.
    #[error("the data directory {dir} cannot be used: {why}")]
    Notes {
        /// Which directory.
        dir: PathBuf,
        /// What is wrong with it.
        #[source]
        why: io::Error,
    },
    /// What the control machine wrote down cannot be read.
    #[error(
        "control.note cannot be used: {0}; put back a copy of it, or start over with an empty directory"
    )]
    Control(String),
    /// A directory cannot change its number of shards.
    #[error(
        "the data directory was made with {has} shards and cannot have {wanted}; leave the number \
         out, or start with an empty directory"
    )]
    Shards {
        /// What was asked for.
        wanted: u16,
        /// What it has.
        has: u16,
    },
    /// A shard's log cannot be opened.
    #[error("shard {shard} cannot be opened: {why}")]
    Store {
        /// Which shard.
        shard: u16,
        /// What is wrong with it.
        #[source]
        why: StoreError,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {why}; is another node running there?")]
    Listen {
        /// Which address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness: {0}")]
    Random(String),
    /// The system gave no thread, poll or signal handler.
    #[error("the system refused what every node needs: {0}")]
    System(#[from] io::Error),
}
