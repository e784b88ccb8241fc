//! Attempts at one operation: what an earlier attempt wrote is written again, under the same dot.
//!
//! ```text
//! put ── its operation is remembered here ─────────▶ the same delta again
//!   │ again, and not remembered
//!   ▼
//! every owner that is up is asked for the key's values, and the own copy or hints
//!   ├─ one of them is of this operation ───────────▶ that delta again
//!   └─ none is, or too few answer in time ─────────▶ a write of its own
//! ```
//!
//! Finding an earlier attempt saves siblings, nothing else: two attempts are two writes, of which readers are
//! shown one (`Rule::Attempts`), so an attempt that nobody saw does no harm. A delete leaves no value to be
//! found by; deleting twice is deleting. (DESIGN 3.2; Idempotent Receiver.)
//!
//! Invariant: what is remembered is bounded, in number and in bytes. Not here: the writing (`put`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Shard;
use super::get::as_written;
use super::loads::{Then, Values};
use super::reply::{Asker, Head};
use super::requests::Request;
use crate::causality::{Delta, Dot, Value};
use crate::key::Key;
use crate::ring::{MemberNumber, Token};
use crate::storage::Disk;
use crate::wire::{FailureCode, Fetch, Fetched, Message, Put};

/// What was coordinated here lately, by operation.
#[derive(Debug, Default)]
pub(super) struct Operations {
    recent: BTreeMap<u128, (Key, Delta<Value>)>,
    /// Oldest first.
    order: VecDeque<u128>,
    bytes: u64,
}

impl Operations {
    /// Takes note of a write, and forgets the oldest when there is no room.
    pub(super) fn note(
        &mut self,
        operation: u128,
        key: &Key,
        delta: &Delta<Value>,
        (count_max, bytes_max): (usize, u64),
    ) {
        let bytes = size(key, delta);
        if operation == 0 || bytes > bytes_max || self.recent.contains_key(&operation) {
            return;
        }
        self.bytes += bytes;
        self.order.push_back(operation);
        self.recent.insert(operation, (key.clone(), delta.clone()));
        while self.order.len() > count_max || self.bytes > bytes_max {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some((key, delta)) = self.recent.remove(&oldest) {
                self.bytes -= size(&key, &delta);
            }
        }
    }

    /// The delta of an earlier attempt at this write.
    fn find(&self, put: &Put) -> Found {
        match self.recent.get(&put.operation).filter(|(key, _)| *key == put.key) {
            None => Found::Nothing,
            Some((_, delta)) => {
                let value = delta.values.first().map(|(_, value)| &value.bytes);
                let same = value == put.value.as_ref();
                if same { Found::Attempt(delta.clone()) } else { Found::Another }
            }
        }
    }
}

/// What is known of an operation.
#[derive(Debug)]
enum Found {
    /// Nothing of it was seen.
    Nothing,
    /// What an attempt at it wrote.
    Attempt(Delta<Value>),
    /// Its name is that of another write of the same key.
    Another,
}

/// An earlier attempt, looked for.
#[derive(Debug)]
pub(super) struct Seek {
    asker: Asker,
    put: Put,
    /// When the client waits no longer.
    deadline: Duration,
    /// Owners whose answer may still come.
    asked: BTreeSet<MemberNumber>,
    /// Whether own values are on their way from the disk.
    loading: bool,
    found: Found,
}

impl Seek {
    fn look(&mut self, values: impl IntoIterator<Item = (Dot, Value)>) {
        for (dot, value) in values {
            if value.meta.operation == self.put.operation {
                let same = Some(&value.bytes) == self.put.value.as_ref();
                self.found =
                    if same { Found::Attempt(as_written(dot, value)) } else { Found::Another };
            }
        }
    }
}

impl<D: Disk> Shard<D> {
    /// As an owner of the key, or, when none can be reached, as a fallback that keeps hints.
    pub(super) fn coordinate(&mut self, asker: Asker, put: Put) {
        let found = if put.operation == 0 { Found::Nothing } else { self.operations.find(&put) };
        match found {
            Found::Nothing if put.again && put.operation != 0 && put.value.is_some() => {
                self.seek(asker, put);
            }
            found => self.go_on(asker, put, found),
        }
    }

