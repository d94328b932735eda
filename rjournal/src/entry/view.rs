//! Room `entry`: an entry as it is read: borrowed from the bytes of a bundle, every length checked.
//! Must not know where the bytes come from.

use super::chain;
use super::codec::{CodecError, ENTRY_FIXED_BYTES, EXTENSION_BYTES_MAX, PAYLOAD_BYTES_MAX};
use super::{ClientId, Cursor, DepositKey, EntryFlags, Kind, ObjectId, Sequence, Timestamp};

/// Tags of the fields in a header extension. Unknown tags below 128 may be ignored, others must be understood.
pub(crate) mod tag {
    /// Deposit key: client (16), key (8), content hash (16).
    pub(crate) const KEY: u8 = 1;
    /// Job name.
    pub(crate) const JOB: u8 = 2;
    /// User name.
    pub(crate) const USER: u8 = 3;
    /// Program name.
    pub(crate) const PROGRAM: u8 = 4;
    /// System of the original deposit.
    pub(crate) const SYSTEM: u8 = 5;
    /// The clock's own reading (8) where the entry's time was held back to stay in order.
    pub(crate) const RAW_TIME: u8 = 6;
    /// The first tag that must be understood.
    pub(crate) const MUST_UNDERSTAND: u8 = 128;
}

/// The payload, or its hash where it was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The bytes as deposited.
    Present(&'a [u8]),
    /// Left out by a filter: only the length and the BLAKE3 hash are here.
    Omitted {
        /// Length of the payload in bytes.
        length: u32,
        /// Its hash.
        hash: &'a [u8; 32],
    },
}

impl<'a> Payload<'a> {
    /// The bytes, empty where they were left out.
    pub const fn bytes(self) -> &'a [u8] {
        match self {
            Self::Present(bytes) => bytes,
            Self::Omitted { .. } => &[],
        }
    }
}

/// The optional fields of an entry's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extension<'a> {
    /// Deposit key and the hash of what was deposited under it.
    pub key: Option<(DepositKey, [u8; 16])>,
    /// Job name.
    pub job: Option<&'a str>,
    /// User name.
    pub user: Option<&'a str>,
    /// Program name.
    pub program: Option<&'a str>,
    /// System of the original deposit.
    pub system: Option<&'a str>,
    /// The clock's own reading where the entry's time was held back to stay in order.
    pub raw_time: Option<Timestamp>,
}

/// One entry inside a bundle's bytes.
#[derive(Debug, Clone, Copy)]
pub struct EntryView<'a> {
    /// Its number.
    pub sequence: Sequence,
    /// When it was deposited; never lower than the entry's before it.
    pub time: Timestamp,
    /// Code and type.
    pub kind: Kind,
    /// The journaled object, [`ObjectId::NONE`] for none.
    pub object: ObjectId,
    /// Relative record number of a record entry, else a count.
    pub count: u64,
    /// The commit cycle it belongs to; its own sequence for `C SC`; [`Sequence::NONE`] outside one.
    pub cycle: Sequence,
    /// Version of the object's format the payload is written in.
    pub format: u32,
    /// Flags.
    pub flags: EntryFlags,
    /// IBM i's JOFLAG.
    pub indicator: u8,
    /// Payload or its hash.
    pub payload: Payload<'a>,
    fixed: &'a [u8; ENTRY_FIXED_BYTES],
    extension: &'a [u8],
}

