//! Command CPYTOIMPF.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rjournal::entry::record::decode_row;
use rjournal::entry::{FileName, Sequence};
use rjournal_apply::serve::{DatabaseClient, SnapshotFile};
use serde::Serialize;

use super::Context;
use super::cpyfrmimpf::delimiter;
use crate::csv_text::write_record;
use crate::error::CliError;
use crate::made::{Made, failed};
use crate::output::{Meter, Unit};
use crate::rows::StoreArgs;
use crate::text;

/// Rows asked for at once.
const PAGE_ROWS: usize = 4096;
/// How often a stream file is begun at most.
const TRIES: u32 = 5;
/// The parameter the stream file is named in.
const PARAMETER: &str = "TOSTMF";
/// What is said where the store gives up a snapshot.
const GIVEN_UP: &str = "RJN6017";

/// Copy to import file: the rows of a file in key order as CSV, with a header line
///
/// A null is nothing at all, an empty text two quotes. Bytes are written in hexadecimal, times as YYYY-MM-DD HH:MM:SS.
/// All rows are as they were at one entry of the journal, which is told; what is changed meanwhile is not in it. Two stores
/// at the same place give the same bytes. The store is held as it was for an hour at most; where too much changes under it
/// for that, the file is begun anew, five times at most: HLDAPY holds a replica still. Standard output is not begun anew.
///
/// Example: rjournal cpytoimpf --fromfile PRDLIB/CUSTOMER --tostmf customer.csv
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    fromfile: FileName,

    /// Stream file to write; - for standard output
    #[arg(long, value_name = "PATH")]
    tostmf: PathBuf,

    /// Replace a stream file that is there
    #[arg(long)]
    replace: bool,

    /// What stands between fields
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    flddlm: String,

    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Serialize)]
struct Copied {
    file: FileName,
    path: PathBuf,
    rows: u64,
    applied: Sequence,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let delimiter = delimiter(&args.flddlm)?;
    let path = &args.tostmf;
    let meter = context.output.meter(Unit::Rows);
    meter.name(&args.fromfile.to_string());
    if path == Path::new("-") {
        if context.output.is_json() {
            return Err(CliError::invalid(
                "TOSTMF -: rows and JSON do not go to the same place; leave --json out",
            ));
        }
        let mut database = args.store.connect(context, &args.fromfile).await?;
        let file = database.snapshot(&args.fromfile).await?;
        let mut out = BufWriter::new(std::io::stdout().lock());
        // What was printed cannot be taken back: no second try.
        let rows = write_rows(&mut database, &file, &args, delimiter, &mut out, &meter).await?;
        out.flush()
            .map_err(|error| failed(PARAMETER, path, &error))?;
        context.output.remark(&format!(
            "{} of {}, as they were at entry {}.",
            text::counted(rows, "row", "rows"),
            args.fromfile,
            text::count(file.applied.get())
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let made = tried(async |tries| {
        if tries > 1 {
            meter.name(&format!("{}, try {tries} of {TRIES}", args.fromfile));
        }
        copy(&args, delimiter, context, &meter).await
    });
    let (rows, applied) = made.await?;
    let copied = Copied {
        file: args.fromfile.clone(),
        path: path.clone(),
        rows,
        applied,
    };
    context.output.result(&copied, |copied| {
        format!(
            "{} of {} copied to {}, as they were at entry {}.",
            text::counted(copied.rows, "row", "rows"),
            copied.file,
            copied.path.display(),
            text::count(copied.applied.get())
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Makes something of a snapshot, from its beginning each time the store gives the snapshot up, [`TRIES`] times at most.
async fn tried<T>(mut attempt: impl AsyncFnMut(u32) -> Result<T, CliError>) -> Result<T, CliError> {
    let mut tries = 1;
    loop {
        match attempt(tries).await {
            Err(error) if error.0.id == GIVEN_UP && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// Makes the stream file from a snapshot of its own; nothing is left of it where it is not complete. Gives how many rows
/// it has, and as of which entry.
async fn copy(
    args: &Args,
    delimiter: u8,
    context: &Context<'_>,
    meter: &Meter,
) -> Result<(u64, Sequence), CliError> {
    let mut database = args.store.connect(context, &args.fromfile).await?;
    // The file must be there before anything is made.
    let file = database.snapshot(&args.fromfile).await?;
    let mut made = Made::create(PARAMETER, &args.tostmf, args.replace)?;
    let rows = write_rows(&mut database, &file, args, delimiter, &mut made.out, meter).await?;
    made.finish()?;
    Ok((rows, file.applied))
}

async fn write_rows(
    database: &mut DatabaseClient,
    file: &SnapshotFile,
    args: &Args,
    delimiter: u8,
    out: &mut impl Write,
    meter: &Meter,
) -> Result<u64, CliError> {
    let write_failed = |error: std::io::Error| failed(PARAMETER, &args.tostmf, &error);
    let format = &file.file.format;
    meter.show(0, file.file.rows);
    let names = format
        .fields()
        .iter()
        .map(|field| Some(field.name.as_str()));
    write_record(out, delimiter, names).map_err(write_failed)?;
    let (mut after, mut rows) = (None::<Vec<u8>>, 0);
    loop {
        let page = database.scan_snapshot(after.as_deref(), PAGE_ROWS).await?;
        let Some(last) = page.rows.last() else { break };
        after = Some(last.key.clone());
        for found in &page.rows {
            let row = decode_row(format, &found.row)
                .map_err(|error| CliError::internal(&text::causes(&error)))?;
            let cells: Vec<Option<String>> = row
                .iter()
                .map(|value| (!value.is_null()).then(|| value.to_text()))
                .collect();
            write_record(out, delimiter, cells.iter().map(Option::as_deref))
                .map_err(write_failed)?;
        }
        rows += page.rows.len() as u64;
        meter.show(rows, file.file.rows);
    }
    database.end_snapshot().await?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up() -> CliError {
        let reason = "too much changed under it".to_owned();
        CliError::from(rjournal_apply::error::DatabaseError::Snapshot { reason })
    }

    async fn attempts(so_many_fail: u32, error: fn() -> CliError) -> (u32, Result<u32, CliError>) {
        let mut seen = 0;
        let done = tried(async |tries| {
            seen += 1;
            assert_eq!(tries, seen);
            if tries <= so_many_fail {
                Err(error())
            } else {
                Ok(tries)
            }
        });
        let done = done.await;
        (seen, done)
    }

    /// An export once ended at the first snapshot that sled gave up.
    #[tokio::test]
    async fn an_export_is_begun_anew_while_its_snapshot_is_given_up_and_not_for_ever() {
        assert!(matches!(attempts(0, given_up).await, (1, Ok(1))));
        assert!(matches!(
            attempts(TRIES - 1, given_up).await,
            (TRIES, Ok(TRIES))
        ));
        let (seen, done) = attempts(u32::MAX, given_up).await;
        assert_eq!(seen, TRIES);
        assert_eq!(done.expect_err("it never held").0.id, GIVEN_UP);
        let other = || CliError::invalid("another error");
        assert!(matches!(attempts(1, other).await, (1, Err(_))));
    }
}
