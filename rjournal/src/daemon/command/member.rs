//! Room `daemon`: journals and partners of recovery groups among the commands that are not about groups: which place a journal
//! has, and what is refused because it would break its group. Must not change anything.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::CommandError;
use super::group::PrimaryTold;
use crate::daemon::group::GroupRuntime;
use crate::daemon::system::Shared;
use crate::entry::control_entry::OpenEntry;
use crate::entry::{HandOver, JournalId, Kind, Name, QualifiedName, RdbName, SystemId, SystemName};
use crate::remote::MemberRole;

/// A journal's place in a recovery group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlace {
    /// The group.
    pub group: Name,
    /// Role of this system in it.
    pub role: MemberRole,
    /// The term promised here.
    pub term: u64,
    /// Who is primary, where one is known that has opened the term.
    pub primary: Option<SystemName>,
    /// Who writes this journal, when it is primary.
    pub writer: SystemName,
    /// Whether the newest term is written in this journal.
    pub is_current: bool,
}

impl GroupPlace {
    /// Who is primary, as a sentence goes on with it.
    pub fn who_is_primary(&self) -> String {
        said_of(self.group, self.term, self.primary)
    }
}

fn said_of(group: Name, term: u64, primary: Option<SystemName>) -> String {
    match primary {
        Some(primary) => {
            format!("{primary} is the primary of recovery group {group} in term {term}")
        }
        None => {
            format!("recovery group {group} has no primary: term {term} is claimed and not opened")
        }
    }
}

impl Shared {
    /// The recovery group a journal here belongs to, and the journal's identity.
    fn group_of(&self, name: QualifiedName) -> Option<(Arc<GroupRuntime>, JournalId)> {
        let id = self.runtime_of(name)?.id()?;
        Some((self.groups.of_journal(id)?, id))
    }

    /// The place of a journal here in its recovery group.
    pub(super) fn place_in_group(&self, name: QualifiedName) -> Option<GroupPlace> {
        let (group, journal) = self.group_of(name)?;
        let PrimaryTold {
            group: known_as,
            term,
            primary,
            role,
            ..
        } = self.primary_of(&group);
        group.look(|standing| {
            Some(GroupPlace {
                group: known_as,
                role,
                term,
                primary,
                writer: standing.group.writer_of(journal)?.name,
                is_current: standing.lineage.is_current(journal),
            })
        })
    }

    /// What is said to who would deposit to a journal of a group that takes no deposits here.
    pub(in crate::daemon) fn closed_by_group(&self, name: QualifiedName) -> Option<CommandError> {
        let (group, _) = self.group_of(name)?;
        let told = self.primary_of(&group);
        let who = said_of(told.group, told.term, told.primary);
        let text = format!("journal {name} takes no deposits here: {who}");
        let help = match told.primary {
            Some(_) if told.here => format!("deposit to {}", told.journal),
            Some(primary) => format!("deposit at {primary}: WHOISPRIMARY says where it is reached"),
            None => "DSPCRG says what is under way".to_owned(),
        };
        Some(CommandError::refused("RJN7131", text).help(help))
    }

    /// What stands against opening, by an operator's word, a journal that rests.
    pub(super) fn rests_in_group(&self, name: QualifiedName) -> Option<CommandError> {
        let (group, _) = self.group_of(name)?;
        let told = self.primary_of(&group);
        let who = said_of(told.group, told.term, told.primary);
        let text = format!("journal {name} rests: {who}");
        let help = "switch, on the primary, makes this system primary; takeover, here, if the primary is lost";
        Some(CommandError::refused("RJN7131", text).help(help))
    }

    /// An operator has this member follow a history that leaves out what is confirmed here. Says whether that kept it from it.
    pub(super) async fn follows_again(&self, name: QualifiedName) -> Result<bool, CommandError> {
        match self.group_of(name) {
            Some((group, _)) => self.require_arc()?.give_up_abandoned(&group).await,
            None => Ok(false),
        }
    }

    /// Nothing is done to a journal of a group that the group sees to itself.
    pub(super) fn require_no_group(
        &self,
        name: QualifiedName,
        what: &str,
        help: &str,
    ) -> Result<(), CommandError> {
        match self.group_of(name) {
            Some((group, _)) => Err(of_group(name, group.name, what).help(help)),
            None => Ok(()),
        }
    }

    /// Nothing is done to the way of a group's journal to another member of it.
    pub(super) fn require_no_member_link(
        &self,
        name: QualifiedName,
        target: SystemId,
        what: &str,
        help: &str,
    ) -> Result<(), CommandError> {
        match self.group_of(name) {
            Some((group, _)) if group.look(|at| at.group.member(target).is_some()) => {
                Err(of_group(name, group.name, what).help(help))
            }
            _ => Ok(()),
        }
    }

    /// The directory entry of a member keeps what the group rests on.
    pub(super) fn require_no_member(
        &self,
        rdb: RdbName,
        system: SystemId,
        what: &str,
    ) -> Result<(), CommandError> {
        let all = self.groups.all().into_iter();
        let mut of = all.filter(|group| group.look(|at| at.group.member(system).is_some()));
        let Some(group) = of.next() else {
            return Ok(());
        };
        let text = format!(
            "directory entry {rdb} is a member of recovery group {}: {what}",
            group.name
        );
        Err(CommandError::refused("RJN7132", text).help("DLTCRG ends the group"))
    }

    /// What an entry that begins or ends a term says, with the names its group has for systems and journals.
    pub(super) fn meaning_of_term(&self, kind: Kind, payload: &[u8]) -> Option<String> {
        match kind {
            Kind::HAND_OVER => {
                let entry = HandOver::decode(payload).ok()?;
                let group = self.groups.find(entry.group)?;
                let to = group.look(|at| Some(at.group.member(entry.to)?.name))?;
                Some(format!(
                    "term {} of recovery group {} is handed over to {to}",
                    entry.term, group.name
                ))
            }
            Kind::OPENED => {
                let entry = OpenEntry::decode(payload).ok()?;
                let record = entry.term?;
                let group = self.groups.find(record.group)?;
                let writer = |journal| {
                    group.look(|at| {
                        let writer = at.group.writer_of(journal)?;
                        Some(format!("{} at {}", writer.own, writer.name))
                    })
                };
                let closes = record.closed.and_then(|closed| {
                    let journal = writer(closed.journal)?;
                    let (term, last) = (closed.term, closed.last.sequence);
                    Some(format!(
                        ", term {term} ended with entry {last} of {journal}"
                    ))
                });
                Some(format!(
                    "term {} of recovery group {} begins in epoch {}{}",
                    record.term,
                    group.name,
                    entry.epoch,
                    closes.unwrap_or_default()
                ))
            }
            _ => None,
        }
    }
}

fn of_group(name: QualifiedName, group: Name, what: &str) -> CommandError {
    CommandError::refused(
        "RJN7130",
        format!("journal {name} belongs to recovery group {group}: {what}"),
    )
}
