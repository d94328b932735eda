//! Command STRAPY.

use std::process::ExitCode;

use rjournal::daemon::command::apply::StartApply;
use rjournal::entry::{Name, QualifiedName};

use super::Context;
use super::wrkapy::job_form;
use crate::attributes::choose;
use crate::error::CliError;

/// Start the apply job of a replica store; the first time, this makes the store
///
/// Example: rjournal strapy --store REPLICA --jrn BKPLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the store
    #[arg(long)]
    store: Name,

    /// The journal it is made from, local or remote; needed the first time
    #[arg(long, value_name = "LIB/NAME")]
    jrn: Option<QualifiedName>,

    /// Kind of the store, chosen the first time: *SLED or *REDB
    #[arg(long = "type", value_name = "*SLED|*REDB")]
    kind: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let kind = choose(args.kind, "TYPE", &[("SLED", "sled"), ("REDB", "redb")])?.map(str::to_owned);
    let job = context.client().await?.run(StartApply { store: args.store, journal: args.jrn, kind }).await?;
    context.output.result(&job, |job| format!("Apply job of store {} started.\n{}", job.store, job_form(job)));
    Ok(ExitCode::SUCCESS)
}
