//! Room `daemon`, recovery groups: the operator's command for changes of role (`on_role`): run before and after each step, one
//! after the other, in the order of the steps, each for a bounded time. One that is run *before* says by its exit code whether the
//! step is taken; nothing waits for the others. Must not decide what a step is, nor hold one up that is durable.
//!
//! ```text
//! switch    before-switch ---> drained ----------------> backup        on the system that hands over
//!                         `--> aborted                   primary       on the one that is handed the role
//! takeover  before-takeover -> primary | aborted         backup        on the others
//! ```

use std::process::Stdio;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};

use super::news::went_by_switch;
use super::runtime::GroupRuntime;
use crate::daemon::command::CommandError;
use crate::daemon::config::Config;
use crate::daemon::messages::Severity;
use crate::daemon::system::{Shared, lock};
use crate::entry::{Name, SystemId, TermReason};
use crate::remote::MemberRole;
use crate::role::{Heard, Standing};

/// How many runs of the command may wait.
const QUEUE: usize = 64;
/// What a command says to standard error is kept up to here.
const WORDS_MAX: usize = 300;
/// A command that ended is given so long to have been read.
const WORDS_LATE: Duration = Duration::from_millis(100);

/// A step of a change of role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    BeforeSwitch,
    Drained,
    BeforeTakeover,
    Primary,
    Backup,
    Stopped,
    Aborted,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::BeforeSwitch => "before-switch",
            Self::Drained => "drained",
            Self::BeforeTakeover => "before-takeover",
            Self::Primary => "primary",
            Self::Backup => "backup",
            Self::Stopped => "stopped",
            Self::Aborted => "aborted",
        }
    }

    /// Whether it is told for as long as the member has this role; by then it may have another one, which is told for itself.
    const fn still_is(self, role: MemberRole) -> bool {
        match self {
            Self::Primary => matches!(role, MemberRole::Primary | MemberRole::HandedOver),
            Self::Backup => matches!(role, MemberRole::Backup),
            Self::Stopped => matches!(role, MemberRole::Stopped),
            Self::Drained => matches!(role, MemberRole::Primary | MemberRole::HandedOver),
            _ => true,
        }
    }
}

/// One run of the command.
#[derive(Debug)]
struct Run {
    group: Name,
    step: Step,
    environment: Vec<(&'static str, String)>,
    /// Who waits for it.
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// What is done in order.
#[derive(Debug)]
enum Errand {
    Run(Run),
    /// Whoever waits for everything before this.
    Rest(oneshot::Sender<()>),
}

/// What was told last of a group: the step, the term, the primary.
type Told = (Name, Step, u64, String);

/// The operator's command, and what it waits to be run for.
#[derive(Debug)]
pub(crate) struct RoleHooks {
    queue: Option<mpsc::Sender<Errand>>,
    limit: Duration,
    /// Held while a step is put into the queue, so that they stand there in the order in which they came to pass.
    told: Mutex<Vec<Told>>,
}

impl RoleHooks {
    /// Takes the command of the configuration, if there is one.
    pub(crate) fn start(
        runtime: &tokio::runtime::Handle,
        config: &Config,
        shared: Weak<Shared>,
    ) -> Self {
        let limit = Duration::from_secs(config.role_hook_seconds.into());
        let queue = config.on_role.clone().map(|command| {
            let (queue, runs) = mpsc::channel(QUEUE);
            runtime.spawn(run_all(command, limit, runs, shared));
            queue
        });
        Self {
            queue,
            limit,
            told: Mutex::default(),
        }
    }

    /// Waits until everything in the queue was run, but no longer than one run may take.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn rest(&self) {
        if let Some(queue) = &self.queue {
            let (done, rests) = oneshot::channel();
            let idle = async {
                drop(queue.send(Errand::Rest(done)).await);
                drop(rests.await);
            };
            drop(tokio::time::timeout(self.limit, idle).await);
        }
    }
}

async fn run_all(
    command: String,
    limit: Duration,
    mut errands: mpsc::Receiver<Errand>,
    shared: Weak<Shared>,
) {
    while let Some(errand) = errands.recv().await {
        let run = match errand {
            Errand::Run(run) => run,
            Errand::Rest(done) => {
                done.send(()).ok();
                continue;
            }
        };
        let (group, step) = (run.group, run.step.name());
        let ended = run_one(&command, limit, run.environment).await;
        match &ended {
            Ok(()) => tracing::info!(%group, step, "the command for changes of role was run"),
            Err(error) => {
                let text = format!("the command for changes of role, step {step}: {error}");
                if let Some(shared) = shared.upgrade() {
                    shared.post_about("RJN7010", Severity::Warning, group.as_str(), text);
                }
            }
        }
        if let Some(done) = run.done {
            drop(done.send(ended));
        }
    }
}

/// Runs the command once, as a process group of its own, which is ended with it where it takes too long.
async fn run_one(
    command: &str,
    limit: Duration,
    environment: Vec<(&'static str, String)>,
) -> Result<(), String> {
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| format!("it could not be run: {error}"))?;
    let words = Arc::new(Mutex::new(Vec::new()));
    let reading = tokio::spawn(read_words(child.stderr.take(), Arc::clone(&words)));
    let status = match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) if status.success() => return Ok(()),
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(format!("it could not be waited for: {error}")),
        Err(_) => {
            let group = child.id().and_then(|id| i32::try_from(id).ok());
            if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
                let kill = rustix::process::Signal::KILL;
                rustix::process::kill_process_group(group, kill).ok();
            }
            drop(child.kill().await);
            let seconds = limit.as_secs();
            return Err(format!("it did not end within {seconds} s, and was ended"));
        }
    };
    drop(tokio::time::timeout(WORDS_LATE, reading).await);
    let words = printable(&lock(&words));
    Err(if words.is_empty() {
        format!("it ended with {status}")
    } else {
        format!("it ended with {status}: {words}")
    })
}

