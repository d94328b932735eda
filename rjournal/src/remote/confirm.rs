//! Room `remote`: confirmation: the in-sync set of one local journal, and which answers an acknowledgement releases.
//!
//! The set in force at an entry is the one of the last `J IS` entry at or before it. An entry is released
//! 1. when it is flushed here and every member of its set has it (class SYNC, or RECEIVED where a member was asked for no
//!    more; LOCAL where the set is empty), or
//! 2. when a later change that shrank the set is flushed here and at every remaining member (ruling 12): SYNC by the
//!    members that remain, LOCAL when none does.
//!
//! Every change of the set is ordered as an entry ([`ConfirmOutput::ChangeSet`]) and counts from its number on.
//! Must not know sessions: it is told who acknowledged what, who has caught up and who is lost.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::entry::control_entry::{Level, Member, Policy, SetChange, SetReason};
use crate::entry::{Moment, QualifiedName, Sequence, SystemId};

/// Longest wait before a target that keeps leaving may join again.
const HOLD_DOWN_MAX: Duration = Duration::from_mins(5);
/// Leaving is forgotten after this long in the set.
const STEADY_AFTER: Duration = Duration::from_mins(10);

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
    /// An operator took it out.
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

#[derive(Debug, Clone)]
struct Segment {
    /// The entry that set it.
    set: Sequence,
    members: Vec<Member>,
    /// Whether it left somebody out who was in the one before.
    shrank: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    received: Sequence,
    written: Sequence,
}

