//! Package `cli`, orphans: the file transactions are exported to, and read from again: JSON, an object in each line
//! (docs/FORMAT.md, orphan exports). Its first line says the version, its last one that it is whole. Must not know archives.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::record::Format;
use rjournal::entry::{
    DepositKey, Epoch, FileName, JournalId, Kind, ObjectId, Position, QualifiedName, Sequence,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use super::class::Class;
use super::transaction::{Change, ChangeKind, Outcome, Transaction};
use super::values::{key_of, row_of};
use crate::error::CliError;
use crate::objects::Objects;
use crate::rows;
use crate::text;

/// Version of the file.
const VERSION: u64 = 1;
/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The version.
    pub(crate) rjournal_orphans: u64,
    /// Identity of the journal.
    pub(crate) journal: JournalId,
    /// Its name where it was exported.
    pub(crate) name: QualifiedName,
    /// Number of the archive there.
    pub(crate) archive: u64,
    pub(crate) fork: Position,
    pub(crate) last: Position,
    pub(crate) archived_at: Timestamp,
    pub(crate) reason: String,
}

impl Header {
    /// The first line of an export of this archive.
    pub(crate) fn of(name: QualifiedName, orphan: &rjournal::journal::Orphan) -> Self {
        Self {
            rjournal_orphans: VERSION,
            journal: orphan.journal,
            name,
            archive: orphan.number,
            fork: orphan.fork,
            last: orphan.last,
            archived_at: orphan.archived_at,
            reason: orphan.reason.clone(),
        }
    }
}

