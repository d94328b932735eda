//! Snapshots: a store as it was, whatever is applied meanwhile.

use std::collections::BTreeMap;

use rjournal_apply::store::{StoreKind, StoreOptions};

use crate::bench::{
    Bench, Model, Seed, all_rows, assert_holds, assert_rows, drop_file, file, fold, noise,
    position, put, put_file, remove,
};

for_both_stores! {
    a_snapshot_is_not_moved_by_what_is_applied_afterwards,
    a_snapshot_is_read_while_another_thread_applies,
    a_snapshot_keeps_files_that_are_dropped_or_made_again,
    a_snapshot_gives_no_more_than_was_asked_for,
    two_snapshots_of_different_positions_are_read_side_by_side,
}

/// A store with some rows, and what it holds.
fn filled(kind: StoreKind, options: StoreOptions) -> (Bench, Model) {
    let mut bench = Bench::with(kind, options);
    let mut model = Model::new();
    let files = vec![put_file(1, 1), put_file(2, 1)];
    let rows: Vec<_> = (0..400_u16)
        .map(|key| {
            let length = if key % 40 < 2 { 30_000 } else { 20 };
            put(
                1 + (key % 2) as u8,
                &key.to_be_bytes(),
                &noise(u64::from(key), length),
            )
        })
        .collect();
    fold(&mut model, &files, &rows);
    bench.apply(files, rows);
    (bench, model)
}

/// Changes all over the two files.
fn stir(bench: &mut Bench, model: &mut Model, seed: &mut Seed) {
    let rows: Vec<_> = (0..25)
        .map(|_| {
            let key = (seed.below(500) as u16).to_be_bytes();
            let number = 1 + seed.below(2) as u8;
            match seed.below(3) {
                0 => remove(number, &key),
                1 => put(number, &key, &noise(seed.draw(), 8_000)),
                _ => put(number, &key, &noise(seed.draw(), 30)),
            }
        })
        .collect();
    fold(model, &[], &rows);
    bench.apply(vec![], rows);
}

fn a_snapshot_is_not_moved_by_what_is_applied_afterwards(kind: StoreKind) {
    let (mut bench, mut model) = filled(kind, StoreOptions::default());
    let before = model.clone();
    let mut snapshot = bench.reader().snapshot().unwrap();
    let mut seed = Seed(1);
    for number in [1, 2] {
        let mut found = Vec::new();
        loop {
            stir(&mut bench, &mut model, &mut seed);
            let after = found
                .last()
                .map(|row: &rjournal_apply::store::KeyedRow| row.key.clone());
            let rows = snapshot
                .scan(file(number), after.as_deref(), 17, 100_000)
                .unwrap();
            if rows.is_empty() {
                break;
            }
            found.extend(rows);
        }
        assert_rows(&found, &before[&file(number)].1);
    }
    assert_eq!(*snapshot.position(), position(1));
    let counts: Vec<_> = snapshot.files().iter().map(|file| file.rows).collect();
    assert_eq!(counts, [200, 200]);
    drop(snapshot);
    assert_holds(bench.reader().as_ref(), &model);
}

fn a_snapshot_is_read_while_another_thread_applies(kind: StoreKind) {
    let (mut bench, mut model) = filled(kind, StoreOptions::default());
    let reader = bench.reader();
    let mut snapshot = reader.snapshot().unwrap();
    let before = model.clone();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            [1, 2].map(|number| {
                let mut found = Vec::new();
                loop {
                    let after: Option<Vec<u8>> = found
                        .last()
                        .map(|row: &rjournal_apply::store::KeyedRow| row.key.clone());
                    let rows = snapshot
                        .scan(file(number), after.as_deref(), 3, 100_000)
                        .unwrap();
                    if rows.is_empty() {
                        return found;
                    }
                    found.extend(rows);
                }
            })
        });
        let mut seed = Seed(2);
        for _ in 0..60 {
            stir(&mut bench, &mut model, &mut seed);
        }
        let found = reading.join().unwrap();
        assert_rows(&found[0], &before[&file(1)].1);
        assert_rows(&found[1], &before[&file(2)].1);
    });
    assert_holds(reader.as_ref(), &model);
}

fn a_snapshot_keeps_files_that_are_dropped_or_made_again(kind: StoreKind) {
    let (mut bench, before) = filled(kind, StoreOptions::default());
    let mut snapshot = bench.reader().snapshot().unwrap();
    bench.apply(
        vec![drop_file(1), drop_file(2), put_file(2, 7), put_file(3, 1)],
        vec![put(2, b"new", b"row")],
    );
    for _ in 0..5 {
        bench.apply(vec![], vec![]);
    }
    assert_rows(&all_rows(&mut snapshot, file(1)), &before[&file(1)].1);
    assert_rows(&all_rows(&mut snapshot, file(2)), &before[&file(2)].1);
    assert_eq!(all_rows(&mut snapshot, file(3)), vec![]);
    assert_eq!(snapshot.files().len(), 2);
    drop(snapshot);
    bench.apply(vec![], vec![]);
    let mut model = Model::new();
    fold(
        &mut model,
        &[put_file(2, 7), put_file(3, 1)],
        &[put(2, b"new", b"row")],
    );
    assert_holds(bench.reader().as_ref(), &model);
    bench.let_go();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
}

