//! Room `journal`: where and when bundles came that are no longer in memory: a sparse trail, so that how far a reader is
//! behind can be told from memory. Bounded: the longer it gets, the further its marks are apart. Must not know who reads.

use std::time::Duration;

use crate::entry::{ReceiverId, Sequence, Timestamp};
use crate::receiver::StoredBundle;

/// How many marks are kept at most.
const MARKS_MAX: usize = 4096;
/// Marks closer together than this tell nothing new.
const SPACING_MIN: Duration = Duration::from_secs(1);

/// One bundle that was here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its first entry.
    pub(super) first: Sequence,
    /// When it was deposited.
    pub(super) time: Timestamp,
    /// The receiver it stands in.
    pub(super) receiver: ReceiverId,
    /// The byte it begins at.
    pub(super) offset: u64,
}

/// Marks in the order of their entries.
#[derive(Debug)]
pub(super) struct Trail {
    marks: Vec<Mark>,
    spacing: Duration,
}

impl Trail {
    pub(super) const fn new() -> Self {
        Self {
            marks: Vec::new(),
            spacing: SPACING_MIN,
        }
    }

    /// Notes a bundle, unless one shortly before it is noted.
    pub(super) fn note(&mut self, bundle: &StoredBundle, time: Timestamp) {
        let first = bundle.header.first;
        let at = self.marks.partition_point(|mark| mark.first <= first);
        let before = at.checked_sub(1).and_then(|before| self.marks.get(before));
        if before
            .is_some_and(|before| before.first == first || time.since(before.time) < self.spacing)
        {
            return;
        }
        let mark = Mark {
            first,
            time,
            receiver: bundle.receiver.receiver,
            offset: bundle.header.offset,
        };
        self.marks.insert(at, mark);
        while self.marks.len() > MARKS_MAX {
            self.spacing *= 2;
            let spacing = self.spacing;
            self.marks
                .dedup_by(|next, kept| next.time.since(kept.time) < spacing);
        }
    }

    /// The last mark at or before an entry.
    pub(super) fn before(&self, wanted: Sequence) -> Option<Mark> {
        let after = self.marks.partition_point(|mark| mark.first <= wanted);
        self.marks.get(after.checked_sub(1)?).copied()
    }

    /// What lies behind an entry is gone.
    pub(super) fn cut(&mut self, at: Sequence) {
        self.marks.retain(|mark| mark.first <= at);
    }
}
