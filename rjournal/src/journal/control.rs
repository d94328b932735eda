//! Room `journal`: what a journal must not forget beside its receivers: identity, epoch, promise, definitions of remote
//! journals, the receiver directory. Kept in two slots, each with a generation and a checksum, written in turn: a crash
//! leaves the old or the new one (failures.md MET-1). Where receivers and control file disagree, the receivers win.
//! Must not know what the other rooms do with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::entry::control_entry::{Level, Policy, SetChange};
use crate::entry::{Alignment, Epoch, JournalId, Position, QualifiedName, RdbName, Sequence, SystemId, SystemName, Timestamp};
use crate::error::JournalError;
use crate::receiver::ReceiverRecord;

const MAGIC: [u8; 8] = *b"RJRNCTL\n";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32;
/// A control file is never longer.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Who changes receivers at the threshold (IBM i: MNGRCV).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ManageReceivers {
    /// The journal itself.
    #[default]
    System,
    /// The operator; a message is sent.
    User,
}

/// What an operator sets on a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// Size in bytes at which the attached receiver is changed.
    pub threshold: u64,
    /// Who changes it.
    pub manage_receivers: ManageReceivers,
    /// Whether detached receivers nobody needs are deleted (IBM i: DLTRCV).
    pub delete_receivers: bool,
    /// How bundles are laid into receivers.
    pub alignment: Alignment,
    /// Ship only what is flushed here: closes the one hole of the overlap, adds the two flush times.
    pub local_first: bool,
    /// Which of job, user, program and system an entry carries (IBM i: FIXLENDTA).
    pub actor: bool,
    /// What happens to deposits when a *SYNC target does not answer in time.
    pub policy: Policy,
    /// How long a *SYNC target may take, in milliseconds (IBM i: SYNCTIMO).
    pub sync_timeout_ms: u64,
    /// How many entries may wait for a target under policy block or reject before new ones are refused.
    pub waiting_entries_max: u64,
    /// Entries over which a deposit key is remembered.
    pub key_window: u64,
    /// Bytes of receivers above which consumers are given up rather than the disk; 0 for no limit.
    pub retention_bytes_max: u64,
    /// Longest wait for members of the in-sync set when the journal is opened, in milliseconds, before it says so.
    pub open_wait_ms: u64,
    /// Free text.
    pub text: String,
}

/// Default threshold: small enough that the next receiver is prepared within a second.
pub const THRESHOLD_DEFAULT: u64 = 64 * 1024 * 1024;
/// Least threshold.
pub const THRESHOLD_MIN: u64 = 64 * 1024;
/// Largest threshold: IBM i's limit of a receiver, about 1 TB.
pub const THRESHOLD_MAX: u64 = 1 << 40;

impl Default for Attributes {
    fn default() -> Self {
        Self {
            threshold: THRESHOLD_DEFAULT,
            manage_receivers: ManageReceivers::System,
            delete_receivers: false,
            alignment: Alignment::Packed,
            local_first: false,
            actor: true,
            policy: Policy::Degrade,
            sync_timeout_ms: 60_000,
            waiting_entries_max: 10_000,
            key_window: 1_000_000,
            retention_bytes_max: 0,
            open_wait_ms: 30_000,
            text: String::new(),
        }
    }
}

/// How entries travel to a remote journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeliveryMode {
    /// Behind the deposit; only what is flushed at the source.
    Async,
    /// With the deposit; its answer waits for the target.
    Sync,
}

/// A remote journal defined on this journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// The partner in the directory.
    pub rdb: RdbName,
    /// Identity of the partner, learnt when the remote journal was added.
    pub system: SystemId,
    /// The remote journal there.
    pub target: QualifiedName,
    /// Delivery asked for.
    pub delivery: DeliveryMode,
    /// What a *SYNC target must have done.
    pub level: Level,
    /// Whether it should be active.
    pub active: bool,
    /// The highest entry the target was ever seen to have flushed (failures.md COU-6).
    pub acknowledged: Sequence,
    /// It fell behind what is kept here and must be loaded anew (failures.md BRD-4).
    pub needs_reinit: bool,
    /// Free text.
    pub text: String,
}

/// Where a remote journal gets its entries from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The system that feeds it; nobody else may.
    pub system: SystemId,
    /// Its name.
    pub name: SystemName,
    /// The journal there.
    pub journal: QualifiedName,
    /// Systems the entries have passed before this one, as the source said last.
    #[serde(default)]
    pub path: Vec<SystemId>,
}

/// *LOCAL or *REMOTE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JournalKind {
    /// Filled by deposits.
    Local,
    /// Filled by replication only.
    Remote(SourceRecord),
}

/// A cut that was begun: everything behind `at` is archived and must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCut {
    /// The last entry that stays.
    pub at: Position,
}

/// What was true where the last recorded receiver begins, so that opening need not read the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// The in-sync set in force, and the entry that set it.
    pub set: Option<(Sequence, SetChange)>,
    /// The last entry with a deposit key.
    pub last_keyed: Sequence,
    /// The last opening for deposits.
    pub opened: Sequence,
}

