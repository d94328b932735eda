//! Room `daemon`, the first copy: what is here of a save that is being fetched, as two files beside the store's own save: the
//! bytes, and the hashes of the pieces. Neither is believed: what was kept is proven again. Layout: docs/FORMAT.md. Must not
//! know where pieces come from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lent::{HASH_BYTES, ends_as, save_path};
use crate::daemon::data_dir::STORES_DIR;
use crate::disk::{Disk, DiskFile, read_whole, replace_whole};
use crate::entry::{Name, SaveFacts};
use crate::remote::{PIECE_BYTES, PieceHash, PieceHasher, SaveFetch, piece_bytes, piece_count};

/// What the file of the hashes begins with.
const MAGIC: [u8; 8] = *b"RJLDHSH\n";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 16;

/// Where the bytes are, from the data directory.
pub(super) fn part_path(store: Name) -> PathBuf {
    Path::new(STORES_DIR).join(format!("{store}.load"))
}

fn hashes_path(store: Name) -> PathBuf {
    Path::new(STORES_DIR).join(format!("{store}.load.hashes"))
}

/// Removes both files, where they are.
pub(super) fn remove(disk: &dyn Disk, store: Name) -> io::Result<()> {
    for path in [part_path(store), hashes_path(store)] {
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk.sync_dir(Path::new(STORES_DIR))
}

/// The file of a save that is here whole already, as the store's own: a restore took it, and was not finished. All of it is
/// read and proven.
pub(super) fn taken(disk: &dyn Disk, store: Name, save: &SaveFacts) -> io::Result<Option<PathBuf>> {
    let path = save_path(store);
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !ends_as(&*file, save)? {
        return Ok(None);
    }
    let mut hasher = PieceHasher::new(save.save, save.bytes);
    while let Some((piece, bytes)) = hasher.next() {
        hasher.handle_piece(&file.read(bytes, piece * PIECE_BYTES)?);
    }
    Ok(hasher.finish().map(|_| path))
}

/// A save being fetched into its file.
#[derive(Debug)]
pub(super) struct Part {
    disk: Arc<dyn Disk>,
    store: Name,
    file: Arc<dyn DiskFile>,
}

impl Part {
    /// Opens what is here of a save, or begins with nothing. Files of another save go.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        store: Name,
        fetch: &mut SaveFetch,
    ) -> io::Result<Self> {
        disk.create_dir(Path::new(STORES_DIR))?;
        let kept = kept_hashes(&**disk, store, piece_count(fetch.facts().bytes));
        if !fetch.handle_kept_hashes(kept) {
            remove(&**disk, store)?;
        }
        let path = part_path(store);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(&path)?;
                disk.sync_dir(Path::new(STORES_DIR))?;
                file
            }
            opened => opened?,
        };
        // What memory has may be more than a flush that failed has left on the medium.
        file.drop_cache()?;
        Ok(Self {
            disk: Arc::clone(disk),
            store,
            file,
        })
    }

    /// Keeps the hashes, so that what is fetched can be proven again later.
    pub(super) fn keep_hashes(&self, hashes: &[PieceHash]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + size_of_val(hashes));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.resize(HEAD_BYTES, 0);
        bytes.extend_from_slice(hashes.as_flattened());
        replace_whole(&*self.disk, &hashes_path(self.store), &bytes)
    }

    /// How many bytes there may be something in.
    pub(super) fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    /// Reads a piece that may be here, and has it proven.
    pub(super) fn prove(&self, fetch: &mut SaveFetch, piece: u64) -> io::Result<bool> {
        let bytes = piece_bytes(fetch.facts().bytes, piece);
        let body = self.file.read(bytes, piece * PIECE_BYTES)?;
        Ok(fetch.handle_kept_piece(piece, &body))
    }

    /// Writes a piece that was proven. What was written becomes durable from time to time, and at the end.
    pub(super) fn write(&self, piece: u64, body: &[u8]) -> io::Result<()> {
        self.file.write_at(body, piece * PIECE_BYTES)
    }

    /// Makes what was written so far durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Puts the hash behind the pieces, which are all here, and makes it durable: the file is the save then.
    pub(super) fn finish(&self, save: &SaveFacts) -> io::Result<()> {
        self.file.set_length(save.bytes)?;
        self.file
            .write_at(save.save.as_bytes(), save.bytes - HASH_BYTES)?;
        self.file.sync()?;
        self.disk.sync_dir(Path::new(STORES_DIR))
    }
}

