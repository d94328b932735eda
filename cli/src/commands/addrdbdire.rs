//! Command ADDRDBDIRE.

use std::process::ExitCode;

use rjournal::daemon::command::directory::PutPartner;
use rjournal::entry::RdbName;
use rjournal::link::Fingerprint;

use super::Context;
use super::wrkrdbdire::partner_form;
use crate::error::CliError;

/// Add a partner to the directory: who it is, where it is reached, what it may do here
///
/// Each side enters the other: the source needs the target's address, the target names with ALWJRN the remote journals
/// the source may make and feed here.
///
/// Example: rjournal addrdbdire --rdb BKP --fingerprint 4F2A-... --addr bkp.example.com:4433
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The partner's name here, up to 18 characters
    #[arg(long)]
    rdb: RdbName,

    /// Fingerprint of its key, as DSPSYSID prints it there
    #[arg(long, value_name = "HEX")]
    fingerprint: Fingerprint,

    /// Where it is reached; not needed for one that only connects to this system
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,

    /// Remote journals here that it may make and feed: LIB/NAME, LIB/*ALL or *ALL/*ALL, several with commas
    #[arg(long, value_name = "LIB/NAME", value_delimiter = ',')]
    alwjrn: Vec<String>,

    /// Free text
    #[arg(long)]
    text: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let request = PutPartner {
        rdb: args.rdb,
        fingerprint: Some(args.fingerprint),
        address: args.addr,
        allow_journals: Some(args.alwjrn),
        text: args.text,
        change: false,
    };
    let partner = context.client().await?.run(request).await?;
    context.output.result(&partner, |partner| {
        format!(
            "Directory entry {} added.\n{}",
            partner.rdb,
            partner_form(partner)
        )
    });
    Ok(ExitCode::SUCCESS)
}
