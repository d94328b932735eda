//! Room `apply`: what an entry means for a store. Entries that mean nothing to rows (users' own, receivers' changes) are
//! passed over; unknown ones of codes that could change rows are not. Must not know transactions or stores.

use rjournal::entry::record::{Format, decode_row, encode_key, record_number_key};
use rjournal::entry::{EntryFlags, EntryView, Kind, ObjectId, Payload, Sequence};

use crate::error::ApplyError;

/// What must be in the store before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// No row with the key.
    Absent,
    /// A row with the key, whatever it holds.
    Present,
    /// This very row.
    Row(Vec<u8>),
}

/// One change of rows, with what must be there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The entry it comes from.
    pub sequence: Sequence,
    /// The file.
    pub file: ObjectId,
    /// The key.
    pub key: Vec<u8>,
    /// The row from now on; nothing where it goes.
    pub row: Option<Vec<u8>>,
    /// What must be there before.
    pub expect: Expect,
}

impl Change {
    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let expected = if let Expect::Row(row) = &self.expect {
            row.len()
        } else {
            0
        };
        self.key.len() + self.row.as_ref().map_or(0, Vec::len) + expected + 96
    }
}

/// What an entry means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Nothing to rows.
    Nothing,
    /// The journal was opened: every commit cycle still open is rolled back (ruling 10).
    Opened,
    /// A commit cycle starts.
    CycleStart,
    /// A commit cycle is committed.
    Commit,
    /// A commit cycle is rolled back.
    Rollback,
    /// A file is there from now on, with this format.
    File(Box<Format>),
    /// Journaling of a file ended.
    JournalingEnded,
    /// A file is gone.
    FileGone,
    /// The image before the update that follows.
    Before,
    /// A row is put.
    Put,
    /// A row is changed.
    Update,
    /// A row is taken away.
    Delete,
}

/// What an entry means for a store.
///
/// # Errors
/// [`ApplyError::Poison`] when that cannot be told: a payload that was left out, or an entry of a kind that changes rows in
/// a way this program does not know.
pub(super) fn meaning(view: &EntryView<'_>) -> Result<Meaning, ApplyError> {
    let poison = |reason: String| ApplyError::Poison {
        sequence: view.sequence,
        reason,
    };
    let known = match view.kind {
        Kind::OPENED => Meaning::Opened,
        Kind::CYCLE_START => Meaning::CycleStart,
        Kind::CYCLE_COMMIT => Meaning::Commit,
        Kind::CYCLE_ROLLBACK => Meaning::Rollback,
        Kind::RECORD_BEFORE | Kind::ROLLBACK_BEFORE => Meaning::Before,
        Kind::RECORD_PUT | Kind::RECORD_PUT_AT => Meaning::Put,
        Kind::RECORD_UPDATE | Kind::ROLLBACK_UPDATE => Meaning::Update,
        Kind::RECORD_DELETE | Kind::ROLLBACK_DELETE => Meaning::Delete,
        Kind::FILE_CREATE | Kind::FILE_CHANGE | Kind::JOURNALING_START => {
            let format =
                Format::decode(view.payload.bytes()).map_err(|error| poison(error.to_string()))?;
            Meaning::File(Box::new(format))
        }
        Kind::JOURNALING_END => Meaning::JournalingEnded,
        Kind::FILE_DELETE => Meaning::FileGone,
        kind if matches!(kind.code(), 'U' | 'J') => return Ok(Meaning::Nothing),
        kind => {
            return Err(poison(format!(
                "this program does not know how to apply {kind}"
            )));
        }
    };
    if matches!(view.payload, Payload::Omitted { .. }) && view.kind.is_record() {
        return Err(poison("its image was left out by a filter".to_owned()));
    }
    if view.flags.must_understand & !EntryFlags::KNOWN != 0 {
        return Err(poison(format!(
            "its flags {:#06x} must be understood and are not",
            view.flags.must_understand
        )));
    }
    Ok(known)
}

/// The key of a row image.
///
/// # Errors
/// [`ApplyError::Poison`] when the image is not a row of the format.
pub(super) fn row_key(
    view: &EntryView<'_>,
    format: &Format,
    image: &[u8],
) -> Result<Vec<u8>, ApplyError> {
    if format.version() != view.format {
        let reason = format!(
            "its row is of format version {}, the file's is {}",
            view.format,
            format.version()
        );
        return Err(ApplyError::Poison {
            sequence: view.sequence,
            reason,
        });
    }
    let poison = |reason: String| ApplyError::Poison {
        sequence: view.sequence,
        reason,
    };
    let row = decode_row(format, image).map_err(|error| poison(error.to_string()))?;
    if format.key().is_empty() {
        if view.count == 0 {
            return Err(poison(
                "it has no record number, and its file no key".to_owned(),
            ));
        }
        return Ok(record_number_key(view.count).to_vec());
    }
    encode_key(format, &row).map_err(|error| poison(error.to_string()))
}
