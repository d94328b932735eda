//! Room `store`: reading a store save, and believing nothing: lengths before memory is taken for them, checksums chunk by
//! chunk, order, counts, the hash over everything, and that nothing stands behind it. Must not know stores.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rjournal::entry::{SaveFacts, SaveId, Timestamp};

use super::save::Progress;
use super::save_bytes::{
    CHUNK_HEAD_BYTES, ChunkHead, HEADER_BEGIN_BYTES, Header, TRAILER_BEGIN_BYTES, TRAILER_BYTES,
    Trailer, Wrong,
};
use super::{KeyedRow, StoreError, StorePosition, StoredFile};

const READ_BYTES: usize = 256 * 1024;
/// The hash at the end.
const HASH_BYTES: usize = TRAILER_BYTES - TRAILER_BEGIN_BYTES;

/// What a store save is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveInfo {
    /// The position it is the fold of.
    pub position: StorePosition,
    /// When it was made.
    pub created: Timestamp,
    /// Its files, by identity, with their numbers of rows.
    pub files: Vec<StoredFile>,
    /// How long it is.
    pub bytes: u64,
    /// The hash it ends with.
    pub save: SaveId,
}

impl SaveInfo {
    pub(super) fn of(header: Header, bytes: u64, save: SaveId) -> Self {
        let Header {
            position,
            created,
            files,
        } = header;
        Self {
            position,
            created,
            files,
            bytes,
            save,
        }
    }

    /// What others need to know of it to ask for it.
    pub const fn facts(&self) -> SaveFacts {
        let StorePosition {
            applied,
            restart,
            head,
            ..
        } = self.position;
        SaveFacts {
            save: self.save,
            bytes: self.bytes,
            applied,
            restart,
            head,
        }
    }
}

/// Reads what a save says at its beginning and at its end. Its rows are not looked at, so the hash is only what it says:
/// [`check`] proves it.
///
/// # Errors
/// [`StoreError::Save`] when this is not a save or its header is damaged, [`StoreError::Io`].
pub fn read_header(path: &Path) -> Result<SaveInfo, StoreError> {
    SaveReader::open(path)?.into_info()
}

/// Reads a save to its end and checks all of it.
///
/// # Errors
/// [`StoreError::Save`] naming the first thing that is wrong, [`StoreError::Io`].
pub fn check(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<SaveInfo, StoreError> {
    let mut reader = SaveReader::open(path)?;
    while reader.next_chunk()?.is_some() {
        progress(reader.progress());
    }
    reader.into_info()
}

/// Rows of one file, in key order, behind those of the chunk before.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Number of the file in the header.
    pub(super) file: usize,
    pub(super) rows: Vec<KeyedRow>,
}

/// A save that is being read.
#[derive(Debug)]
pub(super) struct SaveReader {
    source: Source,
    header: Header,
    chunks: u64,
    rows: u64,
    /// The file the last chunk was of, its rows so far, and its last key.
    file: usize,
    file_rows: u64,
    last_key: Option<Vec<u8>>,
    /// The hash of everything, once all of it was read.
    hash: Option<[u8; HASH_BYTES]>,
}

