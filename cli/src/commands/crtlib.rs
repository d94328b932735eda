//! Command CRTLIB.

use std::process::ExitCode;

use rjournal::daemon::command::library::CreateLibrary;
use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;

/// Create a library: a name that groups journals, receivers and files
///
/// Example: rjournal crtlib --lib PRDLIB --text "Production"
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name, 1 to 10 characters
    #[arg(long)]
    lib: Name,

    /// Free text
    #[arg(long, default_value = "")]
    text: String,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let library = args.lib;
    let done = context
        .client()
        .await?
        .run(CreateLibrary {
            library,
            text: args.text,
        })
        .await?;
    context
        .output
        .result(&done, |_| format!("Library {library} created."));
    Ok(ExitCode::SUCCESS)
}
