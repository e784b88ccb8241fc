//! A node's data directory: who the node is, how often it was started, what its control machine
//! wrote down.
//!
//! | in the directory | what |
//! |---|---|
//! | `lock` | held by the one process that uses it |
//! | `node.note` | [`NodeNote`], MessagePack with named fields |
//! | `control.note` | [`ControlState::encode`] |
//! | `shard-K/` | the log of shard K |
//!
//! Outside of it, in memory, lies its [`Page`].
//!
//! Invariant: the number of shards never changes, since a slot lies in shard `slot mod shards`; a
//! life is on the synced disk before it is used. Not here: the logs (`storage`).

use std::io;
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

use super::config::StartError;
use crate::control::ControlState;
use crate::pack::{pack, unpack};
use crate::storage::{Life, LogEnd, Notes, Page, PageError};

const FORMAT: u16 = 1;
const NODE: &str = "node";
const CONTROL: &str = "control";
/// Where pages are kept unless another place is named: in memory, gone with the boot.
const PAGES: &str = "/dev/shm";
const NO_PAGE: &str = "every start draws a new actor";

/// What a directory says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NodeNote {
    /// The directory's format.
    format: u16,
    /// How many shards it has.
    shards: u16,
    /// The random bits of the last start's actor.
    life: u64,
    /// How often it was started.
    starts: u64,
    /// What tells this directory from all others but its copies; zeros in those made before there
    /// were pages.
    #[serde(default)]
    directory: [u64; 2],
}

/// A data directory that this process alone uses.
#[derive(Debug)]
pub(super) struct Home {
    notes: Notes,
    path: PathBuf,
    /// How many shards it has.
    pub(super) shards: u16,
    note: NodeNote,
}

impl Home {
    /// Takes a directory, and makes it one if it is new. Nothing may be served before
    /// [`Home::begin`].
    pub(super) fn open(
        path: &Path,
        shards: Option<u16>,
    ) -> Result<(Self, ControlState), StartError> {
        let unreadable = |why: io::Error| StartError::Notes { dir: path.to_owned(), why };
        let notes = Notes::open(path)?;
        let node = notes.load(NODE).map_err(unreadable)?;
        let control = notes.load(CONTROL).map_err(unreadable)?;
        let (mut note, state) = match (node, control) {
            (None, control) => Self::make(&notes, control, shards)?,
            (Some(node), Some(control)) => {
                (decode_node(&node).map_err(unreadable)?, decode_control(&control)?)
            }
            (Some(_), None) => {
                let why = "control.note is missing: without it the node does not know who it is; \
                           put back a copy of it, or start over with an empty directory";
                return Err(unreadable(io::Error::new(io::ErrorKind::NotFound, why)));
            }
        };
        if let Some(wanted) = shards
            && wanted != note.shards
        {
            return Err(StartError::Shards { wanted, has: note.shards });
        }
        if note.directory == [0, 0] {
            note.directory = [draw()?, draw()?];
            notes.save(NODE, &encode_node(&note)).map_err(unreadable)?;
        }
        Ok((Home { notes, path: path.to_owned(), shards: note.shards, note }, state))
    }

    /// Takes the directory's page, where it tells whether its past is whole. `None` when there is no
    /// place for pages and none was asked for.
    pub(super) fn page(&self, pages: Option<&Path>) -> Result<Option<Page>, StartError> {
        let [high, low] = self.note.directory;
        let directory = u128::from(high) << 64 | u128::from(low);
        if let (Some(Ok(pages)), Ok(data)) =
            (pages.map(Path::canonicalize), self.path.canonicalize())
            && pages.starts_with(data)
        {
            let why = "it would be copied along with the data directory that it lies in";
            return Err(StartError::Page { page: pages, why: io::Error::other(why) });
        }
        match Page::open(pages.unwrap_or(Path::new(PAGES)), directory) {
            Ok(page) => Ok(Some(page)),
            Err(PageError::InUse(page)) => {
                Err(StartError::CopyInUse { dir: self.path.clone(), page })
            }
            Err(PageError::Io(page, why)) if pages.is_some() => Err(StartError::Page { page, why }),
            Err(PageError::Io(page, why)) => {
                log::info!("no page can be kept at {}: {why}; {NO_PAGE}", page.display());
                Ok(None)
            }
        }
    }

