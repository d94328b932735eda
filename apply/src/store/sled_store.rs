//! Room `store`: rows in sled 0.34.7, the embedded default: one tree for everything, one sled batch per step, so that
//! rows, counts and position never come apart. sled does not sync what it calls flushed, keeps a half-made batch in
//! memory when the disk fails, and may not open after an abrupt stop: here is what is done about it (crates.md 1.4).
//! The only rooms that know sled are this file and those named after it. Must not know what the rows mean.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use rjournal::entry::ObjectId;

use super::catalog::{self, State};
use super::clean::CleanMarker;
use super::directory::Directory;
use super::open::{StoreOptions, start};
use super::prove::prove;
use super::rows::{self, Limits};
use super::sled_store_before::{BeforeImages, Snapshots};
use super::sled_store_map::{SledMap, SledStep, from_sled};
use super::sled_store_sync::SledFiles;
use super::{
    Batch, KeyedRow, ReplicaStore, StoreError, StoreKind, StorePosition, StoreReader,
    StoreSnapshot, StoredFile, step,
};

/// What one step may carry: sled builds it in memory.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often sled writes and syncs by itself, in milliseconds.
const FLUSH_EVERY_MS: u64 = 1000;
/// How long threads of a store that this process closed before may keep its file.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);
const LET_GO_POLL: Duration = Duration::from_millis(2);

/// A store in sled.
pub struct SledStore {
    shared: Arc<Shared>,
    files: SledFiles,
    state: State,
    durable: State,
    /// Whether a space has to be emptied.
    emptying: bool,
}

/// What store, readers and snapshots share.
pub(super) struct Shared {
    path: PathBuf,
    /// Readers share it; a step has it alone, so that a call sees whole batches only. Nothing once it is closed.
    live: RwLock<Option<Live>>,
    snapshot_bytes_max: usize,
}

/// An open store.
pub(super) struct Live {
    db: sled::Db,
    directory: Directory,
    /// Why the store takes no more calls: after an error in a step, memory may hold a part of it.
    broken: OnceLock<String>,
    snapshots: Snapshots,
}

impl SledStore {
    /// Opens the store in the directory `path`, making it if there is none, and has it prove itself.
    ///
    /// # Errors
    /// [`StoreError::Foreign`], [`StoreError::Doubtful`], [`StoreError::Backend`] (transient while another process has
    /// it), [`StoreError::Io`].
    pub fn open(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let directory = Directory::open(path, StoreKind::Sled)?;
        let rows = path.join("sled");
        wait_until_let_go(&rows.join("db"))
            .map_err(|source| StoreError::io("could not be locked", &rows, source))?;
        let (db, state, emptying) = start(&directory, |evidence| {
            let db = sled::Config::new()
                .path(&rows)
                .cache_capacity(options.cache_bytes)
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .open()
                .map_err(|error| from_sled(path, &error))?;
            let map = SledMap::new(&db, path);
            let state = prove(&map, evidence)?;
            let emptying = catalog::first_gone(&map)?.is_some();
            Ok((db, state, emptying))
        })?;
        let files = SledFiles::open(path, rows)
            .map_err(|source| StoreError::io("could not be opened", path, source))?;
        let live = Live {
            db,
            directory,
            broken: OnceLock::new(),
            snapshots: Snapshots::default(),
        };
        let shared = Shared {
            path: path.to_owned(),
            live: RwLock::new(Some(live)),
            snapshot_bytes_max: options.snapshot_bytes_max,
        };
        let mut store = Self {
            shared: Arc::new(shared),
            files,
            state,
            durable: State::EMPTY,
            emptying,
        };
        // What was found is durable from here on, whoever wrote it.
        store.sync()?;
        Ok(store)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let Self {
            shared,
            files,
            state,
            ..
        } = self;
        let path = &shared.path;
        shared.with(|live| {
            let flushed = live.db.flush();
            flushed.map_err(|error| live.give_up(from_sled(path, &error)))?;
            let synced = files.sync();
            // A failed sync is final: what it was to make durable may be gone from memory already.
            synced.map_err(|source| {
                live.give_up(StoreError::io("could not be synced", path, source))
            })?;
            live.directory.remember_durable(state.generation)
        })?;
        self.durable = self.state;
        Ok(())
    }
}

