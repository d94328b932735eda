//! Room `daemon`: remote journals, on the source: ADDRMTJRN, CHGRMTJRN, RMVRMTJRN. Must not know what the target does to make
//! one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::super::{CommandError, Done, ErrorKind};

use crate::daemon::crank::{Ending, Source, member_key};
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::link::{LinkCommand, LinkHandle};
use crate::entry::control_entry::Level;
use crate::entry::{Position, QualifiedName, RdbName, Sequence};
use crate::journal::{DeliveryMode, LinkRecord};
use crate::remote::{LinkState, PartnerReply, PartnerRequest, Refusal, RefusalCode};

/// Most remote journals on one journal (IBM i).
const REMOTE_JOURNALS_MAX: usize = 255;

/// ADDRMTJRN, on the source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddRemoteJournal {
    /// The partner.
    pub rdb: RdbName,
    /// The journal here, local or remote.
    pub source: QualifiedName,
    /// The remote journal there; the source's name when not given (*SRCJRN).
    pub target: Option<QualifiedName>,
    /// Free text.
    #[serde(default)]
    pub text: String,
}

/// What ADDRMTJRN did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoteJournalAdded {
    /// The remote journal there.
    pub target: QualifiedName,
    /// Whether it was there already and is tied again.
    pub again: bool,
    /// Whether the journal here is itself a remote journal: it feeds others *ASYNC only.
    #[serde(default)]
    pub forwards: bool,
}

/// Where an empty remote journal begins (IBM i: STRJRNRCV).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeginAt {
    /// With the oldest receiver that is here.
    #[default]
    Oldest,
    /// With the attached receiver.
    Attached,
    /// With this receiver.
    Receiver(QualifiedName),
}

/// The state asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WantedState {
    /// *ACTIVE.
    Active,
    /// *INACTIVE, after what is there went out (*CNTRLD, running *ASYNC only).
    InactiveControlled,
    /// *INACTIVE at once (*IMMED).
    InactiveImmediate,
}

/// CHGRMTJRN, on the source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeRemoteJournal {
    /// The partner.
    pub rdb: RdbName,
    /// The journal here.
    pub source: QualifiedName,
    /// The remote journal there; needed when the partner has several of this journal.
    pub target: Option<QualifiedName>,
    /// State.
    pub state: Option<WantedState>,
    /// Delivery; only while it is inactive, or with state *ACTIVE.
    pub delivery: Option<DeliveryMode>,
    /// What a *SYNC target must have done.
    pub level: Option<Level>,
    /// Where an empty remote journal begins.
    #[serde(default)]
    pub begin: BeginAt,
    /// How long to wait until it has caught up, in milliseconds; 0 does not wait.
    #[serde(default)]
    pub wait_ms: u64,
    /// Free text.
    pub text: Option<String>,
    /// Inactivate a member of the in-sync set that cannot be reached, although the policy guards it.
    #[serde(default)]
    pub force: bool,
}

/// What CHGRMTJRN did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoteJournalChanged {
    /// The remote journal there.
    pub target: QualifiedName,
    /// Its state now.
    pub state: LinkState,
    /// Whether it has caught up, and is in the in-sync set where it is *SYNC.
    pub caught_up: bool,
    /// What keeps it from it, if that is known.
    pub note: Option<String>,
}

