//! Package `cli`: how a change of rows was answered, for people and as JSON. Must not know files.

use std::process::ExitCode;

use rjournal::entry::Sequence;
use rjournal::journal::{AckClass, UnknownReason};
use rjournal_apply::database::Outcome;
use serde::Serialize;

use crate::output::Output;
use crate::text;

/// How a change was answered.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    rows: u64,
    sequence: Option<Sequence>,
    answer: &'static str,
    unknown: Option<UnknownReason>,
    #[serde(skip)]
    class: Option<AckClass>,
}

impl Written {
    pub(crate) const fn new(outcome: Outcome, rows: u64) -> Self {
        match outcome {
            Outcome::Nothing => Self {
                rows,
                sequence: None,
                answer: "NOTHING",
                unknown: None,
                class: None,
            },
            Outcome::Landed { sequence, class } => Self {
                rows,
                sequence: Some(sequence),
                answer: text::class(class),
                unknown: None,
                class: Some(class),
            },
            Outcome::Unknown { sequence, why } => Self {
                rows,
                sequence: Some(sequence),
                answer: "UNKNOWN",
                unknown: Some(why),
                class: None,
            },
        }
    }

    /// Says it, and gives the exit code: 10 where nobody can tell what became of it.
    pub(crate) fn tell(&self, output: Output, done: &str) -> ExitCode {
        output.result(self, |written| written.text(done));
        if self.unknown.is_some() {
            ExitCode::from(10)
        } else {
            ExitCode::SUCCESS
        }
    }

    fn text(&self, done: &str) -> String {
        let sequence = text::count(self.sequence.unwrap_or(Sequence::NONE).get());
        match (self.class, self.unknown) {
            (Some(class), _) => format!(
                "{}: {done}, entry {sequence}, {}.",
                text::class(class),
                text::class_means(class)
            ),
            (None, Some(why)) => format!(
                "UNKNOWN: entry {sequence} is in the journal, and whether it will stay cannot be told: {}.\n\
                 The row stays locked until that is decided; read it then.",
                text::unknown(why)
            ),
            (None, None) => "Nothing was to be changed.".to_owned(),
        }
    }
}
