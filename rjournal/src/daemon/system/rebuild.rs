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
use crate::entry::{QualifiedName, RdbName, Sequence, SystemId};
use crate::error::{JournalError, RebuildError};
use crate::journal::{Control, ControlFile, Order, Rebuilt, decide, sealed_by, traced};
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
        let known = self.proven(request.journal);
        let (rebuilt, mut repaired) = self.read_all(&broken, order, known).await?;
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
        repaired.kept = kept.iter().map(|path| path.display().to_string()).collect();
        repaired.repaired = true;
        self.forget(listed);
        self.tell_rebuilt(&repaired);
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
    ) -> Result<(Rebuilt, Repaired), CommandError> {
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
        reading.await.map_err(internal)?.map_err(not_rebuilt)
    }

    /// A journal has one directory here, a name one journal.
    fn require_unique(&self, control: &Control, listed: QualifiedName) -> Result<(), CommandError> {
        self.require_library(control.name.library)?;
        for (name, runtime) in self.runtimes_by_name() {
            if name == listed {
                continue;
            }
            if name == control.name {
                return Err(CommandError::exists("journal", name));
            }
            if runtime.id() == Some(control.journal) {
                let text = format!("journal {name} of this system is the same journal");
                return Err(CommandError::refused("RJN4027", text).help(
                    "one of the two directories is a copy of the other: nothing was changed",
                ));
            }
        }
        Ok(())
    }

    fn tell_rebuilt(&self, repaired: &Repaired) {
        let Some(rebuilt) = &repaired.rebuilt else {
            return;
        };
        let kept = if repaired.kept.is_empty() {
            "nothing was left of it".to_owned()
        } else {
            format!(
                "what was left of it is kept as {}",
                repaired.kept.join(", ")
            )
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

fn not_rebuilt(error: JournalError) -> CommandError {
    let text = error.to_string();
    let help = match &error {
        JournalError::Rebuild(why) => match why {
            RebuildError::NoName => "give its name here in JRN, as the source's WRKJRNA shows it",
            RebuildError::NoFeeder => "RDB names the partner that feeds it",
            _ => "nothing was changed",
        },
        JournalError::Receiver(_) | JournalError::Entry { .. } => {
            return CommandError::from(error).help(
                "a control file is made from whole receivers only; nothing was changed. Restore the receiver, or a control \
                 file; a remote journal can be loaded anew",
            );
        }
        _ => return CommandError::from(error),
    };
    CommandError::refused("RJN4027", text).help(help)
}
