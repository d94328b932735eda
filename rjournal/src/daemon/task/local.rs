//! Room `daemon`: the thread that writes a local journal, and what its links and commands share with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::copy::CopyRuntime;
use super::link::LinkSet;
use super::set_news::SetNews;
use super::unchanged::Unchanged;
use super::under_way::UnderWay;
use crate::daemon::command::CommandError;
use crate::daemon::crank::{carry_confirmation, seal_and_tell, write_and_tell};
use crate::daemon::messages::Severity;
use crate::daemon::system::Shared;
use crate::entry::control_entry::Level;
use crate::entry::{Moment, ReceiverId};
use crate::error::JournalError;
use crate::journal::{AckClass, Gate, Journal, Work, Writer};
use crate::receiver::{Space, SpareSlot, SpareState};
use crate::remote::{Confirmation, MemberKey};

/// A refused preparation of the next receiver is tried again after this long.
pub(super) const PREPARE_AGAIN: Duration = Duration::from_secs(10);
/// The writer is woken after this long to look whether what the disk refused can be had now.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Depositors that were just answered are waited for no longer than this, however slow the disk is.
const GATHER_MAX: Duration = Duration::from_micros(100);
/// Once some are back, the others are not waited for when none came for so long.
const GATHER_QUIET: Duration = Duration::from_micros(3);

/// An order to delete the oldest receivers up to and with one.
#[derive(Debug)]
struct Forget {
    receiver: ReceiverId,
    done: oneshot::Sender<()>,
}

/// A local journal that is open, with all that runs for it.
#[derive(Debug)]
pub(crate) struct LocalRuntime {
    /// The journal.
    pub(crate) journal: Arc<Journal>,
    /// Its in-sync set.
    pub(crate) confirmation: Mutex<Confirmation>,
    /// Its links.
    pub(crate) links: LinkSet,
    /// Whose turn it is to deposit with locks.
    pub(crate) exclusive: Exclusive,
    /// What went wrong, once something did.
    pub(crate) failure: Mutex<Option<String>>,
    /// Why the change of receivers an operator asked for could not be made.
    pub(crate) unchanged: Unchanged,
    /// Orders for the writer's thread that are no entries; none once it has ended.
    forget: Mutex<Option<Vec<Forget>>>,
    preparing: AtomicBool,
    stopping: AtomicBool,
    writing: UnderWay,
    prepared_at: Mutex<Moment>,
    looked_at: Mutex<Moment>,
    /// What an operator was told of the in-sync set.
    set_news: SetNews,
    /// Whoever holds it writes: the thread, or a depositor that waits for its answer. Empty once the thread has ended.
    desk: Mutex<Option<Desk>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What whoever writes has in hand.
#[derive(Debug)]
struct Desk {
    writer: Writer,
    /// The receiver an operator was told of last, under MNGRCV(*USER).
    told: Option<ReceiverId>,
}

impl LocalRuntime {
    /// Starts the writer's thread.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        journal: Arc<Journal>,
        writer: Writer,
        confirmation: Confirmation,
    ) -> Arc<Self> {
        let name = format!("write {}", journal.name());
        let runtime = Arc::new(Self {
            journal,
            confirmation: Mutex::new(confirmation),
            links: LinkSet::default(),
            exclusive: Exclusive::default(),
            failure: Mutex::new(None),
            unchanged: Unchanged::default(),
            forget: Mutex::new(Some(Vec::new())),
            preparing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            writing: UnderWay::default(),
            prepared_at: Mutex::new(Moment::ZERO),
            looked_at: Mutex::new(Moment::ZERO),
            set_news: SetNews::default(),
            desk: Mutex::new(Some(Desk { writer, told: None })),
            thread: Mutex::new(None),
        });
        let (for_thread, for_shared) = (Arc::clone(&runtime), Arc::clone(shared));
        let spawned = std::thread::Builder::new()
            .name(name)
            .spawn(move || for_thread.write_loop(&for_shared));
        match spawned {
            Ok(thread) => *lock(&runtime.thread) = Some(thread),
            Err(error) => {
                *lock(&runtime.forget) = None;
                *lock(&runtime.desk) = None;
                runtime.fail(shared, &format!("its thread cannot be started: {error}"));
            }
        }
        runtime
    }

