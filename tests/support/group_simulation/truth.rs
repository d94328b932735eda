//! Package `tests`, groups under seeds: what really happened, seen from above, and what must hold at every moment: a term is one
//! system's (P9, P4), nothing answered SYNC is left out of the newest lineage (P1), nothing confirmed is cut (P2), one epoch and
//! number is one entry (P3), nobody opens beside a higher term by itself (P8), nobody believes what nobody said.

use std::collections::{BTreeMap, BTreeSet};

use rjournal::entry::control_entry::OpenReason;
use rjournal::entry::{ChainHead, Epoch, JournalId, Position, SystemId, TermClaim, TermRecord};
use rjournal::journal::Answer;
use rjournal::role::{Lineage, Stop};

use super::clients::Kept;
use super::goals::Goal;
use super::member::Side;
use super::world::World;

/// How often what happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "counters, each named for what it counts")]
pub struct Counts {
    pub terms: u64,
    pub takeovers: u64,
    pub switches: u64,
    pub taken_back: u64,
    pub resumed: u64,
    pub demoted: u64,
    pub fenced_primaries: u64,
    pub fenced_by_target: u64,
    pub archived: u64,
    pub completed: u64,
    pub tails_fetched: u64,
    pub adopted: u64,
    pub reopened: u64,
    pub caught_up: u64,
    pub doubted: u64,
    pub needed_word: u64,
    pub given_up: u64,
    pub lost: u64,
    pub alone: u64,
    pub conflicts: u64,
    pub abandoned: u64,
    pub lies: u64,
    pub lies_refused: u64,
    pub crashes: u64,
    pub kills: u64,
    pub failed_syncs: u64,
    pub repaired: u64,
}

impl Counts {
    /// All of them, by name.
    pub const fn all(&self) -> [(&'static str, u64); 27] {
        [
            ("terms", self.terms),
            ("takeovers", self.takeovers),
            ("switches", self.switches),
            ("taken back", self.taken_back),
            ("resumed", self.resumed),
            ("demoted", self.demoted),
            ("fenced primaries", self.fenced_primaries),
            ("fenced by a target", self.fenced_by_target),
            ("archived", self.archived),
            ("completed", self.completed),
            ("tails fetched", self.tails_fetched),
            ("adopted", self.adopted),
            ("reopened", self.reopened),
            ("caught up", self.caught_up),
            ("doubted", self.doubted),
            ("needed a word", self.needed_word),
            ("given up", self.given_up),
            ("lost by a word", self.lost),
            ("opened alone", self.alone),
            ("conflicts", self.conflicts),
            ("abandoned", self.abandoned),
            ("lies", self.lies),
            ("lies refused", self.lies_refused),
            ("crashes", self.crashes),
            ("kills", self.kills),
            ("failed syncs", self.failed_syncs),
            ("repaired", self.repaired),
        ]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        let sum = |one: &mut u64, other: u64| *one += other;
        let theirs = other.all();
        for (mine, (_, theirs)) in self.each().into_iter().zip(theirs) {
            sum(mine, theirs);
        }
    }

    const fn each(&mut self) -> [&mut u64; 27] {
        [
            &mut self.terms,
            &mut self.takeovers,
            &mut self.switches,
            &mut self.taken_back,
            &mut self.resumed,
            &mut self.demoted,
            &mut self.fenced_primaries,
            &mut self.fenced_by_target,
            &mut self.archived,
            &mut self.completed,
            &mut self.tails_fetched,
            &mut self.adopted,
            &mut self.reopened,
            &mut self.caught_up,
            &mut self.doubted,
            &mut self.needed_word,
            &mut self.given_up,
            &mut self.lost,
            &mut self.alone,
            &mut self.conflicts,
            &mut self.abandoned,
            &mut self.lies,
            &mut self.lies_refused,
            &mut self.crashes,
            &mut self.kills,
            &mut self.failed_syncs,
            &mut self.repaired,
        ]
    }
}

/// Journal, epoch and sequence: what names one entry.
type Place = (JournalId, (u64, u64, u64), u64);

/// What really happened.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts, each asked for by itself"
)]
pub(super) struct Truth {
    /// Terms that were opened, by term; more than one record only where an operator accepted loss.
    records: BTreeMap<u64, Vec<TermRecord>>,
    claims: BTreeSet<(u64, SystemId)>,
    /// The lineage of the highest term opened.
    newest: Lineage,
    /// Who answered SYNC in a term.
    answered: BTreeMap<u64, usize>,
    heads: BTreeMap<Place, ChainHead>,
    /// By member and journal: how far it was confirmed there.
    confirmed: BTreeMap<(usize, usize), Position>,
    /// The newest term when a member was started.
    born: BTreeMap<usize, u64>,
    /// An operator accepted that what cannot be heard of is lost, and more than one was not heard.
    pub(super) lost: bool,
    /// An operator opened a journal alone.
    pub(super) alone: bool,
    /// A disk was set back to a snapshot: what was durable on it is not.
    pub(super) restored: bool,
    /// Members whose copies fork from the newest lineage below what is confirmed there, by an operator's act: one is told so.
    pub(super) forked: BTreeSet<usize>,
    /// Of two members one took over without the other: both may, and meet in one term (failures.md BRD-3).
    pub(super) split: bool,
}

