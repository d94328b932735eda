//! Package `cli`: a stream file that is imported: its header matched with the fields of a file, its records read as rows of it.
//! Must not know stores or transactions.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rjournal::entry::record::{Field, FieldName, Format, Value};

use crate::csv_text::{Cell, CsvReader};
use crate::error::CliError;
use crate::text;

/// Opens a stream file; `-` is standard input.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>, CliError> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    File::open(path)
        .map(|file| Box::new(file) as Box<dyn Read + Send>)
        .map_err(|error| unreadable(path, &error))
}

/// Why a stream file cannot be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    if error.kind() == std::io::ErrorKind::InvalidData {
        // What stands in it is no CSV; the line is named.
        return CliError::invalid(format!("FROMSTMF {}, {error}", path.display()));
    }
    CliError::unreadable_path("FROMSTMF", path, error)
}

/// An import file, its header read and matched.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    reader: CsvReader<Box<dyn Read + Send>>,
    fields: Vec<Field>,
    /// For each column the field it goes to.
    places: Vec<usize>,
    /// How long it is; 0 where that cannot be told.
    pub(crate) bytes: u64,
}

impl<'a> Source<'a> {
    /// Opens it, reads the header and looks the columns up.
    ///
    /// # Errors
    /// `RJN1008` where it cannot be read, `CPF0006` where a column is no field.
    pub(crate) fn open(path: &'a Path, delimiter: u8, format: &Format) -> Result<Self, CliError> {
        let mut reader =
            CsvReader::new(open(path)?, delimiter).map_err(|error| unreadable(path, &error))?;
        let header = header(&mut reader, path)?;
        let mut places = Vec::with_capacity(header.len());
        for name in &header {
            let place = format
                .position(name)
                .map(usize::from)
                .filter(|place| !places.contains(place));
            let Some(place) = place else {
                let names: Vec<&str> = format
                    .fields()
                    .iter()
                    .map(|field| field.name.as_str())
                    .collect();
                return Err(CliError::invalid(format!(
                    "FROMSTMF {}: column {name} is no field of {}, or stands twice; it has {}",
                    path.display(),
                    format.file(),
                    names.join(", ")
                )));
            };
            places.push(place);
        }
        Ok(Self {
            path,
            reader,
            fields: format.fields().to_vec(),
            places,
            bytes: std::fs::metadata(path).map_or(0, |found| found.len()),
        })
    }

    /// The line the last row began in.
    pub(crate) const fn line(&self) -> u64 {
        self.reader.line()
    }

    /// Bytes taken so far.
    pub(crate) const fn consumed(&self) -> u64 {
        self.reader.consumed()
    }

    /// The next row, in the types of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Value>>, CliError> {
        let record = self
            .reader
            .next(self.places.len())
            .map_err(|error| unreadable(self.path, &error))?;
        let Some(record) = record else {
            return Ok(None);
        };
        require_columns(&record, self.places.len()).map_err(|why| self.wrong(&why))?;
        let mut row = vec![Value::Null; self.fields.len()];
        for (cell, place) in record.iter().zip(&self.places) {
            let (Some(cell), Some(field)) = (cell, self.fields.get(*place)) else {
                continue;
            };
            let value = Value::parse(cell, &field.field_type).map_err(|error| {
                self.wrong(&format!("{}: {}", field.name, text::causes(&error)))
            })?;
            if let Some(slot) = row.get_mut(*place) {
                *slot = value;
            }
        }
        Ok(Some(row))
    }

    /// What is wrong with the last row.
    pub(crate) fn wrong(&self, text: &str) -> CliError {
        wrong_line(self.path, self.line(), text)
    }
}

/// What is wrong with a line.
pub(crate) fn wrong_line(path: &Path, line: u64, text: &str) -> CliError {
    let path = path.display();
    CliError::invalid(format!("FROMSTMF {path}, line {line}: {text}"))
}

/// A record has as many fields as the header.
pub(crate) fn require_columns(record: &[Cell], columns: usize) -> Result<(), String> {
    if record.len() == columns {
        return Ok(());
    }
    Err(format!(
        "{}, the header has {columns}",
        text::counted(record.len() as u64, "field", "fields")
    ))
}

/// The names in the header line.
pub(crate) fn header(
    reader: &mut CsvReader<Box<dyn Read + Send>>,
    path: &Path,
) -> Result<Vec<FieldName>, CliError> {
    let bad = |text: String| CliError::invalid(format!("FROMSTMF {}: {text}", path.display()));
    let record = reader
        .next(0)
        .map_err(|error| unreadable(path, &error))?
        .ok_or_else(|| {
            bad("it is empty; a header line with the names of fields is needed".to_owned())
        })?;
    let name = |(index, cell): (usize, Cell)| {
        let cell = cell.unwrap_or_default();
        FieldName::new(cell.trim())
            .map_err(|error| bad(format!("column {}: {}", index + 1, text::causes(&error))))
    };
    record.into_iter().enumerate().map(name).collect()
}
