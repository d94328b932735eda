//! Package `cli`, the benchmark: two systems in this process, as a program that embeds one has it: local deposits, *SYNC
//! over QUIC on loopback, catch-up. Must not know sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rjournal::daemon::SystemJournal;
use rjournal::daemon::command::directory::{DescribeSystem, PutPartner, SystemDescription};
use rjournal::daemon::command::journal::{AttributePatch, CreateJournal};
use rjournal::daemon::command::library::CreateLibrary;
use rjournal::daemon::command::remote_journal::{
    AddRemoteJournal, BeginAt, ChangeRemoteJournal, WantedState,
};
use rjournal::entry::{Draft, Kind, QualifiedName, RdbName, SystemName};
use rjournal::journal::{Answer, DeliveryMode};
use rjournal::{CommandError, Config, System, SystemOptions};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{MANY, Meter, Plan, Sample, measure};
use crate::error::CliError;

/// Data of an entry in the catch-up case.
const CATCH_UP_PAYLOAD: usize = 1024;
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Inside {
    source: System,
    target: System,
    local: SystemJournal,
    sync: SystemJournal,
    payload: usize,
}

fn name(text: &str) -> Result<QualifiedName, CliError> {
    text.parse().map_err(|error| CliError::internal(&error))
}

fn rdb() -> Result<RdbName, CliError> {
    RdbName::new("TARGET").map_err(|error| CliError::internal(&error))
}

impl Inside {
    pub(super) async fn make(plan: &Plan) -> Result<Self, CliError> {
        let (source, source_is) = system(&plan.dir, "SOURCE").await?;
        let (target, target_is) = system(&plan.dir, "TARGET").await?;
        for (at, other, feeds) in [(&source, &target_is, false), (&target, &source_is, true)] {
            let known = PutPartner {
                rdb: RdbName::new(other.name.as_str())
                    .map_err(|error| CliError::internal(&error))?,
                fingerprint: Some(other.fingerprint),
                address: other.listen.clone(),
                allow_journals: feeds.then(|| vec!["*ALL/*ALL".to_owned()]),
                text: None,
                change: false,
            };
            at.run(known).await?;
            let library = CreateLibrary {
                library: name("LIB/X")?.library,
                text: String::new(),
            };
            at.run(library).await?;
        }
        let local = journal(&source, "LIB/LOCAL").await?;
        let sync = journal(&source, "LIB/SYNC").await?;
        remote(&source, "LIB/SYNC", true, DeliveryMode::Sync).await?;
        Ok(Self {
            source,
            target,
            local,
            sync,
            payload: plan.payload,
        })
    }

