//! Room `disk`: the ground, and the only room that touches files.
//!
//! In come paths relative to one data directory, bytes and offsets; out go bytes and errors. [`OsDisk`] is the real
//! one; [`MemoryDisk`] is one that can crash: it loses what was not synced, fails, tears and fills up on command.
//! Must not know what the files hold.

mod memory;
mod os;
mod replace;
mod slots;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use memory::{CrashedDisk, MemoryDisk};
pub use os::{DirectoryLock, OsDisk};
pub use replace::{read_whole, read_whole_afresh, replace_whole};
pub use slots::{SlotContent, SlotFile};

/// A directory tree on a medium. All paths are relative to its root and have no `..`.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a directory and those above it that are missing. Durable after [`Disk::sync_dir`] of its parent.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Names of the files and directories in a directory, sorted.
    ///
    /// # Errors
    /// Whatever the medium says; `NotFound` when the directory does not exist.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a new file, open for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one; otherwise whatever the medium says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none; otherwise whatever the medium says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file; durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// Whatever the medium says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and everything in it.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file (already synced) another name, replacing one that has it, and makes that durable.
    ///
    /// # Errors
    /// Whatever the medium says; the old or the new file stands under `to`, never a mixture.
    fn durable_rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Bytes still free on the medium.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Writes all the bytes at an offset. Durable only after [`DiskFile::sync`].
    ///
    /// # Errors
    /// Whatever the medium says, also when only a part could be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads up to `bytes.len()` bytes at an offset; fewer only at the end of the file.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Up to `count` bytes at an offset; fewer only at the end of the file.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn read(&self, count: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = self.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Makes everything written so far durable. A failure is final for this file: never call it again then.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn sync(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn length(&self) -> io::Result<u64>;

    /// Makes the file this long, cutting it or adding zeros.
    ///
    /// # Errors
    /// Whatever the medium says.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Makes the file this long, with the space for it reserved on the medium; what is added reads as zeros.
    ///
    /// # Errors
    /// Whatever the medium says; `StorageFull` when there is no room.
    fn reserve(&self, length: u64) -> io::Result<()>;

    /// Makes later reads come from the medium, not from memory (failures.md section 1 point 7).
    ///
    /// # Errors
    /// Whatever the medium says.
    fn drop_cache(&self) -> io::Result<()>;
}

/// Step in which zeros are laid down.
const FILL_BYTES: usize = 1024 * 1024;
/// Zeros are synced in stretches of this many bytes: large enough to be quick, small enough that a neighbour's flush waits
/// little.
const FILL_BYTES_PER_SYNC: u64 = 8 * FILL_BYTES as u64;

/// Fills a file with real zeros from `from` to `to` and syncs it, so that a later overwrite and flush needs no change of
/// metadata (measured: half the time of a flush into merely allocated space, performance.md section 2).
///
/// # Errors
/// Whatever the medium says; `StorageFull` when there is no room.
pub fn fill_with_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    loop {
        let upto = to.min(at + FILL_BYTES_PER_SYNC);
        write_zeros(file, at, upto)?;
        file.sync()?;
        at = upto;
        if at >= to {
            return Ok(());
        }
    }
}

/// Writes zeros from `from` to `to`, without a sync.
///
/// # Errors
/// As [`DiskFile::write_at`].
pub fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_BYTES];
    let mut at = from;
    while at < to {
        let count = usize::try_from(to - at)
            .unwrap_or(FILL_BYTES)
            .min(FILL_BYTES);
        file.write_at(&zeros[..count], at)?;
        at += count as u64;
    }
    Ok(())
}
