//! Room `remote`, confirmation: the machine: what it keeps, what it is told, and what it does when a target does not answer
//! in time. Must not know sessions.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::facts::{ConfirmOutput, MemberKey};
use super::guarantee::{Ordered, Untold};
use super::release::{Progress, Segment};
use super::set::{Candidate, Flaps};
use crate::entry::control_entry::{Member, Policy, SetChange, SetReason};
use crate::entry::{Moment, Sequence};

/// The in-sync set of one local journal.
#[derive(Debug)]
pub struct Confirmation {
    /// In force.
    pub(super) policy: Policy,
    /// A looser one that was ordered, until everybody it concerns knows.
    pub(super) ordered: Option<Ordered>,
    /// Who was taken out under block or reject and is not known to have the entry that says so.
    pub(super) untold: Vec<Untold>,
    pub(super) timeout: Duration,
    pub(super) waiting_entries_max: u64,
    pub(super) sealed: Sequence,
    pub(super) written: Sequence,
    pub(super) released: Sequence,
    /// The set in force at `released + 1` first; at least one.
    pub(super) segments: VecDeque<Segment>,
    pub(super) progress: BTreeMap<MemberKey, Progress>,
    /// Bundles some member has not acknowledged: last entry and when it was sealed.
    pub(super) outstanding: VecDeque<(Sequence, Moment)>,
    pub(super) candidates: BTreeMap<MemberKey, Candidate>,
    pub(super) flaps: BTreeMap<MemberKey, Flaps>,
    /// A change was ordered and has no number yet.
    pub(super) changing: Option<SetChange>,
    pub(super) holding: bool,
    /// The journal is over: nothing comes out any more.
    pub(super) fenced: bool,
    /// Changes of the set nobody was told of yet.
    pub(super) news: VecDeque<(Sequence, SetChange)>,
    pub(super) outputs: VecDeque<ConfirmOutput>,
}

