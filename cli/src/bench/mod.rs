//! Package `cli`, the benchmark: what journaling costs on this machine, each figure beside the bare disk in the same round.
//! Must not judge more than its targets say.

mod floor;
mod inside;
mod outside;
mod roles;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use serde::Serialize;
use tokio::time::Instant;

use crate::error::CliError;
use crate::output::Output;

use floor::Floor;
use inside::Inside;
use outside::Outside;
use roles::RoleCase;
pub(crate) use roles::Sizes;
pub(crate) use table::text;

/// Depositors at once where there are many.
const MANY: usize = 32;

/// What is measured, and how long.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where files are made: the disk that is measured.
    pub(crate) dir: PathBuf,
    /// What is measured.
    pub(crate) cases: Vec<Measured>,
    /// Rounds of all cases, one after the other.
    pub(crate) rounds: u32,
    /// How long each case of a round runs.
    pub(crate) time: Duration,
    /// Bytes of an entry's data.
    pub(crate) payload: usize,
    /// MiB shipped in the catch-up case.
    pub(crate) catch_up_mib: u64,
    /// How large the cases are that are about roles.
    pub(crate) sizes: Sizes,
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
    /// How many times the bare disk right before it: lowest, median and highest.
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
    /// Changes of role; empty where none was asked for.
    roles: Vec<RoleCase>,
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

/// What can be measured beside the bare disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measured {
    /// Deposits inside one process, one thread that waits for each answer
    #[value(name = "local-1")]
    Local1,
    /// Deposits inside one process, 32 tasks
    #[value(name = "local-32")]
    Local32,
    /// Deposits of 32 tasks, answered when two systems have flushed them
    #[value(name = "sync-32")]
    Sync32,
    /// Deposits of 32 clients through a daemon's socket
    SocketLocal,
    /// The same, answered when two daemons have flushed them
    SocketSync,
    /// Shipping what a remote journal missed
    CatchUp,
    /// The primary of a recovery group is killed: until its backup answers
    Takeover,
    /// The role is handed over while programs work: how long they wait
    Switch,
    /// An old primary comes home: what goes over the wire
    Rejoin,
}

impl Measured {
    /// Whether it is about roles: not a rate, and long, so that it is measured only where it is named.
    const fn is_role(self) -> bool {
        matches!(self, Self::Takeover | Self::Switch | Self::Rejoin)
    }

    /// What is measured where nothing is named.
    pub(crate) fn rates() -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|case| !case.is_role()).collect()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Local1 => "local, 1 depositor",
            Self::Local32 => "local, 32 depositors",
            Self::Sync32 => "*SYNC *WRITTEN, 32 depositors",
            Self::SocketLocal => "socket, local, 32 clients",
            Self::SocketSync => "socket, *SYNC, 32 clients",
            Self::CatchUp => "catch-up, 1 KiB",
            Self::Takeover => "takeover",
            Self::Switch => "switch",
            Self::Rejoin => "rejoin",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::CatchUp => "MB",
            _ => "deposits",
        }
    }

    /// What the ratio to the bare disk should reach; for catch-up the figure itself.
    const fn target(self) -> Option<f64> {
        match self {
            Self::Local1 => Some(0.8),
            Self::Local32 => Some(15.0),
            Self::Sync32 => Some(7.0),
            Self::SocketLocal => Some(5.0),
            Self::SocketSync => Some(3.0),
            Self::CatchUp => Some(250.0),
            // Their figures have their own.
            Self::Takeover | Self::Switch | Self::Rejoin => None,
        }
    }
}

/// One case of a round, and the bare disk right before it: a busy machine hits both alike.
#[derive(Debug, Clone, Copy)]
struct Pair {
    floor: Sample,
    sample: Sample,
}

