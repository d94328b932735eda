//! Package `cli`, the demonstration: CSV files of the user's own: imported while both systems are killed, exported on both
//! sides, and held against the input. Must not know how rows are encoded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::proof::Proofs;
use super::{Ledger, rate};
use crate::csv_text::{Cell, CsvReader};
use crate::error::CliError;
use crate::pair::{Pair, Running, until};

/// Rows in one transaction.
const ROWS: &str = "50";

/// A CSV file.
#[derive(Debug)]
struct Table {
    path: PathBuf,
    file: String,
    /// Whether its first column tells rows apart.
    keyed: bool,
    rows: u64,
}

/// The CSV files.
#[derive(Debug)]
pub(super) struct Import {
    tables: Vec<Table>,
    out: PathBuf,
}

impl Import {
    /// Looks at all CSV files of a directory.
    pub(super) fn read(from: &Path, dir: &Path) -> Result<Self, CliError> {
        let failed =
            |error: std::io::Error| CliError::invalid(format!("FROM {}: {error}", from.display()));
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(from).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
            {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(CliError::invalid(format!(
                "FROM {}: there are no CSV files",
                from.display()
            )));
        }
        paths.sort();
        let tables: Result<Vec<Table>, CliError> = paths.into_iter().map(Table::read).collect();
        let tables = tables?;
        if tables.iter().all(|table| table.rows == 0) {
            return Err(CliError::invalid(format!(
                "FROM {}: there are no rows in its CSV files",
                from.display()
            )));
        }
        Ok(Self {
            tables,
            out: dir.join("csv"),
        })
    }

    /// The two tables with the most rows, in the order they come in; with one table it is both.
    fn largest(&self) -> (usize, usize) {
        let mut order: Vec<usize> = (0..self.tables.len()).collect();
        order.sort_by_key(|&index| {
            std::cmp::Reverse(self.tables.get(index).map_or(0, |table| table.rows))
        });
        let first = order.first().copied().unwrap_or(0);
        let second = order.get(1).copied().unwrap_or(first);
        (first.min(second), first.max(second))
    }

    /// Imports everything; both systems are killed while rows come in, the target first.
    pub(super) async fn run(&mut self, pair: &mut Pair) -> Result<Ledger, CliError> {
        let mut ledger = Ledger::default();
        let (target_at, source_at) = self.largest();
        let (began, mut disturbed) = (Instant::now(), std::time::Duration::ZERO);
        for (index, table) in self.tables.iter().enumerate() {
            let path = table.path.to_string_lossy().into_owned();
            let mut command = vec!["cpyfrmimpf", "--fromstmf", &path, "--tofile", &table.file];
            command.extend(["--crtfile", "--jrn", "PRDLIB/JRN", "--commit", ROWS]);
            if !table.keyed {
                command.extend(["--key", "*NONE"]);
            }
            let struck = Instant::now();
            let mut program = pair.source.command(&command)?;
            if index == target_at {
                rows_come_in(pair, &mut program, table.rows / 4).await?;
                pair.strike_target().await?;
                pair.in_sync().await?;
            }
            if index == source_at {
                rows_come_in(pair, &mut program, table.rows / 4).await?;
                pair.strike_source().await?;
                pair.in_sync().await?;
            }
            let done = program.ended().await?;
            if index == target_at || index == source_at {
                disturbed += struck.elapsed();
            }
            let number = |name: &str| {
                done.pointer(&format!("/answers/{name}"))
                    .and_then(serde_json::Value::as_u64)
                    .unwrap_or(0)
            };
            ledger.sync += number("sync");
            ledger.local += number("local") + number("received");
            ledger.found += number("lost_and_found");
        }
        let quiet = began.elapsed().saturating_sub(disturbed);
        ledger.rate = rate(ledger.sync + ledger.local + ledger.found, quiet);
        Ok(ledger)
    }

