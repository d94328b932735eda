//! Package `cli`, orphans: images as values, by the names of their fields; and what a store here holds in their place now.
//! Must not print.

use std::collections::HashMap;

use rjournal::Client;
use rjournal::daemon::command::apply::ListJobs;
use rjournal::entry::record::{Format, Value, decode_key, decode_row};
use rjournal::entry::{Name, ObjectId, QualifiedName};
use rjournal_apply::serve::DatabaseClient;

use super::transaction::{Change, ChangeKind, Transaction};
use crate::commands::Context;
use crate::error::CliError;
use crate::objects::Objects;
use crate::rows;

/// A row with the format it is of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row<'a> {
    pub(crate) format: &'a Format,
    pub(crate) values: Vec<Value>,
}

impl Row<'_> {
    /// The values by the names of their fields, as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        rows::json_row(self.format, &self.values)
    }

    /// The values by the names of their fields.
    pub(crate) fn text(&self) -> String {
        let named = self.format.fields().iter().zip(&self.values);
        let named = named.map(|(field, value)| format!("{}={}", field.name, rows::readable(value)));
        named.collect::<Vec<_>>().join(" ")
    }
}

/// An image as values; nothing where its format is not known, or it is none of that.
pub(crate) fn row_of<'a>(format: Option<&'a Format>, image: Option<&[u8]>) -> Option<Row<'a>> {
    let format = format?;
    let values = decode_row(format, image?).ok()?;
    Some(Row { format, values })
}

/// The key of the row that is changed: its record number in a file without key fields.
pub(crate) fn key_of(change: &Change, format: &Format) -> Option<Vec<Value>> {
    if format.key().is_empty() {
        let number = i64::try_from(change.record).ok()?;
        return Some(vec![Value::BigInt(number)]);
    }
    if let Some(key) = &change.key {
        return decode_key(format, key).ok();
    }
    let image = change.after.as_deref().or(change.before.as_deref());
    let row = row_of(Some(format), image)?;
    let fields = format.key().iter();
    fields
        .map(|field| row.values.get(usize::from(*field)).cloned())
        .collect()
}

/// What a store made from the journal here holds now.
pub(crate) struct Present {
    database: Option<DatabaseClient>,
}

impl Present {
    /// The store of this name, or the only one made from the journal, where its job serves it.
    pub(crate) async fn open(
        context: &Context<'_>,
        client: &Client,
        journal: QualifiedName,
        store: Option<Name>,
    ) -> Result<Self, CliError> {
        if let Some(store) = store {
            let database = rows::connect(context, store).await?;
            return Ok(Self {
                database: Some(database),
            });
        }
        let jobs = client.run(ListJobs {}).await?.jobs;
        let mut own = jobs.into_iter().filter(|job| job.journal == journal);
        let database = match (own.next(), own.next()) {
            (Some(job), None) => DatabaseClient::connect(&context.data, job.store).await.ok(),
            _ => None,
        };
        Ok(Self { database })
    }

    /// Whether rows differ now from what a transaction began with, change by change; nothing where that cannot be told.
    pub(crate) async fn changed_since(
        &mut self,
        transaction: &Transaction,
        objects: &Objects<'_>,
    ) -> Vec<Option<bool>> {
        let mut known: HashMap<(ObjectId, String), Option<bool>> = HashMap::new();
        let mut found = Vec::with_capacity(transaction.changes.len());
        for change in &transaction.changes {
            let Some(format) = objects.format(change.object, change.format) else {
                found.push(None);
                continue;
            };
            let key = key_of(change, format);
            let place = (change.object, format!("{key:?}"));
            let answer = match (known.get(&place), key) {
                (Some(answer), _) => *answer,
                (None, Some(key)) => self.changed(change, format, &key).await,
                (None, None) => None,
            };
            known.insert(place, answer);
            found.push(answer);
        }
        found
    }

    async fn changed(&mut self, change: &Change, format: &Format, key: &[Value]) -> Option<bool> {
        let before = match change.kind {
            ChangeKind::Put => None,
            _ => Some(row_of(Some(format), change.before.as_deref())?.values),
        };
        let database = self.database.as_mut()?;
        let now = database.get(format.file(), key).await.ok()?;
        Some(now != before)
    }
}
