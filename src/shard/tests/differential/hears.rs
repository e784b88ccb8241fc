//! What a shard hears, told to the reference: requests of clients, and members' frames.
//!
//! Not here: what it says to that (`says`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::reference::{Change, Dots, Values, Written, place, said};
use super::seat::{
    self, Asker, Forward, Found, Get, Hint, Owed, Put, Seat, Seek, change, dot, dots, needed,
    written,
};
use super::watch::{Checked, Turn, Watch};
use crate::causality::{Dead, open_context};
use crate::ring::Token;
use crate::wire::{self, Basis, FailureCode, Frame, Message};

impl Watch {
    /// A request of a client, from it or sent on by a member.
    pub(super) fn request(&mut self, turn: &mut Turn<'_>, asker: Asker, frame: Frame) -> Checked {
        let owner = self.row.contains(&turn.at.0);
        let owner_up = self.row.iter().any(|owner| turn.seat.up.contains(owner));
        match frame.message {
            Message::Put(put) if owner || !owner_up => self.coordinate(turn, asker, put),
            Message::Get(get) if owner => {
                self.get(turn, asker, get);
                Ok(())
            }
            Message::Put(wire::Put { key, .. }) => {
                self.counts.forwarded += 1;
                turn.seat.forwards.push(Forward { asker, id: None, key, writes: true });
                Ok(())
            }
            Message::Get(wire::Get { key, .. }) => {
                turn.seat.forwards.push(Forward { asker, id: None, key, writes: false });
                Ok(())
            }
            other => Err(format!("no request of these histories: {}", other.kind())),
        }
    }

    /// A write at its coordinator: an earlier attempt at it is gone on with, if one is known or found.
    pub(super) fn coordinate(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        put: wire::Put,
    ) -> Checked {
        let known = turn.seat.operations.get(&put.operation).filter(|(key, _)| *key == put.key);
        let found = match known {
            None => Found::Nothing,
            Some((_, change)) => {
                let bytes = change.values.values().next().map(|value| value.bytes.as_slice());
                let same = bytes == put.value.as_deref();
                if same { Found::Attempt(change.clone()) } else { Found::Another }
            }
        };
        if !matches!(found, Found::Nothing) || !put.again || put.value.is_none() {
            return self.go_on(turn, asker, put, found);
        }
        self.counts.sought += 1;
        let at = place(&put.key);
        let here = if self.row.contains(&turn.at.0) {
            turn.seat.slot(Token::of(&put.key).slot().number()).entry(&at).values
        } else {
            turn.seat.hinted(&put.key).0
        };
        let others = self.row.iter().copied().filter(|owner| *owner != turn.at.0);
        let asked = others.filter(|owner| turn.seat.up.contains(owner)).collect();
        let patience = Duration::from_millis(put.timeout_ms.into()) / self.config.patience_divisor;
        let until = turn.now + patience;
        let mut seek = Seek { asker, id: None, put, asked, until, found };
        seek.look(&here);
        turn.seat.seeks.push(seek);
        Ok(())
    }

    /// Attempts that were looked for long enough are gone on with.
    pub(super) fn finish_seeks(&mut self, turn: &mut Turn<'_>) -> Checked {
        let seeks = std::mem::take(&mut turn.seat.seeks);
        let (mut done, waiting): (Vec<Seek>, Vec<Seek>) =
            seeks.into_iter().partition(|seek| seek.asked.is_empty());
        turn.seat.seeks = waiting;
        done.sort_by_key(|seek| (seek.until, seek.id));
        done.into_iter().try_for_each(|seek| self.go_on(turn, seek.asker, seek.put, seek.found))
    }

    pub(super) fn go_on(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        put: wire::Put,
        found: Found,
    ) -> Checked {
        match found {
            Found::Another if put.again => turn.refusals.push((asker, FailureCode::Refused)),
            Found::Another | Found::Nothing => self.write(turn, asker, put, None),
            Found::Attempt(change) => {
                self.counts.attempts += 1;
                self.write(turn, asker, put, Some(change));
            }
        }
        Ok(())
    }

