//! Store saves: written while the store goes on, restorable into either store, refused when a single byte is another.

use std::path::{Path, PathBuf};

use rjournal::entry::Timestamp;
use rjournal_apply::store::{
    Batch, InProgress, Progress, ReplicaStore, SaveInfo, StoreError, StoreKind, StorePosition,
    StoreReader, check, hash_file, read_header, restore, save,
};

use crate::bench::{
    Bench, Model, assert_holds, file, fold, names, noise, position, put, put_file, remove,
};

for_both_stores! {
    a_save_restored_into_the_other_store_holds_the_same,
    a_save_is_of_one_position_while_the_store_goes_on,
    a_save_of_no_files_and_of_empty_files_is_restored,
    a_store_within_a_transaction_is_saved_with_its_mark,
    a_save_goes_into_an_empty_store_only,
    a_save_with_any_byte_changed_is_refused_and_the_store_is_untouched,
    a_save_that_was_cut_or_grew_is_refused,
    a_save_replaces_the_one_before_only_when_it_is_whole,
    a_restore_that_fails_half_way_leaves_a_store_in_doubt,
    a_restored_store_goes_on_from_the_position_of_the_save,
    a_save_is_these_bytes,
}

fn ignore(_: Progress) {}

fn saved(bench: &Bench, path: &Path) -> SaveInfo {
    let mut snapshot = bench.reader().snapshot().unwrap();
    save(
        path,
        snapshot.as_mut(),
        Timestamp::from_micros(77),
        &mut ignore,
    )
    .unwrap()
}

fn other(kind: StoreKind) -> StoreKind {
    match kind {
        StoreKind::Sled => StoreKind::Redb,
        StoreKind::Redb => StoreKind::Sled,
    }
}

/// Three files: one with rows of all lengths, one with many, one with none.
fn filled(kind: StoreKind) -> (Bench, Model) {
    let mut bench = Bench::empty(kind);
    let mut model = Model::new();
    let files = vec![put_file(3, 4), put_file(1, 1), put_file(2, 9)];
    let mut rows: Vec<_> = (0..3000_u16)
        .map(|key| put(1, &key.to_be_bytes(), &noise(u64::from(key), 100)))
        .collect();
    rows.extend(
        [0, 1, 255 * 1024, 300 * 1024, 5 << 20]
            .map(|length| put(3, &noise(length as u64, 40), &noise(1, length))),
    );
    rows.push(put(3, b"", b"empty key"));
    fold(&mut model, &files, &rows);
    bench.apply(files, rows);
    (bench, model)
}

