//! Steps: compared with where the store stands, taken whole or not at all, seen whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};

use rjournal_apply::store::{Batch, InProgress, StoreError, StoreKind, StorePosition};

use rjournal::entry::Sequence;

use crate::bench::{
    Bench, Model, assert_holds, drop_file, file, fold, position, put, put_file, remove,
};

for_both_stores! {
    a_new_store_stands_nowhere_and_holds_nothing,
    a_step_from_another_position_is_refused_and_changes_nothing,
    the_whole_position_is_compared,
    a_step_into_a_file_that_is_not_there_changes_nothing,
    the_last_change_of_a_key_counts,
    files_are_made_changed_and_taken_away,
    a_file_dropped_and_made_again_in_one_step_is_empty,
    a_file_made_and_dropped_in_one_step_leaves_nothing,
    dropping_a_file_that_is_not_there_changes_nothing,
    a_large_file_is_gone_at_once_and_its_rows_soon,
    rows_are_counted_in_the_step_that_changes_them,
    readers_see_whole_steps_only,
    the_mark_of_a_transaction_in_progress_is_kept,
    what_is_durable_is_said_only_after_it_is,
}

fn a_new_store_stands_nowhere_and_holds_nothing(kind: StoreKind) {
    let mut bench = Bench::empty(kind);
    let reader = bench.reader();
    assert_eq!(reader.position().unwrap(), None);
    assert_eq!(reader.files().unwrap(), vec![]);
    assert_eq!(reader.get(file(1), b"a").unwrap(), None);
    assert_eq!(reader.scan(file(1), None, 9, 999).unwrap(), vec![]);
    assert_eq!(reader.last(file(1)).unwrap(), None);
    assert!(reader.snapshot().is_err());
    assert_eq!(bench.store().durable_position(), None);
    assert_eq!(bench.store().make_durable().unwrap(), None);
}

fn a_step_from_another_position_is_refused_and_changes_nothing(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    bench.apply(vec![], vec![put(1, b"a", b"old")]);
    for expected in [None, Some(position(1)), Some(position(3))] {
        let batch = Batch {
            expected,
            next: position(9),
            files: vec![put_file(2, 1), drop_file(1)],
            rows: vec![],
        };
        let error = bench.store().apply(&batch).unwrap_err();
        assert!(matches!(error, StoreError::Moved { .. }), "{error}");
        assert!(!error.is_transient());
    }
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 1)], &[put(1, b"a", b"old")]);
    assert_holds(bench.reader().as_ref(), &model);
    assert_eq!(bench.reader().position().unwrap(), Some(position(2)));
    bench.apply(vec![], vec![]);
    assert_eq!(bench.reader().position().unwrap(), Some(position(3)));
}

fn the_whole_position_is_compared(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let here = position(1);
    let others = [
        StorePosition { term: 2, ..here },
        StorePosition {
            restart: Sequence::NONE,
            ..here
        },
        StorePosition {
            head: position(2).head,
            ..here
        },
        StorePosition {
            in_progress: Some(InProgress::restoring(1)),
            ..here
        },
    ];
    for other in others {
        let batch = Batch {
            expected: Some(other),
            next: position(2),
            files: vec![],
            rows: vec![],
        };
        let error = bench.store().apply(&batch).unwrap_err();
        assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    }
}

fn a_step_into_a_file_that_is_not_there_changes_nothing(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let refused = [
        (vec![], vec![put(1, b"a", b"1"), put(2, b"a", b"1")]),
        (vec![], vec![put(1, b"a", b"1"), remove(2, b"a")]),
        (vec![drop_file(1)], vec![put(1, b"a", b"1")]),
    ];
    for (files, rows) in refused {
        let error = bench.try_apply(files, rows).unwrap_err();
        assert!(matches!(error, StoreError::NoFile { .. }), "{error}");
    }
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 1)], &[]);
    assert_holds(bench.reader().as_ref(), &model);
    assert_eq!(bench.reader().position().unwrap(), bench.at());
}

