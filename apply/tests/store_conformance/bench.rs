//! What the cases stand on: a store in a directory of its own, ids, formats, positions, and a model of what it holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rjournal::entry::record::{Field, FieldName, FieldType, Format, Images};
use rjournal::entry::{ChainHead, JournalId, ObjectId, Sequence};
use rjournal_apply::store::{
    Batch, FileChange, KeyedRow, ReplicaStore, RowChange, RowSource, StoreError, StoreKind,
    StoreOptions, StorePosition, StoreReader, open,
};
use tempfile::TempDir;

/// A file of the cases.
pub(crate) const fn file(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 16])
}

/// A format of a file; the version tells one from another.
pub(crate) fn format(version: u32) -> Format {
    let fields = ["K BIGINT", "V VARBINARY(1000)"];
    let fields = fields.iter().map(|field| field.parse().unwrap()).collect();
    let name = "PRDLIB/ALBUM".parse().unwrap();
    Format::new(version, name, fields, vec![0], Images::Both).unwrap()
}

/// The largest format there may be, about 500 KiB.
pub(crate) fn huge_format() -> Format {
    let field = |number| Field {
        name: FieldName::new(&format!("{number:04}{}", "ü".repeat(120))).unwrap(),
        field_type: FieldType::Date,
        nullable: true,
    };
    let name = "PRDLIB/WIDE".parse().unwrap();
    Format::new(
        1,
        name,
        (0..1024).map(field).collect(),
        vec![],
        Images::Both,
    )
    .unwrap()
}

/// Where a store stands after so many steps.
pub(crate) fn position(applied: u64) -> StorePosition {
    let journal = JournalId::from_bytes(*b"journal of cases");
    let mut head = *ChainHead::genesis(journal).as_bytes();
    head[..8].copy_from_slice(&applied.to_le_bytes());
    StorePosition {
        group: journal.into(),
        term: 1,
        journal,
        applied: Sequence::new(applied),
        restart: Sequence::new(applied),
        head: ChainHead::from_bytes(head),
        in_progress: None,
    }
}

pub(crate) fn put_file(number: u8, version: u32) -> FileChange {
    FileChange::Put {
        id: file(number),
        format: Box::new(format(version)),
    }
}

pub(crate) const fn drop_file(number: u8) -> FileChange {
    FileChange::Drop { id: file(number) }
}

pub(crate) fn put(number: u8, key: &[u8], row: &[u8]) -> RowChange {
    RowChange {
        file: file(number),
        key: key.to_vec(),
        row: Some(row.to_vec()),
    }
}

pub(crate) fn remove(number: u8, key: &[u8]) -> RowChange {
    RowChange {
        file: file(number),
        key: key.to_vec(),
        row: None,
    }
}

/// Bytes that look like nothing in particular, the same for the same seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut seed = Seed(seed);
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&seed.draw().to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

/// Repeatable numbers (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}

/// Step `number` of a history that is the same for all.
pub(crate) fn step(number: u64) -> (Vec<FileChange>, Vec<RowChange>) {
    let mut seed = Seed(number);
    let files = match number {
        1 => vec![put_file(1, 1), put_file(2, 1)],
        _ if number.is_multiple_of(23) => vec![drop_file(2), put_file(2, number as u32)],
        _ => vec![],
    };
    // Some steps are larger than a segment of sled's log.
    let count = if number.is_multiple_of(9) {
        250
    } else {
        1 + seed.below(30)
    };
    let rows = (0..count).map(|_| {
        let key = seed.below(400).to_be_bytes();
        let file = 1 + seed.below(2) as u8;
        match seed.below(12) {
            0 | 1 => remove(file, &key),
            2 => put(file, &key, &noise(seed.draw(), 20_000)),
            3 if number.is_multiple_of(9) => put(file, &key, &noise(seed.draw(), 150_000)),
            _ => put(file, &key, &noise(seed.draw(), 100)),
        }
    });
    (files, rows.collect())
}

/// A store in a directory of its own, and where it stands.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) kind: StoreKind,
    pub(crate) options: StoreOptions,
    pub(crate) store: Option<Box<dyn ReplicaStore>>,
    pub(crate) step: u64,
    dir: TempDir,
}

impl Bench {
    /// An empty store.
    pub(crate) fn empty(kind: StoreKind) -> Self {
        Self::with(kind, StoreOptions::default())
    }

