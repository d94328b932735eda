//! Public errors of deposits: why one was refused. Must not know a room but `entry`.

use crate::entry::{Kind, Sequence};

/// Why a deposit was refused: it is certainly not in the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DepositError {
    /// No room in the open bundle right now; wait a moment and try again.
    #[error("the journal is busy; try again")]
    Busy,
    /// The entry is larger than an entry or a bundle may be.
    #[error("{bytes} bytes are too large: at most {bytes_max} are taken")]
    TooLarge {
        /// What was offered.
        bytes: u64,
        /// What is taken at most.
        bytes_max: u64,
    },
    /// Entries of code J are the journal's own.
    #[error("entries of kind {kind} are deposited by the journal itself")]
    ReservedKind {
        /// The kind.
        kind: Kind,
    },
    /// The commit cycle was not started here, has its decision already, or was rolled back by a restart.
    #[error("commit cycle {cycle} is not open in this journal; start a new one")]
    UnknownCycle {
        /// The cycle.
        cycle: Sequence,
    },
    /// Too many commit cycles are open.
    #[error("{max} commit cycles are open already; end some first")]
    TooManyCycles {
        /// The limit.
        max: usize,
    },
    /// The key was used for something else.
    #[error("this deposit key was used for another deposit, entry {sequence}")]
    KeyConflict {
        /// The entry it was used for.
        sequence: Sequence,
    },
    /// The key lies below everything that is remembered of this client.
    #[error(
        "this deposit key is too old to tell whether it was used: keys are remembered for {window} entries"
    )]
    KeyTooOld {
        /// Over how many entries keys are remembered.
        window: u64,
    },
    /// A commit carries a key that its cycle was not started with.
    #[error("the deposit key of a commit must be given when its cycle is started")]
    KeyNotDeclared,
    /// The disk has no room.
    #[error(
        "no room for {bytes} more bytes: the disk that holds the receivers is full; free space or delete receivers"
    )]
    NoSpace {
        /// What was needed.
        bytes: u64,
    },
    /// The in-sync set does not answer, and as many deposits wait for it as may.
    #[error(
        "deposits are held off: a *SYNC target does not answer; bring it back (giving it up with CHGRMTJRN JRNSTATE(*INACTIVE) needs --force)"
    )]
    SyncBlocked,
    /// The system hands its role over: the next primary takes deposits in a moment.
    #[error(
        "the role of primary is being handed over; try again, on the system that WHOISPRIMARY names"
    )]
    HandingOver,
    /// The journal does not take deposits now.
    #[error("the journal is not open for deposits")]
    NotOpen,
    /// A write or flush went wrong.
    #[error(
        "the journal stopped after a write or flush went wrong; it reopens from the medium when the system is started again"
    )]
    Poisoned,
    /// Sequence numbers are used up.
    #[error("the journal has used its last sequence number")]
    NumbersExhausted,
}