/// Everything kept about one journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Identity, the same on all copies.
    pub journal: JournalId,
    /// Its name here.
    pub name: QualifiedName,
    /// *LOCAL or *REMOTE.
    pub kind: JournalKind,
    /// When it was made here.
    pub created_at: Timestamp,
    /// What an operator sets.
    pub attributes: Attributes,
    /// Of a local journal: the epoch of the last opening, durable before anything is sealed in it.
    pub epoch: Epoch,
    /// Of a remote journal: the session epoch it accepts, never lowered.
    pub promised: Epoch,
    /// Receiver directory, oldest first.
    pub receivers: Vec<ReceiverRecord>,
    /// Facts from before the last recorded receiver.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// Remote journals defined on it.
    #[serde(default)]
    pub links: Vec<LinkRecord>,
    /// A cut to be finished.
    #[serde(default)]
    pub cut: Option<PendingCut>,
    /// How many orphan archives were made.
    #[serde(default)]
    pub orphans: u64,
    /// Why the journal stopped for good, until an operator decides.
    #[serde(default)]
    pub stopped: Option<String>,
    /// Receivers the operator made with CRTJRNRCV and that were not attached yet.
    #[serde(default)]
    pub next_name: Option<QualifiedName>,
}

/// The control file of one journal.
#[derive(Debug)]
pub struct ControlFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    generation: u64,
    control: Control,
}

impl ControlFile {
    /// Makes the control file of a new journal in `dir`, which exists.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, control: Control) -> Result<Self, JournalError> {
        let mut file = Self { disk, dir: dir.to_path_buf(), generation: 0, control };
        file.save()?;
        file.disk.sync_dir(dir).map_err(|source| JournalError::io("could not be flushed", dir, source))?;
        Ok(file)
    }

    /// Reads the newer of the two slots. Says as the second value whether the newest was unreadable and an older one
    /// had to do.
    ///
    /// # Errors
    /// [`JournalError::ControlDamaged`] when neither can be read; `Version` when it was written by a newer program.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, bool), JournalError> {
        let mut found: Option<(u64, Control)> = None;
        let mut unreadable = false;
        for slot in [0, 1] {
            match read_slot(&*disk, &slot_path(dir, slot))? {
                Slot::Empty => {}
                Slot::Damaged => unreadable = true,
                Slot::Written(generation, control) => {
                    if found.as_ref().is_none_or(|(newest, _)| generation > *newest) {
                        found = Some((generation, *control));
                    }
                }
            }
        }
        match found {
            Some((generation, control)) => Ok((Self { disk, dir: dir.to_path_buf(), generation, control }, unreadable)),
            None => Err(JournalError::ControlDamaged { dir: dir.to_path_buf() }),
        }
    }

    /// What is kept.
    pub const fn get(&self) -> &Control {
        &self.control
    }

    /// Changes it durably: after this returns, the change survives a crash.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses; the change is not in force then.
    pub fn update(&mut self, change: impl FnOnce(&mut Control)) -> Result<(), JournalError> {
        let before = self.control.clone();
        change(&mut self.control);
        if self.control == before {
            return Ok(());
        }
        let saved = self.save();
        if saved.is_err() {
            self.control = before;
        }
        saved
    }

    fn save(&mut self) -> Result<(), JournalError> {
        let generation = self.generation + 1;
        let path = slot_path(&self.dir, generation % 2);
        let body = rmp_serde::to_vec_named(&self.control)
            .map_err(|error| JournalError::io("could not be encoded", &path, io::Error::other(error)))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&checksum(generation, &body).to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(&body);
        let file = match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.create(&path).and_then(|file| {
                self.disk.sync_dir(&self.dir)?;
                Ok(file)
            }),
            other => other,
        };
        let written = file.and_then(|file| {
            file.write_at(&bytes, 0)?;
            file.sync()
        });
        written.map_err(|source| JournalError::io("could not be written", path, source))?;
        self.generation = generation;
        Ok(())
    }
}

fn slot_path(dir: &Path, slot: u64) -> PathBuf {
    dir.join(if slot == 0 { "control.a" } else { "control.b" })
}

fn checksum(generation: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

enum Slot {
    Empty,
    Damaged,
    Written(u64, Box<Control>),
}

fn read_slot(disk: &dyn Disk, path: &Path) -> Result<Slot, JournalError> {
    let read = crate::disk::read_whole(disk, path, BYTES_MAX);
    let bytes = match read {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Slot::Empty),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Slot::Damaged),
        Err(source) => return Err(JournalError::io("could not be read", path, source)),
    };
    let mut cursor = crate::entry::Cursor::new(&bytes);
    if cursor.array() != Some(MAGIC) {
        return Ok(Slot::Damaged);
    }
    let version = cursor.u16().unwrap_or_default();
    cursor.u16();
    let length = cursor.u32().unwrap_or_default() as usize;
    let generation = cursor.u64().unwrap_or_default();
    let crc = cursor.u32().unwrap_or_default();
    let body = bytes.get(HEADER_BYTES..).and_then(|rest| rest.get(..length));
    let Some(body) = body.filter(|body| checksum(generation, body) == crc) else { return Ok(Slot::Damaged) };
    if version > VERSION {
        return Err(JournalError::ControlVersion { path: path.to_path_buf(), found: version, known: VERSION });
    }
    match rmp_serde::from_slice(body) {
        Ok(control) => Ok(Slot::Written(generation, Box::new(control))),
        Err(_) => Ok(Slot::Damaged),
    }
}
