//! The job as a process of its own under a daemon: started, killed, started again, stopped for good, its store set aside
//! and made again from its save.

use std::path::PathBuf;

use rjournal::daemon::command::apply::{EndApply, JobDescription, ListJobs, SkipEntry, StartApply};
use rjournal::daemon::command::status::ListMessages;
use rjournal::daemon::{ControlSocket, JobProgram, JobState, Severity};
use rjournal::entry::{Draft, Kind, Name, Sequence};
use rjournal_apply::job::save_path;
use rjournal_apply::process::{JobArguments, run_job};
use rjournal_apply::serve::{DatabaseClient, WriteKind};

use crate::place::{LONG, Place, account, key, main_store, qualified, row};

fn main_name() -> Name {
    Name::new("MAIN").unwrap()
}

/// Runs as the job's process: the daemon gives `--data DIR --store NAME`.
#[test]
fn child() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let (Some(data), Some(store)) = (value("--data"), value("--store")) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(run_job(JobArguments {
        data: PathBuf::from(data),
        store: Name::new(&store).unwrap(),
    }));
    std::process::exit(code);
}

/// A system with its control socket, whose jobs run as processes.
struct Daemon {
    place: Place,
    _socket: ControlSocket,
}

impl Daemon {
    async fn new() -> Self {
        let program = JobProgram {
            program: std::env::current_exe().unwrap(),
            arguments: ["--exact", "process::child", "--nocapture", "--"]
                .map(str::to_owned)
                .to_vec(),
        };
        let place = Place::with_jobs(Some(program)).await;
        let socket = ControlSocket::listen(&place.system).unwrap();
        Self {
            place,
            _socket: socket,
        }
    }

    async fn start(&self, skip: Option<SkipEntry>) -> Result<(), rjournal::CommandError> {
        let start = StartApply {
            store: main_name(),
            journal: Some(qualified("PRDLIB/JRN")),
            kind: Some("redb".to_owned()),
            skip,
        };
        self.place.system.run(start).await.map(drop)
    }

    async fn end(&self) {
        self.end_and(false).await;
    }

    async fn end_and(&self, remove: bool) {
        let end = EndApply {
            store: main_name(),
            remove,
        };
        self.place.system.run(end).await.unwrap();
    }

    async fn job(&self) -> JobDescription {
        let jobs = self.place.system.run(ListJobs {}).await.unwrap();
        jobs.jobs.into_iter().next().unwrap()
    }

