//! Room `daemon`: receivers: made by CRTJRNRCV for a journal to begin with or to change to, deleted by DLTJRNRCV by the
//! rules of retention.

use serde::{Deserialize, Serialize};

use super::{CommandError, Done};
use crate::daemon::catalog::PlannedReceiver;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::copy::CopyEvent;
use crate::entry::{QualifiedName, ReceiverId};
use crate::journal::{THRESHOLD_DEFAULT, THRESHOLD_MAX, THRESHOLD_MIN, retire};
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
        if self.journal_of_receiver(request.receiver).is_some() {
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

    /// The journal that has a receiver of this name.
    fn journal_of_receiver(
        &self,
        receiver: QualifiedName,
    ) -> Option<(QualifiedName, JournalRuntime, Vec<ReceiverRecord>)> {
        self.journal_names().into_iter().find_map(|name| {
            let runtime = self.runtime_of(name)?;
            let records = runtime.records();
            records
                .iter()
                .any(|record| record.name == receiver)
                .then_some((name, runtime, records))
        })
    }

    pub(super) async fn delete_receiver(
        &self,
        request: DeleteReceiver,
    ) -> Result<ReceiversDeleted, CommandError> {
        let name = request.receiver;
        let Some((journal, runtime, records)) = self.journal_of_receiver(name) else {
            let planned =
                self.update_catalog(|catalog| Ok(catalog.receivers.remove(&name).is_some()))?;
            return if planned {
                Ok(ReceiversDeleted {
                    deleted: vec![name],
                    given_up: Vec::new(),
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
        let holds = self.holds_of(journal);
        let last = record
            .last
            .map_or(record.before.sequence, |last| last.sequence);
        let needing: Vec<String> = holds
            .iter()
            .filter(|hold| hold.after < last)
            .map(|hold| hold.who.clone())
            .collect();
        if !needing.is_empty() && !request.force {
            let text = format!("receiver {name} is still needed by {}", needing.join(", "));
            return Err(CommandError::refused("RJN4002", text)
                .help("--force deletes it; they must be loaded anew afterwards"));
        }
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
        })
    }

    /// Deletes the oldest receivers of a journal, up to and with one.
    pub(in crate::daemon) async fn forget_receivers(
        &self,
        runtime: &JournalRuntime,
        receiver: ReceiverId,
    ) -> Result<(), CommandError> {
        match runtime {
            JournalRuntime::Local(local) => local.forget_upto(receiver).await,
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
                return Err(CommandError::refused("RJN4001", "the journal is not open"));
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
        let Some(attributes) = runtime.attributes() else {
            return;
        };
        if !attributes.delete_receivers && attributes.retention_bytes_max == 0 {
            return;
        }
        let outcome = retire(
            &runtime.records(),
            &self.holds_of(journal),
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