impl Confirmation {
    /// A journal that was just opened: `set` is the last change of the set. What is there from before is answered as all
    /// else is, as its members are known to have it.
    pub fn new(
        policy: Policy,
        timeout: Duration,
        waiting_entries_max: u64,
        set: Option<(Sequence, SetChange)>,
    ) -> Self {
        let (number, recorded, members) = set
            .map_or((Sequence::NONE, policy, Vec::new()), |(number, set)| {
                (number, set.policy, set.members)
            });
        let progress = members
            .iter()
            .map(|member| (MemberKey::from(member), Progress::default()))
            .collect();
        Self {
            policy,
            ordered: None,
            untold: Vec::new(),
            timeout,
            waiting_entries_max,
            sealed: Sequence::NONE,
            written: Sequence::NONE,
            released: Sequence::NONE,
            segments: VecDeque::from([Segment {
                set: number,
                members,
                policy: recorded,
                shrank: false,
            }]),
            progress,
            outstanding: VecDeque::new(),
            candidates: BTreeMap::new(),
            flaps: BTreeMap::new(),
            changing: None,
            holding: false,
            fenced: false,
            news: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<ConfirmOutput> {
        if self.fenced {
            return None;
        }
        self.outputs.pop_front()
    }

    /// The next change of the set an operator is to be told of: it is flushed here.
    pub fn poll_news(&mut self) -> Option<SetChange> {
        let flushed = |(sequence, _): &mut (Sequence, SetChange)| *sequence <= self.written;
        self.news.pop_front_if(flushed).map(|(_, change)| change)
    }

    /// The set in force at the end of the journal, and the entry that set it.
    ///
    /// # Panics
    /// Never: there is a set in force from the first entry on.
    pub fn members(&self) -> (&[Member], Sequence) {
        let last = self.segments.back().expect("there is always a segment");
        (&last.members, last.set)
    }

    /// Whether a target is in the set.
    pub fn is_member(&self, key: MemberKey) -> bool {
        self.members()
            .0
            .iter()
            .any(|member| MemberKey::from(member) == key)
    }

    /// Everything up to here has its class.
    pub const fn released(&self) -> Sequence {
        self.released
    }

    /// Whether deposits are held off because the set does not answer.
    pub const fn is_holding(&self) -> bool {
        self.holding
    }

    /// A bundle was sealed and handed to the links.
    pub fn handle_sealed(&mut self, upto: Sequence, now: Moment) {
        self.sealed = self.sealed.max(upto);
        let waits = !self.members().0.is_empty() || !self.untold.is_empty();
        if waits || self.segments.len() > 1 {
            self.outstanding.push_back((upto, now));
        }
        if self.holding && self.policy == Policy::Reject {
            // Numbered before deposits were held off: they wait for nothing either.
            self.outputs.push_back(ConfirmOutput::GiveUp { upto });
        }
    }

    /// Everything up to here is flushed here.
    pub fn handle_written(&mut self, upto: Sequence, now: Moment) {
        self.written = self.written.max(upto);
        self.sealed = self.sealed.max(upto);
        self.release(now);
        self.settle_policy(now);
    }

    /// A target acknowledged.
    pub fn handle_acknowledged(
        &mut self,
        key: MemberKey,
        received: Sequence,
        written: Sequence,
        now: Moment,
    ) {
        let Some(progress) = self.progress.get_mut(&key) else {
            return;
        };
        progress.present = true;
        progress.received = progress.received.max(received);
        progress.written = progress.written.max(written);
        self.settle_untold();
        self.release(now);
        self.settle_policy(now);
    }

    /// A target was heard to have so much while the journal opened; no link to it runs yet.
    pub fn handle_heard(&mut self, key: MemberKey, has: Sequence, now: Moment) {
        self.handle_acknowledged(key, has, has, now);
        if let Some(progress) = self.progress.get_mut(&key) {
            progress.present = false;
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let overdue = if self.holding || self.changing.is_some() {
            None
        } else {
            self.outstanding
                .front()
                .map(|(_, sealed_at)| *sealed_at + self.timeout)
        };
        let joins = self
            .candidates
            .values()
            .filter(|candidate| candidate.ready)
            .map(|candidate| candidate.join_after)
            .min();
        [overdue, joins.filter(|_| self.changing.is_none())]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.propose_join(now);
        let Some((oldest, sealed_at)) = self.outstanding.front().copied() else {
            return;
        };
        if now < sealed_at + self.timeout || self.changing.is_some() {
            return;
        }
        match self.policy {
            Policy::Degrade => {
                let late: Vec<MemberKey> = self
                    .members()
                    .0
                    .iter()
                    .map(MemberKey::from)
                    .filter(|key| !self.has(*key, oldest))
                    .collect();
                self.take_out(&late, SetReason::TimedOut, now);
                self.resume();
            }
            Policy::Block if !self.holding => {
                self.hold(self.sealed.checked_add(self.waiting_entries_max));
            }
            Policy::Reject if !self.holding => {
                self.outputs
                    .push_back(ConfirmOutput::GiveUp { upto: self.sealed });
                self.hold(Some(self.sealed));
            }
            Policy::Block | Policy::Reject => {}
        }
    }

    fn hold(&mut self, upto: Option<Sequence>) {
        self.holding = true;
        self.outputs.push_back(ConfirmOutput::Hold {
            upto: upto.unwrap_or(Sequence::LAST_USABLE),
        });
    }

    pub(super) fn resume(&mut self) {
        if self.holding {
            self.holding = false;
            self.outputs.push_back(ConfirmOutput::Resume);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Class, Loss};
    use super::*;
    use crate::entry::control_entry::Level;
    use crate::entry::{RdbName, SystemId};

    /// A member, and the entry that took it into the set.
    fn joined() -> (Member, Option<(Sequence, SetChange)>) {
        let member = Member {
            system: SystemId::from_bytes([1; 16]),
            rdb: RdbName::new("BKP").unwrap(),
            journal: "BKPLIB/JRN".parse().unwrap(),
            level: Level::Written,
            acknowledged: Sequence::new(2),
        };
        let set = SetChange {
            members: vec![member.clone()],
            left: Vec::new(),
            required: 1,
            policy: Policy::Degrade,
            reason: SetReason::Joined,
        };
        (member, Some((Sequence::new(3), set)))
    }

    /// COU-5: a target that fences the source is no target that failed.
    #[test]
    fn what_waits_when_a_member_fences_the_journal_is_not_answered_by_it() {
        for loss in [Loss::Failed, Loss::Fenced] {
            let (member, set) = joined();
            let timeout = Duration::from_secs(1);
            let mut confirmation = Confirmation::new(Policy::Degrade, timeout, 10, set);
            confirmation.handle_sealed(Sequence::new(71), Moment::ZERO);
            confirmation.handle_loss(MemberKey::from(&member), loss, Moment::ZERO);
            let change = confirmation.poll_output();
            assert_eq!(change.is_some(), loss == Loss::Failed, "{change:?}");
            if change.is_some() {
                confirmation.handle_set_changed(Sequence::new(72), Moment::ZERO);
            }
            confirmation.handle_written(Sequence::new(72), Moment::ZERO);
            confirmation.handle_timeout(Moment::ZERO + timeout);
            let said = std::iter::from_fn(|| confirmation.poll_output());
            let local = |output: &ConfirmOutput| {
                matches!(
                    output,
                    ConfirmOutput::Release {
                        class: Class::Local,
                        ..
                    }
                )
            };
            let answers = said.filter(local).count();
            assert_eq!(answers > 0, loss == Loss::Failed);
        }
    }

    /// After a restart the set goes on with a member that is not heard any more: what it was heard to have is answered, what it
    /// lacks is not.
    #[test]
    fn a_member_that_was_heard_at_the_opening_counts_as_far_as_it_was() {
        let (member, set) = joined();
        let (timeout, heard) = (Duration::from_secs(1), Sequence::new(70));
        let mut confirmation = Confirmation::new(Policy::Degrade, timeout, 10, set);
        confirmation.handle_heard(MemberKey::from(&member), heard, Moment::ZERO);
        confirmation.handle_sealed(Sequence::new(72), Moment::ZERO);
        confirmation.handle_written(Sequence::new(72), Moment::ZERO);
        let released = ConfirmOutput::Release {
            upto: heard,
            class: Class::Sync,
            set: Sequence::new(3),
        };
        assert_eq!(confirmation.poll_output(), Some(released));
        assert_eq!(confirmation.poll_output(), None, "it lacks the others");
        confirmation.handle_timeout(Moment::ZERO + timeout);
        let Some(ConfirmOutput::ChangeSet(change)) = confirmation.poll_output() else {
            panic!("it did not answer in time");
        };
        assert_eq!(change.left[0].acknowledged, heard);
    }
}
