//! Room `entry`: a field of a file: its name, its type, and whether it may be null. In comes
//! `AlbumId INTEGER NOT NULL`, out goes a checked [`Field`], and back. Must not know the other fields of the file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::field_name::{FIELD_NAME_CHARACTERS_MAX, FieldName, cut, split_name};
use super::field_type::{FieldType, TypeError};

/// Why a text is not a field or the name of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Nothing was given.
    #[error("the name of a field is empty; it needs 1 to {max} characters", max = FIELD_NAME_CHARACTERS_MAX)]
    NameEmpty,
    /// More characters than a name may have.
    #[error("field name {given:?} is too long: it may have 1 to {max} characters", max = FIELD_NAME_CHARACTERS_MAX)]
    NameTooLong {
        /// What was given, cut.
        given: String,
    },
    /// A control character stands in the name.
    #[error("field name {given:?} holds the control character {character:?}; leave it out")]
    NameControl {
        /// What was given, cut.
        given: String,
        /// The first one.
        character: char,
    },
    /// The name cannot be told from what stands around it.
    #[error(
        "field name {given:?} needs double quotes around it, and a quote inside them written twice"
    )]
    NameQuotes {
        /// What was given, cut.
        given: String,
    },
    /// The type is missing.
    #[error("{given:?} is no field; it is written as NAME TYPE or NAME TYPE NOT NULL")]
    NoType {
        /// What was given, cut.
        given: String,
    },
    /// The type cannot be read.
    #[error("the type of field {name} cannot be read")]
    Type {
        /// The field.
        name: FieldName,
        /// Why.
        source: TypeError,
    },
}

/// A field of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: FieldName,
    /// Its type.
    pub field_type: FieldType,
    /// Whether it may hold null.
    pub nullable: bool,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.nullable { "" } else { " NOT NULL" };
        f.pad(&format!("{} {}{suffix}", self.name, self.field_type))
    }
}

impl FromStr for Field {
    type Err = FieldError;

    /// Reads `NAME TYPE` or `NAME TYPE NOT NULL`.
    fn from_str(text: &str) -> Result<Self, FieldError> {
        let (name, rest) = split_name(text.trim())?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (words, nullable) = match words.as_slice() {
            [before @ .., not, null]
                if not.eq_ignore_ascii_case("NOT") && null.eq_ignore_ascii_case("NULL") =>
            {
                (before, false)
            }
            all => (all, true),
        };
        if words.is_empty() || !rest.starts_with(char::is_whitespace) {
            return Err(FieldError::NoType { given: cut(text) });
        }
        match words.join(" ").parse() {
            Ok(field_type) => Ok(Self {
                name,
                field_type,
                nullable,
            }),
            Err(source) => Err(FieldError::Type { name, source }),
        }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(with_cause)
    }
}

/// serde keeps only the text of an error, so the cause is put behind it.
fn with_cause<E: serde::de::Error>(error: FieldError) -> E {
    match std::error::Error::source(&error) {
        Some(cause) => E::custom(format_args!("{error}: {cause}")),
        None => E::custom(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{any_name, any_type};
    use super::*;

    #[test]
    fn a_field_reads_as_sql() {
        let field: Field = " AlbumId  integer not  null ".parse().unwrap();
        assert_eq!(field.to_string(), "AlbumId INTEGER NOT NULL");
        let field: Field = "\"Unit \"\"Price\"\"\" NUMERIC( 10, 2 )".parse().unwrap();
        assert_eq!(field.name.as_str(), "Unit \"Price\"");
        assert_eq!(field.to_string(), "\"Unit \"\"Price\"\"\" DECIMAL(10,2)");
        for bad in [
            "",
            "AlbumId",
            "AlbumId NOT NULL",
            "\"A\"INTEGER",
            "A INTEGER NULL",
            "A NOT NULL INTEGER",
        ] {
            assert!(bad.parse::<Field>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_in_json_says_why_it_cannot_be_read() {
        let error = serde_json::from_str::<Field>("\"Price DECIMAL(50,2)\"")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("Price") && error.contains("DECIMAL(50,2)"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn every_field_reads_back_from_its_text(name in any_name(), field_type in any_type(), nullable: bool) {
            let field = Field { name, field_type, nullable };
            let read: Field = field.to_string().parse().unwrap();
            prop_assert_eq!(read.name.as_str(), field.name.as_str());
            prop_assert_eq!(read, field);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in any::<String>()) {
            drop(text.parse::<Field>());
        }
    }
}
