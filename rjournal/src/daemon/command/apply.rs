//! Room `daemon`: apply jobs: which stores are made from which journals, whether their jobs run, and where they are. The
//! jobs themselves are processes of their own (DESIGN section 8); this room starts and supervises them.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{CommandError, ErrorKind};
use crate::daemon::catalog::{JobRecord, SkipOrder, Stopped};
use crate::daemon::data_dir::{SOCKET_PATH_MAX, STORES_DIR};
use crate::daemon::first_copy::LoadRecord;
use crate::daemon::jobs::JobState;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::{Name, QualifiedName, SaveFacts, SegmentId, Sequence};

/// STRAPY.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartApply {
    /// Name of the store.
    pub store: Name,
    /// The journal it is made from: a local one (then the job also serves as its database) or a remote one. Needed the
    /// first time.
    pub journal: Option<QualifiedName>,
    /// Kind of the store, as in `sled` or `redb`; a default the first time.
    pub kind: Option<String>,
    /// Pass over the entry the job stopped at.
    #[serde(default)]
    pub skip: Option<SkipEntry>,
}

/// An entry an operator wants passed over (failures.md APL-5).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SkipEntry {
    /// The entry.
    pub sequence: Sequence,
    /// Why.
    pub reason: String,
}

/// ENDAPY.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndApply {
    /// Name of the store.
    pub store: Name,
    /// Forget the store altogether: its hold on receivers ends. Its files stay.
    #[serde(default)]
    pub remove: bool,
}

/// WRKAPY.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListJobs {}

/// From an apply job: where its store stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportJob {
    /// Name of the store.
    pub store: Name,
    /// Where its store stands, as far as it knows.
    pub place: Option<StorePlace>,
    /// The store save it can be made anew from, where one was just made or found.
    pub save: Option<SaveFacts>,
    /// Why that save could not be made, where one was tried.
    #[serde(default)]
    pub not_saved: Option<String>,
    /// What the store save it can be made anew from covers, where that is known.
    pub saved: Option<SavedPlace>,
    /// Why it stops for good, if it does.
    pub stopped: Option<Stopped>,
    /// Something an operator should read.
    pub message: Option<JobMessage>,
    /// Whether an operator holds it, where that changed.
    #[serde(default)]
    pub held: Option<bool>,
    /// What was decided behind this entry is taken out of the store: what is saved, too, may lie behind it.
    #[serde(default)]
    pub fork: Option<Sequence>,
    /// Where reading begins again then: entries behind it must stay.
    #[serde(default)]
    pub kept_from: Option<Sequence>,
}

/// Where a store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePlace {
    /// Everything decided up to here is applied, durably.
    pub applied: Sequence,
    /// Where reading would begin again.
    pub restart: Sequence,
    /// The term and journal both are in.
    pub at: SegmentId,
}

/// What a store save covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPlace {
    /// Where reading would begin again behind it.
    pub restart: Sequence,
    /// The term and journal that is in.
    pub at: SegmentId,
}

/// A message from an apply job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobMessage {
    /// Id.
    pub id: String,
    /// How grave.
    pub severity: crate::daemon::Severity,
    /// Text.
    pub text: String,
}

/// A job for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobDescription {
    /// Name of the store.
    pub store: Name,
    /// Kind of the store.
    pub kind: String,
    /// The journal it was started on.
    pub journal: QualifiedName,
    /// The journal its store is in now: in a recovery group any of the group's.
    pub at: QualifiedName,
    /// All journals here that its entries may be in.
    pub journals: Vec<QualifiedName>,
    /// Whether it is to run.
    pub active: bool,
    /// Whether it runs, and what it does.
    pub state: JobState,
    /// Its process.
    pub pid: Option<u32>,
    /// Everything decided up to here is applied, durably, as last reported.
    pub applied: Sequence,
    /// Entries it may apply and has not.
    pub lag_entries: u64,
    /// What its last store save covers.
    pub saved: Sequence,
    /// It must be restored from a save.
    pub needs_reinit: bool,
    /// A store save would let receivers go before the cap is reached (ruling 8).
    pub save_wanted: bool,
    /// Why it stopped or fell, or that it is held.
    pub note: Option<String>,
    /// The entry an operator ordered to pass over last.
    pub skip: Option<SkipOrder>,
    /// The cache its store is to have, in MiB, by the configuration.
    pub cache_mib: u32,
}

/// What WRKAPY shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Jobs {
    /// The jobs.
    pub jobs: Vec<JobDescription>,
}

/// Said of a job that an operator holds.
const HELD: &str = "held by an operator: nothing is applied until RLSAPY releases it";

