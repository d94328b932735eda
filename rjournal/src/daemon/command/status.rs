//! Room `daemon`: the one question of a Friday night: is everything protected, and if not, what would be lost? And the
//! messages that say since when. Answered from memory, always (failures.md CTL-4).

use serde::{Deserialize, Serialize};

use super::apply::JobDescription;
use super::group_health::{GroupHealth, judge_group};
use super::journal::{JournalDescription, JournalState};
use crate::daemon::messages::{OperatorMessage, Severity};
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::{QualifiedName, RdbName, Sequence, SystemName, Timestamp};
use crate::journal::{AckClass, Hold};
use crate::remote::LinkState;

/// STATUS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeStatus {}

/// One word for all of it, and the exit code of STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Health {
    /// Everything is as it was asked for (0).
    Protected,
    /// Something is less protected than asked for, or on its way back (1).
    Degraded,
    /// Something is stopped (2).
    Stopped,
    /// It cannot be told (3).
    Unknown,
}

/// What would be lost if the source died now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// Entries no target has on its disk.
    pub entries: u64,
    /// How many bytes of receivers they take; up to 128 KiB too many where the target is far behind.
    pub bytes: u64,
    /// How old the oldest of them is, in seconds.
    pub seconds: u64,
}

/// One link in the status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkHealth {
    /// The partner.
    pub rdb: RdbName,
    /// The remote journal there.
    pub target: QualifiedName,
    /// State.
    pub state: LinkState,
    /// Delivery, as WRKJRNA shows it.
    pub delivery: String,
    /// Entries it is behind; nothing where its last word is too old to be believed.
    pub lag_entries: Option<u64>,
    /// Seconds since it was heard.
    pub silent_seconds: Option<u64>,
    /// Whether it is as it was asked to be.
    pub health: Health,
    /// What is wrong.
    pub note: Option<String>,
}

/// One journal in the status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalHealth {
    /// The journal.
    pub journal: QualifiedName,
    /// *LOCAL or *REMOTE.
    pub kind: String,
    /// State.
    pub state: JournalState,
    /// The last entry.
    pub last: Sequence,
    /// What a deposit would be answered now; nothing where none would be taken, or on a copy.
    pub class: Option<AckClass>,
    /// What would be lost if this system died now (local), nothing where no target exists.
    pub exposure: Option<Exposure>,
    /// Its links.
    pub links: Vec<LinkHealth>,
    /// Who holds the oldest receiver.
    pub oldest_hold: Option<Hold>,
    /// Bytes of receivers here.
    pub receiver_bytes: u64,
    /// In how many days the disk is full if it goes on like this; nothing where that cannot be told yet.
    pub days_until_full: Option<u64>,
    /// How it is.
    pub health: Health,
    /// What is wrong.
    pub note: Option<String>,
}

/// What STATUS shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The system.
    pub system: SystemName,
    /// Its role: what its journals make of it, as in `source`, `target`, `source and target`.
    pub role: String,
    /// When this was true.
    pub time: Timestamp,
    /// Since when the daemon runs, in seconds.
    pub up_seconds: u64,
    /// One word for all of it.
    pub health: Health,
    /// The recovery groups this system is a member of.
    #[serde(default)]
    pub groups: Vec<GroupHealth>,
    /// The journals.
    pub journals: Vec<JournalHealth>,
    /// The apply jobs.
    pub jobs: Vec<JobDescription>,
    /// Free bytes on the disk.
    pub free_bytes: u64,
}

/// DSPMSG.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListMessages {
    /// Only those after this number.
    #[serde(default)]
    pub after: u64,
    /// Only those at least this grave.
    pub severity: Severity,
    /// The newest so many.
    pub count: usize,
}

/// What DSPMSG shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageList {
    /// The messages, oldest first.
    pub messages: Vec<OperatorMessage>,
}

/// Said of a link whose target was given up.
const LOAD_ANEW: &str = "must be loaded anew: the entries it misses are no longer here";
/// A link that was not heard for this long is not believed.
const SILENT_SECONDS_MAX: u64 = 30;

impl Shared {
    pub(in crate::daemon) fn describe_status(&self) -> Status {
        let journals: Vec<JournalHealth> = self
            .runtimes_by_name()
            .iter()
            .map(|(name, runtime)| self.judge(*name, runtime))
            .collect();
        let records = self.catalog(|catalog| catalog.jobs.clone());
        let jobs: Vec<JobDescription> = records
            .iter()
            .map(|(store, record)| self.describe_job(*store, record))
            .collect();
        let stopped_job = jobs
            .iter()
            .any(|job| job.active && (job.note.is_some() || job.needs_reinit));
        let all = self.groups.all();
        let judged = all.iter().map(|group| self.describe_group(group));
        let groups: Vec<GroupHealth> = judged
            .map(|described| judge_group(&described, self.clock.wall()))
            .collect();
        let worst = journals
            .iter()
            .map(|journal| journal.health)
            .chain(groups.iter().map(|group| group.health))
            .max()
            .unwrap_or(Health::Protected);
        let health = if stopped_job {
            worst.max(Health::Degraded)
        } else {
            worst
        };
        // A journal of a group that is not written now makes nothing of the system.
        let mut written = journals
            .iter()
            .filter(|journal| journal.state != JournalState::Standby);
        let mut used = written.clone();
        let feeds = written.any(|journal| journal.kind == "*LOCAL" || !journal.links.is_empty());
        let is_fed = used.any(|journal| journal.kind == "*REMOTE");
        let role = match (feeds, is_fed) {
            (true, true) => "source and target",
            (true, false) => "source",
            (false, true) => "target",
            (false, false) => "no journals",
        };
        Status {
            system: self.name,
            role: role.to_owned(),
            time: self.clock.wall(),
            up_seconds: self.clock.now().elapsed().as_secs(),
            health,
            groups,
            journals,
            jobs,
            free_bytes: self.disk.free_bytes().unwrap_or(0),
        }
    }

