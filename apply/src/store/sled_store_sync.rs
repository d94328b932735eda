//! Room `store`: what sled calls flushed is made durable here: every file of its directory is synced, and the directory.
//! Must not know what the files hold.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// When a file was written last, as far as the system can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

/// The files of one sled directory.
#[derive(Debug)]
pub(super) struct SledFiles {
    /// The directories, the innermost first.
    directories: [PathBuf; 3],
    /// sled's log, kept open: an error of the medium is told to those who have the file open, and only once.
    log: File,
    log_path: PathBuf,
    /// The other files as they were when they were synced. sled writes each of them once.
    synced: BTreeMap<PathBuf, Stamp>,
}

impl SledFiles {
    /// The files of the sled directory `rows` in the directory `store`.
    ///
    /// # Errors
    /// Whatever the medium says.
    pub(super) fn open(store: &Path, rows: PathBuf) -> io::Result<Self> {
        let log_path = rows.join("db");
        Ok(Self {
            log: File::open(&log_path)?,
            log_path,
            directories: [rows.join("blobs"), rows, store.to_owned()],
            synced: BTreeMap::new(),
        })
    }

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// Whatever the medium says; final, as for every failed sync.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.log.sync_all()?;
        let found = self.list()?;
        for (path, stamp) in &found {
            if self.synced.get(path) != Some(stamp) {
                match File::open(path) {
                    // A snapshot of sled's own that a newer one replaced.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    file => file?.sync_all()?,
                }
            }
        }
        if !found.keys().eq(self.synced.keys()) {
            for directory in &self.directories {
                File::open(directory)?.sync_all()?;
            }
        }
        self.synced = found;
        Ok(())
    }

    fn list(&self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        let mut found = BTreeMap::new();
        let [blobs, rows, _] = &self.directories;
        for directory in [blobs, rows] {
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                let metadata = match std::fs::metadata(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    metadata => metadata?,
                };
                if metadata.is_file() && path != self.log_path {
                    let stamp = Stamp {
                        length: metadata.len(),
                        modified: metadata.modified().ok(),
                    };
                    found.insert(path, stamp);
                }
            }
        }
        Ok(found)
    }
}
