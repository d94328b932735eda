//! Room `database`: transactions: an overlay of a transaction's own writes, record locks, and the entries they become. Must
//! not know how a commit is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use rjournal::entry::record::{Images, Value, encode_key, encode_row, record_number_key};
use rjournal::entry::{DepositKey, Draft, FileName, Kind, ObjectId, Sequence};
use rjournal::journal::Again;

use super::file::DatabaseFile;
use super::lock::LockGuard;
use super::{Inner, Outcome, Way, used_before};
use crate::error::DatabaseError;
use crate::machine::key_text;

/// A change of one row.
#[derive(Debug, Clone)]
pub enum Write {
    /// A row that must not be there yet.
    Insert {
        /// The file.
        file: FileName,
        /// Its values.
        row: Vec<Value>,
    },
    /// A row that must be there, by its key.
    Update {
        /// The file.
        file: FileName,
        /// Its values from now on.
        row: Vec<Value>,
    },
    /// A row, there or not.
    Put {
        /// The file.
        file: FileName,
        /// Its values from now on.
        row: Vec<Value>,
    },
    /// A row taken away.
    Delete {
        /// The file.
        file: FileName,
        /// Values of its key.
        key: Vec<Value>,
    },
}

impl Write {
    const fn file(&self) -> &FileName {
        match self {
            Self::Insert { file, .. }
            | Self::Update { file, .. }
            | Self::Put { file, .. }
            | Self::Delete { file, .. } => file,
        }
    }
}

/// What a change becomes: its images, and what the row is afterwards.
struct Entries {
    before: Option<Vec<u8>>,
    kind: Kind,
    image: Vec<u8>,
    indicator: u8,
    count: u64,
    /// What the row is afterwards.
    after: Option<Vec<u8>>,
}

/// A transaction under commitment control. Dropped without a decision it is rolled back.
#[derive(Debug)]
pub struct Transaction {
    inner: Arc<Inner>,
    /// The term it belongs to: in a later one nothing of it is left.
    way: Arc<Way>,
    cycle: Option<Sequence>,
    key: Option<DepositKey>,
    overlay: BTreeMap<(ObjectId, Vec<u8>), Option<Vec<u8>>>,
    locks: BTreeMap<(ObjectId, Vec<u8>), LockGuard>,
    over: bool,
}

impl Transaction {
    pub(super) async fn begin(
        inner: Arc<Inner>,
        key: Option<DepositKey>,
    ) -> Result<Self, DatabaseError> {
        let way = inner.ready().await?;
        let mut transaction = Self {
            inner,
            way,
            cycle: None,
            key,
            overlay: BTreeMap::new(),
            locks: BTreeMap::new(),
            over: false,
        };
        if key.is_some() {
            // A retry is found out before anything is done again.
            transaction.start().await?;
        }
        Ok(transaction)
    }

    /// The cycle's id; the first write starts it.
    async fn start(&mut self) -> Result<Sequence, DatabaseError> {
        if self.over {
            return Err(DatabaseError::Over);
        }
        if let Some(cycle) = self.cycle {
            return Ok(cycle);
        }
        let draft = Draft {
            key: self.key,
            ..Draft::new(Kind::CYCLE_START, &[])
        };
        let numbered = self.way.depositor.number(&[draft]).await;
        let (sequence, again) = numbered.map_err(|error| self.inner.refused(&self.way, error))?;
        if again.is_again() {
            self.over = true;
            return Err(self.found(&draft, sequence).await);
        }
        self.cycle = Some(sequence);
        Ok(sequence)
    }

    /// What is said of the key of `draft`, which was found at an entry: the answer of that entry is waited for as long as a row
    /// is, since what waits for the in-sync set has not landed yet.
    async fn found(&self, draft: &Draft<'_>, sequence: Sequence) -> DatabaseError {
        let drafts = [*draft];
        let asked = self.way.depositor.answer(&drafts);
        match tokio::time::timeout(self.inner.options.lock_timeout, asked).await {
            Ok(Ok((answer, again))) if again.is_again() => used_before(answer, again),
            Ok(Err(error)) => self.inner.refused(&self.way, error),
            // Not in time, or the daemon went away.
            Ok(Ok(_)) | Err(_) => DatabaseError::Undecided { sequence },
        }
    }

