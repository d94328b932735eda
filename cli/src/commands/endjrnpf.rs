//! Command ENDJRNPF.

use std::process::ExitCode;

use rjournal::daemon::command::file::EndJournaling;
use rjournal::entry::FileName;

use super::Context;
use crate::error::CliError;

/// End journaling a file
///
/// Example: rjournal endjrnpf --file PRDLIB/CUSTOMER
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    file: FileName,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let file = context
        .client()
        .await?
        .run(EndJournaling { file: args.file })
        .await?;
    context.output.result(&file, |file| {
        format!("File {} is not journaled any more.", file.file)
    });
    Ok(ExitCode::SUCCESS)
}
