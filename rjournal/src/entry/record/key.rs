//! Room `entry`: keys whose byte order is the order of the values. In come the key values of a row, out go canonical
//! bytes a store can sort by, and back. Layout: docs/FORMAT.md. Must not know rows beyond where their key fields stand,
//! and must not trust a single byte it reads.
//!
//! No value's encoding is the beginning of another's, so composite keys are the encodings one behind the other.

use super::super::{CodecError, Cursor};
use super::decimal::Decimal;
use super::field_type::FieldType;
use super::float;
use super::format::Format;
use super::row_error::{KEY_BYTES_MAX, RowError, check, check_count, field_bytes, row_bytes};
use super::value::Value;

const WHAT: &str = "value of a key field";
/// Ends a text or binary value: lower than every byte that can follow in a longer one.
const END: [u8; 2] = [0, 0];
/// Stands for a zero byte within a text or binary value.
const ZERO: [u8; 2] = [0, 0xff];

/// The key of a row of a file without key fields: its record number, highest byte first.
pub const fn record_number_key(record_number: u64) -> [u8; 8] {
    record_number.to_be_bytes()
}

/// Reads what [`record_number_key`] gave; nothing when these are not eight bytes.
pub fn record_number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Encodes the key of a row, given all its values in the order of the format's fields.
///
/// # Errors
/// [`RowError`] when the file has no key fields, or a key value does not fit the format or is too long for a key.
pub fn encode_key(format: &Format, row: &[Value]) -> Result<Vec<u8>, RowError> {
    check_count(format, format.fields().len(), row.len())?;
    let key = format.key().iter();
    encode(format, key.filter_map(|index| row.get(usize::from(*index))))
}

/// Encodes a key from the key values alone, in key order.
///
/// # Errors
/// As [`encode_key`].
pub fn encode_key_values(format: &Format, key_values: &[Value]) -> Result<Vec<u8>, RowError> {
    check_count(format, format.key().len(), key_values.len())?;
    encode(format, key_values.iter())
}

fn encode<'a>(
    format: &Format,
    values: impl Iterator<Item = &'a Value>,
) -> Result<Vec<u8>, RowError> {
    check_has_key(format)?;
    let mut out = Vec::new();
    for (field, value) in format.key_fields().zip(values) {
        check(format, field, value)?;
        put(&mut out, value);
    }
    check_length(format, out.len())?;
    Ok(out)
}

/// Reads the key values, in key order.
///
/// # Errors
/// [`RowError`] when the bytes are not exactly what [`encode_key`] gives for some row of this format.
pub fn decode_key(format: &Format, bytes: &[u8]) -> Result<Vec<Value>, RowError> {
    check_has_key(format)?;
    check_length(format, bytes.len())?;
    let mut cursor = Cursor::new(bytes);
    let mut values = Vec::new();
    for field in format.key_fields() {
        let value = take(&mut cursor, field.field_type);
        let value = value.map_err(|source| field_bytes(format, field, source))?;
        check(format, field, &value)?;
        values.push(value);
    }
    if cursor.remaining() != 0 {
        let what = "space behind a key";
        return Err(row_bytes(format, CodecError::Reserved { what }));
    }
    Ok(values)
}

fn check_has_key(format: &Format) -> Result<(), RowError> {
    if format.key().is_empty() {
        let file = format.file().clone();
        return Err(RowError::NoKey { file });
    }
    Ok(())
}

fn check_length(format: &Format, bytes: usize) -> Result<(), RowError> {
    if bytes > KEY_BYTES_MAX {
        let file = format.file().clone();
        return Err(RowError::KeyTooLong { file, bytes });
    }
    Ok(())
}

/// Signed numbers sort as unsigned ones once their sign bit is flipped.
fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        // Neither is ever in a key: nulls are refused, and a format has no JSON key field.
        Value::Null | Value::Json(_) => {}
        Value::SmallInt(number) => out.extend_from_slice(&(number ^ i16::MIN).to_be_bytes()),
        Value::Integer(number) | Value::Date(number) => {
            out.extend_from_slice(&(number ^ i32::MIN).to_be_bytes());
        }
        Value::BigInt(number) | Value::Timestamp(number) => {
            out.extend_from_slice(&(number ^ i64::MIN).to_be_bytes());
        }
        Value::Decimal(number) => {
            out.extend_from_slice(&(number.unscaled() ^ i128::MIN).to_be_bytes());
        }
        Value::Real(number) => out.extend_from_slice(&float::real_order(*number).to_be_bytes()),
        Value::Double(number) => out.extend_from_slice(&float::double_order(*number).to_be_bytes()),
        Value::Text(text) => put_bytes(out, text.as_bytes()),
        Value::Binary(bytes) => put_bytes(out, bytes),
        Value::Time(micros) => out.extend_from_slice(&micros.to_be_bytes()),
        Value::Boolean(value) => out.push(u8::from(*value)),
        Value::Uuid(bytes) => out.extend_from_slice(bytes),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            0 => out.extend_from_slice(&ZERO),
            byte => out.push(*byte),
        }
    }
    out.extend_from_slice(&END);
}

