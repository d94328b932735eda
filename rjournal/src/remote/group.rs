//! Room `remote`: what the members of a recovery group say to each other: who belongs to it, which terms it had, who claims the
//! next one, what a member holds. Must not know what follows from it: room `role` judges.

use serde::{Deserialize, Serialize};

use crate::entry::{
    Epoch, GroupId, HandOver, JournalId, Name, Position, QualifiedName, Sequence, SystemId,
    SystemName, TermClaim, TermRecord, Timestamp,
};

/// Most members of a group.
pub const GROUP_MEMBERS_MAX: usize = 16;
/// Most terms of a lineage that are passed on.
pub const LINEAGE_MAX: usize = 4096;

/// One system of a recovery group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// The system.
    pub system: SystemId,
    /// Its name.
    pub name: SystemName,
    /// Fingerprint of its key: what it signs is proven with it.
    #[serde(with = "serde_bytes")]
    pub fingerprint: [u8; 32],
    /// The journal it writes when it is primary, and nobody else ever writes.
    pub journal: JournalId,
    /// Name of that journal there.
    pub own: QualifiedName,
    /// Library there in which the copies of the other members' journals are.
    pub library: Name,
}

/// A recovery group: systems one of which is primary, the others ready to take its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Identity.
    pub id: GroupId,
    /// Name, the same on all members.
    pub name: Name,
    /// Grows with every change of the definition.
    pub version: u64,
    /// Primary of the first term, first backup, second ...
    pub members: Vec<GroupMember>,
    /// Whether answers of the primary wait for the backups (*SYNC).
    pub sync: bool,
    /// Free text.
    pub text: String,
}

impl Group {
    /// A member.
    pub fn member(&self, system: SystemId) -> Option<&GroupMember> {
        self.members.iter().find(|member| member.system == system)
    }

    /// Who writes a journal.
    pub fn writer_of(&self, journal: JournalId) -> Option<&GroupMember> {
        self.members.iter().find(|member| member.journal == journal)
    }

    /// The others.
    pub fn others(&self, me: SystemId) -> impl Iterator<Item = &GroupMember> {
        self.members
            .iter()
            .filter(move |member| member.system != me)
    }

    /// Name that a journal of the group has at a member: its writer's own name there, or a copy in the member's library.
    pub fn name_at(&self, at: SystemId, journal: JournalId) -> Option<QualifiedName> {
        let (member, writer) = (self.member(at)?, self.writer_of(journal)?);
        Some(if writer.system == at {
            member.own
        } else {
            QualifiedName {
                library: member.library,
                name: writer.own.name,
            }
        })
    }
}

/// What a member holds of one journal of the group, flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalTip {
    /// The journal.
    pub journal: JournalId,
    /// The position before its oldest entry there.
    pub oldest: Position,
    /// The last entry.
    pub tip: Position,
    /// Epoch of its bundle.
    pub epoch: Epoch,
    /// How far it is confirmed there.
    pub confirmed: Sequence,
}

/// Where a member is in its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MemberRole {
    /// It opened the newest term it knows of, and takes deposits or will when it may open.
    Primary,
    /// It follows.
    Backup,
    /// It was primary, and handed over to another that has not opened yet.
    HandedOver,
    /// It claimed a term and has not opened it.
    Claiming,
    /// It takes no part: two systems opened one term, or its copy cannot follow.
    Stopped,
}

impl MemberRole {
    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "*PRIMARY",
            Self::Backup => "*BACKUP",
            Self::HandedOver => "*HANDEDOVER",
            Self::Claiming => "*CLAIMING",
            Self::Stopped => "*STOPPED",
        }
    }
}

/// A member tried whether another would let itself be fed by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathTried {
    /// The other.
    pub to: SystemId,
    /// What is in the way; nothing where it is open.
    pub error: Option<String>,
    /// When it was tried.
    pub at: Timestamp,
}

/// What one member tells another of itself: asked for every few seconds, and at every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupNews {
    /// Who speaks.
    pub system: SystemId,
    /// The definition it has.
    pub group: Group,
    /// The lineage it knows, oldest term first.
    pub lineage: Vec<TermRecord>,
    /// The highest claim it promised, where that is above the lineage.
    pub claim: Option<TermClaim>,
    /// Its role.
    pub role: MemberRole,
    /// What it holds.
    pub tips: Vec<JournalTip>,
    /// The term it follows: everything before is complete there; 0 where something is missing.
    pub follows: u64,
    /// Whether its journal takes deposits now.
    pub open: bool,
    /// Where it handed over, while that stands.
    pub handed_over: Option<(HandOver, Position)>,
    /// What its store has applied, in which journal; nothing where no apply job says so.
    pub applied: Option<(JournalId, Sequence)>,
    /// The ways from it to the others, as it tried them last.
    pub paths: Vec<PathTried>,
    /// When a program can be told to use it: `host:port` of its health endpoint, if it has one.
    pub health: Option<String>,
    /// When this was said, by its clock.
    pub at: Timestamp,
}

/// A member is asked to promise a claim: to refuse every lower term from then on, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseAsked {
    /// The claim.
    pub claim: TermClaim,
    /// The asking member takes its own hand-over back: promised only by the system that was to open.
    pub abort: bool,
}

/// What a member says to a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseTold {
    /// Whether it is promised; where not, the news says what stands against it.
    pub promised: bool,
    /// What the member holds, flushed behind the promise (ruling 30), and what it knows.
    pub news: GroupNews,
    /// Whether it took deposits until this promise ended that.
    pub was_open: bool,
    /// Claims of others it had promised, or heard were, that this one passed, of terms above those it knows.
    #[serde(default)]
    pub passed: Vec<TermClaim>,
}
