//! Room `store`: opening a store of either kind, and setting one aside that cannot prove itself. Must not know what is
//! in it.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rjournal::disk::{Disk, OsDisk, replace_whole};
use serde::{Deserialize, Serialize};

use super::directory::{Directory, lock, parent};
use super::prove::Evidence;
use super::redb_store::RedbStore;
use super::sled_store::SledStore;
use super::{ReplicaStore, StoreError};

/// Which store keeps the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// sled: the embedded default.
    #[default]
    Sled,
    /// redb: every durable step is one file's, checksummed, with snapshots of its own.
    Redb,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        })
    }
}

/// Text that names no store was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no store: there are sled and redb")]
pub struct StoreKindError {
    /// What was given, cut to 40 characters.
    pub given: String,
}

impl FromStr for StoreKind {
    type Err = StoreKindError;

    fn from_str(text: &str) -> Result<Self, StoreKindError> {
        match text {
            "sled" => Ok(Self::Sled),
            "redb" => Ok(Self::Redb),
            _ => Err(StoreKindError {
                given: text.chars().take(40).collect(),
            }),
        }
    }
}

/// What an operator can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreOptions {
    /// Memory for pages, in bytes of the pages on disk; sled can take a multiple of it.
    pub cache_bytes: u64,
    /// Memory for rows that change under an open snapshot, in bytes. redb needs none.
    pub snapshot_bytes_max: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            snapshot_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Opens the store in the directory `path`, making it if there is none, and has it prove that it is whole.
///
/// # Errors
/// [`StoreError::Foreign`] when something else stands there, [`StoreError::Doubtful`] when it has to be set aside
/// ([`set_aside`]) and rebuilt, [`StoreError::Backend`] (transient while another process has it), [`StoreError::Io`].
pub fn open(
    kind: StoreKind,
    path: &Path,
    options: &StoreOptions,
) -> Result<Box<dyn ReplicaStore>, StoreError> {
    Ok(match kind {
        StoreKind::Sled => Box::new(SledStore::open(path, options)?),
        StoreKind::Redb => Box::new(RedbStore::open(path, options)?),
    })
}

/// Gives the directory of a store that is in doubt another name, durably: `path` with `.doubtful-` and the next free
/// number. `now_text` is left in it, in the file `set-aside`, for those who look at it later. Gives the new path.
///
/// # Errors
/// [`StoreError::Backend`], transient, while another process has it, [`StoreError::Io`].
pub fn set_aside(path: &Path, now_text: &str) -> Result<PathBuf, StoreError> {
    let io = |action| move |source| StoreError::io(action, path, source);
    let unnamed = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let name = path
        .file_name()
        .ok_or_else(unnamed)
        .map_err(io("has no name"))?;
    let _lock = lock(path)?;
    replace_whole(
        &OsDisk::new(path),
        Path::new("set-aside"),
        format!("{now_text}\n").as_bytes(),
    )
    .map_err(io("could not be marked"))?;
    let disk = OsDisk::new(parent(path));
    let taken = disk
        .list(Path::new(""))
        .map_err(io("could not be set aside"))?;
    let name = name.to_string_lossy();
    let mut number: u64 = 1;
    while taken.contains(&format!("{name}.doubtful-{number}")) {
        number += 1;
    }
    let aside = format!("{name}.doubtful-{number}");
    disk.durable_rename(Path::new(name.as_ref()), Path::new(&aside))
        .map_err(io("could not be set aside"))?;
    Ok(path.with_file_name(aside))
}

/// Runs what opens and proves a store. A start that takes the process down was counted before; a panic that does not is
/// an answer like another.
pub(super) fn start<T>(
    directory: &Directory,
    open: impl FnOnce(&Evidence) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let evidence = Evidence {
        clean: directory.clean_marker()?,
        durable: directory.durable()?,
    };
    directory.begin_start()?;
    let opened = catch_unwind(AssertUnwindSafe(|| open(&evidence))).unwrap_or_else(|panic| {
        let reason = format!("its library panicked: {}", words_of(panic.as_ref()));
        Err(StoreError::doubtful(directory.path(), &reason))
    });
    match opened {
        Ok(opened) => {
            directory.remove_clean_marker()?;
            directory.end_start()?;
            Ok(opened)
        }
        // Still counted: it is not looked at for ever.
        Err(doubt @ StoreError::Doubtful { .. }) => Err(doubt),
        Err(error) => {
            directory.end_start()?;
            Err(error)
        }
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => "without a word".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_reads_back_from_its_text() {
        for kind in [StoreKind::Sled, StoreKind::Redb] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("fjall".parse::<StoreKind>().is_err());
    }
}
