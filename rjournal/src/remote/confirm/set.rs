//! Room `remote`, confirmation: the in-sync set changes: a target that has caught up joins, one that is lost leaves, one that
//! keeps leaving waits. Every change is ordered as an entry and counts from its number on. Must not release answers.

use std::time::Duration;

use super::confirmation::Confirmation;
use super::facts::{ConfirmOutput, Loss, MemberKey};
use super::release::Segment;
use crate::entry::control_entry::{Member, SetChange, SetReason};
use crate::entry::{Moment, Sequence};

/// Longest wait before a target that keeps leaving may join again.
const HOLD_DOWN_MAX: Duration = Duration::from_mins(5);
/// Leaving is forgotten after this long in the set.
const STEADY_AFTER: Duration = Duration::from_mins(10);

/// Changes kept for somebody to be told of.
const NEWS_MAX: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Candidate {
    member: Member,
    pub(super) ready: bool,
    pub(super) join_after: Moment,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flaps {
    count: u32,
    joined_at: Moment,
}

impl Confirmation {
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

    /// A target holds less than it had acknowledged: it ends at `tip`, and does not count before it has caught up.
    pub fn handle_went_back(&mut self, key: MemberKey, tip: Sequence, now: Moment) {
        self.fall_back(key, tip, now);
        self.handle_loss(key, Loss::Failed, now);
    }

    /// What a target had beyond `written` is gone, or may be: its memory does not outlive a session.
    fn fall_back(&mut self, key: MemberKey, written: Sequence, now: Moment) {
        let Some(progress) = self.progress.get_mut(&key) else {
            return;
        };
        progress.present = false;
        let had = progress.received.max(progress.written);
        progress.written = progress.written.min(written);
        progress.received = progress.written;
        // It is waited for again, from now on, where it was not any more.
        let waited_for = self.outstanding.front();
        let open = had > self.released && had > progress.written;
        if open && waited_for.is_none_or(|(last, _)| *last > had) {
            self.outstanding.push_front((had, now));
        }
    }

    /// A target was lost, or is to leave.
    pub fn handle_loss(&mut self, key: MemberKey, loss: Loss, now: Moment) {
        let written = self
            .progress
            .get(&key)
            .map_or(Sequence::NONE, |progress| progress.written);
        self.fall_back(key, written, now);
        if let Some(candidate) = self.candidates.get_mut(&key) {
            candidate.ready = false;
        }
        match loss {
            Loss::Connection => {}
            // Under block and reject nobody but an operator makes the set smaller: no answer is LOCAL, and a takeover of
            // the target relies on that (ruling 13).
            Loss::Failed if self.policy.guards() => {}
            Loss::Failed => self.take_out(&[key], SetReason::TargetFailed, now),
            Loss::Fenced => self.fenced = true,
            Loss::Operator => {
                self.candidates.remove(&key);
                self.give_up(key);
                self.take_out(&[key], SetReason::Operator, now);
                self.release(now);
            }
        }
        self.handle_timeout(now);
        self.settle_policy(now);
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
        let (members, _) = self.members();
        let before = members.len();
        let shrank = members.iter().any(|old| {
            !change
                .members
                .iter()
                .any(|new| MemberKey::from(new) == MemberKey::from(old))
        });
        for member in &change.members {
            let key = MemberKey::from(member);
            let progress = self.progress.entry(key).or_default();
            if self.candidates.remove(&key).is_some() {
                progress.present = true;
                self.flaps.entry(key).or_default().joined_at = now;
            }
        }
        self.number_untold(sequence);
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
        let same = change.left.is_empty() && change.members.len() == before;
        if !same {
            if self.news.len() == NEWS_MAX {
                self.news.pop_front();
            }
            self.news.push_back((sequence, change.clone()));
        }
        self.segments.push_back(Segment {
            set: sequence,
            members: change.members,
            policy: change.policy,
            shrank,
        });
        self.number_ordered(sequence);
        self.release(now);
        self.settle_policy(now);
    }

    pub(super) fn take_out(&mut self, keys: &[MemberKey], reason: SetReason, _now: Moment) {
        let (members, _) = self.members();
        let (left, stay): (Vec<Member>, Vec<Member>) = members
            .iter()
            .cloned()
            .partition(|member| keys.contains(&MemberKey::from(member)));
        if !left.is_empty() && self.changing.is_none() {
            self.order_change(stay, left, reason);
        }
    }

    pub(super) fn propose_join(&mut self, now: Moment) {
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

    pub(super) fn order_change(
        &mut self,
        members: Vec<Member>,
        left: Vec<Member>,
        reason: SetReason,
    ) {
        // One that joins is not followed yet: it says itself how far it is.
        let known = |member: Member| Member {
            acknowledged: self.flushed(&member).unwrap_or(member.acknowledged),
            ..member
        };
        let members: Vec<Member> = members.into_iter().map(known).collect();
        let left: Vec<Member> = left.into_iter().map(known).collect();
        let change = SetChange {
            required: members.len() as u32,
            policy: self.policy_said(),
            reason,
            members,
            left,
        };
        self.changing = Some(change.clone());
        self.outputs.push_back(ConfirmOutput::ChangeSet(change));
    }
}

/// How long a target that left for the `count`th time may not join again: not at all the first time.
fn hold_down(count: u32) -> Duration {
    match count {
        0 | 1 => Duration::ZERO,
        more => Duration::from_secs(1 << (more - 2).min(9)).min(HOLD_DOWN_MAX),
    }
}
