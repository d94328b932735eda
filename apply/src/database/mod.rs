//! Room `database`: the primary's side (ruling 11). Files, typed rows, transactions under commitment control, reads. Every
//! change is deposited first, then applied by the apply job to the same store, like on a backup. A record lock is taken at
//! the first write and held until the decision is applied, so a before-image is always the last one deposited. Only
//! commits and changes outside a cycle wait for an answer; a commit comes back when it is applied here. Must not know how
//! entries travel.

mod access;
mod file;
mod lock;
mod transaction;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rjournal::entry::record::{Value, decode_row, encode_key_values};
use rjournal::entry::{DepositKey, FileName, Sequence};
use rjournal::journal::{AckClass, Again, Answer, UnknownReason};
use serde::{Deserialize, Serialize};

use crate::error::{ApplyError, DatabaseError};
use crate::job::{JobShared, Port, Waited};
use crate::store::{KeyedRow, StoreError, StoreReader, StoredFile};

pub use file::DatabaseFile;
pub use transaction::{Transaction, Write};

pub(crate) use access::Way;
use access::{Access, Waiting};
use file::Files;

/// How a change was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was changed, so nothing was deposited.
    Nothing,
    /// It landed, and is in the store.
    Landed {
        /// The commit, or the change itself outside a cycle.
        sequence: Sequence,
        /// How well it is kept.
        class: AckClass,
    },
    /// It landed, and is not in the store yet. Its rows stay locked until it is.
    Unapplied {
        /// The commit, or the change itself outside a cycle.
        sequence: Sequence,
        /// How well it is kept.
        class: AckClass,
        /// Why it is not in the store.
        why: UnappliedReason,
    },
    /// It may have landed. Its rows stay locked until that is decided; a retry with its deposit key is safe.
    Unknown {
        /// The entry.
        sequence: Sequence,
        /// Why.
        why: UnknownReason,
    },
}

/// Why what landed is not in the store yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnappliedReason {
    /// An operator holds the job; it is applied after the release.
    Held,
    /// The job ended; it is applied when it runs again.
    Ended,
}

/// How long a change waits for a journal that is not open.
const OPENED_WITHIN: Duration = Duration::from_millis(500);

/// A journal that changed while it was attached is tried again after this long.
const ATTACH_AGAIN: Duration = Duration::from_millis(20);

/// Settings of a database.
#[derive(Debug, Clone)]
pub struct DatabaseOptions {
    /// How long a row that another transaction has is waited for.
    pub lock_timeout: Duration,
    /// Job, user and program that entries carry.
    pub actor: [String; 3],
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_secs(10),
            actor: ["DATABASE".to_owned(), String::new(), "RJOURNAL".to_owned()],
        }
    }
}

