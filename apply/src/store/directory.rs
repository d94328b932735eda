//! Room `store`: the directory of a store and the small files beside its rows. They say whose it is, keep it to one
//! process, count starts that did not end, and remember what was durable. Must not know rows.
//!
//! | file | what it says | written |
//! | --- | --- | --- |
//! | `format` | that this is a store of this program, its version, which store | when it is made |
//! | `lock` | nothing; whoever holds it may touch the rest | - |
//! | `starts` | how often opening began and did not end | before the store itself is opened; removed when it is open |
//! | `clean` | what the store held when it was closed ([`CleanMarker`]) | on closing; removed once opened again |
//! | `durable` | a generation that was durable once, a lower bound | after each time the store was made durable, unsynced |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rjournal::disk::{DirectoryLock, Disk, DiskFile, OsDisk, read_whole, replace_whole};
use rjournal::entry::Cursor;

use super::clean::CleanMarker;
use super::{StoreError, StoreKind};

const FORMAT: &str = "format";
const LOCK: &str = "lock";
const STARTS: &str = "starts";
const CLEAN: &str = "clean";
const DURABLE: &str = "durable";
/// What may stand in a directory whose `format` was not written yet.
const LEFT_BY_A_CRASH: [&str; 2] = [LOCK, "format.new"];
const SMALL_BYTES_MAX: u64 = 4096;
const CLEAN_BYTES_MAX: u64 = 256 * 1024 * 1024;
const MARK_MAGIC: [u8; 4] = *b"RJSD";
const MARK_VERSION: u16 = 1;
/// Bytes of the mark: magic 4, version 2, reserved 2, generation 8, CRC32 of these 4; the last stands there in every version.
const MARK_BYTES: usize = 20;
/// A store that failed this often while it was opened is not opened again (crates.md 1.4 rule 7).
const STARTS_MAX: u32 = 2;
/// Room that is left to others on the medium: both stores are in trouble when they meet its end.
const FREE_BYTES_LEAST: u64 = 16 * 1024 * 1024;

/// The directory of one store, kept to this process while this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    disk: OsDisk,
    mark: Arc<dyn DiskFile>,
    _lock: DirectoryLock,
}

impl Directory {
    /// Opens the directory of a store, making it if there is none.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] when something else stands there, [`StoreError::Backend`] when another process has it,
    /// [`StoreError::Io`].
    pub(super) fn open(path: &Path, kind: StoreKind) -> Result<Self, StoreError> {
        let disk = OsDisk::new(path);
        check_that_it_may_be_ours(&disk, path)?;
        disk.create_dir(Path::new(""))
            .and_then(|()| OsDisk::new(parent(path)).sync_dir(Path::new("")))
            .map_err(|source| StoreError::io("could not be made", path, source))?;
        let lock = lock(path)?;
        let line = format!("rjournal store, version 1, {kind}\n");
        let found = read_whole(&disk, Path::new(FORMAT), SMALL_BYTES_MAX)
            .map_err(|source| StoreError::io("could not be read", path.join(FORMAT), source))?;
        match found {
            Some(found) if found == line.as_bytes() => {}
            Some(found) => {
                let found = String::from_utf8_lossy(&found).into_owned();
                let reason = format!(
                    "its file `format` says {:?}, not {:?}",
                    found.trim(),
                    line.trim()
                );
                return Err(StoreError::foreign(path, &reason));
            }
            None => replace_whole(&disk, Path::new(FORMAT), line.as_bytes())
                .map_err(|source| StoreError::io("could not be made", path.join(FORMAT), source))?,
        }
        let mark = open_or_create(&disk, Path::new(DURABLE))
            .map_err(|source| StoreError::io("could not be opened", path.join(DURABLE), source))?;
        Ok(Self {
            path: path.to_owned(),
            disk,
            mark,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Counts a start, durably, before the store itself is touched: it may take the process down.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] when it has done so too often, [`StoreError::Io`].
    pub(super) fn begin_start(&self) -> Result<(), StoreError> {
        let found = self.read(STARTS, SMALL_BYTES_MAX)?;
        // A count that cannot be read was still a start.
        let starts = found.map_or(0, |text| {
            String::from_utf8_lossy(&text).trim().parse().unwrap_or(1)
        });
        if starts >= STARTS_MAX {
            let reason = format!("it took the process down {starts} times while it was opened");
            return Err(StoreError::doubtful(&self.path, &reason));
        }
        self.write(STARTS, format!("{}\n", starts + 1).as_bytes())
    }

    /// The start came to an end.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn end_start(&self) -> Result<(), StoreError> {
        self.remove(STARTS)
    }

    /// What the store held when it was closed. A marker that is damaged counts as none: reading through proves more.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] when a newer program left it, [`StoreError::Io`].
    pub(super) fn clean_marker(&self) -> Result<Option<CleanMarker>, StoreError> {
        let Some(bytes) = self.read(CLEAN, CLEAN_BYTES_MAX)? else {
            return Ok(None);
        };
        match CleanMarker::newer_version(&bytes) {
            Some(version) => Err(self.newer(CLEAN, version)),
            None => Ok(CleanMarker::decode(&bytes)),
        }
    }

    /// Leaves a marker.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn leave_clean_marker(&self, marker: &CleanMarker) -> Result<(), StoreError> {
        self.write(CLEAN, &marker.encode())
    }

