//! Command CHGRDBDIRE.

use std::process::ExitCode;

use rjournal::daemon::command::directory::PutPartner;
use rjournal::entry::RdbName;
use rjournal::link::Fingerprint;

use super::Context;
use super::wrkrdbdire::partner_form;
use crate::error::CliError;
use crate::text::special;

/// Change a partner in the directory; what is left out stays
///
/// Example: rjournal chgrdbdire --rdb PRD --alwjrn 'BKPLIB/JRN,BKPLIB/JRN2'
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The partner's name here
    #[arg(long)]
    rdb: RdbName,

    /// Fingerprint of its key: another one means another system
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<Fingerprint>,

    /// Where it is reached; *NONE takes it away
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,

    /// Remote journals here that it may make and feed, in place of those before; *NONE for none
    #[arg(long, value_name = "LIB/NAME", value_delimiter = ',')]
    alwjrn: Option<Vec<String>>,

    /// Free text
    #[arg(long)]
    text: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let nothing = args.fingerprint.is_none()
        && args.addr.is_none()
        && args.alwjrn.is_none()
        && args.text.is_none();
    if nothing {
        return Err(CliError::invalid(format!(
            "nothing to change in directory entry {} was given",
            args.rdb
        )));
    }
    let is_none = |text: &String| special(text) == "NONE";
    let request = PutPartner {
        rdb: args.rdb,
        fingerprint: args.fingerprint,
        address: args.addr.map(|address| {
            if is_none(&address) {
                String::new()
            } else {
                address
            }
        }),
        allow_journals: args.alwjrn.map(|patterns| {
            if patterns.iter().all(is_none) {
                Vec::new()
            } else {
                patterns
            }
        }),
        text: args.text,
        change: true,
    };
    let partner = context.client().await?.run(request).await?;
    context.output.result(&partner, |partner| {
        format!(
            "Directory entry {} changed.\n{}",
            partner.rdb,
            partner_form(partner)
        )
    });
    Ok(ExitCode::SUCCESS)
}