    pub(crate) fn with(kind: StoreKind, options: StoreOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(kind, &dir.path().join("store"), &options).unwrap();
        Self {
            kind,
            options,
            store: Some(store),
            step: 0,
            dir,
        }
    }

    /// A store with one empty file, file 1.
    pub(crate) fn with_file(kind: StoreKind) -> Self {
        let mut bench = Self::empty(kind);
        bench.apply(vec![put_file(1, 1)], vec![]);
        bench
    }

    /// The store's directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A place beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&mut self) -> &mut Box<dyn ReplicaStore> {
        self.store.as_mut().unwrap()
    }

    pub(crate) fn reader(&self) -> Arc<dyn StoreReader> {
        self.store.as_ref().unwrap().reader()
    }

    /// Where the store should stand.
    pub(crate) fn at(&self) -> Option<StorePosition> {
        (self.step > 0).then(|| position(self.step))
    }

    /// The next step, which is expected to be taken.
    pub(crate) fn apply(&mut self, files: Vec<FileChange>, rows: Vec<RowChange>) {
        self.try_apply(files, rows).unwrap();
    }

    pub(crate) fn try_apply(
        &mut self,
        files: Vec<FileChange>,
        rows: Vec<RowChange>,
    ) -> Result<(), StoreError> {
        let batch = Batch {
            expected: self.at(),
            next: position(self.step + 1),
            files,
            rows,
        };
        self.store().apply(&batch)?;
        self.step += 1;
        Ok(())
    }

    /// Closes the store in order.
    pub(crate) fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
    }

    /// Lets go of the store without closing it.
    pub(crate) fn let_go(&mut self) {
        drop(self.store.take().unwrap());
    }

    pub(crate) fn try_open(&self) -> Result<Box<dyn ReplicaStore>, StoreError> {
        open(self.kind, &self.path(), &self.options)
    }

    pub(crate) fn open(&mut self) {
        self.store = Some(self.try_open().unwrap());
    }
}

/// What the files of a store hold.
pub(crate) type Model = BTreeMap<ObjectId, (u32, BTreeMap<Vec<u8>, Vec<u8>>)>;

/// Does to a model what a batch does to a store.
pub(crate) fn fold(model: &mut Model, files: &[FileChange], rows: &[RowChange]) {
    for change in files {
        match change {
            FileChange::Put { id, format } => {
                model.entry(*id).or_default().0 = format.version();
            }
            FileChange::Drop { id } => {
                model.remove(id);
            }
        }
    }
    for change in rows {
        let rows = &mut model.get_mut(&change.file).unwrap().1;
        match &change.row {
            Some(row) => rows.insert(change.key.clone(), row.clone()),
            None => rows.remove(&change.key),
        };
    }
}

/// All rows of a file.
pub(crate) fn all_rows(source: &mut dyn RowSource, file: ObjectId) -> Vec<KeyedRow> {
    let mut all: Vec<KeyedRow> = Vec::new();
    loop {
        let after = all.last().map(|row| row.key.clone());
        let rows = source.rows_after(file, after.as_deref()).unwrap();
        if rows.is_empty() {
            return all;
        }
        all.extend(rows);
    }
}

/// Checks that a store holds exactly what the model does, and counts it.
pub(crate) fn assert_holds(reader: &dyn StoreReader, model: &Model) {
    let files = reader.files().unwrap();
    let found: Vec<_> = files
        .iter()
        .map(|file| (file.id, file.format.version(), file.rows))
        .collect();
    let due: Vec<_> = model
        .iter()
        .map(|(id, (version, rows))| (*id, *version, rows.len() as u64))
        .collect();
    assert_eq!(found, due);
    let mut source = reader;
    for (id, (_, rows)) in model {
        assert_rows(&all_rows(&mut source, *id), rows);
    }
}

/// Checks rows without printing megabytes when they differ.
pub(crate) fn assert_rows(found: &[KeyedRow], due: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let keys: Vec<_> = found.iter().map(|row| &row.key).collect();
    let due_keys: Vec<_> = due.keys().collect();
    assert!(
        keys == due_keys,
        "the keys are others: {} and {}",
        keys.len(),
        due_keys.len()
    );
    for row in found {
        assert!(
            due.get(&row.key) == Some(&row.row),
            "row {:?} is another",
            row.key
        );
    }
}

/// Names of the files in a directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

/// Copies a file, or a directory with all in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for name in names(from) {
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
}