impl<'a> EntryView<'a> {
    /// Reads the entry at the cursor and moves behind it.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing, a length lies, or a reserved field is used.
    pub fn read(cursor: &mut Cursor<'a>) -> Result<Self, CodecError> {
        let fixed: &[u8; ENTRY_FIXED_BYTES] = cursor
            .bytes(ENTRY_FIXED_BYTES)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(CodecError::Short {
                what: "entry header",
            })?;
        let mut fields = Cursor::new(fixed);
        let short = || CodecError::Short {
            what: "entry header",
        };
        let sequence = Sequence::new(fields.u64().ok_or_else(short)?);
        let time = Timestamp::from_micros(fields.u64().ok_or_else(short)?);
        let object = ObjectId::from_bytes(fields.array().ok_or_else(short)?);
        let count = fields.u64().ok_or_else(short)?;
        let cycle = Sequence::new(fields.u64().ok_or_else(short)?);
        let format = fields.u32().ok_or_else(short)?;
        let payload_length = fields.u32().ok_or_else(short)?;
        let must_understand = fields.u16().ok_or_else(short)?;
        let ignorable = fields.u16().ok_or_else(short)?;
        let code = fields.u8().ok_or_else(short)?;
        let entry_type = fields.array().ok_or_else(short)?;
        let indicator = fields.u8().ok_or_else(short)?;
        let extension_length = fields.u16().ok_or_else(short)?;
        if fields.rest().iter().any(|byte| *byte != 0) {
            return Err(CodecError::Reserved {
                what: "entry header",
            });
        }
        let kind = Kind::new(code, entry_type).map_err(|_| CodecError::Kind {
            bytes: [code, entry_type[0], entry_type[1]],
        })?;
        if usize::from(extension_length) > EXTENSION_BYTES_MAX {
            return Err(CodecError::TooLong {
                what: "entry extension",
                length: u64::from(extension_length),
            });
        }
        if payload_length > PAYLOAD_BYTES_MAX {
            return Err(CodecError::TooLong {
                what: "payload",
                length: u64::from(payload_length),
            });
        }
        let extension = cursor
            .bytes(usize::from(extension_length))
            .ok_or(CodecError::Short {
                what: "entry extension",
            })?;
        let flags = EntryFlags {
            must_understand,
            ignorable,
        };
        let payload = if must_understand & EntryFlags::PAYLOAD_OMITTED == 0 {
            let bytes = cursor
                .bytes(payload_length as usize)
                .ok_or(CodecError::Short { what: "payload" })?;
            Payload::Present(bytes)
        } else {
            let hash = cursor.bytes(32).and_then(|bytes| bytes.try_into().ok());
            Payload::Omitted {
                length: payload_length,
                hash: hash.ok_or(CodecError::Short {
                    what: "payload hash",
                })?,
            }
        };
        Ok(Self {
            sequence,
            time,
            kind,
            object,
            count,
            cycle,
            format,
            flags,
            indicator,
            payload,
            fixed,
            extension,
        })
    }

    /// The entry's leaf of the chain.
    pub fn leaf(&self) -> [u8; 32] {
        match self.payload {
            Payload::Present(bytes) => {
                chain::leaf(self.fixed, self.extension, &chain::payload_hash(bytes))
            }
            Payload::Omitted { hash, .. } => {
                let mut fixed = *self.fixed;
                let flags = self.flags.must_understand & !EntryFlags::PAYLOAD_OMITTED;
                if let Some(slot) = fixed.get_mut(56..58) {
                    slot.copy_from_slice(&flags.to_le_bytes());
                }
                chain::leaf(&fixed, self.extension, hash)
            }
        }
    }

    /// The optional header fields.
    ///
    /// # Errors
    /// [`CodecError`] when the extension is malformed or holds a tag that must be understood and is not.
    pub fn extension(&self) -> Result<Extension<'a>, CodecError> {
        let mut cursor = Cursor::new(self.extension);
        let mut found = Extension::default();
        let short = || CodecError::Short {
            what: "entry extension",
        };
        while cursor.remaining() > 0 {
            let (tag, length) = (
                cursor.u8().ok_or_else(short)?,
                cursor.u8().ok_or_else(short)?,
            );
            let value = cursor.bytes(usize::from(length)).ok_or_else(short)?;
            let text = || {
                std::str::from_utf8(value).map_err(|_| CodecError::Reserved {
                    what: "actor field",
                })
            };
            match tag {
                tag::KEY => {
                    let mut parts = Cursor::new(value);
                    let client = ClientId::from_bytes(parts.array().ok_or_else(short)?);
                    let key = parts.u64().ok_or_else(short)?;
                    found.key =
                        Some((DepositKey { client, key }, parts.array().ok_or_else(short)?));
                }
                tag::JOB => found.job = Some(text()?),
                tag::USER => found.user = Some(text()?),
                tag::PROGRAM => found.program = Some(text()?),
                tag::SYSTEM => found.system = Some(text()?),
                tag::RAW_TIME => {
                    found.raw_time = Some(Timestamp::from_micros(
                        Cursor::new(value).u64().ok_or_else(short)?,
                    ));
                }
                tag if tag >= tag::MUST_UNDERSTAND => return Err(CodecError::UnknownTag { tag }),
                _ => {}
            }
        }
        Ok(found)
    }
}
