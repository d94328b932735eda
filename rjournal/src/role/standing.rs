//! Room `role`: what a member of a group must not forget, and what follows from another member's word. Kept durably before it is
//! acted upon. Must not know who is connected, nor journals.
//!
//! | heard | then |
//! | --- | --- |
//! | a lineage with a higher term | it is the group's: whoever was primary in a lower one stops (ruling 27) |
//! | a claim above everything promised | promised: lower terms are refused from now on |
//! | the same term, opened by another | conflict: both stop, an operator picks (failures.md BRD-3) |
//! | the same, below a claim that was promised | nothing: the operator has picked, neither of the two goes on |
//! | anything lower | nothing |

use serde::{Deserialize, Serialize};

use super::lineage::Lineage;
use crate::entry::{
    ChainHead, HandOver, JournalId, Position, Sequence, SystemId, TERM_STEP_MAX, TermClaim,
    TermRecord,
};
use crate::remote::{Group, MemberRole};

/// What was heard changes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// A higher term or claim: this member follows it from now on. Says whether it was primary, or on its way to be.
    Follows {
        /// It was.
        demoted: bool,
    },
    /// One term was opened by two systems.
    Conflict {
        /// The term.
        term: u64,
    },
}

/// Why a member takes no part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// One term was opened by two systems: a later term of either ends it.
    Conflict {
        /// The term.
        term: u64,
    },
    /// What is confirmed here is not in the group's history (ruling 32): ended by an operator's word only.
    Abandoned {
        /// What an operator reads.
        text: String,
    },
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Conflict { term } => write!(
                f,
                "CONFLICT: term {term} was opened by two systems, and what each answered is in its own journal. DSPCRG shows \
                 both; takeover on the one that is to go on picks it, the other follows and lists what it had alone as orphans"
            ),
            Self::Abandoned { text } => write!(f, "ABANDONED: {text}"),
        }
    }
}

/// Where a member stands. Everything in here is durable before anything rests on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The group as this member knows it.
    pub group: Group,
    /// The terms it knows of.
    pub lineage: Lineage,
    /// The highest claim it promised.
    #[serde(default)]
    pub claim: Option<TermClaim>,
    /// The last claim of each other member that was promised somewhere and passed by a later one, of terms above those known: it
    /// may have opened that term, and what it answered then is not known here (ruling 13).
    #[serde(default)]
    pub passed: Vec<TermClaim>,
    /// The term whose first entry, with its close record, is flushed here: only then are the terms before it confirmed
    /// (ruling 31).
    #[serde(default)]
    pub flushed: u64,
    /// How far this member's own journal was confirmed by close records that a later history left out. It stays: whoever rests
    /// says of its own entries only what close records say, and what was confirmed is never cut by itself.
    #[serde(default)]
    pub confirmed: Sequence,
    /// This member's own hand-over that stands, and where it is in its journal.
    #[serde(default)]
    pub handed_over: Option<(HandOver, Position)>,
    /// Why it takes no part, until an operator decides.
    #[serde(default)]
    pub stopped: Option<Stop>,
}

impl Standing {
    /// A member of a new group.
    pub const fn new(group: Group, lineage: Lineage) -> Self {
        let flushed = 0;
        Self {
            group,
            lineage,
            claim: None,
            passed: Vec::new(),
            flushed,
            confirmed: Sequence::NONE,
            handed_over: None,
            stopped: None,
        }
    }

    /// The term below which everybody is refused.
    pub fn promised(&self) -> u64 {
        let claimed = self.claim.map_or(0, |claim| claim.term);
        claimed.max(self.lineage.term())
    }

    /// The only system that may write in the promised term.
    pub fn promised_to(&self) -> Option<SystemId> {
        match (self.claim, self.lineage.newest()) {
            (Some(claim), newest) if newest.is_none_or(|newest| claim.term > newest.term) => {
                Some(claim.system)
            }
            (_, newest) => newest.map(|newest| newest.primary),
        }
    }

    /// Role of this member, `me`.
    pub fn role(&self, me: SystemId) -> MemberRole {
        let newest = self.lineage.newest();
        let opened = newest.is_some_and(|newest| newest.primary == me);
        if self.stopped.is_some() {
            MemberRole::Stopped
        } else if self.promised_to() != Some(me) {
            MemberRole::Backup
        } else if self.promised() > self.lineage.term() {
            MemberRole::Claiming
        } else if opened && self.handed_over.is_some() {
            MemberRole::HandedOver
        } else {
            MemberRole::Primary
        }
    }

