//! Room `entry`: the terms of a recovery group as values: who claimed a term, who opened it, in which journal, and where the
//! segment before it ended (the close record, rulings 6 and 31). Each is signed by the system it speaks of, so that anybody
//! may pass it on. Must not know keys or how signatures are made: they are bytes here. Layout: docs/FORMAT.md.

use serde::{Deserialize, Serialize};

use super::{
    ChainHead, CodecError, Cursor, Epoch, GroupId, JournalId, Position, Sequence, SystemId,
    Timestamp,
};

/// A term may be at most so far above the last one: a peer that announces 2^63 fences nobody for good
/// (failures.md section 5.1).
pub const TERM_STEP_MAX: u64 = 1 << 20;
/// Version of what is signed.
const VERSION: u8 = 1;

/// What proves that a system said something: its public key (Ed25519) and its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The public key.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
    /// The signature.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
}

impl Proof {
    /// Where nothing is signed yet.
    pub const NONE: Self = Self {
        key: [0; 32],
        signature: [0; 64],
    };
}

/// Which part of a group's history: what one journal holds of one term. Terms order the entries of different journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentId {
    /// The term.
    pub term: u64,
    /// The journal it is written in.
    pub journal: JournalId,
}

/// A system's claim of a term: what the members of a group promise when they promise. It fences every lower term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermClaim {
    /// The group.
    pub group: GroupId,
    /// The term.
    pub term: u64,
    /// Who claims it: nobody else opens this term.
    pub system: SystemId,
    /// Its proof.
    pub proof: Proof,
}

impl TermClaim {
    /// What is signed.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = b"rjournal term claim".to_vec();
        out.push(VERSION);
        out.extend_from_slice(self.group.as_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(self.system.as_bytes());
        out
    }
}

/// How a term began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TermReason {
    /// The group was made.
    Created,
    /// The primary before handed over (planned switch).
    HandedOver,
    /// A hand-over was taken back by the system that had begun it.
    TakenBack,
    /// It was taken over from a primary that was gone.
    TakenOver,
}

/// Where the segment of an earlier term ended, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The term.
    pub term: u64,
    /// The journal it was written in.
    pub journal: JournalId,
    /// Its last entry: nothing beyond belongs to the group's history.
    pub last: Position,
}

/// The record of a term: the close record of the one before, and where this one begins. It is the payload of the term's
/// first entry (`J OE`), and is passed on beside the journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermRecord {
    /// The group.
    pub group: GroupId,
    /// The term.
    pub term: u64,
    /// Who is primary in it.
    pub primary: SystemId,
    /// The journal it is written in.
    pub journal: JournalId,
    /// The position before its first bundle in that journal.
    pub begins: Position,
    /// The epoch it was opened in; later boots of the term have later ones.
    pub epoch: Epoch,
    /// The segment before; nothing for the first term.
    pub closed: Option<Closed>,
    /// How it began.
    pub reason: TermReason,
    /// When.
    pub opened_at: Timestamp,
    /// The primary's proof.
    pub proof: Proof,
}

impl TermRecord {
    /// Bytes of a record in an entry.
    pub const BYTES: usize = 1 + 1 + 1 + 16 + 8 + 16 + 16 + 40 + 24 + 8 + 64 + 96;

    fn put(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.push(match self.reason {
            TermReason::Created => 1,
            TermReason::HandedOver => 2,
            TermReason::TakenBack => 3,
            TermReason::TakenOver => 4,
        });
        out.push(u8::from(self.closed.is_some()));
        out.extend_from_slice(self.group.as_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(self.primary.as_bytes());
        out.extend_from_slice(self.journal.as_bytes());
        put_position(out, self.begins);
        for number in [self.epoch.term, self.epoch.boot, self.epoch.nonce] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.opened_at.as_micros().to_le_bytes());
        let closed = self.closed.unwrap_or(Closed {
            term: 0,
            journal: JournalId::NONE,
            last: Position {
                sequence: Sequence::NONE,
                head: ChainHead::from_bytes([0; 32]),
            },
        });
        out.extend_from_slice(&closed.term.to_le_bytes());
        out.extend_from_slice(closed.journal.as_bytes());
        put_position(out, closed.last);
    }

