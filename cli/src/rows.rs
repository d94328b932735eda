//! Package `cli`: rows on a command line: which store a command means, values as people write and read them, and as JSON.
//! Must not print, and must not know how rows are encoded.

use rjournal::Client;
use rjournal::daemon::command::apply::ListJobs;
use rjournal::daemon::command::file::ListFiles;
use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::record::{Field, FieldType, Format, Value};
use rjournal::entry::{FileName, Name};
use rjournal_apply::serve::DatabaseClient;

use crate::commands::Context;
use crate::error::CliError;
use crate::stopped::Wanted;
use crate::text;

/// Which store is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// The store; where only one has the file it is found
    #[arg(long, value_name = "NAME")]
    pub(crate) store: Option<Name>,
}

impl StoreArgs {
    /// A connection to the job of the store that has a file.
    pub(crate) async fn connect(
        &self,
        context: &Context<'_>,
        file: &FileName,
    ) -> Result<DatabaseClient, CliError> {
        let store = self.find(context, file).await?;
        Ok(DatabaseClient::connect(&context.data, store).await?)
    }

    /// The store that has a file.
    pub(crate) async fn find(
        &self,
        context: &Context<'_>,
        file: &FileName,
    ) -> Result<Name, CliError> {
        let wanted = self
            .store
            .map_or_else(|| Wanted::File(file.clone()), Wanted::Store);
        context.wanted.get_or_init(|| wanted);
        match self.store {
            Some(store) => {
                require_store(context, store).await?;
                Ok(store)
            }
            None => find(context, file).await,
        }
    }
}

/// Says no to a store nobody knows: that its job does not answer would be no help. Where the daemon does not answer either,
/// the job's own word counts.
async fn require_store(context: &Context<'_>, store: Name) -> Result<(), CliError> {
    let client = match context.client().await {
        Err(error) if error.0.kind == ErrorKind::Unreachable => return Ok(()),
        client => client?,
    };
    let jobs = client.run(ListJobs {}).await?.jobs;
    if jobs.iter().any(|job| job.store == store) {
        return Ok(());
    }
    let unknown = CommandError::not_found("store", store).help("WRKAPY lists them");
    Err(CliError(unknown))
}

/// A connection to the job of a store.
pub(crate) async fn connect(
    context: &Context<'_>,
    store: Name,
) -> Result<DatabaseClient, CliError> {
    context.wanted.get_or_init(|| Wanted::Store(store));
    require_store(context, store).await?;
    Ok(DatabaseClient::connect(&context.data, store).await?)
}

/// The one store that has the file: made from its journal here, or as a replica.
async fn find(context: &Context<'_>, file: &FileName) -> Result<Name, CliError> {
    let client = context.client().await?;
    let mut jobs = client.run(ListJobs {}).await?.jobs;
    if let Some(journal) = journal_of(&client, file).await? {
        jobs.retain(|job| job.journals.contains(&journal));
    }
    let mut stores = Vec::new();
    for job in &jobs {
        if jobs.len() == 1 || has_file(context, job.store, file).await {
            stores.push(job.store);
        }
    }
    match stores.as_slice() {
        [store] => Ok(*store),
        [] => {
            let help = "WRKAPY lists the stores; STRAPY makes one from the journal of the file";
            Err(CliError(
                CommandError::not_found("a store with file", file).help(help),
            ))
        }
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(CliError::invalid(format!(
                "file {file} is in stores {}: say with STORE which one is meant",
                names.join(", ")
            )))
        }
    }
}

async fn journal_of(
    client: &Client,
    file: &FileName,
) -> Result<Option<rjournal::entry::QualifiedName>, CliError> {
    let files = client.run(ListFiles { file: None }).await?.files;
    let found = files.into_iter().find(|known| known.file == *file);
    Ok(found.and_then(|known| known.journal))
}

async fn has_file(context: &Context<'_>, store: Name, file: &FileName) -> bool {
    match DatabaseClient::connect(&context.data, store).await {
        Ok(mut database) => database
            .files()
            .await
            .is_ok_and(|files| files.iter().any(|known| known.file == *file)),
        Err(_) => false,
    }
}

/// Which row is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// Its key; once for each key field, in key order
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) key: Vec<String>,

    /// Its record number, in a file without key fields
    #[arg(long, value_name = "NUMBER", conflicts_with = "key")]
    pub(crate) rrn: Option<u64>,
}

