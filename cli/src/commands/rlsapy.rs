//! Command RLSAPY.

use std::process::ExitCode;

use rjournal::entry::Name;
use rjournal_apply::serve::DatabaseClient;

use super::Context;
use crate::error::CliError;
use crate::stopped::Wanted;

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
    context.wanted.get_or_init(|| Wanted::Store(args.store));
    let mut database = DatabaseClient::connect(&context.data, args.store).await?;
    database.hold(false).await?;
    let status = database.status().await?;
    context.output.result(&status, |_| {
        format!("Apply job of store {} applies again.", args.store)
    });
    Ok(ExitCode::SUCCESS)
}
