//! Command WRKRDBDIRE.

use std::process::ExitCode;

use rjournal::daemon::CommandError;
use rjournal::daemon::command::directory::{ListPartners, PartnerDescription, Partners};
use rjournal::entry::RdbName;

use super::Context;
use crate::error::CliError;
use crate::output::Form;

/// Work with the directory: show the partners of this system
///
/// Example: rjournal wrkrdbdire
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this partner
    #[arg(long)]
    rdb: Option<RdbName>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let mut found = context.ask(ListPartners {}).await?;
    if let Some(rdb) = args.rdb {
        found.partners.retain(|partner| partner.rdb == rdb);
        if found.partners.is_empty() {
            return Err(CliError(
                CommandError::not_found("directory entry", rdb).help("ADDRDBDIRE adds it"),
            ));
        }
    }
    context.output.result(&found, page);
    Ok(ExitCode::SUCCESS)
}

fn page(found: &Partners) -> String {
    if found.partners.is_empty() {
        return "The directory is empty; ADDRDBDIRE adds a partner.".to_owned();
    }
    let entries: Vec<String> = found
        .partners
        .iter()
        .map(|partner| format!("{}\n{}", partner.rdb, partner_form(partner)))
        .collect();
    entries.join("\n\n")
}

/// What the directory says of a partner, line by line.
pub(super) fn partner_form(partner: &PartnerDescription) -> String {
    let mut form = Form::new();
    form.line(
        "Address",
        partner
            .address
            .as_deref()
            .unwrap_or("*NONE (it connects to this system)"),
    )
    .line("Fingerprint", partner.fingerprint)
    .line("System identity", partner.system)
    .line(
        "May feed here",
        if partner.allowed_journals.is_empty() {
            "*NONE".to_owned()
        } else {
            partner.allowed_journals.join(", ")
        },
    );
    if !partner.text.is_empty() {
        form.line("Text", &partner.text);
    }
    form.text()
}
