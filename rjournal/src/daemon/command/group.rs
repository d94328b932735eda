//! Room `daemon`: recovery groups: CRTCRG, CHGCRG, DSPCRG, DLTCRG, CHGCRGPRI, takeover, whoisprimary. Must not know how a role is
//! changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CommandError, ErrorKind};
use crate::daemon::group::{
    GroupRuntime, NewGroup, NewMember, Patience, SwitchOrder, SwitchReport, TakeoverOrder,
    TakeoverReport,
};
use crate::daemon::system::Shared;
use crate::entry::{
    JournalId, Name, QualifiedName, RdbName, Sequence, SystemId, SystemName, TermReason, Timestamp,
};
use crate::remote::{Group, MemberRole};

/// A backup of a new group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupBackup {
    /// Its directory entry.
    pub rdb: RdbName,
    /// Library there for the group's journals; the forward journal's when not given.
    pub library: Option<Name>,
}

/// CRTCRG, on the system that is primary first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateGroup {
    /// The group.
    pub name: Name,
    /// The forward journal.
    pub journal: QualifiedName,
    /// The backups, in order.
    pub backups: Vec<GroupBackup>,
    /// Whether answers wait for the backups (*SYNC).
    pub sync: bool,
    /// Free text.
    #[serde(default)]
    pub text: String,
    /// How long to wait until all members follow and the ways back were tried, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
}

/// CHGCRG, on the primary.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeGroup {
    /// The group.
    pub name: Name,
    /// Its members by name, in the order in which they are to take over.
    pub order: Option<Vec<SystemName>>,
    /// Free text.
    pub text: Option<String>,
}

/// DSPCRG.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeGroups {
    /// One group; all when not given.
    pub name: Option<Name>,
}

/// DLTCRG.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteGroup {
    /// The group.
    pub name: Name,
    /// Also where members do not answer, or on this system alone.
    #[serde(default)]
    pub force: bool,
}

/// What DLTCRG did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupDeleted {
    /// Members that did not answer: the group still stands there.
    pub silent: Vec<String>,
}

/// CHGCRGPRI, on the primary: a planned switch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SwitchPrimary {
    /// The group; the only one when not given.
    pub group: Option<Name>,
    /// Who is to be primary; the first backup that is ready when not given.
    pub to: Option<SystemName>,
    /// Only say whether it could be done.
    #[serde(default)]
    pub plan: bool,
    /// Take a hand-over back.
    #[serde(default)]
    pub abort: bool,
    /// How long open commit cycles may take to decide, in milliseconds.
    pub drain_ms: u64,
    /// How many entries a store may be behind when it begins.
    pub behind_max: u64,
}

/// What CHGCRGPRI did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switched {
    /// The role was handed over, or could be.
    To(SwitchReport),
    /// The hand-over was taken back: the term that goes on.
    Back {
        /// The term.
        term: u64,
    },
}

/// Takeover, on a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TakeOver {
    /// The group; the only one when not given.
    pub group: Option<Name>,
    /// What cannot be heard of may be lost.
    #[serde(default)]
    pub accept_loss: bool,
    /// Only say what is known.
    #[serde(default)]
    pub plan: bool,
    /// How long members may take to answer, in milliseconds; as usual when not given: three seconds, and the last one that is
    /// missing is to be reached within half a second.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// WHOISPRIMARY.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WhoIsPrimary {
    /// The group; the only one when not given.
    pub group: Option<Name>,
}

/// Who is primary, as far as this system knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryTold {
    /// The group.
    pub group: Name,
    /// The term.
    pub term: u64,
    /// The primary's name, where one is known that has opened the term.
    pub primary: Option<SystemName>,
    /// Its address for partners, as the directory here has it; nothing for this system itself.
    pub address: Option<String>,
    /// Whether it is this system.
    pub here: bool,
    /// Whether it takes deposits, as far as is known.
    pub open: bool,
    /// The role of this system.
    pub role: MemberRole,
    /// The journal that takes deposits here, when this system is primary.
    pub journal: QualifiedName,
    /// When the primary was heard last; now for this system itself.
    pub heard_at: Timestamp,
}

