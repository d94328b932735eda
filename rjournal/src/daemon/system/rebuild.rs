//! Room `daemon`, a system: a journal whose control file is lost in both slots gets another one, made from its receivers
//! and an operator's word, and is opened as after a start. What it is made from is decided in room `journal`; here it is
//! carried. Everything is read and decided before anything is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::repair::internal;
use super::runtime::{Broken, JournalRuntime};
use super::shared::Shared;
use crate::daemon::command::repair::{RebuiltControl, RepairJournal, RepairPhase, Repaired};
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::messages::Severity;
use crate::entry::{JournalId, QualifiedName, RdbName, Sequence, SystemId};
use crate::error::{JournalError, RebuildError, ReceiverError};
use crate::journal::{
    Control, ControlFile, Order, Rebuilt, Role, decide, remains, sealed_by, traced,
};
use crate::receiver::Survey;

/// A journal whose control file is lost, and the name it is listed under.
type Lost = (QualifiedName, Arc<Broken>);

impl Shared {
    /// The journal a request is about, if its control file is lost. It is listed under a name made from its directory's;
    /// its own name stands in the receivers of a local one, and nowhere for sure of a remote one.
    pub(super) async fn find_lost(
        self: &Arc<Self>,
        request: &RepairJournal,
    ) -> Result<Option<Lost>, CommandError> {
        let name = request.journal;
        match self.runtime_of(name) {
            Some(JournalRuntime::Broken(broken)) if broken.control.is_none() => {
                return Ok(Some((name, broken)));
            }
            Some(_) => return Ok(None),
            None => {}
        }
        let mut lost: Vec<Lost> = Vec::new();
        for (listed, runtime) in self.runtimes_by_name() {
            if let JournalRuntime::Broken(broken) = runtime
                && broken.control.is_none()
            {
                lost.push((listed, broken));
            }
        }
        let shared = Arc::clone(self);
        let told = tokio::task::spawn_blocking(move || {
            let tell = |(listed, broken): Lost| {
                let sealed = sealed_by(&shared.disk, &broken.dir);
                (sealed.ok(), (listed, broken))
            };
            lost.into_iter().map(tell).collect::<Vec<_>>()
        });
        let mut others = Vec::new();
        for (sealed, lost) in told.await.map_err(internal)? {
            match sealed {
                Some((journal, origin)) if origin == self.id && journal == name => {
                    return Ok(Some(lost));
                }
                Some((_, origin)) if origin == self.id => {}
                _ => others.push(lost),
            }
        }
        if request.role.is_none() || others.len() < 2 {
            return Ok(others.pop().filter(|_| request.role.is_some()));
        }
        let listed: Vec<String> = others.iter().map(|(name, _)| name.to_string()).collect();
        let text = format!(
            "which of {} journal {name} is cannot be told",
            listed.join(", ")
        );
        Err(CommandError::refused("RJN4027", text).help(
            "give the name that is listed, where its own history names it; else stop the system, move the directories of \
             the others out of it, and give the command for one after the other",
        ))
    }

