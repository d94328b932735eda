//! Room `daemon`: a journal in the hands of the program that embeds the system: deposits and reads without a socket. Must
//! not decide anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::command::CommandError;
use super::crank::Source;
use super::deposit::deposit_unit;
use super::reading::{Along, JournalFacts, Read, Reading, bundles_after, facts};
use super::socket::{Followed, open};
use super::system::{JournalRuntime, Shared, System};
use crate::entry::{Draft, QualifiedName, Sequence};
use crate::error::DepositError;
use crate::journal::{Answer, Archive, Journal, Limit, Ticket};
use crate::receiver::StoredBundle;

/// Bytes read at once.
const READ_BYTES: usize = 1024 * 1024;

/// A journal of an embedded system. Clones share it.
#[derive(Debug, Clone)]
pub struct SystemJournal {
    shared: Arc<Shared>,
    source: Source,
}

impl System {
    /// A journal that is open here, local or remote.
    ///
    /// # Errors
    /// [`CommandError`] when there is none, or it is not open.
    pub fn journal(&self, name: QualifiedName) -> Result<SystemJournal, CommandError> {
        let runtime = self.shared().require_journal(name)?;
        let source = runtime.source().ok_or_else(|| {
            CommandError::refused("RJN4010", format!("journal {name} is not open"))
                .help("DescribeJournals says why")
        })?;
        Ok(SystemJournal {
            shared: Arc::clone(self.shared()),
            source,
        })
    }

    /// Waits until a local journal is open for deposits: after a start it may first ask its in-sync set.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it is not open within the time given.
    pub async fn journal_when_open(
        &self,
        name: QualifiedName,
        at_most: Duration,
    ) -> Result<SystemJournal, CommandError> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let changed = self.shared().changed();
            match self.shared().require_journal(name)? {
                JournalRuntime::Opening(_) => {}
                _ => return self.journal(name),
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return self.journal(name);
            }
        }
    }
}

impl System {
    /// Reads a journal after an entry, to its end and along with it, or up to an entry; it alone, or the history of its recovery
    /// group.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub fn follow(
        &self,
        journal: QualifiedName,
        along: Along,
        after: Sequence,
        upto: Option<Sequence>,
    ) -> Result<SystemFollower, CommandError> {
        let (reading, facts) = Reading::begin(self.shared(), journal, along, after, upto)?;
        Ok(SystemFollower {
            reading,
            facts,
            ready: VecDeque::new(),
        })
    }
}

/// A journal of the system in this process, being followed.
#[derive(Debug)]
pub struct SystemFollower {
    reading: Reading,
    facts: JournalFacts,
    /// Bundles that were read and not given yet.
    ready: VecDeque<StoredBundle>,
}

impl SystemFollower {
    /// What the journal was when reading began.
    pub const fn facts(&self) -> &JournalFacts {
        &self.facts
    }

    /// The next thing; waits until there is one.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when the journal cannot be read further.
    pub async fn next(&mut self) -> Result<Followed, CommandError> {
        loop {
            if let Some(bundle) = self.ready.pop_front() {
                return open(bundle.bytes, bundle.receiver.receiver).map(Followed::Bundle);
            }
            match self.reading.next(READ_BYTES).await? {
                Read::Bundles(bundles) => self.ready.extend(bundles),
                Read::Level(upto) => return Ok(Followed::Level(upto)),
                Read::Changed(facts) => return Ok(Followed::Changed(facts)),
                Read::Ended(ended) => return Ok(Followed::SegmentEnded(ended)),
            }
        }
    }
}

impl SystemJournal {
    /// Name.
    pub fn name(&self) -> QualifiedName {
        self.source.name()
    }

    fn local(&self) -> Result<&Journal, DepositError> {
        match &self.source {
            Source::Local(journal) => Ok(journal),
            Source::Copy(_) => Err(DepositError::NotOpen),
        }
    }

    /// Deposits an entry; the ticket gives its answer.
    ///
    /// Cancel safe: yes, nothing is deposited unless the ticket is returned.
    ///
    /// # Errors
    /// [`DepositError`]: refused, and certainly not in the journal.
    pub async fn deposit(&self, draft: &Draft<'_>) -> Result<Ticket, DepositError> {
        self.deposit_unit(std::slice::from_ref(draft)).await
    }

