//! Package `cli`, the benchmark: how long a change of role keeps programs waiting, and what coming home moves: a takeover, a
//! planned switch, a rejoin, each with two systems as processes and a store on either side. Must not judge more than its targets
//! say.
//!
//! | file | what happens there |
//! | --- | --- |
//! | `group` | the systems as a recovery group, and their rows |
//! | `relay` | the wire between them, counted and pulled |
//! | `takeover`, `switch`, `rejoin` | the cases |

mod group;
mod rejoin;
mod relay;
mod switch;
mod takeover;

use std::path::Path;

use serde::Serialize;

use super::{Measured, spread};
use crate::error::CliError;

/// How large the cases are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// MiB of rows deposited before a takeover.
    pub(crate) journal_mib: u64,
    /// Transactions in a second while the role is handed over.
    pub(crate) rate: u32,
    /// MiB of rows in the larger of the two stores that are joined again.
    pub(crate) store_mib: u64,
    /// Entries each side has alone in the smaller fork; the larger one has ten times as many.
    pub(crate) fork: u64,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Unit {
    #[serde(rename = "ms")]
    Millis,
    #[serde(rename = "bytes")]
    Bytes,
}

/// One figure of one run.
#[derive(Debug, Clone, Copy)]
struct Measure {
    name: &'static str,
    unit: Unit,
    value: f64,
    /// What it should not exceed.
    most: Option<f64>,
}

impl Measure {
    fn millis(name: &'static str, took: std::time::Duration, most: Option<f64>) -> Self {
        Self {
            name,
            unit: Unit::Millis,
            value: took.as_secs_f64() * 1e3,
            most,
        }
    }
}

/// One run of a case.
#[derive(Debug)]
struct Run {
    /// Of what: runs of one name are one case.
    of: String,
    measures: Vec<Measure>,
    /// What it was measured at.
    at: Vec<(&'static str, u64)>,
}

/// A figure over all runs.
#[derive(Debug, Serialize)]
pub(super) struct RoleFigure {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    /// Lowest, median and highest.
    pub(super) values: [f64; 3],
    /// What it should not exceed, at the highest.
    pub(super) target: Option<f64>,
}

/// What it was measured at: median of the runs.
#[derive(Debug, Serialize)]
pub(super) struct MeasuredAt {
    pub(super) name: &'static str,
    pub(super) value: u64,
}

/// A case over all runs.
#[derive(Debug, Serialize)]
pub(super) struct RoleCase {
    pub(super) name: String,
    pub(super) runs: usize,
    pub(super) figures: Vec<RoleFigure>,
    pub(super) at: Vec<MeasuredAt>,
}

/// Runs the cases that are about roles.
pub(super) async fn run(
    dir: &Path,
    cases: &[Measured],
    rounds: u32,
    sizes: Sizes,
    show: &(dyn Fn(&str) + Sync),
) -> Result<Vec<RoleCase>, CliError> {
    let mut found = Vec::new();
    for case in cases {
        let dir = dir.join("group");
        let runs = match case {
            Measured::Takeover => takeover::run(&dir, rounds, sizes, show).await?,
            Measured::Switch => switch::run(&dir, rounds, sizes, show).await?,
            Measured::Rejoin => rejoin::run(&dir, rounds, sizes, show).await?,
            _ => Vec::new(),
        };
        found.extend(gathered(runs));
    }
    Ok(found)
}

/// Removes what a case has made: the next one needs the room.
fn clear(dir: &Path) -> Result<(), CliError> {
    std::fs::remove_dir_all(dir).map_err(|error| CliError::internal(&error))
}

/// Runs of one name together, in the order of their first.
fn gathered(runs: Vec<Run>) -> Vec<RoleCase> {
    let mut cases: Vec<(String, Vec<Run>)> = Vec::new();
    for run in runs {
        match cases.iter_mut().find(|(of, _)| *of == run.of) {
            Some((_, runs)) => runs.push(run),
            None => cases.push((run.of.clone(), vec![run])),
        }
    }
    cases
        .into_iter()
        .map(|(name, runs)| RoleCase {
            name,
            figures: figures(&runs),
            at: facts(&runs),
            runs: runs.len(),
        })
        .collect()
}

fn figures(runs: &[Run]) -> Vec<RoleFigure> {
    let first = runs.first().map(|run| run.measures.as_slice());
    let measures = first.unwrap_or_default().iter().enumerate();
    let figures = measures.map(|(index, measure)| {
        let all = || runs.iter().filter_map(|run| run.measures.get(index));
        let most = all().filter_map(|measure| measure.most);
        RoleFigure {
            name: measure.name,
            unit: measure.unit,
            values: spread(all().map(|measure| measure.value)),
            target: most.reduce(f64::min),
        }
    });
    figures.collect()
}

fn facts(runs: &[Run]) -> Vec<MeasuredAt> {
    let first = runs.first().map(|run| run.at.as_slice());
    let names = first.unwrap_or_default().iter().enumerate();
    let facts = names.map(|(index, (name, _))| {
        let mut values: Vec<u64> = runs
            .iter()
            .filter_map(|run| run.at.get(index))
            .map(|(_, value)| *value)
            .collect();
        values.sort_unstable();
        MeasuredAt {
            name,
            value: values.get(values.len() / 2).copied().unwrap_or_default(),
        }
    });
    facts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(of: &str, value: f64, most: f64, entries: u64) -> Run {
        Run {
            of: of.to_owned(),
            measures: vec![Measure {
                name: "pause",
                unit: Unit::Millis,
                value,
                most: Some(most),
            }],
            at: vec![("entries", entries)],
        }
    }

    #[test]
    fn runs_of_one_name_are_one_case_with_the_strictest_target() {
        let runs = vec![
            run_of("a", 3.0, 9.0, 30),
            run_of("b", 7.0, 5.0, 70),
            run_of("a", 1.0, 8.0, 10),
            run_of("a", 2.0, 9.0, 20),
        ];
        let cases = gathered(runs);
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((cases[0].runs, cases[1].runs), (3, 1));
        let figure = &cases[0].figures[0];
        assert_eq!(
            figure.values.map(f64::to_bits),
            [1.0, 2.0, 3.0].map(f64::to_bits)
        );
        assert_eq!(figure.target.map(f64::to_bits), Some(8.0_f64.to_bits()));
        assert_eq!(cases[0].at[0].value, 20);
    }
}
