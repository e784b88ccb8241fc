//! Coordinating reads: ask as many owners as needed, join what they say, then repair who had less.
//!
//! The coordinator is an owner and counts itself. The others are told which dots it has, and send
//! bytes for others only (digest reads). A late or lost owner is replaced by one not asked yet.
//!
//! Invariant: the answer shows one value per operation, and its context covers exactly what is shown
//! and what that had replaced. Every answer that arrives, also after the reply, feeds repair. A read
//! with a floor is answered only when what answered has seen all that the floor covers, at level all
//! every owner for itself: the others are asked, and all again every while, until its time is over.
//! Not here: the join itself (`causality`), what repair sends (`repair`).

mod rows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Shard;
use super::loads::{Then, Values};
use super::reply::{Asker, Head};
use super::requests::Request;
use super::seats::{readers, reads_from};
use crate::causality::{Delta, Dot, DotSet, Entry, Seen, Value, join, seal_context};
use crate::key::Key;
use crate::ring::{Epoch, MemberNumber, Slot, Token, View};
use crate::rules::{Rule, holds};
use crate::storage::{Disk, Place};
use crate::wire::{
    Decline, Failure, FailureCode, Fetch, Fetched, Get, GetReply, Level, Message, Source,
};

/// A read that this shard coordinates.
#[derive(Debug)]
pub(super) struct GetRequest {
    /// `None` once answered.
    asker: Option<Asker>,
    token: Token,
    key: Key,
    level: Level,
    needed: usize,
    /// The step of the row that it is asked by, and the owners then.
    since: Epoch,
    row: Vec<MemberNumber>,
    /// Owners that have another row than this node; they are asked again.
    elsewhere: BTreeSet<MemberNumber>,
    /// What the answer must have seen.
    floor: DotSet,
    /// Whether each owner must have seen it, and not just all of them together.
    each: bool,
    deadline: Duration,
    /// When it came.
    began: Duration,
    patience: Duration,
    /// The own entry as it was when it was last looked at.
    own: Entry<Place>,
    /// Own dots whose bytes the disk does not give.
    unreadable: BTreeSet<Dot>,
    /// Owners asked that have not answered yet.
    asked: BTreeSet<MemberNumber>,
    /// Owners not asked yet.
    spare: VecDeque<MemberNumber>,
    /// What each owner says, this one included.
    answers: BTreeMap<MemberNumber, Seen<()>>,
    /// Those among them that lost synced data and are catching up.
    recovering: BTreeSet<MemberNumber>,
    /// Bytes that are here already.
    values: Values,
    /// Whether own bytes are on their way from the disk.
    loading: bool,
}

impl GetRequest {
    /// How many owners answered that count.
    fn counted(&self) -> usize {
        let counts =
            |owner: &&MemberNumber| self.row.contains(owner) && !self.recovering.contains(owner);
        self.answers.keys().filter(counts).count()
    }

    /// The slot of its key.
    pub(super) fn slot(&self) -> Slot {
        self.token.slot()
    }

    /// Drops what owners said, and awaits nothing any more. Bytes that came stay, and so do those who are to be asked.
    fn forget_answers(&mut self) {
        self.asked.clear();
        self.elsewhere.clear();
        self.answers.clear();
        self.recovering.clear();
        self.loading = false;
    }

    /// Takes note of whether an owner's answer counts.
    fn note(&mut self, owner: MemberNumber, recovering: bool) {
        if recovering {
            self.recovering.insert(owner);
        } else {
            self.recovering.remove(&owner);
        }
    }

    /// Whose word the answer is, if what is here makes one. An owner that is catching up answers a read
    /// at level one when no other is left to ask.
    fn source(&self) -> Option<Source> {
        let left = !self.asked.is_empty() || !self.spare.is_empty() || !self.elsewhere.is_empty();
        if self.counted() >= self.needed {
            Some(Source::Owners)
        } else if self.needed == 1 && !left && !self.answers.is_empty() {
            Some(Source::Recovering)
        } else {
            None
        }
    }
}