/// Keeps the first words, and reads the rest away: whatever the command left running may go on writing.
async fn read_words(from: Option<tokio::process::ChildStderr>, words: Arc<Mutex<Vec<u8>>>) {
    let Some(mut from) = from else {
        return;
    };
    let mut buffer = [0; 512];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut words = lock(&words);
        let room = WORDS_MAX.saturating_sub(words.len());
        words.extend_from_slice(&buffer[..count.min(room)]);
    }
}

fn printable(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let shown = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.trim().chars().map(shown).collect()
}

fn name_of(standing: &Standing, system: Option<SystemId>) -> String {
    system
        .and_then(|system| standing.group.member(system))
        .map(|member| member.name.to_string())
        .unwrap_or_default()
}

impl Shared {
    /// Before deposits are drained for a switch.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// RJN7134: the command says no. Nothing was changed.
    pub(super) async fn before_switch(
        &self,
        group: &GroupRuntime,
        to: SystemId,
    ) -> Result<(), CommandError> {
        self.before(group, Step::BeforeSwitch, "switch", to).await
    }

    /// The hand-over entry is flushed here and there; or the switch came to nothing.
    pub(super) fn after_switch<T>(
        &self,
        group: &GroupRuntime,
        to: SystemId,
        outcome: &Result<T, CommandError>,
    ) {
        match outcome {
            Ok(_) => self.tell_step(group, Step::Drained, "switch", Some(to), None),
            Err(error) => self.tell_aborted(group, "switch", error),
        }
    }

    /// Before a takeover claims its term.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// RJN7134: the command says no. Nothing was changed.
    pub(super) async fn before_takeover(&self, group: &GroupRuntime) -> Result<(), CommandError> {
        let step = Step::BeforeTakeover;
        self.before(group, step, "takeover", self.id).await
    }

    /// A takeover came to nothing, if it did: one that opened its term told so already.
    pub(super) fn after_takeover<T>(
        &self,
        group: &GroupRuntime,
        outcome: &Result<T, CommandError>,
    ) {
        if let Err(error) = outcome {
            self.tell_aborted(group, "takeover", error);
        }
    }

