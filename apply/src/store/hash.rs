//! Room `store`: what a file holds in 32 bytes, to compare two replicas of it, and where two of them part. Must not know
//! which stores they are.

use std::collections::VecDeque;

use rjournal::entry::ObjectId;

use super::{KeyedRow, StoreError, StoreReader, StoreSnapshot};

/// One reading.
const ROWS: usize = 4096;
const BYTES: usize = 1024 * 1024;
/// What every hash begins with, so that it is no other hash of the same bytes.
const DOMAIN: &[u8] = b"rjournal rows 1";

/// Something that gives the rows of a file in key order: a snapshot, or a store that nothing changes meanwhile.
pub trait RowSource {
    /// Rows with keys after `after`, or from the first; none at the end.
    ///
    /// # Errors
    /// Whatever the store says.
    fn rows_after(
        &mut self,
        file: ObjectId,
        after: Option<&[u8]>,
    ) -> Result<Vec<KeyedRow>, StoreError>;
}

impl RowSource for Box<dyn StoreSnapshot> {
    fn rows_after(
        &mut self,
        file: ObjectId,
        after: Option<&[u8]>,
    ) -> Result<Vec<KeyedRow>, StoreError> {
        self.scan(file, after, ROWS, BYTES)
    }
}

impl RowSource for &dyn StoreReader {
    fn rows_after(
        &mut self,
        file: ObjectId,
        after: Option<&[u8]>,
    ) -> Result<Vec<KeyedRow>, StoreError> {
        self.scan(file, after, ROWS, BYTES)
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHash {
    /// How many rows.
    pub rows: u64,
    /// BLAKE3 of `rjournal rows 1` and, in key order, of each row: length of key 4, length of row 4 (little-endian), key,
    /// row.
    pub hash: [u8; 32],
}

/// Hashes the rows of a file.
///
/// # Errors
/// Whatever the store says.
pub fn hash_file(source: &mut dyn RowSource, file: ObjectId) -> Result<FileHash, StoreError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN);
    let mut count: u64 = 0;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = source.rows_after(file, after.as_deref())?;
        for row in &rows {
            hasher.update(&(row.key.len() as u32).to_le_bytes());
            hasher.update(&(row.row.len() as u32).to_le_bytes());
            hasher.update(&row.key);
            hasher.update(&row.row);
        }
        count += rows.len() as u64;
        let Some(last) = rows.into_iter().next_back() else {
            break;
        };
        after = Some(last.key);
    }
    let hash = *hasher.finalize().as_bytes();
    Ok(FileHash { rows: count, hash })
}

/// The first place where two replicas of a file part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the first has a row with this key.
    OnlyInFirst {
        /// The key.
        key: Vec<u8>,
    },
    /// Only the second has a row with this key.
    OnlyInSecond {
        /// The key.
        key: Vec<u8>,
    },
    /// Both have a row with this key, but not the same.
    OtherRow {
        /// The key.
        key: Vec<u8>,
    },
}

impl Difference {
    /// The key where they part.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::OnlyInFirst { key } | Self::OnlyInSecond { key } | Self::OtherRow { key } => key,
        }
    }
}

/// Compares two replicas of a file row by row; nothing where they are the same.
///
/// # Errors
/// Whatever the stores say.
pub fn difference(
    first: &mut dyn RowSource,
    second: &mut dyn RowSource,
    file: ObjectId,
) -> Result<Option<Difference>, StoreError> {
    let mut first = Ahead::new(first, file);
    let mut second = Ahead::new(second, file);
    loop {
        let (one, other) = match (first.next()?, second.next()?) {
            (None, None) => return Ok(None),
            (Some(one), None) => return Ok(Some(Difference::OnlyInFirst { key: one.key })),
            (None, Some(other)) => return Ok(Some(Difference::OnlyInSecond { key: other.key })),
            (Some(one), Some(other)) => (one, other),
        };
        if one.key < other.key {
            return Ok(Some(Difference::OnlyInFirst { key: one.key }));
        }
        if one.key > other.key {
            return Ok(Some(Difference::OnlyInSecond { key: other.key }));
        }
        if one.row != other.row {
            return Ok(Some(Difference::OtherRow { key: one.key }));
        }
    }
}

/// Rows of a file one by one.
struct Ahead<'a> {
    source: &'a mut dyn RowSource,
    file: ObjectId,
    after: Option<Vec<u8>>,
    rows: VecDeque<KeyedRow>,
}

impl<'a> Ahead<'a> {
    fn new(source: &'a mut dyn RowSource, file: ObjectId) -> Self {
        Self {
            source,
            file,
            after: None,
            rows: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Result<Option<KeyedRow>, StoreError> {
        if self.rows.is_empty() {
            let rows = self.source.rows_after(self.file, self.after.as_deref())?;
            self.after = rows.last().map(|row| row.key.clone()).or(self.after.take());
            self.rows = rows.into();
        }
        Ok(self.rows.pop_front())
    }
}