fn take(cursor: &mut Cursor<'_>, field_type: FieldType) -> Result<Value, CodecError> {
    let reserved = || CodecError::Reserved { what: WHAT };
    Ok(match field_type {
        FieldType::SmallInt => Value::SmallInt(i16::from_be_bytes(array(cursor)?) ^ i16::MIN),
        FieldType::Integer => Value::Integer(i32::from_be_bytes(array(cursor)?) ^ i32::MIN),
        FieldType::BigInt => Value::BigInt(i64::from_be_bytes(array(cursor)?) ^ i64::MIN),
        FieldType::Decimal { scale, .. } => {
            let number = Decimal::new(i128::from_be_bytes(array(cursor)?) ^ i128::MIN, scale);
            Value::Decimal(number.map_err(|_| reserved())?)
        }
        FieldType::Real => {
            let number = float::real_from_order(u32::from_be_bytes(array(cursor)?));
            Value::Real(number.ok_or_else(reserved)?)
        }
        FieldType::Double => {
            let number = float::double_from_order(u64::from_be_bytes(array(cursor)?));
            Value::Double(number.ok_or_else(reserved)?)
        }
        FieldType::Varchar { .. } => {
            let text = String::from_utf8(take_bytes(cursor)?);
            Value::Text(text.map_err(|_| CodecError::Reserved {
                what: "text of a key field",
            })?)
        }
        FieldType::Varbinary { .. } => Value::Binary(take_bytes(cursor)?),
        FieldType::Date => Value::Date(i32::from_be_bytes(array(cursor)?) ^ i32::MIN),
        FieldType::Time => Value::Time(u64::from_be_bytes(array(cursor)?)),
        FieldType::Timestamp => Value::Timestamp(i64::from_be_bytes(array(cursor)?) ^ i64::MIN),
        FieldType::Boolean => match array(cursor)? {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return Err(reserved()),
        },
        FieldType::Uuid => Value::Uuid(array(cursor)?),
        FieldType::Json => return Err(reserved()),
    })
}

fn array<const N: usize>(cursor: &mut Cursor<'_>) -> Result<[u8; N], CodecError> {
    cursor.array().ok_or(CodecError::Short { what: WHAT })
}

