//! Room `store`: why a store did not do what was asked, sorted by what the caller can do about it. Must not know which
//! store said so.

use std::io;
use std::path::{Path, PathBuf};

use rjournal::entry::{JournalId, ObjectId};

/// Why a store did not do what was asked.
///
/// After [`Self::Backend`] and [`Self::Io`] that are not transient the store in hand is of no use any more: it is
/// dropped and opened again, which proves it anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store's own word: file damaged, lock held by another process, out of room ...
    #[error("store {path}: {reason}")]
    Backend {
        /// The store's directory or file.
        path: String,
        /// What it said.
        reason: String,
        /// Whether trying again can help (full, locked, slow).
        transient: bool,
    },
    /// The medium refused one of the files beside the rows, or a store save.
    #[error("{} {action}: {source}", path.display())]
    Io {
        /// What was being done, as in "could not be read".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the medium said.
        source: io::Error,
    },
    /// Somebody else moved the store: another apply job works on it (failures.md APL-4).
    #[error("the store stands at {found}, not at {expected}: another apply job works on it")]
    Moved {
        /// Where the batch expected it.
        expected: String,
        /// Where it stands.
        found: String,
    },
    /// A row was to be changed in a file the store does not have (any more): nothing is dropped in silence.
    #[error("the store has no file {file}")]
    NoFile {
        /// The file.
        file: ObjectId,
    },
    /// A save can only be restored into a store that was never written.
    #[error("the store stands at {found} already; a save goes into an empty store only")]
    NotEmpty {
        /// Where it stands.
        found: String,
    },
    /// A save of another journal than the store is made from: its job would not go on with it.
    #[error(
        "store save {} is of journal {found}, and the store is made from journal {expected}",
        path.display()
    )]
    OtherJournal {
        /// The save.
        path: PathBuf,
        /// The journal it is of.
        found: JournalId,
        /// The journal of the store.
        expected: JournalId,
    },
    /// The store is not one of ours, or of a version this program does not read.
    #[error("{path} is not a store of this program: {reason}")]
    Foreign {
        /// The store's directory or file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The store cannot prove that it is whole: it must be set aside and rebuilt.
    #[error("store {path} cannot prove that it is whole: {reason}")]
    Doubtful {
        /// The store's directory or file.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A row, key or batch is larger than this store takes.
    #[error("{what} of {bytes} bytes is larger than this store takes ({bytes_max})")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A save is not one, is damaged, or of a version this program does not read.
    #[error("store save {path}: {reason}")]
    Save {
        /// The save's file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Backend { transient, .. } => *transient,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
            ),
            _ => false,
        }
    }

    /// What the medium said of this file, where it says that a file of that name cannot be.
    pub(crate) fn wrong_path(&self, file: &Path) -> Option<&io::Error> {
        let Self::Io { path, source, .. } = self else {
            return None;
        };
        let wrong = matches!(
            source.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::InvalidInput
        );
        (wrong && path == file).then_some(source)
    }

    /// An error of the medium on a path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    /// The store says no, and will say so again.
    pub(super) fn refused(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Backend {
            path: path.display().to_string(),
            reason: reason.to_string(),
            transient: false,
        }
    }

    /// The store says no for now.
    pub(super) fn busy(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Backend {
            path: path.display().to_string(),
            reason: reason.to_string(),
            transient: true,
        }
    }

    /// What it was asked for needs a position.
    pub(super) fn never_written(path: &Path) -> Self {
        Self::refused(path, "it was never written")
    }

    /// Something in the store does not fit.
    pub(super) fn doubtful(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Doubtful {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }

    /// Not ours.
    pub(super) fn foreign(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Foreign {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }
}
