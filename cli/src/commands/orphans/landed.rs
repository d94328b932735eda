//! Command `orphans redeposit`: what came of it. Must not print.

use std::fmt::Write;

use rjournal::entry::{Name, Sequence};
use serde::Serialize;

use crate::orphan::{Change, Exported, Reading, key_of};
use crate::rows;
use crate::text;

/// Conflicts that are told one by one.
const CONFLICTS_SHOWN: usize = 20;

#[derive(Debug, Default, Serialize)]
pub(super) struct Done {
    pub(super) deposited: u64,
    pub(super) landed_before: u64,
    /// Without a change of a row.
    pub(super) passed_over: u64,
    /// Entries that change no row: users' own, and those about files.
    pub(super) notes: u64,
    pub(super) transactions: Vec<DoneTransaction>,
    pub(super) conflicts: Vec<Conflict>,
}

#[derive(Debug, Serialize)]
pub(super) struct DoneTransaction {
    pub(super) sequence: Sequence,
    /// The entry it landed as.
    pub(super) entry: Sequence,
    /// How well it is kept; nothing where it had landed before.
    pub(super) class: Option<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Conflict {
    pub(super) transaction: Sequence,
    pub(super) sequence: Sequence,
    pub(super) file: String,
    pub(super) key: String,
    pub(super) reason: String,
}

/// A change that does not fit.
pub(super) fn conflict(
    transaction: &Exported,
    change: &Change,
    reading: &Reading,
    reason: String,
) -> Conflict {
    let format = reading.format(change);
    let key = format.and_then(|format| key_of(change, format));
    let key = key.map(|key| {
        key.iter()
            .map(rows::readable)
            .collect::<Vec<_>>()
            .join(", ")
    });
    Conflict {
        transaction: transaction.sequence,
        sequence: change.sequence,
        file: format.map_or_else(|| change.object.to_string(), |f| f.file().to_string()),
        key: key.unwrap_or_else(|| "-".to_owned()),
        reason,
    }
}

/// What came of it, for people.
pub(super) fn in_words(done: &Done, store: Name) -> String {
    let mut lines = Vec::new();
    let landed = done.deposited + done.landed_before;
    if done.conflicts.is_empty() || landed > 0 {
        let mut line = format!(
            "{} deposited again through store {store}",
            text::counted(done.deposited, "transaction", "transactions")
        );
        if done.landed_before > 0 {
            let _ = write!(
                line,
                ", {} had landed before",
                text::count(done.landed_before)
            );
        }
        if done.passed_over > 0 {
            let _ = write!(
                line,
                ", {} without a change of a row passed over",
                text::count(done.passed_over)
            );
        }
        lines.push(format!("{line}."));
        if done.notes > 0 {
            lines.push(format!(
                "{} no rows, and cannot be deposited through a store: SHOW lists them.",
                text::counted(done.notes, "entry changes", "entries change")
            ));
        }
    }
    for landed in done
        .transactions
        .iter()
        .filter(|landed| landed.class.is_some())
    {
        lines.push(format!(
            "  {} is entry {} now, {}",
            landed.sequence,
            landed.entry,
            landed.class.unwrap_or_default()
        ));
    }
    for conflict in done.conflicts.iter().take(CONFLICTS_SHOWN) {
        lines.push(format!(
            "CONFLICT transaction {}, entry {}, file {}, key {}: {}",
            conflict.transaction, conflict.sequence, conflict.file, conflict.key, conflict.reason
        ));
    }
    let more = done.conflicts.len().saturating_sub(CONFLICTS_SHOWN);
    if more > 0 {
        lines.push(format!(
            "and {}",
            text::counted(more as u64, "more", "more")
        ));
    }
    if !done.conflicts.is_empty() {
        let what = if landed == 0 {
            "Nothing was deposited."
        } else {
            "Nothing further was deposited."
        };
        lines.push(format!(
            "{what} PICK leaves transactions out; FORCE deposits them all the same."
        ));
    }
    lines.join("\n")
}
