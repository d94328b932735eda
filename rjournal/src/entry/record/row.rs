//! Room `entry`: a row as bytes. In come the values of one row and the format of its file, out go canonical bytes, and
//! back. Layout: docs/FORMAT.md. Values are checked, never converted. Must not know keys, and must not trust a single
//! byte it reads.

use super::super::{CodecError, Cursor};
use super::decimal::Decimal;
use super::field_type::FieldType;
use super::float;
use super::format::Format;
use super::row_error::{ROW_BYTES_MAX, RowError, check, check_count, field_bytes, row_bytes};
use super::value::Value;

const WHAT: &str = "value of a field";

/// Encodes the values of one row, in the order of the format's fields.
///
/// # Errors
/// [`RowError`] when their number, a type, a null or a length does not fit the format; it names file and field.
pub fn encode_row(format: &Format, values: &[Value]) -> Result<Vec<u8>, RowError> {
    let fields = format.fields();
    check_count(format, fields.len(), values.len())?;
    let mut out = (fields.len() as u16).to_le_bytes().to_vec();
    out.extend(values.chunks(8).map(null_bits));
    for (field, value) in fields.iter().zip(values) {
        if value.is_null() && field.nullable {
            continue;
        }
        check(format, field, value)?;
        put(&mut out, value);
    }
    if out.len() > ROW_BYTES_MAX {
        let (file, bytes) = (format.file().clone(), out.len());
        return Err(RowError::RowTooLong { file, bytes });
    }
    Ok(out)
}

/// Reads the values of one row.
///
/// # Errors
/// [`RowError`] when the bytes are not exactly what [`encode_row`] gives for some row of this format.
pub fn decode_row(format: &Format, bytes: &[u8]) -> Result<Vec<Value>, RowError> {
    let fields = format.fields();
    let wrong = |source| row_bytes(format, source);
    let short = || wrong(CodecError::Short { what: "row" });
    if bytes.len() > ROW_BYTES_MAX {
        let (file, bytes) = (format.file().clone(), bytes.len());
        return Err(RowError::RowTooLong { file, bytes });
    }
    let mut cursor = Cursor::new(bytes);
    check_count(
        format,
        fields.len(),
        usize::from(cursor.u16().ok_or_else(short)?),
    )?;
    let nulls = cursor.bytes(fields.len().div_ceil(8)).ok_or_else(short)?;
    let mut values = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        let value = if nulls[index / 8] >> (index % 8) & 1 == 1 {
            Value::Null
        } else {
            take(&mut cursor, field.field_type)
                .map_err(|source| field_bytes(format, field, source))?
        };
        if !(value.is_null() && field.nullable) {
            check(format, field, &value)?;
        }
        values.push(value);
    }
    if !values.chunks(8).map(null_bits).eq(nulls.iter().copied()) {
        return Err(wrong(CodecError::Reserved {
            what: "null bitmap of a row",
        }));
    }
    if cursor.remaining() != 0 {
        return Err(wrong(CodecError::Reserved {
            what: "space behind a row",
        }));
    }
    Ok(values)
}

