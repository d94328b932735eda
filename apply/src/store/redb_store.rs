//! Room `store`: rows in redb 4, the second store: one file, one table for everything, one transaction per step. A step is
//! committed in memory; making the store durable commits once with a sync. redb repairs itself on opening by its
//! checksums, and a reader's transaction is a snapshot. The only room that knows redb. Must not know what the rows mean.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use redb::{Database, DatabaseError, Durability, WriteTransaction};
use rjournal::entry::ObjectId;

use super::catalog::{self, Space, State};
use super::clean::CleanMarker;
use super::directory::Directory;
use super::open::{StoreOptions, start};
use super::prove::prove;
use super::redb_store_map::{ReadMap, begin, from_redb, read_entries, step_entries};
use super::rows::{self, Limits};
use super::{
    Batch, KeyedRow, ReplicaStore, StoreError, StoreKind, StorePosition, StoreReader,
    StoreSnapshot, StoredFile, step,
};

/// A store in redb.
pub struct RedbStore {
    shared: Arc<Shared>,
    state: State,
    durable: State,
    /// Whether a space has to be emptied.
    emptying: bool,
}

/// What store and readers share.
struct Shared {
    path: Arc<Path>,
    /// Nothing once it is closed. redb itself keeps readers and the writer apart.
    live: RwLock<Option<Live>>,
    /// Why the store takes no more calls: redb wants to be opened again after an error of the medium.
    broken: OnceLock<String>,
}

struct Live {
    db: Database,
    directory: Directory,
}

impl RedbStore {
    /// Opens the store in the directory `path`, making it if there is none, and has it prove itself.
    ///
    /// # Errors
    /// [`StoreError::Foreign`], [`StoreError::Doubtful`], [`StoreError::Backend`] (transient while another process has
    /// it), [`StoreError::Io`].
    pub fn open(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let path: &Arc<Path> = &Arc::from(path);
        let directory = Directory::open(path, StoreKind::Redb)?;
        let (db, state, emptying) = start(&directory, |evidence| {
            let cache_bytes = usize::try_from(options.cache_bytes).unwrap_or(usize::MAX);
            let opened = Database::builder()
                .set_cache_size(cache_bytes)
                .create(path.join("store.redb"));
            let mut db = opened.map_err(|error| from_database(path, error))?;
            if evidence.clean.is_none() {
                // Whatever it finds and mends is read through afterwards.
                db.check_integrity()
                    .map_err(|error| from_database(path, error))?;
            }
            let first = begin(&db, path, Durability::Immediate)?;
            drop(step_entries(&first, path)?);
            first
                .commit()
                .map_err(|error| StoreError::refused(path, &error))?;
            let map = read_entries(&db, path)?;
            let state = prove(&map, evidence)?;
            let emptying = catalog::first_gone(&map)?.is_some();
            drop(map);
            Ok((db, state, emptying))
        })?;
        directory.sync()?;
        directory.remember_durable(state.generation)?;
        let shared = Shared {
            path: Arc::clone(path),
            live: RwLock::new(Some(Live { db, directory })),
            broken: OnceLock::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            state,
            durable: state,
            emptying,
        })
    }

    /// Takes away a part of what a dropped file left. Gives whether there may be more.
    fn empty_some(&self, live: &Live) -> Result<bool, StoreError> {
        let transaction = begin(&live.db, &self.shared.path, Durability::None)?;
        let mut entries = step_entries(&transaction, &self.shared.path)?;
        let more = step::empty_some(&mut entries)?;
        drop(entries);
        self.commit(transaction)?;
        Ok(more)
    }

    fn commit(&self, transaction: WriteTransaction) -> Result<(), StoreError> {
        let committed = transaction.commit();
        committed.map_err(|error| {
            self.shared
                .give_up(StoreError::refused(&self.shared.path, &error))
        })
    }
}

