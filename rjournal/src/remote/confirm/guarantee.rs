//! Room `remote`, confirmation: what must be known elsewhere before it counts here (ruling 13): a looser policy, and that an
//! operator took a member out under policy block or reject. Must not decide who joins, nor release answers.

use std::collections::BTreeSet;
use std::time::Duration;

use super::confirmation::Confirmation;
use super::facts::{ConfirmOutput, MemberKey};
use crate::entry::control_entry::{Member, Policy, SetReason};
use crate::entry::{Moment, Sequence};

/// A looser policy on its way to the members.
#[derive(Debug)]
pub(super) struct Ordered {
    policy: Policy,
    /// The entry that says so, once it has a number.
    said: Option<Sequence>,
    /// Members that need not know: an operator gave them up.
    given_up: BTreeSet<MemberKey>,
}

/// A target that was taken out and is to know it.
#[derive(Debug)]
pub(super) struct Untold {
    member: Member,
    /// The entry that says so, once it has a number.
    since: Option<Sequence>,
}

impl Untold {
    pub(super) fn key(&self) -> MemberKey {
        MemberKey::from(&self.member)
    }
}

impl Confirmation {
    /// The policy in force.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// A looser policy that is ordered and not in force yet.
    pub fn policy_ordered(&self) -> Option<Policy> {
        self.ordered.as_ref().map(|ordered| ordered.policy)
    }

    /// Whether a policy can be in force only once members were told.
    pub fn must_be_told(&self, policy: Policy) -> bool {
        let somebody = !self.members().0.is_empty() || !self.untold.is_empty();
        self.policy.guards() && !policy.guards() && somebody
    }

    /// What was ordered before the journal was opened and had not come to its end. To be called before anything was heard.
    ///
    /// The receivers win over what is kept beside them: where the last change of the set says block or reject to somebody, one
    /// of the two is in force, whatever was kept.
    pub fn handle_resumed(&mut self, ordered: Option<Policy>, untold: Vec<Member>) {
        let (members, set) = self.members();
        let said = self.segments.back().map_or(self.policy, |last| last.policy);
        let somebody = !members.is_empty() || !untold.is_empty();
        if said.guards() && !self.policy.guards() && somebody {
            self.policy = said;
            self.outputs.push_back(ConfirmOutput::InForce(said));
        }
        let due = ordered.filter(|policy| self.policy.guards() && !policy.guards());
        self.ordered = due.map(|policy| Ordered {
            policy,
            said: (said == policy).then_some(set),
            given_up: BTreeSet::new(),
        });
        for member in untold {
            let key = MemberKey::from(&member);
            // Who is a member was never taken out: the entry that did it was lost in the crash.
            if self.policy.guards() && !self.is_member(key) {
                self.progress.entry(key).or_default();
                let since = Some(set);
                self.untold.push(Untold { member, since });
            } else {
                self.outputs.push_back(ConfirmOutput::Told(key));
            }
        }
        self.say_policy();
    }

    /// An operator changed policy or time-out. A looser policy than block or reject is in force once every member has it on
    /// its disk, but for those he gives up.
    pub fn handle_policy(
        &mut self,
        policy: Policy,
        given_up: &[MemberKey],
        timeout: Duration,
        waiting_entries_max: u64,
        now: Moment,
    ) {
        self.timeout = timeout;
        self.waiting_entries_max = waiting_entries_max;
        for key in given_up {
            self.give_up(*key);
        }
        if self.must_be_told(policy) {
            let ordered = self.ordered.take().filter(|before| before.policy == policy);
            let mut ordered = ordered.unwrap_or(Ordered {
                policy,
                said: None,
                given_up: BTreeSet::new(),
            });
            ordered.given_up.extend(given_up);
            self.ordered = Some(ordered);
        } else {
            self.ordered = None;
            self.policy = policy;
            self.outputs.push_back(ConfirmOutput::InForce(policy));
        }
        self.reconsider(now);
        self.say_policy();
        self.release(now);
        self.settle_policy(now);
    }

    /// Policy, time-out or bound changed: whether deposits are held off is judged anew.
    fn reconsider(&mut self, now: Moment) {
        let held = std::mem::replace(&mut self.holding, false);
        self.handle_timeout(now);
        if held && !self.holding {
            // The new policy does not hold off, or not yet.
            self.holding = true;
            self.resume();
        }
    }

    /// What the next change of the set says: a policy on its way is said before it is in force.
    pub(super) fn policy_said(&self) -> Policy {
        self.policy_ordered().unwrap_or(self.policy)
    }

    /// Orders an entry that says the policy, where the last one says another to somebody.
    fn say_policy(&mut self) {
        let said = self.segments.back().map(|last| last.policy);
        let members = self.members().0.to_vec();
        let differs = said != Some(self.policy_said());
        if differs && !members.is_empty() && self.changing.is_none() {
            self.order_change(members, Vec::new(), SetReason::Operator);
        }
    }

    /// The change that was ordered has this number: it may be the one that says the policy.
    pub(super) fn number_ordered(&mut self, sequence: Sequence) {
        if let Some(ordered) = &mut self.ordered {
            ordered.said.get_or_insert(sequence);
        }
    }

