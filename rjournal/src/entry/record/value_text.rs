//! Room `entry`: the one text of a value. In comes `1962-02-18` and the type DATE, out goes a [`Value`], and back. Must
//! not know bytes: rows and keys encode values.

use std::fmt;

use super::calendar;
use super::decimal::Decimal;
use super::field_type::FieldType;
use super::float::{double_bits, real_bits};
use super::value::{Value, ValueError};

/// What a field of this type takes, in words.
pub(super) struct Expected(pub(super) FieldType);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FieldType::SmallInt => write!(f, "a whole number from {} to {}", i16::MIN, i16::MAX),
            FieldType::Integer => write!(f, "a whole number from {} to {}", i32::MIN, i32::MAX),
            FieldType::BigInt => write!(f, "a whole number from {} to {}", i64::MIN, i64::MAX),
            FieldType::Decimal { precision, scale } => {
                let before = precision.saturating_sub(scale);
                write!(f, "a number of at most {before} digits before the point and {scale} behind it")
            }
            FieldType::Real | FieldType::Double => f.write_str("a number within its range, such as -1.5 or 2e10"),
            FieldType::Varchar { characters_max } => write!(f, "a text of at most {characters_max} characters"),
            FieldType::Varbinary { bytes_max } => write!(f, "at most {bytes_max} bytes, two hex digits each"),
            FieldType::Date => f.write_str("a day of the years 0001 to 9999 as YYYY-MM-DD"),
            FieldType::Time => f.write_str("a time of day as HH:MM:SS or HH:MM:SS.ffffff"),
            FieldType::Timestamp => {
                f.write_str("a time of the years 0001 to 9999 as YYYY-MM-DD HH:MM:SS or YYYY-MM-DD HH:MM:SS.ffffff")
            }
            FieldType::Boolean => f.write_str("true or false"),
            FieldType::Uuid => f.write_str("32 hex digits as 8-4-4-4-12"),
            FieldType::Json => f.write_str("one JSON text"),
        }
    }
}

/// Says of a text that was cut how long it was.
pub(super) struct Rest<'a>(pub(super) &'a str, pub(super) usize);

impl fmt::Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(given, characters) = self;
        if given.chars().count() == characters {
            return Ok(());
        }
        write!(f, "... ({characters} characters)")
    }
}

impl Value {
    /// Reads a text as a value of this type. It takes more than the canonical text where the value is the same (`+5`,
    /// `1.5` for `DECIMAL(10,2)`, a `T` in a timestamp, fewer digits of a second) and rounds to the nearest REAL or
    /// DOUBLE; nothing else is rounded or cut. It never yields null.
    ///
    /// # Errors
    /// [`ValueError`] naming the type, the text, and what is expected.
    pub fn parse(text: &str, field_type: &FieldType) -> Result<Self, ValueError> {
        read(text, *field_type)
            .filter(|value| value.fits(*field_type).is_ok())
            .ok_or_else(|| ValueError::Text {
                field_type: *field_type,
                given: text.chars().take(40).collect(),
                characters: text.chars().count(),
            })
    }

    /// The canonical text, which [`Value::parse`] reads back as this value. Null is `NULL`, which does not read back.
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::SmallInt(number) => write!(f, "{number}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::BigInt(number) => write!(f, "{number}"),
            Self::Decimal(number) => write!(f, "{number}"),
            // The debug form is the shortest that reads back, also for numbers with hundreds of digits.
            Self::Real(number) => write!(f, "{:?}", f32::from_bits(real_bits(*number))),
            Self::Double(number) => write!(f, "{:?}", f64::from_bits(double_bits(*number))),
            Self::Text(text) | Self::Json(text) => f.write_str(text),
            Self::Binary(bytes) => write_hex(f, bytes),
            Self::Date(days) => calendar::write_date(f, i64::from(*days)),
            Self::Time(micros) => calendar::write_time(f, *micros),
            Self::Timestamp(micros) => calendar::write_timestamp(f, *micros),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Uuid(bytes) => write_uuid(f, bytes),
        }
    }
}

