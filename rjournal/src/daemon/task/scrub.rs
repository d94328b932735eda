//! Room `daemon`: the scrub: detached receivers are read from the medium again and again, slowly, so that what rots is found
//! while a partner still has it (failures.md RCV-3). The attached one is read at every start. Must not repair anything.

use std::sync::Weak;
use std::time::Duration;

use crate::daemon::crank::Source;
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::{Moment, QualifiedName, Sequence};
use crate::receiver::Checked;

/// So often a piece is read,
const STEP: Duration = Duration::from_secs(2);
/// and this much of it.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 1024 * 1024;
const DAY: Duration = Duration::from_hours(24);

/// Where the scrub is.
#[derive(Debug, Default)]
struct Scrub {
    /// When all are read again; nothing before the first time.
    due: Option<Moment>,
    /// Journals not read yet.
    waiting: Vec<QualifiedName>,
    /// The journal being read, and how far.
    current: Option<(QualifiedName, Checked)>,
}

/// Reads until the system stops.
pub(crate) async fn run(shared: Weak<Shared>) {
    let mut scrub = Scrub::default();
    let mut interval = tokio::time::interval(STEP);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let piece = match shared.upgrade().filter(|shared| !shared.is_stopping()) {
            Some(shared) => scrub.next_piece(&shared),
            None => return,
        };
        let Some((name, source, checked, upto)) = piece else {
            continue;
        };
        // The system may stop meanwhile: only the receivers are held.
        let read = tokio::task::spawn_blocking(move || read_piece(&source, checked, upto)).await;
        let (Ok(read), Some(shared)) = (read, shared.upgrade()) else {
            return;
        };
        scrub.take(&shared, name, read);
    }
}

impl Scrub {
    /// What is read next: of the current journal, or the next one, or all again when that is due.
    fn next_piece(
        &mut self,
        shared: &Shared,
    ) -> Option<(QualifiedName, Source, Checked, Sequence)> {
        let days = shared.config().scrub_days;
        let now = shared.clock.now();
        if self.current.is_none() && self.waiting.is_empty() {
            if days == 0 || self.due.is_some_and(|due| now < due) {
                return None;
            }
            self.due = Some(now + DAY * days);
            self.waiting = shared.journal_names();
        }
        let (name, checked) = match self.current.take() {
            Some((name, checked)) => (name, Some(checked)),
            None => (self.waiting.pop()?, None),
        };
        let runtime = shared.runtime_of(name)?;
        if matches!(runtime, JournalRuntime::Opening(_)) {
            // Its turn comes when it is open.
            self.waiting.insert(0, name);
        }
        let source = runtime.source()?;
        let oldest = source.reader().oldest();
        // What was deleted meanwhile is not missed.
        let checked = checked
            .filter(|checked| checked.position.sequence >= oldest.sequence)
            .unwrap_or(Checked::from(oldest));
        let upto = source.reader().attached()?.before.sequence;
        (checked.position.sequence < upto).then_some((name, source, checked, upto))
    }

    fn take(&mut self, shared: &Shared, name: QualifiedName, read: Result<Checked, String>) {
        match read {
            Ok(checked) => self.current = Some((name, checked)),
            Err(finding) => {
                let text = format!(
                    "a detached receiver is not what was written: {finding}; RPRJRN gets its bytes back from a partner"
                );
                shared.post("RJN9004", Severity::Alarm, name, text);
            }
        }
    }
}

/// Reads a piece. Takes as long as the disk takes.
fn read_piece(source: &Source, mut checked: Checked, upto: Sequence) -> Result<Checked, String> {
    let begun = checked.bytes;
    while checked.position.sequence < upto && checked.bytes - begun < STEP_BYTES {
        let read = source.reader().check(&mut checked, upto, READ_BYTES);
        if let Err(error) = read {
            // A receiver that was deleted while it was read is not damaged.
            if source.reader().oldest().sequence > checked.position.sequence {
                return Ok(checked);
            }
            return Err(error.to_string());
        }
    }
    Ok(checked)
}
