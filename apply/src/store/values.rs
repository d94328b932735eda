//! Room `store`: values of any size on a map that takes small ones only. A value that is too large stands in pieces,
//! and its key says how many: sled writes a page with more than 128 KiB into a file of its own, which it does not sync
//! and does not always remove, and up to 20 values share a page. Must not know what the values are.
//!
//! A stored value ends with the CRC32 of its key and itself (4) and a byte: 0 behind the value, 1 behind its length (4) and
//! its number of pieces (4). Neither store checks what it reads from a file that was closed in order as closely as this
//! does, and a row that is not what was written is never given to anybody.

use rjournal::entry::Cursor;

use super::StoreError;
use super::layout::{piece_key, pieces_of};
use super::ordered::{Ordered, OrderedMut};

const WHOLE: u8 = 0;
const IN_PIECES: u8 = 1;
/// Bytes of a value in pieces but the last.
const PIECE_BYTES: usize = 6 * 1024;
/// A value this short is not worth pieces, however long its key.
const SHORT_BYTES: usize = 64;

/// What stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored<'a> {
    crc: u32,
    value: Value<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    /// The value itself.
    Here(&'a [u8]),
    /// A value that stands elsewhere.
    Elsewhere { length: u32, pieces: u32 },
}

impl<'a> Stored<'a> {
    /// Reads what stands under a key; nothing when it is not a stored value.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (tag, bytes) = bytes.split_last()?;
        let (bytes, crc) = bytes.split_last_chunk()?;
        let value = match *tag {
            WHOLE => Value::Here(bytes),
            IN_PIECES => {
                let mut cursor = Cursor::new(bytes);
                let (length, pieces) = (cursor.u32()?, cursor.u32()?);
                let sound = cursor.remaining() == 0
                    && length > 0
                    && pieces == length.div_ceil(PIECE_BYTES as u32);
                if !sound {
                    return None;
                }
                Value::Elsewhere { length, pieces }
            }
            _ => return None,
        };
        let crc = u32::from_le_bytes(*crc);
        Some(Self { crc, value })
    }
}

fn stored(begin: &[u8], key: &[u8], value: &[u8], tag: u8) -> Vec<u8> {
    let mut stored = Vec::with_capacity(begin.len() + 5);
    stored.extend_from_slice(begin);
    stored.extend_from_slice(&crc_of(key, value).to_le_bytes());
    stored.push(tag);
    stored
}

fn crc_of(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// How many pieces of what `stored` says stand elsewhere; nothing when it is not a stored value.
pub(super) fn pieces(stored: &[u8]) -> Option<u32> {
    match Stored::read(stored)?.value {
        Value::Here(_) => Some(0),
        Value::Elsewhere { pieces, .. } => Some(pieces),
    }
}

/// Puts a value under a key, and takes away pieces of the one before that are left over. Gives whether there was one.
pub(super) fn put<M: OrderedMut>(
    map: &mut M,
    space: u64,
    key: Vec<u8>,
    value: &[u8],
) -> Result<bool, StoreError> {
    let old = pieces_at(map, &key)?;
    let whole = value.len() <= SHORT_BYTES || key.len() + value.len() <= map.whole_bytes_max();
    let (stored, count) = if whole {
        (stored(value, &key, value, WHOLE), 0)
    } else {
        let owner = pieces_of(space, &key);
        let mut count: u32 = 0;
        for piece in value.chunks(PIECE_BYTES) {
            map.put(piece_key(&owner, count), piece.to_vec())?;
            count += 1;
        }
        let mut begin = (value.len() as u32).to_le_bytes().to_vec();
        begin.extend_from_slice(&count.to_le_bytes());
        (stored(&begin, &key, value, IN_PIECES), count)
    };
    remove_pieces(map, space, &key, count..old.unwrap_or(0))?;
    map.put(key, stored)?;
    Ok(old.is_some())
}

/// Takes a value and its pieces away. Gives whether there was one.
pub(super) fn remove<M: OrderedMut>(
    map: &mut M,
    space: u64,
    key: Vec<u8>,
) -> Result<bool, StoreError> {
    let Some(count) = pieces_at(map, &key)? else {
        return Ok(false);
    };
    remove_pieces(map, space, &key, 0..count)?;
    map.remove(key)?;
    Ok(true)
}

/// The value under a key.
pub(super) fn get<M: Ordered>(
    map: &M,
    space: u64,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let found = map.look(key, |stored| {
        stored.map(|stored| whole(map, space, key, stored))
    })?;
    found.transpose()
}

/// The value of which `stored` stands under `key`.
pub(super) fn whole<M: Ordered>(
    map: &M,
    space: u64,
    key: &[u8],
    stored: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let Some(Stored { crc, value }) = Stored::read(stored) else {
        return Err(crooked(map));
    };
    let value = match value {
        Value::Here(value) => value.to_vec(),
        Value::Elsewhere { length, pieces } => joined(map, space, key, length as usize, pieces)?,
    };
    if crc_of(key, &value) != crc {
        return Err(map.doubtful("a value of it is not what was written".to_owned()));
    }
    Ok(value)
}

fn joined<M: Ordered>(
    map: &M,
    space: u64,
    key: &[u8],
    length: usize,
    pieces: u32,
) -> Result<Vec<u8>, StoreError> {
    let owner = pieces_of(space, key);
    let mut value = Vec::new();
    for number in 0..pieces {
        let due = (length - value.len()).min(PIECE_BYTES);
        let fits = map.look(&piece_key(&owner, number), |piece| match piece {
            Some(piece) if piece.len() == due => {
                value.extend_from_slice(piece);
                true
            }
            _ => false,
        })?;
        if !fits {
            let reason = format!(
                "piece {number} of a value of {length} bytes is missing or of another length"
            );
            return Err(map.doubtful(reason));
        }
    }
    Ok(value)
}

/// How many pieces the value under a key has; nothing when there is no value.
fn pieces_at<M: Ordered>(map: &M, key: &[u8]) -> Result<Option<u32>, StoreError> {
    let found = map.look(key, |stored| stored.map(pieces))?;
    match found {
        None => Ok(None),
        Some(Some(count)) => Ok(Some(count)),
        Some(None) => Err(crooked(map)),
    }
}

fn remove_pieces<M: OrderedMut>(
    map: &mut M,
    space: u64,
    key: &[u8],
    numbers: std::ops::Range<u32>,
) -> Result<(), StoreError> {
    if numbers.is_empty() {
        return Ok(());
    }
    let owner = pieces_of(space, key);
    for number in numbers {
        map.remove(piece_key(&owner, number))?;
    }
    Ok(())
}

fn crooked<M: Ordered>(map: &M) -> StoreError {
    map.doubtful("a value does not end as values do".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_value_that_lies_about_its_pieces_is_not_read() {
        let pieces_of = |length: u32, count: u32, tag: u8| {
            let begin = [length.to_le_bytes(), count.to_le_bytes()].concat();
            pieces(&stored(&begin, b"key", b"value", tag))
        };
        assert_eq!(pieces_of(6145, 2, IN_PIECES), Some(2));
        assert_eq!(pieces_of(6144, 2, IN_PIECES), None);
        assert_eq!(pieces_of(0, 0, IN_PIECES), None);
        assert_eq!(pieces_of(1, 1, 2), None);
        assert_eq!(pieces(&[0; 0]), None);
        assert_eq!(pieces(&[1, 2, 3, WHOLE]), None);
        assert_eq!(pieces(&stored(b"", b"key", b"", WHOLE)), Some(0));
    }
}
