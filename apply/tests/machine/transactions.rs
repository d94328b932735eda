//! Whole transactions in the order of their commits, whatever way their entries lie among each other; nothing of those
//! that are rolled back; nothing of those that are open.

use rjournal::entry::Sequence;

use crate::bench::{Job, SMALL, apply_all};
use crate::history::{ALONE, History, file, key, row};
use crate::memory::{Memory, fold_of};
use rjournal_apply::machine::{Bounds, Output};
use rjournal_apply::store::StoreReader;

fn rows_of(job: &Job, number: u8) -> Vec<Vec<u8>> {
    let fold = fold_of(&job.store);
    fold[&file(number)].1.values().cloned().collect()
}

#[test]
fn a_transaction_becomes_rows_when_it_commits_and_not_before() {
    let mut history = History::with_files(1);
    let cycle = history.begin();
    history.put(cycle, 1, 1, b"one");
    history.seal();
    history.put(cycle, 1, 2, b"two");
    history.seal();
    let mut job = apply_all(&history, Bounds::default());
    assert_eq!(rows_of(&job, 1), Vec::<Vec<u8>>::new());
    history.commit(cycle);
    history.seal();
    job.run(&history, 1).unwrap();
    assert_eq!(
        rows_of(&job, 1),
        [row(1, 1, 1, b"one"), row(1, 1, 2, b"two")]
    );
}

#[test]
fn interleaved_transactions_count_in_the_order_of_their_commits() {
    let mut history = History::with_files(2);
    let [a, b] = [history.begin(), history.begin()];
    history.put(a, 1, 1, b"a1");
    history.put(b, 1, 2, b"b2");
    history.put(a, 2, 2, b"a2");
    history.put(b, 2, 1, b"b1");
    let b_commit = history.commit(b);
    let c = history.begin();
    // Each is changed again by the next: out of order, the images would not fit.
    history.update(c, 1, 2, b"b2", b"c2");
    history.commit(c);
    history.delete(a, 1, 1, b"a1");
    let a_commit = history.commit(a);
    let d = history.begin();
    history.put(d, 1, 1, b"d1");
    history.update(d, 2, 2, b"a2", b"d2");
    history.commit(d);
    history.seal();
    assert!(b_commit < a_commit);
    let job = apply_all(&history, SMALL);
    assert_eq!(rows_of(&job, 1), [row(1, 1, 1, b"d1"), row(1, 1, 2, b"c2")]);
}

#[test]
fn a_hundred_open_cycles_are_told_apart() {
    let mut history = History::with_files(1);
    let cycles: Vec<Sequence> = (0..100).map(|_| history.begin()).collect();
    for round in 0..3 {
        for (number, cycle) in (0..).zip(&cycles) {
            history.put(*cycle, 1, number * 3 + round, b"row");
        }
        history.seal();
    }
    for (number, cycle) in cycles.iter().enumerate().rev() {
        if number % 3 == 0 {
            history.roll_back(*cycle);
        } else {
            history.commit(*cycle);
        }
        history.seal();
    }
    let job = apply_all(&history, Bounds::default());
    assert_eq!(rows_of(&job, 1).len(), 3 * 66);
}

#[test]
fn a_transaction_that_is_rolled_back_leaves_nothing() {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"kept");
    let cycle = history.begin();
    history.update(cycle, 1, 1, b"kept", b"lost");
    history.put(cycle, 1, 2, b"lost");
    history.seal();
    history.roll_back(cycle);
    history.update(ALONE, 1, 1, b"kept", b"changed");
    history.put(ALONE, 1, 2, b"other");
    history.seal();
    let job = apply_all(&history, SMALL);
    assert_eq!(
        rows_of(&job, 1),
        [row(1, 1, 1, b"changed"), row(1, 1, 2, b"other")]
    );
}

#[test]
fn opening_the_journal_rolls_back_what_is_open() {
    let mut history = History::with_files(1);
    let cycle = history.begin();
    history.put(cycle, 1, 1, b"lost");
    history.seal();
    let opened = history.opened();
    history.put(ALONE, 1, 1, b"kept");
    history.seal();
    let job = apply_all(&history, SMALL);
    assert_eq!(rows_of(&job, 1), [row(1, 1, 1, b"kept")]);
    assert_eq!(job.machine.buffered(), 0, "nothing of it is kept");
    let position = job.store.position().unwrap().unwrap();
    assert!(
        position.restart >= opened,
        "receivers before it are needed no more: {position:?}"
    );
}

