//! Room `store`: where a store stands in which history (ruling 9). Must not know how it is kept.

use std::fmt;

use rjournal::entry::{ChainHead, Cursor, GroupId, JournalId, SegmentId, Sequence};
use serde::{Deserialize, Serialize};

/// What is in progress while a mark stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A transaction is applied, or a save restored.
    #[default]
    Forward,
    /// What was decided behind a fork is taken out again (ruling 7).
    Undo,
}

/// Something too large for one step of the store, of which a part is done (ruling 18). While this stands, the store is not
/// the fold of any position, and readers are told to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InProgress {
    /// What it is.
    #[serde(default)]
    pub kind: MarkKind,
    /// The commit cycle; of an undo the fork, where reads are right again.
    pub cycle: Sequence,
    /// Its decision: reads are right again when this is applied. Of an undo: everything decided behind this is taken out.
    pub decision: Sequence,
    /// The last of its entries that is applied. Of an undo: entries behind this of what was decided there are taken out.
    pub done: Sequence,
}

impl InProgress {
    /// The mark that stands while a save is restored, after so many steps of it. No commit cycle has number 0, so it is
    /// never mistaken for one; a store found with it on opening is not whole.
    pub const fn restoring(steps: u64) -> Self {
        Self::transaction(Sequence::NONE, Sequence::NONE, Sequence::new(steps))
    }

    /// The mark of a transaction that is applied up to and with an entry.
    pub const fn transaction(cycle: Sequence, decision: Sequence, done: Sequence) -> Self {
        Self {
            kind: MarkKind::Forward,
            cycle,
            decision,
            done,
        }
    }

    /// The mark that stands while what was decided behind `fork` is taken out.
    pub const fn undo(fork: Sequence, decision: Sequence, done: Sequence) -> Self {
        Self {
            kind: MarkKind::Undo,
            cycle: fork,
            decision,
            done,
        }
    }

    /// Whether this is the mark of a restore, not of a transaction.
    pub const fn is_restore(&self) -> bool {
        matches!(self.kind, MarkKind::Forward) && self.cycle.get() == 0
    }

    /// Whether this is the mark of an undo.
    pub const fn is_undo(&self) -> bool {
        matches!(self.kind, MarkKind::Undo)
    }
}

/// Position of a store: which entries it is the fold of. Compared and set as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePosition {
    /// The recovery group, the journal's own bytes outside one.
    pub group: GroupId,
    /// The term whose journal this is.
    pub term: u64,
    /// The journal.
    pub journal: JournalId,
    /// Everything decided at or below this entry is applied.
    pub applied: Sequence,
    /// Where reading must begin again after a restart: the entry before the first of the oldest commit cycle that was
    /// open at `applied`, or `applied` when none was.
    pub restart: Sequence,
    /// Chain head at `applied`.
    pub head: ChainHead,
    /// A transaction that is applied in part.
    pub in_progress: Option<InProgress>,
}

impl StorePosition {
    /// The part of its history it is in.
    pub const fn segment(&self) -> SegmentId {
        SegmentId {
            term: self.term,
            journal: self.journal,
        }
    }

    /// Puts the position behind `out`, in 113 bytes: group 16, term 8, journal 16, applied 8, restart 8, head 32, then 0
    /// and 24 zeros, or 1 (2 for an undo) and the mark's cycle, decision and done of 8 each. Numbers are little-endian.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.group.as_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(self.journal.as_bytes());
        out.extend_from_slice(&self.applied.get().to_le_bytes());
        out.extend_from_slice(&self.restart.get().to_le_bytes());
        out.extend_from_slice(self.head.as_bytes());
        out.push(match self.in_progress.map(|mark| mark.kind) {
            None => 0,
            Some(MarkKind::Forward) => 1,
            Some(MarkKind::Undo) => 2,
        });
        let mark = self.in_progress.unwrap_or(InProgress::restoring(0));
        for number in [mark.cycle, mark.decision, mark.done] {
            out.extend_from_slice(&number.get().to_le_bytes());
        }
    }

    /// Reads what [`Self::put`] wrote; nothing when the bytes are not that.
    pub(super) fn take(cursor: &mut Cursor<'_>) -> Option<Self> {
        let group = GroupId::from_bytes(cursor.array()?);
        let term = cursor.u64()?;
        let journal = JournalId::from_bytes(cursor.array()?);
        let applied = Sequence::new(cursor.u64()?);
        let restart = Sequence::new(cursor.u64()?);
        let head = ChainHead::from_bytes(cursor.array()?);
        let marked = cursor.u8()?;
        let [cycle, decision, done] = [cursor.u64()?, cursor.u64()?, cursor.u64()?];
        let [cycle, decision, done] = [cycle, decision, done].map(Sequence::new);
        let mark = InProgress::transaction(cycle, decision, done);
        let in_progress = match marked {
            0 if mark == InProgress::restoring(0) => None,
            1 => Some(mark),
            2 => Some(InProgress::undo(cycle, decision, done)),
            _ => return None,
        };
        Some(Self {
            group,
            term,
            journal,
            applied,
            restart,
            head,
            in_progress,
        })
    }
}

impl fmt::Display for StorePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of journal {}", self.applied, self.journal)?;
        match self.in_progress {
            Some(mark) if mark.is_restore() => write!(f, ", being restored"),
            Some(mark) if mark.is_undo() => {
                write!(f, ", being taken back to entry {}", mark.cycle)
            }
            Some(mark) => write!(
                f,
                ", within transaction {} up to entry {}",
                mark.cycle, mark.done
            ),
            None => Ok(()),
        }
    }
}

/// A position in words, also where there is none.
pub(super) fn in_words(position: Option<&StorePosition>) -> String {
    position.map_or_else(|| "the beginning".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(in_progress: Option<InProgress>) -> StorePosition {
        let journal = JournalId::from_bytes([7; 16]);
        StorePosition {
            group: journal.into(),
            term: 3,
            journal,
            applied: Sequence::new(90),
            restart: Sequence::new(80),
            head: ChainHead::genesis(journal),
            in_progress,
        }
    }

    #[test]
    fn a_position_reads_back_and_no_shortened_or_crooked_one_does() {
        let [cycle, decision, done] = [81, 95, 90].map(Sequence::new);
        let mark = InProgress::transaction(cycle, decision, done);
        let undo = InProgress::undo(cycle, decision, done);
        let from_the_start = InProgress::undo(Sequence::NONE, decision, done);
        assert!(!undo.is_restore() && !from_the_start.is_restore());
        let restoring = InProgress::restoring(4);
        let marks = [mark, undo, from_the_start, restoring].map(Some);
        for in_progress in [None].into_iter().chain(marks) {
            let position = position(in_progress);
            let mut bytes = Vec::new();
            position.put(&mut bytes);
            assert_eq!(bytes.len(), 113);
            assert_eq!(
                StorePosition::take(&mut Cursor::new(&bytes)),
                Some(position)
            );
            assert_eq!(StorePosition::take(&mut Cursor::new(&bytes[..112])), None);
            bytes[88] = 3;
            assert_eq!(StorePosition::take(&mut Cursor::new(&bytes)), None);
        }
    }
}
