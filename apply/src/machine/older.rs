//! Room `apply`, the machine: formats that files had before. Rows of a commit cycle that was open when its file's format changed
//! are read with the format of their time, also when they are read again after a restart, and the journal may not reach back
//! to where that stands. So it is kept in a file of its own in the store, in the same step as the new one. Must not know
//! which cycles are open.

use std::collections::BTreeMap;

use rjournal::entry::record::{
    Field, FieldName, FieldType, Format, Images, Value, encode_key, encode_row,
};
use rjournal::entry::{EntryView, FileName, ObjectId, Sequence};

use super::meaning::{Change, Expect};
use super::own_file::read_rows;
use crate::store::{FileChange, StoreError, StoreReader};

/// Identity of the file in which they are kept; no journal gives this one to a file.
const OLDER_ID: ObjectId = ObjectId::from_bytes(*b"rjournal formats");

/// Formats that are no longer their files'.
#[derive(Debug, Clone, Default)]
pub struct OlderFormats(BTreeMap<(ObjectId, u32), Older>);

#[derive(Debug, Clone)]
struct Older {
    format: Format,
    /// The entry that gave the file its next one: rows before it are of this one.
    until: Sequence,
    /// Its row is in the store, or in a step given out.
    recorded: bool,
}

impl OlderFormats {
    /// Those a store keeps.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn of_store(reader: &dyn StoreReader) -> Result<Self, StoreError> {
        let mut older = Self::default();
        read_rows(reader, OLDER_ID, &kept_as(), |values| {
            if let Some((file, kept)) = read(values) {
                older.0.insert((file, kept.format.version()), kept);
            }
        })?;
        Ok(older)
    }

    /// The format of an entry that stands before its file got another one.
    pub(super) fn of_entry(&self, view: &EntryView<'_>) -> Option<&Format> {
        let older = self.0.get(&(view.object, view.format))?;
        (view.sequence < older.until).then_some(&older.format)
    }

    /// A file gets another format with an entry.
    pub(super) fn keep(&mut self, file: ObjectId, format: Format, until: Sequence) {
        let older = Older {
            format,
            until,
            recorded: false,
        };
        self.0.insert((file, older.format.version()), older);
    }

    /// Forgets what no entry after `restart` needs, and gives what takes it from the store.
    pub(super) fn forget(&mut self, restart: Sequence, sequence: Sequence) -> Vec<Change> {
        let mut gone = Vec::new();
        self.0.retain(|(file, _), older| {
            let needed = older.until > restart;
            if !needed && older.recorded {
                gone.extend(change(*file, older, sequence).map(|change| Change {
                    row: None,
                    expect: Expect::Present,
                    ..change
                }));
            }
            needed
        });
        gone
    }

    /// What goes into the store for a file's formats that are not in it yet.
    pub(super) fn record(
        &mut self,
        file: ObjectId,
        sequence: Sequence,
    ) -> Option<(FileChange, Vec<Change>)> {
        let changes: Vec<Change> = self
            .0
            .iter_mut()
            .filter(|((of, _), older)| *of == file && !older.recorded)
            .filter_map(|((file, _), older)| {
                older.recorded = true;
                change(*file, older, sequence)
            })
            .collect();
        let put = FileChange::Put {
            id: OLDER_ID,
            format: Box::new(kept_as()),
        };
        (!changes.is_empty()).then_some((put, changes))
    }
}

fn change(file: ObjectId, older: &Older, sequence: Sequence) -> Option<Change> {
    let kept_as = kept_as();
    let row = [
        Value::Binary(file.as_bytes().to_vec()),
        Value::BigInt(i64::from(older.format.version())),
        Value::BigInt(i64::try_from(older.until.get()).ok()?),
        Value::Binary(older.format.encode()),
    ];
    Some(Change {
        sequence,
        file: OLDER_ID,
        key: encode_key(&kept_as, &row).ok()?,
        row: Some(encode_row(&kept_as, &row).ok()?),
        expect: Expect::Absent,
    })
}

fn read(row: &[Value]) -> Option<(ObjectId, Older)> {
    let [
        Value::Binary(file),
        Value::BigInt(_),
        Value::BigInt(until),
        Value::Binary(format),
    ] = row
    else {
        return None;
    };
    let older = Older {
        format: Format::decode(format).ok()?,
        until: Sequence::new(until.unsigned_abs()),
        recorded: true,
    };
    let file = <[u8; 16]>::try_from(file.as_slice()).ok()?;
    Some((ObjectId::from_bytes(file), older))
}

fn kept_as() -> Format {
    let field = |name: &str, field_type| Field {
        name: name
            .parse::<FieldName>()
            .expect("the names below are names"),
        field_type,
        nullable: false,
    };
    let fields = vec![
        field("FILE", FieldType::Varbinary { bytes_max: 16 }),
        field("VERSION", FieldType::BigInt),
        field("UNTIL", FieldType::BigInt),
        field("FORMAT", FieldType::BLOB),
    ];
    let file: FileName = "QRJOURNAL/FORMATS"
        .parse()
        .expect("this is the name of a file");
    Format::new(1, file, fields, vec![0, 1], Images::Both)
        .expect("the format above keeps the rules")
}
