//! Room `daemon`: files: defined by CRTPF, tied to a journal by STRJRNPF, which puts the definition into the journal
//! (`D CT`, `F JM`), so that every copy knows it. The rows are not here: they are in the journal, and in the stores made
//! from it.

use serde::{Deserialize, Serialize};

use super::{CommandError, Done};
use crate::daemon::catalog::FileRecord;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::record::{Field, FieldName, Format, Images};
use crate::entry::{ClientId, DepositKey, Draft, FileName, Kind, ObjectId, QualifiedName};
use crate::journal::Answer;

/// CRTPF.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateFile {
    /// Its name.
    pub file: FileName,
    /// Its fields, as in `NAME VARCHAR(40) NOT NULL`; none for a plain key-value file.
    pub fields: Vec<Field>,
    /// Names of the key fields, in key order; none for a file whose rows are known by their record numbers.
    pub key: Vec<FieldName>,
    /// Free text.
    #[serde(default)]
    pub text: String,
}

/// DLTF: a file that is not journaled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteFile {
    /// Its name.
    pub file: FileName,
}

/// STRJRNPF.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartJournaling {
    /// The file.
    pub file: FileName,
    /// The journal its changes go to.
    pub journal: QualifiedName,
    /// Which images are journaled; before images are needed to take changes out again.
    #[serde(default)]
    pub images: Images,
}

/// ENDJRNPF.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndJournaling {
    /// The file.
    pub file: FileName,
}

/// WRKF.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListFiles {
    /// One file, or all.
    pub file: Option<FileName>,
}

/// A file for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDescription {
    /// Its name.
    pub file: FileName,
    /// Identity, the same on all systems.
    pub id: ObjectId,
    /// Its format.
    pub format: Format,
    /// The journal its changes go to.
    pub journal: Option<QualifiedName>,
    /// Free text.
    pub text: String,
}

/// What WRKF shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Files {
    /// The files.
    pub files: Vec<FileDescription>,
}

impl Shared {
    pub(super) fn create_file(&self, request: CreateFile) -> Result<FileDescription, CommandError> {
        self.require_library(request.file.library)?;
        let format = if request.fields.is_empty() {
            Format::key_value(request.file.clone())
        } else {
            Format::with_key_names(
                1,
                request.file.clone(),
                request.fields,
                &request.key,
                Images::Both,
            )
            .map_err(|error| CommandError::invalid(error.to_string()))?
        };
        let id = ObjectId::from_bytes(self.entropy.id());
        let record = FileRecord {
            id,
            format,
            journal: None,
            starts: 0,
            text: request.text,
        };
        let description = describe(&request.file, &record);
        self.update_catalog(|catalog| {
            if catalog.files.contains_key(&request.file) {
                return Err(CommandError::exists("file", &request.file));
            }
            catalog.files.insert(request.file, record);
            Ok(description)
        })
    }

    pub(super) fn delete_file(&self, request: &DeleteFile) -> Result<Done, CommandError> {
        let record = self.require_file(&request.file)?;
        if let Some(journal) = record.journal {
            let text = format!("file {} is journaled to {journal}", request.file);
            return Err(CommandError::refused("RJN4007", text).help("end that first: ENDJRNPF"));
        }
        self.update_catalog(|catalog| {
            catalog.files.remove(&request.file);
            Ok(Done {})
        })
    }

    pub(super) async fn start_journaling(
        &self,
        request: StartJournaling,
    ) -> Result<FileDescription, CommandError> {
        let record = self.require_file(&request.file)?;
        let runtime = self.require_journal(request.journal)?;
        if !matches!(runtime, JournalRuntime::Local(_)) {
            let closed = || {
                let text = format!("{} is no local journal that is open", request.journal);
                CommandError::refused("RJN4010", text).help("WRKJRNA says what it is")
            };
            return Err(self.closed_by_group(request.journal).unwrap_or_else(closed));
        }
        match record.journal {
            Some(journal) if journal == request.journal => {
                return Ok(describe(&request.file, &record));
            }
            Some(journal) => {
                return Err(CommandError::refused(
                    "RJN4007",
                    format!("file {} is journaled to {journal} already", request.file),
                ));
            }
            None => {}
        }
        let format = with_images(&record.format, request.images)?;
        let starts = record.starts + 1;
        let payload = format.encode();
        let create = Draft {
            object: record.id,
            format: format.version(),
            ..Draft::new(Kind::FILE_CREATE, &payload)
        };
        let start = Draft {
            object: record.id,
            format: format.version(),
            indicator: u8::from(request.images == Images::Both),
            key: Some(start_key(record.id, starts)),
            ..Draft::new(Kind::JOURNALING_START, &payload)
        };
        // The same unit lands once, however often the command is given again after a crash.
        self.deposit_answered(&runtime, &[create, start]).await?;
        let kept = FileRecord {
            format,
            journal: Some(request.journal),
            starts,
            ..record
        };
        let description = describe(&request.file, &kept);
        self.update_catalog(|catalog| {
            catalog.files.insert(request.file, kept);
            Ok(description)
        })
    }

