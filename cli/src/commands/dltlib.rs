//! Command DLTLIB.

use std::process::ExitCode;

use rjournal::daemon::command::library::DeleteLibrary;
use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;

/// Delete a library that is empty
///
/// Example: rjournal dltlib --lib PRDLIB
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name
    #[arg(long)]
    lib: Name,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let library = args.lib;
    let done = context
        .client()
        .await?
        .run(DeleteLibrary { library })
        .await?;
    context
        .output
        .result(&done, |_| format!("Library {library} deleted."));
    Ok(ExitCode::SUCCESS)
}