/// What a member is told of a key, once the values are loaded.
#[derive(Debug)]
pub(super) struct Fetching {
    to: MemberNumber,
    head: Head,
    key: Key,
    /// Whether the copy counted for nothing when it was looked at.
    recovering: bool,
    clock: DotSet,
    entry: Entry<Place>,
}

/// What can be shown of a joined answer, as far as the bytes are known.
enum Showable {
    /// These dots, and so many more are left out.
    Dots(Vec<Dot>, usize),
    /// First these bytes must be read from the own disk.
    Load(Vec<(Dot, Place)>),
    /// First this member must be asked for bytes again.
    Refetch(MemberNumber),
    /// Nobody gives the bytes of this dot.
    Nowhere(Dot),
}

impl GetRequest {
    /// Whether what answered has seen all that the floor covers. At level all each owner must have,
    /// for who asks all wants to know of all.
    fn has_floor(&self, joined: &Seen<()>) -> bool {
        if self.each {
            self.answers.values().all(|seen| self.floor.is_within(&seen.covered))
        } else {
            self.floor.is_within(&joined.covered)
        }
    }
}

/// A read that waits for its floor asks again after a part of its patience.
const LOOKS_PER_PATIENCE: u32 = 4;

impl<D: Disk> Shard<D> {
    /// A client's read, from the client or sent on by a member.
    pub(super) fn on_get(&mut self, asker: Asker, get: Get) {
        let token = Token::of(&get.key);
        if let Err(failure) = self.admit(token, get.key.as_bytes().len()) {
            return self.refuse(asker, token, failure.code, failure.message);
        }
        let floor = match self.floor_of(&get) {
            Ok(floor) => floor,
            Err(failure) => {
                return self.refuse(asker, token, failure.code, failure.message);
            }
        };
        let owner = self.view.as_ref().is_some_and(|view| view.owns(token.slot()));
        match (owner, get.forwarded) {
            (true, _) => self.read_as_owner(asker, token, get, floor),
            (false, false) => self.forward_get(asker, get),
            (false, true) => {
                self.refuse(asker, token, FailureCode::NotReady, super::put::NOT_MINE);
            }
        }
    }

    /// The dots that a read's floor covers.
    pub(super) fn floor_of(&self, get: &Get) -> Result<DotSet, Failure> {
        let view = self.view.as_ref().expect("admitted only with a ring");
        match &get.floor {
            floor if floor.is_empty() => Ok(DotSet::EMPTY),
            floor => self.open(view, &get.key, floor),
        }
    }

    fn read_as_owner(&mut self, asker: Asker, token: Token, get: Get, floor: DotSet) {
        let view = self.view.as_ref().expect("admitted only with a ring");
        let (slot, me) = (token.slot(), view.me);
        let row = view.ring.row(slot);
        let needed = get.level.needed(row.len());
        let up = row.iter().filter(|owner| view.is_up(**owner)).count();
        let counting = up - usize::from(self.recovering(slot));
        let soon_enough = needed <= up && view.settles(slot);
        if needed == 0 || needed > counting.max(1) && !soon_enough {
            let catching = if counting < up { ", one of them still catching up" } else { "" };
            let message = format!(
                "level {} needs {needed} of the key's {} owners, and this node reaches {up}{catching}; try \
                 a lower level, or again when more nodes are back",
                get.level,
                row.len()
            );
            return self.refuse(asker, token, FailureCode::LevelNotMet, message);
        }
        let answering = readers(view.ring.partition(slot));
        let others = answering.iter().copied().filter(|owner| *owner != me);
        let spare = others.filter(|owner| view.is_up(*owner)).collect();
        let timeout = self.config.timeout(get.timeout_ms);
        let patience = timeout / self.config.patience_divisor;
        let mut request = GetRequest {
            asker: Some(asker),
            token,
            key: get.key,
            level: get.level,
            needed,
            since: view.ring.partition(slot).since,
            row: answering,
            elsewhere: BTreeSet::new(),
            floor,
            each: get.level == Level::All,
            deadline: self.now.elapsed + timeout,
            began: self.now.elapsed,
            patience,
            own: Entry::default(),
            unreadable: BTreeSet::new(),
            asked: BTreeSet::new(),
            spare,
            answers: BTreeMap::new(),
            recovering: BTreeSet::new(),
            values: Values::new(),
            loading: false,
        };
        self.metrics.gets += 1;
        let id = self.requests.draw();
        self.look_here(&mut request);
        for _ in request.counted()..needed {
            self.ask_another(id, &mut request);
        }
        let bytes = request.key.as_bytes().len() as u64;
        let wake = self.now.elapsed + patience;
        self.requests.insert(id, wake, bytes, Request::Get(request));
        if let Some(Request::Get(request)) = self.requests.take(id) {
            self.advance_get(id, request);
        }
    }

