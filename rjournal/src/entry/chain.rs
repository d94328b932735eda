//! Room `entry`: the chain of hashes that makes two copies comparable by 32 bytes.
//!
//! leaf(entry) = BLAKE3(header || BLAKE3(payload)), head(n) = BLAKE3(head(n-1) || leaf(n)), head(0) is made from the
//! journal's id. Header and payload are hashed apart so that an entry whose payload was left out still verifies.
//! Must not know how entries are laid out: it is handed bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::JournalId;

/// Running hash over all entries of a journal up to a sequence; equal heads mean identical history.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHead([u8; 32]);

impl ChainHead {
    /// The head before the first entry of a journal.
    pub fn genesis(journal: JournalId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"rjournal chain 1");
        hasher.update(journal.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The 32 bytes as they stand in a file.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads what [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The head after one more leaf.
    #[must_use]
    pub fn extend(&self, leaf: &[u8; 32]) -> Self {
        let mut joined = [0; 64];
        let (head, rest) = joined.split_at_mut(32);
        head.copy_from_slice(&self.0);
        rest.copy_from_slice(leaf);
        Self(*blake3::hash(&joined).as_bytes())
    }
}

/// Hash of a payload, also what stands in place of one that was left out.
pub fn payload_hash(payload: &[u8]) -> [u8; 32] {
    *blake3::hash(payload).as_bytes()
}

/// Hash of one entry from its header bytes (fixed part and extension) and its payload's hash.
pub(super) fn leaf(fixed: &[u8], extension: &[u8], payload: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(fixed).update(extension).update(payload);
    *hasher.finalize().as_bytes()
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(6)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for ChainHead {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for ChainHead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return serde_bytes::ByteArray::<32>::deserialize(deserializer)
                .map(|bytes| Self(bytes.into_array()));
        }
        let text = String::deserialize(deserializer)?;
        blake3::Hash::from_hex(&text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(serde::de::Error::custom)
    }
}
