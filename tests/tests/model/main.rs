//! The model of recovery groups (package `rjournal-model`), run: configurations in which every property holds, and rules that
//! are left out, each of which must be found. What is modelled stands in docs/ARCHITECTURE.md.
//!
//! `SHOW=1 cargo test -p rjournal-tests --test model l4` tells what a run saw, and the steps to a failure.
//! `RJOURNAL_MODEL=long` follows every configuration to its end, or far: some hundred million states, and several GiB.

mod holds;
mod mutations;

use std::io::Write;

use rjournal_model::check::{Outcome, run};
use rjournal_model::goals::Goal;
use rjournal_model::rules::Configuration;

/// How far a run goes.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// To the end; there are exactly so many different states.
    All(usize),
    /// Until so many states were generated, those seen before included. In the long profile to the end, where there are
    /// exactly so many different states, or [`FAR`].
    Generated(usize, Option<usize>),
}

/// States generated in the long profile where the end is not known.
const FAR: usize = 150_000_000;

/// States generated, at most, until a rule that is left out is found.
const FOUND_WITHIN: usize = 20_000_000;

/// Every property holds as far as the run reaches, and it comes past these goals and no others.
#[track_caller]
fn holds(configuration: Configuration, reach: Reach, goals: &[Goal]) {
    let long = std::env::var("RJOURNAL_MODEL").is_ok_and(|profile| profile == "long");
    let (generated_max, states) = match reach {
        Reach::All(states) => (usize::MAX, Some(states)),
        Reach::Generated(_, Some(states)) if long => (usize::MAX, Some(states)),
        Reach::Generated(_, None) if long => (FAR, None),
        Reach::Generated(generated, _) => (generated, None),
    };
    let outcome = run(configuration, None, generated_max);
    show(&outcome);
    assert!(outcome.failed.is_empty(), "{outcome}");
    if let Some(states) = states {
        assert!(outcome.finished, "{outcome}");
        assert_eq!(outcome.states, states, "different states");
    }
    let missed: Vec<_> = goals
        .iter()
        .filter(|goal| !outcome.reached.contains(goal))
        .collect();
    assert!(missed.is_empty(), "{missed:?} not reached: {outcome}");
}

/// With a rule left out this property fails, after no fewer steps than these.
#[track_caller]
fn fails(configuration: Configuration, property: &'static str, steps: usize) {
    let outcome = run(configuration, Some(property), FOUND_WITHIN);
    show(&outcome);
    let trace = outcome
        .failed
        .iter()
        .find(|trace| trace.property == property);
    let trace = trace.unwrap_or_else(|| panic!("{property} does not fail: {outcome}"));
    assert_eq!(trace.steps(), steps, "{trace}");
}

/// Tells about a run, past the capture of the test harness.
fn show(outcome: &Outcome) {
    if std::env::var_os("SHOW").is_some() {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        writeln!(std::io::stderr(), "{name}: {outcome}").expect("standard error is open");
    }
}
