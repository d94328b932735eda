//! Room `remote`, the first copy: what the two systems say to each other. docs/PROTOCOL.md describes it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::entry::{JournalId, Name, SaveFacts, SaveId, Sequence};

/// Hashes of pieces in one answer.
pub const HASHES_MAX: usize = 16 * 1024;
/// Pieces behind one answer.
pub const PIECES_MAX: u32 = 64;

/// Something about the save of a store that is made from a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveRequest {
    /// The journal.
    pub journal: JournalId,
    /// The store at the asking system that is to be loaded.
    pub store: Name,
    /// What is asked.
    pub ask: SaveAsk,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveAsk {
    /// Which save may I have? Whoever goes on from it must not need entries at or before `after`.
    Wanted {
        /// The entry before the oldest the asking system holds.
        after: Sequence,
        /// The one it has a part of.
        begun: Option<SaveId>,
    },
    /// What are the hashes of its pieces, from this one on?
    Hashes {
        /// The save.
        save: SaveId,
        /// The first piece.
        first: u64,
    },
    /// Send me pieces of it.
    Pieces {
        /// The save.
        save: SaveId,
        /// The first piece.
        first: u64,
        /// How many.
        count: u32,
    },
    /// It is loaded, and its store goes on: nothing need be kept for it any longer.
    Loaded {
        /// The save.
        save: SaveId,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveAnswer {
    /// Not yet: ask again in a moment.
    NotYet {
        /// What is being done.
        text: String,
        /// How far that is, in bytes.
        done: u64,
        /// Of so many, 0 where that is not known.
        total: u64,
    },
    /// This one; the entries behind its `restart` are kept until it is loaded.
    Promised(SaveFacts),
    /// Hashes of pieces, 32 bytes each, at most [`HASHES_MAX`].
    Hashes {
        /// The hashes, one behind the other.
        hashes: ByteBuf,
    },
    /// So many frames follow, each a piece.
    Pieces {
        /// How many.
        count: u32,
    },
    /// Noted.
    Released,
    /// That save can no longer be had: begin again.
    Gone {
        /// Why.
        text: String,
    },
}
