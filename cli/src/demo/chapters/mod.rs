//! Package `cli`, the demonstration: what happens while the bank works, chapter by chapter: shipping and catching up; PRD is lost and
//! BKP takes over; PRD comes home, and gets its role back. Each chapter tells what it does and gives what it measured. Must
//! not know what a transaction does.

mod coming_home;
mod shipping;
mod switching_back;
mod takeover;

use std::time::Duration;

use serde::Serialize;

use super::bank::Answers;
use crate::error::CliError;
use crate::pair::Pair;

/// The work is divided into so many parts, between which something happens.
pub(super) const PARTS: u32 = 8;

/// How PRD is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Loss {
    /// Killed while answers wait for both systems.
    Killed,
    /// Cut off from BKP first, so that it answers alone; then killed.
    CutOffAndKilled,
}

/// One loss of PRD, until it was primary again. Times in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Absence {
    /// How it was lost.
    pub(super) loss: Loss,
    /// From the command until it said that deposits are taken.
    pub(super) takeover_ms: u64,
    /// From the command to the first deposit answered by the new primary.
    pub(super) first_answer_ms: u64,
    /// From the start of the old primary until it was in sync.
    pub(super) rejoin_ms: u64,
    /// Bytes brought to it meanwhile.
    pub(super) rejoin_bytes: u64,
    /// Committed transactions it had alone, which were set aside.
    pub(super) orphans: u64,
    /// How long no client was answered around the switch back.
    pub(super) switch_pause_ms: u64,
    /// How long the systems took no deposits, as the command says.
    pub(super) switch_command_ms: u64,
    /// Whether it took deposits again as primary.
    pub(super) switched_back: bool,
}

/// What was measured while the bank worked.
#[derive(Debug, Clone)]
pub(super) struct Played {
    /// Transactions a second, while both systems were there.
    pub(super) rate: f64,
    /// The losses of PRD.
    pub(super) takeovers: Vec<Absence>,
}

/// Plays all chapters.
pub(super) async fn play(
    pair: &mut Pair,
    answers: &Answers,
    part: Duration,
) -> Result<Played, CliError> {
    let rate = shipping::play(pair, answers, part).await?;
    let (mut takeovers, mut archives) = (Vec::new(), 0);
    for loss in [Loss::Killed, Loss::CutOffAndKilled] {
        let taken = takeover::play(pair, answers, loss, part).await?;
        let home = coming_home::play(pair, answers, &mut archives, part / 2).await?;
        let switched = switching_back::play(pair, answers, part / 2).await?;
        takeovers.push(Absence {
            loss,
            takeover_ms: taken.takeover_ms,
            first_answer_ms: taken.first_answer_ms,
            rejoin_ms: home.rejoin_ms,
            rejoin_bytes: home.rejoin_bytes,
            orphans: home.orphans,
            switch_pause_ms: switched.switch_pause_ms,
            switch_command_ms: switched.switch_command_ms,
            switched_back: switched.switched_back,
        });
    }
    Ok(Played { rate, takeovers })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
