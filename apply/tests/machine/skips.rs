//! Passing over the one entry an operator named (failures.md APL-5): it leaves a row in the store, and stays passed over.

use rjournal::entry::{Kind, ObjectId, Sequence};
use rjournal_apply::machine::{Bounds, Skips};
use rjournal_apply::store::StoreReader;

use crate::bench::{End, Job, SMALL, apply_until_stopped, assert_ended, skip};
use crate::history::{ALONE, History, file, key, row};
use crate::memory::Memory;

/// Entries the store says were passed over.
fn listed(store: &dyn StoreReader) -> u64 {
    let files = store.files().unwrap();
    files
        .iter()
        .find(|file| file.format.file().to_string() == "QRJOURNAL/SKIPPED")
        .map_or(0, |file| file.rows)
}

fn start(history: &History, store: Memory, bounds: Bounds, entry: Sequence) -> Job {
    Job::start_with(history, store, bounds, Some((entry, skip("it cannot be"))))
}

/// A history with a poison entry alone and one within a transaction.
fn poisoned() -> (History, [Sequence; 2]) {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"one");
    let alone = history.entry(&history.record(Kind::RECORD_PUT, ALONE, 1, b"no row"));
    let cycle = history.begin();
    history.put(cycle, 1, 2, b"two");
    let inside = history.entry(&history.record(Kind::RECORD_PUT, cycle, 1, b"no row"));
    history.put(cycle, 1, 3, b"three");
    history.seal();
    history.commit(cycle);
    history.put(ALONE, 1, 4, b"four");
    history.seal();
    (history, [alone, inside])
}

#[test]
fn exactly_the_named_entry_is_passed_over_and_listed() {
    let (history, [alone, inside]) = poisoned();
    let (error, job) = apply_until_stopped(&history, SMALL);
    assert_eq!(error.entry(), Some(alone));
    let mut job = start(&history, job.store.copy(), SMALL, alone);
    match job.run(&history, 1) {
        Err(End::Stopped(error)) => assert_eq!(error.entry(), Some(inside)),
        other => panic!("{other:?}"),
    }
    assert_eq!(listed(&job.store), 1);
    let mut job = start(&history, job.store.copy(), SMALL, inside);
    job.run(&history, 1).unwrap();
    assert_eq!(listed(&job.store), 2);
    assert_ended(&job.store, &history);
}

#[test]
fn an_order_for_another_entry_does_not_get_past_a_poison_entry() {
    let (history, [alone, inside]) = poisoned();
    for other in [alone.next(), inside] {
        let mut job = start(&history, Memory::default(), SMALL, other);
        match job.run(&history, 1) {
            Err(End::Stopped(error)) => assert_eq!(error.entry(), Some(alone)),
            other => panic!("{other:?}"),
        }
        assert_eq!(listed(&job.store), 0, "nothing was passed over yet");
    }
}

#[test]
fn what_was_passed_over_stays_so_when_it_is_read_again() {
    let mut history = History::with_files(1);
    let cycle = history.begin();
    history.put(cycle, 1, 1, b"one");
    let entry = history.entry(&history.record(Kind::RECORD_PUT, cycle, 1, b"no row"));
    history.seal();
    let mut job = start(&history, Memory::default(), SMALL, entry);
    job.run(&history, 1).unwrap();
    assert_eq!(
        listed(&job.store),
        1,
        "it is listed although its cycle is open"
    );
    history.put(cycle, 1, 2, b"two");
    history.commit(cycle);
    history.seal();
    // The order is in the store now; nobody gives it again.
    let mut again = Job::start(&history, job.store.copy(), SMALL);
    assert!(again.machine.at() < entry);
    again.run(&history, 1).unwrap();
    assert_eq!(listed(&again.store), 1);
    assert_ended(&again.store, &history);
}

#[test]
fn a_commit_that_is_passed_over_is_none() {
    let mut history = History::with_files(1);
    let cycle = history.begin();
    let put = history.put(cycle, 1, 1, b"one");
    let commit = history.commit(cycle);
    history.put(ALONE, 1, 2, b"two");
    history.seal();
    let mut job = start(&history, Memory::default(), SMALL, commit);
    history.ignore(put);
    job.run(&history, 1).unwrap();
    assert_ended(&job.store, &history);
}

#[test]
fn the_before_image_goes_with_the_update_that_is_passed_over() {
    for inside in [false, true] {
        let mut history = History::with_files(1);
        history.put(ALONE, 1, 1, b"one");
        let cycle = if inside { history.begin() } else { ALONE };
        let entry = history.update(cycle, 1, 1, b"never", b"was");
        history.ignore(entry);
        history.put(cycle, 1, 2, b"two");
        history.update(cycle, 1, 1, b"one", b"uno");
        if inside {
            history.commit(cycle);
        }
        history.seal();
        let (error, job) = apply_until_stopped(&history, Bounds::default());
        assert_eq!(error.entry(), Some(entry), "{error}");
        let mut job = start(&history, job.store.copy(), Bounds::default(), entry);
        job.run(&history, 1).unwrap();
        assert_ended(&job.store, &history);
        assert_eq!(listed(&job.store), 1);
    }
}

#[test]
fn an_entry_of_a_large_transaction_may_be_passed_over_between_its_steps() {
    let read_again = Bounds {
        buffered_bytes_max: 1_000,
        ..SMALL
    };
    let kept = Bounds {
        buffered_bytes_max: 1_000_000,
        ..SMALL
    };
    for bounds in [read_again, kept] {
        let mut history = History::with_files(1);
        history.put(ALONE, 1, -1, b"row");
        let large = history.begin();
        for k in 0..60 {
            history.put(large, 1, k, &[1; 100]);
        }
        let entry = history.update(large, 1, -1, b"never", b"was");
        history.ignore(entry);
        for k in 60..80 {
            history.put(large, 1, k, &[1; 100]);
        }
        history.commit(large);
        history.seal();
        let (error, job) = apply_until_stopped(&history, bounds);
        assert_eq!(error.entry(), Some(entry), "{error}");
        let position = job.store.position().unwrap().unwrap();
        assert!(position.in_progress.is_some(), "a part is applied");
        let mut job = start(&history, job.store.copy(), bounds, entry);
        job.run(&history, 1).unwrap();
        assert_ended(&job.store, &history);
        assert_eq!(listed(&job.store), 1, "it is listed");
    }
}

#[test]
fn the_list_reads_back_as_orders() {
    let (history, [alone, _]) = poisoned();
    let mut job = start(&history, Memory::default(), SMALL, alone);
    drop(job.run(&history, 1));
    let list: ObjectId = job
        .store
        .files()
        .unwrap()
        .iter()
        .find(|known| known.id != file(1))
        .unwrap()
        .id;
    let rows = job.store.scan(list, None, 10, usize::MAX).unwrap();
    assert_eq!(rows.len(), 1);
    assert!(!format!("{:?}", Skips::of_store(&job.store).unwrap()).is_empty());
    assert_ne!(rows[0].key, key(1, 1));
    assert_ne!(rows[0].row, row(1, 1, 1, b"one"));
}
