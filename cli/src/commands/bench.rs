//! Command `bench`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::Context;
use crate::bench::{Measured, Plan, Sizes, text};
use crate::error::CliError;

/// Measure what journaling costs on this machine, each figure beside the bare disk
///
/// Local deposits, *SYNC over loopback, both through a daemon's socket, catch-up, memory. Right before each case the bare disk
/// is measured, and ratios are taken to that, so that a busy machine hits both alike.
///
/// Changes of role in a recovery group are measured where they are named: how long programs wait for a takeover and for a
/// switch, and what goes over the wire when an old primary comes home.
///
/// Example: rjournal bench --dir /var/tmp/bench --rounds 5
///
/// Example: rjournal bench --only takeover,switch,rejoin --store 1024
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// New directory on the disk that is measured; removed afterwards
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Rounds of all cases
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Measure only these, separated by commas; without it all but takeover, switch and rejoin
    #[arg(long, value_name = "CASES", value_enum, value_delimiter = ',')]
    only: Vec<Measured>,

    /// How long each case of a round runs
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Bytes of data in an entry
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    payload: u32,

    /// MiB shipped in the catch-up case
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    catch_up: u64,

    /// MiB of rows deposited before a takeover
    #[arg(long, value_name = "MIB", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    journal: u64,

    /// Transactions a second while the role is handed over
    #[arg(long, value_name = "COUNT", default_value = "2000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// MiB of rows in the larger of the two stores that are joined again; the smaller one has 16
    #[arg(long, value_name = "MIB", default_value = "128", value_parser = clap::value_parser!(u64).range(16..=65_536))]
    store: u64,

    /// Entries each side has alone before a rejoin; ten times as many in the second fork
    #[arg(long, value_name = "ENTRIES", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    fork: u64,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let dir = args.dir.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("rjournal-bench-{}", std::process::id()))
    });
    let dir = std::path::absolute(&dir).map_err(|error| CliError::internal(&error))?;
    if dir.exists() {
        return Err(CliError::invalid(format!(
            "DIR {}: a new directory is needed; it is removed afterwards",
            dir.display()
        )));
    }
    let cases = if args.only.is_empty() {
        Measured::rates()
    } else {
        args.only
    };
    let plan = Plan {
        dir,
        cases,
        rounds: args.rounds,
        time: Duration::from_secs(args.seconds),
        payload: args.payload as usize,
        catch_up_mib: args.catch_up,
        sizes: Sizes {
            journal_mib: args.journal,
            rate: args.rate,
            store_mib: args.store,
            fork: args.fork,
        },
    };
    let figures = crate::bench::run(plan, *context.output).await?;
    context.output.result(&figures, text);
    Ok(ExitCode::SUCCESS)
}
