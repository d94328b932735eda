//! Package `rjournal-model`: runs the checker over one configuration and says what came of it. One thread and breadth first,
//! so that a run is the same every time, and a trace is the shortest there is.

use std::fmt;
use std::sync::atomic::Ordering;

use stateright::{Checker, HasDiscoveries, Model};

use crate::actions::Action;
use crate::goals::Goal;
use crate::group::Group;
use crate::journal::{Entry, Journal, Kind, MemberId, Policy};
use crate::rules::Configuration;
use crate::state::{Member, State};

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// States generated, those seen before included.
    pub generated: usize,
    /// Different states.
    pub states: usize,
    /// Most steps from the beginning to a state.
    pub depth: usize,
    /// Was everything seen?
    pub finished: bool,
    /// The properties that failed, and how; the run ends with the first.
    pub failed: Vec<Trace>,
    /// Goals reached.
    pub reached: Vec<Goal>,
}

/// The way to a state in which a property fails.
#[derive(Debug)]
pub struct Trace {
    /// The property.
    pub property: &'static str,
    steps: Vec<Action>,
    end: State,
}

impl Trace {
    /// How many steps it takes.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }
}

/// Runs until this property fails, or any, or everything was seen, or about so many states were generated.
pub fn run(
    configuration: Configuration,
    property: Option<&'static str>,
    generated_max: usize,
) -> Outcome {
    let finish = property.map_or(HasDiscoveries::AnyFailures, |property| {
        HasDiscoveries::AllOf([property].into())
    });
    let checker = Group::new(configuration)
        .checker()
        .finish_when(finish)
        .target_state_count(generated_max)
        .spawn_bfs()
        .join();
    let mut failed: Vec<Trace> = checker
        .discoveries()
        .into_iter()
        .map(|(property, path)| Trace {
            property,
            end: path.last_state().clone(),
            steps: path.into_actions(),
        })
        .collect();
    failed.sort_by_key(|trace| (trace.steps(), trace.property));
    Outcome {
        generated: checker.state_count(),
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        finished: failed.is_empty() && checker.state_count() < generated_max,
        failed,
        reached: Goal::of(checker.model().reached.load(Ordering::Relaxed)),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} states ({} generated), {} steps deep, {}, goals {:?}",
            self.states,
            self.generated,
            self.depth,
            if self.finished {
                "finished"
            } else {
                "not finished"
            },
            self.reached,
        )?;
        self.failed
            .iter()
            .try_for_each(|trace| write!(formatter, "\n{trace}"))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} fails after {} steps:",
            self.property,
            self.steps()
        )?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(formatter, "{number:4}. {step}")?;
        }
        for (number, member) in (0..).zip(&self.end.members.0) {
            show_member(formatter, MemberId(number), member)?;
        }
        writeln!(formatter, "     answers {:?}", self.end.answers)
    }
}

fn show_member(formatter: &mut fmt::Formatter<'_>, id: MemberId, member: &Member) -> fmt::Result {
    let down = if member.up { "" } else { ", down" };
    let promise = member.promise;
    writeln!(
        formatter,
        "     {id}: {:?}{down}, promised term {} to {}",
        member.role, promise.term, promise.to,
    )?;
    for (journal, copy) in member.copies.0.iter().enumerate() {
        if copy.journal != Journal::EMPTY {
            write!(formatter, "       journal {journal}:")?;
            for entry in copy.journal.entries() {
                show_entry(formatter, entry)?;
            }
            writeln!(
                formatter,
                " (flushed {}, confirmed {})",
                copy.flushed, copy.confirmed
            )?;
        }
    }
    Ok(())
}

fn show_entry(formatter: &mut fmt::Formatter<'_>, entry: &Entry) -> fmt::Result {
    write!(formatter, " [{}.{} ", entry.epoch.term, entry.epoch.boot)?;
    match entry.kind {
        Kind::Deposit(id) => write!(formatter, "deposit {id}")?,
        Kind::Begin(id) => write!(formatter, "begin {id}")?,
        Kind::Commit(id) => write!(formatter, "commit {id}")?,
        Kind::HandOver(to) => write!(formatter, "hand-over to {to}")?,
        Kind::SetChange(set) | Kind::Open { set, .. } => {
            if let Kind::Open { closes, .. } = entry.kind {
                write!(formatter, "open")?;
                if let Some(closed) = closes {
                    let (journal, last) = (closed.journal.0, closed.last());
                    write!(formatter, ", closes journal {journal} at {last}")?;
                }
                write!(formatter, ", ")?;
            }
            write!(formatter, "set")?;
            set.members
                .each()
                .try_for_each(|id| write!(formatter, " {}", id.0))?;
            if set.policy == Policy::Block {
                write!(formatter, " block")?;
            }
        }
    }
    write!(formatter, "]")
}
