//! Room `daemon`: apply jobs as processes: started, watched, started again when they fall, ended in order. A job's standard
//! input is a pipe held here: when this process dies, however it dies, the job reads its end and stops too. Must not know
//! what a job does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::messages::Severity;
use super::system::Shared;
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
    /// Its process runs and applies nothing until an operator releases it.
    #[serde(rename = "*HELD")]
    Held,
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
            Self::Held => "*HELD",
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
    /// Why it fell last, until it ran for a while again.
    note: Option<String>,
    /// An operator holds it, for as long as its process runs.
    held: bool,
    /// Its process is ending for good, and an operator ordered a new one meanwhile.
    again: bool,
}

impl Watched {
    const fn new(state: JobState, note: Option<String>) -> Self {
        Self {
            state,
            pid: None,
            note,
            held: false,
            again: false,
        }
    }
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
    /// Whose messages tell of a job that fell.
    system: Weak<Shared>,
    /// How long a job that fell runs until nothing more is said of it.
    steady: Duration,
    by_store: Mutex<BTreeMap<Name, Job>>,
}

impl Jobs {
    pub(super) const fn new(
        runtime: tokio::runtime::Handle,
        program: Option<JobProgram>,
        data: PathBuf,
        system: Weak<Shared>,
    ) -> Self {
        Self {
            runtime,
            program,
            data,
            system,
            steady: STEADY,
            by_store: Mutex::new(BTreeMap::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Job>> {
        self.by_store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether jobs can be started here at all, and else why not.
    pub(super) fn check_program(&self) -> Result<&JobProgram, String> {
        let none = || "this system is embedded in a program; run the job there".to_owned();
        self.program.as_ref().ok_or_else(none)
    }

    /// Starts the job of a store, unless it runs. `again` says that it told why it stops for good: should its process be
    /// there still, another follows it.
    pub(super) fn start(&self, store: Name, again: bool) -> Result<(), String> {
        let program = self.check_program()?.clone();
        let mut jobs = self.lock();
        if let Some(job) = jobs.get(&store).filter(|job| !job.task.is_finished()) {
            let mut watched = lock(&job.watched);
            match watched.state {
                JobState::Running | JobState::Held | JobState::Waiting => {
                    watched.again |= again;
                    return Ok(());
                }
                // Nothing runs any more, only its task has not come to its end.
                JobState::Ended | JobState::Stopped => {}
            }
        }
        let watched = Arc::new(Mutex::new(Watched::new(JobState::Waiting, None)));
        let (stop, stopped) = oneshot::channel();
        let watcher = Watcher {
            program,
            data: self.data.clone(),
            store,
            system: Weak::clone(&self.system),
            steady: self.steady,
            watched: Arc::clone(&watched),
        };
        let task = self.runtime.spawn(watcher.watch(stopped));
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
                let state = match watched.state {
                    JobState::Running if watched.held => JobState::Held,
                    state => state,
                };
                (state, watched.pid)
            })
    }

    /// The job says that an operator holds it, or released it.
    pub(super) fn set_held(&self, store: Name, held: bool) {
        if let Some(job) = self.lock().get(&store) {
            lock(&job.watched).held = held;
        }
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

/// What watches one job.
struct Watcher {
    program: JobProgram,
    data: PathBuf,
    store: Name,
    system: Weak<Shared>,
    steady: Duration,
    watched: Arc<Mutex<Watched>>,
}

impl Watcher {
    /// Keeps the job running until it is told to stop, or says that it must not run.
    async fn watch(self, mut stopped: oneshot::Receiver<()>) {
        let mut wait = WAIT_MIN;
        loop {
            let began = tokio::time::Instant::now();
            let note = match spawn(&self.program, &self.data, self.store) {
                Ok(child) => {
                    {
                        let mut watched = lock(&self.watched);
                        watched.state = JobState::Running;
                        watched.pid = child.id();
                        watched.held = false;
                    }
                    match self.run(child, &mut stopped).await {
                        Ended::AsTold => {
                            *lock(&self.watched) = Watched::new(JobState::Ended, None);
                            return;
                        }
                        Ended::Stopped => {
                            let mut watched = lock(&self.watched);
                            let again = watched.again;
                            let state = if again {
                                JobState::Waiting
                            } else {
                                JobState::Stopped
                            };
                            *watched = Watched::new(state, None);
                            if again {
                                continue;
                            }
                            return;
                        }
                        Ended::Fell(note) => note,
                    }
                }
                Err(error) => format!("its process cannot be started: {error}"),
            };
            self.fell(&note);
            wait = if began.elapsed() >= self.steady {
                WAIT_MIN
            } else {
                (wait * 2).min(WAIT_MAX)
            };
            tokio::select! {
                _ = &mut stopped => {
                    *lock(&self.watched) = Watched::new(JobState::Ended, None);
                    return;
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn run(&self, mut child: Child, stopped: &mut oneshot::Receiver<()>) -> Ended {
        // Taken out first: waiting for a child closes an input that is still in it, and the job would end at once.
        let input = child.stdin.take();
        let mut steady = std::pin::pin!(tokio::time::sleep(self.steady));
        let mut is_steady = false;
        loop {
            tokio::select! {
                status = child.wait() => return match status {
                    Ok(status) if status.code() == Some(EXIT_STOPPED) => Ended::Stopped,
                    Ok(status) => Ended::Fell(format!("it ended with {status}")),
                    Err(error) => Ended::Fell(format!("it cannot be watched: {error}")),
                },
                _ = &mut *stopped => {
                    // The end of its input tells it to finish what it is doing.
                    drop(input);
                    if tokio::time::timeout(END_MAX, child.wait()).await.is_err() {
                        drop(child.kill().await);
                    }
                    return Ended::AsTold;
                }
                () = &mut steady, if !is_steady => {
                    is_steady = true;
                    lock(&self.watched).note = None;
                }
            }
        }
    }

    /// It fell, and is started again. Of a row of falls one message tells; the note stays until it is steady.
    fn fell(&self, note: &str) {
        let store = self.store;
        tracing::warn!(%store, note, "an apply job ended; it is started again");
        let before = std::mem::replace(
            &mut *lock(&self.watched),
            Watched::new(JobState::Waiting, Some(note.to_owned())),
        );
        if let (None, Some(system)) = (before.note, self.system.upgrade()) {
            let text = format!("the apply job fell: {note}. It is started again by itself");
            system.post_about(
                "RJN5011",
                Severity::Warning,
                &format!("store {store}"),
                text,
            );
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const MANY: Duration = Duration::from_secs(30);

    /// A job of shell: it counts its runs in files, and ends with `exit` once a file of that name is there.
    fn jobs(data: &Path, exit: i32) -> Jobs {
        let script = format!(
            "cd \"$2\"; n=1; while [ -e run$n ]; do n=$((n+1)); done; touch run$n; \
             while [ $n = 1 ] && [ ! -e go ]; do sleep 0.02; done; [ $n = 1 ] && exit {exit}; cat"
        );
        let program = JobProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script, "job".to_owned()],
        };
        Jobs::new(
            tokio::runtime::Handle::current(),
            Some(program),
            data.into(),
            Weak::new(),
        )
    }

    async fn until(is_there: impl Fn() -> bool) {
        let look = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            while !is_there() {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(MANY, look).await.expect("in time");
    }

    #[tokio::test]
    async fn a_job_that_was_ordered_while_its_process_was_ending_for_good_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = jobs(dir.path(), EXIT_STOPPED);
        let store = Name::new("S").unwrap();
        jobs.start(store, false).unwrap();
        until(|| dir.path().join("run1").exists()).await;
        jobs.start(store, true).unwrap();
        std::fs::write(dir.path().join("go"), "").unwrap();
        until(|| dir.path().join("run2").exists()).await;
        assert_ne!(jobs.state(store).0, JobState::Stopped);
        jobs.stop(store).await;
    }

    #[tokio::test]
    async fn a_job_that_stopped_for_good_starts_only_when_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = jobs(dir.path(), EXIT_STOPPED);
        let store = Name::new("S").unwrap();
        jobs.start(store, false).unwrap();
        jobs.start(store, false).unwrap();
        std::fs::write(dir.path().join("go"), "").unwrap();
        until(|| jobs.state(store).0 == JobState::Stopped).await;
        assert!(!dir.path().join("run2").exists());
        jobs.start(store, false).unwrap();
        until(|| dir.path().join("run2").exists()).await;
        jobs.stop(store).await;
    }

    #[tokio::test]
    async fn a_job_that_ends_well_without_being_told_fell() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = jobs(dir.path(), 0);
        let store = Name::new("S").unwrap();
        jobs.start(store, false).unwrap();
        std::fs::write(dir.path().join("go"), "").unwrap();
        until(|| dir.path().join("run2").exists()).await;
        jobs.stop(store).await;
    }

    #[tokio::test]
    async fn what_is_said_of_a_job_that_fell_is_said_until_it_ran_for_a_while_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut jobs = jobs(dir.path(), 1);
        jobs.steady = Duration::from_millis(50);
        let store = Name::new("S").unwrap();
        jobs.start(store, false).unwrap();
        std::fs::write(dir.path().join("go"), "").unwrap();
        until(|| jobs.note(store).is_some()).await;
        until(|| jobs.note(store).is_none()).await;
        assert!(dir.path().join("run2").exists());
        assert_eq!(jobs.state(store).0, JobState::Running);
        jobs.stop(store).await;
    }

    #[tokio::test]
    async fn a_hold_is_shown_and_ends_with_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = jobs(dir.path(), 1);
        let store = Name::new("S").unwrap();
        jobs.start(store, false).unwrap();
        until(|| dir.path().join("run1").exists()).await;
        jobs.set_held(store, true);
        assert_eq!(jobs.state(store).0, JobState::Held);
        std::fs::write(dir.path().join("go"), "").unwrap();
        until(|| dir.path().join("run2").exists()).await;
        until(|| jobs.state(store).0 == JobState::Running).await;
        jobs.stop(store).await;
    }
}
