//! Room `store`: the bytes of a store save: a header with position, files and formats, chunks of rows in key order, and a
//! trailer with counts and a hash over everything. Numbers are little-endian; every part has a checksum of its own, so
//! that damage is found where it is. Must not know files of the operating system, or stores.
//!
//! | part | bytes |
//! | --- | --- |
//! | header | magic `RJSTSAV\n` 8, version 2, hash 2 (1 = BLAKE3), must-understand 2, ignorable 2, length of the header 8; created 8 (microseconds since 1970), position 113, number of files 4; per file id 16, rows 8, length of its format 4, format; CRC32 of the header 4 |
//! | chunk | `ROWS`, number of its file 4, rows 4, length of the body 4, CRC32 of these and the body 4; body: per row length of key 4, length of row 4, key, row |
//! | trailer | `END.`, number of files 4, chunks 8, rows 8, length of the whole save 8, hash 32 of everything before it |

use rjournal::entry::record::{Format, KEY_BYTES_MAX, ROW_BYTES_MAX};
use rjournal::entry::{Cursor, ObjectId, Timestamp};

use super::{KeyedRow, StorePosition, StoredFile};

const MAGIC: [u8; 8] = *b"RJSTSAV\n";
const VERSION: u16 = 1;
const BLAKE3: u16 = 1;
const ROWS: [u8; 4] = *b"ROWS";
const END: [u8; 4] = *b"END.";
/// The part of the header that says how long it is.
pub(super) const HEADER_BEGIN_BYTES: usize = 24;
/// The header of a store with very many files is not longer.
pub(super) const HEADER_BYTES_MAX: u64 = 256 * 1024 * 1024;
pub(super) const CHUNK_HEAD_BYTES: usize = 20;
/// A chunk is closed by the row that reaches this.
pub(super) const CHUNK_BODY_BYTES: usize = 256 * 1024;
/// A body is never longer.
pub(super) const CHUNK_BODY_BYTES_MAX: usize = CHUNK_BODY_BYTES + 8 + KEY_BYTES_MAX + ROW_BYTES_MAX;
pub(super) const TRAILER_BYTES: usize = 64;
/// The trailer before its hash.
pub(super) const TRAILER_BEGIN_BYTES: usize = 32;

/// Why bytes are not a part of a save.
pub(super) type Wrong = &'static str;

/// What a save begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) created: Timestamp,
    pub(super) position: StorePosition,
    pub(super) files: Vec<StoredFile>,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.created.as_micros().to_le_bytes());
        self.position.put(&mut body);
        body.extend_from_slice(&(self.files.len() as u32).to_le_bytes());
        for file in &self.files {
            let format = file.format.encode();
            body.extend_from_slice(file.id.as_bytes());
            body.extend_from_slice(&file.rows.to_le_bytes());
            body.extend_from_slice(&(format.len() as u32).to_le_bytes());
            body.extend_from_slice(&format);
        }
        let length = HEADER_BEGIN_BYTES + body.len() + 4;
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&MAGIC);
        for number in [VERSION, BLAKE3, 0, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&(length as u64).to_le_bytes());
        out.append(&mut body);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// How long a header is that begins with these bytes.
    pub(super) fn length(begin: &[u8; HEADER_BEGIN_BYTES]) -> Result<u64, Wrong> {
        let mut cursor = Cursor::new(begin);
        if cursor.array() != Some(MAGIC) {
            return Err("it does not begin as a store save does");
        }
        if cursor.u16() != Some(VERSION) {
            return Err("it is of a version that this program does not read");
        }
        if cursor.u16() != Some(BLAKE3) {
            return Err("its hash is of a kind that this program does not know");
        }
        if cursor.u16() != Some(0) {
            return Err("it needs something that this program does not know");
        }
        let _ignorable = cursor.u16();
        match cursor.u64() {
            Some(length)
                if (HEADER_BEGIN_BYTES as u64 + 4..=HEADER_BYTES_MAX).contains(&length) =>
            {
                Ok(length)
            }
            _ => Err("its header has an impossible length"),
        }
    }

    /// Reads a whole header.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Wrong> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or("its header is short")?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err("its header is damaged");
        }
        let body = body.get(HEADER_BEGIN_BYTES..).unwrap_or_default();
        Self::read_body(&mut Cursor::new(body)).ok_or("its header cannot be read")
    }

    fn read_body(cursor: &mut Cursor<'_>) -> Option<Self> {
        let created = Timestamp::from_micros(cursor.u64()?);
        let position = StorePosition::take(cursor)?;
        let count = cursor.u32()?;
        let mut files: Vec<StoredFile> = Vec::new();
        for _ in 0..count {
            let id = ObjectId::from_bytes(cursor.array()?);
            if files.last().is_some_and(|before| before.id >= id) {
                return None;
            }
            let rows = cursor.u64()?;
            let length = cursor.u32()?;
            let format = Format::decode(cursor.bytes(length as usize)?).ok()?;
            files.push(StoredFile { id, format, rows });
        }
        (cursor.remaining() == 0).then_some(Self {
            created,
            position,
            files,
        })
    }
}

