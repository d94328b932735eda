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
/// who needed it must be loaded anew afterwards.
///
/// Example: rjournal dltjrnrcv --jrnrcv PRDLIB/RCV0001
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The receiver
    #[arg(long, value_name = "LIB/NAME")]
    jrnrcv: QualifiedName,

    /// Delete it although somebody needs it
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let request = DeleteReceiver {
        receiver: args.jrnrcv,
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
        text
    });
    Ok(ExitCode::SUCCESS)
}
