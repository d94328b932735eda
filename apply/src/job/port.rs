//! Room `job`: a job's way to its journal: over the daemon's socket from a process of its own, or embedded in the program
//! that runs the system. The same for reading, depositing and reporting. Must not know what is read.

use std::path::PathBuf;

use rjournal::daemon::command::apply::{JobMessage, ReportJob, StorePlace};
use rjournal::daemon::command::file::{FileDescription, ListFiles};
use rjournal::daemon::command::orphan::ListOrphans;
use rjournal::daemon::{
    ArchiveFollowed, ErrorKind, Followed, Follower, JournalClient, JournalFacts, Stopped,
    SystemJournal, Want,
};
use rjournal::entry::{Draft, FileName, Name, QualifiedName, SealedBundle, Sequence, codec};
use rjournal::journal::{Answer, ArchiveReader, Orphan};
use rjournal::receiver::StoredBundle;
use rjournal::{Client, CommandError, System};

/// Bytes read at once from an embedded system.
const READ_BYTES: usize = 1024 * 1024;

/// The journal of a job.
#[derive(Debug, Clone)]
pub enum Port {
    /// Over the control socket of the daemon in a data directory.
    Daemon {
        /// The data directory.
        data: PathBuf,
        /// The journal.
        journal: QualifiedName,
        /// The store's name in the daemon's catalog.
        store: Name,
        /// For commands.
        client: Client,
    },
    /// In the process of the system.
    Embedded {
        /// The system.
        system: System,
        /// The journal.
        journal: SystemJournal,
    },
}

impl Port {
    /// Name of the journal.
    pub fn journal(&self) -> QualifiedName {
        match self {
            Self::Daemon { journal, .. } => *journal,
            Self::Embedded { journal, .. } => journal.name(),
        }
    }

    /// Name of the store in the daemon's catalog; a program that embeds the system has none.
    pub const fn store(&self) -> Option<Name> {
        match self {
            Self::Daemon { store, .. } => Some(*store),
            Self::Embedded { .. } => None,
        }
    }