/// One member of a group, as this system knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemberDescription {
    /// Its name.
    pub name: SystemName,
    /// Its identity.
    pub system: SystemId,
    /// Whether it is this system.
    #[serde(default)]
    pub is_here: bool,
    /// The journal it writes when it is primary.
    pub journal: QualifiedName,
    /// Name of that journal here.
    pub here: Option<QualifiedName>,
    /// Its role, as it said last.
    pub role: Option<MemberRole>,
    /// Whether it takes deposits.
    pub open: bool,
    /// The term it follows; 0 where something is missing.
    pub follows: u64,
    /// The last entry it has flushed of the newest term's journal.
    pub flushed: Option<Sequence>,
    /// What its store has applied of it.
    pub applied: Option<Sequence>,
    /// When it was heard last; zero for never.
    pub heard_at: Timestamp,
    /// Where its role and health are told over HTTP, if they are.
    #[serde(default)]
    pub health: Option<String>,
    /// Why it could not be asked the last time.
    pub error: Option<String>,
    /// The way from here to it: nothing where it was never tried.
    pub path: Option<Result<Timestamp, String>>,
    /// The way from it to here, as it said.
    pub way_back: Option<Result<Timestamp, String>>,
}

/// One term.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TermDescription {
    /// The term.
    pub term: u64,
    /// Who was primary.
    pub primary: String,
    /// The journal.
    pub journal: JournalId,
    /// Its first entry.
    pub first: Sequence,
    /// Its last entry; nothing for the one that goes on.
    pub last: Option<Sequence>,
    /// How it began.
    pub reason: TermReason,
    /// When.
    pub opened_at: Timestamp,
}

/// One group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupDescription {
    /// Its name.
    pub name: Name,
    /// Whether answers wait for the backups.
    pub sync: bool,
    /// Free text.
    pub text: String,
    /// This system's role.
    pub role: MemberRole,
    /// The highest term promised here.
    pub promised: u64,
    /// Why this system takes no part.
    pub stopped: Option<String>,
    /// What is under way.
    pub doing: Option<String>,
    /// Who is primary.
    pub primary: PrimaryTold,
    /// All members, in order.
    pub members: Vec<MemberDescription>,
    /// Its terms, newest first.
    pub terms: Vec<TermDescription>,
}

/// What DSPCRG shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupDescriptions {
    /// The groups.
    pub groups: Vec<GroupDescription>,
}

impl Shared {
    /// A group by its name, or the only one.
    pub(in crate::daemon) fn require_group(
        &self,
        name: Option<Name>,
    ) -> Result<std::sync::Arc<GroupRuntime>, CommandError> {
        let mut all = self.groups.all();
        match (name, all.len()) {
            (Some(name), _) => self.groups.named(name).ok_or_else(|| {
                CommandError::not_found("recovery group", name).help("DSPCRG lists them")
            }),
            (None, 1) => Ok(all.remove(0)),
            (None, 0) => {
                let text = "this system is in no recovery group";
                let none = CommandError::new(ErrorKind::NotFound, "CPF9801", text);
                Err(none.help("CRTCRG, on the system that is primary first, makes one"))
            }
            (None, _) => Err(CommandError::invalid(
                "there are several recovery groups: name one",
            )),
        }
    }

