//! Room `daemon`, a catalog made again: one that is lost in both slots, while the daemon is stopped, from the journals in
//! the data directory. What follows from what they say is decided in `found`; here they are read, and the new catalog is
//! put in place. Receivers, stores and job records on disk are not touched.

mod found;

use std::path::Path;
use std::sync::Arc;

use super::catalog::CatalogFile;
use super::data_dir::{DataDir, JOURNALS_DIR, STORES_DIR};
use crate::disk::Disk;
use crate::entry::{SystemId, Timestamp};
use crate::error::{JournalError, SystemError};
use crate::journal::{Control, ControlFile, JournalKind, sealed_by, stored_entries};
use found::{FileTrail, Told, decide};

pub use found::RebuiltCatalog;

/// Makes the catalog of the system in `path` again. `moved` is the operator's word as in [`DataDir::open`].
///
/// A crash leaves the system without a catalog, or with the new one.
///
/// # Errors
/// [`SystemError`]: a daemon has the directory, the catalog is not lost, a newer program wrote it, or the disk refuses.
pub fn rebuild_catalog(
    path: &Path,
    moved: bool,
    now: Timestamp,
) -> Result<RebuiltCatalog, SystemError> {
    let data = DataDir::open(path, moved)?;
    let rebuilt = rebuild(data.disk(), path, data.record(), now);
    data.release();
    rebuilt
}

fn rebuild(
    disk: &Arc<dyn Disk>,
    path: &Path,
    record: &super::data_dir::SystemRecord,
    now: Timestamp,
) -> Result<RebuiltCatalog, SystemError> {
    CatalogFile::require_lost(disk, path)?;
    let stores = stores(&**disk)?;
    let mut found = Vec::new();
    for dir in list(&**disk, JOURNALS_DIR)? {
        if !dir.ends_with(".deleted") {
            let dir = Path::new(JOURNALS_DIR).join(dir);
            found.extend(told(disk, &dir, record.system, !stores.is_empty())?);
        }
    }
    let (catalog, mut rebuilt) = decide(record.name, found, &stores, now);
    let kept = CatalogFile::replace_lost(disk, path, &catalog)?;
    rebuilt.kept = kept.iter().map(|path| path.display().to_string()).collect();
    Ok(rebuilt)
}

fn list(disk: &dyn Disk, dir: &str) -> Result<Vec<String>, SystemError> {
    match disk.list(Path::new(dir)) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(SystemError::io("could not be listed", dir, source)),
    }
}

/// The stores on disk: directories named as stores are; saves, sockets and what was set aside have a dot in their names.
fn stores(disk: &dyn Disk) -> Result<Vec<String>, SystemError> {
    let mut names = list(disk, STORES_DIR)?;
    names.retain(|name| crate::entry::Name::new(name).is_ok());
    Ok(names)
}

/// What the journal in one directory says; nothing of one that was never finished.
fn told(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    system: SystemId,
    has_stores: bool,
) -> Result<Option<Told>, SystemError> {
    let told = |control| Told {
        dir: dir.display().to_string(),
        control,
        sealed_here: None,
        files: Ok(FileTrail::default()),
        keeps_receivers: false,
    };
    let mut file = match ControlFile::open(Arc::clone(disk), dir) {
        Ok((file, _)) => file,
        Err(error @ JournalError::ControlVersion { .. }) => return Err(error.into()),
        Err(error) => {
            let sealed = sealed_by(disk, dir).ok();
            let ours = sealed.filter(|(_, origin)| *origin == system);
            let receivers = disk.list(&dir.join("receivers")).unwrap_or_default();
            return Ok((!receivers.is_empty()).then(|| Told {
                sealed_here: ours.map(|(name, _)| name),
                ..told(Err(error.to_string()))
            }));
        }
    };
    let keeps_receivers = has_stores && keep_receivers(&mut file)?;
    let control = file.get().clone();
    let files = match control.kind {
        JournalKind::Local => files_of(disk, dir, &control).map_err(|error| error.to_string()),
        JournalKind::Remote(_) => Ok(FileTrail::default()),
    };
    Ok(Some(Told {
        files,
        keeps_receivers,
        ..told(Ok(control))
    }))
}

/// What a store needs, its job's record said, and that is lost: until it is there again nothing may go by itself.
fn keep_receivers(file: &mut ControlFile) -> Result<bool, SystemError> {
    let attributes = &file.get().attributes;
    if !attributes.delete_receivers && attributes.retention_bytes_max == 0 {
        return Ok(false);
    }
    file.update(|control| {
        control.attributes.delete_receivers = false;
        control.attributes.retention_bytes_max = 0;
    })?;
    Ok(true)
}

fn files_of(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    control: &Control,
) -> Result<FileTrail, JournalError> {
    let mut trail = FileTrail::new(control.name);
    stored_entries(disk, dir, &mut |bundle| {
        bundle
            .entries()
            .flatten()
            .for_each(|view| trail.handle_entry(&view));
    })?;
    Ok(trail)
}
