//! The rules that keep causality true, one line each, and the switch that breaks one on purpose.
//!
//! Invariant: in an ordinary build every rule holds and `holds` is the constant `true`. In tests
//! and in the simulator's canary build one rule may be switched off for the current thread; every
//! one of them must then be caught, which is how the checkers are checked.
//! Not here: the rules themselves. Each stands where it is kept, as `if holds(Rule::…)`.

/// What must hold. Switching one off must lose, revive or diverge something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(any(test, feature = "canaries"), derive(PartialOrd, Ord))]
pub enum Rule {
    /// A node that may have lost its unsynced tail draws a new actor before it mints again.
    NewActor,
    /// A new actor is drawn at random, never counted up from what the disk says.
    FreshActor,
    /// A residual context is stripped only below the clock's contiguous base.
    Contiguous,
    /// A client's context is closed: contiguous base, residual context, dots shown.
    ClosedContext,
    /// The context that a put returns covers its own dot and what it was sent, nothing more.
    PutContext,
    /// A delta's context stays in the entry until the clock covers it.
    KeepResidual,
    /// A value whose dot is covered already is not added again.
    CoveredStaysGone,
    /// Two dots of one operation are two writes: replicas keep both.
    Attempts,
    /// A peer's clock is adopted only after all its entries are applied.
    AdoptLast,
    /// An answer counts only for the copy, in the life, that asked.
    AnswerNonce,
    /// A write is acknowledged only when it is synced.
    AckAfterSync,
    /// A hint is removed only after the member that it is owed to has synced it.
    HintAfterAck,
    /// A fallback applies nothing to its own copy: it keeps a hint.
    HintIsNoCopy,
    /// A strict quorum counts owners only.
    StrictOwners,
    /// One node counts once, whatever it resends.
    CountOnce,
    /// Repair is never refused on account of the sibling limit.
    RepairPasses,
    /// A delete leaves its dot and key in the log until the mark passes it.
    DeleteLog,
    /// Who lacks a dot below the mark is sent the full list, for its delete may not be told.
    Mark,
    /// Who was sent a full list takes over the sender's mark.
    InheritMark,
    /// What a full list does not name is gone.
    NotListedIsGone,
    /// After the last page the clock is adopted that the peer had when the exchange began, not its last.
    AdoptBegan,
    /// A value survives a join unless another answer covers its dot without holding it.
    JoinCovers,
    /// A write that may have happened is told as unknown, never as failed.
    UnknownIsSaid,
    /// A hint is dropped for a newer one only when the newer one's writer had seen it.
    SupersedeSeen,
    /// A repair that leaves out what its receiver had is used only by a copy that still has it.
    KeptIsHere,
    /// A copy that lost synced data counts for no read before it has caught up with other owners.
    RecoverFirst,
    /// A slot with unreadable records must not keep its clock: it would claim what it lost.
    DamagedClock,
    /// Nor may it just forget the clock: what each key had seen joins its residual context.
    SalvageSeen,
    /// What only a damaged log could tell that keys had seen is told once more, under a new dot.
    TellAgain,
    /// An actor that is in use says so when it is to be refused, and goes on.
    OwnLifeSpared,
    /// A delta with a dot of an actor that is about to be listed as dead, or is, is not taken in.
    LifeFence,
    /// An actor is listed as dead only when no member holds a hint with a dot of it.
    NoHintsListed,
    /// A copy folds a dead actor only when it durably has all that every owner reported of it.
    CloseCovered,
    /// A copy that holds dots of a listed actor which it never refused is an old one, and starts over, empty.
    StartOver,
    /// An own actor with a gap in the own clock is given up.
    Retire,
    /// The other shards of the node give it up, too: as long as it is in use it cannot be listed.
    RetireTogether,
    /// What a copy says whose ring went back is not used before it has the newer one.
    RingWentBack,
    /// Who has been given a seat counts, for writes and for reads, only when it has settled.
    SettledCounts,
    /// Who is to have a seat counts for nothing before it has it.
    SeatFirst,
    /// An owner refuses writes and reads by an older row than it knows.
    Fence,
    /// What was pulled from an owner that did not know of the step yet does not count.
    AfterFence,
    /// Who comes into a seat pulls from enough owners of a set: one more than a majority leaves out.
    Enough,
    /// It does so of every set since the last row that was settled, not only of the first.
    EverySet,
    /// An old copy is dropped only when all owners have durably what is in it.
    DropCovered,
    /// A read with a floor is answered only by who has seen all that the floor covers.
    Floor,
    /// Where fingerprints are equal nothing more is said.
    EqualIsQuiet,
    /// A residual context goes once the clock has come to cover it.
    StripResidual,
    /// A delete leaves the log once all owners have it.
    TrimDeletes,
    /// A promise or an acceptance of the ring's register is synced before it is told.
    SyncVotes,
    /// A proposer takes over the value of the highest ballot among the promises that it counts.
    Adopt,
    /// Ring e+1 is decided by a quorum of ring e, whatever ring e+1 says.
    OldRing,
    /// Half of an even ring decides only with the oldest member among it.
    OldestHalf,
    /// A ballot holds a random number of its process: no life repeats another one's.
    BallotNonce,
    /// A directory that lost synced data is not the member that it was: it takes a new id.
    CopyIsNew,
    /// A cluster is founded by the votes of all whom the seed list names.
    Unanimous,
    /// A node id votes for one founding, ever.
    VoteOnce,
    /// Whoever knows ring e+1 votes for it no more, for the votes are gone, but answers with it.
    Closed,
    /// Who was left out of the ring may go only when a quorum of the new ring has it on disk.
    LastOut,
    /// A ring names a new member only after that one answered under that id, and only if its quorum answers.
    Ready,
}

