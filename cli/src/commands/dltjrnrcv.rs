//! Command DLTJRNRCV.

use std::process::ExitCode;

use rjournal::daemon::command::receiver::DeleteReceiver;
use rjournal::entry::QualifiedName;

use super::Context;
use crate::error::CliError;
use crate::text;

/// Delete the oldest receivers of a journal, up to and with the one named
///
/// The attached receiver stays. One that a remote journal or a replica store still needs stays too, unless it is forced:
/// who needed it must be loaded anew afterwards. So does one with deposit keys that are still remembered: forced, a deposit
/// in it that is sent again is no longer recognised.
///
/// Example: rjournal dltjrnrcv --jrnrcv PRDLIB/RCV0001
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The receiver
    #[arg(long, value_name = "LIB/NAME")]
    jrnrcv: QualifiedName,

    /// Its journal, where several have a receiver of this name
    #[arg(long, value_name = "LIB/NAME")]
    jrn: Option<QualifiedName>,

    /// Delete it although somebody needs it
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let request = DeleteReceiver {
        receiver: args.jrnrcv,
        journal: args.jrn,
        force: args.force,
    };
    let deleted = context.client().await?.run(request).await?;
    context.output.result(&deleted, |done| {
        let names: Vec<String> = done.deleted.iter().map(ToString::to_string).collect();
        let many = text::counted(names.len() as u64, "receiver", "receivers");
        let mut text = format!("{many} deleted: {}", names.join(", "));
        if !done.given_up.is_empty() {
            text.push_str("\nMust be loaded anew now: ");
            text.push_str(&done.given_up.join(", "));
        }
        if done.keys_forgotten {
            text.push_str("\nDeposit keys in them are forgotten: whether a deposit under one landed cannot be told any more.");
        }
        text
    });
    Ok(ExitCode::SUCCESS)
}
