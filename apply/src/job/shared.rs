//! Room `job`: what a running job shares with those who read its store, wait for it or give it orders. Must not know how
//! it is driven.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rjournal::daemon::JournalFacts;
use rjournal::entry::{ObjectId, Sequence};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::DatabaseError;
use crate::store::{InProgress, SaveInfo, StorePosition, StoreReader};

/// An order to a running job.
#[derive(Debug)]
pub enum Order {
    /// Apply nothing until released; reads go on.
    Hold(oneshot::Sender<()>),
    /// Go on.
    Release(oneshot::Sender<()>),
    /// Make a store save in this file.
    Save {
        /// The file; nothing for the one the job keeps itself.
        path: Option<PathBuf>,
        /// What came of it.
        done: oneshot::Sender<Result<SaveInfo, DatabaseError>>,
    },
    /// Make everything durable and end.
    Stop,
}

/// A job for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Where the store stands.
    pub position: Option<StorePosition>,
    /// Where it stood when the job opened it; nothing for one that was made then.
    #[serde(default)]
    pub found: Option<Sequence>,
    /// The last entry that may be applied, as far as the job was told.
    pub readable: Sequence,
    /// Whether an operator holds it.
    pub held: bool,
    /// What it waits for or why it stopped.
    pub note: Option<String>,
}

/// What a job knows of its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journal {
    /// Nothing yet.
    NotLookedFor,
    NotOpen,
    /// It is open, and what it is is known.
    Open,
}

/// How far a job is, for those who wait.
#[derive(Debug, Clone, Copy)]
struct Progress {
    journal: Journal,
    applied: Sequence,
    held: bool,
    ended: bool,
}

/// What waiting for an entry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Everything decided up to it is in the store.
    Applied,
    /// It is not, and the job is held: it may take as long as an operator likes.
    Held,
    /// It is not, and the job ended.
    Ended,
}

/// The status, and what it said before.
#[derive(Debug)]
struct Told {
    status: JobStatus,
    /// The mark of what was done in steps last, or is being done, without how far it is.
    large: Option<InProgress>,
}

impl Told {
    fn mark(&self) -> Option<InProgress> {
        self.status.position?.in_progress
    }

    /// Keeps what is being done in steps: one undo is one thing, so is one transaction.
    fn note(&mut self) {
        if let Some(mark) = self.mark() {
            let decision = if mark.is_undo() {
                Sequence::NONE
            } else {
                mark.decision
            };
            self.large = Some(InProgress {
                decision,
                done: Sequence::NONE,
                ..mark
            });
        }
    }
}

