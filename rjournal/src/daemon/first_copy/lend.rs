//! Room `daemon`, the first copy, at the system that has the store: which save a partner may have, ordered from a job where none
//! will do, promised durably before it is named, and let go. Must not know how it is sent.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::lent::{Lent, Opened};
use super::pace::Pace;
use super::record::LoanRecord;
use crate::daemon::catalog::{JobRecord, Partner};
use crate::daemon::command::CommandError;
use crate::daemon::command::remote_journal::supply::Tied;
use crate::daemon::jobs::JobState;
use crate::daemon::messages::Severity;
use crate::daemon::system::Shared;
use crate::daemon::task::accept::refused;
use crate::entry::{Moment, Name, QualifiedName, RdbName, SaveFacts, SaveId, Sequence, SystemId};
use crate::remote::{PartnerReply, RefusalCode, SaveAnswer, SaveAsk, SaveRequest};

/// Streams of pieces sent at once.
const STREAMS_MAX: usize = 4;
/// Stores of one partner that are loaded from one journal at once.
const LOANS_MAX: usize = 8;
/// A partner that is not heard of for so long gives up what it was promised.
const SILENT_MAX: Duration = Duration::from_hours(24);
/// A save nobody asked for in this time is closed; it is opened again when somebody does.
const OPEN_MAX: Duration = Duration::from_mins(10);

/// A save ordered from a job.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    /// Its job was not heard of since.
    Ordered,
    /// It was made.
    Made,
    /// It was not, and why.
    Failed(String),
}

/// Everything about saves that are lent.
#[derive(Debug)]
pub(crate) struct Lends {
    state: Mutex<State>,
    pub(super) streams: Semaphore,
    pub(super) sending: Pace,
    pub(super) reading: Pace,
}

impl Default for Lends {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            streams: Semaphore::new(STREAMS_MAX),
            sending: Pace::default(),
            reading: Pace::default(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    orders: BTreeMap<Name, Order>,
    /// Saves that are open, so that one that is replaced meanwhile is sent to its end.
    pub(super) open: BTreeMap<SaveId, Lent>,
    /// Saves found not to be what they say, by their stores.
    pub(super) damaged: BTreeMap<Name, SaveId>,
    /// When a partner was heard of last about a store.
    heard: BTreeMap<(SystemId, Name), Moment>,
}

impl Lends {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a partner waits for a save of this store: its job is told with the next report.
    pub(crate) fn is_ordered(&self, store: Name) -> bool {
        self.lock().orders.get(&store) == Some(&Order::Ordered)
    }

    /// The job made its save.
    pub(crate) fn handle_made(&self, store: Name) {
        if let Some(order) = self.lock().orders.get_mut(&store) {
            *order = Order::Made;
        }
    }

    /// The job could not make its save.
    pub(crate) fn handle_not_made(&self, store: Name, why: &str) {
        if let Some(order) = self.lock().orders.get_mut(&store) {
            *order = Order::Failed(why.to_owned());
        }
    }
}

const fn answer(answer: SaveAnswer) -> PartnerReply {
    PartnerReply::Save(answer)
}

fn not_yet(text: impl Into<String>, done: u64, total: u64) -> PartnerReply {
    answer(SaveAnswer::NotYet {
        text: text.into(),
        done,
        total,
    })
}

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) rdb: RdbName,
    pub(super) partner: &'a Partner,
    pub(super) store: Name,
}

impl Shared {
    /// A partner asks something about a save; pieces are sent by [`super::send_pieces`].
    ///
    /// Cancel safe: yes; a promise may have been made.
    pub(crate) async fn save_request(
        &self,
        rdb: RdbName,
        partner: &Partner,
        request: SaveRequest,
    ) -> PartnerReply {
        let tied = match self.tied(rdb, partner, request.journal) {
            Ok(tied) => tied,
            Err(reply) => return reply,
        };
        let asker = Asker {
            rdb,
            partner,
            store: request.store,
        };
        self.note_heard(&asker);
        match request.ask {
            SaveAsk::Wanted { after, begun } => {
                self.promise_save(&asker, &tied, after, begun).await
            }
            SaveAsk::Hashes { save, first } => {
                match self
                    .loan(&asker, tied.name())
                    .filter(|loan| loan.save.save == save)
                {
                    Some(loan) => self.piece_hashes(&loan, first).await,
                    None => gone(save),
                }
            }
            SaveAsk::Loaded { save } => {
                let released = self.end_loans(|loan| {
                    loan.is_for(partner.system, asker.store, tied.name()) && loan.save.save == save
                });
                match released {
                    Ok(_) => answer(SaveAnswer::Released),
                    Err(error) => refused(RefusalCode::Damaged, error.to_string()),
                }
            }
            SaveAsk::Pieces { save, .. } => gone(save),
        }
    }

