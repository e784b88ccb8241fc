//! Follows every step of every shard with the reference, and tells where they part.
//!
//! What a shard hears is told to the reference too. What it does then must be what the reference
//! does: the same dots live under every key, the same residual contexts, clock, delete log, mark and
//! hints; the same answers, with the same values, contexts and counts; nothing acknowledged that is not
//! durable; the same repairs, pages and deltas sent. Timing is the shard's own, so what
//! only *may* be done at a tick (stripping, trimming) is taken over when it was done right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::reference::{Dot, Dots, Slot};
use super::seat::{Asker, Hint, Owed, Repairs, Seat, dot, dots};
use crate::key::Key;
use crate::ring::{Ring, Token};
use crate::shard::{Effect, Event, Shard, ShardConfig};
use crate::storage::{Batch, MemoryDisk};
use crate::wire::{self, FailureCode, Frame, Message};

/// What a shard heard.
#[derive(Debug, Clone)]
pub(in crate::shard) enum Heard {
    /// A client's request.
    Client(u64, Frame),
    /// A member's frame.
    Peer(u16, Frame),
    /// Who is up.
    View(BTreeSet<u16>),
    /// A lane broke.
    LaneLost(u16),
    /// Batches up to this one are durable.
    Synced(Batch),
    /// Time passed.
    Tick,
    /// Nothing that the reference knows of.
    Other,
}

impl Heard {
    pub(in crate::shard) fn of(event: &Event) -> Self {
        match event {
            Event::Client(origin, frame) => Heard::Client(origin.request, frame.clone()),
            Event::Peer(from, frame) => Heard::Peer(from.0, frame.clone()),
            Event::View(view) => {
                let up = view.ring.members.iter().map(|member| member.number);
                Heard::View(up.filter(|member| view.is_up(*member)).map(|up| up.0).collect())
            }
            Event::LaneLost(member) => Heard::LaneLost(member.0),
            Event::Synced(upto) => Heard::Synced(*upto),
            Event::Tick => Heard::Tick,
            Event::SyncFailed(_) | Event::Read(..) | Event::Refuse(_) | Event::Retire(..) => {
                Heard::Other
            }
        }
    }
}

/// How a node's process ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) enum Fell {
    /// It was killed: what was written stays.
    Stopped,
    /// The power failed: what was not synced is gone.
    Crashed,
    /// An old copy took the place of its disks.
    Restored,
}

/// Declares the counts, all of which must be above zero in the end.
macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        /// How often each thing happened that a history is to meet.
        #[derive(Debug, Clone, Copy, Default)]
        pub(super) struct Counts { $(pub(super) $name: u64),* }

        impl Counts {
            pub(super) fn add(&mut self, other: &Counts) { $(self.$name += other.$name;)* }

            pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counts!(
    steps,
    puts,
    deletes,
    blind,
    overwrites,
    with_context,
    refused,
    full,
    told_ok,
    told_unknown,
    by_fallback,
    forwarded,
    reads,
    siblings_read,
    omitted,
    from_hints,
    failed_reads,
    repairs,
    own_repairs,
    hints,
    superseded,
    delivered,
    pages,
    paged,
    full_lists,
    pushes,
    stale_pages,
    log_lines,
    attempts,
    sought,
    twins,
    trims,
    marks,
    strips,
    residues,
    crashes,
    stops,
    restores,
);

/// The reference of a whole cluster.
pub(in crate::shard) struct Watch {
    pub(in crate::shard) difference: Option<String>,
    pub(super) counts: Counts,
    pub(super) ring: Arc<Ring>,
    pub(super) config: ShardConfig,
    pub(super) row: Vec<u16>,
    pub(super) shards: BTreeMap<u16, u16>,
    pub(super) seats: BTreeMap<(u16, u16), Seat>,
    pub(super) keys: BTreeSet<u16>,
    /// Clocks by their fingerprints, as they were when they were told.
    pub(super) clocks: BTreeMap<u64, Dots>,
    /// Clocks of a class of slots, by the fingerprint of all of them.
    pub(super) summaries: BTreeMap<(u16, u16, u64), BTreeMap<u16, Dots>>,
}

/// Why the shard and the reference are not of one mind.
pub(super) type Checked = Result<(), String>;

pub(super) fn check(so: bool, what: impl FnOnce() -> String) -> Checked {
    if so { Ok(()) } else { Err(what()) }
}

/// What one step is about.
pub(super) struct Turn<'a> {
    pub(super) seat: Seat,
    pub(super) at: (u16, u16),
    pub(super) now: Duration,
    pub(super) effects: &'a [Effect],
    /// The clocks before the step, of asks that were sent in the middle of it.
    pub(super) clocks: BTreeMap<u16, Dots>,
    /// Requests that have to be refused, and how.
    pub(super) refusals: Vec<(Asker, FailureCode)>,
    /// The slot that is asked for, with the asker's clock.
    pub(super) ask: Option<(u16, wire::Ask)>,
    pub(super) fetch: Option<wire::Fetch>,
    pub(super) stored: Option<Owed>,
    /// What owners had less of in reads that are over.
    pub(super) repairs: Repairs,
    /// The answer to a request sent on that came in.
    pub(super) answer: Option<(u64, Message)>,
    pub(super) batch: Batch,
}

