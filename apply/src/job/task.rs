//! Room `job`: the job, running on a thread of its own. Must not know in whose process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rjournal::daemon::command::apply::{JobMessage, SavedPlace, StorePlace};
use rjournal::daemon::{Followed, JournalFacts, SegmentEnded, Severity};
use rjournal::entry::record::Format;
use rjournal::entry::{ObjectId, Sequence};
use tokio::sync::{mpsc, oneshot};

use super::beginning::{Beginning, NOT_OPEN};
use super::port::{Feed, Port, Report};
use super::saving::{Asker, Saving};
use super::shared::{JobShared, Order};
use super::undoing::{Place, place};
use crate::error::{ApplyError, DatabaseError};
use crate::machine::{ApplyMachine, Bounds, Output, SegmentStart, Skip, Step, resolve};
use crate::store::{Batch, FileChange, ReplicaStore, SaveInfo, StoreError, StorePosition};

/// What was applied is made durable and reported this often.
pub(super) const DURABLE_EVERY: Duration = Duration::from_secs(1);
/// Where nothing moves, it is reported all the same every so many times.
const QUIET_MAX: u32 = 2;
/// A store that is full or locked is tried again after this long, doubling.
const AGAIN_MIN: Duration = Duration::from_millis(100);
/// ... up to this.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// Orders that may wait.
const ORDERS_WAITING: usize = 16;

/// Settings of a job.
#[derive(Debug, Clone, Default)]
pub struct JobOptions {
    /// Bounds of its memory and steps.
    pub bounds: Bounds,
    /// Where the save goes that the store can be made anew from; nothing where only others make saves.
    pub save: Option<PathBuf>,
    /// An entry to pass over, as an operator ordered.
    pub skip: Option<(Sequence, Skip)>,
}

/// A job on its thread.
#[derive(Debug)]
pub struct ApplyJob {
    shared: Arc<JobShared>,
    ended: oneshot::Receiver<Result<(), ApplyError>>,
    /// Dropped with the job, which then ends: nobody could stop it any more, and its store would stay locked.
    _wanted: oneshot::Sender<()>,
}

impl ApplyJob {
    /// Starts applying a journal to a store that was opened: the store's position must lie in the journal's history.
    /// The work is done on a thread of its own, which ends by itself when the job is dropped; [`Self::stop`] waits for it.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`ApplyError`]: the journal is not open, the store is made from another one, stands where that has never been, or
    /// needs entries that were deleted.
    pub async fn start(
        port: Port,
        store: Box<dyn ReplicaStore>,
        options: JobOptions,
    ) -> Result<Self, ApplyError> {
        // A store that is to be taken back first is placed by the job itself.
        let facts = match place(&port, store.reader().position()?).await? {
            Place::Here(facts) => Some(*facts),
            Place::Behind(_) | Place::Later(_) => None,
        };
        Self::run(port, store, options, facts)
    }

    /// As [`Self::start`], where the journal may not be open yet: the store can be read meanwhile. What [`Self::start`]
    /// refuses ends the job.
    ///
    /// # Errors
    /// [`ApplyError::Store`] when the store cannot be read, or the machine has no thread for it.
    pub fn start_when_open(
        port: Port,
        store: Box<dyn ReplicaStore>,
        options: JobOptions,
    ) -> Result<Self, ApplyError> {
        Self::run(port, store, options, None)
    }

