//! Room `entry`: the sealed bundle, the unit of one disk write and one message.
//! Must not know where it is going.

use bytes::Bytes;

use super::codec::{Entries, Folded};
use super::{BundleHeader, Position, ReceiverId, Timestamp};

/// Contiguous entries sealed together; the same bytes on every disk and on the wire.
///
/// What holds for every value of this type:
/// 1. header and checksum fit the bytes and the receiver they were sealed for;
/// 2. every entry in it parses, and they are numbered `header.first ..= last.sequence` without a gap;
/// 3. `last.head` is the chain head after its last entry, computed from `header.head_before`;
/// 4. no entry has a flag that must be understood and is not.
///
/// What does not follow, and each room checks for itself: that `head_before` is the head of *its* history, and that
/// the offset is where *its* receiver ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBundle {
    bytes: Bytes,
    receiver: ReceiverId,
    header: BundleHeader,
    last: Position,
    last_time: Timestamp,
}

impl SealedBundle {
    pub(crate) fn new(
        bytes: Bytes,
        receiver: ReceiverId,
        header: BundleHeader,
        folded: Folded,
    ) -> Self {
        Self {
            bytes,
            receiver,
            header,
            last: folded.last,
            last_time: folded.last_time,
        }
    }

    /// The bytes, as they stand on every disk.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The receiver it belongs to.
    pub const fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// Its header.
    pub const fn header(&self) -> &BundleHeader {
        &self.header
    }

    /// Its last entry and the chain head there.
    pub const fn last(&self) -> Position {
        self.last
    }

    /// When its last entry was deposited.
    pub const fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// The position right before its first entry.
    pub const fn before(&self) -> Position {
        Position {
            sequence: self.header.first.before(),
            head: self.header.head_before,
        }
    }

    /// Its entries in order. Every one parses (guarantee 2), so errors are not expected from this iterator.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(&self.bytes, &self.header)
    }
}