    /// Asks the next owner that is up.
    fn ask_another(&mut self, id: u64, get: &mut GetRequest) {
        while let Some(owner) = get.spare.pop_front() {
            if self.view.as_ref().is_some_and(|view| view.is_up(owner)) {
                return self.fetch_from(id, get, owner);
            }
        }
    }

    fn fetch_from(&mut self, id: u64, get: &mut GetRequest, owner: MemberNumber) {
        let readable = get.own.dots().filter(|dot| !get.unreadable.contains(dot));
        let have: BTreeSet<Dot> = readable.chain(get.values.keys().copied()).collect();
        let fetch = Fetch { key: get.key.clone(), have: have.into_iter().collect() };
        self.send(owner, Head::key(get.token, id), Message::Fetch(fetch));
        get.asked.insert(owner);
    }

    /// A member wants to know what is held here.
    pub(super) fn on_fetch(&mut self, from: MemberNumber, head: Head, fetch: Fetch) {
        let asked = |view: &View| reads_from(view.ring.partition(head.slot), view.me);
        if !self.view.as_ref().is_some_and(asked) {
            return self.send(from, head, Message::Declined(Decline::NotMine));
        }
        if self.loads.len() >= self.config.loads_max {
            return self.send(from, head, Message::Declined(Decline::Overloaded));
        }
        let entry = self.copy_of(head.slot, &fetch.key);
        let clock = self.store.clock(head.slot).clone();
        let mut room = self.config.frame_values_max;
        let mut wanted = Vec::new();
        for (dot, place) in entry.values() {
            if !fetch.have.contains(dot) {
                // What does not fit is listed without bytes; the asker asks again for the rest.
                if u64::from(place.len) > room && !wanted.is_empty() {
                    break;
                }
                room = room.saturating_sub(place.len.into());
                wanted.push((*dot, *place));
            }
        }
        let recovering = self.recovering(head.slot);
        let fetching = Fetching { to: from, head, key: fetch.key, recovering, clock, entry };
        self.load(wanted, Then::Fetched(fetching));
    }

    /// Takes what is here now for the own answer.
    fn look_here(&self, get: &mut GetRequest) {
        let (slot, me) = (get.token.slot(), self.me());
        get.own = self.copy_of(slot, &get.key);
        let seen = Seen::of(&get.own.clone().map(|_, _| ()), self.store.clock(slot));
        get.answers.insert(me, seen);
        let vouches = self.vouches(slot, me, get.level, get.needed);
        get.note(me, self.recovering(slot) || !vouches);
    }

    pub(super) fn send_fetched(&mut self, fetching: Fetching, mut values: Values, whole: bool) {
        let Fetching { to, head, key, recovering, clock, entry } = fetching;
        let message = if whole {
            // It may have caught up while the disk was read, but not with what is told here.
            let recovering = recovering || self.recovering(head.slot);
            let entry = entry.map(|dot, _| values.remove(&dot));
            Message::Fetched(Fetched { recovering, clock, entry })
        } else {
            self.scrub_key(head.slot, &key);
            Message::Declined(Decline::Damaged)
        };
        self.send(to, head, message);
    }