/// Whether an entry is in a lineage.
pub(super) fn covers(lineage: &Lineage, journal: JournalId, sequence: u64) -> bool {
    lineage.segments().any(|segment| {
        let behind = sequence > segment.begins.sequence.get();
        let before = segment
            .last
            .is_none_or(|last| sequence <= last.sequence.get());
        segment.journal == journal && behind && before
    })
}

impl Truth {
    /// The lineage of the highest term that was opened.
    pub(super) const fn newest(&self) -> &Lineage {
        &self.newest
    }

    /// Whether nothing may be missing.
    pub(super) const fn is_exact(&self) -> bool {
        !self.lost && !self.alone && !self.restored
    }

    /// Whether an operator's word, or a disk set back, voids what was promised to clients before.
    pub(super) const fn is_void(&self) -> bool {
        self.lost || self.restored
    }

    /// Whether a member may have confirmed what is in no term: by an operator's act, or as the primary of a term that the newest
    /// lineage leaves out (P10).
    fn may_abandon(&self, member: SystemId) -> bool {
        let counts = |term: &u64| self.newest.records().iter().any(|at| at.term == *term);
        let left_out = self.records.iter().any(|(term, of_term)| {
            !counts(term) && of_term.iter().any(|record| record.primary == member)
        });
        !self.is_exact() || self.split || left_out
    }

    /// A member's disk was set back: what was confirmed there is not.
    pub(super) fn handle_restored(&mut self, member: usize) {
        self.restored = true;
        self.confirmed.retain(|(of, _), _| *of != member);
    }

    /// Somebody was answered SYNC.
    pub(super) fn handle_sync(&mut self, answer: Kept) {
        let first = *self.answered.entry(answer.term).or_insert(answer.member);
        assert!(
            first == answer.member || self.is_void(),
            "P4: members {first} and {} both answer SYNC in term {}",
            answer.member,
            answer.term
        );
        self.require_kept(answer);
    }

    fn require_kept(&self, answer: Kept) {
        assert!(
            self.is_void() || covers(&self.newest, answer.journal, answer.sequence.get()),
            "P1: {answer:?} was answered SYNC and is not in the newest lineage {:#?}",
            self.newest.segments().collect::<Vec<_>>()
        );
    }

    /// Terms that were opened and not closed by others of a higher one.
    pub(super) fn highest_term(&self) -> u64 {
        self.newest.term()
    }
}

impl World {
    /// A member opened a term: its close record is flushed.
    pub(super) fn opened_term(&self, me: usize, lineage: &Lineage) {
        self.counts.borrow_mut().terms += 1;
        let Some(record) = lineage.newest().copied() else {
            return;
        };
        let mut truth = self.truth.borrow_mut();
        let lost = truth.is_void() || truth.split;
        let of_term = truth.records.entry(record.term).or_default();
        if !of_term.contains(&record) {
            assert!(
                of_term.is_empty() || lost,
                "P9: term {} was opened twice: {of_term:#?} {record:#?}",
                record.term
            );
            if !of_term.is_empty() {
                self.reach(Goal::OpenedTwice);
            }
            of_term.push(record);
        }
        let mut before = lineage.records().iter().rev().skip(2);
        if before.any(|before| before.journal == record.journal) {
            self.reach(Goal::SwitchedBack);
        }
        if record.term > truth.newest.term() {
            truth.newest = lineage.clone();
            let ledger = self.ledger.borrow();
            for answer in ledger.kept() {
                truth.require_kept(*answer);
            }
        }
        self.note(record.term << 8 | me as u64);
    }

    /// A takeover that needed no operator's word loses no answer at all of the term it closes (P12).
    pub(super) fn require_local_kept(&self) {
        let truth = self.truth.borrow();
        let Some(closed) = truth.newest.newest().and_then(|newest| newest.closed) else {
            return;
        };
        let twice = truth.records.values().any(|of_term| of_term.len() > 1);
        if !truth.is_exact() || twice {
            return;
        }
        for deposit in self.ledger.borrow().deposits() {
            if let Some(Answer::Landed { sequence, .. }) = deposit.answer
                && deposit.term >= closed.term
                && !deposit.again
            {
                assert!(
                    covers(&truth.newest, deposit.journal, sequence.get()),
                    "P12: {deposit:?} is not in the newest lineage {:#?}, and nobody accepted that",
                    truth.newest.segments().collect::<Vec<_>>()
                );
            }
        }
    }