    /// What is signed.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = b"rjournal term record".to_vec();
        self.put(&mut out);
        out
    }

    /// As it stands in an entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        self.put(&mut out);
        out.extend_from_slice(&self.proof.key);
        out.extend_from_slice(&self.proof.signature);
        out
    }

    /// Reads what [`Self::encode`] gave. Whether the signature is right is not looked at here.
    ///
    /// # Errors
    /// [`CodecError`] naming what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let what = "term record";
        let short = || CodecError::Short { what };
        let reserved = || CodecError::Reserved { what };
        let mut cursor = Cursor::new(bytes);
        match cursor.u8().ok_or_else(short)? {
            VERSION => {}
            found => {
                return Err(CodecError::Version {
                    what,
                    found: u16::from(found),
                    known: u16::from(VERSION),
                });
            }
        }
        let reason = match cursor.u8().ok_or_else(short)? {
            1 => TermReason::Created,
            2 => TermReason::HandedOver,
            3 => TermReason::TakenBack,
            4 => TermReason::TakenOver,
            _ => return Err(reserved()),
        };
        let is_closed = match cursor.u8().ok_or_else(short)? {
            0 => false,
            1 => true,
            _ => return Err(reserved()),
        };
        let read = || {
            let group = GroupId::from_bytes(cursor.array()?);
            let term = cursor.u64()?;
            let primary = SystemId::from_bytes(cursor.array()?);
            let journal = JournalId::from_bytes(cursor.array()?);
            let begins = take_position(&mut cursor)?;
            let epoch = Epoch {
                term: cursor.u64()?,
                boot: cursor.u64()?,
                nonce: cursor.u64()?,
            };
            let opened_at = Timestamp::from_micros(cursor.u64()?);
            let closed = Closed {
                term: cursor.u64()?,
                journal: JournalId::from_bytes(cursor.array()?),
                last: take_position(&mut cursor)?,
            };
            let proof = Proof {
                key: cursor.array()?,
                signature: cursor.array()?,
            };
            Some(Self {
                group,
                term,
                primary,
                journal,
                begins,
                epoch,
                closed: is_closed.then_some(closed),
                reason,
                opened_at,
                proof,
            })
        };
        let mut read = read;
        let record = read().ok_or_else(short)?;
        if cursor.remaining() > 0 {
            return Err(reserved());
        }
        Ok(record)
    }
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(&position.sequence.get().to_le_bytes());
    out.extend_from_slice(position.head.as_bytes());
}

fn take_position(cursor: &mut Cursor<'_>) -> Option<Position> {
    Some(Position {
        sequence: Sequence::new(cursor.u64()?),
        head: ChainHead::from_bytes(cursor.array()?),
    })
}

/// `J HO`: the primary hands over. Flushed, it is the old primary's promise of the next term to the system it names, and to
/// nobody else (ruling 28); nothing is deposited behind it in this term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// The group.
    pub group: GroupId,
    /// The term that ends.
    pub term: u64,
    /// Who opens the next.
    pub to: SystemId,
}

impl HandOver {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, 0, 0, 0];
        out.extend_from_slice(self.group.as_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(self.to.as_bytes());
        out
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`CodecError`] naming what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let what = "hand-over entry";
        let short = || CodecError::Short { what };
        let mut cursor = Cursor::new(payload);
        match cursor.u8().ok_or_else(short)? {
            VERSION => {}
            found => {
                return Err(CodecError::Version {
                    what,
                    found: u16::from(found),
                    known: u16::from(VERSION),
                });
            }
        }
        cursor.bytes(3).ok_or_else(short)?;
        Ok(Self {
            group: GroupId::from_bytes(cursor.array().ok_or_else(short)?),
            term: cursor.u64().ok_or_else(short)?,
            to: SystemId::from_bytes(cursor.array().ok_or_else(short)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64) -> Position {
        Position {
            sequence: Sequence::new(sequence),
            head: ChainHead::from_bytes([sequence as u8; 32]),
        }
    }

    fn record(closed: Option<Closed>) -> TermRecord {
        TermRecord {
            group: GroupId::from_bytes([1; 16]),
            term: 2,
            primary: SystemId::from_bytes([2; 16]),
            journal: JournalId::from_bytes([3; 16]),
            begins: at(0),
            epoch: Epoch {
                term: 2,
                boot: 1,
                nonce: 7,
            },
            closed,
            reason: TermReason::TakenOver,
            opened_at: Timestamp::from_micros(9),
            proof: Proof {
                key: [4; 32],
                signature: [5; 64],
            },
        }
    }

    #[test]
    fn a_term_record_reads_back_and_no_shortened_or_longer_one_does() {
        let closed = Closed {
            term: 1,
            journal: JournalId::from_bytes([8; 16]),
            last: at(105),
        };
        for record in [record(None), record(Some(closed))] {
            let bytes = record.encode();
            assert_eq!(bytes.len(), TermRecord::BYTES);
            assert_eq!(TermRecord::decode(&bytes), Ok(record));
            for end in 0..bytes.len() {
                assert!(TermRecord::decode(&bytes[..end]).is_err(), "{end}");
            }
            let mut longer = bytes;
            longer.push(0);
            assert!(TermRecord::decode(&longer).is_err());
        }
    }

    #[test]
    fn what_is_signed_says_everything_but_the_signature() {
        let one = record(None);
        let mut other = one;
        other.proof = Proof::NONE;
        assert_eq!(one.signed_bytes(), other.signed_bytes());
        other.begins = at(1);
        assert_ne!(one.signed_bytes(), other.signed_bytes());
    }

    #[test]
    fn a_hand_over_reads_back() {
        let entry = HandOver {
            group: GroupId::from_bytes([1; 16]),
            term: 4,
            to: SystemId::from_bytes([2; 16]),
        };
        assert_eq!(HandOver::decode(&entry.encode()), Ok(entry));
        assert!(HandOver::decode(&entry.encode()[..30]).is_err());
    }
}
