//! Room `receiver`: reading entries back to see that they are what was written: checksums, numbering, the chain through
//! every entry. Must not repair anything, nor know who asks and when.

use super::reader::ChainReader;
use crate::entry::codec;
use crate::entry::{CodecError, Position, QualifiedName, Sequence};
use crate::error::ReceiverError;

/// What was read so far.
#[derive(Debug, Clone, Copy)]
pub struct Checked {
    /// The last entry that was found good.
    pub position: Position,
    /// Receivers that were begun.
    pub receivers: u64,
    /// Bundles.
    pub bundles: u64,
    /// Entries in them.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Checked {
    /// Nothing yet, from a position on.
    pub const fn from(position: Position) -> Self {
        Self {
            position,
            receivers: 0,
            bundles: 0,
            entries: 0,
            bytes: 0,
        }
    }
}

/// Entries are not what was written, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The receivers do not give them.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// There should be more.
    #[error("nothing can be read after entry {after}")]
    Nothing {
        /// The last one.
        after: Sequence,
    },
    /// A bundle that does not continue the chain.
    #[error("receiver {receiver}: the chain breaks before entry {first}")]
    Chain {
        /// Where.
        receiver: QualifiedName,
        /// Its first entry.
        first: Sequence,
    },
    /// A bundle whose entries are not what its hashes say.
    #[error("receiver {receiver}, byte {offset}: {found}")]
    Bundle {
        /// Where.
        receiver: QualifiedName,
        /// The byte it begins at.
        offset: u64,
        /// What is wrong.
        found: CodecError,
    },
}

impl ChainReader {
    /// Reads on from where `checked` is, up to an entry or about `bytes` bytes, whichever comes first; from the medium, not
    /// from memory.
    ///
    /// # Errors
    /// [`CheckError`] naming the place; `checked` then says how far it was good.
    pub fn check(
        &self,
        checked: &mut Checked,
        upto: Sequence,
        bytes: usize,
    ) -> Result<(), CheckError> {
        let after = checked.position.sequence;
        self.read_afresh(after)?;
        let bundles = self.bundles_after(after, upto, bytes)?;
        if bundles.is_empty() && after < upto {
            return Err(CheckError::Nothing { after });
        }
        for bundle in bundles {
            let receiver = &bundle.receiver;
            checked.receivers += u64::from(bundle.begins_receiver());
            let opened = codec::open(bundle.bytes.clone(), receiver.receiver).map_err(|found| {
                CheckError::Bundle {
                    receiver: receiver.name,
                    offset: bundle.header.offset,
                    found,
                }
            })?;
            if opened.before() != checked.position {
                return Err(CheckError::Chain {
                    receiver: receiver.name,
                    first: bundle.header.first,
                });
            }
            checked.position = opened.last();
            checked.bundles += 1;
            checked.entries += u64::from(bundle.header.entries);
            checked.bytes += bundle.bytes.len() as u64;
        }
        Ok(())
    }

    /// The receiver that begins after `after`, if one does, is read from the medium from here on.
    fn read_afresh(&self, after: Sequence) -> Result<(), ReceiverError> {
        let begins = self
            .receiver_after(after)
            .filter(|receiver| receiver.header.before.sequence == after);
        let Some(receiver) = begins else {
            return Ok(());
        };
        let path = self.shared.path(receiver.number);
        let file = self.shared.disk.open(&path);
        file.and_then(|file| file.drop_cache())
            .map_err(|source| ReceiverError::io("could not be read afresh", path, source))
    }
}