impl SaveReader {
    /// Opens a save and reads its header.
    ///
    /// # Errors
    /// [`StoreError::Save`], [`StoreError::Io`].
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path)
            .map_err(|source| StoreError::io("could not be opened", path, source))?;
        Self::begin(Source::begin(path.to_owned(), file)?)
    }

    /// Reads the same file again from its beginning.
    ///
    /// # Errors
    /// [`StoreError::Save`], [`StoreError::Io`].
    pub(super) fn again(self) -> Result<Self, StoreError> {
        let Source { path, file, .. } = self.source;
        let again = Self::begin(Source::begin(path, file.into_inner())?)?;
        if again.header != self.header {
            return Err(again.source.wrong("it changed while it was read"));
        }
        Ok(again)
    }

    fn begin(mut source: Source) -> Result<Self, StoreError> {
        let mut bytes = source.take(HEADER_BEGIN_BYTES as u64)?;
        let length = match bytes.first_chunk() {
            Some(begin) => Header::length(begin).map_err(|what| source.wrong(what))?,
            None => return Err(source.wrong("its header is short")),
        };
        bytes.append(&mut source.take(length - HEADER_BEGIN_BYTES as u64)?);
        let header = Header::decode(&bytes).map_err(|what| source.wrong(what))?;
        Ok(Self {
            source,
            header,
            chunks: 0,
            rows: 0,
            file: 0,
            file_rows: 0,
            last_key: None,
            hash: None,
        })
    }

    pub(super) const fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn into_info(mut self) -> Result<SaveInfo, StoreError> {
        let save = match self.hash {
            Some(proven) => proven,
            None => self.source.last_bytes()?,
        };
        Ok(SaveInfo::of(
            self.header,
            self.source.length,
            SaveId::from_bytes(save),
        ))
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            rows: self.rows,
            rows_total: self.header.files.iter().map(|file| file.rows).sum(),
            bytes: self.source.length - self.source.left,
        }
    }

    /// The next rows; nothing at the end, where everything has been checked.
    ///
    /// # Errors
    /// [`StoreError::Save`] naming what is wrong, [`StoreError::Io`].
    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, StoreError> {
        let bytes = self.source.take(CHUNK_HEAD_BYTES as u64)?;
        let Some(begin) = bytes.first_chunk() else {
            return Err(self.source.wrong("a chunk is short"));
        };
        let head = ChunkHead::read(begin).map_err(|what| self.source.wrong(what))?;
        let Some(head) = head else {
            return self.end(bytes).map(|()| None);
        };
        let body = self.source.take(u64::from(head.length))?;
        let rows = head.rows(begin, &body);
        let rows = rows.map_err(|what| self.source.wrong(what))?;
        let file = head.file as usize;
        self.follow(file, &rows)?;
        Ok(Some(Chunk { file, rows }))
    }

    /// Checks that rows continue those before them.
    fn follow(&mut self, file: usize, rows: &[KeyedRow]) -> Result<(), StoreError> {
        if file < self.file {
            return Err(self.source.wrong("its files are out of order"));
        }
        while self.file < file {
            self.leave_file()?;
        }
        for row in rows {
            if self.last_key.as_ref().is_some_and(|last| *last >= row.key) {
                return Err(self.source.wrong("its keys are out of order"));
            }
            self.last_key = Some(row.key.clone());
        }
        self.chunks += 1;
        self.rows += rows.len() as u64;
        self.file_rows += rows.len() as u64;
        Ok(())
    }

    /// Checks that all rows of a file were there.
    fn leave_file(&mut self) -> Result<(), StoreError> {
        let due = self.header.files.get(self.file).map(|file| file.rows);
        if due != Some(self.file_rows) {
            let what = "a file has another number of rows than its header says";
            return Err(self.source.wrong(what));
        }
        self.file += 1;
        self.file_rows = 0;
        self.last_key = None;
        Ok(())
    }

    fn end(&mut self, mut bytes: Vec<u8>) -> Result<(), StoreError> {
        let rest = TRAILER_BEGIN_BYTES - CHUNK_HEAD_BYTES;
        bytes.append(&mut self.source.take(rest as u64)?);
        while self.file < self.header.files.len() {
            self.leave_file()?;
        }
        let due = Trailer {
            files: self.header.files.len() as u32,
            chunks: self.chunks,
            rows: self.rows,
            bytes: self.source.length,
        };
        if bytes != due.encode() {
            return Err(self.source.wrong("its end does not count what it holds"));
        }
        let hash = *self.source.hasher.finalize().as_bytes();
        if self.source.take(HASH_BYTES as u64)? != hash {
            return Err(self.source.wrong("its hash is not that of its bytes"));
        }
        self.hash = Some(hash);
        Ok(())
    }
}

/// Bytes of a file, hashed as they are read.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    file: BufReader<File>,
    length: u64,
    left: u64,
    hasher: blake3::Hasher,
}

impl Source {
    fn begin(path: PathBuf, mut file: File) -> Result<Self, StoreError> {
        let length = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.metadata())
            .map_err(|source| StoreError::io("could not be read", &path, source))?
            .len();
        Ok(Self {
            path,
            file: BufReader::with_capacity(READ_BYTES, file),
            length,
            left: length,
            hasher: blake3::Hasher::new(),
        })
    }

    /// The next bytes. Memory is taken for bytes that are there, never for a length that is only said.
    fn take(&mut self, count: u64) -> Result<Vec<u8>, StoreError> {
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| self.wrong("it was cut short"))?;
        let mut bytes = vec![0; count as usize];
        self.file
            .read_exact(&mut bytes)
            .map_err(|source| StoreError::io("could not be read", &self.path, source))?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    /// The hash it ends with, which nothing has proven.
    fn last_bytes(&mut self) -> Result<[u8; HASH_BYTES], StoreError> {
        let mut bytes = [0; HASH_BYTES];
        let at = self.length.saturating_sub(HASH_BYTES as u64);
        let read = self
            .file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| StoreError::io("could not be read", &self.path, source))?;
        Ok(bytes)
    }

    fn wrong(&self, what: Wrong) -> StoreError {
        StoreError::Save {
            path: self.path.display().to_string(),
            reason: format!("{what}, before byte {}", self.length - self.left),
        }
    }
}