    /// Reads one row as this transaction sees it: its own writes first.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn get(
        &self,
        file: &FileName,
        key: &[Value],
    ) -> Result<Option<Vec<Value>>, DatabaseError> {
        let file = self.inner.files.find(file, &self.inner.job).await?;
        let key = file.key_of(key)?;
        self.current(&file, &key)?
            .map(|row| file.decode(&row))
            .transpose()
    }

    /// Reads one row and locks it, so that nobody changes it before this transaction is decided.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`DatabaseError::Locked`] when another transaction has it for too long.
    pub async fn get_for_update(
        &mut self,
        file: &FileName,
        key: &[Value],
    ) -> Result<Option<Vec<Value>>, DatabaseError> {
        let file = self.inner.files.find(file, &self.inner.job).await?;
        let key = file.key_of(key)?;
        self.lock(&file, &key).await?;
        self.current(&file, &key)?
            .map(|row| file.decode(&row))
            .transpose()
    }

    /// Reads one row by its encoded key, locking it where it is read to be changed.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// As [`Self::get_for_update`].
    pub async fn get_encoded(
        &mut self,
        file: &DatabaseFile,
        key: &[u8],
        for_update: bool,
    ) -> Result<Option<Vec<u8>>, DatabaseError> {
        if for_update {
            self.lock(file, key).await?;
        }
        self.current(file, key)
    }

    fn current(&self, file: &DatabaseFile, key: &[u8]) -> Result<Option<Vec<u8>>, DatabaseError> {
        match self.overlay.get(&(file.id, key.to_vec())) {
            Some(row) => Ok(row.clone()),
            None => Ok(self.inner.job.reader.get(file.id, key)?),
        }
    }

    async fn lock(&mut self, file: &DatabaseFile, key: &[u8]) -> Result<(), DatabaseError> {
        let place = (file.id, key.to_vec());
        if !self.locks.contains_key(&place) {
            let guard = take_lock(&self.inner, &self.way, file, key).await?;
            self.locks.insert(place, guard);
        }
        Ok(())
    }

    /// Makes a change in this transaction.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// [`DatabaseError`]; the transaction goes on unless it says `Over` or `Refused`.
    pub async fn write(&mut self, write: Write) -> Result<(), DatabaseError> {
        let inner = Arc::clone(&self.inner);
        inner.not_held()?;
        let file = inner.files.find(write.file(), &inner.job).await?;
        inner.files.require_journaled(&file, &inner.job).await?;
        let Target { key, row, count } = prepare(&inner, &file, &write)?;
        self.lock(&file, &key).await?;
        let current = self.current(&file, &key)?;
        let images = images(&file, &write, &key, row, current, count)?;
        let cycle = self.start().await?;
        let drafts = drafts(&file, &images, cycle);
        if let Err(error) = self.way.depositor.send(&drafts).await {
            // A commit must not land with an entry missing.
            self.over = true;
            self.roll_back_later();
            return Err(inner.refused(&self.way, error));
        }
        self.overlay.insert((file.id, key), images.after);
        Ok(())
    }

    /// Commits, and comes back when the commit is answered and in the store; one that landed is not waited for while the job
    /// is held.
    ///
    /// Cancel safe: no; the commit goes on, and keeps the rows locked until it is applied.
    ///
    /// # Errors
    /// [`DatabaseError`]: refused, and then rolled back.
    pub async fn commit(self) -> Result<Outcome, DatabaseError> {
        to_its_end(self.commit_now()).await
    }

    async fn commit_now(mut self) -> Result<Outcome, DatabaseError> {
        if std::mem::replace(&mut self.over, true) {
            return Err(DatabaseError::Over);
        }
        let Some(cycle) = self.cycle else {
            return Ok(Outcome::Nothing);
        };
        if let Err(held) = self.inner.not_held() {
            self.roll_back_later();
            return Err(held);
        }
        let draft = Draft {
            cycle,
            key: self.key,
            ..Draft::new(Kind::CYCLE_COMMIT, &[])
        };
        match self.way.depositor.answer(&[draft]).await {
            Ok((answer, Again::No)) => {
                let outcome = self.inner.settle(&self.way, answer).await;
                if let Ok(outcome) = &outcome {
                    self.hold_locks_until(*outcome);
                }
                outcome
            }
            Ok((answer, again)) => {
                self.roll_back_later();
                Err(used_before(answer, again))
            }
            Err(error) => {
                self.roll_back_later();
                Err(self.inner.refused(&self.way, error))
            }
        }
    }

    /// An UNKNOWN leaves the entries in the journal: the rows stay locked until that is decided (ruling 11), or until what
    /// landed is applied.
    fn hold_locks_until(&mut self, outcome: Outcome) {
        let Some(sequence) = locked_until(outcome) else {
            return;
        };
        let locks = std::mem::take(&mut self.locks);
        let (job, lap) = (Arc::clone(&self.inner.job), self.way.lap);
        tokio::spawn(async move {
            job.wait_decided(lap, sequence).await;
            drop(locks);
        });
    }

    /// Rolls back: nothing of it is ever applied.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// [`DatabaseError`] when the daemon is gone; it is rolled back all the same when the journal is opened again.
    pub async fn rollback(mut self) -> Result<(), DatabaseError> {
        if std::mem::replace(&mut self.over, true) {
            return Err(DatabaseError::Over);
        }
        let Some(cycle) = self.cycle else {
            return Ok(());
        };
        let draft = Draft {
            cycle,
            ..Draft::new(Kind::CYCLE_ROLLBACK, &[])
        };
        let sent = self.way.depositor.send(&[draft]).await;
        sent.map_err(|error| self.inner.refused(&self.way, error))
    }

    fn roll_back_later(&mut self) {
        let Some(cycle) = self.cycle.take() else {
            return;
        };
        let depositor = self.way.depositor.clone();
        let locks = std::mem::take(&mut self.locks);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let draft = Draft {
                    cycle,
                    indicator: 2,
                    ..Draft::new(Kind::CYCLE_ROLLBACK, &[])
                };
                drop(depositor.send(&[draft]).await);
                drop(locks);
            });
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.over {
            self.roll_back_later();
        }
    }
}

