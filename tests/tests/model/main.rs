//! The model of recovery groups, run.

mod holds;
mod mutations;

use std::io::Write;

use rjournal_model::check::{Outcome, run};
use rjournal_model::goals::Goal;
use rjournal_model::rules::Configuration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    All(usize),
    Generated(usize),
}

#[track_caller]
fn holds(configuration: Configuration, reach: Reach, goals: &[Goal]) {
    let limit = match reach {
        Reach::All(_) => usize::MAX,
        Reach::Generated(states) if long() => states.saturating_mul(LONGER),
        Reach::Generated(states) => states,
    };
    let outcome = run(configuration, None, limit);
    show(&outcome);
    assert!(outcome.failed.is_empty(), "{outcome}");
    if let Reach::All(states) = reach {
        assert!(outcome.finished);
        assert_eq!(outcome.states, states, "different states");
    }
    let missed: Vec<_> = goals.iter().filter(|goal| !outcome.reached.contains(goal)).collect();
    assert!(missed.is_empty(), "not reached: {missed:?}");
}

#[track_caller]
fn fails(configuration: Configuration, property: &'static str, steps: usize) {
    let outcome = run(configuration, Some(property), 40_000_000);
    show(&outcome);
    let found = outcome.failed.iter().find(|trace| trace.property == property);
    let trace = found.unwrap_or_else(|| panic!("{property} does not fail: {outcome}"));
    assert_eq!(trace.steps(), steps, "{trace}");
}

const LONGER: usize = 20;

fn long() -> bool {
    std::env::var("RJOURNAL_MODEL").is_ok_and(|profile| profile == "long")
}

fn show(outcome: &Outcome) {
    if std::env::var_os("SHOW").is_some() {
        let name = std::thread::current();
        let name = name.name().unwrap_or_default();
        let _ = writeln!(std::io::stderr().lock(), "{name}: {outcome}");
    }
}
