//! Room `journal`: deposit keys that landed in the other journals of a recovery group's history: whoever becomes primary must know
//! them before the first deposit, so that a retry of what the one before answered, or did not, lands at most once (ruling 16).
//! They are counted by their place in the whole history. Must not know groups, nor who reads the journals.

use std::collections::VecDeque;

use super::forgotten::Forgotten;
use crate::entry::{DepositKey, JournalId, SegmentId, Sequence};
use crate::error::JournalError;
use crate::receiver::StoredBundle;

/// A key, and where it landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EarlierKey {
    pub(super) key: DepositKey,
    /// Hash of what was deposited.
    pub(super) content: [u8; 16],
    pub(super) segment: SegmentId,
    pub(super) sequence: Sequence,
    /// How many entries the history has up to this one.
    pub(super) index: u64,
}

/// Keys of the other journals of a history, in its order; of those that left the window, what is left.
#[derive(Debug, Clone, Default)]
pub struct EarlierKeys {
    landed: VecDeque<EarlierKey>,
    forgotten: Forgotten,
}

/// Where a term begins in its journal and in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TermBegins {
    /// The last entry of its journal before it.
    pub sequence: Sequence,
    /// How many entries the history has before it.
    pub index: u64,
}

impl EarlierKeys {
    /// Takes the keys of a bundle of a segment, of its entries in `(after, upto]`; `index_of` says how many entries the history
    /// has up to one.
    ///
    /// # Errors
    /// [`JournalError::Entry`] when an entry cannot be read.
    pub fn read(
        &mut self,
        segment: SegmentId,
        bundle: &StoredBundle,
        (after, upto): (Sequence, Sequence),
        index_of: impl Fn(Sequence) -> u64,
    ) -> Result<(), JournalError> {
        for view in bundle.entries() {
            let view = view.map_err(|source| JournalError::Entry {
                sequence: bundle.header.first,
                source,
            })?;
            if view.sequence <= after || view.sequence > upto {
                continue;
            }
            let extension = view.extension().map_err(|source| JournalError::Entry {
                sequence: view.sequence,
                source,
            })?;
            if let Some((key, content)) = extension.key {
                self.landed.push_back(EarlierKey {
                    key,
                    content,
                    segment,
                    sequence: view.sequence,
                    index: index_of(view.sequence),
                });
            }
        }
        Ok(())
    }

    /// Forgets what lies more than `window` entries before the `end` of the history. Says whether anything did.
    pub fn forget(&mut self, end: u64, window: u64) -> bool {
        let count = self
            .landed
            .partition_point(|key| end.saturating_sub(key.index) >= window);
        for key in self.landed.drain(..count) {
            self.forgotten.note(key.key, Sequence::new(key.index));
        }
        count > 0
    }

    /// Keeps only what is in the history.
    pub fn retain(&mut self, is_in: impl Fn(SegmentId, Sequence) -> bool) {
        self.landed.retain(|key| is_in(key.segment, key.sequence));
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.landed.is_empty() && self.forgotten == Forgotten::default()
    }

    /// What was forgotten, as it is kept in a file: everything up to an entry of a segment.
    pub fn encode_forgotten(&self, upto: (SegmentId, Sequence)) -> Vec<u8> {
        let (segment, sequence) = upto;
        let mut bytes = segment.term.to_le_bytes().to_vec();
        bytes.extend_from_slice(segment.journal.as_bytes());
        bytes.extend_from_slice(&self.forgotten.encode(sequence));
        bytes
    }

    /// Reads what [`Self::encode_forgotten`] gave, and up to where it is of.
    pub fn decode_forgotten(bytes: &[u8]) -> Option<(Self, SegmentId, Sequence)> {
        let (term, rest) = bytes.split_at_checked(8)?;
        let (journal, rest) = rest.split_at_checked(16)?;
        let segment = SegmentId {
            term: u64::from_le_bytes(term.try_into().ok()?),
            journal: JournalId::from_bytes(journal.try_into().ok()?),
        };
        let (sequence, forgotten) = Forgotten::decode(rest)?;
        let keys = Self {
            landed: VecDeque::new(),
            forgotten,
        };
        Some((keys, segment, sequence))
    }

    /// The oldest key that is not forgotten.
    pub fn oldest(&self) -> Option<(SegmentId, Sequence)> {
        self.landed.front().map(|key| (key.segment, key.sequence))
    }

    pub(super) fn landed(&self) -> impl Iterator<Item = &EarlierKey> {
        self.landed.iter()
    }

    pub(super) const fn forgotten(&self) -> &Forgotten {
        &self.forgotten
    }

    #[cfg(test)]
    pub(super) fn note(&mut self, key: EarlierKey) {
        self.landed.push_back(key);
    }
}
