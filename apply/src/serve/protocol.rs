//! Room `serve`: what stands on the socket: four bytes of length, then MessagePack with named fields. Rows and keys travel
//! as they are encoded. Must not know connections.

use bytes::{Buf, BufMut, BytesMut};
use rjournal::entry::record::Format;
use rjournal::entry::{DepositKey, FileName, ObjectId, Sequence};
use rjournal::link::{decode_message, encode_message};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::database::Outcome;
use crate::error::DatabaseError;
use crate::job::JobStatus;
use crate::store::{StorePosition, StoredFile};

/// Version of what is said on the socket. Each end names its own first, and understands no other.
pub const PROTOCOL: u32 = 2;
/// Longest message, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteKind {
    /// A row that must not be there yet.
    Insert,
    /// A row that must be there.
    Update,
    /// A row, there or not.
    Put,
    /// A row taken away: the bytes are its key.
    Delete,
}

/// A change of one row, encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedWrite {
    /// What it does.
    pub kind: WriteKind,
    /// The file.
    pub file: FileName,
    /// The row, or the key of a delete.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// A file of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSummary {
    /// Its name.
    pub file: FileName,
    /// Its identity.
    pub id: ObjectId,
    /// Its format.
    pub format: Format,
    /// How many rows it has.
    pub rows: u64,
}

impl FileSummary {
    pub(super) fn of(file: StoredFile) -> Self {
        Self {
            file: file.format.file().clone(),
            id: file.id,
            format: file.format,
            rows: file.rows,
        }
    }
}

/// A file as a snapshot has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Everything decided up to here is in it, and nothing later.
    pub applied: Sequence,
    /// The file then.
    pub file: FileSummary,
}

/// What a file holds, at one position of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedFile {
    /// How many rows.
    pub rows: u64,
    /// Hash over them in key order, in hexadecimal: equal hashes are equal files.
    pub hash: String,
    /// Everything decided up to here is in it.
    pub applied: Sequence,
}

/// A store save that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStore {
    /// The position it covers.
    pub position: StorePosition,
    /// Files in it.
    pub files: u64,
    /// Rows in it.
    pub rows: u64,
    /// How long it is.
    pub bytes: u64,
}

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoreRequest {
    /// The first on every connection, in every version.
    Hello {
        protocol: u32,
    },
    Files,
    Describe {
        file: FileName,
    },
    Get {
        file: FileName,
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// Lock the row for the transaction.
        for_update: bool,
    },
    Scan {
        file: FileName,
        after: Option<serde_bytes::ByteBuf>,
        count: usize,
        bytes_max: usize,
    },
    /// Changes: in the transaction if there is one, else each on its own; with a key in a transaction of their own.
    Write {
        writes: Vec<EncodedWrite>,
        key: Option<DepositKey>,
    },
    Begin {
        key: Option<DepositKey>,
    },
    Commit,
    Rollback,
    /// Hash over a file's rows in key order.
    Hash {
        file: FileName,
    },
    /// Hold the store as it is now, for reading this file; one at a time.
    Snapshot {
        file: FileName,
    },
    /// As `Scan`, of the file as it was.
    ScanSnapshot {
        after: Option<serde_bytes::ByteBuf>,
        count: usize,
        bytes_max: usize,
    },
    EndSnapshot,
    /// Make a store save: in this file, or the job's own.
    Save {
        path: Option<String>,
    },
    Hold,
    Release,
    Status,
    /// Wait until everything decided up to an entry is applied.
    Wait {
        upto: Sequence,
        millis: u64,
    },
}

/// A reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoreReply {
    Hello {
        protocol: u32,
    },
    Done,
    Files(Vec<FileSummary>),
    File(Box<FileSummary>),
    Row(Option<serde_bytes::ByteBuf>),
    /// Keys and rows, one after the other.
    Rows(Vec<(serde_bytes::ByteBuf, serde_bytes::ByteBuf)>),
    Outcome(Outcome),
    Hashed(HashedFile),
    Snapshot(Box<SnapshotFile>),
    Saved(SavedStore),
    Status(JobStatus),
    Waited {
        reached: bool,
    },
    Failed(DatabaseError),
}

/// Writes a message.
pub(super) fn put<T: Serialize>(out: &mut BytesMut, message: &T) -> Result<(), DatabaseError> {
    let body = encode_message(message).map_err(|error| DatabaseError::Store {
        reason: error.to_string(),
    })?;
    out.put_u32_le(body.len() as u32);
    out.extend_from_slice(&body);
    Ok(())
}

/// Takes the next whole message out of what was read, of at most so many bytes.
pub(super) fn take<T: DeserializeOwned>(
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> Result<Option<T>, DatabaseError> {
    let Some(head) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*head) as usize;
    if length > bytes_max {
        return Err(DatabaseError::Store {
            reason: format!("a message claims {length} bytes, at most {bytes_max} are allowed"),
        });
    }
    if buffer.len() < 4 + length {
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    let body = buffer.split_to(length);
    decode_message(&body)
        .map(Some)
        .map_err(|error| DatabaseError::Store {
            reason: error.to_string(),
        })
}