    /// The life of the process before this one, if there was any.
    pub(super) fn last_life(&self) -> Option<u64> {
        (self.note.starts > 0).then_some(self.note.life)
    }

    /// Whether synced data are missing from logs that end like this, as far as the page can tell.
    pub(super) fn lacks(&self, page: Option<&Page>, ends: &[LogEnd]) -> Result<bool, StartError> {
        let Some(page) = page else { return Ok(false) };
        let written = page.written(self.shards).map_err(|why| page_failed(page, why))?;
        Ok(written.is_some_and(|written| written.reaches_beyond(ends)))
    }

    /// Begins a life, durably: that of the process before if its page says where the logs end, or a
    /// new one.
    pub(super) fn begin(
        &mut self,
        page: Option<&mut Page>,
        ends: &[LogEnd],
    ) -> Result<u64, StartError> {
        let unwritten = |why| StartError::Notes { dir: self.path.clone(), why };
        let written = match &page {
            None => None,
            Some(page) => page.written(self.shards).map_err(|why| page_failed(page, why))?,
        };
        let drawn = draw()?;
        let life = Life::after(self.last_life(), written.as_ref(), ends, || drawn);
        match life {
            Life::Kept(_) => log::info!("nothing written before is missing: the actor is kept"),
            Life::Drawn(_) => log::info!("a new actor is drawn"),
        }
        self.note.life = life.life();
        self.note.starts += 1;
        self.notes.save(NODE, &encode_node(&self.note)).map_err(unwritten)?;
        if let Some(page) = page {
            page.begin(life.life(), ends).map_err(|why| page_failed(page, why))?;
        }
        Ok(life.life())
    }

    /// Makes a new directory's notes. The control state first: a directory with a node note is whole.
    fn make(
        notes: &Notes,
        control: Option<Vec<u8>>,
        shards: Option<u16>,
    ) -> Result<(NodeNote, ControlState), StartError> {
        let unwritten = |why| StartError::Notes { dir: notes.dir().to_owned(), why };
        if notes.dir().join("shard-0").is_dir() {
            let why = "it has data, and no node.note to say whose; put back a copy of it, or use \
                       another directory";
            return Err(unwritten(io::Error::new(io::ErrorKind::NotFound, why)));
        }
        let state = match control {
            Some(control) => decode_control(&control)?,
            None => {
                let state = ControlState::new(&mut UnwrapErr(SysRng));
                notes.save(CONTROL, &state.encode()).map_err(unwritten)?;
                state
            }
        };
        let shards = shards.unwrap_or_else(default_shards);
        Ok((NodeNote { format: FORMAT, shards, life: 0, starts: 0, directory: [0, 0] }, state))
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what the control machine wrote down, durably.
    pub(super) fn save_control(&self, state: &ControlState) -> io::Result<()> {
        self.notes.save(CONTROL, &state.encode())
    }

    /// The directory of a shard.
    pub(super) fn shard(&self, shard: u16) -> PathBuf {
        self.path.join(format!("shard-{shard}"))
    }
}

fn draw() -> Result<u64, StartError> {
    SysRng.try_next_u64().map_err(|error| StartError::Random(error.to_string()))
}

fn page_failed(page: &Page, why: io::Error) -> StartError {
    StartError::Page { page: page.path().to_owned(), why }
}

/// One shard on small machines; on larger ones a power of two near a quarter of the cores.
fn default_shards() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = (cores / 4).clamp(1, 16) as u16;
    // Down to a power of two.
    1 << shards.ilog2()
}

fn encode_node(note: &NodeNote) -> Vec<u8> {
    pack(note)
}

fn decode_node(bytes: &[u8]) -> io::Result<NodeNote> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let note: NodeNote =
        unpack(bytes).map_err(|error| invalid(format!("node.note cannot be read: {error}")))?;
    if note.format != FORMAT {
        let why = "the directory has format {}; this release knows format 1; use a later release";
        return Err(invalid(why.replace("{}", &note.format.to_string())));
    }
    if !note.shards.is_power_of_two() {
        return Err(invalid(format!("node.note speaks of {} shards", note.shards)));
    }
    Ok(note)
}

fn decode_control(bytes: &[u8]) -> Result<ControlState, StartError> {
    ControlState::decode(bytes).map_err(|error| StartError::Control(error.to_string()))
}
