//! Room `daemon`, a system: a damaged journal is repaired: its receivers are read, what they lack is fetched from partners,
//! repaired files are put in place, and the journal is opened as after a start. What is damaged, and whether bytes are
//! the ones that stood here, is decided in room `receiver`; here it is carried.
//!
//! A journal in use goes on while it is read and while bytes are fetched. It is closed for a moment only where its
//! attached receiver is concerned. Everything is fetched and proven before the first file is touched.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::fetch::Ready;
use super::runtime::{Broken, JournalRuntime};
use super::shared::{Shared, lock};
use super::start::dir_of;
use crate::daemon::command::repair::{
    RepairJournal, RepairPhase, RepairProgress, RepairStanding, Repaired, stretches,
};
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::messages::Severity;
use crate::entry::{JournalId, QualifiedName, RdbName};
use crate::error::ReceiverError;
use crate::journal::{Control, Gate, JournalKind, Outline, outline};
use crate::receiver::{Damaged, Expected, FileDamage, Survey, survey};

/// The one repair that can be under way.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    busy: tokio::sync::Mutex<()>,
    standing: Mutex<Option<RepairProgress>>,
    pub(super) done: Arc<AtomicU64>,
}

impl Repairs {
    pub(super) fn begin(&self, journal: QualifiedName, phase: RepairPhase, total: Option<u64>) {
        self.done.store(0, Ordering::Relaxed);
        *lock(&self.standing) = Some(RepairProgress {
            journal,
            phase,
            done: 0,
            total,
        });
    }

    fn end(&self) {
        *lock(&self.standing) = None;
    }

    /// How far it is.
    pub(crate) fn standing(&self) -> RepairStanding {
        let repair = lock(&self.standing).map(|standing| RepairProgress {
            done: self.done.load(Ordering::Relaxed),
            ..standing
        });
        RepairStanding { repair }
    }
}

impl Shared {
    /// RPRJRN.
    ///
    /// Cancel safe: yes, the repair goes on by itself.
    pub(crate) async fn repair_journal(
        &self,
        request: RepairJournal,
    ) -> Result<Repaired, CommandError> {
        let Some(shared) = self.arc() else {
            return Err(CommandError::refused("RJN1005", "the system is stopping"));
        };
        let repairing = self.runtime.spawn(async move {
            let Ok(_busy) = shared.repairs.busy.try_lock() else {
                let text = "a repair is under way on this system";
                return Err(CommandError::refused("RJN4024", text).help("wait for its end"));
            };
            let repaired = shared.repair(&request).await;
            shared.repairs.end();
            repaired
        });
        repairing.await.map_err(internal)?
    }

    async fn repair(self: &Arc<Self>, request: &RepairJournal) -> Result<Repaired, CommandError> {
        let name = request.journal;
        if let Some(lost) = self.find_lost(request).await? {
            return self.rebuild(request, lost).await;
        }
        let runtime = self.require_journal(name)?;
        if request.role.is_some() {
            let text =
                format!("ROLE is for a journal whose control file is lost; that of {name} is not");
            return Err(
                CommandError::refused("RJN4026", text).help("give the command without ROLE")
            );
        }
        let outline = self.outline_of(name, &runtime).await?;
        let control = outline.control.clone();
        let partners = self.suppliers(&control, request.partner)?;
        let there = (control.journal, &*outline.receivers_dir);
        let survey = self.survey(name, there, outline.expected.clone()).await?;
        let mut repaired = Repaired::found(name, &survey, &outline.receivers_dir);
        if survey.damaged.is_empty() {
            if let JournalRuntime::Broken(broken) = &runtime {
                if !request.check {
                    self.reopen(name, broken).await;
                }
                repaired.note = self.broken_reason(name);
            }
            return Ok(repaired);
        }
        if request.check {
            self.check_supply(there.0, &partners, survey.damaged, &mut repaired)
                .await?;
            return Ok(repaired);
        }
        let ready = self
            .fetch_all(there, &partners, survey.damaged, &mut repaired)
            .await?;
        self.repairs.begin(name, RepairPhase::Writing, None);
        repaired.kept = self.put_in_place(name, &runtime, ready).await?;
        repaired.repaired = true;
        repaired.note = self.broken_reason(name);
        self.tell_repaired(name, &repaired);
        Ok(repaired)
    }

