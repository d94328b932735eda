//! Room `store`: snapshots of a store in sled, which has none. While one is open, a step keeps the row that stood under
//! each key it changes, once, unless the snapshot has been read past it; the snapshot reads the tree with the kept rows
//! over it. Memory is bounded: what becomes too large is given up, and begun again by whoever wants it.
//! Must not know sled itself.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rjournal::entry::ObjectId;

use super::catalog;
use super::layout::{ROW, area, key_of, row_key};
use super::rows::{self, Gathered, Limits};
use super::sled_store::Shared;
use super::sled_store_map::SledMap;
use super::{Batch, KeyedRow, StoreError, StorePosition, StoreSnapshot, StoredFile, values};

/// One for a save, one for a comparison, two for exports.
const SNAPSHOTS_MAX: usize = 4;
/// What a kept row costs beside its bytes.
const KEPT_BYTES_MORE: usize = 128;

/// The open snapshots of a store.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    open: Mutex<Vec<Weak<Mutex<Kept>>>>,
}

impl Snapshots {
    /// Whether any is open.
    pub(super) fn any(&self) -> bool {
        !self.open().is_empty()
    }

    /// Opens one more.
    ///
    /// # Errors
    /// [`StoreError::Backend`], transient, when there are enough.
    pub(super) fn admit(
        &self,
        path: &Path,
        shared: Arc<Shared>,
        before: BeforeImages,
    ) -> Result<SledSnapshot, StoreError> {
        let BeforeImages {
            position,
            files,
            spaces,
            kept,
        } = before;
        if self.open().len() >= SNAPSHOTS_MAX {
            let reason = format!("{SNAPSHOTS_MAX} snapshots of it are being read already");
            return Err(StoreError::busy(path, &reason));
        }
        let kept = Arc::new(Mutex::new(kept));
        self.lock().push(Arc::downgrade(&kept));
        Ok(SledSnapshot {
            shared,
            position,
            files,
            spaces,
            kept,
        })
    }

