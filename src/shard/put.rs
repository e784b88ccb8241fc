//! Coordinating writes: refuse or mint, apply, send the same delta, count.
//!
//! ```text
//! admit ── refused: Failure, no effect ──▶
//!   │ mint a dot, join the own copy (or keep hints), send the delta
//!   ▼
//! waiting ── enough have it synced: Ok ──▶     an owner is down, declines, or is late: the next
//!   │                                          fallback keeps a hint in its place
//!   └─ nobody left to wait for, or the deadline: Unknown ──▶
//! ```
//!
//! Invariant: once a dot is minted the answer is never a `Failure`; the context returned covers what
//! the client had seen and its own dot, nothing more; a fallback stands for one owner per write.
//! Strict writes leave hints too, so that absent owners catch up; they just do not count.
//! Not here: how acknowledgements are counted (`quorum`), when the own copy counts (`unsynced`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::Shard;
use super::quorum::Acks;
use super::reply::{Asker, Head};
use super::requests::Request;
use super::unsynced::Due;
use crate::causality::{Delta, Dot, DotSet, Meta, Value, seal_context};
use crate::key::{Key, VALUE_BYTES_MAX};
use crate::ring::{Epoch, MemberNumber, Slot, Token, View};
use crate::rules::{Rule, holds};
use crate::storage::Disk;
use crate::wire::{
    Basis, Failure, FailureCode, KeepHint, Level, Message, Outcome, Put, PutReply, Reason, Store,
};

/// What has become of one owner's share of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// It was sent the delta.
    Asked,
    /// It is late: a fallback was asked in its place, but its own answer still counts.
    Late,
    /// It is down, declined, or its lane broke.
    Away,
    /// It has the delta on its synced disk.
    Done,
}

/// A write that this shard coordinates.
#[derive(Debug)]
pub(super) struct PutRequest {
    asker: Asker,
    token: Token,
    key: Key,
    delta: Delta<Value>,
    dot: Dot,
    /// The token for the client.
    context: Bytes,
    siblings: u16,
    acks: Acks,
    level: Level,
    /// The step of the row that `seats` are of.
    since: Epoch,
    /// Whether the write was minted as an owner, not kept as hints.
    as_owner: bool,
    /// Members that have another row or ring than this node; they are asked again.
    elsewhere: BTreeSet<MemberNumber>,
    /// When those who have not answered count as late.
    patience_at: Duration,
    deadline: Duration,
    /// When it came.
    began: Duration,
    /// The own copy, or the own hints, are not synced yet.
    own_waits: bool,
    /// The other owners.
    seats: BTreeMap<MemberNumber, Seat>,
    /// Fallbacks not asked yet, in the ring's order.
    spare: VecDeque<MemberNumber>,
    /// Fallbacks asked, and the owner that each stands for.
    standing: BTreeMap<MemberNumber, MemberNumber>,
}

impl PutRequest {
    /// The slot of its key.
    pub(super) fn slot(&self) -> Slot {
        self.token.slot()
    }

    fn hopeless(&self) -> bool {
        let asked = |seat: &Seat| matches!(seat, Seat::Asked | Seat::Late);
        !self.own_waits && self.standing.is_empty() && !self.seats.values().any(asked)
    }
}

/// What a write will be, if nothing speaks against it.
struct Plan {
    token: Token,
    needed: usize,
    seen: DotSet,
    /// What an earlier attempt wrote.
    earlier: Option<Delta<Value>>,
}

impl<D: Disk> Shard<D> {
    /// A client's write, from the client or sent on by a member.
    pub(super) fn on_put(&mut self, asker: Asker, put: Put) {
        let token = Token::of(&put.key);
        if let Err(failure) = self.admit(token, put.key.as_bytes().len() + size(&put)) {
            return self.refuse(asker, token, failure.code, failure.message);
        }
        let owner = self.view.as_ref().is_some_and(|view| view.owns(token.slot()));
        match (owner, put.forwarded) {
            (true, _) => self.coordinate(asker, put),
            (false, false) => self.forward_put(asker, put),
            (false, true) => self.refuse(asker, token, FailureCode::NotReady, NOT_MINE),
        }
    }