impl Watch {
    pub(in crate::shard) fn new(
        ring: Arc<Ring>,
        config: ShardConfig,
        row: Vec<u16>,
        shards: BTreeMap<u16, u16>,
        keys: &[Key],
    ) -> Self {
        let seats = shards.iter().flat_map(|(node, count)| (0..*count).map(|index| (*node, index)));
        let seats = seats.map(|at| (at, Seat { member: at.0, ..Seat::default() })).collect();
        Watch {
            difference: None,
            counts: Counts::default(),
            ring,
            config,
            row,
            shards,
            seats,
            keys: keys.iter().map(|key| Token::of(key).slot().number()).collect(),
            clocks: BTreeMap::new(),
            summaries: BTreeMap::new(),
        }
    }

    /// A node's process ended; it will start again.
    pub(in crate::shard) fn fell(&mut self, node: u16, how: Fell) {
        for (_, seat) in self.seats.iter_mut().filter(|((at, _), _)| *at == node) {
            match how {
                Fell::Stopped => {}
                Fell::Crashed => seat.now = seat.durable.clone(),
                Fell::Restored => {
                    seat.durable = seat.saved.clone().expect("a copy was put aside");
                    seat.now = seat.durable.clone();
                }
            }
        }
        match how {
            Fell::Stopped => self.counts.stops += 1,
            Fell::Crashed => self.counts.crashes += 1,
            Fell::Restored => self.counts.restores += 1,
        }
    }

    /// A copy of a node's synced disks was put aside.
    pub(in crate::shard) fn saved(&mut self, node: u16) {
        for (_, seat) in self.seats.iter_mut().filter(|((at, _), _)| *at == node) {
            seat.saved = Some(seat.durable.clone());
        }
    }

    /// A shard began a new life.
    pub(in crate::shard) fn started(
        &mut self,
        at: (u16, u16),
        life: u64,
        shard: &Shard<MemoryDisk>,
    ) {
        let mut seat = self.seats.remove(&at).expect("one of the cluster's");
        seat.start(life);
        if let (Err(why), None) = (self.compare(&mut seat, at, shard, false), &self.difference) {
            self.difference = Some(format!("n{} as it starts: {why}", at.0));
        }
        self.seats.insert(at, seat);
    }

    /// A shard took a step.
    pub(in crate::shard) fn stepped(
        &mut self,
        at: (u16, u16),
        now: Duration,
        heard: Heard,
        effects: &[Effect],
        flushed: Option<Batch>,
        shard: &Shard<MemoryDisk>,
    ) {
        if self.difference.is_some() {
            return;
        }
        self.counts.steps += 1;
        let seat = self.seats.remove(&at).expect("one of the cluster's");
        let batch = flushed.unwrap_or(seat.appended);
        let clocks =
            seat.now.slots.iter().map(|(slot, copy)| (*slot, copy.clock.clone())).collect();
        let mut turn = Turn {
            seat,
            at,
            now,
            effects,
            clocks,
            refusals: Vec::new(),
            ask: None,
            fetch: None,
            stored: None,
            repairs: Repairs::new(),
            answer: None,
            batch,
        };
        let ticks = matches!(heard, Heard::Tick);
        let followed = self.follow(&mut turn, &heard).and_then(|()| {
            turn.seat.appended = batch;
            self.compare(&mut turn.seat, at, shard, ticks)
        });
        if let Err(why) = followed {
            let words: String = format!("{heard:?}").chars().take(600).collect();
            self.difference =
                Some(format!("step {}, n{}: {why}\nheard: {words}", self.counts.steps, at.0));
        }
        let mut seat = turn.seat;
        if let Some(batch) = flushed {
            seat.images.insert(batch, seat.now.clone());
        }
        self.seats.insert(at, seat);
    }

