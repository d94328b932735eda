//! Command CPYTOIMPF.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::disk::{Disk, OsDisk};
use rjournal::entry::record::decode_row;
use rjournal::entry::{FileName, Sequence};
use rjournal_apply::serve::{DatabaseClient, SnapshotFile};
use serde::Serialize;

use super::Context;
use super::cpyfrmimpf::delimiter;
use crate::csv_text::write_record;
use crate::error::CliError;
use crate::output::Unit;
use crate::rows::StoreArgs;
use crate::text;

/// Rows asked for at once.
const PAGE_ROWS: usize = 4096;

/// Copy to import file: the rows of a file in key order as CSV, with a header line
///
/// A null is nothing at all, an empty text two quotes. Bytes are written in hexadecimal, times as YYYY-MM-DD HH:MM:SS.
/// All rows are as they were at one entry of the journal, which is told; what is changed meanwhile is not in it. Two stores
/// at the same place give the same bytes. The store is held as it was for an hour at most; where too much changes under it
/// for that, the export is given up: HLDAPY holds a replica still.
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
    let mut database = args.store.connect(context, &args.fromfile).await?;
    // The file must be there before anything is made.
    let file = database.snapshot(&args.fromfile).await?;
    let applied = file.applied;
    if path == Path::new("-") {
        if context.output.is_json() {
            return Err(CliError::invalid(
                "TOSTMF -: rows and JSON do not go to the same place; leave --json out",
            ));
        }
        let mut out = BufWriter::new(std::io::stdout().lock());
        let rows = write_rows(&mut database, &file, &args, delimiter, &mut out, context).await?;
        out.flush().map_err(|error| failed(path, &error))?;
        context.output.remark(&format!(
            "{} of {}, as they were at entry {}.",
            text::counted(rows, "row", "rows"),
            args.fromfile,
            text::count(applied.get())
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let mut made = Made::create(path, args.replace)?;
    let rows = write_rows(
        &mut database,
        &file,
        &args,
        delimiter,
        &mut made.out,
        context,
    )
    .await?;
    made.finish()?;
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

async fn write_rows(
    database: &mut DatabaseClient,
    file: &SnapshotFile,
    args: &Args,
    delimiter: u8,
    out: &mut impl Write,
    context: &Context<'_>,
) -> Result<u64, CliError> {
    let write_failed = |error: std::io::Error| failed(&args.tostmf, &error);
    let format = &file.file.format;
    let meter = context.output.meter(Unit::Rows);
    meter.name(&args.fromfile.to_string());
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

fn failed(path: &Path, error: &std::io::Error) -> CliError {
    let kind = match error.kind() {
        std::io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Invalid,
    };
    let text = format!("TOSTMF {}: {error}", path.display());
    CliError(CommandError::new(kind, "RJN1008", text))
}

/// A stream file in the making: it gets its name when it is complete.
struct Made<'a> {
    path: &'a Path,
    disk: OsDisk,
    name: PathBuf,
    fresh: PathBuf,
    out: BufWriter<File>,
    complete: bool,
}

impl<'a> Made<'a> {
    fn create(path: &'a Path, replace: bool) -> Result<Self, CliError> {
        if path.exists() && !path.is_file() {
            return Err(CliError::invalid(format!(
                "TOSTMF {}: what stands there is not a file",
                path.display()
            )));
        }
        if path.exists() && !replace {
            let text = format!("TOSTMF {}: it is there already", path.display());
            return Err(CliError(
                CommandError::new(ErrorKind::Exists, "RJN1008", text)
                    .help("with REPLACE it is replaced when the new one is complete"),
            ));
        }
        let directory = match path.parent() {
            Some(directory) if directory != Path::new("") => directory,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default();
        let mut fresh = name.to_os_string();
        fresh.push(format!(".{}", std::process::id()));
        let (name, fresh) = (PathBuf::from(name), PathBuf::from(fresh));
        let file =
            File::create_new(directory.join(&fresh)).map_err(|error| failed(path, &error))?;
        Ok(Self {
            path,
            disk: OsDisk::new(directory),
            name,
            fresh,
            out: BufWriter::new(file),
            complete: false,
        })
    }

    fn finish(mut self) -> Result<(), CliError> {
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .and_then(|()| self.disk.durable_rename(&self.fresh, &self.name))
            .map_err(|error| failed(self.path, &error))?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.complete {
            // What is left of it is of no use to anybody.
            drop(self.disk.remove(&self.fresh));
        }
    }
}