    /// What a write does, or why it is refused.
    pub(super) fn write(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        put: wire::Put,
        earlier: Option<Change>,
    ) {
        let slot = Token::of(&put.key).slot().number();
        let owner = self.row.contains(&turn.at.0);
        let change = match earlier {
            Some(change) if self.reached(turn, &put) => Ok(change),
            Some(_) => Err(FailureCode::LevelNotMet),
            None => self.seen(turn, &put, owner).map(|seen| self.minted(turn, &put, seen)),
        };
        let change = match change {
            Ok(change) => change,
            Err(code) => {
                self.counts.refused += 1;
                return turn.refusals.push((asker, code));
            }
        };
        let operation = (put.key.clone(), change.clone());
        turn.seat.operations.entry(put.operation).or_insert(operation);
        let siblings = if owner {
            let at = place(&put.key);
            turn.seat.slot(slot).apply(&at, &change);
            turn.seat.slot(slot).entry(&at).values.len()
        } else {
            self.counts.by_fallback += 1;
            for owed_to in self.row.clone() {
                let hint = Hint { owed_to, key: put.key.clone(), change: change.clone() };
                self.counts.superseded += turn.seat.keep(hint) as u64;
                self.counts.hints += 1;
            }
            turn.seat.hinted(&put.key).0.len()
        };
        let dot = *change.dots().first().expect("a write has a dot");
        let mut context = change.context.clone();
        context.add(dot);
        let mut put = Put {
            asker,
            id: None,
            key: put.key,
            dot,
            change,
            context,
            siblings,
            needed: needed(put.level, self.row.len()),
            strict: put.strict,
            owners: BTreeSet::new(),
            fallbacks: BTreeSet::new(),
            standing: BTreeSet::new(),
            batch: Some(turn.batch),
        };
        // An attempt that is on the disk already waits for no sync.
        if turn.batch <= turn.seat.synced {
            put.batch = None;
            if owner { &mut put.owners } else { &mut put.fallbacks }.insert(turn.at.0);
        }
        turn.seat.puts.push(put);
    }

    /// Whether as many can be reached as a write asks for.
    pub(super) fn reached(&self, turn: &Turn<'_>, put: &wire::Put) -> bool {
        let owners = self.row.iter().filter(|owner| turn.seat.up.contains(owner)).count();
        let others = turn.seat.up.iter().filter(|member| !self.row.contains(member)).count();
        let wanted = needed(put.level, self.row.len());
        let reached = owners + if put.strict { 0 } else { others };
        wanted > 0 && wanted <= self.row.len() && reached >= wanted
    }

    /// What a write replaces, or why it is refused.
    pub(super) fn seen(
        &mut self,
        turn: &mut Turn<'_>,
        put: &wire::Put,
        owner: bool,
    ) -> Result<Dots, FailureCode> {
        if !self.reached(turn, put) {
            return Err(FailureCode::LevelNotMet);
        }
        let at = place(&put.key);
        let copy = turn.seat.slot(Token::of(&put.key).slot().number()).clone();
        let (hinted, hinted_context) = turn.seat.hinted(&put.key);
        let seen = match &put.basis {
            Basis::Blind => Dots::default(),
            Basis::Overwrite if owner => copy.read(&at).context,
            Basis::Overwrite => hinted_context,
            Basis::Context(token) => {
                let context = open_context(&self.ring.secret, &Dead::NONE, &put.key, token);
                dots(&context.map_err(|_| FailureCode::BadContext)?)
            }
        };
        let live = if owner { copy.entry(&at).values } else { hinted };
        let kept = live.keys().filter(|dot| !seen.has(**dot)).count();
        let after = kept + usize::from(put.value.is_some());
        if after > self.config.siblings_max && after > live.len() {
            self.counts.full += 1;
            return Err(FailureCode::TooManySiblings);
        }
        Ok(seen)
    }

