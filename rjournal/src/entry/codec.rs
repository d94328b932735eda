//! Room `entry`: the one encoding. Entries are encoded once, into the bundle they will be sealed in; the same bytes go
//! to the source's disk, over the wire and to the target's disk. docs/FORMAT.md describes the layout; golden files
//! bind it. Must not know files or sockets, and must not trust a single byte it reads.

use bytes::Bytes;

use super::draft::Draft;
use super::view::tag;
use super::{
    ChainHead, Cursor, EntryFlags, EntryView, Epoch, Position, ReceiverId, SealedBundle, Sequence,
    THRESHOLD_MAX, THRESHOLD_MIN, Timestamp,
};

/// Bytes of a bundle before its first entry.
pub const BUNDLE_HEADER_BYTES: usize = 128;
/// Bytes of an entry before its extension.
pub const ENTRY_FIXED_BYTES: usize = 72;
/// Longest header extension of an entry, in bytes.
pub const EXTENSION_BYTES_MAX: usize = 1024;
/// Longest payload of an entry, in bytes (IBM i: limit of one entry sent by QJOSJRNE).
pub const PAYLOAD_BYTES_MAX: u32 = 15_761_440;
/// Longest bundle, in bytes, header included.
pub const BUNDLE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most entries in one bundle.
pub const BUNDLE_ENTRIES_MAX: u32 = 16_384;

const MAGIC: [u8; 4] = *b"RJB1";
const HEADER_CRC_AT: usize = 104;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Bytes are missing.
    #[error("{what} is cut short")]
    Short {
        /// What was being read.
        what: &'static str,
    },
    /// A length is above its limit.
    #[error("{what} claims {length} bytes, above its limit")]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// The claimed length.
        length: u64,
    },
    /// A magic number is missing: these bytes are something else, or nothing.
    #[error("no {what} begins here")]
    NotHere {
        /// What was expected.
        what: &'static str,
    },
    /// The checksum does not fit the bytes and this receiver.
    #[error("checksum of {what} does not fit")]
    Checksum {
        /// What was being read.
        what: &'static str,
    },
    /// A receiver is to be of a size that no journal can ask for.
    #[error(
        "{what} has a threshold of {threshold} bytes, not of {} to {}",
        THRESHOLD_MIN,
        THRESHOLD_MAX
    )]
    Threshold {
        /// What was being read.
        what: &'static str,
        /// The threshold.
        threshold: u64,
    },
    /// A field that must be zero is not, or text is not UTF-8.
    #[error("{what} uses a reserved value")]
    Reserved {
        /// What was being read.
        what: &'static str,
    },
    /// Code and type are not printable.
    #[error("{bytes:?} is no journal code and entry type")]
    Kind {
        /// The three bytes.
        bytes: [u8; 3],
    },
    /// The version of the format is not one this program reads.
    #[error("{what} has format version {found}, this program reads {known}")]
    Version {
        /// What was being read.
        what: &'static str,
        /// The version found.
        found: u16,
        /// The newest version known.
        known: u16,
    },
    /// A flag that must be understood is not.
    #[error("{what} has flags {bits:#06x} that must be understood and are not")]
    UnknownFlags {
        /// What was being read.
        what: &'static str,
        /// The unknown bits.
        bits: u16,
    },
    /// An extension field that must be understood is not.
    #[error("entry extension has field {tag} that must be understood and is not")]
    UnknownTag {
        /// The tag.
        tag: u8,
    },
    /// Entries are not numbered one after the other.
    #[error("entry {found} stands where {expected} should")]
    Gap {
        /// The number that should come.
        expected: Sequence,
        /// The number that came.
        found: Sequence,
    },
    /// Fewer or more entries than the header says, or bytes behind the last one.
    #[error("a bundle's entries do not fill it as its header says")]
    Count,
}

