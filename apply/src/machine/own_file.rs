//! Room `apply`, the machine: rows of the files it keeps for itself in the store. Must not know what they mean.

use rjournal::entry::ObjectId;
use rjournal::entry::record::{Format, Value, decode_row};

use crate::store::{StoreError, StoreReader};

/// The library they are in; no journal gives it to a file.
const OWN_LIBRARY: &str = "QRJOURNAL";
/// Rows read at once.
const ROWS: usize = 1024;
const ROWS_BYTES: usize = 1024 * 1024;

/// Whether a file is one of the machine's own, by its format.
pub(crate) fn is_own_file(format: &Format) -> bool {
    format.file().library.as_str() == OWN_LIBRARY
}

/// Goes through the rows of one of the machine's own files, if the store has it, in key order; a row that does not read as
/// one of `format` is passed over.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(super) fn read_rows(
    reader: &dyn StoreReader,
    file: ObjectId,
    format: &Format,
    mut take: impl FnMut(&[Value]),
) -> Result<(), StoreError> {
    if !reader.files()?.iter().any(|stored| stored.id == file) {
        return Ok(());
    }
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = reader.scan(file, after.as_deref(), ROWS, ROWS_BYTES)?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = Some(last.key.clone());
        for row in &rows {
            if let Ok(values) = decode_row(format, &row.row) {
                take(&values);
            }
        }
    }
}