    fn write_loop(self: &Arc<Self>, shared: &Arc<Shared>) {
        if let Some(desk) = &*lock(&self.desk) {
            self.prepare_next(shared, &desk.writer);
        }
        while self.journal.intake().wait_for_work() == Work::Due {
            let mut desk = lock(&self.desk);
            let (began, released) = (shared.clock.now(), self.journal.released());
            if !desk.as_mut().is_some_and(|desk| self.turn(shared, desk)) {
                break;
            }
            let answered = self.journal.released().get() - released.get();
            self.gather(shared, answered, shared.clock.now().since(began));
        }
        let left = lock(&self.forget).take();
        let desk = lock(&self.desk).take();
        if let Some(mut desk) = desk.filter(|desk| !desk.writer.is_poisoned()) {
            self.run_forget(shared, &mut desk.writer, left.unwrap_or_default());
        }
    }

    /// Seals and writes what is due, and whatever else waits for a writer. Says whether it can go on.
    fn turn(self: &Arc<Self>, shared: &Arc<Shared>, desk: &mut Desk) -> bool {
        let Desk { writer, told } = desk;
        if writer.is_poisoned() {
            return false;
        }
        self.writing.begin(shared.clock.now());
        let done = self.step(shared, writer);
        self.writing.end();
        if let Err(error) = done {
            self.journal.set_gate(Gate::Poisoned);
            self.fail(shared, &error.to_string());
            return false;
        }
        self.tell_threshold(shared, writer, told);
        let orders = lock(&self.forget).as_mut().map(std::mem::take);
        self.run_forget(shared, writer, orders.unwrap_or_default());
        self.prepare_next(shared, writer);
        true
    }

    /// Writes what is due on the thread that calls, a depositor's that waits for its answer anyway: where nobody else
    /// deposits, no thread has to be woken then, neither the writer's nor, behind the flush, this one. While somebody else
    /// writes, the writer's thread is woken instead.
    pub(crate) fn write_here(self: &Arc<Self>, shared: &Arc<Shared>) {
        let idle = self.desk.try_lock().ok();
        let goes_on =
            idle.is_some_and(|mut desk| desk.as_mut().is_some_and(|desk| self.turn(shared, desk)));
        if !goes_on {
            // Also a thread that is to end hears of it so.
            self.journal.intake().nudge();
        } else if self.journal.intake().open_entries() > 0 {
            self.journal.intake().wake();
        }
    }

    /// How long the write that is under way has taken so far, if that is long.
    pub(crate) fn slow_write(&self, now: Moment) -> Option<Duration> {
        self.writing.slow(now)
    }

    fn step(&self, shared: &Shared, writer: &mut Writer) -> Result<(), JournalError> {
        let (wall, now) = (shared.clock.wall(), shared.clock.now());
        let attached = self
            .journal
            .reader()
            .attached()
            .map(|header| header.receiver);
        let batch = match seal_and_tell(writer, &self.confirmation, wall, now) {
            Ok(batch) => batch,
            Err(error) if writer.is_poisoned() => return Err(error),
            Err(error) => {
                // Nothing was sealed: an operator's change of receivers could not be made.
                let text = format!("the receiver was not changed: {error}");
                let kind = CommandError::from(error).kind;
                self.unchanged
                    .tell(CommandError::new(kind, "RJN2007", text.as_str()));
                shared.post("RJN2007", Severity::Warning, self.journal.name(), text);
                None
            }
        };
        let Some(batch) = batch else { return Ok(()) };
        let left = write_and_tell(writer, batch, &self.confirmation, wall, shared.clock.now())?;
        self.links.tell_left(&left);
        if let Some(header) = self
            .journal
            .reader()
            .attached()
            .filter(|header| Some(header.receiver) != attached)
        {
            shared.post(
                "CPF7020",
                Severity::Info,
                self.journal.name(),
                format!("receiver {} was attached", header.name),
            );
        }
        Ok(())
    }

    /// Who was just answered often deposits again at once. Waiting for them a moment, short beside the `flush` that was, puts
    /// all of them into the next bundle; else they wait for the flush that is under way and then for their own. Ends when as
    /// many are there as were answered, or when no more come.
    fn gather(&self, shared: &Shared, answered: u64, flush: Duration) {
        let patience = flush.min(GATHER_MAX);
        let began = shared.clock.now();
        let intake = self.journal.intake();
        let waiting = intake.open_entries();
        let (mut seen, mut moved) = (waiting, began);
        while u64::from(seen.saturating_sub(waiting)) < answered {
            std::thread::yield_now();
            let (open, now) = (intake.open_entries(), shared.clock.now());
            if open != seen {
                (seen, moved) = (open, now);
            }
            let quiet = if seen == waiting {
                patience / 4
            } else {
                GATHER_QUIET
            };
            if now.since(began) >= patience || now.since(moved) >= quiet {
                return;
            }
        }
    }

