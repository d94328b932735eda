//! What was decided behind a fork is taken out of a store: which transactions, in which steps, what is looked at before
//! anything is changed, and what stops it.

use std::collections::HashMap;

use rjournal::entry::record::Format;
use rjournal::entry::{ObjectId, Position, Sequence};
use rjournal_apply::error::ApplyError;
use rjournal_apply::machine::{
    Bounds, OlderFormats, Skips, Step, UndoMachine, UndoOrder, UndoOutput, Undone, resolve,
};
use rjournal_apply::store::{StorePosition, StoreReader};

use crate::bench::{End, Job, SMALL, apply_all, assert_ended, skip};
use crate::history::{ALONE, History, file, key, row};
use crate::memory::{Memory, fold_of};

/// What an undo did.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) undone: Undone,
    /// The positions the store stood at after each step.
    pub(crate) positions: Vec<StorePosition>,
    /// The most bytes of changes in one step.
    pub(crate) step_max: usize,
    /// What was read, in entries.
    pub(crate) read: Vec<(Sequence, Sequence)>,
    /// Where it said that reading begins again.
    pub(crate) restart: Option<Sequence>,
}

/// Takes out of a store what was decided behind `fork` in a history, which may crash after so many steps.
pub(crate) fn take_back(
    store: &Memory,
    history: &History,
    fork: Position,
    bounds: Bounds,
    steps_max: usize,
) -> Result<Taken, End> {
    let formats: HashMap<ObjectId, Format> = store
        .files()
        .unwrap()
        .into_iter()
        .map(|file| (file.id, file.format))
        .collect();
    let mut machine = UndoMachine::new(UndoOrder {
        fork,
        store: store.position().unwrap().unwrap(),
        formats: formats.clone(),
        older: OlderFormats::of_store(store).unwrap(),
        skips: Skips::of_store(store).unwrap(),
        oldest: Sequence::NONE,
        bounds,
    });
    let mut taken = Taken::default();
    while let Some(output) = machine.poll_output() {
        match output {
            UndoOutput::Read { after, upto } => {
                taken.read.push((after, upto));
                for bundle in history.between(after, upto) {
                    machine.handle_bundle(&bundle)?;
                }
                machine.handle_read()?;
            }
            UndoOutput::Planned { restart, .. } => taken.restart = Some(restart),
            UndoOutput::Step(step) => {
                if taken.positions.len() == steps_max {
                    return Err(End::Crashed);
                }
                apply_step(store, *step, &formats, &mut taken)?;
            }
            UndoOutput::Done(undone) => {
                taken.undone = undone;
                return Ok(taken);
            }
        }
    }
    panic!("it neither ended nor wanted anything");
}

fn apply_step(
    store: &Memory,
    step: Step,
    formats: &HashMap<ObjectId, Format>,
    taken: &mut Taken,
) -> Result<(), ApplyError> {
    let batch = resolve(step, store, formats)?;
    taken.step_max = taken.step_max.max(batch.bytes());
    store.apply(&batch)?;
    taken.positions.push(batch.next);
    Ok(())
}

/// The store is the fold of the fork, as one that never went further.
pub(crate) fn assert_at_fork(store: &Memory, common: &History) {
    assert_ended(store, common);
}

/// Takes a store back under several bounds and with a crash after each step, and goes on with another continuation.
pub(crate) fn assert_taken_back(common: &History, branch: &History, other: &History) -> Taken {
    let mut last = None;
    for bounds in [SMALL, Bounds::default()] {
        let stands = apply_all(branch, bounds).store;
        let fork = common.end();
        let whole = stands.copy();
        let taken = take_back(&whole, branch, fork, bounds, usize::MAX).unwrap();
        assert_at_fork(&whole, common);
        assert!(taken.step_max <= bounds.step_bytes_max);
        for cut in 0..taken.positions.len() {
            let store = stands.copy();
            let crashed = take_back(&store, branch, fork, bounds, cut);
            assert!(matches!(crashed, Err(End::Crashed)), "{crashed:?}");
            let again = take_back(&store, branch, fork, bounds, usize::MAX).unwrap();
            assert_at_fork(&store, common);
            assert_eq!(again.undone, taken.undone);
            assert_eq!(again.positions.len() + cut, taken.positions.len());
        }
        let mut job = Job::start(other, whole, bounds);
        job.run(other, 1).unwrap();
        assert_ended(&job.store, other);
        last = Some(taken);
    }
    last.unwrap()
}

