//! Package `tests`, groups under seeds: the standing of a member on its disk, in two slots, as the daemon keeps it. Must not know
//! what it means.

use std::path::Path;
use std::sync::Arc;

use rjournal::disk::{Disk, SlotContent, SlotFile};
use rjournal::role::Standing;

/// Directory of the group on a member's disk.
pub(super) const GROUP_DIR: &str = "groups/1";
const NAME: &str = "standing";

/// A standing, durable.
#[derive(Debug)]
pub(super) struct StandingFile {
    slots: SlotFile,
    standing: Standing,
}

impl StandingFile {
    /// Puts a new group down.
    pub(super) fn create(disk: &Arc<dyn Disk>, standing: Standing) -> std::io::Result<Self> {
        let dir = Path::new(GROUP_DIR);
        let parent = Path::new("groups");
        disk.create_dir(parent)?;
        disk.sync_dir(Path::new(""))?;
        disk.create_dir(dir)?;
        disk.sync_dir(parent)?;
        let (slots, _) = SlotFile::open(Arc::clone(disk), dir, NAME)?;
        let mut file = Self { slots, standing };
        file.save()?;
        Ok(file)
    }

    /// Reads it.
    pub(super) fn open(disk: &Arc<dyn Disk>) -> Result<Self, String> {
        let opened = SlotFile::open(Arc::clone(disk), Path::new(GROUP_DIR), NAME);
        match opened.map_err(|error| error.to_string())? {
            (slots, SlotContent::Found { bytes, .. }) => {
                let standing = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
                Ok(Self { slots, standing })
            }
            (_, other) => Err(format!("no standing: {other:?}")),
        }
    }

    /// The standing.
    pub(super) const fn get(&self) -> &Standing {
        &self.standing
    }

    /// Changes it durably. What the disk refuses is not in force.
    pub(super) fn update<T>(
        &mut self,
        change: impl FnOnce(&mut Standing) -> T,
    ) -> Result<T, String> {
        let before = self.standing.clone();
        let given = change(&mut self.standing);
        if self.standing != before
            && let Err(error) = self.save()
        {
            self.standing = before;
            return Err(error.to_string());
        }
        Ok(given)
    }

    /// Changes it in memory alone: a mistake.
    pub(super) fn update_unsaved<T>(&mut self, change: impl FnOnce(&mut Standing) -> T) -> T {
        change(&mut self.standing)
    }

    fn save(&mut self) -> std::io::Result<()> {
        let bytes = serde_json::to_vec(&self.standing).map_err(std::io::Error::other)?;
        self.slots.save(&bytes)
    }
}