    fn run(
        port: Port,
        store: Box<dyn ReplicaStore>,
        options: JobOptions,
        facts: Option<JournalFacts>,
    ) -> Result<Self, ApplyError> {
        let reader = store.reader();
        let position = reader.position()?;
        let (orders, receive) = mpsc::channel(ORDERS_WAITING);
        let shared = Arc::new(JobShared::new(reader, position, orders));
        if let Some(facts) = &facts {
            shared.set_placed(facts.clone(), position.as_ref());
        }
        let (keep, wanted) = oneshot::channel();
        let beginning = Beginning {
            wanted,
            port,
            store,
            shared: Arc::clone(&shared),
            orders: receive,
            held: false,
            options,
            placed: facts,
            saving: None,
            save_owed: false,
        };
        let (send, ended) = oneshot::channel();
        // A runtime of its own: that of the caller may be gone before the job is.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| not_started(&error))?;
        let waiting = Arc::clone(&shared);
        let run = move || {
            let outcome = runtime.block_on(beginning.run());
            waiting.set_ended();
            // Nobody may wait for the end.
            drop(send.send(outcome));
        };
        std::thread::Builder::new()
            .name("apply".to_owned())
            .spawn(run)
            .map_err(|error| not_started(&error))?;
        Ok(Self {
            shared,
            ended,
            _wanted: keep,
        })
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

fn not_started(error: &std::io::Error) -> StoreError {
    StoreError::Backend {
        path: "apply".to_owned(),
        reason: error.to_string(),
        transient: true,
    }
}

pub(super) struct Task {
    /// Ends with whoever started the job.
    pub(super) wanted: oneshot::Receiver<()>,
    pub(super) port: Port,
    pub(super) store: Box<dyn ReplicaStore>,
    pub(super) machine: ApplyMachine,
    pub(super) formats: HashMap<ObjectId, Format>,
    pub(super) shared: Arc<JobShared>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) held: bool,
    pub(super) reported: Option<StorePosition>,
    pub(super) options: JobOptions,
    /// How often nothing was reported, since something was.
    pub(super) quiet: u32,
    pub(super) saving: Option<Saving>,
    /// The last entry of the segment that the next step leaves.
    pub(super) left: Option<Sequence>,
}

/// How applying came to an end.
pub(super) enum Over {
    /// For good.
    Ended(Result<(), ApplyError>),
    /// The journal cannot be read now: it closed, or became another part of its group's history. The store is read on.
    NotOpen(Box<Beginning>),
}

/// How reading a segment came to an end.
enum Left {
    /// The next one follows.
    Segment,
    /// The job is to end.
    Told,
}

impl Task {
    pub(super) async fn run(mut self) -> Over {
        let outcome = self.apply_all().await;
        if let Err(ApplyError::Journal(error)) = &outcome
            && error.id == NOT_OPEN
        {
            tracing::info!(%error, "the journal is waited for");
            self.shared.set_not_open(error.to_string());
            if let Err(error) = self.make_durable().await {
                return Over::Ended(self.end(Err(error)).await);
            }
            return Over::NotOpen(Box::new(Beginning {
                wanted: self.wanted,
                port: self.port,
                store: self.store,
                shared: self.shared,
                orders: self.orders,
                held: self.held,
                options: self.options,
                placed: None,
                saving: self.saving,
                save_owed: false,
            }));
        }
        Over::Ended(self.end(outcome).await)
    }

    async fn end(mut self, outcome: Result<(), ApplyError>) -> Result<(), ApplyError> {
        // What is applied is whole; the store is left in order whatever ended the job.
        let durable = self.store.make_durable();
        let stopped = outcome.as_ref().err().and_then(ApplyError::stopped);
        self.report(Report {
            stopped,
            ..Report::default()
        })
        .await;
        self.shared
            .update(|status| status.note = outcome.as_ref().err().map(ToString::to_string));
        let closed = self.store.close();
        outcome?;
        durable?;
        Ok(closed?)
    }

    async fn apply_all(&mut self) -> Result<(), ApplyError> {
        while let Left::Segment = self.apply_segment().await? {}
        Ok(())
    }

    /// Applies what the store is in of its history, to its end.
    async fn apply_segment(&mut self) -> Result<Left, ApplyError> {
        let (segment, at) = (self.machine.segment(), self.machine.at());
        let mut feed = self.port.follow(Some(segment), at, None).await?;
        self.shared.set_facts(feed.facts().clone());
        let mut durable = tokio::time::interval(DURABLE_EVERY);
        durable.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let waits = self.held || self.saving.as_ref().is_some_and(|saving| saving.alone);
            tokio::select! {
                biased;
                _ = &mut self.wanted => return Ok(Left::Told),
                order = self.orders.recv() => {
                    if self.take_order(order).await {
                        return Ok(Left::Told);
                    }
                }
                saved = ended(&mut self.saving) => self.saved(saved).await,
                _ = durable.tick() => self.make_durable().await?,
                followed = feed.next(), if !waits => match followed? {
                    Followed::SegmentEnded(ended) => {
                        self.leave_segment(&ended).await?;
                        return Ok(Left::Segment);
                    }
                    followed => self.take(followed).await?,
                },
            }
        }
    }

