//! Questions that take more than one shard to answer: the parts are gathered where they were asked.
//!
//! Invariant: a question is answered exactly once, at the latest when its time is over. Not here:
//! how a shard asks the other members for its part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::clients::frame_of;
use super::driver::Driver;
use super::inbox::Completion;
use crate::ring::MemberNumber;
use crate::shard::event::{Event, Gathered, Origin};
use crate::storage::Disk;
use crate::wire::{Answer, Failure, FailureCode, Frame, Message, SiblingLine, SiblingList, Status};

/// The connection that parts of an answer are for: none at all.
pub(super) const GATHER: u64 = u64::MAX;
/// Shards answer earlier than this, also when members do not: only a stuck node lets it pass.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is being gathered at one driver. Bounded by the requests that clients have under way.
#[derive(Debug, Default)]
pub(super) struct Gathers {
    last: u64,
    open: BTreeMap<u64, Gather>,
}

#[derive(Debug)]
struct Gather {
    asker: Origin,
    due: Duration,
    /// Parts not here yet.
    missing: usize,
    parts: Parts,
}

/// What is known so far of an answer.
#[derive(Debug)]
pub(super) enum Parts {
    /// Keys with siblings.
    Siblings { limit: u32, list: SiblingList, lines: BTreeSet<SiblingLine> },
    /// What the control machine says, and what the shards count.
    Status { status: Option<Box<Status>>, sum: Gathered },
}

impl Parts {
    /// Nothing yet of a list of keys with siblings.
    pub(super) fn siblings(limit: u32) -> Self {
        Parts::Siblings { limit, list: SiblingList::default(), lines: BTreeSet::new() }
    }

    /// Nothing yet of a status.
    pub(super) fn status() -> Self {
        Parts::Status { status: None, sum: Gathered::default() }
    }
}

impl Gathers {
    /// When the oldest question's time is over. Questions end in the order in which they came.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.open.first_key_value().map(|(_, gather)| gather.due)
    }
}

impl<D: Disk> Driver<D> {
    /// Asks all shards of this node, and for a status the control machine, too.
    pub(super) fn gather(&mut self, asker: Origin, frame: Frame, parts: Parts) {
        self.gathers.last += 1;
        let id = self.gathers.last;
        let asks_control = matches!(parts, Parts::Status { .. });
        let missing = usize::from(self.shards) + usize::from(asks_control);
        let due = self.now.elapsed + PATIENCE;
        self.gathers.open.insert(id, Gather { asker, due, missing, parts });

        let origin = Origin { driver: self.around.number, connection: GATHER, request: id };
        let part = |message| Frame { message, ..frame_of(id, Message::Stored) };
        let mut refused =
            asks_control && !self.around.control.ask(origin, part(frame.message.clone()));
        for (number, driver) in self.around.drivers.iter().enumerate() {
            if number != usize::from(self.around.number) {
                refused |= !driver.request(origin, part(frame.message.clone()));
            }
        }
        if refused {
            let words = "too much waits in this node; nothing was done; try later";
            return self.close_gather(id, Some(Failure::new(FailureCode::Overloaded, words)));
        }
        self.step(Event::Client(origin, part(frame.message)));
    }

    /// A shard's, or the control machine's, part of an answer.
    pub(super) fn gather_reply(&mut self, origin: Origin, message: Message) {
        let Some(gather) = self.gathers.open.get_mut(&origin.request) else { return };
        gather.missing -= 1;
        let failure = match (message, &mut gather.parts) {
            (Message::Answer(Answer::Siblings(part)), Parts::Siblings { list, lines, .. }) => {
                lines.extend(part.keys);
                list.more |= part.more;
                list.missing.extend(part.missing);
                None
            }
            (Message::Answer(Answer::Status(part)), Parts::Status { status, .. }) => {
                *status = Some(Box::new(part));
                None
            }
            // Before there is a ring shards count nothing; what the node waits for is a status, too.
            (Message::Failure(_), Parts::Status { .. }) => None,
            (Message::Failure(failure), Parts::Siblings { .. }) => Some(failure),
            (other, _) => {
                log::error!("a {} is no part of an answer", other.kind());
                None
            }
        };
        let done = gather.missing == 0 || failure.is_some();
        if done {
            self.close_gather(origin.request, failure);
        }
    }

