//! Command ENDAPY.

use std::process::ExitCode;

use rjournal::daemon::command::apply::EndApply;
use rjournal::entry::Name;
use rjournal_apply::job::{save_path, store_path};

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

    /// Forget the store altogether: receivers are kept for it no longer. Its files stay, and STRAPY with its name goes on
    /// with them
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
            format!(
                "; the store is forgotten.\nIts files stay in {}: STRAPY with this name and its journal goes on with \
                 them.\nTo make it anew, move them and its save {} away first",
                store_path(&context.data, job.store).display(),
                save_path(&context.data, job.store).display()
            )
        } else {
            String::new()
        };
        format!(
            "Apply job of store {} ended, applied up to entry {}{forgotten}.",
            job.store,
            text::count(job.applied.get())
        )
    });
    Ok(ExitCode::SUCCESS)
}
