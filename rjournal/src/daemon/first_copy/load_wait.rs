//! Room `daemon`, the first copy: a save that is here waits until the journal here has come as far as it, and proves to have the
//! same history: only then can a store go on from it. Must not know how the save came here.

use std::io;
use std::time::Duration;

use super::load_task::{Halt, LoadTask, blocking};
use super::standing::LoadPhase;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::SaveFacts;

/// How often the journal here is looked at while it comes.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A journal that does not come nearer to the save in this time is given up.
const STALL_MAX: Duration = Duration::from_mins(5);

impl LoadTask {
    /// A save is restored only where the journal here can go on from it: it holds the entries behind `restart`, has come as
    /// far as the save, and has the same history there.
    pub(super) async fn wait_for_journal(&self, save: SaveFacts) -> Result<(), Halt> {
        let clock = &self.shared.clock;
        let (mut nearest, mut since) = (None, clock.now());
        loop {
            let runtime = self.runtime()?;
            let source = self.source()?;
            if source.reader().oldest().sequence > save.restart {
                return Err(Halt::Anew);
            }
            let readable = Shared::readable_upto(&runtime);
            let local = matches!(runtime, JournalRuntime::Local(_));
            // A local journal that was just opened may know of fewer answers than it gave before.
            if readable >= save.applied || local {
                let applied = save.applied;
                let head = blocking(move || {
                    let head = source.reader().head_at(applied);
                    head.map_err(|error| io::Error::other(error.to_string()))
                });
                match head.await? {
                    Some(head) if head == save.head => return Ok(()),
                    Some(_) => return Err(Halt::Failed(self.other_history(save))),
                    None => {}
                }
            }
            if nearest != Some(readable) {
                (nearest, since) = (Some(readable), clock.now());
            } else if clock.now().since(since) >= STALL_MAX {
                let text = format!(
                    "{} stands at entry {readable} since {} minutes, and the save needs it to come to entry {}",
                    self.journal,
                    STALL_MAX.as_secs() / 60,
                    save.applied
                );
                let help = "is it fed? CHGRMTJRN JRNSTATE(*ACTIVE) at its source; then give the command again: the save is kept";
                return Err(Halt::Failed(
                    CommandError::new(ErrorKind::TimedOut, "RJN5027", text).help(help),
                ));
            }
            self.tell(|standing| {
                standing.phase = LoadPhase::Waiting;
                (standing.done, standing.total) = (readable.get(), save.applied.get());
                standing.note = Some(format!(
                    "{} is at entry {readable}, the save at entry {}",
                    self.journal, save.applied
                ));
            });
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn other_history(&self, save: SaveFacts) -> CommandError {
        let text = format!(
            "the save of {} is of another history than {}: their chain heads at entry {} differ",
            self.load.rdb, self.journal, save.applied
        );
        CommandError::refused("RJN5028", text).help(
            "VERIFY with RDB at the journal's source says where they part; nothing was changed",
        )
    }
}