fn a_save_restored_into_the_other_store_holds_the_same(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("save");
    let mut told = Vec::new();
    let mut snapshot = bench.reader().snapshot().unwrap();
    let info = save(
        &path,
        snapshot.as_mut(),
        Timestamp::from_micros(77),
        &mut |progress| told.push(progress),
    )
    .unwrap();
    assert_eq!(info.bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(
        (info.position, info.created),
        (position(1), Timestamp::from_micros(77))
    );
    let last = told.last().unwrap();
    assert_eq!((last.rows, last.rows_total), (3006, 3006));
    assert!(
        told.windows(2)
            .all(|pair| pair[0].rows <= pair[1].rows && pair[0].bytes <= pair[1].bytes)
    );
    assert_eq!(read_header(&path).unwrap(), info);
    assert_eq!(check(&path, &mut ignore).unwrap(), info);
    // There and back again.
    for kind in [other(kind), kind] {
        let mut target = Bench::empty(kind);
        let mut told = Vec::new();
        let restored = restore(&path, target.store().as_mut(), &mut |progress| {
            told.push(progress);
        })
        .unwrap();
        assert_eq!(restored, info);
        assert_eq!(told.last().map(|progress| progress.rows), Some(3006));
        assert_holds(target.reader().as_ref(), &model);
        assert_eq!(target.reader().position().unwrap(), Some(position(1)));
        assert_eq!(target.store().durable_position(), Some(position(1)));
        let hash = |bench: &Bench, number| {
            let reader = bench.reader();
            let mut source: &dyn StoreReader = reader.as_ref();
            hash_file(&mut source, file(number)).unwrap()
        };
        for number in [1, 2, 3] {
            assert_eq!(hash(&target, number), hash(&bench, number));
        }
        target.let_go();
        target.open();
        assert_holds(target.reader().as_ref(), &model);
        // A save of the restored store is the same file.
        target.step = 1;
        let again = target.beside("save");
        saved(&target, &again);
        assert!(std::fs::read(&again).unwrap() == std::fs::read(&path).unwrap());
        bench = target;
    }
}

fn a_save_is_of_one_position_while_the_store_goes_on(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    let path = bench.beside("save");
    let mut snapshot = bench.reader().snapshot().unwrap();
    let mut step = 0;
    save(&path, snapshot.as_mut(), Timestamp::ZERO, &mut |_| {
        step += 1;
        bench.apply(
            vec![],
            vec![
                put(1, &(u16::from(step) * 40).to_be_bytes(), b"other"),
                put(1, &(3000 - u16::from(step)).to_be_bytes(), b"other"),
                remove(3, &noise(5 << 20, 40)),
                put(2, &[step], b"more"),
            ],
        );
    })
    .unwrap();
    assert!(step > 3, "{step}");
    drop(snapshot);
    let mut target = Bench::empty(kind);
    restore(&path, target.store().as_mut(), &mut ignore).unwrap();
    assert_holds(target.reader().as_ref(), &model);
}

fn a_save_of_no_files_and_of_empty_files_is_restored(kind: StoreKind) {
    for files in [vec![], vec![put_file(1, 1), put_file(2, 1)]] {
        let mut bench = Bench::empty(kind);
        bench.apply(files.clone(), vec![]);
        let path = bench.beside("save");
        let info = saved(&bench, &path);
        assert_eq!(info.files.len(), files.len());
        let mut target = Bench::empty(other(kind));
        restore(&path, target.store().as_mut(), &mut ignore).unwrap();
        let mut model = Model::new();
        fold(&mut model, &files, &[]);
        assert_holds(target.reader().as_ref(), &model);
        assert_eq!(target.reader().position().unwrap(), Some(position(1)));
    }
}

fn a_store_within_a_transaction_is_saved_with_its_mark(kind: StoreKind) {
    let mut bench = Bench::empty(kind);
    let [cycle, decision, done] = [4_u64, 9, 6].map(IntoSequence::into_sequence);
    let mark = InProgress::transaction(cycle, decision, done);
    let next = StorePosition {
        in_progress: Some(mark),
        ..position(1)
    };
    let batch = |next| Batch {
        expected: None,
        next,
        files: vec![],
        rows: vec![],
    };
    bench.store().apply(&batch(next)).unwrap();
    let path = bench.beside("save");
    assert_eq!(saved(&bench, &path).position, next);
    let mut target = Bench::empty(kind);
    restore(&path, target.store().as_mut(), &mut ignore).unwrap();
    assert_eq!(target.reader().position().unwrap(), Some(next));
    // A store that is being restored itself is no store to save.
    let mut half = Bench::empty(kind);
    let next = StorePosition {
        in_progress: Some(InProgress::restoring(1)),
        ..position(1)
    };
    half.store().apply(&batch(next)).unwrap();
    let mut snapshot = half.reader().snapshot().unwrap();
    assert!(save(&path, snapshot.as_mut(), Timestamp::ZERO, &mut ignore).is_err());
}

trait IntoSequence {
    fn into_sequence(self) -> rjournal::entry::Sequence;
}

impl IntoSequence for u64 {
    fn into_sequence(self) -> rjournal::entry::Sequence {
        rjournal::entry::Sequence::new(self)
    }
}

fn a_save_goes_into_an_empty_store_only(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let path = bench.beside("save");
    saved(&bench, &path);
    let error = restore(&path, bench.store().as_mut(), &mut ignore).unwrap_err();
    assert!(matches!(error, StoreError::NotEmpty { .. }), "{error}");
    bench.apply(vec![], vec![put(1, b"a", b"1")]);
}

fn small_save(kind: StoreKind) -> (Bench, PathBuf, Vec<u8>) {
    let mut bench = Bench::empty(kind);
    bench.apply(
        vec![put_file(1, 1), put_file(2, 1)],
        vec![put(1, b"a", b"row"), put(1, b"b", b""), put(2, b"", b"row")],
    );
    let path = bench.beside("save");
    saved(&bench, &path);
    let bytes = std::fs::read(&path).unwrap();
    (bench, path, bytes)
}

fn refused(path: &Path, target: &mut Bench) -> String {
    let error = restore(path, target.store().as_mut(), &mut ignore).unwrap_err();
    assert!(matches!(error, StoreError::Save { .. }), "{error}");
    assert_eq!(target.reader().position().unwrap(), None);
    assert_eq!(target.reader().files().unwrap(), vec![]);
    error.to_string()
}

fn a_save_with_any_byte_changed_is_refused_and_the_store_is_untouched(kind: StoreKind) {
    let (_bench, path, bytes) = small_save(kind);
    let mut target = Bench::empty(kind);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        refused(&path, &mut target);
        assert!(check(&path, &mut ignore).is_err(), "byte {at}");
    }
    std::fs::write(&path, &bytes).unwrap();
    restore(&path, target.store().as_mut(), &mut ignore).unwrap();
}