fn the_last_change_of_a_key_counts(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let changes = [
        vec![put(1, b"a", b"1"), put(1, b"b", b"1"), put(1, b"a", b"2")],
        vec![
            remove(1, b"a"),
            put(1, b"a", b"3"),
            put(1, b"c", b"1"),
            remove(1, b"c"),
        ],
        vec![
            put(1, b"b", b"9"),
            remove(1, b"b"),
            remove(1, b"b"),
            remove(1, b"none"),
        ],
    ];
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 1)], &[]);
    for rows in changes {
        fold(&mut model, &[], &rows);
        bench.apply(vec![], rows);
        assert_holds(bench.reader().as_ref(), &model);
    }
    assert_eq!(
        bench.reader().get(file(1), b"a").unwrap(),
        Some(b"3".to_vec())
    );
}

fn files_are_made_changed_and_taken_away(kind: StoreKind) {
    let mut bench = Bench::empty(kind);
    let mut model = Model::new();
    let steps = [
        (
            vec![put_file(2, 1), put_file(1, 1)],
            vec![put(1, b"a", b"1"), put(2, b"a", b"2")],
        ),
        // Rows stay when the format changes, and the last format of a step counts.
        (vec![put_file(1, 2), put_file(1, 3)], vec![]),
        (vec![drop_file(2)], vec![]),
        // The same identity again: nothing of the old file is left.
        (vec![put_file(2, 5)], vec![]),
        (vec![], vec![put(2, b"b", b"3")]),
        (vec![drop_file(1), drop_file(2)], vec![]),
    ];
    for (files, rows) in steps {
        fold(&mut model, &files, &rows);
        bench.apply(files, rows);
        assert_holds(bench.reader().as_ref(), &model);
        bench.let_go();
        bench.open();
        assert_holds(bench.reader().as_ref(), &model);
    }
    assert!(model.is_empty());
}

fn a_file_dropped_and_made_again_in_one_step_is_empty(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let large = crate::bench::noise(1, 300 * 1024);
    bench.apply(vec![], vec![put(1, b"a", &large), put(1, b"b", b"1")]);
    bench.apply(vec![drop_file(1), put_file(1, 2)], vec![put(1, b"c", b"2")]);
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 2)], &[put(1, b"c", b"2")]);
    assert_holds(bench.reader().as_ref(), &model);
    bench.let_go();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
}

fn a_file_made_and_dropped_in_one_step_leaves_nothing(kind: StoreKind) {
    let mut bench = Bench::empty(kind);
    bench.apply(
        vec![put_file(1, 1), drop_file(1), put_file(2, 1)],
        vec![put(2, b"a", b"1")],
    );
    let mut model = Model::new();
    fold(&mut model, &[put_file(2, 1)], &[put(2, b"a", b"1")]);
    assert_holds(bench.reader().as_ref(), &model);
    bench.let_go();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
}

fn dropping_a_file_that_is_not_there_changes_nothing(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    bench.apply(vec![drop_file(7)], vec![]);
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 1)], &[]);
    assert_holds(bench.reader().as_ref(), &model);
}

fn a_large_file_is_gone_at_once_and_its_rows_soon(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    bench.apply(vec![put_file(2, 1)], vec![]);
    for part in 0..5_u32 {
        let rows = (part * 1300..(part + 1) * 1300).map(|key| put(1, &key.to_be_bytes(), b"row"));
        bench.apply(vec![], rows.collect());
    }
    assert_eq!(bench.reader().files().unwrap()[0].rows, 6500);
    bench.apply(vec![drop_file(1)], vec![put(2, b"a", b"1")]);
    let mut model = Model::new();
    fold(&mut model, &[put_file(2, 1)], &[put(2, b"a", b"1")]);
    assert_holds(bench.reader().as_ref(), &model);
    assert_eq!(
        bench
            .reader()
            .get(file(1), &5000_u32.to_be_bytes())
            .unwrap(),
        None
    );
    // A kill in the middle of removing its rows: nothing is in doubt, and the rest goes with the steps that follow.
    bench.let_go();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
    for _ in 0..4 {
        bench.apply(vec![], vec![]);
    }
    bench.let_go();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
}

