//! The exchange about one slot: what a page says, and what the asker makes of it.
//!
//! A page lists what the asker lacks of a stretch of the slot, in (token, key) order: entries with dots
//! that are not in its clock or with a residual context, and deletes from the log; and the answerer's
//! clock at that moment. The asker joins the stretch, entry by entry, and goes on after it. Only
//! with the last page it adopts the clock that the answerer had when the exchange *began*: all
//! that clock speaks of has been in some page, or the asker had it. What a page's clock covers above
//! that stays in the residual contexts of the entries listed.
//!
//! When the asker's clock does not cover the answerer's *mark*, it may lack a delete that the log names
//! no more. Then the page lists all entries of its stretch: what the clock covers and the page does
//! not list is gone; and the asker takes over the mark, for it cannot name those deletes either.
//!
//! When the slot fits into one page, clock and entries are adopted in one batch, and no residual
//! context is needed in between.
//!
//! An entry whose lacking values do not fit into a frame is not paged: its values are sent one by
//! one, as they were once written, and the exchange ends there. The next round finds it smaller.
//!
//! Invariant: a page counts only for the exchange, in the life, that asked for it, and once: values
//! were left out of it because *that* asker had them. A page that leaves out others is dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use super::copy::bodies;
use super::get::as_written;
use super::loads::{Then, Values};
use super::reply::Head;
use super::requests::Request;
use super::sync::Exchange;
use crate::causality::{Delta, Dot, DotSet, Entry, Value};
use crate::key::Key;
use crate::ring::{Epoch, MemberNumber, Slot, Token};
use crate::rules::{Rule, holds};
use crate::storage::{Body, Disk, Place, Position};
use crate::wire::{Ask, Decline, Message, Page, Reason, Store};

/// What an entry takes in a page and in a batch besides its key, dots and values, generously.
const ENTRY_OVERHEAD: u64 = 128;
/// What a dot takes, generously.
const DOT_BYTES: u64 = 32;

/// A page whose values are being read.
#[derive(Debug)]
pub(super) struct Drafted {
    to: MemberNumber,
    head: Head,
    /// The ring of when it was drafted.
    epoch: Epoch,
    page: Page,
    entries: Vec<(Key, Entry<Place>)>,
}

/// Values of one entry on their way to a peer, one by one.
#[derive(Debug)]
pub(super) struct Pushed {
    to: MemberNumber,
    slot: Slot,
    key: Key,
}

/// What the next page holds.
struct Stretch {
    entries: Vec<(Key, Entry<Place>)>,
    deletes: Vec<(Dot, Key)>,
    wanted: Vec<(Dot, Place)>,
    /// Whether the slot goes on after it.
    more: bool,
    /// The next entry, when it is too large for any page.
    too_large: Option<(Key, Vec<(Dot, Place)>)>,
}

impl<D: Disk> Shard<D> {
    /// A peer pulls a slot.
    pub(super) fn on_ask(&mut self, from: MemberNumber, head: Head, ask: Ask) {
        let slot = head.slot;
        let both = |view: &crate::ring::View| view.share(slot, from);
        if !self.view.as_ref().is_some_and(both) || self.loads.len() >= self.config.loads_max {
            return;
        }
        let clock = self.store.clock(slot).clone();
        let Ask { nonce, clock: theirs, after, began } = ask;
        let began = began.unwrap_or_else(|| clock.clone());
        self.heard(from, slot, &theirs);
        let mark = self.store.mark(slot);
        let full = !mark.is_within(&theirs) && holds(Rule::Mark);
        let mark = full.then(|| mark.clone());
        let stretch = self.stretch(slot, after.as_ref(), &theirs, full);
        self.metrics.full_pages += u64::from(full && !theirs.is_empty());
        if let (true, Some((key, values))) = (stretch.entries.is_empty(), stretch.too_large) {
            return self.load(values, Then::Push(Pushed { to: from, slot, key }));
        }
        let last = stretch.entries.last().map(|(key, _)| key.clone());
        let upto = if stretch.more { last } else { None };
        let (entries, deletes) = (Vec::new(), stretch.deletes);
        let page = Page { nonce, clock, began, after, upto, entries, deletes, mark };
        let epoch = self.epoch();
        let drafted = Drafted { to: from, head, epoch, page, entries: stretch.entries };
        self.load(stretch.wanted, Then::Page(drafted));
    }

