//! Command `verify`: whether everything on disk is what it was, or the same as a partner's.

use std::process::ExitCode;

use rjournal::daemon::command::verify::{Verified, Verify};
use rjournal::entry::{QualifiedName, RdbName, Sequence};

use super::Context;
use crate::error::CliError;
use crate::output::Form;
use crate::text;

/// Verify a journal: read all its receivers from the medium, or compare its history with a partner's, head by head
///
/// Exit code 8 if it does not hold.
///
/// Example: rjournal verify --jrn PRDLIB/JRN --rdb BKP
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The journal
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// Compare with this partner rather than read everything here
    #[arg(long)]
    rdb: Option<RdbName>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let client = context.client().await?;
    let progress = context.output.progress();
    progress.show(&match args.rdb {
        Some(rdb) => format!("comparing {} with {rdb}", args.jrn),
        None => format!("reading the receivers of {}", args.jrn),
    });
    let verified = client
        .run(Verify {
            journal: args.jrn,
            partner: args.rdb,
        })
        .await;
    drop(progress);
    let verified = verified?;
    context
        .output
        .result(&verified, |verified| page(verified, args.rdb));
    Ok(if verified.good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(8)
    })
}

fn page(verified: &Verified, partner: Option<RdbName>) -> String {
    let mut form = Form::new();
    let from = verified.from.max(Sequence::FIRST);
    form.line(
        "Entries",
        format!(
            "{} to {}",
            text::count(from.get()),
            text::count(verified.to.get())
        ),
    );
    match partner {
        Some(_) => form.line("Heads compared", text::count(verified.compared)),
        None => form
            .line("Receivers read", text::count(verified.receivers))
            .line("Bundles read", text::count(verified.bundles))
            .line("Entries read", text::count(verified.entries))
            .line("Bytes read", text::bytes(verified.bytes)),
    };
    if let Some(head) = verified.head {
        form.line("Chain head", head);
    }
    let verdict = match (&verified.finding, partner) {
        (None, None) => format!(
            "Journal {} holds: every checksum and every link of the chain.",
            verified.journal
        ),
        (None, Some(rdb)) => format!(
            "Journal {} and its copy at {rdb} have the same history.",
            verified.journal
        ),
        (Some(finding), _) => format!("Journal {} does NOT hold: {finding}", verified.journal),
    };
    format!("{verdict}\n{}", form.text())
}