    /// Writes something new, or once more what an earlier attempt wrote.
    pub(super) fn write(&mut self, asker: Asker, put: Put, earlier: Option<Delta<Value>>) {
        let token = Token::of(&put.key);
        // Nobody takes what a dead actor wrote any more, unless it is there already.
        let slot = token.slot();
        let owner = self.view.as_ref().is_some_and(|view| view.owns(slot));
        let taken = |delta: &Delta<Value>| {
            if owner {
                !self.is_refused(slot, &put.key, delta, Reason::Write)
            } else {
                !self.is_over(delta)
            }
        };
        let earlier = earlier.filter(taken);
        match self.plan_put(&put, earlier) {
            Ok(plan) => self.carry_out(asker, put, plan),
            Err(failure) => self.refuse(asker, token, failure.code, failure.message),
        }
    }

    /// Everything that may speak against a write. Nothing is changed here.
    fn plan_put(&self, put: &Put, earlier: Option<Delta<Value>>) -> Result<Plan, Failure> {
        let view = self.view.as_ref().expect("admitted only with a ring");
        let (token, limits) = (Token::of(&put.key), &self.config);
        let refused = |message: String| Err(Failure::new(FailureCode::Refused, message));
        if size(put) > VALUE_BYTES_MAX {
            return refused(format!(
                "the value has {} bytes, a value has at most {VALUE_BYTES_MAX}; nothing was written",
                size(put)
            ));
        }
        if put.writer.len() > limits.writer_bytes_max {
            return refused(format!(
                "the writer's name has {} bytes, at most {} are kept; nothing was written",
                put.writer.len(),
                limits.writer_bytes_max
            ));
        }
        // Without a copy of its own it keeps a hint for each owner.
        let owner = view.owns(token.slot());
        let records = if owner { 1 } else { view.ring.row(token.slot()).len() as u64 };
        let bytes = (put.key.as_bytes().len() + size(put)) as u64;
        self.check_disk(records * bytes, put.value.is_some())?;
        let needed = self.needed_for_put(view, token, put)?;
        let seen = match &earlier {
            Some(delta) => delta.context.clone(),
            None => self.basis(view, token, put)?,
        };
        if earlier.is_none() {
            self.check_siblings(view, token, put, &seen)?;
        }
        if !owner {
            self.check_hint_room(view.ring.row(token.slot()).len(), put)?;
        }
        Ok(Plan { token, needed, seen, earlier })
    }

    /// How many must have it, if so many can be reached at all.
    fn needed_for_put(&self, view: &View, token: Token, put: &Put) -> Result<usize, Failure> {
        let row = view.ring.row(token.slot());
        let needed = put.level.needed(row.len());
        let owners = row.iter().filter(|owner| view.is_up(**owner)).count();
        let fallbacks = if put.strict {
            0
        } else {
            view.ring.fallbacks(token).iter().filter(|other| view.is_up(**other)).count()
        };
        let wish = format!("level {} needs {needed} of the key's {} owners", put.level, row.len());
        if needed == 0 || needed > row.len() {
            return level_not_met(format!("{wish}, which can never be; nothing was written"));
        }
        if owners + fallbacks < needed {
            let instead = if put.strict {
                String::from("; a sloppy write would also count other nodes' hints")
            } else {
                format!(" and {fallbacks} other nodes that could keep a hint")
            };
            return level_not_met(format!(
                "{wish}; this node reaches {owners} of them{instead}; nothing was written; \
                 try a lower level, or again when more nodes are back"
            ));
        }
        Ok(needed)
    }

    /// The dots that the write replaces.
    fn basis(&self, view: &View, token: Token, put: &Put) -> Result<DotSet, Failure> {
        let slot = token.slot();
        match &put.basis {
            Basis::Blind => Ok(DotSet::EMPTY),
            Basis::Context(sealed) => self.open(view, &put.key, sealed),
            Basis::Overwrite if view.owns(slot) => {
                Ok(self.copy_of(slot, &put.key).context(self.store.clock(slot)))
            }
            Basis::Overwrite => Ok(self.hinted(&put.key).context),
        }
    }

