//! Room `entry`: the names people use. Libraries, journals and receivers follow IBM i (1 to 10 characters), systems
//! and partners have limits of their own, journaled objects may carry long SQL names. Must not know what a name
//! stands for: identity never rests on one.
//!
//! Source of the rules: DESIGN section 3, IBM i "Journal management" (names), RDB directory entries (18 characters).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is empty; it needs 1 to {max} characters")]
    Empty {
        /// Longest name of this kind, in characters.
        max: usize,
    },
    /// More characters than this kind of name may have.
    #[error("name {given:?} is too long: it may have 1 to {max} characters")]
    TooLong {
        /// What was given, cut.
        given: String,
        /// Longest name of this kind, in characters.
        max: usize,
    },
    /// A character that names do not have.
    #[error(
        "name {given:?} holds {character:?}: only A-Z, 0-9, $, #, @ and _ are allowed, and the first may not be a digit"
    )]
    Character {
        /// What was given, cut.
        given: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// The library is missing, or there is more than one slash.
    #[error("{given:?} is not a qualified name: LIB/NAME is needed")]
    NotQualified {
        /// What was given, cut.
        given: String,
    },
}

/// What an error message repeats of the input: never more than 40 characters of it.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// An upper case IBM i style name of 1 to `MAX` characters `A-Z 0-9 $ # @ _`, the first not a digit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpperName<const MAX: usize> {
    bytes: [u8; MAX],
    length: u8,
}

/// Name of a library, journal or receiver: up to 10 characters.
pub type Name = UpperName<10>;
/// Name of a system: up to 8 characters (IBM i: JOSYNM).
pub type SystemName = UpperName<8>;
/// Name of a partner in the relational database directory: up to 18 characters.
pub type RdbName = UpperName<18>;

impl<const MAX: usize> UpperName<MAX> {
    /// Reads a name, folding lower case to upper.
    ///
    /// # Errors
    /// [`NameError`] when the text is empty, too long, or holds a character names do not have.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty { max: MAX });
        }
        let mut bytes = [0; MAX];
        let mut length = 0_u8;
        for (index, character) in text.chars().enumerate() {
            let upper = character.to_ascii_uppercase();
            let allowed = upper.is_ascii_uppercase()
                || matches!(upper, '$' | '#' | '@' | '_')
                || (upper.is_ascii_digit() && index > 0);
            if !allowed {
                return Err(NameError::Character {
                    given: cut(text),
                    character,
                });
            }
            let Some(slot) = bytes.get_mut(index) else {
                return Err(NameError::TooLong {
                    given: cut(text),
                    max: MAX,
                });
            };
            *slot = upper as u8;
            length += 1;
        }
        Ok(Self { bytes, length })
    }

    /// The name as text, without padding.
    pub fn as_str(&self) -> &str {
        let used = self
            .bytes
            .get(..usize::from(self.length))
            .unwrap_or_default();
        std::str::from_utf8(used).unwrap_or_default()
    }

    /// The name padded with zero bytes to its full width, as it stands in a file.
    pub fn padded(&self) -> [u8; MAX] {
        self.bytes
    }

    /// Reads what [`Self::padded`] gave.
    ///
    /// # Errors
    /// [`NameError`] when the bytes are not a name.
    pub fn from_padded(bytes: &[u8]) -> Result<Self, NameError> {
        let used = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(bytes.get(..used).unwrap_or_default());
        let name = Self::new(&text)?;
        if name.bytes.as_slice() != bytes {
            return Err(NameError::Character {
                given: cut(&text),
                character: '\u{0}',
            });
        }
        Ok(name)
    }
}

impl<const MAX: usize> fmt::Display for UpperName<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const MAX: usize> fmt::Debug for UpperName<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl<const MAX: usize> FromStr for UpperName<MAX> {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl<const MAX: usize> Serialize for UpperName<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for UpperName<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err = NameError>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// A name in a library: `LIB/NAME`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QualifiedName {
    /// The library.
    pub library: Name,
    /// The name inside it.
    pub name: Name,
}

impl QualifiedName {
    /// Puts library and name together.
    pub const fn new(library: Name, name: Name) -> Self {
        Self { library, name }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.library, self.name))
    }
}

impl fmt::Debug for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for QualifiedName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (library, name) = text
            .split_once('/')
            .ok_or_else(|| NameError::NotQualified { given: cut(text) })?;
        Ok(Self {
            library: Name::new(library)?,
            name: Name::new(name)?,
        })
    }
}

