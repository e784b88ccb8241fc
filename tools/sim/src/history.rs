//! What the clients did and were told: the only thing most checkers look at.
//!
//! Invariant: an operation's number ascends with the time it was invoked. A client does not read its
//! tokens; it remembers which response gave it the token, so the checkers work against any store.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use ringdove::causality::Dot;
use ringdove::key::Key;
use ringdove::ring::{Slot, Token};
use ringdove::wire::{Level, Source};

/// Names an operation of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OpId(pub(crate) u32);

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op{}", self.0)
    }
}

/// A key of the run.
#[derive(Debug, Clone)]
pub(crate) struct KeyPlace {
    /// The key.
    pub(crate) key: Key,
    /// Its name, as its values say it.
    pub(crate) name: String,
    /// Its token.
    pub(crate) token: Token,
    /// Its slot.
    pub(crate) slot: Slot,
}

/// What an operation wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To write these bytes.
    Put(Bytes),
    /// To delete.
    Delete,
    /// To read.
    Get,
}

/// What a write said it replaces, or a read must have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// Nothing.
    Blind,
    /// Whatever its coordinator sees. Not for reads.
    Overwrite,
    /// What a token covers. For a read, its floor.
    Context,
}

/// How an operation ended, as its client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has not.
    Pending,
    /// The store promised it.
    Ok,
    /// The store promised that it has no effect, ever.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// One operation of one client.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    /// Its name.
    pub(crate) id: OpId,
    /// Whose.
    pub(crate) session: usize,
    /// Place in [`History::keys`].
    pub(crate) key: usize,
    /// What was wanted.
    pub(crate) kind: Kind,
    /// What a write replaces, or a read must have seen.
    pub(crate) basis: Basis,
    /// The writes shown by the responses whose token was sent. For an overwrite: what its coordinator
    /// could see in its own copy just before.
    pub(crate) seen: Vec<OpId>,
    /// The level asked for.
    pub(crate) level: Level,
    /// The node asked.
    pub(crate) node: usize,
    /// When it was invoked.
    pub(crate) invoked: Duration,
    /// When it returned; `None` while it is pending, and when the client gave up.
    pub(crate) returned: Option<Duration>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The writes whose values a read showed.
    pub(crate) shown: Vec<OpId>,
    /// How many owners had it on their disks (writes) or answered (reads), as the response says.
    pub(crate) owners: u8,
    /// How many were asked for.
    pub(crate) needed: u8,
    /// Whose word a read's answer is.
    pub(crate) source: Source,
    /// Every dot minted for it, as seen from above.
    pub(crate) dots: Vec<Dot>,
    /// Whether a dot was minted for it or for another delete that looks the same from above.
    pub(crate) may_be_minted: bool,
    /// What each attempt at an overwrite had seen, by its dot.
    pub(crate) attempts: Vec<(Dot, Vec<OpId>)>,
    /// Whether a restore took its last durable copy.
    pub(crate) excused: bool,
}

impl Op {
    /// Whether it wanted to change something.
    pub(crate) fn is_write(&self) -> bool {
        self.kind != Kind::Get
    }

    /// Whether it asked for a quorum of owners, or all, and so many answered.
    pub(crate) fn is_quorum(&self) -> bool {
        let quorum = matches!(self.level, Level::Quorum | Level::All);
        quorum && self.needed > 0 && self.owners >= self.needed
    }

    /// Whether it is a put.
    pub(crate) fn is_put(&self) -> bool {
        matches!(self.kind, Kind::Put(_))
    }
}

/// All operations of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The keys of the run.
    pub(crate) keys: Vec<KeyPlace>,
    /// The operations, by number.
    pub(crate) ops: Vec<Op>,
}

impl History {
    /// The operation of this name.
    pub(crate) fn op(&self, id: OpId) -> &Op {
        &self.ops[id.0 as usize]
    }

    /// The operation of this name, to note something of it.
    pub(crate) fn op_mut(&mut self, id: OpId) -> &mut Op {
        &mut self.ops[id.0 as usize]
    }

    /// The next operation's name.
    pub(crate) fn next_id(&self) -> OpId {
        OpId(self.ops.len() as u32)
    }

    /// The operation that a client named with this operation id.
    pub(crate) fn by_operation(&self, operation: u128) -> Option<OpId> {
        let number = u32::try_from(operation.checked_sub(1)?).ok()?;
        ((number as usize) < self.ops.len()).then_some(OpId(number))
    }

    /// The operation id that a client gives an operation.
    pub(crate) fn operation(id: OpId) -> u128 {
        u128::from(id.0) + 1
    }

    /// One operation in a line, for people.
    pub(crate) fn describe(&self, id: OpId) -> String {
        let op = self.op(id);
        let kind = match (&op.kind, op.basis) {
            (Kind::Get, Basis::Context) => "get with floor".to_owned(),
            (Kind::Get, _) => "get".to_owned(),
            (Kind::Put(_), basis) => format!("put {basis:?}"),
            (Kind::Delete, basis) => format!("delete {basis:?}"),
        };
        let dots: Vec<String> = op.dots.iter().map(Dot::to_string).collect();
        format!(
            "{id} {kind} {} via n{} {} level {} invoked {:?} {:?} owners {} dots [{}] seen {}",
            self.keys[op.key].name,
            op.node + 1,
            if op.session == usize::MAX {
                "at last".into()
            } else {
                format!("session {}", op.session)
            },
            op.level,
            op.invoked,
            op.outcome,
            op.owners,
            dots.join(" "),
            list(&op.seen),
        )
    }
}

/// Operations in a line, for people.
pub(crate) fn list<'a>(ops: impl IntoIterator<Item = &'a OpId>) -> String {
    let names: Vec<String> = ops.into_iter().map(OpId::to_string).collect();
    format!("{{{}}}", names.join(" "))
}
