//! Command SNDJRNE.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rjournal::daemon::command::entries::{EntrySent, SendEntry};
use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::codec::PAYLOAD_BYTES_MAX;
use rjournal::entry::{ClientId, DepositKey, FileName, Kind, QualifiedName};
use rjournal::journal::UnknownReason;

use super::Context;
use crate::attributes::seconds;
use crate::error::CliError;
use crate::text;

/// Most bytes of entry data.
const DATA_BYTES_MAX: u64 = PAYLOAD_BYTES_MAX as u64;

/// Send a user's own entry (code U) to a journal, and wait for its ack class
///
/// SYNC: on disk here and at every target of the in-sync set. LOCAL: on disk here only. UNKNOWN (exit code 10): it may be
/// in the journal or not; with a deposit key, sending it again is safe.
///
/// Example: rjournal sndjrne --jrn PRDLIB/JRN --type 01 --entdta "batch 17 done"
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The journal
    #[arg(long, value_name = "LIB/NAME")]
    jrn: QualifiedName,

    /// Entry type: two characters A-Z or 0-9
    #[arg(long = "type", value_name = "TYPE", default_value = "00")]
    entry_type: String,

    /// Its data, as text
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "entdta_file",
        allow_hyphen_values = true
    )]
    entdta: Option<String>,

    /// Its data, from a file; - for standard input
    #[arg(long, value_name = "FILE")]
    entdta_file: Option<PathBuf>,

    /// A file the entry is about
    #[arg(long, value_name = "LIB/NAME")]
    file: Option<FileName>,

    /// Deposit key, first half: the client, 32 hexadecimal digits chosen once and kept
    #[arg(long, value_name = "HEX", requires = "key")]
    client: Option<ClientId>,

    /// Deposit key, second half: a number that grows with every deposit of this client; a retry repeats it
    #[arg(long, value_name = "NUMBER", requires = "client")]
    key: Option<u64>,

    /// How long to wait for the answer
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "90",
        allow_negative_numbers = true
    )]
    wait: f64,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    if Kind::user(&args.entry_type).is_err() {
        return Err(CliError::invalid(format!(
            "TYPE {}: two characters A-Z or 0-9 are needed",
            args.entry_type
        )));
    }
    let data = match (&args.entdta, &args.entdta_file) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(path)) => read_data(path)?,
        (None, None) => Vec::new(),
    };
    let key = args
        .client
        .zip(args.key)
        .map(|(client, key)| DepositKey { client, key });
    let wait_ms = seconds(Some(args.wait), "WAIT")?.unwrap_or_default();
    let journal = args.jrn;
    let request = SendEntry {
        journal,
        entry_type: args.entry_type,
        data,
        file: args.file,
        key,
        wait_ms,
        user: None,
    };
    let client = context.client().await?;
    let sent = match client.run(request).await {
        // The request went out and the daemon is gone: nobody can say what became of it.
        Err(error) if error.kind == ErrorKind::Unreachable => {
            return Err(lost(&error, key.is_some()));
        }
        sent => sent?,
    };
    let value = serde_json::json!({
        "sequence": sent.sequence,
        "answer": sent.class.map_or("UNKNOWN", text::class),
        "class": sent.class,
        "unknown": sent.unknown,
        "again": sent.again,
    });
    context
        .output
        .result(&value, |_| explain(&sent, journal, key.is_some()));
    Ok(if sent.class.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(10)
    })
}

fn read_data(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error: std::io::Error| {
        CliError::invalid(format!("ENTDTA-FILE {}: {error}", path.display()))
    };
    let mut data = Vec::new();
    let mut limited: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock().take(DATA_BYTES_MAX + 1))
    } else {
        Box::new(
            std::fs::File::open(path)
                .map_err(failed)?
                .take(DATA_BYTES_MAX + 1),
        )
    };
    limited.read_to_end(&mut data).map_err(failed)?;
    if data.len() as u64 > DATA_BYTES_MAX {
        let most = text::count(DATA_BYTES_MAX);
        return Err(CliError::invalid(format!(
            "ENTDTA-FILE {}: an entry takes at most {most} bytes",
            path.display()
        )));
    }
    Ok(data)
}

const SAFE: &str = "Send it again with the same CLIENT and KEY: that is safe, it lands at most once. DSPDEP tells what became of it.";
const UNSAFE: &str = "It has no deposit key, so sending it again may put it in twice: look for it with DSPJRN first. With CLIENT and \
                      KEY a retry is safe.";

fn lost(error: &CommandError, has_key: bool) -> CliError {
    let text = format!(
        "UNKNOWN: the entry may be in the journal or not: {}",
        error.text
    );
    CliError(
        CommandError::new(ErrorKind::TimedOut, &error.id, text).help(if has_key {
            SAFE
        } else {
            UNSAFE
        }),
    )
}

fn explain(sent: &EntrySent, journal: QualifiedName, has_key: bool) -> String {
    let sequence = text::count(sent.sequence.get());
    let Some(class) = sent.class else {
        let why = text::unknown(sent.unknown.unwrap_or(UnknownReason::Deadline));
        let retry = if has_key { SAFE } else { UNSAFE };
        return format!(
            "UNKNOWN: whether entry {sequence} of {journal} will stay cannot be told: {why}.\n{retry}"
        );
    };
    let how = if sent.again {
        "had landed before under this key"
    } else {
        "deposited"
    };
    let journal = sent.journal.unwrap_or(journal);
    format!(
        "{}: entry {sequence} of {journal} {how}, {}.",
        text::class(class),
        text::class_means(class)
    )
}
