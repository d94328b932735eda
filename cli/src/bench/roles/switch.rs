//! Package `cli`, the benchmark: a planned switch while programs work at a pace: how long none of them is answered, and how long
//! one waits. A program that is refused tries the other system, with the same deposit key. Must not know how the role is handed
//! over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rjournal::daemon::SystemEntropy;
use rjournal::entry::ClientId;
use rjournal::journal::Entropy;
use rjournal_apply::database::Outcome;
use rjournal_apply::error::DatabaseError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::MANY;
use super::group::{GroupPair, Rows, Side};
use super::{Measure, Run, Sizes, clear};
use crate::error::CliError;
use crate::pair::PATIENCE;

/// Data of a row.
const ROW_BYTES: usize = 100;
/// Programs work for so long before the switch, and after it.
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(2);
/// The pace is measured from here on.
const WARM: Duration = Duration::from_secs(1);
/// How long a program that was refused waits before it tries the other system.
const AGAIN: Duration = Duration::from_millis(5);
/// How long no program is answered, in milliseconds.
const TARGET_MS: f64 = 500.0;

pub(super) async fn run(
    dir: &Path,
    rounds: u32,
    sizes: Sizes,
    show: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Run>, CliError> {
    show("switch: the systems are made");
    let mut group = GroupPair::make(dir, false, ROW_BYTES).await?;
    group.fill(0).await?;
    let mut runs = Vec::new();
    for round in 1..=rounds {
        show(&format!("round {round} of {rounds}: switch"));
        group.following().await?;
        group.level().await?;
        runs.push(switched(&mut group, sizes.rate).await?);
    }
    group.stop().await?;
    clear(dir)?;
    Ok(runs)
}

/// A transaction of a program: when it was sent first, and when it was answered.
type Answered = (Instant, Instant);

async fn switched(group: &mut GroupPair, rate: u32) -> Result<Run, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let mut programs = JoinSet::new();
    for number in 0..MANY {
        let program = Program {
            row: number.try_into().unwrap_or_default(),
            count: 0,
            client: ClientId::from_bytes(SystemEntropy.id()),
            data: [Side::Prd, Side::Bkp].map(|side| group.system(side).data.clone()),
            at: usize::from(group.primary == Side::Bkp),
            rows: None,
        };
        let every = Duration::from_secs(1) * u32::try_from(MANY).unwrap_or(1) / rate;
        let first = began + every * u32::try_from(number).unwrap_or_default() / 32;
        programs.spawn(program.work(first, every, Arc::clone(&stop)));
    }
    tokio::time::sleep(BEFORE).await;
    let ordered = Instant::now();
    let told = group.system(group.primary).run(&["chgcrgpri"]).await;
    if told.is_ok() {
        tokio::time::sleep(AFTER).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    let mut all: Vec<Answered> = Vec::new();
    while let Some(ended) = programs.join_next().await {
        let (program, answered) = ended.map_err(|error| CliError::internal(&error))??;
        all.extend(answered);
        done.push(program);
    }
    let told = told?;
    group.note_primary(group.primary.other());
    group.following().await?;
    let last = group.level().await?;
    prove(group, &done).await?;
    let paused = told.get("switch_pause_ms");
    let paused = paused.and_then(serde_json::Value::as_u64);
    let paced = (began + WARM, ordered);
    Ok(Run {
        of: format!("switch, {rate} transactions a second"),
        measures: vec![
            Measure::millis(
                "no program answered for",
                longest_gap(&all),
                Some(TARGET_MS),
            ),
            Measure::millis("longest wait of a program", longest_wait(&all), None),
            Measure::millis(
                "no deposits for, by the command",
                Duration::from_millis(paused.unwrap_or_default()),
                None,
            ),
        ],
        at: vec![
            ("transactions a second", rate_of(&all, paced)),
            ("transactions", all.len() as u64),
            ("programs", MANY as u64),
            ("last entry", last.get()),
        ],
    })
}

/// Whatever was answered is in both stores.
async fn prove(group: &GroupPair, programs: &[Program]) -> Result<(), CliError> {
    for side in [Side::Prd, Side::Bkp] {
        let mut rows = Rows::of(group.system(side), ROW_BYTES).await?;
        for program in programs {
            let found = rows.count(program.row).await?;
            if found != Some(program.count) {
                let text = format!(
                    "program {} was answered {} transactions, and the store of {} has {found:?}",
                    program.row,
                    program.count,
                    group.system(side).name
                );
                return Err(CliError::internal(&text));
            }
        }
    }
    Ok(())
}

/// The longest time between two answers, whoever got them.
fn longest_gap(all: &[Answered]) -> Duration {
    let mut answers: Vec<Instant> = all.iter().map(|(_, answered)| *answered).collect();
    answers.sort_unstable();
    let gaps = answers.windows(2).map(|pair| match pair {
        [before, after] => *after - *before,
        _ => Duration::ZERO,
    });
    gaps.max().unwrap_or_default()
}

fn longest_wait(all: &[Answered]) -> Duration {
    let waits = all.iter().map(|(sent, answered)| *answered - *sent);
    waits.max().unwrap_or_default()
}

/// Answers in a second, within a time.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rate has few digits, and is not negative"
)]
fn rate_of(all: &[Answered], (from, to): (Instant, Instant)) -> u64 {
    let within = |(_, answered): &&Answered| (from..to).contains(answered);
    let count = all.iter().filter(within).count();
    (count as f64 / (to - from).as_secs_f64()).round() as u64
}

