//! Room `daemon`, recovery groups: the standing of this member on disk, in two slots. Must not know what it means.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, SlotContent, SlotFile};
use crate::error::SystemError;
use crate::role::Standing;

/// Directory of the groups in a data directory, one directory each.
pub(super) const GROUPS_DIR: &str = "groups";
const NAME: &str = "standing";

/// The standing of this member in one group.
#[derive(Debug)]
pub(super) struct GroupFile {
    slots: SlotFile,
    dir: PathBuf,
    standing: Standing,
}

impl GroupFile {
    /// Puts a new group down, in a directory that does not exist yet.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        standing: Standing,
    ) -> Result<Self, SystemError> {
        let io = |source| SystemError::io("could not be made", dir, source);
        let parent = dir.parent().unwrap_or(Path::new(""));
        disk.create_dir(parent)
            .and_then(|()| disk.sync_dir(Path::new("")))
            .and_then(|()| disk.create_dir(dir))
            .and_then(|()| disk.sync_dir(parent))
            .map_err(io)?;
        let (slots, _) = SlotFile::open(Arc::clone(disk), dir, NAME).map_err(io)?;
        let mut file = Self {
            slots,
            dir: dir.to_path_buf(),
            standing,
        };
        file.save()?;
        Ok(file)
    }

    /// Reads a group; nothing where it was never finished. Says as the second value which slot cannot be read.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
    ) -> Result<Option<(Self, Option<String>)>, SystemError> {
        let (slots, content) = SlotFile::open(Arc::clone(disk), dir, NAME)
            .map_err(|source| SystemError::io("could not be read", dir, source))?;
        let damaged = |reason: String| SystemError::Damaged {
            path: dir.join(NAME),
            reason,
        };
        match content {
            SlotContent::Missing => Ok(None),
            SlotContent::Damaged(why) => Err(damaged(why)),
            SlotContent::Newer(found) => Err(SystemError::Version {
                path: dir.join(NAME),
                found,
            }),
            SlotContent::Found { bytes, stale } => {
                let standing =
                    serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
                let dir = dir.to_path_buf();
                Ok(Some((
                    Self {
                        slots,
                        dir,
                        standing,
                    },
                    stale,
                )))
            }
        }
    }

    /// The standing.
    pub(super) const fn get(&self) -> &Standing {
        &self.standing
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Changes it durably: after this returns the change survives a crash. What the disk refuses is not in force.
    pub(super) fn update<T>(
        &mut self,
        change: impl FnOnce(&mut Standing) -> T,
    ) -> Result<T, SystemError> {
        let before = self.standing.clone();
        let given = change(&mut self.standing);
        if self.standing != before
            && let Err(error) = self.save()
        {
            self.standing = before;
            return Err(error);
        }
        Ok(given)
    }

    fn save(&mut self) -> Result<(), SystemError> {
        let io = |source| SystemError::io("could not be written", self.dir.join(NAME), source);
        let bytes =
            serde_json::to_vec(&self.standing).map_err(|error| io(std::io::Error::other(error)))?;
        self.slots.save(&bytes).map_err(io)
    }
}
