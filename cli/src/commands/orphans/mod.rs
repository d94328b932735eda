//! Command `orphans`: what another system did not take over. One file for each of its verbs.

mod export;
mod landed;
mod list;
mod redeposit;
mod show;
mod target;

use std::process::ExitCode;

use rjournal::entry::QualifiedName;

use super::Context;
use crate::error::CliError;

/// What another system did not take over: list it, show it, export it, deposit it again
///
/// Where histories of a journal forked, what only one of them has is cut from the copy that follows the other, and kept in an
/// archive. Nothing but an operator removes an archive.
///
/// Example: rjournal orphans list --jrn BKPLIB/JRN
///
/// Example: rjournal orphans show --jrn BKPLIB/JRN --number 1
///
/// Example: rjournal orphans export --jrn BKPLIB/JRN --number 1 --to lost.jsonl
///
/// Example: rjournal orphans redeposit --from lost.jsonl --store DB --all
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::Args),
    Show(show::Args),
    Export(export::Args),
    Redeposit(redeposit::Args),
}

/// Which archive is meant.
#[derive(Debug, clap::Args)]
struct Which {
    /// The journal
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// The number of the archive, as LIST shows it
    #[arg(long, value_name = "NUMBER")]
    number: u64,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    match args.verb {
        Verb::List(args) => list::run(&args, context).await,
        Verb::Show(args) => show::run(&args, context).await,
        Verb::Export(args) => export::run(&args, context).await,
        Verb::Redeposit(args) => redeposit::run(args, context).await,
    }
}
