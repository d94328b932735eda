//! Package `cli`, orphans: how well a commit was kept when it was answered, as far as the entries about the in-sync set tell.
//! Must not know where these are read.

use rjournal::entry::Sequence;
use rjournal::entry::control_entry::{Level, Member, SetChange};

/// What a commit was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// On disk at every target of the in-sync set.
    Sync,
    /// In the memory of one of them at least, on the disks of the others.
    Received,
    /// On the source's disk only.
    Local,
    /// That cannot be told: it may not have been answered at all.
    Unknown,
}

impl Class {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sync => "SYNC",
            Self::Received => "RECEIVED",
            Self::Local => "LOCAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The in-sync sets of a stretch of a journal.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// The set in force where the stretch begins; nothing where that could not be found.
    first: Option<Vec<Member>>,
    changes: Vec<(Sequence, SetChange)>,
}

impl Classes {
    /// The sets of a stretch that begins with `first`, if that is known.
    pub(crate) const fn new(first: Option<Vec<Member>>) -> Self {
        Self {
            first,
            changes: Vec::new(),
        }
    }

    /// The next change of the set.
    pub(crate) fn push(&mut self, sequence: Sequence, change: SetChange) {
        self.changes.push((sequence, change));
    }

    /// What a commit was answered. Entries before a change are answered by the set before it; what a member that left had not
    /// acknowledged rests on those that remained, and where there were none, on the source alone.
    pub(crate) fn of(&self, commit: Sequence) -> Class {
        let later = self.changes.partition_point(|(at, _)| *at <= commit);
        let (before, after) = self.changes.split_at(later);
        let mut set = match before.last() {
            Some((_, change)) => &change.members,
            None => match &self.first {
                Some(first) => first,
                None => return Class::Unknown,
            },
        };
        for (_, change) in after {
            if set.is_empty() {
                break;
            }
            let known = || change.members.iter().chain(&change.left);
            let has = |member: &Member| {
                let mut same = known().filter(|other| is_same(member, other));
                same.any(|other| other.acknowledged >= commit)
            };
            if set.iter().all(has) {
                return weakest(set);
            }
            set = &change.members;
        }
        if set.is_empty() {
            Class::Local
        } else {
            Class::Unknown
        }
    }
}

fn is_same(one: &Member, other: &Member) -> bool {
    one.system == other.system && one.journal == other.journal
}

fn weakest(set: &[Member]) -> Class {
    if set.iter().any(|member| member.level == Level::Received) {
        Class::Received
    } else {
        Class::Sync
    }
}

#[cfg(test)]
mod tests {
    use rjournal::entry::SystemId;
    use rjournal::entry::control_entry::{Policy, SetReason};

    use super::*;

    fn member(system: u8, acknowledged: u64) -> Member {
        Member {
            system: SystemId::from_bytes([system; 16]),
            rdb: "BKP".parse().unwrap(),
            journal: "BKPLIB/JRN".parse().unwrap(),
            level: Level::Written,
            acknowledged: Sequence::new(acknowledged),
        }
    }

    fn change(members: &[Member], left: &[Member]) -> SetChange {
        SetChange {
            required: members.len() as u32,
            policy: Policy::Degrade,
            reason: SetReason::TimedOut,
            members: members.to_vec(),
            left: left.to_vec(),
        }
    }

    fn of(classes: &Classes, commits: &[u64]) -> Vec<Class> {
        let of = |commit: &u64| classes.of(Sequence::new(*commit));
        commits.iter().map(of).collect()
    }

    #[test]
    fn up_to_what_the_member_that_left_had_it_is_sync_and_above_local() {
        let mut classes = Classes::new(Some(vec![member(1, 0)]));
        classes.push(Sequence::new(20), change(&[], &[member(1, 12)]));
        classes.push(Sequence::new(30), change(&[member(1, 29)], &[]));
        assert_eq!(
            of(&classes, &[11, 12, 13, 19, 25, 31]),
            [
                Class::Sync,
                Class::Sync,
                Class::Local,
                Class::Local,
                Class::Local,
                Class::Unknown
            ]
        );
    }

    #[test]
    fn what_rests_on_those_that_remain_is_sync_where_they_had_it() {
        let mut classes = Classes::new(Some(vec![member(1, 0), member(2, 0)]));
        classes.push(
            Sequence::new(20),
            change(&[member(1, 15)], &[member(2, 12)]),
        );
        assert_eq!(
            of(&classes, &[12, 13, 16]),
            [Class::Sync, Class::Unknown, Class::Unknown]
        );
        classes.push(Sequence::new(40), change(&[], &[member(1, 30)]));
        assert_eq!(
            of(&classes, &[13, 30, 31]),
            [Class::Sync, Class::Sync, Class::Local]
        );
    }

    #[test]
    fn without_a_set_it_is_local_and_without_knowing_one_unknown() {
        assert_eq!(
            Classes::new(Some(Vec::new())).of(Sequence::FIRST),
            Class::Local
        );
        assert_eq!(Classes::new(None).of(Sequence::FIRST), Class::Unknown);
        let received = Member {
            level: Level::Received,
            ..member(1, 50)
        };
        let mut classes = Classes::new(Some(vec![member(2, 0), received.clone()]));
        classes.push(Sequence::new(60), change(&[], &[member(2, 50), received]));
        assert_eq!(classes.of(Sequence::new(40)), Class::Received);
    }
}
