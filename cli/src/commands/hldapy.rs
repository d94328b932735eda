//! Command HLDAPY.

use std::process::ExitCode;

use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;
use crate::rows::connect;
use crate::text;

/// Hold an apply job: it applies nothing until it is released; shipping goes on
///
/// A hold ends with the job: started again, it applies. On the store of a local journal changes are refused meanwhile.
///
/// Example: rjournal hldapy --store REPLICA
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store
    #[arg(long)]
    store: Name,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let mut database = connect(context, args.store).await?;
    database.hold(true).await?;
    let status = database.status().await?;
    context.output.result(&status, |status| {
        let applied = status.position.map_or(0, |position| position.applied.get());
        format!(
            "Apply job of store {} is held at entry {}; RLSAPY releases it.",
            args.store,
            text::count(applied)
        )
    });
    Ok(ExitCode::SUCCESS)
}
