//! Room `journal`: what a journal must not forget beside its receivers: identity, epoch, promise, definitions of remote
//! journals, the receiver directory. Kept in two slots, each with a generation and a checksum, written in turn: a crash
//! leaves the old or the new one (failures.md MET-1). Where receivers and control file disagree, the receivers win.
//! Must not know what the other rooms do with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, SlotContent, SlotFile};
use crate::entry::control_entry::{Level, Member, Policy, SetChange};
use crate::entry::{
    Alignment, Epoch, GroupId, JournalId, Position, QualifiedName, RdbName, Sequence, SystemId,
    SystemName, Timestamp,
};
use crate::error::{JournalError, RebuildError};
use crate::receiver::ReceiverRecord;

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
    /// How many entries may wait for a target under policy block before new ones are refused.
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
    /// The recovery group it belongs to: without that group's standing nobody knows who may write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// How many orphan archives were made.
    #[serde(default)]
    pub orphans: u64,
    /// Why the journal stopped for good, until an operator decides.
    #[serde(default)]
    pub stopped: Option<String>,
    /// Of a local journal made again from its receivers: its in-sync set was set before the oldest of them, so nobody knows
    /// whom to ask. Until an operator opens it without asking.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set_unknown: bool,
    /// The name the next receiver gets, where one was given; of a new journal that of its first.
    #[serde(default)]
    pub next_name: Option<QualifiedName>,
    /// Of a local journal: a looser policy that an operator ordered, and that is in force once every member of the in-sync
    /// set has the entry that says so on its disk (ruling 13). Until then `attributes.policy` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ordered: Option<Policy>,
    /// Of a local journal: targets that were taken out of its in-sync set under policy block or reject and are not known to
    /// have the entry that says so: nothing is answered without them before that (ruling 13).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<Member>,
    /// Of a remote journal: where its source was when this copy was empty. In-sync sets up to there speak of another copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_behind: Option<Sequence>,
}

/// The control file of one journal.
#[derive(Debug)]
pub struct ControlFile {
    slots: SlotFile,
    dir: PathBuf,
    control: Control,
}

const NAME: &str = "control";

impl ControlFile {
    /// Makes the control file of a new journal in `dir`, which exists.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, control: Control) -> Result<Self, JournalError> {
        let (slots, _) = open_slots(disk, dir)?;
        let mut file = Self {
            slots,
            dir: dir.to_path_buf(),
            control,
        };
        file.save()?;
        Ok(file)
    }

    /// Puts a control file made from the receivers in place of one that cannot be read; what is left of that one is kept
    /// beside it, and its paths are given. A crash leaves a journal without a control file, or with this one.
    ///
    /// # Errors
    /// [`RebuildError::NotLost`] when there is one that can be read, [`JournalError::ControlVersion`] when a newer program
    /// wrote it; [`JournalError::Io`] when the disk refuses.
    pub fn replace_lost(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        control: Control,
    ) -> Result<Vec<PathBuf>, JournalError> {
        Self::require_lost(disk, dir)?;
        let kept = SlotFile::set_aside(&**disk, dir, NAME).map_err(|source| {
            JournalError::io("could not be kept aside", dir.join(NAME), source)
        })?;
        Self::create(Arc::clone(disk), dir, control)?;
        Ok(kept)
    }

    /// That no control file can be read in `dir`.
    ///
    /// # Errors
    /// [`RebuildError::NotLost`] when one can, [`JournalError::ControlVersion`] when a newer program can; `Io` when that
    /// cannot be told now.
    pub fn require_lost(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), JournalError> {
        match Self::open(Arc::clone(disk), dir) {
            Ok(_) => Err(RebuildError::NotLost.into()),
            // Damaged, gone, or on blocks that cannot be read any more.
            Err(JournalError::ControlDamaged { .. }) => Ok(()),
            // What may be read another time is not lost.
            Err(error) => Err(error),
        }
    }

    /// Reads the newer of the two slots. Says as the second value which one cannot be read, so that an older one may have
    /// had to do.
    ///
    /// # Errors
    /// [`JournalError::ControlDamaged`] when neither can be read; `ControlVersion` when a newer program wrote it.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Option<String>), JournalError> {
        let (slots, content) = open_slots(disk, dir)?;
        let damaged = |reason: String| JournalError::ControlDamaged {
            dir: dir.to_path_buf(),
            reason,
        };
        match content {
            SlotContent::Found { bytes, stale } => {
                let control =
                    serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
                Ok((
                    Self {
                        slots,
                        dir: dir.to_path_buf(),
                        control,
                    },
                    stale,
                ))
            }
            SlotContent::Newer(found) => Err(JournalError::ControlVersion {
                dir: dir.to_path_buf(),
                found,
            }),
            SlotContent::Damaged(why) => Err(damaged(why)),
            SlotContent::Missing => Err(damaged("there is none".to_owned())),
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
        let io = |source| JournalError::io("could not be written", self.dir.join(NAME), source);
        let bytes =
            serde_json::to_vec(&self.control).map_err(|error| io(std::io::Error::other(error)))?;
        self.slots.save(&bytes).map_err(io)
    }
}

fn open_slots(disk: Arc<dyn Disk>, dir: &Path) -> Result<(SlotFile, SlotContent), JournalError> {
    SlotFile::open(disk, dir, NAME)
        .map_err(|source| JournalError::io("could not be read", dir.join(NAME), source))
}
