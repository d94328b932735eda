//! Public errors, one enum per door, each variant carrying facts, never a prepared text. Open to all rooms; must not
//! know any of them but `entry`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::entry::{
    CodecError, Kind, NameError, Position, QualifiedName, RdbName, Sequence, SystemId, SystemName,
};

/// Whether an error only says that the medium has no room.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

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

/// What can go wrong on the wire.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The own key or certificate cannot be used.
    #[error("the system's key cannot be used: {reason}")]
    Identity {
        /// What is wrong.
        reason: String,
    },
    /// Text that is not a fingerprint.
    #[error(
        "{given:?} is not a fingerprint: 64 hexadecimal digits are needed, as DSPSYSID prints them"
    )]
    Fingerprint {
        /// What was given, cut.
        given: String,
    },
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such partner in the directory.
    #[error("directory entry {rdb} not found; ADDRDBDIRE adds it")]
    NoPartner {
        /// The name.
        rdb: RdbName,
    },
    /// The partner's directory entry says not where it is reached.
    #[error("directory entry {rdb} has no address; CHGRDBDIRE --addr host:port gives it one")]
    NoAddress {
        /// The name.
        rdb: RdbName,
    },
    /// This system is starting or stopping: it calls nobody now.
    #[error("this system does not call its partners yet: it is starting, or stopping")]
    NotCalling,
    /// Enough links catch up already.
    #[error("as many links as may be are catching up; this one is tried again by itself")]
    Crowded,
    /// An address has no meaning here.
    #[error("{address} cannot be resolved: {reason}")]
    Resolve {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A partner cannot be reached, or is not who it should be.
    #[error("no connection with {address}: {reason}")]
    Connect {
        /// The partner's address.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The connection is gone.
    #[error("the connection is gone: {reason}")]
    Broken {
        /// Why.
        reason: String,
    },
    /// What came is no frame or no message of this protocol.
    #[error("the other side does not speak this protocol: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A message has no form on the wire.
    #[error("a message cannot be encoded: {reason}")]
    Encode {
        /// Why.
        reason: String,
    },
}

impl LinkError {
    /// Whether trying again can help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Broken { .. })
    }
}

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