    async fn take(&mut self, followed: Followed) -> Result<(), ApplyError> {
        match followed {
            Followed::Bundle(bundle) => {
                self.shared
                    .update(|status| status.readable = bundle.header().last());
                let handed = self.machine.handle_bundle(&bundle);
                // What was decided before an entry that cannot be applied is applied all the same.
                self.turn().await?;
                return handed;
            }
            Followed::Level(_) => self.machine.handle_level(),
            Followed::Changed(facts) => self.shared.set_facts(*facts),
            // Taken by the caller.
            Followed::SegmentEnded(_) => {}
        }
        self.turn().await
    }

    /// The segment was applied to its last entry; the store goes on to the next one, with its position.
    async fn leave_segment(&mut self, ended: &SegmentEnded) -> Result<(), ApplyError> {
        let next = SegmentStart {
            group: ended.group,
            segment: ended.next,
            begins: ended.begins,
        };
        self.machine.handle_segment_ended(ended.last, next)?;
        tracing::info!(
            term = ended.next.term, journal = %ended.name, last = %ended.last.sequence,
            "the segment is applied to its end; the next one follows"
        );
        self.left = Some(ended.last.sequence);
        self.turn().await
    }

    /// Does what the machine wants, until it wants nothing more.
    async fn turn(&mut self) -> Result<(), ApplyError> {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Step(step) => self.apply_step(*step).await?,
                Output::ReadAgain { after, upto } => self.read_again(after, upto).await?,
                Output::Journaled { file, journaled } => self.shared.set_journaled(file, journaled),
            }
        }
        Ok(())
    }

    async fn apply_step(&mut self, step: Step) -> Result<(), ApplyError> {
        for change in &step.files {
            if let FileChange::Put { id, format } = change {
                self.formats.insert(*id, (**format).clone());
            }
        }
        let next = step.next;
        let batch = resolve(step, &*self.shared.reader, &self.formats)?;
        if next.in_progress.is_some() {
            // Readers are told to wait before the first part is there.
            self.shared.update(|status| status.position = Some(next));
        }
        self.apply(&batch).await?;
        self.shared.update(|status| status.position = Some(next));
        match self.left.take() {
            Some(last) => self.shared.set_left(last, &next),
            None if next.in_progress.is_none() => self.shared.set_applied(next.applied),
            None => {}
        }
        Ok(())
    }

    /// A cycle that was too large to keep is read again from the journal, and applied in steps.
    async fn read_again(&mut self, after: Sequence, upto: Sequence) -> Result<(), ApplyError> {
        let segment = Some(self.machine.segment());
        let mut feed: Feed = self.port.follow(segment, after, Some(upto)).await?;
        loop {
            match feed.next().await? {
                Followed::Bundle(bundle) => {
                    let last = bundle.header().last();
                    let handed = self.machine.handle_again(&bundle);
                    Box::pin(self.turn()).await?;
                    handed?;
                    if last >= upto {
                        return Ok(());
                    }
                }
                Followed::Level(at) if at >= upto => return Ok(()),
                Followed::Level(_) | Followed::Changed(_) => {}
                // What is asked for lies before its end.
                Followed::SegmentEnded(_) => return Ok(()),
            }
        }
    }

    /// Applies a batch; a store that is full, locked or slow is tried again, and holds nobody else up (failures.md APL-10).
    async fn apply(&mut self, batch: &Batch) -> Result<(), ApplyError> {
        let mut wait = AGAIN_MIN;
        let mut troubled = false;
        loop {
            match self.store.apply(batch) {
                Ok(()) => {
                    if troubled {
                        self.shared.update(|status| status.note = None);
                    }
                    return Ok(());
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "the store does not take changes; trying again");
                    troubled = true;
                    self.shared
                        .update(|status| status.note = Some(error.to_string()));
                    tokio::select! {
                        _ = &mut self.wanted => return Err(error.into()),
                        () = tokio::time::sleep(wait) => {}
                    }
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
        // What the daemon wants is told in its answer, so it is asked where nothing moves, too.
        self.quiet += 1;
        if self.reported != self.store.durable_position() || self.quiet >= QUIET_MAX {
            self.report(Report::default()).await;
        }
        Ok(())
    }

    /// Reports where the store stands, with what else there is to say.
    async fn report(&mut self, report: Report) {
        self.quiet = 0;
        let durable = self.store.durable_position();
        let place = durable.map(|position| StorePlace {
            applied: position.applied,
            restart: position.restart,
            at: position.segment(),
        });
        match self.port.report(Report { place, ..report }).await {
            Ok(save_wanted) => {
                self.reported = durable;
                if let (true, None, Some(path)) =
                    (save_wanted, &self.saving, self.options.save.clone())
                {
                    tracing::info!("a store save is made before receivers reach their cap");
                    self.saving = Some(Saving::begin(path, &self.shared.reader, Vec::new(), false));
                }
            }
            Err(error) => tracing::debug!(%error, "the daemon was not told where the store stands"),
        }
    }

    /// Takes an order. Says whether the job is to end.
    async fn take_order(&mut self, order: Option<Order>) -> bool {
        match order {
            Some(Order::Hold(done)) => self.hold(true, done).await,
            Some(Order::Release(done)) => self.hold(false, done).await,
            Some(Order::Save { path, done }) => self.order_save(path, done),
            Some(Order::Stop) | None => return true,
        }
        false
    }

    async fn hold(&mut self, held: bool, done: oneshot::Sender<()>) {
        self.held = held;
        self.shared.set_held(held);
        // Who gave the order sees it in the status behind it.
        let held = Some(held);
        self.report(Report {
            held,
            ..Report::default()
        })
        .await;
        // Who asked may be gone.
        let _heard = done.send(());
    }

    fn order_save(&mut self, path: Option<PathBuf>, done: Asker) {
        let refuse = |done: Asker, reason: &str| {
            let reason = reason.to_owned();
            drop(done.send(Err(DatabaseError::Store { reason })));
        };
        let Some(path) = path.or_else(|| self.options.save.clone()) else {
            return refuse(done, "this job keeps no save of its own: name a file");
        };
        match &mut self.saving {
            Some(saving) if saving.path == path => saving.askers.push(done),
            Some(_) => refuse(
                done,
                "another save is being made; try again when it is done",
            ),
            None => self.saving = Some(Saving::begin(path, &self.shared.reader, vec![done], false)),
        }
    }

    /// A save is done: it is told to those who asked; what the job's own covers frees receivers (ruling 8).
    async fn saved(&mut self, saved: Result<SaveInfo, StoreError>) {
        let Some(mut saving) = self.saving.take() else {
            return;
        };
        let own = self.options.save.as_ref() == Some(&saving.path);
        let answer = match saved {
            Err(error) if saving.again_alone(&error) => {
                let askers = std::mem::take(&mut saving.askers);
                self.saving = Some(Saving::begin(
                    saving.path,
                    &self.shared.reader,
                    askers,
                    true,
                ));
                return;
            }
            // Who named the file is told; nothing is amiss here.
            Err(error) if !own && error.wrong_path(&saving.path).is_some() => {
                let reason = error.wrong_path(&saving.path).map(ToString::to_string);
                Err(DatabaseError::File {
                    path: saving.path.display().to_string(),
                    reason: reason.unwrap_or_default(),
                })
            }
            Err(error) => {
                let text = format!(
                    "the store save {} was not made: {error}",
                    saving.path.display()
                );
                self.report(Report {
                    not_saved: own.then(|| error.to_string()),
                    message: Some(message("RJN5005", Severity::Alarm, text.clone())),
                    ..Report::default()
                })
                .await;
                Err(DatabaseError::Store { reason: text })
            }
            Ok(info) => {
                let text = format!(
                    "store saved as {} at entry {}",
                    saving.path.display(),
                    info.position.applied
                );
                let report = Report {
                    save: own.then(|| info.facts()),
                    saved: own.then(|| saved_place(&info.position)),
                    message: Some(message("RJN5007", Severity::Info, text)),
                    ..Report::default()
                };
                self.report(report).await;
                Ok(info)
            }
        };
        for asker in saving.askers {
            drop(asker.send(answer.clone()));
        }
    }
}

/// What a save of a store at a position covers.
pub(crate) const fn saved_place(position: &StorePosition) -> SavedPlace {
    SavedPlace {
        restart: position.restart,
        at: position.segment(),
    }
}

pub(super) fn message(id: &str, severity: Severity, text: String) -> JobMessage {
    JobMessage {
        id: id.to_owned(),
        severity,
        text,
    }
}

/// Waits until the save in the making is done; for ever where there is none.
async fn ended(saving: &mut Option<Saving>) -> Result<SaveInfo, StoreError> {
    match saving {
        Some(saving) => saving.ended().await,
        None => std::future::pending().await,
    }
}
