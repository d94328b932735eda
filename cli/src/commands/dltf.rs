//! Command DLTF.

use std::process::ExitCode;

use rjournal::daemon::command::file::DeleteFile;
use rjournal::entry::FileName;

use super::Context;
use crate::error::CliError;

/// Delete the definition of a file that is not journaled
///
/// Example: rjournal dltf --file PRDLIB/CUSTOMER
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    file: FileName,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let file = args.file;
    let done = context
        .client()
        .await?
        .run(DeleteFile { file: file.clone() })
        .await?;
    context
        .output
        .result(&done, |_| format!("File {file} deleted."));
    Ok(ExitCode::SUCCESS)
}
