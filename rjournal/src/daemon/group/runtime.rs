//! Room `daemon`, recovery groups: one group of this system, from outside: its standing, what other members said last, what is
//! under way. Must not judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;

use super::file::{GROUPS_DIR, GroupFile};
use crate::daemon::system::lock;
use crate::disk::Disk;
use crate::entry::{GroupId, JournalId, Moment, Name, SystemId, Timestamp};
use crate::error::SystemError;
use crate::remote::{GroupNews, PathTried};
use crate::role::Standing;

/// What another member said last.
#[derive(Debug, Clone)]
pub(crate) struct HeardFrom {
    /// What it said.
    pub(crate) news: Option<GroupNews>,
    /// When it was heard last, by this system's clock.
    pub(crate) at: Timestamp,
    /// The same, for time-outs.
    pub(crate) since: Option<Moment>,
    /// Why the last attempt came to nothing; nothing where it did not.
    pub(crate) error: Option<String>,
    /// Whether this member's journal could be fed to its copy there, and when that was tried.
    pub(crate) path: Option<(Result<(), String>, Timestamp)>,
}

/// One group.
#[derive(Debug)]
pub(crate) struct GroupRuntime {
    pub(crate) id: GroupId,
    pub(crate) name: Name,
    file: Mutex<GroupFile>,
    heard: Mutex<BTreeMap<SystemId, HeardFrom>>,
    /// Something happened that the group's task should look at.
    pub(super) wake: Notify,
    /// Deposit keys of the journals of others.
    pub(super) keys: Mutex<super::keys::KeyCollector>,
    /// The standing changed.
    pub(super) changed: event_listener::Event,
    /// Whoever is on the way to another role, or settles what a role wants, holds this.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Whoever changes what the journals of the group are here holds this, for a moment: a promise is given and a term is opened
    /// one after the other, never at once.
    pub(super) seat: tokio::sync::Mutex<()>,
    /// What is under way, for people.
    doing: Mutex<Option<String>>,
    /// An operator gives up the switch under way.
    giving_up: AtomicBool,
    /// The terms other members follow, as they said last.
    followed: Mutex<BTreeMap<SystemId, u64>>,
    told: Mutex<Option<u64>>,
    trouble: Mutex<Option<String>>,
    behind: Mutex<Option<String>>,
    /// Members that are being asked: one question at a time.
    asking: Mutex<BTreeSet<SystemId>>,
    /// The group ends: its task does.
    pub(super) over: std::sync::atomic::AtomicBool,
}

impl GroupRuntime {
    pub(super) fn new(file: GroupFile) -> Arc<Self> {
        let (id, name) = (file.get().group.id, file.get().group.name);
        Arc::new(Self {
            id,
            name,
            file: Mutex::new(file),
            heard: Mutex::default(),
            wake: Notify::new(),
            keys: Mutex::default(),
            changed: event_listener::Event::new(),
            turn: tokio::sync::Mutex::default(),
            seat: tokio::sync::Mutex::default(),
            doing: Mutex::default(),
            giving_up: AtomicBool::new(false),
            followed: Mutex::default(),
            told: Mutex::default(),
            trouble: Mutex::default(),
            behind: Mutex::default(),
            asking: Mutex::default(),
            over: AtomicBool::new(false),
        })
    }

    /// The standing now.
    pub(crate) fn standing(&self) -> Standing {
        lock(&self.file).get().clone()
    }

