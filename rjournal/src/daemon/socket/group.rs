//! Room `daemon`, the control socket: a program's deposits to a recovery group, whoever is primary: each is tried with its own
//! deposit key until it is answered, at the primary of the moment, and lands once. Must not know how a role changes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{ClientTicket, JournalClient};
use super::frame::Want;
use super::members::{BackOff, GroupMembers};
use crate::daemon::clock::SystemEntropy;
use crate::daemon::command::group::PrimaryTold;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::entry::{ClientId, DepositKey, Draft, Name, QualifiedName, Sequence, SystemName};
use crate::journal::{AckClass, Again, Answer, Entropy, UnknownReason};

/// Two looks for the primary are at least so far apart, however many deposits want one.
const LOOKS_APART: Duration = Duration::from_millis(5);
/// While deposits wait, or are answered LOCAL, it is looked this often whether another member is primary by now.
const WATCH: Duration = Duration::from_secs(1);
/// A primary that is none any more may still answer what it has, for so long.
const LAST_ANSWER_MAX: Duration = Duration::from_millis(200);

/// How a deposit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDeposit {
    /// The key it was made with. Where the answer is UNKNOWN, giving the same entry again under it is safe.
    pub key: DepositKey,
    /// The answer: landed, or UNKNOWN where none came in time.
    pub answer: Answer,
    /// Whether an earlier try had landed, perhaps in the journal of an earlier term: the number is one of that journal.
    pub again: Again,
    /// Who answered.
    pub primary: Option<SystemName>,
    /// The journal of that system.
    pub journal: Option<QualifiedName>,
    /// How often it was sent.
    pub tries: u32,
    /// Where the answer is UNKNOWN: what was said last.
    pub why: Option<CommandError>,
}

/// Deposits to a recovery group. Clones share connection and keys.
#[derive(Debug, Clone)]
pub struct GroupClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    members: GroupMembers,
    actor: [String; 3],
    client: ClientId,
    next_key: AtomicU64,
    /// The way to the primary that was found last.
    way: watch::Sender<Option<Arc<Way>>>,
    looking: tokio::sync::Mutex<Option<(Instant, CommandError)>>,
    /// Deposits that wait for an answer.
    waiting: AtomicU64,
    /// Answers that rested on more than one system.
    answered: AtomicU64,
    /// Answers that rested on the primary alone.
    alone: AtomicU64,
    watching: OnceLock<tokio::task::JoinHandle<()>>,
}

/// A journal that takes deposits.
#[derive(Debug)]
struct Way {
    /// Later ones have higher numbers.
    number: u64,
    told: PrimaryTold,
    journal: JournalClient,
}

/// What came of one try.
#[derive(Debug)]
enum Tried {
    Landed(Answer, Again),
    /// Certainly not in the journal.
    Refused(CommandError),
    /// It may be.
    Unknown(Sequence, UnknownReason, Option<CommandError>),
}

/// One of those that wait, until it is dropped.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.get() {
            watching.abort();
        }
    }
}

impl GroupClient {
    /// A client of a group, under a client id of its own. Members are named as for [`GroupMembers::new`]; nobody is asked yet.
    pub fn new(places: impl IntoIterator<Item = impl Into<PathBuf>>, group: Option<Name>) -> Self {
        let client = ClientId::from_bytes(SystemEntropy.id());
        Self::with_keys(places, group, client, 1)
    }

    /// The same for a program that keeps its keys: after it was started again it goes on with a key above all it used, and gives
    /// again what had no answer, with [`Self::deposit_under`].
    pub fn with_keys(
        places: impl IntoIterator<Item = impl Into<PathBuf>>,
        group: Option<Name>,
        client: ClientId,
        next_key: u64,
    ) -> Self {
        let shared = Shared {
            members: GroupMembers::new(places, group),
            actor: [String::new(), String::new(), String::new()],
            client,
            next_key: AtomicU64::new(next_key),
            way: watch::Sender::new(None),
            looking: tokio::sync::Mutex::default(),
            waiting: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            alone: AtomicU64::new(0),
            watching: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Job, user and program of the depositor, for entries of journals that keep them. For a client that was not cloned yet.
    #[must_use]
    pub fn actor(mut self, actor: [String; 3]) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.actor = actor;
        }
        self
    }

