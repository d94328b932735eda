//! Room `store`: where a store stands in which history (ruling 9). Must not know how it is kept.

use std::fmt;

use rjournal::entry::{ChainHead, GroupId, JournalId, Sequence};
use serde::{Deserialize, Serialize};

/// A transaction too large for one step of the store, of which a part is applied (ruling 18). While this stands, the
/// store is not the fold of any position, and readers are told to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InProgress {
    /// The commit cycle.
    pub cycle: Sequence,
    /// Its decision: reads are right again when this is applied.
    pub decision: Sequence,
    /// The last of its entries that is applied.
    pub done: Sequence,
}

/// Position of a store: which entries it is the fold of. Compared and set as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePosition {
    /// The recovery group, the journal's own bytes outside one.
    pub group: GroupId,
    /// The term whose journal this is.
    pub term: u64,
    /// The journal.
    pub journal: JournalId,
    /// Everything decided at or below this entry is applied.
    pub applied: Sequence,
    /// Where reading must begin again after a restart: the entry before the first of the oldest commit cycle that was
    /// open at `applied`, or `applied` when none was.
    pub restart: Sequence,
    /// Chain head at `applied`.
    pub head: ChainHead,
    /// A transaction that is applied in part.
    pub in_progress: Option<InProgress>,
}

impl fmt::Display for StorePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of journal {}", self.applied, self.journal)?;
        match self.in_progress {
            Some(mark) => write!(f, ", within transaction {} up to entry {}", mark.cycle, mark.done),
            None => Ok(()),
        }
    }
}