    /// An owner says what it holds.
    pub(super) fn get_fetched(
        &mut self,
        id: u64,
        mut get: GetRequest,
        from: MemberNumber,
        fetched: Fetched,
    ) {
        if !get.asked.remove(&from) {
            return self.requests.restore(id, Request::Get(get));
        }
        let Fetched { recovering, clock, entry } = fetched;
        let recovering = recovering || !self.vouches(get.slot(), from, get.level, get.needed);
        get.answers.insert(from, Seen::of(&entry.clone().map(|_, _| ()), &clock));
        get.note(from, recovering);
        if recovering && self.may_settle(&get) {
            self.ask_again_soon(id, &mut get, from);
        }
        if recovering && get.asker.is_some() {
            self.ask_another(id, &mut get);
        }
        let mut bytes = 0;
        entry.map(|dot, value| {
            if let Some(value) = value {
                bytes += value.bytes.len() as u64;
                get.values.insert(dot, value);
            }
        });
        self.requests.grow(id, bytes);
        self.advance_get(id, get);
    }

    /// The own copy of a slot starts over: reads that it took part in end.
    pub(super) fn end_reads(&mut self, slot: Slot) {
        for id in self.requests.ids() {
            match self.requests.take(id) {
                Some(Request::Get(mut get)) if get.token.slot() == slot => {
                    let message = "this node found that its copy is older than it should be, and \
                                   catches up; a read changes nothing; try again";
                    self.fail_get(&mut get, FailureCode::NotReady, message.to_owned());
                    self.requests.remove(id);
                }
                Some(other) => self.requests.restore(id, other),
                None => {}
            }
        }
    }

    /// A member declined, or its lane broke.
    pub(super) fn get_lost(&mut self, id: u64, mut get: GetRequest, from: MemberNumber) {
        if get.asked.remove(&from) && get.asker.is_some() {
            self.ask_another(id, &mut get);
        }
        self.advance_get(id, get);
    }

    /// Own bytes came from the disk.
    pub(super) fn get_loaded(&mut self, id: u64, values: Values, whole: bool) {
        let Some(request) = self.requests.take(id) else { return };
        let Request::Get(mut get) = request else {
            return self.requests.restore(id, request);
        };
        get.loading = false;
        if !whole {
            self.scrub_key(get.token.slot(), &get.key);
            let missing = get.own.dots().filter(|dot| !values.contains_key(dot));
            get.unreadable.extend(missing.filter(|dot| !get.values.contains_key(dot)));
        }
        let bytes = values.values().map(|value| value.bytes.len() as u64).sum();
        get.values.extend(values);
        self.requests.grow(id, bytes);
        self.advance_get(id, get);
    }

    /// Patience or all time is over.
    pub(super) fn get_woke(&mut self, id: u64, mut get: GetRequest) {
        if self.now.elapsed >= get.deadline {
            get.asked.clear();
            get.spare.clear();
            get.elsewhere.clear();
            get.loading = false;
            return self.advance_get(id, get);
        }
        if get.asker.is_some() {
            self.ask_elsewhere(&mut get);
            if get.recovering.contains(&self.me()) && !get.loading {
                self.look_here(&mut get);
            }
            self.look_again(&mut get);
            self.ask_another(id, &mut get);
        }
        let wake = (self.now.elapsed + get.patience).min(get.deadline);
        self.requests.rearm(id, wake);
        self.advance_get(id, get);
    }

