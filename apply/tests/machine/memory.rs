//! A store in memory with the promises of a real one: position compared and set as a whole, files before rows, all of a
//! batch or nothing. Must not know the machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rjournal::entry::ObjectId;
use rjournal::entry::record::Format;
use rjournal_apply::store::{
    Batch, FileChange, KeyedRow, StoreError, StorePosition, StoreReader, StoreSnapshot, StoredFile,
};

use crate::history::Fold;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What it holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub(crate) position: Option<StorePosition>,
    files: BTreeMap<ObjectId, (Format, Rows)>,
}

/// The store. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    held: Arc<Mutex<Held>>,
}

impl Memory {
    /// A copy that goes its own way, as after a crash right now.
    pub(crate) fn copy(&self) -> Self {
        let held = self.held.lock().unwrap().clone();
        Self {
            held: Arc::new(Mutex::new(held)),
        }
    }

    /// Applies a batch.
    pub(crate) fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut held = self.held.lock().unwrap();
        if held.position != batch.expected {
            return Err(StoreError::Moved {
                expected: format!("{:?}", batch.expected),
                found: format!("{:?}", held.position),
            });
        }
        let mut next = held.clone();
        for change in &batch.files {
            match change {
                FileChange::Put { id, format } => {
                    let rows = next.files.remove(id).map(|(_, rows)| rows);
                    let rows = rows.unwrap_or_default();
                    next.files.insert(*id, ((**format).clone(), rows));
                }
                FileChange::Drop { id } => drop(next.files.remove(id)),
            }
        }
        for change in &batch.rows {
            let Some((_, rows)) = next.files.get_mut(&change.file) else {
                return Err(StoreError::NoFile { file: change.file });
            };
            match &change.row {
                Some(row) => rows.insert(change.key.clone(), row.clone()),
                None => rows.remove(&change.key),
            };
        }
        next.position = Some(batch.next);
        *held = next;
        Ok(())
    }

    /// Somebody else changes a row, as nobody should.
    pub(crate) fn tamper(&self, file: ObjectId, key: &[u8], row: Option<&[u8]>) {
        let mut held = self.held.lock().unwrap();
        let (_, rows) = held.files.get_mut(&file).unwrap();
        match row {
            Some(row) => rows.insert(key.to_vec(), row.to_vec()),
            None => rows.remove(key),
        };
    }
}

impl StoreReader for Memory {
    fn position(&self) -> Result<Option<StorePosition>, StoreError> {
        Ok(self.held.lock().unwrap().position)
    }

    fn files(&self) -> Result<Vec<StoredFile>, StoreError> {
        let held = self.held.lock().unwrap();
        let file = |(id, (format, rows)): (&ObjectId, &(Format, Rows))| StoredFile {
            id: *id,
            format: format.clone(),
            rows: rows.len() as u64,
        };
        Ok(held.files.iter().map(file).collect())
    }

    fn get(&self, file: ObjectId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let held = self.held.lock().unwrap();
        Ok(held
            .files
            .get(&file)
            .and_then(|(_, rows)| rows.get(key).cloned()))
    }

    fn scan(
        &self,
        file: ObjectId,
        after: Option<&[u8]>,
        count: usize,
        _bytes_max: usize,
    ) -> Result<Vec<KeyedRow>, StoreError> {
        let held = self.held.lock().unwrap();
        let Some((_, rows)) = held.files.get(&file) else {
            return Ok(Vec::new());
        };
        Ok(rows
            .iter()
            .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after))
            .take(count)
            .map(|(key, row)| KeyedRow {
                key: key.clone(),
                row: row.clone(),
            })
            .collect())
    }

    fn last(&self, file: ObjectId) -> Result<Option<KeyedRow>, StoreError> {
        Ok(self.scan(file, None, usize::MAX, usize::MAX)?.pop())
    }

    fn snapshot(&self) -> Result<Box<dyn StoreSnapshot>, StoreError> {
        Err(StoreError::Backend {
            path: "memory".to_owned(),
            reason: "it keeps no snapshots".to_owned(),
            transient: false,
        })
    }
}

/// Everything a store holds, its list of passed-over entries apart.
pub(crate) fn fold_of(reader: &dyn StoreReader) -> Fold {
    let mut fold = Fold::new();
    for file in reader.files().unwrap() {
        if file.format.file().to_string().starts_with("QRJOURNAL/") {
            continue;
        }
        let rows = reader.scan(file.id, None, usize::MAX, usize::MAX).unwrap();
        assert_eq!(rows.len() as u64, file.rows, "rows are counted");
        let rows = rows.into_iter().map(|row| (row.key, row.row)).collect();
        fold.insert(file.id, (file.format.version(), rows));
    }
    fold
}
