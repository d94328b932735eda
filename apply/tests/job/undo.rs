//! A store beyond its journal: the job takes out what was decided behind the fork, and goes on from there, whatever kills it
//! on the way; where it cannot, it says why, and changes nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rjournal::daemon::ControlSocket;
use rjournal::daemon::command::apply::{ListJobs, StartApply};
use rjournal::daemon::command::status::ListMessages;
use rjournal::daemon::{JobProgram, JobState, Severity};
use rjournal::entry::record::Value;
use rjournal::entry::{Name, Sequence};
use rjournal::{System, SystemOptions};
use rjournal_apply::database::{Database, DatabaseOptions};
use rjournal_apply::error::{ApplyError, DatabaseError};
use rjournal_apply::job::{ApplyJob, JobOptions, Order, save_path};
use rjournal_apply::store::{
    Batch, ReplicaStore, StoreError, StoreKind, StoreOptions, StorePosition, StoreReader, open,
    read_header,
};

use crate::fork::{Fork, Wanted};
use crate::place::{LONG, account, all_rows, in_time, main_store, port, qualified, tiny_steps};

const CHILD: &str = "RJOURNAL_UNDO_TO_KILL";

fn open_main(data: &Path, kind: StoreKind) -> Box<dyn ReplicaStore> {
    open(kind, &main_store(data), &StoreOptions::default()).unwrap()
}

/// A store whose process dies with the first step it makes durable.
#[derive(Debug)]
struct Deadly {
    inner: Box<dyn ReplicaStore>,
    steps_left: AtomicUsize,
}

impl ReplicaStore for Deadly {
    fn reader(&self) -> Arc<dyn StoreReader> {
        self.inner.reader()
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if self.steps_left.fetch_sub(1, Ordering::Relaxed) == 0 {
            std::process::abort();
        }
        self.inner.apply(batch)?;
        self.inner.make_durable().map(drop)
    }

    fn atomic_up_to(&self) -> Option<usize> {
        self.inner.atomic_up_to()
    }

    fn make_durable(&mut self) -> Result<Option<StorePosition>, StoreError> {
        self.inner.make_durable()
    }

    fn durable_position(&self) -> Option<StorePosition> {
        self.inner.durable_position()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.inner.close()
    }
}

/// Runs in the process that dies.
#[test]
fn child() {
    let Ok(what) = std::env::var(CHILD) else {
        return;
    };
    let mut words = what.splitn(3, ':');
    let kind: StoreKind = words.next().unwrap().parse().unwrap();
    let steps: usize = words.next().unwrap().parse().unwrap();
    let data = PathBuf::from(words.next().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let system = System::open(SystemOptions::new(&data)).await.unwrap();
        let store = Deadly {
            inner: open_main(&data, kind),
            steps_left: AtomicUsize::new(steps),
        };
        let port = port(&system).await;
        let job = ApplyJob::start(port, Box::new(store), tiny_steps()).await;
        let job = job.unwrap();
        assert!(in_time(job.shared().wait_opened()).await);
        job.stop().await.unwrap();
        system.stop().await;
    });
}

async fn rows_of(system: &System, job: &ApplyJob) -> Vec<Vec<Value>> {
    let options = DatabaseOptions::default();
    let port = port(system).await;
    let database = Database::open(port, job.shared().clone(), options)
        .await
        .unwrap();
    all_rows(&database, &account()).await
}

/// Starts the job, and waits until the store stands at the fork.
async fn taken_back(fork: &Fork, kind: StoreKind, options: JobOptions) -> (System, ApplyJob) {
    let system = fork.open().await;
    let store = open_main(&fork.data, kind);
    let job = ApplyJob::start(port(&system).await, store, options).await;
    let job = job.unwrap();
    assert!(in_time(job.shared().wait_opened()).await);
    (system, job)
}

async fn assert_at_fork(fork: &Fork, system: &System, job: &ApplyJob) {
    assert_eq!(rows_of(system, job).await, fork.rows);
    let position = job.shared().reader.position().unwrap().unwrap();
    assert_eq!(position.applied, fork.at.sequence);
    assert_eq!(position.head, fork.at.head);
    assert_eq!(position.in_progress, None);
    assert!(position.restart < position.applied, "a cycle is open there");
    assert_eq!(job.shared().applied(), fork.at.sequence);
}

