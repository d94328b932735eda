//! Room `daemon`, recovery groups: a group is made, changed and ended: the primary of the first term asks every member for the
//! journal it will write, and tells all of them who belongs to it. What a member then lacks - copies of the others' journals,
//! definitions of remote journals on its own - it makes by itself. Must not judge.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::file::{GROUPS_DIR, GroupFile};
use super::news::record_is_proven;
use super::runtime::GroupRuntime;
use crate::daemon::catalog::Partner;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared, dir_of};
use crate::daemon::task::accept::refused;
use crate::daemon::task::copy::CopyRuntime;
use crate::entry::control_entry::Level;
use crate::entry::{
    ChainHead, GroupId, JournalId, Name, Position, Proof, QualifiedName, RdbName, Sequence,
    SystemId, TermReason, TermRecord,
};
use crate::error::JournalError;
use crate::journal::{
    Attributes, Copy, DeliveryMode, JournalKind, LinkRecord, NewJournal, Recovered, SourceRecord,
    next_receiver_name,
};
use crate::remote::{
    GROUP_MEMBERS_MAX, Group, GroupMember, JoinGroup, MemberRole, PartnerReply, PartnerRequest,
    RefusalCode,
};
use crate::role::{Lineage, Standing};

/// How long a member may take to make what a group needs.
const JOIN_MAX: Duration = Duration::from_secs(15);

/// A member as an operator names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewMember {
    /// Its directory entry here.
    pub(crate) rdb: RdbName,
    /// Library there.
    pub(crate) library: Name,
}

/// A group as an operator wants it.
#[derive(Debug, Clone)]
pub(crate) struct NewGroup {
    /// Its name.
    pub(crate) name: Name,
    /// The forward journal: local, open.
    pub(crate) journal: QualifiedName,
    /// The backups, in order.
    pub(crate) backups: Vec<NewMember>,
    /// Whether answers wait for the backups.
    pub(crate) sync: bool,
    /// Free text.
    pub(crate) text: String,
}

impl Shared {
    /// Makes a group of this system, its first primary, and others.
    ///
    /// Cancel safe: no; what was made on members stays, and is used when the command is given again.
    pub(crate) async fn create_group(
        self: &Arc<Self>,
        new: NewGroup,
    ) -> Result<Arc<GroupRuntime>, CommandError> {
        if self.groups.named(new.name).is_some() {
            return Err(CommandError::exists("recovery group", new.name));
        }
        let runtime = self.runtime_of(new.journal);
        let Some(JournalRuntime::Local(local)) = runtime else {
            let text = format!("{} is no local journal that is open here", new.journal);
            return Err(CommandError::refused("RJN7120", text)
                .help("CRTCRG is given on the system that is primary first"));
        };
        let journal = local.journal.id();
        if let Some(group) = self.groups.of_journal(journal) {
            let text = format!("{} belongs to recovery group {}", new.journal, group.name);
            return Err(CommandError::refused("RJN7121", text));
        }
        if new.backups.is_empty() || new.backups.len() >= GROUP_MEMBERS_MAX {
            let text = format!("a group has 1 to {} backups", GROUP_MEMBERS_MAX - 1);
            return Err(CommandError::invalid(text));
        }
        let me = GroupMember {
            system: self.id,
            name: self.name,
            fingerprint: *self.fingerprint().as_bytes(),
            journal,
            own: new.journal,
            library: new.journal.library,
        };
        let mut group = Group {
            id: GroupId::from_bytes(self.entropy.id()),
            name: new.name,
            version: 1,
            members: vec![me],
            sync: new.sync,
            text: new.text,
        };
        for backup in &new.backups {
            let member = self.meet(backup).await?;
            if group.member(member.system).is_some() {
                return Err(CommandError::invalid(format!(
                    "{} is named twice",
                    backup.rdb
                )));
            }
            group.members.push(member);
        }
        require_names(&group)?;
        for index in 1..group.members.len() {
            let (to, name) = (group.members[index].system, group.members[index].name);
            let asked = Self::join_request(&group, Vec::new(), &local.journal.attributes());
            match self.ask_member(to, asked, JOIN_MAX).await {
                Ok(PartnerReply::Joined {
                    journal,
                    fingerprint,
                    ..
                }) => {
                    group.members[index].journal = journal;
                    group.members[index].fingerprint = fingerprint;
                }
                Ok(_) => return Err(not_joined(&name.to_string(), "it said something else")),
                Err(error) => return Err(not_joined(&name.to_string(), &error)),
            }
        }
        let record = self.first_record(&group, &local.journal)?;
        for member in group.others(self.id) {
            let asked = Self::join_request(&group, vec![record], &local.journal.attributes());
            if let Err(error) = self.ask_member(member.system, asked, JOIN_MAX).await {
                return Err(not_joined(&member.name.to_string(), &error));
            }
        }
        let lineage = Lineage::read(&group, vec![record], |_| true)
            .map_err(|error| CommandError::refused("RJN7120", error.to_string()))?;
        let mut standing = Standing::new(group, lineage);
        standing.flushed = record.term;
        self.begin_group(standing)
    }

