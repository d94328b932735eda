//! Room `entry`: the first 4 KiB of every receiver: sealed by the source, shipped as the first frame of the receiver's
//! stream, byte-identical on all copies. What differs between copies (dates, saved, attached) is not in here.
//! Must not know where the receiver's file is. Layout: docs/FORMAT.md.

use serde::{Deserialize, Serialize};

use super::{
    ChainHead, CodecError, Cursor, GroupId, JournalId, Name, Position, QualifiedName, ReceiverId,
    Sequence, SystemId, SystemName,
};

/// Bytes before the first bundle of a receiver.
pub const RECEIVER_HEADER_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"RJRNRCV\n";
const VERSION: u16 = 1;
const HASH_BLAKE3: u8 = 1;

/// How bundles are laid into a receiver (failures.md RCV-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alignment {
    /// Bundles follow each other at 8-byte steps. Assumes that a torn write harms no byte it did not write.
    #[default]
    Packed,
    /// Each bundle begins a new 4 KiB block, so that a torn write can never harm an older bundle.
    Padded,
}

impl Alignment {
    /// The step in bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Packed => 8,
            Self::Padded => 4096,
        }
    }

    /// The alignment with this step.
    pub const fn from_bytes(step: u32) -> Option<Self> {
        match step {
            8 => Some(Self::Packed),
            4096 => Some(Self::Padded),
            _ => None,
        }
    }
}

/// What a receiver is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverHeader {
    /// Its identity, also the salt of its checksums.
    pub receiver: ReceiverId,
    /// The journal it belongs to.
    pub journal: JournalId,
    /// The recovery group, the journal's own bytes outside one.
    pub group: GroupId,
    /// Its name on the source.
    pub name: QualifiedName,
    /// The journal's name on the source.
    pub journal_name: QualifiedName,
    /// Name of the system whose local journal this is.
    pub origin_name: SystemName,
    /// Identity of that system.
    pub origin: SystemId,
    /// The receiver before it in the chain, [`ReceiverId::NONE`] for the first.
    pub previous: ReceiverId,
    /// Last entry before this receiver, and the chain head there.
    pub before: Position,
    /// Size in bytes at which the source changes to the next receiver.
    pub threshold: u64,
    /// How bundles are laid in.
    pub alignment: Alignment,
}

/// Least threshold.
pub const THRESHOLD_MIN: u64 = 64 * 1024;
/// Largest threshold: IBM i's limit of a receiver, about 1 TB.
pub const THRESHOLD_MAX: u64 = 1 << 40;

/// Reads a threshold, which may come from a peer: the space of a receiver is reckoned from it.
pub(super) fn decode_threshold(
    cursor: &mut Cursor<'_>,
    what: &'static str,
) -> Result<u64, CodecError> {
    let threshold = cursor.u64().ok_or(CodecError::Short { what })?;
    if (THRESHOLD_MIN..=THRESHOLD_MAX).contains(&threshold) {
        Ok(threshold)
    } else {
        Err(CodecError::Threshold { what, threshold })
    }
}

impl ReceiverHeader {
    /// Number of the first entry.
    pub const fn first(&self) -> Sequence {
        self.before.sequence.next()
    }

    /// Whether these bytes begin like a header, and not like a bundle.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// The 4096 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECEIVER_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&0_u16.to_le_bytes());
        out.extend_from_slice(&0_u16.to_le_bytes());
        out.extend_from_slice(&[HASH_BLAKE3, 0]);
        out.extend_from_slice(&self.alignment.bytes().to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&self.threshold.to_le_bytes());
        out.extend_from_slice(self.receiver.as_bytes());
        out.extend_from_slice(self.journal.as_bytes());
        out.extend_from_slice(self.group.as_bytes());
        out.extend_from_slice(self.previous.as_bytes());
        out.extend_from_slice(self.origin.as_bytes());
        out.extend_from_slice(&self.before.sequence.get().to_le_bytes());
        out.extend_from_slice(self.before.head.as_bytes());
        out.extend_from_slice(&encode_name(self.name));
        out.extend_from_slice(&encode_name(self.journal_name));
        out.extend_from_slice(&self.origin_name.padded());
        out.resize(RECEIVER_HEADER_BYTES - 4, 0);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header nobody has checked yet.
    ///
    /// # Errors
    /// [`CodecError`]: `NotHere` when no receiver begins here, otherwise what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let what = "receiver header";
        let short = || CodecError::Short { what };
        let header: &[u8; RECEIVER_HEADER_BYTES] = bytes.first_chunk().ok_or_else(short)?;
        let mut cursor = Cursor::new(header);
        if cursor.array() != Some(MAGIC) {
            return Err(CodecError::NotHere { what: "receiver" });
        }
        let (body, crc) = header.split_at(RECEIVER_HEADER_BYTES - 4);
        if crc != crc32fast::hash(body).to_le_bytes() {
            return Err(CodecError::Checksum { what });
        }
        let version = cursor.u16().ok_or_else(short)?;
        if version != VERSION {
            return Err(CodecError::Version {
                what,
                found: version,
                known: VERSION,
            });
        }
        let must_understand = cursor.u16().ok_or_else(short)?;
        if must_understand != 0 {
            return Err(CodecError::UnknownFlags {
                what,
                bits: must_understand,
            });
        }
        let _ignorable = cursor.u16().ok_or_else(short)?;
        let reserved = || CodecError::Reserved { what };
        if cursor.array() != Some([HASH_BLAKE3, 0]) {
            return Err(CodecError::Reserved {
                what: "hash algorithm of a receiver",
            });
        }
        let alignment =
            Alignment::from_bytes(cursor.u32().ok_or_else(short)?).ok_or_else(reserved)?;
        let _ = cursor.u32().ok_or_else(short)?;
        let threshold = decode_threshold(&mut cursor, what)?;
        let receiver = ReceiverId::from_bytes(cursor.array().ok_or_else(short)?);
        let journal = JournalId::from_bytes(cursor.array().ok_or_else(short)?);
        let group = GroupId::from_bytes(cursor.array().ok_or_else(short)?);
        let previous = ReceiverId::from_bytes(cursor.array().ok_or_else(short)?);
        let origin = SystemId::from_bytes(cursor.array().ok_or_else(short)?);
        let sequence = Sequence::new(cursor.u64().ok_or_else(short)?);
        let head = ChainHead::from_bytes(cursor.array().ok_or_else(short)?);
        let name = decode_name(&mut cursor).ok_or_else(reserved)?;
        let journal_name = decode_name(&mut cursor).ok_or_else(reserved)?;
        let origin_name =
            SystemName::from_padded(cursor.bytes(8).ok_or_else(short)?).map_err(|_| reserved())?;
        if receiver.is_none() || journal.is_none() || sequence >= Sequence::LAST_USABLE {
            return Err(reserved());
        }
        let before = Position { sequence, head };
        Ok(Self {
            receiver,
            journal,
            group,
            name,
            journal_name,
            origin_name,
            origin,
            previous,
            before,
            threshold,
            alignment,
        })
    }
}

pub(super) fn encode_name(name: QualifiedName) -> [u8; 20] {
    let mut out = [0; 20];
    out[..10].copy_from_slice(&name.library.padded());
    out[10..].copy_from_slice(&name.name.padded());
    out
}

pub(super) fn decode_name(cursor: &mut Cursor<'_>) -> Option<QualifiedName> {
    let library = Name::from_padded(cursor.bytes(10)?).ok()?;
    let name = Name::from_padded(cursor.bytes(10)?).ok()?;
    Some(QualifiedName { library, name })
}
