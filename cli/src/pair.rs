//! Package `cli`: two systems as processes of their own, for the demonstration and the benchmark. Commands go through the
//! same program an operator would call. Must not know what work is done.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::CommandError;
use rjournal::daemon::ErrorKind;
use rjournal::daemon::command::apply::ListJobs;
use rjournal::daemon::command::journal::{DescribeJournals, JournalDescription, JournalState};
use rjournal::entry::{Name, Sequence};
use rjournal::remote::LinkState;
use rjournal_apply::serve::DatabaseClient;

use crate::error::CliError;
use crate::output::Output;
use crate::text;

/// A port of loopback that the daemon chooses, as it is free.
const ANY_PORT: &str = "127.0.0.1:0";
/// How long anything may take before it is given up, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// How long a killed system stays away: longer than the source waits for its target.
const AWAY: Duration = Duration::from_secs(3);

/// Name of the store on each side.
const STORE: &str = "DB";

/// Tells what is done, or keeps it to itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice(pub(crate) Option<Output>);

impl Voice {
    /// What comes next.
    pub(crate) fn title(self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    /// A command, as an operator would type it.
    fn command(self, system: &str, arguments: &[&str]) {
        let words: Vec<String> = arguments
            .iter()
            .map(|word| text::shell_word(word))
            .collect();
        self.line(&format!("  {system}> rjournal {}", words.join(" ")));
    }

    /// Something that happened.
    fn event(self, text: &str) {
        self.line(&format!("  * {text}"));
    }

    fn line(self, text: &str) {
        if let Some(output) = self.0 {
            output.line(text);
        }
    }
}

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
    fn make(name: &'static str, dir: &Path, voice: Voice) -> Result<Self, CliError> {
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
    async fn served(&self) -> Result<DatabaseClient, CliError> {
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

    /// Its journal.
    pub(crate) async fn journal(&self) -> Result<JournalDescription, CliError> {
        let client = self.client().await?;
        let found = client.run(DescribeJournals { journal: None }).await?;
        found
            .journals
            .into_iter()
            .next()
            .ok_or_else(|| CliError(CommandError::not_found("the journal of", self.name)))
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
                let job = job.pid.and_then(|pid| i32::try_from(pid).ok());
                if let Some(job) = job.and_then(rustix::process::Pid::from_raw)
                    && rustix::process::kill_process(job, rustix::process::Signal::KILL).is_ok()
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
    async fn stop(&mut self) -> Result<(), CliError> {
        let Some(mut child) = self.process.take() else {
            return Ok(());
        };
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _told = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
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

/// Name of the store on each side.
pub(crate) fn store() -> Name {
    STORE.parse().expect("the name is well formed")
}

/// Source and target.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The source.
    pub(crate) source: SystemProcess,
    /// The target.
    pub(crate) target: SystemProcess,
    /// Processes killed so far.
    pub(crate) kills: u64,
    /// Where it is told what is done.
    pub(crate) voice: Voice,
}

impl Pair {
    /// Makes and starts both systems.
    pub(crate) async fn make(dir: &Path, voice: Voice) -> Result<Self, CliError> {
        std::fs::create_dir_all(dir)
            .map_err(|error| CliError::invalid(format!("{}: {error}", dir.display())))?;
        voice.title("Two systems");
        let mut pair = Self {
            source: SystemProcess::make("PRD", dir, voice)?,
            target: SystemProcess::make("BKP", dir, voice)?,
            kills: 0,
            voice,
        };
        for system in [&mut pair.source, &mut pair.target] {
            system
                .run(&["init", "--name", system.name, "--listen", ANY_PORT])
                .await?;
            system.voice.command(system.name, &["daemon"]);
            system.start().await?;
            system.keep_address().await?;
        }
        Ok(pair)
    }

    /// Ties them together: a journal on the source, its remote journal on the target in *SYNC.
    pub(crate) async fn couple(&self) -> Result<(), CliError> {
        let (source, target) = (&self.source, &self.target);
        self.voice.title("Each is told who the other is");
        let (of_source, _) = identity(source).await?;
        let (of_target, address) = identity(target).await?;
        let entry = [
            "addrdbdire",
            "--rdb",
            "BKP",
            "--fingerprint",
            &of_target,
            "--addr",
            &address,
        ];
        source.run(&entry).await?;
        let entry = [
            "addrdbdire",
            "--rdb",
            "PRD",
            "--fingerprint",
            &of_source,
            "--alwjrn",
            "BKPLIB/*ALL",
        ];
        target.run(&entry).await?;
        self.voice
            .title("A journal on PRD, its remote journal on BKP, *SYNC");
        source.run(&["crtlib", "--lib", "PRDLIB"]).await?;
        target.run(&["crtlib", "--lib", "BKPLIB"]).await?;
        source
            .run(&["crtjrnrcv", "--jrnrcv", "PRDLIB/RCV0001"])
            .await?;
        let journal = [
            "crtjrn",
            "--jrn",
            "PRDLIB/JRN",
            "--jrnrcv",
            "PRDLIB/RCV0001",
            "--synctimo",
            "2",
        ];
        source.run(&journal).await?;
        let remote = [
            "addrmtjrn",
            "--rdb",
            "BKP",
            "--srcjrn",
            "PRDLIB/JRN",
            "--tgtjrn",
            "BKPLIB/JRN",
        ];
        source.run(&remote).await?;
        let active = ["chgrmtjrn", "--rdb", "BKP", "--srcjrn", "PRDLIB/JRN"];
        let active = active.into_iter().chain([
            "--jrnstate",
            "*ACTIVE",
            "--delivery",
            "*SYNC",
            "--wait",
            "30",
        ]);
        source.run(&active.collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// A store on each side.
    pub(crate) async fn store(&self) -> Result<(), CliError> {
        self.voice.title("A database on PRD, its replica on BKP");
        let (source, target) = (&self.source, &self.target);
        source
            .run(&["strapy", "--store", STORE, "--jrn", "PRDLIB/JRN"])
            .await?;
        target
            .run(&["strapy", "--store", STORE, "--jrn", "BKPLIB/JRN"])
            .await?;
        Ok(())
    }

    /// Kills the target and starts it again.
    pub(crate) async fn strike_target(&mut self) -> Result<(), CliError> {
        self.kills += self.target.kill().await?;
        come_back(&mut self.target, self.voice).await
    }

    /// Kills the source and starts it again.
    pub(crate) async fn strike_source(&mut self) -> Result<(), CliError> {
        self.kills += self.source.kill().await?;
        come_back(&mut self.source, self.voice).await
    }

    /// Waits until the target is in the in-sync set again.
    pub(crate) async fn in_sync(&self) -> Result<(), CliError> {
        until("the target is in sync again", async || {
            // A source that is opening does not answer yet.
            let Ok(journal) = self.source.journal().await else {
                return Ok(false);
            };
            Ok(journal
                .links
                .iter()
                .all(|link| link.in_sync && link.state == LinkState::Active)
                && journal.state == JournalState::Active
                && !journal.links.is_empty())
        })
        .await
    }

    /// Waits until everything is at the target and applied on both sides. Gives the last entry.
    pub(crate) async fn settle(&self) -> Result<Sequence, CliError> {
        self.voice.title("The work is done; both sides come level");
        self.in_sync().await?;
        // The last receiver is closed, so that all that counts stands in receivers that change no more.
        self.source
            .run(&["chgjrn", "--jrn", "PRDLIB/JRN", "--jrnrcv", "*GEN"])
            .await?;
        // What the change itself deposited is not settled yet, and only with it the target closes the receiver, too.
        let last = self.source.journal().await?.watermarks.sealed;
        until("the target has everything", async || {
            Ok(self.target.journal().await?.watermarks.settled >= last)
        })
        .await?;
        for system in [&self.source, &self.target] {
            if !system.served().await?.wait(last, PATIENCE).await? {
                let text = format!(
                    "the store of {} is not level with entry {last}",
                    system.name
                );
                return Err(CliError::invalid(text));
            }
        }
        Ok(last)
    }

    /// Ends both in order.
    pub(crate) async fn stop(&mut self) -> Result<(), CliError> {
        self.source.stop().await?;
        self.target.stop().await
    }
}

/// Starts a system again after a while.
async fn come_back(system: &mut SystemProcess, voice: Voice) -> Result<(), CliError> {
    tokio::time::sleep(AWAY).await;
    system.start().await?;
    voice.event(&format!("{} is back", system.name));
    Ok(())
}

/// Waits until something is so, looked at again and again.
pub(crate) async fn until(
    what: &str,
    mut so: impl AsyncFnMut() -> Result<bool, CliError>,
) -> Result<(), CliError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !so().await? {
        if tokio::time::Instant::now() >= deadline {
            let text = format!("{what}: it did not happen within {} s", PATIENCE.as_secs());
            let error = CommandError::new(ErrorKind::TimedOut, "RJN8001", text);
            return Err(CliError(error));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
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
