//! Room `daemon`, recovery groups: a group is made, changed and ended: the primary of the first term asks every member for the
//! journal it will write, and tells all of them who belongs to it. What a member then lacks - copies of the others' journals,
//! definitions of remote journals on its own - it makes by itself. Must not judge.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::file::{GROUPS_DIR, GroupFile};
use super::runtime::GroupRuntime;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared, dir_of};
use crate::entry::control_entry::Level;
use crate::entry::{
    ChainHead, GroupId, JournalId, Name, Position, Proof, QualifiedName, RdbName, Sequence,
    TermReason, TermRecord,
};
use crate::journal::{Attributes, DeliveryMode, LinkRecord, SourceRecord};
use crate::remote::{
    GROUP_MEMBERS_MAX, Group, GroupMember, JoinGroup, MemberRole, PartnerReply, PartnerRequest,
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
        self.mark_journals(&definition, Some(definition.id))?;
        self.furnish_links(&definition)
    }

    /// Puts down with each journal of a group here that it belongs to it, or to none any more.
    fn mark_journals(
        &self,
        definition: &Group,
        group: Option<GroupId>,
    ) -> Result<(), CommandError> {
        for member in &definition.members {
            let name = definition.name_at(self.id, member.journal);
            let source = name.and_then(|name| self.runtime_of(name)?.source());
            if let Some(source) = source.filter(|source| source.control().group != group) {
                source.update(|control| control.group = group)?;
            }
        }
        Ok(())
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
        // A journal that belongs to a group without a standing would open no more.
        self.mark_journals(&standing.group, None)?;
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
