//! Room `store`: the store save (ruling 8): one file with the rows of all files at one position, written from a snapshot
//! while the store goes on, complete under its name or not there at all. It is what the store's hold on receivers rests
//! on, and the first copy of a new system. Layout: [`super::save_bytes`]. Must not know which store it came from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rjournal::disk::{Disk, DiskFile, OsDisk};
use rjournal::entry::{SaveId, Timestamp};

use super::directory::parent;
use super::save_bytes::{ChunkWriter, HEADER_BYTES_MAX, Header, TRAILER_BYTES, Trailer};
use super::save_read::SaveInfo;
use super::{StoreError, StoreSnapshot, StoredFile};

/// One scan of the snapshot.
const SCAN_ROWS: usize = 4096;
const SCAN_BYTES: usize = 1024 * 1024;

/// How far a save or a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rows done.
    pub rows: u64,
    /// Rows in all.
    pub rows_total: u64,
    /// Bytes of the save done.
    pub bytes: u64,
}

/// Writes the rows of all files of a snapshot into one file at `path`, in place of one that stands there. The name is
/// given last, after all bytes are durable. `created` is only noted down; `progress` is told about every chunk.
///
/// # Errors
/// What the snapshot says (transient where it was given up: take another), [`StoreError::Io`],
/// [`StoreError::Save`] for a store that is not the fold of a position, or does not hold what it counts.
pub fn save(
    path: &Path,
    snapshot: &mut dyn StoreSnapshot,
    created: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<SaveInfo, StoreError> {
    let position = *snapshot.position();
    if position.in_progress.is_some_and(|mark| mark.is_restore()) {
        return Err(wrong(path, "the store is being restored itself".to_owned()));
    }
    let header = Header {
        created,
        position,
        files: snapshot.files().to_vec(),
    };
    let mut target = Target::create(path)?;
    let written = write(&mut target, &header, snapshot, progress);
    match written.and_then(|save| target.finish().map(|()| save)) {
        Ok(save) => Ok(SaveInfo::of(header, target.offset, save)),
        Err(error) => {
            // Whatever is left of it, the next save removes.
            drop(target.disk.remove(&target.fresh));
            Err(error)
        }
    }
}

fn write(
    target: &mut Target<'_>,
    header: &Header,
    snapshot: &mut dyn StoreSnapshot,
    progress: &mut dyn FnMut(Progress),
) -> Result<SaveId, StoreError> {
    let bytes = header.encode();
    if bytes.len() as u64 > HEADER_BYTES_MAX {
        return Err(StoreError::TooLarge {
            what: "the list of files of a save",
            bytes: bytes.len() as u64,
            bytes_max: HEADER_BYTES_MAX,
        });
    }
    target.write(&bytes)?;
    let mut done = Progress {
        rows: 0,
        rows_total: header.files.iter().map(|file| file.rows).sum(),
        bytes: target.offset,
    };
    let mut chunks: u64 = 0;
    for (number, file) in header.files.iter().enumerate() {
        let mut chunk = ChunkWriter::default();
        let mut after: Option<Vec<u8>> = None;
        let mut rows: u64 = 0;
        loop {
            let scanned = snapshot.scan(file.id, after.as_deref(), SCAN_ROWS, SCAN_BYTES)?;
            let Some(last) = scanned.last() else { break };
            after = Some(last.key.clone());
            for row in &scanned {
                chunk.push(row);
                rows += 1;
                if chunk.is_full() {
                    chunks += target.write_chunk(&mut chunk, number)?;
                    done.rows += std::mem::take(&mut rows);
                    done.bytes = target.offset;
                    progress(done);
                }
            }
        }
        chunks += target.write_chunk(&mut chunk, number)?;
        done.rows += rows;
        done.bytes = target.offset;
        progress(done);
        check_count(target.path, file, &header.files[..number], done.rows)?;
    }
    let trailer = Trailer {
        files: header.files.len() as u32,
        chunks,
        rows: done.rows,
        bytes: target.offset + TRAILER_BYTES as u64,
    };
    target.write(&trailer.encode())?;
    let hash = *target.hasher.finalize().as_bytes();
    target.write(&hash)?;
    Ok(SaveId::from_bytes(hash))
}

/// A save must never hold less than the store counted: it is what receivers are deleted for.
fn check_count(
    path: &Path,
    file: &StoredFile,
    before: &[StoredFile],
    rows: u64,
) -> Result<(), StoreError> {
    let found = rows - before.iter().map(|file| file.rows).sum::<u64>();
    if found == file.rows {
        return Ok(());
    }
    let reason = format!(
        "file {} has {found} rows, but the store counts {}: the store is in doubt, and nothing was saved",
        file.id, file.rows
    );
    Err(wrong(path, reason))
}

/// The file in the making, under a name of its own.
struct Target<'a> {
    path: &'a Path,
    disk: OsDisk,
    fresh: PathBuf,
    file: Arc<dyn DiskFile>,
    offset: u64,
    hasher: blake3::Hasher,
}

impl<'a> Target<'a> {
    fn create(path: &'a Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::io("could not be made", path, source);
        let name = path.file_name();
        let name = name.ok_or_else(|| io(io::ErrorKind::InvalidInput.into()))?;
        // Else it would be found out when all is written, and the name is given.
        if path.is_dir() {
            return Err(io(io::ErrorKind::IsADirectory.into()));
        }
        let mut fresh = name.to_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let disk = OsDisk::new(parent(path));
        match disk.remove(&fresh) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(io(source)),
            _ => {}
        }
        let file = disk.create(&fresh).map_err(io)?;
        Ok(Self {
            path,
            disk,
            fresh,
            file,
            offset: 0,
            hasher: blake3::Hasher::new(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_at(bytes, self.offset);
        written.map_err(|source| StoreError::io("could not be written", self.path, source))?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Gives how many chunks were written: one, or none where there were no rows.
    fn write_chunk(&mut self, chunk: &mut ChunkWriter, file: usize) -> Result<u64, StoreError> {
        match chunk.finish(file as u32) {
            Some(bytes) => self.write(&bytes).map(|()| 1),
            None => Ok(0),
        }
    }

    fn finish(&self) -> Result<(), StoreError> {
        let name = self.path.file_name().map_or(self.path, Path::new);
        self.file
            .sync()
            .and_then(|()| self.disk.durable_rename(&self.fresh, name))
            .map_err(|source| StoreError::io("could not be made durable", self.path, source))
    }
}

fn wrong(path: &Path, reason: String) -> StoreError {
    StoreError::Save {
        path: path.display().to_string(),
        reason,
    }
}
