//! Room `receiver`: what a copy keeps about each of its receivers beside the bytes all copies share: dates, whether it was
//! saved, which file it is in (ruling 17). Written into the journal's control file by the room above.
//! Must not know that file.

use serde::{Deserialize, Serialize};

use crate::entry::{Position, QualifiedName, ReceiverId, Sequence, Timestamp};

/// One line of the receiver directory (IBM i: WRKJRNA, F15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverRecord {
    /// Identity.
    pub receiver: ReceiverId,
    /// Name on the source.
    pub name: QualifiedName,
    /// Number of its file here.
    pub file: u64,
    /// Last entry before it, and the chain head there.
    pub before: Position,
    /// Its last entry, once it is detached.
    pub last: Option<Position>,
    /// Bytes used, header included; final once it is detached.
    pub bytes: u64,
    /// When it was attached here.
    pub attached_at: Timestamp,
    /// When it was detached here.
    pub detached_at: Option<Timestamp>,
    /// Whether a save of it was recorded.
    pub saved: bool,
}

impl ReceiverRecord {
    /// Number of its first entry.
    pub const fn first(&self) -> Sequence {
        self.before.sequence.next()
    }

    /// Whether it takes no more entries.
    pub const fn is_detached(&self) -> bool {
        self.last.is_some()
    }
}