    fn check_siblings(
        &self,
        view: &View,
        token: Token,
        put: &Put,
        seen: &DotSet,
    ) -> Result<(), Failure> {
        let dots: Vec<Dot> = if view.owns(token.slot()) {
            self.copy_of(token.slot(), &put.key).dots().collect()
        } else {
            self.hinted(&put.key).values.iter().map(|(dot, _)| *dot).collect()
        };
        let kept = dots.iter().filter(|dot| !seen.contains(**dot)).count();
        let after = kept + usize::from(put.value.is_some());
        if after <= self.config.siblings_max || after <= dots.len() {
            return Ok(());
        }
        let listed: Vec<String> = dots.iter().map(Dot::to_string).collect();
        Err(Failure::new(
            FailureCode::TooManySiblings,
            format!(
                "the key has {} values that nobody has reconciled, and may have {}; nothing was \
                 written; read it, and write one value with the context that comes with it; its \
                 values are {}",
                dots.len(),
                self.config.siblings_max,
                listed.join(" ")
            ),
        ))
    }

    /// From here on there are effects: the answer is `Ok` or `Unknown`.
    fn carry_out(&mut self, asker: Asker, put: Put, plan: Plan) {
        let Plan { token, needed, seen, earlier } = plan;
        let slot = token.slot();
        let timeout = self.config.timeout(put.timeout_ms);
        let strict = put.strict;
        let (operation, writer) = (put.operation, put.writer);
        let delta = match (earlier, put.value) {
            (Some(delta), _) => delta,
            (None, Some(bytes)) => {
                let stamp = self.now.wall_ms;
                let meta = Meta { operation, stamp, writer, context: seen.clone() };
                Delta::put(self.mint(slot), Value { meta, bytes }, seen.clone())
            }
            (None, None) => Delta::delete(self.mint(slot), seen.clone()),
        };
        let dot = delta.dots().next().expect("a write has a dot");
        let room = (self.config.operations_max, self.config.operation_bytes_max);
        self.operations.note(operation, &put.key, &delta, room);
        let view = self.view.clone().expect("admitted only with a ring");
        let owner = view.owns(slot);
        let siblings = if owner {
            self.apply(slot, &put.key, delta.clone());
            self.copy_of(slot, &put.key).values().len()
        } else {
            for owner in view.ring.row(slot) {
                self.keep_hint(*owner, slot, &put.key, delta.clone());
            }
            self.hinted(&put.key).values.len()
        };
        let id = self.requests.draw();
        let deadline = self.now.elapsed + timeout;
        let spare = view.ring.fallbacks(token).into_iter().filter(|other| *other != view.me);
        let patience_at = self.now.elapsed + timeout / self.config.patience_divisor;
        let mut request = PutRequest {
            asker,
            token,
            level: put.level,
            since: self.row_since(slot),
            as_owner: owner,
            elsewhere: BTreeSet::new(),
            patience_at,
            context: self.context_after(&view, &put.key, token, &seen, dot),
            key: put.key,
            delta,
            dot,
            siblings: u16::try_from(siblings).unwrap_or(u16::MAX),
            acks: Acks::new(needed, strict),
            deadline,
            began: self.now.elapsed,
            own_waits: true,
            seats: BTreeMap::new(),
            spare: spare.collect(),
            standing: BTreeMap::new(),
        };
        self.metrics.puts += 1;
        self.send_out(&view, id, &mut request, owner);
        let bytes = (request.key.as_bytes().len() + delta_bytes(&request.delta)) as u64;
        self.requests.insert(id, patience_at, bytes, Request::Put(request));
        self.when_synced(Due::Own(id));
    }

    /// Sends the delta to the other owners that are up, and hints for those that are not.
    fn send_out(&mut self, view: &View, id: u64, put: &mut PutRequest, owner: bool) {
        let row: Vec<MemberNumber> =
            view.ring.row(put.token.slot()).iter().copied().filter(|m| *m != view.me).collect();
        for member in &row {
            let up = owner && view.is_up(*member);
            put.seats.insert(*member, if up { Seat::Asked } else { Seat::Away });
            if up {
                self.send_delta(id, put, *member);
            }
        }
        self.send_incoming(view, id, put);
        // A fallback that coordinates keeps hints for all owners itself; others are asked only for
        // as many more disks as the level needs.
        let wanted = if owner { row.len() } else { usize::from(put.acks.needed()) - 1 };
        let away = row.iter().filter(|member| put.seats.get(member) == Some(&Seat::Away));
        for member in away.take(wanted).copied().collect::<Vec<_>>() {
            self.hand_on(id, put, member);
        }
    }

    fn send_delta(&mut self, id: u64, put: &PutRequest, to: MemberNumber) {
        let (key, delta) = (put.key.clone(), put.delta.clone());
        let store = Store { key, delta, reason: Reason::Write };
        self.send(to, Head::key(put.token, id), Message::Store(store));
    }

