//! Room `entry`: random types, names and values for the tests of this folder, most of them near the edges where
//! encodings go wrong. Must not know encodings.

use std::cmp::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;

use super::calendar::{DAY_MICROS, DAYS_MAX, DAYS_MIN};
use super::{Decimal, FIELD_LENGTH_MAX, Field, FieldName, FieldType, Format, Images, Value};

pub(super) fn any_name() -> impl Strategy<Value = FieldName> {
    let character = prop_oneof![
        Just('"'),
        Just(' '),
        Just(','),
        Just('A'),
        Just('a'),
        Just('İ'),
        any::<char>()
    ];
    vec(character, 1..20).prop_filter_map("no name", |name| {
        FieldName::new(&String::from_iter(name)).ok()
    })
}

fn any_decimal_type() -> impl Strategy<Value = FieldType> {
    (1..=38_u8)
        .prop_flat_map(|precision| (Just(precision), 0..=precision))
        .prop_map(|(precision, scale)| FieldType::Decimal { precision, scale })
}

pub(super) fn any_type() -> impl Strategy<Value = FieldType> {
    prop_oneof![
        Just(FieldType::SmallInt),
        Just(FieldType::Integer),
        Just(FieldType::BigInt),
        any_decimal_type(),
        Just(FieldType::Real),
        Just(FieldType::Double),
        (1..=FIELD_LENGTH_MAX).prop_map(|characters_max| FieldType::Varchar { characters_max }),
        (1..=FIELD_LENGTH_MAX).prop_map(|bytes_max| FieldType::Varbinary { bytes_max }),
        Just(FieldType::Date),
        Just(FieldType::Time),
        Just(FieldType::Timestamp),
        Just(FieldType::Boolean),
        Just(FieldType::Uuid),
        Just(FieldType::Json),
    ]
}

/// A value that fits the type, never null.
pub(super) fn value_of(field_type: FieldType) -> BoxedStrategy<Value> {
    match field_type {
        FieldType::SmallInt => any::<i16>().prop_map(Value::SmallInt).boxed(),
        FieldType::Integer => any::<i32>().prop_map(Value::Integer).boxed(),
        FieldType::BigInt => any::<i64>().prop_map(Value::BigInt).boxed(),
        FieldType::Decimal { precision, scale } => {
            let limit = 10_i128.pow(u32::from(precision));
            let decimal = move |unscaled: i128| {
                Value::Decimal(Decimal::new(unscaled % limit, scale).unwrap())
            };
            prop_oneof![any::<i128>(), -200..200_i128]
                .prop_map(decimal)
                .boxed()
        }
        FieldType::Real => {
            let edge = prop_oneof![
                Just(0.0_f32),
                Just(-0.0),
                Just(f32::NAN),
                Just(f32::INFINITY),
                Just(-1.5)
            ];
            prop_oneof![any::<u32>().prop_map(f32::from_bits), edge]
                .prop_map(Value::Real)
                .boxed()
        }
        FieldType::Double => {
            let edge = prop_oneof![
                Just(0.0_f64),
                Just(-0.0),
                Just(f64::NAN),
                Just(f64::INFINITY),
                Just(-1.5)
            ];
            prop_oneof![any::<u64>().prop_map(f64::from_bits), edge]
                .prop_map(Value::Double)
                .boxed()
        }
        FieldType::Varchar { characters_max } => {
            let character = prop_oneof![
                Just('\0'),
                Just('\u{1}'),
                Just('a'),
                Just('ü'),
                any::<char>()
            ];
            let text = vec(character, 0..=characters_max.min(12) as usize);
            text.prop_map(|text| Value::Text(String::from_iter(text)))
                .boxed()
        }
        FieldType::Varbinary { bytes_max } => {
            let byte = prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()];
            vec(byte, 0..=bytes_max.min(12) as usize)
                .prop_map(Value::Binary)
                .boxed()
        }
        FieldType::Date => (DAYS_MIN..=DAYS_MAX).prop_map(Value::Date).boxed(),
        FieldType::Time => (0..DAY_MICROS.unsigned_abs()).prop_map(Value::Time).boxed(),
        FieldType::Timestamp => {
            let (first, end) = (
                i64::from(DAYS_MIN) * DAY_MICROS,
                (i64::from(DAYS_MAX) + 1) * DAY_MICROS,
            );
            prop_oneof![first..end, -2_000_000..2_000_000_i64]
                .prop_map(Value::Timestamp)
                .boxed()
        }
        FieldType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        FieldType::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        FieldType::Json => any::<i32>()
            .prop_map(|number| Value::Json(format!("[ {number} ]")))
            .boxed(),
    }
}

pub(super) fn typed_value() -> impl Strategy<Value = (FieldType, Value)> {
    any_type().prop_flat_map(|field_type| (Just(field_type), value_of(field_type)))
}

pub(super) fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 12 => typed_value().prop_map(|(_, value)| value)]
}

/// Formats with odd names and keys of all kinds.
pub(super) fn any_format() -> impl Strategy<Value = Format> {
    let fields = vec((any_name(), any_type(), any::<bool>()), 1..12);
    let key = vec(any::<prop::sample::Index>(), 0..4);
    let images = prop_oneof![Just(Images::After), Just(Images::Both)];
    (1..=u32::MAX, fields, key, images).prop_filter_map(
        "no format",
        |(version, fields, key, images)| {
            let named = fields
                .into_iter()
                .map(|(name, field_type, nullable)| Field {
                    name,
                    field_type,
                    nullable,
                });
            let fields: Vec<_> = named.collect();
            let key = key
                .iter()
                .map(|index| index.index(fields.len()) as u16)
                .collect();
            Format::new(
                version,
                "LIB/\"Any file\"".parse().unwrap(),
                fields,
                key,
                images,
            )
            .ok()
        },
    )
}

