//! Command `init`: makes a new system in an empty directory.

use std::net::SocketAddr;
use std::process::ExitCode;

use rjournal::entry::SystemName;
use rjournal::{Config, System};

use super::Context;
use crate::error::CliError;

/// Make a new system in an empty data directory: its key, its configuration
///
/// Example: rjournal init --data /var/lib/rjournal --name PRD --listen 0.0.0.0:4433
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the system, 1 to 8 characters
    #[arg(long)]
    name: SystemName,

    /// Address partners connect to (UDP); leave it out on a system that is never a target
    ///
    /// With port 0 the machine chooses one at each start, which DSPSYSID shows: for trials only, since partners know a system
    /// by its address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

#[allow(clippy::unused_async, reason = "commands are run alike")]
pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    System::create(&context.data, &Config::new(args.name, args.listen))?;
    let value = serde_json::json!({ "name": args.name, "data": context.data });
    context.output.result(&value, |_| {
        format!(
            "System {} was made in {}.\nStart it with: rjournal daemon --data {}",
            args.name,
            context.data.display(),
            context.data.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}
