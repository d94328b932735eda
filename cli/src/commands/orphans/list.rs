//! Command `orphans list`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use rjournal::Client;
use rjournal::daemon::command::orphan::ListOrphans;
use rjournal::entry::{Epoch, Position, QualifiedName, Timestamp};
use rjournal::journal::Orphan;
use serde::Serialize;

use crate::commands::Context;
use crate::error::CliError;
use crate::orphan::{Archive, Outcome};
use crate::output::Page;
use crate::text;

/// List the orphan archives of a journal, or of all
///
/// Example: rjournal orphans list --jrn BKPLIB/JRN
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The journal [default: all]
    #[arg(long, value_name = "LIB/NAME")]
    jrn: Option<QualifiedName>,
}

#[derive(Debug, Serialize)]
struct Listed {
    archives: Vec<Line>,
    /// Why others cannot be read.
    unreadable: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    journal: QualifiedName,
    number: u64,
    fork: Position,
    last: Position,
    entries: u64,
    transactions: u64,
    bytes: u64,
    epochs: (Epoch, Epoch),
    archived_at: Timestamp,
    reason: String,
}

pub(super) async fn run(args: &Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let client = context.client().await?;
    let found = client.run(ListOrphans { journal: args.jrn }).await?;
    let mut listed = Listed {
        archives: Vec::new(),
        unreadable: Vec::new(),
    };
    for journal in found.journals {
        listed.unreadable.extend(journal.unreadable);
        for orphan in journal.orphans {
            let transactions = transactions(context, &client, journal.journal, &orphan).await?;
            listed.archives.push(Line {
                journal: journal.journal,
                number: orphan.number,
                fork: orphan.fork,
                last: orphan.last,
                entries: orphan.entries,
                transactions,
                bytes: orphan.bytes,
                epochs: orphan.epochs,
                archived_at: orphan.archived_at,
                reason: orphan.reason,
            });
        }
    }
    context.output.result(&listed, in_words);
    Ok(if listed.unreadable.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(8)
    })
}

/// How many transactions an archive holds: those of earlier releases do not say it themselves.
async fn transactions(
    context: &Context<'_>,
    client: &Client,
    journal: QualifiedName,
    orphan: &Orphan,
) -> Result<u64, CliError> {
    if let Some(transactions) = orphan.transactions {
        return Ok(transactions);
    }
    let archive = Archive::open(context, client, journal, orphan.number).await?;
    let mut count = 0;
    archive
        .each(async |transaction| {
            let rows = !transaction.changes.is_empty();
            count += u64::from(match transaction.outcome {
                Outcome::Committed => true,
                Outcome::Alone => rows,
                Outcome::NeverCommitted => false,
            });
            Ok(ControlFlow::Continue(()))
        })
        .await?;
    Ok(count)
}

fn in_words(listed: &Listed) -> String {
    if listed.archives.is_empty() && listed.unreadable.is_empty() {
        return "There are no orphan archives.".to_owned();
    }
    let mut page = Page::new(&[
        "Journal",
        ">No",
        ">Fork",
        ">Last",
        ">Entries",
        ">Transactions",
        "Epochs",
        "Archived",
        "Why",
    ]);
    for line in &listed.archives {
        let (first, last) = line.epochs;
        page.row(vec![
            line.journal.to_string(),
            line.number.to_string(),
            text::count(line.fork.sequence.get()),
            text::count(line.last.sequence.get()),
            text::count(line.entries),
            text::count(line.transactions),
            epochs(first, last),
            text::time(line.archived_at),
            line.reason.clone(),
        ]);
    }
    let mut lines = vec![page.text()];
    if listed.archives.is_empty() {
        lines.clear();
    }
    lines.extend(listed.unreadable.iter().cloned());
    lines.join("\n")
}

/// Term and boot of the first and the last bundle.
fn epochs(first: Epoch, last: Epoch) -> String {
    let short = |epoch: Epoch| format!("{}.{}", epoch.term, epoch.boot);
    if first == last {
        short(first)
    } else {
        format!("{} to {}", short(first), short(last))
    }
}
