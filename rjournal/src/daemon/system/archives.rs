//! Room `daemon`, a system: the orphan archives of its journals, whatever a journal is at the moment. Must not read what they
//! hold.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::runtime::JournalRuntime;
use super::shared::{Shared, lock};
use super::start::dir_of;
use crate::daemon::command::CommandError;
use crate::entry::QualifiedName;
use crate::error::JournalError;
use crate::journal::{Archive, Orphan, orphans_in};

/// Archives whose places are remembered: those who read one come back to it again and again.
const REMEMBERED: usize = 4;

/// Archives that were read lately, the last one last.
#[derive(Debug, Default)]
pub(crate) struct Archives(Mutex<Vec<(PathBuf, Arc<Archive>)>>);

impl Shared {
    /// The orphan archives of a journal, and why others cannot be read.
    pub(crate) fn orphans_of(
        &self,
        journal: QualifiedName,
    ) -> Result<(Vec<Orphan>, Vec<JournalError>), CommandError> {
        let runtime = self.require_journal(journal)?;
        Ok(orphans_in(&*self.disk, &directory(&runtime))?)
    }

    /// One of them, for reading.
    pub(crate) fn archive_of(
        &self,
        journal: QualifiedName,
        number: u64,
    ) -> Result<Arc<Archive>, CommandError> {
        let dir = directory(&self.require_journal(journal)?);
        let found = Archive::find(Arc::clone(&self.disk), &dir, number)?;
        let found = found.ok_or_else(|| {
            CommandError::not_found("orphan archive", format!("{number} of {journal}"))
                .help(format!("rjournal orphans list --jrn {journal} lists them"))
        })?;
        let mut known = lock(&self.archives.0);
        let same = |(path, archive): &(PathBuf, Arc<Archive>)| {
            *path == dir && archive.orphan() == found.orphan()
        };
        let archive = match known.iter().position(same) {
            Some(at) => known.remove(at).1,
            None => found,
        };
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        known.push((dir, Arc::clone(&archive)));
        Ok(archive)
    }
}

/// Where a journal is on the disk.
fn directory(runtime: &JournalRuntime) -> PathBuf {
    match runtime {
        JournalRuntime::Opening(opening) => dir_of(&opening.reader),
        JournalRuntime::Local(local) => dir_of(local.journal.reader()),
        JournalRuntime::Copy(copy) => dir_of(copy.copy.reader()),
        JournalRuntime::Broken(broken) => broken.dir.clone(),
    }
}