/// A history with two rows and an open cycle that changed one of them.
fn common() -> (History, Sequence) {
    let mut common = History::with_files(2);
    common.put(ALONE, 1, 1, b"one");
    common.put(ALONE, 1, 2, b"two");
    let open = common.begin();
    common.update(open, 1, 1, b"one", b"uno");
    common.seal();
    (common, open)
}

#[test]
fn a_cycle_decided_behind_the_fork_goes_with_its_images_before_it() {
    let (common, open) = common();
    let mut branch = common.clone();
    branch.put(open, 2, 1, b"of the same cycle");
    branch.commit(open);
    branch.put(ALONE, 1, 3, b"alone");
    branch.delete(ALONE, 1, 2, b"two");
    branch.seal();
    // The other continuation rolls it back, by rule.
    let mut other = common.clone();
    other.opened();
    other.update(ALONE, 1, 1, b"one", b"another one");
    other.seal();
    let taken = assert_taken_back(&common, &branch, &other);
    let undone = Undone {
        transactions: 3,
        rows: 4,
    };
    assert_eq!(taken.undone, undone);
    assert_eq!(taken.restart, Some(open.before()));
    // Or commits it itself.
    let mut other = common.clone();
    other.commit(open);
    other.seal();
    assert_taken_back(&common, &branch, &other);
}

#[test]
fn what_was_rolled_back_or_never_decided_behind_the_fork_needs_nothing() {
    let (common, open) = common();
    let mut branch = common.clone();
    let (lost, left) = (branch.begin(), branch.begin());
    branch.put(lost, 1, 10, b"lost");
    branch.put(left, 1, 11, b"left");
    branch.roll_back(lost);
    branch.roll_back(open);
    branch.seal();
    let mut other = common.clone();
    other.commit(open);
    other.seal();
    let taken = assert_taken_back(&common, &branch, &other);
    assert_eq!(taken.undone, Undone::default());
    assert_eq!(taken.positions.len(), 1, "the position alone goes back");
}

/// An opening ends cycles without naming them: what was open at the fork is looked for before it.
#[test]
fn a_cycle_that_an_opening_behind_the_fork_ended_is_open_at_the_fork() {
    let (mut common, open) = common();
    for number in 0..6_000 {
        common.user(ALONE, "a note");
        if number % 500 == 0 {
            let cycle = common.begin();
            common.put(cycle, 2, 1_000 + number, b"decided");
            common.commit(cycle);
            common.seal();
        }
    }
    common.seal();
    let mut branch = common.clone();
    branch.opened();
    branch.put(ALONE, 1, 7, b"alone");
    branch.seal();
    let mut other = common.clone();
    other.commit(open);
    other.seal();
    let taken = assert_taken_back(&common, &branch, &other);
    assert_eq!(taken.restart, Some(open.before()));
    assert!(taken.read.len() > 2, "in several pieces: {:?}", taken.read);
}

#[test]
fn a_search_for_open_cycles_ends_at_the_opening_before_the_fork() {
    let mut common = History::with_files(1);
    for number in 0..5_000 {
        common.user(ALONE, "a note");
        if number == 4_000 {
            common.begin();
            common.opened();
        }
    }
    common.seal();
    let mut branch = common.clone();
    branch.opened();
    branch.seal();
    let taken = assert_taken_back(&common, &branch, &common);
    assert_eq!(taken.restart, Some(common.end().sequence));
    assert_eq!(taken.read.len(), 3, "{:?}", taken.read);
}