    /// Waits until the job's description is as wanted.
    async fn until(&self, wanted: impl Fn(&JobDescription) -> bool) -> JobDescription {
        let mut last = None;
        let found = tokio::time::timeout(LONG, async {
            let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
            loop {
                looks.tick().await;
                let job = self.job().await;
                if wanted(&job) {
                    return job;
                }
                last = Some(job);
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("it stays as it is: {last:?}"))
    }

    /// A client, once the job serves its store.
    async fn client(&self) -> DatabaseClient {
        let found = tokio::time::timeout(LONG, async {
            let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
            loop {
                looks.tick().await;
                if let Ok(client) = DatabaseClient::connect(&self.place.data(), main_name()).await {
                    return client;
                }
            }
        })
        .await;
        let job = self.job().await;
        found.unwrap_or_else(|_| panic!("it does not serve: {job:?}"))
    }

    async fn messages(&self) -> Vec<String> {
        let list = ListMessages {
            after: 0,
            severity: Severity::Info,
            count: 100,
        };
        let list = self.place.system.run(list).await.unwrap();
        list.messages
            .iter()
            .map(|message| format!("{message:?}"))
            .collect()
    }

    async fn stop(self) {
        self.place.system.stop().await;
    }
}

async fn insert(client: &mut DatabaseClient, id: i64) {
    let write = client
        .encode(WriteKind::Insert, &account(), &row(id, "row", 0))
        .await
        .unwrap();
    client.write(vec![write], None).await.unwrap();
}

async fn ids(client: &mut DatabaseClient) -> Vec<String> {
    let handle = client.file(&account()).await.unwrap();
    let page = client.scan(&account(), None, 1000).await.unwrap();
    page.rows
        .iter()
        .map(|row| {
            rjournal::entry::record::decode_row(handle.format(), &row.row).unwrap()[0].to_string()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_job_is_started_again_and_what_it_left_open_is_rolled_back() {
    let daemon = Daemon::new().await;
    daemon.start(None).await.unwrap();
    let mut client = daemon.client().await;
    insert(&mut client, 1).await;
    let mut transaction = client.begin(None).await.unwrap();
    transaction
        .write(WriteKind::Insert, &account(), &row(2, "open", 0))
        .await
        .unwrap();
    let pid = daemon.job().await.pid.unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
    daemon
        .until(|job| job.pid.is_some_and(|now| now != pid))
        .await;
    let mut client = daemon.client().await;
    insert(&mut client, 3).await;
    assert_eq!(ids(&mut client).await, ["1", "3"]);
    let position = client.status().await.unwrap().position.unwrap();
    assert_eq!(
        position.restart, position.applied,
        "no cycle is left open in the journal"
    );
    // What it says reaches the daemon.
    let told = daemon.until(|job| job.applied >= position.applied).await;
    assert_eq!(told.state, JobState::Running);
    daemon.end().await;
    assert_eq!(daemon.job().await.state, JobState::Ended);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_forgotten_goes_on_where_it_stood_and_says_so() {
    let daemon = Daemon::new().await;
    daemon.start(None).await.unwrap();
    let mut client = daemon.client().await;
    insert(&mut client, 1).await;
    let status = client.status().await.unwrap();
    assert_eq!(status.found, None, "it was made then");
    let stood = status.position.unwrap().applied;
    daemon.end_and(true).await;
    let jobs = daemon.place.system.run(ListJobs {}).await.unwrap();
    assert!(jobs.jobs.is_empty());
    daemon.start(None).await.unwrap();
    let mut client = daemon.client().await;
    assert_eq!(client.status().await.unwrap().found, Some(stood));
    insert(&mut client, 2).await;
    assert_eq!(ids(&mut client).await, ["1", "2"]);
    let messages = daemon.messages().await;
    let told = messages
        .iter()
        .any(|message| message.contains("RJN5010") && message.contains(&stood.to_string()));
    assert!(told, "{messages:?}");
    daemon.end().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_doubt_is_set_aside_and_made_again_from_its_save_and_the_journal() {
    let daemon = Daemon::new().await;
    daemon.start(None).await.unwrap();
    let mut client = daemon.client().await;
    for id in 1..=3 {
        insert(&mut client, id).await;
    }
    let saved = client.save(None).await.unwrap();
    let own = save_path(&daemon.place.data(), main_name());
    assert!(own.exists());
    insert(&mut client, 4).await;
    // Only the job's own save lets receivers go.
    let told = daemon
        .until(|job| job.saved >= saved.position.restart)
        .await;
    assert!(told.saved > Sequence::NONE);
    daemon.end().await;
    let store = main_store(&daemon.place.data());
    let rows = std::fs::read_dir(&store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .unwrap();
    std::fs::write(&rows, b"somebody wrote over it").unwrap();
    daemon.start(None).await.unwrap();
    let mut client = daemon.client().await;
    let upto = daemon.place.journal().readable();
    assert!(client.wait(upto, LONG).await.unwrap());
    assert_eq!(ids(&mut client).await, ["1", "2", "3", "4"]);
    assert!(store.with_file_name("MAIN.doubtful-1").exists());
    let messages = daemon.messages().await;
    assert!(
        messages
            .iter()
            .any(|text| text.contains("RJN5004") && text.contains("its last save and the journal")),
        "{messages:?}"
    );
    daemon.end().await;
    // One that is gone altogether comes back the same way, without an alarm.
    std::fs::remove_dir_all(&store).unwrap();
    daemon.start(None).await.unwrap();
    let mut client = daemon.client().await;
    assert!(client.wait(upto, LONG).await.unwrap());
    assert_eq!(ids(&mut client).await, ["1", "2", "3", "4"]);
    daemon.end().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_entry_stops_the_job_for_good_until_just_it_is_skipped() {
    let daemon = Daemon::new().await;
    daemon.start(None).await.unwrap();
    let mut client = daemon.client().await;
    insert(&mut client, 1).await;
    let file = client.file(&account()).await.unwrap().summary.id;
    let draft = Draft {
        object: file,
        format: 1,
        ..Draft::new(Kind::RECORD_PUT, b"no row")
    };
    let ticket = daemon.place.journal().deposit(&draft).await.unwrap();
    let entry = ticket.sequence();
    let job = daemon
        .until(|job| job.state == JobState::Stopped && job.pid.is_none())
        .await;
    assert!(
        job.note
            .as_ref()
            .is_some_and(|note| note.contains(&entry.to_string())),
        "{job:?}"
    );
    let skip = |sequence, reason: &str| {
        Some(SkipEntry {
            sequence,
            reason: reason.to_owned(),
        })
    };
    let other = daemon
        .start(skip(entry.next(), "another"))
        .await
        .unwrap_err();
    assert_eq!(other.id, "RJN5008");
    let without = daemon.start(skip(entry, " ")).await;
    assert!(without.is_err(), "a reason is needed");
    assert_eq!(daemon.job().await.state, JobState::Stopped);
    daemon.start(skip(entry, "it cannot be")).await.unwrap();
    let mut client = daemon.client().await;
    insert(&mut client, 2).await;
    assert_eq!(ids(&mut client).await, ["1", "2"]);
    let listed = client.files().await.unwrap();
    assert_eq!(listed.len(), 2, "what was passed over is listed");
    assert_eq!(
        client.get(&account(), &key(2)).await.unwrap(),
        Some(row(2, "row", 0))
    );
    daemon.end().await;
    daemon.stop().await;
}
