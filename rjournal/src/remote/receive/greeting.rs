//! Room `remote`: who may feed a copy, as its greeting says and the target knows. Must not answer it, nor change anything.

use super::facts::TargetFacts;
use crate::remote::message::{Hello, PATH_MAX, PROTOCOL_VERSION, Purpose, RefusalCode};

/// Why this source may not feed the copy: the numbered table of failures.md 4.3, first match counts.
pub(super) fn refusal(facts: &TargetFacts, hello: &Hello) -> Option<(RefusalCode, String)> {
    let (epoch, promised) = (hello.epoch, facts.promised);
    let opening = matches!(hello.purpose, Purpose::Open { .. });
    let forced = matches!(
        hello.purpose,
        Purpose::Open { forced: true } | Purpose::Compare
    );
    if hello.protocol != PROTOCOL_VERSION || hello.receiver_version < 1 {
        Some((
            RefusalCode::Version,
            format!(
                "the source speaks protocol {}, this system {PROTOCOL_VERSION}",
                hello.protocol
            ),
        ))
    } else if hello.system != facts.peer {
        Some((
            RefusalCode::NotAuthorised,
            "the source names itself otherwise than its key does".to_owned(),
        ))
    } else if hello.path.len() > PATH_MAX || hello.path.contains(&facts.system) {
        Some((
            RefusalCode::Cycle,
            "the entries would come back to a system they have passed; remove one of the links"
                .to_owned(),
        ))
    } else if hello.journal != facts.journal {
        let text = format!(
            "{} here is a copy of another journal; choose another TGTJRN, or delete it with DLTJRN",
            hello.target_journal
        );
        Some((RefusalCode::WrongJournal, text))
    } else if promised.term > epoch.term {
        let text = format!(
            "term {} was promised here, the source is in term {}: another system is primary now",
            promised.term, epoch.term
        );
        Some((RefusalCode::Fenced, text))
    } else if hello.system != facts.bound_to {
        Some((
            RefusalCode::Busy,
            format!(
                "{} is fed by another system (bound to {})",
                hello.target_journal, facts.bound_to
            ),
        ))
    } else if let Some(reason) = &facts.stopped {
        Some((RefusalCode::Stopped, reason.clone()))
    } else if promised.rank() > epoch.rank() && !forced {
        let text = format!(
            "opening {} of this journal was promised here, the source remembers opening {}: it is an older copy of itself \
             (restored, or a second machine). If it is the one to go on with: CHGJRN OPEN(*ADOPT)",
            promised.boot, epoch.boot
        );
        Some((RefusalCode::StaleSource, text))
    } else if promised.is_duplicate_of(epoch) && !(opening && forced) {
        let text = "two systems claim to be this journal's source; stop the one that is a clone"
            .to_owned();
        Some((RefusalCode::DuplicateIdentity, text))
    } else {
        None
    }
}
