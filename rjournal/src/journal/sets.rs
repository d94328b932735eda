//! Room `journal`: the changes of the in-sync set as a copy has them, and what they prove to who takes over there: whether its
//! source can have answered anything without it. Must not know who asks.

use std::collections::VecDeque;

use crate::entry::control_entry::SetChange;
use crate::entry::{Kind, QualifiedName, SealedBundle, Sequence, SystemId};

/// Most changes kept behind the confirmed position. A source that makes more of them in one go is not believed.
const UNCONFIRMED_MAX: usize = 64;

/// The last change that is confirmed, and all after it, oldest first.
#[derive(Debug, Default)]
pub(super) struct Sets(VecDeque<(Sequence, SetChange)>);

impl Sets {
    /// A change came, while everything up to `confirmed` was confirmed.
    pub(super) fn note(&mut self, at: Sequence, change: SetChange, confirmed: Sequence) {
        self.0.push_back((at, change));
        let settled = self.0.partition_point(|(at, _)| *at <= confirmed);
        self.0.drain(..settled.saturating_sub(1));
        if self.0.len() > UNCONFIRMED_MAX {
            self.0.pop_front();
        }
    }

    /// The changes in a bundle that came.
    pub(super) fn read(&mut self, bundle: &SealedBundle, confirmed: Sequence) {
        let views = bundle.entries().flatten();
        for view in views.filter(|view| view.kind == Kind::IN_SYNC_SET) {
            if let Ok(change) = SetChange::decode(view.payload.bytes()) {
                self.note(view.sequence, change, confirmed);
            }
        }
    }

    /// The last change.
    pub(super) fn last(&self) -> Option<&(Sequence, SetChange)> {
        self.0.back()
    }

    /// The last change at or before an entry, unless that is long confirmed.
    pub(super) fn last_upto(&self, upto: Sequence) -> Option<&(Sequence, SetChange)> {
        self.0.iter().rev().find(|(at, _)| *at <= upto)
    }

    /// Everything behind an entry is cut.
    pub(super) fn cut(&mut self, at: Sequence) {
        self.0.retain(|(sequence, _)| *sequence <= at);
    }

    /// Whether the source may have given answers for entries this copy lacks. Not so where the last confirmed change, and
    /// every one after it, says otherwise: an unconfirmed one alone may be lost at the source. A change at or before
    /// `began_behind` proves nothing: the copy was empty when it was long made, and another held this place then.
    pub(super) fn local_answers_possible(
        &self,
        me: SystemId,
        copy: QualifiedName,
        confirmed: Sequence,
        began_behind: Sequence,
    ) -> bool {
        let settled = self.0.partition_point(|(at, _)| *at <= confirmed);
        let Some(first) = settled.checked_sub(1) else {
            return true;
        };
        let mut counted = self.0.range(first..);
        counted.any(|(at, change)| *at <= began_behind || change.local_answers_possible(me, copy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::RdbName;
    use crate::entry::control_entry::{Level, Member, Policy, SetReason};

    const ME: SystemId = SystemId::from_bytes([1; 16]);

    fn copy() -> QualifiedName {
        "BKPLIB/JRN".parse().expect("a name")
    }

    fn change(policy: Policy, members: &[(SystemId, QualifiedName)]) -> SetChange {
        let member = |(system, journal): &(SystemId, QualifiedName)| Member {
            system: *system,
            rdb: RdbName::new("BKP").expect("a name"),
            journal: *journal,
            level: Level::Written,
            acknowledged: Sequence::NONE,
        };
        SetChange {
            required: members.len() as u32,
            policy,
            reason: SetReason::Operator,
            members: members.iter().map(member).collect(),
            left: Vec::new(),
        }
    }

    fn noted(changes: &[(u64, &SetChange)], confirmed: u64) -> Sets {
        let mut sets = Sets::default();
        for (at, change) in changes {
            let known = Sequence::new(confirmed.min(*at));
            sets.note(Sequence::new(*at), (*change).clone(), known);
        }
        sets
    }

    fn possible(changes: &[(u64, &SetChange)], confirmed: u64) -> bool {
        let (at, none) = (Sequence::new(confirmed), Sequence::NONE);
        noted(changes, confirmed).local_answers_possible(ME, copy(), at, none)
    }

    /// Ruling 13.
    #[test]
    fn a_member_under_block_or_reject_alone_knows_that_nothing_was_answered_without_it() {
        for policy in [Policy::Block, Policy::Reject] {
            assert!(!possible(&[(3, &change(policy, &[(ME, copy())]))], 9));
            let other_system = (SystemId::from_bytes([2; 16]), copy());
            let other_copy = (ME, "BKPLIB/JRN2".parse().expect("a name"));
            for others in [&[other_system][..], &[other_copy], &[]] {
                assert!(possible(&[(3, &change(policy, others))], 9));
            }
        }
        let degrade = change(Policy::Degrade, &[(ME, copy())]);
        assert!(possible(&[(3, &degrade)], 9));
        assert!(possible(&[], 9));
    }

    /// What its source may have lost in a crash is no word of it, and takes none back.
    #[test]
    fn a_change_that_is_not_confirmed_promises_nothing() {
        let (block, out) = (
            change(Policy::Block, &[(ME, copy())]),
            change(Policy::Block, &[]),
        );
        assert!(possible(&[(3, &block)], 2));
        assert!(possible(&[(3, &block), (5, &out), (7, &block)], 4));
        assert!(possible(&[(3, &block), (5, &out), (7, &block)], 6));
        assert!(!possible(&[(3, &block), (5, &out), (7, &block)], 7));
        assert!(!possible(&[(3, &block), (5, &block)], 4));
    }

    #[test]
    fn what_an_empty_copy_catches_up_with_was_said_to_another() {
        let block = change(Policy::Block, &[(ME, copy())]);
        let sets = noted(&[(3, &block)], 9);
        let asked = |behind| {
            let (at, behind) = (Sequence::new(9), Sequence::new(behind));
            sets.local_answers_possible(ME, copy(), at, behind)
        };
        assert!(asked(20));
        assert!(asked(3));
        assert!(!asked(2));
    }

    #[test]
    fn too_many_changes_at_once_are_bounded_and_prove_nothing() {
        let block = change(Policy::Block, &[(ME, copy())]);
        let many: Vec<_> = (1..=200).map(|at| (at, &block)).collect();
        let sets = noted(&many, 1);
        assert_eq!(sets.0.len(), UNCONFIRMED_MAX);
        let at = Sequence::new(1);
        assert!(sets.local_answers_possible(ME, copy(), at, Sequence::NONE));
    }

    #[test]
    fn what_is_cut_is_forgotten() {
        let (block, out) = (
            change(Policy::Block, &[(ME, copy())]),
            change(Policy::Block, &[]),
        );
        let mut sets = noted(&[(3, &block), (5, &out)], 4);
        sets.cut(Sequence::new(4));
        assert_eq!(sets.last().map(|(at, _)| at.get()), Some(3));
        assert_eq!(sets.last_upto(Sequence::new(2)), None);
        assert!(!sets.local_answers_possible(ME, copy(), Sequence::new(4), Sequence::NONE));
    }
}
