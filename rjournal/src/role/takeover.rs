//! Room `role`: takeover: the way of a backup to a new term when the primary is gone (rulings 3, 6, 26-31).
//!
//! ```text
//!  Begun --claim durable, tip known--> Collecting --all but at most one heard--> Ready --close record flushed--> open
//!                                         |  ^ a member is further: its tail is fetched
//!                                         |  +-- a hand-over to another was met: claimed again, two terms above it
//!                                         +--> GivenUp: somebody promised more. The claim stands all the same
//! ```
//!
//! Which tip wins is decided by the epoch of its last bundle, then by its sequence (ruling 29). Must not know connections: it
//! says whom to ask and is told what they said.

use std::collections::BTreeMap;

use super::lineage::Lineage;
use crate::entry::{HandOver, JournalId, Sequence, SystemId, TermClaim};
use crate::remote::JournalTip;

/// How far a member is on its lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct MemberTip {
    /// `(term, boot)` of its last bundle.
    pub rank: (u64, u64),
    /// Its last entry, in the journal of that term.
    pub sequence: Sequence,
}

/// How far a member that holds `tips` is on `lineage`: what it has beyond a closed segment counts for nothing.
pub fn tip_of(lineage: &Lineage, tips: &[JournalTip]) -> MemberTip {
    let held = |journal: JournalId| tips.iter().find(|tip| tip.journal == journal);
    for segment in lineage.segments().rev() {
        let Some(tip) = held(segment.journal) else {
            continue;
        };
        if tip.tip.sequence <= segment.begins.sequence {
            continue;
        }
        let sequence = tip.tip.sequence;
        return match segment.last {
            // Whoever has a closed segment whole has as much of it as there is, whatever lies beyond.
            Some(last) if sequence >= last.sequence => MemberTip {
                rank: (segment.term, u64::MAX),
                sequence: last.sequence,
            },
            _ => MemberTip {
                rank: tip.epoch.rank(),
                sequence,
            },
        };
    }
    MemberTip::default()
}

