//! Room `daemon`: what WRKJRNA shows of a journal: its state, watermarks, receivers and links, as plain values.

use serde::{Deserialize, Serialize};

use crate::daemon::command::member::GroupPlace;
use crate::entry::control_entry::{Level, Policy};
use crate::entry::{
    ChainHead, Epoch, JournalId, QualifiedName, RdbName, Sequence, SystemName, Timestamp,
};
use crate::journal::Attributes;
use crate::receiver::ReceiverRecord;
use crate::remote::LinkState;

/// WRKJRNA.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeJournals {
    /// One journal, or all.
    pub journal: Option<QualifiedName>,
}

/// What WRKJRNA shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalDescriptions {
    /// The journals.
    pub journals: Vec<JournalDescription>,
}

/// A journal's state, as on IBM i or one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JournalState {
    /// Takes deposits, or is fed.
    #[serde(rename = "*ACTIVE")]
    Active,
    /// A remote journal that is not fed now.
    #[serde(rename = "*INACTIVE")]
    Inactive,
    /// A journal of a recovery group that is not written now: another member is primary.
    #[serde(rename = "*STANDBY")]
    Standby,
    /// A local journal that waits for its in-sync set before it opens.
    #[serde(rename = "*OPENING")]
    Opening,
    /// Holds deposits off because its in-sync set does not answer.
    #[serde(rename = "*HELD")]
    Held,
    /// Refuses deposits because its disk is full.
    #[serde(rename = "*FULL")]
    Full,
    /// Stopped after a write or flush went wrong, or by a refusal.
    #[serde(rename = "*FAILED")]
    Failed,
    /// Cannot be recovered from its disk.
    #[serde(rename = "*DAMAGED")]
    Damaged,
}

impl JournalState {
    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "*ACTIVE",
            Self::Inactive => "*INACTIVE",
            Self::Standby => "*STANDBY",
            Self::Opening => "*OPENING",
            Self::Held => "*HELD",
            Self::Full => "*FULL",
            Self::Failed => "*FAILED",
            Self::Damaged => "*DAMAGED",
        }
    }
}

/// Watermarks for people; on a copy `sealed` is what was received, `settled` what is confirmed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Watermarks {
    /// Numbered (local).
    pub deposited: Sequence,
    /// Sealed (local) or received (copy).
    pub sealed: Sequence,
    /// Flushed here.
    pub written: Sequence,
    /// Released (local) or confirmed (copy).
    pub settled: Sequence,
    /// Chain head at `sealed`.
    pub head: Option<ChainHead>,
    /// When the last sealed entry was deposited.
    pub last_time: Timestamp,
}

/// A link for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkDescription {
    /// The partner.
    pub rdb: RdbName,
    /// The remote journal there.
    pub target: QualifiedName,
    /// State.
    pub state: LinkState,
    /// Delivery as IBM i shows it: *SYNC, *ASYNC, and *SYNCPEND, *ASYNCPEND while it catches up.
    pub delivery: String,
    /// What a *SYNC target must have done.
    pub level: Level,
    /// Whether it is in the in-sync set.
    pub in_sync: bool,
    /// The last entry known to be flushed there.
    pub acknowledged: Sequence,
    /// How many entries it is behind.
    pub lag_entries: u64,
    /// How many bytes of bundles it is behind; up to 128 KiB too many where it is far behind.
    pub lag_bytes: u64,
    /// How many milliseconds ago the oldest entry it has not acknowledged was deposited; nothing where that is not known.
    pub lag_ms: Option<u64>,
    /// When it last acknowledged.
    pub heard_at: Timestamp,
    /// What it is trying or why it failed.
    pub note: Option<String>,
    /// It must be loaded anew.
    pub needs_reinit: bool,
}

/// A journal with everything WRKJRNA shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalDescription {
    /// Name.
    pub journal: QualifiedName,
    /// Identity.
    pub journal_id: Option<JournalId>,
    /// *LOCAL or *REMOTE.
    pub kind: String,
    /// State.
    pub state: JournalState,
    /// Why it is in that state, where there is something to say.
    pub note: Option<String>,
    /// Of a remote journal: the system and journal it is fed from.
    pub source: Option<(SystemName, QualifiedName)>,
    /// Its place in a recovery group, where it belongs to one.
    #[serde(default)]
    pub group: Option<GroupPlace>,
    /// The epoch it is open in, or has promised.
    pub epoch: Epoch,
    /// The in-sync set: names of its targets.
    pub in_sync_set: Vec<RdbName>,
    /// Watermarks.
    pub watermarks: Watermarks,
    /// Commit cycles that are open.
    pub open_cycles: usize,
    /// Attributes.
    pub attributes: Option<Attributes>,
    /// A looser policy that is ordered, and in force once every member of the in-sync set knows it.
    #[serde(default)]
    pub policy_ordered: Option<Policy>,
    /// Receiver directory, oldest first.
    pub receivers: Vec<ReceiverRecord>,
    /// Links.
    pub links: Vec<LinkDescription>,
    /// Orphan archives.
    pub orphans: u64,
}
