//! What a shard says and sends, held against what the reference would.
//!
//! Not here: what it holds after the step (`watch`).

use std::collections::BTreeSet;
use std::rc::Rc;

use super::reference::{Change, Dot, Dots, Values, place};
use super::seat::{
    self, Asker, Exchange, Forward, Get, Hint, Put, Seat, Seek, as_written, change, dot, dots,
    repairs, written,
};
use super::watch::{Checked, Turn, Watch, check, differs};
use crate::causality::{Dead, open_context};
use crate::key::Key;
use crate::ring::Token;
use crate::shard::Effect;
use crate::wire::{self, FailureCode, Frame, GetReply, Message, Outcome, PutReply, Reason, Source};

impl Watch {
    /// Learns from what is sent which request is which, and who was asked.
    pub(super) fn bind(&mut self, turn: &mut Turn<'_>, effect: &Effect) {
        let Effect::Send(to, Frame { message, request, slot, .. }) = effect else { return };
        let (to, id) = (to.0, *request);
        match message {
            Message::Fetch(fetch) => {
                let mine = |seek: &&mut Seek| {
                    seek.id == Some(id) || seek.id.is_none() && seek.put.key == fetch.key
                };
                if let Some(seek) = turn.seat.seeks.iter_mut().rev().find(mine) {
                    seek.id = Some(id);
                    return;
                }
                let unbound =
                    |get: &&mut Get| get.id == Some(id) || get.id.is_none() && get.key == fetch.key;
                let gets = &mut turn.seat.gets;
                let known = gets.iter().any(|get| get.id == Some(id));
                let get = match known {
                    true => gets.iter_mut().find(|get| get.id == Some(id)),
                    false => gets.iter_mut().rev().find(unbound),
                };
                if let Some(get) = get {
                    get.id = Some(id);
                    get.asked.insert(to);
                }
            }
            Message::Store(store) if store.reason == Reason::Write => {
                bind_put(&mut turn.seat, id, &store.key, &change(&store.delta));
            }
            Message::KeepHint(kept) => {
                bind_put(&mut turn.seat, id, &kept.key, &change(&kept.delta));
                for put in turn.seat.puts.iter_mut().filter(|put| put.id == Some(id)) {
                    put.standing.insert(to);
                }
            }
            Message::Put(_) | Message::Get(_) => {
                if let Some(sent) = turn.seat.forwards.iter_mut().rev().find(|f| f.id.is_none()) {
                    sent.id = Some(id);
                }
            }
            Message::Ask(ask) => {
                let exchange = Exchange {
                    peer: to,
                    slot: slot.number(),
                    nonce: ask.nonce,
                    after: ask.after.as_ref().map(place),
                    began: ask.began.as_ref().map(dots),
                    deadline: turn.now + self.config.ask_timeout,
                };
                turn.seat.exchanges.insert(id, exchange);
            }
            Message::Summary(told) => {
                turn.seat.rounds.insert((to, told.class), id);
                let clocks = Self::clocks_of(&turn.seat, told.class, told.classes);
                for (_, fingerprint) in told.partitions.iter().filter(|(_, print)| *print != 0) {
                    let key = (told.class, told.classes, *fingerprint);
                    self.summaries.insert(key, clocks.clone());
                }
            }
            Message::SlotHashes(told) => {
                for (slot, fingerprint) in &told.slots {
                    let clock = turn.seat.slot(slot.number()).clock.clone();
                    self.clocks.insert(*fingerprint, clock);
                }
            }
            _ => {}
        }
    }

    /// Whether what a shard says or sends is what the reference would.
    pub(super) fn said(&mut self, turn: &mut Turn<'_>, effect: &Effect) -> Checked {
        let (to, frame) = match effect {
            Effect::Reply(origin, frame) => {
                return self.answered(turn, Asker::Client(origin.request), &frame.message);
            }
            Effect::Send(to, frame) => (to.0, frame),
            Effect::Gathered(..)
            | Effect::Report(_)
            | Effect::Seen(_)
            | Effect::Refused(..)
            | Effect::Retired(..) => return Ok(()),
        };
        let slot = frame.slot.number();
        match &frame.message {
            message @ (Message::PutReply(_) | Message::GetReply(_) | Message::Failure(_)) => {
                self.answered(turn, Asker::Member(to, frame.request), message)
            }
            Message::Stored => acknowledged(turn, to, frame.request),
            Message::Store(store) => self.sent(turn, to, frame, store),
            Message::KeepHint(kept) => {
                let put = turn.seat.puts.iter().find(|put| put.id == Some(frame.request));
                let put = put.ok_or("a hint of no write is handed on")?;
                let right = put.change == change(&kept.delta)
                    && put.key == kept.key
                    && self.row.contains(&kept.owed_to.0)
                    && !self.row.contains(&to);
                check(right, || format!("a hint of another write: {kept:?}"))
            }
            Message::Fetched(fetched) => self.fetched(turn, slot, fetched),
            Message::Clocks(told) => {
                for (slot, clock) in &told.clocks {
                    let own = turn.seat.slot(slot.number()).clock.clone();
                    check(dots(clock) == own, || format!("its clock is {own:?}, not {clock}"))?;
                }
                Ok(())
            }
            Message::Ask(ask) => {
                let told = dots(&ask.clock);
                let right = told == turn.seat.slot(slot).clock
                    || turn.clocks.get(&slot).is_none_or(|before| *before == told);
                check(right, || format!("it asks with a clock that is not its own: {}", ask.clock))
            }
            Message::Page(page) => self.paged(turn, slot, page),
            _ => Ok(()),
        }
    }