    /// Who is to have a seat gets the write too, and has no vote.
    fn send_incoming(&mut self, view: &View, id: u64, put: &PutRequest) {
        let incoming = view.ring.partition(put.token.slot()).incoming();
        let incoming = incoming.filter(|member| *member != view.me && view.is_up(*member));
        if let Some(incoming) = incoming.filter(|_| put.as_owner) {
            self.send_delta(id, put, incoming);
        }
    }

    /// The row has changed while the write was under way: the owners of now are to have it. What those acknowledged
    /// that still are owners stays good: they had applied it before they refused the row before.
    pub(super) fn put_reseat(&mut self, view: &View, id: u64, mut put: PutRequest) {
        let partition = view.ring.partition(put.token.slot());
        if put.since == partition.since || !put.as_owner {
            return self.requests.restore(id, Request::Put(put));
        }
        put.since = partition.since;
        let row = partition.row.clone();
        put.acks.change_row(&row, put.level.needed(row.len()));
        put.seats.retain(|member, _| row.contains(member));
        put.standing.retain(|_, owed_to| row.contains(owed_to));
        for member in row.into_iter().filter(|member| *member != view.me) {
            if put.seats.get(&member) == Some(&Seat::Done) {
                continue;
            }
            let up = view.is_up(member);
            put.seats.insert(member, if up { Seat::Asked } else { Seat::Away });
            if up {
                self.send_delta(id, &put, member);
            } else if !put.standing.values().any(|owed_to| *owed_to == member) {
                self.hand_on(id, &mut put, member);
            }
        }
        self.send_incoming(view, id, &put);
        self.settle_put(id, put);
    }

    /// A member has another row than this node. It is asked again, in a while or when this node knows better.
    pub(super) fn put_other_row(&mut self, id: u64, mut put: PutRequest, from: MemberNumber) {
        match put.seats.get(&from) {
            Some(Seat::Asked | Seat::Late) => {}
            Some(Seat::Away | Seat::Done) | None => return self.put_lost(id, put, from),
        }
        put.elsewhere.insert(from);
        let (now, soon) = (self.now.elapsed, self.now.elapsed + self.config.row_retry);
        // Patience that is over does not end once more.
        let next = if now < put.patience_at { soon.min(put.patience_at) } else { soon };
        self.requests.rearm(id, next.min(put.deadline));
        self.requests.restore(id, Request::Put(put));
    }

    /// What the client may hand back with its next write.
    fn context_after(
        &self,
        view: &View,
        key: &Key,
        token: Token,
        seen: &DotSet,
        dot: Dot,
    ) -> Bytes {
        let clock = self.store.clock(token.slot());
        let context = self.copy_of(token.slot(), key).context_after_put(clock, seen, dot);
        seal_context(&view.ring.secret, key, &context).into()
    }

    /// Asks the next fallback to keep the delta for an owner that is away.
    fn hand_on(&mut self, id: u64, put: &mut PutRequest, owed_to: MemberNumber) {
        while let Some(fallback) = put.spare.pop_front() {
            // It may own the slot by now.
            let fits = |view: &View| {
                view.is_up(fallback) && !view.ring.row(put.token.slot()).contains(&fallback)
            };
            if self.view.as_ref().is_some_and(fits) {
                let hint = KeepHint { owed_to, key: put.key.clone(), delta: put.delta.clone() };
                self.send(fallback, Head::key(put.token, id), Message::KeepHint(hint));
                put.standing.insert(fallback, owed_to);
                return;
            }
        }
    }

    /// The own copy, or the own hints, are durable.
    pub(super) fn put_own_synced(&mut self, id: u64) {
        let Some(mut put) = self.take_put(id) else { return };
        let view = self.view.as_ref().expect("admitted only with a ring");
        let (me, slot) = (view.me, put.token.slot());
        if !put.as_owner {
            put.acks.fallback(me);
        } else if view.owns(slot) && !self.unsettled(slot) && self.vouches_for(&put, me) {
            put.acks.owner(me);
        }
        put.own_waits = false;
        self.settle_put(id, put);
    }

    /// They never will be.
    pub(super) fn put_own_failed(&mut self, id: u64) {
        let Some(mut put) = self.take_put(id) else { return };
        put.own_waits = false;
        self.settle_put(id, put);
    }

