//! A store beyond its journal from which nothing can be taken out, as the journal has no images before: its job sets it aside,
//! and makes it anew from what is here - its save, or the journal - without asking anybody.

use rjournal::daemon::command::apply::{JobDescription, ListJobs, StartApply};
use rjournal::daemon::command::status::ListMessages;
use rjournal::daemon::{ControlSocket, JobProgram, JobState, Severity};
use rjournal::entry::Name;
use rjournal::entry::record::{Images, Value, decode_row};
use rjournal::{System, SystemOptions};
use rjournal_apply::job::save_path;
use rjournal_apply::serve::DatabaseClient;

use crate::fork::{Fork, Wanted};
use crate::place::{LONG, account, main_store, qualified};

fn main_name() -> Name {
    "MAIN".parse().unwrap()
}

/// A system whose jobs run as processes, with the job of the store.
async fn started(fork: &Fork) -> (System, ControlSocket) {
    let program = JobProgram {
        program: std::env::current_exe().unwrap(),
        arguments: ["--exact", "process::child", "--nocapture", "--"]
            .map(str::to_owned)
            .to_vec(),
    };
    let options = SystemOptions {
        job_program: Some(program),
        ..SystemOptions::new(&fork.data)
    };
    let system = System::open(options).await.unwrap();
    let socket = ControlSocket::listen(&system).unwrap();
    let start = StartApply {
        store: main_name(),
        journal: Some(qualified("PRDLIB/JRN")),
        kind: Some("sled".to_owned()),
        skip: None,
    };
    system.run(start).await.unwrap();
    (system, socket)
}

async fn until(system: &System, wanted: impl Fn(&JobDescription) -> bool) -> JobDescription {
    let mut last = None;
    let found = tokio::time::timeout(LONG, async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            looks.tick().await;
            let job = system.run(ListJobs {}).await.unwrap().jobs.remove(0);
            if wanted(&job) {
                return job;
            }
            last = Some(job);
        }
    })
    .await;
    found.unwrap_or_else(|_| panic!("it stays as it is: {last:?}"))
}

async fn messages(system: &System) -> Vec<(String, String)> {
    let list = ListMessages {
        after: 0,
        severity: Severity::Info,
        count: 100,
    };
    let list = system.run(list).await.unwrap().messages;
    list.into_iter()
        .map(|message| (message.id, message.text))
        .collect()
}

/// Waits until the store stands at the fork, and gives its rows.
async fn rows_at_fork(system: &System, fork: &Fork) -> Vec<Vec<Value>> {
    let there = until(system, |job| {
        job.state == JobState::Running && job.applied == fork.at.sequence
    });
    there.await;
    let mut client = DatabaseClient::connect(&fork.data, main_name())
        .await
        .unwrap();
    let handle = client.file(&account()).await.unwrap();
    let page = client.scan(&account(), None, 1000).await.unwrap();
    let rows = page.rows.iter();
    rows.map(|row| decode_row(handle.format(), &row.row).unwrap())
        .collect()
}

async fn is_made_anew(wanted: Wanted, from: &str) -> Fork {
    let fork = Fork::new(Wanted {
        images: Images::After,
        ..wanted
    })
    .await;
    let (system, socket) = started(&fork).await;
    assert_eq!(rows_at_fork(&system, &fork).await, fork.rows);
    let told = messages(&system).await;
    let anew = told.iter().filter(|(id, _)| id == "RJN5015");
    let anew: Vec<&String> = anew.map(|(_, text)| text).collect();
    assert!(
        matches!(anew[..], [text] if text.contains("images *AFTER") && text.ends_with(from)),
        "{told:?}"
    );
    let aside = main_store(&fork.data).with_file_name("MAIN.doubtful-1");
    assert!(aside.exists(), "nothing is deleted");
    system.stop().await;
    drop(socket);
    fork
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_taken_back_is_made_anew_from_the_journal() {
    is_made_anew(Wanted::default(), "made anew from the journal").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_made_before_the_fork_is_begun_with() {
    let wanted = Wanted {
        saved_before: true,
        ..Wanted::default()
    };
    is_made_anew(wanted, "made anew from its last save and the journal").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_made_behind_the_fork_is_set_aside_with_the_store() {
    let wanted = Wanted {
        saved: true,
        ..Wanted::default()
    };
    let fork = is_made_anew(wanted, "made anew from the journal").await;
    let own = save_path(&fork.data, main_name());
    assert!(own.with_extension("save-abandoned").exists());
}
