//! Package `cli`, orphans: the file transactions are exported to, and read from again: JSON, an object in each line
//! (docs/FORMAT.md, orphan exports). Its first line says the version, its last one that it is whole. Must not know archives.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::{Exported, Reading};
pub(crate) use write::Writing;

use rjournal::entry::{
    DepositKey, Epoch, FileName, JournalId, Kind, ObjectId, Position, QualifiedName, Sequence,
    Timestamp,
};
use serde::{Deserialize, Serialize};

/// Version of the file.
const VERSION: u64 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The version.
    pub(crate) rjournal_orphans: u64,
    /// Identity of the journal.
    pub(crate) journal: JournalId,
    /// Its name where it was exported.
    pub(crate) name: QualifiedName,
    /// Number of the archive there.
    pub(crate) archive: u64,
    pub(crate) fork: Position,
    pub(crate) last: Position,
    pub(crate) archived_at: Timestamp,
    pub(crate) reason: String,
}

impl Header {
    /// The first line of an export of this archive.
    pub(crate) fn of(name: QualifiedName, orphan: &rjournal::journal::Orphan) -> Self {
        Self {
            rjournal_orphans: VERSION,
            journal: orphan.journal,
            name,
            archive: orphan.number,
            fork: orphan.fork,
            last: orphan.last,
            archived_at: orphan.archived_at,
            reason: orphan.reason.clone(),
        }
    }
}

/// Every further line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A format, before the first change that is written in it.
    Format(FormatLine),
    Transaction(Box<TransactionLine>),
    /// The last line: the file is whole.
    End {
        transactions: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct FormatLine {
    object: ObjectId,
    version: u32,
    file: FileName,
    /// As it is encoded, in hexadecimal.
    bytes: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct TransactionLine {
    sequence: Sequence,
    outcome: String,
    class: String,
    time: Timestamp,
    job: Option<String>,
    user: Option<String>,
    program: Option<String>,
    system: Option<String>,
    key: Option<DepositKey>,
    epoch: Epoch,
    incomplete: bool,
    changes: Vec<ChangeLine>,
    notes: Vec<NoteLine>,
}

/// A change: for people the values by the names of the fields, for programs the images.
#[derive(Debug, Serialize, Deserialize)]
struct ChangeLine {
    sequence: Sequence,
    change: String,
    file: Option<FileName>,
    object: ObjectId,
    format: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    record: u64,
    key: Option<Vec<serde_json::Value>>,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
    before_image: Option<String>,
    after_image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_image: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct NoteLine {
    sequence: Sequence,
    kind: Kind,
    object: ObjectId,
    data: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