impl KeyArgs {
    /// The key's values in the types of the file.
    pub(crate) fn values(&self, format: &Format) -> Result<Vec<Value>, CliError> {
        let fields: Vec<&Field> = format.key_fields().collect();
        match self.rrn {
            Some(number) if fields.is_empty() => match i64::try_from(number) {
                Ok(number) if number > 0 => return Ok(vec![Value::BigInt(number)]),
                _ => {
                    return Err(CliError::invalid(format!(
                        "RRN {number}: record numbers begin with 1"
                    )));
                }
            },
            Some(_) => {
                return Err(CliError::invalid(format!(
                    "file {} has a key: give KEY",
                    format.file()
                )));
            }
            None if fields.is_empty() => {
                return Err(CliError::invalid(format!(
                    "file {} has no key fields: give RRN, a row's record number",
                    format.file()
                )));
            }
            None => {}
        }
        if self.key.len() != fields.len() {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            return Err(CliError::invalid(format!(
                "the key of {} is {}: {} {} given; give KEY once for each field",
                format.file(),
                names.join(", "),
                self.key.len(),
                if self.key.len() == 1 {
                    "value was"
                } else {
                    "values were"
                },
            )));
        }
        fields
            .iter()
            .zip(&self.key)
            .map(|(field, text)| read(field, text))
            .collect()
    }
}

/// A value as people write it: bytes as their text, or as `X'00ff'`.
pub(crate) fn read(field: &Field, text: &str) -> Result<Value, CliError> {
    let hex = text
        .strip_prefix("X'")
        .and_then(|text| text.strip_suffix('\''));
    let value = match (field.field_type, hex) {
        (FieldType::Varbinary { .. }, None) => Ok(Value::Binary(text.as_bytes().to_vec())),
        (FieldType::Varbinary { .. }, Some(hex)) => Value::parse(hex, &field.field_type),
        _ => Value::parse(text, &field.field_type),
    };
    value.map_err(|error| CliError::invalid(format!("{}: {}", field.name, text::causes(&error))))
}

/// A value as people read it; [`read`] takes it back.
pub(crate) fn readable(value: &Value) -> String {
    match value {
        Value::Binary(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.starts_with("X'") && !text.contains(char::is_control) => {
                text.to_owned()
            }
            _ => format!("X'{}'", text::hex(bytes)),
        },
        value => value.to_text(),
    }
}

/// A value in JSON: whole numbers as numbers, exact decimals and everything else as text.
pub(crate) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::SmallInt(number) => (*number).into(),
        Value::Integer(number) => (*number).into(),
        Value::BigInt(number) => (*number).into(),
        Value::Boolean(value) => (*value).into(),
        value => readable(value).into(),
    }
}

/// A row in JSON, field by field.
pub(crate) fn json_row(format: &Format, row: &[Value]) -> serde_json::Value {
    let named = format.fields().iter().zip(row);
    named
        .map(|(field, value)| (field.name.to_string(), json(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_and_read_as_text_or_in_hexadecimal() {
        let field: Field = "B VARBINARY(100)".parse().unwrap();
        for bytes in [
            &b"plain"[..],
            "Gr\u{f6}\u{df}e".as_bytes(),
            b"",
            &[0, 255],
            b"X'41'",
            b"a\nb",
        ] {
            let shown = readable(&Value::Binary(bytes.to_vec()));
            assert_eq!(
                read(&field, &shown).unwrap(),
                Value::Binary(bytes.to_vec()),
                "{shown}"
            );
        }
        assert!(read(&field, "X'4'").is_err());
        assert!(read(&field, "X'zz'").is_err());
    }

    #[test]
    fn a_key_is_told_apart_from_a_record_number() {
        let file: FileName = "LIB/F".parse().unwrap();
        let keyed = Format::with_key_names(
            1,
            file.clone(),
            vec![
                "ID INTEGER".parse().unwrap(),
                "NAME VARCHAR(10)".parse().unwrap(),
            ],
            &["ID".parse().unwrap()],
            rjournal::entry::record::Images::Both,
        )
        .unwrap();
        let key = |key: &[&str], rrn| KeyArgs {
            key: key.iter().map(|&text| text.to_owned()).collect(),
            rrn,
        };
        assert_eq!(
            key(&["-7"], None).values(&keyed).unwrap(),
            [Value::Integer(-7)]
        );
        assert!(key(&[], None).values(&keyed).is_err());
        assert!(key(&["1", "2"], None).values(&keyed).is_err());
        assert!(key(&["x"], None).values(&keyed).is_err());
        assert!(key(&[], Some(1)).values(&keyed).is_err());
        let plain =
            Format::new(1, file, keyed.fields().to_vec(), Vec::new(), keyed.images()).unwrap();
        assert_eq!(
            key(&[], Some(3)).values(&plain).unwrap(),
            [Value::BigInt(3)]
        );
        assert!(key(&[], Some(0)).values(&plain).is_err());
        assert!(key(&["1"], None).values(&plain).is_err());
    }
}
