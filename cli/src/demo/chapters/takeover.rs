//! Package `cli`, the demonstration, the chapter in which PRD is lost under load: BKP takes over by an operator's word, and clients go
//! on there. Must not know what a transaction does, or how clients find the primary.

use std::time::Duration;

use tokio::time::Instant;

use super::{Loss, millis};
use crate::demo::bank::{Answered, Answers, Place};
use crate::error::CliError;
use crate::pair::Pair;
use crate::text;

/// How long PRD goes on alone where it is cut off, once it answers LOCAL.
const ALONE: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) takeover_ms: u64,
    pub(super) first_answer_ms: u64,
}

/// PRD is lost, BKP takes over, and work goes on there for a while.
pub(super) async fn play(
    pair: &mut Pair,
    answers: &Answers,
    loss: Loss,
    part: Duration,
) -> Result<Taken, CliError> {
    let voice = pair.voice;
    voice.title(match loss {
        Loss::Killed => "2. PRD dies under load, and BKP takes over: whatever was answered SYNC is there",
        Loss::CutOffAndKilled => {
            "3. The line breaks first, and PRD goes on alone; then it dies: what it answered LOCAL was on its disk only"
        }
    });
    if loss == Loss::CutOffAndKilled {
        alone(pair, answers).await?;
    }
    let lost = pair.lose_source().await?;
    if loss == Loss::CutOffAndKilled {
        pair.reach_target();
    }

    let took = pair.take_over().await?;
    let first = answers
        .after(took.asked_at, |answered| answered.by == Place::Bkp)
        .await?;
    let first_answer_ms = millis(first - took.asked_at);
    voice.event(&format!(
        "BKP is primary in term {}; PRD counts up to its entry {}. It took {}, the first answer came {} after the command",
        took.term,
        text::count(took.last),
        text::millis(took.took_ms),
        text::millis(first_answer_ms)
    ));
    voice.more(&format!(
        "clients were without an answer for {}; those that had lost theirs try again with the same deposit key",
        text::millis(millis(answers.longest_pause(lost, first)))
    ));
    tokio::time::sleep(part).await;
    Ok(Taken {
        takeover_ms: took.took_ms,
        first_answer_ms,
    })
}

/// PRD is cut off, gives BKP up, and answers LOCAL for a while.
async fn alone(pair: &Pair, answers: &Answers) -> Result<(), CliError> {
    let cut = Instant::now();
    pair.cut_off_target();
    pair.voice
        .event("BKP is cut off: its daemon is frozen, and hears nothing of PRD");
    let first = answers.after(cut, Answered::is_local).await?;
    pair.voice.event(&format!(
        "PRD waited {} for BKP, gave it up, and answers LOCAL: on disk on PRD only",
        text::millis(millis(first - cut))
    ));
    tokio::time::sleep(ALONE).await;
    Ok(())
}