/// RMVRMTJRN, on the source. Nothing is done on the target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoveRemoteJournal {
    /// The partner.
    pub rdb: RdbName,
    /// The journal here.
    pub source: QualifiedName,
    /// The remote journal there.
    pub target: Option<QualifiedName>,
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    pub(in crate::daemon::command) async fn add_remote_journal(
        &self,
        request: AddRemoteJournal,
    ) -> Result<RemoteJournalAdded, CommandError> {
        let runtime = self.require_journal(request.source)?;
        let source = runtime.source().ok_or_else(|| {
            CommandError::refused("RJN4010", format!("journal {} is not open", request.source))
                .help("WRKJRNA says why")
        })?;
        let partner = self.catalog(|catalog| {
            let partner = catalog.partners.get(&request.rdb);
            partner.map(|partner| partner.system)
        });
        if let Some(member) = partner {
            self.require_no_member_link(
                request.source,
                member,
                "it makes the remote journals at its members itself",
                "DSPCRG shows them; a system that is no member may have a remote journal",
            )?;
        }
        let target = request.target.unwrap_or(request.source);
        let control = source.control();
        if control
            .links
            .iter()
            .any(|link| link.rdb == request.rdb && link.target == target)
        {
            return Err(CommandError::exists(
                "remote journal",
                format!("{target} at {}", request.rdb),
            ));
        }
        if control.links.len() >= REMOTE_JOURNALS_MAX {
            return Err(CommandError::refused(
                "RJN4014",
                format!("a journal has at most {REMOTE_JOURNALS_MAX} remote journals"),
            ));
        }
        let ask = PartnerRequest::AddRemoteJournal {
            system: self.id,
            system_name: self.name,
            journal: source.id(),
            source_journal: request.source,
            target_journal: target,
            threshold: control.attributes.threshold,
            path: source.path().into_iter().chain([self.id]).collect(),
        };
        let (system, again) = match self.ask_partner(request.rdb, ask).await? {
            PartnerReply::Added { system, again, .. } => (system, again),
            PartnerReply::Refused(refusal) => {
                return Err(refused_by(request.rdb, &refusal));
            }
            _ => {
                return Err(CommandError::new(
                    ErrorKind::Internal,
                    "CPF70C5",
                    "the partner gave another answer than was asked for",
                ));
            }
        };
        let record = LinkRecord {
            rdb: request.rdb,
            system,
            target,
            delivery: DeliveryMode::Async,
            level: Level::Written,
            active: false,
            acknowledged: Sequence::NONE,
            needs_reinit: false,
            text: request.text,
        };
        let kept = record.clone();
        source.update(|control| control.links.push(kept))?;
        if let Some((links, shared)) = runtime.link_set().zip(self.arc()) {
            links.start(&shared, source, record);
        }
        Ok(RemoteJournalAdded {
            target,
            again,
            forwards: matches!(runtime, JournalRuntime::Copy(_)),
        })
    }

    fn find_link(
        &self,
        rdb: RdbName,
        source: QualifiedName,
        target: Option<QualifiedName>,
    ) -> Result<(JournalRuntime, std::sync::Arc<LinkHandle>), CommandError> {
        let runtime = self.require_journal(source)?;
        if runtime.source().is_none() {
            return Err(
                CommandError::refused("RJN4010", format!("journal {source} is not open"))
                    .help("WRKJRNA says why"),
            );
        }
        let mut found: Vec<_> = runtime
            .links()
            .into_iter()
            .filter(|link| {
                let record = lock(&link.record);
                record.rdb == rdb && target.is_none_or(|target| record.target == target)
            })
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some(link), true) => Ok((runtime, link)),
            (Some(_), false) => Err(CommandError::invalid(format!(
                "{source} has several remote journals at {rdb}; name one with TGTJRN"
            ))),
            (None, _) => {
                let name = format!("of {source} at {rdb}");
                Err(CommandError::not_found("remote journal", name)
                    .help("WRKJRNA shows a journal's remote journals; ADDRMTJRN adds one"))
            }
        }
    }

    pub(in crate::daemon::command) async fn change_remote_journal(
        &self,
        request: ChangeRemoteJournal,
    ) -> Result<RemoteJournalChanged, CommandError> {
        let (runtime, link) = self.find_link(request.rdb, request.source, request.target)?;
        let source = runtime
            .source()
            .ok_or_else(|| CommandError::refused("RJN4010", "the journal is not open"))?;
        let before = lock(&link.record).clone();
        let is_changed = request.delivery.is_some_and(|to| to != before.delivery)
            || request.level.is_some_and(|to| to != before.level);
        let ends = matches!(
            request.state,
            Some(WantedState::InactiveControlled | WantedState::InactiveImmediate)
        );
        if is_changed || ends {
            self.require_no_member_link(
                request.source,
                before.system,
                "its ways between members are active, with the delivery of the group",
                "while a member is away, CHGJRN POLICY says what happens to deposits; DLTCRG ends the group",
            )?;
        }
        let mut after = before.clone();
        let state = link.status().shown.state;
        let active = matches!(state, LinkState::Active | LinkState::ControlledEnd);
        after.delivery = request.delivery.unwrap_or(after.delivery);
        after.level = request.level.unwrap_or(after.level);
        after.text = request.text.clone().unwrap_or(after.text);
        if matches!(runtime, JournalRuntime::Copy(_)) && after.delivery == DeliveryMode::Sync {
            let text = "a remote journal forwards what is confirmed, so its own remote journals are *ASYNC";
            return Err(CommandError::refused("RJN4015", text));
        }
        // One that failed may still be waited for.
        let bound = active || is_bound(&runtime, &before);
        if bound && (after.delivery != before.delivery || after.level != before.level) {
            let text = "delivery and level of an active remote journal, or of a member of the in-sync set, cannot be changed";
            return Err(CommandError::refused("RJN4016", text)
                .help("inactivate it first: CHGRMTJRN JRNSTATE(*INACTIVE)"));
        }
        let guarded_away = is_guarded_away(&runtime, &before);
        match request.state {
            Some(WantedState::Active) => after.active = true,
            Some(WantedState::InactiveControlled | WantedState::InactiveImmediate) => {
                after.active = false;
                if guarded_away && !request.force {
                    let text = format!(
                        "{} at {} is a member of the in-sync set and cannot be told now that it is left out: inactivating it \
                         voids the guarantee that nothing was answered without it; a takeover there could not know",
                        before.target, before.rdb
                    );
                    return Err(
                        CommandError::refused("RJN4004", text).help("--force does it all the same")
                    );
                }
            }
            None => {}
        }
        let begin = begin_at(&source, request.begin)?;
        if after != before {
            keep_record(&source, &link, &after)?;
        }
        match request.state {
            Some(WantedState::Active) => {
                let (done, answer) = oneshot::channel();
                link.command(LinkCommand::Activate {
                    record: after.clone(),
                    begin,
                    done,
                })
                .await;
                drop(answer.await);
                Ok(self
                    .wait_caught_up(
                        &runtime,
                        &link,
                        &after,
                        Duration::from_millis(request.wait_ms),
                    )
                    .await)
            }
            Some(wanted) => {
                let how = match wanted {
                    _ if guarded_away => Ending::Forced,
                    WantedState::InactiveControlled => Ending::Controlled,
                    _ => Ending::Immediate,
                };
                let patience = Duration::from_millis(request.wait_ms.max(10_000));
                self.end_link(request.source, &link, &after, how, patience)
                    .await
            }
            None => Ok(changed(&after, &link, link.status().shown.caught_up)),
        }
    }

    /// Ends a link, and waits a while for its end.
    async fn end_link(
        &self,
        journal: QualifiedName,
        link: &LinkHandle,
        record: &LinkRecord,
        how: Ending,
        patience: Duration,
    ) -> Result<RemoteJournalChanged, CommandError> {
        if how == Ending::Forced {
            let text = format!(
                "an operator gave {}:{} up, which cannot be told that it is left out of the in-sync set (--force): a takeover \
                 there cannot know what is answered without it",
                record.rdb, record.target
            );
            self.post("RJN2012", Severity::Alarm, journal, text);
        }
        let (done, answer) = oneshot::channel();
        link.command(LinkCommand::Inactivate { how, done }).await;
        if let Ok(Ok(ended)) = tokio::time::timeout(patience, answer).await {
            ended?;
        }
        Ok(changed(record, link, false))
    }

    /// Waits until a link has caught up and, where it is *SYNC, its target is in the in-sync set.
    async fn wait_caught_up(
        &self,
        runtime: &JournalRuntime,
        link: &LinkHandle,
        record: &LinkRecord,
        patience: Duration,
    ) -> RemoteJournalChanged {
        let deadline = self.clock.now() + patience;
        loop {
            let status = link.status();
            let key = member_key(record);
            let joined = match runtime {
                JournalRuntime::Local(local) if record.delivery == DeliveryMode::Sync => {
                    local.is_member(key)
                }
                _ => true,
            };
            let level = status.shown.streaming && status.shown.caught_up && joined;
            if level || status.shown.state == LinkState::Failed || self.clock.now() >= deadline {
                return changed(record, link, level);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(in crate::daemon::command) async fn remove_remote_journal(
        &self,
        request: &RemoveRemoteJournal,
    ) -> Result<Done, CommandError> {
        let (runtime, link) = self.find_link(request.rdb, request.source, request.target)?;
        let record = lock(&link.record).clone();
        self.require_no_member_link(
            request.source,
            record.system,
            "its remote journals at members stay",
            "DLTCRG ends the group",
        )?;
        if matches!(
            link.status().shown.state,
            LinkState::Active | LinkState::ControlledEnd
        ) {
            let text = format!(
                "remote journal {} at {} is active",
                record.target, record.rdb
            );
            return Err(CommandError::refused("RJN4009", text)
                .help("inactivate it first: CHGRMTJRN JRNSTATE(*INACTIVE)"));
        }
        if is_bound(&runtime, &record) {
            let text = format!(
                "remote journal {} at {} is a member of the in-sync set, or does not know that it was left out of it",
                record.target, record.rdb
            );
            return Err(CommandError::refused("RJN4009", text)
                .help("inactivate it first: CHGRMTJRN JRNSTATE(*INACTIVE)"));
        }
        let source = runtime
            .source()
            .ok_or_else(|| CommandError::refused("RJN4010", "the journal is not open"))?;
        source.update(|control| {
            control
                .links
                .retain(|kept| kept.rdb != record.rdb || kept.target != record.target);
        })?;
        if let Some(links) = runtime.link_set() {
            links.remove((record.rdb, record.target)).await;
        }
        // Who is not fed with the journal any more goes on from no save of it either.
        if !source
            .control()
            .links
            .iter()
            .any(|link| link.system == record.system)
        {
            self.end_loans(|loan| loan.journal == request.source && loan.system == record.system)?;
        }
        Ok(Done {})
    }
}

fn changed(record: &LinkRecord, link: &LinkHandle, caught_up: bool) -> RemoteJournalChanged {
    let status = link.status();
    let ended = status
        .shown
        .last_end
        .as_ref()
        .filter(|_| !status.shown.streaming)
        .map(crate::daemon::task::describe_end);
    let note = if caught_up {
        None
    } else {
        let outrun = status
            .shown
            .outrun
            .map(crate::daemon::task::describe_outrun);
        status.dial_error.clone().or(outrun).or(ended)
    };
    RemoteJournalChanged {
        target: record.target,
        state: status.shown.state,
        caught_up,
        note,
    }
}

/// Whether a target is waited for, or is to be told that it is not any more.
fn is_bound(runtime: &JournalRuntime, record: &LinkRecord) -> bool {
    matches!(runtime, JournalRuntime::Local(local) if local.is_bound(member_key(record)))
}

/// Whether a target that is waited for, or to be told, cannot be reached (ruling 13).
fn is_guarded_away(runtime: &JournalRuntime, record: &LinkRecord) -> bool {
    matches!(runtime, JournalRuntime::Local(local) if local.is_guarded_away(member_key(record)))
}

/// The position an empty remote journal begins after.
fn begin_at(
    source: &crate::daemon::crank::Source,
    begin: BeginAt,
) -> Result<Option<Position>, CommandError> {
    let records = source.reader().records();
    let found = match begin {
        BeginAt::Oldest => return Ok(None),
        BeginAt::Attached => records.last(),
        BeginAt::Receiver(name) => {
            let found = records.iter().find(|record| record.name == name);
            Some(found.ok_or_else(|| {
                CommandError::not_found("receiver", format!("{name} of {}", source.name()))
                    .help("WRKJRNA lists the receivers of a journal")
            })?)
        }
    };
    Ok(found.map(|record| record.before))
}

/// What a partner refuses, in its words; the kind says what it is about.
pub(in crate::daemon) fn refused_by(rdb: RdbName, refusal: &Refusal) -> CommandError {
    let kind = refusal_kind(refusal.code);
    CommandError::new(kind, "CPF70D5", format!("{rdb} refused: {}", refusal.text))
}

const fn refusal_kind(code: RefusalCode) -> ErrorKind {
    match code {
        RefusalCode::NotAuthorised => ErrorKind::NotAuthorised,
        RefusalCode::NoSuchJournal => ErrorKind::NotFound,
        RefusalCode::Damaged => ErrorKind::Damaged,
        _ => ErrorKind::Refused,
    }
}

/// Puts down what a link is from now on; how far its target was seen stays.
fn keep_record(source: &Source, link: &LinkHandle, after: &LinkRecord) -> Result<(), CommandError> {
    source.update(|control| {
        let same =
            |record: &&mut LinkRecord| record.rdb == after.rdb && record.target == after.target;
        for record in control.links.iter_mut().filter(same) {
            *record = LinkRecord {
                acknowledged: record.acknowledged,
                ..after.clone()
            };
        }
    })?;
    *lock(&link.record) = after.clone();
    Ok(())
}
