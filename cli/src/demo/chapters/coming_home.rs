//! Package `cli`, the demonstration, the chapter in which the old primary comes home: it is started, follows by itself, and what it had
//! alone is set aside. Must not know what a transaction does.

use std::time::Duration;

use tokio::time::Instant;

use crate::demo::bank::{Answered, Answers};
use crate::demo::set_aside::{archives, number_of};
use crate::error::CliError;
use crate::pair::Pair;
use crate::text;

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    pub(super) rejoin_ms: u64,
    pub(super) rejoin_bytes: u64,
    pub(super) orphans: u64,
}

/// PRD is started, joins, and BKP's answers are SYNC again for a while. `known` counts the orphan archives there were.
pub(super) async fn play(
    pair: &mut Pair,
    answers: &Answers,
    known: &mut usize,
    part: Duration,
) -> Result<Home, CliError> {
    let voice = pair.voice;
    let home = pair.bring_source_home().await?;
    answers.after(Instant::now(), Answered::is_sync).await?;
    voice.event(&format!(
        "PRD found BKP's term before it took a deposit, and follows: in sync {} after its start, {} were brought to it",
        text::millis(home.took_ms),
        text::bytes(home.bytes)
    ));
    let all = archives(pair).await?;
    let mut orphans = 0;
    for archive in all.iter().skip(*known) {
        let transactions = number_of(archive, "transactions");
        orphans += transactions;
        voice.more(&format!(
            "what it had alone was set aside: {}, {} (orphans show --jrn PRDLIB/JRN --number {})",
            text::counted(number_of(archive, "entries"), "entry", "entries"),
            text::counted(transactions, "transaction", "transactions"),
            number_of(archive, "number")
        ));
    }
    if all.len() == *known {
        voice.more("it had nothing alone: there is nothing to set aside");
    }
    *known = all.len();
    tokio::time::sleep(part).await;
    Ok(Home {
        rejoin_ms: home.took_ms,
        rejoin_bytes: home.bytes,
        orphans,
    })
}
