//! Package `cli`, the demonstration: what a person sees of it. Must not decide anything.

use super::chapters::Absence;
use super::proof::Proofs;
use super::{Plan, Summary};
use crate::output::{Output, Progress};
use crate::text;

/// Clients whose orphans are named.
const NAMED_MAX: usize = 16;

/// Where the story is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    output: Output,
}

impl Screen {
    pub(super) const fn new(output: Output) -> Self {
        Self { output }
    }

    /// What is going on, on one line that is written over.
    pub(super) fn progress(self) -> Progress {
        self.output.progress()
    }

    /// The end of the story.
    pub(super) fn summary(self, summary: &Summary, proofs: &Proofs, plan: &Plan) {
        self.output.line("");
        let mut lines = vec![
            "Proofs".to_owned(),
            verdict(
                summary.lost_sync_answers == 0,
                &format!(
                    "every one of the {} transactions answered SYNC is in the replica",
                    text::count(summary.sync_answers)
                ),
                &format!(
                    "{} of {} transactions answered SYNC are missing",
                    text::count(summary.lost_sync_answers),
                    text::count(summary.sync_answers)
                ),
            ),
            verdict(
                summary.content_right,
                proofs.content_text,
                &format!("NOT SO: {}", proofs.content_text),
            ),
        ];
        lines.extend(set_aside(summary));
        lines.push(verdict(
            summary.replica_equal,
            &format!(
                "primary and replica are equal: {} files, {} rows, row by row",
                proofs.files,
                text::count(summary.rows)
            ),
            "primary and replica differ",
        ));
        lines.push(verdict(
            summary.receivers_identical,
            &format!(
                "the receivers on both sides are the same bytes: {} compared",
                text::bytes(proofs.receiver_bytes)
            ),
            "the receivers differ",
        ));
        if let Some(back) = summary.switched_back {
            lines.push(verdict(
                back,
                "PRD is primary again, without a new copy of anything",
                "PRD did not get its role back",
            ));
        }
        if !summary.has_waited() {
            lines.push(verdict(
                false,
                "",
                "no transaction was answered SYNC: nothing is shown",
            ));
        }
        lines.extend(
            proofs
                .differences
                .iter()
                .map(|text| format!("       {text}")),
        );
        lines.push(String::new());
        lines.push(format!(
            "{} transactions, {} entries, {} processes killed, {:.1} s; {} transactions/s while both were up",
            text::count(summary.transactions),
            text::count(summary.entries),
            summary.kills,
            summary.seconds,
            summary.transactions_per_second,
        ));
        lines.push(format!(
            "{} answered SYNC, {} LOCAL (one system was without the other), {} lost their answer in a kill, were tried again and landed once",
            text::count(summary.sync_answers),
            text::count(summary.local_answers),
            text::count(summary.answers_lost_and_found),
        ));
        lines.extend(took(summary));
        if plan.keep {
            lines.push(format!(
                "Both systems stay in {}: rjournal --data {} daemon",
                plan.dir.display(),
                plan.dir.join("PRD").display()
            ));
        }
        self.output.line(&lines.join("\n"));
    }
}

/// What became of what the old primary had alone.
fn set_aside(summary: &Summary) -> Vec<String> {
    if summary.takeovers.is_empty() {
        return Vec::new();
    }
    let (lost, again) = (summary.orphans_answered, summary.orphans_landed);
    let mut lines = vec![verdict(
        true,
        &format!(
            "{} that only PRD had were set aside, and are listed: {} had been answered LOCAL, {} had no answer, were tried again and landed once",
            text::counted(summary.orphans, "transaction", "transactions"),
            text::count(lost),
            text::count(again)
        ),
        "",
    )];
    let named = &summary.orphans_named;
    lines.extend(
        named
            .iter()
            .take(NAMED_MAX)
            .map(|name| format!("         {name}")),
    );
    if named.len() > NAMED_MAX {
        let more = named.len() - NAMED_MAX;
        lines.push(format!(
            "         and of {}",
            text::counted(more as u64, "client more", "clients more")
        ));
    }
    lines
}

/// What the changes of role took.
fn took(summary: &Summary) -> Option<String> {
    let takeovers = &summary.takeovers;
    if takeovers.is_empty() {
        return None;
    }
    let all =
        |of: fn(&Absence) -> String| takeovers.iter().map(of).collect::<Vec<_>>().join(" and ");
    Some(format!(
        "Takeover {}, first answer {} after the command; rejoin {} with {}; switch back: no answers for {}",
        all(|taken| text::millis(taken.takeover_ms)),
        all(|taken| text::millis(taken.first_answer_ms)),
        all(|taken| text::millis(taken.rejoin_ms)),
        all(|taken| text::bytes(taken.rejoin_bytes)),
        all(|taken| text::millis(taken.switch_pause_ms)),
    ))
}

fn verdict(holds: bool, yes: &str, no: &str) -> String {
    if holds {
        format!("  [ok]   {yes}")
    } else {
        format!("  [FAIL] {no}")
    }
}
