//! Room `daemon`, a system: which journals it has: found by name, made, closed and dropped. Must not know who asks for it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::runtime::{Broken, JournalRuntime};
use super::shared::{Shared, lock};
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::data_dir::JOURNALS_DIR;
use crate::daemon::messages::Severity;
use crate::daemon::task::copy::CopyRuntime;
use crate::entry::control_entry::OpenReason;
use crate::entry::{JournalId, QualifiedName};
use crate::error::{JournalError, SystemError};
use crate::journal::{Attributes, Control, Copy, NewJournal, Recovered, SourceRecord};
use crate::remote::{Refusal, RefusalCode};

impl Shared {
    pub(in crate::daemon) fn insert(&self, name: QualifiedName, runtime: JournalRuntime) {
        self.journals
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, runtime);
        self.changed.notify(usize::MAX);
    }

    /// Takes a journal off the list, and nothing else.
    pub(super) fn forget(&self, name: QualifiedName) {
        self.journals
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&name);
    }

    pub(crate) fn runtime_of(&self, name: QualifiedName) -> Option<JournalRuntime> {
        self.journals
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            .cloned()
    }

    pub(crate) fn runtimes(&self) -> Vec<JournalRuntime> {
        self.journals
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn runtimes_by_name(&self) -> Vec<(QualifiedName, JournalRuntime)> {
        let journals = self.journals.read().unwrap_or_else(PoisonError::into_inner);
        journals
            .iter()
            .map(|(name, runtime)| (*name, runtime.clone()))
            .collect()
    }

    pub(crate) fn journal_names(&self) -> Vec<QualifiedName> {
        self.journals
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    /// Makes a local journal and opens it.
    pub(crate) async fn make_local(
        &self,
        name: QualifiedName,
        receiver: QualifiedName,
        attributes: Attributes,
    ) -> Result<JournalId, CommandError> {
        let Some(shared) = self.arc() else {
            return Err(CommandError::new(
                ErrorKind::Internal,
                "RJN1003",
                "the system is stopping",
            ));
        };
        let made = tokio::task::spawn_blocking(move || {
            let dir = shared.new_dir();
            let recovered = Recovered::create(
                Arc::clone(&shared.disk),
                &dir,
                shared.owner(),
                NewJournal {
                    name,
                    first_receiver: receiver,
                    attributes,
                },
                &*shared.entropy,
                shared.clock.wall(),
            )?;
            let id = recovered.control().journal;
            shared.open_local(recovered, OpenReason::Created, (0, 0), &[])?;
            Ok::<_, JournalError>(id)
        });
        Ok(made.await.map_err(|error| {
            CommandError::new(ErrorKind::Internal, "RJN1003", error.to_string())
        })??)
    }

    /// Makes an empty copy.
    pub(crate) async fn make_copy(
        &self,
        journal: JournalId,
        name: QualifiedName,
        source: SourceRecord,
        attributes: Attributes,
    ) -> Result<(), CommandError> {
        let Some(shared) = self.arc() else {
            return Err(CommandError::new(
                ErrorKind::Internal,
                "RJN1003",
                "the system is stopping",
            ));
        };
        let made = tokio::task::spawn_blocking(move || {
            let dir = shared.new_dir();
            let copy = Copy::create(
                Arc::clone(&shared.disk),
                &dir,
                journal,
                name,
                source,
                attributes,
                shared.clock.wall(),
            )?;
            let runtime = CopyRuntime::start(&shared, copy);
            shared.insert(name, JournalRuntime::Copy(runtime));
            Ok::<_, JournalError>(())
        });
        Ok(made.await.map_err(|error| {
            CommandError::new(ErrorKind::Internal, "RJN1003", error.to_string())
        })??)
    }

    /// A fresh name for a journal's directory: files are named by the system that writes them, never by a peer.
    pub(in crate::daemon) fn new_dir(&self) -> PathBuf {
        let id = JournalId::from_bytes(self.entropy.id()).to_string();
        Path::new(JOURNALS_DIR).join(id.get(..16).unwrap_or(&id))
    }

    /// Another system knows a later history than this source: it gives no further answer (failures.md COU-5, COU-7, COU-8).
    pub(crate) fn close_journal(&self, name: QualifiedName, refusal: &Refusal) {
        let Some(JournalRuntime::Local(local)) = self.runtime_of(name) else {
            return;
        };
        let group = self.groups.of_journal(local.journal.id());
        if let Some(group) = group.filter(|_| refusal.code == RefusalCode::Fenced) {
            // It gives no further answer; whose term it is now, other members say, and prove.
            let text = format!("closed for deposits: {}", refusal.text);
            local.journal.close();
            *lock(&local.failure) = Some(text);
            return group.wake();
        }
        let stopped = closed_by(refusal);
        let text = format!(
            "closed for deposits: {stopped}. CHGJRN OPEN is taken when the daemon here was started again"
        );
        local.journal.close();
        if let Err(error) = local
            .journal
            .update(|control| control.stopped = Some(stopped))
        {
            tracing::error!(journal = %name, %error, "cannot be kept");
        }
        *lock(&local.failure) = Some(text.clone());
        self.post("RJN2006", Severity::Critical, name, text);
    }

    /// A journal cannot be used: said once, here.
    pub(super) fn broken(
        &self,
        name: QualifiedName,
        control: Option<Box<Control>>,
        reason: String,
        dir: PathBuf,
    ) -> JournalRuntime {
        let text = format!("the journal cannot be recovered: {reason}");
        self.post("RJN9003", Severity::Critical, name, text);
        JournalRuntime::Broken(Arc::new(Broken {
            control,
            reason,
            dir,
        }))
    }

    /// A journal that was opening cannot be used.
    pub(crate) fn journal_broken(
        &self,
        name: QualifiedName,
        control: Control,
        reason: String,
        dir: PathBuf,
    ) {
        let broken = self.broken(name, Some(Box::new(control)), reason, dir);
        self.insert(name, broken);
    }

    /// Stops a journal and removes everything of it: first from its name, then its files (failures.md DEL-2).
    pub(crate) async fn drop_journal(&self, name: QualifiedName) -> Result<(), CommandError> {
        let Some(runtime) = self.runtime_of(name) else {
            return Ok(());
        };
        let dir = match &runtime {
            JournalRuntime::Local(local) => {
                local.journal.reader().dir().parent().map(Path::to_path_buf)
            }
            JournalRuntime::Copy(copy) => copy.copy.reader().dir().parent().map(Path::to_path_buf),
            JournalRuntime::Opening(opening) => {
                opening.reader.dir().parent().map(Path::to_path_buf)
            }
            JournalRuntime::Broken(_) => None,
        };
        let Some(dir) = dir else {
            let text = format!("journal {name} is damaged; its files are not touched");
            return Err(CommandError::new(ErrorKind::Damaged, "RJN1002", text)
                .help("remove its directory by hand while the system is stopped"));
        };
        self.stop_journal(&runtime).await;
        self.forget(name);
        self.forget_claim(name);
        let gone = dir.with_extension("deleted");
        let disk = Arc::clone(&self.disk);
        let removed = tokio::task::spawn_blocking(move || {
            disk.durable_rename(&dir, &gone)?;
            disk.remove_dir_all(&gone)
        })
        .await;
        match removed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => {
                Err(SystemError::io("could not be removed", name.to_string(), source).into())
            }
            Err(error) => Err(CommandError::new(
                ErrorKind::Internal,
                "RJN1003",
                error.to_string(),
            )),
        }
    }

    pub(in crate::daemon) async fn stop_journal(&self, runtime: &JournalRuntime) {
        if let Some(links) = runtime.link_set() {
            links.stop().await;
        }
        match runtime {
            JournalRuntime::Local(local) => {
                let local = Arc::clone(local);
                drop(tokio::task::spawn_blocking(move || local.stop()).await);
            }
            JournalRuntime::Copy(copy) => copy.stop().await,
            JournalRuntime::Opening(opening) => {
                opening.stop().await;
                // It may have opened while it was told: its writer must not outlive the lock on the directory.
                if let Some(opened @ JournalRuntime::Local(_)) = self.runtime_of(opening.name) {
                    Box::pin(self.stop_journal(&opened)).await;
                }
            }
            JournalRuntime::Broken(_) => {}
        }
    }
}

