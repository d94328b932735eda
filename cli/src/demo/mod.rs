//! Package `cli`, the demonstration: two systems as processes of their own, work on one, both killed in turn, and the proofs
//! that nothing was lost. Everything is set up with the commands an operator would type. Must not reach into a system other
//! than through its commands, its sockets and its files.

mod bank;
mod import;
mod proof;
mod screen;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::error::CliError;
use crate::output::Output;

use crate::pair::{Pair, Voice};
use bank::Bank;
use import::Import;
use proof::Proofs;
use screen::Screen;

pub(crate) use bank::BankArgs;

/// What is demonstrated.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where the systems live.
    pub(crate) dir: PathBuf,
    /// Whether they stay.
    pub(crate) keep: bool,
    /// CSV files to load in place of the bank.
    pub(crate) from: Option<PathBuf>,
    /// Size of the bank.
    pub(crate) bank: BankArgs,
}

/// The result, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// What was done: `bank` or `import`.
    workload: &'static str,
    /// Transactions that landed.
    transactions: u64,
    /// Entries in the journal.
    entries: u64,
    /// Transactions answered SYNC.
    sync_answers: u64,
    /// Those of them that are not in the replica.
    lost_sync_answers: u64,
    /// Transactions answered LOCAL: while the target was away.
    local_answers: u64,
    /// Transactions whose answer was lost with a killed process; each was tried again, and landed once.
    answers_lost_and_found: u64,
    /// Rows in all files of the replica.
    rows: u64,
    /// Whether primary and replica are equal, row by row.
    replica_equal: bool,
    /// Whether what the workload promises holds on both sides: sums for the bank, the input for CSV.
    content_right: bool,
    /// Whether all receivers are the same bytes on both sides.
    receivers_identical: bool,
    /// Processes killed with SIGKILL.
    kills: u64,
    /// How long it took.
    seconds: f64,
    /// Transactions a second, while both systems were there.
    transactions_per_second: f64,
    /// Where the systems are, if they were kept.
    kept: Option<PathBuf>,
}

impl Summary {
    /// Whether all proofs hold.
    pub(crate) fn holds(&self) -> bool {
        self.lost_sync_answers == 0
            && self.replica_equal
            && self.content_right
            && self.receivers_identical
            && self.transactions > 0
            && self.has_waited()
    }

    /// Whether answers waited for the target. The only transaction of a small import may fall into the time it was away.
    fn has_waited(&self) -> bool {
        self.sync_answers > 0 || (self.workload == "import" && self.transactions == 1)
    }
}

/// What was answered, to be held against what is there.
#[derive(Debug, Default, Clone)]
struct Ledger {
    sync: u64,
    local: u64,
    found: u64,
    /// Answered transactions in a second of undisturbed work.
    rate: f64,
}

/// Runs the demonstration.
pub(crate) async fn run(plan: Plan, output: Output) -> Result<Summary, CliError> {
    let began = Instant::now();
    let screen = Screen::new(output);
    let from = plan.from.as_deref();
    let import = from.map(|from| Import::read(from, &plan.dir)).transpose()?;
    let mut pair = Pair::make(&plan.dir, Voice(Some(output))).await?;
    let done = story(&plan, import, &mut pair, &screen).await;
    // Whatever happened, no process stays behind.
    let stopped = pair.stop().await;
    if done.is_err() {
        output.remark(&format!(
            "What the systems left stays in {}",
            plan.dir.display()
        ));
    }
    let (mut summary, proofs) = done?;
    stopped?;
    let seconds = began.elapsed().as_secs_f64();
    summary.seconds = (seconds * 10.0).round() / 10.0;
    if plan.keep {
        summary.kept = Some(plan.dir.clone());
    } else {
        remove(&plan.dir)?;
    }
    screen.summary(&summary, &proofs, &plan);
    Ok(summary)
}

async fn story(
    plan: &Plan,
    import: Option<Import>,
    pair: &mut Pair,
    screen: &Screen,
) -> Result<(Summary, Proofs), CliError> {
    pair.couple().await?;
    pair.store().await?;
    let (workload, ledger, proofs) = if let Some(mut import) = import {
        let ledger = import.run(pair).await?;
        pair.settle().await?;
        let mut proofs = Proofs::of_both_sides(pair).await?;
        import.prove(pair, &mut proofs).await?;
        ("import", ledger, proofs)
    } else {
        let mut bank = Bank::open(plan.bank, pair).await?;
        let ledger = bank.run(pair, screen).await?;
        pair.settle().await?;
        let mut proofs = Proofs::of_both_sides(pair).await?;
        bank.prove(pair, &mut proofs).await?;
        ("bank", ledger, proofs)
    };
    let summary = Summary {
        workload,
        transactions: ledger.sync + ledger.local + ledger.found,
        entries: proofs.entries,
        sync_answers: ledger.sync,
        lost_sync_answers: proofs.lost_sync_answers,
        local_answers: ledger.local,
        answers_lost_and_found: ledger.found,
        rows: proofs.rows,
        replica_equal: proofs.replica_equal,
        content_right: proofs.content_right,
        receivers_identical: proofs.receivers_identical,
        kills: pair.kills,
        seconds: 0.0,
        transactions_per_second: ledger.rate.round(),
        kept: None,
    };
    Ok((summary, proofs))
}

fn remove(dir: &Path) -> Result<(), CliError> {
    std::fs::remove_dir_all(dir)
        .map_err(|error| CliError::invalid(format!("{} cannot be removed: {error}", dir.display())))
}

/// So many in a second.
#[allow(
    clippy::cast_precision_loss,
    reason = "a rate is shown with three digits"
)]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}
