//! Command CRTPF.

use std::process::ExitCode;

use rjournal::daemon::command::file::CreateFile;
use rjournal::entry::FileName;
use rjournal::entry::record::{Field, FieldName};

use super::Context;
use super::wrkf::file_form;
use crate::attributes::choose;
use crate::error::CliError;
use crate::text::causes;

/// Create a file: define its fields and its key; without fields a plain key-value file
///
/// Types: SMALLINT, INTEGER, BIGINT, DECIMAL(p,s), REAL, DOUBLE, VARCHAR(n), VARBINARY(n), DATE, TIME, TIMESTAMP,
/// BOOLEAN, UUID, JSON. Without a key, rows are known by their record numbers.
///
/// Example: rjournal crtpf --file PRDLIB/CUST --field "ID INTEGER" --field "NAME VARCHAR(40)" --key ID
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; its name may be a long SQL name
    #[arg(long, value_name = "LIB/NAME")]
    file: FileName,

    /// A field, once for each, in order
    #[arg(long, value_name = "NAME TYPE [NOT NULL]")]
    field: Vec<String>,

    /// Names of the key fields in key order, with commas
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    key: Vec<String>,

    /// *KV for a plain key-value file, *DATA for one with fields; what fits when left out
    #[arg(long = "type", value_name = "*KV|*DATA")]
    file_type: Option<String>,

    /// Free text
    #[arg(long, default_value = "")]
    text: String,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let key_value = choose(args.file_type, "TYPE", &[("KV", true), ("DATA", false)])?;
    match key_value {
        Some(true) if !args.field.is_empty() || !args.key.is_empty() => {
            return Err(CliError::invalid(
                "a key-value file has the fields KEY and VALUE, and no others: leave FIELD and KEY out",
            ));
        }
        Some(false) if args.field.is_empty() => {
            return Err(CliError::invalid(
                "a file of type *DATA needs fields: FIELD",
            ));
        }
        None if args.field.is_empty() && !args.key.is_empty() => {
            return Err(CliError::invalid(
                "KEY names fields, but no FIELD was given; leave both out for a key-value file",
            ));
        }
        _ => {}
    }
    let fields: Result<Vec<Field>, _> = args.field.iter().map(|text| text.parse()).collect();
    let fields = fields.map_err(|error| CliError::invalid(format!("FIELD: {}", causes(&error))))?;
    let key: Result<Vec<FieldName>, _> = args.key.iter().map(|text| text.parse()).collect();
    let key = key.map_err(|error| CliError::invalid(format!("KEY: {}", causes(&error))))?;
    let request = CreateFile {
        file: args.file,
        fields,
        key,
        text: args.text,
    };
    let file = context.client().await?.run(request).await?;
    context.output.result(&file, |file| {
        format!("File {} created.\n{}", file.file, file_form(file))
    });
    Ok(ExitCode::SUCCESS)
}
