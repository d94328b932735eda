//! Room `daemon`, recovery groups: what this system answers when another member, or one that is to be, asks something of it.
//! Must not judge: the standing does.

use std::sync::Arc;

use super::news::record_is_proven;
use super::runtime::GroupRuntime;
use crate::daemon::catalog::Partner;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::accept::refused;
use crate::daemon::task::copy::CopyRuntime;
use crate::entry::{GroupId, JournalId, RdbName, Sequence, SystemId};
use crate::error::JournalError;
use crate::journal::{Attributes, Copy, JournalKind, NewJournal, Recovered, next_receiver_name};
use crate::remote::{
    GROUP_MEMBERS_MAX, GroupMember, JoinGroup, PartnerReply, PartnerRequest, RefusalCode,
};
use crate::role::{Chore, Lineage, Standing};

impl Shared {
    /// A partner asks this system to join a group: first for the journal it will write, then, with all of them and the first
    /// term, to take part.
    ///
    /// Cancel safe: no.
    pub(super) async fn join_group(
        self: &Arc<Self>,
        rdb: RdbName,
        partner: &Partner,
        asked: JoinGroup,
    ) -> PartnerReply {
        let _admin = self.admin.lock().await;
        let group = asked.group;
        let no = |text: String| refused(RefusalCode::NotAuthorised, text);
        let Some(me) = group.member(self.id).cloned() else {
            return no(format!("{} is not among the members", self.name));
        };
        if group.members.len() > GROUP_MEMBERS_MAX || group.member(partner.system).is_none() {
            return no("the asking system is not among the members".to_owned());
        }
        if !partner.may_feed(me.own) {
            return no(format!(
                "the directory entry {rdb} on {} does not allow it; there: CHGRDBDIRE --rdb {rdb} --alwjrn {}/*ALL",
                self.name, me.library
            ));
        }
        if let Some(known) = self
            .groups
            .named(group.name)
            .filter(|known| known.id != group.id)
        {
            return no(format!(
                "{} is in another group {} already",
                self.name, known.name
            ));
        }
        for member in group.others(self.id) {
            if self.rdb_of(member.system).is_none() {
                return no(format!(
                    "{} has no directory entry for {}; there: ADDRDBDIRE",
                    self.name, member.name
                ));
            }
        }
        if let Err(error) = self.require_library(me.library) {
            return no(error.to_string());
        }
        let journal = match self.own_journal_of(&me, asked.threshold).await {
            Ok(journal) => journal,
            Err(text) => return no(text),
        };
        if !asked.lineage.is_empty() && self.groups.find(group.id).is_none() {
            if me.journal != journal {
                return no("the journal this system is to write is another one".to_owned());
            }
            let read = Lineage::read(&group, asked.lineage, |record| {
                record_is_proven(&group, record)
            });
            let lineage = match read {
                Ok(lineage) => lineage,
                Err(error) => return no(error.to_string()),
            };
            let mut standing = Standing::new(group, lineage);
            standing.flushed = standing.lineage.term();
            if let Err(error) = self.begin_group(standing) {
                return no(error.to_string());
            }
        }
        PartnerReply::Joined {
            journal,
            fingerprint: *self.fingerprint().as_bytes(),
            system_name: self.name,
        }
    }