    /// A shard's part of a status.
    pub(super) fn gathered(&mut self, origin: Origin, part: Gathered) {
        if origin.driver != self.around.number {
            let other = &self.around.drivers[usize::from(origin.driver)];
            return other.complete(Completion::Gathered(origin, part));
        }
        let Some(gather) = self.gathers.open.get_mut(&origin.request) else { return };
        gather.missing -= 1;
        if let Parts::Status { sum, .. } = &mut gather.parts {
            sum.keys += part.keys;
            sum.conflicts += part.conflicts;
            sum.hints += part.hints;
            sum.missing.extend(part.missing);
            for (member, slots) in part.recovering {
                *sum.recovering.entry(member).or_default() += slots;
            }
        }
        if gather.missing == 0 {
            self.close_gather(origin.request, None);
        }
    }

    /// Gives up on questions whose time is over.
    pub(super) fn close_overdue_gathers(&mut self) {
        while self.gathers.next_deadline().is_some_and(|due| due <= self.now.elapsed) {
            let Some((id, _)) = self.gathers.open.first_key_value() else { return };
            let words = "parts of this node did not answer in time; try again, or look at its log";
            self.close_gather(*id, Some(Failure::new(FailureCode::NotReady, words)));
        }
    }

    fn close_gather(&mut self, id: u64, failure: Option<Failure>) {
        let Some(gather) = self.gathers.open.remove(&id) else { return };
        let answered = match failure {
            Some(failure) => Err(failure),
            None => self.finish(gather.parts),
        };
        match answered {
            Ok(answer) => {
                self.reply(gather.asker, frame_of(gather.asker.request, Message::Answer(answer)));
            }
            Err(failure) => self.fail(gather.asker, failure),
        }
    }

    fn finish(&self, parts: Parts) -> Result<Answer, Failure> {
        match parts {
            Parts::Siblings { limit, mut list, lines } => {
                list.more |= lines.len() > limit as usize;
                list.keys = lines.into_iter().take(limit as usize).collect();
                list.missing.sort();
                list.missing.dedup();
                Ok(Answer::Siblings(list))
            }
            Parts::Status { status: Some(mut status), sum } => {
                self.count_in(&mut status, sum);
                Ok(Answer::Status(*status))
            }
            Parts::Status { status: None, .. } => {
                let words = "the control machine did not say how the cluster is";
                Err(Failure::new(FailureCode::NotReady, words))
            }
        }
    }

    fn count_in(&self, status: &mut Status, sum: Gathered) {
        status.keys = sum.keys;
        status.conflicts = sum.conflicts;
        status.hints_pending = sum.hints;
        status.missing.extend(sum.missing.into_iter().map(|member| self.name_of(member)));
        status.missing.sort();
        status.missing.dedup();
        for (member, slots) in sum.recovering {
            let slots = counted(slots, "slot", "slots");
            status.sentences.push(format!(
                "{} lost synced data and catches up: in {slots} it counts for no read at quorum before it \
                 has heard the other owners.",
                self.name_of(member)
            ));
        }
        if sum.conflicts > 0 {
            let keys = counted(sum.conflicts, "key has", "keys have");
            status
                .sentences
                .push(format!("{keys} conflicting values: `ringdove siblings list` shows them."));
        }
        if sum.hints > 0 {
            let hints = counted(sum.hints, "hint waits", "hints wait");
            status
                .sentences
                .push(format!("{hints} for absent owners, to be delivered when they are back."));
        }
    }

    fn name_of(&self, member: MemberNumber) -> String {
        let ring = self.lanes.view().map(|view| &view.ring);
        let member_known = ring.and_then(|ring| ring.member(member));
        member_known.map_or_else(|| format!("member {member}"), |known| known.name.clone())
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
