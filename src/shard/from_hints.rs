//! Reads at level one when no owner can be reached: what this node keeps for them as hints.
//!
//! Invariant: the answer says that it is one node's word, and its context covers what is shown and no more.
//! Not here: reads that owners answer (`get`), and how hints are kept (`hints`).

use super::Shard;
use super::get::{one_per_operation, written_with};
use super::loads::{Then, Values};
use super::reply::Asker;
use crate::causality::{Dot, DotSet, Value};
use crate::key::Key;
use crate::ring::Token;
use crate::rules::{Rule, holds};
use crate::storage::Disk;
use crate::wire::{FailureCode, Get, GetReply, Message, Source};

/// A read at level one that is answered from hints.
#[derive(Debug)]
pub(super) struct FromHints {
    asker: Asker,
    token: Token,
    key: Key,
    context: DotSet,
}

impl<D: Disk> Shard<D> {
    /// A read at level one when no owner can be reached.
    pub(super) fn get_from_hints(&mut self, asker: Asker, get: Get) {
        let token = Token::of(&get.key);
        let hinted = self.hinted(&get.key);
        let within = self.floor_of(&get).is_ok_and(|floor| floor.is_within(&hinted.context));
        if !within && holds(Rule::Floor) {
            let message = "no owner of the key can be reached, and what this node keeps for them does \
                           not cover the floor; a read changes nothing; try again, or another node";
            return self.refuse(asker, token, FailureCode::NotYet, message);
        }
        let from_hints = FromHints { asker, token, key: get.key, context: hinted.context };
        self.metrics.gets += 1;
        self.load(hinted.values, Then::FromHints(from_hints));
    }

    pub(super) fn reply_from_hints(&mut self, read: FromHints, values: Values, whole: bool) {
        let FromHints { asker, token, key, context } = read;
        if !whole {
            let message = "a hint for the key cannot be read from this node's disk";
            return self.refuse(asker, token, FailureCode::Damaged, message);
        }
        let mut room = self.config.frame_values_max;
        let total = values.len();
        let fits = values.into_iter().enumerate().take_while(|(index, (_, value))| {
            let fits = *index == 0 || value.bytes.len() as u64 <= room;
            room = room.saturating_sub(value.bytes.len() as u64);
            fits
        });
        let values: Vec<(Dot, Value)> = fits.map(|(_, value)| value).collect();
        let omitted = total - values.len();
        let context = if omitted == 0 { context } else { written_with(&values) };
        let reply = GetReply {
            values: one_per_operation(values),
            omitted: u16::try_from(omitted).unwrap_or(u16::MAX),
            context: self.seal(&key, &context),
            answered: 0,
            needed: 1,
            source: Source::Hints,
        };
        self.reply(asker, token, Message::GetReply(reply));
    }
}
