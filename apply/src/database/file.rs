//! Room `database`: files by name, as the store knows them. The store's catalog follows the journal, so a file that was
//! journaled a moment ago is waited for. Must not know transactions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rjournal::entry::record::Format;
use rjournal::entry::{FileName, Name, ObjectId, QualifiedName};

use crate::error::DatabaseError;
use crate::job::{JobShared, Port, Waited};

/// How long a file that the catalog knows may take to appear in the store.
const APPEAR_MAX: Duration = Duration::from_secs(10);

/// A file of a database.
#[derive(Debug)]
pub struct DatabaseFile {
    /// Its name.
    pub name: FileName,
    /// Its identity.
    pub id: ObjectId,
    /// Its format.
    pub format: Format,
    /// The next record number of a file without key fields, once it was looked up.
    next_record: Mutex<Option<u64>>,
}

impl DatabaseFile {
    /// Takes the next record number.
    pub(crate) fn take_record_number(&self, job: &JobShared) -> Result<u64, DatabaseError> {
        let mut next = lock(&self.next_record);
        let number = if let Some(number) = *next {
            number
        } else {
            let last = job.reader.last(self.id)?;
            let last = last.and_then(|row| rjournal::entry::record::record_number(&row.key));
            last.map_or(1, |last| last + 1)
        };
        *next = Some(number + 1);
        Ok(number)
    }
}

/// Files that were looked up.
#[derive(Debug)]
pub(crate) struct Files {
    port: Port,
    known: Mutex<HashMap<FileName, Arc<DatabaseFile>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    pub(crate) fn new(port: Port) -> Self {
        Self {
            port,
            known: Mutex::new(HashMap::new()),
        }
    }

    /// The way to the journal.
    pub(crate) const fn port(&self) -> &Port {
        &self.port
    }

    /// Name of the store in the daemon's catalog.
    pub(crate) const fn store(&self) -> Option<Name> {
        self.port.store()
    }

    /// A file by its name.
    pub(crate) async fn find(
        &self,
        name: &FileName,
        job: &JobShared,
    ) -> Result<Arc<DatabaseFile>, DatabaseError> {
        // One that is no longer journaled may be gone, and another one stand under its name.
        let known = lock(&self.known).get(name).cloned();
        if let Some(file) = known.filter(|file| job.is_journaled(file.id) != Some(false)) {
            return Ok(file);
        }
        if let Some(file) = self.look_up(name, job)? {
            return Ok(file);
        }
        // The catalog may know it while the store has not seen its definition yet.
        let defined = self
            .port
            .file(name)
            .await?
            .is_some_and(|file| file.journal.is_some_and(|at| self.is_applied(at, job)));
        if defined {
            let appears = async {
                loop {
                    let (lap, seen) = (job.lap(), job.applied());
                    if let Some(file) = self.look_up(name, job)? {
                        return Ok(file);
                    }
                    match job.wait_unheld(lap, seen.next()).await {
                        Waited::Applied | Waited::Gone => {}
                        Waited::Held => {
                            let store = self.store();
                            return Err(DatabaseError::Held { store });
                        }
                        Waited::Ended => return Err(DatabaseError::Stopping),
                    }
                }
            };
            if let Ok(found) = tokio::time::timeout(APPEAR_MAX, appears).await {
                return found;
            }
        }
        Err(DatabaseError::NoFile { file: name.clone() })
    }

    /// Whether what is deposited into a journal comes into the store.
    fn is_applied(&self, journal: QualifiedName, job: &JobShared) -> bool {
        let now = job.facts().map(|facts| facts.name);
        journal == self.port.journal() || now == Some(journal)
    }

    fn look_up(
        &self,
        name: &FileName,
        job: &JobShared,
    ) -> Result<Option<Arc<DatabaseFile>>, DatabaseError> {
        let found = job
            .reader
            .files()?
            .into_iter()
            .find(|file| file.format.file() == name);
        Ok(found.map(|file| {
            let file = DatabaseFile {
                name: name.clone(),
                id: file.id,
                format: file.format,
                next_record: Mutex::new(None),
            };
            let mut known = lock(&self.known);
            let same = known
                .get(name)
                .filter(|known| known.id == file.id && known.format == file.format)
                .cloned();
            let file = same.unwrap_or_else(|| Arc::new(file));
            known.insert(name.clone(), Arc::clone(&file));
            file
        }))
    }

    /// A file may be changed only while it is journaled.
    pub(crate) async fn require_journaled(
        &self,
        file: &DatabaseFile,
        job: &JobShared,
    ) -> Result<(), DatabaseError> {
        let journaled = if let Some(journaled) = job.is_journaled(file.id) {
            journaled
        } else {
            let known = self.port.file(&file.name).await?;
            let journaled = match known.filter(|known| known.id == file.id) {
                Some(known) => known
                    .journal
                    .is_some_and(|at| job.is_in_group() || self.is_applied(at, job)),
                // The catalog of a system that became primary may not know it; the store lists those whose journaling ended.
                None => job.is_in_group(),
            };
            job.assume_journaled(file.id, journaled);
            journaled
        };
        if journaled {
            return Ok(());
        }
        let name = file.name.clone();
        Err(match self.port.file(&name).await? {
            None if job.is_in_group() => DatabaseError::NotJournaled { file: name },
            Some(_) => DatabaseError::NotJournaled { file: name },
            None => DatabaseError::Deleted { file: name },
        })
    }
}
