//! Public errors of the package, one enum per door. Must not know who is told.

use rjournal::CommandError;
use rjournal::daemon::{ErrorKind, Stopped};
use rjournal::entry::{CodecError, FileName, JournalId, Name, ObjectId, QualifiedName, Sequence};
use rjournal::link::OtherVersion;

use crate::store::{InProgress, StoreError};

/// Why entries are no longer applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// An entry cannot be applied, now or ever: an operator must look (failures.md APL-5).
    #[error("entry {sequence} cannot be applied: {reason}")]
    Poison {
        /// The entry.
        sequence: Sequence,
        /// What is wrong with it.
        reason: String,
    },
    /// The store does not hold what the entry says was there before: somebody else changed it (failures.md APL-6).
    #[error(
        "entry {sequence} does not fit the store: {found} in file {file}, where its image says {expected}"
    )]
    Conflict {
        /// The entry.
        sequence: Sequence,
        /// The file.
        file: String,
        /// What the store holds.
        found: String,
        /// What the entry says was there.
        expected: String,
    },
    /// The store stands where its journal has never been, or was cut since (failures.md APL-8).
    #[error(
        "the store stands at {store}, which is not in the history of its journal (readable up to entry {journal}): rebuild it from a save"
    )]
    Ahead {
        /// The store's position.
        store: String,
        /// The last entry that may be read.
        journal: Sequence,
    },
    /// What was decided behind a fork cannot be taken out of the store; nothing was (failures.md PRO-8).
    #[error(
        "the store stands behind entry {fork}, where its journal was cut, and entry {sequence} of file {file} cannot be taken \
         out of it: {reason}. Nothing was taken out: restore the store from a save made at or before entry {fork} (RSTSTO), or \
         load it anew"
    )]
    UndoNotPossible {
        /// The entry.
        sequence: Sequence,
        /// The file.
        file: String,
        /// The last entry that stays.
        fork: Sequence,
        /// What is lacking.
        reason: String,
    },
    /// The store does not hold what an entry left that is to be taken out: somebody else changed it.
    #[error(
        "entry {sequence} cannot be taken out of the store: {found} in file {file}, where the entry left {expected}. It stays \
         between entry {fork}, where its journal was cut, and where it stood: restore it from a save made at or before entry \
         {fork} (RSTSTO), or load it anew"
    )]
    UndoConflict {
        /// The entry.
        sequence: Sequence,
        /// The file.
        file: String,
        /// What the store holds.
        found: String,
        /// What the entry left.
        expected: String,
        /// The last entry that stays.
        fork: Sequence,
    },
    /// What lies behind a fork cannot be read, so it cannot be taken out of the store; nothing was.
    #[error(
        "the store stands behind a fork of its journal, and orphan archive {archive}, which may hold what lies there, cannot \
         be read: {error}. Put its file back from a backup, or restore the store from a save made before the fork (RSTSTO)"
    )]
    Archive {
        /// Its number; zero for a manifest whose number is not known.
        archive: u64,
        /// Why.
        error: CommandError,
    },
    /// Entries the store needs next were deleted.
    #[error(
        "the store needs the entries after {needed}, the oldest here comes after {oldest}: restore it from a save"
    )]
    Missing {
        /// The last entry the store has.
        needed: Sequence,
        /// The entry before the oldest here.
        oldest: Sequence,
    },
    /// The store is made from another journal.
    #[error(
        "the store is made from another journal than {journal}: choose another name, or move its files away to make it anew"
    )]
    OtherJournal {
        /// The journal it is started on.
        journal: QualifiedName,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal's side.
    #[error("{0}")]
    Journal(#[from] CommandError),
}

impl ApplyError {
    /// An entry that cannot be read.
    pub(crate) fn unreadable(sequence: Sequence, error: &CodecError) -> Self {
        Self::Poison {
            sequence,
            reason: error.to_string(),
        }
    }

    /// The entry that cannot be applied, where it is one.
    pub const fn entry(&self) -> Option<Sequence> {
        match self {
            Self::Poison { sequence, .. } | Self::Conflict { sequence, .. } => Some(*sequence),
            _ => None,
        }
    }

    /// What the daemon is told where starting again by itself does not help.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        (!self.is_transient()).then(|| Stopped {
            reason: self.to_string(),
            entry: self.entry(),
        })
    }

    /// Whether starting again by itself can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Journal(_) => true,
            _ => false,
        }
    }
}

