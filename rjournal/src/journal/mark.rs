//! Room `journal`: the flush mark: how far this copy is known to be on this disk, and how far it is known to be confirmed.
//! Written after each flush without a flush of its own, so always a lower bound: damage below it is damage, not a torn
//! tail (ruling 5). A slot that does not hold therefore says nothing; one that holds and is of a newer version says
//! something this program cannot read, and the journal is left alone. Must not know what was flushed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, read_whole_afresh};
use crate::entry::{ChainHead, Cursor, Position, Sequence};
use crate::error::JournalError;

const SLOT_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"RJMK";
const VERSION: u16 = 1;
/// Where the checksum of a slot stands, in every version.
const CRC_AT: usize = SLOT_BYTES - 4;

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
    /// [`JournalError::Io`] when the disk refuses, `Version` when a newer program wrote it; nothing is changed then.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<(Self, Option<Mark>), JournalError> {
        let path = dir.join("mark");
        let io = |action, source| JournalError::io(action, &path, source);
        let bytes = read_whole_afresh(disk, &path, 4096)
            .map_err(|source| io("could not be read", source))?;
        let mut newest: Option<Mark> = None;
        for slot in bytes.iter().flat_map(|bytes| bytes.chunks(SLOT_BYTES)) {
            match read(slot) {
                None => {}
                Some(Slot::Newer(found)) => return Err(JournalError::Version { path, found }),
                Some(Slot::Says(mark)) => {
                    newest = newest
                        .into_iter()
                        .chain([mark])
                        .max_by_key(|mark| mark.written.sequence);
                }
            }
        }
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
        slot.extend_from_slice(&VERSION.to_le_bytes());
        slot.extend_from_slice(&[0; 2]);
        slot.extend_from_slice(&mark.written.sequence.get().to_le_bytes());
        slot.extend_from_slice(mark.written.head.as_bytes());
        slot.extend_from_slice(&mark.confirmed.get().to_le_bytes());
        slot.resize(CRC_AT, 0);
        let crc = crc32fast::hash(&slot);
        slot.extend_from_slice(&crc.to_le_bytes());
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

/// A slot that holds.
enum Slot {
    Says(Mark),
    Newer(u16),
}

/// What a slot says, if it holds.
fn read(slot: &[u8]) -> Option<Slot> {
    let (body, crc) = slot.first_chunk::<SLOT_BYTES>()?.split_at(CRC_AT);
    if crc != crc32fast::hash(body).to_le_bytes() {
        return None;
    }
    let mut cursor = Cursor::new(body);
    if cursor.array::<4>()? != MAGIC {
        return None;
    }
    match cursor.u16()? {
        VERSION => {}
        0 => return None,
        newer => return Some(Slot::Newer(newer)),
    }
    let _reserved = cursor.u16()?;
    let sequence = Sequence::new(cursor.u64()?);
    let head = ChainHead::from_bytes(cursor.array()?);
    let confirmed = Sequence::new(cursor.u64()?);
    Some(Slot::Says(Mark {
        written: Position { sequence, head },
        confirmed,
    }))
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
        for at in SLOT_BYTES..2 * SLOT_BYTES {
            assert_eq!(torn(at), Some(mark(258, 250)), "byte {at}");
        }
        assert_eq!(torn(0), Some(mark(303, 290)));
    }

    /// Taken for none, a newer mark would make damage below it look like a torn tail, to be cut.
    #[test]
    fn a_mark_of_a_newer_version_is_refused_and_left_alone_a_rotten_one_is_none() {
        let disk = MemoryDisk::new();
        let (mut file, _) = MarkFile::open(&disk, Path::new("")).unwrap();
        file.write(mark(258, 250)).unwrap();
        let mut bytes = read_whole(&disk, Path::new("mark"), 4096).unwrap().unwrap();
        bytes.truncate(SLOT_BYTES);
        bytes.extend_from_within(..);
        bytes[SLOT_BYTES + 4] = 2;
        assert_eq!(found(&put(&bytes)), Some(mark(258, 250)), "the checksum");
        let crc = crc32fast::hash(&bytes[SLOT_BYTES..SLOT_BYTES + CRC_AT]);
        bytes[SLOT_BYTES + CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let newer = put(&bytes);
        let error = MarkFile::open(&newer, Path::new("")).unwrap_err();
        assert!(
            matches!(error, JournalError::Version { found: 2, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("format version 2"), "{error}");
        let left = read_whole(&newer, Path::new("mark"), 4096).unwrap();
        assert_eq!(left, Some(bytes));
    }
}
