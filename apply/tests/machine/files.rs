//! Files in a journal: defined, given another format, no longer journaled, gone, and made again.

use rjournal::entry::{Draft, Kind};
use rjournal_apply::machine::{Bounds, EndedFiles};
use rjournal_apply::store::StoreReader;

use crate::bench::{End, Job, SMALL, apply_all, apply_until_stopped, assert_ended};
use crate::history::{ALONE, History, file, format, key, row};
use crate::memory::{Memory, fold_of};

/// Applies a history under several bounds, and with a crash after each step.
fn assert_applies(history: &History) {
    for bounds in [SMALL, Bounds::default()] {
        let steps = apply_all(history, bounds).seen.positions.len();
        for level_every in [1, usize::MAX] {
            let mut job = Job::start(history, Memory::default(), bounds);
            job.run(history, level_every).unwrap();
            assert_ended(&job.store, history);
        }
        for cut in 0..steps {
            let mut job = Job::start(history, Memory::default(), bounds);
            job.crash_after(cut);
            assert!(matches!(job.run(history, 1), Err(End::Crashed)));
            let mut again = Job::start(history, job.store.copy(), bounds);
            again.run(history, 1).unwrap();
            assert_ended(&again.store, history);
        }
    }
}

#[test]
fn a_file_is_in_the_store_once_it_is_defined() {
    let mut history = History::empty();
    history.opened();
    history.create(1);
    history.seal();
    let job = apply_all(&history, Bounds::default());
    let files = job.store.files().unwrap();
    assert_eq!((files.len(), files[0].id), (1, file(1)));
    assert_eq!(files[0].format, format(1, 1));
    assert_eq!(job.seen.journaled.last(), Some(&(file(1), true)));
}

#[test]
fn rows_of_a_new_format_follow_those_of_the_old_one() {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"old");
    history.seal();
    history.define(Kind::FILE_CHANGE, 1, &format(1, 2));
    history.put(ALONE, 1, 2, b"new");
    let cycle = history.begin();
    history.put(cycle, 1, 3, b"new");
    history.seal();
    history.commit(cycle);
    history.seal();
    assert_applies(&history);
    let job = apply_all(&history, SMALL);
    let (version, rows) = &fold_of(&job.store)[&file(1)];
    assert_eq!(*version, 2);
    assert_eq!(rows[&key(1, 3)], row(1, 2, 3, b"new"));
}

/// Rows of before the change were once read with the format of after it when they were read again: a false poison.
#[test]
fn a_transaction_that_was_open_when_a_format_changed_is_applied_after_a_restart() {
    let mut history = History::with_files(2);
    let open = history.begin();
    history.put(open, 1, 1, b"of the open one");
    let decided = history.begin();
    history.put(decided, 2, 2, b"of the decided one");
    history.seal();
    history.commit(decided);
    history.seal();
    // Of one file the open transaction has rows, of the other it has none.
    history.define(Kind::FILE_CHANGE, 1, &format(1, 2));
    history.define(Kind::FILE_CHANGE, 2, &format(2, 2));
    history.put(ALONE, 1, 3, b"of the next format");
    history.seal();
    history.define(Kind::FILE_CHANGE, 1, &format(1, 3));
    history.put(ALONE, 1, 4, b"of the last format");
    history.seal();
    history.commit(open);
    history.put(ALONE, 2, 5, b"behind it");
    history.seal();
    assert_applies(&history);
    let job = apply_all(&history, SMALL);
    let (version, rows) = &fold_of(&job.store)[&file(1)];
    assert_eq!((*version, rows.len()), (3, 3));
}

#[test]
fn a_large_transaction_that_was_open_when_a_format_changed_is_read_again() {
    let mut history = History::with_files(1);
    let open = history.begin();
    for id in 1..40 {
        history.put(open, 1, id, &[7; 200]);
    }
    history.seal();
    history.define(Kind::FILE_CHANGE, 1, &format(1, 2));
    history.put(ALONE, 1, 100, b"of the next format");
    history.seal();
    history.commit(open);
    history.seal();
    assert_applies(&history);
    assert!(apply_all(&history, SMALL).seen.read_again > 0);
}

#[test]
fn a_row_of_an_older_format_behind_the_change_is_poison() {
    let mut history = History::with_files(1);
    let open = history.begin();
    history.put(open, 1, 1, b"row");
    history.define(Kind::FILE_CHANGE, 1, &format(1, 2));
    let late = row(1, 1, 2, b"late");
    history.entry(&Draft {
        object: file(1),
        cycle: open,
        format: 1,
        ..Draft::new(Kind::RECORD_PUT, &late)
    });
    history.seal();
    let (error, _) = apply_until_stopped(&history, SMALL);
    assert!(error.to_string().contains("format version 1"), "{error}");
}

