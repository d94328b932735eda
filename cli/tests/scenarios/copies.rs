//! Package `cli`, tests: a system's directory is copied and put back, as a backup would, and its flush marks are lost. Must
//! not know what for.

use std::fs::File;
use std::path::{Path, PathBuf};

/// What stays where it is: who has the directory, by its inode.
const LOCK: &str = "lock";
/// Whoever has a store holds a lock on this file in its directory.
const STORE_LOCK: &str = "lock";

fn kept(data: &Path) -> PathBuf {
    data.with_extension("kept")
}

/// Copies the files of a directory, those of this name apart.
fn copy(from: &Path, to: &Path, but: &str) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("it is there");
        if kind.is_dir() {
            copy(&entry.path(), &target, but);
        } else if kind.is_file() && entry.file_name() != but {
            std::fs::copy(entry.path(), target).expect("it can be copied");
        }
    }
}

/// Copies the directory of a system.
pub(crate) fn keep(data: &Path) {
    copy(data, &kept(data), LOCK);
}

/// Waits until the jobs of a daemon that was killed have ended: they do so by themselves, and write until then.
fn wait_for_jobs(data: &Path) {
    let stores = std::fs::read_dir(data.join("stores")).into_iter().flatten();
    for store in stores.flatten() {
        if let Ok(lock) = File::open(store.path().join(STORE_LOCK)) {
            lock.lock().expect("it can be locked");
        }
    }
}

/// Puts the copy back in its place, as if nothing had happened since.
pub(crate) fn restore(data: &Path) {
    wait_for_jobs(data);
    for entry in std::fs::read_dir(data).expect("a directory").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("it is there"));
        if kind.is_dir() {
            std::fs::remove_dir_all(path).expect("it can be removed");
        } else if entry.file_name() != LOCK {
            std::fs::remove_file(path).expect("it can be removed");
        }
    }
    copy(&kept(data), data, LOCK);
}

/// The flush marks of all journals: they are written without a flush of their own.
pub(crate) fn lose_marks(data: &Path) {
    let journals = std::fs::read_dir(data.join("journals")).expect("a directory");
    for journal in journals.flatten() {
        std::fs::remove_file(journal.path().join("mark")).expect("a flush mark");
    }
}
