//! Room `serve`: a client that outlives its job, its daemon, and the role of its system: a transaction with a deposit key is tried
//! until it is known to have landed, at whichever member of a recovery group is primary, and lands once. Must not know what the
//! transaction does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::CommandError;
use rjournal::daemon::{BackOff, ErrorKind, GroupMembers};
use rjournal::entry::{DepositKey, Name, Sequence};
use rjournal::journal::AckClass;
use tokio::time::Instant;

use super::client::{ClientTransaction, DatabaseClient};
use crate::database::Outcome;
use crate::error::DatabaseError;

/// A commit found in the journal is waited for so long before it is tried again.
const APPLIED_MAX: Duration = Duration::from_secs(1);
/// While a transaction is under way it is looked this often whether another member is primary by now.
const WATCH: Duration = Duration::from_secs(1);

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

/// Where the database is.
#[derive(Debug, Clone)]
enum Way {
    /// The store of one system.
    Here { data: PathBuf, store: Name },
    /// That of the member of a recovery group that is primary.
    Primary {
        members: GroupMembers,
        stores: Vec<Name>,
    },
}

/// A client that connects again.
#[derive(Debug)]
pub struct SteadyClient {
    way: Way,
    patience: Duration,
    client: Option<DatabaseClient>,
    /// The term of the primary it is connected to.
    term: u64,
    /// When that was found out.
    looked: Instant,
}

impl SteadyClient {
    /// A client of the job of a store in a data directory. Each transaction, and each connection, is tried for so long.
    pub fn new(data: &Path, store: Name, patience: Duration) -> Self {
        let data = data.to_owned();
        Self::on(Way::Here { data, store }, patience)
    }

    /// A client of the store of whichever member of a recovery group is primary: the data directories of members on this machine,
    /// each with the name of its store. `group` may be left out where they are in one group only.
    pub fn of_group(
        members: impl IntoIterator<Item = (PathBuf, Name)>,
        group: Option<Name>,
        patience: Duration,
    ) -> Self {
        let (places, stores): (Vec<PathBuf>, Vec<Name>) = members.into_iter().unzip();
        let members = GroupMembers::new(places, group);
        Self::on(Way::Primary { members, stores }, patience)
    }

    fn on(way: Way, patience: Duration) -> Self {
        Self {
            way,
            patience,
            client: None,
            term: 0,
            looked: Instant::now(),
        }
    }

    /// A connection to the job, waited for.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`DatabaseError`] when there is none in time.
    pub async fn client(&mut self) -> Result<&mut DatabaseClient, DatabaseError> {
        self.client_until(Instant::now() + self.patience).await
    }

    async fn client_until(
        &mut self,
        deadline: Instant,
    ) -> Result<&mut DatabaseClient, DatabaseError> {
        let mut pause = BackOff::default();
        let client = match self.client.take() {
            Some(client) => client,
            None => loop {
                let error = match self.way.connect().await {
                    Ok((client, term)) => {
                        (self.term, self.looked) = (term, Instant::now());
                        break client;
                    }
                    Err(error) => error,
                };
                if !self.way.may_help(&error) || !pause.pause(deadline).await {
                    return Err(error);
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
        let mut pause = BackOff::default();
        for tries in 1.. {
            let error = match self.attempt_until(deadline, key, &mut work).await {
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
                    self.note_class(class);
                    return Ok(Landed {
                        sequence,
                        class: Some(class),
                        tries,
                    });
                }
                // Deposited, and not decided yet: the key tells.
                Ok(Outcome::Unknown { sequence, .. }) => DatabaseError::Undecided { sequence },
                // Whatever an earlier term decided is in the store before anything is begun in a later one.
                Err(DatabaseError::LandedBefore {
                    sequence,
                    journal: Some(_),
                }) => {
                    return Ok(Landed {
                        sequence,
                        class: None,
                        tries,
                    });
                }
                Err(DatabaseError::LandedBefore { sequence, .. }) => {
                    // The next read is to see it.
                    let client = self.client_until(deadline).await?;
                    match client.wait(sequence, APPLIED_MAX).await {
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
            let helps = self.way.may_help(&error);
            if helps {
                self.client = None;
            }
            if !helps || !pause.pause(deadline).await {
                return Err(error);
            }
            tracing::debug!(%error, tries, "the transaction is tried again");
        }
        Err(DatabaseError::Over)
    }

    /// A primary that answers alone may be one no longer, and not know: the next transaction looks who is.
    fn note_class(&mut self, class: AckClass) {
        let is_group = matches!(self.way, Way::Primary { .. });
        if is_group && class == AckClass::Local && self.looked.elapsed() >= WATCH {
            self.client = None;
        }
    }

    /// As [`Self::attempt`], given up when another member becomes primary: the one it was sent to may never answer.
    async fn attempt_until<W>(
        &mut self,
        deadline: Instant,
        key: DepositKey,
        work: &mut W,
    ) -> Result<Outcome, DatabaseError>
    where
        W: AsyncFnMut(&mut ClientTransaction<'_>) -> Result<(), DatabaseError>,
    {
        self.client_until(deadline).await?;
        let superseded = self.way.clone().superseded(self.term);
        tokio::select! {
            biased;
            outcome = self.attempt(key, work) => outcome,
            () = superseded => Err(DatabaseError::Gone {
                reason: "another member of the group is primary".to_owned(),
            }),
        }
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

impl Way {
    /// Connects; says in which term the system is primary, 0 where that plays no part.
    async fn connect(&self) -> Result<(DatabaseClient, u64), DatabaseError> {
        match self {
            Self::Here { data, store } => Ok((DatabaseClient::connect(data, *store).await?, 0)),
            Self::Primary { members, stores } => {
                let found = members.primary().await;
                let found = found.map_err(|error| DatabaseError::Refused { error })?;
                let place = members
                    .places()
                    .get(found.place)
                    .zip(stores.get(found.place));
                let (data, store) = place.ok_or_else(|| DatabaseError::Refused {
                    error: CommandError::invalid("each member of the group needs a store"),
                })?;
                let client = DatabaseClient::connect(data, *store).await?;
                Ok((client, found.told.term))
            }
        }
    }

    /// Comes back when another member is primary in a later term: never, where there are none.
    async fn superseded(self, term: u64) {
        let Self::Primary { members, .. } = self else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(WATCH).await;
            let found = members.primary().await;
            if found.is_ok_and(|found| found.told.term > term) {
                return;
            }
        }
    }

    /// Whether it was the way to the journal that failed, rather than the transaction.
    fn may_help(&self, error: &DatabaseError) -> bool {
        // The system was primary when it was asked, and its store is not changed there any more, or not yet.
        let elsewhere = match error {
            DatabaseError::Replica => true,
            DatabaseError::Refused { error } => error.is_transient(),
            _ => false,
        };
        may_help(error) || (elsewhere && matches!(self, Self::Primary { .. }))
    }
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
