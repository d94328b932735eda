//! Room `apply`: a step meets its store: what each change expects is compared with what is there, then the step becomes one
//! batch. The comparison is what keeps a replica honest: a row somebody else changed stops the job (failures.md APL-6).
//! Must not know where steps come from.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use rjournal::entry::ObjectId;
use rjournal::entry::record::{Format, decode_key, decode_row, record_number};

use super::Step;
use super::meaning::{Change, Expect};
use crate::error::{ApplyError, file_text};
use crate::store::{Batch, FileChange, RowChange, StoreReader};

/// Makes the batch of a step.
///
/// # Errors
/// [`ApplyError::Conflict`] when the store does not hold what a change expects; `Store` when it cannot be read.
pub fn resolve<S: BuildHasher>(
    step: Step,
    reader: &dyn StoreReader,
    formats: &HashMap<ObjectId, Format, S>,
) -> Result<Batch, ApplyError> {
    let mut pending: HashMap<(ObjectId, Vec<u8>), Option<Vec<u8>>> =
        HashMap::with_capacity(step.changes.len());
    // Files of a step come before its rows: one that is dropped holds none any more.
    let dropped: HashSet<ObjectId> = step
        .files
        .iter()
        .filter_map(|change| match change {
            FileChange::Drop { id } => Some(*id),
            FileChange::Put { .. } => None,
        })
        .collect();
    let mut rows = Vec::with_capacity(step.changes.len());
    for change in step.changes {
        let place = (change.file, change.key);
        let found = match pending.get(&place) {
            Some(row) => row.clone(),
            None if dropped.contains(&place.0) => None,
            None => reader.get(place.0, &place.1)?,
        };
        let fits = match (&change.expect, &found) {
            (Expect::Absent, None) | (Expect::Present, Some(_)) => true,
            (Expect::Row(expected), Some(row)) => expected == row,
            _ => false,
        };
        let (file, key) = place;
        let change = Change {
            file,
            key,
            ..change
        };
        if !fits {
            return Err(conflict(&change, found.as_deref(), formats));
        }
        pending.insert((change.file, change.key.clone()), change.row.clone());
        rows.push(RowChange {
            file: change.file,
            key: change.key,
            row: change.row,
        });
    }
    Ok(Batch {
        expected: step.expected,
        next: step.next,
        files: step.files,
        rows,
    })
}

fn conflict<S: BuildHasher>(
    change: &Change,
    found: Option<&[u8]>,
    formats: &HashMap<ObjectId, Format, S>,
) -> ApplyError {
    let format = formats.get(&change.file);
    let show = |row: &[u8]| match format.map(|format| decode_row(format, row)) {
        Some(Ok(values)) => values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        _ => format!("{} bytes", row.len()),
    };
    let key = key_text(format, &change.key);
    let found = found.map_or_else(
        || format!("no row with key {key}"),
        |row| format!("a row ({})", show(row)),
    );
    let expected = match &change.expect {
        Expect::Absent => format!("no row with key {key}"),
        Expect::Present => format!("a row with key {key}"),
        Expect::Row(row) => format!("the row ({})", show(row)),
    };
    let file = file_text(format.map(Format::file), change.file);
    ApplyError::Conflict {
        sequence: change.sequence,
        file,
        found,
        expected,
    }
}

/// A key for people.
pub fn key_text(format: Option<&Format>, key: &[u8]) -> String {
    let decoded = format.and_then(|format| {
        if format.key().is_empty() {
            return record_number(key).map(|number| format!("record {number}"));
        }
        let values = decode_key(format, key).ok()?;
        Some(
            values
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        )
    });
    decoded.unwrap_or_else(|| format!("of {} bytes", key.len()))
}