    pub(super) fn note_heard(&self, asker: &Asker<'_>) {
        let now = self.clock.now();
        let key = (asker.partner.system, asker.store);
        let mut state = self.lends.lock();
        // Only what is promised is remembered for long; a partner with many names gains nothing.
        if state.heard.len() < 1024 || state.heard.contains_key(&key) {
            state.heard.insert(key, now);
        }
    }

    pub(super) fn loan(&self, asker: &Asker<'_>, journal: QualifiedName) -> Option<LoanRecord> {
        self.catalog(|catalog| {
            let mut loans = catalog.loans.iter();
            loans
                .find(|loan| loan.is_for(asker.partner.system, asker.store, journal))
                .cloned()
        })
    }

    /// Names a save, once the receivers behind it are sure to stay.
    async fn promise_save(
        &self,
        asker: &Asker<'_>,
        tied: &Tied,
        after: Sequence,
        begun: Option<SaveId>,
    ) -> PartnerReply {
        let need = after.max(tied.oldest());
        for (store, save) in self.saves_for(asker, tied.name(), begun, need) {
            match self.open_save(store, save).await {
                Opened::No => {}
                Opened::Reading(done) => {
                    let text = format!("{} reads its save of store {store}", self.name);
                    return not_yet(text, done, save.bytes);
                }
                Opened::Ready => {
                    self.lends.lock().orders.remove(&store);
                    return self.put_promise(asker, tied, store, save).await;
                }
            }
        }
        self.order_save(tied.name(), need)
    }

    /// Saves that would do: the one that was begun, then those of the stores here, the newest first.
    fn saves_for(
        &self,
        asker: &Asker<'_>,
        journal: QualifiedName,
        begun: Option<SaveId>,
        need: Sequence,
    ) -> Vec<(Name, SaveFacts)> {
        let loan = self.loan(asker, journal);
        let begun = loan
            .filter(|loan| Some(loan.save.save) == begun)
            .map(|loan| (loan.store, loan.save));
        let mut saves: Vec<(Name, SaveFacts)> = self.catalog(|catalog| {
            let of_journal = catalog
                .jobs
                .iter()
                .filter(|(_, job)| job.journal == journal);
            of_journal
                .filter_map(|(store, job)| Some((*store, job.save?)))
                .collect()
        });
        saves.sort_by_key(|(_, save)| std::cmp::Reverse(save.restart));
        let damaged = self.lends.lock().damaged.clone();
        begun
            .into_iter()
            .chain(saves)
            .filter(|(store, save)| save.restart >= need && damaged.get(store) != Some(&save.save))
            .collect()
    }

    /// Has a job make a save, or says why none can be had.
    fn order_save(&self, journal: QualifiedName, need: Sequence) -> PartnerReply {
        let system = self.name;
        let no = |text: String| refused(RefusalCode::NoSave, text);
        let jobs: Vec<(Name, JobRecord)> = self.catalog(|catalog| {
            let of_journal = catalog
                .jobs
                .iter()
                .filter(|(_, job)| job.journal == journal);
            of_journal
                .map(|(store, job)| (*store, job.clone()))
                .collect()
        });
        if jobs.is_empty() {
            return no(format!(
                "no store is made from {journal} on {system}; there: STRAPY --jrn {journal}"
            ));
        }
        let runs = |(store, job): &&(Name, JobRecord)| {
            job.active
                && job.stopped.is_none()
                && !matches!(
                    self.jobs.state(*store).0,
                    JobState::Ended | JobState::Stopped
                )
        };
        let Some((store, job)) = jobs.iter().find(runs) else {
            let stores: Vec<String> = jobs.iter().map(|(store, _)| store.to_string()).collect();
            let stores = stores.join(", ");
            return no(format!(
                "a new save is needed, and no apply job of {journal} runs on {system} (stores: {stores}); there: STRAPY"
            ));
        };
        let making = format!("{system} makes a save of store {store}");
        let mut state = self.lends.lock();
        match state.orders.get(store) {
            Some(Order::Ordered) => not_yet(making, 0, 0),
            None => {
                state.orders.insert(*store, Order::Ordered);
                not_yet(making, 0, 0)
            }
            Some(Order::Made) => {
                state.orders.remove(store);
                if job.save.is_some_and(|save| save.restart >= need) {
                    return no(format!(
                        "the save of store {store} on {system} cannot be read"
                    ));
                }
                no(format!(
                    "a commit cycle is open on {system} since before entry {need}, where the journal of the asking system \
                     begins: its entries would be missing there. Try again when it has ended"
                ))
            }
            Some(Order::Failed(why)) => {
                let text = format!("store {store} on {system} cannot be saved: {why}");
                state.orders.remove(store);
                no(text)
            }
        }
    }

