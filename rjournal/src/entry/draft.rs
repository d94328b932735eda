//! Room `entry`: what a depositor hands in, before the journal gives it a number and a time.
//! Must not know the journal's state: whether a draft is accepted is decided in `journal/deposit`.

use serde::{Deserialize, Serialize};

use super::{ClientId, EntryFlags, Kind, ObjectId, Sequence};

/// Makes a retried deposit land at most once: a client's id and a number that grows with every deposit of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DepositKey {
    /// The depositing client, chosen by it once and kept.
    pub client: ClientId,
    /// Grows with every new deposit of this client; a retry repeats it.
    pub key: u64,
}

/// Who did it (IBM i: FIXLENDTA *JOB, *USR, *PGM and the system name), kept ready for the entry's header extension.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actor {
    encoded: Vec<u8>,
}

/// Longest actor field, in bytes; longer ones are cut at a character boundary.
const ACTOR_FIELD_BYTES_MAX: usize = 64;

impl Actor {
    /// Puts the fields down; empty ones are left out.
    pub fn new(job: &str, user: &str, program: &str, system: &str) -> Self {
        use super::view::tag;
        let mut encoded = Vec::new();
        for (tag, text) in [
            (tag::JOB, job),
            (tag::USER, user),
            (tag::PROGRAM, program),
            (tag::SYSTEM, system),
        ] {
            let mut end = text.len().min(ACTOR_FIELD_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let bytes = text.as_bytes().get(..end).unwrap_or_default();
            if !bytes.is_empty() {
                encoded.extend_from_slice(&[tag, bytes.len() as u8]);
                encoded.extend_from_slice(bytes);
            }
        }
        Self { encoded }
    }

    /// The fields as they stand in an entry's header extension.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Takes the actor fields over from an extension that was read.
    pub fn from_extension(extension: &super::Extension<'_>) -> Self {
        let text = Option::unwrap_or_default;
        Self::new(
            text(extension.job),
            text(extension.user),
            text(extension.program),
            text(extension.system),
        )
    }
}

/// An entry as it is handed in.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Code and type.
    pub kind: Kind,
    /// The journaled object, [`ObjectId::NONE`] for none.
    pub object: ObjectId,
    /// Relative record number of a record entry, else a count (IBM i: JOCTRR).
    pub count: u64,
    /// The commit cycle it belongs to, [`Sequence::NONE`] outside one.
    pub cycle: Sequence,
    /// Version of the object's format the payload is written in, 0 where there is none.
    pub format: u32,
    /// Constraint and trigger flags (ignorable half); the must-understand half is the journal's own.
    pub flags: EntryFlags,
    /// IBM i's JOFLAG, as a number: its meaning depends on the kind.
    pub indicator: u8,
    /// Makes a retry land at most once.
    pub key: Option<DepositKey>,
    /// Who did it.
    pub actor: Option<&'a Actor>,
    /// The image, opaque to the journal.
    pub payload: &'a [u8],
}

impl<'a> Draft<'a> {
    /// A draft with everything but kind and payload left empty.
    pub const fn new(kind: Kind, payload: &'a [u8]) -> Self {
        Self {
            kind,
            object: ObjectId::NONE,
            count: 0,
            cycle: Sequence::NONE,
            format: 0,
            flags: EntryFlags {
                must_understand: 0,
                ignorable: 0,
            },
            indicator: 0,
            key: None,
            actor: None,
            payload,
        }
    }

    /// Hash of what is deposited, 16 bytes: equal for a retry, different when a key is used for something else.
    pub fn content_hash(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.kind.to_bytes());
        hasher.update(self.object.as_bytes());
        hasher.update(&self.format.to_le_bytes());
        hasher.update(self.payload);
        let mut content = [0; 16];
        hasher.finalize_xof().fill(&mut content);
        content
    }
}
