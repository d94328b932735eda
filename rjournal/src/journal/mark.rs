//! Room `journal`: the flush mark: how far this copy is known to be on this disk, and how far it is known to be confirmed.
//! Written after each flush without a flush of its own, so always a lower bound: damage below it is damage, not a torn
//! tail (ruling 5). Must not know what was flushed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, read_whole_afresh};
use crate::entry::{ChainHead, Cursor, Position, Sequence};
use crate::error::JournalError;

const SLOT_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"RJMK";

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Flushed here.
    pub(super) written: Position,
    /// Confirmed here.
    pub(super) confirmed: Sequence,
}

/// The file with the two slots of the mark.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    next_slot: u64,
}

impl MarkFile {
    /// Opens the mark of the journal in `dir`, making the file if there is none; gives what it says, if it says anything.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<(Self, Option<Mark>), JournalError> {
        let path = dir.join("mark");
        let io = |action, source| JournalError::io(action, &path, source);
        let bytes = read_whole_afresh(disk, &path, 4096)
            .map_err(|source| io("could not be read", source))?;
        let file = if bytes.is_some() {
            disk.open(&path)
        } else {
            disk.create(&path).and_then(|file| {
                file.write_at(&[0; 2 * SLOT_BYTES], 0)?;
                file.sync()?;
                disk.sync_dir(dir)?;
                Ok(file)
            })
        };
        let file = file.map_err(|source| io("could not be opened", source))?;
        let newest = bytes
            .unwrap_or_default()
            .chunks(SLOT_BYTES)
            .filter_map(read)
            .max_by_key(|mark| mark.written.sequence);
        Ok((
            Self {
                file,
                path,
                next_slot: 0,
            },
            newest,
        ))
    }

    /// Puts a mark down, without a flush.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub(super) fn write(&mut self, mark: Mark) -> Result<(), JournalError> {
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend_from_slice(&MAGIC);
        slot.extend_from_slice(&mark.written.sequence.get().to_le_bytes());
        slot.extend_from_slice(mark.written.head.as_bytes());
        slot.extend_from_slice(&mark.confirmed.get().to_le_bytes());
        let crc = crc32fast::hash(&slot);
        slot.extend_from_slice(&crc.to_le_bytes());
        slot.resize(SLOT_BYTES, 0);
        let offset = self.next_slot * SLOT_BYTES as u64;
        self.next_slot = 1 - self.next_slot;
        self.file
            .write_at(&slot, offset)
            .map_err(|source| JournalError::io("could not be written", &self.path, source))
    }

    /// Puts a mark down in both slots and flushes it: where nothing else will, or where the mark goes back after a cut.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub(super) fn write_durably(&mut self, mark: Mark) -> Result<(), JournalError> {
        self.write(mark)?;
        self.write(mark)?;
        self.file
            .sync()
            .map_err(|source| JournalError::io("could not be flushed", &self.path, source))
    }
}

fn read(slot: &[u8]) -> Option<Mark> {
    let mut cursor = Cursor::new(slot);
    if cursor.array::<4>()? != MAGIC {
        return None;
    }
    let sequence = Sequence::new(cursor.u64()?);
    let head = ChainHead::from_bytes(cursor.array()?);
    let confirmed = Sequence::new(cursor.u64()?);
    let covered = SLOT_BYTES.checked_sub(cursor.remaining())?;
    (cursor.u32()? == crc32fast::hash(slot.get(..covered)?)).then_some(Mark {
        written: Position { sequence, head },
        confirmed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemoryDisk, read_whole};

    fn mark(sequence: u64, confirmed: u64) -> Mark {
        Mark {
            written: Position {
                sequence: Sequence::new(sequence),
                head: ChainHead::from_bytes([sequence as u8; 32]),
            },
            confirmed: Sequence::new(confirmed),
        }
    }

    fn put(bytes: &[u8]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        let file = disk.create(Path::new("mark")).unwrap();
        file.write_at(bytes, 0).unwrap();
        disk
    }

    fn found(disk: &MemoryDisk) -> Option<Mark> {
        MarkFile::open(disk, Path::new("")).unwrap().1
    }

    /// Marks outlive programs: a change of these bytes makes damage look like a torn tail. Rewritten with `UPDATE=1`.
    #[test]
    fn golden_mark_bytes() {
        let disk = MemoryDisk::new();
        let (mut file, none) = MarkFile::open(&disk, Path::new("")).unwrap();
        assert_eq!(none, None);
        file.write(mark(258, 250)).unwrap();
        file.write(mark(303, 290)).unwrap();
        let bytes = read_whole(&disk, Path::new("mark"), 4096).unwrap().unwrap();
        let line = |hex: String, line: &[u8]| {
            let hex = line
                .iter()
                .fold(hex, |hex, byte| format!("{hex}{byte:02x}"));
            hex + "\n"
        };
        let hex = bytes.chunks(32).fold(String::new(), line);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mark.hex");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &hex).unwrap();
        }
        assert_eq!(hex, std::fs::read_to_string(&path).unwrap());
        assert_eq!(found(&put(&bytes)), Some(mark(303, 290)));
        let torn = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            found(&put(&bytes))
        };
        for at in SLOT_BYTES..SLOT_BYTES + 56 {
            assert_eq!(torn(at), Some(mark(258, 250)), "byte {at}");
        }
        assert_eq!(torn(0), Some(mark(303, 290)));
    }
}