    /// Looks at the standing.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Standing) -> T) -> T {
        look(lock(&self.file).get())
    }

    /// Changes the standing durably.
    pub(super) fn update<T>(
        &self,
        change: impl FnOnce(&mut Standing) -> T,
    ) -> Result<T, SystemError> {
        let given = lock(&self.file).update(change);
        self.changed.notify(usize::MAX);
        given
    }

    pub(super) fn dir(&self) -> std::path::PathBuf {
        lock(&self.file).dir().to_path_buf()
    }

    /// What other members said last.
    pub(crate) fn heard(&self) -> BTreeMap<SystemId, HeardFrom> {
        lock(&self.heard).clone()
    }

    /// Notes what came of asking a member.
    pub(super) fn note_heard(
        &self,
        from: SystemId,
        told: Result<&GroupNews, String>,
        wall: Timestamp,
        now: Moment,
    ) {
        let mut heard = lock(&self.heard);
        let entry = heard.entry(from).or_insert_with(|| HeardFrom {
            news: None,
            at: Timestamp::ZERO,
            since: None,
            error: None,
            path: None,
        });
        match told {
            Ok(news) => {
                entry.news = Some(news.clone());
                (entry.at, entry.since, entry.error) = (wall, Some(now), None);
            }
            Err(error) => entry.error = Some(error),
        }
    }

    pub(super) fn note_path(&self, to: SystemId, path: Result<(), String>, wall: Timestamp) {
        if let Some(entry) = lock(&self.heard).get_mut(&to) {
            entry.path = Some((path, wall));
        }
    }

    /// The ways from here to the others, as they were tried last.
    pub(super) fn paths(&self) -> Vec<PathTried> {
        let heard = lock(&self.heard);
        let tried = heard.iter().filter_map(|(to, heard)| {
            let (path, at) = heard.path.clone()?;
            Some(PathTried {
                to: *to,
                error: path.err(),
                at,
            })
        });
        tried.collect()
    }

    /// Whether a member now follows a term that its news did not say before.
    pub(super) fn is_waiting_for(&self, system: SystemId, follows: u64) -> bool {
        lock(&self.followed).insert(system, follows) != Some(follows)
    }

    /// The term this member told the others last that it follows.
    pub(super) fn told(&self) -> Option<u64> {
        *lock(&self.told)
    }

    pub(super) fn set_told(&self, follows: u64) {
        *lock(&self.told) = Some(follows);
    }

    /// Has the group's task look at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether a member may be asked now: it is not being asked yet.
    pub(super) fn begin_asking(&self, system: SystemId) -> bool {
        lock(&self.asking).insert(system)
    }

    pub(super) fn end_asking(&self, system: SystemId) {
        lock(&self.asking).remove(&system);
    }

    /// What keeps the group from being furnished. Says whether that is new.
    pub(super) fn set_trouble(&self, trouble: Option<String>) -> bool {
        replace(&self.trouble, trouble)
    }

    /// Why this member's own journal does not open behind what another has of it. Says whether that is new.
    pub(super) fn set_behind(&self, behind: Option<String>) -> bool {
        replace(&self.behind, behind)
    }

    /// What is under way, for people.
    pub(crate) fn doing(&self) -> Option<String> {
        lock(&self.doing).clone()
    }

    pub(super) fn set_doing(&self, doing: Option<String>) {
        *lock(&self.doing) = doing;
    }

    /// Gives up the switch under way, or says that nobody does any more.
    pub(super) fn set_giving_up(&self, giving_up: bool) {
        self.giving_up.store(giving_up, Ordering::Release);
    }

    /// Whether the switch under way is given up.
    pub(super) fn is_giving_up(&self) -> bool {
        self.giving_up.load(Ordering::Acquire)
    }
}

fn replace(kept: &Mutex<Option<String>>, now: Option<String>) -> bool {
    let mut kept = lock(kept);
    let fresh = *kept != now;
    *kept = now;
    fresh
}

/// All groups of a system.
#[derive(Debug, Default)]
pub(crate) struct Groups(RwLock<BTreeMap<GroupId, Arc<GroupRuntime>>>);

impl Groups {
    /// Reads the groups of a data directory; gives what is wrong with slots that cannot be read.
    pub(crate) fn load(disk: &Arc<dyn Disk>) -> Result<(Self, Vec<String>), SystemError> {
        let names = match disk.list(Path::new(GROUPS_DIR)) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(SystemError::io("could not be listed", GROUPS_DIR, source)),
        };
        let (mut groups, mut stale) = (BTreeMap::new(), Vec::new());
        for name in names {
            let dir = Path::new(GROUPS_DIR).join(&name);
            if let Some((file, slot)) = GroupFile::open(disk, &dir)? {
                stale.extend(slot);
                groups.insert(file.get().group.id, GroupRuntime::new(file));
            }
        }
        Ok((Self(RwLock::new(groups)), stale))
    }

    /// All groups.
    pub(crate) fn all(&self) -> Vec<Arc<GroupRuntime>> {
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        groups.values().cloned().collect()
    }

    /// One group.
    pub(crate) fn find(&self, id: GroupId) -> Option<Arc<GroupRuntime>> {
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&id).cloned()
    }

    /// One group by its name.
    pub(crate) fn named(&self, name: Name) -> Option<Arc<GroupRuntime>> {
        self.all().into_iter().find(|group| group.name == name)
    }

    /// The group a journal belongs to.
    pub(crate) fn of_journal(&self, journal: JournalId) -> Option<Arc<GroupRuntime>> {
        let all = self.all().into_iter();
        let mut of = all.filter(|group| group.look(|at| at.group.writer_of(journal).is_some()));
        of.next()
    }

    pub(super) fn insert(&self, group: Arc<GroupRuntime>) {
        let mut groups = self.0.write().unwrap_or_else(PoisonError::into_inner);
        groups.insert(group.id, group);
    }

    pub(super) fn remove(&self, id: GroupId) {
        let mut groups = self.0.write().unwrap_or_else(PoisonError::into_inner);
        groups.remove(&id);
    }
}
