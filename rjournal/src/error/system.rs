//! Public errors of systems as a whole. Must not know a room but `entry`.

use std::io;
use std::path::PathBuf;

use super::{JournalError, LinkError};
use crate::entry::{SystemId, SystemName};

/// What can go wrong with a system as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// The machine refused.
    #[error("{} {action}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// There is no system in the directory.
    #[error("no system lives in {}; make one with: rjournal init --data {} --name NAME", path.display(), path.display())]
    NoSystem {
        /// The directory.
        path: PathBuf,
    },
    /// A system lives in the directory, and its configuration is not there.
    #[error(
        "{} is missing, the configuration of system {name}, which lives in {}: put it back, or write one that says at least \
         name = \"{name}\"",
        path.display(),
        data.display()
    )]
    NoConfig {
        /// The configuration's file.
        path: PathBuf,
        /// The data directory.
        data: PathBuf,
        /// The system's name.
        name: SystemName,
    },
    /// There is a system in the directory already.
    #[error("a system lives in {} already; start it with: rjournal daemon --data {}", path.display(), path.display())]
    AlreadyInitialised {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something that is not ours.
    #[error("{} holds {name:?}, which is not of this program; name an empty directory", path.display())]
    ForeignFiles {
        /// The directory.
        path: PathBuf,
        /// The first such file.
        name: String,
    },
    /// Another process has the directory.
    #[error("another process has the system in {}; only one may", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is not where it was made.
    #[error(
        "{} was copied or restored: it is not the directory this system was made in. If the other one is gone for good, \
         start it once with --moved; two systems with one identity lose data",
        path.display()
    )]
    Copied {
        /// The directory.
        path: PathBuf,
    },
    /// The key can be read by others.
    #[error("the key {} can be read by others; chmod 600 it", path.display())]
    KeyReadable {
        /// The key's file.
        path: PathBuf,
    },
    /// The key is another system's: partners know this one by its own.
    #[error(
        "the key {} is that of system {found}, and the system in this directory is {expected}: put its own key back, from a \
         backup",
        path.display()
    )]
    OtherKey {
        /// The key's file.
        path: PathBuf,
        /// Whose key it is.
        found: SystemId,
        /// Who lives in the directory.
        expected: SystemId,
    },
    /// A file of the system cannot be read.
    #[error("{} is damaged: {reason}; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The catalog cannot be read in either copy.
    #[error(
        "{} is lost: {reason}; restore it from a backup, or make another one from the journals here: rjournal daemon --data {} \
         --rebuild-catalog",
        path.display(),
        data.display()
    )]
    CatalogLost {
        /// The catalog.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// The data directory.
        data: PathBuf,
    },
    /// The catalog is not lost, so no other one is made.
    #[error("{} can be read; nothing was changed", path.display())]
    NotLost {
        /// The catalog.
        path: PathBuf,
    },
    /// A file of the system was written by a newer program.
    #[error("{} has format version {found}, which a newer program wrote; use that one", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// The configuration is wrong.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// The wire.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl SystemError {
    /// An error of the machine on a path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }
}
