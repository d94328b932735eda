//! Opening: what a store has to prove, what is refused, and how one that is in doubt is set aside.

use std::path::Path;

use rjournal_apply::store::{
    Batch, InProgress, StoreError, StoreKind, StoreOptions, StorePosition, open, set_aside,
};

use crate::bench::{
    Bench, Model, Seed, assert_holds, copy, fold, names, noise, position, put, put_file,
};

for_both_stores! {
    a_store_that_was_closed_opens_again,
    a_store_that_was_not_closed_opens_again,
    a_second_opening_is_refused_while_the_first_lasts,
    what_is_not_a_store_is_refused_and_left_alone,
    a_store_of_the_other_kind_is_refused,
    a_directory_that_was_only_begun_is_taken_over,
    a_marker_that_counts_other_rows_puts_the_store_in_doubt,
    a_damaged_marker_is_passed_over_and_the_store_read_through,
    a_marker_speaks_for_one_opening_only,
    a_store_that_takes_the_process_down_twice_is_not_opened_a_third_time,
    a_start_that_ended_is_forgotten,
    what_a_newer_program_left_is_refused_and_left_alone,
    a_store_without_its_rows_is_in_doubt,
    a_store_that_went_back_behind_what_was_durable_is_in_doubt,
    rows_that_came_or_went_on_their_own_put_the_store_in_doubt,
    a_restore_that_was_not_finished_puts_the_store_in_doubt,
    a_damaged_store_is_refused_or_whole_but_never_wrong,
    a_store_in_doubt_is_set_aside_under_a_new_name,
}

fn filled(kind: StoreKind) -> (Bench, Model) {
    let mut bench = Bench::with_file(kind);
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 1)], &[]);
    for part in 0..4_u8 {
        let rows: Vec<_> = (0..50_u8)
            .map(|key| put(1, &[part, key], &noise(u64::from(key), 200)))
            .collect();
        fold(&mut model, &[], &rows);
        bench.apply(vec![], rows);
    }
    (bench, model)
}

fn doubt(bench: &Bench) -> String {
    match bench.try_open() {
        Err(StoreError::Doubtful { reason, .. }) => reason,
        other => panic!("not in doubt: {other:?}"),
    }
}

fn a_store_that_was_closed_opens_again(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    for _ in 0..3 {
        bench.close();
        assert!(names(&bench.path()).contains(&"clean".to_owned()));
        bench.open();
        assert!(!names(&bench.path()).contains(&"clean".to_owned()));
        assert_holds(bench.reader().as_ref(), &model);
        assert_eq!(bench.reader().position().unwrap(), bench.at());
        assert_eq!(bench.store().durable_position(), bench.at());
        bench.apply(vec![], vec![]);
    }
}

fn a_store_that_was_not_closed_opens_again(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    bench.let_go();
    assert!(!names(&bench.path()).contains(&"clean".to_owned()));
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
    assert_eq!(bench.reader().position().unwrap(), bench.at());
}

fn a_second_opening_is_refused_while_the_first_lasts(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    let error = bench.try_open().unwrap_err();
    assert!(matches!(error, StoreError::Backend { .. }), "{error}");
    assert!(error.is_transient());
    assert!(set_aside(&bench.path(), "now").unwrap_err().is_transient());
    assert_holds(bench.reader().as_ref(), &model);
    bench.apply(vec![], vec![]);
}

fn what_is_not_a_store_is_refused_and_left_alone(kind: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    let foreign = |path: &Path| {
        let error = open(kind, path, &options).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    };
    std::fs::write(dir.path().join("letter"), "dear").unwrap();
    foreign(dir.path());
    assert_eq!(names(dir.path()), ["letter"]);
    foreign(&dir.path().join("letter"));
    std::fs::remove_file(dir.path().join("letter")).unwrap();
    std::fs::write(dir.path().join("format"), "dear").unwrap();
    foreign(dir.path());
    std::fs::write(
        dir.path().join("format"),
        format!("rjournal store, version 2, {kind}\n"),
    )
    .unwrap();
    foreign(dir.path());
}

fn a_store_of_the_other_kind_is_refused(kind: StoreKind) {
    let (mut bench, _) = filled(kind);
    bench.close();
    let other = match kind {
        StoreKind::Sled => StoreKind::Redb,
        StoreKind::Redb => StoreKind::Sled,
    };
    let error = open(other, &bench.path(), &bench.options).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    bench.open();
}

fn a_directory_that_was_only_begun_is_taken_over(kind: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lock"), "").unwrap();
    std::fs::write(dir.path().join("format.new"), "rjour").unwrap();
    let store = open(kind, dir.path(), &StoreOptions::default()).unwrap();
    assert_eq!(store.reader().position().unwrap(), None);
}

/// Changes a byte of the marker, counted from its end, and gives it a sound checksum again.
fn forge_marker(bench: &Bench, from_end: usize) {
    let path = bench.path().join("clean");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 4);
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

