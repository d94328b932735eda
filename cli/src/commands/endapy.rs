//! Command ENDAPY.

use std::process::ExitCode;

use rjournal::daemon::command::apply::EndApply;
use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;
use crate::text;

/// End the apply job of a replica store; the store stays, and keeps the receivers it needs
///
/// Example: rjournal endapy --store REPLICA
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the store
    #[arg(long)]
    store: Name,

    /// Forget the store altogether: receivers are kept for it no longer. Its files stay
    #[arg(long)]
    remove: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let job = context
        .client()
        .await?
        .run(EndApply {
            store: args.store,
            remove: args.remove,
        })
        .await?;
    context.output.result(&job, |job| {
        let forgotten = if args.remove {
            "; the store is forgotten, its files stay"
        } else {
            ""
        };
        format!(
            "Apply job of store {} ended, applied up to entry {}{forgotten}.",
            job.store,
            text::count(job.applied.get())
        )
    });
    Ok(ExitCode::SUCCESS)
}
