//! What happened before what: dots, clocks, contexts, entries and how they join.
//!
//! Every write is an *event* with a name of its own, its [`Dot`]. A replica's [`DotSet`] of one slot,
//! its *clock*, says which events it has applied; a client's says what it had *seen*. A write replaces exactly the values
//! whose dots its context covers. Whatever it does not cover is concurrent with it and stays beside
//! it, as a sibling. No clock on any wall takes part.
//!
//! A worked example, one key, replicas A and B cut from each other:
//!
//! ```text
//! put "tea"   at A, context {}        A: tea·a1            clock {a1}
//! put "milk"  at B, context {}        B: milk·b1           clock {b1}
//! they meet                           both: tea·a1 milk·b1 clock {a1,b1}   siblings
//! get                                 shows both, context {a1,b1}
//! put "chai"  at A, context {a1,b1}   A: chai·a2           clock {a1..a2,b1}
//! B hears of a2                       B: chai·a2           the context covers a1 and b1
//! ```
//!
//! The scheme is that of dotted version vectors with a clock per node and range (Preguiça, Baquero
//! et al., *Dotted Version Vectors*, 2010; Gonçalves, Almeida, Baquero, Fonte, *DottedDB*, SRDS
//! 2017): the clock is shared by all keys of a slot, so a deleted key needs no tombstone.
//!
//! Invariant: joins are commutative, associative, idempotent and monotone; a value leaves an entry
//! only when something that had seen it is applied. Not here: bytes on disk or wire, slots, time.

mod context;
mod dead;
mod dot;
mod dotset;
mod entry;
mod join;
mod runs;
mod value;

#[cfg(test)]
mod tests;

pub use context::{ContextError, Secret, open_context, seal_context};
pub use dead::{Dead, ListedTwice, Resolve, Unresolved};
pub use dot::{Actor, Dot};
pub use dotset::DotSet;
pub use entry::{Applied, Delta, Entry};
pub use join::{Seen, join};
pub use runs::Runs;
pub use value::{Meta, Value};
