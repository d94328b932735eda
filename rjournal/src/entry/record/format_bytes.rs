//! Room `entry`: a format as bytes, as it stands in the entries that create or change a file. Layout: docs/FORMAT.md.
//! Must not know what a format is good for, and must not trust a single byte it reads.

use super::super::{CodecError, Cursor, FileName, LongName, Name};
use super::field::Field;
use super::field_name::FieldName;
use super::field_type::FieldType;
use super::format::Format;
use super::format_error::FIELDS_MAX;
use super::images::Images;

/// Version of the layout of formats, rows and keys; it stands at the beginning of every format.
const LAYOUT: u8 = 1;
const NULLABLE: u8 = 1;
const WHAT: &str = "format";

impl Format {
    /// The format as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![LAYOUT, images_byte(self.images())];
        out.extend_from_slice(&(self.fields().len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.key().len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.version().to_le_bytes());
        out.extend_from_slice(&self.file().library.padded());
        put_text(&mut out, self.file().name.as_str());
        for field in self.fields() {
            let (code, size) = type_code(field.field_type);
            out.extend_from_slice(&[code, if field.nullable { NULLABLE } else { 0 }]);
            out.extend_from_slice(&size.to_le_bytes());
            put_text(&mut out, field.name.as_str());
        }
        for index in self.key() {
            out.extend_from_slice(&index.to_le_bytes());
        }
        out
    }

    /// Reads what [`Format::encode`] gave.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or left over, or are not what a format is encoded as.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let short = || CodecError::Short { what: WHAT };
        let reserved = || CodecError::Reserved { what: WHAT };
        let mut cursor = Cursor::new(bytes);
        let layout = cursor.u8().ok_or_else(short)?;
        if layout != LAYOUT {
            let (found, known) = (u16::from(layout), u16::from(LAYOUT));
            return Err(CodecError::Version {
                what: WHAT,
                found,
                known,
            });
        }
        let images = images(cursor.u8().ok_or_else(short)?).ok_or_else(reserved)?;
        let field_count = count(&mut cursor)?;
        let key_count = count(&mut cursor)?;
        if cursor.u16().ok_or_else(short)? != 0 {
            return Err(reserved());
        }
        let version = cursor.u32().ok_or_else(short)?;
        let library =
            Name::from_padded(cursor.bytes(10).ok_or_else(short)?).map_err(|_| reserved())?;
        // In quotes, a long name is taken as it is written.
        let name = LongName::new(&format!("\"{}\"", text(&mut cursor)?)).map_err(|_| reserved())?;
        let mut fields = Vec::new();
        for _ in 0..field_count {
            fields.push(read_field(&mut cursor)?);
        }
        let mut key = Vec::new();
        for _ in 0..key_count {
            let index = cursor.u16().ok_or_else(short)?;
            if fields
                .get(usize::from(index))
                .is_none_or(|field| field.nullable)
            {
                return Err(CodecError::Reserved {
                    what: "key of a format",
                });
            }
            key.push(index);
        }
        if cursor.remaining() != 0 {
            return Err(CodecError::Reserved {
                what: "space behind a format",
            });
        }
        Self::new(version, FileName { library, name }, fields, key, images).map_err(|_| reserved())
    }
}

fn read_field(cursor: &mut Cursor<'_>) -> Result<Field, CodecError> {
    let what = "field of a format";
    let short = || CodecError::Short { what };
    let reserved = || CodecError::Reserved { what };
    let code = cursor.u8().ok_or_else(short)?;
    let nullable = match cursor.u8().ok_or_else(short)? {
        0 => false,
        NULLABLE => true,
        _ => return Err(reserved()),
    };
    let size = cursor.u32().ok_or_else(short)?;
    let field_type = type_of(code, size).ok_or_else(reserved)?;
    let name = FieldName::new(text(cursor)?).map_err(|_| reserved())?;
    Ok(Field {
        name,
        field_type,
        nullable,
    })
}