impl Shared {
    pub(super) fn start_apply(&self, request: StartApply) -> Result<JobDescription, CommandError> {
        let store = request.store;
        let record = self.job_record(store, request.journal, request.kind.as_deref())?;
        let journal = record.journal;
        if let Some(database) = self.other_database(store, journal) {
            let text = format!(
                "store {database} is the database of journal {journal}, and there can be one only"
            );
            return Err(CommandError::refused("RJN4022", text).help(format!(
                "ENDAPY --store {database} ends it first; a second copy is made from a remote journal"
            )));
        }
        // It would be made from the journal's beginning, and then be no place for what is fetched.
        let is_new = !record.active && record.applied == Sequence::NONE;
        if let Some(load) = self
            .loads
            .standing(store)
            .filter(|load| is_new && load.is_running())
        {
            let text = format!("store {store} is {}", load.describe());
            return Err(CommandError::refused("RJN5022", text).help(format!(
                "RSTSTO --store {store} --rdb {} waits for it; ENDAPY --store {store} gives it up",
                load.rdb
            )));
        }
        let not_started = |error| {
            let text = format!("the job of store {store} cannot be started: {error}");
            CommandError::new(ErrorKind::Internal, "RJN5001", text)
        };
        // Before anything is changed: a job that is to run and never will would hold receivers.
        self.jobs.check_program().map_err(not_started)?;
        let again = record.stopped.is_some();
        let skip = match request.skip {
            Some(skip) => Some(self.order_skip(store, &record, skip)?),
            None => record.skip,
        };
        let record = JobRecord {
            active: true,
            stopped: None,
            skip,
            ..record
        };
        let kept = record.clone();
        self.update_catalog(|catalog| {
            catalog.jobs.insert(store, kept);
            Ok(())
        })?;
        self.jobs.start(store, again).map_err(not_started)?;
        Ok(self.describe_job(store, &record))
    }

    /// What is kept of a store, or will be of one that is made now. Nothing is changed.
    ///
    /// # Errors
    /// Its journal is not there, or another one; it is of another kind; its socket would have no place.
    pub(in crate::daemon) fn job_record(
        &self,
        store: Name,
        journal: Option<QualifiedName>,
        kind: Option<&str>,
    ) -> Result<JobRecord, CommandError> {
        let known = self.catalog(|catalog| catalog.jobs.get(&store).cloned());
        let journal = match (&known, journal) {
            (Some(known), None) => known.journal,
            (Some(known), Some(journal)) if known.journal == journal => journal,
            (Some(known), Some(_)) => {
                let text = format!("store {store} is made from {}", known.journal);
                return Err(CommandError::refused("RJN4019", text)
                    .help("a store belongs to one journal; choose another name"));
            }
            (None, Some(journal)) => journal,
            (None, None) => {
                return Err(CommandError::not_found("store", store)
                    .help("name its journal with JRN to make it"));
            }
        };
        self.require_journal(journal)?;
        self.require_short_path(store)?;
        if let (Some(known), Some(kind)) = (&known, kind)
            && known.store != kind
        {
            return Err(CommandError::refused(
                "RJN4019",
                format!("store {store} is of kind {}", known.store),
            ));
        }
        Ok(known.unwrap_or_else(|| JobRecord {
            journal,
            store: kind.unwrap_or("sled").to_owned(),
            active: false,
            saved: Sequence::NONE,
            applied: Sequence::NONE,
            restart: Sequence::NONE,
            at: None,
            saved_at: None,
            needs_reinit: false,
            stopped: None,
            skip: None,
            save: None,
            load: None,
        }))
    }

    /// Another store whose job is to run on a local journal: it keeps the locks of what it changes, so nobody else may change
    /// anything there. In a recovery group every journal may become one that is changed here.
    fn other_database(&self, store: Name, journal: QualifiedName) -> Option<Name> {
        let runtime = self.runtime_of(journal)?;
        let id = runtime.id();
        let in_group = id.is_some_and(|id| self.groups.of_journal(id).is_some());
        let local = matches!(
            runtime,
            JournalRuntime::Local(_) | JournalRuntime::Opening(_)
        );
        let journals = self.journals_of_history(journal);
        let runs = |record: &JobRecord| {
            let same = (local || in_group) && journals.contains(&record.journal);
            same && record.active && record.stopped.is_none()
        };
        self.catalog(|catalog| {
            let mut jobs = catalog.jobs.iter();
            jobs.find(|(other, record)| **other != store && runs(record))
                .map(|(other, _)| *other)
        })
    }

