//! Room `apply`: entries an operator ordered to pass over (failures.md APL-5). Each leaves a row in a file of its own in the
//! store, in the same step as the position, so that nobody takes such a store for the fold of its whole journal. Must not
//! know who ordered it.

use std::collections::BTreeMap;

use rjournal::entry::record::{
    Field, FieldName, FieldType, Format, Images, Value, encode_key, encode_row,
};
use rjournal::entry::{FileName, JournalId, ObjectId, Sequence, Timestamp};

use super::meaning::{Change, Expect};
use super::own_file::read_rows;
use crate::store::{FileChange, StoreError, StoreReader};

/// Identity of the file in which passed-over entries are listed; no journal gives this one to a file.
const SKIPPED_ID: ObjectId = ObjectId::from_bytes(*b"rjournal skipped");
/// Identity of the file to which they go when the store leaves their journal; no journal gives this one to a file.
const EARLIER_ID: ObjectId = ObjectId::from_bytes(*b"rjournal earlier");
/// Characters of a reason that are kept.
const REASON_CHARACTERS_MAX: u32 = 1024;

/// An operator's order to pass over one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Why.
    pub reason: String,
    /// When it was ordered.
    pub at: Timestamp,
}

/// Entries to pass over.
#[derive(Debug, Clone, Default)]
pub struct Skips(BTreeMap<Sequence, Ordered>);

#[derive(Debug, Clone)]
struct Ordered {
    skip: Skip,
    /// Its row is in the store, or in a step given out.
    recorded: bool,
}

impl Skips {
    /// Those a store was made with: a cycle that is read again must leave out the same entries.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn of_store(reader: &dyn StoreReader) -> Result<Self, StoreError> {
        let mut skips = Self::default();
        read_rows(reader, SKIPPED_ID, &format(), |values| {
            if let [
                Value::BigInt(sequence),
                Value::Text(reason),
                Value::Timestamp(at),
            ] = values
            {
                let skip = Skip {
                    reason: reason.clone(),
                    at: Timestamp::from_micros(at.unsigned_abs()),
                };
                skips.0.insert(
                    Sequence::new(sequence.unsigned_abs()),
                    Ordered {
                        skip,
                        recorded: true,
                    },
                );
            }
        })?;
        Ok(skips)
    }

    /// Adds an order.
    pub fn order(&mut self, sequence: Sequence, skip: Skip) {
        self.0.entry(sequence).or_insert(Ordered {
            skip,
            recorded: false,
        });
    }

    /// Whether an entry is passed over.
    pub(super) fn contains(&self, sequence: Sequence) -> bool {
        self.0.contains_key(&sequence)
    }

    /// What takes those behind an entry from the store: the whole file where there are no others.
    pub(super) fn take_out(&self, fork: Sequence) -> (Option<FileChange>, Vec<Change>) {
        let recorded = |from| {
            let from = self.0.range(from..);
            from.filter(|(_, ordered)| ordered.recorded)
        };
        let behind: Vec<Change> = recorded(fork.next())
            .filter_map(|(sequence, ordered)| {
                let row = values(*sequence, &ordered.skip)?;
                change(SKIPPED_ID, &format(), &row, *sequence)
            })
            .map(|change| Change {
                row: None,
                expect: Expect::Present,
                ..change
            })
            .collect();
        if !behind.is_empty() && behind.len() == recorded(Sequence::NONE).count() {
            return (Some(FileChange::Drop { id: SKIPPED_ID }), Vec::new());
        }
        (None, behind)
    }

    /// What goes into the store for an entry that is passed over, the first time it is.
    pub(super) fn record(&mut self, sequence: Sequence) -> Option<(FileChange, Change)> {
        let ordered = self
            .0
            .get_mut(&sequence)
            .filter(|ordered| !ordered.recorded)?;
        ordered.recorded = true;
        let row = values(sequence, &ordered.skip)?;
        let change = change(SKIPPED_ID, &format(), &row, sequence)?;
        Some((put(SKIPPED_ID, format()), change))
    }

    /// The store leaves its journal: numbers of the next one mean other entries. What was passed over is listed with the journal
    /// from then on; what was ordered and never came is forgotten. `last` is the last entry of the one that is left.
    pub(super) fn leave(
        &mut self,
        journal: JournalId,
        last: Sequence,
    ) -> (Option<FileChange>, Vec<Change>) {
        let mut changes = Vec::new();
        for (sequence, ordered) in std::mem::take(&mut self.0) {
            let Some(row) = values(sequence, &ordered.skip).filter(|_| ordered.recorded) else {
                continue;
            };
            let gone = change(SKIPPED_ID, &format(), &row, last).map(|change| Change {
                row: None,
                expect: Expect::Present,
                ..change
            });
            let id = Value::Binary(journal.as_bytes().to_vec());
            let row: Vec<Value> = std::iter::once(id).chain(row).collect();
            changes.extend(gone);
            changes.extend(change(EARLIER_ID, &earlier_format(), &row, last));
        }
        let list = (!changes.is_empty()).then(|| put(EARLIER_ID, earlier_format()));
        (list, changes)
    }
}

