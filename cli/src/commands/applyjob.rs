//! Command `applyjob`: the process of an apply job. The daemon starts it; nobody else needs to.

use std::process::ExitCode;

use rjournal::daemon::read_config;
use rjournal::entry::Name;
use rjournal_apply::process::{JobArguments, run_job};

use super::Context;
use crate::error::CliError;
use crate::log::start_log;

/// Run the apply job of a store until standard input ends (the daemon does this)
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// Name of the store
    #[arg(long)]
    store: Name,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let config = read_config(&context.data)?;
    start_log(&config.log, false)?;
    let code = run_job(JobArguments {
        data: context.data.clone(),
        store: args.store,
    })
    .await;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
