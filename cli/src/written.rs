//! Package `cli`: how a change of rows was answered, for people and as JSON. Must not know files.

use std::process::ExitCode;

use rjournal::entry::Sequence;
use rjournal::journal::{AckClass, UnknownReason};
use rjournal_apply::database::{Outcome, UnappliedReason};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    unapplied: Option<UnappliedReason>,
    #[serde(skip)]
    class: Option<AckClass>,
}

impl Written {
    pub(crate) const fn new(outcome: Outcome, rows: u64) -> Self {
        let (sequence, class, unknown, unapplied) = match outcome {
            Outcome::Nothing => (None, None, None, None),
            Outcome::Landed { sequence, class } => (Some(sequence), Some(class), None, None),
            Outcome::Unapplied {
                sequence,
                class,
                why,
            } => (Some(sequence), Some(class), None, Some(why)),
            Outcome::Unknown { sequence, why } => (Some(sequence), None, Some(why), None),
        };
        let answer = match (class, unknown) {
            (Some(class), _) => text::class(class),
            (None, Some(_)) => "UNKNOWN",
            (None, None) => "NOTHING",
        };
        Self {
            rows,
            sequence,
            answer,
            unknown,
            unapplied,
            class,
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
            (Some(class), _) => {
                let landed = format!(
                    "{}: {done}, entry {sequence}, {}.",
                    text::class(class),
                    text::class_means(class)
                );
                match self.unapplied {
                    None => landed,
                    Some(UnappliedReason::Held) => format!(
                        "{landed}\nIt is not in the store yet: its apply job is held; RLSAPY releases it."
                    ),
                    Some(UnappliedReason::Ended) => format!(
                        "{landed}\nIt is not in the store yet: its apply job ended; it is applied when that runs again."
                    ),
                }
            }
            (None, Some(why)) => format!(
                "UNKNOWN: entry {sequence} is in the journal, and whether it will stay cannot be told: {}.\n\
                 The row stays locked until that is decided; read it then.",
                text::unknown(why)
            ),
            (None, None) => "Nothing was to be changed.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_landed_and_is_not_applied_is_told_as_landed() {
        let unapplied = Outcome::Unapplied {
            sequence: Sequence::new(1234),
            class: AckClass::Local,
            why: UnappliedReason::Held,
        };
        let written = Written::new(unapplied, 1);
        let text = written.text("Row written");
        assert!(
            text.starts_with("LOCAL: Row written, entry 1 234"),
            "{text}"
        );
        assert!(text.contains("not in the store yet") && text.contains("RLSAPY"));
        let json = serde_json::to_value(&written).unwrap();
        assert_eq!(
            (&json["answer"], &json["unapplied"]),
            (&"LOCAL".into(), &"held".into())
        );
    }
}