    /// Who is behind a directory entry.
    async fn meet(&self, backup: &NewMember) -> Result<GroupMember, CommandError> {
        let partner = self.catalog(|catalog| catalog.partners.get(&backup.rdb).cloned());
        let partner = partner.ok_or_else(|| {
            CommandError::not_found("directory entry", backup.rdb).help("ADDRDBDIRE makes it")
        })?;
        let reply = self.ask_partner(backup.rdb, PartnerRequest::Ping).await?;
        let PartnerReply::Pong {
            system,
            system_name,
        } = reply
        else {
            return Err(not_joined(
                &backup.rdb.to_string(),
                "it said something else",
            ));
        };
        if system != partner.system {
            return Err(not_joined(
                &backup.rdb.to_string(),
                "another system answers than the directory entry says; compare WRKRDBDIRE with DSPSYSID there",
            ));
        }
        let name = Name::new(system_name.as_str()).map_err(|error| {
            let text = format!(
                "the journal of {} gets the name of its system, which is none: {error}",
                backup.rdb
            );
            CommandError::invalid(text)
        })?;
        Ok(GroupMember {
            system,
            name: system_name,
            fingerprint: *partner.fingerprint.as_bytes(),
            journal: JournalId::NONE,
            own: QualifiedName {
                library: backup.library,
                name,
            },
            library: backup.library,
        })
    }

    fn join_request(
        group: &Group,
        lineage: Vec<TermRecord>,
        attributes: &Attributes,
    ) -> PartnerRequest {
        PartnerRequest::JoinGroup(Box::new(JoinGroup {
            group: group.clone(),
            threshold: attributes.threshold,
            lineage,
        }))
    }

    /// The record of the term in which the group is made.
    fn first_record(
        &self,
        group: &Group,
        journal: &crate::journal::Journal,
    ) -> Result<TermRecord, CommandError> {
        let epoch = journal.epoch();
        let mut record = TermRecord {
            group: group.id,
            term: epoch.term,
            primary: self.id,
            journal: journal.id(),
            begins: Position {
                sequence: Sequence::NONE,
                head: ChainHead::genesis(journal.id()),
            },
            epoch,
            closed: None,
            reason: TermReason::Created,
            opened_at: self.clock.wall(),
            proof: Proof::NONE,
        };
        self.identity().sign(&mut record)?;
        Ok(record)
    }

    /// Puts a group down and starts what runs for it.
    pub(super) fn begin_group(
        self: &Arc<Self>,
        standing: Standing,
    ) -> Result<Arc<GroupRuntime>, CommandError> {
        let id = standing.group.id.to_string();
        let dir = std::path::Path::new(GROUPS_DIR).join(id.get(..16).unwrap_or(&id));
        let file = GroupFile::create(&self.disk, &dir, standing)?;
        let group = GroupRuntime::new(file);
        self.groups.insert(Arc::clone(&group));
        self.fence(&group);
        self.start_group(Arc::clone(&group));
        let text = format!("recovery group {} was made", group.name);
        self.post_about("RJN7000", Severity::Info, group.name.as_str(), text);
        Ok(group)
    }

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

    /// Makes what this member lacks of its group: copies of the others' journals, definitions of remote journals on its own.
    ///
    /// Cancel safe: no.
    pub(super) async fn furnish(
        self: &Arc<Self>,
        group: &GroupRuntime,
    ) -> Result<(), CommandError> {
        let definition = group.look(|at| at.group.clone());
        for member in definition.others(self.id) {
            let Some(name) = definition.name_at(self.id, member.journal) else {
                continue;
            };
            if self.runtime_of(name).is_some() {
                continue;
            }
            self.require_library(name.library)?;
            let source = SourceRecord {
                system: member.system,
                name: member.name,
                journal: member.own,
                path: Vec::new(),
            };
            let attributes = Attributes::default();
            self.make_copy(member.journal, name, source, attributes)
                .await?;
        }
        self.furnish_links(&definition)
    }

