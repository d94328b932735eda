//! Histories of a journal: entries are put down one by one, sealed into bundles with the journal's codec, and remembered,
//! so that what a store must hold at any entry can be told without the machine. Must not know the machine.

use std::collections::BTreeMap;

use rjournal::entry::codec::{BUNDLE_HEADER_BYTES, Seal, encode_entry, seal};
use rjournal::entry::control_entry::{OpenEntry, OpenReason};
use rjournal::entry::record::{Format, Images, Value, encode_key, encode_row};
use rjournal::entry::{
    ChainHead, Draft, Epoch, JournalId, Kind, ObjectId, Position, ReceiverId, SealedBundle,
    Sequence, Timestamp,
};

/// The journal of all histories.
pub(crate) const JOURNAL: JournalId = JournalId::from_bytes(*b"journal of tests");
const RECEIVER: ReceiverId = ReceiverId::from_bytes(*b"receiver of test");

/// Outside a commit cycle.
pub(crate) const ALONE: Sequence = Sequence::NONE;

/// A file of the tests.
pub(crate) const fn file(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 16])
}

/// The format of a file; from version 2 on it has a field more.
pub(crate) fn format(number: u8, version: u32) -> Format {
    named_format(&format!("PRDLIB/F{number}"), version)
}

/// As [`format`], under a name of choice.
pub(crate) fn named_format(name: &str, version: u32) -> Format {
    let mut fields = vec!["K BIGINT", "V VARBINARY(1000000)"];
    if version > 1 {
        fields.push("W INTEGER");
    }
    let fields = fields.iter().map(|field| field.parse().unwrap()).collect();
    Format::new(
        version,
        name.parse().unwrap(),
        fields,
        vec![0],
        Images::Both,
    )
    .unwrap()
}

/// The key of a row.
pub(crate) fn key(number: u8, k: i64) -> Vec<u8> {
    encode_key(
        &format(number, 1),
        &[Value::BigInt(k), Value::Binary(vec![])],
    )
    .unwrap()
}

/// A row as it stands in the store.
pub(crate) fn row(number: u8, version: u32, k: i64, v: &[u8]) -> Vec<u8> {
    let mut values = vec![Value::BigInt(k), Value::Binary(v.to_vec())];
    if version > 1 {
        values.push(Value::Integer(7));
    }
    encode_row(&format(number, version), &values).unwrap()
}

/// What the files of a store hold: format version and rows.
pub(crate) type Fold = BTreeMap<ObjectId, (u32, BTreeMap<Vec<u8>, Vec<u8>>)>;

#[derive(Debug, Clone)]
struct Change {
    file: ObjectId,
    key: Vec<u8>,
    row: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Fact {
    Began,
    Changed(Sequence, Change),
    Committed(Sequence),
    RolledBack(Sequence),
    Opened,
    File(ObjectId, u32),
    Gone(ObjectId),
}

/// A history in the making.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) bundles: Vec<SealedBundle>,
    heads: Vec<ChainHead>,
    facts: BTreeMap<Sequence, Vec<Fact>>,
    formats: BTreeMap<ObjectId, Format>,
    epoch: Epoch,
    buffer: Vec<u8>,
    count: u32,
    last: Sequence,
    /// The journal.
    pub(crate) journal: JournalId,
}

impl History {
    /// One that holds nothing yet.
    pub(crate) fn empty() -> Self {
        Self {
            journal: JOURNAL,
            bundles: Vec::new(),
            heads: vec![ChainHead::genesis(JOURNAL)],
            facts: BTreeMap::new(),
            formats: BTreeMap::new(),
            epoch: Epoch {
                term: 1,
                boot: 0,
                nonce: 9,
            },
            buffer: vec![0; BUNDLE_HEADER_BYTES],
            count: 0,
            last: Sequence::NONE,
        }
    }

    /// One that was opened and has files `1 ..= files`.
    pub(crate) fn with_files(files: u8) -> Self {
        let mut history = Self::empty();
        history.opened();
        for number in 1..=files {
            history.create(number);
        }
        history.seal();
        history
    }

