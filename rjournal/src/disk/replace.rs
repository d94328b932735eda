//! Room `disk`: small files that are read whole and replaced whole. A reader finds the old or the new content, never a
//! mixture and never nothing (failures.md MET-1). Must not know what the files hold.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile};

/// Puts `bytes` in place of whatever stands at `path`, durably.
///
/// # Errors
/// Whatever the medium says; the old content stays then.
pub fn replace_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match disk.remove(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&fresh)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.durable_rename(&fresh, path)
}

/// Reads a file whole; nothing when there is none.
///
/// # Errors
/// `InvalidData` when it is longer than `bytes_max`; otherwise whatever the medium says.
pub fn read_whole(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    match open_if_there(disk, path)? {
        Some(file) => read_file(&*file, path, bytes_max).map(Some),
        None => Ok(None),
    }
}

/// As [`read_whole`], and from the medium: what an earlier flush failed to write may stand in memory alone (DESIGN rule 6).
///
/// # Errors
/// As [`read_whole`].
pub fn read_whole_afresh(
    disk: &dyn Disk,
    path: &Path,
    bytes_max: u64,
) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open_if_there(disk, path)? else {
        return Ok(None);
    };
    file.sync()?;
    file.drop_cache()?;
    read_file(&*file, path, bytes_max).map(Some)
}

fn open_if_there(disk: &dyn Disk, path: &Path) -> io::Result<Option<Arc<dyn DiskFile>>> {
    match disk.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_file(file: &dyn DiskFile, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let length = file.length()?;
    if length > bytes_max {
        let text = format!(
            "{} has {length} bytes, more than the {bytes_max} it may have",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}
