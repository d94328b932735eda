//! Room `entry`: which store save is meant: its identity is the hash of its content, so that what was fetched of one is never
//! put together with what was fetched of another. Must not know what stands in a save.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChainHead, Sequence};

/// A store save, by the BLAKE3 hash it ends with: that of everything before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaveId([u8; 32]);

impl SaveId {
    /// Takes the hash a save ends with.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash, as it stands at the end of the save.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SaveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SaveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaveId({self})")
    }
}

impl Serialize for SaveId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for SaveId {
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

/// A store save, as it is known without being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveFacts {
    /// Which one.
    pub save: SaveId,
    /// Its length, the hash at its end included.
    pub bytes: u64,
    /// Everything decided up to this entry is in it.
    pub applied: Sequence,
    /// Whoever goes on from it reads the entries behind this one.
    pub restart: Sequence,
    /// Chain head at `applied`.
    pub head: ChainHead,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_is_named_by_64_digits_in_text_and_by_32_bytes_elsewhere() {
        let save = SaveId::from_bytes([0xab; 32]);
        let text = serde_json::to_string(&save).unwrap();
        assert_eq!(text, format!("\"{}\"", "ab".repeat(32)));
        assert_eq!(serde_json::from_str::<SaveId>(&text).unwrap(), save);
        let bytes = rmp_serde::to_vec_named(&save).unwrap();
        assert_eq!(bytes.len(), 2 + 32);
        assert_eq!(rmp_serde::from_slice::<SaveId>(&bytes).unwrap(), save);
        assert!(serde_json::from_str::<SaveId>("\"12\"").is_err());
    }
}
