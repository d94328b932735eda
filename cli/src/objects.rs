//! Package `cli`: which object of a journal is which file, and how its rows read. On the system that defined a file its
//! definition is at hand; on a copy it stands in the journal (`D CT`, `D CG`). Must not print.

use std::collections::HashMap;

use rjournal::Client;
use rjournal::daemon::CommandError;
use rjournal::daemon::command::entries::{DisplayEntries, DisplayedEntry};
use rjournal::daemon::command::file::ListFiles;
use rjournal::entry::record::{Format, Value, decode_row};
use rjournal::entry::{FileName, Kind, ObjectId, QualifiedName, Sequence};

use crate::error::CliError;
use crate::text;

/// Longest definition of a file that is looked at, in bytes.
const DEFINITION_BYTES_MAX: usize = 1024 * 1024;
/// How many requests, each looking through 64 MiB of receivers, are made for definitions nobody asked for.
const LOOKS_MAX: u32 = 8;

/// What is known of the objects of one journal.
#[derive(Debug)]
pub(crate) struct Objects<'a> {
    client: &'a Client,
    journal: QualifiedName,
    formats: HashMap<ObjectId, HashMap<u32, Format>>,
    looked: bool,
}

impl<'a> Objects<'a> {
    /// Begins with what is defined on this system.
    pub(crate) async fn load(client: &'a Client, journal: QualifiedName) -> Result<Self, CliError> {
        let mut objects = Self {
            client,
            journal,
            formats: HashMap::new(),
            looked: false,
        };
        for file in client.run(ListFiles { file: None }).await?.files {
            objects.put(file.id, file.format);
        }
        Ok(objects)
    }

    /// Learns a format.
    pub(crate) fn put(&mut self, object: ObjectId, format: Format) {
        self.formats
            .entry(object)
            .or_default()
            .insert(format.version(), format);
    }

    fn learn(&mut self, entry: &DisplayedEntry) {
        if let Some(object) = entry.object
            && matches!(entry.kind.code(), 'D' | 'F')
            && let Ok(format) = Format::decode(&entry.payload)
        {
            self.put(object, format);
        }
    }

    /// Learns what these entries need to be shown.
    pub(crate) async fn learn_of(&mut self, entries: &[DisplayedEntry]) -> Result<(), CliError> {
        for entry in entries {
            self.learn(entry);
        }
        let known = |entry: &DisplayedEntry| {
            let formats = entry.object.and_then(|object| self.formats.get(&object));
            entry.object.is_none()
                || formats.is_some_and(|formats| {
                    !entry.kind.is_record() || formats.contains_key(&entry.format)
                })
        };
        if self.looked || entries.iter().all(known) {
            return Ok(());
        }
        self.looked = true;
        let mut from = Sequence::FIRST;
        for _ in 0..LOOKS_MAX {
            match self.look(from).await? {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Learns from the definitions in the journal, from an entry on; gives where to go on.
    async fn look(&mut self, from: Sequence) -> Result<Option<Sequence>, CliError> {
        let request = DisplayEntries {
            journal: self.journal,
            from,
            to: None,
            count: 16,
            newest: false,
            codes: "D".to_owned(),
            object: None,
            cycle: None,
            from_time: None,
            to_time: None,
            unconfirmed: true,
            payload_bytes: DEFINITION_BYTES_MAX,
        };
        let found = self.client.run(request).await?;
        for entry in &found.entries {
            self.learn(entry);
        }
        Ok(found.next)
    }

    /// Learns from all definitions in the journal.
    pub(crate) async fn look_through(&mut self) -> Result<(), CliError> {
        let mut from = Sequence::FIRST;
        while let Some(next) = self.look(from).await? {
            from = next;
        }
        self.looked = true;
        Ok(())
    }

    /// A format of an object, where it is known.
    pub(crate) fn format(&self, object: ObjectId, version: u32) -> Option<&Format> {
        self.formats.get(&object)?.get(&version)
    }

    /// The object that is a file of this name.
    pub(crate) async fn find(&mut self, file: &FileName) -> Result<ObjectId, CliError> {
        let named =
            |formats: &HashMap<u32, Format>| formats.values().any(|format| format.file() == file);
        let mut next = Some(Sequence::FIRST);
        loop {
            if let Some((object, _)) = self.formats.iter().find(|(_, formats)| named(formats)) {
                return Ok(*object);
            }
            let from = next.ok_or_else(|| {
                let help = format!(
                    "neither is it defined here, nor does journal {} hold its definition",
                    self.journal
                );
                CliError(CommandError::not_found("file", file).help(help))
            })?;
            next = self.look(from).await?;
        }
    }

    /// The file's name, where it is known.
    pub(crate) fn file(&self, object: ObjectId) -> Option<&FileName> {
        self.formats
            .get(&object)
            .and_then(|formats| formats.values().next())
            .map(Format::file)
    }

    /// What an entry that starts or ends the journaling of a file says.
    pub(crate) fn journaling(&self, entry: &DisplayedEntry) -> Option<String> {
        let file = self.file(entry.object?)?;
        match entry.kind {
            Kind::JOURNALING_START => {
                let images = Format::decode(&entry.payload).ok()?.images();
                Some(format!("journaling of {file} starts, images {images}"))
            }
            Kind::JOURNALING_END => Some(format!("journaling of {file} ends")),
            _ => None,
        }
    }

    /// A record's image as its values; nothing where the format is not known or the image is not whole.
    pub(crate) fn row(&self, entry: &DisplayedEntry) -> Option<String> {
        if !entry.kind.is_record() || entry.payload.len() as u64 != entry.payload_length {
            return None;
        }
        let format = self.formats.get(&entry.object?)?.get(&entry.format)?;
        let values = decode_row(format, &entry.payload).ok()?;
        let named = format
            .fields()
            .iter()
            .zip(&values)
            .map(|(field, value)| format!("{}={}", field.name, shown(value)));
        Some(named.collect::<Vec<_>>().join(" "))
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Json(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Binary(bytes) => {
            let shown = text::bytes_or_hex(bytes);
            if shown.starts_with("X'") {
                shown
            } else {
                format!("'{}'", shown.replace('\'', "''"))
            }
        }
        value => value.to_text(),
    }
}
