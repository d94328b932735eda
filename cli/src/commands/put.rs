//! Command `put`.

use std::process::ExitCode;

use rjournal::entry::FileName;
use rjournal::entry::record::{FieldName, Format, Value};
use rjournal_apply::serve::WriteKind;

use super::Context;
use crate::error::CliError;
use crate::rows::{StoreArgs, read};
use crate::written::Written;

/// Write one row: journaled first, answered with its ack class, then in the store
///
/// A row that is there keeps the fields that are not named; in a new one they are null. In a file without key fields each
/// put is a new row.
///
/// Example: rjournal put --file PRDLIB/CUSTOMER --set ID=7 --set "NAME=Ann Smith" --null PHONE
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(long, value_name = "LIB/NAME")]
    file: FileName,

    /// A field and its value, once for each
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,

    /// A field without a value, once for each
    #[arg(long, value_name = "FIELD")]
    null: Vec<String>,

    /// The key of a key-value file, the same as --set KEY=VALUE
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    key: Option<String>,

    /// The value of a key-value file, the same as --set VALUE=VALUE
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,

    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    let mut database = args.store.connect(context, &args.file).await?;
    let handle = database.file(&args.file).await?;
    let format = handle.format();
    let given = given(&args, format)?;
    let mut transaction = database.begin(None).await?;
    let mut row: Vec<Value> = vec![Value::Null; format.fields().len()];
    if !format.key().is_empty() {
        let key: Option<Vec<Value>> = format
            .key()
            .iter()
            .map(|&field| given.get(usize::from(field)).cloned().flatten())
            .collect();
        let key = key.ok_or_else(|| {
            let names: Vec<&str> = format
                .key_fields()
                .map(|field| field.name.as_str())
                .collect();
            CliError::invalid(format!(
                "the key of {} is needed: {}",
                args.file,
                names.join(", ")
            ))
        })?;
        if let Some(found) = transaction.get_for_update(&args.file, &key).await? {
            row = found;
        }
    }
    for (value, given) in row.iter_mut().zip(given) {
        if let Some(given) = given {
            *value = given;
        }
    }
    transaction.write(WriteKind::Put, &args.file, &row).await?;
    let outcome = transaction.commit().await?;
    Ok(Written::new(outcome, 1).tell(*context.output, "Row written"))
}

/// What was given for each field.
fn given(args: &Args, format: &Format) -> Result<Vec<Option<Value>>, CliError> {
    let mut values: Vec<Option<Value>> = vec![None; format.fields().len()];
    let short = [("KEY", &args.key), ("VALUE", &args.value)];
    let short = short
        .iter()
        .filter_map(|(name, text)| text.as_ref().map(|text| (*name, Some(text.as_str()))));
    let set = args.set.iter().map(|text| {
        split_set(text)
            .map(|(name, value)| (name, Some(value)))
            .ok_or_else(|| {
                CliError::invalid(format!(
                    "SET {text}: a field and its value are needed, as in NAME=Smith"
                ))
            })
    });
    let null = args.null.iter().map(|name| (name.as_str(), None));
    for given in short.map(Ok).chain(set).chain(null.map(Ok)) {
        let (name, text) = given?;
        let known = field_name(name)
            .and_then(|name| format.position(&name))
            .map(usize::from);
        let place =
            known.and_then(|index| Some((values.get_mut(index)?, format.fields().get(index)?)));
        let Some((place, field)) = place else {
            let names: Vec<String> = format
                .fields()
                .iter()
                .map(|field| field.name.to_string())
                .collect();
            return Err(CliError::invalid(format!(
                "file {} has no field {name}; it has {}",
                format.file(),
                names.join(", ")
            )));
        };
        let value = text.map_or(Ok(Value::Null), |text| read(field, text))?;
        if place.replace(value).is_some() {
            return Err(CliError::invalid(format!("field {name} is given twice")));
        }
    }
    Ok(values)
}

/// A field and its value: what stands before and behind the first `=` that is not in the quotes of the name.
fn split_set(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('"') {
        return text.split_once('=');
    }
    let mut in_quotes = false;
    let at = text.find(|c: char| {
        in_quotes ^= c == '"';
        c == '=' && !in_quotes
    })?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The name of a field: in quotes, as CRTPF takes it, or as it is.
fn field_name(text: &str) -> Option<FieldName> {
    if text.starts_with('"') {
        text.parse().ok()
    } else {
        FieldName::new(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRTPF needs the quotes, and PUT once took them for a part of the name.
    #[test]
    fn the_name_of_a_field_may_stand_in_quotes() {
        for (text, name, value) in [
            ("\"a b\"=1", "a b", "1"),
            ("a b=1", "a b", "1"),
            ("\"a=\"\"b\"=c=\"d\"", "a=\"b", "c=\"d\""),
            ("NAME=\"Ann\"", "NAME", "\"Ann\""),
        ] {
            let (given, rest) = split_set(text).unwrap();
            assert_eq!(field_name(given).unwrap().as_str(), name);
            assert_eq!(rest, value);
        }
        assert_eq!(split_set("\"a=1"), None);
        assert_eq!(field_name("\"a\"b"), None);
    }
}