fn rows_are_counted_in_the_step_that_changes_them(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let count = |bench: &Bench| bench.reader().files().unwrap()[0].rows;
    bench.apply(
        vec![],
        (0..100_u8).map(|key| put(1, &[key], b"1")).collect(),
    );
    assert_eq!(count(&bench), 100);
    bench.apply(
        vec![],
        (50..150_u8).map(|key| put(1, &[key], b"2")).collect(),
    );
    assert_eq!(count(&bench), 150);
    bench.apply(vec![], (0..200_u8).map(|key| remove(1, &[key])).collect());
    assert_eq!(count(&bench), 0);
}

fn readers_see_whole_steps_only(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let rows = |value: u64| {
        (0..60_u8)
            .map(|key| put(1, &[key], &value.to_be_bytes()))
            .collect()
    };
    bench.apply(vec![], rows(2));
    let reader = bench.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut seen = 0_u64;
            let mut scans = 0_u64;
            loop {
                let last_look = done.load(Ordering::Acquire);
                let before = reader.position().unwrap().unwrap().applied.get();
                let rows = reader.scan(file(1), None, 1000, 1 << 20).unwrap();
                let after = reader.position().unwrap().unwrap().applied.get();
                assert_eq!(rows.len(), 60);
                assert!(
                    rows.iter().all(|row| row.row == rows[0].row),
                    "a step is half seen"
                );
                let value = u64::from_be_bytes(rows[0].row.as_slice().try_into().unwrap());
                assert!(
                    before <= value && value <= after,
                    "{before} {value} {after}"
                );
                assert!(value >= seen, "a reader went back");
                seen = value;
                scans += 1;
                if last_look {
                    return (seen, scans);
                }
            }
        });
        for value in 3..=150 {
            bench.apply(vec![], rows(value));
        }
        done.store(true, Ordering::Release);
        let (seen, scans) = reading.join().unwrap();
        assert_eq!(seen, 150);
        assert!(scans > 1);
    });
}

fn the_mark_of_a_transaction_in_progress_is_kept(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let [cycle, decision, done] = [40, 90, 60].map(Sequence::new);
    let mut stands = position(1);
    let marks = [
        (InProgress::transaction(cycle, decision, done), true),
        (InProgress::transaction(cycle, decision, done), false),
        (InProgress::undo(cycle, decision, done), true),
        (InProgress::undo(cycle, decision, done), false),
    ];
    for (mark, in_order) in marks {
        let next = StorePosition {
            in_progress: Some(mark),
            ..position(1)
        };
        let batch = Batch {
            expected: Some(stands),
            next,
            files: vec![],
            rows: vec![put(1, b"a", b"1")],
        };
        stands = next;
        bench.store().apply(&batch).unwrap();
        if in_order {
            bench.close();
        } else {
            bench.let_go();
        }
        bench.open();
        assert_eq!(bench.reader().position().unwrap(), Some(next));
        assert_eq!(bench.store().durable_position(), Some(next));
    }
}

fn what_is_durable_is_said_only_after_it_is(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    assert_eq!(bench.store().durable_position(), None);
    assert_eq!(bench.store().make_durable().unwrap(), Some(position(1)));
    bench.apply(vec![], vec![put(1, b"a", b"1")]);
    assert_eq!(bench.store().durable_position(), Some(position(1)));
    assert_eq!(bench.store().make_durable().unwrap(), Some(position(2)));
    assert_eq!(bench.store().make_durable().unwrap(), Some(position(2)));
    assert_eq!(bench.store().durable_position(), Some(position(2)));
}
