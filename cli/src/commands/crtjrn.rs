//! Command CRTJRN.

use std::process::ExitCode;

use rjournal::daemon::command::journal::CreateJournal;
use rjournal::entry::QualifiedName;

use super::Context;
use crate::attributes::AttributeArgs;
use crate::error::CliError;

/// Create a local journal and attach its first receiver
///
/// Example: rjournal crtjrn --jrn PRDLIB/JRN --jrnrcv PRDLIB/RCV0001
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The journal
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// Its first receiver, made with CRTJRNRCV; one is made and named after the journal when it is left out
    #[arg(long, value_name = "LIB/NAME")]
    jrnrcv: Option<QualifiedName>,

    #[command(flatten)]
    attributes: AttributeArgs,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let attributes = args.attributes.patch()?;
    let created = context
        .client()
        .await?
        .run(CreateJournal {
            journal: args.jrn,
            receiver: args.jrnrcv,
            attributes,
        })
        .await?;
    context.output.result(&created, |created| {
        format!(
            "Journal {} created, receiver {} attached.",
            args.jrn, created.receiver
        )
    });
    Ok(ExitCode::SUCCESS)
}