    /// One thread that waits for each answer.
    pub(super) fn one(&self, time: Duration) -> Result<Sample, CliError> {
        let payload = vec![0x5a; self.payload];
        let draft = Draft::new(Kind::USER, &payload);
        let deposit_for = |time: Duration| {
            let mut meter = Meter::new()?;
            let began = Instant::now();
            let mut now = began;
            while now < began + time {
                let answer = self
                    .local
                    .deposit_and_wait(&draft, ANSWER_MAX)
                    .map_err(CommandError::from)?;
                landed(answer)?;
                let after = Instant::now();
                meter.note(after - now);
                now = after;
            }
            Ok(meter.sample(began.elapsed()))
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| deposit_for(time));
            thread
                .join()
                .unwrap_or_else(|_| Err(CliError::internal(&"the depositor panicked")))
        })
    }

    pub(super) async fn local(&self, time: Duration) -> Result<Sample, CliError> {
        self.many(&self.local, time).await
    }

    pub(super) async fn sync(&self, time: Duration) -> Result<Sample, CliError> {
        self.many(&self.sync, time).await
    }

    async fn many(&self, journal: &SystemJournal, time: Duration) -> Result<Sample, CliError> {
        let payload = vec![0x5a; self.payload];
        let makers = vec![(journal.clone(), payload); MANY];
        measure(makers, time, |(journal, payload)| {
            Box::pin(async move {
                let ticket = journal
                    .deposit(&Draft::new(Kind::USER, payload))
                    .await
                    .map_err(CommandError::from)?;
                landed(ticket.await)
            })
        })
        .await
    }

    /// A journal is filled while its remote journal is inactive; then it is shipped.
    pub(super) async fn catch_up(&self, mib: u64, round: u32) -> Result<Sample, CliError> {
        let text = format!("LIB/CATCHUP{round}");
        let filled = journal(&self.source, &text).await?;
        let entries = mib * 1024 * 1024 / CATCH_UP_PAYLOAD as u64;
        let mut tasks = JoinSet::new();
        for _ in 0..MANY {
            let filled = filled.clone();
            let mine = entries / MANY as u64;
            tasks.spawn(async move {
                let payload = vec![0x5a; CATCH_UP_PAYLOAD];
                for _ in 0..mine {
                    let ticket = filled
                        .deposit(&Draft::new(Kind::USER, &payload))
                        .await
                        .map_err(CommandError::from)?;
                    landed(ticket.await)?;
                }
                Ok::<_, CliError>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| CliError::internal(&error))??;
        }
        remote(&self.source, &text, false, DeliveryMode::Async).await?;
        let began = Instant::now();
        activate(&self.source, &text, DeliveryMode::Async).await?;
        let took = began.elapsed();
        #[allow(clippy::cast_precision_loss, reason = "a rate has few digits")]
        let megabytes = (entries * CATCH_UP_PAYLOAD as u64) as f64 / 1e6;
        Ok(Sample {
            per_second: megabytes / took.as_secs_f64(),
            p50_us: 0,
            p99_us: 0,
        })
    }

    pub(super) async fn stop(self) {
        self.source.stop().await;
        self.target.stop().await;
    }
}

fn landed(answer: Answer) -> Result<(), CliError> {
    match answer {
        Answer::Landed { .. } => Ok(()),
        other => Err(CliError::internal(&format!(
            "a deposit was answered {other:?}"
        ))),
    }
}

async fn system(dir: &Path, name: &str) -> Result<(System, SystemDescription), CliError> {
    let data = dir.join(name);
    let system = SystemName::new(name).map_err(|error| CliError::internal(&error))?;
    // Any port: its description says which it is.
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    System::create(&data, &Config::new(system, Some(listen))).map_err(CommandError::from)?;
    let system = System::open(SystemOptions::new(&data))
        .await
        .map_err(CommandError::from)?;
    let description = system.run(DescribeSystem {}).await?;
    Ok((system, description))
}

async fn journal(system: &System, text: &str) -> Result<SystemJournal, CliError> {
    let create = CreateJournal {
        journal: name(text)?,
        receiver: None,
        attributes: AttributePatch::default(),
    };
    system.run(create).await?;
    Ok(system.journal_when_open(name(text)?, ANSWER_MAX).await?)
}

async fn remote(
    source: &System,
    text: &str,
    active: bool,
    delivery: DeliveryMode,
) -> Result<(), CliError> {
    let add = AddRemoteJournal {
        rdb: rdb()?,
        source: name(text)?,
        target: None,
        text: String::new(),
    };
    source.run(add).await?;
    if active {
        activate(source, text, delivery).await?;
    }
    Ok(())
}

/// Comes back when it has caught up.
async fn activate(source: &System, text: &str, delivery: DeliveryMode) -> Result<(), CliError> {
    let change = ChangeRemoteJournal {
        rdb: rdb()?,
        source: name(text)?,
        target: None,
        state: Some(WantedState::Active),
        delivery: Some(delivery),
        level: None,
        begin: BeginAt::Oldest,
        wait_ms: 120_000,
        text: None,
        force: false,
    };
    let changed = source.run(change).await?;
    if changed.caught_up {
        return Ok(());
    }
    let why = changed.note.unwrap_or_else(|| "no reason given".to_owned());
    Err(CliError::internal(&format!(
        "{text} did not catch up: {why}"
    )))
}
