//! The ring's list of dead actors, and the sets of dots that name a part of it by its length.
//!
//! Every life that a node ever lived would stay in every clock and token for ever. So the ring lists those
//! that are over, in order, and a [`DotSet`] says `closed = n` instead of naming the dots of the first n one
//! by one. The list only ever grows at its end: what the first n are is true for ever, in every ring that
//! lists as many.
//!
//! A set that was read from bytes knows n and not the list. Whoever takes it in *resolves* it: gives it the
//! list, once, at the edge where it comes in. Then it is a value like any other.
//!
//! Invariant: no actor is listed twice. Not here: who lists an actor, and when a copy may forget the single
//! dots of one (`shard::closing`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Actor;

/// Actors that will never write again, in the order in which the ring listed them. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Actor>", into = "Vec<Actor>")]
pub struct Dead(Option<Arc<List>>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct List {
    order: Vec<Actor>,
    /// Each with its place, by actor.
    places: Vec<(Actor, u32)>,
}

/// An actor is in the list of dead actors twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("actor {0} is listed as dead twice")]
pub struct ListedTwice(pub Actor);

/// Why a set of dots that was read from bytes cannot be used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unresolved {
    /// It speaks of more dead actors than this node has heard of.
    #[error("it speaks of {0} dead actors, and this node's ring does not list so many yet")]
    Ahead(u32),
    /// It names dots of an actor of which it covers all.
    #[error("it names dots of {0}, of which it covers all")]
    Twice(Actor),
}

/// What holds sets of dots that may have been read from bytes.
pub trait Resolve {
    /// Gives every set in it the list that its `closed` counts on. After an error it must not be used.
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved>;
}

impl<T: Resolve> Resolve for Option<T> {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        self.iter_mut().try_for_each(|one| one.resolve(dead))
    }
}

impl Dead {
    /// The list of a cluster in which nobody died.
    pub const NONE: Dead = Dead(None);

    /// The list of these actors, in this order.
    pub fn new(order: Vec<Actor>) -> Result<Self, ListedTwice> {
        if order.is_empty() {
            return Ok(Dead::NONE);
        }
        let mut places: Vec<(Actor, u32)> = order.iter().copied().zip(1..).collect();
        places.sort_unstable();
        match places.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(ListedTwice(pair[0].0)),
            None => Ok(Dead(Some(Arc::new(List { order, places })))),
        }
    }

    /// The list, longer by these.
    pub fn and(&self, more: impl IntoIterator<Item = Actor>) -> Result<Self, ListedTwice> {
        Dead::new(self.actors().iter().copied().chain(more).collect())
    }

    /// The actors, in order.
    pub fn actors(&self) -> &[Actor] {
        self.0.as_ref().map_or(&[], |list| &list.order)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.actors().len() as u32
    }

    /// Whether nobody is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// An actor's place in the list, from 1.
    pub fn place(&self, actor: Actor) -> Option<u32> {
        let list = self.0.as_ref()?;
        let at = list.places.binary_search_by_key(&actor, |(actor, _)| *actor).ok()?;
        Some(list.places[at].1)
    }

    /// Whether an actor is in the list.
    pub fn contains(&self, actor: Actor) -> bool {
        self.place(actor).is_some()
    }
}

impl TryFrom<Vec<Actor>> for Dead {
    type Error = ListedTwice;

    fn try_from(order: Vec<Actor>) -> Result<Self, ListedTwice> {
        Dead::new(order)
    }
}

impl From<Dead> for Vec<Actor> {
    fn from(dead: Dead) -> Self {
        dead.actors().to_vec()
    }
}
