//! Command `get`.

use std::process::ExitCode;

use rjournal::entry::FileName;
use rjournal::entry::record::{Format, Value};
use rjournal_apply::error::DatabaseError;

use super::Context;
use crate::error::CliError;
use crate::output::Form;
use crate::rows::{KeyArgs, StoreArgs, json_row, readable};

/// Read one row by its key; of a key-value file, print the value alone
///
/// Example: rjournal get --file PRDLIB/KV --key colour
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    file: FileName,

    #[command(flatten)]
    key: KeyArgs,

    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let mut database = args.store.connect(context, &args.file).await?;
    let handle = database.file(&args.file).await?;
    let key = args.key.values(handle.format())?;
    let row = database.get(&args.file, &key).await?;
    let row = row.ok_or_else(|| no_row(&args.file, &key))?;
    let value = json_row(handle.format(), &row);
    context
        .output
        .result(&value, |_| row_text(handle.format(), &row));
    Ok(ExitCode::SUCCESS)
}

fn no_row(file: &FileName, key: &[Value]) -> CliError {
    let key: Vec<String> = key.iter().map(readable).collect();
    CliError::from(DatabaseError::NoRow {
        file: file.clone(),
        key: key.join(", "),
    })
}

/// A row, field by field; of a key-value file, whichever images are journaled, the value alone.
fn row_text(format: &Format, row: &[Value]) -> String {
    let plain = Format::key_value(format.file().clone());
    if format.fields() == plain.fields()
        && format.key() == plain.key()
        && let [_, value] = row
    {
        return readable(value);
    }
    let mut form = Form::new();
    for (field, value) in format.fields().iter().zip(row) {
        form.line(field.name.as_str(), readable(value));
    }
    form.text()
}

#[cfg(test)]
mod tests {
    use rjournal::entry::record::Images;

    use super::*;

    /// A file journaled with *AFTER once printed both fields.
    #[test]
    fn the_value_alone_is_printed_of_a_key_value_file_whatever_its_images() {
        let plain = Format::key_value("PRDLIB/KV".parse().unwrap());
        let row = [
            Value::Binary(b"colour".to_vec()),
            Value::Binary(b"blue".to_vec()),
        ];
        for images in [Images::Both, Images::After] {
            let format = Format::new(
                2,
                plain.file().clone(),
                plain.fields().to_vec(),
                plain.key().to_vec(),
                images,
            );
            assert_eq!(row_text(&format.unwrap(), &row), "blue");
        }
        let keyless = Format::new(
            1,
            plain.file().clone(),
            plain.fields().to_vec(),
            Vec::new(),
            Images::Both,
        );
        assert!(row_text(&keyless.unwrap(), &row).contains("KEY"));
    }
}
