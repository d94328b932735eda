//! Room `entry`: the random 128-bit ids that identity rests on. Names are for people and may change or clash; these
//! do not. Must not know where randomness comes from: ids are made from bytes the caller brings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not 32 hexadecimal digits was given as an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not an id: 32 hexadecimal digits are needed")]
pub struct IdError {
    /// What was given, cut to 40 characters.
    pub given: String,
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name([u8; 16]);

        impl $name {
            /// All zeros: no such thing. Never given to anything real.
            pub const NONE: Self = Self([0; 16]);

            /// Takes 16 bytes, random ones where a new id is made.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, in the order they stand in a file.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Whether this is [`Self::NONE`].
            pub fn is_none(&self) -> bool {
                *self == Self::NONE
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self).ok_or_else(|| IdError { given: text.chars().take(40).collect() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_id(deserializer).map(Self)
            }
        }
    };
}

id128! {
    /// One journal, the same on every system that holds a copy of it.
    JournalId
}
id128! {
    /// One receiver, the same on every copy; also the salt of its checksums.
    ReceiverId
}
id128! {
    /// One system: one data directory with one identity.
    SystemId
}
id128! {
    /// One journaled object (a file), the same on all systems of a lineage (IBM i: JID).
    ObjectId
}
id128! {
    /// One depositing client, chosen by it; the first half of a deposit key.
    ClientId
}
id128! {
    /// One recovery group; a journal outside any group is a group of its own, with the journal's bytes.
    GroupId
}

impl From<JournalId> for GroupId {
    fn from(journal: JournalId) -> Self {
        Self(journal.0)
    }
}

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(*pair.first()?).to_digit(16)?;
        let low = char::from(*pair.get(1)?).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}

fn deserialize_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    use serde::de::Error;
    if deserializer.is_human_readable() {
        let text = String::deserialize(deserializer)?;
        parse_hex(&text).ok_or_else(|| D::Error::custom("an id has 32 hexadecimal digits"))
    } else {
        let bytes = serde_bytes::ByteArray::<16>::deserialize(deserializer)?;
        Ok(bytes.into_array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = JournalId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<JournalId>(), Ok(id));
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for given in ["", "12", &"g".repeat(32), &"é".repeat(16), &"0".repeat(33)] {
            assert!(given.parse::<ReceiverId>().is_err(), "{given}");
        }
    }
}
