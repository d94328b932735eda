//! Command ADDRMTJRN.

use std::process::ExitCode;

use rjournal::daemon::command::remote_journal::{AddRemoteJournal, RemoteJournalAdded};
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
    context
        .output
        .result(&added, |added| page(added, rdb, source));
    Ok(ExitCode::SUCCESS)
}

fn page(added: &RemoteJournalAdded, rdb: RdbName, source: QualifiedName) -> String {
    let done = if added.again {
        "was there and is tied again"
    } else {
        "was made"
    };
    let delivery = if added.forwards { "*ASYNC" } else { "*SYNC" };
    format!(
        "Remote journal {} at {rdb} {done}, *INACTIVE.\nActivate it with: rjournal chgrmtjrn --rdb {rdb} --srcjrn {source} --jrnstate \
         '*ACTIVE' --delivery '{delivery}'",
        added.target
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_it_advises_is_one_that_is_taken() {
        let source = "BKPLIB/JRN".parse().unwrap();
        for (forwards, delivery) in [(false, "'*SYNC'"), (true, "'*ASYNC'")] {
            let added = RemoteJournalAdded {
                target: "THRLIB/JRN".parse().unwrap(),
                again: false,
                forwards,
            };
            let page = page(&added, RdbName::new("THR").unwrap(), source);
            assert!(page.ends_with(delivery), "{page}");
        }
    }
}