    /// Makes the control file again and opens the journal.
    pub(super) async fn rebuild(
        self: &Arc<Self>,
        request: &RepairJournal,
        (listed, broken): Lost,
    ) -> Result<Repaired, CommandError> {
        let Some(role) = request.role else {
            let text = format!(
                "the control file of journal {listed} is lost: {}",
                broken.reason
            );
            return Err(CommandError::new(ErrorKind::Damaged, "RJN4026", text).help(
                "RPRJRN ROLE(*LOCAL) or ROLE(*REMOTE) makes it again from the receivers; what the journal is here, you say",
            ));
        };
        let order = Order {
            role,
            name: (request.journal != listed).then_some(request.journal),
            fed_by: self.feeder(request.partner)?,
            owner: self.owner(),
        };
        self.repairs
            .begin(request.journal, RepairPhase::Reading, None);
        let known = self.proven(request.journal, None);
        let (rebuilt, mut repaired) = match self.read_all(&broken, order, known).await? {
            Ok(read) => read,
            Err(JournalError::Receiver(error)) => {
                let lost = (listed, &broken);
                let mended = self.mend(request, role, lost, (known, error)).await?;
                if request.check {
                    return Ok(mended);
                }
                self.repairs
                    .begin(request.journal, RepairPhase::Reading, None);
                let read = self.read_all(&broken, order, known).await?;
                let (rebuilt, read) = read.map_err(|error| self.not_rebuilt(error))?;
                let repaired = Repaired {
                    damage: mended.damage,
                    supply: mended.supply,
                    mended_bytes: mended.mended_bytes,
                    kept: mended.kept,
                    ..read
                };
                (rebuilt, repaired)
            }
            Err(error) => return Err(self.not_rebuilt(error)),
        };
        let name = rebuilt.control.name;
        repaired.journal = name;
        self.require_unique(&rebuilt.control, listed)?;
        if request.check {
            return Ok(repaired);
        }
        self.repairs.begin(name, RepairPhase::Writing, None);
        let _admin = self.admin.lock().await;
        let current = self.runtime_of(listed);
        let same = JournalRuntime::Broken(Arc::clone(&broken));
        if self.is_stopping() || !current.is_some_and(|current| current.is_same(&same)) {
            let text = format!("journal {name} was closed meanwhile; nothing was changed");
            return Err(CommandError::refused("RJN4010", text).help("give the command again"));
        }
        self.require_unique(&rebuilt.control, listed)?;
        let (disk, dir) = (Arc::clone(&self.disk), broken.dir.clone());
        let control = rebuilt.control;
        let put =
            tokio::task::spawn_blocking(move || ControlFile::replace_lost(&disk, &dir, control));
        let kept = put.await.map_err(internal)??;
        let kept: Vec<String> = kept.iter().map(|path| path.display().to_string()).collect();
        repaired.repaired = true;
        self.forget(listed);
        self.tell_rebuilt(&repaired, &kept);
        repaired.kept.extend(kept);
        self.reopen(name, &broken).await;
        repaired.note = self.broken_reason(name);
        Ok(repaired)
    }

    fn feeder(
        &self,
        partner: Option<RdbName>,
    ) -> Result<Option<(SystemId, RdbName)>, CommandError> {
        let Some(rdb) = partner else {
            return Ok(None);
        };
        let system = self.catalog(|catalog| Some(catalog.partners.get(&rdb)?.system));
        let system = system.ok_or_else(|| CommandError::not_found("directory entry", rdb))?;
        Ok(Some((system, rdb)))
    }

