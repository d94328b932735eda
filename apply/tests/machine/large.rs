//! Transactions that do not fit into memory or into one step: let go and read again, applied in steps under a mark.

use rjournal::entry::Sequence;
use rjournal_apply::machine::Bounds;
use rjournal_apply::store::StoreReader;

use crate::bench::{End, Job, SMALL, apply_all, assert_ended};
use crate::history::{ALONE, History, file};
use crate::memory::{Memory, fold_of};

/// Room for steps, little for what is undecided.
const FORGETFUL: Bounds = Bounds {
    buffered_bytes_max: 1_000,
    step_bytes_max: 100_000,
    step_bytes: 100_000,
};

/// Much room for what is undecided, little for steps.
const IN_STEPS: Bounds = Bounds {
    buffered_bytes_max: 1_000_000,
    step_bytes_max: 2_000,
    step_bytes: 500,
};

/// A history with one large transaction, among small ones.
fn with_large(rows: u8) -> (History, Sequence) {
    let mut history = History::with_files(2);
    history.put(ALONE, 1, -1, b"before");
    history.put(ALONE, 1, -2, b"before");
    let large = history.begin();
    for k in 0..rows {
        let value = [k; 100];
        let k = i64::from(k);
        history.put(large, 1, k, &value);
        if k % 5 == 0 {
            let small = history.begin();
            history.put(small, 2, k, b"small");
            history.commit(small);
        }
        if k % 7 == 0 {
            history.seal();
        }
    }
    history.update(large, 1, -1, b"before", b"after");
    history.delete(large, 1, -2, b"before");
    history.update(large, 1, 0, &[0; 100], b"once more");
    let decision = history.commit(large);
    // Behind the decision, in its own bundle.
    history.put(ALONE, 2, -3, b"behind");
    history.update(ALONE, 1, -1, b"after", b"behind");
    history.seal();
    history.put(ALONE, 2, -4, b"later");
    history.seal();
    (history, decision)
}

#[test]
fn undecided_changes_take_no_more_memory_than_allowed() {
    let (history, _) = with_large(200);
    let job = apply_all(&history, FORGETFUL);
    // A change is taken before the largest cycle is let go, so one may stand above the bound between two entries.
    assert!(
        job.seen.buffered_max <= FORGETFUL.buffered_bytes_max,
        "{}",
        job.seen.buffered_max
    );
    assert_eq!(job.seen.read_again, 1);
    assert_eq!(job.machine.buffered(), 0);
    let apart = apply_all(&history, Bounds::default());
    assert_eq!(fold_of(&job.store), fold_of(&apart.store));
    assert_eq!(apart.seen.read_again, 0, "what fits is not read again");
}

#[test]
fn only_the_largest_cycle_is_let_go() {
    let mut history = History::with_files(1);
    let (small, large) = (history.begin(), history.begin());
    history.put(small, 1, -1, b"small");
    for k in 0..50 {
        history.put(large, 1, k, &[1; 100]);
    }
    history.seal();
    history.commit(small);
    history.seal();
    let mut job = apply_all(&history, FORGETFUL);
    assert_eq!(job.seen.read_again, 0, "the small one was kept");
    history.commit(large);
    history.seal();
    job.run(&history, 1).unwrap();
    assert_ended(&job.store, &history);
    assert_eq!(job.seen.read_again, 1);
}

#[test]
fn a_large_transaction_that_is_rolled_back_is_not_read_again() {
    let mut history = History::with_files(1);
    let large = history.begin();
    for k in 0..50 {
        history.put(large, 1, k, &[1; 100]);
    }
    history.roll_back(large);
    history.seal();
    let job = apply_all(&history, FORGETFUL);
    assert_eq!(job.seen.read_again, 0);
    assert!(fold_of(&job.store)[&file(1)].1.is_empty());
}

#[test]
fn a_step_carries_no_more_than_the_store_takes() {
    for bounds in [SMALL, IN_STEPS] {
        let (history, _) = with_large(100);
        let job = apply_all(&history, bounds);
        assert!(
            job.seen.step_max <= bounds.step_bytes_max,
            "{}",
            job.seen.step_max
        );
    }
}