    /// Said of a store that is being loaded, or was and is not restored yet.
    fn note_of_load(&self, store: Name, record: &JobRecord) -> Option<String> {
        let load = record.load.as_ref()?;
        // Its job has found the save: it was restored, and goes on.
        if load.save.is_some() && record.active && load.save == record.save {
            return None;
        }
        let standing = self.loads.standing(store).map(|load| load.describe());
        let rest = || format!("being loaded from {}: RSTSTO goes on", load.rdb);
        Some(standing.unwrap_or_else(rest))
    }

    /// Said of a store that an earlier release let run beside the database of its journal.
    fn note_of_another(&self, store: Name, record: &JobRecord) -> Option<String> {
        let other = self
            .other_database(store, record.journal)
            .filter(|_| record.active)?;
        Some(format!(
            "store {other} runs on the same local journal, and one of the two is refused every change: ENDAPY ends the one \
             that is not to be the database, then ENDAPY and STRAPY of the other"
        ))
    }

    /// A job that cannot make the socket of its store falls again and again.
    fn require_short_path(&self, store: Name) -> Result<(), CommandError> {
        let path = self
            .data_path()
            .join(STORES_DIR)
            .join(format!("{store}.sock"));
        let bytes = path.as_os_str().len();
        if bytes <= SOCKET_PATH_MAX {
            return Ok(());
        }
        let text = format!(
            "the socket of store {store} would be {}: {bytes} bytes, and a socket's path has at most {SOCKET_PATH_MAX}",
            path.display()
        );
        Err(CommandError::refused("RJN5006", text).help(
            "start the daemon with a shorter --data: a symbolic link to the directory will do",
        ))
    }

    fn order_skip(
        &self,
        store: Name,
        record: &JobRecord,
        skip: SkipEntry,
    ) -> Result<SkipOrder, CommandError> {
        let SkipEntry { sequence, reason } = skip;
        let journal = record.at.map(|at| at.journal);
        let stopped_at = record.stopped.as_ref().and_then(|stopped| stopped.entry);
        if stopped_at != Some(sequence) {
            let text = format!(
                "store {store} did not stop at entry {sequence}: only the entry a job stopped at can be passed over"
            );
            return Err(
                CommandError::refused("RJN5008", text).help("WRKAPY says why a job stopped")
            );
        }
        if reason.trim().is_empty() {
            return Err(CommandError::invalid(
                "a reason is needed: it stays in the store for ever",
            ));
        }
        let text = format!("entry {sequence} is to be passed over: {reason}");
        self.post_about(
            "RJN5009",
            crate::daemon::Severity::Alarm,
            &format!("store {store}"),
            text,
        );
        Ok(SkipOrder {
            sequence,
            journal,
            reason,
            at: self.clock.wall(),
        })
    }

    pub(super) async fn end_apply(
        &self,
        request: &EndApply,
    ) -> Result<JobDescription, CommandError> {
        let store = request.store;
        let unknown = || CommandError::not_found("store", store).help("WRKAPY lists them");
        self.loads.stop(store);
        self.update_catalog(|catalog| {
            catalog.jobs.get_mut(&store).ok_or_else(unknown)?.active = false;
            Ok(())
        })?;
        self.jobs.stop(store).await;
        // Its last word was where it ended.
        let record = self.update_catalog(|catalog| {
            let record = catalog.jobs.get(&store).cloned().ok_or_else(unknown)?;
            if request.remove {
                catalog.jobs.remove(&store);
            }
            Ok(record)
        })?;
        if request.remove
            && let Err(error) = self.forget_load(store)
        {
            tracing::warn!(%store, %error, "what was fetched for it is not removed");
        }
        Ok(self.describe_job(store, &record))
    }

    pub(super) fn list_jobs(&self) -> Jobs {
        let records = self.catalog(|catalog| catalog.jobs.clone());
        Jobs {
            jobs: records
                .iter()
                .map(|(store, record)| self.describe_job(*store, record))
                .collect(),
        }
    }

