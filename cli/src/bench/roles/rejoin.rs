//! Package `cli`, the benchmark: the old primary comes home: it was cut off, answered alone and was killed; the backup was taken
//! over and went on. What goes over the wire until it follows and its store is level, for a small and a large store, and for forks
//! of which one is ten times as long as the other. Must not know how a member comes home.

use std::path::Path;
use std::time::Duration;

use rjournal::entry::Sequence;
use rjournal_apply::database::Outcome;
use tokio::time::Instant;

use super::group::{GroupPair, ROWS, Rows, Side};
use super::{Measure, Run, Sizes, Unit, clear};
use crate::error::CliError;
use crate::pair::PATIENCE;

/// Data of a row.
const ROW_BYTES: usize = 4096;
/// MiB in the smaller store.
const SMALL_MIB: u64 = 16;
/// What connections, greetings, questions and proofs may take, whatever the fork and the store are.
const GREETING_BYTES: u64 = 512 * 1024;
/// How often a change that was refused is tried again.
const AGAIN: Duration = Duration::from_millis(5);

pub(super) async fn run(
    dir: &Path,
    rounds: u32,
    sizes: Sizes,
    show: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Run>, CliError> {
    let mut runs = Vec::new();
    for mib in [SMALL_MIB, sizes.store_mib] {
        show(&format!("rejoin: stores of {mib} MiB are made"));
        let mut group = GroupPair::make(dir, true, ROW_BYTES).await?;
        group.fill(mib * 1024 * 1024).await?;
        for round in 1..=rounds {
            for fork in [sizes.fork, sizes.fork * 10] {
                let of = format!("rejoin, store of {mib} MiB, fork of {fork} entries");
                show(&format!("round {round} of {rounds}: {of}"));
                group.following().await?;
                group.level().await?;
                runs.push(joined(&mut group, fork, of).await?);
            }
        }
        group.stop().await?;
        clear(dir)?;
    }
    Ok(runs)
}

#[allow(clippy::cast_precision_loss, reason = "a figure has few digits")]
async fn joined(group: &mut GroupPair, fork: u64, of: String) -> Result<Run, CliError> {
    let (old, new) = (group.primary, group.primary.other());
    group.pull(true);
    let alone = go_on(group, old, fork).await?;
    group.system_mut(old).kill().await?;
    group.pull(false);
    group
        .system(new)
        .run(&["takeover", "--accept-loss"])
        .await?;
    group.note_primary(new);
    let before = group.journal_bytes(new, new.own_journal()).await?;
    let further = go_on(group, new, fork).await?;
    let fork_bytes = group.journal_bytes(new, new.own_journal()).await? - before;
    let (moved, began) = (group.moved(), Instant::now());
    group.system_mut(old).start().await?;
    group.following().await?;
    let follows = began.elapsed();
    group.level().await?;
    let level = began.elapsed();
    let moved = group.moved() - moved;
    Ok(Run {
        of,
        measures: vec![
            Measure {
                name: "moved over the wire",
                unit: Unit::Bytes,
                value: moved as f64,
                most: Some((GREETING_BYTES + fork_bytes * 3 / 2) as f64),
            },
            Measure::millis("started until it follows", follows, None),
            Measure::millis("started until its store is level", level, None),
        ],
        at: vec![
            ("entries only the old primary had", alone),
            ("entries of the new one", further),
            ("bytes of these", fork_bytes),
            ("store bytes", group.store_bytes(old)),
            ("journal bytes", group.journal_bytes(new, new.copy()).await?),
        ],
    })
}

/// Changes rows at a system until its journal has so many entries more. Gives how many there are.
async fn go_on(group: &GroupPair, side: Side, entries: u64) -> Result<u64, CliError> {
    let mut rows = Rows::of(group.system(side), ROW_BYTES).await?;
    let last = async || {
        let journal = group.journal(side, side.own_journal());
        Ok::<_, CliError>(journal.await?.watermarks.deposited)
    };
    let deadline = Instant::now() + PATIENCE;
    let (mut id, first) = (0, last().await?);
    let mut at: Sequence = first;
    while at.entries_since(first) < entries {
        match rows.put(&[(id % ROWS, id)], None).await {
            Ok(Outcome::Landed { sequence, .. } | Outcome::Unapplied { sequence, .. }) => {
                at = sequence;
                id += 1;
            }
            // A store learns a moment later than its journal that its system is primary.
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Ok(_) | Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
    Ok(last().await?.entries_since(first))
}