    /// Reads the journal after an entry, to its end and along with it, or up to an entry.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub async fn follow(
        &self,
        after: Sequence,
        upto: Option<Sequence>,
    ) -> Result<Feed, CommandError> {
        match self {
            Self::Daemon { data, journal, .. } => Ok(Feed::Socket(Box::new(
                Client::follow(data, *journal, after, upto).await?,
            ))),
            Self::Embedded { journal, .. } => {
                let facts = journal.facts(after)?;
                Ok(Feed::Embedded {
                    journal: journal.clone(),
                    facts: Box::new(facts),
                    at: after,
                    upto,
                    level: None,
                    ready: Vec::new(),
                })
            }
        }
    }

    /// Reads an orphan archive of the journal after an entry, up to one.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub async fn follow_archive(
        &self,
        number: u64,
        after: Sequence,
        upto: Option<Sequence>,
    ) -> Result<Feed, CommandError> {
        match self {
            Self::Daemon { data, journal, .. } => {
                let wanted = ArchiveFollowed {
                    journal: *journal,
                    number,
                    after,
                    upto,
                };
                let follower = Client::follow_archive(data, wanted).await?;
                Ok(Feed::Socket(Box::new(follower)))
            }
            Self::Embedded { journal, .. } => Ok(Feed::Archive {
                facts: Box::new(journal.archive_facts(number, after)?),
                reader: journal.archive(number)?.reader(after)?,
                at: after,
            }),
        }
    }

    /// What an orphan archive of the journal is, and its chain head at an entry.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub async fn archive_facts(
        &self,
        number: u64,
        at: Sequence,
    ) -> Result<JournalFacts, CommandError> {
        let feed = self.follow_archive(number, at, Some(at)).await?;
        Ok(feed.facts().clone())
    }

    /// The orphan archives of the journal that can be read, and why others cannot.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when the daemon is gone.
    pub async fn orphans(&self) -> Result<(Vec<Orphan>, Vec<String>), CommandError> {
        let request = ListOrphans {
            journal: Some(self.journal()),
        };
        let found = match self {
            Self::Daemon { client, .. } => client.run(request).await?,
            Self::Embedded { system, .. } => system.run(request).await?,
        };
        let own = found.journals.into_iter().next();
        Ok(own.map_or_else(Default::default, |own| (own.orphans, own.unreadable)))
    }

    /// What the journal is, and its chain head at an entry.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub async fn facts(&self, at: Sequence) -> Result<JournalFacts, CommandError> {
        match self {
            Self::Daemon { .. } => Ok(self.follow(at, Some(at)).await?.facts().clone()),
            Self::Embedded { journal, .. } => journal.facts(at),
        }
    }

    /// Attaches the journal for deposits.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it takes no deposits here.
    pub async fn depositor(&self, actor: [String; 3]) -> Result<Depositor, CommandError> {
        match self {
            Self::Daemon { data, journal, .. } => Ok(Depositor::Socket(
                Client::attach(data, *journal, actor, true).await?,
            )),
            Self::Embedded { journal, .. } => Ok(Depositor::Embedded(journal.clone())),
        }
    }

    /// The definition of a file in the catalog.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when there is none, or the daemon is gone.
    pub async fn file(&self, file: &FileName) -> Result<Option<FileDescription>, CommandError> {
        let request = ListFiles {
            file: Some(file.clone()),
        };
        let found = match self {
            Self::Daemon { client, .. } => client.run(request).await,
            Self::Embedded { system, .. } => system.run(request).await,
        };
        match found {
            Ok(files) => Ok(files.files.into_iter().next()),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells where the store stands; the answer says whether a save is wanted.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when the daemon is gone.
    pub async fn report(&self, report: Report) -> Result<bool, CommandError> {
        let Self::Daemon { client, store, .. } = self else {
            return Ok(false);
        };
        let request = ReportJob {
            store: *store,
            place: report.place,
            saved: report.saved,
            stopped: report.stopped,
            message: report.message,
            held: report.held,
            fork: report.fork,
        };
        Ok(client.run(request).await?.save_wanted)
    }
}

/// What a job tells its daemon.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Where the store stands, durably.
    pub place: Option<StorePlace>,
    /// What the last save covers, where one was just made.
    pub saved: Option<Sequence>,
    /// Why the job stops for good.
    pub stopped: Option<Stopped>,
    /// Something an operator should read.
    pub message: Option<JobMessage>,
    /// Whether an operator holds the job, where that changed.
    pub held: Option<bool>,
    /// What was decided behind this entry is taken out of the store.
    pub fork: Option<Sequence>,
}

/// A journal being read.
#[derive(Debug)]
pub enum Feed {
    /// Over the socket.
    Socket(Box<Follower>),
    /// From the system in this process.
    Embedded {
        /// The journal.
        journal: SystemJournal,
        /// What it was when reading began.
        facts: Box<JournalFacts>,
        /// The last entry given.
        at: Sequence,
        /// The last entry wanted.
        upto: Option<Sequence>,
        /// The last level told.
        level: Option<Sequence>,
        /// Bundles read and not given yet, last first.
        ready: Vec<rjournal::entry::SealedBundle>,
    },
    /// An orphan archive, from the system in this process.
    Archive {
        /// What the archive is.
        facts: Box<JournalFacts>,
        /// The archive.
        reader: ArchiveReader,
        /// The last entry given.
        at: Sequence,
    },
}

impl Feed {
    /// What the journal was when reading began.
    pub fn facts(&self) -> &JournalFacts {
        match self {
            Self::Socket(follower) => follower.facts(),
            Self::Embedded { facts, .. } | Self::Archive { facts, .. } => facts,
        }
    }