    pub(super) fn report_job(&self, request: ReportJob) -> Result<JobDescription, CommandError> {
        let store = request.store;
        let fetching = self.loads.is_running(store);
        let (record, loaded) = self.update_catalog(|catalog| {
            let record = catalog
                .jobs
                .get_mut(&store)
                .ok_or_else(|| CommandError::not_found("store", store))?;
            if let Some(place) = request.place {
                record.applied = place.applied;
                record.restart = place.restart;
                record.at = Some(place.at);
            }
            if let Some(saved) = request.saved {
                record.saved = saved.restart;
                record.saved_at = Some(saved.at);
            }
            if let Some(save) = request.save {
                record.save = Some(save);
                if request.saved.is_none() {
                    record.saved = save.restart;
                }
            }
            // It goes on from the save it was loaded from.
            let save = record.save;
            let is_loaded = |load: &mut LoadRecord| save.is_some() && load.save == save;
            let loaded = match request.place {
                Some(_) if !fetching => record.load.take_if(is_loaded),
                _ => None,
            };
            if let Some(fork) = request.fork {
                // What is read again from there must stay, and a save behind it covers nothing any more.
                record.saved = request.kept_from.unwrap_or(fork).min(record.saved);
                record.save.take_if(|save| save.applied > fork);
                // Another entry will have its number.
                record.skip.take_if(|skip| skip.sequence > fork);
            }
            if request.stopped.is_some() {
                record.stopped.clone_from(&request.stopped);
            }
            Ok((record.clone(), loaded))
        })?;
        if request.save.is_some() {
            self.lends.handle_made(store);
        }
        if let Some(why) = &request.not_saved {
            self.lends.handle_not_made(store, why);
        }
        if let Some(load) = loaded {
            self.load_done(store, record.journal, &load);
        }
        let record = if record.needs_reinit && !self.is_before_save(&record) {
            self.update_catalog(|catalog| {
                if let Some(kept) = catalog.jobs.get_mut(&store) {
                    kept.needs_reinit = false;
                }
                Ok(JobRecord {
                    needs_reinit: false,
                    ..record
                })
            })?
        } else {
            record
        };
        if let Some(held) = request.held {
            self.jobs.set_held(store, held);
        }
        if let Some(message) = request.message {
            self.post_about(
                &message.id,
                message.severity,
                &format!("store {store}"),
                message.text,
            );
        }
        if let Some(stopped) = request.stopped {
            let mut text = format!("the apply job stopped: {}", stopped.reason);
            if let Some(entry) = stopped.entry {
                let journal = self.journal_of_store(&record);
                let _ = write!(
                    text,
                    ". DSPJRN --jrn {journal} --froment {entry} shows it; STRAPY --store {store} --skip {entry} --reason ... passes over it"
                );
            }
            self.post_about(
                "RJN5002",
                crate::daemon::Severity::Alarm,
                &format!("store {store}"),
                text,
            );
        }
        Ok(self.describe_job(store, &record))
    }

    /// Whether what a store's save does not cover keeps receivers that the cap will soon want gone.
    fn is_save_wanted(&self, record: &JobRecord) -> bool {
        let journals = self.journals_of_history(record.journal);
        let at = self.store_at(record);
        journals.into_iter().any(|journal| {
            let Some(runtime) = self.runtime_of(journal) else {
                return false;
            };
            let bytes_max = runtime
                .attributes()
                .map_or(0, |attributes| attributes.retention_bytes_max);
            let records = runtime.records();
            let bytes: u64 = records.iter().map(|receiver| receiver.bytes).sum();
            let mut detached = records.iter().filter_map(|receiver| receiver.last);
            let held = self.store_needs(record, journal);
            // A save made now lets go of what the store has passed.
            let passed = |last: Sequence| {
                let is_there = runtime.id() == Some(at.segment.journal);
                !is_there || at.sequence >= last
            };
            bytes_max > 0
                && bytes > bytes_max / 5 * 4
                && held.is_some_and(|held| {
                    detached
                        .next_back()
                        .is_some_and(|last| held < last.sequence && passed(last.sequence))
                })
        })
    }

    /// The entry to pass over, with the journal it is in.
    fn skip_of(&self, record: &JobRecord) -> Option<SkipOrder> {
        let named = || self.runtime_of(record.journal)?.id();
        let order = record.skip.clone()?;
        let journal = order.journal.or_else(named);
        Some(SkipOrder { journal, ..order })
    }

    pub(in crate::daemon) fn describe_job(
        &self,
        store: Name,
        record: &JobRecord,
    ) -> JobDescription {
        let (state, pid) = self.jobs.state(store);
        let stopped = record.stopped.as_ref();
        let state = stopped.map_or(state, |_| JobState::Stopped);
        let held = (state == JobState::Held).then(|| HELD.to_owned());
        JobDescription {
            store,
            kind: record.store.clone(),
            journal: record.journal,
            at: self.journal_of_store(record),
            journals: self.journals_of_history(record.journal),
            active: record.active,
            state,
            pid,
            applied: record.applied,
            lag_entries: self.store_lag(record),
            saved: record.saved,
            needs_reinit: record.needs_reinit,
            save_wanted: self.is_save_wanted(record) || self.lends.is_ordered(store),
            skip: self.skip_of(record),
            cache_mib: self.config().store_cache_mib,
            note: self
                .note_of_load(store, record)
                .or_else(|| stopped.map(|stopped| stopped.reason.clone()))
                .or(held)
                .or_else(|| self.note_of_another(store, record))
                .or_else(|| self.jobs.note(store)),
        }
    }
}
