//! Room `apply`, the machine: what it gives out: steps of the store and what it wants besides, and the bounds of both. Must not
//! know how a step comes about.

use rjournal::entry::{ObjectId, Sequence};

use super::meaning::Change;
use crate::store::{FileChange, StorePosition};

/// Bounds of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of undecided changes kept in memory, all cycles together.
    pub buffered_bytes_max: usize,
    /// Bytes of changes in one step.
    pub step_bytes_max: usize,
    /// A step is given out at this size although more could join it.
    pub step_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            buffered_bytes_max: 32 * 1024 * 1024,
            step_bytes_max: 16 * 1024 * 1024,
            step_bytes: 1024 * 1024,
        }
    }
}

/// One step of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where the store must stand.
    pub expected: Option<StorePosition>,
    /// Where it stands afterwards.
    pub next: StorePosition,
    /// Files.
    pub files: Vec<FileChange>,
    /// Rows, in order.
    pub changes: Vec<Change>,
}

/// What the machine wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Apply this.
    Step(Box<Step>),
    /// Read the entries in `(after, upto]` again and hand their bundles to [`ApplyMachine::handle_again`]: a cycle that was
    /// too large to keep is committed. Nothing else may be handed in before that.
    ReadAgain {
        /// The last entry before the cycle.
        after: Sequence,
        /// Its commit.
        upto: Sequence,
    },
    /// Journaling of a file began or ended: for those who change it.
    Journaled {
        /// The file.
        file: ObjectId,
        /// Whether it is journaled now.
        journaled: bool,
    },
}
