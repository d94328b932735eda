//! Room `entry`: one typed value, and whether a field takes it. Must not know its text (`value_text`) or its bytes
//! (`row`, `key`).

use super::calendar;
use super::decimal::Decimal;
use super::field_type::FieldType;
use super::float::{double_bits, real_bits};
use super::value_text::{Expected, Rest};

/// Why a text is not a value, or numbers are not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The text does not say a value of this type.
    #[error("{given:?}{} is no {field_type}; expected is {}", Rest(.given, *.characters), Expected(*.field_type))]
    Text {
        /// The type.
        field_type: FieldType,
        /// What was given, cut to 40 characters.
        given: String,
        /// How many characters were given.
        characters: usize,
    },
    /// A decimal number has too many digits.
    #[error(
        "{unscaled} with {scale} digits behind the point is no decimal; it may have 38 digits altogether"
    )]
    Digits {
        /// The number without its point.
        unscaled: i128,
        /// Digits behind the point.
        scale: u8,
    },
}

/// One value of a field. Equal values are equal bytes: zero has no sign, all NaN are one.
#[derive(Debug, Clone)]
pub enum Value {
    /// No value.
    Null,
    /// Whole number of 16 bits.
    SmallInt(i16),
    /// Whole number of 32 bits.
    Integer(i32),
    /// Whole number of 64 bits.
    BigInt(i64),
    /// Exact decimal number; its scale is that of the field.
    Decimal(Decimal),
    /// Floating point number of 32 bits.
    Real(f32),
    /// Floating point number of 64 bits.
    Double(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// Days since 1970-01-01, within the years 1 to 9999.
    Date(i32),
    /// Microseconds since midnight, below one day.
    Time(u64),
    /// Microseconds since 1970-01-01 00:00, within the years 1 to 9999.
    Timestamp(i64),
    /// True or false.
    Boolean(bool),
    /// 128 bit identity.
    Uuid([u8; 16]),
    /// JSON as the text it was given as. [`Value::parse`] checks that it is JSON, bytes are not checked for it.
    Json(String),
}

/// Why a value does not go into a field; the caller knows which field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    Type,
    Range,
    Long { length: usize },
}

impl Value {
    /// Whether this is no value.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What kind of value this is, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::SmallInt(_) => "SMALLINT",
            Self::Integer(_) => "INTEGER",
            Self::BigInt(_) => "BIGINT",
            Self::Decimal(_) => "DECIMAL",
            Self::Real(_) => "REAL",
            Self::Double(_) => "DOUBLE",
            Self::Text(_) => "VARCHAR",
            Self::Binary(_) => "VARBINARY",
            Self::Date(_) => "DATE",
            Self::Time(_) => "TIME",
            Self::Timestamp(_) => "TIMESTAMP",
            Self::Boolean(_) => "BOOLEAN",
            Self::Uuid(_) => "UUID",
            Self::Json(_) => "JSON",
        }
    }

    /// Whether a field of this type takes this value. Null fits no type: whether it may stand is said by the field.
    pub(super) fn fits(&self, field_type: FieldType) -> Result<(), Misfit> {
        let within = |fits: bool| if fits { Ok(()) } else { Err(Misfit::Range) };
        let below = |length: usize, max: u32| match u32::try_from(length) {
            Ok(length) if length <= max => Ok(()),
            _ => Err(Misfit::Long { length }),
        };
        match (self, field_type) {
            (Self::SmallInt(_), FieldType::SmallInt)
            | (Self::Integer(_), FieldType::Integer)
            | (Self::BigInt(_), FieldType::BigInt)
            | (Self::Real(_), FieldType::Real)
            | (Self::Double(_), FieldType::Double)
            | (Self::Boolean(_), FieldType::Boolean)
            | (Self::Uuid(_), FieldType::Uuid)
            | (Self::Json(_), FieldType::Json) => Ok(()),
            (Self::Decimal(value), FieldType::Decimal { precision, scale }) => {
                within(value.scale() == scale && value.digits() <= precision)
            }
            (Self::Text(text), FieldType::Varchar { characters_max }) => {
                below(text.chars().count(), characters_max)
            }
            (Self::Binary(bytes), FieldType::Varbinary { bytes_max }) => {
                below(bytes.len(), bytes_max)
            }
            (Self::Date(days), FieldType::Date) => within(calendar::is_date(*days)),
            (Self::Time(micros), FieldType::Time) => within(calendar::is_time(*micros)),
            (Self::Timestamp(micros), FieldType::Timestamp) => {
                within(calendar::is_timestamp(*micros))
            }
            _ => Err(Misfit::Type),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::SmallInt(one), Self::SmallInt(two)) => one == two,
            (Self::Integer(one), Self::Integer(two)) | (Self::Date(one), Self::Date(two)) => {
                one == two
            }
            (Self::BigInt(one), Self::BigInt(two))
            | (Self::Timestamp(one), Self::Timestamp(two)) => one == two,
            (Self::Decimal(one), Self::Decimal(two)) => one == two,
            (Self::Real(one), Self::Real(two)) => real_bits(*one) == real_bits(*two),
            (Self::Double(one), Self::Double(two)) => double_bits(*one) == double_bits(*two),
            (Self::Text(one), Self::Text(two)) | (Self::Json(one), Self::Json(two)) => one == two,
            (Self::Binary(one), Self::Binary(two)) => one == two,
            (Self::Time(one), Self::Time(two)) => one == two,
            (Self::Boolean(one), Self::Boolean(two)) => one == two,
            (Self::Uuid(one), Self::Uuid(two)) => one == two,
            _ => false,
        }
    }
}

impl Eq for Value {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{any_value, typed_value};
    use super::*;

    #[test]
    fn equal_numbers_are_equal_values() {
        assert_eq!(Value::Double(-0.0), Value::Double(0.0));
        assert_eq!(Value::Real(f32::NAN), Value::Real(-f32::NAN));
        assert_ne!(Value::Double(1.0), Value::Real(1.0));
        assert_ne!(Value::Date(1), Value::Integer(1));
        assert_ne!(Value::Text("1".to_owned()), Value::Json("1".to_owned()));
    }

    proptest! {
        #[test]
        fn values_of_other_types_do_not_fit((field_type, value) in typed_value(), other in any_value()) {
            prop_assert_eq!(value.fits(field_type), Ok(()));
            prop_assert_eq!(other.fits(field_type).is_ok() && other.kind() != value.kind(), false);
        }
    }
}
