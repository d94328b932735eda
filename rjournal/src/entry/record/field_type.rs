//! Room `entry`: the types a field can have, and their SQL names. In comes `DECIMAL(10,2)`, out goes a checked type,
//! and back. Must not know values or bytes.
//!
//! Source of the names: SQL; of the limits: docs/FORMAT.md.

use std::fmt;
use std::str::FromStr;

use super::decimal::DECIMAL_DIGITS_MAX;

/// Longest text (in characters) and longest binary value (in bytes) a field may be declared for: 15 MiB. A row with one
/// such value and a key of the longest kind still fits into one entry.
pub const FIELD_LENGTH_MAX: u32 = 15 * 1024 * 1024;

/// Why a text is not a field type, or a field type is not one that can be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// No type has this name.
    #[error(
        "{given:?} is no field type; there are SMALLINT, INTEGER, BIGINT, DECIMAL(p,s), REAL, DOUBLE, VARCHAR(n), \
         VARBINARY(n), DATE, TIME, TIMESTAMP, BOOLEAN, UUID and JSON"
    )]
    Unknown {
        /// What was given, cut.
        given: String,
    },
    /// The type exists, but not with these numbers behind it.
    #[error("{given:?} does not say its size; it is written as {form}")]
    Parameters {
        /// What was given, cut.
        given: String,
        /// How the type is written.
        form: &'static str,
    },
    /// A decimal with too many digits, or more of them behind the point than it has.
    #[error(
        "DECIMAL({precision},{scale}) cannot be stored; it may have 1 to 38 digits, and no more behind the point"
    )]
    Digits {
        /// Digits altogether.
        precision: u32,
        /// Digits behind the point.
        scale: u32,
    },
    /// A text or binary field of no length, or of too much.
    #[error("length {length} cannot be stored; a field may have a length of 1 to {max}", max = FIELD_LENGTH_MAX)]
    Length {
        /// The length asked for.
        length: u32,
    },
}

/// The type of a field. Two types of different numbers are different types: values are never converted silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Whole number of 16 bits.
    SmallInt,
    /// Whole number of 32 bits.
    Integer,
    /// Whole number of 64 bits.
    BigInt,
    /// Exact decimal number.
    Decimal {
        /// Digits altogether, 1 to 38.
        precision: u8,
        /// How many of them stand behind the point.
        scale: u8,
    },
    /// Floating point number of 32 bits.
    Real,
    /// Floating point number of 64 bits.
    Double,
    /// Text.
    Varchar {
        /// Most characters (Unicode scalar values) a value may have.
        characters_max: u32,
    },
    /// Bytes.
    Varbinary {
        /// Most bytes a value may have.
        bytes_max: u32,
    },
    /// A day of the years 1 to 9999.
    Date,
    /// A time of day, to the microsecond.
    Time,
    /// Day and time of day, to the microsecond, without a time zone.
    Timestamp,
    /// True or false.
    Boolean,
    /// 128 bit identity.
    Uuid,
    /// JSON, carried as the text it was given as (ruling 24).
    Json,
}

impl FieldType {
    /// Text of the longest kind: what SQL calls `TEXT`.
    pub const TEXT: Self = Self::Varchar {
        characters_max: FIELD_LENGTH_MAX,
    };
    /// Bytes of the longest kind: what SQL calls `BLOB`.
    pub const BLOB: Self = Self::Varbinary {
        bytes_max: FIELD_LENGTH_MAX,
    };

    /// Gives the type back when its numbers are within their limits.
    ///
    /// # Errors
    /// [`TypeError`] naming the number that is not.
    pub const fn checked(self) -> Result<Self, TypeError> {
        match self {
            Self::Decimal { precision, scale }
                if precision == 0 || precision > DECIMAL_DIGITS_MAX || scale > precision =>
            {
                Err(TypeError::Digits {
                    precision: precision as u32,
                    scale: scale as u32,
                })
            }
            Self::Varchar {
                characters_max: length,
            }
            | Self::Varbinary { bytes_max: length }
                if length == 0 || length > FIELD_LENGTH_MAX =>
            {
                Err(TypeError::Length { length })
            }
            fits => Ok(fits),
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SmallInt => f.pad("SMALLINT"),
            Self::Integer => f.pad("INTEGER"),
            Self::BigInt => f.pad("BIGINT"),
            Self::Decimal { precision, scale } => f.pad(&format!("DECIMAL({precision},{scale})")),
            Self::Real => f.pad("REAL"),
            Self::Double => f.pad("DOUBLE"),
            Self::Varchar { characters_max } => f.pad(&format!("VARCHAR({characters_max})")),
            Self::Varbinary { bytes_max } => f.pad(&format!("VARBINARY({bytes_max})")),
            Self::Date => f.pad("DATE"),
            Self::Time => f.pad("TIME"),
            Self::Timestamp => f.pad("TIMESTAMP"),
            Self::Boolean => f.pad("BOOLEAN"),
            Self::Uuid => f.pad("UUID"),
            Self::Json => f.pad("JSON"),
        }
    }
}

