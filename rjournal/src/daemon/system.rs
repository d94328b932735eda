//! Room `daemon`: a system: everything that lives in one data directory, opened, running, stopped. Commands are in
//! `command`, tasks in `task`; here is what they share. Must not decide anything.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use event_listener::Event;

use super::catalog::{Catalog, CatalogFile, KnownKeys, Partner};
use super::clock::{Clock, SystemClock, SystemEntropy};
use super::command::{Command, CommandError, ErrorKind};
use super::config::Config;
use super::crank::{OpeningCrank, OpeningState, Source, carry_confirmation};
use super::data_dir::{DataDir, JOURNALS_DIR, SystemRecord, read_config};
use super::jobs::{JobProgram, Jobs};
use super::messages::{Messages, Severity};
use super::task::copy::CopyRuntime;
use super::task::link::{LinkHandle, LinkSet};
use super::task::local::LocalRuntime;
use super::task::opening::{self, OpenOrder, OpeningRuntime};
use super::task::{accept, ticker};
use crate::disk::Disk;
use crate::entry::control_entry::OpenReason;
use crate::entry::{Actor, JournalId, QualifiedName, RdbName, Sequence, SystemId, SystemName};
use crate::error::{JournalError, LinkError, SystemError};
use crate::journal::{
    Attributes, Copy, Entropy, Gate, Hold, JournalKind, NewJournal, Owner, Recovered, SourceRecord,
};
use crate::link::{Fingerprint, LinkEndpoint, LinkStream, Partners, Wired};
use crate::receiver::{Leftover, ReceiverRecord};
use crate::remote::{Confirmation, PartnerReply, PartnerRequest, Refusal};

/// How long a partner may take to answer a request.
const ASK_MAX: Duration = Duration::from_secs(15);
/// Remembered positions are kept durably every so many looks.
const KEEP_EVERY: u32 = 5;

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

/// A journal that cannot be recovered, or was not.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) id: Option<JournalId>,
    pub(crate) reason: String,
}

/// A journal, whatever it is at the moment.
#[derive(Debug, Clone)]
pub(crate) enum JournalRuntime {
    Opening(Arc<OpeningRuntime>),
    Local(Arc<LocalRuntime>),
    Copy(Arc<CopyRuntime>),
    Broken(Arc<Broken>),
}

impl JournalRuntime {
    /// Its receiver directory.
    pub(crate) fn records(&self) -> Vec<ReceiverRecord> {
        match self {
            Self::Opening(opening) => opening.reader.records(),
            Self::Local(local) => local.journal.reader().records(),
            Self::Copy(copy) => copy.copy.reader().records(),
            Self::Broken(_) => Vec::new(),
        }
    }

    /// Its attributes.
    pub(crate) fn attributes(&self) -> Option<Attributes> {
        match self {
            Self::Opening(opening) => Some(opening.control.attributes.clone()),
            Self::Local(local) => Some((*local.journal.attributes()).clone()),
            Self::Copy(copy) => Some(copy.copy.control().attributes),
            Self::Broken(_) => None,
        }
    }

    /// Its links' set.
    pub(crate) fn link_set(&self) -> Option<&LinkSet> {
        match self {
            Self::Local(local) => Some(&local.links),
            Self::Copy(copy) => Some(&copy.links),
            Self::Opening(_) | Self::Broken(_) => None,
        }
    }

    /// Its links.
    pub(crate) fn links(&self) -> Vec<Arc<LinkHandle>> {
        self.link_set().map(LinkSet::all).unwrap_or_default()
    }

    /// The journal as a source of links and readers.
    pub(crate) fn source(&self) -> Option<Source> {
        match self {
            Self::Local(local) => Some(Source::Local(Arc::clone(&local.journal))),
            Self::Copy(copy) => Some(Source::Copy(Arc::clone(&copy.copy))),
            Self::Opening(_) | Self::Broken(_) => None,
        }
    }
}

