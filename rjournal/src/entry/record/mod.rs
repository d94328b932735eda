//! Room `entry`: formats and typed rows: the rows of SQL-like files as bytes, and keys whose byte order is the order
//! of the values.
//!
//! In come a file's [`Format`] and the typed [`Value`]s of one row, out go canonical bytes: one value has exactly one
//! encoding, and decoders refuse every other, so that equal rows are equal bytes on every system. docs/FORMAT.md
//! describes the layout; golden bytes in the tests bind it (ruling 21).
//! Must not know which entry carries a row, where a store keeps it, or what wrote it.

mod calendar;
mod decimal;
mod field;
mod field_name;
mod field_type;
mod float;
mod format;
mod format_bytes;
mod format_error;
mod format_text;
mod images;
mod infer;
mod key;
mod row;
mod row_error;
#[cfg(test)]
mod samples;
mod value;
mod value_text;

pub use decimal::{DECIMAL_DIGITS_MAX, Decimal};
pub use field::{Field, FieldError};
pub use field_name::{FIELD_NAME_CHARACTERS_MAX, FieldName};
pub use field_type::{FIELD_LENGTH_MAX, FieldType, TypeError};
pub use format::Format;
pub use format_error::{FIELDS_MAX, FormatError};
pub use images::{Images, ImagesError};
pub use infer::{ColumnGuess, Guess};
pub use key::{decode_key, encode_key, encode_key_values, record_number, record_number_key};
pub use row::{decode_row, encode_row};
pub use row_error::{KEY_BYTES_MAX, ROW_BYTES_MAX, RowError};
pub use value::{Value, ValueError};
