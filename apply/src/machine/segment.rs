//! Room `apply`, the machine: a segment of a recovery group's history ends, and the next one begins, in another journal or in the
//! same. What is open then is gone: the next term's first entry rolls it back, by rule (ruling 10). Must not know who says that
//! it ended.

use rjournal::entry::{GroupId, Position, SegmentId};

use super::entries::ApplyMachine;
use crate::error::ApplyError;

/// Where a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStart {
    /// The group.
    pub group: GroupId,
    /// Its term and journal.
    pub segment: SegmentId,
    /// The position before its first entry.
    pub begins: Position,
}

impl ApplyMachine {
    /// The same machine, in a term of a group: positions name that term, whatever epoch a bundle was sealed in.
    #[must_use]
    pub const fn in_segment(mut self, group: GroupId, term: u64) -> Self {
        self.group = group;
        self.term = term;
        self.in_group = true;
        self
    }

    /// Everything of a segment was handed in, up to its last entry: what waits is given out in one step, with the position at
    /// which the next segment begins. Bundles of that one follow.
    ///
    /// # Errors
    /// [`ApplyError::Ahead`] when what was handed in is not what the segment ended with; nothing was changed then.
    pub fn handle_segment_ended(
        &mut self,
        last: Position,
        next: SegmentStart,
    ) -> Result<(), ApplyError> {
        if self.applied != last || self.again.is_some() {
            return Err(ApplyError::Ahead {
                store: self.position_at(self.applied).to_string(),
                journal: last.sequence,
            });
        }
        self.cycles.clear();
        self.buffered = 0;
        self.outside = None;
        // Nothing of this journal is read again.
        let gone = self.older.leave(last.sequence);
        self.changes.extend(gone);
        let (file, moved) = self.skips.leave(self.journal, last.sequence);
        self.files.extend(file);
        self.changes.extend(moved);
        self.group = next.group;
        self.term = next.segment.term;
        self.journal = next.segment.journal;
        self.in_group = true;
        self.applied = next.begins;
        self.at = next.begins.sequence;
        let position = self.position_at(next.begins);
        self.push_step(position);
        Ok(())
    }
}
