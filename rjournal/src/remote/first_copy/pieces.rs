//! Room `remote`, the first copy: the pieces of a save and their hashes. BLAKE3 is a tree, and a piece is one of its subtrees:
//! the hashes of all pieces together prove themselves against the hash of the whole, and then each proves its piece.
//! Must not know where pieces are kept.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::entry::SaveId;

/// Bytes in a piece, but for the last one; a power of two, as a subtree has.
pub const PIECE_BYTES: u64 = 1024 * 1024;
/// The longest save that can be sent: what is kept in memory for it is bounded by this.
pub const SAVE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024 * 1024;
/// The hash a save ends with. It is the save's identity, and is not sent.
pub(super) const HASH_BYTES: u64 = 32;

/// The hash of one piece at its place; of a save of one piece, the hash of the whole.
pub type PieceHash = ChainingValue;

/// The pieces of a save of this length.
pub const fn piece_count(bytes: u64) -> u64 {
    bytes.saturating_sub(HASH_BYTES).div_ceil(PIECE_BYTES)
}

/// Bytes in one piece of a save of this length; none behind the last.
pub fn piece_bytes(bytes: u64, piece: u64) -> usize {
    let hashed = bytes.saturating_sub(HASH_BYTES);
    let left = hashed.saturating_sub(piece.saturating_mul(PIECE_BYTES));
    usize::try_from(left.min(PIECE_BYTES)).unwrap_or_default()
}

/// The hash of a piece of a save of this length.
pub(super) fn hash_piece(bytes: u64, piece: u64, body: &[u8]) -> PieceHash {
    if piece_count(bytes) == 1 {
        return *blake3::hash(body).as_bytes();
    }
    blake3::Hasher::new()
        .set_input_offset(piece * PIECE_BYTES)
        .update(body)
        .finalize_non_root()
}

/// Whether these are the hashes of all pieces of the save.
pub(super) fn prove(save: SaveId, bytes: u64, hashes: &[PieceHash]) -> bool {
    if hashes.len() as u64 != piece_count(bytes) {
        return false;
    }
    let root = match hashes {
        [] => return false,
        [whole] => *whole,
        several => {
            let hashed = bytes - HASH_BYTES;
            let (left, right) = halves(several, hashed);
            *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
        }
    };
    root == *save.as_bytes()
}

/// The two subtrees below a node over so many bytes, which are more than one piece.
fn halves(hashes: &[PieceHash], bytes: u64) -> (PieceHash, PieceHash) {
    // The left one is the largest power of two below the whole, so it ends where a piece does.
    let left_bytes = left_subtree_len(bytes);
    let at = usize::try_from(left_bytes / PIECE_BYTES).unwrap_or_default();
    let (left, right) = hashes.split_at(at.min(hashes.len()));
    (
        subtree(left, left_bytes),
        subtree(right, bytes - left_bytes),
    )
}

fn subtree(hashes: &[PieceHash], bytes: u64) -> PieceHash {
    match hashes {
        [] => PieceHash::default(),
        [one] => *one,
        several => {
            let (left, right) = halves(several, bytes);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

/// Hashes the pieces of a save that is here, in order, and says whether it is the one it claims to be.
#[derive(Debug)]
pub struct PieceHasher {
    save: SaveId,
    bytes: u64,
    hashes: Vec<PieceHash>,
}

impl PieceHasher {
    /// Begins with a save of this length.
    pub const fn new(save: SaveId, bytes: u64) -> Self {
        Self {
            save,
            bytes,
            hashes: Vec::new(),
        }
    }

    /// How long the next piece is; nothing behind the last.
    pub fn next(&self) -> Option<(u64, usize)> {
        let piece = self.hashes.len() as u64;
        Some(piece_bytes(self.bytes, piece))
            .filter(|bytes| *bytes > 0)
            .map(|bytes| (piece, bytes))
    }

    /// Takes the next piece.
    pub fn handle_piece(&mut self, body: &[u8]) {
        let piece = self.hashes.len() as u64;
        self.hashes.push(hash_piece(self.bytes, piece, body));
    }

    /// The hashes, if they are those of the save.
    pub fn finish(self) -> Option<Vec<PieceHash>> {
        prove(self.save, self.bytes, &self.hashes).then_some(self.hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(length: u64) -> (SaveId, u64, Vec<PieceHash>) {
        let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let save = SaveId::from_bytes(*blake3::hash(&body).as_bytes());
        let bytes = length + HASH_BYTES;
        let mut hasher = PieceHasher::new(save, bytes);
        while let Some((piece, count)) = hasher.next() {
            let from = (piece * PIECE_BYTES) as usize;
            hasher.handle_piece(&body[from..from + count]);
        }
        (
            save,
            bytes,
            hasher.finish().expect("they are those of the save"),
        )
    }

    #[test]
    fn the_hashes_of_the_pieces_make_the_hash_of_the_save_at_any_length() {
        const P: u64 = PIECE_BYTES;
        for length in [
            1,
            P - 1,
            P,
            P + 1,
            2 * P,
            2 * P + 1,
            3 * P,
            5 * P + 7,
            7 * P,
            8 * P,
        ] {
            let (save, bytes, hashes) = hashed(length);
            assert_eq!(hashes.len() as u64, length.div_ceil(P), "{length}");
            assert!(prove(save, bytes, &hashes), "{length}");
        }
    }

    #[test]
    fn another_hash_length_or_order_proves_nothing() {
        let (save, bytes, hashes) = hashed(3 * PIECE_BYTES + 5);
        for n in 0..hashes.len() {
            let mut other = hashes.clone();
            other[n][7] ^= 1;
            assert!(!prove(save, bytes, &other), "{n}");
        }
        assert!(!prove(save, bytes + PIECE_BYTES, &hashes));
        assert!(!prove(save, bytes, &hashes[1..]));
        let mut other = hashes;
        other.swap(0, 1);
        assert!(!prove(save, bytes, &other));
        assert!(!prove(save, HASH_BYTES, &[]));
    }
}
