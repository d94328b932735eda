//! Room `daemon`: DLTJRN: a journal goes, once nothing needs it any more.

use serde::{Deserialize, Serialize};

use crate::daemon::command::{CommandError, Done};
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::QualifiedName;

/// DLTJRN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteJournal {
    /// The journal, local or remote. Its receivers and orphan archives go with it.
    pub journal: QualifiedName,
}

impl Shared {
    pub(in crate::daemon::command) async fn delete_journal(
        &self,
        request: &DeleteJournal,
    ) -> Result<Done, CommandError> {
        let name = request.journal;
        let runtime = self.require_journal(name)?;
        self.require_no_group(
            name,
            "it is not deleted",
            "DLTCRG ends the group first; the journals stay",
        )?;
        let file = self.catalog(|catalog| {
            catalog
                .files
                .iter()
                .find(|(_, file)| file.journal == Some(name))
                .map(|(file, _)| file.clone())
        });
        if let Some(file) = file {
            let text = format!("file {file} is journaled to {name}");
            return Err(CommandError::refused("RJN4007", text)
                .help(format!("end that first: rjournal endjrnpf --file '{file}'")));
        }
        let history = self.journals_of_history(name);
        let job = self.catalog(|catalog| {
            catalog
                .jobs
                .iter()
                .find(|(_, job)| history.contains(&job.journal))
                .map(|(store, job)| (*store, job.active))
        });
        if let Some((store, active)) = job {
            let text = if active {
                format!("apply job {store} reads {name}")
            } else {
                format!("store {store} is made from {name}")
            };
            return Err(CommandError::refused("RJN4008", text).help(format!(
                "end it and forget the store first: rjournal endapy --store {store} --remove"
            )));
        }
        let links = runtime.links();
        if links
            .iter()
            .any(|link| link.status().shown.state.is_running())
        {
            let text = format!("a remote journal of {name} is active or ending");
            return Err(CommandError::refused("RJN4009", text)
                .help("inactivate it first: CHGRMTJRN JRNSTATE(*INACTIVE)"));
        }
        if let JournalRuntime::Copy(copy) = &runtime
            && copy.status().fed
        {
            let text = format!("{name} is being fed by its source");
            return Err(CommandError::refused("RJN4009", text)
                .help("inactivate it first, on the source: CHGRMTJRN JRNSTATE(*INACTIVE)"));
        }
        self.drop_journal(name).await?;
        self.end_loans(|loan| loan.journal == name)?;
        Ok(Done {})
    }
}
