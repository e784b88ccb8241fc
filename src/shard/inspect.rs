//! What people are shown of a key, and what a member counts.
//!
//! Invariant: what is shown is what is held: a value whose bytes cannot be read, or are too many to
//! be read for showing, is still listed by its dot.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use super::gather::name;
use super::loads::{Then, Values};
use super::reply::Head;
use crate::causality::{Delta, Dot, DotSet, Entry, Meta};
use crate::key::Key;
use crate::ring::{MemberNumber, Token, View};
use crate::storage::{Disk, HintHead, Place};
use crate::wire::{
    Count, Counted, Explanation, GLIMPSE_BYTES_MAX, Glimpse, HintShown, Inspect, Inspected,
    Message, ReplicaShown, ValueShown,
};

/// An entry and hints to be shown, once their values are read.
#[derive(Debug)]
pub(super) struct Looked {
    viewer: Viewer,
    clock: DotSet,
    entry: Entry<Place>,
    hints: Vec<HintHead>,
}

/// Who wants to see it.
#[derive(Debug)]
enum Viewer {
    /// A question of this node's own client, by request id.
    Own(u64),
    /// Another member.
    Member(MemberNumber, Head),
}

impl<D: Disk> Shard<D> {
    /// A member wants to see everything that is here of a key.
    pub(super) fn on_inspect(&mut self, from: MemberNumber, head: Head, inspect: Inspect) {
        if self.loads.len() < self.config.loads_max {
            self.look(Viewer::Member(from, head), inspect.key);
        }
    }

    /// This node's own part of a question.
    pub(super) fn look_for(&mut self, id: u64, key: Key) {
        self.look(Viewer::Own(id), key);
    }

    fn look(&mut self, viewer: Viewer, key: Key) {
        let slot = Token::of(&key).slot();
        let (entry, clock) = (self.copy_of(slot, &key), self.store.clock(slot).clone());
        let hints = self.hints_for(&key);
        let kept = hints.iter().flat_map(|hint| hint.delta.values.iter().copied());
        let all: BTreeMap<Dot, Place> = entry.values().iter().copied().chain(kept).collect();
        let mut room = self.config.look_bytes_max;
        let wanted = all.into_iter().filter(|(_, place)| {
            let fits = u64::from(place.len) <= room;
            room = if fits { room - u64::from(place.len) } else { room };
            fits
        });
        let wanted = wanted.collect();
        self.load(wanted, Then::Look(Looked { viewer, clock, entry, hints }));
    }

    /// The values are there.
    pub(super) fn show(&mut self, looked: Looked, values: Values) {
        let Looked { viewer, clock, entry, hints } = looked;
        let glimpse = |dot: Dot, place: Place| match values.get(&dot) {
            Some(value) => Glimpse {
                meta: value.meta.clone(),
                head: value.bytes.slice(..value.bytes.len().min(GLIMPSE_BYTES_MAX)),
                len: value.bytes.len() as u64,
            },
            None => {
                let (meta, head) = (Meta::default(), bytes::Bytes::new());
                Glimpse { meta, head, len: place.len.into() }
            }
        };
        let entry = entry.map(glimpse);
        let hints = hints.into_iter().map(|hint| {
            let Delta { values, kept, deleted, context } = hint.delta;
            let values = values.into_iter().map(|(dot, place)| (dot, glimpse(dot, place)));
            let delta = Delta { values: values.collect(), kept, deleted, context };
            (MemberNumber(hint.owed_to), delta)
        });
        let inspected = Inspected { clock, entry, hints: hints.collect() };
        match viewer {
            Viewer::Own(id) => {
                let me = self.me();
                self.gather_inspected(id, me, inspected);
            }
            Viewer::Member(from, head) => self.send(from, head, Message::Inspected(inspected)),
        }
    }

    /// A member wants to know what is held here in a class of slots.
    pub(super) fn on_count(&mut self, from: MemberNumber, head: Head, count: Count) {
        let Some(view) = self.view.clone() else { return };
        if self.answers_for(count.class, count.classes) {
            let counted = self.count(&view, &count);
            self.send(from, head, Message::Counted(counted));
        }
    }

    /// What is held here in a class of slots.
    pub(super) fn count(&self, view: &View, count: &Count) -> Counted {
        let (class, classes) = (count.class, count.classes);
        let hints = self.hints.count_class(class, classes);
        let recovering = self.recovery.count_class(class, classes);
        let mut counted = Counted { hints, recovering, ..Counted::default() };
        for slot in self.tally.slots().filter(|slot| slot.shard(classes) == class) {
            let first_live = view.ring.row(slot).iter().find(|owner| view.is_up(**owner));
            if first_live == Some(&view.me) {
                counted.keys += self.tally.keys(slot);
                counted.conflicts += self.tally.conflicts(slot);
            }
        }
        if count.limit > 0 {
            (counted.siblings, counted.more) = self.list_siblings(count);
        }
        counted
    }