    /// Under MNGRCV(*USER) an operator is told once of each receiver that reached its threshold.
    fn tell_threshold(&self, shared: &Shared, writer: &Writer, told: &mut Option<ReceiverId>) {
        let Some(header) = writer.awaits_change() else {
            return;
        };
        if told.replace(header.receiver) != Some(header.receiver) {
            let text = format!(
                "receiver {} reached its threshold and is used on; attach the next one: CHGJRN JRNRCV(*GEN)",
                header.name
            );
            shared.post("CPF7099", Severity::Warning, self.journal.name(), text);
        }
    }

    /// Has the next receiver's file made ready on another thread, unless it is.
    fn prepare_next(self: &Arc<Self>, shared: &Arc<Shared>, writer: &Writer) {
        let (spare, bytes) = writer.spare();
        let now = shared.clock.now();
        let due = match spare.state() {
            SpareState::Missing => true,
            SpareState::Refused => now.since(*lock(&self.prepared_at)) >= PREPARE_AGAIN,
            SpareState::Filling | SpareState::Ready(_) => false,
        };
        // What the disk refused is told once, and tried again in silence.
        let told = spare.state() == SpareState::Refused;
        if !due || self.preparing.swap(true, Ordering::AcqRel) {
            return;
        }
        *lock(&self.prepared_at) = now;
        let (runtime, shared) = (Arc::clone(self), Arc::clone(shared));
        let prepare = move || {
            let prepared = spare.prepare(bytes, Space::Zeroed);
            // Of a journal that stops or is deleted meanwhile, nobody needs the next receiver.
            let is_over = runtime.stopping.load(Ordering::Acquire);
            if let Some(error) = prepared.err().filter(|_| !is_over && !told) {
                let text = format!(
                    "the next receiver cannot be made ready: {error}; the attached one is used on to its end"
                );
                shared.post("CPI70E5", Severity::Alarm, runtime.journal.name(), text);
            }
            runtime.preparing.store(false, Ordering::Release);
            runtime.journal.intake().nudge();
        };
        drop(
            std::thread::Builder::new()
                .name("prepare receiver".to_owned())
                .spawn(prepare),
        );
    }

    fn fail(&self, shared: &Shared, reason: &str) {
        *lock(&self.failure) = Some(reason.to_owned());
        let text = format!(
            "the journal stopped: {reason}. Sealed deposits without an answer are UNKNOWN, later ones REFUSED. \
             Start the system again: the journal is then verified from the medium"
        );
        shared.post("RJN9001", Severity::Critical, self.journal.name(), text);
    }

    /// Deletes the oldest receivers up to and with one, on the writer's thread; comes back when it is done. Says whether it
    /// was done: a journal that stopped deletes nothing any more.
    ///
    /// Cancel safe: yes, the receivers are deleted all the same.
    pub(crate) async fn forget_upto(&self, receiver: ReceiverId) -> bool {
        let (done, answer) = oneshot::channel();
        match &mut *lock(&self.forget) {
            Some(orders) => orders.push(Forget { receiver, done }),
            None => return false,
        }
        self.journal.intake().nudge();
        answer.await.is_ok()
    }

    fn run_forget(&self, shared: &Shared, writer: &mut Writer, orders: Vec<Forget>) {
        for Forget { receiver, done } in orders {
            if let Err(error) = writer.forget_upto(receiver) {
                shared.post(
                    "CPI70E1",
                    Severity::Warning,
                    self.journal.name(),
                    format!("a receiver could not be deleted: {error}"),
                );
            }
            let _told = done.send(());
        }
    }

