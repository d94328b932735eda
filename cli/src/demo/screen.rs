//! Package `cli`, the demonstration: what a person sees of it. Must not decide anything.

use super::proof::Proofs;
use super::{Plan, Summary};
use crate::output::{Output, Progress};
use crate::text;

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
            verdict(
                summary.replica_equal,
                &format!(
                    "primary and replica are equal: {} files, {} rows, row by row",
                    proofs.files,
                    text::count(summary.rows)
                ),
                "primary and replica differ",
            ),
            verdict(
                summary.receivers_identical,
                &format!(
                    "the receivers on both sides are the same bytes: {} compared",
                    text::bytes(proofs.receiver_bytes)
                ),
                "the receivers differ",
            ),
        ];
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
            "{} answered SYNC, {} LOCAL (the target was given up for a while), {} lost their answer in a kill, were tried again and landed once",
            text::count(summary.sync_answers),
            text::count(summary.local_answers),
            text::count(summary.answers_lost_and_found),
        ));
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

fn verdict(holds: bool, yes: &str, no: &str) -> String {
    if holds {
        format!("  [ok]   {yes}")
    } else {
        format!("  [FAIL] {no}")
    }
}