fn read(text: &str, field_type: FieldType) -> Option<Value> {
    Some(match field_type {
        FieldType::SmallInt => Value::SmallInt(text.parse().ok()?),
        FieldType::Integer => Value::Integer(text.parse().ok()?),
        FieldType::BigInt => Value::BigInt(text.parse().ok()?),
        FieldType::Decimal { scale, .. } => Value::Decimal(Decimal::parse(text, scale)?),
        FieldType::Real => {
            let number: f32 = text.parse().ok()?;
            Value::Real(in_range(text, number.is_infinite()).then_some(number)?)
        }
        FieldType::Double => {
            let number: f64 = text.parse().ok()?;
            Value::Double(in_range(text, number.is_infinite()).then_some(number)?)
        }
        FieldType::Varchar { .. } => Value::Text(text.to_owned()),
        FieldType::Varbinary { .. } => Value::Binary(read_hex(text.as_bytes())?),
        FieldType::Date => Value::Date(calendar::parse_date(text)?),
        FieldType::Time => Value::Time(calendar::parse_time(text)?),
        FieldType::Timestamp => Value::Timestamp(calendar::parse_timestamp(text)?),
        FieldType::Boolean if text.eq_ignore_ascii_case("true") => Value::Boolean(true),
        FieldType::Boolean if text.eq_ignore_ascii_case("false") => Value::Boolean(false),
        FieldType::Boolean => return None,
        FieldType::Uuid => Value::Uuid(read_uuid(text)?),
        FieldType::Json => {
            // Reads over the text without building it, and without recursion.
            serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
            Value::Json(text.to_owned())
        }
    })
}

/// A number too large to be held reads as infinite; only `inf` itself, which has no digit, may.
fn in_range(text: &str, infinite: bool) -> bool {
    !infinite || !text.bytes().any(|byte| byte.is_ascii_digit())
}

