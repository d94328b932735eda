//! Command CPYFRMIMPF.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::file::{
    CreateFile, DeleteFile, FileDescription, ListFiles, StartJournaling,
};
use rjournal::daemon::{CommandError, ErrorKind, SystemEntropy};
use rjournal::entry::record::{
    ColumnGuess, Field, FieldName, FieldType, Format, decode_row, encode_key,
};
use rjournal::entry::{ClientId, DepositKey, FileName, QualifiedName};
use rjournal::journal::{AckClass, Entropy};
use rjournal_apply::database::Outcome;
use rjournal_apply::error::DatabaseError;
use rjournal_apply::machine::key_text;
use rjournal_apply::serve::{
    ClientTransaction, DatabaseClient, EncodedWrite, SteadyClient, WriteKind,
};
use serde::Serialize;

use super::Context;
use crate::attributes::{choose, seconds};
use crate::csv_text::CsvReader;
use crate::error::CliError;
use crate::import_source::{Source, header, open, require_columns, unreadable, wrong_line};
use crate::output::{Meter, Unit};
use crate::rows::StoreArgs;
use crate::text;

/// Bytes of rows sent at once.
const SEND_BYTES: usize = 512 * 1024;
/// Bytes of rows kept for another try.
const CHUNK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Fewest digits a guessed DECIMAL has: more rows come later.
const DECIMAL_DIGITS_MIN: u8 = 10;

/// Copy from import file: the rows of a CSV file, with a header line, into a file
///
/// Columns are matched by name. Nothing at all between two delimiters is null, two quotes are an empty text. Rows go in
/// under commitment control, so many in one transaction; what was committed stays when a later row is refused, and the
/// message says which line, or which lines of a transaction, that was. A transaction whose answer was lost, with the daemon say, is tried again, and lands
/// once.
///
/// Example: rjournal cpyfrmimpf --fromstmf in.csv --tofile PRDLIB/CUSTOMER --crtfile --jrn PRDLIB/JRN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stream file to read, in UTF-8; - for standard input
    #[arg(long, value_name = "PATH")]
    fromstmf: PathBuf,

    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    tofile: FileName,

    /// *ADD: rows with new keys only; *UPDADD: rows with known keys are replaced
    #[arg(long, value_name = "OPTION", default_value = "*ADD")]
    mbropt: String,

    /// What stands between fields
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    flddlm: String,

    /// Most rows in one transaction; *ALL for a single one
    #[arg(long, value_name = "ROWS", default_value = "1000")]
    commit: String,

    /// Make the file if there is none: a field for each column, of the narrowest type that holds its texts
    #[arg(long)]
    crtfile: bool,

    /// Key fields of a file that is made, with commas; *NONE for record numbers
    #[arg(
        long,
        value_name = "NAME,NAME",
        value_delimiter = ',',
        requires = "crtfile"
    )]
    key: Vec<String>,

    /// Journal of a file that is made; journaling is started
    #[arg(long, value_name = "LIB/NAME", requires = "crtfile")]
    jrn: Option<QualifiedName>,

    /// How long a transaction is tried again while the daemon or the job is away
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        allow_negative_numbers = true
    )]
    wait: f64,

    #[command(flatten)]
    store: StoreArgs,
}

/// How many transactions were answered how.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Answers {
    sync: u64,
    received: u64,
    local: u64,
    /// The answer was lost; the transaction was tried again, and had landed.
    lost_and_found: u64,
}

