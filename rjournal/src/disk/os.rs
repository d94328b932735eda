//! Room `disk`: the real disk, by plain system calls on plain threads. Must not know what the files hold.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, fill_with_zeros};

/// The directory tree below one directory of the operating system.
#[derive(Debug)]
pub struct OsDisk {
    root: PathBuf,
}

impl OsDisk {
    /// A disk whose root is `root`; nothing is created yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root in the operating system's terms.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Joins a relative path to the root; anything that could leave the root is refused.
    fn path(&self, relative: &Path) -> io::Result<PathBuf> {
        let inside = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if inside {
            Ok(self.root.join(relative))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} leaves the data directory", relative.display()),
            ))
        }
    }

    fn open_with(&self, path: &Path, create_new: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create_new)
            .mode(0o600)
            .open(self.path(path)?)?;
        Ok(Arc::new(OsFile { file }))
    }
}

impl Disk for OsDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.path(path)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(dir)?)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_with(path, true)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_with(path, false)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(self.path(path)?)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(self.path(path)?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(self.path(dir)?)?.sync_all()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one function that renames"
    )]
    fn durable_rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(self.path(from)?, self.path(to)?)?;
        let to_dir = to.parent().unwrap_or(Path::new(""));
        let from_dir = from.parent().unwrap_or(Path::new(""));
        self.sync_dir(to_dir)?;
        if from_dir != to_dir {
            self.sync_dir(from_dir)?;
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct OsFile {
    file: File,
}

impl DiskFile for OsFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Large pieces are not filled with zeros first.
    fn read(&self, count: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(count);
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, length) {
            // Not every file system can; there zeros do the same, slower.
            Err(rustix::io::Errno::OPNOTSUPP) => fill_with_zeros(self, self.length()?, length),
            other => Ok(other?),
        }
    }

    fn drop_cache(&self) -> io::Result<()> {
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

/// Keeps a data directory to one process: held as long as this value lives, given up by the kernel when the process
/// dies (failures.md RCV-13).
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started has a copy of the file until its program runs, and
        // the copy would keep the lock. A failure leaves it to the closing.
        drop(self.file.unlock());
    }
}

impl DirectoryLock {
    /// Takes the lock file at `path`.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds it; otherwise whatever the system says.
    pub fn take(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store was once told that another process works on it when it was opened right after it was closed: a process was
    /// being started at that moment, and had a copy of every open file until its program ran.
    #[test]
    fn a_lock_is_free_when_it_is_given_back_although_a_copy_of_its_file_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = DirectoryLock::take(&path).unwrap();
        let copy = lock.file.try_clone().unwrap();
        let refused = DirectoryLock::take(&path).map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        drop(DirectoryLock::take(&path).unwrap());
        drop(copy);
    }
}
