//! Room `store`: one step of a store: changes of rows and files, and the position they lead to. Must not know where they
//! come from.

use rjournal::entry::ObjectId;
use rjournal::entry::record::Format;

use super::StorePosition;

/// What a change costs beside its bytes.
const CHANGE_BYTES_MORE: usize = 32;

/// A row put or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The file.
    pub file: ObjectId,
    /// The key.
    pub key: Vec<u8>,
    /// The row from now on; nothing where it goes.
    pub row: Option<Vec<u8>>,
}

impl RowChange {
    /// About how many bytes it carries.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.row.as_ref().map_or(0, Vec::len) + CHANGE_BYTES_MORE
    }
}

/// A file made, changed or taken away with all its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChange {
    /// Made, or given a new format; rows of a file that is there stay.
    Put {
        /// The file.
        id: ObjectId,
        /// Its format from now on.
        format: Box<Format>,
    },
    /// Taken away with all its rows. Taking away a file that is not there changes nothing.
    Drop {
        /// The file.
        id: ObjectId,
    },
}

/// One step: applied as a whole or not at all. File changes come first, in order, then row changes in order; the last
/// change of a key counts. A file that is dropped and put again in one step is empty before its rows change.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Where the store must stand, nothing for one that was never written.
    pub expected: Option<StorePosition>,
    /// Where it stands afterwards.
    pub next: StorePosition,
    /// Files.
    pub files: Vec<FileChange>,
    /// Rows, of files that are there after the file changes.
    pub rows: Vec<RowChange>,
}

impl Batch {
    /// About how many bytes of keys and rows it carries.
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(RowChange::bytes).sum()
    }
}