    /// A write under a dot of its own.
    pub(super) fn minted(&mut self, turn: &mut Turn<'_>, put: &wire::Put, seen: Dots) -> Change {
        match &put.basis {
            Basis::Blind => self.counts.blind += 1,
            Basis::Overwrite => self.counts.overwrites += 1,
            Basis::Context(_) => self.counts.with_context += 1,
        }
        let dot = turn.seat.mint(Token::of(&put.key).slot().number());
        let mut change = Change { context: seen.clone(), ..Change::default() };
        match &put.value {
            Some(bytes) => {
                self.counts.puts += 1;
                let (bytes, operation) = (bytes.to_vec(), put.operation);
                let value = Written { bytes, operation, context: seen };
                change.values.insert(dot, Rc::new(value));
            }
            None => {
                self.counts.deletes += 1;
                change.deleted = Some(dot);
            }
        }
        change
    }

    pub(super) fn get(&mut self, turn: &mut Turn<'_>, asker: Asker, get: wire::Get) {
        let wanted = needed(get.level, self.row.len());
        let up = self.row.iter().filter(|owner| turn.seat.up.contains(owner)).count();
        if wanted == 0 || wanted > up {
            turn.refusals.push((asker, FailureCode::LevelNotMet));
            self.counts.failed_reads += 1;
            return;
        }
        let at = place(&get.key);
        let copy = turn.seat.slot(Token::of(&get.key).slot().number());
        let (answers, values) =
            (BTreeMap::from([(turn.at.0, copy.read(&at))]), copy.entry(&at).values);
        turn.seat.gets.push(Get {
            asker,
            id: None,
            needed: wanted,
            answers,
            asked: BTreeSet::new(),
            replied: false,
            values,
            deadline: turn.now + Duration::from_millis(get.timeout_ms.into()),
            key: get.key,
        });
    }

    /// A member's frame.
    pub(super) fn told(&mut self, turn: &mut Turn<'_>, from: u16, frame: Frame) -> Checked {
        let (slot, request) = (frame.slot.number(), frame.request);
        match frame.message {
            message @ (Message::Put(_) | Message::Get(_)) => {
                let frame = Frame { message, ..frame };
                return self.request(turn, Asker::Member(from, request), frame);
            }
            message @ (Message::PutReply(_) | Message::GetReply(_) | Message::Failure(_)) => {
                turn.answer = Some((request, message));
            }
            Message::Store(store) => {
                let (at, change) = (place(&store.key), change(&store.delta));
                let before = turn.seat.slot(slot).log.len();
                turn.seat.slot(slot).apply(&at, &change);
                self.counts.log_lines += (turn.seat.slot(slot).log.len() - before) as u64;
                let copy = Some((slot, at, change));
                turn.stored = Some(Owed { to: from, request, batch: turn.batch, copy });
            }
            Message::KeepHint(kept) => {
                let change = change(&kept.delta);
                let hint = Hint { owed_to: kept.owed_to.0, key: kept.key, change };
                self.counts.superseded += turn.seat.keep(hint) as u64;
                self.counts.hints += 1;
                turn.stored = Some(Owed { to: from, request, batch: turn.batch, copy: None });
            }
            Message::Stored => {
                self.counts.delivered += u64::from(turn.seat.on_stored(from, request, &self.row));
            }
            Message::Declined(_) => turn.seat.declined(from, request),
            Message::Fetch(fetch) => turn.fetch = Some(fetch),
            Message::Fetched(fetched) => {
                let said = said(
                    &dots(&fetched.clock),
                    &dots(fetched.entry.residual()),
                    fetched.entry.dots().map(dot).collect(),
                );
                let brought = fetched.entry.values().iter();
                let brought =
                    brought.filter_map(|(at, value)| Some((dot(*at), written(value.as_ref()?))));
                let brought: Values = brought.collect();
                let seek = turn.seat.seeks.iter_mut().find(|seek| seek.id == Some(request));
                if let Some(seek) = seek
                    && seek.asked.remove(&from)
                {
                    seek.look(&brought);
                }
                let get = turn.seat.gets.iter_mut().find(|get| get.id == Some(request));
                if let Some(get) = get
                    && get.asked.remove(&from)
                {
                    get.answers.insert(from, said);
                    get.values.extend(brought);
                }
            }
            Message::Summary(summary) => self.on_summary(turn, from, &summary)?,
            Message::SlotHashes(hashes) => self.on_slot_hashes(turn, from, request, &hashes)?,
            Message::Clocks(clocks) => {
                let round = turn.seat.rounds.get(&(from, slot));
                if round == Some(&request) {
                    for (slot, clock) in &clocks.clocks {
                        hear(&mut turn.seat, from, slot.number(), dots(clock));
                    }
                }
            }
            Message::Ask(ask) => {
                hear(&mut turn.seat, from, slot, dots(&ask.clock));
                turn.ask = Some((slot, ask));
            }
            Message::Page(page) => self.on_page(turn, from, (slot, request), &page),
            Message::ClocksWanted(_) | Message::Inspect(_) | Message::Inspected(_) => {}
            Message::Count(_) | Message::Counted(_) => {}
            // Nobody dies in these histories.
            Message::ClosingWanted(_) | Message::Closing(_) => {}
            Message::Question(_) | Message::Answer(_) => {}
        }
        Ok(())
    }

