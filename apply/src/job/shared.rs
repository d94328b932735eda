//! Room `job`: what a running job shares with those who read its store, wait for it or give it orders. Must not know how
//! it is driven.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rjournal::daemon::JournalFacts;
use rjournal::daemon::command::file::StoredDefinition;
use rjournal::entry::{ObjectId, SegmentId, Sequence};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::DatabaseError;
use crate::machine::is_own_file;
use crate::store::{InProgress, SaveInfo, StoreError, StorePosition, StoreReader};

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
#[derive(Debug, Clone)]
struct Progress {
    journal: Journal,
    /// What the journal is, once it was open.
    facts: Option<JournalFacts>,
    /// The segment the store is in, once that is known.
    segment: Option<SegmentId>,
    /// How often the job went on in another segment of its group's history since it began.
    lap: Lap,
    /// In the segment of this lap.
    applied: Sequence,
    /// Segments that were left, and where they ended; of those that are long past, only that they are.
    left: VecDeque<(Lap, Sequence)>,
    held: bool,
    ended: bool,
}

impl Progress {
    /// What waiting for an entry of a lap comes to; nothing while it must be waited for.
    fn waited(&self, lap: Lap, upto: Sequence) -> Option<Waited> {
        if self.lap == lap {
            return (self.applied >= upto).then_some(Waited::Applied);
        }
        let left = self.left.iter().find(|(left, _)| *left == lap);
        Some(match left {
            Some((_, last)) if *last >= upto => Waited::Applied,
            _ => Waited::Gone,
        })
    }

    fn next_lap(&mut self, applied: Sequence) {
        self.lap = Lap(self.lap.0 + 1);
        self.applied = applied;
    }
}

/// Which segment of a history a job is in, counted from when it began: numbers of entries are compared within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Lap(u64);

/// Segments that were left and are remembered.
const LEFT_MAX: usize = 64;

/// What waiting for an entry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Everything decided up to it is in the store.
    Applied,
    /// It is not, and the job is held: it may take as long as an operator likes.
    Held,
    /// It is not, and the job ended.
    Ended,
    /// It never will be: the segment it is in ended before it.
    Gone,
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
            progress: watch::Sender::new(Progress {
                journal: Journal::NotLookedFor,
                facts: None,
                segment: position.as_ref().map(StorePosition::segment),
                lap: Lap::default(),
                applied,
                left: VecDeque::new(),
                held: false,
                ended: false,
            }),
            told: Mutex::new(told),
            journaled: Mutex::new(HashMap::new()),
            orders,
        }
    }

    /// What the journal is that is applied now; nothing while none is open.
    pub fn facts(&self) -> Option<JournalFacts> {
        let progress = self.progress.borrow();
        let open = progress.journal == Journal::Open;
        progress.facts.clone().filter(|_| open)
    }

    /// Whether the journal belongs to a recovery group, as far as that is known.
    pub fn is_in_group(&self) -> bool {
        let progress = self.progress.borrow();
        progress
            .facts
            .as_ref()
            .is_some_and(JournalFacts::is_in_group)
    }

    /// The files of the store, as a catalog is to know them.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub(crate) fn described_files(&self) -> Result<Vec<StoredDefinition>, StoreError> {
        let files = self.reader.files()?.into_iter();
        let users = files.filter(|file| !is_own_file(&file.format));
        Ok(users
            .map(|file| StoredDefinition {
                id: file.id,
                journaled: self.is_journaled(file.id).unwrap_or(true),
                format: file.format,
            })
            .collect())
    }

    /// Waits until the journal is another one than `known`, or opened or closed; gives what it is then, and the lap. Nothing when
    /// the job ended.
    ///
    /// Cancel safe: yes.
    pub async fn wait_changed(
        &self,
        known: Option<&JournalFacts>,
    ) -> Option<(Option<JournalFacts>, Lap)> {
        let mut progress = self.progress.subscribe();
        let now = |progress: &Progress| {
            let open = progress.journal == Journal::Open;
            progress.facts.clone().filter(|_| open)
        };
        let changed = progress
            .wait_for(|progress| progress.ended || now(progress).as_ref() != known)
            .await
            .ok()?;
        (!changed.ended).then(|| (now(&changed), changed.lap))
    }

    /// The journal is open, and the store stands there.
    pub(super) fn set_placed(&self, facts: JournalFacts, position: Option<&StorePosition>) {
        self.progress.send_modify(|progress| {
            let applied = position.map_or(Sequence::NONE, |position| position.applied);
            let elsewhere = progress
                .segment
                .is_some_and(|known| known != facts.segment());
            if elsewhere && facts.is_in_group() {
                // It was put there, not led.
                progress.next_lap(applied);
            }
            progress.applied = applied;
        });
        self.set_facts(facts);
    }

    /// What the journal is that is read from now on.
    pub(super) fn set_facts(&self, facts: JournalFacts) {
        self.update(|status| status.readable = facts.last);
        self.progress.send_modify(|progress| {
            progress.segment = Some(facts.segment());
            progress.journal = Journal::Open;
            progress.facts = Some(facts);
        });
    }

    /// A segment was applied to its last entry, and the store stands where the next one begins.
    pub(super) fn set_left(&self, last: Sequence, next: &StorePosition) {
        self.progress.send_modify(|progress| {
            progress.left.push_back((progress.lap, last));
            if progress.left.len() > LEFT_MAX {
                progress.left.pop_front();
            }
            progress.next_lap(next.applied);
            progress.segment = Some(next.segment());
            // What the next one is, is known when it is read.
            if let Some(facts) = &mut progress.facts {
                facts.local = false;
            }
        });
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

    /// Everything decided up to here is in the store, visible to readers; in the segment the store is in.
    pub fn applied(&self) -> Sequence {
        self.progress.borrow().applied
    }

    /// The segment the store is in, for waiting in it.
    pub fn lap(&self) -> Lap {
        self.progress.borrow().lap
    }

    /// Waits until everything decided up to an entry of the segment the store is in now is in the store; says no when the job, or
    /// the segment, ended before.
    ///
    /// Cancel safe: yes.
    pub async fn wait_applied(&self, upto: Sequence) -> bool {
        let lap = self.lap();
        self.wait_decided(lap, upto).await == Waited::Applied
    }

    /// Waits until everything decided up to an entry of a segment is in the store, or never will be, also over a hold.
    ///
    /// Cancel safe: yes.
    pub async fn wait_decided(&self, lap: Lap, upto: Sequence) -> Waited {
        self.wait(lap, upto, false).await
    }

    /// The same, but not over an operator's hold.
    ///
    /// Cancel safe: yes.
    pub async fn wait_unheld(&self, lap: Lap, upto: Sequence) -> Waited {
        self.wait(lap, upto, true).await
    }

    async fn wait(&self, lap: Lap, upto: Sequence, unheld: bool) -> Waited {
        let mut progress = self.progress.subscribe();
        let come_to = |progress: &Progress| match progress.waited(lap, upto) {
            None if progress.ended => Some(Waited::Ended),
            None if progress.held && unheld => Some(Waited::Held),
            waited => waited,
        };
        let over = progress
            .wait_for(|progress| come_to(progress).is_some())
            .await;
        over.ok()
            .and_then(|progress| come_to(&progress))
            .unwrap_or(Waited::Ended)
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
