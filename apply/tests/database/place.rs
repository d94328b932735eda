//! A system in a temporary directory with a library, a journal and a journaled file, and the job and database of a store
//! on it. Must not know what a case is about.

#![allow(
    dead_code,
    reason = "the tests of the database and those of the job each use a part of it"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::daemon::command::file::{CreateFile, EndJournaling, StartJournaling};
use rjournal::daemon::command::journal::{AttributePatch, CreateJournal};
use rjournal::daemon::command::library::CreateLibrary;
use rjournal::daemon::{JobProgram, SystemJournal};
use rjournal::entry::record::{Images, Value};
use rjournal::entry::{FileName, Name, QualifiedName, SystemName};
use rjournal::{CommandError, Config, System, SystemOptions};
use rjournal_apply::database::{Database, DatabaseOptions, Write};
use rjournal_apply::job::{ApplyJob, JobOptions, Port, store_path};
use rjournal_apply::machine::Bounds;
use rjournal_apply::store::{StoreKind, StoreOptions, open};
use tempfile::TempDir;

/// Long enough for whatever is waited for, on a busy machine too; what is late by so much never comes.
pub(crate) const LONG: Duration = Duration::from_mins(2);
/// How long a lock is waited for where the case is that it does not come.
pub(crate) const SHORT: Duration = Duration::from_millis(60);

pub(crate) fn qualified(text: &str) -> QualifiedName {
    text.parse().unwrap()
}

pub(crate) fn file_name(text: &str) -> FileName {
    text.parse().unwrap()
}

/// The journaled file of all places: ID BIGINT is its key, then NAME VARCHAR(20), AMOUNT INTEGER.
pub(crate) fn account() -> FileName {
    file_name("PRDLIB/ACCOUNT")
}

/// A row of it.
pub(crate) fn row(id: i64, name: &str, amount: i32) -> Vec<Value> {
    vec![
        Value::BigInt(id),
        Value::Text(name.to_owned()),
        Value::Integer(amount),
    ]
}

pub(crate) fn key(id: i64) -> Vec<Value> {
    vec![Value::BigInt(id)]
}

pub(crate) fn insert(id: i64, name: &str, amount: i32) -> Write {
    Write::Insert {
        file: account(),
        row: row(id, name, amount),
    }
}

pub(crate) fn update(id: i64, name: &str, amount: i32) -> Write {
    Write::Update {
        file: account(),
        row: row(id, name, amount),
    }
}

pub(crate) fn delete(id: i64) -> Write {
    Write::Delete {
        file: account(),
        key: key(id),
    }
}

/// What a file holds, as values.
pub(crate) async fn all_rows(database: &Database, name: &FileName) -> Vec<Vec<Value>> {
    let file = database.file(name).await.unwrap();
    let rows = database.scan(&file, None, usize::MAX, usize::MAX).unwrap();
    rows.iter()
        .map(|row| file.decode(&row.row).unwrap())
        .collect()
}

/// Comes back with what comes, and fails the case when nothing does.
pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what)
        .await
        .expect("it comes in time")
}

/// A system and where it lives.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) system: System,
}

impl Place {
    /// A new system with PRDLIB/JRN and PRDLIB/ACCOUNT journaled to it.
    pub(crate) async fn new() -> Self {
        Self::with_jobs(None).await
    }

    /// One that runs its jobs with a program.
    pub(crate) async fn with_jobs(job_program: Option<JobProgram>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("PRD");
        make(&data);
        let options = SystemOptions {
            job_program,
            ..SystemOptions::new(&data)
        };
        let system = System::open(options).await.unwrap();
        furnish(&system).await;
        Self { dir, system }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("PRD")
    }

    pub(crate) fn journal(&self) -> SystemJournal {
        self.system.journal(qualified("PRDLIB/JRN")).unwrap()
    }

    pub(crate) async fn port(&self) -> Port {
        port(&self.system).await
    }

    /// The job of store MAIN, of the kind sled.
    pub(crate) async fn job(&self) -> ApplyJob {
        self.job_with(StoreKind::Sled, JobOptions::default()).await
    }

    pub(crate) async fn job_with(&self, kind: StoreKind, options: JobOptions) -> ApplyJob {
        start_job(&self.system, &self.data(), kind, options).await
    }

