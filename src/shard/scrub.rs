//! Scrubbing: stored values are read now and then, and what the disk has let rot comes from another owner.
//!
//! ```text
//! now and then a walk, in the order of the slots: a few entries in each round of slot sync
//!   │ all values can be read: on to the next
//!   ▼ one cannot (or a read of a client or peer found it so)
//! another owner is asked for the key ──▶ its value is stored here again, under the same dot
//!   └─ it has not got it: the next owner is asked; then it is told, and tried again the next time round
//! ```
//!
//! Invariant: only bytes change, never a dot or a clock: what is stored again is what another owner stored
//! under the very same dot. Not here: damage of the log, which is found when it is opened (`storage`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Shard;
use super::loads::{Then, Values};
use super::reply::Head;
use super::requests::Request;
use crate::causality::{Dot, Entry, Value};
use crate::key::Key;
use crate::ring::{MemberNumber, Slot, Token};
use crate::storage::{Body, Disk, Place, Position};
use crate::wire::{Fetch, Fetched, Message};

/// Where the walk over all entries is.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// The slot, and the last key in it that was read.
    at: Option<(Slot, Position)>,
    /// When the next walk begins. `None` before the first round: the start has just read everything.
    next_walk: Option<Duration>,
    /// Keys being read or healed: each once at a time.
    busy: BTreeSet<Key>,
}

/// A key of which values are brought from other owners.
#[derive(Debug)]
pub(super) struct Heal {
    slot: Slot,
    key: Key,
    /// What cannot be read, and where it lies.
    rotten: BTreeMap<Dot, Place>,
    asked: MemberNumber,
    spare: VecDeque<MemberNumber>,
}

impl<D: Disk> Shard<D> {
    /// Reads the next few entries.
    pub(super) fn scrub_some(&mut self) {
        let now = self.now.elapsed;
        let next_walk = *self.scrub.next_walk.get_or_insert(now + self.config.scrub_interval);
        if self.scrub.at.is_none() {
            if now < next_walk {
                return;
            }
            self.scrub.next_walk = Some(now + self.config.scrub_interval);
        }
        let (first, after) = self.scrub.at.take().unzip();
        let first = first.unwrap_or(super::sync::leading_slot(0));
        let (mut bytes, mut some) = (0, Vec::new());
        'walk: for slot in self.store.occupied().skip_while(|slot| *slot < first) {
            for (at, entry) in self.store.walk(slot, after.as_ref().filter(|_| slot == first)) {
                bytes += entry.values().iter().map(|(_, place)| u64::from(place.len)).sum::<u64>();
                some.push((slot, at.1.clone(), entry));
                if bytes >= self.config.scrub_bytes {
                    self.scrub.at = Some((slot, at));
                    break 'walk;
                }
            }
        }
        for (slot, key, entry) in some {
            self.scrub_entry(slot, key, entry);
        }
    }

    /// Reads a key's values, because one of them could not be read just now.
    pub(super) fn scrub_key(&mut self, slot: Slot, key: &Key) {
        if let Some(entry) = self.store.entry(slot, key) {
            self.scrub_entry(slot, key.clone(), entry);
        }
    }

    fn scrub_entry(&mut self, slot: Slot, key: Key, entry: Entry<Place>) {
        if self.loads.len() < self.config.loads_max && self.scrub.busy.insert(key.clone()) {
            let places = entry.values().to_vec();
            self.load(places.clone(), Then::Scrub(slot, key, places));
        }
    }

    /// The values of a key were read, as far as they can be.
    pub(super) fn scrubbed(
        &mut self,
        slot: Slot,
        key: Key,
        places: Vec<(Dot, Place)>,
        values: Values,
    ) {
        self.metrics.scrubbed += values.len() as u64;
        let rotten: BTreeMap<Dot, Place> =
            places.into_iter().filter(|(dot, _)| !values.contains_key(dot)).collect();
        let view = self.view.clone().filter(|view| !rotten.is_empty() && view.owns(slot));
        let Some(view) = view else {
            self.scrub.busy.remove(&key);
            return;
        };
        let others = view.ring.row(slot).iter().copied().filter(|owner| *owner != view.me);
        let heal = Heal { slot, key, rotten, asked: view.me, spare: others.collect() };
        let id = self.requests.draw();
        let wake = self.now.elapsed + self.config.ask_timeout;
        self.requests.insert(id, wake, 0, Request::Heal(heal));
        if let Some(Request::Heal(heal)) = self.requests.take(id) {
            self.heal_on(id, heal);
        }
    }

    /// Asks the next owner that is up.
    pub(super) fn heal_on(&mut self, id: u64, mut heal: Heal) {
        while let Some(owner) = heal.spare.pop_front() {
            if self.is_up(owner) {
                let token = Token::of(&heal.key);
                let entry = self.copy_of(heal.slot, &heal.key);
                let have = entry.dots().filter(|dot| !heal.rotten.contains_key(dot)).collect();
                let fetch = Fetch { key: heal.key.clone(), have };
                self.send(owner, Head::key(token, id), Message::Fetch(fetch));
                heal.asked = owner;
                self.requests.rearm(id, self.now.elapsed + self.config.ask_timeout);
                return self.requests.restore(id, Request::Heal(heal));
            }
        }
        self.requests.remove(id);
        self.scrub.busy.remove(&heal.key);
        let dots: Vec<String> = heal.rotten.keys().map(Dot::to_string).collect();
        log::error!(
            "values {} of key {} cannot be read from this node's disk, and no other owner that is up \
             brought them; they are asked for again later",
            dots.join(" "),
            heal.key
        );
    }

    /// The owner asked will not answer.
    pub(super) fn heal_lost(&mut self, id: u64, heal: Heal, from: MemberNumber) {
        if heal.asked == from {
            self.heal_on(id, heal);
        } else {
            self.requests.restore(id, Request::Heal(heal));
        }
    }

    /// An owner says what it holds: what rotted here is stored again.
    pub(super) fn heal_fetched(
        &mut self,
        id: u64,
        mut heal: Heal,
        from: MemberNumber,
        fetched: Fetched,
    ) {
        if heal.asked != from {
            return self.requests.restore(id, Request::Heal(heal));
        }
        let mut brought: BTreeMap<Dot, Value> = BTreeMap::new();
        fetched.entry.map(|dot, value| brought.extend(value.map(|value| (dot, value))));
        let before = self.copy_of(heal.slot, &heal.key);
        let count = before.values().len();
        let mut healed = 0;
        let entry = before.map(|dot, place| {
            let same = heal.rotten.get(&dot) == Some(&place);
            match brought.remove(&dot).filter(|_| same) {
                Some(value) => {
                    healed += 1;
                    Body::New(value)
                }
                None => Body::Kept(place),
            }
        });
        if healed > 0 && self.disk_takes_pages() {
            self.put_entry(heal.slot, &heal.key, count, &[], &[], entry);
            self.metrics.healed += healed;
            log::warn!("{healed} values of key {} were rotten and are healed", heal.key);
        }
        // What was replaced meanwhile need not be healed.
        let now = self.copy_of(heal.slot, &heal.key);
        heal.rotten.retain(|dot, place| now.value(*dot) == Some(place));
        if heal.rotten.is_empty() {
            self.requests.remove(id);
            self.scrub.busy.remove(&heal.key);
        } else {
            self.heal_on(id, heal);
        }
    }
}
