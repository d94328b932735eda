//! Room `journal`, a copy: what lies behind a fork is archived, and then cut. Must not know why histories forked.

use std::sync::Arc;

use super::held::Copy;
use crate::entry::progress::CopyProgress;
use crate::entry::{Epoch, Position, Timestamp};
use crate::error::JournalError;
use crate::journal::control::JournalKind;
use crate::journal::forgotten::ForgottenFile;
use crate::journal::mark::Mark;
use crate::journal::orphan::{self, Orphan};
use crate::journal::write::lock;

impl Copy {
    /// Moves everything behind `at` into an orphan archive: first the archive is durable, then the cut is recorded, then it
    /// is made (failures.md I9). Nothing is archived when nothing lies behind.
    ///
    /// # Errors
    /// [`JournalError`] as the medium says while it is archived, and nothing was changed then. [`JournalError::CutUnfinished`]
    /// from where the cut is recorded on: as after a crash in the middle the next opening finishes it. This copy takes
    /// nothing until then: what it received would stand behind the cut, and go with it.
    ///
    /// # Panics
    /// When `at` lies below the confirmed position: what is confirmed is never cut (I8).
    pub fn archive_behind(
        &mut self,
        at: Position,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Orphan>, JournalError> {
        assert!(
            at.sequence >= self.progress.confirmed,
            "a cut at {at:?} below confirmed {:?}",
            self.progress.confirmed
        );
        self.require_whole()?;
        if self.chain.tip() == at {
            return Ok(None);
        }
        self.chain.sync()?;
        let number = self.shared.control().orphans + 1;
        let archived = orphan::archive(
            &self.shared.disk,
            &self.shared.dir,
            &self.shared.reader,
            number,
            at,
            reason,
            now,
        )?;
        if let Err(error) = self.cut(at, number) {
            self.cutting = Some((at.sequence, error.to_string()));
        }
        self.require_whole()?;
        Ok(Some(archived))
    }

    /// The same where an operator gives up what is confirmed behind `at` (ruling 32): it counts as confirmed no more. A crash before
    /// the cut is recorded leaves everything as it was.
    ///
    /// # Errors
    /// As [`Self::archive_behind`].
    pub fn give_up_behind(
        &mut self,
        at: Position,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Orphan>, JournalError> {
        self.progress.confirmed = self.progress.confirmed.min(at.sequence);
        self.archive_behind(at, reason, now)
    }

    /// Records the cut, makes it, and takes the record back.
    fn cut(&mut self, at: Position, orphan: u64) -> Result<(), JournalError> {
        if self.shared.control().kind == JournalKind::Local {
            // Deposit keys of what goes may be kept already.
            let oldest = self.chain.reader().oldest().sequence;
            let (disk, dir) = (Arc::clone(&self.shared.disk), &self.shared.dir);
            ForgottenFile::cut(disk, dir, at.sequence, oldest)?;
        }
        let kept: Vec<_> = self
            .chain
            .reader()
            .records()
            .into_iter()
            .filter(|record| record.before.sequence < at.sequence)
            .collect();
        self.shared.update(|control| {
            control.orphans = orphan;
            control.cut = Some(crate::journal::control::PendingCut { at });
            control.receivers = kept;
            if let Some(last) = control.receivers.last_mut() {
                last.last = None;
                last.detached_at = None;
                last.bytes = 0;
            }
        })?;
        self.chain.cut(at)?;
        let confirmed = self.progress.confirmed;
        self.mark.write_durably(Mark {
            written: at,
            confirmed,
        })?;
        self.progress = CopyProgress {
            received: at.sequence,
            written: at.sequence,
            confirmed,
        };
        self.heard = self.heard.min(at.sequence);
        self.shared.tail.cut(at);
        lock(&self.shared.sets).cut(at.sequence);
        // What was cut says nothing any more.
        let ends = self
            .shared
            .reader
            .bundles_after(at.sequence.before(), at.sequence, 1)?;
        let epoch = ends.last().map_or(Epoch::NONE, |last| last.header.epoch);
        self.set_epoch(epoch);
        let term = lock(&self.shared.term).take();
        *lock(&self.shared.term) = term.filter(|(entry, _)| *entry <= at.sequence);
        let receivers = self.chain.reader().records();
        self.receivers_recorded = receivers.len();
        self.shared.update(|control| {
            control.receivers = receivers;
            control.cut = None;
        })
    }
}