    /// The first keys with siblings in key order, and whether there are more.
    fn list_siblings(&self, count: &Count) -> (Vec<(Key, u16)>, bool) {
        let limit = count.limit.min(self.config.list_max) as usize;
        let (mut first, mut bytes, mut more) = (BTreeMap::<Key, u16>::new(), 0, false);
        for (slot, key, siblings) in self.tally.siblings() {
            let wanted = count.bucket.as_ref().is_none_or(|bucket| key.bucket() == bucket);
            if !wanted || slot.shard(count.classes) != count.class {
                continue;
            }
            bytes += key.as_bytes().len();
            first.insert(key.clone(), siblings);
            while first.len() > limit || bytes > self.config.list_bytes_max {
                let Some((dropped, _)) = first.pop_last() else { break };
                bytes -= dropped.as_bytes().len();
                more = true;
            }
        }
        (first.into_iter().collect(), more)
    }
}

/// Puts what the members said of a key into the words of an explanation.
pub(super) fn explain(
    view: &View,
    key: &Key,
    replicas: &BTreeMap<MemberNumber, Inspected>,
    missing: Vec<String>,
) -> Explanation {
    let token = Token::of(key);
    let owners = view.ring.row(token.slot()).to_vec();
    let in_hints = |inspected: &Inspected| {
        inspected
            .hints
            .iter()
            .flat_map(|(_, delta)| delta.values.iter())
            .map(|(dot, _)| *dot)
            .collect::<Vec<_>>()
    };
    let dots: BTreeSet<Dot> = replicas
        .values()
        .flat_map(|inspected| inspected.entry.dots().chain(in_hints(inspected)))
        .collect();
    let text = match std::str::from_utf8(key.key()) {
        Ok(text) => text.to_owned(),
        Err(_) => data_encoding::BASE64.encode(key.key()),
    };
    let replica = |(member, inspected): (&MemberNumber, &Inspected)| {
        let owner = owners.contains(member);
        replica_shown(view, *member, owner, inspected, &dots)
    };
    Explanation {
        bucket: key.bucket().to_owned(),
        key: text,
        token: token.to_string(),
        slot: token.slot().number(),
        replicas: replicas.iter().map(replica).collect(),
        missing,
        names: view.ring.members.iter().map(|m| (m.number, m.name.clone())).collect(),
        owners,
    }
}

fn replica_shown(
    view: &View,
    member: MemberNumber,
    owner: bool,
    inspected: &Inspected,
    dots: &BTreeSet<Dot>,
) -> ReplicaShown {
    let Inspected { clock, entry, hints } = inspected;
    let values = entry.values().iter();
    let covered = entry.covered(clock);
    let replaced =
        dots.iter().filter(|dot| covered.contains(**dot) && entry.value(**dot).is_none());
    let hint = |(owed_to, delta): &(MemberNumber, Delta<Glimpse>)| HintShown {
        owed_to: name(view, *owed_to),
        dots: delta.dots().map(|dot| dot.to_string()).collect(),
        values: delta
            .values
            .iter()
            .map(|(dot, value)| value_shown(view, *dot, value, dots))
            .collect(),
    };
    ReplicaShown {
        member,
        name: name(view, member),
        owner,
        clock: clock.to_string(),
        residual: if entry.residual().is_empty() {
            String::new()
        } else {
            entry.residual().to_string()
        },
        values: values.map(|(dot, value)| value_shown(view, *dot, value, dots)).collect(),
        replaced: replaced.map(Dot::to_string).collect(),
        hints: hints.iter().map(hint).collect(),
    }
}

fn value_shown(view: &View, dot: Dot, value: &Glimpse, dots: &BTreeSet<Dot>) -> ValueShown {
    let Glimpse { meta, head, len } = value;
    let saw = dots.iter().filter(|other| **other != dot && meta.context.contains(**other));
    ValueShown {
        dot: dot.to_string(),
        via: name(view, MemberNumber(dot.actor.member())),
        written_by: meta.writer.clone(),
        written_at_ms: meta.stamp,
        saw: saw.map(Dot::to_string).collect(),
        operation: format!("{:032x}", meta.operation),
        context: meta.context.to_string(),
        head: head.to_vec(),
        len: *len,
    }
}
