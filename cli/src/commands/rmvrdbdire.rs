//! Command RMVRDBDIRE.

use std::process::ExitCode;

use rjournal::daemon::command::directory::RemovePartner;
use rjournal::entry::RdbName;

use super::Context;
use crate::error::CliError;

/// Remove a partner from the directory; it may not connect any more, and what it feeds here ends
///
/// Example: rjournal rmvrdbdire --rdb BKP
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The partner's name here
    #[arg(long)]
    rdb: RdbName,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let rdb = args.rdb;
    let done = context.client().await?.run(RemovePartner { rdb }).await?;
    context
        .output
        .result(&done, |_| format!("Directory entry {rdb} removed."));
    Ok(ExitCode::SUCCESS)
}
