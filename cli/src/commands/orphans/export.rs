//! Command `orphans export`.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::Which;
use super::show::class_of;
use crate::commands::Context;
use crate::error::CliError;
use crate::made::{Made, failed};
use crate::orphan::{Archive, Header, Writing};
use crate::output::Unit;
use crate::text;

/// The parameter the file is named in.
const PARAMETER: &str = "TO";

/// Export an orphan archive: a transaction in each line, as JSON
///
/// REDEPOSIT deposits transactions of the file again, wherever the file is brought.
///
/// Example: rjournal orphans export --jrn BKPLIB/JRN --number 1 --to lost.jsonl
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,

    /// File to write
    #[arg(long, value_name = "PATH")]
    to: PathBuf,

    /// Replace a file that is there
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Serialize)]
struct Done<'a> {
    path: &'a Path,
    transactions: u64,
    rows: u64,
}

pub(super) async fn run(args: &Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let client = context.client().await?;
    let Which { jrn, number } = args.which;
    let archive = Archive::open(context, &client, jrn, number).await?;
    let path = &args.to;
    let not_written = |error: std::io::Error| failed(PARAMETER, path, &error);
    let mut made = Made::create(PARAMETER, path, args.replace)?;
    let meter = context.output.meter(Unit::Rows);
    meter.name(&format!("{jrn}, archive {number}"));
    let header = Header::of(jrn, &archive.orphan);
    let mut writing = Writing::begin(&mut made.out, &header).map_err(not_written)?;
    let mut rows = 0;
    archive
        .each(async |transaction| {
            let class = class_of(&archive, &transaction);
            rows += transaction.changes.len() as u64;
            meter.show(rows, archive.orphan.entries);
            writing
                .push(&transaction, class, |object, version| {
                    archive.objects.format(object, version)
                })
                .map_err(not_written)?;
            Ok(ControlFlow::Continue(()))
        })
        .await?;
    let transactions = writing.finish().map_err(not_written)?;
    made.out.flush().map_err(not_written)?;
    made.finish()?;
    let done = Done {
        path,
        transactions,
        rows,
    };
    context.output.result(&done, |done| {
        format!(
            "{} with {} of archive {number} of {jrn} exported to {}.",
            text::counted(done.transactions, "transaction", "transactions"),
            text::counted(done.rows, "change of a row", "changes of rows"),
            done.path.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}
