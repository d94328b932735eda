//! A system and its database inside this program: no daemon, no socket. The commands are the same.
//!
//! `cargo run -p rjournal-examples --bin embedded -- /tmp/embedded`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::daemon::command::file::{CreateFile, StartJournaling};
use rjournal::daemon::command::journal::{AttributePatch, CreateJournal};
use rjournal::daemon::command::library::CreateLibrary;
use rjournal::entry::record::{Images, Value};
use rjournal::entry::{FileName, QualifiedName, SystemName};
use rjournal::{Config, System, SystemOptions};
use rjournal_apply::database::{Database, DatabaseOptions, Outcome, Write};
use rjournal_apply::job::{ApplyJob, JobOptions, Port};
use rjournal_apply::store::{StoreKind, StoreOptions, open};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1);
    let dir = PathBuf::from(dir.ok_or("name a directory to live in")?);
    let data = dir.join("system");
    let journal: QualifiedName = "PRDLIB/JRN".parse()?;
    let accounts: FileName = "PRDLIB/ACCOUNTS".parse()?;

    // The first time the system is made, with a journal and a file whose changes go to it.
    let first = !data.exists();
    if first {
        System::create(&data, &Config::new(SystemName::new("PRD")?, None))?;
    }
    let system = System::open(SystemOptions::new(&data)).await?;
    if first {
        set_up(&system, journal, &accounts).await?;
    }

    // A database is a store, and a job that applies the journal to it.
    let (database, job) = open_database(&system, journal, &dir.join("store")).await?;

    // Every change is journaled first. The commit comes back when it is on disk and in the store.
    let mut transaction = database.begin(None).await?;
    for (name, change) in [("Ann", -5), ("Bob", 5)] {
        let key = [Value::Text(name.to_owned())];
        let amount = match transaction.get_for_update(&accounts, &key).await? {
            Some(row) => match row.get(1) {
                Some(Value::BigInt(amount)) => *amount,
                _ => 0,
            },
            None => 100,
        };
        let row = vec![Value::Text(name.to_owned()), Value::BigInt(amount + change)];
        let file = accounts.clone();
        transaction.write(Write::Put { file, row }).await?;
    }
    match transaction.commit().await? {
        Outcome::Landed { sequence, class } => println!("entry {sequence}, answered {class:?}"),
        other => println!("{other:?}"),
    }
    for name in ["Ann", "Bob"] {
        let row = database
            .get(&accounts, &[Value::Text(name.to_owned())])
            .await?;
        println!("{name}: {row:?}");
    }

    job.stop().await?;
    system.stop().await;
    Ok(())
}

async fn set_up(
    system: &System,
    journal: QualifiedName,
    file: &FileName,
) -> Result<(), Box<dyn Error>> {
    let library = CreateLibrary {
        library: journal.library,
        text: String::new(),
    };
    system.run(library).await?;
    let create = CreateJournal {
        journal,
        receiver: None,
        attributes: AttributePatch::default(),
    };
    system.run(create).await?;
    let create = CreateFile {
        file: file.clone(),
        fields: vec!["NAME VARCHAR(40)".parse()?, "AMOUNT BIGINT".parse()?],
        key: vec!["NAME".parse()?],
        text: String::new(),
    };
    system.run(create).await?;
    let start = StartJournaling {
        file: file.clone(),
        journal,
        images: Images::default(),
    };
    system.run(start).await?;
    Ok(())
}

async fn open_database(
    system: &System,
    journal: QualifiedName,
    store: &Path,
) -> Result<(Database, ApplyJob), Box<dyn Error>> {
    let open_journal = system
        .journal_when_open(journal, Duration::from_secs(30))
        .await?;
    let port = Port::Embedded {
        system: system.clone(),
        journal: open_journal,
    };
    let store = open(StoreKind::Sled, store, &StoreOptions::default())?;
    let job = ApplyJob::start(port.clone(), store, JobOptions::default()).await?;
    let shared = job.shared().clone();
    let database = Database::open(port, shared, DatabaseOptions::default()).await?;
    Ok((database, job))
}