#[derive(Debug, Clone)]
struct Candidate {
    member: Member,
    ready: bool,
    join_after: Moment,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flaps {
    count: u32,
    joined_at: Moment,
}

/// The in-sync set of one local journal.
#[derive(Debug)]
pub struct Confirmation {
    policy: Policy,
    timeout: Duration,
    waiting_entries_max: u64,
    sealed: Sequence,
    written: Sequence,
    released: Sequence,
    /// The set in force at `released + 1` first; at least one.
    segments: VecDeque<Segment>,
    progress: BTreeMap<MemberKey, Progress>,
    /// Bundles some member has not acknowledged: last entry and when it was sealed.
    outstanding: VecDeque<(Sequence, Moment)>,
    candidates: BTreeMap<MemberKey, Candidate>,
    flaps: BTreeMap<MemberKey, Flaps>,
    /// A change was ordered and has no number yet.
    changing: Option<SetChange>,
    holding: bool,
    outputs: VecDeque<ConfirmOutput>,
}

impl Confirmation {
    /// A journal that was just opened: everything up to `released` is answered, `set` is the last change of the set.
    pub fn new(
        policy: Policy,
        timeout: Duration,
        waiting_entries_max: u64,
        set: Option<(Sequence, SetChange)>,
        released: Sequence,
    ) -> Self {
        let (number, members) = set.map_or((Sequence::NONE, Vec::new()), |(number, set)| {
            (number, set.members)
        });
        let progress = members
            .iter()
            .map(|member| (MemberKey::from(member), Progress::default()))
            .collect();
        Self {
            policy,
            timeout,
            waiting_entries_max,
            sealed: released,
            written: released,
            released,
            segments: VecDeque::from([Segment {
                set: number,
                members,
                shrank: false,
            }]),
            progress,
            outstanding: VecDeque::new(),
            candidates: BTreeMap::new(),
            flaps: BTreeMap::new(),
            changing: None,
            holding: false,
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<ConfirmOutput> {
        self.outputs.pop_front()
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

    /// An operator changed policy or time-out.
    pub fn handle_policy(
        &mut self,
        policy: Policy,
        timeout: Duration,
        waiting_entries_max: u64,
        now: Moment,
    ) {
        self.policy = policy;
        self.timeout = timeout;
        self.waiting_entries_max = waiting_entries_max;
        self.handle_timeout(now);
    }

    /// A bundle was sealed and handed to the links.
    pub fn handle_sealed(&mut self, upto: Sequence, now: Moment) {
        self.sealed = self.sealed.max(upto);
        if !self.members().0.is_empty() || self.segments.len() > 1 {
            self.outstanding.push_back((upto, now));
        }
    }

    /// Everything up to here is flushed here.
    pub fn handle_written(&mut self, upto: Sequence, now: Moment) {
        self.written = self.written.max(upto);
        self.sealed = self.sealed.max(upto);
        self.release(now);
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
        progress.received = progress.received.max(received);
        progress.written = progress.written.max(written);
        self.release(now);
    }

    /// A target that is to be in the set has caught up.
    pub fn handle_caught_up(&mut self, member: Member, now: Moment) {
        let key = MemberKey::from(&member);
        if self.is_member(key) {
            return;
        }
        let join_after = self
            .candidates
            .get(&key)
            .map_or(Moment::ZERO, |candidate| candidate.join_after);
        self.candidates.insert(
            key,
            Candidate {
                member,
                ready: true,
                join_after,
            },
        );
        self.propose_join(now);
    }

    /// A target was lost, or is to leave.
    pub fn handle_loss(&mut self, key: MemberKey, loss: Loss, now: Moment) {
        if let Some(candidate) = self.candidates.get_mut(&key) {
            candidate.ready = false;
        }
        match loss {
            Loss::Connection => {}
            // Under block and reject nobody but an operator makes the set smaller: no answer is LOCAL, and a takeover of
            // the target relies on that (ruling 13).
            Loss::Failed if self.policy != Policy::Degrade => {}
            Loss::Failed => self.take_out(&[key], SetReason::TargetFailed, now),
            Loss::Operator => {
                self.candidates.remove(&key);
                self.take_out(&[key], SetReason::Operator, now);
            }
        }
        self.handle_timeout(now);
    }

    /// The change that was ordered has become this entry.
    ///
    /// # Panics
    /// When no change was ordered.
    pub fn handle_set_changed(&mut self, sequence: Sequence, now: Moment) {
        let change = self
            .changing
            .take()
            .expect("a change of the set was ordered");
        let before = self.segments.back().expect("there is always a segment");
        let shrank = before.members.iter().any(|old| {
            !change
                .members
                .iter()
                .any(|new| MemberKey::from(new) == MemberKey::from(old))
        });
        for member in &change.members {
            let key = MemberKey::from(member);
            self.progress.entry(key).or_default();
            if self.candidates.remove(&key).is_some() {
                self.flaps.entry(key).or_default().joined_at = now;
            }
        }
        for member in &change.left {
            let key = MemberKey::from(member);
            let flaps = self.flaps.entry(key).or_default();
            if flaps.joined_at != Moment::ZERO && now.since(flaps.joined_at) > STEADY_AFTER {
                flaps.count = 0;
            }
            flaps.count += 1;
            let join_after = now + hold_down(flaps.count);
            if change.reason != SetReason::Operator {
                self.candidates.insert(
                    key,
                    Candidate {
                        member: member.clone(),
                        ready: false,
                        join_after,
                    },
                );
            }
            self.outputs.push_back(ConfirmOutput::Left(key));
        }
        self.segments.push_back(Segment {
            set: sequence,
            members: change.members,
            shrank,
        });
        self.release(now);
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

    fn resume(&mut self) {
        if self.holding {
            self.holding = false;
            self.outputs.push_back(ConfirmOutput::Resume);
        }
    }

    /// Whether a member of the last set has done with an entry what its level asks for.
    fn has(&self, key: MemberKey, sequence: Sequence) -> bool {
        let member = self
            .members()
            .0
            .iter()
            .find(|member| MemberKey::from(*member) == key);
        member.is_some_and(|member| self.reach(member) >= sequence)
    }

    /// How far a member counts.
    fn reach(&self, member: &Member) -> Sequence {
        let progress = self
            .progress
            .get(&MemberKey::from(member))
            .copied()
            .unwrap_or_default();
        match member.level {
            Level::Received => progress.received,
            Level::Written => progress.written,
        }
    }

    fn flushed(&self, member: &Member) -> Sequence {
        self.progress
            .get(&MemberKey::from(member))
            .map_or(Sequence::NONE, |progress| progress.written)
    }

    fn take_out(&mut self, keys: &[MemberKey], reason: SetReason, _now: Moment) {
        let (members, _) = self.members();
        let (left, stay): (Vec<Member>, Vec<Member>) = members
            .iter()
            .cloned()
            .partition(|member| keys.contains(&MemberKey::from(member)));
        if !left.is_empty() && self.changing.is_none() {
            self.order_change(stay, left, reason);
        }
    }

    fn propose_join(&mut self, now: Moment) {
        if self.changing.is_some() {
            return;
        }
        let due = self
            .candidates
            .values()
            .find(|candidate| candidate.ready && candidate.join_after <= now);
        let Some(member) = due.map(|candidate| candidate.member.clone()) else {
            return;
        };
        let mut members = self.members().0.to_vec();
        members.push(member);
        self.order_change(members, Vec::new(), SetReason::Joined);
    }

    fn order_change(&mut self, members: Vec<Member>, left: Vec<Member>, reason: SetReason) {
        let known = |member: Member| Member {
            acknowledged: self.flushed(&member),
            ..member
        };
        let members: Vec<Member> = members.into_iter().map(known).collect();
        let left: Vec<Member> = left.into_iter().map(known).collect();
        let change = SetChange {
            required: members.len() as u32,
            policy: self.policy,
            reason,
            members,
            left,
        };
        self.changing = Some(change.clone());
        self.outputs.push_back(ConfirmOutput::ChangeSet(change));
    }

    /// Releases as far as the two rules at the top of this file allow.
    fn release(&mut self, now: Moment) {
        loop {
            let by_shrinking = self.shrunk();
            let segment = self.segments.front().expect("there is always a segment");
            let end = self
                .segments
                .get(1)
                .map_or(Sequence::LAST_USABLE, |next| next.set.before());
            let reach = segment
                .members
                .iter()
                .map(|member| self.reach(member))
                .min()
                .unwrap_or(Sequence::LAST_USABLE);
            let flushed = segment
                .members
                .iter()
                .map(|member| self.flushed(member))
                .min()
                .unwrap_or(Sequence::LAST_USABLE);
            let upto = self.written.min(reach).min(end);
            let (set, empty) = (segment.set, segment.members.is_empty());
            if empty {
                self.say(upto, Class::Local, set);
            } else {
                self.say(upto.min(flushed), Class::Sync, set);
                self.say(upto, Class::Received, set);
            }
            if let Some(index) = by_shrinking {
                self.release_shrunk(index);
            } else if self.released >= end && self.segments.len() > 1 {
                self.segments.pop_front();
            } else {
                break;
            }
        }
        self.prune(now);
    }

    /// The last change that shrank the set and is flushed here and at everyone who remained.
    fn shrunk(&self) -> Option<usize> {
        let effective = |segment: &Segment| {
            segment.shrank
                && self.written >= segment.set
                && segment
                    .members
                    .iter()
                    .all(|member| self.flushed(member) >= segment.set)
        };
        (1..self.segments.len())
            .rev()
            .find(|index| self.segments.get(*index).is_some_and(effective))
    }

    fn release_shrunk(&mut self, index: usize) {
        let Some(segment) = self.segments.get(index).cloned() else {
            return;
        };
        let class = if segment.members.is_empty() {
            Class::Local
        } else {
            Class::Sync
        };
        self.say(segment.set.before(), class, segment.set);
        self.segments.drain(..index);
        if let Some(first) = self.segments.front_mut() {
            first.shrank = false;
        }
    }

    fn say(&mut self, upto: Sequence, class: Class, set: Sequence) {
        if upto > self.released {
            self.released = upto;
            self.outputs
                .push_back(ConfirmOutput::Release { upto, class, set });
        }
    }

    /// Forgets bundles every member has, and who is no longer in any set.
    fn prune(&mut self, _now: Moment) {
        let reach = self
            .members()
            .0
            .iter()
            .map(|member| self.reach(member))
            .min()
            .unwrap_or(Sequence::LAST_USABLE);
        while self
            .outstanding
            .front()
            .is_some_and(|(last, _)| *last <= reach)
        {
            self.outstanding.pop_front();
        }
        if self.outstanding.is_empty() {
            self.resume();
        }
        let segments = &self.segments;
        let in_some_set = |key: &MemberKey| {
            segments.iter().any(|s| {
                s.members
                    .iter()
                    .any(|member| MemberKey::from(member) == *key)
            })
        };
        let waiting = self.changing.as_ref();
        self.progress.retain(|key, _| {
            in_some_set(key)
                || waiting.is_some_and(|change| {
                    change
                        .members
                        .iter()
                        .any(|member| MemberKey::from(member) == *key)
                })
        });
    }
}

/// How long a target that left for the `count`th time may not join again: not at all the first time.
fn hold_down(count: u32) -> Duration {
    match count {
        0 | 1 => Duration::ZERO,
        more => Duration::from_secs(1 << (more - 2).min(9)).min(HOLD_DOWN_MAX),
    }
}
