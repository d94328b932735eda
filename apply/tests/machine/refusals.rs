//! What stops the machine: entries that cannot be applied, rows that are not what they should be, bundles that are missing
//! or of another history. The store is left just before, and no later entry is applied.

use rjournal::entry::{Draft, Kind, Sequence};
use rjournal_apply::error::ApplyError;
use rjournal_apply::machine::Bounds;
use rjournal_apply::store::StoreReader;

use crate::bench::{End, Job, SMALL, apply_all, apply_until_stopped, assert_stands};
use crate::history::{ALONE, History, file, key, row};
use crate::memory::{Memory, fold_of};

/// A history that holds rows 1 and 2 of file 1, on which the cases put their entry.
fn begun() -> History {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"one");
    let cycle = history.begin();
    history.put(cycle, 1, 2, b"two");
    history.commit(cycle);
    history
}

/// The machine stops at an entry, for the reason given; everything before it is applied, nothing behind it.
fn assert_poison(history: History, entry: Sequence, reason: &str) {
    assert_poison_after(history, entry.before(), entry, reason);
}

/// As [`assert_poison`]; the store stands at `left`.
fn assert_poison_after(mut history: History, left: Sequence, entry: Sequence, reason: &str) {
    history.put(ALONE, 1, 99, b"behind");
    history.seal();
    for bounds in [SMALL, Bounds::default()] {
        let (error, job) = apply_until_stopped(&history, bounds);
        assert_eq!(error.entry(), Some(entry), "{error}");
        assert!(matches!(error, ApplyError::Poison { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!error.is_transient());
        let position = job.store.position().unwrap().unwrap();
        assert_eq!(position.applied, left, "just before it");
        assert_stands(&job.store, &history);
        // Nobody gets past it by starting again.
        let mut again = Job::start(&history, job.store.copy(), bounds);
        match again.run(&history, 1) {
            Err(End::Stopped(error)) => assert_eq!(error.entry(), Some(entry)),
            other => panic!("{other:?}"),
        }
        assert_eq!(again.store.position().unwrap().unwrap(), position);
    }
}

#[test]
fn an_image_that_is_no_row_of_its_file_stops_it() {
    let mut history = begun();
    let entry = history.entry(&history.record(Kind::RECORD_PUT, ALONE, 1, b"no row"));
    assert_poison(history, entry, "PRDLIB/F1");
}

#[test]
fn a_poison_entry_within_a_transaction_stops_it_before_the_commit() {
    let mut history = begun();
    let cycle = history.begin();
    history.put(cycle, 1, 3, b"three");
    let entry = history.entry(&history.record(Kind::RECORD_PUT, cycle, 1, b"no row"));
    history.commit(cycle);
    assert_poison(history, entry, "PRDLIB/F1");
}

#[test]
fn a_poison_entry_in_a_bundle_of_its_own_stops_it() {
    let mut history = begun();
    history.seal();
    let entry = history.entry(&history.record(Kind::RECORD_PUT, ALONE, 1, b"no row"));
    assert_poison(history, entry, "PRDLIB/F1");
}

#[test]
fn a_row_of_a_file_that_was_never_defined_stops_it() {
    let mut history = begun();
    let image = row(2, 1, 1, b"x");
    let entry = history.entry(&history.record(Kind::RECORD_PUT, ALONE, 2, &image));
    assert_poison(history, entry, "never defined");
}

#[test]
fn a_row_of_another_format_version_stops_it() {
    let mut history = begun();
    let image = row(1, 1, 3, b"x");
    let draft = Draft {
        format: 2,
        ..history.record(Kind::RECORD_PUT, ALONE, 1, &image)
    };
    let entry = history.entry(&draft);
    assert_poison(history, entry, "format version 2, the file's is 1");
}

#[test]
fn an_update_that_changes_the_key_of_its_row_stops_it() {
    let mut history = begun();
    let (before, after) = (row(1, 1, 1, b"one"), row(1, 1, 5, b"five"));
    let image = history.entry(&history.record(Kind::RECORD_BEFORE, ALONE, 1, &before));
    let entry = history.entry(&history.record(Kind::RECORD_UPDATE, ALONE, 1, &after));
    assert_poison_after(history, image.before(), entry, "changes the key");
}

#[test]
fn a_before_image_without_its_update_stops_it() {
    let mut history = begun();
    let (before, new) = (row(1, 1, 1, b"one"), row(1, 1, 5, b"five"));
    let image = history.entry(&history.record(Kind::RECORD_BEFORE, ALONE, 1, &before));
    let entry = history.entry(&history.record(Kind::RECORD_PUT, ALONE, 1, &new));
    assert_poison_after(history, image.before(), entry, "before-image");
}

#[test]
fn a_change_in_a_cycle_that_is_not_open_stops_it() {
    let mut history = begun();
    let image = row(1, 1, 5, b"five");
    let draft = history.record(Kind::RECORD_PUT, Sequence::new(2), 1, &image);
    let entry = history.entry(&draft);
    assert_poison(history, entry, "not open");
}

#[test]
fn a_commit_of_a_cycle_that_is_not_open_stops_it() {
    let mut history = begun();
    let entry = history.entry(&Draft {
        cycle: Sequence::new(2),
        ..Draft::new(Kind::CYCLE_COMMIT, &[])
    });
    assert_poison(history, entry, "not open");
}

#[test]
fn a_definition_that_cannot_be_read_stops_it() {
    let mut history = begun();
    let entry = history.entry(&Draft {
        object: file(2),
        ..Draft::new(Kind::FILE_CREATE, b"no format")
    });
    assert_poison(history, entry, "cannot be applied");
}

#[test]
fn an_entry_of_a_kind_that_may_change_rows_and_is_not_known_stops_it() {
    for kind in ["R RC", "D ZZ", "C LW", "F CR", "Q ZZ"] {
        let mut history = begun();
        let entry = history.entry(&Draft {
            object: file(1),
            ..Draft::new(kind.parse().unwrap(), &[])
        });
        assert_poison(history, entry, kind);
    }
}

#[test]
fn journal_control_and_user_entries_of_any_type_are_passed_over() {
    let mut history = begun();
    for kind in ["J PR", "J NR", "J IS", "J ZZ", "U 00", "U ZZ"] {
        history.entry(&Draft::new(kind.parse().unwrap(), b"anything"));
    }
    history.seal();
    apply_all(&history, SMALL);
}

/// The store holds something else than the entry says: the step it is in is not applied.
fn assert_conflict(history: &History, entry: Sequence, tamper: impl Fn(&Memory)) {
    for bounds in [SMALL, Bounds::default()] {
        let mut job = Job::start(history, Memory::default(), bounds);
        for bundle in history.between(Sequence::NONE, entry.before()) {
            if bundle.header().last() >= entry {
                break;
            }
            job.machine.handle_bundle(&bundle).unwrap();
        }
        job.machine.handle_level();
        job.run_outputs(history).unwrap();
        tamper(&job.store);
        let tampered = (job.store.position().unwrap(), fold_of(&job.store));
        match job.run(history, 1) {
            Err(End::Stopped(error)) => {
                assert!(matches!(error, ApplyError::Conflict { .. }), "{error}");
                assert_eq!(error.entry(), Some(entry), "{error}");
                assert!(!error.is_transient());
                assert!(error.to_string().contains("PRDLIB/F1"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        let left = (job.store.position().unwrap(), fold_of(&job.store));
        assert_eq!(left, tampered, "nothing of the step was applied");
    }
}

#[test]
fn a_before_image_that_is_not_the_stores_row_is_a_conflict() {
    let mut history = begun();
    history.seal();
    let cycle = history.begin();
    history.put(cycle, 1, 7, b"seven");
    let entry = history.update(cycle, 1, 1, b"one", b"uno");
    history.commit(cycle);
    history.seal();
    assert_conflict(&history, entry, |store| {
        store.tamper(file(1), &key(1, 1), Some(&row(1, 1, 1, b"tampered")));
    });
    assert_conflict(&history, entry, |store| {
        store.tamper(file(1), &key(1, 1), None);
    });
}

#[test]
fn a_new_row_that_is_there_already_is_a_conflict() {
    let mut history = begun();
    history.seal();
    let entry = history.put(ALONE, 1, 5, b"five");
    history.seal();
    assert_conflict(&history, entry, |store| {
        store.tamper(file(1), &key(1, 5), Some(&row(1, 1, 5, b"tampered")));
    });
}

#[test]
fn deleting_a_row_that_is_absent_or_other_is_a_conflict() {
    let mut history = begun();
    history.seal();
    let entry = history.delete(ALONE, 1, 2, b"two");
    history.seal();
    assert_conflict(&history, entry, |store| {
        store.tamper(file(1), &key(1, 2), None);
    });
    assert_conflict(&history, entry, |store| {
        store.tamper(file(1), &key(1, 2), Some(&row(1, 1, 2, b"tampered")));
    });
    let mut history = begun();
    history.seal();
    let entry = history.delete_by_key(ALONE, 1, 2);
    history.seal();
    assert_conflict(&history, entry, |store| {
        store.tamper(file(1), &key(1, 2), None);
    });
}

#[test]
fn an_update_without_a_before_image_needs_a_row_whatever_it_holds() {
    let mut history = begun();
    history.seal();
    let entry = history.update_after(ALONE, 1, 1, b"uno");
    history.seal();
    apply_all(&history, SMALL);
    assert_conflict(&history, entry, |store| {
        store.tamper(file(1), &key(1, 1), None);
    });
}

#[test]
fn changes_of_one_step_see_those_before_them() {
    let mut history = begun();
    history.delete(ALONE, 1, 1, b"one");
    history.put(ALONE, 1, 1, b"again");
    let entry = history.put(ALONE, 1, 1, b"twice");
    history.seal();
    let (error, _) = apply_until_stopped(&history, Bounds::default());
    assert!(matches!(error, ApplyError::Conflict { .. }), "{error}");
    assert_eq!(error.entry(), Some(entry));
}

#[test]
fn a_gap_is_refused() {
    let mut history = begun();
    history.seal();
    for k in 10..13 {
        history.put(ALONE, 1, k, b"row");
        history.seal();
    }
    let mut job = Job::start(&history, Memory::default(), SMALL);
    let [first, second, _, last] = &history.bundles[1..] else {
        panic!("{}", history.bundles.len());
    };
    job.machine.handle_bundle(&history.bundles[0]).unwrap();
    job.machine.handle_bundle(first).unwrap();
    job.machine.handle_bundle(second).unwrap();
    job.machine.handle_level();
    let error = job.machine.handle_bundle(last).unwrap_err();
    assert!(matches!(error, ApplyError::Missing { .. }), "{error}");
    job.run_outputs(&history).unwrap();
    let position = job.store.position().unwrap().unwrap();
    assert_eq!(position.applied, second.header().last());
    assert_stands(&job.store, &history);
}

#[test]
fn a_bundle_of_another_history_is_refused() {
    let mut history = begun();
    let mut other = begun();
    other.user(ALONE, "something else");
    history.user(ALONE, "something");
    for history in [&mut history, &mut other] {
        history.seal();
        history.put(ALONE, 1, 10, b"row");
        history.seal();
    }
    let mut job = Job::start(&history, Memory::default(), SMALL);
    for bundle in &history.bundles[..2] {
        job.machine.handle_bundle(bundle).unwrap();
    }
    let error = job.machine.handle_bundle(&other.bundles[2]).unwrap_err();
    assert!(matches!(error, ApplyError::Ahead { .. }), "{error}");
    assert!(!error.is_transient());
    job.run_outputs(&history).unwrap();
    assert_stands(&job.store, &history);
}