fn a_save_that_was_cut_or_grew_is_refused(kind: StoreKind) {
    let (_bench, path, bytes) = small_save(kind);
    let mut target = Bench::empty(kind);
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        refused(&path, &mut target);
    }
    std::fs::write(&path, [&bytes[..], b"\0"].concat()).unwrap();
    refused(&path, &mut target);
    // Two saves behind each other.
    std::fs::write(&path, bytes.repeat(2)).unwrap();
    refused(&path, &mut target);
    let nowhere = restore(
        Path::new("/nowhere/save"),
        target.store().as_mut(),
        &mut ignore,
    );
    assert!(matches!(nowhere, Err(StoreError::Io { .. })));
}

fn a_save_replaces_the_one_before_only_when_it_is_whole(kind: StoreKind) {
    let (mut bench, path, first) = small_save(kind);
    bench.apply(vec![], vec![put(1, b"c", b"row")]);
    // The store goes away in the middle of the save.
    let mut snapshot = bench.reader().snapshot().unwrap();
    bench.let_go();
    assert!(save(&path, snapshot.as_mut(), Timestamp::ZERO, &mut ignore).is_err());
    assert!(std::fs::read(&path).unwrap() == first);
    drop(snapshot);
    bench.open();
    // What an earlier save left behind is in nobody's way.
    std::fs::write(bench.beside("save.new"), "half").unwrap();
    saved(&bench, &path);
    assert_eq!(names(path.parent().unwrap()), ["save", "store"]);
    assert!(std::fs::read(&path).unwrap() != first);
    let error = save(
        &bench.beside("none/save"),
        bench.reader().snapshot().unwrap().as_mut(),
        Timestamp::ZERO,
        &mut ignore,
    );
    assert!(matches!(error, Err(StoreError::Io { .. })));
}

/// A store that fails after some steps.
#[derive(Debug)]
struct Failing<'a> {
    store: &'a mut dyn ReplicaStore,
    steps_left: u32,
}

impl ReplicaStore for Failing<'_> {
    fn reader(&self) -> std::sync::Arc<dyn StoreReader> {
        self.store.reader()
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let Some(left) = self.steps_left.checked_sub(1) else {
            return Err(StoreError::Backend {
                path: String::new(),
                reason: "full".to_owned(),
                transient: true,
            });
        };
        self.steps_left = left;
        self.store.apply(batch)
    }

    fn atomic_up_to(&self) -> Option<usize> {
        Some(20_000)
    }

    fn make_durable(&mut self) -> Result<Option<StorePosition>, StoreError> {
        self.store.make_durable()
    }

    fn durable_position(&self) -> Option<StorePosition> {
        self.store.durable_position()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

fn a_restore_that_fails_half_way_leaves_a_store_in_doubt(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    bench.apply(
        vec![],
        (0..400_u16)
            .map(|key| put(1, &key.to_be_bytes(), &[1; 300]))
            .collect(),
    );
    let path = bench.beside("save");
    saved(&bench, &path);
    for steps_left in [1, 2, 5, 8] {
        let mut target = Bench::empty(kind);
        let mut failing = Failing {
            store: target.store().as_mut(),
            steps_left,
        };
        assert!(restore(&path, &mut failing, &mut ignore).is_err());
        let found = target.reader().position().unwrap().unwrap();
        assert!(found.in_progress.unwrap().is_restore());
        let again = restore(&path, target.store().as_mut(), &mut ignore);
        assert!(matches!(again, Err(StoreError::NotEmpty { .. })));
        target.let_go();
        assert!(matches!(
            target.try_open(),
            Err(StoreError::Doubtful { .. })
        ));
    }
}

fn a_restored_store_goes_on_from_the_position_of_the_save(kind: StoreKind) {
    let (bench, mut model) = filled(kind);
    let path = bench.beside("save");
    saved(&bench, &path);
    let mut target = Bench::empty(other(kind));
    restore(&path, target.store().as_mut(), &mut ignore).unwrap();
    target.step = 1;
    let rows = vec![put(2, b"a", b"1"), remove(1, &7_u16.to_be_bytes())];
    fold(&mut model, &[], &rows);
    target.apply(vec![], rows);
    target.close();
    target.open();
    assert_holds(target.reader().as_ref(), &model);
}

/// Saves are kept for years: a change needs a new version in their header. Rewritten with `UPDATE=1`.
fn a_save_is_these_bytes(kind: StoreKind) {
    let (_bench, path, bytes) = small_save(kind);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store_conformance/save.hex");
    if std::env::var_os("UPDATE").is_some() {
        let line = |line: &[u8]| {
            line.iter()
                .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
                + "\n"
        };
        std::fs::write(&golden, bytes.chunks(32).map(line).collect::<String>()).unwrap();
    }
    let digits: Vec<u8> = std::fs::read(&golden)
        .unwrap()
        .into_iter()
        .filter(u8::is_ascii_hexdigit)
        .collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let golden: Vec<u8> = digits.chunks(2).map(pair).collect();
    assert!(bytes == golden, "a save has other bytes than before");
    assert_eq!(check(&path, &mut ignore).unwrap().files.len(), 2);
}
