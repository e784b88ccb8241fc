//! Who holds what: tokens, slots, partitions, members, and the table that joins them.
//!
//! A key's [`Token`] is a fixed hash of its bucket and key. The top 14 bits are its [`Slot`], the unit of causality,
//! repair and transfer, which never splits. A *partition* is a run of slots with one *row* of owners; there are about
//! 16 per member (proportional partitions), so a cluster of any size is balanced and a change moves little. The table is
//! explicit: who owns a row is written down, not found by walking along tokens (consistent hashing
//! after Karger et al. 1997, with an explicit preference list as in Dynamo, SOSP 2007, section 6.2, strategy 3).
//!
//! Invariant: a [`Ring`] is a value, never edited in place; every slot lies in exactly one partition
//! and every row names distinct members. Not here: who decides on the next ring (`control`), and
//! who is up; that is the coordinator's guess and lives in the [`View`].

mod founding;
mod member;
pub mod planner;
pub mod preview;
pub mod steps;
mod table;
mod token;
mod view;

pub use founding::{PARTITIONS_PER_MEMBER, found};
pub use member::{ClusterId, Member, MemberNumber, NodeId};
pub use table::{Change, Epoch, Partition, Ring, RingError, Settings, enough};
pub use token::{NoSuchSlot, SLOTS, Slot, Token};
pub use view::{Liveness, Peer, View};
