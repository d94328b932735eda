//! Package `tests`: the directory of a system is copied, put back, and copied elsewhere, as a backup, a snapshot and a clone of a
//! machine do. Must not know what for.

use std::path::{Path, PathBuf};

/// What stays where it is: who has the directory.
const LOCK: &str = "lock";

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            copy(&path, &target);
        } else if kind.is_file() && entry.file_name() != LOCK {
            // A system that runs may take a file away meanwhile.
            drop(std::fs::copy(path, target));
        }
    }
}

/// A copy of a directory, or of one below it.
#[derive(Debug)]
pub struct Kept {
    of: PathBuf,
    copy: tempfile::TempDir,
}

impl Kept {
    /// Copies it as it is on disk now; of a system that runs, this is what a kill would leave.
    pub fn of(dir: &Path) -> Self {
        let kept = tempfile::tempdir().expect("a temporary directory");
        copy(dir, kept.path());
        Self {
            of: dir.to_owned(),
            copy: kept,
        }
    }

    /// Puts it back in its place, as if nothing had happened since. Nobody may have it open.
    pub fn put_back(&self) {
        for entry in std::fs::read_dir(&self.of).expect("a directory").flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("it is there"));
            if kind.is_dir() {
                std::fs::remove_dir_all(path).expect("it can be removed");
            } else if entry.file_name() != LOCK {
                std::fs::remove_file(path).expect("it can be removed");
            }
        }
        copy(self.copy.path(), &self.of);
    }

    /// Puts it somewhere else: a clone.
    pub fn put_to(&self, dir: &Path) {
        copy(self.copy.path(), dir);
    }
}