    pub(super) async fn end_journaling(
        &self,
        request: &EndJournaling,
    ) -> Result<FileDescription, CommandError> {
        let record = self.require_file(&request.file)?;
        let Some(journal) = record.journal else {
            return Err(CommandError::refused(
                "RJN4017",
                format!("file {} is not journaled", request.file),
            ));
        };
        let runtime = self.require_journal(journal)?;
        let key = start_key(record.id, record.starts | 1 << 63);
        let end = Draft {
            object: record.id,
            format: record.format.version(),
            key: Some(key),
            ..Draft::new(Kind::JOURNALING_END, &[])
        };
        self.deposit_answered(&runtime, &[end]).await?;
        let kept = FileRecord {
            journal: None,
            ..record
        };
        let description = describe(&request.file, &kept);
        self.update_catalog(|catalog| {
            catalog.files.insert(request.file.clone(), kept);
            Ok(description)
        })
    }

    pub(super) fn list_files(&self, request: &ListFiles) -> Result<Files, CommandError> {
        if let Some(file) = &request.file {
            let record = self.require_file(file)?;
            return Ok(Files {
                files: vec![describe(file, &record)],
            });
        }
        let files = self.catalog(|catalog| {
            catalog
                .files
                .iter()
                .map(|(file, record)| describe(file, record))
                .collect()
        });
        Ok(Files { files })
    }

    fn require_file(&self, file: &FileName) -> Result<FileRecord, CommandError> {
        let help = "WRKF lists the files; CRTPF makes one";
        self.catalog(|catalog| catalog.files.get(file).cloned())
            .ok_or_else(|| CommandError::not_found("file", file).help(help))
    }

    /// Deposits a unit and waits for its answer.
    async fn deposit_answered(
        &self,
        runtime: &JournalRuntime,
        drafts: &[Draft<'_>],
    ) -> Result<(), CommandError> {
        let JournalRuntime::Local(local) = runtime else {
            return Err(CommandError::refused("RJN4010", "the journal is not open")
                .help("WRKJRNA says why"));
        };
        let ticket =
            crate::daemon::deposit::deposit_unit(&local.journal, drafts, &*self.clock).await?;
        match ticket.await {
            Answer::Landed { .. } => Ok(()),
            Answer::Refused { .. } => Err(CommandError::new(
                super::ErrorKind::Poisoned,
                "CPF7003",
                "the entry was not journaled",
            )),
            Answer::Unknown { .. } => {
                let text = "the entry may be in the journal or not; give the command again, it lands at most once";
                Err(CommandError::new(
                    super::ErrorKind::TimedOut,
                    "RJN4018",
                    text,
                ))
            }
        }
    }
}

/// The deposit key of starting or ending the journaling of a file: an object is started once per count.
fn start_key(id: ObjectId, count: u64) -> DepositKey {
    DepositKey {
        client: ClientId::from_bytes(*id.as_bytes()),
        key: count,
    }
}

fn with_images(format: &Format, images: Images) -> Result<Format, CommandError> {
    Format::new(
        format.version(),
        format.file().clone(),
        format.fields().to_vec(),
        format.key().to_vec(),
        images,
    )
    .map_err(|error| CommandError::invalid(error.to_string()))
}

fn describe(file: &FileName, record: &FileRecord) -> FileDescription {
    FileDescription {
        file: file.clone(),
        id: record.id,
        format: record.format.clone(),
        journal: record.journal,
        text: record.text.clone(),
    }
}