impl ReplicaStore for SledStore {
    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::new(SledReader {
            shared: Arc::clone(&self.shared),
        })
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let path = &self.shared.path;
        let mut guard = self
            .shared
            .live
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let live = guard.as_mut().ok_or_else(|| closed(path))?;
        live.check(path)?;
        live.directory.check_room(batch.bytes())?;
        let mut step = SledStep::new(&live.db, path);
        let stepped = step::apply(&mut step, batch, Some(BATCH_BYTES_MAX))?;
        let changes = step.into_batch();
        live.snapshots.keep(&SledMap::new(&live.db, path), batch)?;
        live.change(path, changes)?;
        self.state = stepped.state;
        self.emptying |= stepped.left_space;
        if self.emptying && !live.snapshots.any() {
            // The batch is applied, whatever becomes of this; the next call tells.
            match live.empty_some(path) {
                Ok(more) => self.emptying = more,
                Err(error) => drop(live.give_up(error)),
            }
        }
        Ok(())
    }

    fn atomic_up_to(&self) -> Option<usize> {
        Some(BATCH_BYTES_MAX)
    }

    fn make_durable(&mut self) -> Result<Option<StorePosition>, StoreError> {
        if self.durable.generation == self.state.generation {
            self.shared.with(|_| Ok(()))?;
        } else {
            self.sync()?;
        }
        Ok(self.durable.position)
    }

    fn durable_position(&self) -> Option<StorePosition> {
        self.durable.position
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        self.make_durable()?;
        let path = self.shared.path.clone();
        let Some(live) = self.shared.take() else {
            return Err(closed(&path));
        };
        let Live { db, directory, .. } = live;
        let marker = CleanMarker::of(&SledMap::new(&db, &path))?;
        drop(db);
        let synced = self.files.sync();
        synced.map_err(|source| StoreError::io("could not be synced", &path, source))?;
        directory.leave_clean_marker(&marker)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        // Readers that outlive the job find the store closed, and its directory is free.
        drop(self.shared.take());
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sled's own form prints every row.
        f.debug_struct("SledStore")
            .field("path", &self.shared.path)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Has a look at the open store, which no step changes meanwhile.
    pub(super) fn with<T>(
        &self,
        look: impl FnOnce(&Live) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let guard = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let live = guard.as_ref().ok_or_else(|| closed(&self.path))?;
        live.check(&self.path)?;
        look(live)
    }

    /// As [`Self::with`], for those who only read.
    pub(super) fn read<T>(
        &self,
        look: impl FnOnce(&SledMap<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|live| look(&SledMap::new(&live.db, &self.path)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn take(&self) -> Option<Live> {
        self.live
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Live {
    fn check(&self, path: &Path) -> Result<(), StoreError> {
        match self.broken.get() {
            None => Ok(()),
            Some(reason) => {
                let reason =
                    format!("it takes no more calls until it is opened again, since: {reason}");
                Err(StoreError::refused(path, &reason))
            }
        }
    }

    fn give_up(&self, error: StoreError) -> StoreError {
        // Only the first reason counts.
        drop(self.broken.set(error.to_string()));
        error
    }

    /// Takes away a part of what a dropped file left. Gives whether there may be more.
    fn empty_some(&self, path: &Path) -> Result<bool, StoreError> {
        let mut step = SledStep::new(&self.db, path);
        let more = step::empty_some(&mut step)?;
        self.change(path, step.into_batch())?;
        Ok(more)
    }

    fn change(&self, path: &Path, changes: sled::Batch) -> Result<(), StoreError> {
        let changed = self.db.apply_batch(changes);
        changed.map_err(|error| self.give_up(from_sled(path, &error)))
    }
}

/// Reads a store in sled.
struct SledReader {
    shared: Arc<Shared>,
}

impl SledReader {
    fn in_file<T>(
        &self,
        file: ObjectId,
        look: impl FnOnce(&SledMap<'_>, u64) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.shared.read(|map| match catalog::space(map, file)? {
            Some(space) => look(map, space.number).map(Some),
            None => Ok(None),
        })
    }
}

impl StoreReader for SledReader {
    fn position(&self) -> Result<Option<StorePosition>, StoreError> {
        self.shared.read(|map| Ok(catalog::state(map)?.position))
    }

    fn files(&self) -> Result<Vec<StoredFile>, StoreError> {
        let files = self.shared.read(|map| catalog::files(map))?;
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
        let row = self.in_file(file, |map, space| rows::last(map, space))?;
        Ok(row.flatten())
    }

    fn snapshot(&self) -> Result<Box<dyn StoreSnapshot>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let snapshot = self.shared.with(|live| {
            let map = SledMap::new(&live.db, &self.shared.path);
            let before =
                BeforeImages::begin(&map, &self.shared.path, self.shared.snapshot_bytes_max)?;
            live.snapshots.admit(&self.shared.path, shared, before)
        })?;
        Ok(Box::new(snapshot))
    }
}

impl fmt::Debug for SledReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledReader")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

fn closed(path: &Path) -> StoreError {
    StoreError::refused(path, "it is closed")
}

/// Threads of sled end a little after the store they belong to. Who opens here holds the lock of the directory, so nobody
/// else can have the file.
fn wait_until_let_go(db: &Path) -> std::io::Result<()> {
    let file = match File::open(db) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let polls = LET_GO_WITHIN.as_millis() / LET_GO_POLL.as_millis();
    for _ in 0..polls {
        match file.try_lock() {
            // Given back at once, and not by closing: a process that is just being started may have a copy of the file,
            // which would keep the lock from sled.
            Ok(()) => return file.unlock(),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LET_GO_POLL),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(std::io::ErrorKind::WouldBlock.into())
}
