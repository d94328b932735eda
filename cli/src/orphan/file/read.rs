//! Package `cli`, orphans: an export is read, line by line; one that is damaged is named with the line. Must not know what is
//! done with it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::record::Format;
use rjournal::entry::{DepositKey, Epoch, ObjectId, Sequence};

use super::{ChangeLine, FormatLine, Header, Line, TransactionLine, VERSION};
use crate::error::CliError;
use crate::orphan::transaction::{Change, ChangeKind, Outcome};

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 30;

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
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
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