    pub(in crate::daemon::command) async fn create_recovery_group(
        &self,
        request: CreateGroup,
    ) -> Result<GroupDescription, CommandError> {
        let shared = self.require_arc()?;
        let library = request.journal.library;
        let backups = request.backups.iter().map(|backup| NewMember {
            rdb: backup.rdb,
            library: backup.library.unwrap_or(library),
        });
        let new = NewGroup {
            name: request.name,
            journal: request.journal,
            backups: backups.collect(),
            sync: request.sync,
            text: request.text,
        };
        let group = shared.create_group(new).await?;
        let until = tokio::time::Instant::now() + Duration::from_millis(request.wait_ms);
        loop {
            let described = self.describe_group(&group);
            let others = || {
                described
                    .members
                    .iter()
                    .filter(|member| member.system != self.id)
            };
            let term = described.primary.term;
            let whole = others().all(|member| {
                member.follows == term
                    && matches!(member.path, Some(Ok(_)))
                    && matches!(member.way_back, Some(Ok(_)))
            });
            if whole || tokio::time::Instant::now() >= until {
                return Ok(described);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(in crate::daemon::command) fn change_group(
        &self,
        request: ChangeGroup,
    ) -> Result<GroupDescription, CommandError> {
        let group = self.require_group(Some(request.name))?;
        self.change_definition(&group, |definition| {
            if let Some(text) = request.text {
                definition.text = text;
            }
            match request.order {
                Some(order) => reorder(definition, &order),
                None => Ok(()),
            }
        })?;
        Ok(self.describe_group(&group))
    }

    pub(in crate::daemon::command) async fn delete_recovery_group(
        &self,
        request: &DeleteGroup,
    ) -> Result<GroupDeleted, CommandError> {
        let group = self.require_group(Some(request.name))?;
        let shared = self.require_arc()?;
        let silent = shared.delete_group(&group, request.force).await?;
        Ok(GroupDeleted { silent })
    }

    pub(in crate::daemon::command) async fn switch_primary(
        &self,
        request: SwitchPrimary,
    ) -> Result<Switched, CommandError> {
        let group = self.require_group(request.group)?;
        let shared = self.require_arc()?;
        if request.abort {
            let term = shared.abort_switch(&group).await?;
            return Ok(Switched::Back { term });
        }
        let to = request
            .to
            .map(|name| member_named(&group, name))
            .transpose()?;
        let order = SwitchOrder {
            to,
            plan: request.plan,
            drain: Duration::from_millis(request.drain_ms),
            behind_max: request.behind_max,
        };
        Ok(Switched::To(shared.hand_over(&group, order).await?))
    }

    pub(in crate::daemon::command) async fn take_over_group(
        &self,
        request: TakeOver,
    ) -> Result<TakeoverReport, CommandError> {
        let group = self.require_group(request.group)?;
        let wait = request.wait_ms.map(|wait| wait.clamp(50, 600_000));
        let wait = wait.map(Duration::from_millis);
        let order = TakeoverOrder {
            accept_loss: request.accept_loss,
            plan: request.plan,
            patience: Patience::new(wait),
        };
        self.require_arc()?.take_over(&group, order).await
    }

    pub(in crate::daemon::command) fn who_is_primary(
        &self,
        request: &WhoIsPrimary,
    ) -> Result<PrimaryTold, CommandError> {
        Ok(self.primary_of(&*self.require_group(request.group)?))
    }

    pub(super) fn require_arc(&self) -> Result<std::sync::Arc<Self>, CommandError> {
        self.arc()
            .ok_or_else(|| CommandError::refused("RJN1005", "the system is stopping"))
    }

    /// Who is primary of a group, as far as this system knows.
    pub(in crate::daemon) fn primary_of(&self, group: &GroupRuntime) -> PrimaryTold {
        let standing = group.standing();
        let role = standing.role(self.id);
        let heard = group.heard();
        // A claim that was not opened says who will be, not who is.
        let settled = standing.promised() == standing.lineage.term();
        let newest = standing.lineage.newest().filter(|_| settled);
        let primary = newest.and_then(|newest| standing.group.member(newest.primary));
        let here = primary.is_some_and(|member| member.system == self.id);
        let news = primary.and_then(|member| heard.get(&member.system));
        let open = if here {
            self.is_group_open(group)
        } else {
            news.and_then(|heard| heard.news.as_ref())
                .is_some_and(|news| news.open)
        };
        let address = primary.filter(|_| !here).and_then(|member| {
            let rdb = self.rdb_of(member.system)?;
            self.catalog(|catalog| catalog.partners.get(&rdb)?.address.clone())
        });
        let own = standing.group.member(self.id).map(|member| member.own);
        PrimaryTold {
            group: standing.group.name,
            term: standing.promised(),
            primary: primary.map(|member| member.name),
            address,
            here,
            open,
            role,
            journal: own.unwrap_or(QualifiedName {
                library: standing.group.name,
                name: standing.group.name,
            }),
            heard_at: if here {
                self.clock.wall()
            } else {
                news.map_or(Timestamp::ZERO, |heard| heard.at)
            },
        }
    }

    pub(in crate::daemon::command) fn describe_groups(
        &self,
        request: &DescribeGroups,
    ) -> Result<GroupDescriptions, CommandError> {
        let groups = match request.name {
            Some(name) => vec![self.require_group(Some(name))?],
            None => self.groups.all(),
        };
        let groups = groups
            .iter()
            .map(|group| self.describe_group(group))
            .collect();
        Ok(GroupDescriptions { groups })
    }

    pub(super) fn describe_group(&self, group: &GroupRuntime) -> GroupDescription {
        let standing = group.standing();
        let mine = self.own_news(group);
        let heard = group.heard();
        let newest = standing.lineage.newest().copied();
        let members = standing.group.members.iter().map(|member| {
            let is_me = member.system == self.id;
            let heard = heard.get(&member.system);
            let news = if is_me {
                Some(&mine)
            } else {
                heard.and_then(|heard| heard.news.as_ref())
            };
            let of_newest =
                |journal: JournalId| newest.is_some_and(|newest| newest.journal == journal);
            let flushed = news.and_then(|news| {
                news.tips
                    .iter()
                    .find(|tip| of_newest(tip.journal))
                    .map(|tip| tip.tip.sequence)
            });
            let applied = news
                .and_then(|news| news.applied)
                .filter(|(journal, _)| of_newest(*journal));
            let back = news.and_then(|news| news.paths.iter().find(|path| path.to == self.id));
            MemberDescription {
                name: member.name,
                system: member.system,
                is_here: is_me,
                journal: member.own,
                here: standing.group.name_at(self.id, member.journal),
                role: news.map(|news| news.role),
                open: news.is_some_and(|news| news.open),
                follows: news.map_or(0, |news| news.follows),
                flushed,
                applied: applied.map(|(_, applied)| applied),
                heard_at: if is_me {
                    self.clock.wall()
                } else {
                    heard.map_or(Timestamp::ZERO, |heard| heard.at)
                },
                health: news.and_then(|news| news.health.clone()),
                error: heard.and_then(|heard| heard.error.clone()),
                path: heard
                    .and_then(|heard| heard.path.clone())
                    .map(|(path, at)| path.map(|()| at)),
                way_back: back.map(|path| match &path.error {
                    None => Ok(path.at),
                    Some(error) => Err(error.clone()),
                }),
            }
        });
        let terms = standing
            .lineage
            .segments()
            .zip(standing.lineage.records())
            .map(|(segment, record)| {
                let primary = standing.group.member(segment.primary);
                TermDescription {
                    term: segment.term,
                    primary: primary.map_or_else(
                        || segment.primary.to_string(),
                        |member| member.name.to_string(),
                    ),
                    journal: segment.journal,
                    first: segment.begins.sequence.next(),
                    last: segment.last.map(|last| last.sequence),
                    reason: record.reason,
                    opened_at: record.opened_at,
                }
            });
        let mut terms: Vec<TermDescription> = terms.collect();
        terms.reverse();
        GroupDescription {
            name: standing.group.name,
            sync: standing.group.sync,
            text: standing.group.text.clone(),
            role: standing.role(self.id),
            promised: standing.promised(),
            stopped: standing.stopped.as_ref().map(ToString::to_string),
            doing: group.doing(),
            primary: self.primary_of(group),
            members: members.collect(),
            terms,
        }
    }
}

fn member_named(group: &GroupRuntime, name: SystemName) -> Result<SystemId, CommandError> {
    let found = group.look(|at| {
        let mut members = at.group.members.iter();
        members
            .find(|member| member.name == name)
            .map(|member| member.system)
    });
    found.ok_or_else(|| CommandError::not_found("member", name).help("DSPCRG lists them"))
}

/// Puts the members in another order.
fn reorder(group: &mut Group, order: &[SystemName]) -> Result<(), CommandError> {
    let all = order.len() == group.members.len()
        && group
            .members
            .iter()
            .all(|member| order.contains(&member.name));
    if !all {
        let names: Vec<String> = group
            .members
            .iter()
            .map(|member| member.name.to_string())
            .collect();
        let text = format!("the order names every member once: {}", names.join(" "));
        return Err(CommandError::invalid(text));
    }
    group
        .members
        .sort_by_key(|member| order.iter().position(|name| *name == member.name));
    Ok(())
}
