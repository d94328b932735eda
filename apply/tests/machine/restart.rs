//! A crash after any step: the job comes back on what the store holds, reads again from where its position says, and ends
//! where it would have ended without.

use rjournal::entry::Sequence;
use rjournal_apply::machine::Bounds;
use rjournal_apply::store::StoreReader;

use crate::bench::{End, Job, SMALL, apply_all, assert_ended};
use crate::history::{ALONE, History};
use crate::memory::Memory;

/// A history with everything in it.
pub(crate) fn varied() -> History {
    let mut history = History::with_files(2);
    let long = history.begin();
    history.put(long, 1, 1_000, b"long");
    let mut value = vec![0; 100];
    history.put(ALONE, 2, 0, &value);
    for number in 0..25_u8 {
        let k = i64::from(number);
        let cycle = history.begin();
        history.put(cycle, 1, k, &[3; 150]);
        let next = vec![number + 1; 100];
        history.update(cycle, 2, 0, &value, &next);
        history.seal();
        if k % 3 == 0 {
            history.roll_back(cycle);
        } else {
            history.commit(cycle);
            value = next;
        }
        history.user(ALONE, "a note");
        history.put(ALONE, 2, 100 + k, b"alone");
        if k % 4 == 0 {
            history.seal();
        }
        history.put(long, 1, 1_001 + k, &[4; 200]);
    }
    history.create(3);
    history.put(ALONE, 3, 1, b"third");
    history.commit(long);
    history.put(ALONE, 1, 5_000, b"behind");
    history.seal();
    let lost = history.begin();
    history.put(lost, 1, 6_000, b"lost");
    history.opened();
    history.put(ALONE, 1, 6_000, b"kept");
    history.seal();
    let open = history.begin();
    history.put(open, 1, 7_000, b"open");
    history.seal();
    history
}

#[test]
fn a_crash_after_any_step_changes_nothing_in_the_end() {
    let history = varied();
    for bounds in [SMALL, Bounds::default()] {
        let steps = apply_all(&history, bounds).seen.positions.len();
        for cut in 0..steps {
            let mut job = Job::start(&history, Memory::default(), bounds);
            job.crash_after(cut);
            assert!(matches!(job.run(&history, 1), Err(End::Crashed)));
            let mut again = Job::start(&history, job.store.copy(), bounds);
            again.run(&history, 1).unwrap();
            assert_ended(&again.store, &history);
        }
    }
}

#[test]
fn a_job_that_crashes_after_every_step_still_arrives() {
    let history = varied();
    let mut store = Memory::default();
    let mut crashes = 0;
    loop {
        let mut job = Job::start(&history, store.copy(), SMALL);
        job.crash_after(1);
        let end = job.run(&history, 1);
        store = job.store.copy();
        match end {
            Ok(()) => break,
            Err(End::Crashed) => crashes += 1,
            Err(End::Stopped(error)) => panic!("{error}"),
        }
    }
    assert!(crashes > 20, "{crashes}");
    assert_ended(&store, &history);
}

#[test]
fn reading_begins_again_at_the_oldest_open_cycle_and_no_earlier() {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"row");
    history.seal();
    let cycle = history.begin();
    history.put(cycle, 1, 2, b"open");
    history.put(ALONE, 1, 3, b"row");
    history.seal();
    let job = apply_all(&history, Bounds::default());
    let position = job.store.position().unwrap().unwrap();
    assert_eq!(position.applied, history.end().sequence);
    assert_eq!(position.restart, cycle.before());
    let again = Job::start(&history, job.store.copy(), Bounds::default());
    assert_eq!(again.machine.at(), cycle.before());
    assert_eq!(again.machine.applied(), position.applied);
}

#[test]
fn what_is_read_again_after_a_restart_is_not_applied_twice() {
    let history = varied();
    let job = apply_all(&history, SMALL);
    let mut again = Job::start(&history, job.store.copy(), SMALL);
    assert!(
        again.machine.at() < history.end().sequence,
        "a cycle is open"
    );
    again.run(&history, 1).unwrap();
    assert_eq!(again.seen.positions, [], "there is nothing to do");
}

#[test]
fn a_bundle_that_is_handed_in_twice_counts_once() {
    let history = varied();
    let mut job = Job::start(&history, Memory::default(), Bounds::default());
    for bundle in &history.bundles {
        job.machine.handle_bundle(bundle).unwrap();
        job.machine.handle_bundle(bundle).unwrap();
    }
    job.run(&history, 1).unwrap();
    assert_ended(&job.store, &history);
}

#[test]
fn a_store_goes_on_where_it_stands_when_the_journal_has_grown() {
    let mut history = History::with_files(1);
    let mut store = Memory::default();
    let mut open: Vec<Sequence> = Vec::new();
    for k in 0..20 {
        let cycle = history.begin();
        history.put(cycle, 1, k, &[1; 300]);
        open.push(cycle);
        if k % 2 == 1 {
            history.commit(open.remove(0));
        }
        history.seal();
        let mut job = Job::start(&history, store.copy(), SMALL);
        job.run(&history, 1).unwrap();
        store = job.store.copy();
        assert_ended(&store, &history);
    }
}