    /// Takes the marker away, durably, before anything is written.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn remove_clean_marker(&self) -> Result<(), StoreError> {
        self.remove(CLEAN)
    }

    /// Remembers that a generation is durable. Not synced itself, so always a lower bound.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn remember_durable(&self, generation: u64) -> Result<(), StoreError> {
        let mut bytes = MARK_MAGIC.to_vec();
        bytes.extend_from_slice(&MARK_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&generation.to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        self.mark
            .write_at(&bytes, 0)
            .map_err(|source| self.io("could not be written", DURABLE, source))
    }

    /// A generation that was durable once, 0 when nothing is known.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] when a newer program wrote it, [`StoreError::Io`].
    pub(super) fn durable(&self) -> Result<u64, StoreError> {
        let mut bytes = [0; MARK_BYTES];
        let count = self
            .mark
            .read_at(&mut bytes, 0)
            .map_err(|source| self.io("could not be read", DURABLE, source))?;
        let read = || {
            let mut cursor = Cursor::new(bytes.get(..count)?);
            let magic = cursor.array()?;
            let (version, _reserved) = (cursor.u16()?, cursor.u16()?);
            let generation = cursor.u64()?;
            let covered = &bytes[..MARK_BYTES - 4];
            let sound = magic == MARK_MAGIC && cursor.u32()? == crc32fast::hash(covered);
            sound.then_some((version, generation))
        };
        match read() {
            Some((MARK_VERSION, generation)) => Ok(generation),
            Some((version, _)) => Err(self.newer(DURABLE, version)),
            // A torn mark says nothing, and it need not: it is a lower bound.
            None => Ok(0),
        }
    }

    /// Whether there is room for so many bytes, with some to spare.
    ///
    /// # Errors
    /// [`StoreError::Io`] with `StorageFull` when there is not.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), StoreError> {
        let full = |source| StoreError::io("has no room", &self.path, source);
        let free = self.disk.free_bytes().map_err(full)?;
        if free < FREE_BYTES_LEAST.saturating_add(4 * bytes as u64) {
            return Err(full(io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.disk
            .sync_dir(Path::new(""))
            .map_err(|source| StoreError::io("could not be synced", &self.path, source))
    }

    fn newer(&self, name: &str, version: u16) -> StoreError {
        let reason = format!(
            "its file `{name}` has format version {version}, which a newer program wrote; use that one"
        );
        StoreError::foreign(&self.path, &reason)
    }

    fn io(&self, action: &'static str, name: &str, source: io::Error) -> StoreError {
        StoreError::io(action, self.path.join(name), source)
    }

    fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        read_whole(&self.disk, Path::new(name), bytes_max)
            .map_err(|source| self.io("could not be read", name, source))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        replace_whole(&self.disk, Path::new(name), bytes)
            .map_err(|source| self.io("could not be written", name, source))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.disk.remove(Path::new(name)) {
            Ok(()) => self.sync(),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(self.io("could not be removed", name, source)),
        }
    }
}

/// Takes the lock of the store in `path`.
///
/// # Errors
/// [`StoreError::Backend`], transient, when another process has it; [`StoreError::Io`].
pub(super) fn lock(path: &Path) -> Result<DirectoryLock, StoreError> {
    DirectoryLock::take(&path.join(LOCK)).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => StoreError::busy(path, "another process works on it"),
        _ => StoreError::io("could not be locked", path.join(LOCK), source),
    })
}

/// The directory a path stands in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn check_that_it_may_be_ours(disk: &OsDisk, path: &Path) -> Result<(), StoreError> {
    let names = match disk.list(Path::new("")) {
        Ok(names) => names,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotADirectory => {
            return Err(StoreError::foreign(path, "it is not a directory"));
        }
        Err(source) => return Err(StoreError::io("could not be read", path, source)),
    };
    let ours = names.iter().any(|name| name == FORMAT);
    match names
        .iter()
        .find(|name| !LEFT_BY_A_CRASH.contains(&name.as_str()))
    {
        Some(name) if !ours => {
            let reason = format!("it holds {name:?} but no file `format`");
            Err(StoreError::foreign(path, &reason))
        }
        _ => Ok(()),
    }
}

fn open_or_create(disk: &OsDisk, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(path),
        opened => opened,
    }
}
