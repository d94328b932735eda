//! Room `store`: the tree of sled as an ordered map, read under the store's lock or with a step in the making. Must not know
//! what keys and values mean.

use std::ops::{Bound, ControlFlow};
use std::path::Path;

use super::StoreError;
use super::ordered::{Entry, Ordered, OrderedMut, Visit};

/// Up to 20 values share a page, and a page above 128 KiB becomes a blob file.
const WHOLE_BYTES_MAX: usize = 6 * 1024;

/// The tree as an ordered map. Whoever has one holds the lock.
pub(super) struct SledMap<'a> {
    db: &'a sled::Db,
    path: &'a Path,
}

impl<'a> SledMap<'a> {
    pub(super) const fn new(db: &'a sled::Db, path: &'a Path) -> Self {
        Self { db, path }
    }
}

impl Ordered for SledMap<'_> {
    fn look<T>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, StoreError> {
        let value = self
            .db
            .get(key)
            .map_err(|error| from_sled(self.path, &error))?;
        Ok(read(value.as_deref()))
    }

    fn walk(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        for entry in self.db.range::<&[u8], _>((from, to)) {
            let (key, value) = entry.map_err(|error| from_sled(self.path, &error))?;
            if let ControlFlow::Break(()) = visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>, StoreError> {
        let entry = self.db.range(from..to).next_back().transpose();
        let entry = entry.map_err(|error| from_sled(self.path, &error))?;
        Ok(entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn doubtful(&self, reason: String) -> StoreError {
        StoreError::doubtful(self.path, &reason)
    }
}

/// A step in the making: reads show the tree before it.
pub(super) struct SledStep<'a> {
    map: SledMap<'a>,
    batch: sled::Batch,
}

impl<'a> SledStep<'a> {
    pub(super) fn new(db: &'a sled::Db, path: &'a Path) -> Self {
        Self {
            map: SledMap::new(db, path),
            batch: sled::Batch::default(),
        }
    }

    /// The changes, for the tree to take as a whole.
    pub(super) fn into_batch(self) -> sled::Batch {
        self.batch
    }
}

impl Ordered for SledStep<'_> {
    fn look<T>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, StoreError> {
        self.map.look(key, read)
    }

    fn walk(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: impl FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        self.map.walk(from, to, visit)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.map.last(from, to)
    }

    fn doubtful(&self, reason: String) -> StoreError {
        self.map.doubtful(reason)
    }
}

impl OrderedMut for SledStep<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.batch.insert(key, value);
        Ok(())
    }

    fn remove(&mut self, key: Vec<u8>) -> Result<(), StoreError> {
        self.batch.remove(key);
        Ok(())
    }

    fn whole_bytes_max(&self) -> usize {
        WHOLE_BYTES_MAX
    }
}

/// What sled says about its files.
pub(super) fn from_sled(path: &Path, error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Corruption { .. } => StoreError::doubtful(path, &error),
        _ => StoreError::refused(path, &error),
    }
}
