//! Room `daemon`: apply jobs as processes: started, watched, started again when they fall, ended in order. A job's standard
//! input is a pipe held here: when this process dies, however it dies, the job reads its end and stops too. Must not know
//! what a job does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::catalog::JobRecord;
use crate::entry::Name;

/// Exit code of a job that must not be started again by itself: a poison entry, a conflict.
pub const EXIT_STOPPED: i32 = 20;
/// First wait before a job that fell is started again.
const WAIT_MIN: Duration = Duration::from_millis(500);
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A job that ran this long did not fall at once.
const STEADY: Duration = Duration::from_mins(1);
/// How long a job may take to end in order.
const END_MAX: Duration = Duration::from_secs(20);

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Its process runs.
    #[serde(rename = "*RUNNING")]
    Running,
    /// It fell and will be started again.
    #[serde(rename = "*WAITING")]
    Waiting,
    /// It is not to run.
    #[serde(rename = "*ENDED")]
    Ended,
    /// It stopped for good; an operator must look.
    #[serde(rename = "*STOPPED")]
    Stopped,
}

impl JobState {
    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "*RUNNING",
            Self::Waiting => "*WAITING",
            Self::Ended => "*ENDED",
            Self::Stopped => "*STOPPED",
        }
    }
}

/// The program jobs run, and where.
#[derive(Debug, Clone)]
pub struct JobProgram {
    /// The program.
    pub program: PathBuf,
    /// Arguments before those of the job.
    pub arguments: Vec<String>,
}

#[derive(Debug)]
struct Watched {
    state: JobState,
    pid: Option<u32>,
    note: Option<String>,
}

#[derive(Debug)]
struct Job {
    watched: Arc<Mutex<Watched>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

/// All jobs of a system.
#[derive(Debug)]
pub(crate) struct Jobs {
    runtime: tokio::runtime::Handle,
    program: Option<JobProgram>,
    data: PathBuf,
    by_store: Mutex<BTreeMap<Name, Job>>,
}

impl Jobs {
    pub(super) const fn new(
        runtime: tokio::runtime::Handle,
        program: Option<JobProgram>,
        data: PathBuf,
    ) -> Self {
        Self {
            runtime,
            program,
            data,
            by_store: Mutex::new(BTreeMap::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Job>> {
        self.by_store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the job of a store, unless it runs.
    pub(super) fn start(&self, store: Name, _record: &JobRecord) -> Result<(), String> {
        let Some(program) = self.program.clone() else {
            return Err("this system is embedded in a program; run the job there".to_owned());
        };
        let mut jobs = self.lock();
        if jobs.get(&store).is_some_and(|job| !job.task.is_finished()) {
            return Ok(());
        }
        let watched = Arc::new(Mutex::new(Watched {
            state: JobState::Waiting,
            pid: None,
            note: None,
        }));
        let (stop, stopped) = oneshot::channel();
        let task = self.runtime.spawn(watch(
            program,
            self.data.clone(),
            store,
            Arc::clone(&watched),
            stopped,
        ));
        jobs.insert(
            store,
            Job {
                watched,
                stop: Some(stop),
                task,
            },
        );
        Ok(())
    }

    /// Ends the job of a store in order, and waits for it.
    pub(super) async fn stop(&self, store: Name) {
        let job = self.lock().remove(&store);
        if let Some(mut job) = job {
            if let Some(stop) = job.stop.take() {
                let _ended = stop.send(());
            }
            drop(job.task.await);
        }
    }

    /// Ends all jobs in order.
    pub(super) async fn stop_all(&self) {
        let stores: Vec<Name> = self.lock().keys().copied().collect();
        for job in self.lock().values_mut() {
            if let Some(stop) = job.stop.take() {
                let _ended = stop.send(());
            }
        }
        for store in stores {
            self.stop(store).await;
        }
    }

    /// What the job of a store does, and its process.
    pub(super) fn state(&self, store: Name) -> (JobState, Option<u32>) {
        self.lock()
            .get(&store)
            .map_or((JobState::Ended, None), |job| {
                let watched = lock(&job.watched);
                (watched.state, watched.pid)
            })
    }

    /// Why it fell last.
    pub(super) fn note(&self, store: Name) -> Option<String> {
        self.lock()
            .get(&store)
            .and_then(|job| lock(&job.watched).note.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps one job running until it is told to stop, or the job says that it must not run.
async fn watch(
    program: JobProgram,
    data: PathBuf,
    store: Name,
    watched: Arc<Mutex<Watched>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut wait = WAIT_MIN;
    loop {
        let began = tokio::time::Instant::now();
        let note = match spawn(&program, &data, store) {
            Ok(child) => {
                {
                    let mut watched = lock(&watched);
                    watched.state = JobState::Running;
                    watched.pid = child.id();
                }
                match run(child, &mut stopped).await {
                    Ended::AsTold => {
                        *lock(&watched) = Watched {
                            state: JobState::Ended,
                            pid: None,
                            note: None,
                        };
                        return;
                    }
                    Ended::Stopped => {
                        *lock(&watched) = Watched {
                            state: JobState::Stopped,
                            pid: None,
                            note: None,
                        };
                        return;
                    }
                    Ended::Fell(note) => note,
                }
            }
            Err(error) => format!("its process cannot be started: {error}"),
        };
        tracing::warn!(%store, note, "an apply job ended; it is started again");
        *lock(&watched) = Watched {
            state: JobState::Waiting,
            pid: None,
            note: Some(note),
        };
        wait = if began.elapsed() >= STEADY {
            WAIT_MIN
        } else {
            (wait * 2).min(WAIT_MAX)
        };
        tokio::select! {
            _ = &mut stopped => {
                *lock(&watched) = Watched { state: JobState::Ended, pid: None, note: None };
                return;
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn spawn(program: &JobProgram, data: &PathBuf, store: Name) -> std::io::Result<Child> {
    Command::new(&program.program)
        .args(&program.arguments)
        .arg("--data")
        .arg(data)
        .arg("--store")
        .arg(store.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

enum Ended {
    AsTold,
    Stopped,
    Fell(String),
}

async fn run(mut child: Child, stopped: &mut oneshot::Receiver<()>) -> Ended {
    // Taken out first: waiting for a child closes an input that is still in it, and the job would end at once.
    let input = child.stdin.take();
    tokio::select! {
        status = child.wait() => match status {
            Ok(status) if status.code() == Some(EXIT_STOPPED) => Ended::Stopped,
            Ok(status) => Ended::Fell(format!("it ended with {status}")),
            Err(error) => Ended::Fell(format!("it cannot be watched: {error}")),
        },
        _ = stopped => {
            // The end of its input tells it to finish what it is doing.
            drop(input);
            if tokio::time::timeout(END_MAX, child.wait()).await.is_err() {
                drop(child.kill().await);
            }
            Ended::AsTold
        }
    }
}