    fn go_on(&mut self, asker: Asker, put: Put, found: Found) {
        match found {
            Found::Attempt(delta) => {
                self.metrics.attempts_found += 1;
                self.write(asker, put, Some(delta));
            }
            Found::Another if put.again => {
                let message = "the operation id is that of another write of this key; this attempt wrote \
                               nothing; try again with all as it was, or as a write of its own";
                self.refuse(asker, Token::of(&put.key), FailureCode::Refused, message);
            }
            Found::Another | Found::Nothing => self.write(asker, put, None),
        }
    }

    fn seek(&mut self, asker: Asker, put: Put) {
        let view = self.view.clone().expect("admitted only with a ring");
        let (token, id) = (Token::of(&put.key), self.requests.draw());
        let others = view.ring.row(token.slot()).iter().copied();
        let asked: BTreeSet<MemberNumber> =
            others.filter(|owner| *owner != view.me && view.is_up(*owner)).collect();
        for owner in &asked {
            let fetch = Fetch { key: put.key.clone(), have: Vec::new() };
            self.send(*owner, Head::key(token, id), Message::Fetch(fetch));
        }
        let here = if view.owns(token.slot()) {
            self.copy_of(token.slot(), &put.key).values().to_vec()
        } else {
            self.hinted(&put.key).values
        };
        let timeout = self.config.timeout(put.timeout_ms);
        let bytes = put.key.as_bytes().len() + put.value.as_ref().map_or(0, |value| value.len());
        let deadline = self.now.elapsed + timeout;
        let seek = Seek { asker, put, deadline, asked, loading: true, found: Found::Nothing };
        let wake = self.now.elapsed + timeout / self.config.patience_divisor;
        self.requests.insert(id, wake, bytes as u64, Request::Seek(seek));
        self.load(here, Then::Seek(id));
    }

    /// Own values came from the disk, as far as they can be read.
    pub(super) fn seek_loaded(&mut self, id: u64, values: Values) {
        let Some(request) = self.requests.take(id) else { return };
        let Request::Seek(mut seek) = request else {
            return self.requests.restore(id, request);
        };
        seek.loading = false;
        seek.look(values);
        self.settle_seek(id, seek);
    }

    /// An owner says what it holds.
    pub(super) fn seek_fetched(
        &mut self,
        id: u64,
        mut seek: Seek,
        from: MemberNumber,
        fetched: Fetched,
    ) {
        if seek.asked.remove(&from) {
            let mut values = Vec::new();
            fetched.entry.map(|dot, value| values.extend(value.map(|value| (dot, value))));
            seek.look(values);
        }
        self.settle_seek(id, seek);
    }

    /// An owner will not answer.
    pub(super) fn seek_lost(&mut self, id: u64, mut seek: Seek, from: MemberNumber) {
        seek.asked.remove(&from);
        self.settle_seek(id, seek);
    }

    fn settle_seek(&mut self, id: u64, seek: Seek) {
        if seek.asked.is_empty() && !seek.loading {
            self.end_seek(id, seek);
        } else {
            self.requests.restore(id, Request::Seek(seek));
        }
    }

    /// All have answered, or they took too long.
    pub(super) fn end_seek(&mut self, id: u64, seek: Seek) {
        self.requests.remove(id);
        let Seek { asker, put, deadline, found, .. } = seek;
        let left = deadline.saturating_sub(self.now.elapsed).as_millis();
        let put = Put { timeout_ms: u32::try_from(left).unwrap_or(u32::MAX).max(1), ..put };
        self.go_on(asker, put, found);
    }
}

fn size(key: &Key, delta: &Delta<Value>) -> u64 {
    let values = delta.values.iter().map(|(_, value)| value.bytes.len());
    (key.as_bytes().len() + values.sum::<usize>()) as u64
}
