//! Package `cli`, the demonstration, first chapter: every answer waits for both disks; BKP dies and catches up, PRD dies and opens
//! again. Nobody takes over. Must not know what a transaction does.

use std::time::Duration;

use tokio::time::Instant;

use crate::demo::bank::{Answered, Answers};
use crate::error::CliError;
use crate::pair::Pair;
use crate::text;

/// Undisturbed work, then without BKP, then without PRD. Gives transactions a second of the first part.
pub(super) async fn play(
    pair: &mut Pair,
    answers: &Answers,
    part: Duration,
) -> Result<f64, CliError> {
    let voice = pair.voice;
    voice.title(
        "1. Every answer waits for both disks; then each system dies, and comes back by itself",
    );
    let rate = answers.rate(part * 2).await;
    voice.event(&format!(
        "{rate:.0} transactions a second, answered SYNC: on disk on PRD and on BKP"
    ));

    let lost = Instant::now();
    pair.strike_target().await?;
    pair.in_sync().await?;
    voice.event(&format!(
        "BKP has caught up and is in sync again; {} answered LOCAL without it",
        text::counted(answers.local_after(lost), "transaction", "transactions")
    ));
    tokio::time::sleep(part).await;

    let lost = Instant::now();
    pair.strike_source().await?;
    pair.in_sync().await?;
    let first = answers.after(Instant::now(), Answered::is_sync).await?;
    voice.event(&format!(
        "PRD asked BKP what it had, opened, and answers SYNC; clients were without an answer for {}",
        text::millis(super::millis(answers.longest_pause(lost, first)))
    ));
    tokio::time::sleep(part).await;
    Ok(rate)
}