impl ReplicaStore for RedbStore {
    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::new(RedbReader {
            shared: Arc::clone(&self.shared),
        })
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let path = Arc::clone(&self.shared.path);
        let stepped = self.shared.with(|live| {
            live.directory.check_room(batch.bytes())?;
            let transaction = begin(&live.db, &path, Durability::None)?;
            // Dropped, and with it all it changed, where the batch is refused.
            let mut entries = step_entries(&transaction, &path)?;
            let stepped = step::apply(&mut entries, batch, None)?;
            drop(entries);
            self.commit(transaction)?;
            Ok(stepped)
        })?;
        self.state = stepped.state;
        self.emptying |= stepped.left_space;
        if self.emptying {
            // The batch is applied, whatever becomes of this; the next call tells.
            match self.shared.with(|live| self.empty_some(live)) {
                Ok(more) => self.emptying = more,
                Err(error) => drop(self.shared.give_up(error)),
            }
        }
        Ok(())
    }

    fn atomic_up_to(&self) -> Option<usize> {
        None
    }

    fn make_durable(&mut self) -> Result<Option<StorePosition>, StoreError> {
        let path = &self.shared.path;
        self.shared.with(|live| {
            if self.durable.generation == self.state.generation {
                return Ok(());
            }
            // A durable commit, even of nothing, makes all before it durable.
            self.commit(begin(&live.db, path, Durability::Immediate)?)?;
            live.directory.remember_durable(self.state.generation)
        })?;
        self.durable = self.state;
        Ok(self.durable.position)
    }

    fn durable_position(&self) -> Option<StorePosition> {
        self.durable.position
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        self.make_durable()?;
        let path = Arc::clone(&self.shared.path);
        let Some(Live { db, directory }) = self.shared.take() else {
            return Err(closed(&path));
        };
        let marker = CleanMarker::of(&read_entries(&db, &path)?)?;
        drop(db);
        directory.leave_clean_marker(&marker)
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // Readers that outlive the job find the store closed, and its directory is free.
        drop(self.shared.take());
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("path", &self.shared.path)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&Live) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let guard = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let live = guard.as_ref().ok_or_else(|| closed(&self.path))?;
        if let Some(reason) = self.broken.get() {
            let reason =
                format!("it takes no more calls until it is opened again, since: {reason}");
            return Err(StoreError::refused(&self.path, &reason));
        }
        look(live)
    }

    fn read(&self) -> Result<ReadMap, StoreError> {
        self.with(|live| read_entries(&live.db, &self.path))
    }

    fn give_up(&self, error: StoreError) -> StoreError {
        // Only the first reason counts.
        drop(self.broken.set(error.to_string()));
        error
    }

    fn take(&self) -> Option<Live> {
        self.live
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Reads a store in redb.
struct RedbReader {
    shared: Arc<Shared>,
}

impl RedbReader {
    fn in_file<T>(
        &self,
        file: ObjectId,
        look: impl FnOnce(&ReadMap, u64) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let map = self.shared.read()?;
        match catalog::space(&map, file)? {
            Some(space) => look(&map, space.number).map(Some),
            None => Ok(None),
        }
    }
}

impl StoreReader for RedbReader {
    fn position(&self) -> Result<Option<StorePosition>, StoreError> {
        Ok(catalog::state(&self.shared.read()?)?.position)
    }

    fn files(&self) -> Result<Vec<StoredFile>, StoreError> {
        let files = catalog::files(&self.shared.read()?)?;
        Ok(files.into_iter().map(|(file, _)| file).collect())
    }

    fn get(&self, file: ObjectId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.in_file(file, |map, space| rows::get(map, space, key))?;
        Ok(row.flatten())
    }

    fn scan(
        &self,
        file: ObjectId,
        after: Option<&[u8]>,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyedRow>, StoreError> {
        let limits = Limits {
            count,
            bytes: bytes_max,
        };
        let rows = self.in_file(file, |map, space| rows::scan(map, space, after, limits))?;
        Ok(rows.unwrap_or_default())
    }

    fn last(&self, file: ObjectId) -> Result<Option<KeyedRow>, StoreError> {
        Ok(self.in_file(file, rows::last)?.flatten())
    }

    fn snapshot(&self) -> Result<Box<dyn StoreSnapshot>, StoreError> {
        let map = self.shared.read()?;
        let position = catalog::state(&map)?.position;
        let position = position.ok_or_else(|| StoreError::never_written(&self.shared.path))?;
        let (files, spaces) = catalog::files(&map)?.into_iter().unzip();
        Ok(Box::new(RedbSnapshot {
            position,
            files,
            spaces,
            map,
        }))
    }
}

impl fmt::Debug for RedbReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbReader")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

/// A store in redb as it was. While it lives, redb keeps the pages it needs.
struct RedbSnapshot {
    position: StorePosition,
    files: Vec<StoredFile>,
    /// Of the files, in their order.
    spaces: Vec<Space>,
    map: ReadMap,
}

impl StoreSnapshot for RedbSnapshot {
    fn position(&self) -> &StorePosition {
        &self.position
    }

    fn files(&self) -> &[StoredFile] {
        &self.files
    }

    fn scan(
        &mut self,
        file: ObjectId,
        after: Option<&[u8]>,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyedRow>, StoreError> {
        let index = self.files.binary_search_by_key(&file, |file| file.id);
        let space = index.ok().and_then(|index| self.spaces.get(index));
        let Some(space) = space else {
            return Ok(Vec::new());
        };
        let limits = Limits {
            count,
            bytes: bytes_max,
        };
        rows::scan(&self.map, space.number, after, limits)
    }
}

impl fmt::Debug for RedbSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbSnapshot")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

fn from_database(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::Storage(error) => from_redb(path, error),
        DatabaseError::DatabaseAlreadyOpen => StoreError::busy(path, &error),
        _ => StoreError::doubtful(path, &error),
    }
}

fn closed(path: &Path) -> StoreError {
    StoreError::refused(path, "it is closed")
}