    /// Reads all receivers and decides what the control file is.
    async fn read_all(
        self: &Arc<Self>,
        broken: &Broken,
        order: Order,
        known: Sequence,
    ) -> Result<Result<(Rebuilt, Repaired), JournalError>, CommandError> {
        let (shared, dir) = (Arc::clone(self), broken.dir.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let bundles = AtomicU64::new(0);
            let read = |bytes| {
                bundles.fetch_add(1, Ordering::Relaxed);
                shared.repairs.done.fetch_add(bytes, Ordering::Relaxed);
            };
            let mut found = traced(&shared.disk, &dir, (order.role, known), &read)?;
            let oldest = found.records.first();
            let before = oldest.map_or(Sequence::NONE, |record| record.before.sequence);
            let survey = Survey {
                receivers: found.records.len() as u64,
                bundles: bundles.into_inner(),
                entries: found.tip.entries_since(before),
                bytes: shared.repairs.done.load(Ordering::Relaxed),
                damaged: Vec::new(),
            };
            let rebuilt = decide(&mut found.history, found.records, found.orphans, &order)?;
            let mut repaired = Repaired::found(rebuilt.control.name, &survey, &dir);
            repaired.rebuilt = Some(RebuiltControl::from_rebuilt(&rebuilt, found.tip));
            Ok((rebuilt, repaired))
        });
        reading.await.map_err(internal)
    }

    /// Receivers are damaged, too: they get back from partners what their headers, the flush mark and what was known prove
    /// to have stood there. The journal stays closed meanwhile, and without a control file.
    async fn mend(
        self: &Arc<Self>,
        request: &RepairJournal,
        role: Role,
        (listed, broken): (QualifiedName, &Arc<Broken>),
        (known, error): (Sequence, ReceiverError),
    ) -> Result<Repaired, CommandError> {
        let name = request.journal;
        let (disk, dir, here) = (Arc::clone(&self.disk), broken.dir.clone(), self.id);
        let told = tokio::task::spawn_blocking(move || remains(&disk, &dir, (role, known), here));
        let told = told.await.map_err(internal)?;
        let remains = told.map_err(|error| self.not_rebuilt(error))?;
        self.require_only(remains.journal, listed)?;
        let partners = self.partners(remains.origin, request.partner);
        let there = (remains.journal, &*remains.receivers_dir);
        let survey = self.survey(name, there, remains.expected).await?;
        if survey.damaged.is_empty() {
            return Err(self.not_rebuilt(error.into()));
        }
        let mut mended = Repaired::found(name, &survey, there.1);
        if request.check {
            mended.note = Some(broken.reason.clone());
            self.check_supply(there.0, &partners, survey.damaged, &mut mended)
                .await?;
            return Ok(mended);
        }
        let fetched = self.fetch_all(there, &partners, survey.damaged, &mut mended);
        let ready = fetched.await.map_err(|error| match error.kind {
            ErrorKind::Damaged => error.help(self.by_hand()),
            _ => error,
        })?;
        self.repairs.begin(name, RepairPhase::Writing, None);
        let runtime = JournalRuntime::Broken(Arc::clone(broken));
        mended.kept = self.put_in_place(listed, &runtime, ready).await?;
        self.tell_repaired(name, &mended);
        Ok(mended)
    }

    /// Who may have the journal: whom the operator names, or the system that sealed it, then all others. Which are its
    /// remote journals was in the control file; what they send proves itself.
    fn partners(&self, origin: SystemId, named: Option<RdbName>) -> Vec<RdbName> {
        if let Some(rdb) = named {
            return vec![rdb];
        }
        self.catalog(|catalog| {
            let partners = catalog.partners.iter();
            let mut partners: Vec<(bool, RdbName)> = partners
                .map(|(rdb, partner)| (partner.system != origin, *rdb))
                .collect();
            partners.sort_unstable();
            partners.into_iter().map(|(_, rdb)| rdb).collect()
        })
    }

    /// A journal has one directory here, a name one journal.
    fn require_unique(&self, control: &Control, listed: QualifiedName) -> Result<(), CommandError> {
        self.require_library(control.name.library)?;
        if control.name != listed && self.runtime_of(control.name).is_some() {
            return Err(CommandError::exists("journal", control.name));
        }
        self.require_only(control.journal, listed)
    }

    fn require_only(&self, journal: JournalId, listed: QualifiedName) -> Result<(), CommandError> {
        for (name, runtime) in self.runtimes_by_name() {
            if name != listed && runtime.id() == Some(journal) {
                let text = format!("journal {name} of this system is the same journal");
                return Err(CommandError::refused("RJN4027", text).help(
                    "one of the two directories is a copy of the other: nothing was changed",
                ));
            }
        }
        Ok(())
    }

    fn not_rebuilt(&self, error: JournalError) -> CommandError {
        let help = match &error {
            JournalError::Rebuild(why) => match why {
                RebuildError::NoName => {
                    "give its name here in JRN, as the source's WRKJRNA shows it"
                }
                RebuildError::NoFeeder => "RDB names the partner that feeds it",
                RebuildError::Contradiction { .. } => "no control file was made",
                _ => "nothing was changed",
            },
            JournalError::Receiver(_) => return CommandError::from(error).help(self.by_hand()),
            JournalError::Entry { .. } => {
                return CommandError::from(error)
                    .help("no control file was made: restore the receiver, or a control file");
            }
            _ => return CommandError::from(error),
        };
        CommandError::refused("RJN4027", error.to_string()).help(help)
    }

    /// The way out where no partner's bytes can be proven from here: a whole file of the receiver carries its own proof.
    fn by_hand(&self) -> String {
        let partners = self.catalog(|catalog| {
            let names = catalog.partners.keys().map(ToString::to_string);
            names.collect::<Vec<_>>().join(", ")
        });
        let from = if partners.is_empty() {
            "a system that has the journal".to_owned()
        } else {
            format!("a system that has the journal (of {partners})")
        };
        format!(
            "a control file is made from whole receivers only, and none was made. Stop this system and {from}, move the \
             file of that receiver out of its directory, copy the same receiver's file from there into it (VERIFY there \
             says whether it is whole; it is the same bytes), start both, and give the command again. Or restore a control \
             file; a remote journal can be loaded anew"
        )
    }

    fn tell_rebuilt(&self, repaired: &Repaired, kept: &[String]) {
        let Some(rebuilt) = &repaired.rebuilt else {
            return;
        };
        let kept = if kept.is_empty() {
            "nothing was left of it".to_owned()
        } else {
            format!("what was left of it is kept as {}", kept.join(", "))
        };
        let text = format!(
            "its control file was lost and was made again from {} receivers up to entry {}; {kept}. Look again: {}",
            repaired.receivers,
            rebuilt.last,
            rebuilt.look_again.join("; ")
        );
        self.post("RJN2009", Severity::Alarm, repaired.journal, text);
    }
}
