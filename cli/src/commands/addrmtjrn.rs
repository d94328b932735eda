//! Command ADDRMTJRN.

use std::process::ExitCode;

use rjournal::daemon::command::remote_journal::AddRemoteJournal;
use rjournal::entry::QualifiedName;
use rjournal::entry::RdbName;

use super::Context;
use crate::error::CliError;
use crate::text::special;

/// Add a remote journal: it is made on the partner, inactive, and tied to the journal here
///
/// Example: rjournal addrmtjrn --rdb BKP --srcjrn PRDLIB/JRN --tgtjrn BKPLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The partner
    #[arg(long)]
    rdb: RdbName,

    /// The journal here, local or remote
    #[arg(long, value_name = "LIB/NAME")]
    srcjrn: QualifiedName,

    /// The remote journal there
    #[arg(long, value_name = "LIB/NAME", default_value = "*SRCJRN")]
    tgtjrn: String,

    /// Free text
    #[arg(long, default_value = "")]
    text: String,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let (rdb, source) = (args.rdb, args.srcjrn);
    let target = target(&args.tgtjrn)?;
    let added = context
        .client()
        .await?
        .run(AddRemoteJournal {
            rdb,
            source,
            target,
            text: args.text,
        })
        .await?;
    context.output.result(&added, |added| {
        let done = if added.again { "was there and is tied again" } else { "was made" };
        format!(
            "Remote journal {} at {rdb} {done}, *INACTIVE.\nActivate it with: rjournal chgrmtjrn --rdb {rdb} --srcjrn {source} --jrnstate \
             '*ACTIVE' --delivery '*SYNC'",
            added.target
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// A target journal's name; nothing for *SRCJRN.
pub(super) fn target(given: &str) -> Result<Option<QualifiedName>, CliError> {
    if special(given) == "SRCJRN" {
        return Ok(None);
    }
    given.parse().map(Some).map_err(|error| {
        CliError::invalid(format!(
            "TGTJRN {given}: *SRCJRN or LIB/NAME is needed ({error})"
        ))
    })
}