    fn furnish_links(self: &Arc<Self>, group: &Group) -> Result<(), CommandError> {
        let Some(me) = group.member(self.id) else {
            return Ok(());
        };
        let runtime = self.runtime_of(me.own);
        let source = runtime.as_ref().and_then(JournalRuntime::source);
        let (Some(runtime), Some(source)) = (runtime, source) else {
            return Ok(());
        };
        let known = source.control().links;
        for member in group.others(self.id) {
            let target = group.name_at(member.system, me.journal);
            let (Some(target), Some(rdb)) = (target, self.rdb_of(member.system)) else {
                continue;
            };
            let same = |link: &LinkRecord| link.system == member.system && link.target == target;
            if known.iter().any(same) {
                continue;
            }
            let record = LinkRecord {
                rdb,
                system: member.system,
                target,
                delivery: if group.sync {
                    DeliveryMode::Sync
                } else {
                    DeliveryMode::Async
                },
                level: Level::Written,
                active: false,
                acknowledged: Sequence::NONE,
                needs_reinit: false,
                text: format!("recovery group {}", group.name),
            };
            source.update(|control| control.links.push(record.clone()))?;
            if let JournalRuntime::Local(local) = &runtime {
                local.links.start(self, source.clone(), record);
            }
        }
        Ok(())
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

    /// Changes the definition of a group: the primary's word, which spreads by itself.
    pub(crate) fn change_definition(
        &self,
        group: &GroupRuntime,
        change: impl FnOnce(&mut Group) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let standing = group.standing();
        if standing.role(self.id) != MemberRole::Primary {
            let text = format!("{} is not the primary of group {}", self.name, group.name);
            return Err(CommandError::refused("RJN7110", text).help("give the command there"));
        }
        let mut definition = standing.group;
        change(&mut definition)?;
        definition.version += 1;
        group.update(|at| at.handle_definition(&definition))?;
        group.wake();
        Ok(())
    }

    /// Ends a group here. The journals stay; one that rested opens by itself again as a local journal of its own.
    ///
    /// Cancel safe: no.
    pub(crate) async fn end_group(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
    ) -> Result<(), CommandError> {
        let _turn = group.turn.lock().await;
        let _seat = group.seat.lock().await;
        let standing = group.standing();
        group.over.store(true, Ordering::Release);
        group.wake();
        self.groups.remove(group.id);
        let disk = Arc::clone(&self.disk);
        let dir = group.dir();
        let gone = dir.clone();
        let removed = tokio::task::spawn_blocking(move || disk.remove_dir_all(&gone)).await;
        if let Ok(Err(source)) = removed {
            return Err(crate::error::SystemError::io("could not be removed", &dir, source).into());
        }
        for member in &standing.group.members {
            let name = standing.group.name_at(self.id, member.journal);
            if let Some(JournalRuntime::Copy(copy)) = name.and_then(|name| self.runtime_of(name)) {
                copy.copy.set_authority(None);
            }
        }
        let own = standing.group.member(self.id).map(|member| member.own);
        if let Some(own) = own
            && let Some(JournalRuntime::Copy(copy)) = self.runtime_of(own)
        {
            let dir = dir_of(copy.copy.reader());
            copy.stop().await;
            self.recover_again(own, dir).await;
        }
        let text = format!("recovery group {} was deleted", group.name);
        self.post_about("RJN7000", Severity::Info, group.name.as_str(), text);
        Ok(())
    }

    /// Deletes a group on this system and on all members that answer; gives the names of those that did not.
    ///
    /// Cancel safe: no.
    pub(crate) async fn delete_group(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        force: bool,
    ) -> Result<Vec<String>, CommandError> {
        let standing = group.standing();
        if standing.role(self.id) != MemberRole::Primary && !force {
            let text = format!("{} is not the primary of group {}", self.name, group.name);
            return Err(CommandError::refused("RJN7110", text)
                .help("delete it on the primary; --force deletes it on this system alone"));
        }
        let mut silent = Vec::new();
        if standing.role(self.id) == MemberRole::Primary {
            for member in standing.group.others(self.id) {
                let request = PartnerRequest::DeleteGroup { group: group.id };
                if self
                    .ask_member(member.system, request, JOIN_MAX)
                    .await
                    .is_err()
                {
                    silent.push(member.name.to_string());
                }
            }
        }
        if !silent.is_empty() && !force {
            let text = format!(
                "{} did not answer; the group still stands here",
                silent.join(" and ")
            );
            return Err(
                CommandError::new(ErrorKind::Unreachable, "RJN7122", text).help(
                    "give the command again when they answer, or --force, and DLTCRG --force there",
                ),
            );
        }
        self.end_group(group).await?;
        Ok(silent)
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
                if self.handed_to_me(&group).is_some()
                    && let Err(error) = self.take_hand_over(&group).await
                {
                    tracing::info!(group = %group.name, error, "what was handed over is not taken yet");
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
                    Err(error) => failed(error),
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

fn not_joined(name: &str, why: &str) -> CommandError {
    let text = format!("{name} cannot be a member: {why}");
    CommandError::refused("RJN7123", text)
        .help("nothing is in force; what was made on members is used when CRTCRG is given again")
}

/// No two journals of the group have one name on a system.
fn require_names(group: &Group) -> Result<(), CommandError> {
    for (index, one) in group.members.iter().enumerate() {
        for other in group.members.iter().skip(index + 1) {
            if one.own.name == other.own.name {
                let text = format!(
                    "the journals of {} and {} would both be called {}: the forward journal may not have the name of a member",
                    one.name, other.name, one.own.name
                );
                return Err(CommandError::invalid(text));
            }
        }
    }
    Ok(())
}
