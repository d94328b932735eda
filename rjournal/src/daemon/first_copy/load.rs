//! Room `daemon`, the first copy, at the system whose store is loaded: loads begin, are joined, looked at and given up, and the
//! partner is told when the job has gone on from its save. Must not know how a save is fetched.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::load_task::LoadTask;
use super::part;
use super::record::LoadRecord;
use super::standing::{LoadPhase, LoadStanding};
use crate::daemon::command::load::{DescribeLoad, LoadDescription, LoadStore};
use crate::daemon::command::{CommandError, Done};
use crate::daemon::messages::Severity;
use crate::daemon::system::Shared;
use crate::entry::{Name, QualifiedName, RdbName};
use crate::remote::{PartnerRequest, SaveAsk, SaveRequest};

/// Loads under way at once.
const LOADS_MAX: usize = 8;
/// How often a partner is told that a store was loaded, before it finds out by itself.
const TELL_MAX: u32 = 6;
/// ... again after this long, four times as long each time.
const TELL_AGAIN: Duration = Duration::from_millis(250);

/// A load.
#[derive(Debug)]
struct Load {
    standing: Arc<Mutex<LoadStanding>>,
    task: tokio::task::AbortHandle,
}

/// All loads of a system since it was started.
#[derive(Debug, Default)]
pub(crate) struct Loads(Mutex<BTreeMap<Name, Load>>);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loads {
    /// How far the load of a store is.
    pub(crate) fn standing(&self, store: Name) -> Option<LoadStanding> {
        let loads = lock(&self.0);
        loads.get(&store).map(|load| lock(&load.standing).clone())
    }

    /// Whether a save of a store is being fetched.
    pub(crate) fn is_running(&self, store: Name) -> bool {
        self.standing(store).is_some_and(|load| load.is_running())
    }

    /// Ends the load of a store; what was fetched is kept.
    pub(crate) fn stop(&self, store: Name) {
        let loads = lock(&self.0);
        if let Some(load) = loads.get(&store) {
            let mut standing = lock(&load.standing);
            if standing.is_running() {
                load.task.abort();
                standing.phase = LoadPhase::Failed;
                standing.failed = Some(ended(store, standing.rdb));
            }
        }
    }

    /// Ends all of them.
    pub(crate) fn stop_all(&self) {
        let stores: Vec<Name> = lock(&self.0).keys().copied().collect();
        for store in stores {
            self.stop(store);
        }
    }
}

fn ended(store: Name, rdb: RdbName) -> CommandError {
    CommandError::refused("RJN5022", format!("the load of store {store} was ended")).help(format!(
        "what was fetched is kept: RSTSTO --store {store} --rdb {rdb} goes on"
    ))
}

impl Shared {
    /// Begins to fetch a save for a store, or goes on; what is under way is joined.
    ///
    /// # Errors
    /// [`CommandError`]: nothing of that kind can be loaded from there.
    pub(crate) fn load_store(&self, request: &LoadStore) -> Result<Done, CommandError> {
        let (store, rdb) = (request.store, request.rdb);
        if let Some(running) = self.loads.standing(store).filter(LoadStanding::is_running) {
            if running.rdb == rdb {
                return Ok(Done {});
            }
            let text = format!("store {store} is being loaded from {}", running.rdb);
            return Err(CommandError::refused("RJN5022", text).help(format!(
                "wait for it, or give it up: ENDAPY --store {store}"
            )));
        }
        self.require_address(rdb)?;
        let record = self.job_record(store, request.journal, request.kind.as_deref())?;
        let before = record.load.clone().filter(|load| load.rdb == rdb);
        let load = LoadRecord {
            rdb,
            start: request.start || record.active || before.as_ref().is_some_and(|load| load.start),
            save: before.and_then(|load| load.save),
        };
        let mut loads = lock(&self.loads.0);
        let running = loads
            .values()
            .filter(|load| lock(&load.standing).is_running());
        if running.count() >= LOADS_MAX {
            let text = format!("{LOADS_MAX} stores are being loaded already");
            return Err(CommandError::refused("RJN5022", text).help("wait until one is done"));
        }
        let kept = load.clone();
        self.update_catalog(|catalog| {
            let job = catalog.jobs.entry(store).or_insert_with(|| record.clone());
            job.load = Some(kept);
            Ok(())
        })?;
        let Some(shared) = self.arc() else {
            return Err(CommandError::refused("RJN1005", "the system is stopping"));
        };
        let standing = Arc::new(Mutex::new(LoadStanding::new(store, rdb)));
        let task = LoadTask::new(
            shared,
            (store, record.journal, record.store),
            load,
            Arc::clone(&standing),
        );
        let task = self.runtime.spawn(task.run()).abort_handle();
        loads.insert(store, Load { standing, task });
        Ok(Done {})
    }

    /// How far the load of a store is.
    pub(crate) fn describe_load(&self, request: &DescribeLoad) -> LoadDescription {
        LoadDescription {
            load: self.loads.standing(request.store).map(Box::new),
        }
    }

    /// Ends the load of a store and removes what was fetched.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub(crate) fn forget_load(&self, store: Name) -> io::Result<()> {
        self.loads.stop(store);
        lock(&self.loads.0).remove(&store);
        part::remove(&*self.disk, store)
    }

    /// A partner that has no address is never reached, however often it is tried.
    fn require_address(&self, rdb: RdbName) -> Result<(), CommandError> {
        let partner = self.catalog(|catalog| catalog.partners.get(&rdb).cloned());
        let Some(partner) = partner else {
            let missing = CommandError::not_found("directory entry", rdb);
            return Err(missing.help("WRKRDBDIRE lists them; ADDRDBDIRE adds one"));
        };
        if partner.address.is_some() {
            return Ok(());
        }
        let text = format!("directory entry {rdb} has no address");
        Err(CommandError::refused("RJN5022", text).help(format!(
            "the side that loads a store calls: CHGRDBDIRE --rdb {rdb} --addr HOST:PORT"
        )))
    }

    /// The job has gone on from the save its store was loaded from: nothing is kept for it any longer, here or there.
    pub(crate) fn load_done(&self, store: Name, journal: QualifiedName, load: &LoadRecord) {
        let Some(save) = load.save else { return };
        let text = format!(
            "loaded from {} at entry {}; its job goes on from there",
            load.rdb, save.applied
        );
        self.post_about("RJN5024", Severity::Info, &format!("store {store}"), text);
        let Some((shared, journal)) = self.arc().zip(
            self.runtime_of(journal)
                .and_then(|runtime| runtime.source()),
        ) else {
            return;
        };
        let (rdb, journal) = (load.rdb, journal.id());
        self.runtime.spawn(async move {
            let mut wait = TELL_AGAIN;
            for _ in 0..TELL_MAX {
                let ask = SaveAsk::Loaded { save: save.save };
                let request = PartnerRequest::Save(SaveRequest {
                    journal,
                    store,
                    ask,
                });
                match shared.ask_partner(rdb, request).await {
                    Ok(_) => return,
                    Err(error) => {
                        tracing::info!(%rdb, %error, "it was not told that its save is loaded");
                    }
                }
                tokio::time::sleep(wait).await;
                wait *= 4;
            }
        });
    }
}