fn values(sequence: Sequence, skip: &Skip) -> Option<[Value; 3]> {
    let reason = skip
        .reason
        .chars()
        .take(REASON_CHARACTERS_MAX as usize)
        .collect();
    Some([
        Value::BigInt(i64::try_from(sequence.get()).ok()?),
        Value::Text(reason),
        Value::Timestamp(i64::try_from(skip.at.as_micros()).ok()?),
    ])
}

fn change(file: ObjectId, format: &Format, row: &[Value], sequence: Sequence) -> Option<Change> {
    Some(Change {
        sequence,
        file,
        key: encode_key(format, row).ok()?,
        row: Some(encode_row(format, row).ok()?),
        expect: Expect::Absent,
    })
}

fn put(id: ObjectId, format: Format) -> FileChange {
    FileChange::Put {
        id,
        format: Box::new(format),
    }
}

/// As [`format`], with the journal.
fn earlier_format() -> Format {
    let journal = Field {
        name: "JOURNAL".parse().expect("this is a name"),
        field_type: FieldType::Varbinary { bytes_max: 16 },
        nullable: false,
    };
    let fields = format().fields().to_vec();
    let fields = std::iter::once(journal).chain(fields).collect();
    let file: FileName = "QRJOURNAL/EARLIER"
        .parse()
        .expect("this is the name of a file");
    Format::new(1, file, fields, vec![0, 1], Images::Both)
        .expect("the format above keeps the rules")
}

fn format() -> Format {
    let field = |name: &str, field_type| Field {
        name: name
            .parse::<FieldName>()
            .expect("the names below are names"),
        field_type,
        nullable: false,
    };
    let fields = vec![
        field("SEQUENCE", FieldType::BigInt),
        field(
            "REASON",
            FieldType::Varchar {
                characters_max: REASON_CHARACTERS_MAX,
            },
        ),
        field("ORDERED_AT", FieldType::Timestamp),
    ];
    let file: FileName = "QRJOURNAL/SKIPPED"
        .parse()
        .expect("this is the name of a file");
    Format::new(1, file, fields, vec![0], Images::Both).expect("the format above keeps the rules")
}

#[cfg(test)]
mod tests {
    use rjournal::entry::record::decode_row;

    use super::*;

    #[test]
    fn an_order_becomes_a_row_that_reads_back() {
        let skip = Skip {
            reason: "a row that cannot be".to_owned(),
            at: Timestamp::from_micros(5),
        };
        let mut skips = Skips::default();
        skips.order(Sequence::new(9), skip.clone());
        let (_, change) = skips.record(Sequence::new(9)).unwrap();
        assert!(skips.record(Sequence::new(9)).is_none() && skips.contains(Sequence::new(9)));
        let row = decode_row(&format(), change.row.as_deref().unwrap()).unwrap();
        assert!(
            matches!(&row[..], [Value::BigInt(9), Value::Text(reason), Value::Timestamp(5)] if *reason == skip.reason)
        );
    }
}
