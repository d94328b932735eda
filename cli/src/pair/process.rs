//! Package `cli`, two systems: one of them, a daemon as a process of its own: started, killed, frozen, and given commands through
//! the same program an operator would call. Must not know what the other one is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rjournal::Client;
use rjournal::daemon::command::apply::ListJobs;
use rjournal::daemon::command::group::{DescribeGroups, GroupDescription};
use rjournal::daemon::command::journal::{DescribeJournals, JournalDescription};
use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::QualifiedName;
use rjournal_apply::serve::DatabaseClient;
use rustix::process::{Pid, Signal, kill_process};

use super::voice::Voice;
use super::{store, until};
use crate::error::CliError;

/// A port of loopback that the daemon chooses, as it is free.
const ANY_PORT: &str = "127.0.0.1:0";

/// One system.
#[derive(Debug)]
pub(crate) struct SystemProcess {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its data directory.
    pub(crate) data: PathBuf,
    program: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    voice: Voice,
}

impl SystemProcess {
    /// A system of this name, in a directory of its own below `dir`; nothing is made yet.
    pub(super) fn named(name: &'static str, dir: &Path, voice: Voice) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(|error| CliError::internal(&error))?;
        Ok(Self {
            name,
            data: dir.join(name),
            program,
            log: dir.join(format!("{name}.log")),
            process: None,
            voice,
        })
    }

    /// Runs a command of this system, as an operator would type it, and gives its result.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<serde_json::Value, CliError> {
        self.voice.command(self.name, arguments);
        self.run_unseen(arguments).await
    }

    /// Runs a command that is not shown.
    pub(crate) async fn run_unseen(
        &self,
        arguments: &[&str],
    ) -> Result<serde_json::Value, CliError> {
        self.begin(arguments)?.ended().await
    }

    /// Begins a command, and shows it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Running, CliError> {
        self.voice.command(self.name, arguments);
        self.begin(arguments)
    }

    fn begin(&self, arguments: &[&str]) -> Result<Running, CliError> {
        let child = tokio::process::Command::new(&self.program)
            .arg("--json")
            .arg("--data")
            .arg(&self.data)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| CliError::internal(&error))?;
        Ok(Running {
            what: format!("at {}, {}", self.name, arguments.join(" ")),
            child,
        })
    }

    /// A connection to its daemon.
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(&self.data).await?)
    }

    /// A connection to the job of its store.
    pub(crate) async fn database(&self) -> Result<DatabaseClient, CliError> {
        Ok(DatabaseClient::connect(&self.data, store()).await?)
    }

    /// The same, once it serves: a job that was killed is not back at once.
    pub(super) async fn served(&self) -> Result<DatabaseClient, CliError> {
        let mut served = None;
        until(
            &format!("the store of {} is served", self.name),
            async || {
                served = self.database().await.ok();
                Ok(served.is_some())
            },
        )
        .await?;
        served.ok_or_else(|| CliError::internal(&format!("{} serves no store", self.name)))
    }

    /// The journal it writes; where it has none, the first one.
    pub(crate) async fn journal(&self) -> Result<JournalDescription, CliError> {
        let mut journals = self.journals().await?;
        if journals.is_empty() {
            return Err(CliError(CommandError::not_found(
                "the journal of",
                self.name,
            )));
        }
        let own = journals.iter().position(|journal| journal.kind == "*LOCAL");
        Ok(journals.swap_remove(own.unwrap_or(0)))
    }

    /// One of its journals.
    pub(crate) async fn journal_named(
        &self,
        name: QualifiedName,
    ) -> Result<JournalDescription, CliError> {
        let mut journals = self.journals().await?.into_iter();
        let found = journals.find(|journal| journal.journal == name);
        found.ok_or_else(|| CliError(CommandError::not_found("journal", name)))
    }

    /// All its journals.
    pub(crate) async fn journals(&self) -> Result<Vec<JournalDescription>, CliError> {
        let client = self.client().await?;
        let found = client.run(DescribeJournals { journal: None }).await?;
        Ok(found.journals)
    }

    /// Its recovery group, as it sees it.
    pub(crate) async fn group(&self) -> Result<GroupDescription, CliError> {
        let client = self.client().await?;
        let found = client.run(DescribeGroups { name: None }).await?;
        let first = found.groups.into_iter().next();
        first.ok_or_else(|| CliError(CommandError::not_found("a recovery group of", self.name)))
    }

    /// Makes it, starts it, and keeps the address it got.
    pub(super) async fn begin_life(&mut self) -> Result<(), CliError> {
        self.run(&["init", "--name", self.name, "--listen", ANY_PORT])
            .await?;
        self.voice.command(self.name, &["daemon"]);
        self.start().await?;
        self.keep_address().await
    }

    /// Puts the port its daemon got into its configuration: partners are told it, and it is started again.
    async fn keep_address(&self) -> Result<(), CliError> {
        let (_, address) = identity(self).await?;
        let path = self.data.join("rjournal.toml");
        let kept = std::fs::read_to_string(&path)
            .and_then(|text| std::fs::write(&path, text.replace(ANY_PORT, &address)));
        kept.map_err(|error| CliError::internal(&error))
    }

    /// Starts its daemon, and waits until it answers.
    pub(crate) async fn start(&mut self) -> Result<(), CliError> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|error| CliError::internal(&error))?;
        let child = Command::new(&self.program)
            .arg("--data")
            .arg(&self.data)
            .arg("daemon")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| CliError::internal(&error))?;
        self.process = Some(child);
        let data = self.data.clone();
        until(&format!("{} starts", self.name), async || {
            if let Some(child) = &mut self.process
                && let Ok(Some(status)) = child.try_wait()
            {
                let text = format!(
                    "the daemon of {} ended with {status}; {} says why",
                    self.name,
                    self.log.display()
                );
                return Err(CliError(CommandError::new(
                    ErrorKind::Internal,
                    "RJN8001",
                    text,
                )));
            }
            Ok(Client::connect(&data).await.is_ok())
        })
        .await
    }

    /// Kills its daemon and its apply job with SIGKILL. Gives how many processes that were.
    pub(crate) async fn kill(&mut self) -> Result<u64, CliError> {
        let mut killed = 0;
        let jobs = match self.client().await {
            Ok(client) => client.run(ListJobs {}).await?.jobs,
            Err(_) => Vec::new(),
        };
        if let Some(mut child) = self.process.take() {
            let pid = child.id();
            // The daemon first, so that it does not start its job again.
            child.kill().map_err(|error| CliError::internal(&error))?;
            killed += 1;
            for job in jobs {
                if let Some(job) = job.pid.and_then(process_id)
                    && kill_process(job, Signal::KILL).is_ok()
                {
                    killed += 1;
                }
            }
            child.wait().map_err(|error| CliError::internal(&error))?;
            self.voice.event(&format!(
                "kill -9 {pid}: {} is gone, its apply job too",
                self.name
            ));
        }
        Ok(killed)
    }

    /// Stops its daemon where it is, as if its line were cut: it hears nothing and says nothing.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one go on.
    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.process.as_ref();
        if let Some(pid) = child.and_then(|child| process_id(child.id())) {
            // It may have ended by itself.
            let _told = kill_process(pid, signal);
        }
    }

    /// Memory of its daemon that is resident, in bytes.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let pid = self.process.as_ref()?.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// Ends its daemon in order.
    pub(super) async fn stop(&mut self) -> Result<(), CliError> {
        let Some(mut child) = self.process.take() else {
            return Ok(());
        };
        if let Some(pid) = process_id(child.id()) {
            // It may have ended by itself; a frozen one hears nothing before it goes on.
            let _told = kill_process(pid, Signal::TERM);
            let _goes_on = kill_process(pid, Signal::CONT);
        }
        let ended = until(&format!("{} ends", self.name), async || {
            child
                .try_wait()
                .map(|status| status.is_some())
                .map_err(|error| CliError::internal(&error))
        })
        .await;
        if ended.is_err() {
            drop(child.kill());
            drop(child.wait());
        }
        ended
    }
}