    /// Who could supply what all damaged receivers lack.
    pub(super) async fn check_supply(
        self: &Arc<Self>,
        journal: JournalId,
        partners: &[RdbName],
        damaged: Vec<Damaged>,
        repaired: &mut Repaired,
    ) -> Result<(), CommandError> {
        self.begin_fetching(repaired.journal, &damaged);
        for damaged in &damaged {
            repaired.repairable &= self
                .ask_everybody((journal, partners), damaged, &mut repaired.supply)
                .await?;
        }
        Ok(())
    }

    /// Fetches what all damaged receivers lack, which stay as they are.
    pub(super) async fn fetch_all(
        self: &Arc<Self>,
        (journal, dir): (JournalId, &Path),
        partners: &[RdbName],
        damaged: Vec<Damaged>,
        repaired: &mut Repaired,
    ) -> Result<Vec<Ready>, CommandError> {
        self.begin_fetching(repaired.journal, &damaged);
        let mut ready = Vec::new();
        for damaged in damaged {
            let fetched = self
                .fetch((journal, partners), dir, damaged, &mut repaired.supply)
                .await?;
            match fetched {
                Ok(receiver) => ready.push(receiver),
                Err(damaged) => {
                    repaired.repairable = false;
                    return Err(not_supplied(&damaged, repaired));
                }
            }
        }
        repaired.mended_bytes = self.repairs.done.load(Ordering::Relaxed);
        Ok(ready)
    }

    fn begin_fetching(&self, name: QualifiedName, damaged: &[Damaged]) {
        let lacking: u64 = damaged.iter().map(bytes_lacking).sum();
        self.repairs
            .begin(name, RepairPhase::Fetching, Some(lacking));
    }

    /// What should be there, whether the journal is in use or not.
    async fn outline_of(
        self: &Arc<Self>,
        name: QualifiedName,
        runtime: &JournalRuntime,
    ) -> Result<Outline, CommandError> {
        let (control, reader) = match runtime {
            JournalRuntime::Broken(broken) => {
                let (shared, dir) = (Arc::clone(self), broken.dir.clone());
                let id = broken.control.as_ref().map(|control| control.journal);
                let known = self.proven(name, id);
                return Ok(
                    tokio::task::spawn_blocking(move || outline(&shared.disk, &dir, known))
                        .await
                        .map_err(internal)??,
                );
            }
            JournalRuntime::Local(local) if local.journal.gate() == Gate::Poisoned => {
                return Err(stopped(name));
            }
            JournalRuntime::Copy(copy) if copy.status().failure.is_some() => {
                return Err(stopped(name));
            }
            JournalRuntime::Local(local) => {
                (local.journal.control(), local.journal.reader().clone())
            }
            JournalRuntime::Copy(copy) => (copy.copy.control(), copy.copy.reader().clone()),
            JournalRuntime::Opening(opening) => (opening.control.clone(), opening.reader.clone()),
        };
        Ok(Outline {
            control,
            receivers_dir: reader.dir().to_path_buf(),
            expected: reader.expected(),
        })
    }

    /// The partners that have the journal: those it feeds, and the one that feeds it.
    fn suppliers(
        &self,
        control: &Control,
        named: Option<RdbName>,
    ) -> Result<Vec<RdbName>, CommandError> {
        if let Some(rdb) = named {
            let known = self.catalog(|catalog| catalog.partners.contains_key(&rdb));
            return if known {
                Ok(vec![rdb])
            } else {
                Err(CommandError::not_found("directory entry", rdb))
            };
        }
        let mut systems: Vec<_> = control.links.iter().map(|link| link.system).collect();
        if let JournalKind::Remote(source) = &control.kind {
            systems.insert(0, source.system);
        }
        Ok(self.catalog(|catalog| {
            let partners = catalog.partners.iter();
            let mut found: Vec<(usize, RdbName)> = partners
                .filter_map(|(rdb, partner)| {
                    let place = systems
                        .iter()
                        .position(|system| *system == partner.system)?;
                    Some((place, *rdb))
                })
                .collect();
            found.sort_unstable();
            found.into_iter().map(|(_, rdb)| rdb).collect()
        }))
    }