    /// One in another journal, about the files of an earlier one; its first term is `term`.
    pub(crate) fn after(before: &Self, journal: JournalId, term: u64) -> Self {
        let mut history = Self {
            journal,
            heads: vec![ChainHead::genesis(journal)],
            formats: before.formats.clone(),
            ..Self::empty()
        };
        history.begin_term(term);
        history
    }

    /// A term begins: what is open is rolled back.
    pub(crate) fn begin_term(&mut self, term: u64) -> Sequence {
        self.seal();
        self.epoch.term = term;
        self.opened()
    }

    /// Puts any entry down.
    pub(crate) fn entry(&mut self, draft: &Draft<'_>) -> Sequence {
        self.last = self.last.next();
        let time = Timestamp::from_micros(1_000 + self.last.get());
        encode_entry(&mut self.buffer, draft, self.last, time, None, None);
        self.count += 1;
        self.last
    }

    /// Seals what was put down into a bundle.
    pub(crate) fn seal(&mut self) {
        if self.count == 0 {
            return;
        }
        let buffer = std::mem::replace(&mut self.buffer, vec![0; BUNDLE_HEADER_BYTES]);
        let before = self.end();
        let sealed = seal(
            buffer,
            std::mem::take(&mut self.count),
            &Seal {
                receiver: RECEIVER,
                offset: 0,
                align: 8,
                epoch: self.epoch,
                before,
                durable_upto: before.sequence,
            },
        );
        let mut head = before.head;
        for view in sealed.entries() {
            head = head.extend(&view.unwrap().leaf());
            self.heads.push(head);
        }
        self.bundles.push(sealed);
    }

    /// The position after the last bundle.
    pub(crate) fn end(&self) -> Position {
        self.position(Sequence::new(self.heads.len() as u64 - 1))
    }

    /// The position at a sealed entry.
    pub(crate) fn position(&self, sequence: Sequence) -> Position {
        Position {
            sequence,
            head: self.heads[sequence.get() as usize],
        }
    }

    /// The bundles that hold entries of `(after, upto]`.
    pub(crate) fn between(&self, after: Sequence, upto: Sequence) -> Vec<SealedBundle> {
        let wanted = |bundle: &&SealedBundle| {
            bundle.header().last() > after && bundle.header().first <= upto
        };
        self.bundles.iter().filter(wanted).cloned().collect()
    }

    /// The journal is opened once more: what is open is rolled back.
    pub(crate) fn opened(&mut self) -> Sequence {
        self.seal();
        let epoch = Epoch {
            boot: self.epoch.boot + 1,
            ..self.epoch
        };
        let open = OpenEntry {
            epoch,
            epoch_before: self.epoch,
            before: self.end(),
            reason: OpenReason::Created,
            term: None,
        };
        self.epoch = epoch;
        let sequence = self.entry(&Draft::new(Kind::OPENED, &open.encode()));
        self.fact(sequence, Fact::Opened)
    }

    fn fact(&mut self, sequence: Sequence, fact: Fact) -> Sequence {
        self.facts.entry(sequence).or_default().push(fact);
        sequence
    }

    /// `D CT` and `F JM`, as STRJRNPF puts them down.
    pub(crate) fn create(&mut self, number: u8) -> Sequence {
        self.define(Kind::FILE_CREATE, number, &format(number, 1));
        self.journal(number)
    }

    /// `F JM` alone.
    pub(crate) fn journal(&mut self, number: u8) -> Sequence {
        let encoded = self.formats[&file(number)].encode();
        self.entry(&Draft {
            object: file(number),
            format: self.version(number),
            ..Draft::new(Kind::JOURNALING_START, &encoded)
        })
    }

