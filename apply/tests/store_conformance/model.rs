//! Random histories of a store against a model in memory: after each of them, reopened or not, both hold the same.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rjournal_apply::store::{FileChange, RowChange, StoreKind};

use crate::bench::{
    Bench, Model, all_rows, assert_holds, assert_rows, drop_file, file, fold, noise, put, put_file,
    remove,
};

for_both_stores! {
    a_store_holds_what_a_model_holds,
}

#[derive(Debug, Clone)]
enum Event {
    Apply(Vec<FileChange>, Vec<RowChange>),
    MakeDurable,
    Close,
    LetGo,
    Snapshot,
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..4)
}

fn any_row() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![4 => 0..40_usize, 2 => 5_000..14_000_usize, 1 => 60_000..70_000_usize];
    (any::<u64>(), length).prop_map(|(seed, length)| noise(seed, length))
}

fn any_row_change() -> impl Strategy<Value = RowChange> {
    let change = prop_oneof![2 => any_row().prop_map(Some), 1 => Just(None)];
    (1..4_u8, any_key(), change).prop_map(|(number, key, row)| match row {
        Some(row) => put(number, &key, &row),
        None => remove(number, &key),
    })
}

fn any_file_change() -> impl Strategy<Value = FileChange> {
    (1..4_u8, 0..4_u32).prop_map(|(number, version)| match version {
        0 => drop_file(number),
        _ => put_file(number, version),
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (vec(any_file_change(), 0..3), vec(any_row_change(), 0..12)).prop_map(|(files, rows)| Event::Apply(files, rows)),
        1 => Just(Event::MakeDurable),
        1 => Just(Event::Close),
        1 => Just(Event::LetGo),
        2 => Just(Event::Snapshot),
    ]
}

fn a_store_holds_what_a_model_holds(kind: StoreKind) {
    let config = Config {
        cases: 16,
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&vec(any_event(), 1..30), |events| {
        run(kind, events);
        Ok(())
    });
    run.unwrap();
}

fn run(kind: StoreKind, events: Vec<Event>) {
    let mut bench = Bench::empty(kind);
    let mut model = Model::new();
    let mut snapshot = None;
    for event in events {
        match event {
            Event::Apply(files, mut rows) => {
                let mut after = model.clone();
                fold(&mut after, &files, &[]);
                rows.retain(|change| after.contains_key(&change.file));
                fold(&mut model, &files, &rows);
                bench.apply(files, rows);
            }
            Event::MakeDurable => assert_eq!(bench.store().make_durable().unwrap(), bench.at()),
            Event::Close => {
                snapshot = None;
                bench.close();
                bench.open();
            }
            Event::LetGo => {
                snapshot = None;
                bench.let_go();
                bench.open();
            }
            Event::Snapshot if bench.step > 0 => {
                if let Some((mut snapshot, model)) = snapshot.take() {
                    assert_snapshot(&mut snapshot, &model);
                }
                snapshot = Some((bench.reader().snapshot().unwrap(), model.clone()));
            }
            Event::Snapshot => {}
        }
        assert_eq!(bench.reader().position().unwrap(), bench.at());
        for number in 1..4 {
            let last = bench
                .reader()
                .last(file(number))
                .unwrap()
                .map(|row| row.key);
            let due = model
                .get(&file(number))
                .and_then(|(_, rows)| rows.keys().next_back());
            assert_eq!(last.as_ref(), due);
        }
    }
    if let Some((mut snapshot, model)) = snapshot {
        assert_snapshot(&mut snapshot, &model);
    }
    assert_holds(bench.reader().as_ref(), &model);
    bench.let_go();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
}

fn assert_snapshot(snapshot: &mut Box<dyn rjournal_apply::store::StoreSnapshot>, model: &Model) {
    let counts: Vec<_> = snapshot
        .files()
        .iter()
        .map(|file| (file.id, file.rows))
        .collect();
    let due: Vec<_> = model
        .iter()
        .map(|(id, (_, rows))| (*id, rows.len() as u64))
        .collect();
    assert_eq!(counts, due);
    for (id, (_, rows)) in model {
        assert_rows(&all_rows(snapshot, *id), rows);
    }
}
