//! Values on their way from the disk, and what waits for them.
//!
//! Invariant: what is done once the values are there was decided when the read began: whoever waits
//! keeps the entry and the clock of that moment, so late bytes never mix two states.

use std::collections::BTreeMap;

use super::Shard;
use super::from_hints::FromHints;
use super::get::Fetching;
use super::inspect::Looked;
use super::page::{Drafted, Pushed};
use super::repair::Mend;
use crate::causality::{Dot, Value};
use crate::key::Key;
use crate::ring::Slot;
use crate::storage::{Disk, Place, ReadResult, Ticket};

/// The values that a load brought, by dot.
pub(super) type Values = BTreeMap<Dot, Value>;

/// What is done when the values are there.
#[derive(Debug)]
pub(super) enum Then {
    /// A member is told what is held of a key.
    Fetched(Fetching),
    /// A read goes on.
    Get(u64),
    /// An earlier attempt at a write is looked for among them.
    Seek(u64),
    /// A read at level one is answered from hints.
    FromHints(FromHints),
    /// Owners that answered a read with less are repaired.
    Mend(Mend),
    /// A hint is sent to the member that it is owed to.
    Deliver(u64),
    /// A page of a slot is sent.
    Page(Drafted),
    /// The values of an entry that is too large for a page are sent one by one.
    Push(Pushed),
    /// A key's values are looked after.
    Scrub(Slot, Key, Vec<(Dot, Place)>),
    /// An entry is shown to people.
    Look(Looked),
}

#[derive(Debug)]
struct Load {
    missing: usize,
    values: Values,
    failed: Option<String>,
    then: Then,
}

/// All loads under way.
#[derive(Debug, Default)]
pub(super) struct Loads {
    under_way: BTreeMap<u64, Load>,
    tickets: BTreeMap<Ticket, (u64, Dot)>,
    next: u64,
}

impl Loads {
    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }
}

impl<D: Disk> Shard<D> {
    /// Reads values, and does `then` when all are there, which may be now.
    pub(super) fn load(&mut self, wanted: Vec<(Dot, Place)>, then: Then) {
        let (missing, values, failed) = (0, Values::new(), None);
        let mut load = Load { missing, values, failed, then };
        self.loads.next += 1;
        let id = self.loads.next;
        for (dot, place) in wanted {
            match self.store.read(place) {
                Ok(ReadResult::Now(value)) => {
                    load.values.insert(dot, value);
                }
                Ok(ReadResult::Later(ticket)) => {
                    load.missing += 1;
                    self.loads.tickets.insert(ticket, (id, dot));
                }
                Err(error) => load.failed = Some(error.to_string()),
            }
        }
        if load.missing == 0 {
            self.loaded(load);
        } else {
            self.loads.under_way.insert(id, load);
        }
    }

    pub(super) fn on_read(&mut self, ticket: Ticket, result: Result<Vec<u8>, String>) {
        let Some((id, dot)) = self.loads.tickets.remove(&ticket) else { return };
        let load = self.loads.under_way.get_mut(&id).expect("a ticket belongs to a load");
        load.missing -= 1;
        let decoded =
            result.and_then(|bytes| self.store.decode(&bytes).map_err(|error| error.to_string()));
        match decoded {
            Ok(value) => {
                load.values.insert(dot, value);
            }
            Err(why) => load.failed = Some(why),
        }
        if load.missing == 0 {
            let load = self.loads.under_way.remove(&id).expect("it was there a moment ago");
            self.loaded(load);
        }
    }

    /// One line per thing that waits for values. Whatever failed to be read is missing in `values`.
    fn loaded(&mut self, load: Load) {
        let Load { values, failed, then, .. } = load;
        if let Some(why) = &failed {
            log::error!("shard {}: a value cannot be read: {why}", self.config.shard);
        }
        let whole = failed.is_none();
        match then {
            Then::Fetched(fetching) => self.send_fetched(fetching, values, whole),
            Then::Get(id) => self.get_loaded(id, values, whole),
            Then::Seek(id) => self.seek_loaded(id, values),
            Then::FromHints(from_hints) => self.reply_from_hints(from_hints, values, whole),
            Then::Mend(mend) => self.mend(mend, values),
            Then::Deliver(id) => self.deliver(id, values, whole),
            Then::Page(drafted) => self.send_page(drafted, values, whole),
            Then::Push(pushed) => self.push(pushed, values),
            Then::Scrub(slot, key, places) => self.scrubbed(slot, key, places, values),
            Then::Look(looked) => self.show(looked, values),
        }
    }
}