    /// Takes in a lineage that another member told, read and proven.
    pub fn handle_lineage(&mut self, me: SystemId, told: &Lineage) -> Heard {
        let conflict = self.lineage.conflict(told);
        if let Some(term) = conflict.filter(|term| *term == self.promised()) {
            self.stopped = Some(Stop::Conflict { term });
            return Heard::Conflict { term };
        }
        if told.term() <= self.lineage.term() {
            return Heard::Nothing;
        }
        let was = self.role(me);
        self.replace_lineage(me, told.clone());
        if self.claim.is_some_and(|claim| claim.term <= told.term()) {
            self.claim = None;
        }
        self.forget_passed();
        // What was handed over was taken, or overtaken; who goes on is decided.
        self.handed_over = None;
        if matches!(self.stopped, Some(Stop::Conflict { .. })) {
            self.stopped = None;
        }
        self.follows(me, was)
    }

    fn replace_lineage(&mut self, me: SystemId, with: Lineage) {
        if let Some(own) = self.group.member(me).map(|member| member.journal) {
            self.confirmed = self.confirmed_end(own);
        }
        self.lineage = with;
    }

    /// Takes in a claim that another member promised or makes, proven. What was promised before stands: one term is promised
    /// to one system.
    pub fn handle_claim(&mut self, me: SystemId, claim: TermClaim) -> Heard {
        let is_member = self.group.member(claim.system).is_some();
        let promised = self.promised();
        if !is_member || claim.term <= promised || claim.term - promised > TERM_STEP_MAX {
            return Heard::Nothing;
        }
        let was = self.role(me);
        let before = self.claim.replace(claim);
        if let Some(before) = before.filter(|before| before.system != claim.system) {
            self.pass(before);
        }
        self.follows(me, was)
    }

    /// Takes in what another member says was passed, each proven.
    pub fn handle_passed(&mut self, claims: impl Iterator<Item = TermClaim>) {
        for claim in claims {
            if self.group.member(claim.system).is_some() && claim.term < self.promised() {
                self.pass(claim);
            }
        }
    }

    fn pass(&mut self, claim: TermClaim) {
        let of = |known: &&mut TermClaim| known.system == claim.system;
        match self.passed.iter_mut().find(of) {
            Some(known) if known.term >= claim.term => {}
            Some(known) => *known = claim,
            None => self.passed.push(claim),
        }
        self.forget_passed();
    }

    /// What a later term closed, or left out, was for whoever opened that to know.
    fn forget_passed(&mut self) {
        let known = self.lineage.term();
        self.passed.retain(|claim| claim.term > known);
    }

    /// Other members that may have opened a later term than those known here, and answered in it.
    pub fn unknown(&self, me: SystemId) -> Vec<SystemId> {
        let claims = self.passed.iter().chain(&self.claim);
        let later = claims.filter(|claim| claim.term > self.lineage.term() && claim.system != me);
        let mut systems: Vec<SystemId> = later.map(|claim| claim.system).collect();
        systems.sort_unstable();
        systems.dedup();
        systems
    }

    /// This member opened a term, and its close record is flushed: what it closes is confirmed (ruling 31), unless a higher term was
    /// promised meanwhile. Whoever was promised that may leave this one out of the history. Where a later term was heard of since,
    /// that stands; the same one by another is a conflict.
    pub fn handle_own_term(&mut self, with: Lineage) {
        let term = with.term();
        let conflict = self.lineage.conflict(&with);
        if term <= self.lineage.term() {
            let met = conflict.filter(|term| *term == self.promised());
            self.stopped = met
                .map(|term| Stop::Conflict { term })
                .or(self.stopped.take());
            return;
        }
        if let Some(me) = with.newest().map(|newest| newest.primary) {
            self.replace_lineage(me, with);
        }
        self.claim = self.claim.filter(|claim| claim.term > term);
        self.forget_passed();
        if self.claim.is_none() {
            self.flushed = term;
        }
        self.handed_over = None;
        self.stopped = None;
    }

