//! Room `daemon`: files: defined by CRTPF, tied to a journal by STRJRNPF, which puts the definition into the journal
//! (`D CT`, `F JM`), so that every copy knows it. The rows are not here: they are in the journal, and in the stores made
//! from it.

use serde::{Deserialize, Serialize};

use super::{CommandError, Done};
use crate::daemon::catalog::{FileRecord, Library};
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

/// A file as a store of the journal's recovery group has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredDefinition {
    /// Its identity.
    pub id: ObjectId,
    /// Its format, with its name.
    pub format: Format,
    /// Whether it is journaled.
    pub journaled: bool,
}

/// From the database of a system that is primary: its files. A backup's catalog knows none of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdoptFiles {
    /// The journal their changes go to, open here.
    pub journal: QualifiedName,
    /// All files of the store.
    pub files: Vec<StoredDefinition>,
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

    /// The definitions of files are those of the store from now on, which its group's history says; what a catalog knew before of
    /// the same files may be of an earlier term.
    pub(super) fn adopt_files(&self, request: AdoptFiles) -> Result<Done, CommandError> {
        let AdoptFiles { journal, files } = request;
        let runtime = self.require_journal(journal)?;
        let JournalRuntime::Local(local) = &runtime else {
            let text = format!("{journal} is no local journal that is open");
            return Err(CommandError::refused("RJN4010", text).help("WRKJRNA says what it is"));
        };
        let term = local.journal.epoch().term;
        let now = self.clock.wall();
        let passed = self.update_catalog(|catalog| {
            let mut passed = Vec::new();
            for file in files {
                let name = file.format.file().clone();
                let known = catalog.files.get(&name).cloned();
                let stranger = known.as_ref().is_some_and(|known| known.id != file.id);
                if stranger && known.as_ref().is_some_and(|known| known.journal.is_some()) {
                    passed.push(name);
                    continue;
                }
                let same = known.filter(|_| !stranger);
                catalog
                    .libraries
                    .entry(name.library)
                    .or_insert_with(|| Library {
                        created_at: now,
                        text: String::new(),
                    });
                let record = FileRecord {
                    id: file.id,
                    format: file.format,
                    journal: file.journaled.then_some(journal),
                    starts: starts_of_term(term, same.as_ref()),
                    text: same.map_or_else(String::new, |same| same.text),
                };
                catalog.files.insert(name, record);
            }
            Ok(passed)
        })?;
        for name in passed {
            let text = format!(
                "{name} is another file here, journaled elsewhere: rows of the one in this journal's history cannot be reached                  with commands until ENDJRNPF and DLTF take that one away"
            );
            self.post("RJN6021", crate::daemon::Severity::Alarm, journal, text);
        }
        Ok(Done {})
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

/// How often journaling of a file was started, at least: other systems count in their own terms, and one count is never used by
/// two of them.
fn starts_of_term(term: u64, known: Option<&FileRecord>) -> u64 {
    let before = (term & (u64::MAX >> 33)) << 32;
    known.map_or(0, |known| known.starts).max(before)
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