/// What a takeover begins with.
#[derive(Debug, Clone)]
pub struct TakeoverFacts {
    /// This member.
    pub me: SystemId,
    /// The others.
    pub others: Vec<SystemId>,
    /// The term it claims.
    pub term: u64,
    /// An operator accepts that what cannot be heard of is lost.
    pub accept_loss: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakeoverStep {
    /// Make the claim of this term durable, fence everything lower, flush, and say with [`Takeover::handle_claimed`] how far
    /// this member is.
    Claim(u64),
    /// Ask these for their promise.
    Ask(Vec<SystemId>),
    /// This member is further: fetch its tail, and say with [`Takeover::handle_fetched`] how far this one is then.
    Fetch(SystemId),
    /// Wait for those who were asked.
    Wait,
    /// Write the close record and open.
    Open,
    /// Members that cannot be asked may hold answered entries: an operator's word is needed. The claim stands.
    NeedsWord(Vec<SystemId>),
    /// Somebody promised a higher claim, or the same to another. The claim stands all the same; the next one is higher.
    GivenUp {
        /// Who said so.
        by: SystemId,
        /// The term it has promised.
        term: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Unasked,
    Asked,
    /// It promised, and is this far.
    Promised(MemberTip),
    Unreachable,
}

/// A takeover under way.
#[derive(Debug)]
pub struct Takeover {
    facts: TakeoverFacts,
    own: Option<MemberTip>,
    members: BTreeMap<SystemId, Member>,
    given_up: Option<(SystemId, u64)>,
    /// Who may have answered what is not here.
    doubted: Vec<SystemId>,
    /// The primary before answered and was fenced: it has given no answer since that is not known here.
    pub fenced_primary: bool,
}

impl Takeover {
    /// Begins.
    pub fn new(facts: TakeoverFacts) -> Self {
        let members = facts
            .others
            .iter()
            .map(|system| (*system, Member::Unasked))
            .collect();
        Self {
            facts,
            own: None,
            members,
            given_up: None,
            doubted: Vec::new(),
            fenced_primary: false,
        }
    }

    /// The term it claims now.
    pub const fn term(&self) -> u64 {
        self.facts.term
    }

    /// What is to be done now.
    pub fn step(&self) -> TakeoverStep {
        if let Some((by, term)) = self.given_up {
            return TakeoverStep::GivenUp { by, term };
        }
        let Some(own) = self.own else {
            return TakeoverStep::Claim(self.facts.term);
        };
        let unasked = self.which(|member| member == Member::Unasked);
        if !unasked.is_empty() {
            return TakeoverStep::Ask(unasked);
        }
        // The later epoch first, then the longer tail (ruling 29).
        let furthest = self
            .members
            .iter()
            .filter_map(|(system, member)| match member {
                Member::Promised(tip) => Some((*tip, *system)),
                _ => None,
            });
        if let Some((tip, system)) = furthest.max()
            && tip > own
        {
            return TakeoverStep::Fetch(system);
        }
        if !self.which(|member| member == Member::Asked).is_empty() {
            return TakeoverStep::Wait;
        }
        let missing = self.which(|member| member == Member::Unreachable);
        // At most one may be missing, whichever it is: a SYNC answer rests on two members at least (ruling 26).
        if missing.len() > 1 && !self.facts.accept_loss {
            return TakeoverStep::NeedsWord(missing);
        }
        // Whoever was heard a moment ago, and not since, may have answered meanwhile (ruling 13).
        let doubted: Vec<SystemId> = missing
            .into_iter()
            .filter(|system| self.doubted.contains(system))
            .collect();
        if !doubted.is_empty() && !self.facts.accept_loss {
            return TakeoverStep::NeedsWord(doubted);
        }
        TakeoverStep::Open
    }

    fn which(&self, is: impl Fn(Member) -> bool) -> Vec<SystemId> {
        let found = self.members.iter().filter(|(_, member)| is(**member));
        found.map(|(system, _)| *system).collect()
    }

    /// The claim is durable, everything lower is fenced, and what was in memory is flushed.
    pub const fn handle_claimed(&mut self, own: MemberTip) {
        self.own = Some(own);
    }

    /// As far as is known here, behind the claim, these may have answered what is not here: they are to be heard, or an operator's
    /// word is needed ([`super::to_be_heard`]).
    pub fn handle_doubted(&mut self, systems: Vec<SystemId>) {
        self.doubted = systems;
    }

    /// Whoever was unasked is asked now.
    pub fn handle_asked(&mut self) {
        for member in self.members.values_mut() {
            if *member == Member::Unasked {
                *member = Member::Asked;
            }
        }
    }

    /// A member promised, and is this far behind its promise (ruling 30).
    pub fn handle_promised(
        &mut self,
        from: SystemId,
        tip: MemberTip,
        handed_over: Option<HandOver>,
    ) {
        let handed = handed_over.filter(|handed| handed.to != self.facts.me);
        if let Some(handed) = handed
            && self.facts.term <= handed.term.saturating_add(1)
        {
            // The term was promised to another by a flushed hand-over (ruling 28): everybody is asked anew.
            self.facts.term = handed.term.saturating_add(2);
            self.own = None;
            for member in self.members.values_mut() {
                *member = Member::Unasked;
            }
            return;
        }
        if let Some(member) = self.members.get_mut(&from) {
            *member = Member::Promised(tip);
        }
    }

    /// A member has promised more, or the same term to another.
    pub const fn handle_refused(&mut self, from: SystemId, term: u64) {
        self.given_up = Some((from, term));
    }

    /// A member did not answer.
    pub fn handle_unreachable(&mut self, from: SystemId) {
        if let Some(member) = self.members.get_mut(&from)
            && matches!(member, Member::Unasked | Member::Asked)
        {
            *member = Member::Unreachable;
        }
    }

    /// The tail of the furthest member was fetched as far as it would come: this member is now at `own`.
    pub fn handle_fetched(&mut self, from: SystemId, own: MemberTip) {
        self.own = Some(own);
        if let Some(member @ Member::Promised(_)) = self.members.get_mut(&from)
            && *member > own_as(own)
        {
            // It went away in the middle: what it had more cannot be had.
            *member = Member::Unreachable;
        }
    }

    /// Whether `claim` is this takeover's: an answer to an earlier one counts for nothing.
    pub fn is_of(&self, claim: &TermClaim) -> bool {
        claim.term == self.facts.term && claim.system == self.facts.me
    }

    /// Members that were not heard.
    pub fn missing(&self) -> Vec<SystemId> {
        self.which(|member| !matches!(member, Member::Promised(_)))
    }
}

const fn own_as(own: MemberTip) -> Member {
    Member::Promised(own)
}

impl PartialOrd for Member {
    /// How far promised members are; nothing else is compared.
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Promised(one), Self::Promised(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lineage::tests::{at, journal, lineage, record, system};
    use super::*;
    use crate::entry::{Epoch, GroupId};

    fn facts(others: &[u8]) -> TakeoverFacts {
        TakeoverFacts {
            me: system(2),
            others: others.iter().copied().map(system).collect(),
            term: 2,
            accept_loss: false,
        }
    }

    const fn tip(term: u64, boot: u64, sequence: u64) -> MemberTip {
        MemberTip {
            rank: (term, boot),
            sequence: Sequence::new(sequence),
        }
    }

    fn claimed(others: &[u8], own: MemberTip) -> Takeover {
        let mut takeover = Takeover::new(facts(others));
        assert_eq!(takeover.step(), TakeoverStep::Claim(2));
        takeover.handle_claimed(own);
        let everybody = others.iter().copied().map(system).collect();
        assert_eq!(takeover.step(), TakeoverStep::Ask(everybody));
        takeover.handle_asked();
        assert_eq!(takeover.step(), TakeoverStep::Wait);
        takeover
    }

    #[test]
    fn of_two_members_one_may_be_missing_and_of_three_two_may_not() {
        let mut takeover = claimed(&[1], tip(1, 1, 9));
        takeover.handle_unreachable(system(1));
        assert_eq!(takeover.step(), TakeoverStep::Open);
        let mut takeover = claimed(&[1, 3], tip(1, 1, 9));
        takeover.handle_unreachable(system(1));
        assert_eq!(takeover.step(), TakeoverStep::Wait);
        takeover.handle_unreachable(system(3));
        assert_eq!(
            takeover.step(),
            TakeoverStep::NeedsWord(vec![system(1), system(3)])
        );
    }

    /// It answered when it was looked for, and did no more when its promise was asked for: nobody had given a word for that.
    #[test]
    fn a_primary_that_may_have_answered_alone_is_heard_in_this_takeover_or_a_word_is_needed() {
        let mut takeover = claimed(&[1, 3], tip(1, 1, 9));
        takeover.handle_doubted(vec![system(1)]);
        takeover.handle_promised(system(3), tip(1, 1, 9), None);
        takeover.handle_unreachable(system(1));
        assert_eq!(takeover.step(), TakeoverStep::NeedsWord(vec![system(1)]));
        let mut takeover = claimed(&[1, 3], tip(1, 1, 9));
        takeover.handle_doubted(vec![system(1)]);
        takeover.handle_promised(system(1), tip(1, 1, 9), None);
        takeover.handle_unreachable(system(3));
        assert_eq!(takeover.step(), TakeoverStep::Open);
    }

    #[test]
    fn the_tail_of_the_furthest_is_fetched_a_later_boot_before_a_longer_tail() {
        let mut takeover = claimed(&[1, 3], tip(1, 1, 30));
        takeover.handle_unreachable(system(1));
        takeover.handle_promised(system(3), tip(1, 2, 25), None);
        assert_eq!(takeover.step(), TakeoverStep::Fetch(system(3)));
        takeover.handle_fetched(system(3), tip(1, 2, 25));
        assert_eq!(takeover.step(), TakeoverStep::Open);
    }

    #[test]
    fn a_member_that_goes_away_while_its_tail_is_fetched_was_not_heard() {
        let mut takeover = claimed(&[1, 3], tip(1, 1, 30));
        takeover.handle_unreachable(system(1));
        takeover.handle_promised(system(3), tip(1, 1, 50), None);
        takeover.handle_fetched(system(3), tip(1, 1, 41));
        assert_eq!(
            takeover.step(),
            TakeoverStep::NeedsWord(vec![system(1), system(3)])
        );
    }

    #[test]
    fn a_hand_over_to_another_is_met_with_a_term_above_it_and_everybody_is_asked_anew() {
        let mut takeover = claimed(&[1, 3], tip(1, 1, 30));
        takeover.handle_promised(system(3), tip(1, 1, 30), None);
        let handed = HandOver {
            group: GroupId::from_bytes([9; 16]),
            term: 1,
            to: system(3),
        };
        takeover.handle_promised(system(1), tip(1, 1, 31), Some(handed));
        assert_eq!(takeover.step(), TakeoverStep::Claim(3));
        takeover.handle_claimed(tip(1, 1, 30));
        assert!(matches!(takeover.step(), TakeoverStep::Ask(all) if all.len() == 2));
        // To oneself it is what it is for.
        let mut own = claimed(&[1], tip(1, 1, 30));
        own.handle_promised(
            system(1),
            tip(1, 1, 30),
            Some(HandOver {
                to: system(2),
                ..handed
            }),
        );
        assert_eq!(own.step(), TakeoverStep::Open);
    }

    #[test]
    fn a_higher_promise_ends_it() {
        let mut takeover = claimed(&[1, 3], tip(1, 1, 30));
        takeover.handle_refused(system(3), 5);
        assert_eq!(
            takeover.step(),
            TakeoverStep::GivenUp {
                by: system(3),
                term: 5
            }
        );
    }

    fn held(writer: u8, sequence: u64, term: u64, boot: u64) -> JournalTip {
        JournalTip {
            journal: journal(writer),
            oldest: at(writer, 0),
            tip: at(writer, sequence),
            epoch: Epoch {
                term,
                boot,
                nonce: 0,
            },
            confirmed: Sequence::NONE,
        }
    }

    #[test]
    fn what_lies_beyond_a_closed_segment_makes_nobody_further() {
        let closed = lineage(&[record(1, 1, 0, None), record(3, 2, 0, Some((1, 1, 100)))]);
        // Nothing of term 3 yet, a tail of term 1 that was never taken over, and a term of its own nobody knows.
        let tips = [held(1, 120, 1, 4), held(3, 50, 2, 1)];
        assert_eq!(tip_of(&closed, &tips), tip(1, u64::MAX, 100));
        let tips = [held(1, 100, 1, 4), held(2, 7, 3, 2)];
        assert_eq!(tip_of(&closed, &tips), tip(3, 2, 7));
        assert_eq!(tip_of(&closed, &[]), MemberTip::default());
    }
}
