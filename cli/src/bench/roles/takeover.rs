//! Package `cli`, the benchmark: a takeover: the primary is killed with everything shipped and applied, and the backup is given
//! the command: how long until it answers a deposit, and changes a row. Must not know what the command does.

use std::path::Path;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::{CommandError, Want};
use rjournal::entry::{Draft, Kind, QualifiedName};
use rjournal::journal::Answer;
use rjournal_apply::database::Outcome;
use tokio::time::Instant;

use super::group::{GroupPair, Rows, Side};
use super::{Measure, Run, Sizes, clear};
use crate::error::CliError;
use crate::pair::{PATIENCE, SystemProcess};

/// Data of a row.
const ROW_BYTES: usize = 1024;
/// How often a program that was refused tries again.
const AGAIN: Duration = Duration::from_millis(2);
/// From the command to the first deposit that is answered, in milliseconds.
const TARGET_MS: f64 = 1000.0;

pub(super) async fn run(
    dir: &Path,
    rounds: u32,
    sizes: Sizes,
    show: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Run>, CliError> {
    let mut runs = Vec::new();
    for round in 1..=rounds {
        show(&format!("round {round} of {rounds}: takeover"));
        let mut group = GroupPair::make(dir, false, ROW_BYTES).await?;
        group.fill(sizes.journal_mib * 1024 * 1024).await?;
        group.following().await?;
        let last = group.level().await?;
        runs.push(taken_over(&mut group, last.get()).await?);
        group.stop().await?;
        clear(dir)?;
    }
    Ok(runs)
}

async fn taken_over(group: &mut GroupPair, entries: u64) -> Result<Run, CliError> {
    let journal_bytes = group.journal_bytes(Side::Bkp, Side::Bkp.copy()).await?;
    let store_bytes = group.store_bytes(Side::Bkp);
    group.system_mut(Side::Prd).kill().await?;
    let backup = group.system(Side::Bkp);
    let began = Instant::now();
    let command = backup.command(&["takeover", "--accept-loss"])?;
    let (told, deposited, changed) = tokio::join!(
        command.ended(),
        first_deposit(backup, Side::Bkp.own_journal()),
        first_row(backup),
    );
    let (told, deposited, changed) = (told?, deposited?, changed?);
    let of_command = told.get("takeover_ms").and_then(serde_json::Value::as_u64);
    let of_command = Duration::from_millis(of_command.unwrap_or_default());
    group.note_primary(Side::Bkp);
    Ok(Run {
        of: "takeover".to_owned(),
        measures: vec![
            Measure::millis("first deposit answered", deposited - began, Some(TARGET_MS)),
            Measure::millis("first row changed", changed - began, None),
            Measure::millis("took, by the command", of_command, None),
        ],
        at: vec![
            ("journal bytes", journal_bytes),
            ("entries", entries),
            ("store bytes", store_bytes),
        ],
    })
}

/// When the first deposit is answered, of a program that tries all the time.
async fn first_deposit(
    system: &SystemProcess,
    journal: QualifiedName,
) -> Result<Instant, CliError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match deposit(system, journal).await {
            Ok(()) => return Ok(Instant::now()),
            Err(error) if Instant::now() >= deadline => return Err(CliError(error)),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn deposit(system: &SystemProcess, journal: QualifiedName) -> Result<(), CommandError> {
    let actor = ["BENCH", "", "RJOURNAL"].map(str::to_owned);
    let client = Client::attach(&system.data, journal, actor, false).await?;
    let draft = Draft::new(Kind::USER, b"the first");
    let ticket = client.deposit(&draft, Want::Answer).await?;
    match ticket.answer().await? {
        (Answer::Landed { .. }, _) => Ok(()),
        (other, _) => Err(CommandError::invalid(format!(
            "a deposit was answered {other:?}"
        ))),
    }
}

/// When the first row is changed.
async fn first_row(system: &SystemProcess) -> Result<Instant, CliError> {
    let deadline = Instant::now() + PATIENCE;
    let mut rows = Rows::of(system, ROW_BYTES).await?;
    loop {
        match rows.put(&[(0, 1)], None).await {
            Ok(Outcome::Landed { .. } | Outcome::Unapplied { .. }) => return Ok(Instant::now()),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}
