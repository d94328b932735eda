//! Room `daemon`, a system: the whole of it, as the program that runs it sees it: made, opened, stopped. Must not know what
//! a command does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::runtime::JournalRuntime;
use super::shared::{Shared, lock};
use crate::daemon::clock::{Clock, SystemClock};
use crate::daemon::command::{Command, CommandError, ErrorKind};
use crate::daemon::config::Config;
use crate::daemon::data_dir::{DataDir, read_config};
use crate::daemon::health::HealthEndpoint;
use crate::daemon::jobs::JobProgram;
use crate::daemon::task::{accept, scrub, ticker};
use crate::entry::SystemName;
use crate::error::SystemError;
use crate::journal::Gate;
use crate::link::{LinkEndpoint, Partners};

/// How a system is opened.
#[derive(Debug, Clone)]
pub struct SystemOptions {
    /// Its data directory.
    pub data: PathBuf,
    /// The operator's word that a copied or restored directory is the system itself, and the other one is gone.
    pub moved: bool,
    /// The program that runs apply jobs; none where the embedding program runs them itself.
    pub job_program: Option<JobProgram>,
}

impl SystemOptions {
    /// The system in a data directory, its jobs run by the embedding program.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            moved: false,
            job_program: None,
        }
    }
}

/// A system, running. Clones share it. It goes on until [`System::stop`].
#[derive(Debug, Clone)]
pub struct System {
    shared: Arc<Shared>,
}

impl System {
    /// Makes a new system in a directory that is empty or does not exist.
    ///
    /// # Errors
    /// [`SystemError`]: something is in the directory, or the disk refuses.
    pub fn create(data: &Path, config: &Config) -> Result<(), SystemError> {
        DataDir::create(data, config, SystemClock::start().wall())
    }

    /// Opens the system in a data directory and starts everything that is to run: journals are recovered from the medium
    /// first, and only then are partners talked to. Needs a tokio runtime.
    ///
    /// Cancel safe: no, drop the runtime rather than the future.
    ///
    /// # Errors
    /// [`SystemError`]: no system there, in use, copied, misconfigured, or its address cannot be had. A journal that cannot
    /// be recovered is no error of the system: it is listed as damaged.
    pub async fn open(options: SystemOptions) -> Result<Self, SystemError> {
        let config = read_config(&options.data)?;
        let shared = tokio::task::spawn_blocking({
            let runtime = tokio::runtime::Handle::current();
            move || Shared::load(options, config, runtime)
        })
        .await
        .map_err(|error| {
            SystemError::io("could not be opened", ".", std::io::Error::other(error))
        })??;
        shared.open_journals().await?;
        let health = match shared.config.health {
            Some(address) => Some(HealthEndpoint::listen(&shared, address).await?),
            None => None,
        };
        let listen = shared.config.listen;
        let address = listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let partners: Arc<dyn Partners> = Arc::clone(&shared.keys) as Arc<dyn Partners>;
        let endpoint = LinkEndpoint::bind(address, shared.data_dir.identity().clone(), partners)?;
        *lock(&shared.endpoint) = Some(endpoint);
        *lock(&shared.health) = health;
        if listen.is_some() {
            shared.runtime.spawn(accept::run(Arc::clone(&shared)));
        }
        shared.start_links();
        shared.start_groups();
        shared.runtime.spawn(ticker::run(Arc::clone(&shared)));
        shared.runtime.spawn(scrub::run(Arc::downgrade(&shared)));
        shared.start_jobs();
        Ok(Self { shared })
    }

    /// Carries out a command.
    ///
    /// Cancel safe: no; a command given up half way may have been carried out.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn run<C: Command>(&self, command: C) -> Result<C::Reply, CommandError> {
        // Boxed: whoever runs a command does not carry what the largest of them needs.
        let reply = Box::pin(self.shared.execute(command.into_request())).await?;
        C::from_reply(reply).ok_or_else(|| {
            CommandError::new(
                ErrorKind::Internal,
                "RJN1003",
                "another reply than was asked for",
            )
        })
    }

    /// Name of the system.
    pub fn name(&self) -> SystemName {
        self.shared.name
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        self.shared.data_dir.path()
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Where role and health are told over HTTP, if the configuration says so.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.shared.health_address()
    }

    /// Whether a journal stopped after a write or flush went wrong: it must be looked at before it is started again.
    pub fn is_poisoned(&self) -> bool {
        self.shared.runtimes().iter().any(|runtime| match runtime {
            JournalRuntime::Local(local) => local.journal.gate() == Gate::Poisoned,
            JournalRuntime::Copy(copy) => copy.status().failure.is_some(),
            JournalRuntime::Opening(_) | JournalRuntime::Broken(_) => false,
        })
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Stops everything in order: what is deposited is written, partners are told, jobs end.
    pub async fn stop(&self) {
        self.shared.stop().await;
    }
}

impl Shared {
    async fn stop(&self) {
        if self.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        self.loads.stop_all();
        drop(lock(&self.health).take());
        self.jobs.stop_all().await;
        for runtime in self.runtimes() {
            Self::keep_acknowledged(&runtime);
            self.stop_journal(&runtime).await;
        }
        self.hooks.rest().await;
        self.guests.leave().await;
        let endpoint = lock(&self.endpoint).take();
        if let Some(endpoint) = endpoint {
            endpoint.release().await;
        }
        self.data_dir.release();
        self.changed.notify(usize::MAX);
    }
}
