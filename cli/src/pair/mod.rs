//! Package `cli`: two systems as processes of their own, for the demonstration and the benchmark. Commands go through the
//! same program an operator would call. Must not know what work is done.

mod group;
mod process;
mod voice;

use std::path::Path;
use std::time::Duration;

use rjournal::daemon::command::journal::JournalState;
use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::{Name, QualifiedName, Sequence};
use rjournal::remote::LinkState;

use crate::error::CliError;

use group::Held;
pub(crate) use process::{Running, SystemProcess, identity};
pub(crate) use voice::Voice;

/// How long anything may take before it is given up, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// How long a killed target stays away: longer than the source waits for it.
const TARGET_AWAY: Duration = Duration::from_secs(3);
/// How long a killed source stays away.
const SOURCE_AWAY: Duration = Duration::from_secs(1);

/// The journal on PRD.
const FORWARD: &str = "PRDLIB/JRN";
/// Its copy on BKP.
const FORWARD_COPY: &str = "BKPLIB/JRN";

/// Name of the store on each side.
const STORE: &str = "DB";

/// Name of the store on each side.
pub(crate) fn store() -> Name {
    STORE.parse().expect("the name is well formed")
}

fn qualified(name: &str) -> QualifiedName {
    name.parse().expect("the name is well formed")
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
    /// Whether they are a recovery group.
    grouped: bool,
    /// What the source held when it was lost.
    lost_with: Held,
}

impl Pair {
    /// Makes and starts both systems.
    pub(crate) async fn make(dir: &Path, voice: Voice) -> Result<Self, CliError> {
        std::fs::create_dir_all(dir)
            .map_err(|error| CliError::invalid(format!("{}: {error}", dir.display())))?;
        voice.title("Two systems");
        let mut pair = Self {
            source: SystemProcess::named("PRD", dir, voice)?,
            target: SystemProcess::named("BKP", dir, voice)?,
            kills: 0,
            voice,
            grouped: false,
            lost_with: Held::default(),
        };
        for system in [&mut pair.source, &mut pair.target] {
            system.begin_life().await?;
        }
        Ok(pair)
    }

    async fn introduce(&self) -> Result<(), CliError> {
        let (source, target) = (&self.source, &self.target);
        self.voice.title("Each is told who the other is");
        let (of_source, at_source) = identity(source).await?;
        let (of_target, at_target) = identity(target).await?;
        for (system, rdb, fingerprint, address, library) in [
            (source, "BKP", &of_target, &at_target, "PRDLIB/*ALL"),
            (target, "PRD", &of_source, &at_source, "BKPLIB/*ALL"),
        ] {
            let who = ["addrdbdire", "--rdb", rdb, "--fingerprint", fingerprint];
            let may = ["--addr", address, "--alwjrn", library];
            system.run(&[who.as_slice(), &may].concat()).await?;
        }
        Ok(())
    }

    /// A journal on the source, and a library for its copy on the target.
    async fn journal(&self) -> Result<(), CliError> {
        let (source, target) = (&self.source, &self.target);
        source.run(&["crtlib", "--lib", "PRDLIB"]).await?;
        target.run(&["crtlib", "--lib", "BKPLIB"]).await?;
        source
            .run(&["crtjrnrcv", "--jrnrcv", "PRDLIB/RCV0001"])
            .await?;
        let attached = ["crtjrn", "--jrn", FORWARD, "--jrnrcv", "PRDLIB/RCV0001"];
        let patience = ["--synctimo", "2"];
        source
            .run(&[attached.as_slice(), &patience].concat())
            .await?;
        Ok(())
    }

    /// Ties them together: a journal on the source, its remote journal on the target in *SYNC.
    pub(crate) async fn couple(&self) -> Result<(), CliError> {
        self.introduce().await?;
        self.voice
            .title("A journal on PRD, its remote journal on BKP, *SYNC");
        self.journal().await?;
        let (source, way) = (&self.source, ["--rdb", "BKP", "--srcjrn", FORWARD]);
        let copy = ["--tgtjrn", FORWARD_COPY];
        source
            .run(&[["addrmtjrn"].as_slice(), &way, &copy].concat())
            .await?;
        let active = [
            "--jrnstate",
            "*ACTIVE",
            "--delivery",
            "*SYNC",
            "--wait",
            "30",
        ];
        source
            .run(&[["chgrmtjrn"].as_slice(), &way, &active].concat())
            .await?;
        Ok(())
    }

    /// A store on each side.
    pub(crate) async fn store(&self) -> Result<(), CliError> {
        self.voice.title("A database on PRD, its replica on BKP");
        let (source, target) = (&self.source, &self.target);
        source
            .run(&["strapy", "--store", STORE, "--jrn", FORWARD])
            .await?;
        target
            .run(&["strapy", "--store", STORE, "--jrn", FORWARD_COPY])
            .await?;
        Ok(())
    }

    /// Kills the target and starts it again.
    pub(crate) async fn strike_target(&mut self) -> Result<(), CliError> {
        self.kills += self.target.kill().await?;
        come_back(&mut self.target, TARGET_AWAY, self.voice).await
    }

    /// Kills the source and starts it again.
    pub(crate) async fn strike_source(&mut self) -> Result<(), CliError> {
        self.kills += self.source.kill().await?;
        come_back(&mut self.source, SOURCE_AWAY, self.voice).await
    }

    /// Waits until the target is in the in-sync set again.
    pub(crate) async fn in_sync(&self) -> Result<(), CliError> {
        self.follows(&self.source, "the target").await
    }

    /// Waits until the other one is in the in-sync set of a system.
    async fn follows(&self, system: &SystemProcess, other: &str) -> Result<(), CliError> {
        until(&format!("{other} is in sync again"), async || {
            // A system that is opening does not answer yet.
            let Ok(journal) = system.journal().await else {
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
            .run(&["chgjrn", "--jrn", FORWARD, "--jrnrcv", "*GEN"])
            .await?;
        // What the change itself deposited is not settled yet, and only with it the target closes the receiver, too.
        let last = self.source.journal().await?.watermarks.sealed;
        let copy = qualified(FORWARD_COPY);
        until("the target has everything", async || {
            Ok(self.target.journal_named(copy).await?.watermarks.settled >= last)
        })
        .await?;
        for system in [&self.source, &self.target] {
            if self.grouped {
                self.in_last_term(system, last).await?;
            }
            if !system.served().await?.wait(last, PATIENCE).await? {
                let text = format!(
                    "the store of {} is not level with entry {last}",
                    system.name
                );
                let error = CommandError::new(ErrorKind::TimedOut, "RJN8001", text);
                return Err(CliError(error));
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
async fn come_back(
    system: &mut SystemProcess,
    away: Duration,
    voice: Voice,
) -> Result<(), CliError> {
    tokio::time::sleep(away).await;
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