    /// The clocks of a shard in a class of slots.
    pub(super) fn clocks_of(seat: &Seat, class: u16, classes: u16) -> BTreeMap<u16, Dots> {
        let told = seat
            .now
            .slots
            .iter()
            .filter(|(slot, copy)| **slot % classes == class && !copy.clock.0.is_empty());
        told.map(|(slot, copy)| (*slot, copy.clock.clone())).collect()
    }

    pub(super) fn on_summary(
        &mut self,
        turn: &mut Turn<'_>,
        from: u16,
        told: &wire::Summary,
    ) -> Checked {
        let own = Self::clocks_of(&turn.seat, told.class, told.classes);
        let [(_, fingerprint)] = told.partitions.as_slice() else {
            return Err("there is one partition".to_owned());
        };
        let theirs = match fingerprint {
            0 => BTreeMap::new(),
            known => self.summaries[&(told.class, told.classes, *known)].clone(),
        };
        if theirs == own {
            for (slot, clock) in own {
                hear(&mut turn.seat, from, slot, clock);
            }
        }
        Ok(())
    }

    pub(super) fn on_slot_hashes(
        &mut self,
        turn: &mut Turn<'_>,
        from: u16,
        request: u64,
        told: &wire::SlotHashes,
    ) -> Checked {
        if turn.seat.rounds.get(&(from, told.class)) != Some(&request) || told.partitions.is_empty()
        {
            return Ok(());
        }
        let theirs: BTreeMap<u16, Dots> = told
            .slots
            .iter()
            .map(|(slot, fingerprint)| (slot.number(), self.clocks[fingerprint].clone()))
            .collect();
        for (slot, clock) in Self::clocks_of(&turn.seat, told.class, told.classes) {
            if theirs.get(&slot) == Some(&clock) {
                hear(&mut turn.seat, from, slot, clock);
            }
        }
        Ok(())
    }

    /// A page is used by the exchange that asked for it, and by no other.
    pub(super) fn on_page(
        &mut self,
        turn: &mut Turn<'_>,
        from: u16,
        (slot, id): (u16, u64),
        told: &wire::Page,
    ) {
        let page = seat::page(told);
        let asked = turn.seat.exchanges.get(&id).is_some_and(|exchange| {
            exchange.peer == from
                && exchange.slot == slot
                && exchange.nonce == told.nonce
                && exchange.after == page.after
                && exchange.began.as_ref().is_none_or(|began| *began == page.began)
        });
        if !asked {
            self.counts.stale_pages += 1;
            return;
        }
        turn.seat.exchanges.remove(&id);
        if turn.seat.slot(slot).lacks_for(&page) {
            return;
        }
        self.counts.pages += 1;
        self.counts.paged += u64::from(page.upto.is_some());
        let copy = turn.seat.slot(slot);
        let mark = copy.mark.clone();
        let lines = copy.log.len();
        copy.absorb(&page);
        self.counts.log_lines += copy.log.len().saturating_sub(lines) as u64;
        self.counts.marks += u64::from(copy.mark != mark);
    }
}

/// A peer told its clock, which counts while there is something in the log.
fn hear(seat: &mut Seat, from: u16, slot: u16, clock: Dots) {
    if !seat.slot(slot).log.is_empty() {
        seat.heard.insert((slot, from), clock);
    }
}