#[test]
fn a_large_transaction_is_taken_out_in_steps_under_a_mark() {
    let mut common = History::with_files(2);
    common.put(ALONE, 1, -1, b"before");
    let large = common.begin();
    for k in 0..30 {
        common.put(large, 1, k, &[7; 100]);
    }
    common.seal();
    let mut branch = common.clone();
    for k in 30..60 {
        branch.put(large, 1, k, &[7; 100]);
        let small = branch.begin();
        branch.put(small, 2, k, b"small");
        branch.seal();
        branch.commit(small);
    }
    branch.update(large, 1, -1, b"before", b"after");
    branch.update(large, 1, 0, &[7; 100], b"once more");
    branch.commit(large);
    branch.put(ALONE, 2, -1, b"behind");
    branch.seal();
    let mut other = common.clone();
    other.roll_back(large);
    other.seal();
    assert_taken_back(&common, &branch, &other);
    let store = apply_all(&branch, SMALL).store;
    let taken = take_back(&store, &branch, common.end(), SMALL, usize::MAX).unwrap();
    let (last, marked) = taken.positions.split_last().unwrap();
    assert!(marked.len() > 4, "{}", marked.len());
    let stood = branch.end();
    for position in marked {
        let mark = position.in_progress.unwrap();
        assert!(mark.is_undo());
        assert_eq!(
            mark.cycle,
            common.end().sequence,
            "readers are told the fork"
        );
        assert_eq!(
            (position.applied, position.head),
            (stood.sequence, stood.head)
        );
    }
    let way: Vec<_> = marked
        .iter()
        .map(|position| position.in_progress.unwrap())
        .collect();
    assert!(way.is_sorted_by(|one, two| (two.decision, two.done) < (one.decision, one.done)));
    assert_eq!(last.in_progress, None);
}

#[test]
fn half_a_transaction_is_taken_out_by_half() {
    let (common, open) = common();
    let mut branch = common.clone();
    for k in 10..60 {
        branch.put(open, 2, k, &[9; 100]);
    }
    branch.commit(open);
    branch.seal();
    let steps = apply_all(&branch, SMALL).seen.positions;
    let marked = steps
        .iter()
        .filter(|position| position.in_progress.is_some());
    for cut in 1..=marked.count() {
        let first = steps.iter().position(|step| step.in_progress.is_some());
        let mut job = Job::start(&branch, Memory::default(), SMALL);
        job.crash_after(first.unwrap() + cut);
        assert!(matches!(job.run(&branch, 1), Err(End::Crashed)));
        let store = job.store.copy();
        let found = store.position().unwrap().unwrap();
        assert!(!found.in_progress.unwrap().is_undo());
        while let Err(end) = take_back(&store, &branch, common.end(), SMALL, 1) {
            assert!(matches!(end, End::Crashed), "{end:?}");
        }
        assert_at_fork(&store, &common);
    }
}

/// The fork may be right before the decision: then nothing of the position lies behind it, only the mark.
#[test]
fn half_a_transaction_whose_decision_alone_was_cut_is_taken_out() {
    let mut common = History::with_files(1);
    let large = common.begin();
    for k in 0..50 {
        common.put(large, 1, k, &[9; 100]);
    }
    common.seal();
    let mut branch = common.clone();
    branch.commit(large);
    branch.seal();
    let mut job = Job::start(&branch, Memory::default(), SMALL);
    job.crash_after(4);
    assert!(matches!(job.run(&branch, 1), Err(End::Crashed)));
    let store = job.store.copy();
    let position = store.position().unwrap().unwrap();
    assert_eq!(position.applied, common.end().sequence);
    assert!(position.in_progress.is_some());
    take_back(&store, &branch, common.end(), SMALL, usize::MAX).unwrap();
    assert_at_fork(&store, &common);
}

