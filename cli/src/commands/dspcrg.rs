//! Command DSPCRG.

use std::process::ExitCode;

use rjournal::daemon::command::group::DescribeGroups;
use rjournal::entry::Name;

use super::Context;
use crate::error::CliError;
use crate::group::page;

/// Display recovery groups: role here, term, primary, members and the ways between them, terms, what is under way
///
/// Answered from what this system knows: members are asked every few seconds, and the times say when they were heard.
///
/// Example: rjournal dspcrg --crg ORDERS
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this group
    #[arg(long, value_name = "NAME")]
    crg: Option<Name>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let found = context.ask(DescribeGroups { name: args.crg }).await?;
    context.output.result(&found, |found| {
        if found.groups.is_empty() {
            return "There are no recovery groups; CRTCRG makes one.".to_owned();
        }
        let pages: Vec<String> = found.groups.iter().map(page).collect();
        pages.join("\n\n")
    });
    Ok(ExitCode::SUCCESS)
}