    /// A member makes a claim.
    pub(super) fn claimed(&self, claim: TermClaim) {
        let mut truth = self.truth.borrow_mut();
        truth.claims.insert((claim.term, claim.system));
    }

    /// A member takes over although more than one was not heard.
    pub(super) fn lose(&self, me: usize) {
        self.note(77 << 8 | me as u64);
        self.counts.borrow_mut().lost += 1;
        self.truth.borrow_mut().lost = true;
    }

    /// A member met one term opened by two systems.
    pub(super) fn conflicted(&self, me: usize) {
        self.counts.borrow_mut().conflicts += 1;
        self.reach(Goal::Conflicted);
        let truth = self.truth.borrow();
        assert!(
            truth.is_void() || truth.split,
            "member {me} stopped with a conflict though nobody accepted loss"
        );
    }

    /// What is confirmed at a member is in no term.
    pub(super) fn abandoned(&self, me: usize) {
        self.counts.borrow_mut().abandoned += 1;
        self.reach(Goal::Abandoned);
        assert!(
            self.truth
                .borrow()
                .may_abandon(self.group.members[me].system),
            "member {me} stopped as abandoned though nobody accepted loss"
        );
    }

    /// A member sealed up to here.
    pub(super) fn sealed(&self, me: usize, journal: JournalId, epoch: Epoch, tip: Position) {
        let rank = (epoch.term, epoch.boot, epoch.nonce);
        let key = (journal, rank, tip.sequence.get());
        let mut truth = self.truth.borrow_mut();
        let known = *truth.heads.entry(key).or_insert(tip.head);
        assert_eq!(
            known, tip.head,
            "P3: member {me} sealed {tip:?} in epoch {epoch} otherwise before"
        );
        drop(truth);
        self.note(tip.sequence.get() << 8 | me as u64);
    }

    /// A member was started.
    pub(super) fn born(&self, me: usize) {
        let mut truth = self.truth.borrow_mut();
        let term = truth.highest_term();
        truth.born.insert(me, term);
    }

    /// A member opened its journal again in the term it had.
    pub(super) fn opened_again(&self, me: usize, reason: OpenReason, epoch: Epoch) {
        self.counts.borrow_mut().reopened += 1;
        let truth = self.truth.borrow();
        let born = truth.born.get(&me).copied().unwrap_or_default();
        assert!(
            epoch.term >= born || reason == OpenReason::Alone || !truth.is_exact(),
            "P8: member {me} opened term {} again though term {born} was there when it started",
            epoch.term
        );
    }

    /// What a member believes was said by those it speaks of.
    pub(super) fn look_at_standing(&self, me: usize) {
        let member = self.members[me].borrow();
        let Some(up) = &member.up else {
            return;
        };
        let standing = up.standing.get();
        let truth = self.truth.borrow();
        for record in standing.lineage.records() {
            let known = truth.records.get(&record.term);
            assert!(
                known.is_some_and(|known| known.contains(record)),
                "member {me} believes in a term nobody opened: {record:#?}"
            );
        }
        if let Some(claim) = standing.claim {
            assert!(
                truth.claims.contains(&(claim.term, claim.system)),
                "member {me} promised a claim nobody made: {claim:?}"
            );
        }
        let explained = match &standing.stopped {
            None => true,
            Some(Stop::Conflict { .. }) => truth.is_void() || truth.split,
            Some(Stop::Abandoned { .. }) => truth.may_abandon(member.system),
        };
        assert!(explained, "member {me} stopped: {:?}", standing.stopped);
    }

    /// Nothing confirmed is gone from a journal at rest.
    pub(super) fn look_at_copy(&self, me: usize, journal: usize) {
        let member = self.members[me].borrow();
        let Some(up) = &member.up else {
            return;
        };
        let Some(Side::Copy(side)) = up.sides.get(journal) else {
            return;
        };
        if member.disk.is_dead() {
            return;
        }
        let mut confirmed = side.copy.progress().confirmed;
        if me == journal {
            // What it wrote itself is confirmed by close records alone.
            let of = self.group.members[me].journal;
            confirmed = confirmed.min(up.standing.get().confirmed_end(of));
        }
        let mut truth = self.truth.borrow_mut();
        let known = truth.confirmed.get(&(me, journal)).copied();
        assert!(
            known.is_none_or(|known| confirmed >= known.sequence),
            "P2: journal {journal} was confirmed up to {known:?} at member {me}, and is up to {confirmed}"
        );
        if known.is_some_and(|known| known.sequence == confirmed) {
            return;
        }
        let at = |sequence| side.copy.head_at(sequence);
        if let Some(known) = known
            && let Ok(found) = at(known.sequence)
        {
            assert_eq!(
                found,
                Some(known.head),
                "P2: what was confirmed of journal {journal} at member {me} is another entry"
            );
        }
        if let Ok(Some(head)) = at(confirmed) {
            let sequence = confirmed;
            truth
                .confirmed
                .insert((me, journal), Position { sequence, head });
        }
    }
}