    /// Puts a policy in force when everybody it concerns knows.
    pub(super) fn settle_policy(&mut self, now: Moment) {
        let Some(ordered) = &self.ordered else {
            return;
        };
        if !self.ignorant().is_empty() || !self.is_said() {
            return;
        }
        self.policy = ordered.policy;
        self.ordered = None;
        self.outputs.push_back(ConfirmOutput::InForce(self.policy));
        self.reconsider(now);
    }

    /// Whether the entry that says what is ordered is on this disk; nobody needs it where nobody is in the set.
    fn is_said(&self) -> bool {
        let said = self.ordered.as_ref().and_then(|ordered| ordered.said);
        self.members().0.is_empty() || said.is_some_and(|said| said <= self.written)
    }

    /// Who does not know yet what was ordered: members that lack the looser policy, targets that lack the entry that took
    /// them out.
    pub fn ignorant(&self) -> Vec<Member> {
        let lacks = |member: &&Member| {
            let Some(ordered) = &self.ordered else {
                return false;
            };
            let known = ordered
                .said
                .is_some_and(|said| self.flushed(member) >= Some(said));
            !known && !ordered.given_up.contains(&MemberKey::from(*member))
        };
        let members = self.members().0.iter().filter(lacks);
        let untold = self.untold.iter().map(|untold| &untold.member);
        members.chain(untold).cloned().collect()
    }

    /// Who is waited for and does not answer: its connection is gone, or deposits are held off because of it.
    pub fn away(&self) -> Vec<Member> {
        let oldest = self.outstanding.front().map(|(last, _)| *last);
        let is_away = |member: &&Member| {
            let key = MemberKey::from(*member);
            let present = self.progress.get(&key).is_some_and(|at| at.present);
            let late = oldest.is_some_and(|oldest| self.reach(member) < oldest);
            !present || (self.holding && late)
        };
        let members = self.members().0;
        let untold = self.untold.iter().map(|untold| &untold.member);
        let untold = untold.filter(|member| !members.contains(member));
        members
            .iter()
            .chain(untold)
            .filter(is_away)
            .cloned()
            .collect()
    }

    /// A member that is to know before it is taken out, if the policy asks for that.
    pub fn guarded(&self, key: MemberKey) -> Option<&Member> {
        let mut members = self.members().0.iter();
        members.find(|member| self.policy.guards() && MemberKey::from(*member) == key)
    }

    /// An operator takes a target out, which is to know first where it is [`Self::guarded`]: the link is to go on until it has
    /// flushed what [`Self::untold_since`] says. Else nothing is done but that it does not join any more.
    pub fn handle_leave(&mut self, key: MemberKey, now: Moment) {
        self.candidates.remove(&key);
        let Some(member) = self.guarded(key).cloned().filter(|_| !self.fenced) else {
            return;
        };
        self.untold.retain(|untold| untold.key() != key);
        let since = None;
        self.untold.push(Untold { member, since });
        self.take_out(&[key], SetReason::Operator, now);
    }

    /// The entry that took a target out, which it is not known to have.
    pub fn untold_since(&self, key: MemberKey) -> Option<Sequence> {
        let mut untold = self.untold.iter();
        untold.find(|untold| untold.key() == key)?.since
    }

    /// The change that was ordered has this number.
    pub(super) fn number_untold(&mut self, sequence: Sequence) {
        for untold in &mut self.untold {
            untold.since.get_or_insert(sequence);
        }
    }

    /// Nobody waits for a target to be told any more.
    pub(super) fn give_up(&mut self, key: MemberKey) {
        let before = self.untold.len();
        self.untold.retain(|untold| untold.key() != key);
        if self.untold.len() < before {
            self.outputs.push_back(ConfirmOutput::Told(key));
        }
    }

    /// Who has the entry that took it out on its disk knows.
    pub(super) fn settle_untold(&mut self) {
        let knows = |untold: &&Untold| {
            untold
                .since
                .is_some_and(|since| self.flushed(&untold.member) >= Some(since))
        };
        let told: Vec<MemberKey> = self.untold.iter().filter(knows).map(Untold::key).collect();
        for key in told {
            self.give_up(key);
        }
    }

