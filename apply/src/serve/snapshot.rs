//! Room `serve`: a file as it was at one entry, read page by page over a connection. It is held for so long and no longer: what
//! changes under it is kept by the store meanwhile. Must not know the socket.

use std::sync::Arc;
use std::time::Duration;

use rjournal::entry::{FileName, ObjectId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::protocol::{FileSummary, SnapshotFile};
use crate::database::Database;
use crate::error::DatabaseError;
use crate::store::{KeyedRow, StoreError, StoreSnapshot};

/// How many connections may hold one at once.
pub(super) const HELD_MAX: usize = 2;

/// How long a connection may hold a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotLimits {
    /// Between two pages, and for a page to be taken.
    pub idle: Duration,
    /// All in all.
    pub whole: Duration,
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(1),
            whole: Duration::from_hours(1),
        }
    }
}

/// A snapshot that a connection reads.
pub(super) struct HeldSnapshot {
    snapshot: Box<dyn StoreSnapshot>,
    file: ObjectId,
    limits: SnapshotLimits,
    ends: Instant,
    idle_until: Instant,
    _place: OwnedSemaphorePermit,
}

impl HeldSnapshot {
    /// Takes a snapshot of the store for one file.
    ///
    /// Cancel safe: yes.
    pub(super) async fn take(
        database: &Database,
        file: &FileName,
        limits: SnapshotLimits,
        places: Arc<Semaphore>,
    ) -> Result<(Self, SnapshotFile), DatabaseError> {
        let file = database.file(file).await?;
        let place = places
            .try_acquire_owned()
            .map_err(|_| DatabaseError::Snapshot {
                reason: format!("{HELD_MAX} connections hold one already"),
            })?;
        let reader = Arc::clone(&database.job().reader);
        let snapshot = blocking(move || reader.snapshot().map_err(lost)).await?;
        let position = *snapshot.position();
        if let Some(mark) = position.in_progress {
            // Half of a transaction is no state of the file.
            return Err(DatabaseError::busy(mark));
        }
        let stored = snapshot
            .files()
            .iter()
            .find(|stored| stored.id == file.id)
            .cloned()
            .ok_or_else(|| DatabaseError::NoFile {
                file: file.name.clone(),
            })?;
        let now = Instant::now();
        let held = Self {
            snapshot,
            file: stored.id,
            limits,
            ends: now + limits.whole,
            idle_until: now + limits.idle,
            _place: place,
        };
        let file = SnapshotFile {
            applied: position.applied,
            file: FileSummary::of(stored),
        };
        Ok((held, file))
    }

    /// When it is given up.
    pub(super) fn deadline(&self) -> Instant {
        self.idle_until.min(self.ends)
    }

    /// What a client is told that asks for more after that.
    pub(super) fn given_up(&self) -> DatabaseError {
        let (limit, what) = if self.ends <= self.idle_until {
            (self.limits.whole, "it was held for")
        } else {
            (self.limits.idle, "nothing was asked for within")
        };
        DatabaseError::Snapshot {
            reason: format!("{what} {} s", limit.as_secs()),
        }
    }

    /// Rows in key order after a key. Gives the snapshot back, unless it is lost.
    ///
    /// Cancel safe: no; it is lost.
    pub(super) async fn scan(
        mut self,
        after: Option<Vec<u8>>,
        count: usize,
        bytes_max: usize,
    ) -> Result<(Self, Vec<KeyedRow>), DatabaseError> {
        if Instant::now() >= self.deadline() {
            return Err(self.given_up());
        }
        let (mut held, rows) = blocking(move || {
            let rows = self
                .snapshot
                .scan(self.file, after.as_deref(), count, bytes_max)
                .map_err(lost)?;
            Ok((self, rows))
        })
        .await?;
        held.idle_until = Instant::now() + held.limits.idle;
        Ok((held, rows))
    }
}

/// A store that cannot keep a snapshot any longer says so with an error that goes by.
fn lost(error: StoreError) -> DatabaseError {
    if error.is_transient() {
        DatabaseError::Snapshot {
            reason: error.to_string(),
        }
    } else {
        error.into()
    }
}

async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, DatabaseError> + Send + 'static,
) -> Result<T, DatabaseError> {
    let done = tokio::task::spawn_blocking(what).await;
    done.map_err(|error| DatabaseError::Store {
        reason: error.to_string(),
    })?
}