pub(super) fn hex(bytes: &[u8]) -> String {
    Value::Binary(bytes.to_vec()).to_text()
}

/// Bytes from hex digits; spaces between them are for the reader.
pub(super) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Types and texts of the rows that bind the layout: one of each type, JSON at the end.
const GOLDEN: [(&str, &str); 14] = [
    ("SMALLINT", "-2"),
    ("INTEGER", "123456789"),
    ("BIGINT", "9223372036854775807"),
    ("DECIMAL(10,2)", "13.86"),
    ("REAL", "1.5"),
    ("DOUBLE", "-1.5"),
    ("VARCHAR(10)", "aü"),
    ("VARBINARY(10)", "00ff"),
    ("DATE", "1925-02-04"),
    ("TIME", "23:59:59"),
    ("TIMESTAMP", "1969-12-31 23:59:59.999999"),
    ("BOOLEAN", "true"),
    ("UUID", "00112233-4455-6677-8899-aabbccddeeff"),
    ("JSON", "{}"),
];

/// A file with one field of each type and a nullable one behind them, and a row of it.
pub(super) fn golden(key: Vec<u16>) -> (Format, Vec<Value>) {
    let typed = GOLDEN.map(|(field_type, text)| (field_type.parse::<FieldType>().unwrap(), text));
    let row = typed
        .iter()
        .map(|(field_type, text)| Value::parse(text, field_type).unwrap());
    let row = row.chain([Value::Null]).collect();
    let fields = typed.iter().map(|(field_type, _)| (*field_type, false));
    let fields: Vec<_> = fields.chain([(FieldType::Integer, true)]).collect();
    (file_of(&fields, key), row)
}

/// A file with these fields, called F1, F2 and so on.
pub(super) fn file_of(types: &[(FieldType, bool)], key: Vec<u16>) -> Format {
    let named = types
        .iter()
        .enumerate()
        .map(|(index, (field_type, nullable))| Field {
            name: FieldName::new(&format!("F{}", index + 1)).unwrap(),
            field_type: *field_type,
            nullable: *nullable,
        });
    Format::new(
        1,
        "LIB/FILE".parse().unwrap(),
        named.collect(),
        key,
        Images::Both,
    )
    .unwrap()
}

/// A file without a key, and a row of it.
pub(super) fn file_and_row() -> impl Strategy<Value = (Format, Vec<Value>)> {
    vec((any_type(), any::<bool>()), 1..20).prop_flat_map(|types| {
        let value = |(field_type, nullable): &(FieldType, bool)| {
            let nulls = u32::from(*nullable);
            prop_oneof![nulls => Just(Value::Null), 3 => value_of(*field_type)].boxed()
        };
        let row: Vec<_> = types.iter().map(value).collect();
        (Just(file_of(&types, Vec::new())), row)
    })
}

/// A file all of whose fields are its key, and two rows of it that often begin alike.
pub(super) fn keyed_file_and_two_rows() -> impl Strategy<Value = (Format, Vec<Value>, Vec<Value>)> {
    let key_type = any_type().prop_filter("JSON has no order", |field_type| {
        *field_type != FieldType::Json
    });
    vec(key_type, 1..4).prop_flat_map(|types| {
        let row: Vec<_> = types
            .iter()
            .map(|field_type| value_of(*field_type))
            .collect();
        let fields: Vec<_> = types
            .iter()
            .map(|field_type| (*field_type, false))
            .collect();
        let format = file_of(&fields, (0..types.len() as u16).collect());
        let alike = 0..=types.len();
        (Just(format), row.clone(), row, alike).prop_map(|(format, one, mut two, alike)| {
            two[..alike].clone_from_slice(&one[..alike]);
            (format, one, two)
        })
    })
}

/// The order of the values of one type, told without their bytes.
pub(super) fn order(one: &Value, two: &Value) -> Ordering {
    match (one, two) {
        (Value::SmallInt(one), Value::SmallInt(two)) => one.cmp(two),
        (Value::Integer(one), Value::Integer(two)) | (Value::Date(one), Value::Date(two)) => {
            one.cmp(two)
        }
        (Value::BigInt(one), Value::BigInt(two))
        | (Value::Timestamp(one), Value::Timestamp(two)) => one.cmp(two),
        (Value::Decimal(one), Value::Decimal(two)) => one.unscaled().cmp(&two.unscaled()),
        (Value::Real(one), Value::Real(two)) => float_order(f64::from(*one), f64::from(*two)),
        (Value::Double(one), Value::Double(two)) => float_order(*one, *two),
        (Value::Text(one), Value::Text(two)) => one.as_bytes().cmp(two.as_bytes()),
        (Value::Binary(one), Value::Binary(two)) => one.cmp(two),
        (Value::Time(one), Value::Time(two)) => one.cmp(two),
        (Value::Boolean(one), Value::Boolean(two)) => one.cmp(two),
        (Value::Uuid(one), Value::Uuid(two)) => one.cmp(two),
        _ => panic!("{one:?} and {two:?} have no order"),
    }
}

fn float_order(one: f64, two: f64) -> Ordering {
    one.partial_cmp(&two)
        .unwrap_or_else(|| one.is_nan().cmp(&two.is_nan()))
}
