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
//! Invariant: the number of shards never changes, since a slot lies in shard `slot mod shards`; a
//! life is on the synced disk before it is used. Not here: the logs (`storage`).

use std::io;
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

use super::config::StartError;
use crate::causality::Actor;
use crate::control::ControlState;
use crate::pack::{pack, unpack};
use crate::storage::Notes;

const FORMAT: u16 = 1;
const NODE: &str = "node";
const CONTROL: &str = "control";

/// What a directory says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NodeNote {
    /// The directory's format.
    format: u16,
    /// How many shards it has.
    shards: u16,
    /// The random bits of the last start.
    life: u64,
    /// How often it was started.
    starts: u64,
}

/// A data directory that this process alone uses.
#[derive(Debug)]
pub(super) struct Home {
    notes: Notes,
    path: PathBuf,
    /// How many shards it has.
    pub(super) shards: u16,
    /// 48 random bits of this start, never seen before.
    pub(super) life: u64,
}

impl Home {
    /// Takes a directory, makes it one if it is new, and begins a new life in it.
    pub(super) fn open(
        path: &Path,
        shards: Option<u16>,
    ) -> Result<(Self, ControlState), StartError> {
        let unreadable = |why: io::Error| StartError::Notes { dir: path.to_owned(), why };
        let notes = Notes::open(path)?;
        let life = draw_life()?;
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
        note.life = life;
        note.starts += 1;
        notes.save(NODE, &encode_node(&note)).map_err(unreadable)?;
        let home = Home { notes, path: path.to_owned(), shards: note.shards, life };
        Ok((home, state))
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
        Ok((NodeNote { format: FORMAT, shards, life: 0, starts: 0 }, state))
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

fn draw_life() -> Result<u64, StartError> {
    let bits = SysRng.try_next_u64().map_err(|error| StartError::Random(error.to_string()))?;
    Ok(bits >> (u64::BITS - Actor::LIFE_BITS))
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
