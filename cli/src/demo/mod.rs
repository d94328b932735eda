//! Package `cli`, the demonstration: two systems as processes of their own, a bank at work on them, both killed in turn, one
//! standing in for the other, and the proofs that nothing was lost. Everything is set up with the commands an operator would
//! type. Must not reach into a system other than through its commands, its sockets and its files.

mod bank;
mod chapters;
mod import;
mod proof;
mod screen;
mod set_aside;
mod summary;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::CliError;
use crate::output::Output;
use crate::pair::{Pair, Voice};
use bank::Bank;
use import::Import;
use proof::Proofs;
use screen::Screen;
use set_aside::SetAside;

pub(crate) use bank::BankArgs;
pub(crate) use summary::Summary;

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
    let mut pair = Pair::make(&plan.dir, Voice(Some((output, began)))).await?;
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
    let (workload, ledger, takeovers, proofs) = if let Some(mut import) = import {
        pair.couple().await?;
        pair.store().await?;
        let ledger = import.run(pair).await?;
        pair.settle().await?;
        let mut proofs = Proofs::of_both_sides(pair).await?;
        import.prove(pair, &mut proofs).await?;
        ("import", ledger, Vec::new(), proofs)
    } else {
        pair.form_group().await?;
        pair.store().await?;
        let bank = Bank::open(plan.bank, pair).await?;
        let (ledger, takeovers) = bank.work(pair, *screen).await?;
        pair.settle().await?;
        let mut proofs = Proofs::of_both_sides(pair).await?;
        let set_aside = SetAside::read(pair).await?;
        bank.prove(pair, &set_aside, &mut proofs).await?;
        ("bank", ledger, takeovers, proofs)
    };
    let summary = Summary::new(workload, &ledger, takeovers, &proofs, pair.kills);
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