fn a_marker_that_counts_other_rows_puts_the_store_in_doubt(kind: StoreKind) {
    let (mut bench, _) = filled(kind);
    bench.close();
    forge_marker(&bench, 8);
    let reason = doubt(&bench);
    assert!(
        reason.contains("1 files and 201 rows, but has 1 files and 200 rows"),
        "{reason}"
    );
}

fn a_damaged_marker_is_passed_over_and_the_store_read_through(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    bench.close();
    let path = bench.path().join("clean");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(path, bytes).unwrap();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
}

fn a_marker_speaks_for_one_opening_only(kind: StoreKind) {
    let (mut bench, _) = filled(kind);
    bench.close();
    let marker = std::fs::read(bench.path().join("clean")).unwrap();
    bench.open();
    bench.apply(vec![], vec![]);
    bench.let_go();
    std::fs::write(bench.path().join("clean"), marker).unwrap();
    let reason = doubt(&bench);
    assert!(reason.contains("it was closed at entry 5"), "{reason}");
}

fn a_store_that_takes_the_process_down_twice_is_not_opened_a_third_time(kind: StoreKind) {
    let (mut bench, _) = filled(kind);
    bench.close();
    std::fs::write(bench.path().join("starts"), "2\n").unwrap();
    let before = names(&bench.path());
    let reason = doubt(&bench);
    assert!(reason.contains("took the process down 2 times"), "{reason}");
    assert_eq!(names(&bench.path()), before);
    assert_eq!(doubt(&bench), reason);
}

fn a_start_that_ended_is_forgotten(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    bench.let_go();
    std::fs::write(bench.path().join("starts"), "1\n").unwrap();
    bench.open();
    assert!(!names(&bench.path()).contains(&"starts".to_owned()));
    assert_holds(bench.reader().as_ref(), &model);
}

/// A marker taken for damaged would be taken away, a lower bound taken for none would let a store pass that went back.
fn what_a_newer_program_left_is_refused_and_left_alone(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    bench.close();
    for (name, at) in [("clean", 8), ("durable", 4)] {
        let path = bench.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        let mut newer = bytes.clone();
        newer.truncate(newer.len() - 4);
        newer[at] = 2;
        let crc = crc32fast::hash(&newer);
        newer.extend_from_slice(&crc.to_le_bytes());
        std::fs::write(&path, &newer).unwrap();
        let before = names(&bench.path());
        let error = bench.try_open().map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("format version 2, which a newer"), "{text}");
        assert_eq!(names(&bench.path()), before);
        assert_eq!(std::fs::read(&path).unwrap(), newer);
        std::fs::write(&path, &bytes).unwrap();
    }
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
}

fn rows_of(bench: &Bench) -> std::path::PathBuf {
    bench.path().join(match bench.kind {
        StoreKind::Sled => "sled",
        StoreKind::Redb => "store.redb",
    })
}

fn a_store_without_its_rows_is_in_doubt(kind: StoreKind) {
    let (mut bench, _) = filled(kind);
    bench.store().make_durable().unwrap();
    bench.let_go();
    let rows = rows_of(&bench);
    if rows.is_dir() {
        std::fs::remove_dir_all(rows).unwrap();
    } else {
        std::fs::remove_file(rows).unwrap();
    }
    let reason = doubt(&bench);
    assert!(
        reason.contains("stands at step 0, but step 5 was durable once"),
        "{reason}"
    );
}

fn a_store_that_went_back_behind_what_was_durable_is_in_doubt(kind: StoreKind) {
    let (mut bench, _) = filled(kind);
    bench.close();
    let old = bench.beside("old");
    copy(&rows_of(&bench), &old);
    bench.open();
    bench.apply(vec![], vec![]);
    bench.store().make_durable().unwrap();
    bench.let_go();
    let rows = rows_of(&bench);
    if rows.is_dir() {
        std::fs::remove_dir_all(&rows).unwrap();
    }
    copy(&old, &rows);
    let reason = doubt(&bench);
    assert!(
        reason.contains("stands at step 5, but step 6 was durable once"),
        "{reason}"
    );
}

/// Changes one entry behind the store's back.
fn forge(bench: &Bench, key: &[u8], value: Option<&[u8]>) {
    match bench.kind {
        StoreKind::Sled => {
            let rows = rows_of(bench);
            // Threads of sled may keep the file for a moment.
            let db = loop {
                match ::sled::open(&rows) {
                    Ok(db) => break db,
                    Err(_) => std::thread::yield_now(),
                }
            };
            match value {
                Some(value) => db.insert(key, value).unwrap(),
                None => db.remove(key).unwrap(),
            };
        }
        StoreKind::Redb => {
            let db = ::redb::Database::open(rows_of(bench)).unwrap();
            let table = ::redb::TableDefinition::<&[u8], &[u8]>::new("entries");
            let transaction = db.begin_write().unwrap();
            match value {
                Some(value) => drop(
                    transaction
                        .open_table(table)
                        .unwrap()
                        .insert(key, value)
                        .unwrap(),
                ),
                None => drop(transaction.open_table(table).unwrap().remove(key).unwrap()),
            }
            transaction.commit().unwrap();
        }
    }
}