    pub(super) async fn survey(
        self: &Arc<Self>,
        name: QualifiedName,
        (journal, dir): (JournalId, &Path),
        expected: Vec<Expected>,
    ) -> Result<Survey, CommandError> {
        let total = expected.iter().map(|expected| expected.record.bytes).sum();
        self.repairs.begin(name, RepairPhase::Reading, Some(total));
        let (disk, dir) = (Arc::clone(&self.disk), dir.to_path_buf());
        let done = Arc::clone(&self.repairs.done);
        let surveyed = tokio::task::spawn_blocking(move || {
            survey(&disk, &dir, journal, &expected, &|bytes| {
                done.fetch_add(bytes, Ordering::Relaxed);
            })
        });
        Ok(surveyed.await.map_err(internal)??)
    }

    /// Puts all repaired files in place. The journal is closed meanwhile only where its attached receiver is one of them.
    pub(super) async fn put_in_place(
        self: &Arc<Self>,
        name: QualifiedName,
        runtime: &JournalRuntime,
        ready: Vec<Ready>,
    ) -> Result<Vec<String>, CommandError> {
        let attached = runtime.records().last().map(|record| record.receiver);
        let in_use = !matches!(runtime, JournalRuntime::Broken(_));
        // What may still be written to is taken over when nobody writes any more.
        let grows = move |ready: &Ready| in_use && Some(ready.receiver()) == attached;
        let ready = tokio::task::spawn_blocking(move || {
            let complete = |ready: &&Ready| !grows(ready);
            let completed = ready.iter().filter(complete).try_for_each(Ready::complete);
            completed.map(|()| ready)
        });
        let mut ready = ready.await.map_err(internal)??;
        let _admin = self.admin.lock().await;
        let current = self.runtime_of(name);
        if self.is_stopping() || !current.is_some_and(|current| current.is_same(runtime)) {
            let text = format!("journal {name} was closed meanwhile; nothing was changed");
            return Err(CommandError::refused("RJN4010", text).help("give the command again"));
        }
        if in_use {
            // What was deleted since is nobody's to repair.
            let records = runtime.records();
            let is_here = |ready: &Ready| {
                records
                    .iter()
                    .any(|record| record.receiver == ready.receiver())
            };
            ready.retain(is_here);
        }
        let closes = ready.iter().any(grows);
        let broken = match runtime {
            // Without a control file it cannot be opened: that is made from what is whole now.
            JournalRuntime::Broken(broken) if broken.control.is_none() => None,
            JournalRuntime::Broken(broken) => Some(Arc::clone(broken)),
            JournalRuntime::Opening(_) if closes => {
                let text = format!(
                    "journal {name} waits for its in-sync set, and its attached receiver is damaged"
                );
                return Err(CommandError::refused("RJN4010", text)
                    .help("start the system again, then give the command again"));
            }
            _ if closes => Some(self.set_aside(name, runtime).await),
            _ => None,
        };
        let put = tokio::task::spawn_blocking(move || {
            let mut late = ready.iter().filter(|ready| grows(ready));
            late.try_for_each(Ready::complete)?;
            let mut kept = Vec::new();
            for receiver in &ready {
                kept.extend(receiver.patch.put_in_place()?);
            }
            Ok::<Vec<PathBuf>, ReceiverError>(kept)
        });
        let put = put.await;
        if let Some(broken) = broken.filter(|_| !self.is_stopping()) {
            self.reopen(name, &broken).await;
        }
        let kept = put.map_err(internal)??;
        Ok(kept.iter().map(|path| path.display().to_string()).collect())
    }

