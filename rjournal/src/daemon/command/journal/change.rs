//! Room `daemon`: CHGJRN: attributes, the next receiver, and an operator's word about a journal that waits to open.

use serde::{Deserialize, Serialize};

use super::attributes::AttributePatch;
use super::find::not_open;
use crate::daemon::command::CommandError;
use crate::daemon::crank::change_attributes;
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::copy::CopyEvent;
use crate::daemon::task::local::LocalRuntime;
use crate::daemon::task::names;
use crate::daemon::task::opening::OpenOrder;
use crate::entry::QualifiedName;
use crate::journal::JournalKind;
use crate::remote::MemberKey;

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
    /// Whether attributes were changed; not where they were so already.
    #[serde(default)]
    pub attributes: bool,
}

impl Shared {
    pub(in crate::daemon::command) async fn change_journal(
        &self,
        request: ChangeJournal,
    ) -> Result<JournalChanged, CommandError> {
        let runtime = self.require_journal(request.journal)?;
        if let Some(choice) = request.open {
            if let (JournalRuntime::Copy(_), Some(rests)) =
                (&runtime, self.rests_in_group(request.journal))
            {
                if choice == OpenChoice::Adopt && self.follows_again(request.journal).await? {
                    return Ok(JournalChanged {
                        receiver: None,
                        attributes: false,
                    });
                }
                return Err(rests);
            }
            return open_journal(&runtime, choice).await;
        }
        if let Some(fed) = request.fed {
            let JournalRuntime::Copy(copy) = &runtime else {
                return Err(CommandError::refused(
                    "RJN4021",
                    "JRNSTATE is for remote journals; a local one is open while its system runs",
                ));
            };
            if !fed {
                self.require_no_group(
                    request.journal,
                    "who feeds it is the group's matter",
                    "DLTCRG ends the group; CHGCRGPRI and takeover change its primary",
                )?;
            }
            let reason = (!fed).then(|| "an operator made it inactive here; CHGJRN JRNSTATE(*ACTIVE) lets it be fed again".to_owned());
            copy.tell(CopyEvent::Stop(reason)).await;
        }
        let attributes = self.change_attributes(&request, &runtime)?;
        let receiver = match request.receiver {
            Some(choice) => {
                let changed = self.change_receiver(request.journal, &runtime, choice);
                Some(changed.await?)
            }
            None => None,
        };
        Ok(JournalChanged {
            receiver,
            attributes,
        })
    }

    /// Says whether anything was to be changed.
    fn change_attributes(
        &self,
        request: &ChangeJournal,
        runtime: &JournalRuntime,
    ) -> Result<bool, CommandError> {
        match runtime {
            JournalRuntime::Local(local) => self.change_local(request, local),
            JournalRuntime::Copy(copy) => {
                let before = copy.copy.control().attributes;
                let mut after = before.clone();
                request.attributes.apply(&mut after)?;
                if after == before {
                    return Ok(false);
                }
                let mut comparable = after.clone();
                comparable.delete_receivers = before.delete_receivers;
                comparable.retention_bytes_max = before.retention_bytes_max;
                comparable.text.clone_from(&before.text);
                // One that rests is this system's own: it is to have them when it opens.
                let own = copy.copy.control().kind == JournalKind::Local;
                if comparable != before && !own {
                    let text = "on a remote journal only DLTRCV, RTNMIB and TEXT can be changed; the rest follows its source";
                    return Err(CommandError::refused("RJN4005", text));
                }
                copy.copy.update(|control| control.attributes = after)?;
                Ok(true)
            }
            JournalRuntime::Opening(_) | JournalRuntime::Broken(_)
                if request.attributes == AttributePatch::default() =>
            {
                Ok(false)
            }
            JournalRuntime::Opening(_) | JournalRuntime::Broken(_) => {
                Err(not_open(request.journal))
            }
        }
    }