/// Why a read or a change of the database was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum DatabaseError {
    /// There is no such file in the store.
    #[error("file {file} is not in this store; is it journaled to the store's journal (STRJRNPF)?")]
    NoFile {
        /// The file.
        file: FileName,
    },
    /// Journaling of the file was ended: it cannot be changed.
    #[error(
        "file {file} is not journaled: it can be read, not changed; STRJRNPF starts journaling again"
    )]
    NotJournaled {
        /// The file.
        file: FileName,
    },
    /// The file was deleted: the store keeps its rows until another file takes its name.
    #[error(
        "file {file} was deleted: what the store has of it can be read, not changed; CRTPF and STRJRNPF make it anew"
    )]
    Deleted {
        /// The file.
        file: FileName,
    },
    /// The journal is not open, so nothing can be deposited.
    #[error(
        "journal {journal} is not open yet: rows can be read, not changed; WRKJRNA says what it waits for"
    )]
    NotOpen {
        /// The journal.
        journal: QualifiedName,
    },
    /// An operator holds the job: what is written now would be applied nobody knows when.
    #[error(
        "the apply job{} is held: nothing was written; RLSAPY releases it",
        of_store(*.store)
    )]
    Held {
        /// The store, where it has a name.
        store: Option<Name>,
    },
    /// The store is a replica: it is changed by its journal only.
    #[error("this store is a replica; changes are made where its journal is local")]
    Replica,
    /// The system is not the primary of the store's recovery group, or not any more.
    #[error(
        "this store is a replica now: its system is not the primary of its recovery group; WHOISPRIMARY says where rows are changed"
    )]
    NotPrimary,
    /// A row with this key is there already.
    #[error("a row with key {key} is in {file} already")]
    Duplicate {
        /// The file.
        file: FileName,
        /// The key.
        key: String,
    },
    /// No row has this key.
    #[error("no row with key {key} is in {file}")]
    NoRow {
        /// The file.
        file: FileName,
        /// The key.
        key: String,
    },
    /// Another transaction has the row.
    #[error(
        "the row with key {key} of {file} is locked by another transaction; it was waited for {waited_ms} ms"
    )]
    Locked {
        /// The file.
        file: FileName,
        /// The key.
        key: String,
        /// How long.
        waited_ms: u64,
    },
    /// A value does not fit its field, or the row its format.
    #[error("{reason}")]
    Row {
        /// What does not fit.
        reason: String,
    },
    /// A transaction larger than one step of the store is being applied: reads would see half of it.
    #[error("a large transaction is being applied; reads are answered again after entry {until}")]
    Busy {
        /// Its decision.
        until: Sequence,
    },
    /// What was decided behind a fork is being taken out of the store: reads would see half of that.
    #[error(
        "what another system did not take over is being taken out of the store; reads are answered again when it stands at entry {fork}"
    )]
    TakenBack {
        /// The last entry that stays.
        fork: Sequence,
    },
    /// The key of the transaction was used before: it landed then.
    #[error(
        "this transaction landed before, as entry {sequence}{}",
        of_journal(*.journal)
    )]
    LandedBefore {
        /// Its commit.
        sequence: Sequence,
        /// The journal that is in, where it landed in an earlier term of the recovery group in another one.
        #[serde(default)]
        journal: Option<JournalId>,
    },
    /// The key of the transaction was used before, and what was deposited then has no answer that says it landed.
    #[error(
        "this transaction was deposited before, as entry {sequence}; whether it landed is not decided yet"
    )]
    Undecided {
        /// Its commit.
        sequence: Sequence,
    },
    /// The transaction was ended by an earlier error or decision.
    #[error("the transaction is over")]
    Over,
    /// The journal refused.
    #[error("{error}")]
    Refused {
        /// What it said.
        error: CommandError,
    },
    /// The store cannot be read.
    #[error("the store cannot be read: {reason}")]
    Store {
        /// What it said.
        reason: String,
    },
    /// A file an operator named cannot be.
    #[error("PATH {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the machine said.
        reason: String,
    },
    /// The job is stopping.
    #[error("the database is stopping")]
    Stopping,
    /// The connection to the job ended before its answer.
    #[error("the connection to the job is gone: {reason}")]
    Gone {
        /// What the socket said.
        reason: String,
    },
    /// The store as it was at one position cannot be read, or not any more.
    #[error("the snapshot of the store was given up: {reason}")]
    Snapshot {
        /// Why.
        reason: String,
    },
    /// The two ends of the store's socket are of different versions.
    #[error(
        "the job speaks {}: both must be of the same release, ENDAPY and STRAPY start the job with that of the daemon",
        versions_text(*.job, *.client)
    )]
    Protocol {
        /// The job's version.
        job: u32,
        /// The client's; nothing where it did not say it first.
        client: Option<u32>,
    },
    /// No job answers at the store's socket.
    #[error(
        "the job of store {store} does not answer ({reason}); WRKAPY says whether it runs, STRAPY starts it"
    )]
    NoJob {
        /// The store.
        store: Name,
        /// What the socket said.
        reason: String,
    },
}

impl DatabaseError {
    /// What readers are told while a mark stands.
    pub(crate) const fn busy(mark: InProgress) -> Self {
        if mark.is_undo() {
            Self::TakenBack { fork: mark.cycle }
        } else {
            Self::Busy {
                until: mark.decision,
            }
        }
    }
}

