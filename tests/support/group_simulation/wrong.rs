//! Package `tests`, groups under seeds: mistakes of whoever carries things out, made on purpose: the checkers must find each.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// What is told as held with a promise was looked at before the promise (ruling 30).
    TipBeforePromise,
    /// A claim is acted upon before it is on the disk.
    ClaimNotDurable,
    /// A term is told before its close record is flushed (ruling 31).
    ToldBeforeFlushed,
    /// A member is fed and counted although a closed segment is not whole there (ruling 6).
    FollowsIncomplete,
    /// A takeover asks nobody (ruling 26).
    AsksNobody,
    /// Copies take what any source sends.
    NeverFenced,
    /// Copies take what their source sends until the group's task runs for the first time after a start.
    FencedLate,
    /// A primary that promised goes on (ruling 27).
    NeverRests,
    /// A primary that was started again opens without hearing anybody (ruling 14).
    OpensWithoutContact,
}

impl Wrong {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TipBeforePromise,
        Self::ClaimNotDurable,
        Self::ToldBeforeFlushed,
        Self::FollowsIncomplete,
        Self::AsksNobody,
        Self::NeverFenced,
        Self::FencedLate,
        Self::NeverRests,
        Self::OpensWithoutContact,
    ];
}