    /// This member opened a term, and takes deposits.
    pub(super) fn after_opening(&self, group: &GroupRuntime, reason: TermReason) {
        let reason = match reason {
            TermReason::HandedOver => "switch",
            TermReason::TakenBack => "abort",
            _ => "takeover",
        };
        self.tell_step(group, Step::Primary, reason, Some(self.id), None);
    }

    /// This member heard of a higher claim or term, or of a conflict.
    pub(super) fn after_hearing(&self, group: &GroupRuntime, heard: Heard) {
        let standing = group.standing();
        let to = standing.promised_to();
        let handed = went_by_switch(&standing);
        match heard {
            Heard::Nothing => {}
            Heard::Follows { demoted } => {
                let reason = match (demoted, handed) {
                    (false, _) => "follows",
                    (true, true) => "switch",
                    (true, false) => "fenced",
                };
                self.tell_step(group, Step::Backup, reason, to, None);
            }
            Heard::Conflict { .. } => {
                self.tell_step(group, Step::Stopped, "conflict", None, None);
            }
        }
    }

    async fn before(
        &self,
        group: &GroupRuntime,
        step: Step,
        reason: &'static str,
        to: SystemId,
    ) -> Result<(), CommandError> {
        if self.hooks.queue.is_none() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        self.tell_step(group, step, reason, Some(to), Some(done));
        let said = answer.await.unwrap_or_else(|_| {
            Err("too many runs of it wait, or the system is stopping".to_owned())
        });
        said.map_err(|why| {
            let text = format!(
                "the command for changes of role refused step {}: {why}. Nothing was changed",
                step.name()
            );
            CommandError::refused("RJN7134", text)
                .help("on_role in rjournal.toml names the command; the same words are in DSPMSG")
        })
    }

    fn tell_aborted(&self, group: &GroupRuntime, reason: &'static str, error: &CommandError) {
        let primary = group.look(|at| {
            let settled = at.promised() == at.lineage.term();
            at.promised_to().filter(|_| settled)
        });
        let environment = vec![("RJOURNAL_ERROR", error.to_string().replace('\0', " "))];
        self.put_step(group, Step::Aborted, reason, primary, None, environment);
    }

    fn tell_step(
        &self,
        group: &GroupRuntime,
        step: Step,
        reason: &'static str,
        primary: Option<SystemId>,
        done: Option<oneshot::Sender<Result<(), String>>>,
    ) {
        self.put_step(group, step, reason, primary, done, Vec::new());
    }

    fn put_step(
        &self,
        group: &GroupRuntime,
        step: Step,
        reason: &'static str,
        primary: Option<SystemId>,
        done: Option<oneshot::Sender<Result<(), String>>>,
        mut environment: Vec<(&'static str, String)>,
    ) {
        let Some(queue) = &self.hooks.queue else {
            return;
        };
        let mut told = lock(&self.hooks.told);
        let standing = group.standing();
        if !step.still_is(standing.role(self.id)) {
            return;
        }
        let (term, primary) = (standing.promised(), name_of(&standing, primary));
        let now = (group.name, step, term, primary.clone());
        // A claim and the term it opened make the same of this member.
        let is_role = matches!(step, Step::Primary | Step::Backup | Step::Stopped);
        if is_role && told.contains(&now) {
            return;
        }
        told.retain(|(of, ..)| *of != group.name);
        told.push(now);
        environment.extend([
            ("RJOURNAL_SYSTEM", self.name.to_string()),
            ("RJOURNAL_GROUP", group.name.to_string()),
            ("RJOURNAL_STEP", step.name().to_owned()),
            ("RJOURNAL_TERM", term.to_string()),
            ("RJOURNAL_PRIMARY", primary),
            ("RJOURNAL_REASON", reason.to_owned()),
        ]);
        let run = Run {
            group: group.name,
            step,
            environment,
            done,
        };
        if queue.try_send(Errand::Run(run)).is_err() {
            let text = format!(
                "the command for changes of role is too slow: step {} was not told to it",
                step.name()
            );
            self.post_about("RJN7010", Severity::Warning, group.name.as_str(), text);
        }
    }
}