    /// Keeps what a batch is going to change. Keeping it twice, or for a batch that fails, does no harm.
    ///
    /// # Errors
    /// Whatever the map says.
    pub(super) fn keep(&self, map: &SledMap<'_>, batch: &Batch) -> Result<(), StoreError> {
        let open = self.open();
        if open.is_empty() {
            return Ok(());
        }
        let mut spaces: HashMap<ObjectId, Option<u64>> = HashMap::new();
        for change in &batch.rows {
            let space = if let Some(space) = spaces.get(&change.file) {
                *space
            } else {
                let space = catalog::space(map, change.file)?.map(|space| space.number);
                *spaces.entry(change.file).or_insert(space)
            };
            let Some(space) = space else { continue };
            for kept in &open {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.wants(space, &change.key) {
                    let row = rows::get(map, space, &change.key)?;
                    kept.put(space, &change.key, row);
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Mutex<Kept>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Vec<Arc<Mutex<Kept>>> {
        let mut open = self.lock();
        open.retain(|kept| kept.strong_count() > 0);
        open.iter().filter_map(Weak::upgrade).collect()
    }
}

/// What a snapshot begins with.
#[derive(Debug)]
pub(super) struct BeforeImages {
    position: StorePosition,
    files: Vec<StoredFile>,
    spaces: HashMap<ObjectId, u64>,
    kept: Kept,
}

impl BeforeImages {
    /// Begins a snapshot of the store as it is.
    ///
    /// # Errors
    /// [`StoreError::Backend`] for a store that was never written.
    pub(super) fn begin(
        map: &SledMap<'_>,
        path: &Path,
        bytes_max: usize,
    ) -> Result<Self, StoreError> {
        let position = catalog::state(map)?.position;
        let position = position.ok_or_else(|| StoreError::never_written(path))?;
        let found = catalog::files(map)?;
        let spaces: HashMap<_, _> = found
            .iter()
            .map(|(file, space)| (file.id, space.number))
            .collect();
        let read = spaces
            .values()
            .map(|space| (*space, Read::default()))
            .collect();
        Ok(Self {
            position,
            files: found.into_iter().map(|(file, _)| file).collect(),
            spaces,
            kept: Kept {
                read,
                rows: BTreeMap::new(),
                bytes: 0,
                bytes_max,
                given_up: false,
            },
        })
    }
}

/// How far the rows of one file were read.
#[derive(Debug, Default)]
struct Read {
    upto: Upto,
    /// Whether something at or below that is no longer as it was.
    moved: bool,
}

#[derive(Debug, Default)]
enum Upto {
    #[default]
    Nothing,
    Key(Vec<u8>),
    /// To the end, which is this key where there are rows.
    End(Option<Vec<u8>>),
}

impl Upto {
    fn has_passed(&self, key: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Key(upto) => key <= upto.as_slice(),
            Self::End(_) => true,
        }
    }

    /// Whether reading after `after` gives rows that were read before.
    fn reads_again(&self, after: Option<&[u8]>) -> bool {
        match self {
            Self::Nothing | Self::End(None) => false,
            Self::Key(last) | Self::End(Some(last)) => {
                after.is_none_or(|after| after < last.as_slice())
            }
        }
    }
}

/// Rows as they were.
#[derive(Debug)]
struct Kept {
    /// How far each space of the snapshot was read.
    read: HashMap<u64, Read>,
    /// By full key; nothing where no row was.
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
    bytes_max: usize,
    /// Whether there was too much to keep.
    given_up: bool,
}

impl Kept {
    /// Whether the row under a key must be kept before it changes.
    fn wants(&mut self, space: u64, key: &[u8]) -> bool {
        let Some(read) = self.read.get_mut(&space) else {
            return false;
        };
        if read.upto.has_passed(key) {
            read.moved = true;
            return false;
        }
        !self.given_up && !self.rows.contains_key(&row_key(space, key))
    }

    fn put(&mut self, space: u64, key: &[u8], row: Option<Vec<u8>>) {
        self.bytes += kept_bytes(key, row.as_deref());
        if self.bytes > self.bytes_max {
            self.given_up = true;
            self.rows.clear();
            return;
        }
        self.rows.insert(row_key(space, key), row);
    }

    /// The rows of a space were read up to a key, or to their end.
    fn pass(&mut self, space: u64, upto: Upto) {
        let Some(read) = self.read.get_mut(&space) else {
            return;
        };
        let further = match (&read.upto, &upto) {
            (Upto::End(_), _) | (_, Upto::Nothing) => false,
            (Upto::Nothing, _) | (_, Upto::End(_)) => true,
            (Upto::Key(before), Upto::Key(now)) => now > before,
        };
        if !further {
            return;
        }
        read.upto = upto;
        // What was read need not be kept any longer.
        let (first, end) = area(ROW, space);
        let passed: Vec<Vec<u8>> = self
            .rows
            .range(first..end)
            .map(|(key, _)| key)
            .take_while(|key| read.upto.has_passed(key_of(key)))
            .cloned()
            .collect();
        read.moved |= !passed.is_empty();
        for key in passed {
            if let Some(row) = self.rows.remove(&key) {
                self.bytes -= kept_bytes(key_of(&key), row.as_deref());
            }
        }
    }
}

fn kept_bytes(key: &[u8], row: Option<&[u8]>) -> usize {
    key.len() + row.map_or(0, <[u8]>::len) + KEPT_BYTES_MORE
}

/// A store in sled as it was.
pub(super) struct SledSnapshot {
    shared: Arc<Shared>,
    position: StorePosition,
    files: Vec<StoredFile>,
    spaces: HashMap<ObjectId, u64>,
    kept: Arc<Mutex<Kept>>,
}

impl StoreSnapshot for SledSnapshot {
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
        let Some(space) = self.spaces.get(&file).copied() else {
            return Ok(Vec::new());
        };
        let limits = Limits {
            count,
            bytes: bytes_max,
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let path = self.shared.path();
        // No step runs while the map can be read, so rows and kept rows belong together.
        self.shared.read(|map| {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.given_up {
                let reason = "more was changed under a snapshot than may be kept in memory";
                return Err(StoreError::busy(path, &reason));
            }
            if let Some(read) = kept.read.get(&space) {
                let again = read.upto.reads_again(after);
                if again && read.moved {
                    let reason =
                        "a snapshot was read past this place, and rows there have changed since";
                    return Err(StoreError::busy(path, reason));
                }
                if !again && matches!(read.upto, Upto::End(_)) {
                    // What stands behind the end now came later.
                    return Ok(Vec::new());
                }
            }
            let (rows, complete) = merged(map, &kept.rows, space, after, limits)?;
            let last = rows.last().map(|row| row.key.clone());
            let upto = match last {
                last if complete => Upto::End(last.or_else(|| after.map(<[u8]>::to_vec))),
                Some(last) => Upto::Key(last),
                None => Upto::Nothing,
            };
            kept.pass(space, upto);
            Ok(rows)
        })
    }
}

/// Rows of the tree with the kept ones over them, and whether these are all.
fn merged(
    map: &SledMap<'_>,
    kept: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    space: u64,
    after: Option<&[u8]>,
    limits: Limits,
) -> Result<(Vec<KeyedRow>, bool), StoreError> {
    let first = row_key(space, after.unwrap_or_default());
    let from = match after {
        Some(_) => Bound::Excluded(first),
        None => Bound::Included(first),
    };
    let (_, end) = area(ROW, space);
    let mut kept = kept.range((from, Bound::Excluded(end))).peekable();
    let mut gathered = Gathered::new(limits);
    let mut complete = true;
    rows::walk(map, space, after, |key, stored| {
        while let Some((kept_key, row)) = kept.next_if(|(kept_key, _)| kept_key.as_slice() <= key) {
            let replaces = kept_key.as_slice() == key;
            if let Some(row) = row
                && gathered.push(key_of(kept_key), row.clone()).is_break()
            {
                complete = false;
                return Ok(ControlFlow::Break(()));
            }
            if replaces {
                return Ok(ControlFlow::Continue(()));
            }
        }
        let row = values::whole(map, space, key, stored)?;
        let flow = gathered.push(key_of(key), row);
        complete &= flow.is_continue();
        Ok(flow)
    })?;
    if complete {
        for (key, row) in kept {
            if let Some(row) = row
                && gathered.push(key_of(key), row.clone()).is_break()
            {
                complete = false;
                break;
            }
        }
    }
    Ok((gathered.into_rows(), complete))
}

impl fmt::Debug for SledSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledSnapshot")
            .field("path", &self.shared.path())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
