//! Room `daemon`: the links of a journal, from outside: orders to them, their status. The task that carries a link out is in
//! `task`, its connection in `session`, what it tells people in `events`. Must not decide anything.

mod events;
mod places;
mod session;
mod task;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use self::task::LinkTask;
use super::local::lock;
use crate::daemon::crank::{Ending, Source};
use crate::daemon::system::Shared;
use crate::entry::{Position, QualifiedName, RdbName, Sequence, Timestamp};
use crate::error::JournalError;
use crate::journal::LinkRecord;
use crate::remote::{MemberKey, Shown};

pub(super) use self::events::describe_end_here;
pub(in crate::daemon) use self::events::{describe_end, describe_outrun};
pub(crate) use self::places::Places;
pub(in crate::daemon) use self::session::{next_frame, start_session};

/// What a link is told.
#[derive(Debug)]
pub(crate) enum LinkCommand {
    /// An operator activates it; its record may have changed; where an empty target begins.
    Activate {
        record: LinkRecord,
        begin: Option<Position>,
        done: oneshot::Sender<()>,
    },
    /// Its target is ready now: it is dialed at once, whatever it waits for.
    Nudge {
        record: LinkRecord,
        done: oneshot::Sender<()>,
    },
    /// An operator inactivates it.
    Inactivate {
        how: Ending,
        done: oneshot::Sender<Result<(), JournalError>>,
    },
    /// The system stops.
    Shutdown,
}

/// A link for people and for retention.
#[derive(Debug, Clone)]
pub(crate) struct LinkStatus {
    /// The machine's own view.
    pub(crate) shown: Shown,
    /// The highest entry the target is known to have flushed.
    pub(crate) acknowledged: Sequence,
    /// When it last acknowledged.
    pub(crate) heard_at: Timestamp,
    /// Its disk will soon be full.
    pub(crate) low_space: bool,
    /// Why the last dial did not succeed.
    pub(crate) dial_error: Option<String>,
}

/// A link's task, from outside.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    pub(crate) record: Mutex<LinkRecord>,
    pub(crate) status: Arc<Mutex<LinkStatus>>,
    commands: mpsc::Sender<LinkCommand>,
    /// Its target left the in-sync set. Never dropped, however busy the link is: a session that does not hear of it takes
    /// itself for a member's and never asks to join again.
    left: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Name of a link within its journal.
pub(crate) type LinkName = (RdbName, QualifiedName);

/// All links of one journal.
#[derive(Debug, Default)]
pub(crate) struct LinkSet(Mutex<BTreeMap<LinkName, Arc<LinkHandle>>>);

impl LinkSet {
    /// The links.
    pub(crate) fn all(&self) -> Vec<Arc<LinkHandle>> {
        lock(&self.0).values().cloned().collect()
    }

    /// One link.
    pub(crate) fn find(&self, name: LinkName) -> Option<Arc<LinkHandle>> {
        lock(&self.0).get(&name).cloned()
    }

    /// Starts the task of a link, unless it runs; one that is to be active is activated.
    pub(crate) fn start(&self, shared: &Arc<Shared>, source: Source, record: LinkRecord) {
        let name = (record.rdb, record.target);
        // Under one lock: two that start the same link would leave one of its tasks running with nobody to stop it.
        lock(&self.0)
            .entry(name)
            .or_insert_with(|| LinkTask::start(shared, source, record));
    }

    /// Takes a link out; its task ends.
    pub(crate) async fn remove(&self, name: LinkName) {
        let removed = lock(&self.0).remove(&name);
        if let Some(handle) = removed {
            handle.stop().await;
        }
    }

    /// Tells links that their targets left the in-sync set.
    pub(crate) fn tell_left(&self, left: &[MemberKey]) {
        if left.is_empty() {
            return;
        }
        for handle in self.all() {
            let record = lock(&handle.record).clone();
            if left
                .iter()
                .any(|key| key.system == record.system && key.journal == record.target)
            {
                handle.left.notify_one();
            }
        }
    }

    /// Ends all tasks.
    pub(crate) async fn stop(&self) {
        for handle in self.all() {
            handle.stop().await;
        }
    }
}

impl LinkHandle {
    /// Sends a command; one that cannot be taken any more is dropped with its answer.
    pub(crate) async fn command(&self, command: LinkCommand) {
        drop(self.commands.send(command).await);
    }

    async fn stop(&self) {
        self.command(LinkCommand::Shutdown).await;
        let task = lock(&self.task).take();
        if let Some(task) = task {
            drop(task.await);
        }
    }

    /// The status now.
    pub(crate) fn status(&self) -> LinkStatus {
        lock(&self.status).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::SystemId;
    use crate::entry::control_entry::Level;
    use crate::journal::DeliveryMode;
    use crate::remote::Link;

    /// The word was once dropped when many commands waited: the session took itself for a member's for ever.
    #[tokio::test]
    async fn a_link_too_busy_for_commands_hears_that_its_target_left() {
        let name = |text: &str| text.parse().expect("a name");
        let record = LinkRecord {
            rdb: RdbName::new("BKP").expect("a name"),
            system: SystemId::from_bytes([2; 16]),
            target: name("BKPLIB/JRN"),
            delivery: DeliveryMode::Sync,
            level: Level::Written,
            active: true,
            acknowledged: Sequence::NONE,
            needs_reinit: false,
            text: String::new(),
        };
        let key = MemberKey {
            system: record.system,
            journal: record.target,
        };
        let (commands, _busy) = mpsc::channel(1);
        assert!(commands.try_send(LinkCommand::Shutdown).is_ok());
        let status = LinkStatus {
            shown: Link::new(0).shown(),
            acknowledged: Sequence::NONE,
            heard_at: Timestamp::ZERO,
            low_space: false,
            dial_error: None,
        };
        let handle = Arc::new(LinkHandle {
            record: Mutex::new(record.clone()),
            status: Arc::new(Mutex::new(status)),
            commands,
            left: Arc::new(Notify::new()),
            task: Mutex::new(None),
        });
        let links = LinkSet::default();
        lock(&links.0).insert((record.rdb, record.target), Arc::clone(&handle));
        let other = MemberKey {
            journal: name("BKPLIB/OTHER"),
            ..key
        };
        links.tell_left(&[other]);
        let heard = async || {
            tokio::select! {
                biased;
                () = handle.left.notified() => true,
                () = std::future::ready(()) => false,
            }
        };
        assert!(!heard().await);
        links.tell_left(&[key]);
        assert!(heard().await);
        assert!(!heard().await, "once");
    }
}
