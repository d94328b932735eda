//! Command `scan`.

use std::process::ExitCode;

use rjournal::entry::FileName;
use rjournal::entry::record::{Format, Value, decode_row, record_number};

use super::Context;
use crate::error::CliError;
use crate::output::Page;
use crate::rows::{StoreArgs, json_row, readable};
use crate::text;

/// Longest value in a table, in characters.
const CELL_MAX: usize = 48;
/// Rows asked for at once.
const PAGE_ROWS: usize = 1000;

/// Read rows in key order
///
/// Example: rjournal scan --file PRDLIB/CUSTOMER --count 20
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    file: FileName,

    /// Most rows to print
    #[arg(long, value_name = "ROWS", default_value = "50")]
    count: usize,

    /// Begin after this key; once for each key field, in key order
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    after: Vec<String>,

    /// Begin after this record number, in a file without key fields
    #[arg(long, value_name = "NUMBER", conflicts_with = "after")]
    after_rrn: Option<u64>,

    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    if args.count == 0 {
        return Err(CliError::invalid("COUNT 0: at least one row is needed"));
    }
    let mut database = args.store.connect(context, &args.file).await?;
    let handle = database.file(&args.file).await?;
    let format = handle.format();
    let mut after = if args.after.is_empty() && args.after_rrn.is_none() {
        None
    } else {
        let key = crate::rows::KeyArgs {
            key: args.after,
            rrn: args.after_rrn,
        };
        Some(handle.key_of(&key.values(format)?)?)
    };
    let mut rows: Vec<(Option<u64>, Vec<Value>)> = Vec::new();
    let mut more = false;
    loop {
        // One more than is printed tells whether there are more.
        let wanted = (args.count - rows.len()).saturating_add(1).min(PAGE_ROWS);
        let page = database.scan(&args.file, after.as_deref(), wanted).await?;
        let Some(last) = page.rows.last() else { break };
        after = Some(last.key.clone());
        for found in &page.rows {
            if rows.len() == args.count {
                more = true;
                break;
            }
            let row = decode_row(format, &found.row)
                .map_err(|error| CliError::internal(&text::causes(&error)))?;
            let number = record_number(&found.key).filter(|_| format.key().is_empty());
            rows.push((number, row));
        }
        if more {
            break;
        }
    }
    let value = serde_json::json!({
        "file": args.file,
        "rows": rows.iter().map(|(number, row)| {
            let mut row = json_row(format, row);
            if let (Some(number), Some(row)) = (number, row.as_object_mut()) {
                row.insert("*RRN".to_owned(), (*number).into());
            }
            row
        }).collect::<Vec<_>>(),
        "more": more,
    });
    context.output.result(&value, |_| table(format, &rows));
    if more {
        context
            .output
            .remark("There are more rows; COUNT prints more of them, AFTER goes on.");
    }
    Ok(ExitCode::SUCCESS)
}

fn table(format: &Format, rows: &[(Option<u64>, Vec<Value>)]) -> String {
    if rows.is_empty() {
        return "There are no rows.".to_owned();
    }
    let numbered = format.key().is_empty();
    let mut heads: Vec<&str> = format
        .fields()
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    if numbered {
        heads.insert(0, ">*RRN");
    }
    let mut page = Page::new(&heads);
    for (number, row) in rows {
        let cells = row
            .iter()
            .map(|value| text::cut(&readable(value), CELL_MAX));
        let number = number.map(|number| number.to_string());
        page.row(number.into_iter().chain(cells).collect());
    }
    page.text()
}