    /// A file gets a format.
    pub(crate) fn define(&mut self, kind: Kind, number: u8, format: &Format) -> Sequence {
        let encoded = format.encode();
        let sequence = self.entry(&Draft {
            object: file(number),
            format: format.version(),
            ..Draft::new(kind, &encoded)
        });
        self.formats.insert(file(number), format.clone());
        self.fact(sequence, Fact::File(file(number), format.version()))
    }

    /// Journaling of a file ends.
    pub(crate) fn end_journaling(&mut self, number: u8) -> Sequence {
        self.entry(&Draft {
            object: file(number),
            ..Draft::new(Kind::JOURNALING_END, &[])
        })
    }

    /// A file is gone.
    pub(crate) fn delete_file(&mut self, number: u8) -> Sequence {
        let sequence = self.entry(&Draft {
            object: file(number),
            ..Draft::new(Kind::FILE_DELETE, &[])
        });
        self.fact(sequence, Fact::Gone(file(number)))
    }

    /// A file takes the name of another one, which is gone from then on.
    pub(crate) fn displace(&mut self, number: u8, old: u8) -> Sequence {
        let format = named_format(&format!("PRDLIB/F{old}"), 1);
        let sequence = self.define(Kind::FILE_CREATE, number, &format);
        self.fact(sequence, Fact::Gone(file(old)))
    }

    fn version(&self, number: u8) -> u32 {
        self.formats.get(&file(number)).map_or(1, Format::version)
    }

    /// A commit cycle begins.
    pub(crate) fn begin(&mut self) -> Sequence {
        let sequence = self.entry(&Draft::new(Kind::CYCLE_START, &[]));
        self.fact(sequence, Fact::Began)
    }

    pub(crate) fn commit(&mut self, cycle: Sequence) -> Sequence {
        let sequence = self.entry(&Draft {
            cycle,
            ..Draft::new(Kind::CYCLE_COMMIT, &[])
        });
        self.fact(sequence, Fact::Committed(cycle))
    }

    pub(crate) fn roll_back(&mut self, cycle: Sequence) -> Sequence {
        let sequence = self.entry(&Draft {
            cycle,
            ..Draft::new(Kind::CYCLE_ROLLBACK, &[])
        });
        self.fact(sequence, Fact::RolledBack(cycle))
    }

