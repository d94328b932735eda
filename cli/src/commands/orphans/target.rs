//! Command `orphans redeposit`: the row an exported change is about, in the store it is deposited through. Must not change it.

use rjournal::entry::record::{Format, Value, encode_row};
use rjournal::entry::{FileName, payload_hash};
use rjournal_apply::error::DatabaseError;
use rjournal_apply::serve::{ClientTransaction, DatabaseClient};

use crate::error::CliError;
use crate::orphan::{Change, ChangeKind, Reading, key_of, row_of};
use crate::text;

/// The row a change is about, in the file as the store has it.
pub(super) struct Target<'a> {
    pub(super) format: &'a Format,
    pub(super) key: Vec<Value>,
    /// What the change found; nothing for no row.
    pub(super) before: Option<Vec<Value>>,
    /// Whether it is known what it found.
    pub(super) comparable: bool,
    /// What it left.
    pub(super) row: Option<Vec<Value>>,
}

impl<'a> Target<'a> {
    /// Finds it, or says why it cannot be.
    pub(super) async fn find(
        reading: &'a Reading,
        change: &Change,
        database: &mut DatabaseClient,
    ) -> Result<Result<Self, String>, DatabaseError> {
        let Some(format) = reading.format(change) else {
            return Ok(Err(NO_FORMAT.to_owned()));
        };
        let found = database.file(format.file()).await;
        Self::of(format, change, found.map(|handle| handle.format().clone()))
    }

    /// As [`Self::find`], within a transaction.
    pub(super) async fn within(
        reading: &'a Reading,
        change: &Change,
        open: &mut ClientTransaction<'_>,
    ) -> Result<Result<Self, String>, DatabaseError> {
        let Some(format) = reading.format(change) else {
            return Ok(Err(NO_FORMAT.to_owned()));
        };
        let found = open.file(format.file()).await;
        Self::of(format, change, found.map(|handle| handle.format().clone()))
    }

    fn of(
        format: &'a Format,
        change: &Change,
        found: Result<Format, DatabaseError>,
    ) -> Result<Result<Self, String>, DatabaseError> {
        let now = match found {
            Ok(now) => now,
            Err(error @ DatabaseError::NoFile { .. }) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        };
        if now.fields() != format.fields() || now.key() != format.key() {
            let reason = "the file has other fields now than the transaction was made with";
            return Ok(Err(reason.to_owned()));
        }
        let values =
            |image: &Option<Vec<u8>>| row_of(Some(format), image.as_deref()).map(|row| row.values);
        let (before, row) = (values(&change.before), values(&change.after));
        let whole = match change.kind {
            ChangeKind::Put | ChangeKind::Update => row.is_some(),
            ChangeKind::Delete => true,
        };
        let Some(key) = key_of(change, format).filter(|_| whole) else {
            return Ok(Err("its images are no rows of the file".to_owned()));
        };
        if format.key().is_empty() && change.kind == ChangeKind::Update {
            let reason =
                "the file has no key fields: its rows can be added and deleted, not updated";
            return Ok(Err(reason.to_owned()));
        }
        Ok(Ok(Self {
            format,
            key,
            comparable: change.kind == ChangeKind::Put || before.is_some(),
            before,
            row,
        }))
    }

    /// The file.
    pub(super) const fn file(&self) -> &FileName {
        self.format.file()
    }

    /// A row of a file without key fields gets a number of its own again.
    pub(super) fn is_new_record(&self, change: &Change) -> bool {
        self.format.key().is_empty() && change.kind == ChangeKind::Put
    }

    /// A hash of what it holds, as of an image.
    pub(super) fn hash(&self, row: Option<&[Value]>) -> Result<Option<[u8; 32]>, CliError> {
        let Some(row) = row else { return Ok(None) };
        let encoded = encode_row(self.format, row);
        let encoded = encoded.map_err(|error| CliError::internal(&text::causes(&error)))?;
        Ok(Some(payload_hash(&encoded)))
    }
}

const NO_FORMAT: &str = "the format of its row is not in the file";

/// Why a row is not as a change found it.
pub(super) fn not_as_found(change: &Change, there: bool) -> String {
    let reason = match (change.kind, there) {
        (ChangeKind::Put, _) => "a row with its key is there now",
        (_, false) => "the row is not there any more",
        _ if change.before.is_none() => "what it found is not known (images *AFTER)",
        _ => "the row was changed since",
    };
    reason.to_owned()
}