    /// Closes a journal in use for its repair.
    async fn set_aside(
        self: &Arc<Self>,
        name: QualifiedName,
        runtime: &JournalRuntime,
    ) -> Arc<Broken> {
        let source = runtime.source();
        let dir = source.as_ref().map(|source| dir_of(source.reader()));
        let broken = Arc::new(Broken {
            control: source.map(|source| Box::new(source.control())),
            reason: "it is being repaired (RPRJRN)".to_owned(),
            dir: dir.unwrap_or_default(),
        });
        self.insert(name, JournalRuntime::Broken(Arc::clone(&broken)));
        self.stop_journal(runtime).await;
        broken
    }

    pub(super) fn broken_reason(&self, name: QualifiedName) -> Option<String> {
        match self.runtime_of(name) {
            Some(JournalRuntime::Broken(broken)) => Some(broken.reason.clone()),
            _ => None,
        }
    }

    pub(super) fn tell_repaired(&self, name: QualifiedName, repaired: &Repaired) {
        let damage: Vec<String> = repaired
            .damage
            .iter()
            .map(crate::daemon::command::repair::DamagedStretch::describe)
            .collect();
        let mut from: Vec<String> = repaired
            .supply
            .iter()
            .filter(|supply| supply.refusal.is_none())
            .map(|supply| supply.rdb.to_string())
            .collect();
        from.dedup();
        let kept = if repaired.kept.is_empty() {
            "nothing of the damaged files was left".to_owned()
        } else {
            format!("the damaged files are kept as {}", repaired.kept.join(", "))
        };
        let text = format!(
            "repaired with {} bytes from {}: {}; {kept}. Look at the disk",
            repaired.mended_bytes,
            from.join(", "),
            damage.join("; ")
        );
        self.post("RJN2008", Severity::Alarm, name, text);
    }
}

/// About how many bytes a receiver lacks.
fn bytes_lacking(damaged: &Damaged) -> u64 {
    let header = match damaged.file {
        FileDamage::None => 0,
        FileDamage::Header(_) | FileDamage::Missing => crate::entry::RECEIVER_HEADER_BYTES as u64,
    };
    let gaps = damaged.gaps.iter();
    let gaps = gaps.map(|gap| {
        gap.until()
            .map_or(0, |until| until.saturating_sub(gap.from.offset))
    });
    header + gaps.sum::<u64>()
}

/// Exactly what is missing, and who was asked.
fn not_supplied(damaged: &Damaged, repaired: &Repaired) -> CommandError {
    let missing: Vec<String> = stretches(damaged, Path::new(""))
        .iter()
        .map(crate::daemon::command::repair::DamagedStretch::describe)
        .collect();
    let name = damaged.expected.record.name;
    let asked: Vec<String> = repaired
        .supply
        .iter()
        .filter(|supply| supply.receiver == name)
        .filter_map(|supply| Some(format!("{}: {}", supply.rdb, supply.refusal.as_ref()?)))
        .collect();
    let asked = if asked.is_empty() {
        "no partner has the journal".to_owned()
    } else {
        asked.join("; ")
    };
    let text = format!(
        "nobody can supply {} ({asked}); nothing was changed",
        missing.join("; ")
    );
    CommandError::new(ErrorKind::Damaged, "RJN4025", text)
        .help("RDB names a partner; the entry that is asked needs an address (CHGRDBDIRE), and its system the journal")
}

fn stopped(name: QualifiedName) -> CommandError {
    let text = format!("journal {name} stopped after a write or flush went wrong");
    CommandError::refused("RJN4010", text)
        .help("start the system again: what the medium holds is not known before")
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it stands where errors are mapped"
)]
pub(super) fn internal(error: tokio::task::JoinError) -> CommandError {
    CommandError::new(ErrorKind::Internal, "RJN1003", error.to_string())
}
