//! Room `remote`: what a copy demands of every header and bundle before it lets it near its disk (failures.md I3, I4,
//! I11). Used by the target of a session, and by a source that adopts a tail. Must not know who sends.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::entry::codec;
use crate::entry::{
    CodecError, Epoch, JournalId, Place, Position, RECEIVER_HEADER_BYTES, ReceiverHeader,
    SealedBundle, Sequence,
};

/// What was wrong with what the other side sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The bytes are not what they should be.
    #[error("{0}")]
    Codec(#[from] CodecError),
    /// A receiver of another journal, or one that does not continue the chain.
    #[error(
        "a receiver was sent that begins after entry {begins}, but the copy ends at entry {ends} or with another history"
    )]
    Receiver {
        /// The entry before its first.
        begins: Sequence,
        /// The last entry here.
        ends: Sequence,
    },
    /// A bundle that does not continue the chain.
    #[error(
        "a bundle was sent that begins with entry {first}, but the copy ends at entry {ends} or with another history"
    )]
    Bundle {
        /// Its first entry.
        first: Sequence,
        /// The last entry here.
        ends: Sequence,
    },
    /// A bundle that stands at another byte at the sender.
    #[error(
        "a bundle was sent for byte {found} of its receiver, the copy's ends at byte {expected}"
    )]
    Offset {
        /// Where it stands at the sender.
        found: u64,
        /// Where it would stand here.
        expected: u64,
    },
    /// An epoch that may not be: below the last one, or above the session's.
    #[error("a bundle of epoch {found} was sent, after {last} in a session of {session}")]
    Epoch {
        /// The bundle's.
        found: Epoch,
        /// The last bundle's here.
        last: Epoch,
        /// The session's.
        session: Epoch,
    },
    /// A message that has no place here.
    #[error("{message} came while {state}")]
    Order {
        /// What came.
        message: &'static str,
        /// What was going on.
        state: &'static str,
    },
    /// A number that cannot be.
    #[error("{what} {found} was claimed, beyond {limit}")]
    Claim {
        /// What was claimed.
        what: &'static str,
        /// The claim.
        found: Sequence,
        /// The most it can be.
        limit: Sequence,
    },
}

/// Bundles remembered, to know one that comes twice.
const ACCEPTED_MAX: usize = 64;

/// Openings and terms no journal ever comes to by itself, with room above to go on counting.
const RANK_MAX: u64 = 1 << 62;
/// A system that was away long may be this many openings behind.
const RANK_AHEAD_MAX: u64 = 1 << 32;

/// Whose numbers are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A source's: the epoch it is open in.
    Source,
    /// A target's: what it has promised. The source opens above it, and every other target is to follow it there: what one
    /// target says takes the source only a little nearer to what no target believes.
    Target,
}

/// Numbers a greeting brings, before anything is reckoned with them: the next opening is counted on from the highest epoch
/// heard of, the next entry from the last. `known` is the highest epoch this side knows itself.
///
/// # Errors
/// [`Violation::Claim`] naming the number that cannot be.
pub(super) fn check_greeting(
    from: Side,
    epochs: &[Epoch],
    known: Epoch,
    oldest: Position,
    tip: Position,
) -> Result<(), Violation> {
    let most = |known: u64| {
        let ahead = known.saturating_add(RANK_AHEAD_MAX);
        match from {
            Side::Source => ahead.max(RANK_MAX),
            Side::Target => ahead,
        }
    };
    for epoch in epochs {
        for (what, found, limit) in [
            ("a term of", epoch.term, most(known.term)),
            ("opening", epoch.boot, most(known.boot)),
        ] {
            if found > limit || found == u64::MAX {
                return Err(Violation::Claim {
                    what,
                    found: Sequence::new(found),
                    limit: Sequence::new(limit.min(u64::MAX - 1)),
                });
            }
        }
    }
    let last = Sequence::new(u64::MAX - 1);
    for (what, found, limit) in [
        ("a last entry of", tip.sequence, last),
        ("an oldest entry after", oldest.sequence, tip.sequence),
    ] {
        if found > limit {
            return Err(Violation::Claim { what, found, limit });
        }
    }
    Ok(())
}

/// Where a copy stands, and what may come next.
#[derive(Debug, Clone)]
pub struct Acceptor {
    journal: JournalId,
    tip: Position,
    place: Place,
    last: Epoch,
    session: Epoch,
    /// The newest bundles accepted: from where to where.
    accepted: VecDeque<(Position, Position)>,
}

impl Acceptor {
    /// A copy that ends at `tip` and `place`, its last bundle of epoch `last`, in a session of epoch `session`.
    pub const fn new(
        journal: JournalId,
        tip: Position,
        place: Place,
        last: Epoch,
        session: Epoch,
    ) -> Self {
        Self {
            journal,
            tip,
            place,
            last,
            session,
            accepted: VecDeque::new(),
        }
    }

    /// The last entry accepted.
    pub const fn tip(&self) -> Position {
        self.tip
    }