/// What a running job shares with those who read its store or wait for it.
#[derive(Debug)]
pub struct JobShared {
    /// The store, for reading.
    pub reader: Arc<dyn StoreReader>,
    /// What the journal is, once it was open.
    facts: OnceLock<JournalFacts>,
    progress: watch::Sender<Progress>,
    told: Mutex<Told>,
    /// Whether files are journaled, as far as it was seen.
    journaled: Mutex<HashMap<ObjectId, bool>>,
    orders: mpsc::Sender<Order>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JobShared {
    pub(super) fn new(
        reader: Arc<dyn StoreReader>,
        position: Option<StorePosition>,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        let mark = position.and_then(|position| position.in_progress);
        let back = mark.filter(InProgress::is_undo).map(|mark| mark.cycle);
        let applied = position.map_or(Sequence::NONE, |position| position.applied);
        let applied = back.unwrap_or(applied);
        let status = JobStatus {
            position,
            found: position.map(|position| position.applied),
            readable: Sequence::NONE,
            held: false,
            note: None,
        };
        let mut told = Told {
            status,
            large: None,
        };
        told.note();
        Self {
            reader,
            facts: OnceLock::new(),
            progress: watch::Sender::new(Progress {
                journal: Journal::NotLookedFor,
                applied,
                held: false,
                ended: false,
            }),
            told: Mutex::new(told),
            journaled: Mutex::new(HashMap::new()),
            orders,
        }
    }

    /// What the journal is; nothing before it is open.
    pub fn facts(&self) -> Option<&JournalFacts> {
        self.facts.get()
    }

    pub(super) fn set_facts(&self, facts: JournalFacts) {
        self.update(|status| status.readable = facts.last);
        // Only the first opening counts: the job ends with its journal.
        drop(self.facts.set(facts));
        self.set_journal(Journal::Open);
    }

    /// The journal was looked for, and is not open.
    pub(super) fn set_not_open(&self, note: String) {
        self.update(|status| status.note = Some(note));
        self.set_journal(Journal::NotOpen);
    }

    fn set_journal(&self, journal: Journal) {
        self.progress
            .send_modify(|progress| progress.journal = journal);
    }

    /// Waits until it is known whether the journal is open, or the job ended.
    ///
    /// Cancel safe: yes.
    pub async fn wait_looked(&self) {
        let mut progress = self.progress.subscribe();
        let over =
            |progress: &Progress| progress.ended || progress.journal != Journal::NotLookedFor;
        // It cannot end before this does.
        drop(progress.wait_for(over).await);
    }

    /// Waits until the journal is open; says no when the job ended before.
    ///
    /// Cancel safe: yes.
    pub async fn wait_opened(&self) -> bool {
        let mut progress = self.progress.subscribe();
        let over = |progress: &Progress| progress.ended || progress.journal == Journal::Open;
        let opened = progress.wait_for(over).await;
        opened.is_ok_and(|progress| progress.journal == Journal::Open)
    }

    /// Everything decided up to here is in the store, visible to readers.
    pub fn applied(&self) -> Sequence {
        self.progress.borrow().applied
    }

    /// Waits until everything decided up to an entry is in the store; says no when the job ended before.
    ///
    /// Cancel safe: yes.
    pub async fn wait_applied(&self, upto: Sequence) -> bool {
        let mut progress = self.progress.subscribe();
        let reached = progress
            .wait_for(|progress| progress.ended || progress.applied >= upto)
            .await;
        reached.is_ok_and(|progress| progress.applied >= upto)
    }

    /// Waits until everything decided up to an entry is in the store, but not for an operator's hold.
    ///
    /// Cancel safe: yes.
    pub async fn wait_unheld(&self, upto: Sequence) -> Waited {
        let mut progress = self.progress.subscribe();
        let over =
            |progress: &Progress| progress.ended || progress.held || progress.applied >= upto;
        match progress.wait_for(over).await {
            Ok(progress) if progress.applied >= upto => Waited::Applied,
            Ok(progress) if progress.held && !progress.ended => Waited::Held,
            _ => Waited::Ended,
        }
    }

    /// Whether an operator holds it.
    pub fn is_held(&self) -> bool {
        self.progress.borrow().held
    }

    /// Whether it ended: nothing is applied any more.
    pub fn is_ended(&self) -> bool {
        self.progress.borrow().ended
    }

    pub(super) fn set_held(&self, held: bool) {
        self.update(|status| status.held = held);
        self.progress.send_modify(|progress| progress.held = held);
    }

    pub(super) fn set_applied(&self, upto: Sequence) {
        self.progress.send_if_modified(|progress| {
            let moved = upto > progress.applied;
            progress.applied = progress.applied.max(upto);
            moved
        });
    }

    /// The store is taken back: what was decided behind an entry is not in it any more, or soon will not be.
    pub(super) fn set_back(&self, fork: Sequence) {
        self.progress
            .send_modify(|progress| progress.applied = progress.applied.min(fork));
    }

    pub(super) fn set_ended(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
    }

    /// The status now.
    pub fn status(&self) -> JobStatus {
        lock(&self.told).status.clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut JobStatus)) {
        let mut told = lock(&self.told);
        change(&mut told.status);
        told.note();
    }

    /// The mark while which reads would see half of something; nothing in quiet times.
    pub fn mark(&self) -> Option<InProgress> {
        lock(&self.told).mark()
    }

    /// What was done in steps last, or is being done: when it is the same before and after a read, and nothing is being done
    /// in steps, the read saw no half of it.
    pub fn large(&self) -> Option<InProgress> {
        lock(&self.told).large
    }

    /// Whether a file is journaled, if the job has seen that.
    pub fn is_journaled(&self, file: ObjectId) -> Option<bool> {
        lock(&self.journaled).get(&file).copied()
    }

    /// Remembers what the catalog says of a file, unless the job saw it.
    pub fn assume_journaled(&self, file: ObjectId, journaled: bool) {
        lock(&self.journaled).entry(file).or_insert(journaled);
    }

    pub(super) fn set_journaled(&self, file: ObjectId, journaled: bool) {
        lock(&self.journaled).insert(file, journaled);
    }

    /// Gives an order; says no when the job ended.
    ///
    /// Cancel safe: yes, but it may have been given.
    pub async fn order(&self, order: Order) -> bool {
        self.orders.send(order).await.is_ok()
    }
}
