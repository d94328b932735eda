//! Room `remote`, the first copy: a store save travels from one system to another in pieces, each proven by itself to be a
//! part of the save that was promised. [`SaveFetch`] says what is to be asked for next, and takes nothing on trust.
//! Must not know files, stores or what stands in a save.

mod ask;
mod fetch;
mod pieces;

pub use ask::{HASHES_MAX, PIECES_MAX, SaveAnswer, SaveAsk, SaveRequest};
pub use fetch::{FetchWants, SaveFetch, SaveLie};
pub use pieces::{PIECE_BYTES, PieceHash, PieceHasher, SAVE_BYTES_MAX, piece_bytes, piece_count};