/// One byte of the null bitmap: the lowest bit belongs to the first of up to eight values.
fn null_bits(values: &[Value]) -> u8 {
    values
        .iter()
        .rev()
        .fold(0, |bits, value| bits << 1 | u8::from(value.is_null()))
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::SmallInt(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::Integer(number) | Value::Date(number) => {
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::BigInt(number) | Value::Timestamp(number) => {
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Decimal(number) => out.extend_from_slice(&number.unscaled().to_le_bytes()),
        Value::Real(number) => out.extend_from_slice(&float::real_bits(*number).to_le_bytes()),
        Value::Double(number) => out.extend_from_slice(&float::double_bits(*number).to_le_bytes()),
        Value::Text(text) | Value::Json(text) => put_bytes(out, text.as_bytes()),
        Value::Binary(bytes) => put_bytes(out, bytes),
        Value::Time(micros) => out.extend_from_slice(&micros.to_le_bytes()),
        Value::Boolean(value) => out.push(u8::from(*value)),
        Value::Uuid(bytes) => out.extend_from_slice(bytes),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // A length beyond 32 bits is cut here, but such a row is beyond ROW_BYTES_MAX and refused.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take(cursor: &mut Cursor<'_>, field_type: FieldType) -> Result<Value, CodecError> {
    let reserved = || CodecError::Reserved { what: WHAT };
    Ok(match field_type {
        FieldType::SmallInt => Value::SmallInt(i16::from_le_bytes(array(cursor)?)),
        FieldType::Integer => Value::Integer(i32::from_le_bytes(array(cursor)?)),
        FieldType::BigInt => Value::BigInt(i64::from_le_bytes(array(cursor)?)),
        FieldType::Decimal { scale, .. } => {
            let number = Decimal::new(i128::from_le_bytes(array(cursor)?), scale);
            Value::Decimal(number.map_err(|_| reserved())?)
        }
        FieldType::Real => {
            let number = float::real_from_bits(u32::from_le_bytes(array(cursor)?));
            Value::Real(number.ok_or_else(reserved)?)
        }
        FieldType::Double => {
            let number = float::double_from_bits(u64::from_le_bytes(array(cursor)?));
            Value::Double(number.ok_or_else(reserved)?)
        }
        FieldType::Varchar { .. } => Value::Text(take_text(cursor)?),
        FieldType::Varbinary { .. } => Value::Binary(take_bytes(cursor)?.to_vec()),
        FieldType::Date => Value::Date(i32::from_le_bytes(array(cursor)?)),
        FieldType::Time => Value::Time(u64::from_le_bytes(array(cursor)?)),
        FieldType::Timestamp => Value::Timestamp(i64::from_le_bytes(array(cursor)?)),
        FieldType::Boolean => match array(cursor)? {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return Err(reserved()),
        },
        FieldType::Uuid => Value::Uuid(array(cursor)?),
        FieldType::Json => Value::Json(take_text(cursor)?),
    })
}

fn array<const N: usize>(cursor: &mut Cursor<'_>) -> Result<[u8; N], CodecError> {
    cursor.array().ok_or(CodecError::Short { what: WHAT })
}

fn take_bytes<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], CodecError> {
    let length = u32::from_le_bytes(array(cursor)?);
    cursor
        .bytes(length as usize)
        .ok_or(CodecError::Short { what: WHAT })
}

fn take_text(cursor: &mut Cursor<'_>) -> Result<String, CodecError> {
    let text = std::str::from_utf8(take_bytes(cursor)?);
    text.map(str::to_owned).map_err(|_| CodecError::Reserved {
        what: "text of a field",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{any_value, file_and_row, file_of, golden, hex, unhex};
    use super::*;

    /// Binds the layout: a change here is a change of every file ever written. One value of each type, then a null.
    const GOLDEN: &str = "0f00 0040 \
        feff 15cd5b07 ffffffffffffff7f \
        6a050000000000000000000000000000 \
        0000c03f 000000000000f8bf \
        03000000 61c3bc 02000000 00ff \
        eebfffff c01dc81d14000000 ffffffffffffffff \
        01 00112233445566778899aabbccddeeff 02000000 7b7d";

    #[test]
    fn golden_row_bytes() {
        let (format, row) = golden(Vec::new());
        assert_eq!(
            hex(&encode_row(&format, &row).unwrap()),
            hex(&unhex(GOLDEN))
        );
        assert_eq!(decode_row(&format, &unhex(GOLDEN)).unwrap(), row);
    }

    #[test]
    fn a_row_cut_anywhere_or_with_more_behind_it_is_refused() {
        let (format, row) = golden(Vec::new());
        let bytes = encode_row(&format, &row).unwrap();
        for length in 0..bytes.len() {
            assert!(decode_row(&format, &bytes[..length]).is_err(), "{length}");
        }
        assert!(decode_row(&format, &[bytes.as_slice(), &[0]].concat()).is_err());
    }

    fn one_field(field_type: &str, nullable: bool) -> Format {
        file_of(&[(field_type.parse().unwrap(), nullable)], Vec::new())
    }

    #[test]
    fn a_row_that_does_not_fit_its_format_is_refused_by_name() {
        let error =
            |field_type, value| encode_row(&one_field(field_type, false), &[value]).unwrap_err();
        let text = |text: &str| Value::Text(text.to_owned());
        assert!(matches!(
            error("INTEGER", Value::Null),
            RowError::Null { .. }
        ));
        assert!(matches!(
            error("INTEGER", Value::BigInt(1)),
            RowError::Type {
                found: "BIGINT",
                ..
            }
        ));
        assert!(matches!(
            error("VARCHAR(2)", text("abc")),
            RowError::TooLong { length: 3, .. }
        ));
        assert!(matches!(
            error("DATE", Value::Date(i32::MAX)),
            RowError::Range { .. }
        ));
        assert!(matches!(
            error("TIME", Value::Time(86_400_000_000)),
            RowError::Range { .. }
        ));
        assert!(matches!(
            error("TIMESTAMP", Value::Timestamp(i64::MIN)),
            RowError::Range { .. }
        ));
        let decimal = |unscaled, scale| Value::Decimal(Decimal::new(unscaled, scale).unwrap());
        assert!(matches!(
            error("DECIMAL(4,2)", decimal(1, 1)),
            RowError::Range { .. }
        ));
        let shown = error("DECIMAL(4,2)", decimal(10_000, 2)).to_string();
        assert!(
            shown.starts_with(
                "field F1 of LIB/FILE is DECIMAL(4,2) and takes a number of at most 2"
            ),
            "{shown}"
        );
        let count = encode_row(&one_field("DATE", true), &[]).unwrap_err();
        assert_eq!(
            count.to_string(),
            "LIB/FILE takes 1 values here, 0 were given"
        );
        let long = encode_row(
            &one_field("JSON", true),
            &[Value::Json(" ".repeat(ROW_BYTES_MAX))],
        )
        .unwrap_err();
        assert!(matches!(long, RowError::RowTooLong { .. }));
    }

    #[test]
    fn bytes_no_row_is_encoded_as_are_refused() {
        for (field_type, bytes, why) in [
            ("BOOLEAN", "0100 00 02", "boolean of 2"),
            ("BOOLEAN", "0100 01", "null in a field without"),
            ("BOOLEAN", "0100 02 01", "unused bit of the bitmap"),
            ("BOOLEAN", "0200 00 01", "another number of fields"),
            ("REAL", "0100 00 00000080", "minus zero"),
            ("REAL", "0100 00 0000c0ff", "another NaN"),
            ("DOUBLE", "0100 00 010000000000f87f", "another NaN"),
            ("DATE", "0100 00 ffffff7f", "year beyond 9999"),
            ("TIME", "0100 00 0060d71d14000000", "24:00:00"),
            (
                "VARCHAR(1)",
                "0100 00 01000000 ff",
                "text that is not UTF-8",
            ),
            (
                "VARCHAR(1)",
                "0100 00 02000000 6161",
                "text longer than its field",
            ),
            ("VARCHAR(1)", "0100 00 ffffffff 61", "length beyond the end"),
            (
                "DECIMAL(1,0)",
                "0100 00 0a000000000000000000000000000000",
                "two digits for one",
            ),
            (
                "DECIMAL(38,0)",
                "0100 00 000000000000000000000000000000 80",
                "39 digits",
            ),
        ] {
            assert!(
                decode_row(&one_field(field_type, false), &unhex(bytes)).is_err(),
                "{why}"
            );
        }
        let nullable = one_field("BOOLEAN", true);
        assert_eq!(
            decode_row(&nullable, &unhex("0100 01")).unwrap(),
            [Value::Null]
        );
        assert!(
            decode_row(&nullable, &unhex("0100 01 00")).is_err(),
            "a value behind its null"
        );
    }

    #[test]
    fn minus_zero_and_every_nan_are_encoded_as_one() {
        let format = one_field("DOUBLE", false);
        let bytes = |number| encode_row(&format, &[Value::Double(number)]).unwrap();
        assert_eq!(bytes(-0.0), bytes(0.0));
        assert_eq!(
            bytes(f64::from_bits(0xffff_0000_0000_0001)),
            bytes(f64::NAN)
        );
    }

    proptest! {
        #[test]
        fn every_row_reads_back_from_its_bytes((format, row) in file_and_row()) {
            let bytes = encode_row(&format, &row).unwrap();
            prop_assert_eq!(decode_row(&format, &bytes).unwrap(), row);
        }

        #[test]
        fn bytes_that_read_are_the_bytes_of_what_they_read_as(
            (format, row) in file_and_row(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = encode_row(&format, &row).unwrap();
            for (at, byte) in changes {
                *at.get_mut(&mut bytes) = byte;
            }
            if let Ok(read) = decode_row(&format, &bytes) {
                prop_assert_eq!(encode_row(&format, &read).unwrap(), bytes);
            }
        }

        #[test]
        fn no_bytes_and_no_values_make_it_panic(
            (format, _) in file_and_row(),
            bytes: Vec<u8>,
            values in proptest::collection::vec(any_value(), 0..20),
        ) {
            drop(decode_row(&format, &bytes));
            if let Ok(bytes) = encode_row(&format, &values) {
                prop_assert_eq!(decode_row(&format, &bytes).unwrap(), values);
            }
        }
    }
}