    /// This member's own hand-over entry is flushed: that is its promise of the next term (ruling 28). Says whether it counts: not
    /// where another system was promised a term meanwhile, which was not told of it and may open the same one.
    pub fn handle_handed_over(&mut self, me: SystemId, handed: HandOver, at: Position) -> bool {
        let counts = self.role(me) == MemberRole::Primary && handed.term == self.lineage.term();
        if counts {
            self.handed_over = Some((handed, at));
        }
        counts
    }

    fn follows(&self, me: SystemId, was: MemberRole) -> Heard {
        let is = self.role(me);
        let acts = |role| {
            matches!(
                role,
                MemberRole::Primary | MemberRole::HandedOver | MemberRole::Claiming
            )
        };
        Heard::Follows {
            demoted: acts(was) && is == MemberRole::Backup,
        }
    }

    /// Where the group's history in a journal ends, but for the term that goes on: every copy must have everything up to there, and
    /// nothing behind it that is in no term. Nothing for the journal of the first term while that goes on.
    pub fn end_of(&self, journal: JournalId) -> Option<Position> {
        let none = || {
            (!self.lineage.is_current(journal)).then(|| Position {
                sequence: Sequence::NONE,
                head: ChainHead::genesis(journal),
            })
        };
        self.lineage.end_of(journal).or_else(none)
    }

    /// How far this member's own journal is confirmed by close records whose entries are flushed here (ruling 31).
    pub fn confirmed_end(&self, own: JournalId) -> Sequence {
        let flushed = self.lineage.upto(self.flushed);
        let end = flushed.end_of(own);
        end.map_or(Sequence::NONE, |end| end.sequence)
            .max(self.confirmed)
    }

    /// A term that this member's journal begins, and the standing knows nothing of: it was opened right before a crash. Says whether
    /// it is the one that was claimed.
    pub fn handle_found_term(&mut self, me: SystemId, record: TermRecord) -> bool {
        let claimed = self.claim.map(|claim| (claim.term, claim.system));
        let is_own = record.primary == me && record.term > self.lineage.term();
        if !is_own || claimed != Some((record.term, me)) {
            return false;
        }
        let closed = record.closed.map_or(0, |closed| closed.term);
        let mut with = self.lineage.upto(closed);
        let fits = with.push(record).is_ok();
        if fits {
            self.handle_own_term(with);
        }
        fits
    }

    /// Whether `claim` is what this member has promised: nothing higher, and to nobody else.
    pub fn has_promised(&self, claim: &TermClaim) -> bool {
        self.promised() == claim.term && self.promised_to() == Some(claim.system)
    }

    /// The term a claim by `me` must have. A hand-over that names another system is that system's promise of the next term
    /// (ruling 28).
    pub fn next_term(&self, me: SystemId, handed_over: Option<HandOver>) -> u64 {
        let promised = self.promised();
        let known = self.handed_over.map(|(handed, _)| handed);
        let hands = [known, handed_over].into_iter().flatten();
        let above = hands
            .filter(|handed| handed.to != me)
            .map(|handed| handed.term.saturating_add(2))
            .max();
        promised.saturating_add(1).max(above.unwrap_or(0))
    }

    /// Takes over a later definition of the group. Says whether it was one.
    pub fn handle_definition(&mut self, group: &Group) -> bool {
        let later = group.id == self.group.id && group.version > self.group.version;
        if later {
            self.group = group.clone();
        }
        later
    }
}

#[cfg(test)]
mod tests {
    use super::super::lineage::tests::{group, lineage, record, system};
    use super::*;
    use crate::entry::{GroupId, Proof};

    fn standing(records: &[crate::entry::TermRecord]) -> Standing {
        Standing::new(group(3), lineage(records))
    }

    fn claim(term: u64, n: u8) -> TermClaim {
        TermClaim {
            group: GroupId::from_bytes([9; 16]),
            term,
            system: system(n),
            proof: Proof::NONE,
        }
    }

    fn first() -> Standing {
        standing(&[record(1, 1, 0, None)])
    }

