//! Room `daemon`: CRTJRN: a local journal is made, with its first receiver.

use serde::{Deserialize, Serialize};

use super::attributes::AttributePatch;
use crate::daemon::command::CommandError;
use crate::daemon::system::Shared;
use crate::entry::{JournalId, QualifiedName};
use crate::journal::{Attributes, next_receiver_name};

/// CRTJRN: a local journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateJournal {
    /// Its name.
    pub journal: QualifiedName,
    /// Its first receiver, made before with CRTJRNRCV; one is made by itself when none is named.
    pub receiver: Option<QualifiedName>,
    /// Attributes.
    #[serde(default)]
    pub attributes: AttributePatch,
}

/// What CRTJRN made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalCreated {
    /// Identity.
    pub journal_id: JournalId,
    /// The attached receiver.
    pub receiver: QualifiedName,
}

impl Shared {
    pub(in crate::daemon::command) async fn create_journal(
        &self,
        request: CreateJournal,
    ) -> Result<JournalCreated, CommandError> {
        self.require_library(request.journal.library)?;
        if self.runtime_of(request.journal).is_some() {
            return Err(CommandError::exists("journal", request.journal));
        }
        let created = self.make_journal(&request).await;
        if created.is_err() {
            self.forget_claim(request.journal);
        }
        created
    }

    async fn make_journal(&self, request: &CreateJournal) -> Result<JournalCreated, CommandError> {
        let mut attributes = Attributes::default();
        let receiver = match request.receiver {
            Some(receiver) => {
                attributes.threshold = self.threshold_of_planned(receiver)?;
                receiver
            }
            None => self.first_receiver_name(request.journal)?,
        };
        request.attributes.apply(&mut attributes)?;
        let journal_id = self
            .make_local(request.journal, receiver, attributes)
            .await?;
        self.update_catalog(|catalog| {
            catalog.receivers.remove(&receiver);
            Ok(())
        })?;
        Ok(JournalCreated {
            journal_id,
            receiver,
        })
    }

    /// A receiver that CRTJRNRCV made and no journal has.
    fn threshold_of_planned(&self, receiver: QualifiedName) -> Result<u64, CommandError> {
        if let Some((other, ..)) = self.journals_of_receiver(receiver).first() {
            let text = format!("receiver {receiver} belongs to journal {other}");
            return Err(CommandError::refused("RJN4023", text)
                .help("name another one, or none: one is made then"));
        }
        let planned = self.catalog(|catalog| catalog.receivers.get(&receiver).cloned());
        let help = format!("make it with: rjournal crtjrnrcv --jrnrcv {receiver}");
        let planned =
            planned.ok_or_else(|| CommandError::not_found("receiver", receiver).help(help))?;
        Ok(planned.threshold)
    }

    fn first_receiver_name(&self, journal: QualifiedName) -> Result<QualifiedName, CommandError> {
        let name = next_receiver_name(journal, |name| !self.claim_receiver(journal, name, false));
        name.ok_or_else(|| {
            let text = format!("all names of receivers after {journal} are in use");
            CommandError::invalid(text).help("make one with CRTJRNRCV, and name it")
        })
    }
}
