//! Room `job`: a job's way to its journal: over the daemon's socket from a process of its own, or embedded in the program
//! that runs the system. The same for reading, depositing and reporting. Must not know what is read.

use std::path::PathBuf;

use rjournal::daemon::command::apply::{JobMessage, ReportJob, SavedPlace, StorePlace};
use rjournal::daemon::command::file::{AdoptFiles, FileDescription, ListFiles, StoredDefinition};
use rjournal::daemon::command::orphan::ListOrphans;
use rjournal::daemon::{
    Along, ArchiveFollowed, ErrorKind, Followed, Follower, JournalClient, JournalFacts, Stopped,
    SystemFollower, SystemJournal, Want,
};
use rjournal::entry::{
    Draft, FileName, Name, QualifiedName, SaveFacts, SealedBundle, SegmentId, Sequence, codec,
};
use rjournal::journal::{Again, Answer, ArchiveReader, Orphan};
use rjournal::receiver::StoredBundle;
use rjournal::{Client, CommandError, System};

/// The journal of a job, or any of a recovery group: then the job applies the group's history.
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

    /// Reads along the history the journal belongs to: from the segment a position is in, or the first one, after an entry; to
    /// its end and along with it, or up to an entry. A journal outside a recovery group is its own history.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub async fn follow(
        &self,
        segment: Option<SegmentId>,
        after: Sequence,
        upto: Option<Sequence>,
    ) -> Result<Feed, CommandError> {
        let along = Along::Lineage(segment);
        match self {
            Self::Daemon { data, journal, .. } => Ok(Feed::Socket(Box::new(
                Client::follow(data, *journal, along, after, upto).await?,
            ))),
            Self::Embedded { system, journal } => {
                let follower = system.follow(journal.name(), along, after, upto)?;
                Ok(Feed::Embedded(Box::new(follower)))
            }
        }
    }

    /// Reads an orphan archive of a journal of the history after an entry, up to one.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub async fn follow_archive(
        &self,
        journal: QualifiedName,
        number: u64,
        after: Sequence,
        upto: Option<Sequence>,
    ) -> Result<Feed, CommandError> {
        match self {
            Self::Daemon { data, .. } => {
                let wanted = ArchiveFollowed {
                    journal,
                    number,
                    after,
                    upto,
                };
                let follower = Client::follow_archive(data, wanted).await?;
                Ok(Feed::Socket(Box::new(follower)))
            }
            Self::Embedded { system, .. } => {
                let journal = system.journal(journal)?;
                Ok(Feed::Archive {
                    facts: Box::new(journal.archive_facts(number, after)?),
                    reader: journal.archive(number)?.reader(after)?,
                    at: after,
                })
            }
        }
    }

    /// What an orphan archive of a journal is, and its chain head at an entry.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub async fn archive_facts(
        &self,
        journal: QualifiedName,
        number: u64,
        at: Sequence,
    ) -> Result<JournalFacts, CommandError> {
        let feed = self.follow_archive(journal, number, at, Some(at)).await?;
        Ok(feed.facts().clone())
    }

    /// The orphan archives of a journal that can be read, and why others cannot.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when the daemon is gone.
    pub async fn orphans(
        &self,
        journal: QualifiedName,
    ) -> Result<(Vec<Orphan>, Vec<String>), CommandError> {
        let request = ListOrphans {
            journal: Some(journal),
        };
        let found = match self {
            Self::Daemon { client, .. } => client.run(request).await?,
            Self::Embedded { system, .. } => system.run(request).await?,
        };
        let own = found.journals.into_iter().next();
        Ok(own.map_or_else(Default::default, |own| (own.orphans, own.unreadable)))
    }

    /// What the journal of a segment is, and its chain head at an entry.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be read.
    pub async fn facts(
        &self,
        segment: Option<SegmentId>,
        at: Sequence,
    ) -> Result<JournalFacts, CommandError> {
        Ok(self.follow(segment, at, Some(at)).await?.facts().clone())
    }

    /// Attaches a journal for deposits: the one that is applied, or the one its history has come to.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when it takes no deposits here.
    pub async fn depositor(
        &self,
        journal: QualifiedName,
        actor: [String; 3],
    ) -> Result<Depositor, CommandError> {
        match self {
            Self::Daemon { data, .. } => Ok(Depositor::Socket(Box::new(
                Client::attach(data, journal, actor, true).await?,
            ))),
            Self::Embedded { system, .. } => Ok(Depositor::Embedded(system.journal(journal)?)),
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

    /// Tells the catalog of the files of the store, whose changes go to a journal that is open here.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// [`CommandError`] when the daemon is gone, or the journal is no longer open here.
    pub(crate) async fn tell_files(
        &self,
        journal: QualifiedName,
        files: Vec<StoredDefinition>,
    ) -> Result<(), CommandError> {
        let request = AdoptFiles { journal, files };
        match self {
            Self::Daemon { client, .. } => client.run(request).await.map(drop),
            Self::Embedded { system, .. } => system.run(request).await.map(drop),
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
            save: report.save,
            saved: report.saved,
            not_saved: report.not_saved,
            stopped: report.stopped,
            message: report.message,
            held: report.held,
            fork: report.fork,
            kept_from: report.kept_from,
        };
        Ok(client.run(request).await?.save_wanted)
    }
}

/// What a job tells its daemon.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Where the store stands, durably.
    pub place: Option<StorePlace>,
    /// The job's own save, where one was just made or found.
    pub save: Option<SaveFacts>,
    /// Why it could not be made, where it was tried.
    pub not_saved: Option<String>,
    /// What the last save covers, where one was just made.
    pub saved: Option<SavedPlace>,
    /// Why the job stops for good.
    pub stopped: Option<Stopped>,
    /// Something an operator should read.
    pub message: Option<JobMessage>,
    /// Whether an operator holds the job, where that changed.
    pub held: Option<bool>,
    /// What was decided behind this entry is taken out of the store.
    pub fork: Option<Sequence>,
    /// Where reading begins again then.
    pub kept_from: Option<Sequence>,
}

/// A journal being read.
#[derive(Debug)]
pub enum Feed {
    /// Over the socket.
    Socket(Box<Follower>),
    /// From the system in this process.
    Embedded(Box<SystemFollower>),
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
            Self::Embedded(follower) => follower.facts(),
            Self::Archive { facts, .. } => facts,
        }
    }

    /// The next thing: a bundle, or the word that everything was given, or that the journal changed or goes on elsewhere.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when the journal cannot be read further.
    pub async fn next(&mut self) -> Result<Followed, CommandError> {
        match self {
            Self::Socket(follower) => follower.next().await,
            Self::Embedded(follower) => follower.next().await,
            Self::Archive { reader, at, .. } => {
                let Some(bundle) = reader.next_bundles(0)?.pop() else {
                    return Ok(Followed::Level(*at));
                };
                let opened = opened(bundle)?;
                *at = opened.header().last();
                Ok(Followed::Bundle(opened))
            }
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
    Socket(Box<JournalClient>),
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
    pub async fn number(&self, drafts: &[Draft<'_>]) -> Result<(Sequence, Again), CommandError> {
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
    pub async fn answer(&self, drafts: &[Draft<'_>]) -> Result<(Answer, Again), CommandError> {
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
