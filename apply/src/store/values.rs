//! Room `store`: values of any size on a map that takes small ones only. A value that is too large stands in pieces,
//! and its key says how many: sled writes a page with more than 128 KiB into a file of its own, which it does not sync
//! and does not always remove, and up to 20 values share a page. Must not know what the values are.
//!
//! A stored value ends with a byte: 0 behind the value itself, 1 behind length(4) and number of pieces(4).

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

/// A value as it stands under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// The value itself.
    Whole(&'a [u8]),
    /// A value that stands elsewhere.
    Pieces(Pieces),
}

/// How much stands elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Bytes of the value.
    pub(super) length: u32,
    /// Number of pieces.
    pub(super) count: u32,
}

impl<'a> Stored<'a> {
    /// Reads what stands under a key; nothing when it is not a stored value.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (tag, value) = bytes.split_last()?;
        match *tag {
            WHOLE => Some(Self::Whole(value)),
            IN_PIECES => {
                let mut cursor = Cursor::new(value);
                let (length, count) = (cursor.u32()?, cursor.u32()?);
                let pieces = Pieces::of(length)?;
                (cursor.remaining() == 0 && pieces.count == count).then_some(Self::Pieces(pieces))
            }
            _ => None,
        }
    }

    /// How many pieces of it stand elsewhere.
    pub(super) const fn pieces(&self) -> u32 {
        match self {
            Self::Whole(_) => 0,
            Self::Pieces(pieces) => pieces.count,
        }
    }
}

impl Pieces {
    fn of(length: u32) -> Option<Self> {
        let count = length.div_ceil(PIECE_BYTES as u32);
        (count > 0).then_some(Self { length, count })
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
        let mut stored = Vec::with_capacity(value.len() + 1);
        stored.extend_from_slice(value);
        stored.push(WHOLE);
        (stored, 0)
    } else {
        let owner = pieces_of(space, &key);
        let mut count: u32 = 0;
        for piece in value.chunks(PIECE_BYTES) {
            map.put(piece_key(&owner, count), piece.to_vec())?;
            count += 1;
        }
        let length = value.len() as u32;
        let mut stored = Vec::with_capacity(9);
        stored.extend_from_slice(&length.to_le_bytes());
        stored.extend_from_slice(&count.to_le_bytes());
        stored.push(IN_PIECES);
        (stored, count)
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
    enum Found {
        Nothing,
        Whole(Vec<u8>),
        Elsewhere(Pieces),
        Crooked,
    }
    let found = map.look(key, |stored| match stored.map(Stored::read) {
        None => Found::Nothing,
        Some(Some(Stored::Whole(value))) => Found::Whole(value.to_vec()),
        Some(Some(Stored::Pieces(pieces))) => Found::Elsewhere(pieces),
        Some(None) => Found::Crooked,
    })?;
    match found {
        Found::Nothing => Ok(None),
        Found::Whole(value) => Ok(Some(value)),
        Found::Elsewhere(pieces) => joined(map, space, key, pieces).map(Some),
        Found::Crooked => Err(crooked(map)),
    }
}

/// The value of which `stored` stands under `key`.
pub(super) fn whole<M: Ordered>(
    map: &M,
    space: u64,
    key: &[u8],
    stored: &[u8],
) -> Result<Vec<u8>, StoreError> {
    match Stored::read(stored) {
        Some(Stored::Whole(value)) => Ok(value.to_vec()),
        Some(Stored::Pieces(pieces)) => joined(map, space, key, pieces),
        None => Err(crooked(map)),
    }
}

fn joined<M: Ordered>(
    map: &M,
    space: u64,
    key: &[u8],
    pieces: Pieces,
) -> Result<Vec<u8>, StoreError> {
    let owner = pieces_of(space, key);
    let length = pieces.length as usize;
    let mut value = Vec::new();
    for number in 0..pieces.count {
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
    let found = map.look(key, |stored| {
        stored
            .map(Stored::read)
            .map(|found| found.map(|found| found.pieces()))
    })?;
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
        let stored = |length: u32, count: u32, tag: u8| {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.push(tag);
            bytes
        };
        assert_eq!(
            Stored::read(&stored(6145, 2, IN_PIECES)).map(|found| found.pieces()),
            Some(2)
        );
        assert_eq!(Stored::read(&stored(6144, 2, IN_PIECES)), None);
        assert_eq!(Stored::read(&stored(0, 0, IN_PIECES)), None);
        assert_eq!(Stored::read(&stored(1, 1, 2)), None);
        assert_eq!(Stored::read(&[0; 0]), None);
        assert_eq!(Stored::read(&[IN_PIECES]), None);
        assert_eq!(Stored::read(&[WHOLE]), Some(Stored::Whole(&[])));
    }
}
