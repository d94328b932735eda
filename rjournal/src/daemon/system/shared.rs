//! Room `daemon`, a system: what all its tasks and commands share: who it is, clock, catalog, keys, messages. Must not know
//! what tasks and commands do with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use event_listener::Event;

use super::archives::Archives;
use super::names::Claims;
use super::open_cycles::OpenCycles;
use super::repair::Repairs;
use super::running::SystemOptions;
use super::runtime::JournalRuntime;
use crate::daemon::catalog::{Catalog, CatalogFile, KnownKeys, Partner};
use crate::daemon::clock::{Clock, SystemClock, SystemEntropy};
use crate::daemon::command::CommandError;
use crate::daemon::config::Config;
use crate::daemon::data_dir::{self, DataDir, SystemRecord};
use crate::daemon::first_copy::{Lends, Loads};
use crate::daemon::group::{Groups, RoleHooks};
use crate::daemon::health::HealthEndpoint;
use crate::daemon::jobs::Jobs;
use crate::daemon::messages::{Messages, Severity};
use crate::daemon::task::accept::Guests;
use crate::daemon::task::link::Places;
use crate::disk::Disk;
use crate::entry::{QualifiedName, RdbName, SystemId, SystemName};
use crate::error::SystemError;
use crate::journal::{Entropy, Owner};
use crate::link::{Fingerprint, Identity, LinkEndpoint};

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
    pub(super) endpoint: Mutex<Option<LinkEndpoint>>,
    pub(in crate::daemon) health: Mutex<Option<HealthEndpoint>>,
    pub(crate) hooks: RoleHooks,
    pub(crate) guests: Guests,
    pub(crate) catch_ups: Places,
    pub(crate) messages: Messages,
    pub(crate) jobs: Jobs,
    /// Administrative commands run one at a time.
    pub(crate) admin: tokio::sync::Mutex<()>,
    pub(super) data_dir: DataDir,
    pub(super) config: Config,
    catalog: Mutex<CatalogFile>,
    pub(super) keys: Arc<KnownKeys>,
    pub(super) journals: RwLock<BTreeMap<QualifiedName, JournalRuntime>>,
    pub(super) changed: Event,
    pub(super) stopping: AtomicBool,
    pub(super) looks: Mutex<u32>,
    pub(super) claims: Claims,
    pub(crate) groups: Groups,
    pub(crate) repairs: Repairs,
    /// Held while receivers are looked at and deleted, and while a new hold on them is made: none falls in between.
    pub(crate) retiring: tokio::sync::Mutex<()>,
    pub(crate) lends: Lends,
    pub(crate) loads: Loads,
    pub(super) archives: Archives,
    pub(super) open_cycles: OpenCycles,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn load(
        options: SystemOptions,
        config: Config,
        runtime: tokio::runtime::Handle,
    ) -> Result<Arc<Self>, SystemError> {
        let data_dir = DataDir::open(&options.data, options.moved)?;
        let record = data_dir.record().clone();
        data_dir::require_name(&options.data, &record, &config)?;
        let disk = Arc::clone(data_dir.disk());
        let (catalog, stale) = CatalogFile::open(&disk, &options.data)?;
        let (groups, stale_groups) = Groups::load(&disk)?;
        let messages = Messages::open(&options.data, config.on_message.as_deref())?;
        let keys = Arc::new(KnownKeys::default());
        keys.set(catalog.get());
        let (job_program, data) = (options.job_program, options.data);
        let shared = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            id: record.system,
            name: record.name,
            disk,
            clock: Arc::new(SystemClock::start()),
            entropy: Arc::new(SystemEntropy),
            jobs: Jobs::new(runtime.clone(), job_program, data, Weak::clone(me)),
            hooks: RoleHooks::start(&runtime, &config, Weak::clone(me)),
            runtime,
            endpoint: Mutex::new(None),
            health: Mutex::new(None),
            messages,
            admin: tokio::sync::Mutex::new(()),
            data_dir,
            config,
            catalog: Mutex::new(catalog),
            keys,
            journals: RwLock::new(BTreeMap::new()),
            changed: Event::new(),
            guests: Guests::default(),
            catch_ups: Places::default(),
            stopping: AtomicBool::new(false),
            looks: Mutex::new(0),
            claims: Claims::default(),
            groups,
            repairs: Repairs::default(),
            retiring: tokio::sync::Mutex::new(()),
            lends: Lends::default(),
            loads: Loads::default(),
            archives: Archives::default(),
            open_cycles: OpenCycles::default(),
        });
        if let Some(why) = stale {
            let text = format!(
                "a copy of the catalog cannot be read ({why}); the other one is used, which may be the one before. Check \
                 definitions made last"
            );
            shared.post_about("RJN1004", Severity::Alarm, "catalog", text);
        }
        for why in stale_groups {
            let text = format!(
                "a copy of a group's standing cannot be read ({why}); the other one is used, which may be the one before. Other \
                 members say what it forgot"
            );
            shared.post_about("RJN1004", Severity::Alarm, "groups", text);
        }
        Ok(shared)
    }

    /// This system as the owner of its local journals.
    pub(crate) const fn owner(&self) -> Owner {
        Owner {
            system: self.id,
            name: self.name,
        }
    }

    pub(crate) fn arc(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn data_path(&self) -> &Path {
        self.data_dir.path()
    }

    pub(crate) const fn record(&self) -> &SystemRecord {
        self.data_dir.record()
    }

    /// The key this system signs with.
    pub(in crate::daemon) fn identity(&self) -> &Identity {
        self.data_dir.identity()
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

    /// Whether a system may feed a journal here, as the directory is now.
    pub(crate) fn may_feed(&self, system: SystemId, journal: QualifiedName) -> bool {
        let listed = self.catalog(|catalog| {
            let mut partners = catalog.partners.values();
            partners.any(|partner| partner.system == system && partner.may_feed(journal))
        });
        listed || self.is_of_group(system, journal)
    }

    /// Whether a journal here is one of a group the system is a member of: which of them may feed it now is said by the group's
    /// standing.
    fn is_of_group(&self, system: SystemId, journal: QualifiedName) -> bool {
        let id = self.runtime_of(journal).and_then(|runtime| runtime.id());
        let group = id.and_then(|id| self.groups.of_journal(id));
        group.is_some_and(|group| group.look(|at| at.group.member(system).is_some()))
    }

    /// The endpoint, until the system stops.
    pub(crate) fn endpoint(&self) -> Option<LinkEndpoint> {
        lock(&self.endpoint).clone()
    }

    /// A listener for journals that open, break or go.
    pub(crate) fn changed(&self) -> event_listener::EventListener {
        self.changed.listen()
    }
}
