//! Room `database`: the way to a journal that takes deposits. There is one while the journal the job applies is open for deposits
//! here: always for the store of a local journal, and in a recovery group as long as this system is primary. It goes with the
//! term, and with it the locks: what was deposited in it is decided when the store has passed its end. Must not know
//! transactions.

use std::sync::Arc;

use rjournal::daemon::JournalFacts;
use rjournal::entry::{Epoch, SegmentId, Sequence};
use tokio::sync::OnceCell;

use super::lock::LockTable;
use super::{DatabaseOptions, lock};
use crate::error::{ApplyError, DatabaseError};
use crate::job::{Depositor, JobShared, Lap, Port, Waited};

/// The way deposits go, for as long as it leads somewhere.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) depositor: Depositor,
    /// Locks of rows that are changed this way.
    pub(crate) locks: LockTable,
    /// The segment of the history that is deposited into.
    pub(crate) lap: Lap,
    segment: SegmentId,
    epoch: Epoch,
    /// What was deposited before must be in the store before anything is changed: its locks are not here.
    settled_from: Sequence,
    /// The daemon's catalog has the files of the store.
    told_files: OnceCell<()>,
}

impl Way {
    /// Whether it is the very way another one is.
    pub(super) fn is_of(&self, other: Option<&Self>) -> bool {
        other.is_some_and(|other| std::ptr::eq(self, other))
    }

    fn leads_to(&self, facts: &JournalFacts) -> bool {
        facts.local && (self.segment, self.epoch) == (facts.segment(), facts.epoch)
    }
}

/// Whether there is a way, and where it leads.
#[derive(Debug, Default)]
pub(super) struct Access {
    way: std::sync::Mutex<Option<Arc<Way>>>,
    /// One attaches at a time: a second depositor would take over from the first.
    attaching: tokio::sync::Mutex<()>,
}

impl Access {
    /// The way as it is now; one that leads nowhere any more is dropped.
    pub(super) fn way(&self, job: &JobShared) -> Option<Arc<Way>> {
        let facts = job.facts();
        let mut way = lock(&self.way);
        if !way
            .as_ref()
            .zip(facts.as_ref())
            .is_some_and(|(way, facts)| way.leads_to(facts))
        {
            *way = None;
        }
        way.clone()
    }

    /// Waits until the journal is open, and attaches it if it takes deposits here and is not attached yet.
    ///
    /// Cancel safe: yes.
    pub(super) async fn attach(
        &self,
        job: &JobShared,
        port: &Port,
        options: &DatabaseOptions,
    ) -> Result<(), ApplyError> {
        // A job that ended before needs no journal.
        if !job.wait_opened().await {
            return Ok(());
        }
        let _turn = self.attaching.lock().await;
        let lap = job.lap();
        let Some(facts) = job.facts().filter(|facts| facts.local) else {
            return Ok(());
        };
        if self.way(job).is_some() {
            return Ok(());
        }
        let depositor = port.depositor(facts.name, options.actor.clone()).await?;
        let way = Way {
            settled_from: depositor.deposited(),
            depositor,
            locks: LockTable::default(),
            lap,
            segment: facts.segment(),
            epoch: facts.epoch,
            told_files: OnceCell::new(),
        };
        // What is not so any more is dropped when it is looked at next.
        *lock(&self.way) = Some(Arc::new(way));
        Ok(())
    }
}

impl Way {
    /// Waits until everything deposited by others before is in the store.
    ///
    /// Cancel safe: yes.
    pub(super) async fn settled(
        &self,
        job: &JobShared,
        port: &Port,
        options: &DatabaseOptions,
    ) -> Result<(), Waiting> {
        let upto = self.settled_from;
        let settles = job.wait_unheld(self.lap, upto);
        match tokio::time::timeout(options.lock_timeout, settles).await {
            Ok(Waited::Applied) => {}
            Ok(Waited::Held) => return Err(Waiting::Held),
            Ok(Waited::Ended) => return Err(Waiting::Error(DatabaseError::Stopping)),
            Ok(Waited::Gone) => return Err(Waiting::Gone),
            Err(_) => return Err(Waiting::Error(DatabaseError::Busy { until: upto })),
        }
        let tell = || tell_files(job, port);
        self.told_files.get_or_init(tell).await;
        Ok(())
    }
}

/// Why nothing is changed this way now.
pub(super) enum Waiting {
    /// An operator holds the job.
    Held,
    /// It leads nowhere any more.
    Gone,
    /// Something else.
    Error(DatabaseError),
}

/// The catalog of a system that becomes primary has no definition of the files: names, identities and formats come from the store.
async fn tell_files(job: &JobShared, port: &Port) {
    let Some(facts) = job.facts().filter(JournalFacts::is_in_group) else {
        return;
    };
    let told = match job.described_files() {
        Ok(files) => port.tell_files(facts.name, files).await,
        Err(error) => Err(crate::error::DatabaseError::from(error).into()),
    };
    if let Err(error) = told {
        // Rows can be changed all the same: the store knows its files.
        tracing::warn!(%error, "the catalog was not told of the store's files");
    }
}