/// A database: the store of a local journal, read and changed. Clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) job: Arc<JobShared>,
    access: Access,
    pub(crate) files: Files,
    pub(crate) options: DatabaseOptions,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// The database of a running job. Where the journal is remote it can only be read; so it can where the journal is not
    /// open yet, until it is. In a recovery group it can be changed while this system is primary.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`ApplyError::Journal`] when the journal takes no deposits.
    pub async fn open(
        port: Port,
        job: Arc<JobShared>,
        options: DatabaseOptions,
    ) -> Result<Self, ApplyError> {
        let files = Files::new(port);
        let database = Self {
            inner: Arc::new(Inner {
                job,
                access: Access::default(),
                files,
                options,
            }),
        };
        if database.inner.job.facts().is_some() {
            database.attach().await?;
        }
        Ok(database)
    }

    /// Waits until the journal is open, and attaches it if it takes deposits here.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`ApplyError::Journal`] when the journal takes no deposits.
    pub async fn attach(&self) -> Result<(), ApplyError> {
        self.inner.attach().await
    }

    /// Attaches whatever journal the job comes to apply that takes deposits here, so that the first change need not; until the
    /// job ends.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`ApplyError::Journal`] when a journal outside a recovery group takes no deposits.
    pub async fn keep_attached(&self) -> Result<(), ApplyError> {
        let inner = &self.inner;
        let mut known = None;
        while let Some((now, _)) = inner.job.wait_changed(known.as_ref()).await {
            if now.is_some() {
                match inner.attach().await {
                    // It became something else meanwhile, which is told next.
                    Err(error) if inner.job.is_in_group() => {
                        tracing::info!(%error, "the journal takes no deposits here yet");
                        tokio::time::sleep(ATTACH_AGAIN).await;
                        continue;
                    }
                    attached => attached?,
                }
                if let Some(way) = inner.access.way(&inner.job) {
                    let files = &inner.files;
                    drop(way.settled(&inner.job, files.port(), &inner.options).await);
                }
            }
            known = now;
        }
        Ok(())
    }

    /// Says no while the journal is not open.
    ///
    /// # Errors
    /// [`DatabaseError::NotOpen`].
    pub(crate) fn require_open(&self) -> Result<(), DatabaseError> {
        match self.inner.job.facts() {
            Some(_) => Ok(()),
            None => Err(self.inner.not_open()),
        }
    }

    /// Whether it can be changed.
    pub fn is_writable(&self) -> bool {
        self.inner.access.way(&self.inner.job).is_some()
    }

    /// The job below it.
    pub fn job(&self) -> &Arc<JobShared> {
        &self.inner.job
    }

    /// All files in the store.
    ///
    /// # Errors
    /// [`DatabaseError::Store`].
    pub fn files(&self) -> Result<Vec<StoredFile>, DatabaseError> {
        Ok(self.inner.job.reader.files()?)
    }

    /// A file by its name. One that was journaled a moment ago is waited for.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`DatabaseError::NoFile`].
    pub async fn file(&self, name: &FileName) -> Result<Arc<DatabaseFile>, DatabaseError> {
        self.inner.files.find(name, &self.inner.job).await
    }

    /// Reads one row by its key.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`DatabaseError`]: no such file, a key of other types, a large transaction being applied.
    pub async fn get(
        &self,
        file: &FileName,
        key: &[Value],
    ) -> Result<Option<Vec<Value>>, DatabaseError> {
        let file = self.file(file).await?;
        let key = file.key_of(key)?;
        let row = self.get_encoded(&file, &key)?;
        row.map(|row| file.decode(&row)).transpose()
    }

    /// Reads one row by its encoded key.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_encoded(
        &self,
        file: &DatabaseFile,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, DatabaseError> {
        self.whole(|reader| reader.get(file.id, key))
    }

    /// Rows in key order after an encoded key, or from the first: up to `count`, about `bytes_max` bytes of them.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn scan(
        &self,
        file: &DatabaseFile,
        after: Option<&[u8]>,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyedRow>, DatabaseError> {
        self.whole(|reader| reader.scan(file.id, after, count, bytes_max))
    }

    /// Reads must not see half of a large transaction: none may have been in the making before, after or during the read.
    /// The mark stands before the first part is there, and goes after the last.
    fn whole<T>(
        &self,
        read: impl FnOnce(&dyn StoreReader) -> Result<T, StoreError>,
    ) -> Result<T, DatabaseError> {
        let job = &self.inner.job;
        let large = job.large();
        if let Some(mark) = job.mark() {
            return Err(DatabaseError::busy(mark));
        }
        let found = read(&*job.reader)?;
        let large_after = job.large();
        if let Some(mark) = large_after.filter(|_| large_after != large) {
            return Err(DatabaseError::busy(mark));
        }
        Ok(found)
    }

    /// Begins a transaction. With a deposit key its commit lands at most once, however often it is retried.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// [`DatabaseError::LandedBefore`] when the key was used, `Undecided` when what it was used for has no answer yet, after
    /// waiting for one as long as for a row, `Replica` and `NotPrimary` when the store cannot be changed, `Held` while its job is
    /// held.
    pub async fn begin(&self, key: Option<DepositKey>) -> Result<Transaction, DatabaseError> {
        Transaction::begin(Arc::clone(&self.inner), key).await
    }

    /// Makes one change outside commitment control, answered on its own. With a deposit key it is a transaction of its
    /// own, so that a retry is found out before the row is looked at: it lands at most once.
    ///
    /// Cancel safe: no; once it is deposited it goes on, and keeps the row locked until it is applied.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn write(
        &self,
        write: Write,
        key: Option<DepositKey>,
    ) -> Result<Outcome, DatabaseError> {
        if key.is_none() {
            return transaction::write_alone(&self.inner, write).await;
        }
        let mut transaction = self.begin(key).await?;
        transaction.write(write).await?;
        transaction.commit().await
    }
}

impl Inner {
    async fn attach(&self) -> Result<(), ApplyError> {
        let port = self.files.port();
        self.access.attach(&self.job, port, &self.options).await
    }

    fn not_open(&self) -> DatabaseError {
        DatabaseError::NotOpen {
            journal: self.files.port().journal(),
        }
    }

    /// Why nothing can be changed where no journal is attached.
    fn no_way(&self) -> DatabaseError {
        match self.job.facts() {
            Some(facts) if facts.local => self.not_open(),
            _ if self.job.is_in_group() => DatabaseError::NotPrimary,
            Some(_) => DatabaseError::Replica,
            None => self.not_open(),
        }
    }

    /// What a deposit that was refused means here.
    pub(crate) fn refused(&self, way: &Way, error: rjournal::CommandError) -> DatabaseError {
        let lost = self.job.is_in_group() && !way.is_of(self.access.way(&self.job).as_deref());
        if lost {
            DatabaseError::NotPrimary
        } else {
            DatabaseError::Refused { error }
        }
    }

    /// What is deposited while the job is held would wait for an operator: it is refused while nothing is deposited yet.
    pub(crate) fn not_held(&self) -> Result<(), DatabaseError> {
        if self.job.is_ended() {
            Err(DatabaseError::Stopping)
        } else if self.job.is_held() {
            Err(self.held())
        } else {
            Ok(())
        }
    }

