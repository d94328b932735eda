//! Room `entry`: why fields and key are not the format of a file. Must not know formats: each error carries the facts.

use super::super::FileName;
use super::field_name::FieldName;
use super::field_type::TypeError;

/// Most fields a file may have.
pub const FIELDS_MAX: usize = 1024;

/// Why fields and key are not a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Versions begin at 1.
    #[error("the format of {file} has version 0; versions begin at 1")]
    Version {
        /// The file.
        file: FileName,
    },
    /// No fields, or too many.
    #[error("{file} has {found} fields; a file has 1 to {max}", max = FIELDS_MAX)]
    FieldCount {
        /// The file.
        file: FileName,
        /// How many fields were given.
        found: usize,
    },
    /// Two fields have one name, without regard to case.
    #[error("{file} has two fields {field}; rename one")]
    FieldTwice {
        /// The file.
        file: FileName,
        /// The name of the second.
        field: FieldName,
    },
    /// The type of a field cannot be stored.
    #[error("field {field} of {file} has a type that cannot be stored")]
    Type {
        /// The file.
        file: FileName,
        /// The field.
        field: FieldName,
        /// Why.
        source: TypeError,
    },
    /// The key names a field by a number that no field has.
    #[error("the key of {file} asks for field number {index}, its last one is {last}")]
    KeyIndex {
        /// The file.
        file: FileName,
        /// The number asked for, counted from zero.
        index: u16,
        /// The number of its last field.
        last: usize,
    },
    /// The key names a field that does not exist.
    #[error("the key of {file} asks for field {field}, which it does not have")]
    KeyName {
        /// The file.
        file: FileName,
        /// The name asked for.
        field: FieldName,
    },
    /// A field stands twice in the key.
    #[error("field {field} stands twice in the key of {file}; name it once")]
    KeyTwice {
        /// The file.
        file: FileName,
        /// The field.
        field: FieldName,
    },
    /// A JSON field has no order and cannot be part of a key.
    #[error("field {field} of {file} is JSON, which has no order; choose another key field")]
    KeyType {
        /// The file.
        file: FileName,
        /// The field.
        field: FieldName,
    },
}
