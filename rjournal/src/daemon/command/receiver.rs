//! Room `daemon`: receivers: made by CRTJRNRCV for a journal to begin with or to change to, deleted by DLTJRNRCV by the
//! rules of retention.

use serde::{Deserialize, Serialize};

use super::{CommandError, Done};
use crate::daemon::catalog::PlannedReceiver;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::copy::CopyEvent;
use crate::entry::{QualifiedName, ReceiverId, THRESHOLD_MAX, THRESHOLD_MIN};
use crate::journal::{THRESHOLD_DEFAULT, retire};
use crate::receiver::ReceiverRecord;

/// CRTJRNRCV.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateReceiver {
    /// Its name.
    pub receiver: QualifiedName,
    /// Size in KB (1,024 bytes) at which it is changed; a default when not given.
    pub threshold_kb: Option<u64>,
    /// Free text.
    #[serde(default)]
    pub text: String,
}

/// DLTJRNRCV: the oldest receivers of a journal, up to and with this one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteReceiver {
    /// The receiver.
    pub receiver: QualifiedName,
    /// Its journal; needed where several have a receiver of this name.
    #[serde(default)]
    pub journal: Option<QualifiedName>,
    /// Delete it although somebody needs it: who does must be loaded anew afterwards.
    #[serde(default)]
    pub force: bool,
}

/// What DLTJRNRCV did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReceiversDeleted {
    /// Names of what was deleted, oldest first.
    pub deleted: Vec<QualifiedName>,
    /// Who needed them and must be loaded anew now.
    pub given_up: Vec<String>,
    /// Whether deposit keys in them are forgotten.
    #[serde(default)]
    pub keys_forgotten: bool,
}

/// Checks a threshold.
pub(super) fn threshold_bytes(threshold_kb: Option<u64>) -> Result<u64, CommandError> {
    let Some(kb) = threshold_kb else {
        return Ok(THRESHOLD_DEFAULT);
    };
    let bytes = kb.saturating_mul(1024);
    if (THRESHOLD_MIN..=THRESHOLD_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        let (min, max) = (THRESHOLD_MIN / 1024, THRESHOLD_MAX / 1024);
        Err(CommandError::invalid(format!(
            "THRESHOLD {kb}: {min} to {max} KB are allowed"
        )))
    }
}

impl Shared {
    pub(super) fn create_receiver(&self, request: CreateReceiver) -> Result<Done, CommandError> {
        let threshold = threshold_bytes(request.threshold_kb)?;
        self.require_library(request.receiver.library)?;
        if !self.journals_of_receiver(request.receiver).is_empty() {
            return Err(CommandError::exists("receiver", request.receiver));
        }
        self.update_catalog(|catalog| {
            if catalog.receivers.contains_key(&request.receiver) {
                return Err(CommandError::exists("receiver", request.receiver));
            }
            catalog.receivers.insert(
                request.receiver,
                PlannedReceiver {
                    threshold,
                    text: request.text,
                },
            );
            Ok(Done {})
        })
    }

    /// The journals that have a receiver of this name: one here, but copies bring their sources' names along.
    pub(super) fn journals_of_receiver(
        &self,
        receiver: QualifiedName,
    ) -> Vec<(QualifiedName, JournalRuntime, Vec<ReceiverRecord>)> {
        let with_records = self.runtimes_by_name().into_iter().map(|(name, runtime)| {
            let records = runtime.records();
            (name, runtime, records)
        });
        with_records
            .filter(|(_, _, records)| records.iter().any(|record| record.name == receiver))
            .collect()
    }