    /// The next bundle, or the word that everything was given.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when the journal cannot be read further.
    pub async fn next(&mut self) -> Result<Followed, CommandError> {
        match self {
            Self::Socket(follower) => follower.next().await,
            Self::Archive { reader, at, .. } => {
                let Some(bundle) = reader.next_bundles(0)?.pop() else {
                    return Ok(Followed::Level(*at));
                };
                let opened = opened(bundle)?;
                *at = opened.header().last();
                Ok(Followed::Bundle(opened))
            }
            Self::Embedded {
                journal,
                at,
                upto,
                level,
                ready,
                ..
            } => loop {
                if let Some(bundle) = ready.pop() {
                    *at = bundle.header().last();
                    return Ok(Followed::Bundle(bundle));
                }
                let readable = journal.readable();
                let done = *at >= readable || upto.is_some_and(|upto| *at >= upto);
                if done && *level != Some(*at) {
                    *level = Some(*at);
                    return Ok(Followed::Level(*at));
                }
                let bundles = journal.bundles_after(*at, READ_BYTES).await?;
                if bundles.is_empty() {
                    let error = CommandError::refused("RJN4010", "the journal was closed");
                    return Err(error);
                }
                for bundle in bundles.into_iter().rev() {
                    ready.push(opened(bundle)?);
                }
            },
        }
    }
}

fn opened(bundle: StoredBundle) -> Result<SealedBundle, CommandError> {
    codec::open(bundle.bytes, bundle.receiver.receiver)
        .map_err(|error| CommandError::new(ErrorKind::Damaged, "RJN1002", error.to_string()))
}

/// A journal taking deposits.
#[derive(Debug, Clone)]
pub enum Depositor {
    /// Over the socket.
    Socket(JournalClient),
    /// Into the system in this process.
    Embedded(SystemJournal),
}

impl Depositor {
    /// Deposits entries that are never torn and gives the number of the last; whether it had landed before under its key.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// [`CommandError`]: refused, or the daemon is gone.
    pub async fn number(&self, drafts: &[Draft<'_>]) -> Result<(Sequence, bool), CommandError> {
        match self {
            Self::Socket(client) => {
                client
                    .deposit_unit(drafts, Want::Number)
                    .await?
                    .number()
                    .await
            }
            Self::Embedded(journal) => {
                let ticket = journal.deposit_unit(drafts).await?;
                Ok((ticket.sequence(), ticket.again()))
            }
        }
    }

    /// Deposits entries that are never torn and does not wait; over the socket a refusal is told by the
    /// commit, which is refused then.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// [`CommandError`]: refused (embedded), or the daemon is gone.
    pub async fn send(&self, drafts: &[Draft<'_>]) -> Result<(), CommandError> {
        match self {
            Self::Socket(client) => client.deposit_unit(drafts, Want::Nothing).await.map(drop),
            Self::Embedded(journal) => {
                journal.deposit_unit(drafts).await?;
                Ok(())
            }
        }
    }

    /// Deposits entries that are never torn and waits for the answer; whether it had landed before under its key.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// [`CommandError`]: refused, now or earlier in this transaction.
    pub async fn answer(&self, drafts: &[Draft<'_>]) -> Result<(Answer, bool), CommandError> {
        match self {
            Self::Socket(client) => {
                client
                    .deposit_unit(drafts, Want::Answer)
                    .await?
                    .answer()
                    .await
            }
            Self::Embedded(journal) => {
                let ticket = journal.deposit_unit(drafts).await?;
                let again = ticket.again();
                Ok((ticket.await, again))
            }
        }
    }

    /// The last entry deposited when this one was attached.
    pub fn deposited(&self) -> Sequence {
        match self {
            Self::Socket(client) => client.facts().deposited,
            Self::Embedded(journal) => journal
                .facts(Sequence::NONE)
                .map_or(Sequence::NONE, |facts| facts.deposited),
        }
    }
}