    fn held(&self) -> DatabaseError {
        DatabaseError::Held {
            store: self.files.store(),
        }
    }

    /// The way to an open journal; waits until everything deposited by others before is in the store.
    pub(crate) async fn ready(&self) -> Result<Arc<Way>, DatabaseError> {
        let waits = self.job.facts().is_none_or(|facts| facts.local);
        let mut way = self.access.way(&self.job);
        if way.is_none() && waits {
            // The journal is looked for now and then: one that opened meanwhile is no reason to refuse. What else is wrong
            // is told by the job, which ends.
            drop(tokio::time::timeout(OPENED_WITHIN, self.attach()).await);
            way = self.access.way(&self.job);
        }
        let way = way.ok_or_else(|| self.no_way())?;
        self.not_held()?;
        let settled = way.settled(&self.job, self.files.port(), &self.options);
        match settled.await {
            Ok(()) => Ok(way),
            Err(Waiting::Held) => Err(self.held()),
            Err(Waiting::Gone) => Err(self.no_way()),
            Err(Waiting::Error(error)) => Err(error),
        }
    }

    /// Waits until a change that landed is in the store, but not for a hold: that it landed is known, and is said.
    pub(crate) async fn settle(&self, way: &Way, answer: Answer) -> Result<Outcome, DatabaseError> {
        match answer {
            Answer::Landed {
                sequence, class, ..
            } => {
                let unapplied = |why| Outcome::Unapplied {
                    sequence,
                    class,
                    why,
                };
                Ok(match self.job.wait_unheld(way.lap, sequence).await {
                    Waited::Applied => Outcome::Landed { sequence, class },
                    Waited::Held => unapplied(UnappliedReason::Held),
                    Waited::Ended => unapplied(UnappliedReason::Ended),
                    // It was kept here only, and another system took over without it.
                    Waited::Gone => Outcome::Unknown {
                        sequence,
                        why: UnknownReason::Closed,
                    },
                })
            }
            Answer::Unknown { sequence, why } => Ok(Outcome::Unknown { sequence, why }),
            Answer::Refused { .. } => Err(not_journaled()),
        }
    }
}

fn not_journaled() -> DatabaseError {
    DatabaseError::Refused {
        error: rjournal::CommandError::new(
            rjournal::daemon::ErrorKind::Poisoned,
            "CPF7003",
            "the entry was not journaled",
        ),
    }
}

/// What is said of a transaction whose key was used before: that the key is found says only that it was deposited.
fn used_before(answer: Answer, again: Again) -> DatabaseError {
    match answer {
        Answer::Landed { sequence, .. } => DatabaseError::LandedBefore {
            sequence,
            journal: again.journal(),
        },
        Answer::Unknown { sequence, .. } => DatabaseError::Undecided { sequence },
        Answer::Refused { .. } => not_journaled(),
    }
}

impl DatabaseFile {
    /// The encoded key of key values; of a file without key fields, of its record number.
    ///
    /// # Errors
    /// [`DatabaseError::Row`] when the values are not the file's key.
    pub fn key_of(&self, values: &[Value]) -> Result<Vec<u8>, DatabaseError> {
        if self.format.key().is_empty() {
            return match values {
                [Value::BigInt(number)] if *number > 0 => {
                    Ok(rjournal::entry::record::record_number_key(number.unsigned_abs()).to_vec())
                }
                _ => Err(DatabaseError::Row {
                    reason: format!(
                        "file {} has no key fields: a record number is needed",
                        self.name
                    ),
                }),
            };
        }
        encode_key_values(&self.format, values).map_err(|error| DatabaseError::Row {
            reason: error.to_string(),
        })
    }

    /// The values of an encoded row.
    ///
    /// # Errors
    /// [`DatabaseError::Row`] when it is no row of this file.
    pub fn decode(&self, row: &[u8]) -> Result<Vec<Value>, DatabaseError> {
        decode_row(&self.format, row).map_err(|error| DatabaseError::Row {
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key is found as soon as it is deposited; only the answer says that it landed.
    #[test]
    fn a_used_key_is_said_to_have_landed_only_when_its_answer_says_so() {
        let sequence = Sequence::new(7);
        let landed = Answer::Landed {
            sequence,
            class: AckClass::Sync,
            set: Sequence::NONE,
        };
        let before = |journal| DatabaseError::LandedBefore { sequence, journal };
        assert_eq!(used_before(landed, Again::Here), before(None));
        let journal = rjournal::entry::JournalId::from_bytes([1; 16]);
        assert_eq!(
            used_before(landed, Again::In(journal)),
            before(Some(journal))
        );
        let why = UnknownReason::NotReplicated;
        assert_eq!(
            used_before(Answer::Unknown { sequence, why }, Again::Here),
            DatabaseError::Undecided { sequence }
        );
        let refused = used_before(Answer::Refused { sequence }, Again::Here);
        assert!(matches!(refused, DatabaseError::Refused { .. }));
    }
}
