//! Command DLTJRN.

use std::process::ExitCode;

use rjournal::daemon::command::journal::DeleteJournal;
use rjournal::entry::QualifiedName;

use super::Context;
use crate::error::CliError;

/// Delete a journal, local or remote, with its receivers and archives of orphans
///
/// Refused while files are journaled to it, an apply job reads it, or a remote journal of it is active.
///
/// Example: rjournal dltjrn --jrn PRDLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The journal
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let journal = args.jrn;
    let done = context
        .client()
        .await?
        .run(DeleteJournal { journal })
        .await?;
    context.output.result(&done, |_| {
        format!("Journal {journal} deleted, with its receivers.")
    });
    Ok(ExitCode::SUCCESS)
}
