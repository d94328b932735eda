//! Room `remote`, confirmation: how far answers are released, and with which class: the two rules of this room. Must not
//! change the set.

use super::confirmation::Confirmation;
use super::facts::{Class, ConfirmOutput, MemberKey};
use crate::entry::control_entry::{Level, Member, Policy};
use crate::entry::{Moment, Sequence};

#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The entry that set it.
    pub(super) set: Sequence,
    pub(super) members: Vec<Member>,
    /// The policy that entry says.
    pub(super) policy: Policy,
    /// Whether it left somebody out who was in the one before.
    pub(super) shrank: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// It was heard since its connection was lost last.
    pub(super) present: bool,
    pub(super) received: Sequence,
    pub(super) written: Sequence,
}

impl Confirmation {
    /// Releases as far as the two rules at the top of this file allow.
    pub(super) fn release(&mut self, now: Moment) {
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
                .map(|member| self.flushed(member).unwrap_or(Sequence::NONE))
                .min()
                .unwrap_or(Sequence::LAST_USABLE);
            let upto = self.written.min(reach).min(end).min(self.barrier());
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
                && segment.set <= self.barrier()
                && segment
                    .members
                    .iter()
                    .all(|member| self.flushed(member) >= Some(segment.set))
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
            .unwrap_or(Sequence::LAST_USABLE)
            .min(self.barrier());
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
        let untold = &self.untold;
        self.progress.retain(|key, _| {
            in_some_set(key)
                || untold.iter().any(|untold| untold.key() == *key)
                || waiting.is_some_and(|change| {
                    change
                        .members
                        .iter()
                        .any(|member| MemberKey::from(member) == *key)
                })
        });
    }

    /// Whether a member of the last set has done with an entry what its level asks for.
    pub(super) fn has(&self, key: MemberKey, sequence: Sequence) -> bool {
        let member = self
            .members()
            .0
            .iter()
            .find(|member| MemberKey::from(*member) == key);
        member.is_some_and(|member| self.reach(member) >= sequence)
    }

    /// How far a member counts.
    pub(super) fn reach(&self, member: &Member) -> Sequence {
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

    /// What a member that is followed has flushed.
    pub(super) fn flushed(&self, member: &Member) -> Option<Sequence> {
        let progress = self.progress.get(&MemberKey::from(member));
        progress.map(|progress| progress.written)
    }
}
