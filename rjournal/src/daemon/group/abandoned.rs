//! Room `daemon`, recovery groups: an operator gives up what is confirmed here and is in no term of the group: it is archived, and
//! this member takes part again (ruling 32). Must not judge: what is too much, room `role` says.

use std::path::Path;
use std::sync::Arc;

use super::runtime::GroupRuntime;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::messages::Severity;
use crate::daemon::system::{Shared, dir_of};
use crate::entry::Position;
use crate::error::JournalError;
use crate::journal::{Copy, Orphan};
use crate::role::Stop;

impl Shared {
    /// Archives what keeps this member from taking part, and lets it. Says whether it was kept from it by that.
    ///
    /// Cancel safe: no; given again, it goes on where it was.
    pub(in crate::daemon) async fn give_up_abandoned(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
    ) -> Result<bool, CommandError> {
        let _turn = group.turn.lock().await;
        let standing = group.standing();
        if !matches!(standing.stopped, Some(Stop::Abandoned { .. })) {
            return Ok(false);
        }
        for (journal, end) in self.seen(group).too_much() {
            let Some(copy) = self.group_copy(&standing, journal) else {
                continue;
            };
            let (name, dir) = (copy.copy.name(), dir_of(copy.copy.reader()));
            copy.stop().await;
            let (shared, of) = (Arc::clone(self), dir.clone());
            let cut = tokio::task::spawn_blocking(move || shared.give_up_behind(&of, end)).await;
            // It runs again, whatever came of it.
            self.recover_again(name, dir).await;
            let cut = cut.map_err(|error| {
                CommandError::new(ErrorKind::Internal, "RJN1003", error.to_string())
            })?;
            if let Some(orphan) = cut? {
                let text = format!(
                    "{} entries ({} to {}) that were confirmed here and are not in the group's history were set aside in {}, \
                     by an operator's word",
                    orphan.entries,
                    orphan.fork.sequence.next(),
                    orphan.last.sequence,
                    orphan.file.display()
                );
                self.post("RJN3001", Severity::Alarm, name, text);
            }
        }
        group.update(|at| at.stopped = None)?;
        self.fence(group);
        group.wake();
        Ok(true)
    }

    fn give_up_behind(&self, dir: &Path, end: Position) -> Result<Option<Orphan>, JournalError> {
        let mut copy = Copy::open(Arc::clone(&self.disk), dir, crate::entry::Sequence::NONE)?;
        let reason = "they are not in the group's history, and an operator gave them up";
        copy.give_up_behind(end, reason, self.clock.wall())
    }
}
