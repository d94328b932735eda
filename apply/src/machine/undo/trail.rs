//! Room `apply`, the machine, undo: a trail through entries that are read in order, so that they can be read in pieces from
//! behind: a border every so many bytes. Must not know what the entries are.

use rjournal::entry::Sequence;

/// The ends of pieces of about as many bytes.
#[derive(Debug)]
pub(super) struct Trail {
    piece_bytes: usize,
    bytes: usize,
    ends: Vec<Sequence>,
}

impl Trail {
    /// One for pieces of so many bytes, or of one bundle where that is longer.
    pub(super) const fn new(piece_bytes: usize) -> Self {
        Self {
            piece_bytes,
            bytes: 0,
            ends: Vec::new(),
        }
    }

    /// A bundle ends with this entry; `whole` says whether a piece may end with it: what belongs together stays together.
    pub(super) fn pass(&mut self, end: Sequence, bytes: usize, whole: bool) {
        self.bytes += bytes;
        let further = self.ends.last().is_none_or(|last| *last < end);
        if whole && further && self.bytes >= self.piece_bytes {
            self.bytes = 0;
            self.ends.push(end);
        }
    }

    /// The ends of all pieces up to and with `last`.
    pub(super) fn end(mut self, last: Sequence) -> Vec<Sequence> {
        if self.ends.last() != Some(&last) {
            self.ends.push(last);
        }
        self.ends
    }
}