impl FromStr for FieldType {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, TypeError> {
        let given = || text.chars().take(40).collect::<String>();
        let (name, numbers) =
            name_and_numbers(text).ok_or_else(|| TypeError::Unknown { given: given() })?;
        let parameters = |form| TypeError::Parameters {
            given: given(),
            form,
        };
        let field_type = match (name.as_str(), numbers.as_slice()) {
            ("SMALLINT", []) => Self::SmallInt,
            ("INTEGER" | "INT", []) => Self::Integer,
            ("BIGINT", []) => Self::BigInt,
            ("DECIMAL" | "NUMERIC", [precision]) => decimal(*precision, 0)?,
            ("DECIMAL" | "NUMERIC", [precision, scale]) => decimal(*precision, *scale)?,
            ("DECIMAL" | "NUMERIC", _) => return Err(parameters("DECIMAL(p,s)")),
            ("REAL", []) => Self::Real,
            ("DOUBLE" | "DOUBLE PRECISION" | "FLOAT", []) => Self::Double,
            ("VARCHAR" | "CHAR", [length]) => Self::Varchar {
                characters_max: *length,
            },
            ("VARCHAR" | "CHAR", _) => return Err(parameters("VARCHAR(n)")),
            ("TEXT", []) => Self::TEXT,
            ("VARBINARY" | "BINARY", [length]) => Self::Varbinary { bytes_max: *length },
            ("VARBINARY" | "BINARY", _) => return Err(parameters("VARBINARY(n)")),
            ("BLOB", []) => Self::BLOB,
            ("DATE", []) => Self::Date,
            ("TIME", []) => Self::Time,
            ("TIMESTAMP", []) => Self::Timestamp,
            ("BOOLEAN" | "BOOL", []) => Self::Boolean,
            ("UUID", []) => Self::Uuid,
            ("JSON", []) => Self::Json,
            _ => return Err(TypeError::Unknown { given: given() }),
        };
        field_type.checked()
    }
}

/// Splits `name ( n , n )`; nothing when the brackets or the numbers are not that.
fn name_and_numbers(text: &str) -> Option<(String, Vec<u32>)> {
    let (name, numbers) = match text.split_once('(') {
        None => (text, Vec::new()),
        Some((name, rest)) => {
            let inside = rest.trim_end().strip_suffix(')')?;
            (
                name,
                inside.split(',').map(number).collect::<Option<Vec<_>>>()?,
            )
        }
    };
    let words: Vec<&str> = name.split_whitespace().collect();
    Some((words.join(" ").to_ascii_uppercase(), numbers))
}

fn number(text: &str) -> Option<u32> {
    let digits = text.trim();
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

fn decimal(precision: u32, scale: u32) -> Result<FieldType, TypeError> {
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision), Ok(scale)) => Ok(FieldType::Decimal { precision, scale }),
        _ => Err(TypeError::Digits { precision, scale }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::any_type;
    use super::*;

    #[test]
    fn synonyms_become_the_one_name() {
        for (given, shown) in [
            ("int", "INTEGER"),
            (" BigInt ", "BIGINT"),
            ("numeric ( 10 , 2 )", "DECIMAL(10,2)"),
            ("DECIMAL(5)", "DECIMAL(5,0)"),
            ("CHAR(8)", "VARCHAR(8)"),
            ("binary(16)", "VARBINARY(16)"),
            ("double   precision", "DOUBLE"),
            ("FLOAT", "DOUBLE"),
            ("TEXT", "VARCHAR(15728640)"),
            ("BLOB", "VARBINARY(15728640)"),
            ("bool", "BOOLEAN"),
        ] {
            assert_eq!(
                given.parse::<FieldType>().unwrap().to_string(),
                shown,
                "{given}"
            );
        }
    }

    #[test]
    fn what_is_no_type_says_which_there_are() {
        for bad in [
            "",
            "(",
            "INTEGER(4)",
            "MONEY",
            "VARCHAR(1",
            "VARCHAR(-1)",
            "VARCHAR(+1)",
            "VARCHAR(1)x",
            "DOUBLE X",
        ] {
            assert!(
                matches!(bad.parse::<FieldType>(), Err(TypeError::Unknown { .. })),
                "{bad}"
            );
        }
        for bad in [
            "DECIMAL",
            "DECIMAL(1,2,3)",
            "VARCHAR",
            "CHAR(1,2)",
            "BINARY",
        ] {
            assert!(
                matches!(bad.parse::<FieldType>(), Err(TypeError::Parameters { .. })),
                "{bad}"
            );
        }
        let long =
            "VARCHAR(99999999999999999999999999999999999999999999999999999)".parse::<FieldType>();
        assert!(long.unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn sizes_outside_their_limits_are_refused() {
        for bad in [
            "DECIMAL(0,0)",
            "DECIMAL(39,2)",
            "DECIMAL(2,3)",
            "DECIMAL(300,2)",
            "DECIMAL(10,256)",
        ] {
            assert!(
                matches!(bad.parse::<FieldType>(), Err(TypeError::Digits { .. })),
                "{bad}"
            );
        }
        for bad in ["VARCHAR(0)", "VARBINARY(0)", "VARCHAR(15728641)"] {
            assert!(
                matches!(bad.parse::<FieldType>(), Err(TypeError::Length { .. })),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_type_reads_back_from_its_text(field_type in any_type()) {
            prop_assert_eq!(field_type.to_string().parse::<FieldType>(), Ok(field_type));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in any::<String>()) {
            drop(text.parse::<FieldType>());
        }
    }
}
