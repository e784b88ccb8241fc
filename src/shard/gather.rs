//! Questions that take all members: who was asked, what they said, and the answer.
//!
//! Invariant: an answer says who is missing in it. It comes when all members that are up have
//! answered or are lost, or when time is over.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use super::event::{Effect, Gathered, Origin};
use super::inspect::explain;
use super::reply::{Asker, Head};
use super::requests::Request;
use super::sync::{classes, leading_slot};
use crate::key::Key;
use crate::ring::{MemberNumber, Token, View};
use crate::storage::Disk;
use crate::wire::{
    Answer, Count, Counted, FailureCode, Inspect, Inspected, Message, Question, SiblingLine,
    SiblingList,
};

/// A question under way.
#[derive(Debug)]
pub(super) struct Gather {
    origin: Origin,
    asked: Asked,
    /// Members whose answer may still come, with the class of slots that it is about.
    waiting: BTreeSet<(MemberNumber, u16)>,
    missing: BTreeSet<MemberNumber>,
}

/// What is asked, and what was said so far.
#[derive(Debug)]
enum Asked {
    Explain(Key, BTreeMap<MemberNumber, Inspected>),
    Siblings { limit: usize, keys: BTreeMap<Key, u16>, more: bool },
    Status(Gathered),
}

impl<D: Disk> Shard<D> {
    /// A client asks something that takes all members.
    pub(super) fn on_question(&mut self, origin: Origin, head: Head, question: Question) {
        let asker = Asker::Client(origin);
        if let Err(failure) = self.admit_work(0) {
            return self.refuse(asker, head.token, failure.code, failure.message);
        }
        let limit_max = self.config.list_max;
        match question {
            Question::Explain { bucket, key } => match Key::new(&bucket, &key) {
                Ok(key) if self.mine(Token::of(&key).slot()) => self.gather_explain(origin, key),
                Ok(_) => self.refuse(asker, head.token, FailureCode::Refused, super::WRONG_SHARD),
                Err(error) => {
                    self.refuse(asker, head.token, FailureCode::Refused, error.to_string());
                }
            },
            Question::Siblings { bucket, limit } => {
                let limit = limit.clamp(1, limit_max);
                let (keys, more) = (BTreeMap::new(), false);
                let asked = Asked::Siblings { limit: limit as usize, keys, more };
                self.gather_counts(origin, asked, bucket, limit);
            }
            Question::Status => {
                self.gather_counts(origin, Asked::Status(Gathered::default()), None, 0);
            }
            Question::Members
            | Question::Ring
            | Question::Plan { .. }
            | Question::Change { .. }
            | Question::Force { .. }
            | Question::Doctor => {
                let message = "members and ring are not a shard's business";
                self.refuse(asker, head.token, FailureCode::Refused, message);
            }
        }
    }

    fn gather_explain(&mut self, origin: Origin, key: Key) {
        let token = Token::of(&key);
        let asked = Asked::Explain(key.clone(), BTreeMap::new());
        let id = self.requests.draw();
        let mut gather = self.new_gather(origin, asked);
        for member in self.others() {
            if self.is_up(member) {
                let inspect = Message::Inspect(Inspect { key: key.clone() });
                self.send(member, Head::key(token, id), inspect);
                gather.waiting.insert((member, 0));
            } else {
                gather.missing.insert(member);
            }
        }
        gather.waiting.insert((self.me(), 0));
        self.insert_gather(id, gather);
        self.look_for(id, key);
    }

    fn gather_counts(&mut self, origin: Origin, asked: Asked, bucket: Option<String>, limit: u32) {
        let Some(view) = self.view.clone() else { return };
        let id = self.requests.draw();
        let mut gather = self.new_gather(origin, asked);
        for member in self.others() {
            if !view.is_up(member) {
                gather.missing.insert(member);
                continue;
            }
            let classes = classes(self.config.shards, &view, member);
            for class in self.own_classes(classes) {
                let count = Count { class, classes, bucket: bucket.clone(), limit };
                self.send(member, Head::slot(leading_slot(class), id), Message::Count(count));
                gather.waiting.insert((member, class));
            }
        }
        let (class, classes) = (self.config.shard, self.config.shards);
        let own = self.count(&view, &Count { class, classes, bucket, limit });
        gather.waiting.insert((view.me, class));
        self.insert_gather(id, gather);
        self.gather_counted(id, view.me, class, own);
    }

    fn new_gather(&self, origin: Origin, asked: Asked) -> Gather {
        Gather { origin, asked, waiting: BTreeSet::new(), missing: BTreeSet::new() }
    }