/// Fingerprint and address of a system.
pub(crate) async fn identity(system: &SystemProcess) -> Result<(String, String), CliError> {
    let found = system.run(&["dspsysid"]).await?;
    let text = |name: &str| {
        found
            .get(name)
            .and_then(|value| value.as_str())
            .map(str::to_owned)
            .ok_or_else(|| CliError::internal(&format!("DSPSYSID gives no {name}")))
    };
    Ok((text("fingerprint")?, text("listen")?))
}

fn process_id(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Running {
    what: String,
    child: tokio::process::Child,
}

impl Running {
    /// Whether it ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool, CliError> {
        self.child
            .try_wait()
            .map(|status| status.is_some())
            .map_err(|error| CliError::internal(&error))
    }

    /// Waits for its end, and gives its result.
    pub(crate) async fn ended(self) -> Result<serde_json::Value, CliError> {
        let output = self
            .child
            .wait_with_output()
            .await
            .map_err(|error| CliError::internal(&error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_default();
        if output.status.success() {
            return Ok(value);
        }
        let said = value
            .pointer("/error/text")
            .and_then(|text| text.as_str())
            .unwrap_or(text.trim());
        let text = format!("{} ended with {}: {said}", self.what, output.status);
        Err(CliError(CommandError::new(
            ErrorKind::Internal,
            "RJN8001",
            text,
        )))
    }
}

impl Drop for SystemProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