    /// The database of a job, with little patience for locks.
    pub(crate) async fn database(&self, job: &ApplyJob) -> Database {
        self.patient_database(job, SHORT).await
    }

    pub(crate) async fn patient_database(
        &self,
        job: &ApplyJob,
        lock_timeout: Duration,
    ) -> Database {
        let options = DatabaseOptions {
            lock_timeout,
            ..DatabaseOptions::default()
        };
        Database::open(self.port().await, job.shared().clone(), options)
            .await
            .unwrap()
    }

    /// Stops the system and opens it again.
    pub(crate) async fn restart(self) -> Self {
        self.system.stop().await;
        let Self { dir, system } = self;
        drop(system);
        let system = System::open(SystemOptions::new(dir.path().join("PRD")))
            .await
            .unwrap();
        Self { dir, system }
    }
}

/// Makes a system in a directory.
pub(crate) fn make(data: &Path) {
    System::create(data, &Config::new(SystemName::new("PRD").unwrap(), None)).unwrap();
}

/// PRDLIB, PRDLIB/JRN and PRDLIB/ACCOUNT.
pub(crate) async fn furnish(system: &System) {
    let library = CreateLibrary {
        library: Name::new("PRDLIB").unwrap(),
        text: String::new(),
    };
    system.run(library).await.unwrap();
    system
        .run(CreateJournal {
            journal: qualified("PRDLIB/JRN"),
            receiver: None,
            attributes: AttributePatch::default(),
        })
        .await
        .unwrap();
    let fields = ["ID BIGINT", "NAME VARCHAR(20) NOT NULL", "AMOUNT INTEGER"];
    create_file(system, &account(), &fields, &["ID"])
        .await
        .unwrap();
    start_journaling(system, &account()).await.unwrap();
}

pub(crate) async fn create_file(
    system: &System,
    file: &FileName,
    fields: &[&str],
    key: &[&str],
) -> Result<(), CommandError> {
    system
        .run(CreateFile {
            file: file.clone(),
            fields: fields.iter().map(|field| field.parse().unwrap()).collect(),
            key: key.iter().map(|name| name.parse().unwrap()).collect(),
            text: String::new(),
        })
        .await
        .map(drop)
}

pub(crate) async fn start_journaling(system: &System, file: &FileName) -> Result<(), CommandError> {
    journal_images(system, file, Images::Both).await
}

pub(crate) async fn journal_images(
    system: &System,
    file: &FileName,
    images: Images,
) -> Result<(), CommandError> {
    system
        .run(StartJournaling {
            file: file.clone(),
            journal: qualified("PRDLIB/JRN"),
            images,
        })
        .await
        .map(drop)
}

pub(crate) async fn end_journaling(system: &System, file: &FileName) -> Result<(), CommandError> {
    system
        .run(EndJournaling { file: file.clone() })
        .await
        .map(drop)
}

/// The embedded port to PRDLIB/JRN, once it is open.
pub(crate) async fn port(system: &System) -> Port {
    let journal = system
        .journal_when_open(qualified("PRDLIB/JRN"), LONG)
        .await
        .unwrap();
    Port::Embedded {
        system: system.clone(),
        journal,
    }
}

/// Where store MAIN stands.
pub(crate) fn main_store(data: &Path) -> PathBuf {
    std::fs::create_dir_all(data.join("stores")).unwrap();
    store_path(data, Name::new("MAIN").unwrap())
}

/// Opens store MAIN and starts its job.
pub(crate) async fn start_job(
    system: &System,
    data: &Path,
    kind: StoreKind,
    options: JobOptions,
) -> ApplyJob {
    let port = port(system).await;
    let path = main_store(data);
    let store = tokio::task::spawn_blocking(move || open(kind, &path, &StoreOptions::default()))
        .await
        .unwrap()
        .unwrap();
    ApplyJob::start(port, store, options).await.unwrap()
}

/// A job whose steps are tiny.
pub(crate) fn tiny_steps() -> JobOptions {
    JobOptions {
        bounds: Bounds {
            buffered_bytes_max: 4_000,
            step_bytes_max: 3_000,
            step_bytes: 1_000,
        },
        ..JobOptions::default()
    }
}
