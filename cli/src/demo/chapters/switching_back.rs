//! Package `cli`, the demonstration, the chapter in which PRD gets its role back by a planned switch, with clients at work. Must not
//! know what a transaction does.

use std::time::Duration;

use super::millis;
use crate::demo::bank::{Answers, Place};
use crate::error::CliError;
use crate::pair::Pair;
use crate::text;

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct WayBack {
    pub(super) switch_pause_ms: u64,
    pub(super) switch_command_ms: u64,
    pub(super) switched_back: bool,
}

/// The role goes back to PRD, and work goes on there for a while.
pub(super) async fn play(
    pair: &mut Pair,
    answers: &Answers,
    part: Duration,
) -> Result<WayBack, CliError> {
    let back = pair.switch_back().await?;
    let first = answers
        .after(back.asked_at, |answered| answered.by == Place::Prd)
        .await?;
    let pause = millis(answers.longest_pause(back.asked_at, first));
    let primary = pair.source.group().await?.primary;
    pair.voice.event(&format!(
        "PRD is primary again, in term {}; no deposits for {}, and clients were without an answer for {}",
        back.term,
        text::millis(back.pause_ms),
        text::millis(pause)
    ));
    tokio::time::sleep(part).await;
    Ok(WayBack {
        switch_pause_ms: pause,
        switch_command_ms: back.pause_ms,
        switched_back: primary.here && primary.open,
    })
}