fn a_snapshot_gives_no_more_than_was_asked_for(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    bench.apply(
        vec![],
        (0..50_u8).map(|key| put(1, &[key], &[key; 99])).collect(),
    );
    let mut snapshot = bench.reader().snapshot().unwrap();
    // Half of what is read now are rows as they were, the other half rows as they are.
    bench.apply(
        vec![],
        (0..25_u8).map(|key| remove(1, &[key * 2])).collect(),
    );
    assert_eq!(snapshot.scan(file(1), None, 0, 100).unwrap(), vec![]);
    assert_eq!(snapshot.scan(file(1), None, 1, 1 << 20).unwrap().len(), 1);
    assert_eq!(
        snapshot
            .scan(file(1), Some(&[0]), 9, 1 << 20)
            .unwrap()
            .len(),
        9
    );
    assert_eq!(
        snapshot.scan(file(1), Some(&[9]), 50, 1000).unwrap().len(),
        10
    );
    assert_eq!(snapshot.scan(file(1), Some(&[19]), 50, 0).unwrap().len(), 1);
    let rest = snapshot.scan(file(1), Some(&[20]), 50, 1 << 20).unwrap();
    let due: BTreeMap<_, _> = (21..50_u8).map(|key| (vec![key], vec![key; 99])).collect();
    assert_rows(&rest, &due);
}

fn two_snapshots_of_different_positions_are_read_side_by_side(kind: StoreKind) {
    let (mut bench, mut model) = filled(kind, StoreOptions::default());
    let mut seed = Seed(3);
    let first_model = model.clone();
    let mut first = bench.reader().snapshot().unwrap();
    stir(&mut bench, &mut model, &mut seed);
    let second_model = model.clone();
    let mut second = bench.reader().snapshot().unwrap();
    stir(&mut bench, &mut model, &mut seed);
    for number in [1, 2] {
        assert_rows(
            &all_rows(&mut first, file(number)),
            &first_model[&file(number)].1,
        );
        stir(&mut bench, &mut model, &mut seed);
        assert_rows(
            &all_rows(&mut second, file(number)),
            &second_model[&file(number)].1,
        );
    }
    assert_eq!(*first.position(), position(1));
    assert_eq!(*second.position(), position(2));
}

#[test]
fn sled_gives_a_snapshot_up_when_too_much_changes_under_it() {
    let options = StoreOptions {
        snapshot_bytes_max: 100_000,
        ..StoreOptions::default()
    };
    let (mut bench, model) = filled(StoreKind::Sled, options);
    let mut snapshot = bench.reader().snapshot().unwrap();
    let before = &model[&file(1)].1;
    bench.apply(
        vec![],
        before.keys().map(|key| put(1, key, b"new")).collect(),
    );
    let error = snapshot.scan(file(1), None, 10, 1000).unwrap_err();
    assert!(error.is_transient(), "{error}");
    drop(snapshot);
    // What was read need not be kept: in small pieces the same changes fit.
    let mut snapshot = bench.reader().snapshot().unwrap();
    let mut after: Option<Vec<u8>> = None;
    let mut count = 0;
    loop {
        let rows = snapshot
            .scan(file(2), after.as_deref(), 20, 1 << 20)
            .unwrap();
        let Some(last) = rows.last() else { break };
        count += rows.len();
        after = Some(last.key.clone());
        bench.apply(
            vec![],
            rows.iter()
                .map(|row| put(2, &row.key, &noise(1, 50_000)))
                .collect(),
        );
    }
    assert_eq!(count, 200);
}

#[test]
fn sled_admits_no_more_than_four_snapshots() {
    let (bench, _) = filled(StoreKind::Sled, StoreOptions::default());
    let mut open: Vec<_> = (0..4).map(|_| bench.reader().snapshot().unwrap()).collect();
    assert!(bench.reader().snapshot().unwrap_err().is_transient());
    open.pop();
    open.push(bench.reader().snapshot().unwrap());
    assert!(bench.reader().snapshot().unwrap_err().is_transient());
}

#[test]
fn sled_says_so_when_a_snapshot_is_read_a_second_time_where_rows_have_changed() {
    let (mut bench, model) = filled(StoreKind::Sled, StoreOptions::default());
    let mut snapshot = bench.reader().snapshot().unwrap();
    assert_rows(&all_rows(&mut snapshot, file(1)), &model[&file(1)].1);
    // Nothing has changed: it may be read again.
    assert_rows(&all_rows(&mut snapshot, file(1)), &model[&file(1)].1);
    bench.apply(vec![], vec![remove(1, &2_u16.to_be_bytes())]);
    assert!(
        snapshot
            .scan(file(1), None, 10, 1000)
            .unwrap_err()
            .is_transient()
    );
    assert_rows(&all_rows(&mut snapshot, file(2)), &model[&file(2)].1);
}