    /// As many entries after `after` as make a page for an asker with this clock.
    fn stretch(&self, slot: Slot, after: Option<&Key>, theirs: &DotSet, full: bool) -> Stretch {
        let (mut entries, mut deletes, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let (mut more, mut too_large, mut used) = (false, None, 0);
        for (key, entry, deleted) in self.unheard(slot, after, theirs) {
            let lacking = entry.values().iter().filter(|(dot, _)| !theirs.contains(*dot));
            let lacking: Vec<(Dot, Place)> = lacking.copied().collect();
            if !full && lacking.is_empty() && deleted.is_empty() && entry.residual().is_empty() {
                continue;
            }
            let bytes: u64 = lacking.iter().map(|(_, place)| u64::from(place.len)).sum();
            if bytes > self.config.frame_values_max && lacking.len() > 1 {
                (more, too_large) = (true, Some((key, self.first_frames(lacking))));
                break;
            }
            let dots = DOT_BYTES * (entry.values().len() + deleted.len()) as u64;
            let keys = key.as_bytes().len() * (1 + deleted.len());
            let size = ENTRY_OVERHEAD + keys as u64 + dots + bytes;
            if used + size > self.config.page_bytes && !entries.is_empty() {
                more = true;
                break;
            }
            used += size;
            wanted.extend(lacking);
            deletes.extend(deleted.into_iter().map(|dot| (dot, key.clone())));
            entries.push((key, entry));
        }
        Stretch { entries, deletes, wanted, more, too_large }
    }

    /// The keys of a slot after a position, in order: those with an entry, and those with deletes in
    /// the log that are not in `theirs`.
    fn unheard<'a>(
        &'a self,
        slot: Slot,
        after: Option<&Key>,
        theirs: &DotSet,
    ) -> impl Iterator<Item = (Key, Entry<Place>, Vec<Dot>)> + use<'a, D> {
        let after = after.map(position);
        let mut deleted: BTreeMap<Position, Vec<Dot>> = BTreeMap::new();
        for (dot, key) in self.store.deletes(slot).filter(|(dot, _)| !theirs.contains(*dot)) {
            let at = position(&key);
            if after.as_ref().is_none_or(|after| at > *after) {
                deleted.entry(at).or_default().push(dot);
            }
        }
        let mut entries = self.store.walk(slot, after.as_ref()).peekable();
        std::iter::from_fn(move || {
            let next = entries.peek().map(|(at, _)| at);
            let emptied = deleted.first_key_value().map(|(at, _)| at);
            if emptied.is_some_and(|emptied| next.is_none_or(|next| emptied < next)) {
                let ((_, key), dots) = deleted.pop_first()?;
                return Some((key, Entry::default(), dots));
            }
            let (at, entry) = entries.next()?;
            let dots = deleted.remove(&at).unwrap_or_default();
            Some((at.1, entry, dots))
        })
    }

    /// As many of these values as are sent on account of one ask.
    fn first_frames(&self, lacking: Vec<(Dot, Place)>) -> Vec<(Dot, Place)> {
        let mut room = 2 * self.config.frame_values_max;
        let fits = lacking.into_iter().enumerate().take_while(|(index, (_, place))| {
            let fits = *index == 0 || u64::from(place.len) <= room;
            room = room.saturating_sub(place.len.into());
            fits
        });
        fits.map(|(_, value)| value).collect()
    }

    /// The values of a page are there.
    pub(super) fn send_page(&mut self, drafted: Drafted, mut values: Values, whole: bool) {
        let Drafted { to, head, epoch, mut page, entries } = drafted;
        if epoch != self.epoch() {
            // It tells of the time before this node heard of the ring that the frame would name.
            return self.send(to, head, Message::Declined(Decline::OtherRing));
        }
        if !whole {
            // A page without a value that the asker lacks would say that it is gone.
            for (key, entry) in entries {
                if entry.dots().any(|dot| !values.contains_key(&dot)) {
                    self.scrub_key(head.slot, &key);
                }
            }
            return;
        }
        let filled =
            entries.into_iter().map(|(key, entry)| (key, entry.map(|dot, _| values.remove(&dot))));
        page.entries = filled.collect();
        self.send(to, head, Message::Page(page));
    }

    /// Values of an entry that is too large for a page are there.
    pub(super) fn push(&mut self, pushed: Pushed, values: Values) {
        let Pushed { to, slot, key } = pushed;
        let token = Token::of(&key);
        debug_assert_eq!(token.slot(), slot, "a walk gives keys of its slot");
        for (dot, value) in values {
            let delta = as_written(dot, value);
            let store = Store { key: key.clone(), delta, reason: Reason::Sync };
            let id = self.requests.draw();
            self.send(to, Head::key(token, id), Message::Store(store));
        }
    }

    /// A page came in. It is used only by the exchange that asked for it.
    pub(super) fn on_page(&mut self, from: MemberNumber, head: Head, page: Page) {
        let asked = self.take_exchange(from, head, &page);
        if asked.is_none() && holds(Rule::AnswerNonce) {
            return;
        }
        let fit = self.fits(head.slot, &page);
        self.pace.pulled(self.now.elapsed, bytes_of(&page));
        if fit {
            self.absorb(head.slot, &page);
            self.metrics.pages += 1;
        }
        let Some(mut exchange) = asked else { return };
        // What came with earlier pages is as old as the first.
        let epoch = *exchange.epoch.get_or_insert(head.epoch);
        match page.upto {
            Some(upto) if fit => {
                exchange.after = Some(upto);
                exchange.began = Some(page.began);
                self.ask_on(head.request, exchange);
            }
            Some(_) | None => {
                self.metrics.slots_synced += u64::from(fit);
                if fit {
                    self.caught_up(exchange.slot, exchange.peer, epoch);
                }
                self.end_exchange(head.request, &exchange);
            }
        }
    }

    fn take_exchange(&mut self, from: MemberNumber, head: Head, page: &Page) -> Option<Exchange> {
        let taken = self.requests.take(head.request)?;
        match taken {
            Request::Exchange(exchange)
                if exchange.peer == from
                    && exchange.slot == head.slot
                    && exchange.nonce == page.nonce
                    && exchange.after == page.after
                    && exchange.began.as_ref().is_none_or(|began| *began == page.began) =>
            {
                Some(exchange)
            }
            other => {
                self.requests.restore(head.request, other);
                None
            }
        }
    }

    /// Whether a page is one for this copy. One that is not comes from a peer that is mistaken, or
    /// that lost its memory while the exchange went on.
    fn fits(&self, slot: Slot, page: &Page) -> bool {
        let (after, upto) = (page.after.as_ref().map(position), page.upto.as_ref().map(position));
        let positions: Vec<Position> = page.entries.iter().map(|(key, _)| position(key)).collect();
        let in_order = positions.is_sorted_by(|a, b| a < b)
            && positions.first().is_none_or(|first| after.as_ref().is_none_or(|at| first > at))
            && positions.last().is_none_or(|last| upto.as_ref().is_none_or(|at| last <= at))
            && upto.as_ref().is_none_or(|upto| after.as_ref().is_none_or(|after| upto > after))
            && positions.iter().all(|(token, _)| token.slot() == slot);
        let clock = self.store.clock(slot);
        let left_out_known = page.entries.iter().all(|(key, entry)| {
            let own = self.copy_of(slot, key);
            entry.values().iter().all(|(dot, value)| {
                value.is_some() || clock.contains(*dot) || own.residual().contains(*dot)
            })
        });
        let listed: BTreeSet<&Key> = page.entries.iter().map(|(key, _)| key).collect();
        let taken = self.view.as_ref().is_some_and(|view| view.takes(slot));
        taken
            && page.deletes.iter().all(|(_, key)| listed.contains(key))
            && in_order
            && page.began.is_within(&page.clock)
            && self.disk_takes_pages()
            && (left_out_known || !holds(Rule::AnswerNonce))
    }

    /// Joins a page into the own copy of the slot.
    fn absorb(&mut self, slot: Slot, page: &Page) {
        let last = page.upto.is_none();
        let whole_slot = last && page.after.is_none() && page.began == page.clock;
        if !holds(Rule::AdoptLast) {
            self.adopt(slot, &page.began);
        }
        if whole_slot {
            self.store.keep_together(self.room_for(slot, page));
        }
        let mut deleted: BTreeMap<&Key, Vec<Dot>> = BTreeMap::new();
        for (dot, key) in &page.deletes {
            deleted.entry(key).or_default().push(*dot);
        }
        for (key, entry) in &page.entries {
            let deletes = deleted.remove(key).unwrap_or_default();
            self.absorb_entry(slot, key, entry, &deletes, &page.clock, whole_slot);
        }
        if let Some(mark) = &page.mark {
            let gone =
                if holds(Rule::NotListedIsGone) { self.not_listed(slot, page) } else { vec![] };
            for key in gone {
                self.absorb_entry(slot, &key, &Entry::default(), &[], &page.clock, whole_slot);
            }
            if holds(Rule::InheritMark) && !mark.is_within(self.store.mark(slot)) {
                self.store.stage_mark(slot, mark);
                self.staged();
            }
        }
        if last {
            let whole = if holds(Rule::AdoptBegan) { &page.began } else { &page.clock };
            self.adopt(slot, whole);
            for key in self.tally.residues_of(slot) {
                self.strip(slot, &key);
            }
        }
    }

    /// The own keys in a page's range that the page does not list.
    fn not_listed(&self, slot: Slot, page: &Page) -> Vec<Key> {
        let (after, upto) = (page.after.as_ref().map(position), page.upto.as_ref().map(position));
        let listed: BTreeSet<&Key> = page.entries.iter().map(|(key, _)| key).collect();
        let own = self.store.walk(slot, after.as_ref()).map(|(at, _)| at);
        let own = own.take_while(|at| upto.as_ref().is_none_or(|upto| at <= upto));
        own.map(|(_, key)| key).filter(|key| !listed.contains(key)).collect()
    }

    /// Joins one entry of a page, and the deletes of its key. When the page's clock is adopted in the
    /// same batch, it need not go into the residual context.
    fn absorb_entry(
        &mut self,
        slot: Slot,
        key: &Key,
        theirs: &Entry<Option<Value>>,
        deletes: &[Dot],
        page_clock: &DotSet,
        adopted: bool,
    ) {
        let mut context = page_clock.clone();
        context.union(theirs.residual());
        let (mut values, mut kept) = (Vec::new(), Vec::new());
        for (dot, value) in theirs.values() {
            match value {
                Some(value) => values.push((*dot, value.clone())),
                None => kept.push(*dot),
            }
        }
        let delta = Delta { values, kept, deleted: None, context };
        let before = self.copy_of(slot, key);
        let count = before.values().len();
        let mut clock = self.store.clock(slot).clone();
        let mut entry = before.clone().map(|_, place| Body::Kept(place));
        let applied = entry.apply(&mut clock, bodies(delta));
        let deletes: Vec<Dot> =
            deletes.iter().copied().filter(|dot| !clock.contains(*dot)).collect();
        deletes.iter().for_each(|dot| clock.insert(*dot));
        let residual = if adopted {
            let mut residual = before.residual().clone();
            residual.union(theirs.residual());
            residual.stripped_by(&clock)
        } else {
            entry.residual().stripped_by(&clock)
        };
        let changed = !applied.dots.is_empty()
            || !applied.added.is_empty()
            || !applied.dropped.is_empty()
            || !deletes.is_empty()
            || residual != *before.residual();
        if changed {
            let entry = Entry::from_parts(entry.values().to_vec(), residual);
            let dots: Vec<Dot> = applied.dots.into_iter().chain(deletes.iter().copied()).collect();
            self.put_entry(slot, key, count, &dots, &deletes, entry);
        }
    }

    /// How many bytes of a batch a page may take, generously.
    fn room_for(&self, slot: Slot, page: &Page) -> u64 {
        let dots = set_bytes;
        let value = |value: &Option<Value>| {
            value.as_ref().map_or(0, |value| {
                let meta = value.meta.writer.len() as u64 + dots(&value.meta.context);
                ENTRY_OVERHEAD + meta + value.bytes.len() as u64
            })
        };
        let mut own: BTreeMap<Key, u64> = BTreeMap::new();
        for ((_, key), entry) in self.store.walk(slot, None) {
            let size = dots(entry.residual()) + DOT_BYTES * 2 * entry.values().len() as u64;
            own.insert(key, size);
        }
        for (key, entry) in &page.entries {
            let brought: u64 = entry.values().iter().map(|(_, v)| DOT_BYTES * 2 + value(v)).sum();
            *own.entry(key.clone()).or_default() += brought + dots(entry.residual());
        }
        let entries =
            own.iter().map(|(key, size)| ENTRY_OVERHEAD + key.as_bytes().len() as u64 + size);
        let deletes = page.deletes.len() as u64 * 2 * DOT_BYTES;
        let mark = page.mark.as_ref().map_or(0, |mark| ENTRY_OVERHEAD + dots(mark));
        entries.sum::<u64>() + ENTRY_OVERHEAD + dots(&page.began) + deletes + mark
    }
}

/// How many bytes a page brings, roughly.
fn bytes_of(page: &Page) -> u64 {
    let entry = |(key, entry): &(Key, Entry<Option<Value>>)| {
        let values = entry.values().iter().filter_map(|(_, value)| value.as_ref());
        key.as_bytes().len() as u64 + values.map(|value| value.bytes.len() as u64).sum::<u64>()
    };
    page.entries.iter().map(entry).sum::<u64>() + set_bytes(&page.clock)
}

/// How many bytes a set of dots takes, generously.
pub(super) fn set_bytes(set: &DotSet) -> u64 {
    let runs: usize = set.rows().map(|(_, runs)| 1 + runs.run_count()).sum();
    DOT_BYTES * runs as u64
}

fn position(key: &Key) -> Position {
    (Token::of(key), key.clone())
}
