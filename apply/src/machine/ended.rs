//! Room `apply`, the machine: files that are no longer journaled. Who takes over as primary has no definition of files but what
//! the store says, so that is kept in a file of its own in the store, in the same step as the position. Must not know who asks.

use std::collections::BTreeSet;

use rjournal::entry::record::{
    Field, FieldName, FieldType, Format, Images, Value, encode_key, encode_row,
};
use rjournal::entry::{FileName, ObjectId, Sequence};

use super::meaning::{Change, Expect};
use super::own_file::read_rows;
use crate::store::{FileChange, StoreError, StoreReader};

/// Identity of the file in which they are listed; no journal gives this one to a file.
const ENDED_ID: ObjectId = ObjectId::from_bytes(*b"rjournal ended  ");

/// Files whose journaling was ended, as the store lists them, or will after the steps given out.
#[derive(Debug, Clone, Default)]
pub struct EndedFiles(BTreeSet<ObjectId>);

impl EndedFiles {
    /// Those a store lists.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn of_store(reader: &dyn StoreReader) -> Result<Self, StoreError> {
        let mut ended = Self::default();
        read_rows(reader, ENDED_ID, &format(), |values| {
            if let [Value::Binary(file)] = values
                && let Ok(file) = <[u8; 16]>::try_from(file.as_slice())
            {
                ended.0.insert(ObjectId::from_bytes(file));
            }
        })?;
        Ok(ended)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = ObjectId> {
        self.0.iter().copied()
    }

    /// Journaling of a file ended with an entry: what goes into the store, unless it is listed.
    pub(super) fn end(
        &mut self,
        file: ObjectId,
        sequence: Sequence,
    ) -> Option<(FileChange, Change)> {
        if !self.0.insert(file) {
            return None;
        }
        let put = FileChange::Put {
            id: ENDED_ID,
            format: Box::new(format()),
        };
        Some((put, change(file, sequence)?))
    }

    /// A file is journaled again with an entry, or gone: what takes it from the list, where it is listed.
    pub(super) fn take(&mut self, file: ObjectId, sequence: Sequence) -> Option<Change> {
        if !self.0.remove(&file) {
            return None;
        }
        change(file, sequence).map(|change| Change {
            row: None,
            expect: Expect::Present,
            ..change
        })
    }
}

fn change(file: ObjectId, sequence: Sequence) -> Option<Change> {
    let format = format();
    let row = [Value::Binary(file.as_bytes().to_vec())];
    Some(Change {
        sequence,
        file: ENDED_ID,
        key: encode_key(&format, &row).ok()?,
        row: Some(encode_row(&format, &row).ok()?),
        expect: Expect::Absent,
    })
}

fn format() -> Format {
    let field = Field {
        name: "FILE".parse::<FieldName>().expect("this is a name"),
        field_type: FieldType::Varbinary { bytes_max: 16 },
        nullable: false,
    };
    let file: FileName = "QRJOURNAL/ENDED"
        .parse()
        .expect("this is the name of a file");
    Format::new(1, file, vec![field], vec![0], Images::Both)
        .expect("the format above keeps the rules")
}
