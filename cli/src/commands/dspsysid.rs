//! Command `dspsysid`: what a partner needs to know of this system.

use std::process::ExitCode;

use rjournal::daemon::command::directory::DescribeSystem;

use super::Context;
use crate::error::CliError;
use crate::text;

/// Display this system's name, identity and the fingerprint of its key
///
/// The fingerprint is what partners enter with ADDRDBDIRE; compare it over another channel.
///
/// Example: rjournal dspsysid
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let system = context.ask(DescribeSystem {}).await?;
    context.output.result(&system, |system| {
        format!(
            "System       {}\nIdentity     {}\nFingerprint  {}\nListens on   {}\nMade         {}\nVersion      {}",
            system.name,
            system.system,
            system.fingerprint,
            system.listen.as_deref().unwrap_or("nothing (never a target)"),
            text::time(system.created_at),
            system.version
        )
    });
    Ok(ExitCode::SUCCESS)
}
