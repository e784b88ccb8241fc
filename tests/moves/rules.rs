//! The rules of a row that changes. Each can be broken, and must then be caught.

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An owner that knows a newer row refuses the older one's requests.
    Fence,
    /// A pull counts only if the source had fenced when it answered.
    AfterFence,
    /// Who takes a seat pulls from enough of each set: one more than a majority leaves out.
    Enough,
    /// Of every set since the last whole row, and not of the first alone.
    EverySet,
    /// How many are enough goes by the length of each set, and not by that of the first.
    OwnLength,
    /// An owner counts, for reads and for acknowledgements, only when it has settled.
    Settled,
    /// That goes for a seat that the row gains, too.
    GainPulls,
    /// An owner that lost its disk is somebody new: its old name never answers again.
    Reborn,
    /// At `one` and `all` an owner counts only after it has pulled, too, from everybody who has left its sets.
    LevelLeft,
    /// And these owed nothing themselves to somebody who left before.
    Clean,
    /// While somebody settles, no other seat changes.
    OneSeat,
    /// A row that lost a seat is not whole before its owners hold what was held in that seat.
    Cover,
    /// A majority of them, that is, and not just one.
    CoverMajority,
    /// Who lost its seat keeps its copy until the row is whole and covers it.
    Keeps,
}

/// Every rule.
pub const RULES: [Rule; 14] = [
    Rule::Fence,
    Rule::AfterFence,
    Rule::Enough,
    Rule::EverySet,
    Rule::OwnLength,
    Rule::Settled,
    Rule::GainPulls,
    Rule::Reborn,
    Rule::LevelLeft,
    Rule::Clean,
    Rule::OneSeat,
    Rule::Cover,
    Rule::CoverMajority,
    Rule::Keeps,
];