/// Rows of one file, as they are written.
#[derive(Debug, Default)]
pub(super) struct ChunkWriter {
    body: Vec<u8>,
    rows: u32,
}

impl ChunkWriter {
    pub(super) fn push(&mut self, row: &KeyedRow) {
        // Keys and rows are bounded far below 4 GiB.
        self.body
            .extend_from_slice(&(row.key.len() as u32).to_le_bytes());
        self.body
            .extend_from_slice(&(row.row.len() as u32).to_le_bytes());
        self.body.extend_from_slice(&row.key);
        self.body.extend_from_slice(&row.row);
        self.rows += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.body.len() >= CHUNK_BODY_BYTES
    }

    /// The chunk of the file with this number, if any row is in it; empty afterwards.
    pub(super) fn finish(&mut self, file: u32) -> Option<Vec<u8>> {
        if self.rows == 0 {
            return None;
        }
        let mut out = Vec::with_capacity(CHUNK_HEAD_BYTES + self.body.len());
        out.extend_from_slice(&ROWS);
        for number in [file, self.rows, self.body.len() as u32] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc_of(&out, &self.body);
        out.extend_from_slice(&crc.to_le_bytes());
        out.append(&mut self.body);
        self.rows = 0;
        Some(out)
    }
}

/// What a chunk begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkHead {
    /// Number of the file, as the header lists them.
    pub(super) file: u32,
    pub(super) rows: u32,
    pub(super) length: u32,
    crc: u32,
}

impl ChunkHead {
    /// Reads a chunk's head; nothing when no chunk begins here.
    pub(super) fn read(bytes: &[u8; CHUNK_HEAD_BYTES]) -> Result<Option<Self>, Wrong> {
        let mut cursor = Cursor::new(bytes);
        match cursor.array() {
            Some(ROWS) => {}
            Some(END) => return Ok(None),
            _ => return Err("neither a chunk nor the end stands where one should"),
        }
        let mut head = || {
            Some(Self {
                file: cursor.u32()?,
                rows: cursor.u32()?,
                length: cursor.u32()?,
                crc: cursor.u32()?,
            })
        };
        match head() {
            Some(head) if head.length as usize <= CHUNK_BODY_BYTES_MAX => Ok(Some(head)),
            _ => Err("a chunk has an impossible length"),
        }
    }

    /// Reads the rows in a chunk's body.
    pub(super) fn rows(
        &self,
        head: &[u8; CHUNK_HEAD_BYTES],
        body: &[u8],
    ) -> Result<Vec<KeyedRow>, Wrong> {
        if crc_of(head.get(..16).unwrap_or_default(), body) != self.crc {
            return Err("a chunk is damaged");
        }
        let mut cursor = Cursor::new(body);
        let mut rows = Vec::new();
        for _ in 0..self.rows {
            rows.push(read_row(&mut cursor).ok_or("a row cannot be read")?);
        }
        if rows.is_empty() || cursor.remaining() != 0 {
            return Err("a chunk holds another number of rows than it says");
        }
        Ok(rows)
    }
}

fn read_row(cursor: &mut Cursor<'_>) -> Option<KeyedRow> {
    let key_length = cursor.u32()? as usize;
    let row_length = cursor.u32()? as usize;
    if key_length > KEY_BYTES_MAX || row_length > ROW_BYTES_MAX {
        return None;
    }
    let key = cursor.bytes(key_length)?.to_vec();
    let row = cursor.bytes(row_length)?.to_vec();
    Some(KeyedRow { key, row })
}

fn crc_of(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

/// What a save ends with, its hash apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) files: u32,
    pub(super) chunks: u64,
    pub(super) rows: u64,
    /// Of the whole save.
    pub(super) bytes: u64,
}

impl Trailer {
    pub(super) fn encode(&self) -> [u8; TRAILER_BEGIN_BYTES] {
        let mut out = [0; TRAILER_BEGIN_BYTES];
        out[..4].copy_from_slice(&END);
        out[4..8].copy_from_slice(&self.files.to_le_bytes());
        out[8..16].copy_from_slice(&self.chunks.to_le_bytes());
        out[16..24].copy_from_slice(&self.rows.to_le_bytes());
        out[24..].copy_from_slice(&self.bytes.to_le_bytes());
        out
    }
}