    /// A read that waits for its floor takes what is here now, and may ask all others once more.
    fn look_again(&mut self, get: &mut GetRequest) {
        if get.floor.is_empty() || get.loading || !get.spare.is_empty() || !get.asked.is_empty() {
            return;
        }
        let view = self.view.as_ref().expect("admitted only with a ring");
        let others = view.ring.row(get.token.slot()).iter().copied();
        get.spare = others.filter(|owner| *owner != view.me && view.is_up(*owner)).collect();
        self.look_here(get);
    }

    /// Goes as far as what is known allows: reply, repair, or wait on.
    fn advance_get(&mut self, id: u64, mut get: GetRequest) {
        if get.loading {
            return self.requests.restore(id, Request::Get(get));
        }
        // Whatever comes last: what is said of the floor is said of what is here now.
        if get.asker.is_some() && !get.floor.is_empty() && self.now.elapsed >= get.deadline {
            self.look_here(&mut get);
        }
        if let (Some(_), Some(source)) = (get.asker, get.source()) {
            let joined = join(&get.answers.values().cloned().collect::<Vec<_>>());
            if !get.has_floor(&joined) && holds(Rule::Floor) {
                return self.wait_for_floor(id, get);
            }
            match self.showable(&get, &joined) {
                Showable::Dots(dots, omitted) => {
                    self.reply_get(&mut get, &joined, (&dots, omitted), source);
                }
                // All time is over: what the disk has not brought yet comes too late.
                Showable::Load(_) if self.now.elapsed >= get.deadline => {
                    if get.asked.is_empty() {
                        let message = "this node's disk did not bring the values in time; a read \
                                       changes nothing; try again, or through another node";
                        self.fail_get(&mut get, FailureCode::Overloaded, message.to_owned());
                    }
                }
                Showable::Load(wanted) => {
                    get.loading = true;
                    self.requests.restore(id, Request::Get(get));
                    return self.load(wanted, Then::Get(id));
                }
                Showable::Refetch(member) => {
                    if !get.asked.contains(&member) && self.now.elapsed < get.deadline {
                        self.fetch_from(id, &mut get, member);
                    }
                }
                Showable::Nowhere(dot) if get.spare.is_empty() && get.asked.is_empty() => {
                    let message = format!(
                        "value {dot} is here but cannot be read from this node's disk, and no other \
                         owner that answered has it; the node's log says more"
                    );
                    self.fail_get(&mut get, FailureCode::Damaged, message);
                }
                Showable::Nowhere(_) => self.ask_another(id, &mut get),
            }
        }
        if !get.asked.is_empty() || get.asker.is_some() && !get.elsewhere.is_empty() {
            return self.requests.restore(id, Request::Get(get));
        }
        if self.may_settle(&get) {
            return self.wait_to_settle(id, get);
        }
        if get.asker.is_some() {
            let catching = match get.recovering.len() {
                0 => String::new(),
                some => format!(", and {some} that lost data and are catching up"),
            };
            let message = format!(
                "{} of {} owners answered in time{catching}; a read changes nothing; try a lower level, \
                 or again when more nodes are back",
                get.counted(),
                get.needed
            );
            self.fail_get(&mut get, FailureCode::LevelNotMet, message);
        }
        self.requests.remove(id);
        self.repair(get.token, get.key, get.answers, get.own, get.values);
    }

    /// Enough owners answered, and what they have seen does not cover the floor.
    fn wait_for_floor(&mut self, id: u64, mut get: GetRequest) {
        if get.asked.is_empty() {
            self.ask_another(id, &mut get);
        }
        if self.now.elapsed >= get.deadline {
            let message = if get.each {
                "not every owner had seen in time all that the floor covers; a read changes nothing; \
                 try again, or ask fewer owners"
            } else {
                "no owner that answered in time had seen all that the floor covers; a read changes \
                 nothing; try again, or ask more owners"
            };
            self.fail_get(&mut get, FailureCode::NotYet, message.to_owned());
            self.requests.remove(id);
            return self.repair(get.token, get.key, get.answers, get.own, get.values);
        }
        let wake = self.now.elapsed + get.patience / LOOKS_PER_PATIENCE;
        self.requests.rearm(id, wake.min(get.deadline));
        self.requests.restore(id, Request::Get(get));
    }

