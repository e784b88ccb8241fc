//! Changes of the ring as people name them; what they would come to, and what came of them.
//!
//! Invariant: as for questions, fields are added, never renamed.

use serde::{Deserialize, Serialize};

/// Something that might be changed. Members are named by their names, or by their ids as hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proposed {
    /// A node joins.
    Join {
        /// Where it would stand.
        zone: String,
        /// Its share of the data, relative to the others'.
        weight: u32,
    },
    /// A member leaves.
    Leave {
        /// Which one.
        member: String,
        /// Whether it is gone for good: what only its copies had is given up.
        #[serde(default)]
        lost: bool,
    },
    /// Another node takes the place of a member.
    Replace {
        /// Which one.
        member: String,
        /// Where a new one would stand; where the old one does when `None`.
        zone: Option<String>,
        /// The member that takes its place; in a plan, a new one when `None`.
        #[serde(default)]
        with: Option<String>,
        /// Whether it is gone for good: what only its copies had is given up.
        #[serde(default)]
        lost: bool,
    },
    /// A member gets another share.
    Weight {
        /// Which one.
        member: String,
        /// Its new share.
        weight: u32,
    },
    /// A member stands somewhere else.
    Zone {
        /// Which one.
        member: String,
        /// Where.
        zone: String,
    },
    /// Rows are planned anew.
    Rebalance,
    /// Whether rows wait for an operator when a node joins (`true`), or are planned anew at once.
    Manual(bool),
    /// Rows take no step that can wait.
    Pause,
    /// They go on.
    Resume,
    /// What has not happened yet is given up.
    Abort,
}

/// What came of a change that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The epoch that has it.
    pub epoch: u32,
    /// Whether anything is different: `false` when it was so already.
    pub changed: bool,
    /// How many partitions are to change owners on account of this and of what was decided before.
    pub partitions: u32,
}

/// What a change would come to. Shares are counted in slots, of which there are 16,384.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanShown {
    /// The epoch of the ring that would be changed.
    pub epoch: u32,
    /// How many copies are wanted.
    pub copies: u8,
    /// Every member, and who would join.
    pub members: Vec<PlannedMember>,
    /// Who would copy how much from whom.
    pub links: Vec<PlannedLink>,
    /// How many partitions there are.
    pub partitions: u32,
    /// How many there would be: cuts move nothing.
    pub partitions_after: u32,
    /// How many partitions would change owners.
    pub rows: u32,
    /// Of these, how many could not lose one more owner while they change and still answer quorums.
    pub rows_at_risk: u32,
    /// In how many rows two owners would share a zone.
    pub zones_shared: u32,
    /// How many partitions are changing owners now.
    pub under_way: u32,
    /// What the plan was made from: members with their shares, and where rows are heading. As hex. While it stays the
    /// same, the same change comes to the same.
    #[serde(default)]
    pub basis: String,
}

/// One member in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMember {
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub zone: String,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
    /// `stays`, `joins` or `leaves`.
    pub fate: String,
    /// The slots it holds.
    pub slots: u32,
    /// The slots it would hold.
    pub slots_after: u32,
    /// The slots it would copy from others.
    pub copies: u32,
    /// The slots it would send to others.
    pub sends: u32,
}

/// What one member would copy from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedLink {
    /// The name of who sends.
    pub from: String,
    /// The name of who copies.
    pub to: String,
    /// How many slots.
    pub slots: u32,
}
