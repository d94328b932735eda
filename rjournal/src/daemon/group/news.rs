//! Room `daemon`, recovery groups: what this member tells the others, and what it takes in from them. Whatever follows is
//! durable before anything is answered. Must not judge: the standing does.

use std::sync::Arc;

use super::runtime::GroupRuntime;
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::copy::CopyEvent;
use crate::entry::{RdbName, SystemId, TermClaim, TermReason, TermRecord};
use crate::error::SystemError;
use crate::link::{Fingerprint, is_signed_by};
use crate::remote::{Group, GroupNews, MemberRole, PromiseAsked, PromiseTold, ShipLimit};
use crate::role::{Heard, Lineage, Standing};

/// Whether a record is the word of the member it speaks of.
fn is_entitled(group: &Group, system: SystemId, proven: impl Fn(&Fingerprint) -> bool) -> bool {
    group
        .member(system)
        .is_some_and(|member| proven(&Fingerprint::from_bytes(member.fingerprint)))
}

pub(super) fn record_is_proven(group: &Group, record: &TermRecord) -> bool {
    is_entitled(group, record.primary, |key| is_signed_by(record, key))
}

/// Whether the role went, or goes, to another member because the primary handed it over.
pub(super) fn went_by_switch(standing: &Standing) -> bool {
    let newest = standing.lineage.newest();
    let of_newest = newest.filter(|newest| newest.term == standing.promised());
    standing.handed_over.is_some()
        || of_newest.is_some_and(|newest| newest.reason == TermReason::HandedOver)
}

pub(super) fn claim_is_proven(group: &Group, claim: &TermClaim) -> bool {
    claim.group == group.id && is_entitled(group, claim.system, |key| is_signed_by(claim, key))
}

impl Shared {
    /// Whether this member's journal takes deposits now.
    pub(crate) fn is_group_open(&self, group: &GroupRuntime) -> bool {
        let own = group.look(|at| at.group.member(self.id).map(|member| member.own));
        matches!(
            own.and_then(|own| self.runtime_of(own)),
            Some(JournalRuntime::Local(local)) if local.is_taking_deposits()
        )
    }

    /// What this member tells the others.
    pub(crate) fn own_news(&self, group: &GroupRuntime) -> GroupNews {
        self.group_news(group)
    }

    pub(super) fn group_news(&self, group: &GroupRuntime) -> GroupNews {
        let standing = group.standing();
        let seen = self.seen(group);
        let applied = self.applied_of(&standing);
        GroupNews {
            system: self.id,
            role: standing.role(self.id),
            claim: standing.claim,
            handed_over: standing.handed_over,
            follows: seen.follows(),
            open: self.is_group_open(group),
            lineage: standing.lineage.records().to_vec(),
            group: standing.group,
            tips: seen.tips(),
            applied,
            paths: group.paths(),
            health: self.health_address().map(|address| address.to_string()),
            at: self.clock.wall(),
        }
    }

    /// Takes in what a member says of itself; of another group, or of somebody else, it is nothing.
    pub(super) fn take_news(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        from: SystemId,
        news: &GroupNews,
    ) -> Result<(), SystemError> {
        let known = group.standing();
        let is_member = known.group.member(from).is_some();
        if news.group.id != group.id || news.system != from || !is_member {
            return Ok(());
        }
        group.note_heard(from, Ok(news), self.clock.wall(), self.clock.now());
        // A definition is the primary's word; who may sign is part of it, so it is taken from members alone.
        let later = news.group.version > known.group.version;
        let by_primary = known.promised_to() == Some(from);
        if later && by_primary && news.group.member(self.id).is_some() {
            group.update(|at| at.handle_definition(&news.group))?;
        }
        let definition = group.look(|at| at.group.clone());
        let told = Lineage::read(&definition, news.lineage.clone(), |record| {
            record_is_proven(&definition, record)
        });
        match told {
            Ok(told) => {
                let heard = group.update(|at| at.handle_lineage(self.id, &told))?;
                self.tell_heard(group, heard);
            }
            Err(error) => {
                tracing::warn!(group = %group.name, %from, %error, "what a member tells of the terms is none of this group's");
            }
        }
        if let Some(claim) = news
            .claim
            .filter(|claim| claim_is_proven(&definition, claim))
        {
            let heard = group.update(|at| at.handle_claim(self.id, claim))?;
            self.tell_heard(group, heard);
        }
        Ok(())
    }