#[cfg(test)]
mod tests {
    use rjournal::entry::record::{Format, KEY_BYTES_MAX};
    use rjournal::entry::{ChainHead, JournalId, ObjectId, Sequence};

    use super::super::save_bytes::ChunkWriter;
    use super::*;

    const IDS: [ObjectId; 2] = [ObjectId::from_bytes([1; 16]), ObjectId::from_bytes([2; 16])];

    fn header(files: &[(ObjectId, u64)]) -> Header {
        let journal = JournalId::from_bytes([7; 16]);
        let format = Format::key_value("LIB/KV".parse().unwrap());
        let file = |(id, rows): &(ObjectId, u64)| StoredFile {
            id: *id,
            format: format.clone(),
            rows: *rows,
        };
        Header {
            created: Timestamp::ZERO,
            position: StorePosition {
                group: journal.into(),
                term: 1,
                journal,
                applied: Sequence::FIRST,
                restart: Sequence::FIRST,
                head: ChainHead::genesis(journal),
                in_progress: None,
            },
            files: files.iter().map(file).collect(),
        }
    }

    fn chunk(file: u32, keys: &[&[u8]]) -> Vec<u8> {
        let mut chunk = ChunkWriter::default();
        for key in keys {
            let key = key.to_vec();
            chunk.push(&KeyedRow { key, row: vec![9] });
        }
        chunk.finish(file).unwrap()
    }

    /// Puts a save together whose checksums and hash are right, and says what is wrong with it.
    fn verdict(header: &Header, chunks: &[Vec<u8>], rows: u64) -> String {
        let mut bytes = [header.encode(), chunks.concat()].concat();
        let trailer = Trailer {
            files: header.files.len() as u32,
            chunks: chunks.len() as u64,
            rows,
            bytes: (bytes.len() + TRAILER_BYTES) as u64,
        };
        bytes.extend_from_slice(&trailer.encode());
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("save");
        std::fs::write(&path, bytes).unwrap();
        match check(&path, &mut |_| {}) {
            Ok(_) => "whole".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_save_that_lies_with_sound_checksums_is_refused() {
        let two = header(&[(IDS[0], 2), (IDS[1], 1)]);
        let sound = [chunk(0, &[b"a", b"b"]), chunk(1, &[b"a"])];
        assert_eq!(verdict(&two, &sound, 3), "whole");
        let cases = [
            (
                vec![chunk(0, &[b"a"]), chunk(0, &[b"b"]), chunk(1, &[b"a"])],
                3,
                "whole",
            ),
            (
                vec![chunk(0, &[b"b", b"a"]), chunk(1, &[b"a"])],
                3,
                "keys are out of order",
            ),
            (
                vec![chunk(0, &[b"a", b"a"]), chunk(1, &[b"a"])],
                3,
                "keys are out of order",
            ),
            (
                vec![chunk(0, &[b"b"]), chunk(0, &[b"a"]), chunk(1, &[b"a"])],
                3,
                "keys are out of order",
            ),
            (
                vec![chunk(1, &[b"a"]), chunk(0, &[b"a", b"b"])],
                3,
                "another number of rows",
            ),
            (
                vec![chunk(0, &[b"a"]), chunk(1, &[b"a"])],
                2,
                "another number of rows",
            ),
            (vec![chunk(0, &[b"a", b"b"])], 2, "another number of rows"),
            (
                vec![chunk(0, &[b"a", b"b"]), chunk(2, &[b"a"])],
                3,
                "another number of rows",
            ),
            (
                vec![chunk(0, &[b"a", b"b"]), chunk(1, &[b"a"])],
                4,
                "does not count what it holds",
            ),
        ];
        for (chunks, rows, words) in cases {
            let found = verdict(&two, &chunks, rows);
            assert!(found.contains(words), "{words}: {found}");
        }
        // A file without rows may follow, files twice or out of order may not.
        let three = header(&[(IDS[0], 1), (IDS[1], 0)]);
        assert_eq!(verdict(&three, &[chunk(0, &[b"a"])], 1), "whole");
        for files in [[(IDS[0], 0), (IDS[0], 0)], [(IDS[1], 0), (IDS[0], 0)]] {
            assert!(verdict(&header(&files), &[], 0).contains("header cannot be read"));
        }
        let long = vec![0; KEY_BYTES_MAX + 1];
        let one = header(&[(IDS[0], 1)]);
        assert!(verdict(&one, &[chunk(0, &[&long])], 1).contains("a row cannot be read"));
    }
}