    /// Deposits entries that are never torn.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// As [`Self::deposit`].
    pub async fn deposit_unit(&self, drafts: &[Draft<'_>]) -> Result<Ticket, DepositError> {
        deposit_unit(self.local()?, drafts, &*self.shared.clock).await
    }

    /// Deposits an entry from a thread that may block.
    ///
    /// # Errors
    /// As [`Self::deposit`].
    pub fn deposit_blocking(&self, draft: &Draft<'_>) -> Result<Ticket, DepositError> {
        let journal = self.local()?;
        once_there_is_room(journal, || journal.deposit(draft, self.shared.clock.wall()))
    }

    /// Deposits an entry from a thread that may block, and waits for its answer: UNKNOWN when there is none in time. Where
    /// nobody else writes just then, this thread writes and flushes the entry itself, which saves waking two threads: the
    /// quickest way for a program with few depositors.
    ///
    /// # Errors
    /// As [`Self::deposit`].
    pub fn deposit_and_wait(
        &self,
        draft: &Draft<'_>,
        at_most: Duration,
    ) -> Result<Answer, DepositError> {
        let journal = self.local()?;
        let ticket = once_there_is_room(journal, || {
            journal
                .intake()
                .deposit_unwoken(draft, self.shared.clock.wall())
        })?;
        match self.shared.runtime_of(self.name()) {
            Some(JournalRuntime::Local(runtime)) if ticket.now().is_none() => {
                runtime.write_here(&self.shared);
            }
            _ => journal.intake().wake(),
        }
        Ok(ticket.wait(at_most))
    }

    /// The clock deposits are stamped with.
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// How far entries may be read: released on a local journal, confirmed on a remote one.
    pub fn readable(&self) -> Sequence {
        match &self.source {
            Source::Local(journal) => journal.tail().marks().settled,
            Source::Copy(copy) => copy.tail().marks().settled,
        }
    }

    /// Whole bundles after an entry, as far as they may be read; waits until there is one. Empty when the journal was
    /// closed.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when they cannot be read.
    pub async fn bundles_after(
        &self,
        after: Sequence,
        bytes: usize,
    ) -> Result<Vec<StoredBundle>, CommandError> {
        loop {
            let (moved, closed) = match &self.source {
                Source::Local(journal) => (
                    journal.tail().listen(Limit::Settled),
                    journal.tail().is_closed(),
                ),
                Source::Copy(copy) => (copy.tail().listen(Limit::Settled), copy.tail().is_closed()),
            };
            let bundles = bundles_after(&self.source, after, bytes)?;
            if !bundles.is_empty() || closed {
                return Ok(bundles);
            }
            moved.await;
        }
    }

    /// One of its orphan archives, for reading.
    ///
    /// # Errors
    /// [`CommandError`] when there is none of that number, or its manifest cannot be read.
    pub fn archive(&self, number: u64) -> Result<Arc<Archive>, CommandError> {
        self.shared.archive_of(self.name(), number)
    }

    /// What one of its orphan archives is, told like a journal, and the chain head there at an entry.
    ///
    /// # Errors
    /// As [`Self::archive`]; or it is damaged.
    pub fn archive_facts(
        &self,
        number: u64,
        at: Sequence,
    ) -> Result<super::JournalFacts, CommandError> {
        super::socket::archive_facts(&self.archive(number)?, self.name(), at)
    }

    /// What the journal is, and its chain head at an entry.
    ///
    /// # Errors
    /// [`CommandError`] when the receivers cannot be read.
    pub fn facts(&self, at: Sequence) -> Result<JournalFacts, CommandError> {
        let runtime = self.shared.require_journal(self.name())?;
        facts(&self.shared, &runtime, Some(at))
    }
}

/// Deposits, waiting while there is no room.
fn once_there_is_room(
    journal: &Journal,
    deposit: impl Fn() -> Result<Ticket, DepositError>,
) -> Result<Ticket, DepositError> {
    loop {
        match deposit() {
            Err(DepositError::Busy) => {}
            other => return other,
        }
        let room = journal.room();
        match deposit() {
            Err(DepositError::Busy) => event_listener::Listener::wait(room),
            other => return other,
        }
    }
}
