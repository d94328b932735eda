//! Room `serve`: a client that outlives its job and its daemon: a transaction with a deposit key is tried until it is known
//! to have landed, and lands once. Must not know what the transaction does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::daemon::ErrorKind;
use rjournal::entry::{DepositKey, Name, Sequence};
use rjournal::journal::AckClass;
use tokio::time::Instant;

use super::client::{ClientTransaction, DatabaseClient};
use crate::database::Outcome;
use crate::error::DatabaseError;

/// First wait before the next try.
const AGAIN_MIN: Duration = Duration::from_millis(50);
/// Longest wait.
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// A transaction that landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landed {
    /// Its commit; nothing where nothing was changed.
    pub sequence: Sequence,
    /// How well it is kept; not known where an earlier try landed, whose answer was lost.
    pub class: Option<AckClass>,
    /// How often it was tried.
    pub tries: u32,
}

/// A client that connects again.
#[derive(Debug)]
pub struct SteadyClient {
    data: PathBuf,
    store: Name,
    patience: Duration,
    client: Option<DatabaseClient>,
}

impl SteadyClient {
    /// A client of the job of a store in a data directory. Each transaction, and each connection, is tried for so long.
    pub fn new(data: &Path, store: Name, patience: Duration) -> Self {
        Self {
            data: data.to_owned(),
            store,
            patience,
            client: None,
        }
    }

    /// A connection to the job, waited for.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`DatabaseError`] when there is none in time.
    pub async fn client(&mut self) -> Result<&mut DatabaseClient, DatabaseError> {
        let deadline = Instant::now() + self.patience;
        let mut wait = AGAIN_MIN;
        let client = match self.client.take() {
            Some(client) => client,
            None => loop {
                match DatabaseClient::connect(&self.data, self.store).await {
                    Err(error) if !may_help(&error) || Instant::now() >= deadline => {
                        return Err(error);
                    }
                    Err(_) => pause(&mut wait).await,
                    Ok(client) => break client,
                }
            },
        };
        Ok(self.client.insert(client))
    }

    /// Makes a transaction, from its beginning each time it is tried, until it landed. `work` makes the changes, and does
    /// not commit.
    ///
    /// Cancel safe: no; it may land all the same.
    ///
    /// # Errors
    /// What `work` or the commit says, where trying again cannot help, or the time is over: it may have landed then, and
    /// calling this again with the same key is safe.
    pub async fn transact<W>(
        &mut self,
        key: DepositKey,
        mut work: W,
    ) -> Result<Landed, DatabaseError>
    where
        W: AsyncFnMut(&mut ClientTransaction<'_>) -> Result<(), DatabaseError>,
    {
        let deadline = Instant::now() + self.patience;
        let mut wait = AGAIN_MIN;
        for tries in 1.. {
            let error = match self.attempt(key, &mut work).await {
                Ok(Outcome::Nothing) => {
                    return Ok(Landed {
                        sequence: Sequence::NONE,
                        class: None,
                        tries,
                    });
                }
                // In the journal it is safe, whenever it is applied.
                Ok(
                    Outcome::Landed { sequence, class }
                    | Outcome::Unapplied {
                        sequence, class, ..
                    },
                ) => {
                    return Ok(Landed {
                        sequence,
                        class: Some(class),
                        tries,
                    });
                }
                // Deposited, and not decided yet: the key tells.
                Ok(Outcome::Unknown { sequence, .. }) => DatabaseError::Undecided { sequence },
                Err(DatabaseError::LandedBefore { sequence }) => {
                    // The next read is to see it.
                    match self.client().await?.wait(sequence, AGAIN_MAX).await {
                        Ok(true) => {
                            return Ok(Landed {
                                sequence,
                                class: None,
                                tries,
                            });
                        }
                        Ok(false) => DatabaseError::Busy { until: sequence },
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if !may_help(&error) || Instant::now() >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, tries, "the transaction is tried again");
            self.client = None;
            pause(&mut wait).await;
        }
        Err(DatabaseError::Over)
    }

    async fn attempt<W>(&mut self, key: DepositKey, work: &mut W) -> Result<Outcome, DatabaseError>
    where
        W: AsyncFnMut(&mut ClientTransaction<'_>) -> Result<(), DatabaseError>,
    {
        let client = self.client().await?;
        let mut transaction = client.begin(Some(key)).await?;
        if let Err(error) = work(&mut transaction).await {
            // The job rolls back when the connection ends, too.
            drop(transaction.rollback().await);
            return Err(error);
        }
        transaction.commit().await
    }
}

async fn pause(wait: &mut Duration) {
    tokio::time::sleep(*wait).await;
    *wait = (*wait * 2).min(AGAIN_MAX);
}

/// Whether it was the way to the journal that failed, rather than the transaction.
const fn may_help(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::NoJob { .. }
        | DatabaseError::Gone { .. }
        | DatabaseError::Stopping
        | DatabaseError::Over
        | DatabaseError::Held { .. }
        | DatabaseError::NotOpen { .. }
        | DatabaseError::NotPrimary
        | DatabaseError::Undecided { .. }
        | DatabaseError::TakenBack { .. }
        | DatabaseError::Busy { .. } => true,
        DatabaseError::Refused { error } => matches!(
            error.kind,
            ErrorKind::Unreachable | ErrorKind::TimedOut | ErrorKind::Refused
        ),
        _ => false,
    }
}