/// Why a journal takes no deposits any more, and the way out: read now, and at every later start until an operator decides.
fn closed_by(refusal: &Refusal) -> String {
    let way_out = match refusal.code {
        RefusalCode::DuplicateIdentity => ". If this one is no clone: CHGJRN OPEN(*ADOPT)",
        RefusalCode::Fenced => {
            ". To have it follow the other system: DLTJRN here, then ADDRMTJRN there"
        }
        // Its text names the command.
        _ => "",
    };
    format!("{}: {}{way_out}", refusal.code, refusal.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Sequence;

    #[test]
    fn why_a_journal_is_closed_is_said_in_the_words_of_the_protocol_with_the_way_out() {
        let refusal = |code, text: &str| Refusal {
            code,
            source: Sequence::NONE,
            target: Sequence::NONE,
            fork: None,
            text: text.to_owned(),
        };
        let stale = refusal(
            RefusalCode::StaleSource,
            "an older copy: CHGJRN OPEN(*ADOPT)",
        );
        assert_eq!(
            closed_by(&stale),
            "STALE_SOURCE: an older copy: CHGJRN OPEN(*ADOPT)"
        );
        let clone = refusal(RefusalCode::DuplicateIdentity, "stop the clone");
        assert_eq!(
            closed_by(&clone),
            "DUPLICATE_IDENTITY: stop the clone. If this one is no clone: CHGJRN OPEN(*ADOPT)"
        );
    }
}
