//! Room `remote`, confirmation: what it is told about targets and what it wants done. Must not know in which order.

use crate::entry::control_entry::{Member, Policy, SetChange};
use crate::entry::{QualifiedName, Sequence, SystemId};

/// One target of one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberKey {
    /// The target system.
    pub system: SystemId,
    /// The remote journal there.
    pub journal: QualifiedName,
}

impl From<&Member> for MemberKey {
    fn from(member: &Member) -> Self {
        Self {
            system: member.system,
            journal: member.journal,
        }
    }
}

/// How a target was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The connection is gone; it may come back within SYNCTIMO.
    Connection,
    /// It said that it cannot go on: under policy degrade out at once, without waiting (failures.md SYN-4, SYN-13).
    Failed,
    /// It knows a later history than this journal's, which is over: nothing is answered any more, not as LOCAL either
    /// (failures.md COU-5, COU-7, COU-8).
    Fenced,
    /// An operator took it out, whether it knows or not ([`super::Confirmation::handle_leave`] lets it know first).
    Operator,
}

/// What a journal has to be told or asked to do.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfirmOutput {
    /// Answer everything up to here.
    Release {
        /// The last entry.
        upto: Sequence,
        /// How well it is kept.
        class: Class,
        /// The entry that set the in-sync set it rests on.
        set: Sequence,
    },
    /// Deposit this change of the set and say its number with [`Confirmation::handle_set_changed`].
    ChangeSet(SetChange),
    /// The target did not answer in time and the policy keeps the set: hold new deposits off beyond this entry.
    Hold {
        /// The last entry that is still taken.
        upto: Sequence,
    },
    /// The set answers again: take deposits as usual.
    Resume,
    /// Policy reject: answer what waits, up to here, UNKNOWN.
    GiveUp {
        /// The last entry.
        upto: Sequence,
    },
    /// The session of this target goes on, but outside the set: it is to say when it has caught up.
    Left(MemberKey),
    /// Keep that this policy is in force, and none is ordered.
    InForce(Policy),
    /// Keep that this target has the entry that took it out, or that nobody waits for that any more.
    Told(MemberKey),
}

/// The classes of released entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// On the disks of all.
    Sync,
    /// On this disk, in the memory of all.
    Received,
    /// On this disk.
    Local,
}
