//! A recovery group, and on each member a store with its job and database. Must not know what a case is about.

use std::time::Duration;

use rjournal::daemon::command::file::{CreateFile, StartJournaling};
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::entry::record::{Images, Value};
use rjournal::entry::{FileName, Name, QualifiedName};
use rjournal_apply::database::{Database, DatabaseOptions, Outcome, Write};
use rjournal_apply::error::DatabaseError;
use rjournal_apply::job::{ApplyJob, JobOptions, Port, store_path};
use rjournal_apply::store::{StoreKind, StoreOptions, open};
use rjournal_tests::groups::{Group, own};
use rjournal_tests::systems::{name, until};

/// What is late by so much never comes.
pub(crate) const LONG: Duration = Duration::from_mins(2);

pub(crate) fn account() -> FileName {
    "PRDLIB/ACCOUNT".parse().unwrap()
}

pub(crate) fn row(id: i64, amount: i32) -> Vec<Value> {
    vec![Value::BigInt(id), Value::Integer(amount)]
}

pub(crate) fn insert(id: i64, amount: i32) -> Write {
    Write::Insert {
        file: account(),
        row: row(id, amount),
    }
}

pub(crate) fn update(id: i64, amount: i32) -> Write {
    Write::Update {
        file: account(),
        row: row(id, amount),
    }
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what)
        .await
        .expect("it comes in time")
}

/// The forward journal as a member knows it: the one stores are started on.
pub(crate) fn forward(member: &str) -> QualifiedName {
    if member == "PRD" {
        own("PRD")
    } else {
        name(&format!("{member}LIB/JRN"))
    }
}

/// A store of a member, with its job and database.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) job: ApplyJob,
    pub(crate) database: Database,
}

impl Store {
    /// Starts the job of a member's store, new or not.
    pub(crate) async fn start(group: &Group, member: &str) -> Self {
        Self::start_with(group, member, JobOptions::default()).await
    }

    pub(crate) async fn start_with(group: &Group, member: &str, options: JobOptions) -> Self {
        let system = group.system(member).clone();
        let path = store_path(system.data(), Name::new("MAIN").unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let opening = move || open(StoreKind::Sled, &path, &StoreOptions::default()).unwrap();
        let store = tokio::task::spawn_blocking(opening).await.unwrap();
        let journal = system
            .journal_when_open(forward(member), LONG)
            .await
            .unwrap();
        let port = Port::Embedded { system, journal };
        let job = ApplyJob::start_when_open(port.clone(), store, options).unwrap();
        let database_options = DatabaseOptions {
            lock_timeout: Duration::from_millis(200),
            ..DatabaseOptions::default()
        };
        let database = Database::open(port, job.shared().clone(), database_options)
            .await
            .unwrap();
        let keeper = database.clone();
        tokio::spawn(async move { keeper.keep_attached().await });
        Self { job, database }
    }

    /// Ends the job in order; the store can be opened again.
    pub(crate) async fn stop(self) {
        in_time(self.job.stop()).await.unwrap();
    }

    pub(crate) async fn writable(&self) {
        until(async || self.database.is_writable()).await;
    }

    /// Makes a change, trying again while the system is about to be primary.
    pub(crate) async fn write(&self, write: Write) -> Outcome {
        let tries = async {
            loop {
                match self.database.write(write.clone(), None).await {
                    Ok(outcome) => return outcome,
                    Err(
                        DatabaseError::NotPrimary
                        | DatabaseError::NotOpen { .. }
                        | DatabaseError::Busy { .. }
                        | DatabaseError::Refused { .. },
                    ) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        in_time(tries).await
    }

    pub(crate) async fn amount(&self, id: i64) -> Option<Vec<Value>> {
        self.database
            .get(&account(), &[Value::BigInt(id)])
            .await
            .unwrap_or(None)
    }

    /// Waits until a row is there as it should be.
    pub(crate) async fn has(&self, id: i64, amount: i32) {
        until(async || self.amount(id).await == Some(row(id, amount))).await;
    }
}

/// Hands the role over, once the other can have it.
pub(crate) async fn switch(group: &Group, from: &str, to: &str) {
    group.deposit_sync(from, "in sync").await;
    until(async || match group.switch(from, to).await {
        Ok(_) => true,
        Err(error) if error.id == "RJN7111" => false,
        Err(error) => panic!("{error}"),
    })
    .await;
}

/// A group with file PRDLIB/ACCOUNT journaled on PRD.
pub(crate) async fn group(members: &[&str]) -> Group {
    let group = Group::new(members, AttributePatch::default()).await;
    let prd = group.system("PRD");
    prd.run(CreateFile {
        file: account(),
        fields: vec![
            "ID BIGINT".parse().unwrap(),
            "AMOUNT INTEGER".parse().unwrap(),
        ],
        key: vec!["ID".parse().unwrap()],
        text: "of the shop".to_owned(),
    })
    .await
    .unwrap();
    prd.run(StartJournaling {
        file: account(),
        journal: own("PRD"),
        images: Images::Both,
    })
    .await
    .unwrap();
    group
}