/// The other continuation comes, and the store follows it.
async fn follows_the_other(fork: &Fork, kind: StoreKind) {
    let upto = fork.feed_other();
    let (system, job) = taken_back(fork, kind, JobOptions::default()).await;
    assert!(in_time(job.shared().wait_applied(upto)).await);
    assert_eq!(rows_of(&system, &job).await, fork.other_rows);
    job.stop().await.unwrap();
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_behind_the_fork_is_taken_out_and_the_job_goes_on() {
    for kind in [StoreKind::Sled, StoreKind::Redb] {
        let wanted = Wanted {
            kind,
            ..Wanted::default()
        };
        let fork = Fork::new(wanted).await.trimmed();
        let (system, job) = taken_back(&fork, kind, JobOptions::default()).await;
        assert_at_fork(&fork, &system, &job).await;
        job.stop().await.unwrap();
        system.stop().await;
        follows_the_other(&fork, kind).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_any_step_changes_nothing_in_the_end() {
    for kind in [StoreKind::Sled, StoreKind::Redb] {
        let wanted = Wanted {
            kind,
            rows: 90,
            ..Wanted::default()
        };
        let fork = Fork::new(wanted).await.trimmed();
        let mut kills = 0;
        for steps in [0, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] {
            let what = format!("{kind}:{steps}:{}", fork.data.display());
            let status = tokio::task::spawn_blocking(move || {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "undo::child", "--test-threads=1"])
                    .env(CHILD, what)
                    .output()
                    .unwrap()
                    .status
            });
            if status.await.unwrap().success() {
                break;
            }
            kills += 1;
            let mark = open_main(&fork.data, kind).reader().position().unwrap();
            let mark = mark.unwrap().in_progress;
            assert!(mark.is_some_and(|mark| mark.is_undo()) || kills <= 2 || mark.is_none());
        }
        assert!(kills > 3, "{kills}");
        let (system, job) = taken_back(&fork, kind, tiny_steps()).await;
        assert_at_fork(&fork, &system, &job).await;
        job.stop().await.unwrap();
        system.stop().await;
        follows_the_other(&fork, kind).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_archive_the_store_stays_ahead_of_its_journal() {
    let fork = Fork::new(Wanted::default()).await;
    let manifest = fork.archive().with_extension("json");
    std::fs::remove_file(manifest).unwrap();
    std::fs::remove_file(fork.archive()).unwrap();
    let system = fork.open().await;
    let store = open_main(&fork.data, StoreKind::Sled);
    let started = ApplyJob::start(port(&system).await, store, JobOptions::default()).await;
    assert!(
        matches!(started, Err(ApplyError::Ahead { .. })),
        "{started:?}"
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_archive_is_named_and_nothing_is_taken_out() {
    let fork = Fork::new(Wanted::default()).await;
    let mut bytes = std::fs::read(fork.archive()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(fork.archive(), bytes).unwrap();
    let system = fork.open().await;
    let store = open_main(&fork.data, StoreKind::Sled);
    let stood = store.reader().position().unwrap();
    let started = ApplyJob::start(port(&system).await, store, JobOptions::default()).await;
    let error = match started {
        Ok(mut job) => in_time(job.ended()).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(
        matches!(error, ApplyError::Archive { archive: 1, .. }),
        "{error}"
    );
    assert!(!error.is_transient());
    assert!(
        error.to_string().contains("orphan000001.entries"),
        "{error}"
    );
    let store = open_main(&fork.data, StoreKind::Sled);
    assert_eq!(store.reader().position().unwrap(), stood);
    system.stop().await;
}

/// Nothing may be read there yet, so nothing is taken out yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_that_is_not_confirmed_yet_is_waited_for() {
    let wanted = Wanted {
        confirmed: false,
        ..Wanted::default()
    };
    let fork = Fork::new(wanted).await.trimmed();
    let system = fork.open().await;
    let store = open_main(&fork.data, StoreKind::Sled);
    let job = ApplyJob::start(port(&system).await, store, JobOptions::default()).await;
    let job = job.unwrap();
    in_time(job.shared().wait_looked()).await;
    let note = job.shared().status().note.unwrap();
    assert!(note.contains("confirmed"), "{note}");
    assert!(job.shared().facts().is_none());
    job.stop().await.unwrap();
    system.stop().await;
    follows_the_other(&fork, StoreKind::Sled).await;
}

/// Between two steps reads would see half of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_told_to_wait_while_it_is_taken_out() {
    let fork = Fork::new(Wanted::default()).await;
    let what = format!("sled:2:{}", fork.data.display());
    let status = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "undo::child", "--test-threads=1"])
            .env(CHILD, what)
            .output()
            .unwrap()
            .status
    });
    assert!(!status.await.unwrap().success());
    let system = fork.open().await;
    let store = open_main(&fork.data, StoreKind::Sled);
    let position = store.reader().position().unwrap().unwrap();
    assert!(position.in_progress.unwrap().is_undo());
    // Held before it begins: as long as an operator likes.
    let port = port(&system).await;
    let job = ApplyJob::start_when_open(port.clone(), store, tiny_steps()).unwrap();
    assert_eq!(job.shared().applied(), fork.at.sequence);
    let (done, _held) = tokio::sync::oneshot::channel();
    let held = job.shared().order(Order::Hold(done)).await;
    assert!(held);
    let options = DatabaseOptions::default();
    let database = Database::open(port, job.shared().clone(), options).await;
    let database = database.unwrap();
    let file = database.file(&account()).await.unwrap();
    match database.scan(&file, None, 10, 1000) {
        Err(DatabaseError::TakenBack { fork: at }) => assert_eq!(at, fork.at.sequence),
        // The order may come when it is over already.
        Ok(_) => assert_eq!(job.shared().mark(), None),
        Err(error) => panic!("{error}"),
    }
    let (done, _released) = tokio::sync::oneshot::channel();
    job.shared().order(Order::Release(done)).await;
    assert!(in_time(job.shared().wait_opened()).await);
    assert_at_fork(&fork, &system, &job).await;
    job.stop().await.unwrap();
    system.stop().await;
}

/// As a process under its daemon: what is told, what receivers are kept for, and the save that covers nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_under_a_daemon_tells_what_it_took_out_and_makes_another_save() {
    let wanted = Wanted {
        saved: true,
        ..Wanted::default()
    };
    let fork = Fork::new(wanted).await;
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
    let _socket = ControlSocket::listen(&system).unwrap();
    let store: Name = "MAIN".parse().unwrap();
    let start = StartApply {
        store,
        journal: Some(qualified("PRDLIB/JRN")),
        kind: Some("sled".to_owned()),
        skip: None,
    };
    system.run(start).await.unwrap();
    let own = save_path(&fork.data, store);
    assert!(read_header(&own).unwrap().position.applied > fork.at.sequence);
    let mut last = None;
    let told = tokio::time::timeout(LONG, async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            looks.tick().await;
            let job = system.run(ListJobs {}).await.unwrap().jobs.remove(0);
            let saved =
                read_header(&own).is_ok_and(|info| info.position.applied == fork.at.sequence);
            if job.state == JobState::Running && saved && job.saved > Sequence::NONE {
                return job;
            }
            last = Some(job);
        }
    })
    .await;
    let job = told.unwrap_or_else(|_| panic!("{last:?}"));
    assert_eq!(job.applied, fork.at.sequence);
    assert!(job.saved < fork.at.sequence, "a cycle is open at the fork");
    let list = ListMessages {
        after: 0,
        severity: Severity::Info,
        count: 100,
    };
    let messages = system.run(list).await.unwrap().messages;
    let told = |id: &str| messages.iter().find(|message| message.id == id).unwrap();
    assert!(
        told("RJN5013")
            .text
            .contains("42 transactions with 56 changes")
    );
    let done = told("RJN5014");
    assert_eq!(done.severity, Severity::Alarm);
    assert!(
        done.text.contains("orphan archive 1 lists them"),
        "{}",
        done.text
    );
    system.stop().await;
}
