//! Room `daemon`: what happened on a link, for people: status, messages, the log. Must not decide anything.

use super::task::LinkTask;
use crate::daemon::messages::Severity;
use crate::daemon::task::local::lock;
use crate::entry::Sequence;
use crate::remote::{EndReason, LinkEvent, Outrun, Refusal, RefusalCode};

impl LinkTask {
    pub(super) fn take_events(&mut self) {
        let about = format!(
            "{} -> {}:{}",
            self.crank.source.name(),
            self.crank.record.rdb,
            self.crank.record.target
        );
        for event in std::mem::take(&mut self.crank.events) {
            match event {
                LinkEvent::Acknowledged {
                    written, low_space, ..
                } => self.acknowledged(written, low_space, &about),
                LinkEvent::Coupled {
                    tip,
                    archived,
                    went_back,
                } => self.coupled(tip, archived, went_back, &about),
                LinkEvent::CaughtUp => tracing::info!(link = about, "caught up"),
                LinkEvent::Outrun(outrun) => {
                    let text = describe_outrun(outrun);
                    self.shared
                        .post_about("RJN3007", Severity::Alarm, &about, text);
                }
                LinkEvent::Inactivated => {
                    self.shared.post_about(
                        "CPF70D3",
                        Severity::Info,
                        &about,
                        "the remote journal is inactive".to_owned(),
                    );
                }
                LinkEvent::Ended { reason, failed, .. } => self.ended(&reason, failed, &about),
            }
        }
    }

    fn acknowledged(&self, written: Sequence, low_space: bool, about: &str) {
        let mut status = lock(&self.status);
        status.acknowledged = status.acknowledged.max(written);
        status.heard_at = self.shared.clock.wall();
        let fresh = low_space && !status.low_space;
        status.low_space = low_space;
        drop(status);
        if fresh {
            let text = "the target's disk will soon be full; free space there before it leaves the in-sync set".to_owned();
            self.shared
                .post_about("RJN3004", Severity::Alarm, about, text);
        }
    }

    fn coupled(&self, tip: Sequence, archived: u64, went_back: bool, about: &str) {
        {
            let mut status = lock(&self.status);
            // What it has set aside, or lost, it has no more.
            status.acknowledged = tip;
            status.heard_at = self.shared.clock.wall();
        }
        self.look_back();
        tracing::info!(link = about, %tip, "coupled");
        if archived > 0 {
            let text = format!(
                "the target set {archived} entries aside that this journal does not have (see its orphan archives)"
            );
            self.shared
                .post_about("RJN3001", Severity::Alarm, about, text);
        }
        if went_back {
            let text = format!(
                "the target ends at entry {tip}, it had more before: it lost entries or was restored (TARGET_WENT_BACK)"
            );
            self.shared
                .post_about("RJN3002", Severity::Critical, about, text);
        }
    }

    fn ended(&self, reason: &EndReason, failed: bool, about: &str) {
        let text = describe_end(reason);
        let first = self.crank.link.shown().attempts <= 1;
        if let EndReason::Refused(refusal) = reason
            && refusal.code.closes_source()
        {
            self.shared.close_journal(self.crank.source.name(), refusal);
        }
        if failed {
            let text = format!("{text}. It stays ended until CHGRMTJRN JRNSTATE(*ACTIVE)");
            self.shared
                .post_about("CPF70D5", Severity::Critical, about, text);
        } else if first {
            let full = matches!(reason, EndReason::Full);
            let id = if full { "CPF70D6" } else { "CPF70D5" };
            self.shared.post_about(
                id,
                Severity::Warning,
                about,
                format!("{text}. It is tried again by itself"),
            );
        } else {
            tracing::debug!(link = about, "{text}");
        }
    }
}

/// Catch-up that gets nowhere, for people.
pub(in crate::daemon) fn describe_outrun(outrun: Outrun) -> String {
    format!(
        "catch-up does not converge at this rate: the target was {} entries behind, and is {} behind after a minute; deposits come \
         faster than it takes them. Deposit less for a while, or look at the line and at the target's disk",
        outrun.before, outrun.behind
    )
}

/// Why a session ended, for people.
pub(in crate::daemon) fn describe_end(reason: &EndReason) -> String {
    match reason {
        EndReason::Inactivated => "the other side inactivated the remote journal".to_owned(),
        EndReason::ShuttingDown => "the other system is stopping".to_owned(),
        EndReason::Full => "the target's disk is full".to_owned(),
        EndReason::TargetFailed => "a write or flush went wrong at the target".to_owned(),
        EndReason::SourceFailed => "what is to be shipped cannot be read at the source".to_owned(),
        EndReason::Superseded => "a newer session took over".to_owned(),
        EndReason::Heard => "the source asked what is held here, and opens".to_owned(),
        EndReason::Violation(text) => format!("the other side broke the protocol: {text}"),
        EndReason::Silent => "the other side was silent for too long".to_owned(),
        EndReason::Lost => "the connection was lost or could not be made".to_owned(),
        EndReason::Refused(refusal) => {
            let (code, text, at) = (refusal.code, &refusal.text, positions(refusal));
            format!("refused ({code}): {text}{at}")
        }
    }
}

/// Why a session ended, for people where its target is. What refuses there speaks to the source's operator.
pub(in crate::daemon) fn describe_end_here(reason: &EndReason, refused_here: bool) -> String {
    match reason {
        EndReason::Refused(refusal) if refused_here => {
            let (code, text, at) = (refusal.code, &refusal.text, positions(refusal));
            format!("this system refused its source ({code}), and told it: {text}{at}")
        }
        other => describe_end(other),
    }
}

/// Both positions, where they are what does not fit.
fn positions(refusal: &Refusal) -> String {
    match refusal.code {
        RefusalCode::Fenced
        | RefusalCode::StaleSource
        | RefusalCode::DuplicateIdentity
        | RefusalCode::Diverged
        | RefusalCode::ReceiverMissing
        | RefusalCode::SourceBehind => {
            format!(
                " (source at {}, target at {})",
                refusal.source, refusal.target
            )
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: RefusalCode) -> EndReason {
        EndReason::Refused(Refusal {
            code,
            source: Sequence::new(15_898),
            target: Sequence::NONE,
            fork: None,
            text: "there: ADDRDBDIRE".to_owned(),
        })
    }

    #[test]
    fn a_refusal_names_positions_only_where_they_are_what_does_not_fit() {
        assert_eq!(
            describe_end(&refused(RefusalCode::NotAuthorised)),
            "refused (NOT_AUTHORISED): there: ADDRDBDIRE"
        );
        assert_eq!(
            describe_end(&refused(RefusalCode::Diverged)),
            "refused (DIVERGED): there: ADDRDBDIRE (source at 15898, target at 0)"
        );
    }

    #[test]
    fn a_refusal_is_told_from_the_side_it_is_shown_on() {
        let refused = refused(RefusalCode::Busy);
        assert_eq!(
            describe_end_here(&refused, true),
            "this system refused its source (BUSY), and told it: there: ADDRDBDIRE"
        );
        assert_eq!(describe_end_here(&refused, false), describe_end(&refused));
    }
}