impl Serialize for QualifiedName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QualifiedName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// Longest SQL name of a journaled object, in characters.
const LONG_NAME_CHARACTERS_MAX: usize = 128;

/// An SQL name of up to 128 characters: letters, digits, `_ $ # @`, folded to upper case; inside double quotes any
/// printable character except `"` and `/`, kept as written.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LongName(Box<str>);

impl LongName {
    /// Reads an SQL name, quoted or not.
    ///
    /// # Errors
    /// [`NameError`] when it is empty, longer than 128 characters, or holds a character that is not allowed.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let max = LONG_NAME_CHARACTERS_MAX;
        let quoted = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let name = quoted.map_or_else(|| text.to_uppercase(), str::to_owned);
        if name.is_empty() {
            return Err(NameError::Empty { max });
        }
        if name.chars().count() > max {
            return Err(NameError::TooLong {
                given: cut(text),
                max,
            });
        }
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '@');
        let bad = if quoted.is_some() {
            name.chars()
                .find(|c| c.is_control() || matches!(c, '"' | '/'))
        } else {
            let digit_first = name.chars().next().filter(char::is_ascii_digit);
            digit_first.or_else(|| name.chars().find(|c| !plain(*c)))
        };
        match bad {
            Some(character) => Err(NameError::Character {
                given: cut(text),
                character,
            }),
            None => Ok(Self(name.into_boxed_str())),
        }
    }

    /// The name without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name must be quoted to read back as itself.
    fn needs_quotes(&self) -> bool {
        Self::new(&self.0).map_or(true, |folded| folded != *self)
    }
}

impl fmt::Display for LongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.needs_quotes() {
            f.pad(&format!("\"{}\"", self.0))
        } else {
            f.pad(&self.0)
        }
    }
}

impl fmt::Debug for LongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl FromStr for LongName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl Serialize for LongName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LongName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// A journaled file: `LIB/LONG_NAME`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    /// The library.
    pub library: Name,
    /// The file's SQL name inside it.
    pub name: LongName,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.library, self.name))
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (library, name) = text
            .split_once('/')
            .ok_or_else(|| NameError::NotQualified { given: cut(text) })?;
        Ok(Self {
            library: Name::new(library)?,
            name: LongName::new(name)?,
        })
    }
}

impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_ibm_i() {
        assert_eq!(Name::new("rcv0001").unwrap().as_str(), "RCV0001");
        assert_eq!(Name::new("$#@_A9").unwrap().as_str(), "$#@_A9");
        assert!(matches!(Name::new(""), Err(NameError::Empty { .. })));
        assert!(matches!(
            Name::new("ABCDEFGHIJK"),
            Err(NameError::TooLong { .. })
        ));
        for bad in ["9A", "A.B", "A/B", "../X", "Ä", "A\0"] {
            assert!(
                matches!(Name::new(bad), Err(NameError::Character { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_padded_name_reads_back_and_garbage_behind_it_does_not() {
        let name = Name::new("JRN").unwrap();
        assert_eq!(Name::from_padded(&name.padded()), Ok(name));
        assert!(Name::from_padded(b"JRN\0\0X\0\0\0\0").is_err());
        assert!(Name::from_padded(b"jrn\0\0\0\0\0\0\0").is_err());
        assert!(Name::from_padded(&[0; 10]).is_err());
    }

    #[test]
    fn a_qualified_name_needs_one_slash() {
        assert_eq!(
            "prdlib/jrn".parse::<QualifiedName>().unwrap().to_string(),
            "PRDLIB/JRN"
        );
        for bad in ["JRN", "A/B/C", "/JRN", "LIB/", "LIB/JRN/"] {
            assert!(bad.parse::<QualifiedName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn long_names_fold_unless_quoted() {
        assert_eq!(
            LongName::new("PlaylistTrack").unwrap().as_str(),
            "PLAYLISTTRACK"
        );
        let quoted = LongName::new("\"Playlist Track\"").unwrap();
        assert_eq!(quoted.to_string().parse::<LongName>().unwrap(), quoted);
        for bad in ["", "\"\"", "A B", "1A", "\"a/b\"", &"X".repeat(129)] {
            assert!(LongName::new(bad).is_err(), "{bad}");
        }
    }
}
