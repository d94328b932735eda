//! Room `receiver`: which stretches of a receiver are damaged, and what proves the bundles that are to take their place
//! (failures.md RCV-2, RCV-3, RCV-9, RCV-11). Bundles go in, gaps and proofs come out: no files.
//!
//! A stretch of good bundles counts only where it joins what stands before it: place, number, head, epoch. Where one does
//! not, there is a gap. What is put into a gap must join the last good bundle before it, bundle by bundle, and must
//! arrive exactly - byte, number and head - where something that is here goes on:
//!
//! ```text
//!   good ... good | ? ? ? ? ? | good ...        from: behind the last good bundle
//!            from ^           ^ end             end:  the head before the next good one, the recorded end of the
//!                                                     receiver, the beginning of the next one, or the flush mark
//! ```
//!
//! The heads are hashes over all entries, so bytes from anywhere can be tried and none need be believed.
//! Must not know where bundles come from.

use bytes::Bytes;

use crate::entry::codec;
use crate::entry::control_entry::Neighbour;
use crate::entry::{
    ChainHead, CodecError, Epoch, JournalId, Position, QualifiedName, RECEIVER_HEADER_BYTES,
    ReceiverHeader, ReceiverId, SealedBundle, Sequence, SystemId,
};

/// A place in a receiver: a byte between two bundles, and the last entry before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The byte.
    pub offset: u64,
    /// The last entry before it, and the chain head there.
    pub at: Position,
}

impl Point {
    /// Where the first bundle of a receiver begins.
    pub const fn begin(before: Position) -> Self {
        Self {
            offset: RECEIVER_HEADER_BYTES as u64,
            at: before,
        }
    }
}

/// Where a gap may end, because something that is here goes on there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The last entry of the gap, and the chain head there.
    pub at: Position,
    /// The byte behind it, where that is known.
    pub offset: Option<u64>,
    /// `durable_upto` of the bundle that goes on there, if it is one: no bundle before it has a higher one.
    pub durable_upto: Option<Sequence>,
}

impl End {
    /// An end of which only the entry and the head are known.
    pub const fn head(at: Position) -> Self {
        Self {
            at,
            offset: None,
            durable_upto: None,
        }
    }

    const fn is_at(&self, point: Point) -> bool {
        let placed = match self.offset {
            Some(offset) => offset == point.offset,
            None => true,
        };
        placed && self.at.sequence.get() == point.at.sequence.get()
    }
}

/// Bytes of a receiver that are not what they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub from: Point,
    /// Where it may end, nearest first. Nothing when nothing behind it is known: then no bytes can be proven.
    pub ends: Vec<End>,
    /// The last entry known to have been in it.
    pub last: Sequence,
}

impl Gap {
    /// The first entry that is missing.
    pub const fn first(&self) -> Sequence {
        self.from.at.sequence.next()
    }

    /// The byte behind it, where it is known.
    pub fn until(&self) -> Option<u64> {
        self.ends.first().and_then(|end| end.offset)
    }
}

/// A bundle that holds by itself, found at its own place in a receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    from: Point,
    to: Point,
    epoch: Epoch,
    durable_upto: Sequence,
}

impl From<&SealedBundle> for Seen {
    fn from(bundle: &SealedBundle) -> Self {
        let header = bundle.header();
        Self {
            from: Point {
                offset: header.offset,
                at: bundle.before(),
            },
            to: Point {
                offset: header.end(),
                at: bundle.last(),
            },
            epoch: header.epoch,
            durable_upto: header.durable_upto,
        }
    }
}

/// How a receiver ends.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    /// Here: it is detached, or it was read while it grew.
    At(End),
    /// It is the last one, and may hold more than is known. What stands behind a gap that begins at or above `known` is a
    /// torn tail, not damage.
    Open {
        /// An entry known to have been flushed here.
        known: Sequence,
        /// The flush mark, which knows the head, too.
        mark: Option<Position>,
        /// Whether this system sealed the bundles: then their `durable_upto` speaks of this disk.
        sealed_here: bool,
    },
}

/// Walks along the bundles of one receiver that hold by themselves, in order of their places, and finds the gaps.
#[derive(Debug)]
pub(super) struct Walk {
    /// Where the last bundle begins.
    last: Point,
    /// Behind it.
    at: Point,
    epoch: Epoch,
    durable_upto: Sequence,
    gaps: Vec<Gap>,
}

impl Walk {
    /// Begins behind a receiver's header.
    pub(super) const fn new(before: Position) -> Self {
        let begin = Point::begin(before);
        Self {
            last: begin,
            at: begin,
            epoch: Epoch::NONE,
            durable_upto: Sequence::NONE,
            gaps: Vec::new(),
        }
    }

