//! Command `bench`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum as _;

use super::Context;
use crate::bench::{Measured, Plan, text};
use crate::error::CliError;

/// Measure what journaling costs on this machine, each figure beside the bare disk
///
/// Local deposits, *SYNC over loopback, both through a daemon's socket, catch-up, memory. Right before each case the bare disk
/// is measured, and ratios are taken to that, so that a busy machine hits both alike.
///
/// Example: rjournal bench --dir /var/tmp/bench --rounds 5
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// New directory on the disk that is measured; removed afterwards
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Rounds of all cases
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Measure only these, separated by commas
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
        Measured::value_variants().to_vec()
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
    };
    let figures = crate::bench::run(plan, *context.output).await?;
    context.output.result(&figures, text);
    Ok(ExitCode::SUCCESS)
}
