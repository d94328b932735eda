//! Room `store`: where rows are kept. A store is a function of its journal: its position says which entries it is the fold
//! of, and rows and position change in one step or not at all. Two stores stand behind one trait, [`ReplicaStore`], and
//! one conformance suite; a store save is one file with all rows at one position. Must not know entries or journals.

mod batch;
mod position;

pub use batch::{Batch, FileChange, RowChange};
pub use position::{InProgress, StorePosition};

use std::fmt;
use std::sync::Arc;

use rjournal::entry::ObjectId;
use rjournal::entry::record::Format;

/// A file in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its identity, the same on all systems.
    pub id: ObjectId,
    /// Its newest format.
    pub format: Format,
    /// How many rows it has.
    pub rows: u64,
}

/// One row with its key, as they stand in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRow {
    /// Order-preserving encoding of the key, or of the record number.
    pub key: Vec<u8>,
    /// Encoding of the row.
    pub row: Vec<u8>,
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store's own word: disk full, file damaged, lock held by another process ...
    #[error("store {path}: {reason}")]
    Backend {
        /// The store's directory or file.
        path: String,
        /// What it said.
        reason: String,
        /// Whether trying again can help (full, locked, slow).
        transient: bool,
    },
    /// Somebody else moved the store: another apply job works on it (failures.md APL-4).
    #[error("the store stands at {found}, not at {expected}: another apply job works on it")]
    Moved {
        /// Where the batch expected it.
        expected: String,
        /// Where it stands.
        found: String,
    },
    /// The store is not one of ours, or of a version this program does not read.
    #[error("{path} is not a store of this program: {reason}")]
    Foreign {
        /// The store's directory or file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The store cannot prove that it is whole: it must be set aside and rebuilt.
    #[error("store {path} cannot prove that it is whole: {reason}")]
    Doubtful {
        /// The store's directory or file.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A row, key or file is larger than this store takes.
    #[error("{what} of {bytes} bytes is larger than this store takes ({bytes_max})")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A save is not one, is damaged, or of a version this program does not read.
    #[error("store save {path}: {reason}")]
    Save {
        /// The save's file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// Whether trying again can help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Backend { transient: true, .. })
    }
}

/// Reads a store while it is being changed; shared between threads. Each call sees whole batches only.
pub trait StoreReader: fmt::Debug + Send + Sync {
    /// Where the store stands; nothing for a store that was never written.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn position(&self) -> Result<Option<StorePosition>, StoreError>;

    /// All files, by identity.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn files(&self) -> Result<Vec<StoredFile>, StoreError>;

    /// One row by its key.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn get(&self, file: ObjectId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `count` rows (and at most about `bytes_max` bytes of them, at least one) with keys after `after`, or from the
    /// first, in key order.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn scan(&self, file: ObjectId, after: Option<&[u8]>, count: usize, bytes_max: usize) -> Result<Vec<KeyedRow>, StoreError>;

    /// The last row in key order: where record numbers go on.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn last(&self, file: ObjectId) -> Result<Option<KeyedRow>, StoreError>;

    /// The store as it is now, unmoved by what is applied afterwards.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn snapshot(&self) -> Result<Box<dyn StoreSnapshot>, StoreError>;
}

/// A store at one position. Holding one may cost memory or space in proportion to what is applied meanwhile.
pub trait StoreSnapshot: fmt::Debug + Send {
    /// The position it is the fold of.
    fn position(&self) -> &StorePosition;

    /// All files at that position.
    fn files(&self) -> &[StoredFile];

    /// As [`StoreReader::scan`], at that position.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn scan(&mut self, file: ObjectId, after: Option<&[u8]>, count: usize, bytes_max: usize) -> Result<Vec<KeyedRow>, StoreError>;
}

/// A store in the hands of the one job that changes it.
pub trait ReplicaStore: fmt::Debug + Send {
    /// Reads it, from any thread.
    fn reader(&self) -> Arc<dyn StoreReader>;

    /// Applies a batch: rows, files and position in one step, visible to readers at once, durable after
    /// [`Self::make_durable`]. The position is compared with what the batch expects first.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when the store stands elsewhere; otherwise whatever the store says. Nothing has changed then.
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Bytes of changes one batch may carry; nothing for no limit. Larger transactions come in steps, with a mark
    /// ([`StorePosition::in_progress`]) standing between them.
    fn atomic_up_to(&self) -> Option<usize>;

    /// Makes everything applied durable; after this, a power cut does not take the store behind the position given.
    ///
    /// # Errors
    /// Whatever the store says.
    fn make_durable(&mut self) -> Result<Option<StorePosition>, StoreError>;

    /// The position a power cut cannot take the store behind.
    fn durable_position(&self) -> Option<StorePosition>;

    /// Makes it durable and leaves the proof that it was closed in order.
    ///
    /// # Errors
    /// Whatever the store says.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}
