//! Room `receiver`: writing to the attached receiver. Whoever writes here has secured the space before. After one failed
//! write or flush the receiver is poisoned: nothing more is written, and no flush is tried again (DESIGN rule 6).
//! Must not know the receivers beside it.

use std::path::PathBuf;
use std::sync::Arc;

use super::spare::{Space, Spare};
use crate::disk::{DiskFile, write_zeros};
use crate::entry::{QualifiedName, RECEIVER_HEADER_BYTES, ReceiverHeader, SealedBundle};
use crate::error::{ReceiverError, is_no_room};

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

    /// Adds space so that `bytes` more can be written. A medium that says on writing that it is full has lost nothing, and
    /// may be asked again. The flush behind it is one of this file, bundles not flushed yet included: that it failed is
    /// final, whatever it says.
    pub(super) fn secure(&mut self, bytes: u64) -> Result<(), ReceiverError> {
        if self.room() >= bytes {
            return Ok(());
        }
        self.unpoisoned()?;
        let wanted = (self.end + bytes).next_multiple_of(EXTEND_BYTES);
        match write_zeros(&*self.file, self.allocated, wanted) {
            Err(source) if is_no_room(&source) => {
                return Err(ReceiverError::io("has no room", &self.path, source));
            }
            written => self.poison_on_error("could not be extended", written)?,
        }
        let synced = self.file.sync();
        self.poison_on_error("could not be flushed", synced)?;
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
        let written = write_zeros(&*self.file, self.end, upto);
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
            ReceiverError::Failed {
                action,
                path: self.path.clone(),
                source,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, MemoryDisk};
    use crate::entry::codec::{self, BUNDLE_HEADER_BYTES, Seal};
    use crate::entry::{ChainHead, Draft, Epoch, Kind, Position, ReceiverId, Sequence, Timestamp};

    /// A receiver with a bundle in it that is not flushed, and no room behind it.
    fn unflushed() -> (MemoryDisk, ReceiverWriter) {
        let disk = MemoryDisk::new();
        let path = Path::new("r");
        let file = disk.create(path).unwrap();
        let end = RECEIVER_HEADER_BYTES as u64;
        file.write_at(&[1; RECEIVER_HEADER_BYTES], 0).unwrap();
        file.sync().unwrap();
        let name = "L/R".parse().unwrap();
        let mut writer = ReceiverWriter::resume(file, path.to_path_buf(), name, end).unwrap();
        let mut buffer = vec![0; BUNDLE_HEADER_BYTES];
        let (draft, time) = (Draft::new(Kind::USER, b"text"), Timestamp::from_micros(1));
        codec::encode_entry(&mut buffer, &draft, Sequence::new(1), time, None, None);
        let seal = Seal {
            receiver: ReceiverId::from_bytes([1; 16]),
            offset: end,
            align: 8,
            epoch: Epoch::NONE,
            before: Position {
                sequence: Sequence::NONE,
                head: ChainHead::from_bytes([0; 32]),
            },
            durable_upto: Sequence::NONE,
        };
        writer.write(&codec::seal(buffer, 1, &seal)).unwrap();
        (disk, writer)
    }

    /// The flush that makes added space durable is one of all that was written before, too: it may have lost a bundle.
    #[test]
    fn a_failed_flush_of_added_space_is_final_whatever_the_medium_says() {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let (disk, mut writer) = unflushed();
            disk.fail_sync_with(disk.syncs() + 1, kind);
            let error = writer.secure(EXTEND_BYTES).unwrap_err();
            assert!(!error.is_disk_full(), "{error}");
            let flushes = disk.syncs();
            assert!(writer.secure(EXTEND_BYTES).is_err() && writer.sync().is_err());
            assert_eq!(disk.syncs(), flushes, "it was flushed again");
        }
    }

    #[test]
    fn a_full_disk_is_asked_again_for_space_and_any_other_failed_write_of_it_is_final() {
        let (disk, mut writer) = unflushed();
        disk.limit_bytes(Some(disk.used_bytes() + 100));
        let error = writer.secure(EXTEND_BYTES).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        disk.limit_bytes(None);
        writer.secure(EXTEND_BYTES).unwrap();
        assert!(writer.room() >= EXTEND_BYTES);
        writer.sync().unwrap();

        let (disk, mut writer) = unflushed();
        disk.fail_write(disk.writes() + 1);
        let error = writer.secure(EXTEND_BYTES).unwrap_err();
        assert!(!error.is_disk_full(), "{error}");
        assert!(writer.secure(EXTEND_BYTES).is_err() && writer.sync().is_err());
    }
}
