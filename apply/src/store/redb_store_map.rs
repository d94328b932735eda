//! Room `store`: a table of redb as an ordered map, read in a reader's transaction or changed in the writer's. Must not
//! know what keys and values mean.

use std::io::ErrorKind;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError, Table,
    TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::StoreError;
use super::ordered::{Entry, Ordered, OrderedMut, Visit};

type Bytes = &'static [u8];

const ENTRIES: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("entries");

/// A table of redb as an ordered map.
pub(super) struct RedbMap<T> {
    entries: T,
    path: Arc<Path>,
}

/// The table as it was when reading began.
pub(super) type ReadMap = RedbMap<ReadOnlyTable<Bytes, Bytes>>;
/// The table within a step.
pub(super) type StepMap<'t> = RedbMap<Table<'t, Bytes, Bytes>>;

/// Begins a transaction that changes.
pub(super) fn begin(
    db: &Database,
    path: &Path,
    durability: Durability,
) -> Result<WriteTransaction, StoreError> {
    let mut transaction = db
        .begin_write()
        .map_err(|error| from_transaction(path, error))?;
    transaction
        .set_durability(durability)
        .map_err(|error| StoreError::refused(path, &error))?;
    Ok(transaction)
}

/// The table in a transaction that changes; made where there is none.
pub(super) fn step_entries<'t>(
    transaction: &'t WriteTransaction,
    path: &Arc<Path>,
) -> Result<StepMap<'t>, StoreError> {
    let entries = transaction
        .open_table(ENTRIES)
        .map_err(|error| from_table(path, error))?;
    Ok(RedbMap {
        entries,
        path: Arc::clone(path),
    })
}

/// The table as it is now.
pub(super) fn read_entries(db: &Database, path: &Arc<Path>) -> Result<ReadMap, StoreError> {
    let transaction = db
        .begin_read()
        .map_err(|error| from_transaction(path, error))?;
    let entries = transaction
        .open_table(ENTRIES)
        .map_err(|error| from_table(path, error))?;
    Ok(RedbMap {
        entries,
        path: Arc::clone(path),
    })
}

impl<T: ReadableTable<Bytes, Bytes>> Ordered for RedbMap<T> {
    fn look<V>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> V) -> Result<V, StoreError> {
        let value = self
            .entries
            .get(key)
            .map_err(|error| from_redb(&self.path, error))?;
        Ok(read(value.as_ref().map(redb::AccessGuard::value)))
    }

    fn walk(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        let range = self.entries.range::<&[u8]>((from, to));
        for entry in range.map_err(|error| from_redb(&self.path, error))? {
            let (key, value) = entry.map_err(|error| from_redb(&self.path, error))?;
            if let ControlFlow::Break(()) = visit(key.value(), value.value())? {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>, StoreError> {
        let range = self.entries.range::<&[u8]>(from..to);
        let mut range = range.map_err(|error| from_redb(&self.path, error))?;
        let entry = range.next_back().transpose();
        let entry = entry.map_err(|error| from_redb(&self.path, error))?;
        Ok(entry.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }

    fn doubtful(&self, reason: String) -> StoreError {
        StoreError::doubtful(&self.path, &reason)
    }
}

impl OrderedMut for StepMap<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        let put = self.entries.insert(key.as_slice(), value.as_slice());
        put.map_err(|error| from_redb(&self.path, error))?;
        Ok(())
    }

    fn remove(&mut self, key: Vec<u8>) -> Result<(), StoreError> {
        let removed = self.entries.remove(key.as_slice());
        removed.map_err(|error| from_redb(&self.path, error))?;
        Ok(())
    }

    fn whole_bytes_max(&self) -> usize {
        // redb gives a large value pages of its own.
        usize::MAX
    }
}

/// What redb says about its file.
pub(super) fn from_redb(path: &Path, error: StorageError) -> StoreError {
    match error {
        StorageError::Corrupted(_) => StoreError::doubtful(path, &error),
        // How it says that a file is none of its own, or ends too early.
        StorageError::Io(source)
            if matches!(
                source.kind(),
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::doubtful(path, &source)
        }
        StorageError::Io(source) => StoreError::io("could not be read or written", path, source),
        _ => StoreError::refused(path, &error),
    }
}

fn from_transaction(path: &Path, error: TransactionError) -> StoreError {
    match error {
        TransactionError::Storage(error) => from_redb(path, error),
        _ => StoreError::refused(path, &error),
    }
}

fn from_table(path: &Path, error: TableError) -> StoreError {
    match error {
        TableError::Storage(error) => from_redb(path, error),
        _ => StoreError::doubtful(path, &error),
    }
}