/// What became of an import.
#[derive(Debug, Clone, Serialize)]
struct Imported {
    file: FileName,
    rows: u64,
    transactions: u64,
    /// How well the least well kept transaction is kept.
    answer: Option<&'static str>,
    answers: Answers,
    created: bool,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let kind = choose(
        Some(args.mbropt.clone()),
        "MBROPT",
        &[("ADD", WriteKind::Insert), ("UPDADD", WriteKind::Put)],
    )?
    .unwrap_or(WriteKind::Insert);
    let rows_max = match args.commit.parse::<u64>() {
        Ok(rows) if rows > 0 => Some(rows),
        _ if text::special(&args.commit) == "ALL" => None,
        _ => {
            return Err(CliError::invalid(format!(
                "COMMIT {}: a number of rows or *ALL is needed",
                args.commit
            )));
        }
    };
    let delimiter = delimiter(&args.flddlm)?;
    let meter = context.output.meter(Unit::Bytes);
    meter.name(&args.tofile.to_string());
    let client = context.client().await?;
    let created = args.crtfile && create(&args, delimiter, &client, &meter).await?;
    drop(client);
    let store = args.store.find(context, &args.tofile).await?;
    let patience = Duration::from_millis(seconds(Some(args.wait), "WAIT")?.unwrap_or_default());
    let mut database = SteadyClient::new(&context.data, store, patience);
    let handle = database.client().await?.file(&args.tofile).await?;
    let format = handle.format();
    let mut source = Source::open(&args.fromstmf, delimiter, format)?;
    let mut imported = Imported {
        file: args.tofile.clone(),
        rows: 0,
        transactions: 0,
        answer: None,
        answers: Answers::default(),
        created,
    };
    let done = if let Some(rows) = rows_max {
        let to = &mut database;
        import(&mut source, kind, rows, format, to, &mut imported, &meter).await
    } else {
        let to = database.client().await?;
        import_at_once(&mut source, kind, format, to, &mut imported, &meter).await
    };
    drop(meter);
    if let Err(CliError(error)) = done {
        let kept = format!(
            "{} in {} committed before that",
            text::counted(imported.rows, "row was", "rows were"),
            text::counted(imported.transactions, "transaction", "transactions")
        );
        let kept = if created {
            format!("{kept}; file {} was made, and stays", args.tofile)
        } else {
            kept
        };
        let help = match &error.help {
            Some(help) => format!("{help}; {kept}"),
            None => kept,
        };
        return Err(CliError(error.help(help)));
    }
    context.output.result(&imported, |imported| {
        let answer = imported.answer.unwrap_or("nothing");
        format!(
            "{} copied to {} in {}, answered {answer}.",
            text::counted(imported.rows, "row", "rows"),
            imported.file,
            text::counted(imported.transactions, "transaction", "transactions"),
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// What stands between fields: one character of ASCII.
pub(super) fn delimiter(given: &str) -> Result<u8, CliError> {
    match (text::special(given).as_str(), given.as_bytes()) {
        ("TAB", _) => Ok(b'\t'),
        (_, [byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err(CliError::invalid(format!(
            "FLDDLM {given}: one character or *TAB is needed"
        ))),
    }
}

/// Rows of one transaction, encoded.
struct Chunk {
    writes: Vec<EncodedWrite>,
    /// The lines they began in.
    lines: Vec<u64>,
    bytes: usize,
}

/// The next rows: so many, or as many as fit into memory.
fn next_chunk(
    source: &mut Source<'_>,
    rows_max: u64,
    kind: WriteKind,
    format: &Format,
) -> Result<Option<Chunk>, CliError> {
    let mut chunk = Chunk {
        writes: Vec::new(),
        lines: Vec::new(),
        bytes: 0,
    };
    while (chunk.writes.len() as u64) < rows_max && chunk.bytes < CHUNK_BYTES_MAX {
        let Some(row) = source.next()? else { break };
        let bytes = rjournal::entry::record::encode_row(format, &row)
            .map_err(|error| source.wrong(&text::causes(&error)))?;
        chunk.bytes += bytes.len();
        chunk.lines.push(source.line());
        chunk.writes.push(EncodedWrite {
            kind,
            file: format.file().clone(),
            bytes,
        });
    }
    Ok((!chunk.writes.is_empty()).then_some(chunk))
}

/// Sends rows into a transaction, in messages of a size that is good to send.
async fn send(
    transaction: &mut ClientTransaction<'_>,
    writes: &[EncodedWrite],
) -> Result<(), DatabaseError> {
    let mut rest = writes;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take_while(|write| {
                let fits = bytes < SEND_BYTES;
                bytes += write.bytes.len();
                fits
            })
            .count();
        let (now, later) = rest.split_at(count);
        transaction.write_all(now.to_vec()).await?;
        rest = later;
    }
    Ok(())
}

/// Transactions of so many rows; each is tried until it landed, and lands once.
async fn import(
    source: &mut Source<'_>,
    kind: WriteKind,
    rows_max: u64,
    format: &Format,
    database: &mut SteadyClient,
    imported: &mut Imported,
    meter: &Meter,
) -> Result<(), CliError> {
    let client = ClientId::from_bytes(SystemEntropy.id());
    let mut key = 0;
    while let Some(chunk) = next_chunk(source, rows_max, kind, format)? {
        key += 1;
        let writes = &chunk.writes;
        let landed = database
            .transact(DepositKey { client, key }, async |transaction| {
                send(transaction, writes).await
            })
            .await
            .map_err(|error| refused(source, &chunk, format, error))?;
        imported.note(writes.len() as u64, landed.class);
        meter.show(source.consumed(), source.bytes);
    }
    Ok(())
}

/// All rows in one transaction. It is not kept in memory, so it cannot be tried again.
async fn import_at_once(
    source: &mut Source<'_>,
    kind: WriteKind,
    format: &Format,
    database: &mut DatabaseClient,
    imported: &mut Imported,
    meter: &Meter,
) -> Result<(), CliError> {
    let mut transaction = database.begin(None).await?;
    let mut rows = 0;
    while let Some(chunk) = next_chunk(source, u64::MAX, kind, format)? {
        send(&mut transaction, &chunk.writes)
            .await
            .map_err(|error| refused(source, &chunk, format, error))?;
        rows += chunk.writes.len() as u64;
        meter.show(source.consumed(), source.bytes);
    }
    match transaction.commit().await? {
        Outcome::Nothing => {}
        Outcome::Landed { class, .. } | Outcome::Unapplied { class, .. } => {
            imported.note(rows, Some(class));
        }
        Outcome::Unknown { sequence, why } => {
            let text = format!(
                "UNKNOWN: whether the transaction, entry {sequence}, will stay cannot be told: {}",
                text::unknown(why)
            );
            let error = CommandError::new(ErrorKind::TimedOut, "RJN6014", text);
            return Err(CliError(error));
        }
    }
    Ok(())
}

/// Rows that were refused: the lines that have the key it is about, else all lines of the transaction.
fn refused(source: &Source<'_>, chunk: &Chunk, format: &Format, error: DatabaseError) -> CliError {
    let lines = match &error {
        DatabaseError::Duplicate { key, .. } | DatabaseError::Locked { key, .. } => {
            let same = chunk
                .writes
                .iter()
                .zip(&chunk.lines)
                .filter(|(write, _)| key_of(format, write).is_some_and(|of| of == *key));
            same.map(|(_, line)| line.to_string()).collect()
        }
        _ => Vec::new(),
    };
    let lines = match (lines.as_slice(), chunk.lines.as_slice()) {
        ([], [first, .., last]) => format!("lines {first} to {last}"),
        ([], [only]) => format!("line {only}"),
        ([line], _) => format!("line {line}"),
        (lines, _) => format!("lines {}", lines.join(", ")),
    };
    let error = CommandError::from(error);
    let text = format!(
        "FROMSTMF {}, {lines}: {}",
        source.path.display(),
        error.text
    );
    CliError(CommandError { text, ..error })
}

/// The key of a row, as errors name it.
fn key_of(format: &Format, write: &EncodedWrite) -> Option<String> {
    let row = decode_row(format, &write.bytes).ok()?;
    let key = encode_key(format, &row).ok()?;
    Some(key_text(Some(format), &key))
}

impl Imported {
    fn note(&mut self, rows: u64, class: Option<AckClass>) {
        self.rows += rows;
        self.transactions += 1;
        let count = match class {
            Some(AckClass::Sync) => &mut self.answers.sync,
            Some(AckClass::Received) => &mut self.answers.received,
            Some(AckClass::Local) => &mut self.answers.local,
            None => &mut self.answers.lost_and_found,
        };
        *count += 1;
        // Of one whose answer was lost nobody knows more than that it is on disk here.
        let class = class.unwrap_or(AckClass::Local);
        self.answer = Some(weaker(self.answer, class));
    }
}

/// The lesser of two ack classes, as printed.
fn weaker(before: Option<&'static str>, class: AckClass) -> &'static str {
    let rank = |name: &str| {
        ["LOCAL", "RECEIVED", "SYNC"]
            .iter()
            .position(|known| *known == name)
    };
    let class = text::class(class);
    before
        .filter(|before| rank(before) < rank(class))
        .unwrap_or(class)
}

/// Makes the file from the header and the texts below it, and starts journaling. Says whether it was made: one that is
/// there is taken as it is.
async fn create(
    args: &Args,
    delimiter: u8,
    client: &Client,
    meter: &Meter,
) -> Result<bool, CliError> {
    let files = client.run(ListFiles { file: None }).await?.files;
    if let Some(known) = files.iter().find(|known| known.file == args.tofile) {
        require_same(args, known)?;
        return Ok(false);
    }
    if args.fromstmf == Path::new("-") {
        return Err(CliError::invalid(
            "CRTFILE reads the stream file twice, so it cannot be standard input; CRTPF makes the file",
        ));
    }
    let journal = args
        .jrn
        .ok_or_else(|| CliError::invalid("CRTFILE needs JRN, the journal of the file"))?;
    let (fields, key) = design(args, delimiter, meter)?;
    let request = CreateFile {
        file: args.tofile.clone(),
        fields,
        key,
        text: String::new(),
    };
    client.run(request).await?;
    let request = StartJournaling {
        file: args.tofile.clone(),
        journal,
        images: rjournal::entry::record::Images::default(),
    };
    let Err(error) = client.run(request).await else {
        return Ok(true);
    };
    // A file that is certainly not journaled would stand in the way of the next try.
    if !matches!(error.kind, ErrorKind::TimedOut | ErrorKind::Unreachable) {
        let file = args.tofile.clone();
        // Why it is not journaled is what there is to say.
        drop(client.run(DeleteFile { file }).await);
    }
    Err(CliError(error))
}

/// A file that is there is taken as it is: what was said of one to be made must be so.
fn require_same(args: &Args, known: &FileDescription) -> Result<(), CliError> {
    let file = &args.tofile;
    let key: Vec<FieldName> = known
        .format
        .key_fields()
        .map(|field| field.name.clone())
        .collect();
    let named: Option<Vec<FieldName>> = if is_none(&args.key) {
        Some(Vec::new())
    } else {
        let names = args.key.iter().map(|name| FieldName::new(name).ok());
        names.collect()
    };
    if !args.key.is_empty() && named.as_ref() != Some(&key) {
        let names: Vec<&str> = key.iter().map(FieldName::as_str).collect();
        let is = if names.is_empty() {
            "*NONE".to_owned()
        } else {
            names.join(",")
        };
        return Err(CliError::invalid(format!(
            "KEY {}: file {file} is there already, and its key is {is}",
            args.key.join(",")
        )));
    }
    match (args.jrn, known.journal) {
        (Some(given), Some(journal)) if given != journal => Err(CliError::invalid(format!(
            "JRN {given}: file {file} is there already, and is journaled to {journal}"
        ))),
        _ => Ok(()),
    }
}

/// Whether a file without key fields is meant.
fn is_none(key: &[String]) -> bool {
    matches!(key, [only] if text::special(only) == "NONE")
}

/// Fields and key of a file that holds what a stream file holds. What keeps a record from being a row of it is told here,
/// before anything is made.
fn design(
    args: &Args,
    delimiter: u8,
    meter: &Meter,
) -> Result<(Vec<Field>, Vec<FieldName>), CliError> {
    let path = &args.fromstmf;
    let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    let mut reader =
        CsvReader::new(open(path)?, delimiter).map_err(|error| unreadable(path, &error))?;
    let names = header(&mut reader, path)?;
    let key: Vec<FieldName> = match args.key.as_slice() {
        [] => names.first().cloned().into_iter().collect(),
        given if is_none(given) => Vec::new(),
        given => given
            .iter()
            .map(|name| {
                FieldName::new(name)
                    .ok()
                    .filter(|name| names.contains(name))
                    .ok_or_else(|| {
                        CliError::invalid(format!(
                            "KEY {name}: it is no column of {}",
                            path.display()
                        ))
                    })
            })
            .collect::<Result<_, _>>()?,
    };
    let mut guesses = vec![ColumnGuess::new(); names.len()];
    while let Some(record) = reader
        .next(names.len())
        .map_err(|error| unreadable(path, &error))?
    {
        let wrong = |text: &str| wrong_line(path, reader.line(), text);
        require_columns(&record, names.len()).map_err(|why| wrong(&why))?;
        for (name, cell) in names.iter().zip(&record) {
            if cell.is_none() && key.contains(name) {
                return Err(wrong(&format!("{name}: a key field has a value")));
            }
        }
        for (guess, cell) in guesses.iter_mut().zip(&record) {
            guess.observe(cell.as_deref());
        }
        meter.show(reader.consumed() / 2, bytes);
    }
    let fields = names.into_iter().zip(guesses).map(|(name, guess)| {
        let is_key = key.contains(&name);
        Field {
            name,
            field_type: roomy(guess.finish().field_type),
            // A later row may have no value where all of these have one.
            nullable: !is_key,
        }
    });
    Ok((fields.collect(), key))
}

/// Numbers of later rows may be larger.
const fn roomy(field_type: FieldType) -> FieldType {
    match field_type {
        FieldType::Decimal { precision, scale } if precision < DECIMAL_DIGITS_MIN => {
            FieldType::Decimal {
                precision: DECIMAL_DIGITS_MIN,
                scale,
            }
        }
        other => other,
    }
}