impl From<DatabaseError> for CommandError {
    /// The same as a command's failure: with IBM's message id where the condition is known there.
    fn from(error: DatabaseError) -> Self {
        let text = error.to_string();
        let (kind, id) = match error {
            DatabaseError::Refused { error } => return error,
            DatabaseError::NoFile { .. } | DatabaseError::Deleted { .. } => {
                (ErrorKind::NotFound, "CPF9812")
            }
            DatabaseError::NotJournaled { .. } => (ErrorKind::Refused, "CPF4328"),
            DatabaseError::NotOpen { .. } => (ErrorKind::Refused, "RJN4010"),
            DatabaseError::Held { .. } => (ErrorKind::Refused, "RJN6015"),
            DatabaseError::Replica => (ErrorKind::Refused, "RJN6001"),
            DatabaseError::NotPrimary => (ErrorKind::Refused, "RJN6020"),
            DatabaseError::Duplicate { .. } => (ErrorKind::Exists, "CPF5034"),
            DatabaseError::NoRow { .. } => (ErrorKind::NotFound, "CPF5006"),
            DatabaseError::Locked { .. } => (ErrorKind::TimedOut, "CPF5027"),
            DatabaseError::Row { .. } => (ErrorKind::Invalid, "RJN6002"),
            DatabaseError::Busy { .. } => (ErrorKind::TimedOut, "RJN6003"),
            DatabaseError::TakenBack { .. } => (ErrorKind::TimedOut, "RJN6025"),
            DatabaseError::LandedBefore { .. } => (ErrorKind::Exists, "RJN6004"),
            DatabaseError::Undecided { .. } => (ErrorKind::TimedOut, "RJN6018"),
            DatabaseError::Over => (ErrorKind::Refused, "RJN6005"),
            DatabaseError::Store { .. } => (ErrorKind::Internal, "RJN6006"),
            DatabaseError::File { .. } => (ErrorKind::Invalid, "RJN1008"),
            DatabaseError::Stopping | DatabaseError::Gone { .. } => {
                (ErrorKind::Unreachable, "RJN6007")
            }
            DatabaseError::NoJob { .. } => (ErrorKind::Unreachable, "RJN6008"),
            DatabaseError::Snapshot { .. } => (ErrorKind::TimedOut, "RJN6017"),
            DatabaseError::Protocol { .. } => (ErrorKind::Refused, "RJN6016"),
        };
        Self::new(kind, id, text)
    }
}

impl From<StoreError> for CommandError {
    /// The same as a command's failure.
    fn from(error: StoreError) -> Self {
        let (kind, id, help) = match &error {
            StoreError::NotEmpty { .. } => (
                ErrorKind::Exists,
                "RJN6009",
                "with REPLACE it is set aside, under another name, and made anew",
            ),
            StoreError::OtherJournal { .. } => (
                ErrorKind::Refused,
                "RJN4019",
                "nothing was changed; choose another name for the store, or take a save of its journal",
            ),
            StoreError::Save { .. } => (
                ErrorKind::Damaged,
                "RJN6010",
                "take another save; nothing was changed",
            ),
            StoreError::Doubtful { .. } => (
                ErrorKind::Damaged,
                "RJN6011",
                "STRAPY sets it aside and makes it anew",
            ),
            StoreError::Foreign { .. } => (
                ErrorKind::Refused,
                "RJN6012",
                "move what stands there out of the way",
            ),
            error if error.is_transient() => (
                ErrorKind::Unreachable,
                "RJN6013",
                "is its job running? ENDAPY ends it; is the disk full?",
            ),
            _ => (ErrorKind::Internal, "RJN6006", ""),
        };
        let command = Self::new(kind, id, error.to_string());
        if help.is_empty() {
            command
        } else {
            command.help(help)
        }
    }
}

impl From<StoreError> for DatabaseError {
    fn from(error: StoreError) -> Self {
        Self::Store {
            reason: error.to_string(),
        }
    }
}

impl From<CommandError> for DatabaseError {
    fn from(error: CommandError) -> Self {
        Self::Refused { error }
    }
}

fn versions_text(job: u32, client: Option<u32>) -> impl std::fmt::Display {
    let versions = OtherVersion {
        server: job,
        client,
    };
    versions.of("the store socket's protocol", "the client")
}

fn of_journal(journal: Option<JournalId>) -> String {
    journal.map_or_else(String::new, |journal| {
        format!(" of journal {journal}, in an earlier term")
    })
}

fn of_store(store: Option<Name>) -> String {
    store.map_or_else(String::new, |store| format!(" of store {store}"))
}

/// A file by its name where it is known, else by its identity: for messages.
pub(crate) fn file_text(name: Option<&FileName>, id: ObjectId) -> String {
    name.map_or_else(|| id.to_string(), ToString::to_string)
}