/// Every further line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A format, before the first change that is written in it.
    Format(FormatLine),
    Transaction(Box<TransactionLine>),
    /// The last line: the file is whole.
    End {
        transactions: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct FormatLine {
    object: ObjectId,
    version: u32,
    file: FileName,
    /// As it is encoded, in hexadecimal.
    bytes: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct TransactionLine {
    sequence: Sequence,
    outcome: String,
    class: String,
    time: Timestamp,
    job: Option<String>,
    user: Option<String>,
    program: Option<String>,
    system: Option<String>,
    key: Option<DepositKey>,
    epoch: Epoch,
    incomplete: bool,
    changes: Vec<ChangeLine>,
    notes: Vec<NoteLine>,
}

/// A change: for people the values by the names of the fields, for programs the images.
#[derive(Debug, Serialize, Deserialize)]
struct ChangeLine {
    sequence: Sequence,
    change: String,
    file: Option<FileName>,
    object: ObjectId,
    format: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    record: u64,
    key: Option<Vec<serde_json::Value>>,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
    before_image: Option<String>,
    after_image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_image: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct NoteLine {
    sequence: Sequence,
    kind: Kind,
    object: ObjectId,
    data: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An export in the making.
pub(crate) struct Writing<'a, W> {
    out: &'a mut W,
    formats: Vec<(ObjectId, u32)>,
    transactions: u64,
}

impl<'a, W: Write> Writing<'a, W> {
    /// Begins it.
    pub(crate) fn begin(out: &'a mut W, header: &Header) -> std::io::Result<Self> {
        put(out, header)?;
        Ok(Self {
            out,
            formats: Vec::new(),
            transactions: 0,
        })
    }

    /// The next transaction.
    pub(crate) fn push(
        &mut self,
        transaction: &Transaction,
        class: Class,
        objects: &Objects<'_>,
    ) -> std::io::Result<()> {
        for change in &transaction.changes {
            let place = (change.object, change.format);
            if let Some(format) = objects.format(place.0, place.1)
                && !self.formats.contains(&place)
            {
                self.formats.push(place);
                let line = FormatLine {
                    object: place.0,
                    version: place.1,
                    file: format.file().clone(),
                    bytes: text::hex(&format.encode()),
                };
                put(self.out, &Line::Format(line))?;
            }
        }
        let [job, user, program, system] = transaction.actor.clone();
        let line = TransactionLine {
            sequence: transaction.sequence,
            outcome: transaction.outcome.name().to_owned(),
            class: class.name().to_owned(),
            time: transaction.time,
            job,
            user,
            program,
            system,
            key: transaction.key,
            epoch: transaction.epoch,
            incomplete: transaction.incomplete,
            changes: transaction
                .changes
                .iter()
                .map(|change| change_line(change, objects.format(change.object, change.format)))
                .collect(),
            notes: transaction
                .notes
                .iter()
                .map(|note| NoteLine {
                    sequence: note.sequence,
                    kind: note.kind,
                    object: note.object,
                    data: text::hex(&note.data),
                })
                .collect(),
        };
        self.transactions += 1;
        put(self.out, &Line::Transaction(Box::new(line)))
    }

    /// Ends it; gives how many transactions are in it.
    pub(crate) fn finish(self) -> std::io::Result<u64> {
        let transactions = self.transactions;
        put(self.out, &Line::End { transactions })?;
        Ok(transactions)
    }
}

fn put(out: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn change_line(change: &Change, format: Option<&Format>) -> ChangeLine {
    let values = |image: &Option<Vec<u8>>| row_of(format, image.as_deref()).map(|row| row.json());
    let hex = |image: &Option<Vec<u8>>| image.as_deref().map(text::hex);
    let key = format.and_then(|format| key_of(change, format));
    ChangeLine {
        sequence: change.sequence,
        change: change.kind.name().to_owned(),
        file: format.map(|format| format.file().clone()),
        object: change.object,
        format: change.format,
        record: change.record,
        key: key.map(|key| key.iter().map(rows::json).collect()),
        before: values(&change.before),
        after: values(&change.after),
        before_image: hex(&change.before),
        after_image: hex(&change.after),
        key_image: hex(&change.key),
    }
}

/// A transaction that was read.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) sequence: Sequence,
    pub(crate) outcome: Outcome,
    pub(crate) key: Option<DepositKey>,
    pub(crate) epoch: Epoch,
    pub(crate) incomplete: bool,
    pub(crate) changes: Vec<Change>,
    /// How many entries it has that are no changes of rows.
    pub(crate) notes: usize,
}

/// The lines of a file.
struct Lines {
    path: PathBuf,
    input: BufReader<File>,
    line: String,
    number: u64,
}

impl Lines {
    fn damaged(&self, why: &dyn std::fmt::Display) -> CliError {
        let text = format!("{}, line {}: {why}", self.path.display(), self.number);
        let help = "nothing was deposited; export it again";
        CliError(CommandError::new(ErrorKind::Damaged, "RJN4042", text).help(help))
    }

    /// Reads a line; says whether there was one.
    fn next(&mut self) -> Result<bool, CliError> {
        self.line.clear();
        self.number += 1;
        let mut input = (&mut self.input).take(LINE_BYTES_MAX);
        let read = input.read_line(&mut self.line);
        let read = read.map_err(|error| self.damaged(&error))?;
        if read > 0 && !self.line.ends_with('\n') {
            return Err(self.damaged(&"the line is cut short"));
        }
        Ok(read > 0)
    }

    fn header(&self) -> Result<Header, CliError> {
        let version = serde_json::from_str::<serde_json::Value>(&self.line)
            .ok()
            .and_then(|line| line.get("rjournal_orphans")?.as_u64());
        let path = self.path.display();
        match version {
            Some(VERSION) => serde_json::from_str(&self.line).map_err(|error| self.damaged(&error)),
            Some(version) => {
                let text = format!(
                    "{path} has format version {version}, which a newer program wrote; use that one"
                );
                let error = CommandError::new(ErrorKind::Refused, "RJN4042", text);
                Err(CliError(error))
            }
            None => {
                let text = format!("{path} is no export of orphans");
                let error = CommandError::new(ErrorKind::Invalid, "RJN4042", text);
                Err(CliError(error.help("ORPHANS EXPORT writes one")))
            }
        }
    }
}

/// An export that is read.
pub(crate) struct Reading {
    lines: Lines,
    pub(crate) header: Header,
    formats: HashMap<(ObjectId, u32), Format>,
    transactions: u64,
    whole: bool,
}

impl Reading {
    /// Opens one, and reads its first line.
    ///
    /// # Errors
    /// [`CliError`]: it is none, was written by a newer program, or cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let unreadable = |error| CliError::unreadable_path("FROM", path, &error);
        let input = BufReader::new(File::open(path).map_err(unreadable)?);
        if path.is_dir() {
            let why = "it is a directory";
            return Err(CliError::wrong_path(ErrorKind::Invalid, "FROM", path, &why));
        }
        let mut lines = Lines {
            path: path.to_owned(),
            input,
            line: String::new(),
            number: 0,
        };
        // What is no text is no export.
        if lines.next().is_err() {
            lines.line.clear();
        }
        Ok(Self {
            header: lines.header()?,
            lines,
            formats: HashMap::new(),
            transactions: 0,
            whole: false,
        })
    }

    /// The next transaction; nothing at the end.
    ///
    /// # Errors
    /// [`CliError`] naming file and line where it is damaged, also when it ends too early.
    pub(crate) fn next_transaction(&mut self) -> Result<Option<Exported>, CliError> {
        while !self.whole {
            if !self.lines.next()? {
                return Err(self.damaged(&"the file is cut short: its last line is missing"));
            }
            let line = serde_json::from_str(&self.lines.line);
            let line: Line = line.map_err(|error| self.damaged(&error))?;
            match line {
                Line::Format(line) => self.take_format(&line)?,
                Line::Transaction(line) => {
                    self.transactions += 1;
                    return self.transaction(&line).map(Some);
                }
                Line::End { transactions } if transactions == self.transactions => {
                    self.whole = true;
                }
                Line::End { transactions } => {
                    let why = format!("{transactions} transactions were written");
                    return Err(self.damaged(&why));
                }
            }
        }
        Ok(None)
    }

    fn damaged(&self, why: &dyn std::fmt::Display) -> CliError {
        self.lines.damaged(why)
    }

    fn take_format(&mut self, line: &FormatLine) -> Result<(), CliError> {
        let bytes = unhex(&line.bytes).ok_or_else(|| self.damaged(&"no hexadecimal digits"))?;
        let format = Format::decode(&bytes).map_err(|error| self.damaged(&error))?;
        if format.version() != line.version || *format.file() != line.file {
            return Err(self.damaged(&"the format is another one than it says"));
        }
        self.formats.insert((line.object, line.version), format);
        Ok(())
    }

    fn transaction(&self, line: &TransactionLine) -> Result<Exported, CliError> {
        let outcomes = [Outcome::Committed, Outcome::Alone, Outcome::NeverCommitted];
        let outcome = outcomes
            .into_iter()
            .find(|known| known.name() == line.outcome);
        let outcome = outcome.ok_or_else(|| self.damaged(&"an outcome that is not known"))?;
        let changes = line.changes.iter().map(|change| self.change(change));
        Ok(Exported {
            sequence: line.sequence,
            outcome,
            key: line.key,
            epoch: line.epoch,
            incomplete: line.incomplete,
            changes: changes.collect::<Result<_, _>>()?,
            notes: line.notes.len(),
        })
    }

    fn change(&self, line: &ChangeLine) -> Result<Change, CliError> {
        let kinds = [ChangeKind::Put, ChangeKind::Update, ChangeKind::Delete];
        let kind = kinds.into_iter().find(|known| known.name() == line.change);
        let kind = kind.ok_or_else(|| self.damaged(&"a change that is not known"))?;
        let image = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => unhex(text)
                .map(Some)
                .ok_or_else(|| self.damaged(&"no hexadecimal digits")),
        };
        Ok(Change {
            sequence: line.sequence,
            kind,
            object: line.object,
            format: line.format,
            record: line.record,
            before: image(&line.before_image)?,
            after: image(&line.after_image)?,
            key: image(&line.key_image)?,
        })
    }

    /// The format a change is written in, as far as the file says.
    pub(crate) fn format(&self, change: &Change) -> Option<&Format> {
        self.formats.get(&(change.object, change.format))
    }
}

/// The bytes of hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        match pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        }
    };
    digits.map(byte).collect()
}
