//! Room `receiver`: writing to the attached receiver. Whoever writes here has secured the space before. After one failed
//! write or flush the receiver is poisoned: nothing more is written, and no flush is tried again (DESIGN rule 6).
//! Must not know the receivers beside it.

use std::path::PathBuf;
use std::sync::Arc;

use super::spare::{Space, Spare};
use crate::disk::{DiskFile, fill_with_zeros};
use crate::entry::{QualifiedName, RECEIVER_HEADER_BYTES, ReceiverHeader, SealedBundle};
use crate::error::ReceiverError;

/// Space is added to a receiver in steps of this many bytes.
const EXTEND_BYTES: u64 = 4 * 1024 * 1024;

/// A flush of at least so much is one of a copy that catches up.
const BULK_BYTES: u64 = 128 * 1024;
/// Where space is only reserved and flushes are small, zeros are laid down so far ahead.
const AHEAD_BYTES: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct ReceiverWriter {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    name: QualifiedName,
    end: u64,
    allocated: u64,
    /// Up to here a flush changes no metadata.
    zeroed: u64,
    unsynced: u64,
    /// The last flush was a large one.
    bulk: bool,
    poisoned: bool,
}

impl ReceiverWriter {
    /// Begins a receiver: writes its header into a prepared file that reads as zeros. Durable after [`Self::sync`]. `bulk`
    /// is what [`Self::is_bulk`] said of the one before.
    pub(super) fn begin(
        spare: Spare,
        bulk: bool,
        header: &ReceiverHeader,
    ) -> Result<Self, ReceiverError> {
        let end = RECEIVER_HEADER_BYTES as u64;
        let Spare {
            file,
            path,
            bytes: allocated,
            space,
            ..
        } = spare;
        file.write_at(&header.encode(), 0)
            .map_err(|source| ReceiverError::io("could not be written", &path, source))?;
        Ok(Self {
            file,
            path,
            name: header.name,
            end,
            allocated,
            zeroed: if space == Space::Zeroed { allocated } else { 0 },
            unsynced: end,
            bulk,
            poisoned: false,
        })
    }

    /// Goes on with a receiver that recovery has read to its end.
    pub(super) fn resume(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        name: QualifiedName,
        end: u64,
    ) -> Result<Self, ReceiverError> {
        let allocated = file
            .length()
            .map_err(|source| ReceiverError::io("could not be measured", &path, source))?;
        Ok(Self {
            file,
            path,
            name,
            end,
            allocated,
            // It may only be reserved; then flushes are slower until the next receiver.
            zeroed: allocated,
            unsynced: 0,
            bulk: false,
            poisoned: false,
        })
    }

    /// Where the next bundle goes.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that can still be written into space that is already there.
    pub(super) const fn room(&self) -> u64 {
        self.allocated.saturating_sub(self.end)
    }

    /// Whether the last flush was a large one, as when a copy catches up.
    pub(super) const fn is_bulk(&self) -> bool {
        self.bulk
    }

    pub(super) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// Adds space so that `bytes` more can be written.
    pub(super) fn secure(&mut self, bytes: u64) -> Result<(), ReceiverError> {
        if self.room() >= bytes {
            return Ok(());
        }
        let wanted = (self.end + bytes).next_multiple_of(EXTEND_BYTES);
        fill_with_zeros(&*self.file, self.allocated, wanted)
            .map_err(|source| ReceiverError::io("could not be extended", &self.path, source))?;
        self.allocated = wanted;
        self.zeroed = self.zeroed.max(wanted);
        Ok(())
    }

    /// Writes a bundle at the end. Durable after [`Self::sync`].
    pub(super) fn write(&mut self, bundle: &SealedBundle) -> Result<(), ReceiverError> {
        self.unpoisoned()?;
        assert_eq!(
            bundle.header().offset,
            self.end,
            "a bundle was sealed for another place of {}",
            self.name
        );
        let written = self.file.write_at(bundle.bytes(), self.end);
        self.poison_on_error("could not be written", written)?;
        self.end = bundle.header().end();
        self.allocated = self.allocated.max(self.end);
        self.unsynced += bundle.bytes().len() as u64;
        if !self.bulk && self.end > self.zeroed {
            self.zero_ahead()?;
        }
        Ok(())
    }

    /// Lays zeros behind the end, into space that is only reserved; they are flushed with the bundle before them.
    fn zero_ahead(&mut self) -> Result<(), ReceiverError> {
        let upto = (self.end + AHEAD_BYTES).min(self.allocated);
        let count = usize::try_from(upto - self.end).unwrap_or(0);
        let written = self.file.write_at(&vec![0; count], self.end);
        self.poison_on_error("could not be filled with zeros", written)?;
        self.zeroed = upto;
        Ok(())
    }

    /// Flushes what was written.
    pub(super) fn sync(&mut self) -> Result<(), ReceiverError> {
        self.unpoisoned()?;
        if self.unsynced > 0 {
            let synced = self.file.sync();
            self.poison_on_error("could not be flushed", synced)?;
            self.bulk = self.unsynced >= BULK_BYTES;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn unpoisoned(&self) -> Result<(), ReceiverError> {
        if self.poisoned {
            Err(ReceiverError::Poisoned {
                receiver: self.name,
            })
        } else {
            Ok(())
        }
    }

    fn poison_on_error(
        &mut self,
        action: &'static str,
        outcome: std::io::Result<()>,
    ) -> Result<(), ReceiverError> {
        outcome.map_err(|source| {
            self.poisoned = true;
            ReceiverError::io(action, &self.path, source)
        })
    }
}
