//! Room `entry`: the name of a field. It keeps the case it was given and is found without regard to it; in SQL it
//! stands in double quotes where it is not a plain word. Must not know types.
//!
//! Source of the rules: SQL names of IBM i (up to 128 characters, found without regard to case).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::field::FieldError;

/// Longest name of a field, in characters.
pub const FIELD_NAME_CHARACTERS_MAX: usize = 128;

/// What an error message repeats of the input: never more than 40 characters of it.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The SQL name of a field: 1 to 128 characters, none of them a control character. It keeps the case it was given and
/// is compared without regard to it, character by character.
#[derive(Clone)]
pub struct FieldName(Box<str>);

impl FieldName {
    /// Takes a name as it is, without quotes around it: the head of a CSV column, say. [`str::parse`] reads SQL.
    ///
    /// # Errors
    /// [`FieldError`] when it is empty, longer than 128 characters, or holds a control character.
    pub fn new(name: &str) -> Result<Self, FieldError> {
        if name.is_empty() {
            return Err(FieldError::NameEmpty);
        }
        if name.chars().nth(FIELD_NAME_CHARACTERS_MAX).is_some() {
            return Err(FieldError::NameTooLong { given: cut(name) });
        }
        match name.chars().find(|character| character.is_control()) {
            Some(character) => Err(FieldError::NameControl {
                given: cut(name),
                character,
            }),
            None => Ok(Self(Box::from(name))),
        }
    }

    /// A name of this program's own, known to be one.
    pub(super) fn known(name: &'static str) -> Self {
        Self(Box::from(name))
    }

    /// The name in the case it was given, without quotes.
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// What is compared. Each character is folded by itself: the fold of a name does not depend on what stands around.
    fn folded(&self) -> impl Iterator<Item = char> {
        self.0.chars().flat_map(char::to_lowercase)
    }

    fn needs_quotes(&self) -> bool {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '@');
        self.0.starts_with(|c: char| c.is_ascii_digit()) || !self.0.chars().all(plain)
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &Self) -> bool {
        self.folded().eq(other.folded())
    }
}

impl Eq for FieldName {}

impl Hash for FieldName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|character| character.hash(state));
        state.write_u8(0xff);
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.needs_quotes() {
            f.pad(&format!("\"{}\"", self.0.replace('"', "\"\"")))
        } else {
            f.pad(&self.0)
        }
    }
}

impl fmt::Debug for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl FromStr for FieldName {
    type Err = FieldError;

    /// Reads the SQL form: double quotes around a name that is not a plain word.
    fn from_str(text: &str) -> Result<Self, FieldError> {
        match split_name(text.trim())? {
            (name, "") => Ok(name),
            _ => Err(FieldError::NameQuotes { given: cut(text) }),
        }
    }
}

/// Reads the name at the beginning of `text`; what stands behind it is given back.
pub(super) fn split_name(text: &str) -> Result<(FieldName, &str), FieldError> {
    let needs_quotes = || FieldError::NameQuotes { given: cut(text) };
    let Some(quoted) = text.strip_prefix('"') else {
        let (name, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        if name.contains(['"', ',', '(', ')']) {
            return Err(needs_quotes());
        }
        return Ok((FieldName::new(name)?, rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (part, behind) = rest.split_once('"').ok_or_else(needs_quotes)?;
        name.push_str(part);
        // Two quotes stand for one in the name.
        let Some(more) = behind.strip_prefix('"') else {
            return Ok((FieldName::new(&name)?, behind));
        };
        name.push('"');
        rest = more;
    }
}

impl Serialize for FieldName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FieldName {
        FieldName::new(text).unwrap()
    }

    #[test]
    fn a_name_keeps_its_case_and_is_found_without_it() {
        assert_eq!(name("AlbumId").as_str(), "AlbumId");
        assert_eq!(name("AlbumId"), name("ALBUMID"));
        assert_eq!(name("GRÖSSE"), name("größe".replace('ß', "ss").as_str()));
        assert_eq!(
            name("ΟΔΟΣ"),
            name("οδοσ"),
            "a sigma is folded without regard to where it stands"
        );
        assert_ne!(name("AlbumId"), name("Album_Id"));
        let set: std::collections::HashSet<_> = [name("a"), name("A"), name("b")].into();
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(FieldName::new(""), Err(FieldError::NameEmpty));
        assert!(FieldName::new(&"Ü".repeat(128)).is_ok());
        assert!(matches!(
            FieldName::new(&"Ü".repeat(129)),
            Err(FieldError::NameTooLong { .. })
        ));
        assert!(matches!(
            FieldName::new("a\nb"),
            Err(FieldError::NameControl {
                character: '\n',
                ..
            })
        ));
        for bad in ["a b", "a\"b", "\"ab", "\"ab\"c", "a,b", "a(b)"] {
            assert!(
                matches!(bad.parse::<FieldName>(), Err(FieldError::NameQuotes { .. })),
                "{bad}"
            );
        }
    }
}
