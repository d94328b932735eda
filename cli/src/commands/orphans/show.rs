//! Command `orphans show`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use rjournal::entry::record::Format;
use rjournal::entry::{DepositKey, FileName, Kind, Name, ObjectId, Sequence, Timestamp};
use serde::Serialize;

use super::Which;
use crate::commands::Context;
use crate::error::CliError;
use crate::orphan::{Archive, Change, Class, Outcome, Present, Transaction, key_of, row_of};
use crate::output::{Form, Page};
use crate::rows;
use crate::text;

/// Characters of a row that are shown.
const ROW_CHARACTERS: usize = 120;

/// Show what an orphan archive holds, row by row
///
/// Of each transaction: when and by whom it was made, its deposit key, and how well it was kept when it was answered, as far
/// as the journal tells: SYNC, RECEIVED, LOCAL, or UNKNOWN. Of each row: its values before and after, and whether the row in
/// the store here differs now from what the transaction began with.
///
/// Example: rjournal orphans show --jrn BKPLIB/JRN --number 1
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,

    /// The first transaction, by its entry [default: the first there is]
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,

    /// How many transactions at most
    #[arg(long, value_name = "TRANSACTIONS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,

    /// The store to compare with [default: the one made from the journal]
    #[arg(long, value_name = "NAME")]
    store: Option<Name>,
}

#[derive(Debug, Serialize)]
struct Shown {
    journal: rjournal::entry::QualifiedName,
    number: u64,
    fork: Sequence,
    last: Sequence,
    archived_at: Timestamp,
    reason: String,
    transactions: Vec<ShownTransaction>,
    /// There are others behind the last one.
    more: bool,
}

#[derive(Debug, Serialize)]
struct ShownTransaction {
    sequence: Sequence,
    outcome: &'static str,
    class: &'static str,
    time: Timestamp,
    job: Option<String>,
    user: Option<String>,
    program: Option<String>,
    system: Option<String>,
    key: Option<DepositKey>,
    incomplete: bool,
    rows: Vec<ShownRow>,
    notes: Vec<ShownNote>,
}

#[derive(Debug, Serialize)]
struct ShownRow {
    sequence: Sequence,
    change: &'static str,
    file: Option<FileName>,
    object: ObjectId,
    key: Option<Vec<serde_json::Value>>,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
    changed_since: Option<bool>,
    #[serde(skip)]
    words: [String; 3],
}

#[derive(Debug, Serialize)]
struct ShownNote {
    sequence: Sequence,
    kind: Kind,
    file: Option<FileName>,
}

