//! Room `daemon`: journals: CRTJRN, CHGJRN, DLTJRN, and everything WRKJRNA shows.

use serde::{Deserialize, Serialize};

use super::receiver::threshold_bytes;
use super::{CommandError, Done};
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::copy::CopyEvent;
use crate::daemon::task::opening::OpenOrder;
use crate::entry::control_entry::{Level, Policy};
use crate::entry::{
    Alignment, ChainHead, Epoch, JournalId, QualifiedName, RdbName, Sequence, SystemName, Timestamp,
};
use crate::journal::{Attributes, DeliveryMode, JournalKind, ManageReceivers, next_receiver_name};
use crate::receiver::ReceiverRecord;
use crate::remote::LinkState;

/// Attributes to set; what is not given stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttributePatch {
    /// Size in KB at which receivers are changed.
    pub threshold_kb: Option<u64>,
    /// Who changes receivers.
    pub manage_receivers: Option<ManageReceivers>,
    /// Whether detached receivers nobody needs are deleted.
    pub delete_receivers: Option<bool>,
    /// How bundles are laid into the next receivers.
    pub alignment: Option<Alignment>,
    /// Ship only what is flushed here.
    pub local_first: Option<bool>,
    /// Whether entries carry job, user, program and system.
    pub actor: Option<bool>,
    /// What happens when a *SYNC target does not answer.
    pub policy: Option<Policy>,
    /// How long a *SYNC target may take, in milliseconds.
    pub sync_timeout_ms: Option<u64>,
    /// How many entries may wait for a target under policy BLOCK.
    pub waiting_entries_max: Option<u64>,
    /// Over how many entries deposit keys are remembered.
    pub key_window: Option<u64>,
    /// MiB of receivers above which consumers are given up; 0 for no limit.
    pub retention_mib: Option<u64>,
    /// How long members of the in-sync set are waited for at opening before it is said, in milliseconds.
    pub open_wait_ms: Option<u64>,
    /// Free text.
    pub text: Option<String>,
}

impl AttributePatch {
    /// Sets what is given, checking every value (failures.md CFG-3).
    fn apply(&self, attributes: &mut Attributes) -> Result<(), CommandError> {
        let within = |keyword: &str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                Ok(value)
            } else {
                Err(CommandError::invalid(format!(
                    "{keyword} {value}: {min} to {max} are allowed"
                )))
            }
        };
        if self.threshold_kb.is_some() {
            attributes.threshold = threshold_bytes(self.threshold_kb)?;
        }
        if let Some(millis) = self.sync_timeout_ms {
            attributes.sync_timeout_ms = within("SYNCTIMO (milliseconds)", millis, 100, 3_600_000)?;
        }
        if let Some(entries) = self.waiting_entries_max {
            attributes.waiting_entries_max = within("WAITENT", entries, 1, 10_000_000)?;
        }
        if let Some(window) = self.key_window {
            attributes.key_window = within("KEYWIN", window, 1_000, 100_000_000)?;
        }
        if let Some(mib) = self.retention_mib {
            attributes.retention_bytes_max = within("RTNMIB", mib, 0, 1 << 30)? << 20;
        }
        if let Some(millis) = self.open_wait_ms {
            attributes.open_wait_ms = within("OPENWAIT (milliseconds)", millis, 0, 86_400_000)?;
        }
        if let Some(text) = &self.text {
            if text.chars().count() > 200 {
                return Err(CommandError::invalid(
                    "TEXT: at most 200 characters are kept",
                ));
            }
            attributes.text.clone_from(text);
        }
        set(&mut attributes.manage_receivers, self.manage_receivers);
        set(&mut attributes.delete_receivers, self.delete_receivers);
        set(&mut attributes.alignment, self.alignment);
        set(&mut attributes.local_first, self.local_first);
        set(&mut attributes.actor, self.actor);
        set(&mut attributes.policy, self.policy);
        Ok(())
    }

    fn loosens(&self, before: &Attributes) -> bool {
        let guarded = |policy: Policy| policy != Policy::Degrade;
        self.policy
            .is_some_and(|policy| guarded(before.policy) && !guarded(policy))
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// CRTJRN: a local journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateJournal {
    /// Its name.
    pub journal: QualifiedName,
    /// Its first receiver, made before with CRTJRNRCV; one is made by itself when none is named.
    pub receiver: Option<QualifiedName>,
    /// Attributes.
    #[serde(default)]
    pub attributes: AttributePatch,
}