/// The entry until which the rows of a change stay locked.
const fn locked_until(outcome: Outcome) -> Option<Sequence> {
    match outcome {
        Outcome::Unknown { sequence, .. } | Outcome::Unapplied { sequence, .. } => Some(sequence),
        Outcome::Nothing | Outcome::Landed { .. } => None,
    }
}

/// Does something to its end, also when nobody waits for it any more: a lock given back before what was deposited under it
/// is applied lets the next one deposit an image that is not the last.
async fn to_its_end<T: Send + 'static>(
    what: impl Future<Output = Result<T, DatabaseError>> + Send + 'static,
) -> Result<T, DatabaseError> {
    let ended = tokio::spawn(what).await;
    ended.unwrap_or(Err(DatabaseError::Stopping))
}

/// One change outside commitment control.
pub(super) async fn write_alone(
    inner: &Arc<Inner>,
    write: Write,
) -> Result<Outcome, DatabaseError> {
    let way = inner.ready().await?;
    let file = inner.files.find(write.file(), &inner.job).await?;
    inner.files.require_journaled(&file, &inner.job).await?;
    let target = prepare(inner, &file, &write)?;
    let guard = take_lock(inner, &way, &file, &target.key).await?;
    let current = inner.job.reader.get(file.id, &target.key)?;
    let images = images(
        &file,
        &write,
        &target.key,
        target.row,
        current,
        target.count,
    )?;
    to_its_end(deposit_alone(Arc::clone(inner), way, file, images, guard)).await
}

async fn deposit_alone(
    inner: Arc<Inner>,
    way: Arc<Way>,
    file: Arc<DatabaseFile>,
    images: Entries,
    guard: LockGuard,
) -> Result<Outcome, DatabaseError> {
    let drafts = drafts(&file, &images, Sequence::NONE);
    let answered = way.depositor.answer(&drafts).await;
    let (answer, _) = answered.map_err(|error| inner.refused(&way, error))?;
    let outcome = inner.settle(&way, answer).await?;
    if let Some(sequence) = locked_until(outcome) {
        tokio::spawn(async move {
            inner.job.wait_decided(way.lap, sequence).await;
            drop(guard);
        });
    }
    Ok(outcome)
}