#[test]
fn a_bundle_may_end_in_the_middle_of_a_transaction_or_hold_many() {
    let mut history = History::with_files(1);
    let split = history.begin();
    for k in 0..5 {
        history.put(split, 1, k, b"split");
        history.seal();
    }
    for k in 10..20 {
        let cycle = history.begin();
        history.put(cycle, 1, k, b"whole");
        history.commit(cycle);
    }
    history.put(split, 1, 5, b"split");
    history.seal();
    history.commit(split);
    history.seal();
    let job = apply_all(&history, Bounds::default());
    assert_eq!(rows_of(&job, 1).len(), 16);
}

#[test]
fn changes_outside_a_cycle_count_at_once() {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"one");
    history.update(ALONE, 1, 1, b"one", b"two");
    history.put(ALONE, 1, 2, b"x");
    history.delete_by_key(ALONE, 1, 2);
    history.put(ALONE, 1, 3, b"y");
    history.delete(ALONE, 1, 3, b"y");
    history.update_after(ALONE, 1, 1, b"three");
    history.seal();
    let job = apply_all(&history, SMALL);
    assert_eq!(rows_of(&job, 1), [row(1, 1, 1, b"three")]);
}

#[test]
fn entries_that_mean_nothing_to_rows_only_move_the_position() {
    let mut history = History::with_files(1);
    let cycle = history.begin();
    history.put(cycle, 1, 1, b"row");
    history.user(cycle, "a note within a transaction");
    history.user(ALONE, "a note");
    history.commit(cycle);
    history.user(ALONE, "the last entry");
    history.seal();
    let job = apply_all(&history, Bounds::default());
    assert_eq!(rows_of(&job, 1), [row(1, 1, 1, b"row")]);
}

#[test]
fn a_transaction_without_changes_is_decided_like_another() {
    let mut history = History::with_files(1);
    let (a, b) = (history.begin(), history.begin());
    history.commit(a);
    history.roll_back(b);
    history.seal();
    apply_all(&history, SMALL);
}

#[test]
fn small_transactions_share_a_step_until_it_is_large_enough() {
    let mut history = History::with_files(1);
    for k in 0..40 {
        let cycle = history.begin();
        history.put(cycle, 1, k, &[7; 100]);
        history.commit(cycle);
        history.seal();
    }
    let mut job = Job::start(&history, Memory::default(), SMALL);
    job.run(&history, usize::MAX).unwrap();
    let steps = job.seen.positions.len();
    assert!((5..20).contains(&steps), "{steps} steps");
    assert!(
        job.seen.step_max <= SMALL.step_bytes_max,
        "{}",
        job.seen.step_max
    );
    let mut job = Job::start(&history, Memory::default(), Bounds::default());
    job.run(&history, usize::MAX).unwrap();
    assert_eq!(job.seen.positions.len(), 1, "all of it fits into one");
}

#[test]
fn what_waits_for_company_is_given_out_when_nothing_more_can_be_read() {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"row");
    history.seal();
    let mut job = Job::start(&history, Memory::default(), Bounds::default());
    for bundle in &history.bundles {
        job.machine.handle_bundle(bundle).unwrap();
    }
    let told = |output: Option<Output>| matches!(output, Some(Output::Journaled { .. }));
    assert!(told(job.machine.poll_output()));
    assert!(told(job.machine.poll_output()));
    assert_eq!(job.machine.poll_output(), None, "more may come");
    job.machine.handle_level();
    let Some(Output::Step(step)) = job.machine.poll_output() else {
        panic!("nothing was given out");
    };
    assert_eq!(step.next.applied, history.end().sequence);
    assert_eq!(step.changes.len(), 1);
    assert_eq!(step.changes[0].key, key(1, 1));
    job.machine.handle_level();
    assert_eq!(job.machine.poll_output(), None, "once");
}

#[test]
fn rows_and_position_are_in_one_step() {
    let mut history = History::with_files(1);
    for k in 0..30 {
        let cycle = history.begin();
        history.put(cycle, 1, k, &[1; 200]);
        history.put(cycle, 1, 100 + k, &[2; 200]);
        history.commit(cycle);
        if k % 4 == 0 {
            history.seal();
        }
    }
    history.seal();
    // The bench compares rows, position, restart and chain head after each step.
    let job = apply_all(&history, SMALL);
    let applied = job.seen.applied();
    assert!(applied.len() > 10, "{applied:?}");
    assert!(applied.is_sorted_by(|a, b| a < b), "{applied:?}");
}
