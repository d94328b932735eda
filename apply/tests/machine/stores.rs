//! The same histories against the real stores: reopened after every step, they end where the memory does, and a second
//! job on one store is refused.

use rjournal_apply::machine::Output;
use rjournal_apply::store::{StoreError, StoreKind, StoreOptions, open};

use crate::bench::{End, Job, SMALL, assert_ended};
use crate::history::{ALONE, History};
use crate::memory::Memory;
use crate::restart::varied;

fn reopened_after_every_step(kind: StoreKind) {
    let history = varied();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    for number in 0.. {
        let store = open(kind, &path, &StoreOptions::default()).unwrap();
        let mut job = Job::start(&history, store, SMALL);
        job.crash_after(1);
        match job.run(&history, 1) {
            Ok(()) => {
                assert_ended(&*job.store.reader(), &history);
                assert!(number > 20, "{number}");
                return;
            }
            Err(End::Crashed) if number % 2 == 0 => job.store.close().unwrap(),
            Err(End::Crashed) => drop(job),
            Err(End::Stopped(error)) => panic!("{error}"),
        }
    }
}

#[test]
fn a_sled_store_reopened_after_every_step_ends_where_it_should() {
    reopened_after_every_step(StoreKind::Sled);
}

#[test]
fn a_redb_store_reopened_after_every_step_ends_where_it_should() {
    reopened_after_every_step(StoreKind::Redb);
}

#[test]
fn a_store_that_another_job_moved_is_left_alone() {
    let mut history = History::with_files(1);
    history.put(ALONE, 1, 1, b"row");
    history.seal();
    let store = Memory::default();
    let mut first = Job::start(&history, store.clone(), SMALL);
    let mut second = Job::start(&history, store.clone(), SMALL);
    first.run(&history, 1).unwrap();
    match second.run(&history, 1) {
        Err(End::Stopped(error)) => {
            assert!(!error.is_transient(), "{error}");
            assert!(
                matches!(
                    error,
                    rjournal_apply::error::ApplyError::Store(StoreError::Moved { .. })
                        | rjournal_apply::error::ApplyError::Conflict { .. }
                ),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_ended(&store, &history);
}

#[test]
fn a_store_is_expected_where_the_last_step_left_it() {
    let history = varied();
    let mut job = Job::start(&history, Memory::default(), SMALL);
    let mut stands = None;
    for bundle in &history.bundles {
        job.machine.handle_bundle(bundle).unwrap();
        while let Some(output) = job.machine.poll_output() {
            match output {
                Output::Step(step) => {
                    assert_eq!(step.expected, stands);
                    stands = Some(step.next);
                }
                Output::ReadAgain { after, upto } => {
                    for bundle in history.between(after, upto) {
                        job.machine.handle_again(&bundle).unwrap();
                    }
                }
                Output::Journaled { .. } => {}
            }
        }
    }
    assert!(stands.is_some());
}