    /// A key nobody was given yet.
    pub fn next_key(&self) -> DepositKey {
        DepositKey {
            client: self.shared.client,
            key: self.shared.next_key.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Who is primary and takes deposits; looked for until then.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when there is none in time, or asking again cannot help.
    pub async fn primary(&self, at_most: Duration) -> Result<PrimaryTold, CommandError> {
        let until = Instant::now() + at_most;
        let mut pause = BackOff::default();
        loop {
            // What was known before may not be so any more.
            let known = self.shared.known();
            let last = match tokio::time::timeout_at(until, self.shared.way(known)).await {
                Ok(Ok(way)) => return Ok(way.told.clone()),
                Ok(Err(error)) => error,
                Err(_) => nobody_in_time(),
            };
            if !last.is_transient() || !pause.pause(until).await {
                return Err(last);
            }
        }
    }

    /// Deposits one entry under a key of this client's own, and waits for its answer: at whoever is primary, as often as it takes.
    ///
    /// Cancel safe: no; it may land all the same, and its key is lost.
    ///
    /// # Errors
    /// [`CommandError`]: certainly not in the journal, and trying again as it is does not help; or the time was over before it
    /// was taken anywhere, with what was in the way.
    pub async fn deposit(
        &self,
        draft: &Draft<'_>,
        at_most: Duration,
    ) -> Result<GroupDeposit, CommandError> {
        self.deposit_under(self.next_key(), draft, at_most).await
    }

    /// As [`Self::deposit`], under this key: one of [`Self::next_key`], or one whose answer was UNKNOWN, with the same entry.
    ///
    /// Cancel safe: no; it may land all the same.
    ///
    /// # Errors
    /// As [`Self::deposit`], of this call: what was given under this key before is not concerned.
    pub async fn deposit_under(
        &self,
        key: DepositKey,
        draft: &Draft<'_>,
        at_most: Duration,
    ) -> Result<GroupDeposit, CommandError> {
        if draft.cycle != Sequence::NONE || draft.kind.is_commitment() {
            return Err(CommandError::invalid(
                "a commit cycle is bound to one connection with one primary; a database's SteadyClient tries whole transactions",
            ));
        }
        let until = Instant::now() + at_most;
        let draft = Draft {
            key: Some(key),
            ..*draft
        };
        self.shared.deposit(key, &draft, until).await
    }
}

fn nobody_in_time() -> CommandError {
    CommandError::new(
        ErrorKind::TimedOut,
        "RJN7117",
        "no primary that takes deposits was found in time",
    )
}

impl Shared {
    async fn deposit(
        self: &Arc<Self>,
        key: DepositKey,
        draft: &Draft<'_>,
        until: Instant,
    ) -> Result<GroupDeposit, CommandError> {
        let mut ended = GroupDeposit {
            key,
            answer: Answer::Unknown {
                sequence: Sequence::NONE,
                why: UnknownReason::Deadline,
            },
            again: Again::No,
            primary: None,
            journal: None,
            tries: 0,
            why: None,
        };
        let (mut pause, mut failed, mut in_doubt) = (BackOff::default(), 0, false);
        loop {
            let error = match tokio::time::timeout_at(until, self.way(failed)).await {
                Ok(Ok(way)) => {
                    failed = way.number;
                    ended.tries += 1;
                    ended.primary = way.told.primary;
                    ended.journal = Some(way.told.journal);
                    match self.attempt(&way, draft, until).await {
                        Tried::Landed(answer, again) => {
                            self.note(&answer);
                            (ended.answer, ended.again, ended.why) = (answer, again, None);
                            return Ok(ended);
                        }
                        Tried::Refused(error) => error,
                        Tried::Unknown(sequence, why, error) => {
                            in_doubt = true;
                            ended.answer = Answer::Unknown { sequence, why };
                            error.unwrap_or_else(nobody_in_time)
                        }
                    }
                }
                Ok(Err(error)) => error,
                Err(_) => nobody_in_time(),
            };
            let over = !error.is_transient() || !pause.pause(until).await;
            // A refusal speaks of this try: an earlier one may have landed.
            match (over, in_doubt) {
                (false, _) => {}
                (true, false) => return Err(error),
                (true, true) => {
                    ended.why = Some(error);
                    return Ok(ended);
                }
            }
        }
    }

    /// Sends it once, and waits for the answer as long as there is time and no later primary.
    async fn attempt(&self, way: &Way, draft: &Draft<'_>, until: Instant) -> Tried {
        let unknown = |why| Tried::Unknown(Sequence::NONE, why, None);
        if !way.journal.is_connected() {
            return Tried::Refused(lost());
        }
        let mut ways = self.way.subscribe();
        let sending = way.journal.deposit(draft, Want::Answer);
        let ticket = match tokio::time::timeout_at(until, sending).await {
            Ok(Ok(ticket)) => ticket,
            Ok(Err(error)) => {
                return Tried::Unknown(Sequence::NONE, UnknownReason::Closed, Some(error));
            }
            Err(_) => return unknown(UnknownReason::Deadline),
        };
        let _counted = Counted::new(&self.waiting);
        let superseded = async {
            let later = |now: &Option<Arc<Way>>| {
                now.as_ref()
                    .is_some_and(|now| now.told.term > way.told.term)
            };
            if ways.wait_for(later).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LAST_ANSWER_MAX).await;
        };
        tokio::select! {
            biased;
            tried = answered(ticket) => tried,
            () = superseded => Tried::Unknown(Sequence::NONE, UnknownReason::Closed, Some(lost())),
            () = tokio::time::sleep_until(until) => unknown(UnknownReason::Deadline),
        }
    }

    fn note(&self, answer: &Answer) {
        let alone = matches!(
            answer,
            Answer::Landed {
                class: AckClass::Local,
                ..
            }
        );
        let count = if alone { &self.alone } else { &self.answered };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of the way that is known.
    fn known(&self) -> u64 {
        self.way.borrow().as_ref().map_or(0, |way| way.number)
    }

    /// A way to the primary that is later than `failed`; looked for where none is known.
    async fn way(self: &Arc<Self>, failed: u64) -> Result<Arc<Way>, CommandError> {
        if let Some(way) = self.later_than(failed) {
            return Ok(way);
        }
        let mut looked = self.looking.lock().await;
        if let Some(way) = self.later_than(failed) {
            return Ok(way);
        }
        // Many wait for the same.
        if let Some((at, error)) = looked.as_ref()
            && at.elapsed() < LOOKS_APART
        {
            return Err(error.clone());
        }
        let found = self.look(None).await;
        self.watching
            .get_or_init(|| tokio::spawn(watch(Arc::downgrade(self))));
        *looked = found
            .as_ref()
            .err()
            .map(|error| (Instant::now(), error.clone()));
        found
    }

    fn later_than(&self, failed: u64) -> Option<Arc<Way>> {
        let way = self.way.borrow().clone();
        way.filter(|way| way.number > failed)
    }

    /// Asks the members, and attaches the primary's journal; where `above` is given, only one of a higher term. Who calls this has
    /// the lock for looking.
    async fn look(&self, above: Option<u64>) -> Result<Arc<Way>, CommandError> {
        let found = self.members.primary().await?;
        if above.is_some_and(|term| found.told.term <= term) {
            return Err(lost());
        }
        let (actor, journal) = (self.actor.clone(), found.told.journal);
        let attached = found.client.attach_here(journal, actor, false).await;
        // It was found a moment ago: what it says now is that it is primary no longer.
        let journal = attached.map_err(|error| CommandError {
            kind: ErrorKind::Unreachable,
            ..error
        })?;
        let way = Arc::new(Way {
            number: self.known() + 1,
            told: found.told,
            journal,
        });
        self.way.send_replace(Some(Arc::clone(&way)));
        Ok(way)
    }
}

fn lost() -> CommandError {
    CommandError::new(
        ErrorKind::Unreachable,
        "RJN1006",
        "the connection to the primary is gone",
    )
}

async fn answered(ticket: ClientTicket) -> Tried {
    match ticket.answer().await {
        Ok((answer @ Answer::Landed { .. }, again)) => Tried::Landed(answer, again),
        Ok((Answer::Unknown { sequence, why }, _)) => Tried::Unknown(sequence, why, Some(lost())),
        // It had a number, and the journal stopped before it was sealed.
        Ok((Answer::Refused { .. }, _)) => Tried::Refused(lost()),
        Err(error) => Tried::Refused(error),
    }
}

/// Looks now and then whether another member is primary: one that was cut off from the others does not know, and would have its
/// depositors wait, or answer them alone.
async fn watch(shared: Weak<Shared>) {
    let mut answered = 0;
    let mut alone = 0;
    loop {
        tokio::time::sleep(WATCH).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = shared.answered.load(Ordering::Relaxed);
        let now_alone = shared.alone.load(Ordering::Relaxed);
        let stuck = now == answered && shared.waiting.load(Ordering::Relaxed) > 0;
        let is_uneasy = stuck || now_alone != alone;
        (answered, alone) = (now, now_alone);
        let term = shared.way.borrow().as_ref().map(|way| way.told.term);
        if is_uneasy && term.is_some() {
            let _looking = shared.looking.lock().await;
            if let Err(error) = shared.look(term).await {
                tracing::debug!(%error, "no later primary");
            }
        }
    }
}