async fn take_lock(
    inner: &Inner,
    way: &Way,
    file: &DatabaseFile,
    key: &[u8],
) -> Result<LockGuard, DatabaseError> {
    let at_most = inner.options.lock_timeout;
    way.locks
        .take((file.id, key.to_vec()), at_most)
        .await
        .ok_or_else(|| DatabaseError::Locked {
            file: file.name.clone(),
            key: key_text(Some(&file.format), key),
            waited_ms: u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX),
        })
}

/// The row a change is about.
struct Target {
    key: Vec<u8>,
    /// The new row, encoded; none in a delete.
    row: Option<Vec<u8>>,
    /// Its record number in a file without key fields, else zero.
    count: u64,
}

fn prepare(inner: &Inner, file: &DatabaseFile, write: &Write) -> Result<Target, DatabaseError> {
    let bad = |error: rjournal::entry::record::RowError| DatabaseError::Row {
        reason: error.to_string(),
    };
    match write {
        Write::Delete { key, .. } => {
            let key = file.key_of(key)?;
            let count = rjournal::entry::record::record_number(&key)
                .filter(|_| file.format.key().is_empty())
                .unwrap_or(0);
            Ok(Target {
                key,
                row: None,
                count,
            })
        }
        Write::Insert { row, .. } | Write::Update { row, .. } | Write::Put { row, .. } => {
            let encoded = encode_row(&file.format, row).map_err(bad)?;
            if !file.format.key().is_empty() {
                return Ok(Target {
                    key: encode_key(&file.format, row).map_err(bad)?,
                    row: Some(encoded),
                    count: 0,
                });
            }
            if matches!(write, Write::Update { .. }) {
                let reason = format!(
                    "file {} has no key fields: its rows can be added and deleted, not updated",
                    file.name
                );
                return Err(DatabaseError::Row { reason });
            }
            let number = file.take_record_number(&inner.job)?;
            Ok(Target {
                key: record_number_key(number).to_vec(),
                row: Some(encoded),
                count: number,
            })
        }
    }
}

/// What a change becomes, given the row that is there; constraints are checked here, under the lock, before deposit.
fn images(
    file: &DatabaseFile,
    write: &Write,
    key: &[u8],
    row: Option<Vec<u8>>,
    current: Option<Vec<u8>>,
    count: u64,
) -> Result<Entries, DatabaseError> {
    let name = || file.name.clone();
    let key_for_people = || key_text(Some(&file.format), key);
    let both = file.format.images() == Images::Both;
    match (write, row, current) {
        (Write::Insert { .. }, _, Some(_)) => Err(DatabaseError::Duplicate {
            file: name(),
            key: key_for_people(),
        }),
        (Write::Update { .. } | Write::Delete { .. }, _, None) => Err(DatabaseError::NoRow {
            file: name(),
            key: key_for_people(),
        }),
        (Write::Delete { .. }, _, Some(current)) => {
            let (image, indicator) = if both {
                (current, 1)
            } else {
                (key.to_vec(), 0)
            };
            Ok(Entries {
                before: None,
                kind: Kind::RECORD_DELETE,
                image,
                indicator,
                count,
                after: None,
            })
        }
        (_, Some(row), None) => Ok(Entries {
            before: None,
            kind: Kind::RECORD_PUT,
            image: row.clone(),
            indicator: 0,
            count,
            after: Some(row),
        }),
        (_, Some(row), Some(current)) => {
            let (before, indicator) = if both { (Some(current), 1) } else { (None, 0) };
            Ok(Entries {
                before,
                kind: Kind::RECORD_UPDATE,
                image: row.clone(),
                indicator,
                count,
                after: Some(row),
            })
        }
        (_, None, _) => Err(DatabaseError::Row {
            reason: "a change without a row".to_owned(),
        }),
    }
}

/// The entries of a change: before-image and image stand next to each other, never torn.
fn drafts<'a>(file: &DatabaseFile, images: &'a Entries, cycle: Sequence) -> Vec<Draft<'a>> {
    let common = |kind, payload| Draft {
        object: file.id,
        cycle,
        count: images.count,
        format: file.format.version(),
        indicator: images.indicator,
        ..Draft::new(kind, payload)
    };
    let before = images
        .before
        .as_deref()
        .map(|before| common(Kind::RECORD_BEFORE, before));
    before
        .into_iter()
        .chain([common(images.kind, &images.image)])
        .collect()
}
