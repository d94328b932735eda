//! Room `remote`, the first copy: the machine at the receiving end: what of a save is to be asked for next, and whether what
//! came is a part of it. What is kept from an earlier time is proven again before it counts. No IO.
//!
//! ```text
//!   hashes of pieces --(all there, and they prove the save)--> pieces kept before --> pieces missing --> whole
//! ```

use super::ask::{HASHES_MAX, PIECES_MAX};
use super::pieces::{
    HASH_BYTES, PieceHash, SAVE_BYTES_MAX, hash_piece, piece_bytes, piece_count, prove,
};
use crate::entry::{SaveFacts, SaveId};

/// Something that came is not a part of the save that was promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveLie {
    /// A save of this length cannot be.
    #[error("a save of {bytes} bytes cannot be")]
    Length {
        /// What was promised.
        bytes: u64,
    },
    /// Its numbers contradict each other.
    #[error("a save of everything up to entry {applied} cannot need entries behind {restart} only")]
    Position {
        /// Everything up to here would be in it.
        applied: u64,
        /// Where reading would begin again.
        restart: u64,
    },
    /// The hashes of the pieces do not make the hash of the save.
    #[error("the hashes of its pieces are not those of save {save}")]
    Hashes {
        /// The save.
        save: SaveId,
    },
    /// A piece has another hash than it must have.
    #[error("piece {piece}, from byte {offset} on, is not that of save {save}")]
    Piece {
        /// Which one, from 0.
        piece: u64,
        /// Where it begins.
        offset: u64,
        /// The save.
        save: SaveId,
    },
    /// Nothing, or too much, was sent.
    #[error("it sent {sent} instead of {wanted}")]
    Count {
        /// What came.
        sent: String,
        /// What was asked for.
        wanted: String,
    },
}

/// What is to be asked for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchWants {
    /// Hashes, from this piece on.
    Hashes {
        /// The first.
        first: u64,
    },
    /// These pieces.
    Pieces {
        /// The first.
        first: u64,
        /// How many.
        count: u32,
    },
    /// Nothing: everything is here.
    Nothing,
}

/// A save being fetched.
#[derive(Debug)]
pub struct SaveFetch {
    facts: SaveFacts,
    hashes: Vec<PieceHash>,
    proven: bool,
    /// Which pieces are here.
    here: Vec<bool>,
    /// No piece before this one is missing.
    first_missing: u64,
    bytes_here: u64,
}

impl SaveFetch {
    /// Begins with what was promised.
    ///
    /// # Errors
    /// [`SaveLie`] when there can be no such save.
    pub const fn new(facts: SaveFacts) -> Result<Self, SaveLie> {
        if facts.bytes <= HASH_BYTES || facts.bytes > SAVE_BYTES_MAX {
            return Err(SaveLie::Length { bytes: facts.bytes });
        }
        if facts.restart.get() > facts.applied.get() {
            return Err(SaveLie::Position {
                applied: facts.applied.get(),
                restart: facts.restart.get(),
            });
        }
        Ok(Self {
            facts,
            hashes: Vec::new(),
            proven: false,
            here: Vec::new(),
            first_missing: 0,
            bytes_here: 0,
        })
    }

    /// The save.
    pub const fn facts(&self) -> &SaveFacts {
        &self.facts
    }

    /// Hashes that were kept: taken if they are those of all pieces. Says whether they were.
    pub fn handle_kept_hashes(&mut self, hashes: Vec<PieceHash>) -> bool {
        if !self.proven && prove(self.facts.save, self.facts.bytes, &hashes) {
            self.take_hashes(hashes);
        }
        self.proven
    }

    fn take_hashes(&mut self, hashes: Vec<PieceHash>) {
        self.here = vec![false; hashes.len()];
        self.hashes = hashes;
        self.proven = true;
    }

    /// The hashes, once they are proven.
    pub fn hashes(&self) -> Option<&[PieceHash]> {
        self.proven.then_some(&*self.hashes)
    }