/// A value as the stores keep it, with its checksum.
fn sound(key: &[u8], value: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(&[key, value].concat());
    [value, &crc.to_le_bytes(), &[0]].concat()
}

fn rows_that_came_or_went_on_their_own_put_the_store_in_doubt(kind: StoreKind) {
    let row_key = |space: u8, key: &[u8]| [&[3, 0, 0, 0, 0, 0, 0, 0, space][..], key].concat();
    let format_key = |file: u8| [&[1][..], &[file; 16]].concat();
    let (more, there, stray) = (
        row_key(1, b"more"),
        row_key(1, &[2, 7]),
        row_key(9, b"stray"),
    );
    let forged = [
        (
            more.clone(),
            Some(sound(&more, b"row")),
            "has 201 rows, 200 were counted",
        ),
        (there.clone(), None, "has 199 rows, 200 were counted"),
        (
            there.clone(),
            Some(b"crooked".to_vec()),
            "does not end as values do",
        ),
        // A row that belongs under another key.
        (there, Some(sound(&more, b"row")), "is not what was written"),
        (
            stray.clone(),
            Some(sound(&stray, b"row")),
            "in space 9, which no file has",
        ),
        (vec![9, 9], Some(b"what".to_vec()), "cannot be read"),
        (
            [&[4, 0, 0, 0, 0, 0, 0, 0, 1][..], &[7; 36]].concat(),
            Some(b"piece".to_vec()),
            "has 1 pieces of large rows, 0 are needed",
        ),
        (
            vec![0],
            Some(b"\x01what".to_vec()),
            "its state cannot be read",
        ),
        (format_key(1), None, "the format of file"),
        (
            format_key(7),
            Some(sound(b"", b"")),
            "has 1 files and 2 formats",
        ),
    ];
    for (key, value, words) in forged {
        let (mut bench, _) = filled(kind);
        bench.let_go();
        forge(&bench, &key, value.as_deref());
        let reason = doubt(&bench);
        assert!(reason.contains(words), "{reason}");
    }
}

fn a_restore_that_was_not_finished_puts_the_store_in_doubt(kind: StoreKind) {
    for in_order in [true, false] {
        let mut bench = Bench::empty(kind);
        let mark = Some(InProgress::restoring(1));
        let batch = Batch {
            expected: None,
            next: StorePosition {
                in_progress: mark,
                ..position(70)
            },
            files: vec![put_file(1, 1)],
            rows: vec![put(1, b"a", b"1")],
        };
        bench.store().apply(&batch).unwrap();
        if in_order {
            bench.close();
        } else {
            bench.let_go();
        }
        let reason = doubt(&bench);
        assert!(reason.contains("being restored"), "{reason}");
    }
}

fn a_damaged_store_is_refused_or_whole_but_never_wrong(kind: StoreKind) {
    let (mut bench, model) = filled(kind);
    bench.store().make_durable().unwrap();
    bench.let_go();
    let whole = bench.beside("whole");
    copy(&bench.path(), &whole);
    let mut seed = Seed(11);
    let mut refused = 0;
    for round in 0..24 {
        std::fs::remove_dir_all(bench.path()).unwrap();
        copy(&whole, &bench.path());
        let file = match kind {
            StoreKind::Sled => rows_of(&bench).join("db"),
            StoreKind::Redb => rows_of(&bench),
        };
        let mut bytes = std::fs::read(&file).unwrap();
        // Where something is written: both stores leave much of their files empty.
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let at = used[seed.below(used.len() as u64) as usize];
        if round % 3 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << seed.below(8);
        }
        std::fs::write(&file, bytes).unwrap();
        match bench.try_open() {
            Ok(store) => assert_holds(store.reader().as_ref(), &model),
            Err(error) => {
                assert!(!error.is_transient(), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "nothing was ever damaged");
}

fn a_store_in_doubt_is_set_aside_under_a_new_name(kind: StoreKind) {
    let (mut bench, _) = filled(kind);
    for number in 1..=2 {
        bench.close();
        let aside = set_aside(&bench.path(), "2026-11-21 12:00:00").unwrap();
        assert_eq!(aside, bench.beside(&format!("store.doubtful-{number}")));
        assert!(!bench.path().exists());
        let note = std::fs::read_to_string(aside.join("set-aside")).unwrap();
        assert_eq!(note, "2026-11-21 12:00:00\n");
        bench.open();
        assert_eq!(bench.reader().position().unwrap(), None);
    }
    assert!(set_aside(&bench.beside("nothing"), "now").is_err());
}
