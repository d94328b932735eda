//! Room `daemon`: RPRJRN: a journal whose receivers are damaged gets the bytes back from a partner that has them, one whose
//! control file is lost gets it made again from its receivers. What is damaged and what proves the bytes is decided in
//! room `receiver`, what a control file is made from in room `journal`; how it is carried is in `system/repair` and
//! `system/rebuild`.

use serde::{Deserialize, Serialize};

use crate::entry::{Epoch, QualifiedName, RdbName, Sequence};
use crate::journal::{JournalKind, Rebuilt, Role};
use crate::receiver::{Damaged, FileDamage, Survey};

/// RPRJRN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RepairJournal {
    /// The journal.
    pub journal: QualifiedName,
    /// The partner to get bytes from; all that have the journal, in turn, where none is named. Of a remote journal whose
    /// control file is lost, the one that feeds it.
    pub partner: Option<RdbName>,
    /// What the journal is here, where its control file is lost: an operator says it, nobody guesses.
    #[serde(default)]
    pub role: Option<Role>,
    /// Only say what is damaged, and who can supply it.
    pub check: bool,
}

/// How far a repair is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeRepair {}

/// What a repair is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepairPhase {
    /// Reading the receivers.
    Reading,
    /// Getting bytes from partners.
    Fetching,
    /// Writing repaired files.
    Writing,
}

/// How far the repair under way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairProgress {
    /// The journal.
    pub journal: QualifiedName,
    /// What it does.
    pub phase: RepairPhase,
    /// Bytes done in this phase.
    pub done: u64,
    /// Bytes to do, where that is known.
    pub total: Option<u64>,
}

/// The repair under way, if there is one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct RepairStanding {
    /// How far it is.
    pub repair: Option<RepairProgress>,
}

/// What is damaged in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DamageKind {
    /// Bundles.
    Bundles,
    /// The header of a receiver.
    Header,
    /// The whole file is gone.
    Missing,
}

/// A stretch that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedStretch {
    /// The receiver.
    pub receiver: QualifiedName,
    /// Its file, relative to the data directory.
    pub file: String,
    /// What is damaged.
    pub kind: DamageKind,
    /// The first byte.
    pub from_byte: u64,
    /// The byte behind it, where that is known.
    pub to_byte: Option<u64>,
    /// The first entry concerned; nothing where only a header is.
    pub first: Option<Sequence>,
    /// The last entry concerned.
    pub last: Option<Sequence>,
}

/// Whether a partner has what a receiver lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supply {
    /// The receiver.
    pub receiver: QualifiedName,
    /// The partner.
    pub rdb: RdbName,
    /// Why not; nothing when everything it sent was proven.
    pub refusal: Option<String>,
}

/// What RPRJRN found and did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Repaired {
    /// The journal.
    pub journal: QualifiedName,
    /// Receivers that should be there.
    pub receivers: u64,
    /// Good bundles read.
    pub bundles: u64,
    /// Good entries read.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was damaged.
    pub damage: Vec<DamagedStretch>,
    /// Who has it, as far as was asked.
    pub supply: Vec<Supply>,
    /// Whether everything damaged can be supplied.
    pub repairable: bool,
    /// Whether it was repaired.
    pub repaired: bool,
    /// Bytes that were put back.
    pub mended_bytes: u64,
    /// The damaged files that were kept, relative to the data directory.
    pub kept: Vec<String>,
    /// Why the journal cannot be opened all the same.
    pub note: Option<String>,
    /// The control file that was made again; with `check`, the one that would be.
    #[serde(default)]
    pub rebuilt: Option<RebuiltControl>,
}

/// A control file that was lost and made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuiltControl {
    /// *LOCAL or *REMOTE.
    pub role: Role,
    /// Who feeds it, of a remote journal.
    pub fed_by: Option<String>,
    /// Of a local journal the epoch it was opened in last, of a remote one the epoch promised: the highest in history.
    pub epoch: Epoch,
    /// The last entry.
    pub last: Sequence,
    /// The members of the in-sync set that are asked before it opens; nothing where they cannot be known.
    pub asks: Option<Vec<String>>,
    /// What cannot be known from the receivers, and what to do about it.
    pub look_again: Vec<String>,
}

impl RebuiltControl {
    /// What an operator is told of it.
    pub(in crate::daemon) fn from_rebuilt(rebuilt: &Rebuilt, last: Sequence) -> Self {
        let control = &rebuilt.control;
        let members = rebuilt.members.as_ref();
        let (role, fed_by, epoch) = match &control.kind {
            JournalKind::Local => (Role::Local, None, control.epoch),
            JournalKind::Remote(source) => {
                let fed_by = format!("{} from {}", source.name, source.journal);
                (Role::Remote, Some(fed_by), control.promised)
            }
        };
        Self {
            role,
            fed_by,
            epoch,
            last,
            asks: members.map(|members| {
                let members = members.iter();
                members
                    .map(|member| format!("{} at {}", member.journal, member.rdb))
                    .collect()
            }),
            look_again: rebuilt.look_again.clone(),
        }
    }
}

impl Repaired {
    /// What a survey found, before anybody was asked.
    pub(in crate::daemon) fn found(
        journal: QualifiedName,
        survey: &Survey,
        dir: &std::path::Path,
    ) -> Self {
        Self {
            journal,
            receivers: survey.receivers,
            bundles: survey.bundles,
            entries: survey.entries,
            bytes: survey.bytes,
            damage: survey
                .damaged
                .iter()
                .flat_map(|damaged| stretches(damaged, dir))
                .collect(),
            supply: Vec::new(),
            repairable: true,
            repaired: false,
            mended_bytes: 0,
            kept: Vec::new(),
            note: None,
            rebuilt: None,
        }
    }
}

/// The damage of one receiver, stretch by stretch.
pub(in crate::daemon) fn stretches(
    damaged: &Damaged,
    dir: &std::path::Path,
) -> Vec<DamagedStretch> {
    let record = &damaged.expected.record;
    let stretch = |kind, from_byte, to_byte| DamagedStretch {
        receiver: record.name,
        file: damaged.path(dir).display().to_string(),
        kind,
        from_byte,
        to_byte,
        first: None,
        last: None,
    };
    let header = match &damaged.file {
        FileDamage::None => None,
        FileDamage::Header(_) => Some(DamageKind::Header),
        FileDamage::Missing => Some(DamageKind::Missing),
    };
    let header_bytes = crate::entry::RECEIVER_HEADER_BYTES as u64;
    let header = header.map(|kind| stretch(kind, 0, Some(header_bytes)));
    let gaps = damaged.gaps.iter().map(|gap| DamagedStretch {
        first: Some(gap.first()),
        last: Some(gap.last),
        ..stretch(DamageKind::Bundles, gap.from.offset, gap.until())
    });
    header.into_iter().chain(gaps).collect()
}

impl DamagedStretch {
    /// The stretch for people.
    pub fn describe(&self) -> String {
        let place = match self.to_byte {
            Some(to) => format!("bytes {} to {}", self.from_byte, to.saturating_sub(1)),
            None => format!("from byte {}", self.from_byte),
        };
        match (self.kind, self.first, self.last) {
            (DamageKind::Missing, _, _) => format!("receiver {}: its file is gone", self.receiver),
            (DamageKind::Header, _, _) => format!("receiver {}: its header", self.receiver),
            (DamageKind::Bundles, Some(first), Some(last)) => format!(
                "receiver {}: {place}, entries {first} to {last}",
                self.receiver
            ),
            (DamageKind::Bundles, ..) => format!("receiver {}: {place}", self.receiver),
        }
    }
}
