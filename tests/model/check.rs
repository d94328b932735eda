//! Package `tests`, model: runs the checker over one configuration and says what came of it. One thread and breadth first, so
//! that a run is the same every time and a trace is the shortest there is.

use std::sync::atomic::Ordering;

use stateright::{Checker, HasDiscoveries, Model};

use crate::actions::Action;
use crate::goals::Goal;
use crate::group::Group;
use crate::journal::MemberId;
use crate::rules::Configuration;
use crate::state::State;

/// How far a run goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// To the end: there are exactly so many different states.
    All(usize),
    /// Until so many states were generated, repeated ones included.
    Generated(usize),
}

/// What came of a run.
pub(crate) struct Outcome {
    /// Different states.
    pub(crate) states: usize,
    /// Was everything seen?
    pub(crate) finished: bool,
    /// The property that failed, and how.
    pub(crate) violated: Vec<(&'static str, Trace)>,
    /// Goals reached.
    pub(crate) reached: Vec<Goal>,
}

/// A way to a state.
pub(crate) type Trace = Vec<(State, Option<Action>)>;

/// The configuration holds all properties as far as the run reaches, and comes past these goals.
#[track_caller]
pub(crate) fn holds(configuration: Configuration, reach: Reach, goals: &[Goal]) {
    let limit = match reach {
        Reach::All(_) => usize::MAX,
        Reach::Generated(states) if long() => states.saturating_mul(LONGER),
        Reach::Generated(states) => states,
    };
    let outcome = run(configuration, limit);
    for (property, trace) in &outcome.violated {
        print_trace(property, trace);
    }
    let violated: Vec<_> = outcome.violated.iter().map(|(name, _)| *name).collect();
    assert!(violated.is_empty(), "violated: {violated:?}");
    if let Reach::All(states) = reach {
        assert!(outcome.finished);
        assert_eq!(outcome.states, states, "as many different states as before");
    }
    assert_eq!(outcome.reached, goals, "the goals reached");
}

/// Without a rule this property fails, after as few steps as these.
#[track_caller]
pub(crate) fn fails(configuration: Configuration, property: &str, steps: usize) {
    let outcome = run(configuration, usize::MAX);
    let found = outcome.violated.iter().find(|(name, _)| *name == property);
    let names: Vec<_> = outcome
        .violated
        .iter()
        .map(|(name, trace)| (*name, trace.len() - 1))
        .collect();
    let Some((name, trace)) = found else {
        panic!("{property} does not fail, but {names:?}");
    };
    if std::env::var_os("SHOW").is_some() {
        print_trace(name, trace);
    }
    assert_eq!(trace.len() - 1, steps, "steps to the first failure");
}

/// How many times further a run goes that is not finished, in the long profile.
const LONGER: usize = 20;

fn long() -> bool {
    std::env::var("RJOURNAL_MODEL").is_ok_and(|profile| profile == "long")
}

/// Runs until a property fails, everything was seen, or so many states were generated.
pub(crate) fn run(configuration: Configuration, generated_max: usize) -> Outcome {
    let checker = Group::new(configuration)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(generated_max)
        .spawn_bfs()
        .join();
    let violated: Vec<(&'static str, Trace)> = checker
        .discoveries()
        .into_iter()
        .map(|(name, path)| (name, path.into_vec()))
        .collect();
    let outcome = Outcome {
        states: checker.unique_state_count(),
        finished: violated.is_empty() && checker.state_count() < generated_max,
        violated,
        reached: Goal::of(checker.model().reached.load(Ordering::Relaxed)),
    };
    if std::env::var_os("SHOW").is_some() {
        println!(
            "{:?}: {} states generated, {} different, depth {}, finished: {}, goals: {:?}, violated: {:?}",
            std::thread::current().name(),
            checker.state_count(),
            outcome.states,
            checker.max_depth(),
            outcome.finished,
            outcome.reached,
            outcome.violated.iter().map(|(name, trace)| (*name, trace.len() - 1)).collect::<Vec<_>>(),
        );
    }
    outcome
}

/// The steps in words, and where they lead.
fn print_trace(property: &str, trace: &Trace) {
    println!("{property} fails:");
    for (number, (_, action)) in (1..).zip(trace) {
        if let Some(action) = action {
            println!("{number:4}. {action}");
        }
    }
    let Some((state, _)) = trace.last() else {
        return;
    };
    for number in 0..3 {
        let member = &state.members[MemberId(number)];
        println!(
            "  member {number}: {:?}{}, promised term {} to {}",
            member.role,
            if member.up { "" } else { " (down)" },
            member.promise.term,
            member.promise.to,
        );
        for (journal, copy) in member.copies.0.iter().enumerate() {
            if copy.journal.last() > 0 {
                println!(
                    "    journal of {journal}: {:?}, flushed {}, confirmed {}",
                    copy.journal, copy.flushed, copy.confirmed
                );
            }
        }
    }
    println!("  answers: {:?}", state.answers);
}