/// Measures everything that is asked for.
pub(crate) async fn run(plan: Plan, output: Output) -> Result<Figures, CliError> {
    std::fs::create_dir_all(&plan.dir).map_err(|error| CliError::internal(&error))?;
    let dir = Cleaned(&plan.dir);
    let progress = output.progress();
    let show = |text: &str| {
        progress.show(text);
        tracing::info!("{text}");
    };
    let (changes, rates): (Vec<Measured>, Vec<Measured>) =
        plan.cases.iter().partition(|case| case.is_role());
    let roles = roles::run(&plan.dir, &changes, plan.rounds, plan.sizes, &show).await?;
    let mut figures = Figures {
        rounds: plan.rounds,
        seconds_each: plan.time.as_secs_f64(),
        payload_bytes: plan.payload,
        cases: Vec::new(),
        roles,
        idle_bytes: None,
        loaded_bytes: Vec::new(),
    };
    if !rates.is_empty() {
        measure_rates(&plan, &rates, &show, &mut figures).await?;
    }
    drop(progress);
    drop(dir);
    Ok(figures)
}

/// The cases that are rates, beside the bare disk.
async fn measure_rates(
    plan: &Plan,
    rates: &[Measured],
    show: &(dyn Fn(&str) + Sync),
    figures: &mut Figures,
) -> Result<(), CliError> {
    show("files and systems are made");
    let floor = Floor::make(plan)?;
    let inside = Inside::make(plan).await?;
    let mut outside = Outside::make(plan).await?;
    figures.idle_bytes = outside.pair.source.resident_bytes();
    let mut measured: Vec<(Measured, Vec<Pair>)> =
        rates.iter().map(|case| (*case, Vec::new())).collect();
    for round in 1..=plan.rounds {
        for (case, pairs) in &mut measured {
            show(&format!(
                "round {round} of {}: {}",
                plan.rounds,
                case.name()
            ));
            let floor = floor.measure(plan.time / 2)?;
            let sample = match case {
                Measured::Local1 => inside.one(plan.time)?,
                Measured::Local32 => inside.local(plan.time).await?,
                Measured::Sync32 => inside.sync(plan.time).await?,
                Measured::SocketLocal => outside.local(plan.time).await?,
                Measured::SocketSync => outside.sync(plan.time).await?,
                Measured::CatchUp => inside.catch_up(plan.catch_up_mib, round).await?,
                Measured::Takeover | Measured::Switch | Measured::Rejoin => continue,
            };
            pairs.push(Pair { floor, sample });
        }
    }
    figures.loaded_bytes = [&outside.pair.source, &outside.pair.target]
        .iter()
        .filter_map(|system| system.resident_bytes())
        .collect();
    outside.pair.stop().await?;
    inside.stop().await;
    figures.cases = cases(&measured);
    Ok(())
}

fn cases(measured: &[(Measured, Vec<Pair>)]) -> Vec<Case> {
    let floors: Vec<Sample> = measured
        .iter()
        .flat_map(|(_, pairs)| pairs.iter().map(|pair| pair.floor))
        .collect();
    let mut cases = vec![Case::of("bare write + fdatasync", "writes", &floors)];
    for (case, pairs) in measured {
        let samples: Vec<Sample> = pairs.iter().map(|pair| pair.sample).collect();
        let ratios = pairs
            .iter()
            .map(|pair| pair.sample.per_second / pair.floor.per_second);
        let mut found = Case::of(case.name(), case.unit(), &samples);
        found.ratio = (*case != Measured::CatchUp).then(|| spread(ratios));
        found.target = case.target();
        cases.push(found);
    }
    cases
}

impl Case {
    fn of(name: &'static str, unit: &'static str, samples: &[Sample]) -> Self {
        let micros = |pick: fn(&Sample) -> u64| {
            let mut all: Vec<u64> = samples.iter().map(pick).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().filter(|_| unit != "MB")
        };
        Self {
            name,
            unit,
            per_second: spread(samples.iter().map(|sample| sample.per_second)),
            p50_us: micros(|sample| sample.p50_us),
            p99_us: micros(|sample| sample.p99_us),
            ratio: None,
            target: None,
        }
    }
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