fn count(cursor: &mut Cursor<'_>) -> Result<u16, CodecError> {
    let count = cursor.u16().ok_or(CodecError::Short { what: WHAT })?;
    if usize::from(count) > FIELDS_MAX {
        return Err(CodecError::TooLong {
            what: "list of fields",
            length: u64::from(count),
        });
    }
    Ok(count)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Names have at most 128 characters, so at most 512 bytes.
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, CodecError> {
    let what = "name in a format";
    let length = cursor.u16().ok_or(CodecError::Short { what })?;
    let bytes = cursor
        .bytes(usize::from(length))
        .ok_or(CodecError::Short { what })?;
    std::str::from_utf8(bytes).map_err(|_| CodecError::Reserved { what })
}

const fn images_byte(images: Images) -> u8 {
    match images {
        Images::After => 1,
        Images::Both => 2,
    }
}

const fn images(byte: u8) -> Option<Images> {
    match byte {
        1 => Some(Images::After),
        2 => Some(Images::Both),
        _ => None,
    }
}

/// The code of a type, and its size where it has one.
const fn type_code(field_type: FieldType) -> (u8, u32) {
    match field_type {
        FieldType::SmallInt => (1, 0),
        FieldType::Integer => (2, 0),
        FieldType::BigInt => (3, 0),
        FieldType::Decimal { precision, scale } => {
            (4, u32::from_le_bytes([precision, scale, 0, 0]))
        }
        FieldType::Real => (5, 0),
        FieldType::Double => (6, 0),
        FieldType::Varchar { characters_max } => (7, characters_max),
        FieldType::Varbinary { bytes_max } => (8, bytes_max),
        FieldType::Date => (9, 0),
        FieldType::Time => (10, 0),
        FieldType::Timestamp => (11, 0),
        FieldType::Boolean => (12, 0),
        FieldType::Uuid => (13, 0),
        FieldType::Json => (14, 0),
    }
}

/// The type of a code and a size; its limits are checked by [`Format::new`].
const fn type_of(code: u8, size: u32) -> Option<FieldType> {
    match (code, size) {
        (1, 0) => Some(FieldType::SmallInt),
        (2, 0) => Some(FieldType::Integer),
        (3, 0) => Some(FieldType::BigInt),
        (4, _) => match size.to_le_bytes() {
            [precision, scale, 0, 0] => Some(FieldType::Decimal { precision, scale }),
            _ => None,
        },
        (5, 0) => Some(FieldType::Real),
        (6, 0) => Some(FieldType::Double),
        (7, _) => Some(FieldType::Varchar {
            characters_max: size,
        }),
        (8, _) => Some(FieldType::Varbinary { bytes_max: size }),
        (9, 0) => Some(FieldType::Date),
        (10, 0) => Some(FieldType::Time),
        (11, 0) => Some(FieldType::Timestamp),
        (12, 0) => Some(FieldType::Boolean),
        (13, 0) => Some(FieldType::Uuid),
        (14, 0) => Some(FieldType::Json),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{any_format, hex, unhex};
    use super::*;

    /// Binds the layout: a change here is a change of every file ever written.
    const GOLDEN: &str = "01 02 0300 0100 0000 07000000 5052444c494200000000 0500 414c42554d \
                          02 00 00000000 0700 416c62756d4964 \
                          07 01 a0000000 0500 5469746c65 \
                          04 01 0a020000 0500 5072656973 \
                          0000";

    fn golden() -> Format {
        let fields = [
            "AlbumId INTEGER",
            "Title VARCHAR(160)",
            "Preis DECIMAL(10,2)",
        ];
        let fields = fields
            .into_iter()
            .map(|field| field.parse().unwrap())
            .collect();
        Format::new(
            7,
            "PRDLIB/ALBUM".parse().unwrap(),
            fields,
            vec![0],
            Images::Both,
        )
        .unwrap()
    }

    #[test]
    fn golden_format_bytes() {
        assert_eq!(hex(&golden().encode()), hex(&unhex(GOLDEN)));
        assert_eq!(Format::decode(&unhex(GOLDEN)).unwrap(), golden());
    }

    #[test]
    fn a_format_cut_anywhere_or_with_more_behind_it_is_refused() {
        let bytes = golden().encode();
        for length in 0..bytes.len() {
            assert!(
                matches!(
                    Format::decode(&bytes[..length]),
                    Err(CodecError::Short { .. })
                ),
                "{length}"
            );
        }
        assert!(Format::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn bytes_no_format_is_encoded_as_are_refused() {
        let bytes = golden().encode();
        let with = |at: usize, byte: u8| {
            let mut changed = bytes.clone();
            changed[at] = byte;
            Format::decode(&changed)
        };
        assert!(matches!(
            with(0, 2),
            Err(CodecError::Version {
                found: 2,
                known: 1,
                ..
            })
        ));
        assert!(matches!(with(3, 0xff), Err(CodecError::TooLong { .. })));
        for (at, byte, why) in [
            (1, 0, "images"),
            (2, 0, "no fields"),
            (6, 1, "reserved bytes"),
            (8, 0, "version 0"),
            (12, b'p', "library in lower case"),
            (19, b'X', "library behind its padding"),
            (24, b'"', "quote in the name of the file"),
            (29, 15, "unknown type"),
            (29, 14, "JSON as key"),
            (30, 1, "nullable key"),
            (30, 2, "unknown flag"),
            (31, 1, "size of a type without one"),
            (37, b'\n', "control character in a name"),
            (37, 0xff, "name that is not UTF-8"),
            (59, 39, "decimal of 39 digits"),
            (61, 1, "third byte of a decimal's size"),
            (bytes.len() - 2, 3, "key field that is not there"),
        ] {
            assert!(with(at, byte).is_err(), "{why}");
        }
    }

    proptest! {
        #[test]
        fn every_format_reads_back_from_its_bytes(format in any_format()) {
            let read = Format::decode(&format.encode()).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{format:?}"));
        }

        #[test]
        fn bytes_that_read_are_the_bytes_of_what_they_read_as(
            format in any_format(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = format.encode();
            for (at, byte) in changes {
                *at.get_mut(&mut bytes) = byte;
            }
            if let Ok(read) = Format::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            drop(Format::decode(&[[LAYOUT, 2, 1, 0].as_slice(), &bytes].concat()));
        }
    }
}
