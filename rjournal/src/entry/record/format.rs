//! Room `entry`: the format of a file: its fields in order, which of them are the key, and which images its changes
//! carry. In comes what somebody asked for, out goes a [`Format`] every row can rely on. Entries that create or change
//! a file carry the whole format; record entries name its version (ruling 21). Must not know rows.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::super::FileName;
use super::field::Field;
use super::field_name::FieldName;
use super::field_type::{FIELD_LENGTH_MAX, FieldType};
use super::format_error::{FIELDS_MAX, FormatError};
use super::format_text::FormatText;
use super::images::Images;

/// Longest key of a plain key-value file, in bytes: encoded it never grows beyond the longest key there may be.
const PLAIN_KEY_BYTES_MAX: u32 = 32_767;

/// The format of a file. Equal formats are equal bytes, the case of the names included.
///
/// What holds for every value of this type:
/// 1. it has 1 to [`FIELDS_MAX`] fields of types that can be stored, no two with one name;
/// 2. every index of the key is that of a field, none stands twice;
/// 3. no field of the key is nullable or JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "FormatText", try_from = "FormatText")]
pub struct Format {
    version: u32,
    file: FileName,
    fields: Vec<Field>,
    key: Vec<u16>,
    images: Images,
}

impl Format {
    /// Puts a format together. `key` holds the indexes of the key fields in key order; these become NOT NULL. Without
    /// any, the record number is the key.
    ///
    /// # Errors
    /// [`FormatError`] naming the field that breaks a rule.
    pub fn new(
        version: u32,
        file: FileName,
        mut fields: Vec<Field>,
        key: Vec<u16>,
        images: Images,
    ) -> Result<Self, FormatError> {
        if version == 0 {
            return Err(FormatError::Version { file });
        }
        check_count(&file, fields.len())?;
        let mut names = HashSet::new();
        for field in &fields {
            let name = || field.name.clone();
            if !names.insert(&field.name) {
                return Err(FormatError::FieldTwice {
                    field: name(),
                    file,
                });
            }
            if let Err(source) = field.field_type.checked() {
                return Err(FormatError::Type {
                    field: name(),
                    file,
                    source,
                });
            }
        }
        let mut seen = HashSet::new();
        let last = fields.len() - 1;
        for index in &key {
            let Some(field) = fields.get_mut(usize::from(*index)) else {
                return Err(FormatError::KeyIndex {
                    file,
                    index: *index,
                    last,
                });
            };
            if !seen.insert(*index) {
                return Err(FormatError::KeyTwice {
                    field: field.name.clone(),
                    file,
                });
            }
            if field.field_type == FieldType::Json {
                return Err(FormatError::KeyType {
                    field: field.name.clone(),
                    file,
                });
            }
            field.nullable = false;
        }
        Ok(Self {
            version,
            file,
            fields,
            key,
            images,
        })
    }

    /// As [`Format::new`], with the names of the key fields.
    ///
    /// # Errors
    /// [`FormatError`] naming the field that breaks a rule.
    pub fn with_key_names(
        version: u32,
        file: FileName,
        fields: Vec<Field>,
        key: &[FieldName],
        images: Images,
    ) -> Result<Self, FormatError> {
        check_count(&file, fields.len())?;
        let mut indexes = Vec::new();
        // Beyond as many names as there can be fields, one of those before stands twice.
        for name in key.iter().take(FIELDS_MAX + 1) {
            let Some(index) = position(&fields, name) else {
                let field = name.clone();
                return Err(FormatError::KeyName { file, field });
            };
            indexes.push(index);
        }
        Self::new(version, file, fields, indexes, images)
    }

    /// The format of a plain key-value file: KEY of up to 32,767 bytes, which is the key, and VALUE of up to 15 MiB.
    pub fn key_value(file: FileName) -> Self {
        let field = |name, bytes_max| Field {
            name: FieldName::known(name),
            field_type: FieldType::Varbinary { bytes_max },
            nullable: false,
        };
        let fields = vec![
            field("KEY", PLAIN_KEY_BYTES_MAX),
            field("VALUE", FIELD_LENGTH_MAX),
        ];
        Self {
            version: 1,
            file,
            fields,
            key: vec![0],
            images: Images::Both,
        }
    }

    /// Its version, 1 for the first; record entries say which one their row is written in.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The file.
    pub const fn file(&self) -> &FileName {
        &self.file
    }

    /// Its fields, in the order of a row's values.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Indexes of the key fields in key order; empty where the record number is the key.
    pub fn key(&self) -> &[u16] {
        &self.key
    }