    /// Hashes from the other system, one behind the other, as asked for.
    ///
    /// # Errors
    /// [`SaveLie`]: none or too many, or with the last of them it shows that they are not those of the save.
    pub fn handle_hashes(&mut self, bytes: &[u8]) -> Result<(), SaveLie> {
        let (hashes, rest) = bytes.as_chunks::<{ HASH_BYTES as usize }>();
        let count = piece_count(self.facts.bytes) - self.hashes.len() as u64;
        let fits = !hashes.is_empty() && rest.is_empty() && hashes.len() <= HASHES_MAX;
        if self.proven || !fits || hashes.len() as u64 > count {
            return Err(SaveLie::Count {
                sent: format!("{} bytes of hashes", bytes.len()),
                wanted: format!("hashes of {count} pieces"),
            });
        }
        self.hashes.extend_from_slice(hashes);
        if self.hashes.len() as u64 == piece_count(self.facts.bytes) {
            let hashes = std::mem::take(&mut self.hashes);
            if !prove(self.facts.save, self.facts.bytes, &hashes) {
                return Err(SaveLie::Hashes {
                    save: self.facts.save,
                });
            }
            self.take_hashes(hashes);
        }
        Ok(())
    }

    /// A piece that is here from an earlier time. Says whether it is the one it should be, and need not be fetched.
    pub fn handle_kept_piece(&mut self, piece: u64, body: &[u8]) -> bool {
        self.prove(piece, body) && self.take_piece(piece, body)
    }

    /// A piece from the other system: it may be kept when this gives no error.
    ///
    /// # Errors
    /// [`SaveLie::Piece`].
    pub fn handle_piece(&mut self, piece: u64, body: &[u8]) -> Result<(), SaveLie> {
        if !self.prove(piece, body) {
            return Err(SaveLie::Piece {
                piece,
                offset: piece.saturating_mul(super::PIECE_BYTES),
                save: self.facts.save,
            });
        }
        self.take_piece(piece, body);
        Ok(())
    }

    fn prove(&self, piece: u64, body: &[u8]) -> bool {
        let due = usize::try_from(piece).ok().and_then(|n| self.hashes.get(n));
        self.proven
            && !body.is_empty()
            && body.len() == piece_bytes(self.facts.bytes, piece)
            && due == Some(&hash_piece(self.facts.bytes, piece, body))
    }

    fn take_piece(&mut self, piece: u64, body: &[u8]) -> bool {
        let here = usize::try_from(piece)
            .ok()
            .and_then(|n| self.here.get_mut(n));
        let Some(here) = here else { return false };
        if !std::mem::replace(here, true) {
            self.bytes_here += body.len() as u64;
        }
        true
    }

    /// How many bytes are here, proven.
    pub const fn bytes_here(&self) -> u64 {
        self.bytes_here
    }

    /// How many bytes are still to be fetched.
    pub const fn bytes_missing(&self) -> u64 {
        self.facts.bytes - HASH_BYTES - self.bytes_here
    }