    /// The journal this system will write, made where there is none: it rests.
    async fn own_journal_of(
        self: &Arc<Self>,
        me: &GroupMember,
        threshold: u64,
    ) -> Result<JournalId, String> {
        if let Some(runtime) = self.runtime_of(me.own) {
            let (id, kind) = match &runtime {
                JournalRuntime::Copy(copy) => (copy.copy.id(), copy.copy.control().kind),
                _ => return Err(format!("{} on {} is a journal already", me.own, self.name)),
            };
            if kind != JournalKind::Local {
                return Err(format!(
                    "{} on {} is a remote journal already",
                    me.own, self.name
                ));
            }
            return Ok(id);
        }
        let (shared, name) = (Arc::clone(self), me.own);
        let made = tokio::task::spawn_blocking(move || {
            let dir = shared.new_dir();
            let receiver =
                next_receiver_name(name, |_| false).ok_or(JournalError::NoFreeName { name })?;
            let attributes = Attributes {
                threshold: threshold
                    .clamp(crate::entry::THRESHOLD_MIN, crate::entry::THRESHOLD_MAX),
                ..Attributes::default()
            };
            let new = NewJournal {
                name,
                first_receiver: receiver,
                attributes,
            };
            let recovered = Recovered::create(
                Arc::clone(&shared.disk),
                &dir,
                shared.owner(),
                new,
                &*shared.entropy,
                shared.clock.wall(),
            )?;
            let id = recovered.control().journal;
            drop(recovered);
            let copy = Copy::open_own(Arc::clone(&shared.disk), &dir, Sequence::NONE)?;
            let runtime = CopyRuntime::start(&shared, copy);
            shared.insert(name, JournalRuntime::Copy(runtime));
            Ok::<_, JournalError>(id)
        });
        match made.await {
            Ok(Ok(id)) => Ok(id),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether this system would let a member feed its copy of that member's journal, were it primary.
    pub(super) fn would_be_fed(
        &self,
        group: &GroupRuntime,
        by: SystemId,
        journal: JournalId,
    ) -> Result<(), String> {
        let definition = group.look(|at| at.group.clone());
        let writer = definition.writer_of(journal);
        if writer.is_none_or(|writer| writer.system != by) {
            return Err("that system does not write this journal".to_owned());
        }
        let name = definition
            .name_at(self.id, journal)
            .ok_or_else(|| format!("{} is no member", self.name))?;
        match self.runtime_of(name) {
            Some(JournalRuntime::Copy(copy)) => match copy.status().failure {
                Some(failure) => Err(format!("{name} on {}: {failure}", self.name)),
                None if copy.copy.id() == journal => Ok(()),
                None => Err(format!(
                    "{name} on {} is a copy of another journal",
                    self.name
                )),
            },
            Some(_) => Err(format!(
                "{name} on {} is not a copy that can be fed",
                self.name
            )),
            None => Err(format!("there is no {name} on {} yet", self.name)),
        }
    }

    /// A partner says something about a group.
    ///
    /// Cancel safe: no.
    pub(in crate::daemon) async fn group_request(
        self: &Arc<Self>,
        rdb: RdbName,
        partner: &Partner,
        request: PartnerRequest,
    ) -> PartnerReply {
        let request = match request {
            PartnerRequest::JoinGroup(asked) => return self.join_group(rdb, partner, *asked).await,
            other => other,
        };
        let id = match &request {
            PartnerRequest::Group(news) => news.group.id,
            PartnerRequest::Promise(asked) => asked.claim.group,
            PartnerRequest::DeleteGroup { group }
            | PartnerRequest::CheckPath { group, .. }
            | PartnerRequest::Feed { group, .. } => *group,
            _ => GroupId::NONE,
        };
        let no = |text: String| refused(RefusalCode::NotAuthorised, text);
        let Some(group) = self.groups.find(id) else {
            return no(format!("{} is in no such recovery group", self.name));
        };
        if group.look(|at| at.group.member(partner.system).is_none()) {
            return no(format!("no member of recovery group {}", group.name));
        }
        let failed =
            |error: crate::error::SystemError| refused(RefusalCode::Damaged, error.to_string());
        match request {
            PartnerRequest::Group(news) => {
                if let Err(error) = self.take_news(&group, partner.system, &news) {
                    return failed(error);
                }
                // Who hands over waits for this answer: the pause of its programs ends with it.
                let handed = self.seen(&group).handed_to_me();
                if let Some(Chore::TakeOverHanded { from, handed, at }) = handed {
                    let _turn = group.turn.lock().await;
                    let again = self.seen(&group).handed_to_me().is_some();
                    if again && let Err(error) = self.take_handed(&group, from, handed, at).await {
                        tracing::info!(group = %group.name, error, "what was handed over is not taken yet");
                    }
                }
                let behind = group.look(|at| at.lineage.term())
                    > news.lineage.last().map_or(0, |record| record.term);
                let changed = news.follows > 0 && behind;
                if changed || group.is_waiting_for(partner.system, news.follows) {
                    group.wake();
                }
                PartnerReply::Group(Box::new(self.group_news(&group)))
            }
            PartnerRequest::Promise(asked) => {
                match self.promise(&group, partner.system, &asked).await {
                    Ok(told) => PartnerReply::Promise(Box::new(told)),
                    Err(text) => no(text),
                }
            }
            PartnerRequest::CheckPath { journal, .. } => {
                match self.would_be_fed(&group, partner.system, journal) {
                    Ok(()) => PartnerReply::Done,
                    Err(text) => refused(RefusalCode::Stopped, text),
                }
            }
            PartnerRequest::DeleteGroup { .. } => {
                let primary = group.look(Standing::promised_to) == Some(partner.system);
                if !primary {
                    return no("only the primary deletes a group".to_owned());
                }
                match self.end_group(&group).await {
                    Ok(()) => PartnerReply::Done,
                    Err(error) => refused(RefusalCode::Damaged, error.to_string()),
                }
            }
            _ => no("not answered here".to_owned()),
        }
    }
}
