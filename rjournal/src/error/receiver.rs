//! Public errors of receivers: where bundles rest. Must not know a room but `entry`.

use std::io;
use std::path::PathBuf;

use super::is_no_room;
use crate::entry::{CodecError, Position, QualifiedName, Sequence};

/// What can go wrong where bundles rest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The medium refused.
    #[error("{} {action}: {source}", path.display())]
    Io {
        /// What was being done, as in "could not be read".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the medium said.
        source: io::Error,
    },
    /// A write or flush of the attached receiver went wrong: it is poisoned from here on. Nothing is tried again, also where
    /// the medium only says that it is full.
    #[error("{} {action}: {source}", path.display())]
    Failed {
        /// What was being done, as in "could not be flushed".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the medium said.
        source: io::Error,
    },
    /// An earlier write or flush of this receiver went wrong; nothing is written to it any more.
    #[error("receiver {receiver} took no further entries after a write or flush of it went wrong")]
    Poisoned {
        /// The receiver.
        receiver: QualifiedName,
    },
    /// Bytes that were on disk are damaged. Nothing was changed; another copy can repair it.
    #[error(
        "receiver {receiver} is damaged at byte {offset}: entry {expected} should begin there ({found}), and entry {known} was already on this disk"
    )]
    Corrupt {
        /// The receiver.
        receiver: QualifiedName,
        /// Where, in bytes.
        offset: u64,
        /// The entry that should begin there.
        expected: Sequence,
        /// What is wrong.
        found: CodecError,
        /// An entry that is known to have been flushed, at or behind the damage.
        known: Sequence,
    },
    /// The receiver ends before an entry that is known to have been flushed: someone cut it.
    #[error(
        "receiver {receiver} ends at entry {last}, but entry {known} was already on this disk: the file was cut or replaced"
    )]
    CutShort {
        /// The receiver.
        receiver: QualifiedName,
        /// The last entry found.
        last: Sequence,
        /// An entry known to have been flushed.
        known: Sequence,
    },
    /// A receiver of the chain has no file.
    #[error("receiver {receiver} (entries from {first}) is missing: {} is not there", path.display())]
    Missing {
        /// The receiver.
        receiver: QualifiedName,
        /// Its first entry.
        first: Sequence,
        /// The file that should be there.
        path: PathBuf,
    },
    /// A file is not the receiver it should be.
    #[error("{} is not receiver {receiver}: {found}", path.display())]
    Foreign {
        /// The receiver that should be there.
        receiver: QualifiedName,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: CodecError,
    },
    /// Two neighbours do not join.
    #[error(
        "receiver {receiver} begins after entry {begins}, but the chain ends at entry {ends} or with another history"
    )]
    NotJoined {
        /// The receiver that does not fit.
        receiver: QualifiedName,
        /// The entry before its first.
        begins: Sequence,
        /// The last entry of the chain before it.
        ends: Sequence,
    },
    /// A file holds something behind a header that cannot be read, and nothing else says which receiver it was.
    #[error("{} cannot be told: its header cannot be read ({found}), and there are bytes behind it", path.display())]
    Headless {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: CodecError,
    },
    /// A directory of receivers has none.
    #[error("there is no receiver in {}", dir.display())]
    NoReceivers {
        /// The directory.
        dir: PathBuf,
    },
    /// A bundle does not continue what is here.
    #[error("a bundle from entry {first} does not continue the chain at entry {ends}")]
    NotContinued {
        /// Its first entry.
        first: Sequence,
        /// The last entry here.
        ends: Sequence,
    },
    /// The place asked for is not (or no longer) in the receivers here.
    #[error("entry {wanted} is not in the receivers here, which hold {oldest} to {last}")]
    NotHere {
        /// The entry asked for.
        wanted: Sequence,
        /// The oldest entry here.
        oldest: Sequence,
        /// The last entry here.
        last: Sequence,
    },
    /// A cut was asked for that does not fall between two bundles of this history.
    #[error("entry {} is not the end of a bundle here", at.sequence)]
    NotABoundary {
        /// Where the cut was asked for.
        at: Position,
    },
    /// A repaired file does not hold when it is read back: it was not put in place.
    #[error("receiver {receiver} does not hold after its repair; it was left as it was")]
    NotMended {
        /// The receiver.
        receiver: QualifiedName,
    },
}

impl ReceiverError {
    /// An error of the medium on a path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    /// Whether there was simply no room, and nothing was lost.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_no_room(source))
    }
}