    fn insert_gather(&mut self, id: u64, gather: Gather) {
        let wake = self.now.elapsed + self.config.question_timeout;
        self.requests.insert(id, wake, 0, Request::Gather(gather));
    }

    fn others(&self) -> Vec<MemberNumber> {
        let view = self.view.as_ref().expect("admitted only with a ring");
        let members = view.ring.members.iter().map(|member| member.number);
        members.filter(|member| *member != view.me).collect()
    }

    fn take_gather(&mut self, id: u64) -> Option<Gather> {
        match self.requests.take(id) {
            Some(Request::Gather(gather)) => Some(gather),
            Some(other) => {
                self.requests.restore(id, other);
                None
            }
            None => None,
        }
    }

    /// A member, or this node itself, says what it has of a key.
    pub(super) fn gather_inspected(&mut self, id: u64, from: MemberNumber, inspected: Inspected) {
        let Some(mut gather) = self.take_gather(id) else { return };
        if let Asked::Explain(_, replicas) = &mut gather.asked
            && gather.waiting.remove(&(from, 0))
        {
            replicas.insert(from, inspected);
        }
        self.settle_gather(id, gather);
    }

    /// A member, or this node itself, says what it counted in a class of slots.
    pub(super) fn gather_counted(
        &mut self,
        id: u64,
        from: MemberNumber,
        class: u16,
        counted: Counted,
    ) {
        let Some(mut gather) = self.take_gather(id) else { return };
        if gather.waiting.remove(&(from, class)) {
            match &mut gather.asked {
                Asked::Explain(..) => {}
                Asked::Siblings { keys, more, .. } => {
                    *more |= counted.more;
                    for (key, count) in counted.siblings {
                        let most = keys.entry(key).or_default();
                        *most = count.max(*most);
                    }
                }
                Asked::Status(gathered) => {
                    gathered.keys += counted.keys;
                    gathered.conflicts += counted.conflicts;
                    gathered.hints += counted.hints;
                    if counted.recovering > 0 {
                        *gathered.recovering.entry(from).or_default() += counted.recovering;
                    }
                }
            }
        }
        self.settle_gather(id, gather);
    }

    /// The lane to a member broke.
    pub(super) fn gather_lost(&mut self, id: u64, mut gather: Gather, from: MemberNumber) {
        let before = gather.waiting.len();
        gather.waiting.retain(|(member, _)| *member != from);
        if gather.waiting.len() < before {
            gather.missing.insert(from);
        }
        self.settle_gather(id, gather);
    }

    /// Time is over.
    pub(super) fn gather_woke(&mut self, id: u64, mut gather: Gather) {
        let late: BTreeSet<MemberNumber> = gather.waiting.iter().map(|(from, _)| *from).collect();
        gather.missing.extend(late);
        gather.waiting.clear();
        self.settle_gather(id, gather);
    }

    fn settle_gather(&mut self, id: u64, gather: Gather) {
        if !gather.waiting.is_empty() {
            return self.requests.restore(id, Request::Gather(gather));
        }
        self.requests.remove(id);
        let view = self.view.clone().expect("admitted only with a ring");
        let Gather { origin, asked, missing, .. } = gather;
        let asker = Asker::Client(origin);
        match asked {
            Asked::Explain(key, replicas) => {
                let token = Token::of(&key);
                let explanation = explain(&view, &key, &replicas, names(&view, &missing));
                self.reply(asker, token, Message::Answer(Answer::Explain(explanation)));
            }
            Asked::Siblings { limit, keys, more } => {
                let more = more || keys.len() > limit;
                let line = |(key, siblings): (Key, u16)| SiblingLine {
                    bucket: key.bucket().to_owned(),
                    key: key.key().to_vec(),
                    siblings,
                };
                let keys = keys.into_iter().take(limit).map(line).collect();
                let list = SiblingList { keys, more, missing: names(&view, &missing) };
                self.reply(asker, Token(0), Message::Answer(Answer::Siblings(list)));
            }
            Asked::Status(gathered) => {
                let gathered = Gathered { missing: missing.into_iter().collect(), ..gathered };
                self.effects.push(Effect::Gathered(origin, gathered));
            }
        }
    }
}

/// What people call these members.
fn names(view: &View, members: &BTreeSet<MemberNumber>) -> Vec<String> {
    members.iter().map(|number| name(view, *number)).collect()
}

/// What people call a member, or its number when the ring does not know it.
pub(super) fn name(view: &View, number: MemberNumber) -> String {
    view.ring.member(number).map_or_else(|| number.to_string(), |member| member.name.clone())
}