#[test]
fn a_file_that_changes_its_format_stays_journaled() {
    let mut history = History::with_files(1);
    history.define(Kind::FILE_CHANGE, 1, &format(1, 2));
    history.seal();
    let job = apply_all(&history, SMALL);
    assert_eq!(job.seen.journaled.last(), Some(&(file(1), true)));
}

#[test]
fn a_file_that_is_defined_again_keeps_its_rows() {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"row");
    history.end_journaling(1);
    history.create(1);
    history.update(ALONE, 1, 1, b"row", b"changed");
    history.seal();
    assert_applies(&history);
    let job = apply_all(&history, SMALL);
    let told: Vec<bool> = job.seen.journaled.iter().map(|(_, now)| *now).collect();
    assert_eq!(told.last(), Some(&true));
    assert!(told.contains(&false), "it was told in between");
}

#[test]
fn a_file_that_is_gone_takes_its_rows_with_it() {
    let mut history = History::with_files(2);
    history.put(ALONE, 1, 1, b"one");
    history.put(ALONE, 2, 1, b"two");
    history.end_journaling(1);
    history.delete_file(1);
    history.put(ALONE, 2, 2, b"two");
    history.seal();
    assert_applies(&history);
    let job = apply_all(&history, SMALL);
    assert_eq!(fold_of(&job.store).keys().collect::<Vec<_>>(), [&file(2)]);
    assert_eq!(job.seen.journaled.last(), Some(&(file(1), false)));
}

#[test]
fn a_file_that_is_made_again_is_empty() {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"old");
    history.delete_file(1);
    history.create(1);
    history.put(ALONE, 1, 1, b"new");
    history.seal();
    assert_applies(&history);
}

#[test]
fn a_transaction_outlives_a_file_it_changed() {
    let mut history = History::with_files(2);
    let cycle = history.begin();
    history.put(cycle, 1, 1, b"of a file that goes");
    history.put(cycle, 2, 1, b"of a file that stays");
    history.seal();
    history.delete_file(1);
    history.put(ALONE, 2, 2, b"row");
    history.seal();
    history.put(cycle, 2, 3, b"of a file that stays");
    history.commit(cycle);
    history.seal();
    assert_applies(&history);
}

#[test]
fn a_transaction_that_is_rolled_back_outlives_a_file_it_changed() {
    let mut history = History::with_files(2);
    let cycle = history.begin();
    history.put(cycle, 1, 1, b"of a file that goes");
    history.seal();
    history.delete_file(1);
    history.seal();
    history.roll_back(cycle);
    history.put(ALONE, 2, 2, b"row");
    history.seal();
    assert_applies(&history);
}

#[test]
fn a_large_transaction_outlives_a_file_it_changed() {
    let mut history = History::with_files(2);
    let large = history.begin();
    for k in 0..60 {
        history.put(large, 1, k, &[1; 100]);
        history.put(large, 2, k, &[2; 100]);
    }
    history.seal();
    history.delete_file(1);
    history.seal();
    history.commit(large);
    history.seal();
    assert_applies(&history);
}

#[test]
fn a_file_under_the_name_of_another_takes_its_place() {
    let mut history = History::with_files(2);
    history.put(ALONE, 1, 1, b"old");
    history.end_journaling(1);
    history.put(ALONE, 2, 1, b"other");
    // DLTF of a file that is not journaled leaves no entry; CRTPF and STRJRNPF under its name do.
    history.displace(3, 1);
    history.journal(3);
    history.put(ALONE, 3, 1, b"new");
    history.seal();
    assert_applies(&history);
    let job = apply_all(&history, SMALL);
    let names: Vec<String> = job
        .store
        .files()
        .unwrap()
        .iter()
        .map(|file| file.format.file().to_string())
        .filter(|name| !name.starts_with("QRJOURNAL/"))
        .collect();
    assert_eq!(names, ["PRDLIB/F2", "PRDLIB/F1"]);
}

#[test]
fn a_store_lists_the_files_that_are_no_longer_journaled() {
    let listed = |job: &Job| {
        let ended = EndedFiles::of_store(&job.store).unwrap();
        ended.iter().collect::<Vec<_>>()
    };
    let mut history = History::with_files(3);
    history.end_journaling(1);
    history.seal();
    history.end_journaling(2);
    history.end_journaling(3);
    history.seal();
    assert_eq!(
        listed(&apply_all(&history, SMALL)),
        [file(1), file(2), file(3)]
    );
    history.journal(2);
    history.delete_file(3);
    history.seal();
    assert_applies(&history);
    assert_eq!(listed(&apply_all(&history, SMALL)), [file(1)]);
    // Again, and at once.
    history.journal(1);
    history.end_journaling(1);
    history.journal(1);
    history.seal();
    assert_applies(&history);
    assert_eq!(listed(&apply_all(&history, SMALL)), []);
}