    fn follow(&mut self, turn: &mut Turn<'_>, heard: &Heard) -> Checked {
        match heard {
            Heard::View(up) => {
                let before = std::mem::replace(&mut turn.seat.up, up.clone());
                let down: Vec<u16> = before.difference(&turn.seat.up).copied().collect();
                down.into_iter().for_each(|member| turn.seat.lost(member));
            }
            Heard::LaneLost(member) => turn.seat.lost(*member),
            Heard::Synced(upto) => turn.seat.on_synced(*upto, &self.row),
            Heard::Tick => turn.seat.tick(turn.now),
            Heard::Client(request, frame) => {
                self.request(turn, Asker::Client(*request), frame.clone())?;
            }
            Heard::Peer(from, frame) => self.told(turn, *from, frame.clone())?,
            Heard::Other => {}
        }
        self.finish_seeks(turn)?;
        if let Some(owed) = turn.stored.take() {
            turn.seat.owed.push(owed);
        }
        // What the shard sends is taken in first: it may have asked somebody else.
        for effect in turn.effects {
            self.bind(turn, effect);
        }
        for effect in turn.effects {
            self.said(turn, effect)?;
        }
        check(turn.refusals.is_empty(), || format!("not refused: {:?}", turn.refusals))?;
        check(turn.fetch.is_none(), || "a fetch is not answered".to_owned())?;
        self.finish_reads(turn)?;
        for put in &turn.seat.puts {
            check(!put.met(), || {
                format!("as many as asked for have {:?}, and nobody is told", put.dot)
            })?;
        }
        Ok(())
    }

    /// Whether a shard holds what the reference does. At a tick it may have stripped and trimmed.
    fn compare(
        &mut self,
        seat: &mut Seat,
        at: (u16, u16),
        shard: &Shard<MemoryDisk>,
        ticks: bool,
    ) -> Checked {
        let store = shard.store();
        let shards = self.shards[&at.0];
        let lines: usize = seat.now.slots.values().map(|slot| slot.log.len()).sum();
        let overflows = lines as u64 > self.config.delete_log_max;
        for number in self.keys.clone().into_iter().filter(|slot| slot % shards == at.1) {
            let slot = crate::ring::Slot::new(number).expect("a slot");
            let heard: Vec<Option<Dots>> = self
                .row
                .iter()
                .filter(|owner| **owner != at.0)
                .map(|owner| seat.heard.get(&(number, *owner)).cloned())
                .collect();
            let held = Slot {
                clock: dots(store.clock(slot)),
                entries: BTreeMap::new(),
                log: store.deletes(slot).map(|(at, key)| (dot(at), key)).collect(),
                mark: dots(store.mark(slot)),
            };
            let own = seat.slot(number);
            differs("clock", &held.clock, &own.clock)?;
            if ticks && held.log != own.log {
                let mut trimmed = own.clone();
                trimmed.trim(&own.low_water(heard.iter().map(Option::as_ref)));
                if overflows && trimmed.log != held.log {
                    let all = trimmed.clock.clone();
                    trimmed.trim(&all);
                }
                *own = trimmed;
                self.counts.trims += 1;
                self.counts.marks += 1;
                if own.log.is_empty() {
                    seat.heard.retain(|(slot, _), _| *slot != number);
                }
            }
            let own = seat.slot(number);
            differs("delete log", &held.log, &own.log)?;
            differs("mark", &held.mark, &own.mark)?;
            let mut places = BTreeSet::new();
            for ((token, key), entry) in store.walk(slot, None) {
                let at = (token.0, key);
                let residual = dots(entry.residual());
                if ticks && own.entry(&at).residual != residual {
                    own.strip(&at);
                    self.counts.strips += 1;
                }
                let mine = own.entry(&at);
                let live: BTreeSet<Dot> = entry.dots().map(dot).collect();
                differs(&format!("dots of {}", at.1), &live, &mine.values.into_keys().collect())?;
                differs(&format!("residual context of {}", at.1), &residual, &mine.residual)?;
                self.counts.residues += u64::from(!residual.0.is_empty());
                places.insert(at);
            }
            for missing in own.entries.keys().cloned().collect::<Vec<_>>() {
                if !places.contains(&missing) {
                    if ticks {
                        own.strip(&missing);
                    }
                    check(!own.entries.contains_key(&missing), || {
                        format!(
                            "{} is not held, and should be: {:?}",
                            missing.1,
                            own.entry(&missing)
                        )
                    })?;
                }
            }
        }
        let hints: Vec<(u16, Key, BTreeSet<Dot>, Dots)> = store
            .hints()
            .map(|(_, head)| {
                let brings = head.delta.dots().map(dot).collect();
                (head.owed_to, head.key.clone(), brings, dots(&head.delta.context))
            })
            .collect();
        let own = seat.now.hints.iter().map(|hint| {
            let Hint { owed_to, key, change } = hint;
            (*owed_to, key.clone(), change.dots(), change.context.clone())
        });
        differs("hints", &hints, &own.collect())
    }
}

pub(super) fn differs<T: PartialEq + std::fmt::Debug>(
    what: &str,
    real: &T,
    expected: &T,
) -> Checked {
    check(real == expected, || format!("the {what}: {real:?}\n  expected: {expected:?}"))
}