    /// A delta that a shard sends: a write, a hint, or a repair.
    pub(super) fn sent(
        &mut self,
        turn: &mut Turn<'_>,
        to: u16,
        frame: &Frame,
        store: &wire::Store,
    ) -> Checked {
        let change = change(&store.delta);
        match store.reason {
            Reason::Write => {
                let put = turn.seat.puts.iter().find(|put| put.id == Some(frame.request));
                let right = put.is_some_and(|put| put.key == store.key && put.change == change);
                check(right && self.row.contains(&to), || {
                    format!("not what was written: {store:?}")
                })
            }
            Reason::Hint => {
                let hint = Hint { owed_to: to, key: store.key.clone(), change };
                check(turn.seat.now.hints.contains(&hint), || format!("no hint of its: {hint:?}"))?;
                let until = turn.now + self.config.hint_timeout;
                turn.seat.deliveries.insert(frame.request, (to, hint, until));
                Ok(())
            }
            // An entry too large for a page is sent value by value.
            Reason::Sync => {
                let entry = turn.seat.slot(frame.slot.number()).entry(&place(&store.key));
                let live = change
                    .values
                    .keys()
                    .next()
                    .and_then(|dot| Some((*dot, entry.values.get(dot)?)));
                self.counts.pushes += 1;
                let right = live.is_some_and(|(dot, value)| change == as_written(dot, value));
                check(right, || format!("not a value as it was written: {store:?}"))
            }
            Reason::Repair => Ok(()),
        }
    }

    pub(super) fn fetched(
        &mut self,
        turn: &mut Turn<'_>,
        slot: u16,
        told: &wire::Fetched,
    ) -> Checked {
        let fetch = turn.fetch.take().ok_or("nobody asked for it")?;
        let have: BTreeSet<Dot> = fetch.have.into_iter().map(dot).collect();
        let copy = turn.seat.slot(slot);
        let entry = copy.entry(&place(&fetch.key));
        let right = dots(&told.clock) == copy.clock
            && dots(told.entry.residual()) == entry.residual
            && told.entry.dots().map(dot).eq(entry.values.keys().copied());
        check(right, || format!("it holds {entry:?} at {:?}, not {told:?}", copy.clock))?;
        for (at, value) in told.entry.values() {
            let known = &entry.values[&dot(*at)];
            let right = match value {
                Some(value) => !have.contains(&dot(*at)) && written(value) == *known,
                None => have.contains(&dot(*at)) || self.small_frames(),
            };
            check(right, || format!("the bytes of {at} are others, or missing"))?;
        }
        Ok(())
    }

    pub(super) fn small_frames(&self) -> bool {
        self.config.frame_values_max < 1 << 16
    }

    pub(super) fn paged(&mut self, turn: &mut Turn<'_>, slot: u16, told: &wire::Page) -> Checked {
        let (of, ask) = turn.ask.as_ref().ok_or("a page that nobody asked for")?;
        let page = seat::page(told);
        let theirs = dots(&ask.clock);
        let began = ask.began.as_ref().map(dots);
        let after = ask.after.as_ref().map(place);
        let (of, nonce) = (*of, ask.nonce);
        let range = (after.as_ref(), page.upto.as_ref());
        let expected = turn.seat.slot(slot).answer(&theirs, began.as_ref(), range);
        self.counts.full_lists += u64::from(expected.mark.is_some() && !theirs.0.is_empty());
        check(of == slot && nonce == told.nonce, || "a page of another ask".to_owned())?;
        check(page.upto.is_none() || page.upto > page.after, || "no progress".to_owned())?;
        differs("page", &page, &expected)
    }