    /// A draft of a record entry; nothing is put down.
    pub(crate) fn record<'a>(
        &self,
        kind: Kind,
        cycle: Sequence,
        number: u8,
        image: &'a [u8],
    ) -> Draft<'a> {
        Draft {
            object: file(number),
            format: self.version(number),
            cycle,
            ..Draft::new(kind, image)
        }
    }

    fn changed(
        &mut self,
        cycle: Sequence,
        number: u8,
        k: i64,
        row: Option<Vec<u8>>,
        sequence: Sequence,
    ) -> Sequence {
        let change = Change {
            file: file(number),
            key: key(number, k),
            row,
        };
        self.fact(sequence, Fact::Changed(cycle, change))
    }

    /// A new row.
    pub(crate) fn put(&mut self, cycle: Sequence, number: u8, k: i64, v: &[u8]) -> Sequence {
        let row = row(number, self.version(number), k, v);
        let sequence = self.entry(&self.record(Kind::RECORD_PUT, cycle, number, &row));
        self.changed(cycle, number, k, Some(row), sequence)
    }

    /// A row changed, with its before-image; gives the entry of the image after.
    pub(crate) fn update(
        &mut self,
        cycle: Sequence,
        number: u8,
        k: i64,
        before: &[u8],
        after: &[u8],
    ) -> Sequence {
        let before = row(number, self.version(number), k, before);
        self.entry(&self.record(Kind::RECORD_BEFORE, cycle, number, &before));
        self.update_after(cycle, number, k, after)
    }

    /// A row changed, its image after only.
    pub(crate) fn update_after(
        &mut self,
        cycle: Sequence,
        number: u8,
        k: i64,
        after: &[u8],
    ) -> Sequence {
        let after = row(number, self.version(number), k, after);
        let sequence = self.entry(&self.record(Kind::RECORD_UPDATE, cycle, number, &after));
        self.changed(cycle, number, k, Some(after), sequence)
    }

    /// A row taken away, with its image.
    pub(crate) fn delete(
        &mut self,
        cycle: Sequence,
        number: u8,
        k: i64,
        before: &[u8],
    ) -> Sequence {
        let before = row(number, self.version(number), k, before);
        let draft = Draft {
            indicator: 1,
            ..self.record(Kind::RECORD_DELETE, cycle, number, &before)
        };
        let sequence = self.entry(&draft);
        self.changed(cycle, number, k, None, sequence)
    }

    /// A row taken away, known by its key only.
    pub(crate) fn delete_by_key(&mut self, cycle: Sequence, number: u8, k: i64) -> Sequence {
        let key = key(number, k);
        let sequence = self.entry(&self.record(Kind::RECORD_DELETE, cycle, number, &key));
        self.changed(cycle, number, k, None, sequence)
    }

    /// A user's entry.
    pub(crate) fn user(&mut self, cycle: Sequence, text: &str) -> Sequence {
        self.entry(&Draft {
            cycle,
            ..Draft::new(Kind::USER, text.as_bytes())
        })
    }

    /// An entry that was put down counts for nothing: it is passed over.
    pub(crate) fn ignore(&mut self, sequence: Sequence) {
        self.facts.remove(&sequence);
    }

    fn facts_upto(&self, upto: Sequence) -> impl Iterator<Item = (Sequence, &Fact)> {
        self.facts
            .range(..=upto)
            .flat_map(|(sequence, facts)| facts.iter().map(|fact| (*sequence, fact)))
    }

    /// What a store must hold that stands at an entry: everything decided up to there, in the order of decisions.
    pub(crate) fn fold(&self, upto: Sequence) -> Fold {
        self.fold_onto(Fold::new(), Sequence::NONE, upto)
    }

    /// The same behind an entry, of a store that holds something already.
    pub(crate) fn fold_onto(&self, held: Fold, after: Sequence, upto: Sequence) -> Fold {
        let mut files = held;
        let mut open: BTreeMap<Sequence, Vec<Change>> = BTreeMap::new();
        let count = |files: &mut Fold, change: &Change| {
            // A file that went before the decision takes its changes with it.
            let Some((_, rows)) = files.get_mut(&change.file) else {
                return;
            };
            match &change.row {
                Some(row) => rows.insert(change.key.clone(), row.clone()),
                None => rows.remove(&change.key),
            };
        };
        let facts = self.facts_upto(upto);
        for (sequence, fact) in facts.filter(|(sequence, _)| *sequence > after) {
            match fact {
                Fact::Began => {
                    open.insert(sequence, Vec::new());
                }
                Fact::Changed(ALONE, change) => count(&mut files, change),
                Fact::Changed(cycle, change) => open.get_mut(cycle).unwrap().push(change.clone()),
                Fact::Committed(cycle) => {
                    for change in open.remove(cycle).unwrap() {
                        count(&mut files, &change);
                    }
                }
                Fact::RolledBack(cycle) => {
                    open.remove(cycle);
                }
                Fact::Opened => open.clear(),
                Fact::File(id, version) => files.entry(*id).or_default().0 = *version,
                Fact::Gone(id) => {
                    files.remove(id);
                }
            }
        }
        files
    }

    /// Where reading has to begin again after a restart of a store that stands at an entry.
    pub(crate) fn restart(&self, applied: Sequence) -> Sequence {
        let mut open = std::collections::BTreeSet::new();
        for (sequence, fact) in self.facts_upto(applied) {
            match fact {
                Fact::Began => {
                    open.insert(sequence);
                }
                Fact::Committed(cycle) | Fact::RolledBack(cycle) => {
                    open.remove(cycle);
                }
                Fact::Opened => open.clear(),
                _ => {}
            }
        }
        open.first().map_or(applied, |oldest| oldest.before())
    }
}