/// What all tasks and commands of a system share.
#[derive(Debug)]
pub(crate) struct Shared {
    me: Weak<Self>,
    pub(crate) id: SystemId,
    pub(crate) name: SystemName,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) runtime: tokio::runtime::Handle,
    endpoint: Mutex<Option<LinkEndpoint>>,
    pub(crate) messages: Messages,
    pub(crate) jobs: Jobs,
    /// Administrative commands run one at a time.
    pub(crate) admin: tokio::sync::Mutex<()>,
    data_dir: DataDir,
    config: Config,
    catalog: Mutex<CatalogFile>,
    keys: Arc<KnownKeys>,
    journals: RwLock<BTreeMap<QualifiedName, JournalRuntime>>,
    changed: Event,
    stopping: AtomicBool,
    looks: Mutex<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let listen = shared.config.listen;
        let address = listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let partners: Arc<dyn Partners> = Arc::clone(&shared.keys) as Arc<dyn Partners>;
        let endpoint = LinkEndpoint::bind(address, shared.data_dir.identity().clone(), partners)?;
        *lock(&shared.endpoint) = Some(endpoint);
        if listen.is_some() {
            shared.runtime.spawn(accept::run(Arc::clone(&shared)));
        }
        shared.start_links();
        shared.runtime.spawn(ticker::run(Arc::clone(&shared)));
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
        let reply = self.shared.execute(command.into_request()).await?;
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
    fn load(
        options: SystemOptions,
        config: Config,
        runtime: tokio::runtime::Handle,
    ) -> Result<Arc<Self>, SystemError> {
        let data_dir = DataDir::open(&options.data, options.moved)?;
        let record = data_dir.record().clone();
        if record.name != config.name {
            let reason = format!(
                "name: the system in this directory is {}, not {}",
                record.name, config.name
            );
            return Err(SystemError::Config {
                path: options.data.join(super::config::CONFIG_FILE),
                reason,
            });
        }
        let disk = Arc::clone(data_dir.disk());
        let (catalog, stale) = CatalogFile::open(Arc::clone(&disk), &options.data)?;
        let messages = Messages::open(&options.data, config.on_message.as_deref())?;
        let keys = Arc::new(KnownKeys::default());
        keys.set(catalog.get());
        let jobs = Jobs::new(runtime.clone(), options.job_program, options.data.clone());
        let shared = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            id: record.system,
            name: record.name,
            disk,
            clock: Arc::new(SystemClock::start()),
            entropy: Arc::new(SystemEntropy),
            runtime,
            endpoint: Mutex::new(None),
            messages,
            jobs,
            admin: tokio::sync::Mutex::new(()),
            data_dir,
            config,
            catalog: Mutex::new(catalog),
            keys,
            journals: RwLock::new(BTreeMap::new()),
            changed: Event::new(),
            stopping: AtomicBool::new(false),
            looks: Mutex::new(0),
        });
        if stale {
            let text = "the newest copy of the catalog was damaged; the one before it is used. Check definitions made last";
            shared.post_about("RJN1004", Severity::Alarm, "catalog", text.to_owned());
        }
        Ok(shared)
    }

    /// Recovers all journals, each on a blocking thread.
    async fn open_journals(self: &Arc<Self>) -> Result<(), SystemError> {
        let dirs = self
            .disk
            .list(Path::new(JOURNALS_DIR))
            .map_err(|source| SystemError::io("could not be listed", JOURNALS_DIR, source))?;
        let mut opening = Vec::new();
        for dir in dirs {
            let path = Path::new(JOURNALS_DIR).join(&dir);
            if dir.ends_with(".deleted") {
                self.disk
                    .remove_dir_all(&path)
                    .map_err(|source| SystemError::io("could not be removed", &path, source))?;
                self.post_about(
                    "RJN2005",
                    Severity::Info,
                    "system",
                    format!("finished deleting {}", path.display()),
                );
                continue;
            }
            let shared = Arc::clone(self);
            opening.push(tokio::task::spawn_blocking(move || shared.recover(&path)));
        }
        for task in opening {
            let recovered = task.await.map_err(|error| {
                SystemError::io(
                    "could not be recovered",
                    JOURNALS_DIR,
                    std::io::Error::other(error),
                )
            })?;
            let Some((name, outcome)) = recovered else {
                continue;
            };
            let runtime = match outcome {
                Ok(Opened::Local(crank)) => self.begin_opening(*crank).await,
                Ok(Opened::Copy(copy)) => {
                    Some(JournalRuntime::Copy(CopyRuntime::start(self, *copy)))
                }
                Err(error) => {
                    self.post(
                        "RJN9003",
                        Severity::Critical,
                        name,
                        format!("the journal cannot be recovered: {error}"),
                    );
                    Some(JournalRuntime::Broken(Arc::new(Broken {
                        id: None,
                        reason: error.to_string(),
                    })))
                }
            };
            if let Some(runtime) = runtime {
                self.insert(name, runtime);
            }
        }
        Ok(())
    }

    /// Recovers the journal in one directory; nothing when there never was one.
    fn recover(&self, dir: &Path) -> Option<(QualifiedName, Result<Opened, JournalError>)> {
        let control = crate::journal::ControlFile::open(Arc::clone(&self.disk), dir);
        let (control, stale) = match control {
            Ok((control, stale)) => (control.get().clone(), stale),
            Err(error) => return self.recover_nothing(dir, error),
        };
        if stale {
            let text = "the newest copy of its control file was damaged; the one before it is used, and the receivers";
            self.post("RJN1004", Severity::Alarm, control.name, text.to_owned());
        }
        let disk = Arc::clone(&self.disk);
        let opened = match control.kind {
            JournalKind::Local => Recovered::open(disk, dir, self.owner()).map(|recovered| {
                self.report_leftovers(control.name, recovered.leftovers());
                Opened::Local(Box::new(OpeningCrank::new(recovered)))
            }),
            JournalKind::Remote(_) => {
                Copy::open(disk, dir, self.proven(control.name)).map(|copy| {
                    self.report_leftovers(control.name, copy.leftovers());
                    Opened::Copy(Box::new(copy))
                })
            }
        };
        Some((control.name, opened))
    }

    /// A directory without a control file is what an interrupted CRTJRN or ADDRMTJRN left behind.
    fn recover_nothing(
        &self,
        dir: &Path,
        error: JournalError,
    ) -> Option<(QualifiedName, Result<Opened, JournalError>)> {
        let receivers = self.disk.list(&dir.join("receivers")).unwrap_or_default();
        let missing = self
            .disk
            .list(dir)
            .unwrap_or_default()
            .iter()
            .all(|name| !name.starts_with("control"));
        if missing && receivers.is_empty() {
            let removed = self.disk.remove_dir_all(dir);
            let outcome = removed.map_or_else(
                |error| format!("; it cannot be removed: {error}"),
                |()| " and was removed".to_owned(),
            );
            self.post_about(
                "RJN2005",
                Severity::Info,
                "system",
                format!("{} was never finished{outcome}", dir.display()),
            );
            return None;
        }
        // It has no name any more; its directory's stands for it.
        let stand_in: String = dir
            .file_name()
            .map(|name| name.to_string_lossy().chars().take(9).collect())
            .unwrap_or_default();
        let name = format!("DAMAGED/J{stand_in}").parse().ok()?;
        Some((name, Err(error)))
    }

    /// What apply stores here prove to have been confirmed in a copy.
    fn proven(&self, journal: QualifiedName) -> Sequence {
        self.catalog(|catalog| {
            let jobs = catalog.jobs.values().filter(|job| job.journal == journal);
            jobs.map(|job| job.applied).max().unwrap_or(Sequence::NONE)
        })
    }

    fn report_leftovers(&self, journal: QualifiedName, leftovers: &[Leftover]) {
        for leftover in leftovers {
            let text = match leftover {
                Leftover::File { path } => {
                    format!("{} was never used and was removed", path.display())
                }
                Leftover::TornTail {
                    offset,
                    bytes,
                    aside,
                    ..
                } => format!(
                    "a torn tail of {bytes} bytes at byte {offset} was set aside in {}: it was never answered",
                    aside.display()
                ),
            };
            self.post("RJN2005", Severity::Info, journal, text);
        }
    }

    /// A journal whose in-sync set is empty opens at once; the others ask first.
    async fn begin_opening(self: &Arc<Self>, crank: OpeningCrank) -> Option<JournalRuntime> {
        let name = crank.control().name;
        match crank.state() {
            OpeningState::Ready { reason, rank_above } => {
                let (recovered, _) = crank.finish(self.clock.now());
                let shared = Arc::clone(self);
                let opened = tokio::task::spawn_blocking(move || {
                    shared.open_local(recovered, reason, rank_above)
                })
                .await;
                match opened {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(JournalRuntime::Broken(Arc::new(Broken {
                        id: None,
                        reason: error.to_string(),
                    }))),
                    Err(error) => Some(JournalRuntime::Broken(Arc::new(Broken {
                        id: None,
                        reason: error.to_string(),
                    }))),
                }
            }
            OpeningState::Waiting(_) | OpeningState::Adopting | OpeningState::Refused { .. } => {
                tracing::info!(journal = %name, "waits for its in-sync set before it opens");
                Some(JournalRuntime::Opening(opening::start(self, crank)))
            }
        }
    }

    /// Opens a recovered journal for deposits and starts everything that runs for it.
    pub(crate) fn open_local(
        self: &Arc<Self>,
        recovered: Recovered,
        reason: OpenReason,
        rank_above: (u64, u64),
    ) -> Result<(), JournalError> {
        let name = recovered.control().name;
        let attributes = recovered.control().attributes.clone();
        let tip = recovered.tip().sequence;
        let (journal, writer) = recovered.open_for_deposits(
            reason,
            rank_above,
            Arc::clone(&self.entropy),
            self.clock.wall(),
        )?;
        let timeout = Duration::from_millis(attributes.sync_timeout_ms);
        let mut confirmation = Confirmation::new(
            attributes.policy,
            timeout,
            attributes.waiting_entries_max,
            journal.set(),
            tip,
        );
        let (wall, now) = (self.clock.wall(), self.clock.now());
        confirmation.handle_sealed(journal.tail().marks().sealed, now);
        confirmation.handle_written(journal.tail().marks().written, now);
        carry_confirmation(&journal, &mut confirmation, wall, now);
        journal.set_gate(Gate::Open);
        tracing::info!(journal = %name, epoch = %journal.epoch(), at = %journal.tail().marks().written, "open for deposits");
        let local = LocalRuntime::start(self, journal, writer, confirmation);
        let runtime = JournalRuntime::Local(local);
        self.insert(name, runtime.clone());
        if self.endpoint().is_some() {
            self.start_links_of(&runtime);
        }
        Ok(())
    }

    fn start_links(self: &Arc<Self>) {
        for runtime in self.runtimes() {
            self.start_links_of(&runtime);
        }
    }

    fn start_links_of(self: &Arc<Self>, runtime: &JournalRuntime) {
        let (Some(links), Some(source)) = (runtime.link_set(), runtime.source()) else {
            return;
        };
        for record in source.control().links {
            if links.find((record.rdb, record.target)).is_none() {
                links.start(self, source.clone(), record);
            }
        }
    }

    fn start_jobs(&self) {
        let jobs = self.catalog(|catalog| catalog.jobs.clone());
        for (store, record) in jobs
            .iter()
            .filter(|(_, record)| record.active && record.stopped.is_none())
        {
            if let Err(reason) = self.jobs.start(*store, record) {
                tracing::info!(%store, reason, "the apply job is not started");
            }
        }
    }

    /// This system as the owner of its local journals.
    pub(crate) const fn owner(&self) -> Owner {
        Owner {
            system: self.id,
            name: self.name,
        }
    }

    /// Who deposits when an operator does.
    pub(crate) fn actor(&self) -> Actor {
        let user = std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .unwrap_or_default();
        Actor::new("DAEMON", &user, "RJOURNAL", self.name.as_str())
    }

    pub(crate) fn arc(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    pub(crate) const fn record(&self) -> &SystemRecord {
        self.data_dir.record()
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.data_dir.identity().fingerprint()
    }

    pub(crate) fn listening_on(&self) -> Option<SocketAddr> {
        self.config
            .listen
            .and_then(|_| self.endpoint()?.address().ok())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Puts a message about a journal down.
    pub(crate) fn post(&self, id: &str, severity: Severity, journal: QualifiedName, text: String) {
        self.post_about(id, severity, &journal.to_string(), text);
    }

    /// Puts a message down.
    pub(crate) fn post_about(&self, id: &str, severity: Severity, about: &str, text: String) {
        self.messages
            .post(id, severity, about, text, self.clock.wall());
    }

    pub(crate) fn catalog<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(lock(&self.catalog).get())
    }

    /// Changes the catalog durably. A change that refuses must leave it as it was.
    pub(crate) fn update_catalog<T>(
        &self,
        change: impl FnOnce(&mut Catalog) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        lock(&self.catalog).update(change)?
    }

    pub(crate) fn refresh_keys(&self) {
        self.catalog(|catalog| self.keys.set(catalog));
    }

    pub(crate) fn partner_by_key(&self, fingerprint: &Fingerprint) -> Option<(RdbName, Partner)> {
        self.catalog(|catalog| {
            catalog
                .partner_by_key(fingerprint)
                .map(|(name, partner)| (name, partner.clone()))
        })
    }

    /// The endpoint, until the system stops.
    pub(crate) fn endpoint(&self) -> Option<LinkEndpoint> {
        lock(&self.endpoint).clone()
    }

    /// A listener for journals that open, break or go.
    pub(crate) fn changed(&self) -> event_listener::EventListener {
        self.changed.listen()
    }

    fn insert(&self, name: QualifiedName, runtime: JournalRuntime) {
        self.journals
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, runtime);
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn runtime_of(&self, name: QualifiedName) -> Option<JournalRuntime> {
        self.journals
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            .cloned()
    }

    pub(crate) fn runtimes(&self) -> Vec<JournalRuntime> {
        self.journals
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn runtimes_by_name(&self) -> Vec<(QualifiedName, JournalRuntime)> {
        let journals = self.journals.read().unwrap_or_else(PoisonError::into_inner);
        journals
            .iter()
            .map(|(name, runtime)| (*name, runtime.clone()))
            .collect()
    }

    pub(crate) fn journal_names(&self) -> Vec<QualifiedName> {
        self.journals
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    /// Connects to a partner.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn dial(&self, rdb: RdbName) -> Result<LinkStream, LinkError> {
        let partner = self.catalog(|catalog| catalog.partners.get(&rdb).cloned());
        let Some(partner) = partner else {
            return Err(LinkError::NoPartner { rdb });
        };
        let Some(address) = partner.address else {
            return Err(LinkError::NoAddress { rdb });
        };
        let Some(endpoint) = self.endpoint() else {
            return Err(LinkError::NoAddress { rdb });
        };
        let resolved = tokio::net::lookup_host(&address).await;
        let mut addresses = resolved.map_err(|error| LinkError::Resolve {
            address: address.clone(),
            reason: error.to_string(),
        })?;
        match addresses.next() {
            Some(found) => endpoint.connect(found, partner.fingerprint).await,
            None => Err(LinkError::Resolve {
                address: address.clone(),
                reason: "no address has this name".to_owned(),
            }),
        }
    }

    /// Asks a partner something outside a session.
    ///
    /// Cancel safe: yes, but it may have been done.
    pub(crate) async fn ask_partner(
        &self,
        rdb: RdbName,
        request: PartnerRequest,
    ) -> Result<PartnerReply, CommandError> {
        let help = format!(
            "WRKRDBDIRE shows the entry; is {rdb} running, and does it know this system's key (DSPSYSID)?"
        );
        let ask = async {
            let mut stream = self.dial(rdb).await?;
            stream.send(&[Wired::Request(Box::new(request))]).await?;
            let answer = stream.receive().await?;
            stream.finish().await;
            Ok::<_, LinkError>(answer)
        };
        match tokio::time::timeout(ASK_MAX, ask).await {
            Ok(Ok(Some(Wired::Reply(reply)))) => Ok(*reply),
            Ok(Ok(_)) => Err(CommandError::new(
                ErrorKind::Unreachable,
                "CPF70C5",
                format!("{rdb} gave no answer"),
            )
            .help(help)),
            Ok(Err(error @ LinkError::NoPartner { .. })) => Err(CommandError::new(
                ErrorKind::NotFound,
                "CPF9801",
                error.to_string(),
            )),
            Ok(Err(error)) => Err(CommandError::from(error).help(help)),
            Err(_) => Err(CommandError::new(
                ErrorKind::Unreachable,
                "CPF70C5",
                format!("{rdb} did not answer in time"),
            )
            .help(help)),
        }
    }

    /// Another system knows a later history than this source: it gives no further answer (failures.md COU-5, COU-7, COU-8).
    pub(crate) fn close_journal(&self, name: QualifiedName, refusal: &Refusal) {
        let Some(JournalRuntime::Local(local)) = self.runtime_of(name) else {
            return;
        };
        let text = format!("closed for deposits ({:?}): {}", refusal.code, refusal.text);
        local.journal.close();
        let stopped = text.clone();
        if let Err(error) = local
            .journal
            .update(|control| control.stopped = Some(stopped))
        {
            tracing::error!(journal = %name, %error, "cannot be kept");
        }
        *lock(&local.failure) = Some(text.clone());
        self.post("RJN2006", Severity::Critical, name, text);
    }

    pub(crate) fn journal_broken(&self, name: QualifiedName, reason: String) {
        self.insert(
            name,
            JournalRuntime::Broken(Arc::new(Broken { id: None, reason })),
        );
    }

    /// Makes a local journal and opens it.
    pub(crate) async fn make_local(
        &self,
        name: QualifiedName,
        receiver: QualifiedName,
        attributes: Attributes,
    ) -> Result<JournalId, CommandError> {
        let Some(shared) = self.arc() else {
            return Err(CommandError::new(
                ErrorKind::Internal,
                "RJN1003",
                "the system is stopping",
            ));
        };
        let made = tokio::task::spawn_blocking(move || {
            let dir = shared.new_dir();
            let recovered = Recovered::create(
                Arc::clone(&shared.disk),
                &dir,
                shared.owner(),
                NewJournal {
                    name,
                    first_receiver: receiver,
                    attributes,
                },
                &*shared.entropy,
                shared.clock.wall(),
            )?;
            let id = recovered.control().journal;
            shared.open_local(recovered, OpenReason::Created, (0, 0))?;
            Ok::<_, JournalError>(id)
        });
        Ok(made.await.map_err(|error| {
            CommandError::new(ErrorKind::Internal, "RJN1003", error.to_string())
        })??)
    }

    /// Makes an empty copy.
    pub(crate) async fn make_copy(
        &self,
        journal: JournalId,
        name: QualifiedName,
        source: SourceRecord,
        attributes: Attributes,
    ) -> Result<(), CommandError> {
        let Some(shared) = self.arc() else {
            return Err(CommandError::new(
                ErrorKind::Internal,
                "RJN1003",
                "the system is stopping",
            ));
        };
        let made = tokio::task::spawn_blocking(move || {
            let dir = shared.new_dir();
            let copy = Copy::create(
                Arc::clone(&shared.disk),
                &dir,
                journal,
                name,
                source,
                attributes,
                shared.clock.wall(),
            )?;
            let runtime = CopyRuntime::start(&shared, copy);
            shared.insert(name, JournalRuntime::Copy(runtime));
            Ok::<_, JournalError>(())
        });
        Ok(made.await.map_err(|error| {
            CommandError::new(ErrorKind::Internal, "RJN1003", error.to_string())
        })??)
    }

    /// A fresh name for a journal's directory: files are named by the system that writes them, never by a peer.
    fn new_dir(&self) -> PathBuf {
        let id = JournalId::from_bytes(self.entropy.id()).to_string();
        Path::new(JOURNALS_DIR).join(id.get(..16).unwrap_or(&id))
    }

    /// Stops a journal and removes everything of it: first from its name, then its files (failures.md DEL-2).
    pub(crate) async fn drop_journal(&self, name: QualifiedName) -> Result<(), CommandError> {
        let Some(runtime) = self.runtime_of(name) else {
            return Ok(());
        };
        let dir = match &runtime {
            JournalRuntime::Local(local) => {
                local.journal.reader().dir().parent().map(Path::to_path_buf)
            }
            JournalRuntime::Copy(copy) => copy.copy.reader().dir().parent().map(Path::to_path_buf),
            JournalRuntime::Opening(opening) => {
                opening.reader.dir().parent().map(Path::to_path_buf)
            }
            JournalRuntime::Broken(_) => None,
        };
        let Some(dir) = dir else {
            let text = format!("journal {name} is damaged; its files are not touched");
            return Err(CommandError::new(ErrorKind::Damaged, "RJN1002", text)
                .help("remove its directory by hand while the system is stopped"));
        };
        self.stop_journal(&runtime).await;
        self.journals
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&name);
        let gone = dir.with_extension("deleted");
        let disk = Arc::clone(&self.disk);
        let removed = tokio::task::spawn_blocking(move || {
            disk.durable_rename(&dir, &gone)?;
            disk.remove_dir_all(&gone)
        })
        .await;
        match removed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => {
                Err(SystemError::io("could not be removed", name.to_string(), source).into())
            }
            Err(error) => Err(CommandError::new(
                ErrorKind::Internal,
                "RJN1003",
                error.to_string(),
            )),
        }
    }

    async fn stop_journal(&self, runtime: &JournalRuntime) {
        if let Some(links) = runtime.link_set() {
            links.stop().await;
        }
        match runtime {
            JournalRuntime::Local(local) => {
                let local = Arc::clone(local);
                drop(tokio::task::spawn_blocking(move || local.stop()).await);
            }
            JournalRuntime::Copy(copy) => copy.stop().await,
            JournalRuntime::Opening(opening) => opening.order(OpenOrder::Shutdown).await,
            JournalRuntime::Broken(_) => {}
        }
    }

    /// Who needs entries of a journal, and from where.
    pub(crate) fn holds_of(&self, journal: QualifiedName) -> Vec<Hold> {
        let Some(runtime) = self.runtime_of(journal) else {
            return Vec::new();
        };
        let mut holds = Vec::new();
        for link in runtime.links() {
            let record = lock(&link.record).clone();
            if !record.needs_reinit {
                let who = format!("remote journal {} at {}", record.target, record.rdb);
                holds.push(Hold {
                    who,
                    after: link.status().acknowledged,
                    expendable: true,
                });
            }
        }
        if let JournalRuntime::Opening(opening) = &runtime {
            for record in opening
                .control
                .links
                .iter()
                .filter(|record| !record.needs_reinit)
            {
                let who = format!("remote journal {} at {}", record.target, record.rdb);
                holds.push(Hold {
                    who,
                    after: record.acknowledged,
                    expendable: true,
                });
            }
        }
        self.catalog(|catalog| {
            for (store, job) in catalog
                .jobs
                .iter()
                .filter(|(_, job)| job.journal == journal && !job.needs_reinit)
            {
                // Receivers are kept until a save covers them (ruling 8).
                holds.push(Hold {
                    who: format!("store {store}"),
                    after: job.saved,
                    expendable: true,
                });
            }
        });
        if let JournalRuntime::Local(local) = &runtime
            && let Some(after) = local.journal.keys_needed_after()
        {
            holds.push(Hold {
                who: "remembered deposit keys".to_owned(),
                after,
                expendable: false,
            });
        }
        holds
    }

    /// Gives consumers up: durably, before anything they need is deleted (failures.md DEL-1, BRD-4).
    pub(crate) fn give_up(
        &self,
        journal: QualifiedName,
        who: &[String],
    ) -> Result<(), CommandError> {
        let Some(runtime) = self.runtime_of(journal) else {
            return Ok(());
        };
        for link in runtime.links() {
            let record = lock(&link.record).clone();
            let name = format!("remote journal {} at {}", record.target, record.rdb);
            if !who.contains(&name) {
                continue;
            }
            if let Some(source) = runtime.source() {
                source.update(|control| {
                    for kept in control
                        .links
                        .iter_mut()
                        .filter(|kept| kept.rdb == record.rdb && kept.target == record.target)
                    {
                        kept.needs_reinit = true;
                    }
                })?;
            }
            lock(&link.record).needs_reinit = true;
            self.post(
                "RJN3003",
                Severity::Critical,
                journal,
                format!("{name} fell too far behind: it must be added and loaded anew"),
            );
        }
        let stores = self.update_catalog(|catalog| {
            let mut given = Vec::new();
            for (store, job) in catalog
                .jobs
                .iter_mut()
                .filter(|(_, job)| job.journal == journal)
            {
                if who.contains(&format!("store {store}")) {
                    // A store that stands beyond what goes only loses the way back to its save.
                    job.needs_reinit = job.restart < job.saved;
                    given.push(*store);
                }
            }
            Ok(given)
        })?;
        for store in stores {
            let text =
                "receivers it would need to be rebuilt were deleted; make a store save now: SAVSTO";
            self.post_about(
                "RJN5003",
                Severity::Alarm,
                &format!("store {store}"),
                text.to_owned(),
            );
        }
        Ok(())
    }

    /// What needs looking after from time to time.
    pub(crate) async fn look_after(&self) {
        let keep = {
            let mut looks = lock(&self.looks);
            *looks = looks.wrapping_add(1);
            looks.is_multiple_of(KEEP_EVERY)
        };
        for (name, runtime) in self.runtimes_by_name() {
            self.retire_receivers(name, &runtime).await;
            if keep {
                Self::keep_acknowledged(&runtime);
            }
        }
    }

    /// Remembers durably how far targets were seen to be: what makes a target that went back show (failures.md COU-6).
    fn keep_acknowledged(runtime: &JournalRuntime) {
        let Some(source) = runtime.source() else {
            return;
        };
        let mut moved = Vec::new();
        for link in runtime.links() {
            let acknowledged = link.status().acknowledged;
            let mut record = lock(&link.record);
            if acknowledged != record.acknowledged {
                record.acknowledged = acknowledged;
                moved.push(record.clone());
            }
        }
        if moved.is_empty() {
            return;
        }
        let kept = source.update(|control| {
            for record in &moved {
                for link in control
                    .links
                    .iter_mut()
                    .filter(|link| link.rdb == record.rdb && link.target == record.target)
                {
                    link.acknowledged = record.acknowledged;
                }
            }
        });
        if let Err(error) = kept {
            tracing::warn!(journal = %source.name(), %error, "positions of targets cannot be kept");
        }
    }

    async fn stop(&self) {
        if self.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        self.jobs.stop_all().await;
        for runtime in self.runtimes() {
            Self::keep_acknowledged(&runtime);
            self.stop_journal(&runtime).await;
        }
        let endpoint = lock(&self.endpoint).take();
        if let Some(endpoint) = endpoint {
            endpoint.release().await;
        }
        self.data_dir.release();
        self.changed.notify(usize::MAX);
    }
}

enum Opened {
    Local(Box<OpeningCrank>),
    Copy(Box<Copy>),
}