impl Rule {
    /// Every rule, in the order of the list above.
    pub const ALL: [Rule; 59] = [
        Rule::NewActor,
        Rule::FreshActor,
        Rule::Contiguous,
        Rule::ClosedContext,
        Rule::PutContext,
        Rule::KeepResidual,
        Rule::CoveredStaysGone,
        Rule::Attempts,
        Rule::AdoptLast,
        Rule::AnswerNonce,
        Rule::AckAfterSync,
        Rule::HintAfterAck,
        Rule::HintIsNoCopy,
        Rule::StrictOwners,
        Rule::CountOnce,
        Rule::RepairPasses,
        Rule::DeleteLog,
        Rule::Mark,
        Rule::InheritMark,
        Rule::NotListedIsGone,
        Rule::AdoptBegan,
        Rule::JoinCovers,
        Rule::UnknownIsSaid,
        Rule::SupersedeSeen,
        Rule::KeptIsHere,
        Rule::RecoverFirst,
        Rule::DamagedClock,
        Rule::SalvageSeen,
        Rule::TellAgain,
        Rule::OwnLifeSpared,
        Rule::LifeFence,
        Rule::NoHintsListed,
        Rule::CloseCovered,
        Rule::StartOver,
        Rule::Retire,
        Rule::RetireTogether,
        Rule::RingWentBack,
        Rule::SettledCounts,
        Rule::SeatFirst,
        Rule::Fence,
        Rule::AfterFence,
        Rule::Enough,
        Rule::EverySet,
        Rule::DropCovered,
        Rule::Floor,
        Rule::EqualIsQuiet,
        Rule::StripResidual,
        Rule::TrimDeletes,
        Rule::SyncVotes,
        Rule::Adopt,
        Rule::OldRing,
        Rule::OldestHalf,
        Rule::BallotNonce,
        Rule::CopyIsNew,
        Rule::Unanimous,
        Rule::VoteOnce,
        Rule::Closed,
        Rule::LastOut,
        Rule::Ready,
    ];
}

/// Whether this rule is kept. Always, but for a canary.
#[cfg(not(any(test, feature = "canaries")))]
#[inline(always)]
pub(crate) fn holds(_rule: Rule) -> bool {
    true
}

/// Whether this rule is kept. Always, but for a canary.
#[cfg(any(test, feature = "canaries"))]
pub(crate) fn holds(rule: Rule) -> bool {
    breakable::BROKEN.get() != Some(rule)
}

#[cfg(any(test, feature = "canaries"))]
pub use breakable::without;

#[cfg(any(test, feature = "canaries"))]
mod breakable {
    use super::Rule;
    use std::cell::Cell;

    thread_local! {
        pub(super) static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Runs `body` on this thread with `rule` switched off, and restores it afterwards, also when
    /// `body` panics.
    pub fn without<T>(rule: Rule, body: impl FnOnce() -> T) -> T {
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                BROKEN.set(None);
            }
        }
        let _restore = Restore;
        BROKEN.set(Some(rule));
        body()
    }
}
