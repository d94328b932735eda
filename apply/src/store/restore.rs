//! Room `store`: a store save goes into an empty store, of either kind. The save is read and checked to its end before the
//! first row is put, and again while they are put. Until the last step a mark stands in the store's position, so that a
//! store that was restored in part never looks whole: opening it again says that it is in doubt, and the restore is
//! simply begun anew, into a new one. Must not know which store it is.

use std::path::Path;

use super::save::Progress;
use super::save_read::{SaveInfo, SaveReader};
use super::{
    Batch, FileChange, InProgress, ReplicaStore, RowChange, StoreError, StorePosition, StoredFile,
};

/// One step of a restore; fewer where the store takes less.
const STEP_BYTES: usize = 4 * 1024 * 1024;
/// Bytes between two times the store is made durable, so that it need not hold more unsynced.
const DURABLE_EVERY_BYTES: usize = 128 * 1024 * 1024;

/// Puts all rows of the save at `path` into `store`, which must never have been written, and makes it durable.
/// `progress` is told about every step; the first reading of the save, which only checks, goes before them.
///
/// # Errors
/// [`StoreError::NotEmpty`], [`StoreError::Save`] naming what is wrong with the save (the store is untouched then, or, if
/// the save was changed between its two readings, marked as unfinished), or whatever the store says.
pub fn restore(
    path: &Path,
    store: &mut dyn ReplicaStore,
    progress: &mut dyn FnMut(Progress),
) -> Result<SaveInfo, StoreError> {
    let reader = store.reader();
    if let Some(position) = reader.position()? {
        return Err(StoreError::NotEmpty {
            found: position.to_string(),
        });
    }
    let mut save = SaveReader::open(path)?;
    while save.next_chunk()?.is_some() {}
    let mut save = save.again()?;
    let bytes_max = store
        .atomic_up_to()
        .map_or(STEP_BYTES, |bytes| bytes.min(STEP_BYTES));
    let mut steps = Steps {
        position: save.header().position,
        expected: None,
        number: 0,
        store,
        files: Vec::new(),
        rows: Vec::new(),
        bytes: 0,
        bytes_max,
        unsynced: 0,
    };
    for file in &save.header().files {
        steps.put_file(file)?;
    }
    // From here on the mark stands, whatever happens.
    steps.take()?;
    while let Some(chunk) = save.next_chunk()? {
        let Some(file) = save.header().files.get(chunk.file) else {
            break;
        };
        let id = file.id;
        for row in chunk.rows {
            steps.put_row(RowChange {
                file: id,
                key: row.key,
                row: Some(row.row),
            })?;
        }
        progress(save.progress());
    }
    steps.finish()?;
    progress(save.progress());
    save.into_info()
}

/// The steps of a restore.
struct Steps<'a> {
    store: &'a mut dyn ReplicaStore,
    /// Where the store stands in the end.
    position: StorePosition,
    /// Where it stands now.
    expected: Option<StorePosition>,
    number: u64,
    files: Vec<FileChange>,
    rows: Vec<RowChange>,
    bytes: usize,
    bytes_max: usize,
    unsynced: usize,
}

impl Steps<'_> {
    fn put_file(&mut self, file: &StoredFile) -> Result<(), StoreError> {
        self.make_room(file.format.encode().len())?;
        self.files.push(FileChange::Put {
            id: file.id,
            format: Box::new(file.format.clone()),
        });
        Ok(())
    }

    fn put_row(&mut self, change: RowChange) -> Result<(), StoreError> {
        self.make_room(change.bytes())?;
        self.rows.push(change);
        Ok(())
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), StoreError> {
        if self.bytes > 0 && self.bytes + bytes > self.bytes_max {
            self.take()?;
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Takes a step with what there is, under the mark.
    fn take(&mut self) -> Result<(), StoreError> {
        self.number += 1;
        let mark = InProgress::restoring(self.number);
        self.step(StorePosition {
            in_progress: Some(mark),
            ..self.position
        })?;
        if self.unsynced >= DURABLE_EVERY_BYTES {
            self.store.make_durable()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), StoreError> {
        self.take()?;
        self.step(self.position)?;
        self.store.make_durable()?;
        Ok(())
    }

    fn step(&mut self, next: StorePosition) -> Result<(), StoreError> {
        let batch = Batch {
            expected: self.expected,
            next,
            files: std::mem::take(&mut self.files),
            rows: std::mem::take(&mut self.rows),
        };
        self.store.apply(&batch)?;
        self.expected = Some(next);
        self.unsynced += std::mem::take(&mut self.bytes);
        Ok(())
    }
}
