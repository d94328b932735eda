//! Room `receiver`: a sparse index into one receiver: which entry begins at which byte, one mark for every so many
//! bytes. Kept in memory only; made while writing, or on first use by reading the bundle headers.
//! Must not know files.

use crate::entry::Sequence;

/// One mark per this many bytes.
const STEP_BYTES: u64 = 128 * 1024;

/// Marks in order of both sequence and offset.
#[derive(Debug, Default)]
pub(super) struct Index {
    marks: Vec<(Sequence, u64)>,
}

impl Index {
    /// Notes that a bundle beginning with `first` stands at `offset`; most are not kept.
    pub(super) fn note(&mut self, first: Sequence, offset: u64) {
        let due = self
            .marks
            .last()
            .is_none_or(|(_, last)| offset >= last + STEP_BYTES);
        if due {
            self.marks.push((first, offset));
        }
    }

    /// Where to start looking for an entry: a bundle at or before it.
    pub(super) fn start_for(&self, wanted: Sequence) -> Option<u64> {
        let after = self.marks.partition_point(|(first, _)| *first <= wanted);
        let (_, offset) = self.marks.get(after.checked_sub(1)?)?;
        Some(*offset)
    }

    /// Forgets everything at or behind a byte.
    pub(super) fn cut(&mut self, end: u64) {
        self.marks.retain(|(_, offset)| *offset < end);
    }
}