    pub(super) async fn delete_receiver(
        &self,
        request: DeleteReceiver,
    ) -> Result<ReceiversDeleted, CommandError> {
        let name = request.receiver;
        let mut found = self.journals_of_receiver(name);
        found.retain(|(journal, ..)| request.journal.is_none_or(|wanted| wanted == *journal));
        if found.len() > 1 {
            let journals: Vec<String> = found.iter().map(|(name, ..)| name.to_string()).collect();
            let text = format!(
                "several journals have a receiver {name}: {}",
                journals.join(", ")
            );
            return Err(CommandError::invalid(text).help("say which one is meant with JRN"));
        }
        let Some((journal, runtime, records)) = found.pop() else {
            if let Some(journal) = request.journal {
                let what = format!("{name} of journal {journal}");
                return Err(CommandError::not_found("receiver", what));
            }
            let planned =
                self.update_catalog(|catalog| Ok(catalog.receivers.remove(&name).is_some()))?;
            return if planned {
                Ok(ReceiversDeleted {
                    deleted: vec![name],
                    given_up: Vec::new(),
                    keys_forgotten: false,
                })
            } else {
                Err(CommandError::not_found("receiver", name))
            };
        };
        let upto = records
            .iter()
            .position(|record| record.name == name)
            .unwrap_or_default();
        let Some(record) = records.get(upto).filter(|record| record.is_detached()) else {
            let text = format!("receiver {name} is attached to journal {journal}");
            return Err(CommandError::refused("RJN4001", text)
                .help("attach the next one first: CHGJRN JRNRCV(*GEN)"));
        };
        let _retiring = self.retiring.lock().await;
        let holds = self.holds_of(journal);
        let last = record
            .last
            .map_or(record.before.sequence, |last| last.sequence);
        let (needing, keys): (Vec<_>, Vec<_>) = holds
            .iter()
            .filter(|hold| hold.after < last)
            .partition(|hold| hold.expendable);
        let needed = !needing.is_empty() || !keys.is_empty();
        if needed && !request.force {
            let who: Vec<&str> = needing.iter().chain(&keys).map(|hold| &*hold.who).collect();
            let text = format!("receiver {name} is still needed by {}", who.join(", "));
            let mut costs = Vec::new();
            if !needing.is_empty() {
                costs.push("remote journals and stores that need it must be loaded anew");
            }
            if !keys.is_empty() {
                costs.push("a deposit in it that is sent again is no longer recognised by its key");
            }
            return Err(CommandError::refused("RJN4002", text)
                .help(format!("--force deletes it; then {}", costs.join(", and "))));
        }
        if !runtime.can_forget() {
            // Nobody is given up for a receiver that stays.
            return Err(not_open_yet());
        }
        let needing: Vec<String> = needing.iter().map(|hold| hold.who.clone()).collect();
        self.give_up(journal, &needing)?;
        let deleted: Vec<QualifiedName> = records
            .iter()
            .take(upto + 1)
            .map(|record| record.name)
            .collect();
        self.forget_receivers(&runtime, record.receiver).await?;
        Ok(ReceiversDeleted {
            deleted,
            given_up: needing,
            keys_forgotten: !keys.is_empty(),
        })
    }

    /// Deletes the oldest receivers of a journal, up to and with one.
    pub(in crate::daemon) async fn forget_receivers(
        &self,
        runtime: &JournalRuntime,
        receiver: ReceiverId,
    ) -> Result<(), CommandError> {
        match runtime {
            JournalRuntime::Local(local) => {
                if !local.forget_upto(receiver).await {
                    return Err(not_open_yet());
                }
            }
            JournalRuntime::Copy(copy) => {
                let (done, answer) = tokio::sync::oneshot::channel();
                copy.tell(CopyEvent::Forget { receiver, done }).await;
                if let Ok(Err(text)) = answer.await {
                    return Err(CommandError::new(
                        super::ErrorKind::Internal,
                        "CPI70E1",
                        text,
                    ));
                }
            }
            JournalRuntime::Opening(_) | JournalRuntime::Broken(_) => {
                return Err(not_open_yet());
            }
        }
        Ok(())
    }

    /// Deletes what nobody needs, where the journal says so, and presses on consumers above the cap.
    pub(in crate::daemon) async fn retire_receivers(
        &self,
        journal: QualifiedName,
        runtime: &JournalRuntime,
    ) {
        // One that is not open cannot let receivers go: nobody is given up for nothing.
        let Some(attributes) = runtime.attributes().filter(|_| runtime.can_forget()) else {
            return;
        };
        if !attributes.delete_receivers && attributes.retention_bytes_max == 0 {
            return;
        }
        let _retiring = self.retiring.lock().await;
        let mut holds = self.holds_of(journal);
        holds.extend(self.cycle_holds_of(journal, runtime));
        let outcome = retire(
            &runtime.records(),
            &holds,
            attributes.delete_receivers,
            attributes.retention_bytes_max,
        );
        let Some(last) = outcome.deletable.last() else {
            return;
        };
        if !outcome.given_up.is_empty()
            && let Err(error) = self.give_up(journal, &outcome.given_up)
        {
            return tracing::warn!(%journal, %error, "receivers are kept");
        }
        if let Err(error) = self.forget_receivers(runtime, *last).await {
            tracing::warn!(%journal, %error, "receivers are kept");
        }
    }
}

fn not_open_yet() -> CommandError {
    CommandError::refused("RJN4001", "the journal is not open").help("WRKJRNA says why")
}
