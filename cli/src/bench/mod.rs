//! Package `cli`, the benchmark: what journaling costs on this machine, each figure beside the bare disk in the same round.
//! Must not judge more than its targets say.

mod floor;
mod inside;
mod outside;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::error::CliError;
use crate::output::Output;

use floor::Floor;
use inside::Inside;
use outside::Outside;
pub(crate) use table::text;

/// Depositors at once where there are many.
const MANY: usize = 32;

/// What is measured, and how long.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where files are made: the disk that is measured.
    pub(crate) dir: PathBuf,
    /// Rounds of all cases, one after the other.
    pub(crate) rounds: u32,
    /// How long each case of a round runs.
    pub(crate) time: Duration,
    /// Bytes of an entry's data.
    pub(crate) payload: usize,
    /// MiB shipped in the catch-up case.
    pub(crate) catch_up_mib: u64,
}

/// One case of a round.
#[derive(Debug, Clone, Copy)]
struct Sample {
    per_second: f64,
    p50_us: u64,
    p99_us: u64,
}

/// A case over all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    name: &'static str,
    /// What is counted, in a second.
    unit: &'static str,
    /// Lowest, median and highest of the rounds.
    per_second: [f64; 3],
    /// Median of the rounds, in microseconds.
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    /// How many times the bare disk of the same round: lowest, median and highest.
    ratio: Option<[f64; 3]>,
    /// What the ratio, or the figure where there is none, should reach.
    target: Option<f64>,
}

/// The result.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    rounds: u32,
    seconds_each: f64,
    payload_bytes: usize,
    cases: Vec<Case>,
    /// Resident memory of a daemon that has nothing to do, in bytes.
    idle_bytes: Option<u64>,
    /// Resident memory after all rounds, of the source and the target.
    loaded_bytes: Vec<u64>,
}

/// Deposits answered by many, and how long each took.
struct Meter {
    histogram: hdrhistogram::Histogram<u64>,
}

impl Meter {
    fn new() -> Result<Self, CliError> {
        hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3)
            .map(|histogram| Self { histogram })
            .map_err(|error| CliError::internal(&error))
    }

    fn note(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(micros.max(1));
    }

    fn add(&mut self, other: &Self) -> Result<(), CliError> {
        self.histogram
            .add(&other.histogram)
            .map_err(|error| CliError::internal(&error))
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate has few digits")]
    fn sample(&self, took: Duration) -> Sample {
        Sample {
            per_second: self.histogram.len() as f64 / took.as_secs_f64(),
            p50_us: self.histogram.value_at_quantile(0.5),
            p99_us: self.histogram.value_at_quantile(0.99),
        }
    }
}

/// Repeats something from many tasks at once for a while: what `once` does is timed.
async fn measure<T, F>(makers: Vec<T>, time: Duration, once: F) -> Result<Sample, CliError>
where
    T: Send + 'static,
    F: Fn(&mut T) -> std::pin::Pin<Box<dyn Future<Output = Result<(), CliError>> + Send + '_>>
        + Send
        + Sync
        + Clone
        + 'static,
{
    let began = Instant::now();
    let until = began + time;
    let mut tasks = tokio::task::JoinSet::new();
    for mut maker in makers {
        let once = once.clone();
        tasks.spawn(async move {
            let mut meter = Meter::new()?;
            let mut now = Instant::now();
            while now < until {
                once(&mut maker).await?;
                let after = Instant::now();
                meter.note(after - now);
                now = after;
            }
            Ok::<_, CliError>(meter)
        });
    }
    let mut all = Meter::new()?;
    while let Some(meter) = tasks.join_next().await {
        all.add(&meter.map_err(|error| CliError::internal(&error))??)?;
    }
    Ok(all.sample(began.elapsed()))
}

const CASES: [(&str, &str, Option<f64>); 7] = [
    ("bare write + fdatasync", "writes", None),
    ("local, 1 depositor", "deposits", Some(0.8)),
    ("local, 32 depositors", "deposits", Some(15.0)),
    ("*SYNC *WRITTEN, 32 depositors", "deposits", Some(7.0)),
    ("socket, local, 32 clients", "deposits", Some(5.0)),
    ("socket, *SYNC, 32 clients", "deposits", Some(3.0)),
    ("catch-up, 1 KiB", "MB", Some(250.0)),
];

/// Measures everything.
pub(crate) async fn run(plan: Plan, output: Output) -> Result<Figures, CliError> {
    std::fs::create_dir_all(&plan.dir).map_err(|error| CliError::internal(&error))?;
    let dir = Cleaned(&plan.dir);
    let progress = output.progress();
    let show = |text: &str| {
        progress.show(text);
        tracing::info!("{text}");
    };
    show("files and systems are made");
    let floor = Floor::make(&plan)?;
    let inside = Inside::make(&plan).await?;
    let mut outside = Outside::make(&plan).await?;
    let idle_bytes = outside.pair.source.resident_bytes();
    let mut samples: Vec<Vec<Sample>> = Vec::new();
    for round in 1..=plan.rounds {
        let at = |case: usize| {
            let name = CASES.get(case).map_or("", |(name, _, _)| *name);
            show(&format!("round {round} of {}: {name}", plan.rounds));
        };
        let mut row = Vec::with_capacity(CASES.len());
        at(0);
        row.push(floor.measure(plan.time)?);
        at(1);
        row.push(inside.one(plan.time)?);
        at(2);
        row.push(inside.local(plan.time).await?);
        at(3);
        row.push(inside.sync(plan.time).await?);
        at(4);
        row.push(outside.local(plan.time).await?);
        at(5);
        row.push(outside.sync(plan.time).await?);
        at(6);
        row.push(inside.catch_up(plan.catch_up_mib, round).await?);
        samples.push(row);
    }
    drop(progress);
    let loaded_bytes = [&outside.pair.source, &outside.pair.target]
        .iter()
        .filter_map(|system| system.resident_bytes())
        .collect();
    outside.pair.stop().await?;
    inside.stop().await;
    drop(dir);
    Ok(Figures {
        rounds: plan.rounds,
        seconds_each: plan.time.as_secs_f64(),
        payload_bytes: plan.payload,
        cases: cases(&samples),
        idle_bytes,
        loaded_bytes,
    })
}

fn cases(samples: &[Vec<Sample>]) -> Vec<Case> {
    let case =
        |(index, (name, unit, target)): (usize, &(&'static str, &'static str, Option<f64>))| {
            let of = |index: usize| samples.iter().filter_map(move |row| row.get(index));
            let is_rate = *unit == "deposits";
            let ratios = of(index)
                .zip(of(0))
                .map(|(sample, floor)| sample.per_second / floor.per_second);
            let micros = |pick: fn(&Sample) -> u64| {
                let mut all: Vec<u64> = of(index).map(pick).collect();
                all.sort_unstable();
                all.get(all.len() / 2).copied().filter(|_| *unit != "MB")
            };
            Case {
                name,
                unit,
                per_second: spread(of(index).map(|sample| sample.per_second)),
                p50_us: micros(|sample| sample.p50_us),
                p99_us: micros(|sample| sample.p99_us),
                ratio: is_rate.then(|| spread(ratios)),
                target: *target,
            }
        };
    CASES.iter().enumerate().map(case).collect()
}

/// Lowest, median and highest.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let at = |index: usize| all.get(index).copied().unwrap_or(0.0);
    [at(0), at(all.len() / 2), at(all.len().saturating_sub(1))]
}

/// A directory that goes away with this.
struct Cleaned<'a>(&'a Path);

impl Drop for Cleaned<'_> {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.0));
    }
}
