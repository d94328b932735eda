//! Room `job`: an operator puts a save into a store whose job is ended (ruling 8). The save becomes the one the job keeps
//! first, so that a restore that was interrupted is made anew from it. Must not know how the job is ended.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rjournal::daemon::{Clock, SystemClock};
use rjournal::disk::{Disk, OsDisk};
use rjournal::entry::{JournalId, Name, SaveFacts};

use super::store::{save_path, store_path};
use crate::store::{
    Progress, SaveInfo, StoreError, StoreKind, StoreOptions, check, open, restore, set_aside,
};

/// One step of a copy.
const COPY_BYTES: usize = 1024 * 1024;

/// A restore an operator orders.
#[derive(Debug)]
pub struct RestoreOrder<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// Name of the store.
    pub store: Name,
    /// Kind of the store.
    pub kind: StoreKind,
    /// The journals its entries may be in, where that is known: a save of another one is refused.
    pub journals: &'a [JournalId],
    /// The save.
    pub save: &'a Path,
    /// What the save must be, where a partner said it; it is moved then to where the job keeps its own, not copied.
    pub promised: Option<SaveFacts>,
    /// Whether a store that holds something is set aside, under another name, and made anew.
    pub replace: bool,
}

/// A store that was restored.
#[derive(Debug)]
pub struct RestoredStore {
    /// What the save holds.
    pub save: SaveInfo,
    /// Where the store that stood there before is now.
    pub set_aside: Option<PathBuf>,
}

/// Restores the store of a job that is ended from a save. The save is checked to its end before anything is touched.
///
/// # Errors
/// [`StoreError::Save`] naming what is wrong with the save, [`StoreError::OtherJournal`], [`StoreError::NotEmpty`], a
/// transient [`StoreError`] while the job runs, whatever the medium says.
pub fn restore_store(
    order: &RestoreOrder<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<RestoredStore, StoreError> {
    let &RestoreOrder {
        data, store, save, ..
    } = order;
    let info = check(save, progress)?;
    let found = info.position.journal;
    let foreign = !order.journals.contains(&found);
    if let Some(expected) = order.journals.first().copied().filter(|_| foreign) {
        return Err(StoreError::OtherJournal {
            path: save.to_owned(),
            found,
            expected,
        });
    }
    if order
        .promised
        .is_some_and(|promised| promised != info.facts())
    {
        return Err(StoreError::Save {
            path: save.display().to_string(),
            reason: format!("it stands at {}, not where the partner said", info.position),
        });
    }
    let (path, kept) = (store_path(data, store), save_path(data, store));
    let stores = data.join("stores");
    std::fs::create_dir_all(&stores)
        .map_err(|source| StoreError::io("could not be made", &stores, source))?;
    let aside = match require_place(order)? {
        Some(_) => {
            let now = SystemClock::start().wall().as_micros();
            Some(set_aside(
                &path,
                &format!("{now} microseconds after 1970: replaced by a save"),
            )?)
        }
        None => None,
    };
    match order.promised {
        Some(_) => take(save, &kept)?,
        None => keep(save, &kept)?,
    }
    let mut target = open(order.kind, &path, &StoreOptions::default())?;
    Ok(RestoredStore {
        save: restore(&kept, &mut *target, progress)?,
        set_aside: aside,
    })
}

/// That the store is empty, or may be set aside. Gives what stands there, if it may.
fn require_place(order: &RestoreOrder<'_>) -> Result<Option<String>, StoreError> {
    let path = store_path(order.data, order.store);
    let found = match open(order.kind, &path, &StoreOptions::default()) {
        Err(StoreError::Doubtful { .. }) if order.replace => Some("a store in doubt".to_owned()),
        opened => {
            let store = opened?;
            let found = store.reader().position()?;
            // One that was only looked at is as whole as it was.
            store.close()?;
            found.map(|position| position.to_string())
        }
    };
    match found {
        Some(found) if !order.replace => Err(StoreError::NotEmpty { found }),
        found => Ok(found),
    }
}

/// Moves a save to where the job keeps its own.
fn take(save: &Path, kept: &Path) -> Result<(), StoreError> {
    if save == kept {
        return Ok(());
    }
    let names = save.file_name().zip(kept.file_name());
    let moved = match names.filter(|_| save.parent() == kept.parent()) {
        Some((from, to)) => OsDisk::new(kept.parent().unwrap_or(Path::new(".")))
            .durable_rename(Path::new(from), Path::new(to)),
        None => Err(io::ErrorKind::InvalidInput.into()),
    };
    moved.map_err(|source| StoreError::io("could not be made", kept, source))
}

/// Copies a save to where the job keeps its own: complete under its name, or not there.
fn keep(save: &Path, kept: &Path) -> Result<(), StoreError> {
    let same = |path: &Path| std::fs::canonicalize(path).ok();
    if kept.exists() && same(save) == same(kept) {
        return Ok(());
    }
    let copy = || -> io::Result<()> {
        let name = kept.file_name().map(PathBuf::from).unwrap_or_default();
        let fresh = name.with_extension("copied");
        let disk = OsDisk::new(kept.parent().unwrap_or(Path::new(".")));
        match disk.remove(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (mut from, to) = (File::open(save)?, disk.create(&fresh)?);
        let (mut buffer, mut offset) = (vec![0; COPY_BYTES], 0);
        loop {
            let read = from.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            to.write_at(bytes, offset)?;
            offset += read as u64;
        }
        to.sync()?;
        disk.durable_rename(&fresh, &name)
    };
    copy().map_err(|source| StoreError::io("could not be made", kept, source))
}
