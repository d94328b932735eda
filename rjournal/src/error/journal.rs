//! Public errors of journals as a whole. Must not know a room but `entry`.

use std::io;
use std::path::PathBuf;

use super::{ReceiverError, is_no_room};
use crate::entry::{CodecError, NameError, QualifiedName, Sequence, SystemName};

/// What can go wrong with a journal as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The medium refused.
    #[error("{} {action}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the medium said.
        source: io::Error,
    },
    /// A cut was begun and could not be finished: it is when the journal is opened again, and nothing is taken before.
    #[error("the cut behind entry {at} could not be finished: {reason}")]
    CutUnfinished {
        /// The last entry that stays.
        at: Sequence,
        /// What went wrong.
        reason: String,
    },
    /// The journal belongs to a recovery group whose standing is not in the data directory: nobody knows who may write it.
    #[error(
        "it belongs to recovery group {group}, whose standing is not in directory groups of the data directory; put that back from a backup, or delete the journal here and add it anew from another member"
    )]
    GroupLost {
        /// The group.
        group: crate::entry::GroupId,
    },
    /// A term of the recovery group could not be begun: nothing was written.
    #[error("the term could not be begun: {reason}")]
    Term {
        /// What went wrong.
        reason: String,
    },
    /// A receiver is not what it should be.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// The control file cannot be read.
    #[error("the control file in {} cannot be read ({reason}); the receivers are untouched: RPRJRN with ROLE makes it again from them, or restore it from a backup", dir.display())]
    ControlDamaged {
        /// The journal's directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The control file cannot be made again from the receivers as it was asked for.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The control file was written by a newer program.
    #[error("the control file in {} has format version {found}, which a newer program wrote; use that one", dir.display())]
    ControlVersion {
        /// The journal's directory.
        dir: PathBuf,
        /// Its version.
        found: u16,
    },
    /// Another file of a journal was written by a newer program.
    #[error("{} has format version {found}, which a newer program wrote; use that one", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// An entry of the journal about itself cannot be read.
    #[error("entry {sequence} cannot be read: {source}")]
    Entry {
        /// The entry.
        sequence: Sequence,
        /// What is wrong.
        source: CodecError,
    },
    /// No free receiver name could be made.
    #[error("no receiver name is free after {name}; name one with JRNRCV")]
    NoFreeName {
        /// The last name.
        name: QualifiedName,
    },
    /// The numbers of openings are used up: some system claimed the last one.
    #[error("no opening can be counted after the last one: this journal can be read, not opened")]
    NoFreeEpoch,
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An orphan archive cannot be read.
    #[error("orphan archive {} cannot be read: {reason}", path.display())]
    Orphan {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Why a control file is not made again from the receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// It is there and can be read.
    #[error("the control file can be read")]
    NotLost,
    /// The operator says remote; the receivers were sealed by this system.
    #[error(
        "its receivers were sealed by this system as {journal}: it is a local journal, ROLE(*LOCAL)"
    )]
    SealedHere {
        /// The journal's name in them.
        journal: QualifiedName,
    },
    /// The operator says local; another system sealed the receivers.
    #[error(
        "its receivers were sealed by system {origin} as {journal}: here it is a remote journal, ROLE(*REMOTE)"
    )]
    SealedElsewhere {
        /// That system's name.
        origin: SystemName,
        /// The journal's name there.
        journal: QualifiedName,
    },
    /// Receivers of one journal name different systems or journals as theirs.
    #[error("receiver {receiver} says another system or journal of itself than the ones before it")]
    Contradiction {
        /// The receiver.
        receiver: QualifiedName,
    },
    /// A local journal has the name its receivers carry.
    #[error("its receivers say that it is journal {found}")]
    OtherName {
        /// That name.
        found: QualifiedName,
    },
    /// Nothing says what the remote journal is called here.
    #[error("its receivers do not say what it is called here")]
    NoName,
    /// Nothing says who feeds the remote journal.
    #[error("its receivers do not say which system feeds it")]
    NoFeeder,
}

impl JournalError {
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
        match self {
            Self::Io { source, .. } => is_no_room(source),
            Self::Receiver(error) => error.is_disk_full(),
            _ => false,
        }
    }
}