    /// The next bundle that holds by itself.
    pub(super) fn handle_bundle(&mut self, seen: Seen) {
        let comes_later = seen.from.offset >= self.at.offset
            && seen.from.at.sequence >= self.at.at.sequence
            && seen.epoch.rank() >= self.epoch.rank();
        if !comes_later {
            // Bytes of another time: part of the damage.
            return;
        }
        if seen.from != self.at {
            self.open_gap(End {
                at: seen.from.at,
                offset: Some(seen.from.offset),
                durable_upto: Some(seen.durable_upto),
            });
        }
        self.last = seen.from;
        self.at = seen.to;
        self.epoch = seen.epoch;
        self.durable_upto = self.durable_upto.max(seen.durable_upto);
    }

    /// Something goes on at `end`, and what was read before does not lead there.
    fn open_gap(&mut self, end: End) {
        // Two neighbours that hold by themselves and do not join: nobody can tell yet which of them is wrong.
        let neighbours =
            end.offset == Some(self.at.offset) || end.at.sequence <= self.at.at.sequence;
        let from = if neighbours { self.last } else { self.at };
        if let Some(gap) = self.gaps.last_mut() {
            let reached = gap.ends.last().and_then(|end| end.offset);
            if reached >= Some(from.offset) {
                gap.ends.push(end);
                gap.last = gap.last.max(end.at.sequence);
                return;
            }
        }
        self.gaps.push(Gap {
            from,
            ends: vec![end],
            last: end.at.sequence,
        });
    }

    /// The receiver has been read to its end.
    pub(super) fn finish(mut self, ending: Ending) -> Vec<Gap> {
        match ending {
            Ending::At(end) => {
                if !(end.is_at(self.at) && end.at == self.at.at) {
                    self.open_gap(end);
                }
            }
            Ending::Open {
                known,
                mark,
                sealed_here,
            } => {
                let known = if sealed_here {
                    known.max(self.durable_upto)
                } else {
                    known
                };
                let is_torn = |gap: &Gap| gap.from.at.sequence >= known;
                if let Some(torn) = self.gaps.iter().position(is_torn) {
                    self.gaps.truncate(torn);
                } else if self.at.at.sequence < known {
                    let proven = mark.filter(|mark| mark.sequence >= known);
                    self.gaps.push(Gap {
                        from: self.at,
                        ends: proven.map(End::head).into_iter().collect(),
                        last: known,
                    });
                }
            }
        }
        self.gaps
    }
}

/// Why bytes are not those that stood here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// They are no bundle of this receiver.
    #[error("what it sent is no bundle of this receiver: {0}")]
    Codec(#[from] CodecError),
    /// They belong elsewhere.
    #[error("what it sent from entry {found} does not join entry {expected} here")]
    NotJoined {
        /// The entry that should come.
        expected: Sequence,
        /// The entry that came.
        found: Sequence,
    },
    /// They lead past everything that is here.
    #[error(
        "its entries up to {upto} do not lead to those that are here: it holds another history"
    )]
    OtherHistory {
        /// The last entry tried.
        upto: Sequence,
    },
    /// They claim more to be on disk than the bundle behind them does.
    #[error("what it sent claims more to be flushed than the bundle behind it")]
    Claims,
    /// It is the header of something else.
    #[error("the receiver header it sent differs in its {what}")]
    Header {
        /// What differs.
        what: &'static str,
    },
    /// There are none.
    #[error("it does not have the entries from {first} on")]
    NotHeld {
        /// The first one.
        first: Sequence,
    },
    /// Nothing behind the gap is known.
    #[error(
        "nothing that is here is behind the damage, so no bytes can be proven to have stood there"
    )]
    NothingBehind,
}

/// Closes the gaps of one receiver with bundles from elsewhere, one after the other.
#[derive(Debug)]
pub struct Fill<'a> {
    receiver: ReceiverId,
    gaps: &'a [Gap],
    next: usize,
    at: Point,
    claimed: Sequence,
    /// Up to here nothing was to be had.
    tried: Sequence,
    filled: Vec<(u64, u64)>,
}

impl<'a> Fill<'a> {
    /// Begins with the first gap.
    pub fn new(receiver: ReceiverId, gaps: &'a [Gap]) -> Self {
        let nowhere = Point::begin(Position {
            sequence: Sequence::NONE,
            head: ChainHead::from_bytes([0; 32]),
        });
        Self {
            receiver,
            gaps,
            next: 0,
            at: gaps.first().map_or(nowhere, |gap| gap.from),
            claimed: Sequence::NONE,
            tried: Sequence::NONE,
            filled: Vec::new(),
        }
    }

    /// The receiver.
    pub const fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// What is to come next: bundles behind this entry, up to the second one at most. Nothing when all gaps are closed.
    ///
    /// # Errors
    /// [`Unproven::NothingBehind`] when no bytes can be proven; `NotHeld` when there is nothing more to ask for.
    pub fn wanted(&self) -> Result<Option<(Sequence, Sequence)>, Unproven> {
        if self.next == self.gaps.len() {
            return Ok(None);
        }
        let after = self.at.at.sequence;
        let ends = || self.ends().map(|end| end.at.sequence);
        match ends().filter(|end| *end > after.max(self.tried)).min() {
            Some(upto) => Ok(Some((after, upto))),
            None if ends().any(|end| end > after) => Err(Unproven::NotHeld {
                first: after.next(),
            }),
            None => Err(Unproven::NothingBehind),
        }
    }