    /// A request is answered.
    pub(super) fn answered(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        message: &Message,
    ) -> Checked {
        if let Some(at) = turn.seat.forwards.iter().position(|forward| forward.asker == asker) {
            let forward = turn.seat.forwards.remove(at);
            return self.relayed(turn, &forward, message);
        }
        match message {
            Message::Failure(failure) => {
                let refusal = turn.refusals.iter().position(|(refused, _)| *refused == asker);
                if let Some((_, code)) = refusal.map(|at| turn.refusals.remove(at)) {
                    return check(failure.code == code, || format!("{failure:?}, not {code:?}"));
                }
                let get = turn.seat.gets.iter_mut().find(|get| get.asker == asker && !get.replied);
                let get =
                    get.ok_or_else(|| format!("a request that was taken failed: {failure:?}"))?;
                get.replied = true;
                self.counts.failed_reads += 1;
                let right =
                    failure.code == FailureCode::LevelNotMet && get.answers.len() < get.needed;
                check(right, || format!("a read with enough answers failed: {failure:?}"))
            }
            Message::PutReply(reply) => self.put_answered(turn, asker, reply),
            Message::GetReply(reply) => {
                let waiting = turn.seat.gets.iter().position(|g| g.asker == asker && !g.replied);
                let at = waiting.ok_or("an answer to no read")?;
                let get = &turn.seat.gets[at];
                let shown = get.joined();
                check(get.answers.len() >= get.needed, || "too few owners answered".to_owned())?;
                check(reply.source == Source::Owners, || "it is from owners".to_owned())?;
                let counted = (usize::from(reply.answered), usize::from(reply.needed));
                let expected = (get.answers.len(), get.needed);
                check(counted == expected, || format!("{counted:?} answered, not {expected:?}"))?;
                let (key, values) = (get.key.clone(), get.values.clone());
                self.shown(&key, reply, &shown.dots, &values, &shown.context)?;
                turn.seat.gets[at].replied = true;
                self.counts.reads += 1;
                self.counts.siblings_read += u64::from(reply.values.len() > 1);
                Ok(())
            }
            other => Err(format!("{} is no answer", other.kind())),
        }
    }

    pub(super) fn put_answered(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        reply: &PutReply,
    ) -> Checked {
        let told = reply.dot.map(dot);
        let of_it = |put: &Put| put.asker == asker && Some(put.dot) == told;
        // A frame that came twice is two requests of one asker, and one write.
        let puts = turn.seat.puts.iter().enumerate().filter(|(_, put)| of_it(put));
        let judged = puts.map(|(at, put)| (at, self.is_told(put, reply)));
        let judged: Vec<(usize, Checked)> = judged.collect();
        let right = judged.iter().find(|(_, judged)| judged.is_ok()).or(judged.first());
        let (at, judged) = right.ok_or_else(|| format!("an answer to no write: {reply:?}"))?;
        turn.seat.puts.remove(*at);
        match reply.outcome {
            Outcome::Ok => self.counts.told_ok += 1,
            Outcome::Unknown => self.counts.told_unknown += 1,
        }
        judged.clone()
    }

    /// Whether this is how the write stands.
    pub(super) fn is_told(&self, put: &Put, reply: &PutReply) -> Checked {
        let expected = if put.met() { Outcome::Ok } else { Outcome::Unknown };
        check(reply.outcome == expected, || {
            format!("{:?}, not {expected:?}: {put:?}", reply.outcome)
        })?;
        let counts = (reply.owners.into(), reply.fallbacks.into(), reply.needed.into());
        let known = (put.owners.len(), put.fallbacks.len(), put.needed);
        check(counts == known, || format!("{counts:?} have it, not {known:?}: {put:?}"))?;
        check(usize::from(reply.siblings) == put.siblings, || {
            format!("it has {} values, not {}", reply.siblings, put.siblings)
        })?;
        self.opens(&put.key, &reply.context, &put.context)
    }

    /// The answer of an owner, handed on; or what is said when none answers.
    pub(super) fn relayed(
        &mut self,
        turn: &mut Turn<'_>,
        forward: &Forward,
        message: &Message,
    ) -> Checked {
        if let Some((id, answer)) = &turn.answer
            && forward.id == Some(*id)
        {
            return check(answer == message, || format!("not what the owner said: {message:?}"));
        }
        match message {
            Message::PutReply(reply) if forward.writes => {
                let right = reply.outcome == Outcome::Unknown && reply.dot.is_none();
                check(right, || format!("nobody said so: {reply:?}"))
            }
            Message::GetReply(reply) if !forward.writes => {
                let (values, context) = turn.seat.hinted(&forward.key);
                self.counts.from_hints += 1;
                check(reply.source == Source::Hints, || "no owner said so".to_owned())?;
                let live = values.keys().copied().collect();
                self.shown(&forward.key, reply, &live, &values, &context)
            }
            Message::Failure(failure) => {
                check(!forward.writes || failure.code == FailureCode::LevelNotMet, || {
                    format!("a write sent on failed: {failure:?}")
                })
            }
            other => Err(format!("{} is no answer to it", other.kind())),
        }
    }