    pub(super) fn tell_heard(&self, group: &GroupRuntime, heard: Heard) {
        let standing = group.standing();
        if heard != Heard::Nothing {
            self.end_answers(group);
        }
        match heard {
            Heard::Nothing => return,
            Heard::Follows { demoted } => {
                let to = standing.promised_to();
                let name = to
                    .and_then(|to| {
                        standing
                            .group
                            .member(to)
                            .map(|member| member.name.to_string())
                    })
                    .unwrap_or_default();
                let term = standing.promised();
                // Who handed the role over has nothing alone, and knows that it is primary no longer.
                if demoted && !went_by_switch(&standing) {
                    let text = format!(
                        "term {term} belongs to {name}: this system is primary no longer. What it had alone is set aside and listed"
                    );
                    self.post_about("RJN7003", Severity::Alarm, group.name.as_str(), text);
                } else {
                    let text = format!("follows {name} in term {term}");
                    self.post_about("RJN7004", Severity::Info, group.name.as_str(), text);
                }
            }
            Heard::Conflict { .. } => {
                let text = standing
                    .stopped
                    .map(|stop| stop.to_string())
                    .unwrap_or_default();
                self.post_about("RJN7005", Severity::Critical, group.name.as_str(), text);
            }
        }
        let gives_way = matches!(
            heard,
            Heard::Follows { demoted: true } | Heard::Conflict { .. }
        );
        if let Some(local) = self.own_local(group).filter(|_| gives_way) {
            // It gives no further answer, also before its journal rests (failures.md 4.4).
            local.journal.close();
        }
        self.fence(group);
        self.after_hearing(group, heard);
        group.wake();
    }

    /// Every copy of the group refuses whoever may not feed it, from now on.
    pub(super) fn fence(&self, group: &GroupRuntime) {
        let standing = group.standing();
        let ready = self.seen(group).is_whole();
        for member in &standing.group.members {
            let Some(name) = standing.group.name_at(self.id, member.journal) else {
                continue;
            };
            if let Some(JournalRuntime::Copy(copy)) = self.runtime_of(name) {
                copy.copy.set_authority(Some(crate::journal::Authority {
                    term: standing.promised(),
                    source: standing.promised_to().unwrap_or(SystemId::NONE),
                    ready,
                }));
            }
        }
    }

    /// Makes what came to the copies of a group durable, and ends the sessions that bring more.
    ///
    /// Cancel safe: no.
    pub(super) async fn quiesce(&self, group: &GroupRuntime) {
        let definition = group.look(|at| at.group.clone());
        for member in &definition.members {
            let name = definition.name_at(self.id, member.journal);
            if let Some(JournalRuntime::Copy(copy)) = name.and_then(|name| self.runtime_of(name)) {
                let (done, answer) = tokio::sync::oneshot::channel();
                copy.tell(CopyEvent::Quiesce { done }).await;
                drop(answer.await);
            }
        }
    }

    /// A member asks for a promise.
    ///
    /// Cancel safe: no.
    pub(super) async fn promise(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        from: SystemId,
        asked: &PromiseAsked,
    ) -> Result<PromiseTold, String> {
        let claim = asked.claim;
        let definition = group.look(|at| at.group.clone());
        let was_open = self.is_group_open(group);
        let proven = claim.system == from && claim_is_proven(&definition, &claim);
        // Whoever was named by a hand-over, and has opened or is about to, does not let it be taken back.
        let promised = {
            // Nobody opens a term here meanwhile.
            let _seat = group.seat.lock().await;
            let taken = asked.abort && group.look(|at| at.role(self.id) != MemberRole::Backup);
            if proven && !taken {
                let heard = group.update(|at| at.handle_claim(self.id, claim));
                self.tell_heard(group, heard.map_err(|error| error.to_string())?);
            }
            proven && !taken && group.look(|at| at.has_promised(&claim))
        };
        if promised {
            // Persist, then say: what is told as held was flushed under the promise (ruling 30).
            self.rest_if_not_primary(group).await;
            self.fence(group);
            self.quiesce(group).await;
            // A promise counts with what is held behind it, and what cannot be read cannot be told.
            self.require_readable(group)?;
        }
        let mut news = self.group_news(group);
        if promised {
            news.open = false;
        }
        Ok(PromiseTold {
            promised,
            news,
            was_open,
            passed: group.look(|at| at.passed.clone()),
        })
    }

    /// Every journal of the group that this member has can be read.
    pub(super) fn require_readable(&self, group: &GroupRuntime) -> Result<(), String> {
        let definition = group.look(|at| at.group.clone());
        for member in &definition.members {
            let name = definition.name_at(self.id, member.journal);
            let runtime = name.and_then(|name| self.runtime_of(name));
            if let (Some(name), Some(JournalRuntime::Broken(_))) = (name, runtime) {
                return Err(format!(
                    "{name} on {} cannot be used: what it holds is not known",
                    self.name
                ));
            }
        }
        Ok(())
    }

    /// The directory entry of a system.
    pub(crate) fn rdb_of(&self, system: SystemId) -> Option<RdbName> {
        self.catalog(|catalog| {
            let mut partners = catalog.partners.iter();
            let found = partners.find(|(_, partner)| partner.system == system);
            found.map(|(rdb, _)| *rdb)
        })
    }

    /// How far a journal of this system is flushed.
    pub(super) fn flushed_of(source: &crate::daemon::crank::Source) -> crate::entry::Sequence {
        source.marks(ShipLimit::Written).shippable
    }
}
