//! Command RMVRMTJRN.

use std::process::ExitCode;

use rjournal::daemon::command::remote_journal::RemoveRemoteJournal;
use rjournal::entry::{QualifiedName, RdbName};

use super::Context;
use crate::error::CliError;

/// Remove an inactive remote journal from its source; nothing is done on the target
///
/// What the target did not get is kept for it no longer. The remote journal there stays, and may be added again.
///
/// Example: rjournal rmvrmtjrn --rdb BKP --srcjrn PRDLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The partner
    #[arg(long)]
    rdb: RdbName,

    /// The journal here
    #[arg(long, value_name = "LIB/NAME")]
    srcjrn: QualifiedName,

    /// The remote journal there; needed when the partner has several of this journal
    #[arg(long, value_name = "LIB/NAME")]
    tgtjrn: Option<QualifiedName>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let request = RemoveRemoteJournal {
        rdb: args.rdb,
        source: args.srcjrn,
        target: args.tgtjrn,
    };
    let done = context.client().await?.run(request).await?;
    context.output.result(&done, |_| {
        format!(
            "Remote journal of {} at {} removed; the copy there stays.",
            args.srcjrn, args.rdb
        )
    });
    Ok(ExitCode::SUCCESS)
}
