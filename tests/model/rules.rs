//! Package `rjournal-model`: what one run is about: how many members, what may happen how often, which rule is broken. Knows
//! nothing of states.

use crate::journal::{Members, Policy};

/// A rule that a run leaves out, to show that the checker misses it. Each is a ruling, or a ruling read to the letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// A takeover asks only those the journal names as the in-sync set (ruling 3 before 26).
    AsksOnlyTheNamed,
    /// A takeover asks nobody.
    AsksNobody,
    /// The hand-over entry is no promise of term + 1 (without ruling 28).
    HandOverPromisesNothing,
    /// The furthest tip is the longest (without ruling 29).
    FurthestIsLongest,
    /// A member that had promised this term before counts without its tip (without ruling 30).
    PromiseCountsWithoutTip,
    /// A new primary forwards its tail before the close record is flushed (without ruling 31).
    TailForwardedBeforeCloseRecord,
    /// A flush is acknowledged to a session that the promise has ended (without ruling 2).
    LateFlushAcknowledged,
    /// A member follows the new term's journal before its closed segments are whole (without ruling 6).
    FollowsOverTheHole,
    /// A close record confirms nothing (without ruling 6).
    ClosedSegmentNotConfirmed,
    /// Of a closed segment whatever a member happens to hold is served and taken, without comparing heads.
    SegmentTakenWithoutItsHead,
    /// What is taken out at rejoin is found by range, not by decision (without ruling 7).
    UndoneByRange,
    /// Nothing is taken out of the store at rejoin.
    NothingUndone,
    /// Apply goes on reading where it stopped, with cycles open there (without ruling 9).
    ReadsOnFromApplied,
    /// An answer rests on a smaller set that only its source knows of (without ruling 12).
    SetChangeFlushedOnlyHere,
    /// A journal opens without having heard anybody (without ruling 14).
    OpensWithoutContact,
    /// A confirmation is used before it is durable (without ruling 15).
    ConfirmationUsedBeforeDurable,
    /// What is cut is not archived.
    CutWithoutArchive,
    /// The term record alone confirms the segment it closes (without ruling 31).
    RecordAloneConfirms,
    /// A close record confirms when it reaches the disk behind a higher promise, too.
    LateCloseRecordConfirms,
    /// The record of a term is signed, and so its first entry shipped, before that is on its writer's disk.
    FirstEntryShippedBeforeItsFlush,
    /// A primary that asks before it opens is demoted by an equal term promised to another.
    DemotedByAnEqualTerm,
    /// Who has promised a term to somebody who did not open it keeps that promise when another has opened it.
    FutilePromiseKept,
    /// Who has handed over follows whoever it meets that has promised the next term.
    HandOverForgottenOnContact,
    /// LOCAL answers are given under a looser policy that nobody else has on disk (without ruling 13).
    PolicyLoosenedOnlyHere,
    /// A takeover promises that LOCAL answers are kept by the last set entry it holds, of whatever term, or because the last
    /// primary it has seen was heard (ruling 13 to the letter).
    KeptByTheLastSetEntryHeld,
}

/// How often things may happen in a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Bounds {
    /// Deposits and commit cycles together.
    pub deposits: u8,
    /// Commit cycles.
    pub cycles: u8,
    /// Losses of power.
    pub crashes: u8,
    /// Takeovers begun.
    pub takeovers: u8,
    /// Joins to and drops from the in-sync set.
    pub set_changes: u8,
    /// Changes of the policy.
    pub policy_changes: u8,
    /// Hand-overs begun.
    pub hand_overs: u8,
    /// Openings without anybody, by an operator's word.
    pub openings_alone: u8,
    /// Restores of an older journal at the primary.
    pub restores: u8,
    /// Takeovers with `--accept-loss`.
    pub losses: u8,
}

impl Bounds {
    /// Nothing.
    pub const NONE: Self = Self {
        deposits: 0,
        cycles: 0,
        crashes: 0,
        takeovers: 0,
        set_changes: 0,
        policy_changes: 0,
        hand_overs: 0,
        openings_alone: 0,
        restores: 0,
        losses: 0,
    };
}

/// One run.
#[expect(
    clippy::struct_excessive_bools,
    reason = "questions that have nothing to do with each other"
)]
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// How many members.
    pub members: u8,
    /// The in-sync set the first term begins with.
    pub set: Members,
    /// The policy it begins with.
    pub policy: Policy,
    /// What may happen how often.
    pub bounds: Bounds,
    /// Are there stores, and apply jobs?
    pub stores: bool,
    /// Do confirmations flow?
    pub confirmations: bool,
    /// Does member 1 feed a copy downstream?
    pub downstream: bool,
    /// Is each state asked whether everybody comes to follow the newest primary from there?
    pub heals: bool,
    /// Rules left out.
    pub broken: &'static [Broken],
}

impl Configuration {
    /// Two members with stores; member 1 in the in-sync set.
    pub const fn two(bounds: Bounds) -> Self {
        Self {
            members: 2,
            set: Members::of(&[1]),
            policy: Policy::Degrade,
            bounds,
            stores: true,
            confirmations: true,
            downstream: false,
            heals: false,
            broken: &[],
        }
    }

    /// Three members without stores; this in-sync set.
    pub const fn three(set: &[u8], bounds: Bounds) -> Self {
        Self {
            members: 3,
            set: Members::of(set),
            stores: false,
            ..Self::two(bounds)
        }
    }

    /// Without stores.
    #[must_use]
    pub const fn without_stores(self) -> Self {
        Self {
            stores: false,
            ..self
        }
    }

    /// With stores.
    #[must_use]
    pub const fn with_stores(self) -> Self {
        Self {
            stores: true,
            ..self
        }
    }

    /// Without confirmations.
    #[must_use]
    pub const fn without_confirmations(self) -> Self {
        Self {
            confirmations: false,
            ..self
        }
    }

    /// With a copy that member 1 feeds.
    #[must_use]
    pub const fn with_downstream(self) -> Self {
        Self {
            downstream: true,
            ..self
        }
    }

    /// With the question whether everybody comes to follow the newest primary, in every state.
    #[must_use]
    pub const fn healing(self) -> Self {
        Self {
            heals: true,
            ..self
        }
    }

    /// Under policy block from the first entry.
    #[must_use]
    pub const fn under_block(self) -> Self {
        Self {
            policy: Policy::Block,
            ..self
        }
    }

    /// With these rules left out.
    #[must_use]
    pub const fn breaking(self, broken: &'static [Broken]) -> Self {
        Self { broken, ..self }
    }
}