    /// A member has the delta, or a hint of it, on its synced disk.
    pub(super) fn put_stored(&mut self, id: u64, mut put: PutRequest, from: MemberNumber) {
        let vouches = self.vouches_for(&put, from);
        if let Some(seat) = put.seats.get_mut(&from) {
            *seat = Seat::Done;
            if vouches {
                put.acks.owner(from);
            }
        } else if put.standing.remove(&from).is_some() {
            put.acks.fallback(from);
        }
        self.settle_put(id, put);
    }

    fn vouches_for(&self, put: &PutRequest, owner: MemberNumber) -> bool {
        self.vouches(put.token.slot(), owner, put.level, put.acks.needed().into())
    }

    /// A member declined, or its lane broke: somebody else must do.
    pub(super) fn put_lost(&mut self, id: u64, mut put: PutRequest, from: MemberNumber) {
        if let Some(owed_to) = put.standing.remove(&from) {
            self.hand_on(id, &mut put, owed_to);
        } else if let Some(seat) = put.seats.get_mut(&from) {
            let before = *seat;
            if before != Seat::Done {
                *seat = Seat::Away;
            }
            if before == Seat::Asked {
                self.hand_on(id, &mut put, from);
            }
        }
        self.settle_put(id, put);
    }

    /// Patience or all time is over.
    pub(super) fn put_woke(&mut self, id: u64, mut put: PutRequest) {
        if self.now.elapsed >= put.deadline {
            return self.finish_put(id, put, Outcome::Unknown);
        }
        for member in std::mem::take(&mut put.elsewhere) {
            if matches!(put.seats.get(&member), Some(Seat::Asked | Seat::Late)) {
                self.send_delta(id, &put, member);
            }
        }
        if self.now.elapsed < put.patience_at {
            self.requests.rearm(id, put.patience_at.min(put.deadline));
            return self.requests.restore(id, Request::Put(put));
        }
        self.requests.rearm(id, put.deadline);
        let late: Vec<MemberNumber> = put
            .seats
            .iter_mut()
            .filter(|(_, seat)| **seat == Seat::Asked)
            .map(|(member, seat)| {
                *seat = Seat::Late;
                *member
            })
            .collect();
        for member in late {
            self.hand_on(id, &mut put, member);
        }
        self.settle_put(id, put);
    }

    fn take_put(&mut self, id: u64) -> Option<PutRequest> {
        match self.requests.take(id) {
            Some(Request::Put(put)) => Some(put),
            Some(other) => {
                self.requests.restore(id, other);
                None
            }
            None => None,
        }
    }

    fn settle_put(&mut self, id: u64, put: PutRequest) {
        if put.acks.met() {
            self.finish_put(id, put, Outcome::Ok);
        } else if put.hopeless() {
            self.finish_put(id, put, Outcome::Unknown);
        } else {
            self.requests.restore(id, Request::Put(put));
        }
    }

    fn finish_put(&mut self, id: u64, put: PutRequest, outcome: Outcome) {
        self.requests.remove(id);
        self.pace.answered(self.now.elapsed.saturating_sub(put.began), self.sync.pulls());
        if outcome == Outcome::Unknown {
            self.metrics.unknowns += 1;
            if !holds(Rule::UnknownIsSaid) {
                let message = "too few answered in time".to_owned();
                return self.refuse(put.asker, put.token, FailureCode::LevelNotMet, message);
            }
        }
        let reply = PutReply {
            outcome,
            dot: Some(put.dot),
            context: put.context,
            owners: put.acks.owners(),
            fallbacks: put.acks.fallbacks(),
            needed: put.acks.needed(),
            siblings: put.siblings,
        };
        self.reply(put.asker, put.token, Message::PutReply(reply));
    }
}

/// What an owner is told that is none.
pub(super) const NOT_MINE: &str = "this node does not own the key, although another thought so: \
    the ring is changing; nothing was done; try again";

fn size(put: &Put) -> usize {
    put.value.as_ref().map_or(0, Bytes::len)
}

fn delta_bytes(delta: &Delta<Value>) -> usize {
    delta.values.iter().map(|(_, value)| value.bytes.len()).sum()
}

fn level_not_met<T>(message: String) -> Result<T, Failure> {
    Err(Failure::new(FailureCode::LevelNotMet, message))
}