fn take_bytes(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, CodecError> {
    let mut value = Vec::new();
    loop {
        match array(cursor)? {
            [0] => match array(cursor)? {
                [0] => return Ok(value),
                [0xff] => value.push(0),
                [_] => return Err(CodecError::Reserved { what: WHAT }),
            },
            [byte] => value.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{
        any_type, file_of, golden, hex, keyed_file_and_two_rows, order, unhex,
    };
    use super::*;

    /// Binds the layout: a change here is a change of every store ever written. One value of each type.
    const GOLDEN: &str = "7ffe 875bcd15 ffffffffffffffff \
        8000000000000000000000000000056a \
        bfc00000 4007ffffffffffff \
        61c3bc0000 00ff ff 0000 \
        7fffbfee 000000141dc81dc0 7fffffffffffffff \
        01 00112233445566778899aabbccddeeff";

    #[test]
    fn golden_key_bytes() {
        let (format, row) = golden((0..13).collect());
        assert_eq!(
            hex(&encode_key(&format, &row).unwrap()),
            hex(&unhex(GOLDEN))
        );
        assert_eq!(decode_key(&format, &unhex(GOLDEN)).unwrap(), row[..13]);
    }

    fn two_fields(key: &[u16]) -> Format {
        file_of(
            &[
                ("VARCHAR(40000)".parse().unwrap(), true),
                (FieldType::Integer, true),
            ],
            key.to_vec(),
        )
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn key_values_stand_in_key_order() {
        let format = two_fields(&[1, 0]);
        let key = encode_key(&format, &[text("a"), Value::Integer(1)]).unwrap();
        assert_eq!(hex(&key), "80000001610000");
        assert_eq!(
            decode_key(&format, &key).unwrap(),
            [Value::Integer(1), text("a")]
        );
        assert_eq!(
            encode_key_values(&format, &[Value::Integer(1), text("a")]).unwrap(),
            key
        );
        let one = two_fields(&[1]);
        assert_eq!(
            hex(&encode_key(&one, &[Value::Null, Value::Integer(1)]).unwrap()),
            "80000001"
        );
    }

    #[test]
    fn a_null_in_a_key_is_refused() {
        let error = encode_key(&two_fields(&[0]), &[Value::Null, Value::Null]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field F1 of LIB/FILE is not nullable; give it a value"
        );
    }

    #[test]
    fn what_does_not_fit_the_key_is_refused() {
        let format = two_fields(&[1]);
        assert!(matches!(
            encode_key(&format, &[Value::Integer(1)]),
            Err(RowError::Count { expected: 2, .. })
        ));
        assert!(matches!(
            encode_key_values(&format, &[]),
            Err(RowError::Count { expected: 1, .. })
        ));
        assert!(matches!(
            encode_key_values(&format, &[Value::Date(1)]),
            Err(RowError::Type { .. })
        ));
        let long = encode_key_values(&two_fields(&[0]), &[text(&"\0".repeat(40_000))]);
        assert!(matches!(
            long,
            Err(RowError::KeyTooLong { bytes: 80_002, .. })
        ));
        assert!(matches!(
            decode_key(&format, &vec![0; 80_000]),
            Err(RowError::KeyTooLong { .. })
        ));
    }

    #[test]
    fn a_file_without_key_fields_is_keyed_by_record_number() {
        let format = two_fields(&[]);
        assert!(matches!(
            encode_key(&format, &[text(""), Value::Integer(1)]),
            Err(RowError::NoKey { .. })
        ));
        assert!(matches!(
            encode_key_values(&format, &[]),
            Err(RowError::NoKey { .. })
        ));
        assert!(matches!(
            decode_key(&format, &[]),
            Err(RowError::NoKey { .. })
        ));
        assert!(record_number_key(255) < record_number_key(256));
        assert_eq!(
            record_number(&record_number_key(u64::MAX - 1)),
            Some(u64::MAX - 1)
        );
        assert_eq!(record_number(&[0; 9]), None);
    }

    #[test]
    fn bytes_no_key_is_encoded_as_are_refused() {
        for (field_type, bytes, why) in [
            ("VARCHAR(9)", "61", "no end"),
            ("VARCHAR(9)", "6100", "half an end"),
            ("VARCHAR(9)", "610001", "unknown escape"),
            ("VARCHAR(9)", "61000000", "more behind the end"),
            ("VARCHAR(9)", "ff0000", "text that is not UTF-8"),
            ("VARCHAR(1)", "61610000", "text longer than its field"),
            ("BOOLEAN", "02", "boolean of 2"),
            ("BOOLEAN", "", "no value"),
            ("REAL", "7fffffff", "minus zero"),
            ("DOUBLE", "ffffffffffffffff", "another NaN"),
            ("DATE", "ffffffff", "year beyond 9999"),
        ] {
            let format = file_of(&[(field_type.parse().unwrap(), false)], vec![0]);
            assert!(decode_key(&format, &unhex(bytes)).is_err(), "{why}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn keys_sort_like_their_values((format, one, two) in keyed_file_and_two_rows()) {
            let values = one.iter().zip(&two).map(|(one, two)| order(one, two));
            let expected = values.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then);
            let (one, two) = (encode_key(&format, &one).unwrap(), encode_key(&format, &two).unwrap());
            prop_assert_eq!(one.cmp(&two), expected);
        }

        #[test]
        fn no_key_is_the_beginning_of_another((format, one, two) in keyed_file_and_two_rows()) {
            let (one, two) = (encode_key(&format, &one).unwrap(), encode_key(&format, &two).unwrap());
            prop_assert!(one == two || !one.starts_with(&two));
        }

        #[test]
        fn every_key_reads_back_from_its_bytes((format, row, _) in keyed_file_and_two_rows()) {
            let key = encode_key(&format, &row).unwrap();
            prop_assert_eq!(encode_key_values(&format, &row).unwrap(), key.as_slice());
            prop_assert_eq!(decode_key(&format, &key).unwrap(), row);
        }

        #[test]
        fn bytes_that_read_are_the_bytes_of_what_they_read_as(
            (format, row, _) in keyed_file_and_two_rows(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut key = encode_key(&format, &row).unwrap();
            for (at, byte) in changes {
                *at.get_mut(&mut key) = byte;
            }
            if let Ok(read) = decode_key(&format, &key) {
                prop_assert_eq!(encode_key_values(&format, &read).unwrap(), key);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(field_type in any_type(), bytes: Vec<u8>) {
            if field_type != FieldType::Json {
                drop(decode_key(&file_of(&[(field_type, false)], vec![0]), &bytes));
            }
        }
    }
}
