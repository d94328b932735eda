//! Package `cli`: commands that ask a store's job: a journal that stopped takes its job with it, and then the job's silence
//! is not what an operator must know. Must not know which command it was.

use rjournal::daemon::command::apply::ListJobs;
use rjournal::daemon::command::file::ListFiles;
use rjournal::daemon::command::journal::{DescribeJournals, JournalState};
use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::{FileName, Name, QualifiedName};

use crate::commands::Context;
use crate::error::CliError;

/// The store a command asks.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// This one.
    Store(Name),
    /// The one that has this file.
    File(FileName),
}

/// What is said where the way to a store, or from it to its journal, ended: no such store, a journal that is not open, a
/// store, connection or job that is gone.
const WAY_ENDED: [&str; 5] = ["CPF9801", "RJN4010", "RJN6006", "RJN6007", "RJN6008"];

/// The error as it was, or that of the journal behind it.
pub(crate) async fn explain(error: CliError, context: &Context<'_>) -> CliError {
    match context.wanted.get() {
        Some(wanted) if WAY_ENDED.contains(&&*error.0.id) => {
            stopped(context, wanted).await.unwrap_or(error)
        }
        _ => error,
    }
}

/// That the journal of the store stopped after a write or flush went wrong, if it did.
async fn stopped(context: &Context<'_>, wanted: &Wanted) -> Option<CliError> {
    let client = context.client().await.ok()?;
    let jobs = client.run(ListJobs {}).await.ok()?.jobs;
    let of_store = |store: &Name| {
        let job = jobs.iter().find(|job| job.store == *store)?;
        Some(job.at)
    };
    let journal: QualifiedName = match wanted {
        Wanted::Store(store) => of_store(store)?,
        Wanted::File(file) => {
            let files = client.run(ListFiles { file: None }).await.ok()?.files;
            let found = files.into_iter().find(|known| known.file == *file);
            match (found.and_then(|known| known.journal), jobs.as_slice()) {
                (Some(journal), _) => journal,
                (None, [job]) => job.at,
                (None, _) => return None,
            }
        }
    };
    let request = DescribeJournals {
        journal: Some(journal),
    };
    let described = client.run(request).await.ok()?.journals.pop()?;
    if described.state != JournalState::Failed {
        return None;
    }
    let id = if described.kind == "*LOCAL" {
        "RJN9001"
    } else {
        "RJN9002"
    };
    let why = described.note.unwrap_or_default();
    let text = format!("journal {journal} stopped: {why}");
    let help = "start the system again: the journal is then verified from the medium";
    Some(CliError(
        CommandError::new(ErrorKind::Poisoned, id, text).help(help),
    ))
}