    /// The key fields in key order.
    pub fn key_fields(&self) -> impl ExactSizeIterator<Item = &Field> {
        self.key
            .iter()
            .map(|index| &self.fields[usize::from(*index)])
    }

    /// Which images the entries of its changes carry.
    pub const fn images(&self) -> Images {
        self.images
    }

    /// Where the field of this name stands in a row.
    pub fn position(&self, name: &FieldName) -> Option<u16> {
        position(&self.fields, name)
    }
}

fn check_count(file: &FileName, found: usize) -> Result<(), FormatError> {
    if (1..=FIELDS_MAX).contains(&found) {
        return Ok(());
    }
    let file = file.clone();
    Err(FormatError::FieldCount { file, found })
}

fn position(fields: &[Field], name: &FieldName) -> Option<u16> {
    fields
        .iter()
        .position(|field| field.name == *name)
        .map(|index| index as u16)
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.encode() == other.encode()
    }
}

impl Eq for Format {}

#[cfg(test)]
mod tests {
    use super::super::{KEY_BYTES_MAX, ROW_BYTES_MAX, Value, encode_key, encode_row};
    use super::*;

    fn album(fields: &[&str], key: &[u16]) -> Result<Format, FormatError> {
        let fields = fields.iter().map(|field| field.parse().unwrap()).collect();
        Format::new(
            1,
            "prdlib/Album".parse().unwrap(),
            fields,
            key.to_vec(),
            Images::Both,
        )
    }

    #[test]
    fn a_key_field_becomes_not_null() {
        let format = album(&["AlbumId INTEGER", "Title VARCHAR(160)"], &[0]).unwrap();
        assert_eq!(format.fields()[0].to_string(), "AlbumId INTEGER NOT NULL");
        assert!(format.fields()[1].nullable);
        assert_eq!(format.position(&"TITLE".parse().unwrap()), Some(1));
    }

    #[test]
    fn a_format_that_breaks_a_rule_is_refused() {
        assert!(matches!(
            album(&[], &[]),
            Err(FormatError::FieldCount { found: 0, .. })
        ));
        assert!(matches!(
            album(&["A DATE", "a TIME"], &[]),
            Err(FormatError::FieldTwice { .. })
        ));
        assert!(matches!(
            album(&["A DATE"], &[1]),
            Err(FormatError::KeyIndex {
                index: 1,
                last: 0,
                ..
            })
        ));
        assert!(matches!(
            album(&["A DATE", "B DATE"], &[0, 1, 0]),
            Err(FormatError::KeyTwice { .. })
        ));
        assert!(matches!(
            album(&["A JSON"], &[0]),
            Err(FormatError::KeyType { .. })
        ));
        let file: FileName = "LIB/F".parse().unwrap();
        let of = |version, field_type, count| {
            let field = |index| Field {
                name: FieldName::new(&format!("F{index}")).unwrap(),
                field_type,
                nullable: true,
            };
            Format::new(
                version,
                file.clone(),
                (0..count).map(field).collect(),
                Vec::new(),
                Images::After,
            )
        };
        assert!(matches!(
            of(0, FieldType::Date, 1),
            Err(FormatError::Version { .. })
        ));
        assert!(matches!(
            of(1, FieldType::Date, FIELDS_MAX + 1),
            Err(FormatError::FieldCount { .. })
        ));
        assert!(of(1, FieldType::Date, FIELDS_MAX).is_ok());
        let too_long = FieldType::Varchar {
            characters_max: u32::MAX,
        };
        assert!(matches!(of(1, too_long, 1), Err(FormatError::Type { .. })));
    }

    #[test]
    fn formats_that_differ_in_case_alone_are_not_equal() {
        assert_ne!(
            album(&["AlbumId DATE"], &[]).unwrap(),
            album(&["ALBUMID DATE"], &[]).unwrap()
        );
    }

    #[test]
    fn the_longest_row_of_a_plain_file_fits_into_an_entry_and_its_key_into_a_key() {
        let format = Format::key_value("LIB/KV".parse().unwrap());
        let checked = Format::new(
            1,
            format.file().clone(),
            format.fields().to_vec(),
            vec![0],
            Images::Both,
        )
        .unwrap();
        assert_eq!(format, checked);
        let key = Value::Binary(vec![0; PLAIN_KEY_BYTES_MAX as usize]);
        let row = [key, Value::Binary(vec![1; FIELD_LENGTH_MAX as usize])];
        assert!(encode_row(&format, &row).unwrap().len() <= ROW_BYTES_MAX);
        assert_eq!(encode_key(&format, &row).unwrap().len(), KEY_BYTES_MAX);
    }
}