/// A program that counts in a row of its own.
#[derive(Debug)]
struct Program {
    row: i64,
    /// The last count that was answered.
    count: i64,
    client: ClientId,
    /// Where the systems are.
    data: [PathBuf; 2],
    /// The one it works with.
    at: usize,
    rows: Option<Rows>,
}

impl Program {
    /// A transaction whenever one is due; one that is late is not made up for.
    async fn work(
        mut self,
        first: Instant,
        every: Duration,
        stop: Arc<AtomicBool>,
    ) -> Result<(Self, Vec<Answered>), CliError> {
        let mut pace = tokio::time::interval_at(first, every);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut answered = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            pace.tick().await;
            let sent = Instant::now();
            while let Err(error) = self.count_on().await {
                if sent.elapsed() >= PATIENCE {
                    return Err(error.into());
                }
                tracing::debug!(%error, program = self.row, "the other system is tried");
                self.rows = None;
                self.at = 1 - self.at;
                tokio::time::sleep(AGAIN).await;
            }
            self.count += 1;
            answered.push((sent, Instant::now()));
        }
        Ok((self, answered))
    }

    async fn count_on(&mut self) -> Result<(), DatabaseError> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            none => {
                let data = self.data.get(self.at).ok_or(DatabaseError::Over)?;
                none.insert(Rows::at(data, ROW_BYTES, self.client).await?)
            }
        };
        let next = self.count + 1;
        let key = next.cast_unsigned();
        match rows.put(&[(self.row, next)], Some(key)).await {
            Ok(Outcome::Landed { .. } | Outcome::Unapplied { .. })
            | Err(DatabaseError::LandedBefore { .. }) => Ok(()),
            Ok(Outcome::Unknown { sequence, .. }) => Err(DatabaseError::Undecided { sequence }),
            Ok(Outcome::Nothing) => Err(DatabaseError::Over),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_gap_is_between_any_two_answers_and_a_wait_is_of_one_program() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let all = [
            (at(0), at(10)),
            (at(5), at(400)),
            (at(20), at(30)),
            (at(390), at(410)),
        ];
        assert_eq!(longest_gap(&all), Duration::from_millis(370));
        assert_eq!(longest_wait(&all), Duration::from_millis(395));
        assert_eq!(rate_of(&all, (at(0), at(100))), 20);
        assert_eq!(longest_gap(&[]), Duration::ZERO);
    }
}