    /// There is no whole bundle among what was wanted. A false start behind the damage may lie inside of one: then more is
    /// wanted.
    pub fn handle_nothing(&mut self) {
        if let Ok(Some((_, upto))) = self.wanted() {
            self.tried = upto;
        }
    }

    /// Another partner is asked: what the last one sent into the open gap counts for nothing.
    pub fn begin_again(&mut self) {
        if let Some(gap) = self.gaps.get(self.next) {
            self.at = gap.from;
        }
        self.claimed = Sequence::NONE;
        self.tried = Sequence::NONE;
    }

    fn ends(&self) -> impl Iterator<Item = &'a End> + use<'a> {
        let open = self.gaps.get(self.next..).unwrap_or_default();
        open.iter().flat_map(|gap| &gap.ends)
    }

    /// A bundle nobody has checked yet. Gives it back checked, to be put down at its own place, and says whether it closed
    /// its gap; before that it counts for nothing.
    ///
    /// # Errors
    /// [`Unproven`]: it is not what stood here; the gap must be begun again.
    pub fn handle_bundle(&mut self, bytes: Bytes) -> Result<(SealedBundle, bool), Unproven> {
        let bundle = codec::open(bytes, self.receiver)?;
        let header = bundle.header();
        if header.offset != self.at.offset || bundle.before() != self.at.at {
            return Err(Unproven::NotJoined {
                expected: self.at.at.sequence.next(),
                found: header.first,
            });
        }
        self.at = Point {
            offset: header.end(),
            at: bundle.last(),
        };
        self.claimed = self.claimed.max(header.durable_upto);
        let open = self.gaps.get(self.next..).unwrap_or_default();
        // A false start behind the damage may have been taken for good: then a later end is the true one.
        let closes = |end: &&End| end.is_at(self.at) && end.at == self.at.at;
        let closed = open.iter().enumerate().find_map(|(index, gap)| {
            let end = gap.ends.iter().find(closes)?;
            Some((index, end.durable_upto))
        });
        if let Some((index, limit)) = closed {
            if limit.is_some_and(|limit| self.claimed > limit) {
                return Err(Unproven::Claims);
            }
            let from = open.first().map_or(self.at, |gap| gap.from);
            self.filled.push((from.offset, self.at.offset));
            self.next += index + 1;
            self.begin_again();
        } else if self
            .ends()
            .all(|end| end.at.sequence <= self.at.at.sequence)
        {
            return Err(Unproven::OtherHistory {
                upto: self.at.at.sequence,
            });
        }
        Ok((bundle, closed.is_some()))
    }

    /// The bytes that were replaced, once all gaps are closed.
    pub fn filled(&self) -> Option<&[(u64, u64)]> {
        (self.next == self.gaps.len()).then_some(&*self.filled)
    }
}

/// What is known about the header of a receiver from elsewhere.
#[derive(Debug, Clone)]
pub struct KnownHeader {
    /// Identity.
    pub receiver: ReceiverId,
    /// The journal.
    pub journal: JournalId,
    /// Name, where it is known.
    pub name: Option<QualifiedName>,
    /// Where it begins.
    pub before: Position,
    /// The receiver before it, where one is here.
    pub previous: Option<ReceiverId>,
    /// The system whose local journal this is, where it is known.
    pub origin: Option<SystemId>,
    /// What the last entry of the receiver before it says of it.
    pub announced: Option<Neighbour>,
}

impl KnownHeader {
    /// Checks a header nobody has checked yet.
    ///
    /// # Errors
    /// [`Unproven`]: it is not the header of this receiver.
    pub fn prove(&self, bytes: &[u8]) -> Result<ReceiverHeader, Unproven> {
        let header = ReceiverHeader::decode(bytes)?;
        let announced = self
            .announced
            .filter(|announced| announced.receiver == self.receiver);
        let differs = [
            ("identity", header.receiver != self.receiver),
            ("journal", header.journal != self.journal),
            ("beginning", header.before != self.before),
            ("name", self.name.is_some_and(|name| name != header.name)),
            (
                "receiver before it",
                self.previous
                    .is_some_and(|previous| previous != header.previous),
            ),
            (
                "origin",
                self.origin.is_some_and(|origin| origin != header.origin),
            ),
            (
                "name, threshold or alignment",
                announced.is_some_and(|announced| {
                    (announced.name, announced.threshold, announced.alignment)
                        != (header.name, header.threshold, header.alignment)
                }),
            ),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            Some((what, _)) => Err(Unproven::Header { what }),
            None => Ok(header),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
