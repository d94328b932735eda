//! Room `receiver`: writing to the attached receiver. Whoever writes here has secured the space before. After one failed
//! write or flush the receiver is poisoned: nothing more is written, and no flush is tried again (DESIGN rule 6).
//! Must not know the receivers beside it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{DiskFile, fill_with_zeros};
use crate::entry::{QualifiedName, RECEIVER_HEADER_BYTES, ReceiverHeader, SealedBundle};
use crate::error::ReceiverError;

/// Space is added to a receiver in steps of this many bytes.
const EXTEND_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct ReceiverWriter {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    name: QualifiedName,
    end: u64,
    allocated: u64,
    unsynced: bool,
    poisoned: bool,
}

impl ReceiverWriter {
    /// Begins a receiver: writes its header into a prepared, all-zero file. Durable after [`Self::sync`].
    pub(super) fn begin(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        allocated: u64,
        header: &ReceiverHeader,
    ) -> Result<Self, ReceiverError> {
        let end = RECEIVER_HEADER_BYTES as u64;
        file.write_at(&header.encode(), 0)
            .map_err(|source| ReceiverError::io("could not be written", &path, source))?;
        Ok(Self {
            file,
            path,
            name: header.name,
            end,
            allocated,
            unsynced: true,
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
            unsynced: false,
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
        self.unsynced = true;
        Ok(())
    }

    /// Flushes what was written.
    pub(super) fn sync(&mut self) -> Result<(), ReceiverError> {
        self.unpoisoned()?;
        if self.unsynced {
            let synced = self.file.sync();
            self.poison_on_error("could not be flushed", synced)?;
            self.unsynced = false;
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