    /// Under one lock: what is in force, and who can be told of something else, changes under it only.
    fn change_local(
        &self,
        request: &ChangeJournal,
        local: &LocalRuntime,
    ) -> Result<bool, CommandError> {
        let (wall, now) = (self.clock.wall(), self.clock.now());
        let mut confirmation = local
            .confirmation
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // What was ordered and is not in force yet is what an operator wants so far.
        let mut before = local.journal.control().attributes;
        before.policy = confirmation.policy_ordered().unwrap_or(before.policy);
        let mut after = before.clone();
        request.attributes.apply(&mut after)?;
        let names_policy = request.attributes.policy.is_some();
        let waits = confirmation.must_be_told(after.policy) && names_policy;
        let away = confirmation.away();
        let forces = waits && request.force && !away.is_empty();
        if after == before && !forces {
            return Ok(false);
        }
        if waits && !request.force && !away.is_empty() && after.policy != before.policy {
            let text = format!(
                "{} is a member of the in-sync set and cannot be told now: loosening the policy voids the guarantee that nothing \
                 was answered without it; a takeover there could not know",
                names(&away)
            );
            return Err(CommandError::refused("RJN4004", text).help("--force does it all the same"));
        }
        let given_up = if forces { away } else { Vec::new() };
        let keys: Vec<MemberKey> = given_up.iter().map(MemberKey::from).collect();
        let journal = &local.journal;
        let left = change_attributes(journal, &mut confirmation, after, &keys, wall, now)?;
        drop(confirmation);
        local.links.tell_left(&left);
        if !given_up.is_empty() {
            let text = format!(
                "an operator loosened the policy, and {} cannot be told (--force): a takeover there cannot know what is answered \
                 without it",
                names(&given_up)
            );
            self.post("RJN2012", Severity::Alarm, request.journal, text);
        }
        Ok(true)
    }

    async fn change_receiver(
        &self,
        journal: QualifiedName,
        runtime: &JournalRuntime,
        choice: ReceiverChoice,
    ) -> Result<QualifiedName, CommandError> {
        let local = match runtime {
            JournalRuntime::Local(local) => local,
            JournalRuntime::Copy(_) => {
                let follows = || {
                    let text = "receivers of a remote journal change with their source's";
                    CommandError::refused("RJN4006", text)
                };
                return Err(self.rests_in_group(journal).unwrap_or_else(follows));
            }
            JournalRuntime::Opening(_) | JournalRuntime::Broken(_) => {
                return Err(not_open(journal));
            }
        };
        let name = match choice {
            ReceiverChoice::Generate => None,
            ReceiverChoice::Named(name) => {
                self.require_library(name.library)?;
                if let Some((journal, ..)) = self.journals_of_receiver(name).first() {
                    return Err(CommandError::exists("receiver", name)
                        .help(format!("it belongs to journal {journal}")));
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
        local.unchanged.forget();
        local.journal.order_change(name);
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
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
                    crate::daemon::command::ErrorKind::Poisoned,
                    "RJN9001",
                    reason,
                ));
            }
            let waited = tokio::select! {
                () = written => Ok(()),
                why = local.unchanged.why() => return Err(why),
                () = tokio::time::sleep_until(deadline) => Err(()),
            };
            if waited.is_err() {
                let text = "the receiver was not changed within 60 s";
                return Err(CommandError::new(
                    crate::daemon::command::ErrorKind::TimedOut,
                    "RJN2007",
                    text,
                )
                .help(
                    "it may change yet: WRKJRNA shows the attached receiver, DSPMSG why the next one is not ready",
                ));
            }
            written = local.journal.tail().listen(crate::journal::Limit::Written);
        }
    }
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
    if choice == OpenChoice::Adopt && opening.control.set_unknown {
        let text = format!(
            "who was in the in-sync set of journal {} cannot be known here, so there is nobody to take anything over from: \
             OPEN(*ADOPT) would open it without asking",
            opening.name
        );
        let help = format!(
            "ask the targets first: WRKJRNA on every system with a copy shows its last entry. Where none goes beyond entry \
             {}, CHGJRN OPEN(*ALONE) opens it; where one does, restore this journal from it first",
            opening.tip.sequence
        );
        return Err(CommandError::refused("RJN4028", text).help(help));
    }
    let (done, answer) = tokio::sync::oneshot::channel();
    opening
        .order(match choice {
            OpenChoice::Alone => OpenOrder::Alone(done),
            OpenChoice::Adopt => OpenOrder::Adopt(done),
        })
        .await;
    drop(answer.await);
    Ok(JournalChanged {
        receiver: None,
        attributes: false,
    })
}