fn read_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn read_uuid(text: &str) -> Option<[u8; 16]> {
    let parts: Vec<&str> = text.splitn(6, '-').collect();
    let lengths = parts.iter().map(|part| part.len());
    lengths
        .eq([8, 4, 4, 4, 12])
        .then(|| read_hex(parts.concat().as_bytes()))
        .flatten()?
        .try_into()
        .ok()
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn write_uuid(f: &mut fmt::Formatter<'_>, bytes: &[u8; 16]) -> fmt::Result {
    bytes.iter().enumerate().try_for_each(|(index, byte)| {
        let hyphen = if matches!(index, 4 | 6 | 8 | 10) {
            "-"
        } else {
            ""
        };
        write!(f, "{hyphen}{byte:02x}")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::typed_value;
    use super::*;

    fn read_back(text: &str, field_type: &str) -> Result<String, ValueError> {
        Value::parse(text, &field_type.parse().unwrap()).map(|value| value.to_text())
    }

    #[test]
    fn canonical_texts_read_back_as_themselves() {
        for (field_type, text) in [
            ("SMALLINT", "-32768"),
            ("INTEGER", "2147483647"),
            ("BIGINT", "-9223372036854775808"),
            (
                "DECIMAL(38,38)",
                "-0.99999999999999999999999999999999999999",
            ),
            ("REAL", "16777216.0"),
            ("DOUBLE", "1.7976931348623157e308"),
            ("DOUBLE", "-inf"),
            ("DOUBLE", "NaN"),
            ("VARCHAR(7)", "a\0 'ü' "),
            ("VARBINARY(2)", "00ff"),
            ("VARBINARY(2)", ""),
            ("DATE", "0001-01-01"),
            ("TIME", "23:59:59.000001"),
            ("TIMESTAMP", "1582-10-15 00:00:00.100000"),
            ("BOOLEAN", "false"),
            ("UUID", "00112233-4455-6677-8899-aabbccddeeff"),
            ("JSON", "{\"a\": [1, null]}"),
        ] {
            assert_eq!(
                read_back(text, field_type).as_deref(),
                Ok(text),
                "{field_type}"
            );
        }
    }

    #[test]
    fn other_texts_of_a_value_become_the_canonical_one() {
        for (field_type, text, canonical) in [
            ("INTEGER", "+007", "7"),
            ("DECIMAL(10,2)", "1.5", "1.50"),
            ("DOUBLE", "-0", "0.0"),
            ("DOUBLE", "1e2", "100.0"),
            ("VARBINARY(2)", "00FF", "00ff"),
            (
                "TIMESTAMP",
                "2021-01-01T10:00:00.5",
                "2021-01-01 10:00:00.500000",
            ),
            ("TIME", "10:00:00.000000", "10:00:00"),
            ("BOOLEAN", "TRUE", "true"),
            (
                "UUID",
                "00112233-4455-6677-8899-AABBCCDDEEFF",
                "00112233-4455-6677-8899-aabbccddeeff",
            ),
        ] {
            assert_eq!(
                read_back(text, field_type).as_deref(),
                Ok(canonical),
                "{field_type}"
            );
        }
    }

    #[test]
    fn what_is_no_value_of_the_type_is_refused() {
        for (field_type, text) in [
            ("SMALLINT", "32768"),
            ("INTEGER", " 1"),
            ("INTEGER", "1.0"),
            ("DECIMAL(4,2)", "100.00"),
            ("DECIMAL(4,2)", "1.005"),
            ("REAL", "1e39"),
            ("DOUBLE", "1e999"),
            ("DOUBLE", "1,5"),
            ("VARCHAR(3)", "Füße"),
            ("VARBINARY(2)", "000000"),
            ("VARBINARY(2)", "0"),
            ("VARBINARY(2)", "+f"),
            ("BOOLEAN", "1"),
            ("UUID", "00112233445566778899aabbccddeeff"),
            ("UUID", "00112233-4455-6677-8899-aabbccddee-f"),
            ("UUID", "0011223-34455-6677-8899-aabbccddeeff"),
            ("JSON", "{\"a\": 1}}"),
            ("JSON", ""),
        ] {
            assert!(read_back(text, field_type).is_err(), "{field_type} {text}");
        }
    }

    #[test]
    fn an_error_names_type_text_and_what_is_expected() {
        let error = read_back(&"x".repeat(1000), "DECIMAL(10,2)")
            .unwrap_err()
            .to_string();
        let expected = "is no DECIMAL(10,2); expected is a number of at most 8 digits before the point and 2 behind it";
        let cut = format!("\"{}\"... (1000 characters)", "x".repeat(40));
        assert_eq!(error, format!("{cut} {expected}"));
        let whole = read_back(&"x".repeat(40), "DECIMAL(10,2)").unwrap_err();
        assert_eq!(
            whole.to_string(),
            format!("\"{}\" {expected}", "x".repeat(40))
        );
    }

    #[test]
    fn deeply_nested_json_does_not_exhaust_the_stack() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(Value::parse(&deep, &FieldType::Json).is_ok());
    }

    #[test]
    fn a_type_nobody_checked_does_not_make_the_reader_panic() {
        let unchecked = FieldType::Decimal {
            precision: 3,
            scale: 255,
        };
        assert!(
            Value::parse("1", &unchecked)
                .unwrap_err()
                .to_string()
                .contains("DECIMAL(3,255)")
        );
    }

    proptest! {
        #[test]
        fn every_value_reads_back_from_its_text((field_type, value) in typed_value()) {
            prop_assert_eq!(Value::parse(&value.to_text(), &field_type), Ok(value));
        }

        #[test]
        fn no_text_makes_the_reader_panic((field_type, _) in typed_value(), text: String) {
            drop(Value::parse(&text, &field_type));
        }

        #[test]
        fn values_out_of_range_still_have_a_text(days: i32, micros: i64, time: u64) {
            drop((Value::Date(days).to_text(), Value::Timestamp(micros).to_text(), Value::Time(time).to_text()));
        }
    }
}