    fn judge(&self, name: QualifiedName, runtime: &JournalRuntime) -> JournalHealth {
        let description = self.describe(name, runtime);
        let mut links: Vec<LinkHealth> = description
            .links
            .iter()
            .map(|link| self.judge_link(link))
            .collect();
        if description.state == JournalState::Standby {
            // It feeds nobody before it is written again.
            links.clear();
        }
        let receiver_bytes = description
            .receivers
            .iter()
            .map(|receiver| receiver.bytes)
            .sum();
        // A local journal that nothing replicates is lost with its disk, whatever was ordered.
        let alone = description.kind == "*LOCAL"
            && !description
                .links
                .iter()
                .any(|link| link.state == LinkState::Active);
        let own = match description.state {
            // What there is to say of an active one is that its disk is slow.
            JournalState::Active if alone || description.note.is_some() => Health::Degraded,
            JournalState::Active | JournalState::Standby => Health::Protected,
            JournalState::Inactive if description.kind == "*REMOTE" => Health::Degraded,
            JournalState::Held
            | JournalState::Full
            | JournalState::Opening
            | JournalState::Failed
            | JournalState::Damaged
            | JournalState::Inactive => Health::Stopped,
        };
        // Whatever was ordered of them, nothing goes over the links of a journal that is not there.
        if matches!(
            description.state,
            JournalState::Damaged | JournalState::Failed
        ) {
            for link in &mut links {
                link.health = own;
            }
        }
        let worst = links
            .iter()
            .map(|link| link.health)
            .max()
            .unwrap_or(Health::Protected);
        let class = match (runtime, description.state) {
            (JournalRuntime::Local(local), JournalState::Active) => Some(local.class_now()),
            _ => None,
        };
        JournalHealth {
            journal: name,
            last: description.watermarks.sealed,
            class,
            exposure: exposure(&description, runtime),
            links,
            oldest_hold: self
                .holds_of(name)
                .into_iter()
                .min_by_key(|hold| hold.after),
            receiver_bytes,
            days_until_full: self.days_until_full(&description, receiver_bytes),
            health: own.max(worst),
            note: description.note,
            kind: description.kind,
            state: description.state,
        }
    }

    fn judge_link(&self, link: &super::journal::LinkDescription) -> LinkHealth {
        let silent = (link.heard_at != Timestamp::ZERO)
            .then(|| self.clock.wall().since(link.heard_at).as_secs());
        let believed = silent.is_some_and(|seconds| seconds <= SILENT_SECONDS_MAX);
        let health = match link.state {
            LinkState::Failed => Health::Stopped,
            LinkState::Active if link.needs_reinit => Health::Stopped,
            LinkState::Active if link.delivery.ends_with("PEND") || !believed => Health::Degraded,
            LinkState::Active | LinkState::Inactive | LinkState::ControlledEnd => Health::Protected,
        };
        let anew = link.needs_reinit.then_some(LOAD_ANEW);
        let notes: Vec<&str> = anew.into_iter().chain(link.note.as_deref()).collect();
        LinkHealth {
            rdb: link.rdb,
            target: link.target,
            state: link.state,
            delivery: link.delivery.clone(),
            lag_entries: believed.then_some(link.lag_entries),
            silent_seconds: silent,
            health,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        }
    }

    fn days_until_full(
        &self,
        description: &JournalDescription,
        receiver_bytes: u64,
    ) -> Option<u64> {
        let first = description.receivers.first()?.attached_at;
        let age = self.clock.wall().since(first).as_secs();
        let free = self.disk.free_bytes().ok()?;
        if first == Timestamp::ZERO || age < 3600 || receiver_bytes == 0 {
            return None;
        }
        let per_day = u128::from(receiver_bytes) * 86_400 / u128::from(age);
        u64::try_from(u128::from(free).checked_div(per_day)?).ok()
    }

    pub(super) fn list_messages(&self, request: &ListMessages) -> MessageList {
        MessageList {
            messages: self.messages.list(
                request.after,
                request.severity,
                request.count.clamp(1, 2_000),
            ),
        }
    }
}

/// What no target has: measured from the furthest one.
fn exposure(description: &JournalDescription, runtime: &JournalRuntime) -> Option<Exposure> {
    let JournalRuntime::Local(_) = runtime else {
        return None;
    };
    let active = description
        .links
        .iter()
        .filter(|link| link.state != LinkState::Inactive);
    let nearest = active.min_by_key(|link| link.lag_entries)?;
    let seconds = if nearest.lag_entries == 0 {
        0
    } else {
        nearest.lag_ms.unwrap_or(u64::MAX) / 1000
    };
    Some(Exposure {
        entries: nearest.lag_entries,
        bytes: nearest.lag_bytes,
        seconds,
    })
}