    /// Checks the header of the next receiver; nothing when it is attached already, its header left behind by a crash.
    ///
    /// # Errors
    /// [`Violation`] unless it continues the chain; an empty copy has no receiver it could name as its previous one.
    pub fn header(&mut self, bytes: &[u8]) -> Result<Option<ReceiverHeader>, Violation> {
        let header = ReceiverHeader::decode(bytes)?;
        let place = self.place;
        let there = place.is_unused() && place.receiver == header.receiver;
        let replaces = place.is_unused() && place.previous == header.previous;
        let follows = place.is_nowhere() || header.previous == place.receiver || replaces;
        if header.journal != self.journal || header.before != self.tip || !follows {
            return Err(Violation::Receiver {
                begins: header.before.sequence,
                ends: self.tip.sequence,
            });
        }
        let offset = RECEIVER_HEADER_BYTES as u64;
        self.place = Place {
            receiver: header.receiver,
            previous: header.previous,
            offset,
        };
        Ok((!there).then_some(header))
    }

    /// Checks the next bundle: its bytes, its place, its epoch, and the chain through it. Nothing when it is one of the
    /// newest that came, once more: what it holds is held (failures.md CAT-3).
    ///
    /// # Errors
    /// [`Violation`] naming what does not fit.
    pub fn bundle(&mut self, bytes: Bytes) -> Result<Option<SealedBundle>, Violation> {
        self.opened(codec::open(bytes, self.place.receiver)?)
    }

    /// The same for a bundle whose bytes were read already, by whoever had the time: only that it was read as one of the
    /// attached receiver is left to see. One that was not is read again.
    ///
    /// # Errors
    /// As [`Self::bundle`].
    pub fn opened(&mut self, bundle: SealedBundle) -> Result<Option<SealedBundle>, Violation> {
        if bundle.receiver() != self.place.receiver {
            return self.bundle(bundle.bytes().clone());
        }
        let header = bundle.header();
        let span = (bundle.before(), bundle.last());
        if self.accepted.contains(&span) {
            return Ok(None);
        }
        if bundle.before() != self.tip {
            return Err(Violation::Bundle {
                first: header.first,
                ends: self.tip.sequence,
            });
        }
        if header.offset != self.place.offset {
            return Err(Violation::Offset {
                found: header.offset,
                expected: self.place.offset,
            });
        }
        let (found, last, session) = (header.epoch, self.last, self.session);
        let falls = found.rank() < last.rank() || found.is_duplicate_of(last);
        let exceeds = found.rank() > session.rank() || found.is_duplicate_of(session);
        if falls || exceeds {
            return Err(Violation::Epoch {
                found,
                last,
                session,
            });
        }
        self.tip = bundle.last();
        self.place.offset = header.end();
        self.last = found;
        if self.accepted.len() == ACCEPTED_MAX {
            self.accepted.pop_front();
        }
        self.accepted.push_back(span);
        Ok(Some(bundle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::codec::{BUNDLE_HEADER_BYTES, Seal};
    use crate::entry::{ChainHead, Draft, Kind, ReceiverId, Timestamp};

    const JOURNAL: JournalId = JournalId::from_bytes([1; 16]);
    const SESSION: Epoch = Epoch {
        boot: 1,
        ..Epoch::NONE
    };

    fn start() -> Position {
        Position {
            sequence: Sequence::NONE,
            head: ChainHead::genesis(JOURNAL),
        }
    }

    fn sealed_for(receiver: ReceiverId) -> SealedBundle {
        let mut buffer = vec![0; BUNDLE_HEADER_BYTES];
        let draft = Draft::new(Kind::USER, b"entry");
        let first = start().sequence.next();
        codec::encode_entry(&mut buffer, &draft, first, Timestamp::ZERO, None, None);
        let seal = Seal {
            receiver,
            offset: RECEIVER_HEADER_BYTES as u64,
            align: 8,
            epoch: SESSION,
            before: start(),
            durable_upto: Sequence::NONE,
        };
        codec::seal(buffer, 1, &seal)
    }

    #[test]
    fn a_bundle_that_was_read_as_one_of_another_receiver_is_judged_by_its_bytes() {
        let (here, elsewhere) = (
            ReceiverId::from_bytes([2; 16]),
            ReceiverId::from_bytes([3; 16]),
        );
        let place = Place {
            receiver: here,
            previous: ReceiverId::NONE,
            offset: RECEIVER_HEADER_BYTES as u64,
        };
        let mut acceptor = Acceptor::new(JOURNAL, start(), place, Epoch::NONE, SESSION);
        let refused = acceptor.opened(sealed_for(elsewhere));
        assert!(matches!(refused, Err(Violation::Codec(_))), "{refused:?}");
        assert_eq!(acceptor.tip(), start());
        let bundle = sealed_for(here);
        assert_eq!(acceptor.opened(bundle.clone()), Ok(Some(bundle.clone())));
        assert_eq!(acceptor.tip(), bundle.last());
    }
}
