//! Room `entry`: journal code and entry type, as IBM i prints them (`R PT`, `C CM` ...), and the entry's flags.
//! Must not know what an entry's payload holds.
//!
//! Source: IBM i "Journal code descriptions"; `J OE`, `J IS` and `J HO` are rjournal's own (docs/GLOSSARY.md).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Journal code (category) and entry type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    code: u8,
    entry_type: [u8; 2],
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal $entry_type:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Self = Self { code: $code, entry_type: *$entry_type };)*
        }
    };
}

kinds! {
    /// Record added.
    RECORD_PUT = b'R' b"PT";
    /// Record added at a given record number.
    RECORD_PUT_AT = b'R' b"PX";
    /// Image before an update; stands just before its `R UP`.
    RECORD_BEFORE = b'R' b"UB";
    /// Image after an update.
    RECORD_UPDATE = b'R' b"UP";
    /// Record deleted.
    RECORD_DELETE = b'R' b"DL";
    /// Image before a rollback's update.
    ROLLBACK_BEFORE = b'R' b"BR";
    /// Image a rollback put back.
    ROLLBACK_UPDATE = b'R' b"UR";
    /// Delete done by a rollback.
    ROLLBACK_DELETE = b'R' b"DR";
    /// Commit cycle started; its sequence is the cycle's id.
    CYCLE_START = b'C' b"SC";
    /// Commit cycle committed.
    CYCLE_COMMIT = b'C' b"CM";
    /// Commit cycle rolled back.
    CYCLE_ROLLBACK = b'C' b"RB";
    /// File created, with its format.
    FILE_CREATE = b'D' b"CT";
    /// File's format changed.
    FILE_CHANGE = b'D' b"CG";
    /// File deleted.
    FILE_DELETE = b'D' b"DT";
    /// Journaling of a file started.
    JOURNALING_START = b'F' b"JM";
    /// Journaling of a file ended.
    JOURNALING_END = b'F' b"EJ";
    /// First entry of a receiver: names the previous one.
    RECEIVER_PREVIOUS = b'J' b"PR";
    /// Last entry of a receiver: names the next one.
    RECEIVER_NEXT = b'J' b"NR";
    /// First entry of a boot or a term: the journal was opened for deposits.
    OPENED = b'J' b"OE";
    /// The in-sync set changed.
    IN_SYNC_SET = b'J' b"IS";
    /// The primary of a recovery group hands over; last entry of its term.
    HAND_OVER = b'J' b"HO";
    /// A user's entry of type 00, SNDJRNE's default.
    USER = b'U' b"00";
}

impl Kind {
    /// From a code and a type, both as printed.
    ///
    /// # Errors
    /// [`KindError`] unless the code is a letter A-Z and the type two letters or digits.
    pub fn new(code: u8, entry_type: [u8; 2]) -> Result<Self, KindError> {
        let good_type = entry_type
            .iter()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        if code.is_ascii_uppercase() && good_type {
            Ok(Self { code, entry_type })
        } else {
            Err(KindError)
        }
    }

    /// A user's entry of the given type.
    ///
    /// # Errors
    /// [`KindError`] unless the type is two characters A-Z or 0-9.
    pub fn user(entry_type: &str) -> Result<Self, KindError> {
        let bytes: [u8; 2] = entry_type
            .to_ascii_uppercase()
            .as_bytes()
            .try_into()
            .map_err(|_| KindError)?;
        Self::new(b'U', bytes)
    }

    /// As it stands in an entry's header.
    pub const fn to_bytes(self) -> [u8; 3] {
        let [first, second] = self.entry_type;
        [self.code, first, second]
    }

    /// The journal code's letter.
    pub const fn code(self) -> char {
        self.code as char
    }

    /// The entry type's two characters.
    pub fn entry_type(&self) -> &str {
        std::str::from_utf8(&self.entry_type).unwrap_or_default()
    }

    /// Whether this is a change of one record (code R).
    pub const fn is_record(self) -> bool {
        self.code == b'R'
    }

    /// Whether this starts, commits or rolls back a commit cycle (code C).
    pub const fn is_commitment(self) -> bool {
        self.code == b'C'
    }

    /// Whether only the journal itself deposits such entries (code J).
    pub const fn is_journal_control(self) -> bool {
        self.code == b'J'
    }
}

/// Text that is not a journal code and entry type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry type has two characters A-Z or 0-9, behind a code A-Z (for example \"R PT\")")]
pub struct KindError;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.entry_type())
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        match text.as_bytes() {
            [code, b' ', first, second] => Self::new(*code, [*first, *second]),
            _ => Err(KindError),
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Flags of an entry: a half every reader must understand, and a half it may ignore, store and forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EntryFlags {
    /// Unknown bits here stop apply and coupling.
    pub must_understand: u16,
    /// Unknown bits here are kept and passed on.
    pub ignorable: u16,
}

impl EntryFlags {
    /// The payload was left out; its 32-byte hash stands in its place. Not part of the leaf, so the chain holds.
    pub const PAYLOAD_OMITTED: u16 = 1;
    /// The change was made by a referential constraint (IBM i: JORCST), ignorable half.
    pub const BY_CONSTRAINT: u16 = 1;
    /// The change was made by a trigger (IBM i: JOTGR), ignorable half.
    pub const BY_TRIGGER: u16 = 2;

    /// The must-understand bits this version knows.
    pub const KNOWN: u16 = Self::PAYLOAD_OMITTED;

    /// Must-understand bits this version does not know.
    pub const fn unknown(self) -> u16 {
        self.must_understand & !Self::KNOWN
    }
}