/// Writes an entry behind whatever `out` holds already. The caller has checked the draft's sizes.
///
/// `content` is [`Draft::content_hash`] and is only written beside a deposit key; `raw_time` only where the clock's
/// reading differs from `time`.
pub fn encode_entry(
    out: &mut Vec<u8>,
    draft: &Draft<'_>,
    sequence: Sequence,
    time: Timestamp,
    raw_time: Option<Timestamp>,
    content: Option<[u8; 16]>,
) {
    let extension_length = extension_bytes(draft, raw_time.is_some());
    out.reserve(ENTRY_FIXED_BYTES + extension_length + draft.payload.len());
    let cycle = if draft.kind == super::Kind::CYCLE_START {
        sequence
    } else {
        draft.cycle
    };
    out.extend_from_slice(&sequence.get().to_le_bytes());
    out.extend_from_slice(&time.as_micros().to_le_bytes());
    out.extend_from_slice(draft.object.as_bytes());
    out.extend_from_slice(&draft.count.to_le_bytes());
    out.extend_from_slice(&cycle.get().to_le_bytes());
    out.extend_from_slice(&draft.format.to_le_bytes());
    out.extend_from_slice(&(draft.payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out.extend_from_slice(&draft.flags.ignorable.to_le_bytes());
    out.extend_from_slice(&draft.kind.to_bytes());
    out.push(draft.indicator);
    out.extend_from_slice(&(extension_length as u16).to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    if let Some(actor) = draft.actor {
        out.extend_from_slice(actor.encoded());
    }
    if let Some(key) = draft.key {
        out.extend_from_slice(&[tag::KEY, 40]);
        out.extend_from_slice(key.client.as_bytes());
        out.extend_from_slice(&key.key.to_le_bytes());
        out.extend_from_slice(&content.unwrap_or_else(|| draft.content_hash()));
    }
    if let Some(raw) = raw_time {
        out.extend_from_slice(&[tag::RAW_TIME, 8]);
        out.extend_from_slice(&raw.as_micros().to_le_bytes());
    }
    out.extend_from_slice(draft.payload);
}

fn extension_bytes(draft: &Draft<'_>, raw_time: bool) -> usize {
    let actor = draft.actor.map_or(0, |actor| actor.encoded().len());
    actor + if draft.key.is_some() { 42 } else { 0 } + if raw_time { 10 } else { 0 }
}

/// How many bytes [`encode_entry`] needs at most for this draft.
pub fn entry_bytes_max(draft: &Draft<'_>) -> usize {
    ENTRY_FIXED_BYTES + extension_bytes(draft, true) + draft.payload.len()
}

/// The head of a bundle: what it is, where it stands, whose it is, and what its sealer knew to be on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleHeader {
    /// Bytes of the whole bundle, header and padding included; a multiple of 8.
    pub length: u32,
    /// Number of entries, at least one.
    pub entries: u32,
    /// Flags that must be understood; none are known.
    pub must_understand: u16,
    /// Flags that may be ignored.
    pub ignorable: u16,
    /// Zero bytes behind the last entry.
    pub padding: u32,
    /// Where the bundle begins in its receiver, in bytes.
    pub offset: u64,
    /// Number of the first entry.
    pub first: Sequence,
    /// The sealing system's written watermark when it sealed this.
    pub durable_upto: Sequence,
    /// Epoch it was sealed in.
    pub epoch: Epoch,
    /// Chain head before the first entry.
    pub head_before: ChainHead,
}

impl BundleHeader {
    /// Number of the last entry.
    pub const fn last(&self) -> Sequence {
        Sequence::new(self.first.get() + self.entries as u64 - 1)
    }

    /// Where the next bundle of this receiver begins.
    pub const fn end(&self) -> u64 {
        self.offset + self.length as u64
    }

    /// Reads and checks the header at the beginning of `bytes`; the body may be missing.
    ///
    /// # Errors
    /// [`CodecError`] when no bundle of this receiver begins here, or it lies about itself.
    pub fn read(bytes: &[u8], receiver: ReceiverId) -> Result<Self, CodecError> {
        let what = "bundle header";
        let short = || CodecError::Short { what };
        let header: &[u8; BUNDLE_HEADER_BYTES] = bytes.first_chunk().ok_or_else(short)?;
        let mut cursor = Cursor::new(header);
        if cursor.array::<4>() != Some(MAGIC) {
            return Err(CodecError::NotHere { what: "bundle" });
        }
        let _crc = cursor.u32().ok_or_else(short)?;
        let length = cursor.u32().ok_or_else(short)?;
        let entries = cursor.u32().ok_or_else(short)?;
        let must_understand = cursor.u16().ok_or_else(short)?;
        let ignorable = cursor.u16().ok_or_else(short)?;
        let padding = cursor.u32().ok_or_else(short)?;
        let offset = cursor.u64().ok_or_else(short)?;
        let first = Sequence::new(cursor.u64().ok_or_else(short)?);
        let durable_upto = Sequence::new(cursor.u64().ok_or_else(short)?);
        let term = cursor.u64().ok_or_else(short)?;
        let boot = cursor.u64().ok_or_else(short)?;
        let nonce = cursor.u64().ok_or_else(short)?;
        let head_before = ChainHead::from_bytes(cursor.array().ok_or_else(short)?);
        let header_crc = cursor.u32().ok_or_else(short)?;
        if header_crc != salted_crc(receiver, header.get(8..HEADER_CRC_AT).unwrap_or_default()) {
            return Err(CodecError::Checksum { what });
        }
        if cursor.rest().iter().any(|byte| *byte != 0) {
            return Err(CodecError::Reserved { what });
        }
        if must_understand != 0 {
            return Err(CodecError::UnknownFlags {
                what,
                bits: must_understand,
            });
        }
        let bytes_least = BUNDLE_HEADER_BYTES as u64
            + u64::from(entries) * ENTRY_FIXED_BYTES as u64
            + u64::from(padding);
        let sizes_fit = length as usize <= BUNDLE_BYTES_MAX
            && length.is_multiple_of(8)
            && u64::from(length) >= bytes_least
            && (1..=BUNDLE_ENTRIES_MAX).contains(&entries);
        if !sizes_fit {
            return Err(CodecError::TooLong {
                what: "bundle",
                length: u64::from(length),
            });
        }
        let numbers_fit = first != Sequence::NONE
            && first
                .checked_add(u64::from(entries))
                .is_some_and(|end| end <= Sequence::new(u64::MAX - 1))
            && offset.checked_add(u64::from(length)).is_some()
            && durable_upto < first;
        if !numbers_fit {
            return Err(CodecError::Reserved {
                what: "bundle numbering",
            });
        }
        let epoch = Epoch { term, boot, nonce };
        Ok(Self {
            length,
            entries,
            must_understand,
            ignorable,
            padding,
            offset,
            first,
            durable_upto,
            epoch,
            head_before,
        })
    }

    fn write(&self, header: &mut [u8; BUNDLE_HEADER_BYTES], receiver: ReceiverId) {
        let mut fields = Vec::with_capacity(BUNDLE_HEADER_BYTES);
        fields.extend_from_slice(&self.length.to_le_bytes());
        fields.extend_from_slice(&self.entries.to_le_bytes());
        fields.extend_from_slice(&self.must_understand.to_le_bytes());
        fields.extend_from_slice(&self.ignorable.to_le_bytes());
        fields.extend_from_slice(&self.padding.to_le_bytes());
        fields.extend_from_slice(&self.offset.to_le_bytes());
        fields.extend_from_slice(&self.first.get().to_le_bytes());
        fields.extend_from_slice(&self.durable_upto.get().to_le_bytes());
        fields.extend_from_slice(&self.epoch.term.to_le_bytes());
        fields.extend_from_slice(&self.epoch.boot.to_le_bytes());
        fields.extend_from_slice(&self.epoch.nonce.to_le_bytes());
        fields.extend_from_slice(self.head_before.as_bytes());
        fields.extend_from_slice(&salted_crc(receiver, &fields).to_le_bytes());
        header[..4].copy_from_slice(&MAGIC);
        header[8..8 + fields.len()].copy_from_slice(&fields);
    }
}

fn salted_crc(receiver: ReceiverId, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(receiver.as_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// What the sealer of a bundle knows beside its entries.
#[derive(Debug, Clone, Copy)]
pub struct Seal {
    /// The receiver it goes into.
    pub receiver: ReceiverId,
    /// Where in it, in bytes.
    pub offset: u64,
    /// The bundle is padded with zeros to a multiple of this, at least 8.
    pub align: u32,
    /// Epoch of the sealing journal.
    pub epoch: Epoch,
    /// Last entry and head before this bundle.
    pub before: Position,
    /// Written watermark of the sealing system.
    pub durable_upto: Sequence,
}

/// Seals `buffer`: [`BUNDLE_HEADER_BYTES`] free bytes followed by `entries` encoded entries.
///
/// # Panics
/// When the buffer does not hold those entries in order: only the journal fills it.
pub fn seal(mut buffer: Vec<u8>, entries: u32, seal: &Seal) -> SealedBundle {
    let used = buffer.len();
    let padded = used.next_multiple_of(seal.align.max(8) as usize);
    assert!(
        padded <= BUNDLE_BYTES_MAX,
        "a bundle of {padded} bytes was filled above its limit"
    );
    buffer.resize(padded, 0);
    let header = BundleHeader {
        length: padded as u32,
        entries,
        must_understand: 0,
        ignorable: 0,
        padding: (padded - used) as u32,
        offset: seal.offset,
        first: seal.before.sequence.next(),
        durable_upto: seal.durable_upto,
        epoch: seal.epoch,
        head_before: seal.before.head,
    };
    let folded =
        fold(&buffer, &header).expect("the journal numbers and encodes its entries itself");
    let slot: &mut [u8; BUNDLE_HEADER_BYTES] = buffer
        .first_chunk_mut()
        .expect("room for the header was kept");
    header.write(slot, seal.receiver);
    let crc = salted_crc(seal.receiver, buffer.get(8..).unwrap_or_default());
    buffer[4..8].copy_from_slice(&crc.to_le_bytes());
    SealedBundle::new(Bytes::from(buffer), seal.receiver, header, folded)
}

/// Reads a bundle nobody has checked yet: header, checksum, every entry, numbering, and the chain through it.
///
/// # Errors
/// [`CodecError`] naming the first thing that is wrong.
pub fn open(bytes: Bytes, receiver: ReceiverId) -> Result<SealedBundle, CodecError> {
    let header = check(&bytes, receiver)?;
    let folded = fold(&bytes, &header)?;
    Ok(SealedBundle::new(bytes, receiver, header, folded))
}

/// Checks header, length and checksum of a bundle, but not its entries: enough to pass it on.
///
/// # Errors
/// [`CodecError`] naming the first thing that is wrong.
pub fn check(bytes: &[u8], receiver: ReceiverId) -> Result<BundleHeader, CodecError> {
    let header = BundleHeader::read(bytes, receiver)?;
    if bytes.len() != header.length as usize {
        return Err(CodecError::Short { what: "bundle" });
    }
    let stored = bytes
        .get(4..8)
        .and_then(|crc| crc.try_into().ok())
        .map(u32::from_le_bytes);
    if stored != Some(salted_crc(receiver, bytes.get(8..).unwrap_or_default())) {
        return Err(CodecError::Checksum { what: "bundle" });
    }
    Ok(header)
}

/// What reading through a bundle's entries gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folded {
    pub(crate) last: Position,
    pub(crate) last_time: Timestamp,
}

fn fold(bytes: &[u8], header: &BundleHeader) -> Result<Folded, CodecError> {
    let mut position = Position {
        sequence: header.first.before(),
        head: header.head_before,
    };
    let mut last_time = Timestamp::ZERO;
    let mut views = Entries::new(bytes, header);
    for view in &mut views {
        let view = view?;
        let unknown = view.flags.unknown();
        if unknown != 0 {
            return Err(CodecError::UnknownFlags {
                what: "entry",
                bits: unknown,
            });
        }
        position = Position {
            sequence: view.sequence,
            head: position.head.extend(&view.leaf()),
        };
        last_time = view.time;
    }
    if views.cursor.remaining() != 0 || position.sequence != header.last() {
        return Err(CodecError::Count);
    }
    Ok(Folded {
        last: position,
        last_time,
    })
}

/// The entries of one bundle, in order.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    cursor: Cursor<'a>,
    expected: Sequence,
    left: u32,
}

impl<'a> Entries<'a> {
    /// Starts at the first entry of a bundle whose header was read.
    pub fn new(bytes: &'a [u8], header: &BundleHeader) -> Self {
        let end = (header.length - header.padding) as usize;
        let body = bytes.get(BUNDLE_HEADER_BYTES..end).unwrap_or_default();
        Self {
            cursor: Cursor::new(body),
            expected: header.first,
            left: header.entries,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<EntryView<'a>, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let expected = self.expected;
        let view = match EntryView::read(&mut self.cursor) {
            Ok(view) if view.sequence == expected => view,
            Ok(view) => {
                self.left = 0;
                return Some(Err(CodecError::Gap {
                    expected,
                    found: view.sequence,
                }));
            }
            Err(error) => {
                self.left = 0;
                return Some(Err(error));
            }
        };
        self.expected = expected.next();
        Some(Ok(view))
    }
}

const _: () = assert!(EntryFlags::KNOWN == EntryFlags::PAYLOAD_OMITTED);