/// What CRTJRN made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalCreated {
    /// Identity.
    pub journal_id: JournalId,
    /// The attached receiver.
    pub receiver: QualifiedName,
}

/// Which receiver a journal changes to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiverChoice {
    /// One named after the last (*GEN).
    Generate,
    /// This one.
    Named(QualifiedName),
}

/// An operator's word on a journal that does not open by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenChoice {
    /// Open it without hearing its whole in-sync set (*ALONE).
    Alone,
    /// Take over whatever a member holds, however much (*ADOPT).
    Adopt,
}

/// CHGJRN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeJournal {
    /// The journal.
    pub journal: QualifiedName,
    /// Change to the next receiver.
    pub receiver: Option<ReceiverChoice>,
    /// Open it.
    pub open: Option<OpenChoice>,
    /// Attributes.
    #[serde(default)]
    pub attributes: AttributePatch,
    /// Loosen a policy although a member of the in-sync set is unreachable.
    #[serde(default)]
    pub force: bool,
    /// Of a remote journal: let it be fed (JRNSTATE *ACTIVE) or not (*INACTIVE). Meant for a source that is dead and whose
    /// link never noticed; otherwise CHGRMTJRN on the source.
    #[serde(default)]
    pub fed: Option<bool>,
}

/// What CHGJRN changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalChanged {
    /// The receiver attached now, if it was changed.
    pub receiver: Option<QualifiedName>,
}

/// DLTJRN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteJournal {
    /// The journal, local or remote. Its receivers and orphan archives go with it.
    pub journal: QualifiedName,
}

/// WRKJRNA.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeJournals {
    /// One journal, or all.
    pub journal: Option<QualifiedName>,
}

/// What WRKJRNA shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalDescriptions {
    /// The journals.
    pub journals: Vec<JournalDescription>,
}

/// A journal's state, as on IBM i or one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JournalState {
    /// Takes deposits, or is fed.
    #[serde(rename = "*ACTIVE")]
    Active,
    /// A remote journal that is not fed now.
    #[serde(rename = "*INACTIVE")]
    Inactive,
    /// A local journal that waits for its in-sync set before it opens.
    #[serde(rename = "*OPENING")]
    Opening,
    /// Holds deposits off because its in-sync set does not answer.
    #[serde(rename = "*HELD")]
    Held,
    /// Stopped after a write or flush went wrong, or by a refusal.
    #[serde(rename = "*FAILED")]
    Failed,
    /// Cannot be recovered from its disk.
    #[serde(rename = "*DAMAGED")]
    Damaged,
}

impl JournalState {
    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "*ACTIVE",
            Self::Inactive => "*INACTIVE",
            Self::Opening => "*OPENING",
            Self::Held => "*HELD",
            Self::Failed => "*FAILED",
            Self::Damaged => "*DAMAGED",
        }
    }
}

/// Watermarks for people; on a copy `sealed` is what was received, `settled` what is confirmed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Watermarks {
    /// Numbered (local).
    pub deposited: Sequence,
    /// Sealed (local) or received (copy).
    pub sealed: Sequence,
    /// Flushed here.
    pub written: Sequence,
    /// Released (local) or confirmed (copy).
    pub settled: Sequence,
    /// Chain head at `sealed`.
    pub head: Option<ChainHead>,
    /// When the last sealed entry was deposited.
    pub last_time: Timestamp,
}