#[test]
fn between_the_steps_of_a_transaction_a_mark_stands_until_it_is_whole() {
    for bounds in [SMALL, IN_STEPS] {
        let (history, decision) = with_large(100);
        let job = apply_all(&history, bounds);
        let marked: Vec<_> = job
            .seen
            .positions
            .iter()
            .filter(|position| position.in_progress.is_some())
            .collect();
        assert!(marked.len() > 3, "{}", marked.len());
        for position in &marked {
            let mark = position.in_progress.unwrap();
            assert_eq!(mark.decision, decision);
            assert_eq!(
                position.applied,
                decision.before(),
                "everything before it is decided"
            );
            assert!(position.restart < mark.cycle, "it is read from its start");
        }
        let done: Vec<_> = marked
            .iter()
            .map(|position| position.in_progress.unwrap().done)
            .collect();
        assert!(done.is_sorted_by(|a, b| a < b), "{done:?}");
        let whole = job
            .seen
            .positions
            .iter()
            .skip_while(|position| position.in_progress.is_none())
            .find(|position| position.in_progress.is_none())
            .unwrap();
        assert_eq!(whole.applied, decision, "the mark goes with the decision");
    }
}

#[test]
fn two_large_transactions_may_be_decided_in_one_bundle() {
    for bounds in [FORGETFUL, SMALL, IN_STEPS] {
        let mut history = History::with_files(1);
        let (a, b) = (history.begin(), history.begin());
        for k in 0..60 {
            history.put(a, 1, k, &[1; 100]);
            history.put(b, 1, 100 + k, &[2; 100]);
            if k % 8 == 0 {
                history.seal();
            }
        }
        history.seal();
        history.put(ALONE, 1, -1, b"first");
        history.commit(b);
        history.update(ALONE, 1, 100, &[2; 100], b"between");
        history.commit(a);
        history.update(ALONE, 1, 0, &[1; 100], b"behind");
        history.seal();
        let job = apply_all(&history, bounds);
        assert_eq!(fold_of(&job.store)[&file(1)].1.len(), 121);
    }
}

#[test]
fn a_transaction_that_is_read_again_may_hold_entries_that_are_no_changes() {
    let mut history = History::with_files(1);
    let large = history.begin();
    for k in 0..50 {
        history.put(large, 1, k, &[1; 100]);
        history.user(large, "a note within the transaction");
    }
    history.commit(large);
    history.seal();
    let job = apply_all(&history, FORGETFUL);
    assert_eq!(job.seen.read_again, 1);
}

#[test]
fn after_a_crash_between_its_steps_a_large_transaction_goes_on_from_the_mark() {
    for bounds in [SMALL, IN_STEPS] {
        let (history, decision) = with_large(100);
        let mut job = Job::start(&history, Memory::default(), bounds);
        let whole = apply_all(&history, bounds);
        let first = whole
            .seen
            .positions
            .iter()
            .position(|position| position.in_progress.is_some())
            .unwrap();
        job.crash_after(first + 2);
        assert!(matches!(job.run(&history, 1), Err(End::Crashed)));
        let mark = job.store.position().unwrap().unwrap().in_progress.unwrap();
        let mut again = Job::start(&history, job.store.copy(), bounds);
        again.run(&history, 1).unwrap();
        assert_ended(&again.store, &history);
        let next = again.seen.positions[0];
        assert!(
            next.in_progress
                .is_none_or(|next| next.done > mark.done && next.decision == decision),
            "{mark:?} {next:?}"
        );
        assert_eq!(next.applied, decision.before());
    }
}

#[test]
fn a_row_larger_than_a_step_is_half_full_still_goes_in_one() {
    let mut history = History::with_files(1);
    let cycle = history.begin();
    history.put(cycle, 1, 1, &[1; 1_500]);
    history.update(cycle, 1, 1, &[1; 1_500], &[2; 1_500]);
    history.put(cycle, 1, 2, &[3; 1_500]);
    history.commit(cycle);
    history.seal();
    for bounds in [SMALL, IN_STEPS] {
        apply_all(&history, bounds);
    }
}
