//! Room `entry`: why values are not a row or a key of a file, or bytes are not one; and the checks both encodings
//! share. Must not know how either is laid out.

use super::super::codec::PAYLOAD_BYTES_MAX;
use super::super::{CodecError, FileName};
use super::field::Field;
use super::field_name::FieldName;
use super::field_type::FieldType;
use super::format::Format;
use super::value::{Misfit, Value};
use super::value_text::Expected;

/// Longest row, in bytes: the longest payload of an entry.
pub const ROW_BYTES_MAX: usize = PAYLOAD_BYTES_MAX as usize;

/// Longest key, in bytes: it is held for every row of an open transaction, so it is bounded more tightly than a row.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// Why values are not a row or a key of a file, or bytes are not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// Another number of values than the file has fields, or its key.
    #[error("{file} takes {expected} values here, {found} were given")]
    Count {
        /// The file.
        file: FileName,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A value of another type. It is not converted: that is for those who know what was meant.
    #[error("field {field} of {file} is {field_type}, the value given is {found}")]
    Type {
        /// The file.
        file: FileName,
        /// The field.
        field: FieldName,
        /// Its type.
        field_type: FieldType,
        /// The type of the value.
        found: &'static str,
    },
    /// A null where there may be none.
    #[error("field {field} of {file} is not nullable; give it a value")]
    Null {
        /// The file.
        file: FileName,
        /// The field.
        field: FieldName,
    },
    /// A text or binary value longer than its field.
    #[error("field {field} of {file} is {field_type}, the value given has a length of {length}")]
    TooLong {
        /// The file.
        file: FileName,
        /// The field.
        field: FieldName,
        /// Its type.
        field_type: FieldType,
        /// Characters of a text, bytes of a binary value.
        length: usize,
    },
    /// A value outside the range of its field.
    #[error("field {field} of {file} is {field_type} and takes {}; the value given is none", Expected(*.field_type))]
    Range {
        /// The file.
        file: FileName,
        /// The field.
        field: FieldName,
        /// Its type.
        field_type: FieldType,
    },
    /// The row is longer than an entry can be.
    #[error("a row of {file} takes {bytes} bytes, an entry holds {max}; shorten a value", max = ROW_BYTES_MAX)]
    RowTooLong {
        /// The file.
        file: FileName,
        /// Length of the row in bytes.
        bytes: usize,
    },
    /// The key is longer than a key may be.
    #[error("a key of {file} takes {bytes} bytes, there may be {max}; choose shorter key values", max = KEY_BYTES_MAX)]
    KeyTooLong {
        /// The file.
        file: FileName,
        /// Length of the key in bytes.
        bytes: usize,
    },
    /// The file has no key fields.
    #[error("{file} has no key; its rows are found by record number")]
    NoKey {
        /// The file.
        file: FileName,
    },
    /// Bytes that are not a row or a key of this file.
    #[error("these bytes are no row or key of {file}")]
    Bytes {
        /// The file.
        file: FileName,
        /// Why.
        source: CodecError,
    },
    /// Bytes that are not a value of this field.
    #[error("these bytes are no value of field {field} of {file}")]
    FieldBytes {
        /// The file.
        file: FileName,
        /// The field.
        field: FieldName,
        /// Why.
        source: CodecError,
    },
}

/// Whether there are as many values as there should be.
pub(super) fn check_count(format: &Format, expected: usize, found: usize) -> Result<(), RowError> {
    if expected == found {
        Ok(())
    } else {
        Err(RowError::Count {
            file: format.file().clone(),
            expected,
            found,
        })
    }
}

/// Whether this field takes this value, which may not be null.
pub(super) fn check(format: &Format, field: &Field, value: &Value) -> Result<(), RowError> {
    let Err(misfit) = value.fits(field.field_type) else {
        return Ok(());
    };
    let (file, name, field_type) = (format.file().clone(), field.name.clone(), field.field_type);
    Err(match misfit {
        _ if value.is_null() => RowError::Null { file, field: name },
        Misfit::Type => RowError::Type {
            file,
            field: name,
            field_type,
            found: value.kind(),
        },
        Misfit::Range => RowError::Range {
            file,
            field: name,
            field_type,
        },
        Misfit::Long { length } => RowError::TooLong {
            file,
            field: name,
            field_type,
            length,
        },
    })
}

/// The bytes of this field cannot be read.
pub(super) fn field_bytes(format: &Format, field: &Field, source: CodecError) -> RowError {
    RowError::FieldBytes {
        file: format.file().clone(),
        field: field.name.clone(),
        source,
    }
}

/// The bytes of a row or key as a whole cannot be read.
pub(super) fn row_bytes(format: &Format, source: CodecError) -> RowError {
    let file = format.file().clone();
    RowError::Bytes { file, source }
}