/// A link for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkDescription {
    /// The partner.
    pub rdb: RdbName,
    /// The remote journal there.
    pub target: QualifiedName,
    /// State.
    pub state: LinkState,
    /// Delivery as IBM i shows it: *SYNC, *ASYNC, and *SYNCPEND, *ASYNCPEND while it catches up.
    pub delivery: String,
    /// What a *SYNC target must have done.
    pub level: Level,
    /// Whether it is in the in-sync set.
    pub in_sync: bool,
    /// The last entry known to be flushed there.
    pub acknowledged: Sequence,
    /// How many entries it is behind.
    pub lag_entries: u64,
    /// How many bytes of receivers it is behind, about.
    pub lag_bytes: u64,
    /// How many milliseconds its last entry is older than the journal's; nothing where that is not known.
    pub lag_ms: Option<u64>,
    /// When it last acknowledged.
    pub heard_at: Timestamp,
    /// What it is trying or why it failed.
    pub note: Option<String>,
    /// It must be loaded anew.
    pub needs_reinit: bool,
}

/// A journal with everything WRKJRNA shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalDescription {
    /// Name.
    pub journal: QualifiedName,
    /// Identity.
    pub journal_id: Option<JournalId>,
    /// *LOCAL or *REMOTE.
    pub kind: String,
    /// State.
    pub state: JournalState,
    /// Why it is in that state, where there is something to say.
    pub note: Option<String>,
    /// Of a remote journal: the system and journal it is fed from.
    pub source: Option<(SystemName, QualifiedName)>,
    /// The epoch it is open in, or has promised.
    pub epoch: Epoch,
    /// The in-sync set: names of its targets.
    pub in_sync_set: Vec<RdbName>,
    /// Watermarks.
    pub watermarks: Watermarks,
    /// Commit cycles that are open.
    pub open_cycles: usize,
    /// Attributes.
    pub attributes: Option<Attributes>,
    /// Receiver directory, oldest first.
    pub receivers: Vec<ReceiverRecord>,
    /// Links.
    pub links: Vec<LinkDescription>,
    /// Orphan archives.
    pub orphans: u64,
}

impl Shared {
    pub(super) async fn create_journal(
        &self,
        request: CreateJournal,
    ) -> Result<JournalCreated, CommandError> {
        self.require_library(request.journal.library)?;
        if self.runtime_of(request.journal).is_some() {
            return Err(CommandError::exists("journal", request.journal));
        }
        let mut attributes = Attributes::default();
        let receiver = match request.receiver {
            Some(receiver) => {
                let planned = self.catalog(|catalog| catalog.receivers.get(&receiver).cloned());
                let help = format!("make it with: rjournal crtjrnrcv --jrnrcv {receiver}");
                let planned = planned
                    .ok_or_else(|| CommandError::not_found("receiver", receiver).help(help))?;
                attributes.threshold = planned.threshold;
                receiver
            }
            None => next_receiver_name(request.journal, |_| false).unwrap_or(request.journal),
        };
        request.attributes.apply(&mut attributes)?;
        let journal_id = self
            .make_local(request.journal, receiver, attributes)
            .await?;
        self.update_catalog(|catalog| {
            catalog.receivers.remove(&receiver);
            Ok(())
        })?;
        Ok(JournalCreated {
            journal_id,
            receiver,
        })
    }

