//! Room `store`: how files and rows are laid onto an ordered map. Must not know which map it is.
//!
//! | key | value |
//! | --- | --- |
//! | `00` | the state of the store: [`super::catalog::State`] |
//! | `01` file(16) | the file's format |
//! | `02` file(16) | the file's space(8) and its number of rows(8) |
//! | `03` space(8) key | a row |
//! | `04` space(8) BLAKE3(32) number(4) | a piece of a value that is too large to stand whole |
//! | `05` space(8) | nothing: the space belongs to no file any more, its rows are being removed |
//!
//! The rows of a file stand in a *space*, a number given once and never again. So a file is taken away in one small
//! step, with the position: its entries under `01` and `02` go, one under `05` comes, and the rows, which nobody sees
//! any more, go in small steps of their own afterwards. A crash in between leaves only more to remove.
//! Numbers in keys are big-endian, so that their order is that of the numbers; in values they are little-endian.

use rjournal::entry::ObjectId;

/// Key of the state.
pub(super) const STATE: &[u8] = &[0];
pub(super) const FORMAT: u8 = 1;
pub(super) const SPACE: u8 = 2;
pub(super) const ROW: u8 = 3;
pub(super) const PIECE: u8 = 4;
pub(super) const GONE: u8 = 5;
/// Bytes of a row's key before the key itself.
pub(super) const ROW_KEY_AT: usize = 9;

/// The key of a file's format.
pub(super) fn format_key(file: ObjectId) -> Vec<u8> {
    joined(FORMAT, file.as_bytes(), &[])
}

/// The key of a file's space and number of rows.
pub(super) fn space_key(file: ObjectId) -> Vec<u8> {
    joined(SPACE, file.as_bytes(), &[])
}

/// The key of a row.
pub(super) fn row_key(space: u64, key: &[u8]) -> Vec<u8> {
    joined(ROW, &space.to_be_bytes(), key)
}

/// The key that says that a space is to be emptied.
pub(super) fn gone_key(space: u64) -> Vec<u8> {
    joined(GONE, &space.to_be_bytes(), &[])
}

/// What the keys of all pieces of the value under `owner` begin with. Its hash keeps them short, however long the owner
/// is, and apart from those of all others.
pub(super) fn pieces_of(space: u64, owner: &[u8]) -> Vec<u8> {
    joined(PIECE, &space.to_be_bytes(), blake3::hash(owner).as_bytes())
}

/// The key of one piece.
pub(super) fn piece_key(pieces: &[u8], number: u32) -> Vec<u8> {
    [pieces, &number.to_be_bytes()].concat()
}

/// Where the entries of one kind in one space begin, and where they have ended.
pub(super) fn area(kind: u8, space: u64) -> (Vec<u8>, Vec<u8>) {
    // The state refuses numbers near the end, so the next one is always there.
    let end = space.saturating_add(1);
    (
        joined(kind, &space.to_be_bytes(), &[]),
        joined(kind, &end.to_be_bytes(), &[]),
    )
}

/// The file in a key under `01` or `02`.
pub(super) fn file_of(key: &[u8]) -> Option<ObjectId> {
    let bytes: [u8; 16] = key.get(1..)?.try_into().ok()?;
    Some(ObjectId::from_bytes(bytes))
}

/// The space in a key under `03`, `04` or `05`.
pub(super) fn space_of(key: &[u8]) -> Option<u64> {
    let bytes: [u8; 8] = key.get(1..ROW_KEY_AT)?.try_into().ok()?;
    Some(u64::from_be_bytes(bytes))
}

/// The row's own key in a key under `03`.
pub(super) fn key_of(key: &[u8]) -> &[u8] {
    key.get(ROW_KEY_AT..).unwrap_or_default()
}

fn joined(kind: u8, middle: &[u8], end: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + middle.len() + end.len());
    key.push(kind);
    key.extend_from_slice(middle);
    key.extend_from_slice(end);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores on disk are laid out like this: a change needs a new version in the file `format`.
    #[test]
    fn the_keys_are_these_bytes() {
        let file = ObjectId::from_bytes(*b"0123456789abcdef");
        assert_eq!(STATE, b"\x00");
        assert_eq!(format_key(file), b"\x010123456789abcdef");
        assert_eq!(space_key(file), b"\x020123456789abcdef");
        assert_eq!(row_key(258, b"key"), b"\x03\0\0\0\0\0\0\x01\x02key");
        assert_eq!(gone_key(258), b"\x05\0\0\0\0\0\0\x01\x02");
        let pieces = pieces_of(258, b"owner");
        let begin = b"\x04\0\0\0\0\0\0\x01\x02";
        assert_eq!(
            pieces,
            [&begin[..], blake3::hash(b"owner").as_bytes()].concat()
        );
        let piece = piece_key(&pieces, 259);
        assert_eq!(piece, [&pieces[..], &[0, 0, 1, 3]].concat());
        let (from, to) = area(ROW, 255);
        let inside = [row_key(255, b""), row_key(255, &[255; 9])];
        assert!(inside.iter().all(|key| from <= *key && *key < to));
        assert!(row_key(254, &[255; 9]) < from && row_key(256, b"") >= to);
        assert_eq!(
            (file_of(&format_key(file)), space_of(&gone_key(258))),
            (Some(file), Some(258))
        );
        assert_eq!(key_of(&row_key(1, b"key")), b"key");
    }
}