    #[test]
    fn a_primary_that_hears_of_a_higher_term_is_none_any_more() {
        let mut old = first();
        assert_eq!(old.role(system(1)), MemberRole::Primary);
        let told = lineage(&[record(1, 1, 0, None), record(2, 2, 0, Some((1, 1, 5)))]);
        assert_eq!(
            old.handle_lineage(system(1), &told),
            Heard::Follows { demoted: true }
        );
        assert_eq!(old.role(system(1)), MemberRole::Backup);
        assert_eq!(old.promised_to(), Some(system(2)));
        assert_eq!(old.handle_lineage(system(1), &told), Heard::Nothing);
    }

    #[test]
    fn a_claim_demotes_the_primary_and_one_term_is_promised_to_one_system() {
        let mut old = first();
        assert_eq!(
            old.handle_claim(system(1), claim(2, 2)),
            Heard::Follows { demoted: true }
        );
        assert_eq!(old.handle_claim(system(1), claim(2, 3)), Heard::Nothing);
        assert!(old.has_promised(&claim(2, 2)));
        assert!(!old.has_promised(&claim(2, 3)));
        let mut own = first();
        own.handle_claim(system(2), claim(2, 2));
        assert_eq!(own.role(system(2)), MemberRole::Claiming);
        assert_eq!(
            own.handle_claim(system(2), claim(3, 3)),
            Heard::Follows { demoted: true }
        );
    }

    #[test]
    fn a_claim_by_a_stranger_or_of_a_term_out_of_reach_is_nothing() {
        let mut old = first();
        assert_eq!(old.handle_claim(system(1), claim(2, 7)), Heard::Nothing);
        let far = claim(2 + TERM_STEP_MAX, 2);
        assert_eq!(old.handle_claim(system(1), far), Heard::Nothing);
        assert_eq!(old.role(system(1)), MemberRole::Primary);
    }

    #[test]
    fn a_record_below_a_promise_is_history_and_the_promise_stands() {
        let mut old = first();
        old.handle_claim(system(1), claim(5, 3));
        let told = lineage(&[record(1, 1, 0, None), record(2, 2, 0, Some((1, 1, 5)))]);
        old.handle_lineage(system(1), &told);
        assert_eq!(old.promised_to(), Some(system(3)));
        assert_eq!(old.promised(), 5);
    }

    #[test]
    fn a_hand_over_to_another_keeps_its_term_from_everybody_else() {
        let mut old = first();
        let handed = HandOver {
            group: GroupId::from_bytes([9; 16]),
            term: 1,
            to: system(2),
        };
        assert_eq!(old.next_term(system(2), Some(handed)), 2);
        assert_eq!(old.next_term(system(3), Some(handed)), 3);
        old.handed_over = Some((handed, super::super::lineage::tests::at(1, 9)));
        assert_eq!(old.next_term(system(1), None), 3);
        assert_eq!(old.role(system(1)), MemberRole::HandedOver);
    }

    /// It had opened its term alone, and answered LOCAL; a takeover that did not hear it said that nothing was lost.
    #[test]
    fn a_claim_that_was_passed_is_remembered_until_a_later_term_is_known() {
        let mut one = first();
        one.handle_claim(system(2), claim(2, 3));
        assert_eq!(one.unknown(system(2)), [system(3)]);
        one.handle_claim(system(2), claim(3, 2));
        assert_eq!(one.passed, [claim(2, 3)]);
        assert_eq!(one.unknown(system(2)), [system(3)]);
        assert_eq!(one.unknown(system(3)), [system(2)]);
        let mut other = first();
        other.handle_claim(system(1), claim(3, 2));
        other.handle_passed([claim(2, 3), claim(2, 7)].into_iter());
        assert_eq!(other.passed, [claim(2, 3)]);
        let told = lineage(&[record(1, 1, 0, None), record(2, 3, 0, Some((1, 1, 5)))]);
        other.handle_lineage(system(1), &told);
        assert_eq!(other.passed, []);
    }

    #[test]
    fn a_term_opened_behind_a_higher_promise_confirms_nothing() {
        let opened = lineage(&[record(1, 1, 0, None), record(2, 2, 0, Some((1, 1, 5)))]);
        for (claimed, flushed) in [(2, 2), (3, 0)] {
            let mut own = first();
            own.handle_claim(system(2), claim(2, 2));
            own.handle_claim(system(2), claim(claimed, 3));
            own.handle_own_term(opened.clone());
            assert_eq!(own.flushed, flushed, "claimed {claimed}");
            assert_eq!(own.promised(), claimed);
        }
    }

