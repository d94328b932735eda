//! Room `entry`: the watermarks of both sides, and the order that must hold between them. The order is asserted in
//! release builds, at the change, with all numbers in the text: a watermark out of order is a bug of ours that must
//! never reach an answer. Must not know who moves them or who waits for them.

use serde::{Deserialize, Serialize};

use super::Sequence;

/// Watermarks of a local journal: `deposited >= sealed >= written >= released`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceProgress {
    /// Numbered and in the open bundle.
    pub deposited: Sequence,
    /// In a bundle that was handed to the disk and to the links.
    pub sealed: Sequence,
    /// Flushed here.
    pub written: Sequence,
    /// Every answer up to here has its class (ruling 11).
    pub released: Sequence,
}

impl SourceProgress {
    /// All watermarks at one place: what a journal looks like right after opening.
    pub const fn at(sequence: Sequence) -> Self {
        Self {
            deposited: sequence,
            sealed: sequence,
            written: sequence,
            released: sequence,
        }
    }

    /// Asserts the order and that nothing went back.
    ///
    /// # Panics
    /// When a watermark is out of order or went back.
    pub fn advance(&mut self, next: Self) {
        let before = *self;
        let ordered = next.deposited >= next.sealed
            && next.sealed >= next.written
            && next.written >= next.released;
        let forward = next.deposited >= before.deposited
            && next.sealed >= before.sealed
            && next.written >= before.written
            && next.released >= before.released;
        assert!(
            ordered && forward,
            "watermarks out of order: {before:?} -> {next:?}"
        );
        *self = next;
    }
}

/// Watermarks of a copy: `received >= written >= confirmed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CopyProgress {
    /// In memory here.
    pub received: Sequence,
    /// Flushed here.
    pub written: Sequence,
    /// Flushed here, and known here, durably, to be flushed at the source too.
    pub confirmed: Sequence,
}

impl CopyProgress {
    /// Asserts the order and that nothing went back.
    ///
    /// # Panics
    /// When a watermark is out of order or went back.
    pub fn advance(&mut self, next: Self) {
        let before = *self;
        let ordered = next.received >= next.written && next.written >= next.confirmed;
        let forward = next.received >= before.received
            && next.written >= before.written
            && next.confirmed >= before.confirmed;
        assert!(
            ordered && forward,
            "watermarks out of order: {before:?} -> {next:?}"
        );
        *self = next;
    }
}