    /// Persist, then say: the hold on receivers is durable before the save is named (failures.md DEL-4).
    async fn put_promise(
        &self,
        asker: &Asker<'_>,
        tied: &Tied,
        store: Name,
        save: SaveFacts,
    ) -> PartnerReply {
        let system = asker.partner.system;
        let loan = LoanRecord {
            system,
            rdb: asker.rdb,
            for_store: asker.store,
            journal: tied.name(),
            store,
            save,
        };
        let before = self.loan(asker, tied.name());
        if before.as_ref() == Some(&loan) {
            return answer(SaveAnswer::Promised(save));
        }
        let _retiring = self.retiring.lock().await;
        if tied.oldest() > save.restart {
            return not_yet("receivers were deleted meanwhile", 0, 0);
        }
        let kept = self.update_catalog(|catalog| {
            let of_partner = |kept: &&LoanRecord| {
                kept.system == system
                    && kept.journal == loan.journal
                    && kept.for_store != loan.for_store
            };
            if catalog.loans.iter().filter(of_partner).count() >= LOANS_MAX {
                let text = format!(
                    "{} loads {LOANS_MAX} stores from {} already",
                    loan.rdb, loan.journal
                );
                return Err(CommandError::refused("RJN5022", text));
            }
            catalog
                .loans
                .retain(|kept| !kept.is_for(system, loan.for_store, loan.journal));
            catalog.loans.push(loan.clone());
            Ok(())
        });
        match kept {
            Ok(()) => {
                let text = format!(
                    "the save of store {store} at entry {} was promised for the {}; receivers are kept from entry {} on",
                    save.applied,
                    loan.who(),
                    save.restart.next(),
                );
                self.post("RJN5020", Severity::Info, loan.journal, text);
                answer(SaveAnswer::Promised(save))
            }
            Err(error) => refused(RefusalCode::NoSave, error.to_string()),
        }
    }

    /// Lets promised saves go, and gives those that went.
    ///
    /// # Errors
    /// When the catalog cannot be written: they stay.
    pub(crate) fn end_loans(
        &self,
        ends: impl Fn(&LoanRecord) -> bool,
    ) -> Result<Vec<LoanRecord>, CommandError> {
        if !self.catalog(|catalog| catalog.loans.iter().any(&ends)) {
            return Ok(Vec::new());
        }
        self.update_catalog(|catalog| {
            let (gone, stay) = std::mem::take(&mut catalog.loans)
                .into_iter()
                .partition(|loan| ends(loan));
            catalog.loans = stay;
            Ok(gone)
        })
    }

    /// Closes what nobody asks for, and lets go what a partner is silent about for a day.
    pub(crate) fn look_after_loans(&self) {
        let now = self.clock.now();
        let silent: Vec<(SystemId, Name)> = {
            let mut state = self.lends.lock();
            state
                .open
                .retain(|_, lent| now.since(lent.asked()) < OPEN_MAX);
            let loans: Vec<(SystemId, Name)> = self.catalog(|catalog| {
                let loans = catalog.loans.iter();
                loans.map(|loan| (loan.system, loan.for_store)).collect()
            });
            state
                .heard
                .retain(|key, at| loans.contains(key) || now.since(*at) < OPEN_MAX);
            // After a start the day begins anew.
            loans
                .into_iter()
                .filter(|key| now.since(*state.heard.entry(*key).or_insert(now)) >= SILENT_MAX)
                .collect()
        };
        if silent.is_empty() {
            return;
        }
        match self.end_loans(|loan| silent.contains(&(loan.system, loan.for_store))) {
            Ok(ended) => {
                for loan in ended {
                    self.post_given_up(&loan, "nothing was heard of it for a day");
                }
            }
            Err(error) => tracing::warn!(%error, "promised saves are kept"),
        }
    }

    /// Says that receivers are no longer kept for a first copy.
    pub(crate) fn post_given_up(&self, loan: &LoanRecord, why: &str) {
        let text = format!(
            "receivers are no longer kept for the {}: {why}. RSTSTO there begins again",
            loan.who()
        );
        self.post("RJN5021", Severity::Warning, loan.journal, text);
    }
}

/// That a save cannot be had any more.
pub(super) fn gone(save: SaveId) -> PartnerReply {
    answer(SaveAnswer::Gone {
        text: format!("save {save} is not promised any more"),
    })
}