    /// What its own close record had confirmed was cut as if nobody had relied on it, once the member was started again.
    #[test]
    fn what_a_term_confirmed_that_history_leaves_out_stays_confirmed() {
        let opened = lineage(&[record(1, 1, 0, None), record(2, 1, 45, Some((1, 1, 45)))]);
        let mut own = first();
        own.handle_claim(system(1), claim(2, 1));
        let found = opened.newest().copied().expect("two terms");
        assert!(!own.clone().handle_found_term(system(2), found));
        assert!(own.handle_found_term(system(1), found));
        let mine = found.journal;
        assert_eq!(own.confirmed_end(mine), Sequence::new(45));
        let told = lineage(&[record(1, 1, 0, None), record(3, 2, 0, Some((1, 1, 5)))]);
        own.handle_lineage(system(1), &told);
        assert_eq!(own.confirmed_end(mine), Sequence::new(45));
    }

    /// It was heard of while the own entry was being flushed, and was forgotten with that.
    #[test]
    fn a_later_term_heard_of_while_an_own_one_opens_stands() {
        let opened = lineage(&[record(1, 1, 0, None), record(2, 2, 0, Some((1, 1, 5)))]);
        let later = lineage(&[record(1, 1, 0, None), record(3, 3, 0, Some((1, 1, 5)))]);
        let same = lineage(&[record(1, 1, 0, None), record(2, 3, 0, Some((1, 1, 5)))]);
        let mut own = first();
        own.handle_lineage(system(2), &later);
        own.handle_own_term(opened.clone());
        assert_eq!(own.lineage, later);
        assert_eq!(own.role(system(2)), MemberRole::Backup);
        let mut own = first();
        own.handle_lineage(system(2), &same);
        own.handle_own_term(opened);
        assert_eq!(own.stopped, Some(Stop::Conflict { term: 2 }));
    }

    /// Both opened term 2: the one that was handed the role, and the one that was promised it and heard nothing of that.
    #[test]
    fn whoever_promised_the_next_term_has_no_role_to_hand_over() {
        let handed = HandOver {
            group: GroupId::from_bytes([9; 16]),
            term: 1,
            to: system(2),
        };
        let at = super::super::lineage::tests::at(1, 9);
        let mut old = first();
        old.handle_claim(system(1), claim(2, 3));
        assert!(!old.handle_handed_over(system(1), handed, at));
        assert_eq!(old.handed_over, None);
        let mut old = first();
        assert!(old.handle_handed_over(system(1), handed, at));
        assert_eq!(old.role(system(1)), MemberRole::HandedOver);
    }

    /// What both had opened is told until the term that was picked is: whoever takes over was stopped by it again.
    #[test]
    fn two_systems_in_one_term_stop_nobody_who_promised_a_later_one() {
        let mut one = standing(&[record(1, 1, 0, None), record(2, 2, 0, Some((1, 1, 5)))]);
        let told = lineage(&[record(1, 1, 0, None), record(2, 3, 0, Some((1, 1, 4)))]);
        assert!(matches!(
            one.handle_lineage(system(2), &told),
            Heard::Conflict { term: 2 }
        ));
        one.stopped = None;
        one.handle_claim(system(2), claim(3, 2));
        assert_eq!(one.handle_lineage(system(2), &told), Heard::Nothing);
        assert_eq!(one.role(system(2)), MemberRole::Claiming);
    }

    #[test]
    fn two_systems_in_one_term_stop_the_one_that_hears_of_it() {
        let mut one = standing(&[record(1, 1, 0, None), record(2, 2, 0, Some((1, 1, 5)))]);
        let told = lineage(&[record(1, 1, 0, None), record(2, 3, 0, Some((1, 1, 4)))]);
        assert_eq!(
            one.handle_lineage(system(2), &told),
            Heard::Conflict { term: 2 }
        );
        assert_eq!(one.role(system(2)), MemberRole::Stopped);
        let picked = lineage(&[
            record(1, 1, 0, None),
            record(2, 3, 0, Some((1, 1, 4))),
            record(3, 1, 4, Some((2, 3, 9))),
        ]);
        one.handle_lineage(system(2), &picked);
        assert_eq!(one.role(system(2)), MemberRole::Backup);
    }
}