pub(super) async fn run(args: &Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let client = context.client().await?;
    let Which { jrn, number } = args.which;
    let archive = Archive::open(context, &client, jrn, number).await?;
    let mut present = Present::open(context, &client, jrn, args.store).await?;
    let orphan = &archive.orphan;
    let mut shown = Shown {
        journal: jrn,
        number,
        fork: orphan.fork.sequence,
        last: orphan.last.sequence,
        archived_at: orphan.archived_at,
        reason: orphan.reason.clone(),
        transactions: Vec::new(),
        more: false,
    };
    let json = context.output.is_json();
    context.output.line(&head(&shown));
    let (mut count, from) = (0, Sequence::new(args.from.unwrap_or(0)));
    archive
        .each(async |transaction| {
            if transaction.sequence < from {
                return Ok(ControlFlow::Continue(()));
            }
            if count == args.count {
                shown.more = true;
                return Ok(ControlFlow::Break(()));
            }
            count += 1;
            let changed = present.changed_since(&transaction, &archive.objects).await;
            let class = class_of(&archive, &transaction);
            let line = line(&archive, transaction, class, &changed);
            if json {
                shown.transactions.push(line);
            } else {
                context.output.line(&in_words(&line));
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
    context.output.result(&shown, |shown| {
        if shown.more {
            "\nThere are more: FROM says where to go on; EXPORT writes all of them.".to_owned()
        } else if count == 0 {
            "\nThere are no transactions in it.".to_owned()
        } else {
            String::new()
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// How well it was kept when it was answered; what was not decided was not answered.
pub(super) fn class_of(archive: &Archive<'_>, transaction: &Transaction) -> Class {
    match transaction.outcome {
        Outcome::NeverCommitted => Class::Unknown,
        Outcome::Committed | Outcome::Alone => archive.classes.of(transaction.sequence),
    }
}

fn line(
    archive: &Archive<'_>,
    transaction: Transaction,
    class: Class,
    changed: &[Option<bool>],
) -> ShownTransaction {
    let rows = transaction.changes.iter().zip(changed);
    let rows = rows
        .map(|(change, changed)| {
            let format = archive.objects.format(change.object, change.format);
            row(change, format, *changed)
        })
        .collect();
    let notes = transaction.notes.iter().map(|note| ShownNote {
        sequence: note.sequence,
        kind: note.kind,
        file: archive.objects.file(note.object).cloned(),
    });
    let notes = notes.collect();
    let [job, user, program, system] = transaction.actor;
    ShownTransaction {
        sequence: transaction.sequence,
        outcome: transaction.outcome.name(),
        class: class.name(),
        time: transaction.time,
        job,
        user,
        program,
        system,
        key: transaction.key,
        incomplete: transaction.incomplete,
        rows,
        notes,
    }
}

fn row(change: &Change, format: Option<&Format>, changed_since: Option<bool>) -> ShownRow {
    let before = row_of(format, change.before.as_deref());
    let after = row_of(format, change.after.as_deref());
    let key = format.and_then(|format| key_of(change, format));
    let words = |row: &Option<crate::orphan::Row<'_>>, image: &Option<Vec<u8>>| match (row, image) {
        (Some(row), _) => text::cut(&row.text(), ROW_CHARACTERS),
        (None, Some(image)) => format!("{} bytes", image.len()),
        (None, None) => "-".to_owned(),
    };
    let key_words = key.as_ref().map_or_else(
        || "-".to_owned(),
        |key| {
            let values: Vec<String> = key.iter().map(rows::readable).collect();
            text::cut(&values.join(", "), ROW_CHARACTERS)
        },
    );
    ShownRow {
        sequence: change.sequence,
        change: change.kind.name(),
        file: format.map(|format| format.file().clone()),
        object: change.object,
        words: [
            key_words,
            words(&before, &change.before),
            words(&after, &change.after),
        ],
        key: key.map(|key| key.iter().map(rows::json).collect()),
        before: before.map(|row| row.json()),
        after: after.map(|row| row.json()),
        changed_since,
    }
}

fn head(shown: &Shown) -> String {
    let mut form = Form::new();
    form.head(&format!(
        "Orphan archive {} of journal {}",
        shown.number, shown.journal
    ))
    .line("Fork", format!("entry {}", text::count(shown.fork.get())))
    .line("Last entry", text::count(shown.last.get()))
    .line("Archived", text::time(shown.archived_at))
    .line("Why", &shown.reason);
    form.text()
}

fn in_words(transaction: &ShownTransaction) -> String {
    let what = match transaction.outcome {
        "COMMITTED" => format!("Transaction {}, committed", transaction.sequence),
        "ALONE" => format!("Entry {}", transaction.sequence),
        _ => format!("Transaction {}, never committed", transaction.sequence),
    };
    let class = match transaction.outcome {
        "NEVER_COMMITTED" => String::new(),
        _ => format!(", answered {}", transaction.class),
    };
    let mut lines = vec![format!("\n{what} {}{class}", text::time(transaction.time))];
    let actor = [
        ("job", &transaction.job),
        ("user", &transaction.user),
        ("program", &transaction.program),
        ("system", &transaction.system),
    ];
    let actor: Vec<String> = actor
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}")))
        .collect();
    if !actor.is_empty() {
        lines.push(format!("  by {}", actor.join(", ")));
    }
    if let Some(key) = transaction.key {
        lines.push(format!(
            "  deposit key {} of client {}",
            key.key, key.client
        ));
    }
    if transaction.incomplete {
        lines.push("  its first entries were deleted with their receivers".to_owned());
    }
    if !transaction.rows.is_empty() {
        let mut page = Page::new(&[
            ">Entry",
            "Change",
            "File",
            "Key",
            "Before",
            "After",
            "Changed since",
        ]);
        for row in &transaction.rows {
            let file = row.file.as_ref();
            let [key, before, after] = row.words.clone();
            page.row(vec![
                row.sequence.to_string(),
                row.change.to_owned(),
                file.map_or_else(|| row.object.to_string(), ToString::to_string),
                key,
                before,
                after,
                match row.changed_since {
                    Some(changed) => text::yes_no(changed).to_owned(),
                    None => "-".to_owned(),
                },
            ]);
        }
        lines.extend(page.text().lines().map(|line| format!("  {line}")));
    }
    for note in &transaction.notes {
        let file = note.file.as_ref();
        let file = file.map_or_else(String::new, |file| format!(", file {file}"));
        lines.push(format!("  entry {}, {}{file}", note.sequence, note.kind));
    }
    lines.join("\n")
}