    /// Values and context as a reader is shown them: of each operation one, and all dots covered.
    pub(super) fn shown(
        &mut self,
        key: &Key,
        reply: &GetReply,
        live: &BTreeSet<Dot>,
        values: &Values,
        context: &Dots,
    ) -> Checked {
        let shown = live.len().saturating_sub(reply.omitted.into());
        check(reply.omitted == 0 || self.small_frames() && shown > 0, || {
            format!("{} are left out of a large frame", reply.omitted)
        })?;
        let (mut operations, mut expected, mut covered) =
            (BTreeSet::new(), Vec::new(), Dots::default());
        for dot in live.iter().take(shown) {
            let value =
                values.get(dot).ok_or_else(|| format!("nobody gave the bytes of {dot:?}"))?;
            covered.join(&value.context);
            covered.add(*dot);
            self.counts.twins += u64::from(operations.contains(&value.operation));
            if value.operation == 0 || operations.insert(value.operation) {
                expected.push((*dot, Rc::clone(value)));
            }
        }
        let told: Vec<_> =
            reply.values.iter().map(|(at, value)| (dot(*at), written(value))).collect();
        differs("values", &told, &expected)?;
        self.counts.omitted += u64::from(reply.omitted > 0);
        self.opens(key, &reply.context, if reply.omitted == 0 { context } else { &covered })
    }

    pub(super) fn opens(&self, key: &Key, token: &[u8], expected: &Dots) -> Checked {
        let context =
            open_context(&self.ring.secret, &Dead::NONE, key, token).map_err(|e| e.to_string())?;
        differs("context", &dots(&context), expected)
    }

    /// Reads that are answered, and that nobody is waited for in, repair those that had less.
    pub(super) fn finish_reads(&mut self, turn: &mut Turn<'_>) -> Checked {
        let (done, waiting): (Vec<Get>, Vec<Get>) = std::mem::take(&mut turn.seat.gets)
            .into_iter()
            .partition(|get| get.replied && get.asked.is_empty());
        for get in &waiting {
            let joined = get.joined();
            let shown = joined.dots.iter().all(|dot| get.values.contains_key(dot));
            let ready = !get.replied && get.answers.len() >= get.needed && shown;
            check(!ready, || format!("enough answered, and nobody is told: {get:?}"))?;
        }
        turn.seat.gets = waiting;
        for get in done {
            repairs(&get, self.config.frame_values_max, &mut turn.repairs);
        }
        let mut expected = Vec::new();
        for (member, key, change) in std::mem::take(&mut turn.repairs) {
            if member == turn.at.0 {
                self.counts.own_repairs += 1;
                let slot = Token::of(&key).slot().number();
                turn.seat.slot(slot).apply(&place(&key), &change);
            } else {
                expected.push((member, key, change));
            }
        }
        let sent = turn.effects.iter().filter_map(|effect| match effect {
            Effect::Send(to, Frame { message: Message::Store(store), .. })
                if store.reason == Reason::Repair =>
            {
                Some((to.0, store.key.clone(), change(&store.delta)))
            }
            _ => None,
        });
        let mut sent: Vec<_> = sent.collect();
        self.counts.repairs += sent.len() as u64;
        let order = |(to, key, change): &(u16, Key, Change)| (*to, key.clone(), change.dots());
        sent.sort_by_key(order);
        expected.sort_by_key(order);
        differs("repairs", &sent, &expected)
    }
}

/// The frames of a write carry its request id, from the first on.
fn bind_put(seat: &mut Seat, id: u64, key: &Key, change: &Change) {
    if seat.puts.iter().any(|put| put.id == Some(id)) {
        return;
    }
    let mut puts = seat.puts.iter_mut().filter(|put| put.id.is_none());
    if let Some(put) = puts.find(|put| put.key == *key && put.change == *change) {
        put.id = Some(id);
    }
}

/// Nothing is acknowledged that is not durable.
fn acknowledged(turn: &mut Turn<'_>, to: u16, request: u64) -> Checked {
    let seat = &mut turn.seat;
    let at = seat.owed.iter().position(|owed| (owed.to, owed.request) == (to, request));
    let owed = seat.owed.remove(at.ok_or("an acknowledgement of nothing")?);
    check(owed.batch <= seat.synced, || "it is acknowledged before it is synced".to_owned())?;
    if let Some((slot, at, change)) = owed.copy {
        let before = seat.durable.slots.get(&slot).cloned().unwrap_or_default();
        let mut after = before.clone();
        after.apply(&at, &change);
        let lasting = after.clock == before.clock
            && after.entry(&at).values.keys().eq(before.entry(&at).values.keys());
        check(lasting, || format!("it is acknowledged, and not on the disk: {change:?}"))?;
    }
    Ok(())
}
