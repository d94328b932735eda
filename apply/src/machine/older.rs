//! Room `apply`, the machine: formats that files had before. Rows of a commit cycle that was open when its file's format changed
//! are read with the format of their time, also when they are read again after a restart; and what is taken out of a store
//! behind a fork gives files back the format they had there. The journal may not reach back to where that stands. So it is
//! kept in a file of its own in the store, in the same step as the new one, or as the end of the file. Must not know which
//! cycles are open.

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
/// So many stay although no open cycle needs them, the newest: a fork may lie before them.
const KEPT: usize = 64;

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
    /// So is one of the same file and version, which this one takes the place of.
    replaces: bool,
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

    /// A file gets another format with an entry, or is gone with it.
    pub(super) fn keep(&mut self, file: ObjectId, format: Format, until: Sequence) {
        let place = (file, format.version());
        let replaces = self.0.get(&place).is_some_and(|older| older.recorded);
        let older = Older {
            format,
            until,
            recorded: false,
            replaces,
        };
        self.0.insert(place, older);
    }

    /// Forgets what no entry after `restart` needs, the newest of it apart, and gives what takes it from the store.
    pub(super) fn forget(&mut self, restart: Sequence, sequence: Sequence) -> Vec<Change> {
        let mut untils: Vec<Sequence> = self.0.values().map(|older| older.until).collect();
        untils.sort_unstable();
        let Some(kept) = untils.len().checked_sub(KEPT).and_then(|at| untils.get(at)) else {
            return Vec::new();
        };
        let oldest = restart.min(kept.before());
        let mut gone = Vec::new();
        self.0.retain(|(file, _), older| {
            let stays = older.until > oldest;
            if !stays && older.recorded {
                gone.extend(change(*file, older, sequence).map(taken_away));
            }
            stays
        });
        gone
    }

    /// The store leaves its journal: numbers of the next one mean other entries, and no cycle is open any more. Gives what takes
    /// all of them from the store; `last` is the last entry of the journal that is left.
    pub(super) fn leave(&mut self, last: Sequence) -> Vec<Change> {
        let all = std::mem::take(&mut self.0);
        let recorded = all.iter().filter(|(_, older)| older.recorded);
        recorded
            .filter_map(|((file, _), older)| change(*file, older, last).map(taken_away))
            .collect()
    }

    /// A format of a file, whenever it had it.
    pub(super) fn of_version(&self, file: ObjectId, version: u32) -> Option<&Format> {
        self.0.get(&(file, version)).map(|older| &older.format)
    }

    /// Files that had a format behind an entry and lost it at a later one: the file, the format, and where that was; in no
    /// order.
    pub(super) fn lost_behind(
        &self,
        fork: Sequence,
    ) -> impl Iterator<Item = (ObjectId, &Format, Sequence)> {
        let behind = self.0.iter().filter(move |(_, older)| older.until > fork);
        behind.map(|((file, _), older)| (*file, &older.format, older.until))
    }

    /// Whether some that were lost behind an entry may have been forgotten since.
    pub(super) fn may_lack_behind(&self, fork: Sequence) -> bool {
        self.lost_behind(fork).count() >= KEPT
    }

    /// What takes those from the store that were lost behind an entry: the whole file where there are no others.
    pub(super) fn take_out(&self, fork: Sequence) -> (Option<FileChange>, Vec<Change>) {
        let behind: Vec<Change> = self
            .0
            .iter()
            .filter(|(_, older)| older.until > fork && older.recorded)
            .filter_map(|((file, _), older)| change(*file, older, fork).map(taken_away))
            .collect();
        if !behind.is_empty() && behind.len() == self.0.len() {
            return (Some(FileChange::Drop { id: OLDER_ID }), Vec::new());
        }
        (None, behind)
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

fn taken_away(change: Change) -> Change {
    Change {
        row: None,
        expect: Expect::Present,
        ..change
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
        expect: if older.replaces {
            Expect::Present
        } else {
            Expect::Absent
        },
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
        replaces: false,
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