    /// Time went on: targets that do not answer, targets that may join again, what the disk refused.
    pub(crate) fn tick(&self, shared: &Shared) {
        let (wall, now) = (shared.clock.wall(), shared.clock.now());
        let left = {
            let mut confirmation = lock(&self.confirmation);
            if confirmation.poll_timeout().is_none_or(|due| due > now) {
                Vec::new()
            } else {
                confirmation.handle_timeout(now);
                carry_confirmation(&self.journal, &mut confirmation, wall, now)
            }
        };
        self.links.tell_left(&left);
        self.set_news
            .tell(shared, &self.journal, &self.confirmation);
        let mut looked_at = lock(&self.looked_at);
        if now.since(*looked_at) >= LOOK_AGAIN {
            *looked_at = now;
            self.journal.intake().nudge();
        }
    }

    /// Whether deposits are taken now.
    pub(crate) fn is_taking_deposits(&self) -> bool {
        self.journal.gate() == Gate::Open
            && !self.journal.intake().is_draining()
            && lock(&self.failure).is_none()
    }

    /// Whether a target is in the in-sync set.
    pub(crate) fn is_member(&self, key: MemberKey) -> bool {
        lock(&self.confirmation).is_member(key)
    }

    /// What a deposit would be answered now: the weakest level over the members of the in-sync set (ruling 19).
    pub(crate) fn class_now(&self) -> AckClass {
        let confirmation = lock(&self.confirmation);
        let members = confirmation.members().0;
        match members.iter().map(|member| member.level).min() {
            None => AckClass::Local,
            Some(Level::Received) => AckClass::Received,
            Some(Level::Written) => AckClass::Sync,
        }
    }

    /// Whether a target is waited for: it is in the in-sync set, or does not know that it was taken out.
    pub(crate) fn is_bound(&self, key: MemberKey) -> bool {
        let confirmation = lock(&self.confirmation);
        confirmation.is_member(key) || confirmation.untold_since(key).is_some()
    }

    /// Whether the policy asks that a target knows before it is left out, and it cannot be told now (ruling 13).
    pub(crate) fn is_guarded_away(&self, key: MemberKey) -> bool {
        let confirmation = lock(&self.confirmation);
        let mut away = confirmation.away().into_iter();
        confirmation.policy().guards() && away.any(|member| MemberKey::from(&member) == key)
    }

    /// Stops the writer once everything is on disk, and waits for it.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.journal.intake().stop();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
        self.journal.close();
    }
}

/// One depositor at a time may keep locks on what it changes. Taking over is certain: behind it, nothing of the one before
/// is deposited any more, whatever it had sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exclusive(Arc<Mutex<u64>>);

/// A depositor's turn.
#[derive(Debug)]
pub(crate) struct Turn {
    number: u64,
    current: Arc<Mutex<u64>>,
}

impl Exclusive {
    /// Takes over from whoever had it.
    pub(crate) fn take_over(&self) -> Turn {
        let mut current = lock(&self.0);
        *current += 1;
        Turn {
            number: *current,
            current: Arc::clone(&self.0),
        }
    }
}

impl Turn {
    /// Runs a deposit while nobody can take over; nothing when somebody has. Without a turn it is simply run.
    pub(crate) fn within<T>(turn: Option<&Self>, deposit: impl FnOnce() -> T) -> Option<T> {
        let Some(turn) = turn else {
            return Some(deposit());
        };
        let current = lock(&turn.current);
        (*current == turn.number).then(deposit)
    }
}

/// Has the next receiver's file of a copy made ready on another thread, unless it is.
pub(super) fn prepare_copy_spare(
    shared: &Weak<Shared>,
    runtime: Weak<CopyRuntime>,
    spare: SpareSlot,
    bytes: u64,
    space: Space,
) {
    if !matches!(spare.state(), SpareState::Missing | SpareState::Refused) {
        return;
    }
    let told = spare.state() == SpareState::Refused;
    let shared = Weak::clone(shared);
    let prepare = move || {
        let Err(error) = spare.prepare(bytes, space) else {
            return;
        };
        // Of a copy that stops or is deleted meanwhile, nobody needs the next receiver.
        let runtime = runtime
            .upgrade()
            .filter(|runtime| !runtime.is_stopping() && !told);
        if let (Some(runtime), Some(shared)) = (runtime, shared.upgrade()) {
            let text = format!("the next receiver cannot be made ready: {error}");
            shared.post("CPI70E5", Severity::Warning, runtime.copy.name(), text);
        }
    };
    drop(
        std::thread::Builder::new()
            .name("prepare receiver".to_owned())
            .spawn(prepare),
    );
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