    /// Both sides' exports are the same bytes, and hold the rows of the input.
    pub(super) async fn prove(&mut self, pair: &Pair, proofs: &mut Proofs) -> Result<(), CliError> {
        proofs.content_text =
            "CPYTOIMPF gives the same bytes on both sides, and the rows that were in the input";
        proofs.content_right = true;
        for table in &self.tables {
            let mut exports = Vec::new();
            for system in [&pair.source, &pair.target] {
                let dir = self.out.join(system.name);
                std::fs::create_dir_all(&dir).map_err(|error| CliError::internal(&error))?;
                let to = dir.join(table.path.file_name().unwrap_or_default());
                let path = to.to_string_lossy().into_owned();
                system
                    .run_unseen(&["cpytoimpf", "--fromfile", &table.file, "--tostmf", &path])
                    .await?;
                exports.push(to);
            }
            let bytes: Result<Vec<Vec<u8>>, _> = exports.iter().map(std::fs::read).collect();
            let bytes = bytes.map_err(|error| CliError::internal(&error))?;
            if bytes.first() != bytes.last() {
                proofs.content_right = false;
                proofs.tell(format!("{}: the exports differ", table.file));
            }
            let input = rows_of(&table.path)?;
            let replica = exports.last().map(|path| rows_of(path)).transpose()?;
            let missing = missing(&input, &replica.unwrap_or_default());
            if missing > 0 {
                proofs.content_right = false;
                proofs.lost_sync_answers += missing;
                proofs.tell(format!(
                    "{}: {missing} rows of the input are missing or there are others",
                    table.file
                ));
            }
        }
        Ok(())
    }
}

/// Waits until the command that runs now has brought rows in, so that the blow falls into its work; or until it ended.
async fn rows_come_in(pair: &Pair, program: &mut Running, rows: u64) -> Result<(), CliError> {
    let before = pair.source.journal().await?.watermarks.deposited;
    until("rows come in", async || {
        let journal = pair.source.journal().await?;
        let come_in = journal.watermarks.deposited.entries_since(before);
        Ok(come_in > rows || program.has_ended()?)
    })
    .await
}

impl Table {
    fn read(path: PathBuf) -> Result<Self, CliError> {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut seen = std::collections::HashSet::new();
        let (mut keyed, mut rows) = (true, 0);
        let mut reader = open(&path)?;
        let columns = next(&mut reader, &path, 0)?.map_or(0, |header| header.len());
        while let Some(record) = next(&mut reader, &path, columns)? {
            let first = record.into_iter().next().flatten();
            keyed &= first.is_some_and(|first| seen.insert(first));
            rows += 1;
        }
        let file = format!("PRDLIB/{stem}");
        let parsed: Result<rjournal::entry::FileName, _> = file.parse();
        if let Err(error) = parsed {
            return Err(CliError::invalid(format!(
                "FROM {}: {error}: name it as a file may be named",
                path.display()
            )));
        }
        Ok(Self {
            path,
            file,
            keyed,
            rows,
        })
    }
}

fn open(path: &Path) -> Result<CsvReader<std::fs::File>, CliError> {
    std::fs::File::open(path)
        .and_then(|file| CsvReader::new(file, b','))
        .map_err(|error| CliError::invalid(format!("{}: {error}", path.display())))
}

fn next(
    reader: &mut CsvReader<std::fs::File>,
    path: &Path,
    columns: usize,
) -> Result<Option<Vec<Cell>>, CliError> {
    reader
        .next(columns)
        .map_err(|error| CliError::invalid(format!("{}: {error}", path.display())))
}

/// The rows of a CSV file, and how often each is there.
fn rows_of(path: &Path) -> Result<HashMap<Vec<Cell>, u64>, CliError> {
    let mut reader = open(path)?;
    let mut rows = HashMap::new();
    let columns = match next(&mut reader, path, 0)? {
        Some(header) => {
            let columns = header.len();
            rows.insert(header, 1);
            columns
        }
        None => return Ok(rows),
    };
    while let Some(record) = next(&mut reader, path, columns)? {
        *rows.entry(record).or_default() += 1;
    }
    Ok(rows)
}

/// How many rows are in one and not in the other.
fn missing(input: &HashMap<Vec<Cell>, u64>, found: &HashMap<Vec<Cell>, u64>) -> u64 {
    let lacks = |one: &HashMap<Vec<Cell>, u64>, other: &HashMap<Vec<Cell>, u64>| -> u64 {
        one.iter()
            .map(|(row, count)| count.saturating_sub(other.get(row).copied().unwrap_or(0)))
            .sum()
    };
    lacks(input, found) + lacks(found, input)
}