    /// Nothing is answered beyond this entry before who left knows. What it has is answered on the set it was in.
    pub(super) fn barrier(&self) -> Sequence {
        let upto = |untold: &Untold| {
            let reach = self.reach(&untold.member);
            untold
                .since
                .map_or(reach, |since| reach.min(since.before()))
        };
        let all = self.untold.iter().map(upto);
        all.min().unwrap_or(Sequence::LAST_USABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Class, Loss};
    use super::*;
    use crate::entry::control_entry::{Level, SetChange};
    use crate::entry::{RdbName, SystemId};

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn member(level: Level) -> Member {
        Member {
            system: SystemId::from_bytes([1; 16]),
            rdb: RdbName::new("BKP").unwrap(),
            journal: "BKPLIB/JRN".parse().unwrap(),
            level,
            acknowledged: Sequence::new(2),
        }
    }

    /// A journal under block, its only member joined by entry 3 and heard to have it.
    fn guarded(level: Level) -> (Confirmation, MemberKey) {
        let set = SetChange {
            members: vec![member(level)],
            left: Vec::new(),
            required: 1,
            policy: Policy::Block,
            reason: SetReason::Joined,
        };
        let set = Some((Sequence::new(3), set));
        let mut confirmation = Confirmation::new(Policy::Block, TIMEOUT, 10, set);
        let key = MemberKey::from(&member(level));
        confirmation.handle_heard(key, Sequence::new(3), Moment::ZERO);
        written(&mut confirmation, 3);
        while confirmation.poll_output().is_some() {}
        (confirmation, key)
    }

    fn written(confirmation: &mut Confirmation, upto: u64) {
        confirmation.handle_sealed(Sequence::new(upto), Moment::ZERO);
        confirmation.handle_written(Sequence::new(upto), Moment::ZERO);
    }

    fn acknowledged(confirmation: &mut Confirmation, key: MemberKey, upto: (u64, u64)) {
        let (received, written) = (Sequence::new(upto.0), Sequence::new(upto.1));
        confirmation.handle_acknowledged(key, received, written, Moment::ZERO);
    }

    /// Carries out what is wanted; a change of the set becomes entry `at`. Gives how far was answered LOCAL.
    fn carried(confirmation: &mut Confirmation, at: u64) -> Option<Sequence> {
        let mut local = None;
        while let Some(output) = confirmation.poll_output() {
            match output {
                ConfirmOutput::ChangeSet(_) => {
                    confirmation.handle_set_changed(Sequence::new(at), Moment::ZERO);
                }
                ConfirmOutput::Release {
                    upto,
                    class: Class::Local,
                    ..
                } => local = Some(upto),
                _ => {}
            }
        }
        local
    }

    /// Ruling 19: what counts for a takeover is what is on the member's disk, whatever its level asks of an answer.
    #[test]
    fn what_a_member_has_in_memory_it_does_not_know() {
        let (mut confirmation, key) = guarded(Level::Received);
        confirmation.handle_policy(Policy::Degrade, &[], TIMEOUT, 10, Moment::ZERO);
        carried(&mut confirmation, 4);
        written(&mut confirmation, 4);
        acknowledged(&mut confirmation, key, (4, 3));
        assert_eq!(confirmation.policy(), Policy::Block);
        assert_eq!(confirmation.ignorant().len(), 1);
        acknowledged(&mut confirmation, key, (4, 4));
        assert_eq!(confirmation.policy(), Policy::Degrade);

        let (mut confirmation, key) = guarded(Level::Received);
        confirmation.handle_leave(key, Moment::ZERO);
        carried(&mut confirmation, 4);
        written(&mut confirmation, 6);
        acknowledged(&mut confirmation, key, (6, 3));
        assert_eq!(carried(&mut confirmation, 0), None);
        acknowledged(&mut confirmation, key, (6, 6));
        assert_eq!(carried(&mut confirmation, 0), Some(Sequence::new(6)));
    }

    /// A change of the time-out while a policy is on its way is no new order.
    #[test]
    fn who_was_given_up_stays_so_when_other_attributes_change() {
        let (mut confirmation, key) = guarded(Level::Written);
        confirmation.handle_loss(key, Loss::Connection, Moment::ZERO);
        confirmation.handle_policy(Policy::Degrade, &[key], TIMEOUT, 10, Moment::ZERO);
        carried(&mut confirmation, 4);
        confirmation.handle_policy(Policy::Degrade, &[], TIMEOUT * 2, 10, Moment::ZERO);
        assert_eq!(confirmation.policy(), Policy::Block, "not on this disk");
        written(&mut confirmation, 4);
        assert_eq!(confirmation.policy(), Policy::Degrade);
    }

    #[test]
    fn without_members_every_policy_is_in_force_at_once() {
        let mut confirmation = Confirmation::new(Policy::Block, TIMEOUT, 10, None);
        confirmation.handle_policy(Policy::Degrade, &[], TIMEOUT, 10, Moment::ZERO);
        assert_eq!(confirmation.policy(), Policy::Degrade);
        let in_force = ConfirmOutput::InForce(Policy::Degrade);
        assert_eq!(confirmation.poll_output(), Some(in_force));
        assert_eq!(confirmation.poll_output(), None, "nothing is deposited");
    }

    /// A member that left for good is not asked for ever.
    #[test]
    fn what_nobody_needs_to_be_told_is_forgotten_at_the_opening() {
        let untold = || vec![member(Level::Written)];
        let key = MemberKey::from(&member(Level::Written));
        let told = Some(ConfirmOutput::Told(key));
        let (mut confirmation, _) = guarded(Level::Written);
        confirmation.handle_resumed(None, untold());
        assert_eq!(confirmation.poll_output(), told, "it is a member");
        let mut confirmation = Confirmation::new(Policy::Degrade, TIMEOUT, 10, None);
        confirmation.handle_resumed(None, untold());
        assert_eq!(confirmation.poll_output(), told, "nothing is guarded");
    }
}