    /// Which of the joined values can be shown now, or what is missing first.
    fn showable(&self, get: &GetRequest, joined: &Seen<()>) -> Showable {
        let own = |dot: &Dot| get.own.value(*dot).filter(|_| !get.unreadable.contains(dot));
        let (mut room, mut shown, mut wanted) = (self.config.frame_values_max, vec![], vec![]);
        for (index, dot) in joined.dots().enumerate() {
            let size = match (get.values.get(&dot), own(&dot)) {
                (Some(value), _) => value.bytes.len() as u64,
                (None, Some(place)) => {
                    wanted.push((dot, *place));
                    u64::from(place.len)
                }
                (None, None) => {
                    let holder = get.answers.iter().find(|(member, seen)| {
                        !self.is_me(**member) && seen.dots().any(|theirs| theirs == dot)
                    });
                    return holder
                        .map_or(Showable::Nowhere(dot), |(member, _)| Showable::Refetch(*member));
                }
            };
            if size > room && index > 0 {
                wanted.retain(|(other, _)| *other != dot);
                break;
            }
            room = room.saturating_sub(size);
            shown.push(dot);
        }
        if wanted.is_empty() {
            let omitted = joined.values.len() - shown.len();
            Showable::Dots(shown, omitted)
        } else {
            Showable::Load(wanted)
        }
    }

    fn reply_get(
        &mut self,
        get: &mut GetRequest,
        joined: &Seen<()>,
        (dots, omitted): (&[Dot], usize),
        source: Source,
    ) {
        let Some(asker) = get.asker.take() else { return };
        self.pace.answered(self.now.elapsed.saturating_sub(get.began), self.sync.pulls());
        let values: Vec<(Dot, Value)> =
            dots.iter().filter_map(|dot| Some((*dot, get.values.get(dot)?.clone()))).collect();
        let context = if omitted == 0 { joined.context.clone() } else { written_with(&values) };
        let reply = GetReply {
            values: one_per_operation(values),
            omitted: u16::try_from(omitted).unwrap_or(u16::MAX),
            context: self.seal(&get.key, &context),
            answered: u8::try_from(get.counted()).unwrap_or(u8::MAX),
            needed: u8::try_from(get.needed).unwrap_or(u8::MAX),
            source,
        };
        self.reply(asker, get.token, Message::GetReply(reply));
    }

    fn fail_get(&mut self, get: &mut GetRequest, code: FailureCode, message: String) {
        if let Some(asker) = get.asker.take() {
            self.refuse(asker, get.token, code, message);
        }
    }

    pub(super) fn seal(&self, key: &Key, context: &DotSet) -> bytes::Bytes {
        let view = self.view.as_ref().expect("admitted only with a ring");
        seal_context(&view.ring.secret, key, context).into()
    }
}

/// What covers these values and what they had replaced, and nothing else: for each what its own
/// writer was told, see `Rule::PutContext`.
pub(super) fn written_with(values: &[(Dot, Value)]) -> DotSet {
    let mut context = DotSet::EMPTY;
    for (dot, value) in values {
        context.union(&value.meta.context);
        context.insert(*dot);
    }
    context
}

/// Two dots of one operation are two attempts at one write: people are shown the first.
pub(super) fn one_per_operation(mut values: Vec<(Dot, Value)>) -> Vec<(Dot, Value)> {
    let mut shown = BTreeSet::new();
    values.retain(|(_, value)| value.meta.operation == 0 || shown.insert(value.meta.operation));
    values
}

/// A delta that says again what was written, exactly as it was.
pub(super) fn as_written(dot: Dot, value: Value) -> Delta<Value> {
    let context = value.meta.context.clone();
    Delta::put(dot, value, context)
}