fn refusal(store: &Memory, branch: &History, common: &History) -> String {
    let before = (fold_of(store), store.position().unwrap());
    match take_back(store, branch, common.end(), SMALL, usize::MAX) {
        Err(End::Stopped(error)) => {
            assert!(!error.is_transient() && error.entry().is_none(), "{error}");
            assert_eq!((fold_of(store), store.position().unwrap()), before);
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_the_image_before_nothing_is_taken_out_and_the_entry_is_named() {
    let (common, open) = common();
    let updated = {
        let mut branch = common.clone();
        branch.put(ALONE, 2, 1, b"first");
        let entry = branch.update_after(ALONE, 1, 2, b"due");
        branch.put(ALONE, 2, 2, b"last");
        branch.seal();
        (branch, entry)
    };
    let deleted = {
        let mut branch = common.clone();
        let entry = branch.delete_by_key(open, 1, 2);
        branch.commit(open);
        branch.seal();
        (branch, entry)
    };
    for (branch, entry) in [updated, deleted] {
        let store = apply_all(&branch, SMALL).store;
        let error = refusal(&store, &branch, &common);
        for word in [
            &format!("entry {entry} of file PRDLIB/F1"),
            "*AFTER",
            "RSTSTO",
        ] {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}

#[test]
fn an_image_that_is_lacking_at_or_below_the_fork_is_found_before_anything_is_taken_out() {
    let mut common = History::with_files(1);
    common.put(ALONE, 1, 1, b"one");
    let open = common.begin();
    let entry = common.update_after(open, 1, 1, b"uno");
    common.seal();
    let mut branch = common.clone();
    branch.put(ALONE, 1, 2, b"two");
    branch.commit(open);
    branch.seal();
    let store = apply_all(&branch, SMALL).store;
    let error = refusal(&store, &branch, &common);
    assert!(error.contains(&format!("entry {entry} ")), "{error}");
    // Rolled back it needs no image.
    let mut branch = common.clone();
    branch.put(ALONE, 1, 2, b"two");
    branch.roll_back(open);
    branch.seal();
    let store = apply_all(&branch, SMALL).store;
    take_back(&store, &branch, common.end(), SMALL, usize::MAX).unwrap();
    assert_at_fork(&store, &common);
}

#[test]
fn a_row_that_somebody_else_changed_stops_it() {
    let (common, _) = common();
    let mut branch = common.clone();
    let entry = branch.update(ALONE, 1, 2, b"two", b"due");
    branch.seal();
    let store = apply_all(&branch, Bounds::default()).store;
    store.tamper(file(1), &key(1, 2), Some(&row(1, 1, 2, b"tampered")));
    match take_back(&store, &branch, common.end(), Bounds::default(), usize::MAX) {
        Err(End::Stopped(ApplyError::Conflict { sequence, .. })) => assert_eq!(sequence, entry),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bundles_of_another_history_are_refused() {
    let (common, _) = common();
    let (mut branch, mut other) = (common.clone(), common.clone());
    branch.put(ALONE, 2, 1, b"branch");
    other.put(ALONE, 2, 1, b"other");
    for history in [&mut branch, &mut other] {
        history.put(ALONE, 2, 2, b"more");
        history.seal();
    }
    let store = apply_all(&branch, SMALL).store;
    let end = take_back(&store, &other, common.end(), SMALL, usize::MAX);
    assert!(
        matches!(&end, Err(End::Stopped(ApplyError::Ahead { .. }))),
        "{end:?}"
    );
}

#[test]
fn what_was_passed_over_behind_the_fork_is_forgotten_with_it() {
    let mut common = History::with_files(1);
    common.put(ALONE, 1, 1, b"one");
    common.seal();
    // An update whose image does not fit, and a commit nobody wants.
    let mut updated = common.clone();
    let entry = updated.update(ALONE, 1, 1, b"never", b"was");
    updated.ignore(entry);
    let mut committed = common.clone();
    let cycle = committed.begin();
    let put = committed.put(cycle, 1, 3, b"three");
    let commit = committed.commit(cycle);
    committed.ignore(put);
    for (mut branch, entry) in [(updated, entry), (committed, commit)] {
        branch.put(ALONE, 1, 2, b"two");
        branch.seal();
        let order = Some((entry, skip("it cannot be")));
        let mut job = Job::start_with(&branch, Memory::default(), SMALL, order);
        job.run(&branch, 1).unwrap();
        let store = job.store.copy();
        assert_eq!(store.files().unwrap().len(), 2);
        let taken = take_back(&store, &branch, common.end(), SMALL, usize::MAX).unwrap();
        assert_at_fork(&store, &common);
        assert_eq!(store.files().unwrap().len(), 1, "the list went, too");
        assert_eq!(taken.undone.transactions, 1);
    }
}
