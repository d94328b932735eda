//! Room `entry`: where in a history something stands: sequence numbers, positions with their chain head, epochs.
//! Must not know how a history is stored or shipped.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ChainHead, RECEIVER_HEADER_BYTES, ReceiverId};

/// Number of an entry in its journal: 1, 2, 3 ... without gaps, never restarted. As a watermark it is inclusive:
/// "up to and with this one"; zero means "none yet".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(u64);

impl Sequence {
    /// No entry yet.
    pub const NONE: Self = Self(0);
    /// The first entry of a journal.
    pub const FIRST: Self = Self(1);
    /// The last number a deposit may get: IBM i's limit under *MAXOPT3, well below 2^64.
    pub const LAST_USABLE: Self = Self(18_446_744_073_709_551_600 - (1 << 20));

    /// From a plain number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this.
    ///
    /// # Panics
    /// At 2^64, which deposits never reach ([`Self::LAST_USABLE`]) and decoders refuse.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("sequence numbers end at LAST_USABLE"),
        )
    }

    /// The one before this; none stays none.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The number `count` further on, or nothing when that is past the end of all numbers.
    pub fn checked_add(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }

    /// How many entries lie in `(earlier, self]`; zero when `earlier` is not earlier.
    pub const fn entries_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A place in one history: the last entry included, and the chain head there. Two copies that agree on a position
/// agree on every entry up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The last entry included.
    pub sequence: Sequence,
    /// Running hash over everything up to it.
    pub head: ChainHead,
}

/// Where a copy of a journal ends, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The attached receiver, [`ReceiverId::NONE`] where there is none yet.
    pub receiver: ReceiverId,
    /// The one before it.
    pub previous: ReceiverId,
    /// Where the next bundle goes, in bytes.
    pub offset: u64,
}

impl Place {
    /// Whether no receiver was ever attached.
    pub fn is_nowhere(&self) -> bool {
        self.receiver.is_none()
    }

    /// Whether the attached receiver holds no bundle yet: a crash may have left its header behind alone.
    pub const fn is_unused(&self) -> bool {
        self.offset == RECEIVER_HEADER_BYTES as u64
    }
}

/// Who was writing: grows with every change of primary (`term`) and every opening of a journal for deposits (`boot`).
/// The random `nonce` tells two processes with one identity apart (a cloned system).
///
/// Epochs are ordered by `(term, boot)`; equal `(term, boot)` with different nonces are never one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Epoch {
    /// Grows with every change of primary in a recovery group.
    pub term: u64,
    /// Grows with every opening of the local journal for deposits.
    pub boot: u64,
    /// Random at every opening.
    pub nonce: u64,
}

impl Epoch {
    /// Before any opening.
    pub const NONE: Self = Self {
        term: 0,
        boot: 0,
        nonce: 0,
    };

    /// The part epochs are ordered by.
    pub const fn rank(self) -> (u64, u64) {
        (self.term, self.boot)
    }

    /// Same rank, other nonce: two processes claim one identity (failures.md COU-7).
    pub fn is_duplicate_of(self, other: Self) -> bool {
        self.rank() == other.rank() && self.nonce != other.nonce
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:016x}", self.term, self.boot, self.nonce)
    }
}
