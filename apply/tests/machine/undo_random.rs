//! Random histories that fork: a store applied one continuation, is taken back to the fork, whatever is cut, and is then the
//! fold of the fork, with the position of one that never went further; the other continuation ends as it should.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rjournal_apply::machine::Bounds;
use rjournal_apply::store::StoreReader;

use crate::bench::{End, Job, assert_ended};
use crate::memory::Memory;
use crate::random::{Act, Writer, any_act, any_bounds};
use crate::undo::{assert_at_fork, take_back};

#[derive(Debug, Clone)]
struct Case {
    common: Vec<Act>,
    branch: Vec<Act>,
    other: Vec<Act>,
    bounds: Bounds,
    back: Bounds,
    /// Steps of the branch after which its job crashes, if it does.
    applied: Option<usize>,
    /// Steps of the undo after which it crashes, one try after the other.
    crashes: Vec<usize>,
}

fn any_case() -> impl Strategy<Value = Case> {
    let applied = prop_oneof![2 => Just(None), 1 => (0..40_usize).prop_map(Some)];
    (
        vec(any_act(), 0..60),
        vec(any_act(), 1..80),
        vec(any_act(), 0..40),
        any_bounds(),
        any_bounds(),
        applied,
        vec(0..4_usize, 0..6),
    )
        .prop_map(
            |(common, branch, other, bounds, back, applied, crashes)| Case {
                common,
                branch,
                other,
                bounds,
                back,
                applied,
                crashes,
            },
        )
}

#[test]
fn a_store_that_was_taken_back_is_one_that_never_went_further() {
    let config = Config {
        cases: 600,
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&any_case(), |case| {
        run(&case);
        Ok(())
    });
    run.unwrap();
}

fn run(case: &Case) {
    let mut writer = Writer::new();
    for act in &case.common {
        writer.act(act);
    }
    writer.history.seal();
    let common = writer.history.clone();
    let grown = |acts: &[Act]| {
        let mut writer = writer.clone();
        for act in acts {
            writer.act(act);
        }
        writer.history.seal();
        writer.history
    };
    let (branch, other) = (grown(&case.branch), grown(&case.other));
    let mut job = Job::start(&branch, Memory::default(), case.bounds);
    if let Some(steps) = case.applied {
        job.crash_after(steps);
    }
    let end = job.run(&branch, 1);
    assert!(matches!(end, Ok(()) | Err(End::Crashed)), "{end:?}");
    let store = job.store.copy();
    let fork = common.end();
    let behind = store.position().unwrap().is_some_and(|position| {
        let mark = position.in_progress;
        position.applied > fork.sequence || mark.is_some_and(|mark| mark.decision > fork.sequence)
    });
    if !behind {
        return;
    }
    let mut crashes = case.crashes.iter();
    let taken = loop {
        let steps = crashes.next().copied().unwrap_or(usize::MAX);
        match take_back(&store, &branch, fork, case.back, steps) {
            Ok(taken) => break taken,
            Err(End::Crashed) => {}
            Err(End::Stopped(error)) => panic!("{error}"),
        }
    };
    assert!(taken.step_max <= case.back.step_bytes_max);
    assert_at_fork(&store, &common);
    let mut job = Job::start(&other, store, case.bounds);
    job.run(&other, 1).unwrap();
    assert_ended(&job.store, &other);
}
