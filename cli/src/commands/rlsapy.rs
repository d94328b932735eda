//! Command RLSAPY.

use std::process::ExitCode;

use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;
use crate::rows::connect;

/// Release an apply job that was held
///
/// Example: rjournal rlsapy --store REPLICA
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store
    #[arg(long)]
    store: Name,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let mut database = connect(context, args.store).await?;
    database.hold(false).await?;
    let status = database.status().await?;
    context.output.result(&status, |_| {
        format!("Apply job of store {} applies again.", args.store)
    });
    Ok(ExitCode::SUCCESS)
}
