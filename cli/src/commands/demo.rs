//! Command `demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Context;
use crate::demo::{BankArgs, Plan};
use crate::error::CliError;

/// Show it all: two systems, work on one, both killed in turn, a takeover and the way back, and the proofs that nothing was lost
///
/// Starts two daemons as processes of their own in a temporary directory, makes them a recovery group with the commands an
/// operator would type, and runs a bank (accounts, tellers, branches and a history) in *SYNC. Meanwhile both are killed with
/// SIGKILL in turn and come back; then the primary is killed under load, the backup takes over, clients go on there, the old
/// primary comes home and gets its role back; the second time it was cut off before, so that it had answers of its own. Then it
/// is proven from their stores and disks: every SYNC answer is there, what was set aside is listed, both stores are equal row
/// by row, and the receivers are the same bytes. With CSV files of your own, nobody takes over. Exit code 0 only if all proofs
/// hold.
///
/// Example: rjournal demo --from DIR --keep /tmp/demo
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Load the CSV files of this directory in place of the bank: header line, key = first column where it is unique
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// Work in this directory, which must be empty, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    #[command(flatten)]
    bank: BankArgs,
}

/// Exit code where a proof does not hold.
const EXIT_NOT_PROVEN: u8 = 8;

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let keep = args.keep.is_some();
    let dir = match args.keep {
        Some(dir) => {
            let dir = std::path::absolute(&dir).map_err(|error| CliError::internal(&error))?;
            let used = std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
            if used || dir.is_file() {
                return Err(CliError::invalid(format!(
                    "KEEP {}: an empty or new directory is needed",
                    dir.display()
                )));
            }
            dir
        }
        None => std::env::temp_dir().join(format!("rjournal-demo-{}", std::process::id())),
    };
    let plan = Plan {
        dir,
        keep,
        from: args.from,
        bank: args.bank,
    };
    let summary = crate::demo::run(plan, *context.output).await?;
    context.output.result(&summary, |_| String::new());
    Ok(if summary.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_PROVEN)
    })
}
