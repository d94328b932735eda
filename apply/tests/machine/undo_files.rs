//! Files behind a fork: defined, given another format, deleted, displaced; what of that can be taken back.

use rjournal::entry::{ClientId, DepositKey, Draft, Kind};
use rjournal_apply::store::StoreReader;

use crate::bench::{End, SMALL, apply_all};
use crate::history::{ALONE, History, file, format};
use crate::undo::{assert_at_fork, assert_taken_back, take_back};

/// A history with one file and a row in it.
fn common() -> History {
    let mut common = History::with_files(1);
    common.put(ALONE, 1, 1, b"row");
    common.seal();
    common
}

fn refusal(branch: &History, common: &History) -> String {
    let store = apply_all(branch, SMALL).store;
    match take_back(&store, branch, common.end(), SMALL, usize::MAX) {
        Err(End::Stopped(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_was_made_behind_the_fork_goes_with_its_rows() {
    let common = common();
    let mut branch = common.clone();
    branch.create(2);
    for k in 0..40 {
        branch.put(ALONE, 2, k, &[1; 100]);
    }
    // Without images it could not be taken out row by row.
    branch.update_after(ALONE, 2, 1, b"changed");
    branch.seal();
    let mut other = common.clone();
    other.create(2);
    other.put(ALONE, 2, 1, b"of the other one");
    other.seal();
    let taken = assert_taken_back(&common, &branch, &other);
    assert_eq!(taken.positions.len(), 1, "a file goes in one small step");
}

/// The deposit key of STRJRNPF counts the starts: nothing before the fork has to be looked through.
#[test]
fn the_first_start_of_journaling_is_known_by_its_key() {
    let common = common();
    let mut branch = common.clone();
    branch.define(Kind::FILE_CREATE, 2, &format(2, 1));
    let encoded = format(2, 1).encode();
    branch.entry(&Draft {
        object: file(2),
        format: 1,
        key: Some(DepositKey {
            client: ClientId::from_bytes(*file(2).as_bytes()),
            key: 1,
        }),
        ..Draft::new(Kind::JOURNALING_START, &encoded)
    });
    branch.put(ALONE, 2, 1, b"row");
    branch.seal();
    let taken = assert_taken_back(&common, &branch, &common);
    assert!(
        taken
            .read
            .iter()
            .all(|(after, _)| *after >= common.end().sequence),
        "{:?}",
        taken.read
    );
}

#[test]
fn a_file_whose_journaling_started_once_more_stays() {
    let mut common = common();
    common.create(2);
    common.seal();
    let mut branch = common.clone();
    for number in [1, 2] {
        branch.end_journaling(number);
        branch.create(number);
    }
    branch.update(ALONE, 1, 1, b"row", b"changed");
    branch.put(ALONE, 2, 1, b"row");
    branch.seal();
    let mut other = common.clone();
    other.update(ALONE, 1, 1, b"row", b"otherwise");
    other.seal();
    assert_taken_back(&common, &branch, &other);
}

#[test]
fn a_file_gets_back_the_format_it_had_at_the_fork() {
    let mut common = common();
    let open = common.begin();
    common.put(open, 1, 2, b"of the old format");
    common.seal();
    for further in [false, true] {
        let mut branch = common.clone();
        branch.define(Kind::FILE_CHANGE, 1, &format(1, 2));
        branch.put(ALONE, 1, 3, b"of the new format");
        branch.commit(open);
        branch.seal();
        if further {
            branch.define(Kind::FILE_CHANGE, 1, &format(1, 3));
            branch.put(ALONE, 1, 4, b"of the newest format");
            branch.seal();
        }
        let mut other = common.clone();
        other.put(ALONE, 1, 5, b"of the old format");
        other.commit(open);
        other.seal();
        assert_taken_back(&common, &branch, &other);
        let store = apply_all(&branch, SMALL).store;
        take_back(&store, &branch, common.end(), SMALL, usize::MAX).unwrap();
        assert_at_fork(&store, &common);
        let files = store.files().unwrap();
        assert_eq!(files.len(), 1, "what is kept about formats went, too");
        assert_eq!(files[0].format, format(1, 1));
    }
}

/// What an open cycle needs stays when later formats go.
#[test]
fn a_format_that_an_open_cycle_needs_is_kept_across_the_fork() {
    let mut common = common();
    let open = common.begin();
    common.put(open, 1, 2, b"of the first format");
    common.define(Kind::FILE_CHANGE, 1, &format(1, 2));
    common.seal();
    let mut branch = common.clone();
    branch.define(Kind::FILE_CHANGE, 1, &format(1, 3));
    branch.put(ALONE, 1, 3, b"of the last format");
    branch.roll_back(open);
    branch.seal();
    let mut other = common.clone();
    other.put(ALONE, 1, 4, b"of the second format");
    other.commit(open);
    other.seal();
    assert_taken_back(&common, &branch, &other);
}

#[test]
fn a_file_that_was_deleted_behind_the_fork_cannot_be_brought_back() {
    let common = common();
    let mut branch = common.clone();
    branch.put(ALONE, 1, 2, b"more");
    let gone = branch.delete_file(1);
    branch.create(2);
    branch.seal();
    let error = refusal(&branch, &common);
    assert!(
        error.contains(&format!("entry {gone} of file PRDLIB/F1")),
        "{error}"
    );
    // Nor when one of its name and identity was made since.
    branch.create(1);
    branch.put(ALONE, 1, 1, b"new");
    branch.seal();
    let error = refusal(&branch, &common);
    assert!(
        error.contains(&format!("entry {gone} of file PRDLIB/F1")),
        "{error}"
    );
}

#[test]
fn a_file_that_another_one_displaced_cannot_be_brought_back() {
    let mut common = common();
    common.end_journaling(1);
    common.seal();
    let mut branch = common.clone();
    let taken = branch.displace(3, 1);
    branch.journal(3);
    branch.put(ALONE, 3, 1, b"new");
    branch.seal();
    let error = refusal(&branch, &common);
    assert!(
        error.contains(&format!("entry {taken} of file PRDLIB/F1")),
        "{error}"
    );
}

#[test]
fn a_file_that_came_and_went_behind_the_fork_needs_nothing() {
    let common = common();
    let mut branch = common.clone();
    branch.create(2);
    branch.put(ALONE, 2, 1, b"row");
    branch.delete_file(2);
    branch.create(2);
    branch.put(ALONE, 2, 1, b"row");
    branch.seal();
    assert_taken_back(&common, &branch, &common);
}