    /// What to ask for next.
    pub fn poll_wants(&mut self) -> FetchWants {
        if !self.proven {
            let first = self.hashes.len() as u64;
            return FetchWants::Hashes { first };
        }
        let from = usize::try_from(self.first_missing).unwrap_or(usize::MAX);
        let rest = self.here.get(from..).unwrap_or_default();
        let skipped = rest.iter().take_while(|here| **here).count();
        self.first_missing += skipped as u64;
        let missing = rest.get(skipped..).unwrap_or_default();
        let run = missing.iter().take(PIECES_MAX as usize);
        match run.take_while(|here| !**here).count() as u32 {
            0 => FetchWants::Nothing,
            count => FetchWants::Pieces {
                first: self.first_missing,
                count,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::{PIECE_BYTES, PieceHasher};
    use super::*;
    use crate::entry::{ChainHead, JournalId, Sequence};

    struct Made {
        facts: SaveFacts,
        body: Vec<u8>,
        hashes: Vec<u8>,
    }

    fn made(length: usize) -> Made {
        let body: Vec<u8> = (0..length).map(|n| (n % 249) as u8).collect();
        let facts = SaveFacts {
            save: SaveId::from_bytes(*blake3::hash(&body).as_bytes()),
            bytes: length as u64 + HASH_BYTES,
            applied: Sequence::new(9),
            restart: Sequence::new(7),
            head: ChainHead::genesis(JournalId::from_bytes([1; 16])),
        };
        let mut hasher = PieceHasher::new(facts.save, facts.bytes);
        while let Some((piece, _)) = hasher.next() {
            hasher.handle_piece(piece_of(&body, piece));
        }
        let hashes = hasher.finish().unwrap().concat();
        Made {
            facts,
            body,
            hashes,
        }
    }

    fn piece_of(body: &[u8], piece: u64) -> &[u8] {
        let from = (piece * PIECE_BYTES) as usize;
        &body[from..body.len().min(from + PIECE_BYTES as usize)]
    }

    const LENGTH: usize = 70 * PIECE_BYTES as usize + 100;

    #[test]
    fn a_save_is_fetched_hashes_first_and_then_in_runs_of_pieces() {
        let made = made(LENGTH);
        let mut fetch = SaveFetch::new(made.facts).unwrap();
        assert_eq!(fetch.poll_wants(), FetchWants::Hashes { first: 0 });
        let half = made.hashes.split_at(32 * 32);
        fetch.handle_hashes(half.0).unwrap();
        assert_eq!(fetch.poll_wants(), FetchWants::Hashes { first: 32 });
        fetch.handle_hashes(half.1).unwrap();
        let mut asked = Vec::new();
        while let FetchWants::Pieces { first, count } = fetch.poll_wants() {
            asked.push((first, count));
            for piece in first..first + u64::from(count) {
                fetch
                    .handle_piece(piece, piece_of(&made.body, piece))
                    .unwrap();
            }
        }
        assert_eq!(asked, [(0, 64), (64, 7)]);
        assert_eq!(
            (fetch.bytes_here(), fetch.bytes_missing()),
            (LENGTH as u64, 0)
        );
        assert_eq!(fetch.poll_wants(), FetchWants::Nothing);
    }

    #[test]
    fn what_was_kept_counts_only_where_it_is_proven_again() {
        let made = made(LENGTH);
        let mut fetch = SaveFetch::new(made.facts).unwrap();
        let (hashes, _) = made.hashes.as_chunks::<32>();
        assert!(!fetch.handle_kept_hashes(hashes[1..].to_vec()));
        assert!(fetch.handle_kept_hashes(hashes.to_vec()));
        for piece in [0, 1, 3] {
            assert!(fetch.handle_kept_piece(piece, piece_of(&made.body, piece)));
        }
        let mut torn = piece_of(&made.body, 2).to_vec();
        torn[5000] ^= 1;
        assert!(!fetch.handle_kept_piece(2, &torn));
        assert!(!fetch.handle_kept_piece(70, &torn[..99]));
        assert_eq!(
            fetch.poll_wants(),
            FetchWants::Pieces { first: 2, count: 1 }
        );
        fetch.handle_piece(2, piece_of(&made.body, 2)).unwrap();
        assert_eq!(
            fetch.poll_wants(),
            FetchWants::Pieces {
                first: 4,
                count: 64
            }
        );
    }

    #[test]
    fn a_partner_that_lies_is_refused_at_once() {
        let made = made(LENGTH);
        let promised = |change: fn(&mut SaveFacts)| {
            let mut facts = made.facts;
            change(&mut facts);
            SaveFetch::new(facts).map(drop)
        };
        assert!(promised(|facts| facts.bytes = 32).is_err());
        assert!(promised(|facts| facts.bytes = u64::MAX).is_err());
        assert!(promised(|facts| facts.restart = Sequence::new(10)).is_err());

        let mut fetch = SaveFetch::new(made.facts).unwrap();
        assert!(fetch.handle_hashes(&[]).is_err());
        assert!(fetch.handle_hashes(&made.hashes[1..]).is_err());
        let too_many = [&made.hashes[..], &[0; 32]].concat();
        assert!(fetch.handle_hashes(&too_many).is_err());
        let mut flipped = made.hashes.clone();
        flipped[40] ^= 1;
        let refused = fetch.handle_hashes(&flipped).unwrap_err();
        assert_eq!(
            refused,
            SaveLie::Hashes {
                save: made.facts.save
            }
        );
        // They are asked for again, from the first.
        assert_eq!(fetch.poll_wants(), FetchWants::Hashes { first: 0 });
        fetch.handle_hashes(&made.hashes).unwrap();
        let mut piece = piece_of(&made.body, 5).to_vec();
        piece[0] ^= 1;
        let refused = fetch.handle_piece(5, &piece).unwrap_err();
        assert!(matches!(refused, SaveLie::Piece { piece: 5, .. }));
        // One at another place, a short one, one behind the last.
        for (n, body) in [
            (4, piece_of(&made.body, 5)),
            (5, &piece[1..]),
            (71, &[1][..]),
        ] {
            assert!(fetch.handle_piece(n, body).is_err(), "{n}");
        }
        assert_eq!(fetch.bytes_here(), 0);
    }
}