/// Hashes that were kept; nothing where there are none of this number.
fn kept_hashes(disk: &dyn Disk, store: Name, count: u64) -> Vec<PieceHash> {
    let due = (HEAD_BYTES as u64).saturating_add(count.saturating_mul(HASH_BYTES));
    let read = read_whole(disk, &hashes_path(store), due).ok().flatten();
    let bytes = read.unwrap_or_default();
    let (head, body) = bytes.split_at_checked(HEAD_BYTES).unwrap_or_default();
    let known = head.starts_with(&MAGIC) && head.get(8..10) == Some(&VERSION.to_le_bytes());
    if known {
        body.as_chunks().0.to_vec()
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;
    use crate::entry::{ChainHead, JournalId, SaveId, Sequence};
    use crate::remote::FetchWants;

    const PIECES: u64 = 5;

    fn store() -> Name {
        Name::new("REPLICA").unwrap()
    }

    fn body(seed: u8) -> Vec<u8> {
        let length = (PIECES * PIECE_BYTES - 77) as usize;
        (0..length).map(|n| (n % 241) as u8 ^ seed).collect()
    }

    fn of(body: &[u8], piece: u64) -> &[u8] {
        let from = (piece * PIECE_BYTES) as usize;
        &body[from..body.len().min(from + PIECE_BYTES as usize)]
    }

    fn facts(body: &[u8]) -> SaveFacts {
        SaveFacts {
            save: SaveId::from_bytes(*blake3::hash(body).as_bytes()),
            bytes: body.len() as u64 + HASH_BYTES,
            applied: Sequence::new(3),
            restart: Sequence::new(3),
            head: ChainHead::genesis(JournalId::from_bytes([1; 16])),
        }
    }

    fn hashes(body: &[u8]) -> Vec<PieceHash> {
        let save = facts(body);
        let mut hasher = PieceHasher::new(save.save, save.bytes);
        for piece in 0..PIECES {
            hasher.handle_piece(of(body, piece));
        }
        hasher.finish().unwrap()
    }

    /// Opens it and proves what is here, as a load does.
    fn begin(disk: &Arc<dyn Disk>, body: &[u8]) -> (Part, SaveFetch) {
        let mut fetch = SaveFetch::new(facts(body)).unwrap();
        let part = Part::open(disk, store(), &mut fetch).unwrap();
        if fetch.hashes().is_none() {
            fetch.handle_hashes(hashes(body).as_flattened()).unwrap();
            part.keep_hashes(fetch.hashes().unwrap()).unwrap();
        }
        for piece in 0..part.length().unwrap().div_ceil(PIECE_BYTES) {
            part.prove(&mut fetch, piece).unwrap();
        }
        (part, fetch)
    }

    /// A power cut loses what was not made durable, tears the rest, and never makes a save of it that was not promised.
    #[test]
    fn what_a_power_cut_leaves_is_proven_again_and_the_rest_is_fetched() {
        let body = body(0);
        let memory = MemoryDisk::new();
        memory.create_dir(Path::new(STORES_DIR)).unwrap();
        memory.sync_dir(Path::new("")).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let (part, mut fetch) = begin(&disk, &body);
        for piece in [0, 1, 2] {
            fetch.handle_piece(piece, of(&body, piece)).unwrap();
            part.write(piece, of(&body, piece)).unwrap();
            if piece == 1 {
                part.sync().unwrap();
            }
        }
        drop((part, disk));
        for seed in 0..20 {
            let crashed: Arc<dyn Disk> = Arc::new(memory.crash(seed).power_on());
            let (part, mut fetch) = begin(&crashed, &body);
            assert!(fetch.bytes_here() >= 2 * PIECE_BYTES, "{seed}");
            while let FetchWants::Pieces { first, count } = fetch.poll_wants() {
                assert!(first >= 2, "{seed}");
                for piece in first..first + u64::from(count) {
                    fetch.handle_piece(piece, of(&body, piece)).unwrap();
                    part.write(piece, of(&body, piece)).unwrap();
                }
            }
            part.finish(&facts(&body)).unwrap();
            let whole = [&body[..], facts(&body).save.as_bytes()].concat();
            let read = read_whole(&*crashed, &part_path(store()), facts(&body).bytes);
            assert!(read.unwrap() == Some(whole), "{seed}");
        }
    }

    #[test]
    fn nothing_of_another_save_is_used() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let (one, other) = (body(0), body(7));
        let (part, mut fetch) = begin(&disk, &one);
        for piece in 0..PIECES {
            fetch.handle_piece(piece, of(&one, piece)).unwrap();
            part.write(piece, of(&one, piece)).unwrap();
        }
        part.finish(&facts(&one)).unwrap();
        let (_, fetch) = begin(&disk, &one);
        assert_eq!(fetch.bytes_missing(), 0);
        let (_, fetch) = begin(&disk, &other);
        assert_eq!(fetch.bytes_here(), 0);
        // And there is nothing left of the first one.
        let (_, fetch) = begin(&disk, &one);
        assert_eq!(fetch.bytes_here(), 0);
        remove(&*disk, store()).unwrap();
        assert_eq!(disk.list(Path::new(STORES_DIR)).unwrap(), [] as [&str; 0]);
    }
}
