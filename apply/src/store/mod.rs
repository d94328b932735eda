//! Room `store`: where rows are kept. A store is a function of its journal: its position says which entries it is the fold
//! of, and rows and position change in one step or not at all. Two stores stand behind one trait, [`ReplicaStore`], and
//! one conformance suite; a store save is one file with all rows at one position. Must not know entries or journals.

mod batch;
mod catalog;
mod clean;
mod directory;
mod error;
mod hash;
mod layout;
mod open;
mod ordered;
mod position;
mod prove;
mod redb_store;
mod redb_store_map;
mod restore;
mod rows;
mod save;
mod save_bytes;
mod save_read;
mod sled_store;
mod sled_store_before;
mod sled_store_map;
mod sled_store_sync;
mod step;
mod values;

pub use batch::{Batch, FileChange, RowChange};
pub use error::StoreError;
pub use hash::{Difference, FileHash, RowSource, difference, hash_file};
pub use open::{StoreKind, StoreKindError, StoreOptions, open, set_aside};
pub use position::{InProgress, MarkKind, StorePosition};
pub use redb_store::RedbStore;
pub use restore::restore;
pub use save::{Progress, save};
pub use save_read::{SaveInfo, check, read_header};
pub use sled_store::SledStore;

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
    fn scan(
        &self,
        file: ObjectId,
        after: Option<&[u8]>,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyedRow>, StoreError>;

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
    fn scan(
        &mut self,
        file: ObjectId,
        after: Option<&[u8]>,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyedRow>, StoreError>;
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