    pub(super) async fn change_journal(
        &self,
        request: ChangeJournal,
    ) -> Result<JournalChanged, CommandError> {
        let runtime = self.require_journal(request.journal)?;
        if let Some(choice) = request.open {
            return open_journal(&runtime, choice).await;
        }
        if let Some(fed) = request.fed {
            let JournalRuntime::Copy(copy) = &runtime else {
                return Err(CommandError::refused(
                    "RJN4021",
                    "JRNSTATE is for remote journals; a local one is open while its system runs",
                ));
            };
            let reason = (!fed).then(|| "an operator made it inactive here; CHGJRN JRNSTATE(*ACTIVE) lets it be fed again".to_owned());
            copy.tell(CopyEvent::Stop(reason)).await;
        }
        self.change_attributes(&request, &runtime)?;
        let receiver = match request.receiver {
            Some(choice) => Some(self.change_receiver(&runtime, choice).await?),
            None => None,
        };
        Ok(JournalChanged { receiver })
    }

    fn change_attributes(
        &self,
        request: &ChangeJournal,
        runtime: &JournalRuntime,
    ) -> Result<(), CommandError> {
        let before = runtime.attributes().unwrap_or_default();
        let mut after = before.clone();
        request.attributes.apply(&mut after)?;
        if after == before {
            return Ok(());
        }
        if request.attributes.loosens(&before) && !request.force && self.lacks_a_member(runtime) {
            let text = "a member of the in-sync set is unreachable: loosening the policy now voids the guarantee that nothing was \
                        answered without it; a takeover there could not know";
            return Err(CommandError::refused("RJN4004", text).help("--force does it all the same"));
        }
        match runtime {
            JournalRuntime::Local(local) => {
                local
                    .journal
                    .update(|control| control.attributes = after.clone())?;
                let timeout = std::time::Duration::from_millis(after.sync_timeout_ms);
                let now = self.clock.now();
                let left = {
                    let mut confirmation = local
                        .confirmation
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    confirmation.handle_policy(
                        after.policy,
                        timeout,
                        after.waiting_entries_max,
                        now,
                    );
                    crate::daemon::crank::carry_confirmation(
                        &local.journal,
                        &mut confirmation,
                        self.clock.wall(),
                        now,
                    )
                };
                local.links.tell_left(&left);
                Ok(())
            }
            JournalRuntime::Copy(copy) => {
                let own = ["delete_receivers", "retention_bytes_max", "text"];
                let mut comparable = after.clone();
                comparable.delete_receivers = before.delete_receivers;
                comparable.retention_bytes_max = before.retention_bytes_max;
                comparable.text.clone_from(&before.text);
                if comparable != before {
                    let text = format!(
                        "on a remote journal only {} can be changed; the rest follows its source",
                        own.join(", ")
                    );
                    return Err(CommandError::refused("RJN4005", text));
                }
                Ok(copy.copy.update(|control| control.attributes = after)?)
            }
            JournalRuntime::Opening(_) | JournalRuntime::Broken(_) => {
                Err(not_open(request.journal))
            }
        }
    }

    fn lacks_a_member(&self, runtime: &JournalRuntime) -> bool {
        let JournalRuntime::Local(local) = runtime else {
            return false;
        };
        local.links.all().iter().any(|link| {
            let record = link
                .record
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone();
            let key = crate::remote::MemberKey {
                system: record.system,
                journal: record.target,
            };
            local.is_member(key) && !link.status().shown.streaming
        })
    }

    async fn change_receiver(
        &self,
        runtime: &JournalRuntime,
        choice: ReceiverChoice,
    ) -> Result<QualifiedName, CommandError> {
        let JournalRuntime::Local(local) = runtime else {
            return Err(CommandError::refused(
                "RJN4006",
                "receivers of a remote journal change with their source's",
            ));
        };
        let name = match choice {
            ReceiverChoice::Generate => None,
            ReceiverChoice::Named(name) => {
                self.require_library(name.library)?;
                if local
                    .journal
                    .reader()
                    .records()
                    .iter()
                    .any(|record| record.name == name)
                {
                    return Err(CommandError::exists("receiver", name));
                }
                if let Some(planned) = self.catalog(|catalog| catalog.receivers.get(&name).cloned())
                {
                    local
                        .journal
                        .update(|control| control.attributes.threshold = planned.threshold)?;
                }
                Some(name)
            }
        };
        let attached = || {
            local
                .journal
                .reader()
                .attached()
                .map(|header| (header.receiver, header.name))
        };
        let before = attached();
        let mut written = local.journal.tail().listen(crate::journal::Limit::Written);
        local.journal.order_change(name);
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            if let Some((receiver, name)) = attached().filter(|now| Some(*now) != before) {
                let _ = receiver;
                self.update_catalog(|catalog| {
                    catalog.receivers.remove(&name);
                    Ok(())
                })?;
                return Ok(name);
            }
            if let Some(reason) = local
                .failure
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone()
            {
                return Err(CommandError::new(
                    super::ErrorKind::Poisoned,
                    "RJN9001",
                    reason,
                ));
            }
            if tokio::time::timeout_at(deadline, written).await.is_err() {
                let text = "the receiver was not changed within 60 s; DSPMSG says why";
                return Err(CommandError::new(
                    super::ErrorKind::TimedOut,
                    "RJN2007",
                    text,
                ));
            }
            written = local.journal.tail().listen(crate::journal::Limit::Written);
        }
    }

    pub(super) async fn delete_journal(
        &self,
        request: &DeleteJournal,
    ) -> Result<Done, CommandError> {
        let name = request.journal;
        let runtime = self.require_journal(name)?;
        let file = self.catalog(|catalog| {
            catalog
                .files
                .iter()
                .find(|(_, file)| file.journal == Some(name))
                .map(|(file, _)| file.clone())
        });
        if let Some(file) = file {
            let text = format!("file {file} is journaled to {name}");
            return Err(CommandError::refused("RJN4007", text)
                .help(format!("end that first: rjournal endjrnpf --file '{file}'")));
        }
        let job = self.catalog(|catalog| {
            catalog
                .jobs
                .iter()
                .find(|(_, job)| job.journal == name && job.active)
                .map(|(store, _)| *store)
        });
        if let Some(store) = job {
            let text = format!("apply job {store} reads {name}");
            return Err(CommandError::refused("RJN4008", text)
                .help(format!("end it first: rjournal endapy --store {store}")));
        }
        let links = runtime.links();
        if links
            .iter()
            .any(|link| link.status().shown.state == LinkState::Active)
        {
            let text = format!("a remote journal of {name} is active");
            return Err(CommandError::refused("RJN4009", text)
                .help("inactivate it first: CHGRMTJRN JRNSTATE(*INACTIVE)"));
        }
        if let JournalRuntime::Copy(copy) = &runtime
            && copy.status().fed
        {
            let text = format!("{name} is being fed by its source");
            return Err(CommandError::refused("RJN4009", text)
                .help("inactivate it first, on the source: CHGRMTJRN JRNSTATE(*INACTIVE)"));
        }
        self.drop_journal(name).await?;
        Ok(Done {})
    }

    pub(super) fn describe_journals(
        &self,
        request: &DescribeJournals,
    ) -> Result<JournalDescriptions, CommandError> {
        let names = match request.journal {
            Some(name) => {
                self.require_journal(name)?;
                vec![name]
            }
            None => self.journal_names(),
        };
        let journals = names
            .into_iter()
            .filter_map(|name| Some(self.describe(name, &self.runtime_of(name)?)))
            .collect();
        Ok(JournalDescriptions { journals })
    }

    pub(in crate::daemon) fn require_journal(
        &self,
        name: QualifiedName,
    ) -> Result<JournalRuntime, CommandError> {
        self.runtime_of(name).ok_or_else(|| {
            CommandError::not_found("journal", name)
                .help("WRKJRNA lists the journals of this system")
        })
    }

    /// Everything there is to say about a journal, from memory (failures.md CTL-4).
    pub(in crate::daemon) fn describe(
        &self,
        name: QualifiedName,
        runtime: &JournalRuntime,
    ) -> JournalDescription {
        let mut description = JournalDescription {
            journal: name,
            journal_id: None,
            kind: "*LOCAL".to_owned(),
            state: JournalState::Damaged,
            note: None,
            source: None,
            epoch: Epoch::NONE,
            in_sync_set: Vec::new(),
            watermarks: Watermarks::default(),
            open_cycles: 0,
            attributes: runtime.attributes(),
            receivers: runtime.records(),
            links: Vec::new(),
            orphans: 0,
        };
        match runtime {
            JournalRuntime::Local(local) => self.describe_local(local, &mut description),
            JournalRuntime::Copy(copy) => self.describe_copy(copy, &mut description),
            JournalRuntime::Opening(opening) => {
                description.journal_id = Some(opening.id);
                description.state = JournalState::Opening;
                description.note = Some(
                    opening
                        .waits_for
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .clone(),
                );
                description.epoch = opening.control.epoch;
                let at = opening.tip.sequence;
                let head = Some(opening.tip.head);
                description.watermarks = Watermarks {
                    deposited: at,
                    sealed: at,
                    written: at,
                    settled: at,
                    head,
                    last_time: Timestamp::ZERO,
                };
            }
            JournalRuntime::Broken(broken) => {
                description.journal_id = broken.id;
                description.note = Some(broken.reason.clone());
            }
        }
        description
    }

    fn describe_local(
        &self,
        local: &crate::daemon::task::local::LocalRuntime,
        description: &mut JournalDescription,
    ) {
        use crate::journal::Gate;
        let journal = &local.journal;
        let marks = journal.tail().marks();
        let failure = local
            .failure
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        description.journal_id = Some(journal.id());
        description.state = match (journal.gate(), &failure) {
            (Gate::Poisoned, _) | (_, Some(_)) => JournalState::Failed,
            (Gate::Held { .. }, None) => JournalState::Held,
            (Gate::Open, None) => JournalState::Active,
            (Gate::Closed, None) => JournalState::Inactive,
        };
        description.note = failure.or_else(|| journal.control().stopped);
        description.epoch = journal.epoch();
        let members: Vec<_> = {
            let confirmation = local
                .confirmation
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            confirmation.members().0.to_vec()
        };
        description.in_sync_set = members.iter().map(|member| member.rdb).collect();
        description.watermarks = Watermarks {
            deposited: journal.intake().last(),
            sealed: marks.sealed,
            written: marks.written,
            settled: marks.settled,
            head: Some(journal.tail().tip().head),
            last_time: marks.sealed_time,
        };
        description.open_cycles = journal.intake().open_cycles().len();
        let (sealed, bytes) = (
            marks.sealed,
            average_bytes(&description.receivers, marks.sealed),
        );
        description.links = local
            .links
            .all()
            .iter()
            .map(|link| {
                let record = link
                    .record
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .clone();
                let in_sync = members.iter().any(|member| {
                    member.system == record.system && member.journal == record.target
                });
                self.describe_link(
                    &record,
                    &link.status(),
                    in_sync,
                    sealed,
                    marks.sealed_time,
                    bytes,
                )
            })
            .collect();
    }

    fn describe_copy(
        &self,
        copy: &crate::daemon::task::copy::CopyRuntime,
        description: &mut JournalDescription,
    ) {
        let status = copy.status();
        let control = copy.copy.control();
        let marks = copy.copy.tail().marks();
        description.journal_id = Some(control.journal);
        description.kind = "*REMOTE".to_owned();
        description.state = match (&status.failure, status.fed) {
            (Some(_), _) => JournalState::Failed,
            (None, true) => JournalState::Active,
            (None, false) => JournalState::Inactive,
        };
        let ended = status.last_end.as_ref().filter(|_| !status.fed);
        description.note = status
            .failure
            .clone()
            .or(control.stopped)
            .or_else(|| ended.cloned());
        if let JournalKind::Remote(source) = &control.kind {
            description.source = Some((source.name, source.journal));
        }
        description.epoch = control.promised;
        description.in_sync_set = copy.copy.set().map_or_else(Vec::new, |(_, set)| {
            set.members.iter().map(|member| member.rdb).collect()
        });
        description.watermarks = Watermarks {
            deposited: status
                .source_at
                .map_or(Sequence::NONE, |(sealed, _)| sealed),
            sealed: marks.sealed,
            written: marks.written,
            settled: marks.settled,
            head: Some(copy.copy.tail().tip().head),
            last_time: marks.sealed_time,
        };
        description.orphans = control.orphans;
        let bytes = average_bytes(&description.receivers, marks.sealed);
        description.links = copy
            .links
            .all()
            .iter()
            .map(|link| {
                let record = link
                    .record
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .clone();
                self.describe_link(
                    &record,
                    &link.status(),
                    false,
                    marks.settled,
                    marks.settled_time,
                    bytes,
                )
            })
            .collect();
    }

    fn describe_link(
        &self,
        record: &crate::journal::LinkRecord,
        status: &crate::daemon::task::link::LinkStatus,
        in_sync: bool,
        last: Sequence,
        last_time: Timestamp,
        bytes_per_entry: u64,
    ) -> LinkDescription {
        let lag_entries = last.entries_since(status.acknowledged);
        let level = status.shown.caught_up && (in_sync || record.delivery == DeliveryMode::Async);
        let delivery = match (record.delivery, level) {
            (DeliveryMode::Sync, true) => "*SYNC",
            (DeliveryMode::Sync, false) => "*SYNCPEND",
            (DeliveryMode::Async, true) => "*ASYNC",
            (DeliveryMode::Async, false) => "*ASYNCPEND",
        };
        let note = status.dial_error.clone().or_else(|| {
            status
                .shown
                .last_end
                .as_ref()
                .filter(|_| !status.shown.streaming)
                .map(crate::daemon::task::describe_end)
        });
        LinkDescription {
            rdb: record.rdb,
            target: record.target,
            state: status.shown.state,
            delivery: delivery.to_owned(),
            level: record.level,
            in_sync,
            acknowledged: status.acknowledged,
            lag_entries,
            lag_bytes: lag_entries * bytes_per_entry,
            lag_ms: if lag_entries == 0 {
                Some(0)
            } else {
                let waiting = self.clock.wall().since(status.heard_at.max(last_time));
                (status.heard_at != Timestamp::ZERO)
                    .then(|| u64::try_from(waiting.as_millis()).unwrap_or(u64::MAX))
            },
            heard_at: status.heard_at,
            note,
            needs_reinit: record.needs_reinit,
        }
    }
}

fn not_open(journal: QualifiedName) -> CommandError {
    CommandError::refused("RJN4010", format!("journal {journal} is not open"))
        .help("WRKJRNA says why")
}

async fn open_journal(
    runtime: &JournalRuntime,
    choice: OpenChoice,
) -> Result<JournalChanged, CommandError> {
    let JournalRuntime::Opening(opening) = runtime else {
        return Err(CommandError::refused(
            "RJN4011",
            "the journal does not wait to be opened",
        ));
    };
    let (done, answer) = tokio::sync::oneshot::channel();
    opening
        .order(match choice {
            OpenChoice::Alone => OpenOrder::Alone(done),
            OpenChoice::Adopt => OpenOrder::Adopt(done),
        })
        .await;
    drop(answer.await);
    Ok(JournalChanged { receiver: None })
}

/// About how many bytes of receivers one entry takes.
fn average_bytes(receivers: &[ReceiverRecord], last: Sequence) -> u64 {
    let entries = receivers
        .first()
        .map_or(0, |first| last.entries_since(first.before.sequence));
    let bytes: u64 = receivers.iter().map(|receiver| receiver.bytes).sum();
    bytes.checked_div(entries).unwrap_or(0)
}
